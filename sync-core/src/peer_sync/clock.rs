//! The hybrid logical clock of a peer: where stamps come from (Kulkarni et al. 2014).
//!
//! Three rules: a local write takes the greater of the physical clock and the moment after the last stamp; a
//! received stamp is absorbed, so that whatever is written after it was seen is greater; after a restart the clock
//! goes on from the greatest stamp that is durable. The paper stamps the receipt itself as well; here a
//! receipt is no write, so absorbing the greater stamp is all there is to it.
//!
//! What is promised (P12, P13): stamps strictly grow at a node, whatever its physical clock does; they are greater
//! than every stamp that was accepted before; they lie no further ahead of the physical time than the bound, a
//! microsecond more where somebody used a counter up, unless the node's own clock stepped back. A stamp beyond the
//! bound is refused and leaves no trace, so one peer with a wrong clock cannot carry the others along.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::version::Stamp;
use crate::limits;
use crate::time::{Span, Timestamp};

/// The clock of one node. Plain data, so that whoever keeps it can make it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HybridClock {
    last: Stamp,
    ahead_max: Span,
}

/// A stamp lies further in the future than the bound. It is not absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the stamp {stamp} lies {ahead} ahead of this node's clock; correct the clock of the node that wrote it"
)]
pub struct TooFarAhead {
    /// The stamp.
    pub stamp: Stamp,
    /// How far ahead of the physical clock it lies.
    pub ahead: Span,
}

/// A stamp that no clock may have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stamp {0} lies after year 294,246, which no clock shows; it was altered")]
pub struct InvalidStamp(pub Stamp);

impl HybridClock {
    /// The clock of an empty database.
    pub fn new(ahead_max: Span) -> Self {
        Self { last: Stamp::default(), ahead_max }
    }

    /// A clock that goes on after `last`: the greatest stamp of all that is durable at this node, its own
    /// and accepted ones alike; the default stamp for an empty database.
    ///
    /// Stamps that were given to transactions which never became durable need not be known: nobody has seen them.
    pub fn after(last: Stamp, ahead_max: Span) -> Result<Self, InvalidStamp> {
        if last.us > limits::STAMP_US_MAX {
            return Err(InvalidStamp(last));
        }
        Ok(Self { last, ahead_max })
    }

    /// The greatest stamp that was given or accepted.
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// How far ahead of the clock a stamp may lie to be accepted.
    pub fn ahead_max(&self) -> Span {
        self.ahead_max
    }

    /// How far the next stamp will be ahead of the physical clock: more than the bound only after that was
    /// stepped back, and then others refuse what is written here until time has caught up.
    pub fn ahead(&self, now: Timestamp) -> Span {
        Span::from_us(next(self.last).us.saturating_sub(now.as_us()))
    }

    /// The stamp of a local write.
    pub fn stamp(&mut self, now: Timestamp) -> Stamp {
        let physical = Stamp { us: now.as_us().min(limits::STAMP_US_MAX), counter: 0 };
        self.last = physical.max(next(self.last));
        self.last
    }

    /// Whether a stamp that somebody else gave may be accepted now.
    pub fn check(&self, now: Timestamp, stamp: Stamp) -> Result<(), TooFarAhead> {
        let bound = (now + self.ahead_max).as_us().min(limits::STAMP_US_MAX);
        if stamp.us <= bound {
            return Ok(());
        }
        Err(TooFarAhead { stamp, ahead: Span::from_us(stamp.us.saturating_sub(now.as_us())) })
    }

    /// Absorbs a stamp that somebody else gave, if it may be accepted.
    pub fn receive(&mut self, now: Timestamp, stamp: Stamp) -> Result<(), TooFarAhead> {
        self.check(now, stamp)?;
        self.last = self.last.max(stamp);
        Ok(())
    }
}

