//! P22: goodput returns once an overload is over.
//!
//! Of the operations intended from the stated moment on, the stated share is done within the stated time: a system
//! that stays overloaded although its load is normal again (a metastable failure) fails.

use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{End, Event, Kind, What};

/// What a scenario states of recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// From then on, microseconds since the start of the run.
    pub from_us: u64,
    /// Share of good operations, in parts per million.
    pub goodput_ppm_min: u32,
    /// From the intended moment to the result of a good operation.
    pub latency_us_max: u64,
}

pub(super) struct Recovers {
    terms: Recovery,
    judged: u64,
    good: u64,
    last_us: u64,
}

impl Recovers {
    pub(super) fn new(terms: &Terms) -> Self {
        Self { terms: terms.recovery.unwrap_or_default(), judged: 0, good: 0, last_us: 0 }
    }
}

impl Check for Recovers {
    fn property(&self) -> Property {
        Property {
            id: "P22",
            name: "recovery after overload",
            statement: "Once an overload is over, goodput returns within the stated time.",
            needs: &[Kind::Asked, Kind::Unsent, Kind::Finished],
        }
    }

    fn observe(&mut self, event: &Event, _: &mut Findings) {
        self.last_us = event.at_us;
        let Recovery { from_us, latency_us_max, .. } = self.terms;
        match &event.what {
            What::Asked { intended_us, .. } | What::Unsent { intended_us, .. } if *intended_us >= from_us => {
                self.judged += 1;
            }
            What::Finished { intended_us, end, .. } if *intended_us >= from_us => match end {
                End::Done => self.good += u64::from(event.at_us - intended_us <= latency_us_max),
                // A newer value took its place before it left: nobody misses it.
                End::Superseded => self.judged = self.judged.saturating_sub(1),
                _ => {}
            },
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let Recovery { from_us, goodput_ppm_min, latency_us_max } = self.terms;
        let (good, judged) = (self.good, self.judged);
        if u128::from(good) * 1_000_000 < u128::from(judged) * u128::from(goodput_ppm_min) {
            findings.add(self.last_us, None, || {
                format!(
                    "of {judged} operations intended from {from_us} us on, {good} were done within {latency_us_max} us: \
                     {} of 1,000,000, at least {goodput_ppm_min} are stated",
                    good * 1_000_000 / judged
                )
            });
        }
        Basis::new(judged, &format!("operations after the overload, {good} of them done in time"))
    }
}

#[cfg(test)]
mod tests {
    use sync_core::host_sync::operation::Lane;

    use super::super::testing::*;
    use super::*;

    fn check() -> Recovers {
        let recovery = Recovery { from_us: 100, goodput_ppm_min: 500_000, latency_us_max: 10 };
        Recovers::new(&Terms { recovery: Some(recovery), ..Terms::default() })
    }

    /// Asked at a moment, and ended so much later.
    fn operation(at_us: u64, after_us: u64, end: End) -> Vec<Event> {
        let mut asked = asked_on(at_us, Lane::Normal, 0);
        let mut ended = finished(at_us, end);
        if let What::Asked { intended_us, .. } | What::Finished { intended_us, .. } = &mut asked {
            *intended_us = at_us;
        }
        if let What::Finished { intended_us, .. } = &mut ended {
            *intended_us = at_us;
        }
        vec![Event { at_us, what: asked }, Event { at_us: at_us + after_us, what: ended }]
    }

    #[test]
    fn goodput_that_returns_passes_whatever_was_before() {
        let mut history = operation(99, 5_000, End::Failed);
        history.extend(operation(100, 10, End::Done));
        history.extend(operation(101, 11, End::Done));
        history.extend(operation(102, 1, End::Superseded));
        passes_at(check(), history);
    }

    #[test]
    fn goodput_that_stays_away_fails() {
        for bad in [operation(101, 11, End::Done), operation(101, 1, End::Failed)] {
            let mut history = operation(100, 10, End::Done);
            history.extend(bad.clone());
            history.extend(bad);
            fails_at(check(), history, "of 3 operations intended from 100 us on, 1 were done");
        }
        let open = operation(100, 0, End::Done)[..1].to_vec();
        fails_at(check(), open, "of 1 operations intended from 100 us on, 0 were done");
    }
}
