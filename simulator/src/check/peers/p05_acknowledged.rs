//! P5: no acknowledged write is lost under the declared policy.
//!
//! In the end some peer holds each acknowledged write, or a recorded one that beats it. What was on one disk
//! only when that disk was set back is lost with it: counted, and not judged.

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::acknowledged::{Acknowledged, Served};
use super::held::{Held, Rule};
use super::p02_liveness::NOT_COMPARED;
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, What};
use sync_core::peer_sync::version::Version;

pub(super) struct NothingLost {
    held: Held,
    acknowledged: Acknowledged,
    /// By row: the versions that peers end with, ascending, and whether they are tombstones.
    ends: Vec<Vec<(Version, bool)>>,
    /// Rows that end in versions of which nobody knows whether they beat the wanted one.
    unknown: u64,
    last_us: u64,
}

impl NothingLost {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let (held, acknowledged) = (Held::new(terms), Acknowledged::new(terms));
        Self { held, acknowledged, ends: Vec::new(), unknown: 0, last_us: 0 }
    }

    /// What is wrong with how a row ends, if anything.
    fn wrong(&mut self, row: u32) -> Option<String> {
        let wanted = self.acknowledged.wanted(row)?;
        let rule = self.held.names.rule(row);
        let ends = self.ends.get(row as usize).map(Vec::as_slice).unwrap_or_default();
        let absent = self.acknowledged.may_be_absent(row);
        let Some((version, _)) = ends.last() else {
            return (!absent).then(|| "no peer holds the row in the end".to_owned());
        };
        if absent && ends.iter().any(|(_, deleted)| *deleted) {
            return None;
        }
        let served =
            |(version, _): &(Version, bool)| self.acknowledged.is_served(&self.held.names, row, version);
        if !ends.iter().any(|end| served(end) == Served::Yes) {
            if ends.iter().all(|end| served(end) == Served::No) {
                return Some(format!("the greatest version in the end is {version}"));
            }
            self.unknown += 1;
        }
        let latest = self.acknowledged.latest(row).map(|latest| &latest.version);
        let beyond = rule == Rule::LastWriter && latest.is_some_and(|latest| latest < version);
        beyond.then(|| format!("{version}, which nobody wrote, beats {} in the end", wanted.version))
    }
}

