//! Decisions of a session that teams may want to change and that the simulator's zoo breaks on purpose.
//!
//! Statically dispatched: [`Standard`] costs nothing.

use super::operation::Lane;
use super::queue::Waiting;
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

    /// Whether retries keep to their budget, see [`super::retry_budget`].
    fn budgets_retries(&self) -> bool {
        true
    }

    /// The lane whose newest operation gives way to one of lane `newcomer` in a full queue; none refuses the
    /// newcomer. Normal displaces nobody, priority normal, critical normal and then priority.
    fn gives_way(&self, newcomer: Lane, waiting: Waiting) -> Option<Lane> {
        match newcomer {
            Lane::Priority | Lane::Critical if waiting.normal > 0 => Some(Lane::Normal),
            Lane::Critical if waiting.priority > 0 => Some(Lane::Priority),
            _ => None,
        }
    }

    /// Whether an operation that gave way has a result.
    fn reports_displaced(&self) -> bool {
        true
    }

    /// Whether the newest operation of a lane goes before the older ones.
    fn takes_newest_first(&self, _lane: Lane) -> bool {
        false
    }

    /// Whether operations of one (map, type) are sent one after another.
    fn keeps_key_order(&self) -> bool {
        true
    }

    /// Slots that only critical operations use, of so many that are configured.
    fn critical_slots(&self, configured: usize) -> usize {
        configured
    }

    /// Critical operations open at once; a further one is refused.
    fn critical_open_max(&self) -> usize {
        usize::MAX
    }

    /// Whether what waits when the session ends has a result.
    fn reports_shut_down(&self) -> bool {
        true
    }

    /// Whether a reply that comes after the deadline is reported as a success after all.
    fn reports_late_success(&self) -> bool {
        false
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
