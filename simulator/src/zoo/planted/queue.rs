//! Defects of a host's session: its queue, its slots, its retries, its results.

use sync_core::host_sync::operation::Lane;
use sync_core::host_sync::policy::{SessionPolicy, Standard};
use sync_core::host_sync::queue::Waiting;
use sync_core::time::{Instant, Span};

use super::Planted;

impl SessionPolicy for Planted {
    fn deadline_when_asked(&self, asked: Instant, timeout: Span) -> Option<Instant> {
        (!self.is(43)).then(|| asked + timeout)
    }

    fn deadline_when_sent(&self, deadline: Option<Instant>, sent: Instant, timeout: Span) -> Option<Instant> {
        if self.is(43) { Some(sent + timeout) } else { deadline }
    }

    fn retries_as_new_operation(&self) -> bool {
        self.is(30)
    }

    fn critical_attempt_timeout(&self, timeout: Span) -> Span {
        if self.is(42) { IMPATIENCE } else { Standard.critical_attempt_timeout(timeout) }
    }

    fn backoff(&self, failed: u32, draw: u64) -> Span {
        if self.is(42) { Span::ZERO } else { Standard.backoff(failed, draw) }
    }

    fn budgets_retries(&self) -> bool {
        !self.is(42)
    }

    fn gives_way(&self, newcomer: Lane, waiting: Waiting) -> Option<Lane> {
        if self.is(36) && waiting.priority > 0 {
            return Some(Lane::Priority);
        }
        Standard.gives_way(newcomer, waiting)
    }

    fn reports_displaced(&self) -> bool {
        !self.is(37)
    }

    fn takes_newest_first(&self, lane: Lane) -> bool {
        self.is(38) && lane == Lane::Priority
    }

    fn keeps_key_order(&self) -> bool {
        !self.is(41)
    }

    fn critical_slots(&self, configured: usize) -> usize {
        if self.is(40) { 0 } else { configured }
    }

    fn critical_open_max(&self) -> usize {
        if self.is(39) { 1 } else { usize::MAX }
    }

    fn reports_shut_down(&self) -> bool {
        !self.is(33)
    }

    fn reports_late_success(&self) -> bool {
        self.is(44)
    }
}

/// How soon an attempt is given up where nothing holds retries back: longer than a healthy answer takes, and far
/// shorter than one of an overloaded database.
const IMPATIENCE: Span = Span::from_ms(20);
