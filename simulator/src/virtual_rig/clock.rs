//! A node's clocks as functions of the world's time.

use sync_core::time::{Instant, Now, Timestamp};

/// Where every world's wall clock starts: 2026-01-01T00:00:00Z, in microseconds since the epoch.
pub const WORLD_START_US: u64 = 1_767_225_600_000_000;

/// A monotonic clock with a rate, and a wall clock with an offset that may step.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeClock {
    /// How much faster than the world, in parts per million.
    drift_ppm: i32,
    /// Wall clock minus the world's, drift aside.
    offset_us: i64,
}

impl NodeClock {
    /// A clock with this rate and offset.
    pub const fn new(drift_ppm: i32, offset_us: i64) -> Self {
        Self { drift_ppm, offset_us }
    }

    /// What the node sees at this moment of the world.
    pub fn now(&self, world_us: u64) -> Now {
        let monotonic = self.monotonic_us(world_us);
        let wall = (WORLD_START_US + monotonic).saturating_add_signed(self.offset_us);
        Now { monotonic: Instant::from_us(monotonic), wall: Timestamp::from_us(wall) }
    }

    /// The first moment of the world at which the node's monotonic clock shows `instant` or later.
    pub fn world_us(&self, instant: Instant) -> u64 {
        if self.drift_ppm == 0 {
            return instant.as_us();
        }
        let rate = rate(self.drift_ppm);
        u64::try_from((u128::from(instant.as_us()) * 1_000_000).div_ceil(u128::from(rate)))
            .unwrap_or(u64::MAX)
    }

    /// How far its wall clock is from the world's at this moment, in microseconds.
    pub fn ahead_us(&self, world_us: u64) -> i64 {
        self.now(world_us).wall.as_us().cast_signed() - (WORLD_START_US + world_us).cast_signed()
    }

    /// Lets the wall clock jump.
    pub fn step(&mut self, by_us: i64) {
        self.offset_us = self.offset_us.saturating_add(by_us);
    }

    fn monotonic_us(&self, world_us: u64) -> u64 {
        if self.drift_ppm == 0 {
            return world_us;
        }
        (u128::from(world_us) * u128::from(rate(self.drift_ppm)) / 1_000_000) as u64
    }
}

fn rate(drift_ppm: i32) -> u64 {
    1_000_000u64.saturating_add_signed(i64::from(drift_ppm)).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_wake_up_is_never_early_and_at_most_a_tick_late(drift in -100_000i32..100_000, due in 0u64..100_000_000_000) {
            let clock = NodeClock::new(drift, 0);
            let at = clock.world_us(Instant::from_us(due));
            prop_assert!(clock.now(at).monotonic.as_us() >= due);
            if at > 0 {
                prop_assert!(clock.now(at - 1).monotonic.as_us() < due);
            }
        }
    }

    #[test]
    fn a_step_moves_the_wall_clock_only() {
        let mut clock = NodeClock::new(0, 0);
        let before = clock.now(5_000);
        clock.step(-1_000_000);
        let after = clock.now(5_000);
        assert_eq!(before.monotonic, after.monotonic);
        assert_eq!(before.wall.as_us() - after.wall.as_us(), 1_000_000);
    }
}
