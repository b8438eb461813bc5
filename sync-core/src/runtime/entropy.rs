//! The system's randomness as an engine's generator.

use std::fmt;

use zeroize::Zeroizing;

use crate::entropy::{Entropy, Purpose};

/// Bytes that are asked of the system at once.
const RESERVE_BYTES: usize = 512;

/// Draws from the system's cryptographically secure generator, a few hundred bytes at a time. What a draw
/// is for makes no difference.
pub struct OsEntropy {
    reserve: Zeroizing<[u8; RESERVE_BYTES]>,
    used: usize,
}

impl OsEntropy {
    /// A generator with nothing in reserve.
    pub fn new() -> Self {
        Self { reserve: Zeroizing::new([0; RESERVE_BYTES]), used: RESERVE_BYTES }
    }
}

impl Default for OsEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OsEntropy {
    /// Without what is in reserve: initialisation vectors to come.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsEntropy").finish_non_exhaustive()
    }
}

impl Entropy for OsEntropy {
    /// # Panics
    /// When the system gives no random bytes: going on without them would give secrets away.
    fn draw(&mut self, _purpose: Purpose, _entity: u64, _ordinal: u64) -> u64 {
        if self.used == RESERVE_BYTES {
            getrandom::fill(&mut *self.reserve).expect("the system gives random bytes");
            self.used = 0;
        }
        let bytes = &mut self.reserve[self.used..self.used + 8];
        let drawn = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        bytes.fill(0);
        self.used += 8;
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_draw_comes_twice_and_none_is_shown() {
        let mut entropy = OsEntropy::new();
        let draws: BTreeSet<_> = (0..1_000).map(|_| entropy.draw(Purpose::Iv, 1, 1)).collect();
        assert_eq!(draws.len(), 1_000);
        assert_eq!(format!("{entropy:?}"), "OsEntropy { .. }");
    }
}
