//! Where an engine's randomness comes from: a generator given at construction.

use serde::{Deserialize, Serialize};

/// What a draw is for. A generator that derives its draws from a seed keys them by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Purpose {
    /// The incarnation of a session.
    Incarnation = 1,
    /// An initialisation vector, which must be unpredictable (NIST SP 800-38A, appendix C).
    Iv = 2,
    /// Jitter of a back-off.
    Jitter = 3,
}

/// A source of 64-bit draws.
///
/// `entity` and `ordinal` name what the draw is for: an engine gives the same pair only for the
/// same decision. A generator for real use ignores them and must be cryptographically secure; one
/// for simulation derives the draw from them, so that leaving out one decision leaves every other
/// draw as it was.
pub trait Entropy {
    /// One uniformly distributed value.
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64;

    /// A fresh initialisation vector.
    fn iv(&mut self, entity: u64, ordinal: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..8].copy_from_slice(&self.draw(Purpose::Iv, entity, ordinal.wrapping_mul(2)).to_le_bytes());
        iv[8..].copy_from_slice(
            &self.draw(Purpose::Iv, entity, ordinal.wrapping_mul(2).wrapping_add(1)).to_le_bytes(),
        );
        iv
    }
}
