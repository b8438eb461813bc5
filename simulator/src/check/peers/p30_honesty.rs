//! P30: the harness is honest about its own work among peers.
//!
//! Each arrival that the plan holds began as a transaction, or is reported unsent, at the intended moment; each
//! transaction that began came to an end, or is reported as open.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Basis, Check, Findings, Property, moment};
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, OpRef, What};

#[derive(Default)]
pub(super) struct Honesty {
    peers: BTreeMap<u32, Tally>,
    /// Transactions that began and did not end.
    under_way: BTreeSet<OpRef>,
    planned: u64,
    open: u64,
}

#[derive(Default)]
struct Tally {
    arrivals: u64,
    moments: u64,
}

impl Check for Honesty {
    fn property(&self) -> Property {
        Property {
            id: "P30",
            name: "honesty of the harness",
            statement: "Planned arrivals begin or are reported unsent, and what begins ends or is reported open.",
            needs: &[
                Kind::Planned,
                Kind::PeerTransaction,
                Kind::PeerCommitted,
                Kind::PeerRead,
                Kind::Settled,
            ],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Peer(PeerWhat::Began { op, intended_us, .. } | PeerWhat::Unsent { op, intended_us }) => {
                let tally = self.peers.entry(op.host).or_default();
                tally.arrivals += 1;
                tally.moments = tally.moments.wrapping_add(moment(op.ticket, *intended_us));
                if event.at_us < *intended_us {
                    findings.add(event.at_us, Some(*op), || {
                        format!("{op} was intended at {intended_us} us and came at {} us", event.at_us)
                    });
                }
                if matches!(event.what, What::Peer(PeerWhat::Began { .. })) {
                    self.under_way.insert(*op);
                }
            }
            What::Peer(
                PeerWhat::Aborted { op, .. }
                | PeerWhat::Committed { op, .. }
                | PeerWhat::Acknowledged { op }
                | PeerWhat::Indefinite { op }
                | PeerWhat::Read { op, .. },
            ) => {
                self.under_way.remove(op);
            }
            What::Settled { open } => self.open = *open,
            What::Planned { host, arrivals, moments } => {
                self.planned += arrivals;
                let seen = self.peers.remove(host).unwrap_or_default();
                if (seen.arrivals, seen.moments) != (*arrivals, *moments) {
                    findings.add(event.at_us, None, || {
                        let at_other = if seen.arrivals == *arrivals { ", at other moments" } else { "" };
                        let seen = seen.arrivals;
                        format!("peer {host}: the plan holds {arrivals} arrivals, {seen} began or are reported unsent{at_other}")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (peer, tally) in self.peers.iter().filter(|(_, tally)| tally.arrivals > 0) {
            findings.add(0, None, || {
                format!("peer {peer}: {} arrivals that the plan does not hold", tally.arrivals)
            });
        }
        let (left, open) = (self.under_way.len() as u64, self.open);
        if left != open {
            let op = self.under_way.first().copied();
            findings.add(0, op, || {
                format!("{left} transactions began and did not end, {open} are reported open")
            });
        }
        Basis::new(self.planned, "planned arrivals recounted")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn story(arrivals: u64, open: u64, rest: Vec<PeerWhat>) -> Vec<Event> {
        let unsent = PeerWhat::Unsent { op: op(0, 2), intended_us: 0 };
        let mut story: Vec<_> = [began(0, 1), unsent].map(What::Peer).to_vec();
        story.extend(rest.into_iter().map(What::Peer));
        story.push(What::Settled { open });
        story.push(What::Planned { host: 0, arrivals, moments: moment(1, 0).wrapping_add(moment(2, 0)) });
        (0..).zip(story).map(|(at_us, what)| Event { at_us, what }).collect()
    }

    #[test]
    fn a_plan_that_was_carried_out_passes() {
        let ended = vec![committed(0, 1, 1, vec![]), acknowledged(0, 1)];
        passes_at(Honesty::default(), story(2, 0, ended));
        passes_at(Honesty::default(), story(2, 1, vec![]));
    }

    #[test]
    fn an_arrival_that_is_missing_or_not_planned_fails() {
        fails_at(Honesty::default(), story(3, 1, vec![]), "the plan holds 3 arrivals, 2 began");
        fails_at(
            Honesty::default(),
            story(2, 1, vec![began(1, 1), read(1, 1, vec![])]),
            "peer 1: 1 arrivals that",
        );
        let moved = PeerWhat::Began { op: op(0, 1), session: 0, intended_us: 7 };
        let mut story = story(2, 1, vec![]);
        story[0].what = What::Peer(moved);
        fails_at(Honesty::default(), story.clone(), "0.1 was intended at 7 us and came at 0 us");
        fails_at(Honesty::default(), story, "at other moments");
    }

    #[test]
    fn a_transaction_without_an_end_that_is_not_reported_fails() {
        fails_at(
            Honesty::default(),
            story(2, 0, vec![]),
            "1 transactions began and did not end, 0 are reported open",
        );
        fails_at(Honesty::default(), story(2, 1, vec![read(0, 1, vec![])]), "0 transactions began");
    }
}
