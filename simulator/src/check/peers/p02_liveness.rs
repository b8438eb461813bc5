//! P2: liveness after heal: once the faults are over, what was acknowledged reaches every peer in time.
//!
//! At the heal the check notes who lacks which acknowledged version, or one that beats it. What is still
//! lacking when the stated time has passed is a violation, and so is what any peer lacks in the end.

use std::collections::BTreeMap;

use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::acknowledged::Acknowledged;
use super::held::{Held, RowNumber};
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct Liveness {
    peers: u32,
    within_us: u64,
    held: Held,
    acknowledged: Acknowledged,
    /// What has to come, by row and peer.
    due: BTreeMap<(RowNumber, u32), Version>,
    due_at_us: Option<u64>,
    healed: bool,
    judged: u64,
}

impl Liveness {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            peers: terms.count,
            within_us: terms.converge_within_us,
            held: Held::new(terms),
            acknowledged: Acknowledged::new(terms),
            due: BTreeMap::new(),
            due_at_us: None,
            healed: false,
            judged: 0,
        }
    }

    fn healed(&mut self, at_us: u64) {
        self.healed = true;
        self.due_at_us = Some(at_us.saturating_add(self.within_us));
        self.due.clear();
        for row in 0..self.held.names.count() {
            let Some(wanted) = self.acknowledged.wanted(row).cloned() else { continue };
            for peer in 0..self.peers {
                let gone = self.held.of(peer, row).is_none_or(|holding| holding.deleted);
                let absent = gone && self.acknowledged.may_be_absent(row);
                if !absent && !self.held.has(peer, row, &wanted.version) {
                    self.due.insert((row, peer), wanted.version.clone());
                }
            }
        }
    }

    fn overdue(&mut self, at_us: u64, findings: &mut Findings) {
        let Some(due_at_us) = self.due_at_us.filter(|due_at_us| *due_at_us < at_us) else { return };
        self.due_at_us = None;
        for ((row, peer), version) in std::mem::take(&mut self.due) {
            let gone = self.held.of(peer, row).is_none_or(|holding| holding.deleted);
            let absent = gone && self.acknowledged.may_be_absent(row);
            if absent {
                continue;
            }
            let name = self.held.names.row(row);
            let within_us = self.within_us;
            findings.add(due_at_us, self.acknowledged.wanted(row).and_then(|wanted| wanted.op), || {
                format!("{name} {version} was acknowledged and had not reached peer {peer} {within_us} us after the heal")
            });
        }
    }

    fn reached(&mut self, peer: u32, row: RowNumber) {
        if let Some(version) = self.due.get(&(row, peer))
            && self.held.has(peer, row, version)
        {
            self.due.remove(&(row, peer));
        }
    }

    fn merged(&mut self, node: u32, merged: &MergedRow) {
        let row = self.held.merged(node, merged);
        self.acknowledged.merged(node, row, merged);
        if merged.outcome == MergeOutcome::Expired {
            self.due.remove(&(row, node));
        }
        self.reached(node, row);
    }

    fn ends(&mut self, event: &Event, what: &PeerWhat, findings: &mut Findings) {
        let PeerWhat::FinalRow { row, nodes, holds } = what else { return };
        let number = self.held.names.number(row);
        let Some(wanted) = self.acknowledged.wanted(number) else { return };
        self.judged += nodes.len() as u64;
        let rule = self.held.names.rule(number);
        let served = match holds {
            Some(state) if state.deleted && self.acknowledged.may_be_absent(number) => true,
            Some(state) => self.acknowledged.is_served(number, rule, &state.version),
            None => self.acknowledged.may_be_absent(number),
        };
        if !served {
            findings.add(event.at_us, wanted.op, || {
                let holds =
                    holds.as_ref().map_or_else(|| "nothing".to_owned(), |state| state.version.to_string());
                let (version, peers) = (&wanted.version, super::list(nodes));
                format!("{row} {version} was acknowledged and peer {peers} ends with {holds}")
            });
        }
    }
}

