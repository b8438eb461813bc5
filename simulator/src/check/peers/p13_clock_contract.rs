//! P13: the contract of a peer's clock (hybrid logical clocks, Kulkarni et al. 2014).
//!
//! Stamps strictly grow at a peer, also over a restart; none lies behind the peer's clock, nor ahead of what that
//! has ever shown and of every stamp that the peer gave or took in; a stamp too far ahead is refused, and no other
//! one is. A transaction that began before another committed may have taken its stamps before, so a stamp is
//! compared with those that were committed when its transaction began.

use std::collections::{BTreeMap, VecDeque};

use sync_core::peer_sync::version::Stamp;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat, Written};
use crate::history::{Event, Kind, OpRef, What};

pub(super) struct ClockContract {
    ahead_us_max: u64,
    /// The greatest stamp that was there from the start.
    stock: Stamp,
    clocks: BTreeMap<u32, Clock>,
    /// By peer and session: its transaction, and the greatest stamp that the peer had given when that began.
    began: BTreeMap<(u32, u32), (OpRef, Stamp)>,
    stamps: u64,
    received: u64,
}

#[derive(Default)]
struct Clock {
    /// The greatest stamp of its own committed writes.
    given: Stamp,
    /// The greatest stamp that it gave or took in.
    known: Stamp,
    /// The latest stamps of its own, and who got them.
    recent: VecDeque<(Stamp, OpRef)>,
}

impl ClockContract {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            ahead_us_max: terms.stamp_ahead_us_max,
            stock: Stamp::default(),
            clocks: BTreeMap::new(),
            began: BTreeMap::new(),
            stamps: 0,
            received: 0,
        }
    }

    /// What is wrong with the stamp of a write, if anything.
    fn wrote(&mut self, op: OpRef, began: Option<Stamp>, write: &Written) -> Option<String> {
        self.stamps += 1;
        let clock = self.clocks.entry(op.host).or_default();
        let (stamp, shown_us) = (write.version.stamp, write.clock_us);
        let known = clock.known.max(self.stock);
        let wrong = if let Some(before) = began.filter(|before| stamp <= *before) {
            format!("not greater than {before}, which the peer had given before")
        } else if let Some((_, other)) = clock.recent.iter().find(|(given, to)| *given == stamp && *to != op)
        {
            format!("which {other} has, too")
        } else if stamp.us < shown_us {
            format!("behind the peer's clock, which showed {shown_us}")
        } else if stamp.us > write.clock_us_max.max(known.us.saturating_add(1)) {
            let shown_us = write.clock_us_max;
            format!(
                "ahead of the peer's clock, which never showed more than {shown_us}, and of {known}, the greatest that it knew"
            )
        } else {
            return None;
        };
        Some(format!("{op} wrote {} with the stamp {stamp}, {wrong}", write.row))
    }

    fn received(&mut self, node: u32, merged: &MergedRow, repair: bool) -> Option<String> {
        let refused = merged.outcome == MergeOutcome::TooFarAhead;
        let taken = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated) && !repair;
        let beyond = merged.ahead_us > self.ahead_us_max;
        self.received += u64::from(refused || taken);
        let (ahead_us, max_us) = (merged.ahead_us, self.ahead_us_max);
        let say = |did: &str| {
            format!(
                "peer {node} {did} {} {}, {ahead_us} us ahead of its clock; the bound is {max_us} us",
                merged.row, merged.version
            )
        };
        match (refused, taken, beyond) {
            (true, _, false) => Some(say("refused")),
            (_, true, true) => Some(say("accepted")),
            _ => None,
        }
    }
}

