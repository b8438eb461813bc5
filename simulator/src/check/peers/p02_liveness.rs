//! P2: liveness after heal: once the faults are over, what was acknowledged reaches every peer in time.
//!
//! At the heal the check notes who lacks which acknowledged version, or one that beats it. What is still
//! lacking when the stated time has passed is a violation, and so is what any peer lacks in the end. A merge that ends
//! `expired` serves a row only where that was deleted. Where nobody knows which of two versions wins (a team's own
//! resolver), it is looked whether there is any.

use std::collections::BTreeMap;

use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::acknowledged::{Acknowledged, Served};
use super::held::{Held, RowNumber};
use crate::history::peers::{MergedRow, PeerWhat};
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
    /// Rows that peers end with in a version of which nobody knows whether it beats the wanted one.
    unknown: u64,
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
            unknown: 0,
        }
    }

    fn healed(&mut self, at_us: u64) {
        self.healed = true;
        self.due_at_us = Some(at_us.saturating_add(self.within_us));
        self.due.clear();
        for row in 0..self.held.names.count() {
            let Some(wanted) = self.acknowledged.wanted(row).cloned() else { continue };
            for peer in 0..self.peers {
                if self.lacks(peer, row, &wanted.version) {
                    self.due.insert((row, peer), wanted.version.clone());
                }
            }
        }
    }

    fn overdue(&mut self, at_us: u64, findings: &mut Findings) {
        let Some(due_at_us) = self.due_at_us.filter(|due_at_us| *due_at_us < at_us) else { return };
        self.due_at_us = None;
        for ((row, peer), version) in std::mem::take(&mut self.due) {
            // What was taken for a new row meanwhile is what is wanted.
            let wanted = self.acknowledged.wanted(row).cloned();
            let served = wanted.is_none_or(|wanted| !self.lacks(peer, row, &wanted.version));
            if served || !self.lacks(peer, row, &version) {
                continue;
            }
            let name = self.held.names.row(row);
            let within_us = self.within_us;
            findings.add(due_at_us, self.acknowledged.wanted(row).and_then(|wanted| wanted.op), || {
                format!("{name} {version} was acknowledged and had not reached peer {peer} {within_us} us after the heal")
            });
        }
    }

    /// Whether a peer has neither this version of a row nor one that beats it, as far as that is known, and the row is not
    /// one that was deleted and purged.
    fn lacks(&mut self, peer: u32, row: RowNumber, version: &Version) -> bool {
        let holding = self.held.of(peer, row).cloned();
        if holding.as_ref().is_none_or(|holding| holding.deleted) && self.acknowledged.may_be_absent(row) {
            return false;
        }
        holding.is_none_or(|holding| {
            self.acknowledged.serves(&self.held.names, row, &holding.version, version) == Served::No
        })
    }

    fn reached(&mut self, peer: u32, row: RowNumber) {
        if let Some(version) = self.due.get(&(row, peer)).cloned()
            && !self.lacks(peer, row, &version)
        {
            self.due.remove(&(row, peer));
        }
    }

    fn merged(&mut self, node: u32, merged: &MergedRow) {
        let row = self.held.merged(node, merged);
        self.acknowledged.merged(node, &self.held.names, row, merged);
        self.reached(node, row);
    }

    fn ends(&mut self, event: &Event, what: &PeerWhat, findings: &mut Findings) {
        let PeerWhat::FinalRow { row, nodes, holds } = what else { return };
        let number = self.held.names.number(row);
        let Some(wanted) = self.acknowledged.wanted(number) else { return };
        self.judged += nodes.len() as u64;
        let absent = self.acknowledged.may_be_absent(number);
        let served = match holds {
            Some(state) if state.deleted && absent => Served::Yes,
            Some(state) => self.acknowledged.is_served(&self.held.names, number, &state.version),
            None if absent => Served::Yes,
            None => Served::No,
        };
        if served == Served::Unknown {
            self.unknown += nodes.len() as u64;
        }
        if served == Served::No {
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
                // A row that was deleted need not be there; one that is inserted after that is another matter.
                if let PeerWhat::Dropped { node, rows } = what {
                    for row in rows {
                        let row = self.held.names.number(row);
                        self.reached(*node, row);
                    }
                }
            }
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        // What is still due when the run ends early was judged by the final rows.
        let judged = if self.healed { self.judged } else { 0 };
        Basis::new(judged, &format!("acknowledged rows looked for at {} peers after the heal", self.peers))
            .excusing(self.unknown, NOT_COMPARED)
    }
}

