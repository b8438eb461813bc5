//! How long to wait before the next attempt to reach a server.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// First wait; doubles with each attempt.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Exponential back-off, each wait drawn from the upper half of its range, so that clients that lost a
/// server together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// The wait before the next attempt.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = WAIT_MIN.saturating_mul(1 << self.attempt.min(10)).min(WAIT_MAX);
        self.attempt += 1;
        let half = wait / 2;
        half + half.mul_f64(draw())
    }
}

/// Uniform in 0 to 1: each `RandomState` has keys of its own, from the system.
fn draw() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= WAIT_MIN && waits[0] >= WAIT_MIN / 2);
        assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
        assert!(waits[39] >= WAIT_MAX / 2);
    }
}
