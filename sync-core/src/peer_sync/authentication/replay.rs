//! Takes each signed request once, and only while it is fresh. Bounded: where too many come within the window, the
//! oldest are forgotten together with their time, so that none of them is fresh any more.

use std::collections::BTreeSet;

use thiserror::Error;

use super::Nonce;
use crate::time::{Span, Timestamp};

/// What was seen within the window of freshness.
#[derive(Clone, Debug)]
pub struct ReplayGuard {
    seen: BTreeSet<(Timestamp, Nonce)>,
    /// Nothing of this time or before is taken any more.
    floor: Option<Timestamp>,
    window: Span,
    seen_max: usize,
}

/// Why a request is not taken although its signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotFresh {
    /// Its time is too far from the present.
    #[error("its time is too far from this machine's; set the clocks")]
    Time,
    /// It has been here before.
    #[error("it was seen before")]
    Again,
}

impl ReplayGuard {
    /// Takes what is no farther than `window` from the present, and remembers at most `seen_max` of that.
    pub fn new(window: Span, seen_max: usize) -> Self {
        Self { seen: BTreeSet::new(), floor: None, window, seen_max: seen_max.max(1) }
    }

    /// Takes a request, once.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, now: Timestamp, at: Timestamp, nonce: Nonce) -> Result<(), NotFresh> {
        if now.distance(at) > self.window || self.floor.is_some_and(|floor| at <= floor) {
            return Err(NotFresh::Time);
        }
        if !self.seen.insert((at, nonce)) {
            return Err(NotFresh::Again);
        }
        let oldest = now.saturating_sub(self.window);
        while let Some((first, _)) = self.seen.first().copied()
            && (first < oldest || self.seen.len() > self.seen_max)
        {
            self.seen.pop_first();
            self.floor = Some(first);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn what_is_fresh_is_taken_once() {
        let mut guard = ReplayGuard::new(Span::from_ms(100), 10);
        assert_eq!(guard.admit(ms(1_000), ms(950), Nonce(1)), Ok(()));
        assert_eq!(guard.admit(ms(1_000), ms(950), Nonce(1)), Err(NotFresh::Again));
        assert_eq!(guard.admit(ms(1_000), ms(950), Nonce(2)), Ok(()));
        assert_eq!(guard.admit(ms(1_000), ms(899), Nonce(3)), Err(NotFresh::Time));
        assert_eq!(guard.admit(ms(1_000), ms(1_101), Nonce(3)), Err(NotFresh::Time));
    }

    proptest! {
        /// Whatever comes, whatever the clock does: nothing is taken twice, and no more than the bound is remembered.
        #[test]
        fn nothing_is_taken_twice(calls in prop::collection::vec((0u64..400, 0u64..400, 0u128..4), 0..200)) {
            let mut guard = ReplayGuard::new(Span::from_ms(100), 5);
            let mut taken = BTreeSet::new();
            for (now, at, nonce) in calls {
                if guard.admit(ms(now), ms(at), Nonce(nonce)).is_ok() {
                    prop_assert!(taken.insert((at, nonce)), "{at} {nonce}");
                }
                prop_assert!(guard.seen.len() <= 5);
            }
        }
    }
}
