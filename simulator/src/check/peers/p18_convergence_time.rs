//! P18: what peers held differently when the last fault ended, they hold alike within the stated time; what that cost is
//! told. Where there was no fault, it is the end of writing that counts.

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use crate::history::peers::{MergeOutcome, PeerWhat};
use crate::history::{Event, Kind, What};
use crate::run::ms;

pub(super) struct ConvergenceTime {
    within_us: u64,
    healed_at_us: Option<u64>,
    /// After the heal: time, and bytes sent.
    equal: Option<(u64, u64)>,
    /// Rows that took effect at a peer between heal and equality.
    repaired: u64,
    last_us: u64,
}

impl ConvergenceTime {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { within_us: terms.converge_within_us, healed_at_us: None, equal: None, repaired: 0, last_us: 0 }
    }
}

impl Check for ConvergenceTime {
    fn property(&self) -> Property {
        Property {
            id: "P18",
            name: "convergence time and cost",
            statement: "What peers held differently when the last fault ended, they hold alike within the stated time; time, bytes and rows are told.",
            needs: &[Kind::Fault, Kind::Merged, Kind::Equal, Kind::Settled],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        match &event.what {
            What::Healed => {
                self.healed_at_us = Some(event.at_us);
                (self.equal, self.repaired) = (None, 0);
            }
            What::Peer(PeerWhat::Merged { rows, .. })
                if self.healed_at_us.is_some() && self.equal.is_none() =>
            {
                let took = |outcome| matches!(outcome, MergeOutcome::Inserted | MergeOutcome::Updated);
                self.repaired += rows.iter().filter(|row| took(row.outcome)).count() as u64;
            }
            What::Peer(PeerWhat::Equal { bytes }) if self.equal.is_none() => {
                let Some(healed_at_us) = self.healed_at_us else { return };
                let (took_us, within_us) = (event.at_us - healed_at_us, self.within_us);
                self.equal = Some((took_us, *bytes));
                if took_us > within_us {
                    findings.add(event.at_us, None, || {
                        format!("the peers were equal {took_us} us after the heal; at most {within_us} us are stated")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        match (self.healed_at_us, self.equal) {
            (None, _) => Basis::new(0, "heals"),
            (Some(healed_at_us), None) => {
                let after_us = self.last_us - healed_at_us;
                findings.add(self.last_us, None, || {
                    format!("in the {after_us} us after the heal the peers never came to hold the same")
                });
                Basis::new(1, "heal, without equality")
            }
            (Some(_), Some((took_us, bytes))) => {
                let each = match self.repaired {
                    0 => String::new(),
                    rows => format!(", {} for each of {rows} repaired rows", bytes / rows),
                };
                Basis::new(1, &format!("heal: equal after {} and {bytes} bytes{each}", ms(took_us)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> ConvergenceTime {
        ConvergenceTime::new(&terms())
    }

    fn story(equal_at_us: u64) -> Vec<Event> {
        timed(vec![
            (50, What::Peer(PeerWhat::Equal { bytes: 0 })),
            (100, What::Healed),
            (200, What::Peer(merged(1, 0, vec![took(1, v(5, "p0")), lost(2, v(5, "p0"), v(6, "p1"))]))),
            (equal_at_us, What::Peer(PeerWhat::Equal { bytes: 300 })),
        ])
    }

    #[test]
    fn equality_in_time_passes_and_its_cost_is_told() {
        passes_at(check(), story(1_100));
        let (mut check, mut findings) = (check(), Findings::default());
        story(1_100).iter().for_each(|event| check.observe(event, &mut findings));
        let words = check.finish(&mut findings).words;
        assert_eq!(words, "1 heal: equal after 1.00 ms and 300 bytes, 300 for each of 1 repaired rows");
    }

    #[test]
    fn equality_that_is_late_or_missing_fails() {
        fails_at(check(), story(1_101), "the peers were equal 1001 us after the heal");
        let mut story = story(1_100);
        story.truncate(3);
        story.extend(timed(vec![(5_100, What::Settled { open: 0 })]));
        fails_at(check(), story, "in the 5000 us after the heal the peers never came to hold the same");
    }

    #[test]
    fn without_a_heal_nothing_is_judged() {
        assert_eq!(basis(check(), vec![PeerWhat::Equal { bytes: 0 }]), 0);
    }
}