impl Check for ClockContract {
    fn property(&self) -> Property {
        Property {
            id: "P13",
            name: "clock contract",
            statement: "Stamps strictly grow at a peer, lie neither behind its clock nor ahead of all it knows, and are refused beyond the bound.",
            needs: &[Kind::PeerTransaction, Kind::PeerCommitted, Kind::Merged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Stocked { rows } => {
                self.stock = rows.iter().map(|held| held.version.stamp).max().unwrap_or_default();
            }
            PeerWhat::Began { op, session, .. } => {
                let given = self.clocks.entry(op.host).or_default().given;
                self.began.insert((op.host, *session), (*op, given));
            }
            PeerWhat::Committed { op, session, writes, .. } => {
                let began = self.began.get(&(op.host, *session)).filter(|(began, _)| began == op);
                // No stamp equals that of the beginning of time, which a peer has that gave none.
                let began = began.map(|(_, given)| *given).filter(|given| *given > Stamp::default());
                for write in writes {
                    if let Some(wrong) = self.wrote(*op, began, write) {
                        findings.add(event.at_us, Some(*op), || wrong);
                    }
                    let clock = self.clocks.entry(op.host).or_default();
                    clock.given = clock.given.max(write.version.stamp);
                    clock.known = clock.known.max(write.version.stamp);
                    if clock.recent.len() == RECENT_MAX {
                        clock.recent.pop_front();
                    }
                    clock.recent.push_back((write.version.stamp, *op));
                }
            }
            PeerWhat::Merged { node, rows, repair, .. } => {
                for merged in rows {
                    if let Some(wrong) = self.received(*node, merged, *repair) {
                        findings.add(event.at_us, None, || wrong);
                    }
                    let refused = matches!(merged.outcome, MergeOutcome::TooFarAhead | MergeOutcome::Unsound);
                    if !refused {
                        let clock = self.clocks.entry(*node).or_default();
                        clock.known = clock.known.max(merged.version.stamp);
                    }
                }
            }
            // What the disk has lost, the clock may not know either.
            PeerWhat::SetBack { node, .. } => {
                let clock = self.clocks.entry(*node).or_default();
                clock.given = Stamp::default();
                clock.recent.clear();
                self.began.retain(|(peer, _), _| peer != node);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let words = format!("stamps given, {} received ones held against the bound", self.received);
        Basis::new(self.stamps, &words)
    }
}

/// Stamps of a peer that are kept.
const RECENT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> ClockContract {
        ClockContract::new(&terms())
    }

    /// Writes at `us` while the clock shows `clock_us`.
    fn wrote(ticket: u64, us: u64, clock_us: u64) -> Vec<PeerWhat> {
        let write = Written { clock_us, clock_us_max: clock_us, ..write(1, v(us, "p0"), None) };
        vec![began(0, ticket), committed(0, ticket, ticket, vec![write])]
    }

    fn ahead(outcome: MergeOutcome, ahead_us: u64) -> PeerWhat {
        let came = came(2, v(500, "p1"), outcome, None);
        merged(0, 1, vec![MergedRow { ahead_us, ..came }])
    }

    #[test]
    fn stamps_that_follow_the_clock_or_what_was_taken_in_pass() {
        let history = [
            wrote(1, 400, 400),
            vec![ahead(MergeOutcome::Inserted, 100)],
            wrote(2, 501, 401),
            wrote(3, 502, 402),
            vec![ahead(MergeOutcome::TooFarAhead, 101)],
        ];
        assert_eq!(basis(check(), history.concat()), 3);
        passes(check(), history.concat());
    }

    #[test]
    fn a_stamp_that_does_not_grow_fails() {
        fails(check(), [wrote(1, 400, 400), wrote(2, 390, 390)].concat(), "not greater than 400.0");
        fails(check(), [wrote(1, 400, 400), wrote(2, 400, 400)].concat(), "not greater than 400.0");
        let at_once = [vec![began(0, 2)], wrote(1, 400, 400), wrote(2, 390, 390)[1..].to_vec()].concat();
        // Both are of session 0 in these histories, so the beginning of 2 is not known any more.
        passes(check(), at_once);
        let same = [wrote(1, 400, 400)[1..].to_vec(), wrote(2, 400, 400)[1..].to_vec()].concat();
        fails(check(), same, "which 0.1 has, too");
        let back = PeerWhat::SetBack { node: 0, holds: vec![] };
        passes(check(), [wrote(1, 400, 400), vec![back], wrote(2, 400, 400)].concat());
    }

    #[test]
    fn a_stamp_behind_or_ahead_of_everything_fails() {
        fails(check(), wrote(1, 399, 400), "behind the peer's clock, which showed 400");
        fails(check(), wrote(1, 402, 400), "ahead of the peer's clock, which never showed more than 400");
        let refused = ahead(MergeOutcome::TooFarAhead, 101);
        fails(check(), [vec![refused], wrote(1, 501, 400)].concat(), "ahead of the peer's clock");
        let stepped = Written { clock_us: 300, clock_us_max: 400, ..write(1, v(400, "p0"), None) };
        passes(check(), vec![committed(0, 1, 1, vec![stepped])]);
    }

    #[test]
    fn the_bound_decides_what_is_refused() {
        fails(
            check(),
            vec![ahead(MergeOutcome::Updated, 101)],
            "peer 0 accepted users(2) 500.0@p1, 101 us ahead",
        );
        fails(check(), vec![ahead(MergeOutcome::TooFarAhead, 100)], "peer 0 refused users(2)");
    }
}
