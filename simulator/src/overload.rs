//! How much more was asked for than could be done, both measured in the run itself: whatever limits the rate, and
//! in whichever rig.

use std::collections::VecDeque;

use crate::history::{End, Event, What};
use crate::run::Threshold;
use crate::scenario::model::Overload;
use crate::verdict::Verdict;

/// Measures an overload.
#[derive(Clone, Debug)]
pub struct Meter {
    from_us: u64,
    until_us: u64,
    factor_min: u32,
    /// Operations that the workload intended meanwhile.
    offered: u64,
    /// When operations were answered, within the last second.
    answered_us: VecDeque<u64>,
    /// The most that were answered in a second.
    best: u64,
}

impl Meter {
    /// Measures between the moments that a scenario states.
    pub fn new(overload: &Overload) -> Self {
        Self {
            from_us: overload.from.as_us(),
            until_us: overload.until.as_us(),
            factor_min: overload.factor_min,
            offered: 0,
            answered_us: VecDeque::new(),
            best: 0,
        }
    }

    /// Takes an event. Answers count whatever they say: the server worked for each of them.
    pub fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Asked { intended_us, .. } | What::Unsent { intended_us, .. }
                if (self.from_us..self.until_us).contains(intended_us) =>
            {
                self.offered += 1;
            }
            What::Finished { end: End::Done | End::Rejected, .. } | What::Late { .. }
                if (self.from_us..self.until_us).contains(&event.at_us) =>
            {
                self.answered_us.push_back(event.at_us);
                while self.answered_us.front().is_some_and(|first| event.at_us - first >= SECOND_US) {
                    self.answered_us.pop_front();
                }
                self.best = self.best.max(self.answered_us.len() as u64);
            }
            _ => {}
        }
    }

    /// What came of it. Rates are compared in whole operations, without rounding.
    pub fn threshold(&self) -> Threshold {
        let length_us = u128::from(self.until_us - self.from_us);
        let offered = u128::from(self.offered) * u128::from(SECOND_US);
        let bound = u128::from(self.factor_min) * u128::from(self.best) * length_us;
        let (verdict, factor) = match self.best {
            0 => (Verdict::Unknown, "nothing was answered".to_owned()),
            best => {
                let hundredths = offered * 100 / (u128::from(best) * length_us);
                let verdict = if offered >= bound { Verdict::Pass } else { Verdict::Fail };
                (verdict, format!("{}.{:02} times", hundredths / 100, hundredths % 100))
            }
        };
        let rate = offered / length_us;
        Threshold {
            figure: "load in the overload, to what is answered".to_owned(),
            bound: format!("at least {} times", self.factor_min),
            actual: format!("{factor}: {rate}/s asked for, {} answered in the best second", self.best),
            verdict,
        }
    }
}

const SECOND_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use sync_core::data_type::SyncDataType;

    use super::*;
    use crate::history::{OpRef, WireId};
    use crate::scenario::units::Length;

    const OP: OpRef = OpRef { host: 0, ticket: 1 };

    fn asked(at_us: u64) -> Event {
        let what = What::Asked {
            op: OP,
            intended_us: at_us,
            critical: false,
            priority: false,
            writes: true,
            is_report: false,
            data_type: SyncDataType::ChatMessage,
            map: 0,
            value: None,
        };
        Event { at_us, what }
    }

    fn answered(at_us: u64, end: End) -> Event {
        let what = What::Finished {
            op: OP,
            id: WireId { account: 1, incarnation: 1, counter: 1 },
            critical: false,
            writes: true,
            data_type: SyncDataType::ChatMessage,
            end,
            intended_us: at_us,
            asked_us: at_us,
            sent_us: None,
        };
        Event { at_us, what }
    }

    /// Two seconds, with so many asked for and answered at these moments.
    fn measured(asked_for: u64, answers_us: &[u64]) -> Threshold {
        let (from, until) = (Length::from_ms(1_000), Length::from_ms(3_000));
        let mut meter = Meter::new(&Overload { from, until, factor_min: 3 });
        for n in 0..asked_for {
            meter.observe(&asked(1_000_000 + n));
        }
        answers_us.iter().for_each(|at_us| meter.observe(&answered(*at_us, End::Done)));
        meter.threshold()
    }

    #[test]
    fn three_times_what_is_done_in_the_best_second_passes_and_less_fails() {
        // Two of three fall into one second, whatever the clock says.
        let answers = [1_200_000, 1_900_000, 2_500_000];
        let enough = measured(12, &answers);
        assert_eq!(enough.verdict, Verdict::Pass);
        assert_eq!(enough.actual, "3.00 times: 6/s asked for, 2 answered in the best second");
        let less = measured(11, &answers);
        assert_eq!((less.verdict, less.actual.split(':').next()), (Verdict::Fail, Some("2.75 times")));
    }

    #[test]
    fn what_happens_before_and_after_does_not_count() {
        let (from, until) = (Length::from_ms(1_000), Length::from_ms(3_000));
        let mut meter = Meter::new(&Overload { from, until, factor_min: 3 });
        for at_us in [999_999, 3_000_000] {
            meter.observe(&asked(at_us));
            meter.observe(&answered(at_us, End::Done));
        }
        meter.observe(&answered(2_000_000, End::Displaced));
        assert_eq!((meter.offered, meter.best), (0, 0));
        assert_eq!(meter.threshold().verdict, Verdict::Unknown);
    }
}