impl Check for NothingLost {
    fn property(&self) -> Property {
        Property {
            id: "P5",
            name: "no acknowledged write is lost",
            statement: "In the end each acknowledged write is held, or beaten by a recorded one.",
            needs: &[
                Kind::PeerTransaction,
                Kind::PeerCommitted,
                Kind::Merged,
                Kind::Purged,
                Kind::PeerLife,
                Kind::FinalRow,
            ],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        let What::Peer(what) = &event.what else { return };
        if let PeerWhat::FinalRow { row, holds, .. } = what {
            let place = self.held.names.number(row) as usize;
            if place >= self.ends.len() {
                self.ends.resize(place + 1, Vec::new());
            }
            self.ends[place].extend(holds.as_ref().map(|state| (state.version.clone(), state.deleted)));
            self.ends[place].sort();
            return;
        }
        self.held.observe(what);
        if let PeerWhat::Merged { node, rows, .. } = what {
            for merged in rows {
                let row = self.held.names.number(&merged.row);
                self.acknowledged.merged(*node, &self.held.names, row, merged);
            }
        }
        if let Some(op) = self.acknowledged.observe(what, &mut self.held) {
            findings.add(event.at_us, Some(op), || {
                format!("transaction {op} was acknowledged and never committed")
            });
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for row in 0..self.held.names.count() {
            let Some(wrong) = self.wrong(row) else { continue };
            let (name, wanted) = (self.held.names.row(row), self.acknowledged.wanted(row));
            let (op, version) =
                wanted.map(|wanted| (wanted.op, wanted.version.to_string())).unwrap_or_default();
            findings.add(self.last_us, op, || format!("{name} {version} was acknowledged: {wrong}"));
        }
        let words = match self.acknowledged.set_back {
            0 => "acknowledged writes looked for at the end".to_owned(),
            rows => format!(
                "acknowledged writes looked for at the end; {rows} rows were lost with a disk that was set back"
            ),
        };
        Basis::new(self.acknowledged.writes, &words).excusing(self.unknown, NOT_COMPARED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::peers::HeldRow;

    fn check() -> NothingLost {
        NothingLost::new(&terms())
    }

    #[test]
    fn a_delete_of_what_was_written_again_on_a_disk_that_was_set_back_may_be_purged() {
        let grave = v(5, "p0");
        let copy = HeldRow { row: row(1), version: grave.clone(), deleted: true };
        let again = vec![write(1, v(6, "p0"), Some(grave.clone()))];
        let story = vec![
            committed(0, 1, 1, vec![delete(1, grave.clone(), None)]),
            acknowledged(0, 1),
            merged(1, 0, vec![dead(took(1, grave))]),
            committed(0, 2, 2, again),
            acknowledged(0, 2),
            PeerWhat::SetBack { node: 0, holds: vec![copy] },
        ];
        let purged = PeerWhat::Purged { node: 1, rows: 1 };
        let nothing = ends(1, &[0, 1, 2], None);
        passes(check(), [story.clone(), vec![purged, nothing.clone()]].concat());
        fails(check(), [story.clone(), vec![nothing]].concat(), "no peer holds the row in the end");
        // It was on its way to somebody.
        let arrives = merged(2, 0, vec![took(1, v(6, "p0"))]);
        passes(check(), [story, vec![arrives, ends(1, &[0, 1, 2], lives(v(6, "p0")))]].concat());
    }

    fn wrote() -> Vec<PeerWhat> {
        vec![committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]), acknowledged(0, 1)]
    }

    fn then(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
        wrote().into_iter().chain(rest).collect()
    }

    #[test]
    fn a_write_that_is_there_or_beaten_passes() {
        passes(check(), then(vec![ends(1, &[0, 1], lives(v(5, "p0"))), ends(1, &[2], None)]));
        let later = committed(1, 2, 1, vec![write(1, v(6, "p1"), None)]);
        passes(check(), then(vec![later, ends(1, &[0, 1, 2], lives(v(6, "p1")))]));
        assert_eq!(basis(check(), wrote()), 1);
    }

    #[test]
    fn a_write_that_is_gone_fails() {
        fails(check(), wrote(), "no peer holds the row in the end");
        fails(check(), then(vec![ends(1, &[0, 1, 2], None)]), "no peer holds the row in the end");
        let older = ends(1, &[0, 1, 2], lives(v(4, "p1")));
        fails(check(), then(vec![older]), "the greatest version in the end is 4.0@p1");
    }

    #[test]
    fn a_version_that_nobody_wrote_beats_nothing() {
        fails(check(), then(vec![ends(1, &[0, 1, 2], lives(v(9, "p1")))]), "which nobody wrote");
    }

    #[test]
    fn what_did_not_commit_is_not_to_be_acknowledged() {
        fails(check(), vec![acknowledged(0, 1)], "was acknowledged and never committed");
    }

    #[test]
    fn what_was_on_one_disk_only_is_lost_with_it() {
        let back = PeerWhat::SetBack { node: 0, holds: vec![] };
        passes(check(), then(vec![back.clone()]));
        let travelled = merged(1, 0, vec![took(1, v(5, "p0"))]);
        fails(check(), then(vec![travelled, back]), "no peer holds the row in the end");
    }

    #[test]
    fn a_write_that_comes_after_the_purge_of_its_delete_is_a_new_row() {
        let deletes = committed(0, 2, 2, vec![delete(1, v(6, "p0"), Some(v(5, "p0")))]);
        let history = |purged| {
            let purged = PeerWhat::Purged { node: purged, rows: 1 };
            let late = committed(1, 1, 1, vec![write(1, v(4, "p1"), None)]);
            let came = merged(0, 1, vec![took(1, v(4, "p1"))]);
            vec![
                deletes.clone(),
                acknowledged(0, 2),
                purged,
                late,
                came,
                ends(1, &[0, 1, 2], lives(v(4, "p1"))),
            ]
        };
        passes(check(), then(history(0)));
        fails(check(), then(history(2)), "the greatest version in the end is 4.0@p1");
    }

    #[test]
    fn a_deleted_row_may_be_purged() {
        let deletes = committed(0, 2, 2, vec![delete(1, v(6, "p0"), Some(v(5, "p0")))]);
        let purged = PeerWhat::Purged { node: 0, rows: 1 };
        let gone = ends(1, &[0, 1, 2], None);
        let lesser = ends(1, &[0, 1, 2], super::super::testing::deleted(v(4, "p1")));
        let mut history = then(vec![deletes, acknowledged(0, 2), purged.clone(), gone.clone()]);
        passes(check(), history.clone());
        history[5] = lesser;
        passes(check(), history.clone());
        history.remove(4);
        fails(check(), history, "the greatest version in the end is 4.0@p1");
        fails(check(), then(vec![purged, gone]), "no peer holds");
    }

    /// The same in another table.
    fn within(table: &str, what: PeerWhat) -> PeerWhat {
        let row = row_of(table, 1);
        match what {
            PeerWhat::Committed { op, session, incarnation, xid, mut writes } => {
                writes.iter_mut().for_each(|write| write.row = row.clone());
                PeerWhat::Committed { op, session, incarnation, xid, writes }
            }
            PeerWhat::FinalRow { nodes, holds, .. } => PeerWhat::FinalRow { row, nodes, holds },
            other => other,
        }
    }

    #[test]
    fn each_table_is_judged_by_its_policy() {
        let story = |table: &str, end: Version| {
            let story = vec![
                committed(0, 1, 1, vec![write(1, v(3, "p0"), None)]),
                acknowledged(0, 1),
                committed(1, 1, 1, vec![write(1, v(4, "p1"), None)]),
                acknowledged(1, 1),
                ends(1, &[0, 1, 2], lives(end)),
            ];
            story.into_iter().map(|what| within(table, what)).collect::<Vec<_>>()
        };
        let joined = |us, node| Version { hash: no_hash(), ..v(us, node) };
        passes(check(), story("firsts", v(3, "p0")));
        fails(
            check(),
            story("firsts", v(4, "p1")),
            "firsts(1) 3.0@p0 was acknowledged: the greatest version",
        );
        passes(check(), story("ranked", v(4, "p1")));
        fails(check(), story("ranked", v(3, "p0")), "the greatest version in the end is 3.0@p0");
        passes(check(), story("cells", joined(4, "p1")));
        fails(check(), story("cells", joined(3, "p0")), "the greatest version in the end is 3.0@p0");
        // A team's own resolver: nobody knows, but something must be there.
        passes(check(), story("other", v(3, "p0")));
        let mut nothing = story("other", v(3, "p0"));
        nothing.pop();
        fails(check(), nothing, "no peer holds the row in the end");
    }

    #[test]
    fn a_later_copy_of_a_disk_has_again_what_an_earlier_one_had_not() {
        let back = |rows| PeerWhat::SetBack { node: 0, holds: holding(rows) };
        let twice = [
            vec![stocked(vec![(1, v(1, "a"))])],
            then(vec![back(vec![(1, v(1, "a"))]), back(vec![(1, v(5, "p0"))])]),
        ]
        .concat();
        let lives = |version| ends(1, &[0, 1, 2], lives(version));
        passes(check(), [twice.clone(), vec![lives(v(5, "p0"))]].concat());
        fails(check(), [twice, vec![lives(v(1, "a"))]].concat(), "the greatest version in the end is 1.0@a");
    }

    #[test]
    fn a_delete_that_all_disks_have_lost_is_lost_though_it_was_purged() {
        let gone = dead(beat(1, v(5, "p0")));
        let start = vec![
            stocked(vec![(1, v(1, "a"))]),
            committed(0, 1, 1, vec![delete(1, v(5, "p0"), Some(v(1, "a")))]),
            acknowledged(0, 1),
            merged(1, 0, vec![gone.clone()]),
            merged(2, 0, vec![gone]),
            PeerWhat::Purged { node: 0, rows: 1 },
        ];
        let back = |node| PeerWhat::SetBack { node, holds: holding(vec![(1, v(1, "a"))]) };
        let lives = ends(1, &[0, 1, 2], lives(v(1, "a")));
        let all = vec![back(0), back(1), back(2), lives.clone()];
        passes(check(), [start.clone(), all].concat());
        // Peer 2 still knows of it.
        fails(
            check(),
            [start, vec![back(0), back(1), lives]].concat(),
            "the greatest version in the end is 1.0@a",
        );
    }
}