/// The stamp right after this one. A counter that is used up is carried into the microseconds; these do not run
/// out, since whatever enters a clock is at most half of what fits.
fn next(stamp: Stamp) -> Stamp {
    match stamp.counter.checked_add(1) {
        Some(counter) => Stamp { counter, ..stamp },
        None => Stamp { us: stamp.us.saturating_add(1), counter: 0 },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND: Span = Span::from_us(50);

    fn clock() -> HybridClock {
        HybridClock::after(Stamp::default(), BOUND).unwrap()
    }

    fn at(us: u64) -> Timestamp {
        Timestamp::from_us(us)
    }

    fn stamp(us: u64, counter: u32) -> Stamp {
        Stamp { us, counter }
    }

    #[test]
    fn the_paper_s_rules() {
        let mut clock = clock();
        assert_eq!(clock.stamp(at(10)), stamp(10, 0), "physical time, where it is ahead");
        assert_eq!(clock.stamp(at(10)), stamp(10, 1), "the counter within one microsecond");
        assert_eq!(clock.stamp(at(3)), stamp(10, 2), "the clock stepped back");
        assert_eq!(clock.receive(at(11), stamp(30, 7)), Ok(()));
        assert_eq!(clock.stamp(at(11)), stamp(30, 8), "past what was seen");
        assert_eq!(clock.receive(at(11), stamp(30, 2)), Ok(()));
        assert_eq!(clock.stamp(at(11)), stamp(30, 9), "the remote counter counts, and only if it is greater");
        assert_eq!(clock.stamp(at(31)), stamp(31, 0));
    }

    #[test]
    fn a_stamp_at_the_bound_is_accepted_and_one_past_it_is_refused_without_trace() {
        let mut clock = clock();
        assert_eq!(clock.receive(at(100), stamp(150, u32::MAX)), Ok(()));
        let before = clock;
        let refused = clock.receive(at(100), stamp(151, 0));
        assert_eq!(refused, Err(TooFarAhead { stamp: stamp(151, 0), ahead: Span::from_us(51) }));
        assert_eq!(clock, before);
        assert_eq!(clock.stamp(at(100)), stamp(151, 0), "a counter that is used up is carried");
        assert_eq!(clock.receive(at(101), stamp(151, 0)), Ok(()), "accepted once the clock has caught up");
    }

    #[test]
    fn no_clock_gets_near_the_end_of_the_numbers() {
        let end = stamp(limits::STAMP_US_MAX, u32::MAX);
        let mut clock = HybridClock::after(end, Span::MAX).unwrap();
        assert!(clock.stamp(at(u64::MAX)) > end);
        assert!(clock.receive(at(u64::MAX), stamp(u64::MAX, 0)).is_err());
        assert!(HybridClock::after(stamp(u64::MAX, 0), BOUND).is_err());
    }

    /// What may happen at one of a few nodes.
    #[derive(Clone, Debug)]
    enum Step {
        /// All clocks go on.
        Pass(u64),
        /// One clock is stepped to this offset from the true time, in microseconds.
        Adjust(usize, u64),
        /// A node writes.
        Write(usize),
        /// A node receives the last stamp of another.
        Send(usize, usize),
        /// A node receives a stamp out of nowhere, this far from the true time.
        Forge(usize, u64, u32),
        /// A node restarts from what is durable.
        Restart(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let node = 0..3usize;
        prop_oneof![
            1 => (0u64..30).prop_map(Step::Pass),
            1 => (node.clone(), 0u64..=100).prop_map(|(node, offset)| Step::Adjust(node, offset)),
            4 => node.clone().prop_map(Step::Write),
            4 => (node.clone(), node.clone()).prop_map(|(from, to)| Step::Send(from, to)),
            1 => (node.clone(), 0u64..400, prop_oneof![0u32..3, Just(u32::MAX)])
                .prop_map(|(node, us, counter)| Step::Forge(node, us, counter)),
            1 => node.prop_map(Step::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

        /// P12 and P13 over nodes whose clocks run apart by more than the bound, step both ways, and restart.
        #[test]
        fn p13_stamps_grow_absorb_stay_bounded_and_survive_restarts(
            steps in proptest::collection::vec(any_step(), 1..80),
        ) {
            let mut time = 1_000u64;
            let mut offsets = [50u64; 3];
            let mut clocks = [clock(); 3];
            // Per node: the greatest stamp that it gave or accepted, and the greatest moment that its clock showed.
            let mut seen = [Stamp::default(); 3];
            let mut latest = [0u64; 3];
            for step in steps {
                let mut receive = |node: usize, now: u64, remote: Stamp, clock: &mut HybridClock| {
                    let before = *clock;
                    let accepted = clock.receive(at(now), remote).is_ok();
                    prop_assert_eq!(accepted, remote.us <= now + BOUND.as_us());
                    if accepted {
                        seen[node] = seen[node].max(remote);
                    } else {
                        prop_assert_eq!(*clock, before);
                    }
                    Ok(())
                };
                let now = |node: usize| time + offsets[node] - 50;
                match step {
                    Step::Pass(us) => time += us,
                    Step::Adjust(node, offset) => offsets[node] = offset,
                    Step::Send(from, to) => {
                        let remote = clocks[from].last();
                        receive(to, now(to), remote, &mut clocks[to])?;
                    }
                    Step::Forge(node, us, counter) => {
                        receive(node, now(node), stamp(time - 200 + us, counter), &mut clocks[node])?;
                    }
                    Step::Restart(node) => clocks[node] = HybridClock::after(seen[node], BOUND).unwrap(),
                    Step::Write(node) => {
                        let given = clocks[node].stamp(at(now(node)));
                        prop_assert!(given > seen[node], "{given} after {}", seen[node]);
                        prop_assert!(given.us >= now(node));
                        seen[node] = given;
                    }
                }
                for node in 0..3 {
                    latest[node] = latest[node].max(time + offsets[node] - 50);
                    // One microsecond for a counter that a forged stamp used up.
                    let bound = latest[node] + BOUND.as_us() + 1;
                    prop_assert!(clocks[node].last().us <= bound, "{} over {bound}", clocks[node].last());
                }
            }
        }
    }
}
