//! Bytes of a frame: taking one apart, the tag, and the cipher.
//!
//! `0x02 || len(key id) || key id || IV (16) || ciphertext || tag (32)`, the ciphertext a multiple of 16.

use aes::{Aes256Dec, Aes256Enc};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use super::keys::{HostKey, KEY_BYTES, KeyId};
use super::{EnvelopeError, Header};
use crate::id::{AccountId, OperationId};
use crate::limits;

/// Bytes of an initialisation vector.
pub const IV_BYTES: usize = 16;
/// Bytes of a tag, the whole output of HMAC-SHA256.
pub const TAG_BYTES: usize = 32;
/// Bytes of a block of AES; a ciphertext is a multiple of it.
pub const BLOCK_BYTES: usize = 16;

/// First byte of a frame of this version.
const VERSION: u8 = 2;
/// Version and length of the key id.
const PREFIX_BYTES: usize = 2;
/// Bytes of the additional authenticated data around the operation id.
const AAD_FIXED_BYTES: usize = 1 + 4 + 2 + 1;

/// Bytes of a frame whose key id has `key_id_bytes` and whose plaintext has `plaintext_bytes`. A frame
/// above [`limits::FRAME_BYTES_MAX`] is refused when it is opened; saturates.
pub const fn frame_bytes(key_id_bytes: usize, plaintext_bytes: usize) -> usize {
    let fixed = PREFIX_BYTES + IV_BYTES + TAG_BYTES;
    padded_bytes(plaintext_bytes).saturating_add(fixed).saturating_add(key_id_bytes)
}

/// PKCS #7 always pads, a whole block when nothing is missing (RFC 5652, section 6.3).
const fn padded_bytes(plaintext_bytes: usize) -> usize {
    (plaintext_bytes / BLOCK_BYTES).saturating_add(1).saturating_mul(BLOCK_BYTES)
}

impl HostKey {
    /// Replaces the content of `frame` by the sealed `plaintext`.
    ///
    /// `iv` must be unpredictable and never used before with this key. Nothing is refused here: a frame
    /// above [`limits::FRAME_BYTES_MAX`] (see [`frame_bytes`]), or a header of an account other than the
    /// key's, does not open.
    pub fn seal(&self, header: &Header, iv: [u8; IV_BYTES], plaintext: &[u8], frame: &mut Vec<u8>) {
        let id = self.id();
        let id = id.as_bytes();
        frame.clear();
        frame.reserve(frame_bytes(id.len(), plaintext.len()));
        frame.push(VERSION);
        frame.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        frame.extend_from_slice(id);
        frame.extend_from_slice(&iv);
        append_encrypted(self.encryption_key(), &iv, plaintext, frame);
        let tag = self.tag(header, frame);
        frame.extend_from_slice(&tag);
    }

    /// Replaces the content of `plaintext` by that of the sealed `frame`. On failure it is empty.
    ///
    /// # Errors
    /// When the frame is not one that this key sealed under this very header, or has been altered.
    pub fn open(&self, header: &Header, frame: &[u8], plaintext: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        plaintext.clear();
        let parts = Parts::split(frame).ok_or(EnvelopeError)?;
        if parts.key_id != self.id().as_bytes() {
            return Err(EnvelopeError);
        }
        self.open_parts(header, &parts, plaintext)
    }

    /// [`open`](Self::open) for a frame already taken apart and of this key's id. Expects `plaintext` empty.
    pub(super) fn open_parts(
        &self,
        header: &Header,
        parts: &Parts<'_>,
        plaintext: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        if header.account != self.account() {
            return Err(EnvelopeError);
        }
        let mac = self.mac_over(header, parts.signed);
        mac.verify_slice(parts.tag).map_err(|_| EnvelopeError)?;
        decrypt(self.encryption_key(), parts.iv, parts.ciphertext, plaintext)
    }

    /// The tag of a frame under a header: HMAC-SHA256 (RFC 2104) over `frame_without_tag` and the
    /// header. For test tools that alter a frame and tag it anew; sealing and opening need no call of it.
    pub fn tag(&self, header: &Header, frame_without_tag: &[u8]) -> [u8; TAG_BYTES] {
        self.mac_over(header, frame_without_tag).finalize().into_bytes().into()
    }

    fn mac_over(&self, header: &Header, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac();
        mac.update(signed);
        let mut aad = Aad::default();
        aad.write(header);
        mac.update(aad.as_bytes());
        mac
    }
}

/// A frame of version 2 taken apart. Only sizes and the alphabet of the key id have been checked.
pub(super) struct Parts<'a> {
    pub(super) key_id: &'a [u8],
    iv: &'a [u8; IV_BYTES],
    ciphertext: &'a [u8],
    signed: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn split(frame: &'a [u8]) -> Option<Self> {
        if frame.len() > limits::FRAME_BYTES_MAX {
            return None;
        }
        let (signed, tag) = frame.split_at_checked(frame.len().checked_sub(TAG_BYTES)?)?;
        let (&[version, id_bytes], rest) = signed.split_first_chunk::<PREFIX_BYTES>()?;
        let (key_id, rest) = rest.split_at_checked(usize::from(id_bytes))?;
        let (iv, ciphertext) = rest.split_first_chunk::<IV_BYTES>()?;
        let well_formed = version == VERSION
            && KeyId::is_valid(key_id)
            && !ciphertext.is_empty()
            && ciphertext.len().is_multiple_of(BLOCK_BYTES);
        well_formed.then_some(Self { key_id, iv, ciphertext, signed, tag })
    }
}