/// What is said of rows that end in a version of which nobody knows whether it beats the wanted one.
pub(super) const NOT_COMPARED: &str = "were found in versions of which it is not known who wins";

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::peers::MergeOutcome;

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

    #[test]
    fn a_row_that_was_dropped_for_its_delete_is_served_whatever_is_inserted_later() {
        let history = |drops: bool| {
            let dropped = PeerWhat::Dropped { node: 2, rows: vec![row(1)] };
            let again = vec![write(1, v(900, "p1"), None)];
            let brought = |node| merged(node, 1, vec![took(1, v(900, "p1"))]);
            timed(vec![
                (1, What::Peer(committed(0, 1, 1, vec![write(1, v(1, "p0"), None)]))),
                (1, What::Peer(acknowledged(0, 1))),
                (2, What::Peer(merged(1, 0, vec![took(1, v(1, "p0"))]))),
                (2, What::Peer(merged(2, 0, vec![took(1, v(1, "p0"))]))),
                (5, What::Peer(committed(0, 2, 2, vec![delete(1, v(5, "p0"), Some(v(1, "p0")))]))),
                (5, What::Peer(acknowledged(0, 2))),
                (6, What::Peer(merged(1, 0, vec![dead(beat(1, v(5, "p0")))]))),
                (7, What::Peer(PeerWhat::Purged { node: 0, rows: 1 })),
                (7, What::Peer(PeerWhat::Purged { node: 1, rows: 1 })),
                (10, What::Healed),
                (20, What::Peer(if drops { dropped } else { began(0, 3) })),
                (1_005, What::Peer(committed(1, 4, 3, again))),
                (1_005, What::Peer(acknowledged(1, 4))),
                (1_015, What::Peer(brought(0))),
                (1_015, What::Peer(brought(2))),
                (2_000, What::Peer(ends(1, &[0, 1, 2], lives(v(900, "p1"))))),
            ])
        };
        passes_at(check(), history(true));
        fails_at(check(), history(false), "had not reached peer 2");
    }

    #[test]
    fn a_merge_that_expired_serves_only_what_was_deleted() {
        let story = |deletes: bool| {
            let expired = came(1, v(5, "p0"), MergeOutcome::Expired, None);
            let mut story = story(20);
            story[4].1 = What::Peer(merged(2, 1, vec![expired]));
            if deletes {
                let deletes = committed(1, 2, 2, vec![delete(1, v(6, "p1"), Some(v(5, "p0")))]);
                let purges = PeerWhat::Purged { node: 2, rows: 1 };
                let came = merged(0, 1, vec![dead(beat(1, v(6, "p1")))]);
                let later = [deletes, acknowledged(1, 2), came, purges];
                story[5].1 = What::Peer(ends(1, &[0, 1, 2], None));
                story.splice(3..3, later.map(|what| (7, What::Peer(what))));
            }
            story
        };
        passes_at(check(), timed(story(true)));
        fails_at(check(), timed(story(false)), "had not reached peer 2 1000 us after the heal");
    }

    #[test]
    fn joined_versions_carry_the_later_stamp() {
        let story = |us: u64| {
            let mut story = story(1_010);
            let joined = Version { hash: no_hash(), ..v(us, "p0") };
            story[3].1 = What::Peer(merged(2, 1, vec![took(1, joined.clone())]));
            story[4].1 = What::Healed;
            story[3].0 = 9;
            for (_, what) in &mut story {
                match what {
                    What::Peer(PeerWhat::Committed { writes, .. }) => writes[0].row = row_of("cells", 1),
                    What::Peer(PeerWhat::Merged { rows, .. }) => rows[0].row = row_of("cells", 1),
                    What::Peer(PeerWhat::FinalRow { row, .. }) => *row = row_of("cells", 1),
                    _ => {}
                }
            }
            story
        };
        passes_at(check(), timed(story(5)));
        fails_at(check(), timed(story(4)), "had not reached peer 2");
    }
}
