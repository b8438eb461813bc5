//! Bodies between peers: JSON, packed with zstd where that is worth it. Bounded before and after.

use std::io::Read as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::limits;

/// A body as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How they are packed.
    pub coding: Coding,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// With zstd.
    Zstd,
}

/// Why a body cannot be taken or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It is larger than a body may be.
    #[error(
        "the body is larger than {} bytes, or unpacks to more than {}",
        limits::PEER_BODY_BYTES_MAX,
        limits::PEER_BODY_UNPACKED_BYTES_MAX
    )]
    TooLarge,
    /// It is not packed as it says.
    #[error("the body is no zstd")]
    NotPacked,
    /// It is not what is expected there.
    #[error("the body is not what is expected there")]
    Malformed,
}

/// Smaller bodies are not worth packing.
const PACKED_BYTES_MIN: usize = 4 * 1024;

/// The fastest level but one: on these bodies the next ones cost more time than they save on any network of today.
const LEVEL: i32 = 1;

impl Body {
    /// Writes and, if that is worth it, packs a value.
    ///
    /// # Errors
    /// When it comes to more than a body may have.
    pub fn write(value: &impl Serialize) -> Result<Self, BodyError> {
        let bytes = serde_json::to_vec(value).map_err(|_| BodyError::Malformed)?;
        if bytes.len() > limits::PEER_BODY_UNPACKED_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let body = match bytes.len() < PACKED_BYTES_MIN {
            true => Self { bytes, coding: Coding::Plain },
            false => {
                let bytes = zstd::bulk::compress(&bytes, LEVEL).map_err(|_| BodyError::Malformed)?;
                Self { bytes, coding: Coding::Zstd }
            }
        };
        if body.bytes.len() > limits::PEER_BODY_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(body) }
    }

    /// Unpacks and reads a value.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        match self.coding {
            Coding::Plain => serde_json::from_slice(&self.bytes),
            Coding::Zstd => serde_json::from_slice(&unpack(&self.bytes)?),
        }
        .map_err(|_| BodyError::Malformed)
    }

    /// Whether writing or reading it takes so long that it is done beside the threads that wait for sockets.
    pub fn is_large(&self) -> bool {
        self.coding == Coding::Zstd || self.bytes.len() > limits::PEER_BODY_INLINE_BYTES_MAX
    }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let bytes_max = limits::PEER_BODY_UNPACKED_BYTES_MAX as u64;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| BodyError::NotPacked)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|_| BodyError::NotPacked)?;
    let mut unpacked = Vec::new();
    decoder.take(bytes_max + 1).read_to_end(&mut unpacked).map_err(|_| BodyError::NotPacked)?;
    if unpacked.len() as u64 > bytes_max { Err(BodyError::TooLarge) } else { Ok(unpacked) }
}

/// A window of 8 MiB, which is what RFC 8878 recommends that decoders support.
const WINDOW_LOG_MAX: u32 = 23;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer_sync::message::{Asked, PeerAnswer};

    #[test]
    fn small_ones_travel_as_they_are_and_large_ones_packed() {
        let small = Body::write(&"x").unwrap();
        assert_eq!((small.bytes.as_slice(), small.coding), (b"\"x\"".as_slice(), Coding::Plain));
        let text = "abc ".repeat(100_000);
        let large = Body::write(&text).unwrap();
        assert!(large.coding == Coding::Zstd && large.bytes.len() < 1_000 && large.is_large());
        assert_eq!(large.read::<String>(), Ok(text));
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_before_it_fills_the_memory() {
        let zeros = vec![b' '; limits::PEER_BODY_UNPACKED_BYTES_MAX + 1];
        let bytes = zstd::bulk::compress(&zeros, 1).unwrap();
        drop(zeros);
        assert_eq!(Body { bytes, coding: Coding::Zstd }.read::<String>(), Err(BodyError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for coding in [Coding::Plain, Coding::Zstd] {
                let body = Body { bytes: bytes.clone(), coding };
                let _ = (body.read::<Asked>(), body.read::<PeerAnswer>());
            }
        }
    }
}