impl Check for Liveness {
    fn property(&self) -> Property {
        Property {
            id: "P2",
            name: "liveness after heal",
            statement: "Once faults stop, every acknowledged write, or one that beats it, reaches every peer within the stated time.",
            needs: &[
                Kind::PeerTransaction,
                Kind::PeerCommitted,
                Kind::Merged,
                Kind::Purged,
                Kind::PeerLife,
                Kind::Fault,
                Kind::FinalRow,
            ],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.overdue(event.at_us, findings);
        let what = match &event.what {
            What::Healed => return self.healed(event.at_us),
            What::Peer(what) => what,
            _ => return,
        };
        match what {
            PeerWhat::Merged { node, rows, .. } => rows.iter().for_each(|row| self.merged(*node, row)),
            PeerWhat::FinalRow { .. } => self.ends(event, what, findings),
            _ => {
                self.held.observe(what);
                self.acknowledged.observe(what, &mut self.held);
                if let PeerWhat::Committed { op, writes, .. } = what {
                    for write in writes {
                        let row = self.held.names.number(&write.row);
                        self.reached(op.host, row);
                    }
                }
            }
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        // What is still due when the run ends early was judged by the final rows.
        let judged = if self.healed { self.judged } else { 0 };
        Basis::new(judged, &format!("acknowledged rows looked for at {} peers after the heal", self.peers))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> Liveness {
        Liveness::new(&terms())
    }

    /// Peer 0 writes; peer 1 gets it before the heal at 10, peer 2 at `at_us`.
    fn story(at_us: u64) -> Vec<(u64, What)> {
        let before = [committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]), acknowledged(0, 1)];
        let mut story: Vec<_> = before.into_iter().map(|what| (5, What::Peer(what))).collect();
        story.push((6, What::Peer(merged(1, 0, vec![took(1, v(5, "p0"))]))));
        story.push((10, What::Healed));
        story.push((at_us, What::Peer(merged(2, 1, vec![took(1, v(5, "p0"))]))));
        story.push((5_000, What::Peer(ends(1, &[0, 1, 2], lives(v(5, "p0"))))));
        story
    }

    #[test]
    fn a_write_that_arrives_in_time_or_is_beaten_passes() {
        passes_at(check(), timed(story(1_010)));
        let mut story = story(1_010);
        story[4].1 = What::Peer(merged(2, 1, vec![took(1, v(6, "p1"))]));
        passes_at(check(), timed(story));
    }

    #[test]
    fn a_write_that_arrives_late_fails() {
        fails_at(check(), timed(story(1_011)), "had not reached peer 2 1000 us after the heal");
    }

    #[test]
    fn a_write_that_one_peer_lacks_in_the_end_fails() {
        let mut story = story(20);
        story.truncate(5);
        story.push((30, What::Peer(ends(1, &[0, 1], lives(v(5, "p0"))))));
        story.push((30, What::Peer(ends(1, &[2], None))));
        fails_at(check(), timed(story.clone()), "peer 2 ends with nothing");
        story[6].1 = What::Peer(ends(1, &[2], lives(v(4, "p1"))));
        fails_at(check(), timed(story), "peer 2 ends with 4.0@p1");
    }

    #[test]
    fn a_delete_that_was_purged_need_not_arrive() {
        let history = |purged: u32| {
            timed(vec![
                (1, What::Peer(committed(0, 1, 1, vec![delete(1, v(5, "p0"), None)]))),
                (2, What::Peer(acknowledged(0, 1))),
                (3, What::Peer(if purged > 0 { PeerWhat::Purged { node: 0, rows: 1 } } else { began(0, 2) })),
                (4, What::Healed),
                (2_000, What::Peer(ends(1, &[0, 1, 2], None))),
            ])
        };
        passes_at(check(), history(1));
        fails_at(check(), history(0), "had not reached peer 1");
    }
}
