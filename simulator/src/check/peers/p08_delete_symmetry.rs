//! P8: delete, insert and delete again, in any order and at any peers, come to the same everywhere.
//!
//! Looks at rows of which a tombstone met a living version, by a merge or by an insert after the delete: the greater
//! version wins whichever of the two it is and whichever was there first, and in the end all peers agree on the row.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Held, RowNumber, Rule};
use crate::history::peers::{FinalState, MergeOutcome, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct DeleteSymmetry {
    held: Held,
    /// Rows of which a tombstone met a living version, with what the first peers told of end with.
    rows: BTreeMap<RowNumber, Option<First>>,
    purged: bool,
    /// Rows that were told of in the end.
    ended: BTreeSet<RowNumber>,
    met: u64,
}

/// What the first peers told of end with.
struct First {
    holds: Option<FinalState>,
    nodes: Vec<u32>,
}

impl DeleteSymmetry {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { held: Held::new(terms), rows: BTreeMap::new(), purged: false, ended: BTreeSet::new(), met: 0 }
    }

    fn merged(&mut self, node: u32, merged: &MergedRow) -> Option<String> {
        let row = self.held.names.number(&merged.row);
        let before = self.held.of(node, row)?.clone();
        if before.deleted == merged.deleted {
            return None;
        }
        self.met += 1;
        self.rows.entry(row).or_default();
        let won = match merged.outcome {
            MergeOutcome::Updated => true,
            MergeOutcome::Beaten => false,
            _ => return None,
        };
        if self.held.names.rule(row) != Rule::LastWriter || won == (merged.version > before.version) {
            return None;
        }
        let say = |deleted: bool, version: &Version| {
            format!("{} {version}", if deleted { "delete" } else { "insert" })
        };
        let (came, had) = (say(merged.deleted, &merged.version), say(before.deleted, &before.version));
        let (winner, loser) = if won { (came, had) } else { (had, came) };
        Some(format!("{}: at peer {node} the {winner} won over the {loser}, which is later", merged.row))
    }
}

/// Whether two ends come to the same: no tombstone is as good as one, once some were purged.
fn alike(one: Option<&FinalState>, other: Option<&FinalState>, purged: bool) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        (None, None) => true,
        (Some(state), None) | (None, Some(state)) => state.deleted && purged,
    }
}

impl Check for DeleteSymmetry {
    fn property(&self) -> Property {
        Property {
            id: "P8",
            name: "delete and re-insert symmetry",
            statement: "Deletes and inserts of a row, in any order at any peers, come to the same everywhere.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife, Kind::FinalRow],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes.iter().filter(|write| !write.deleted) {
                    let row = self.held.names.number(&write.row);
                    if self.held.of(op.host, row).is_some_and(|before| before.deleted) {
                        self.met += 1;
                        self.rows.entry(row).or_default();
                    }
                }
                self.held.observe(what);
            }
            PeerWhat::Merged { node, rows, .. } => {
                for merged in rows {
                    if let Some(wrong) = self.merged(*node, merged) {
                        findings.add(event.at_us, None, || wrong);
                    }
                    self.held.merged(*node, merged);
                }
            }
            PeerWhat::Purged { .. } => self.purged = true,
            PeerWhat::FinalRow { row, nodes, holds } => {
                let number = self.held.names.number(row);
                let Some(first) = self.rows.get_mut(&number) else { return };
                self.ended.insert(number);
                let first = first.get_or_insert_with(|| First { holds: holds.clone(), nodes: nodes.clone() });
                if !alike(first.holds.as_ref(), holds.as_ref(), self.purged) {
                    let say =
                        |state: Option<&FinalState>| state.map_or_else(|| "nothing".to_owned(), super::say);
                    findings.add(event.at_us, None, || {
                        format!(
                            "{row} was deleted and inserted: peer {} ends with {}, peer {} with {}",
                            super::list(&first.nodes),
                            say(first.holds.as_ref()),
                            super::list(nodes),
                            say(holds.as_ref())
                        )
                    });
                }
            }
            _ => self.held.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let rows = self.ended.len();
        Basis::new(
            self.met,
            &format!("meetings of a delete with an insert or update, in the end {rows} such rows"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> DeleteSymmetry {
        DeleteSymmetry::new(&terms())
    }

    /// Peer 0 deletes at 5 and inserts at 7; peer 1 updates at 6.
    fn then(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
        let mut history = vec![
            committed(0, 1, 1, vec![delete(1, v(5, "p0"), None)]),
            committed(1, 1, 1, vec![write(1, v(6, "p1"), None)]),
        ];
        history.extend(rest);
        history
    }

    #[test]
    fn the_later_one_wins_on_both_sides() {
        let history = then(vec![
            merged(0, 1, vec![beat(1, v(6, "p1"))]),
            merged(1, 0, vec![dead(lost(1, v(5, "p0"), v(6, "p1")))]),
            ends(1, &[0, 1, 2], lives(v(6, "p1"))),
        ]);
        assert_eq!(basis(check(), history.clone()), 2);
        passes(check(), history);
        let inserted = committed(0, 2, 2, vec![write(1, v(7, "p0"), Some(v(5, "p0")))]);
        assert_eq!(basis(check(), then(vec![inserted])), 1);
    }

    #[test]
    fn a_delete_that_always_loses_or_always_wins_fails() {
        let wins = vec![merged(1, 0, vec![dead(beat(1, v(5, "p0")))])];
        fails(check(), then(wins), "the delete 5.0@p0 won over the insert 6.0@p1");
        let loses = vec![merged(0, 1, vec![lost(1, v(4, "p1"), v(5, "p0"))])];
        passes(check(), then(loses));
        let loses = vec![merged(1, 0, vec![dead(lost(1, v(8, "p0"), v(6, "p1")))])];
        fails(check(), then(loses), "the insert 6.0@p1 won over the delete 8.0@p0");
    }

    #[test]
    fn different_ends_fail() {
        let met = merged(0, 1, vec![beat(1, v(6, "p1"))]);
        let history =
            then(vec![met.clone(), ends(1, &[0, 1], lives(v(6, "p1"))), ends(1, &[2], deleted(v(5, "p0")))]);
        fails(check(), history, "peer 0, 1 ends with 6.0@p1");
        let purged = PeerWhat::Purged { node: 2, rows: 1 };
        let gone = [ends(1, &[0, 1], deleted(v(8, "p1"))), ends(1, &[2], None)];
        passes(check(), then([vec![met.clone(), purged], gone.to_vec()].concat()));
        fails(check(), then([vec![met], gone.to_vec()].concat()), "peer 2 with nothing");
    }
}
