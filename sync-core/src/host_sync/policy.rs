//! Decisions of a session that teams may want to change and that the simulator's zoo breaks on purpose.
//!
//! Statically dispatched: [`Standard`] costs nothing.

use crate::limits;
use crate::time::{Instant, Span};

/// How a session decides.
pub trait SessionPolicy {
    /// The deadline of a critical operation, set when it is asked for.
    fn deadline_when_asked(&self, asked: Instant, timeout: Span) -> Option<Instant> {
        Some(asked + timeout)
    }

    /// The deadline of a critical operation, looked at again when it is first sent.
    fn deadline_when_sent(
        &self,
        deadline: Option<Instant>,
        _sent: Instant,
        _timeout: Span,
    ) -> Option<Instant> {
        deadline
    }

    /// Whether an attempt after the first travels as a new operation, with an id and a sequence of its
    /// own. Never sound: the server cannot know that it has seen the operation before.
    fn retries_as_new_operation(&self) -> bool {
        false
    }

    /// How long one attempt at a critical operation may take before it is made again: a quarter of
    /// the time allowed in all, so that a lost message does not cost the deadline.
    fn critical_attempt_timeout(&self, timeout: Span) -> Span {
        Span::from_us((timeout.as_us() / 4).max(1_000))
    }

    /// How long to wait after `failed` attempts in a row (at least 1): exponential, with full jitter
    /// over its upper half. `draw` is uniform over 64 bits.
    fn backoff(&self, failed: u32, draw: u64) -> Span {
        let doubled = limits::BACKOFF_MIN.as_us() << failed.saturating_sub(1).min(20);
        let half = doubled.min(limits::BACKOFF_MAX.as_us()) / 2;
        Span::from_us(half + scale(draw, half))
    }
}

/// As the design says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard;

impl SessionPolicy for Standard {}

/// Maps a uniform draw to `0..=bound` without bias worth speaking of.
fn scale(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * (u128::from(bound) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_within_its_bounds() {
        for failed in 1..100 {
            let (low, high) = (Standard.backoff(failed, 0), Standard.backoff(failed, u64::MAX));
            assert!(low < high && high <= limits::BACKOFF_MAX, "{failed}: {low} {high}");
            assert!(low.as_us() * 2 >= high.as_us() - 1);
        }
        assert_eq!(Standard.backoff(1, u64::MAX), limits::BACKOFF_MIN);
        assert_eq!(Standard.backoff(2, u64::MAX), limits::BACKOFF_MIN.saturating_mul(2));
    }
}