/// Appends the padded and encrypted `plaintext`.
pub(super) fn append_encrypted(
    key: &[u8; KEY_BYTES],
    iv: &[u8; IV_BYTES],
    plaintext: &[u8],
    frame: &mut Vec<u8>,
) {
    let start = frame.len();
    frame.extend_from_slice(plaintext);
    frame.resize(start + padded_bytes(plaintext.len()), 0);
    cbc::Encryptor::<Aes256Enc>::new(key.into(), iv.into())
        .encrypt_padded::<Pkcs7>(&mut frame[start..], plaintext.len())
        .expect("the buffer was sized for the padding");
}

/// Decrypts into `plaintext`, which is expected empty, and is empty again on failure.
pub(super) fn decrypt(
    key: &[u8; KEY_BYTES],
    iv: &[u8; IV_BYTES],
    ciphertext: &[u8],
    plaintext: &mut Vec<u8>,
) -> Result<(), EnvelopeError> {
    plaintext.extend_from_slice(ciphertext);
    let bytes = cbc::Decryptor::<Aes256Dec>::new(key.into(), iv.into())
        .decrypt_padded::<Pkcs7>(plaintext)
        .map(<[u8]>::len);
    match bytes {
        Ok(bytes) => {
            plaintext.truncate(bytes);
            Ok(())
        }
        Err(_) => {
            plaintext.zeroize();
            Err(EnvelopeError)
        }
    }
}

/// Additional authenticated data, on the stack: direction (1) || account (4, big-endian) ||
/// len(operation id) (2, big-endian) || operation id || is_critical (1).
///
/// It follows the frame in the tag without a length between them. No other split of the same bytes is
/// a frame and a header: the AAD starts with 0x00 or 0x01, which an operation id never contains.
struct Aad {
    bytes: [u8; AAD_FIXED_BYTES + OperationId::TEXT_BYTES_MAX],
    len: usize,
}

impl Default for Aad {
    fn default() -> Self {
        Self { bytes: [0; AAD_FIXED_BYTES + OperationId::TEXT_BYTES_MAX], len: 0 }
    }
}

impl Aad {
    fn write(&mut self, header: &Header) {
        let Header { direction, account: AccountId(account), operation, is_critical } = *header;
        self.push(&[direction as u8]);
        self.push(&account.to_be_bytes());
        let length_at = self.len;
        self.push(&[0; 2]);
        self.push(operation.text(&mut [0; OperationId::TEXT_BYTES_MAX]).as_bytes());
        let id_bytes = u16::try_from(self.len - length_at - 2).unwrap_or(u16::MAX);
        self.bytes[length_at..length_at + 2].copy_from_slice(&id_bytes.to_be_bytes());
        self.push(&[u8::from(is_critical)]);
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Direction;
    use super::*;
    use crate::id::Incarnation;
    use proptest::prelude::*;

    fn expected_aad(header: &Header) -> Vec<u8> {
        let operation = header.operation.to_string();
        let mut aad = vec![header.direction as u8];
        aad.extend(header.account.0.to_be_bytes());
        aad.extend(u16::try_from(operation.len()).unwrap().to_be_bytes());
        aad.extend(operation.bytes());
        aad.push(u8::from(header.is_critical));
        aad
    }

    proptest! {
        #[test]
        fn the_authenticated_data_is_that_of_the_wire(
            is_reply: bool,
            account: u32,
            operation_account: u32,
            incarnation: u64,
            counter: u64,
            is_critical: bool,
        ) {
            let header = Header {
                direction: if is_reply { Direction::Reply } else { Direction::Request },
                account: AccountId(account),
                operation: OperationId {
                    account: AccountId(operation_account),
                    incarnation: Incarnation(incarnation),
                    counter,
                },
                is_critical,
            };
            let mut aad = Aad::default();
            aad.write(&header);
            prop_assert_eq!(aad.as_bytes(), expected_aad(&header));
        }
    }

    #[test]
    fn sizes_are_checked_before_anything_else() {
        // 2 + 1 + 16 + 16 + 32 bytes are the least.
        let least = [&[2, 1, b'k'][..], &[0; 64]].concat();
        assert_eq!(least.len(), frame_bytes(1, 0));
        let check = |frame: &[u8], expected: bool| assert_eq!(Parts::split(frame).is_some(), expected);
        check(&least, true);
        check(&least[..66], false);
        check(&[&least[..], &[0]].concat(), false);
        check(&[&least[..], &[0; 16]].concat(), true);
        check(&[&[1, 1, b'k'][..], &[0; 64]].concat(), false);
        check(&[&[2, 1, b'K'][..], &[0; 64]].concat(), false);
        check(&[&[2, 0][..], &[0; 64]].concat(), false);
        check(&[&[2, 33][..], &[b'k'; 33], &[0; 64]].concat(), false);
        check(&[&[2, 32][..], &[b'k'; 32], &[0; 64]].concat(), true);
        check(&[&[2, 1, b'k'][..], &vec![0; limits::FRAME_BYTES_MAX / 16 * 16]].concat(), false);
        check(&[], false);
    }

    #[test]
    fn the_size_of_a_frame_saturates() {
        assert_eq!(frame_bytes(2, 15), 2 + 2 + 16 + 16 + 32);
        assert_eq!(frame_bytes(2, 16), 2 + 2 + 16 + 32 + 32);
        assert_eq!(frame_bytes(32, usize::MAX), usize::MAX);
    }
}
