//! A node's two clocks, read where an engine's input is taken from its mailbox.

use tokio::time::Instant as SystemInstant;

use super::{duration, wall_clock};
use crate::time::{Instant, Now};

/// Stamps the present moment: the machine's monotonic clock, counted from the start of this clock, and
/// the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: SystemInstant,
}

impl Clock {
    /// A clock whose monotonic moments count from now.
    pub fn start() -> Self {
        Self { start: SystemInstant::now() }
    }

    /// The present moment. Its monotonic part never goes back.
    pub fn now(&self) -> Now {
        let passed = self.start.elapsed().as_micros();
        Now { monotonic: Instant::from_us(u64::try_from(passed).unwrap_or(u64::MAX)), wall: wall_clock() }
    }

    /// When the machine's clock reaches `moment`; `None` past what it can express.
    pub(super) fn system(&self, moment: Instant) -> Option<SystemInstant> {
        self.start.checked_add(duration(moment.since(Instant::from_us(0))))
    }
}
