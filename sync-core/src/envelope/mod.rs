//! The envelope: what keeps the content of a request and of its reply secret and unaltered.
//!
//! AES-256-CBC, then HMAC-SHA256 over everything that was sent (`encrypt then MAC`, RFC 7366 gives the
//! reasons), with the direction, the account, the operation and its urgency bound into the tag: a reply
//! answers one request, and a frame moved to another operation does not open. Bytes are those of the
//! wire protocol, section "Frame version 2".
//!
//! - [`MasterKey`] and [`HostKey`] are the keys of the two roles. A host's key is derived from the
//!   master key and its account, so that a host can neither read nor forge what belongs to another.
//! - [`HostRing`] and [`MasterRing`] are what the two sides use: one key that seals, further keys that
//!   only open while keys are being replaced, and the older envelope when it is allowed.
//! - Every failure to open is the same [`EnvelopeError`]: an attacker learns nothing from which step
//!   refused. The tag is verified in constant time before anything is decrypted.
//!
//! Nothing here draws randomness: the initialisation vector is an argument and must be unpredictable
//! and fresh for each frame (NIST SP 800-38A, appendix C), see [`Entropy::iv`].
//!
//! The processor's AES and SHA instructions are found at run time by the `aes` and `sha2` crates.
//!
//! [`Entropy::iv`]: crate::entropy::Entropy::iv

mod frame;
mod keys;
mod legacy;
mod ring;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::PAD;
use thiserror::Error;

pub use frame::{BLOCK_BYTES, IV_BYTES, TAG_BYTES, frame_bytes};
pub use keys::{HostKey, InvalidKey, InvalidKeyId, KEY_BYTES, KeyId, MasterKey};
pub use legacy::LegacyKey;
pub use ring::{Form, HostRing, InvalidRing, KeyUse, MasterRing};

use crate::id::{AccountId, OperationId};

/// The frame did not open. One value for every reason: wrong size, unknown key, wrong tag, wrong
/// padding, not base64, and, for whoever parses the content, not UTF-8 or not the expected JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the envelope cannot be opened")]
pub struct EnvelopeError;

/// Which way a frame travels. Its number goes into the tag, so that a request sent back is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From a host to the main server.
    Request = 0,
    /// From the main server to a host.
    Reply = 1,
}

/// What a frame is bound to beside its content: the additional authenticated data of the tag.
/// Both sides know it from outside the frame; a frame opens only under the header it was sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    /// Request or reply.
    pub direction: Direction,
    /// The account whose key seals.
    pub account: AccountId,
    /// The operation; a reply carries that of its request.
    pub operation: OperationId,
    /// Whether the operation is critical; a reply carries that of its request.
    pub is_critical: bool,
}

/// The engine with the processor's vector instructions, which are found at run time.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
static STANDARD: LazyLock<base64::engine::Simd> = LazyLock::new(|| base64::engine::Simd::standard(PAD));

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
static STANDARD: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// Appends the standard base64 of `bytes`, with padding (RFC 4648, section 4), to `text`.
pub fn encode_base64(bytes: &[u8], text: &mut String) {
    STANDARD.encode_string(bytes, text);
}

/// [`encode_base64`] into bytes: the text is ASCII.
pub(crate) fn append_base64(bytes: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut text[start..]);
    debug_assert_eq!(written, Ok(text.len() - start));
}

/// Replaces the content of `bytes` by what `text` stands for: standard base64 with padding (RFC 4648,
/// section 4). On failure `bytes` is empty.
///
/// # Errors
/// Anything but the one canonical text is refused: other alphabets, white space, missing or surplus
/// padding, and trailing bits that are not zero (RFC 4648, section 3.5).
pub fn decode_base64(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), EnvelopeError> {
    bytes.clear();
    STANDARD.decode_vec(text, bytes).map_err(|_| {
        bytes.clear();
        EnvelopeError
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_text_form() {
        let check = |bytes: &[u8], expected: &str| {
            let mut text = String::from("=> ");
            encode_base64(bytes, &mut text);
            assert_eq!(text, format!("=> {expected}"));
            let mut appended = b"=> ".to_vec();
            append_base64(bytes, &mut appended);
            assert_eq!(appended, text.as_bytes());
            let mut decoded = vec![9; 3];
            assert_eq!(decode_base64(expected.as_bytes(), &mut decoded), Ok(()));
            assert_eq!(decoded, bytes);
        };
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"\xfb\xff", "+/8=");
        for wrong in
            ["Zg", "Zg=", "Zh==", "Zm9=", "Zm9v=", " Zm9v", "Zm9v\n", "-_8=", "Zg==Zg==", "\u{e9}==="]
        {
            let mut decoded = vec![9; 3];
            assert_eq!(decode_base64(wrong.as_bytes(), &mut decoded), Err(EnvelopeError), "{wrong:?}");
            assert!(decoded.is_empty());
        }
    }
}
