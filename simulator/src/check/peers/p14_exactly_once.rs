//! P14: a transaction commits at most once, and a version takes effect at most once at each peer.
//!
//! A version takes effect where it is stored as what the peer holds. What arrives again, by another way or a second
//! time by the same, finds itself there or beaten. A disk that was set back forgets what took effect later, and a peer
//! that purges tombstones may have to take one again, against a write that came after the purge.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;
use sync_core::range_set::RangeSet;

use super::super::{Basis, Check, Findings, Property, split};
use super::PeerTerms;
use super::held::{Names, RowNumber, Rule};
use crate::history::peers::{HeldRow, MergeOutcome, PeerWhat};
use crate::history::{Event, Kind, OpRef, What};

pub(super) struct ExactlyOnce {
    names: Names,
    /// By peer and stream.
    operations: BTreeMap<(u32, u64), Operations>,
    /// By peer and row: the latest versions that took effect.
    effects: BTreeMap<u32, FxHashMap<RowNumber, Vec<Version>>>,
    purged: BTreeSet<u32>,
    count: u64,
}

#[derive(Default)]
struct Operations {
    committed: RangeSet,
    aborted: RangeSet,
}

impl ExactlyOnce {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let (operations, effects) = (BTreeMap::new(), BTreeMap::new());
        Self { names: Names::new(terms), operations, effects, purged: BTreeSet::new(), count: 0 }
    }

    fn operations(&mut self, op: OpRef) -> (&mut Operations, u64) {
        let (stream, ordinal) = split(op.ticket);
        (self.operations.entry((op.host, stream)).or_default(), ordinal)
    }

    /// Whether it had taken effect before.
    fn again(&mut self, peer: u32, row: RowNumber, version: &Version) -> bool {
        let effects = self.effects.entry(peer).or_default().entry(row).or_default();
        if effects.contains(version) {
            return true;
        }
        if effects.len() == EFFECTS_MAX {
            effects.remove(0);
        }
        effects.push(version.clone());
        false
    }
}

impl Check for ExactlyOnce {
    fn property(&self) -> Property {
        Property {
            id: "P14",
            name: "exactly-once effect",
            statement: "A transaction commits at most once, and a version takes effect at most once at each peer.",
            needs: &[Kind::PeerTransaction, Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                self.count += 1;
                let (operations, ordinal) = self.operations(*op);
                let rolled_back = operations.aborted.contains(ordinal);
                if !operations.committed.insert(ordinal) || rolled_back {
                    let before = if rolled_back { "after it was rolled back" } else { "again" };
                    findings.add(event.at_us, Some(*op), || format!("transaction {op} committed {before}"));
                }
                for write in writes {
                    let row = self.names.number(&write.row);
                    if self.again(op.host, row, &write.version) {
                        findings.add(event.at_us, Some(*op), || {
                            format!("{op} wrote {} {}, which was there before", write.row, write.version)
                        });
                    }
                }
            }
            PeerWhat::Aborted { op, .. } => {
                let (operations, ordinal) = self.operations(*op);
                operations.aborted.insert(ordinal);
                if operations.committed.contains(ordinal) {
                    findings.add(event.at_us, Some(*op), || {
                        format!("transaction {op} was rolled back after its commit")
                    });
                }
            }
            PeerWhat::Merged { node, from, rows, repair: false, .. } => {
                for merged in rows {
                    let row = self.names.number(&merged.row);
                    let took = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated)
                        && merged.holds.as_ref() == Some(&merged.version)
                        && self.names.rule(row) != Rule::Joins;
                    if !took {
                        continue;
                    }
                    self.count += 1;
                    let again = self.again(*node, row, &merged.version);
                    if again && !(merged.deleted && self.purged.contains(node)) {
                        findings.add(event.at_us, None, || {
                            format!(
                                "{} {} of peer {from} took effect again at peer {node}",
                                merged.row, merged.version
                            )
                        });
                    }
                }
            }
            PeerWhat::Purged { node, .. } => {
                self.purged.insert(*node);
            }
            PeerWhat::Dropped { node, rows } => {
                self.purged.insert(*node);
                for row in rows {
                    let row = self.names.number(row);
                    self.effects.entry(*node).or_default().remove(&row);
                }
            }
            PeerWhat::SetBack { node, holds } => {
                self.effects.remove(node);
                for HeldRow { row, version, .. } in holds {
                    let row = self.names.number(row);
                    self.again(*node, row, version);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.count, "transactions and effects told apart")
    }
}

/// Effects on a row that are kept for each peer.
const EFFECTS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> ExactlyOnce {
        ExactlyOnce::new(&terms())
    }

    #[test]
    fn different_transactions_and_effects_pass() {
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(3, "p0"), None)]),
            committed(0, 2, 2, vec![write(1, v(4, "p0"), None)]),
            merged(1, 0, vec![took(1, v(4, "p0"))]),
            merged(1, 2, vec![came(1, v(4, "p0"), MergeOutcome::Equal, Some(v(4, "p0")))]),
            merged(2, 1, vec![took(1, v(4, "p0"))]),
        ];
        assert_eq!(basis(check(), history.clone()), 4);
        passes(check(), history);
    }

    #[test]
    fn an_effect_that_comes_again_fails() {
        let took = merged(1, 0, vec![took(1, v(4, "p0"))]);
        fails(check(), vec![took.clone(), took.clone()], "took effect again at peer 1");
        let own = merged(0, 1, vec![beat(1, v(4, "p0"))]);
        fails(check(), vec![committed(0, 1, 1, vec![write(1, v(4, "p0"), None)]), own], "again at peer 0");
        let back = PeerWhat::SetBack { node: 1, holds: vec![] };
        passes(check(), vec![took.clone(), back, took.clone()]);
        let purged = PeerWhat::Purged { node: 1, rows: 1 };
        let buried = merged(1, 0, vec![dead(beat(1, v(5, "p0")))]);
        passes(check(), vec![buried.clone(), purged.clone(), buried.clone()]);
        fails(check(), vec![buried.clone(), buried], "took effect again at peer 1");
        fails(check(), vec![took.clone(), purged, took], "took effect again at peer 1");
    }

    #[test]
    fn a_transaction_that_commits_twice_or_after_its_end_fails() {
        let commit = |us| committed(0, 1, us, vec![write(1, v(us, "p0"), None)]);
        fails(check(), vec![commit(3), commit(4)], "transaction 0.1 committed again");
        let aborted = PeerWhat::Aborted { op: op(0, 1), why: "deadlock".to_owned() };
        fails(check(), vec![aborted.clone(), commit(3)], "committed after it was rolled back");
        fails(check(), vec![commit(3), aborted], "was rolled back after its commit");
    }
}
