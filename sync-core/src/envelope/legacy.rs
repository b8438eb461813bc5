//! The older envelope: `IV (16) || ciphertext`, AES-256-CBC without a tag.
//!
//! It hides content from a passive listener and promises nothing else: whoever can alter a frame can
//! alter what it says, and the answer to an altered frame tells about its padding. It is reachable only
//! through a ring that was given a [`LegacyKey`] (`allow_legacy_envelope = 1`).

use std::fmt;
use std::str::FromStr;

use super::EnvelopeError;
use super::frame::{BLOCK_BYTES, IV_BYTES, append_encrypted, decrypt};
use super::keys::{InvalidKey, KEY_BYTES, names_a_role, parse_secret};
use crate::limits;
use crate::secret::Secret;

/// The key of the older envelope (`legacy_encryption_key`), one for all hosts.
#[derive(Clone, Debug)]
pub struct LegacyKey(Secret<[u8; KEY_BYTES]>);

impl LegacyKey {
    /// From 32 uniformly random bytes.
    pub const fn new(secret: Secret<[u8; KEY_BYTES]>) -> Self {
        Self(secret)
    }

    /// Replaces the content of `frame` by the encrypted `plaintext`. `iv` must be unpredictable and fresh.
    pub fn seal(&self, iv: [u8; IV_BYTES], plaintext: &[u8], frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&iv);
        append_encrypted(self.0.expose(), &iv, plaintext, frame);
    }

    /// Replaces the content of `plaintext` by that of `frame`. On failure it is empty.
    ///
    /// # Errors
    /// When the frame has an impossible size or wrong padding. An altered frame may well open.
    pub fn open(&self, frame: &[u8], plaintext: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        plaintext.clear();
        let (iv, ciphertext) = frame.split_first_chunk::<IV_BYTES>().ok_or(EnvelopeError)?;
        let sizes_fit = frame.len() <= limits::FRAME_BYTES_MAX
            && !ciphertext.is_empty()
            && ciphertext.len().is_multiple_of(BLOCK_BYTES);
        if !sizes_fit {
            return Err(EnvelopeError);
        }
        decrypt(self.0.expose(), iv, ciphertext, plaintext)
    }
}

impl FromStr for LegacyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidKey::LegacyMissing);
        }
        if names_a_role(text) {
            return Err(InvalidKey::VersionTwoKeyForLegacy);
        }
        parse_secret(text).map(Self)
    }
}

impl fmt::Display for LegacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_legacy_key_is_plain_base64() {
        let check = |text: &str, expected| assert_eq!(text.parse::<LegacyKey>().err(), expected, "{text}");
        check(SECRET, None);
        check("", Some(InvalidKey::LegacyMissing));
        check(&format!("p2p-master:k1:{SECRET}"), Some(InvalidKey::VersionTwoKeyForLegacy));
        check(&format!("p2p-host:k1:7:{SECRET}"), Some(InvalidKey::VersionTwoKeyForLegacy));
        check(&SECRET[1..], Some(InvalidKey::Secret));
    }

    #[test]
    fn a_legacy_key_prints_as_a_mask() {
        let key: LegacyKey = SECRET.parse().unwrap();
        assert_eq!(format!("{key} {key:?}"), "*** LegacyKey(***)");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let key: LegacyKey = SECRET.parse().unwrap();
        let mut frame = Vec::new();
        key.seal([7; IV_BYTES], b"fifteen bytes..", &mut frame);
        assert_eq!(frame.len(), 32);
        let mut plaintext = vec![1];
        assert_eq!(key.open(&frame, &mut plaintext), Ok(()));
        assert_eq!(plaintext, b"fifteen bytes..");
        for len in 0..32 {
            assert_eq!(key.open(&frame[..len], &mut plaintext), Err(EnvelopeError));
            assert!(plaintext.is_empty());
        }
        assert_eq!(key.open(&vec![0; limits::FRAME_BYTES_MAX + 16], &mut plaintext), Err(EnvelopeError));
    }
}
