//! P7: after a delete that dominates, a row stays away until somebody inserts it later.
//!
//! A peer that held a tombstone must not come to hold, or show, an older living version, be the tombstone purged or
//! not and whoever was away for how long; and no peer may end with a living version that is older than a tombstone which
//! any peer held. A peer whose disk was set back knows only the tombstones that its copy holds.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Names, RowNumber, Rule};
use crate::history::peers::{HeldRow, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct NoResurrection {
    names: Names,
    /// By peer: the greatest tombstone of each row that it held.
    dead: BTreeMap<u32, FxHashMap<RowNumber, Version>>,
    /// By row: living versions that peers end with.
    living: BTreeMap<RowNumber, Vec<(Version, Vec<u32>)>>,
    deletes: u64,
    last_us: u64,
}

impl NoResurrection {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            names: Names::new(terms),
            dead: BTreeMap::new(),
            living: BTreeMap::new(),
            deletes: 0,
            last_us: 0,
        }
    }

    fn bury(&mut self, peer: u32, row: RowNumber, version: &Version) {
        if self.names.rule(row) != Rule::LastWriter {
            return;
        }
        self.deletes += 1;
        let dead = self.dead.entry(peer).or_default().entry(row).or_insert_with(|| version.clone());
        if *dead < *version {
            *dead = version.clone();
        }
    }

    /// The tombstone which a peer has held and that beats this version.
    fn grave(&self, peer: u32, row: RowNumber, version: &Version) -> Option<&Version> {
        self.dead.get(&peer)?.get(&row).filter(|dead| *dead > version)
    }

    fn merged(&mut self, node: u32, from: u32, merged: &MergedRow) -> Option<String> {
        let row = self.names.number(&merged.row);
        let (name, version) = (&merged.row, &merged.version);
        if merged.holds.as_ref() != Some(version) {
            return None;
        }
        if merged.deleted {
            self.bury(node, row, version);
            return None;
        }
        let grave = self.grave(node, row, version)?;
        Some(format!(
            "peer {from} brought {name} {version} back to peer {node}, which had the delete {grave}"
        ))
    }
}

impl Check for NoResurrection {
    fn property(&self) -> Property {
        Property {
            id: "P7",
            name: "no resurrection",
            statement: "After a dominating delete a row stays absent until a later insert, also when the tombstone is purged.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::PeerRead, Kind::PeerLife, Kind::FinalRow],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes {
                    let row = self.names.number(&write.row);
                    if write.deleted {
                        self.bury(op.host, row, &write.version);
                    }
                }
            }
            PeerWhat::Merged { node, from, rows, .. } => {
                for merged in rows {
                    if let Some(wrong) = self.merged(*node, *from, merged) {
                        findings.add(event.at_us, None, || wrong);
                    }
                }
            }
            PeerWhat::Read { op, rows, .. } => {
                for seen in rows.iter().filter(|seen| seen.visible.is_some()) {
                    let Some(version) = &seen.version else { continue };
                    let row = self.names.number(&seen.row);
                    if let Some(grave) = self.grave(op.host, row, version) {
                        findings.add(event.at_us, Some(*op), || {
                            format!("{op} saw {} {version} at a peer that had the delete {grave}", seen.row)
                        });
                    }
                }
            }
            PeerWhat::SetBack { node, holds } => {
                self.dead.remove(node);
                for HeldRow { row, version, .. } in holds.iter().filter(|held| held.deleted) {
                    let row = self.names.number(row);
                    self.bury(*node, row, version);
                }
            }
            PeerWhat::FinalRow { row, nodes, holds: Some(state) } if !state.deleted => {
                let row = self.names.number(row);
                self.living.entry(row).or_default().push((state.version.clone(), nodes.clone()));
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (row, states) in &self.living {
            let graves = self.dead.iter().filter_map(|(peer, dead)| Some((dead.get(row)?, *peer)));
            let Some((grave, deleter)) = graves.max() else { continue };
            for (version, nodes) in states.iter().filter(|(version, _)| version < grave) {
                findings.add(self.last_us, None, || {
                    let (name, nodes) = (self.names.row(*row), super::list(nodes));
                    format!("{name} lives as {version} at peer {nodes} in the end, and peer {deleter} has the delete {grave}")
                });
            }
        }
        Basis::new(self.deletes, "deletes at peers")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> NoResurrection {
        NoResurrection::new(&terms())
    }

    /// Peer 0 deletes at 5 what was written at 3, and peer 1 merges that.
    fn then(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
        let mut history = vec![
            committed(0, 1, 1, vec![delete(1, v(5, "p0"), Some(v(3, "p0")))]),
            merged(1, 0, vec![dead(beat(1, v(5, "p0")))]),
        ];
        history.extend(rest);
        history
    }

    #[test]
    fn a_row_that_stays_away_or_is_inserted_later_passes() {
        passes(check(), then(vec![ends(1, &[0, 1, 2], deleted(v(5, "p0")))]));
        passes(
            check(),
            then(vec![merged(1, 2, vec![beat(1, v(6, "p2"))]), ends(1, &[0, 1, 2], lives(v(6, "p2")))]),
        );
        let kept = lost(1, v(3, "p0"), v(5, "p0"));
        passes(
            check(),
            then(vec![merged(1, 2, vec![kept]), read(1, 2, vec![saw_nothing(1, Some(v(5, "p0")))])]),
        );
        assert_eq!(basis(check(), then(vec![])), 2);
    }

    #[test]
    fn a_row_that_comes_back_fails() {
        let back = merged(1, 2, vec![took(1, v(3, "p0"))]);
        fails(check(), then(vec![back]), "brought users(1) 3.0@p0 back to peer 1");
        let lives = ends(1, &[2], lives(v(3, "p0")));
        fails(check(), then(vec![lives]), "lives as 3.0@p0 at peer 2 in the end");
        fails(
            check(),
            then(vec![read(1, 2, vec![saw(1, v(3, "p0"))])]),
            "0@p0 at a peer that had the delete",
        );
    }

    #[test]
    fn a_row_that_outlives_its_delete_somewhere_fails() {
        let ends = vec![ends(1, &[0, 1], None), ends(1, &[2], lives(v(3, "p0")))];
        fails(check(), then(ends), "lives as 3.0@p0 at peer 2 in the end");
    }

    #[test]
    fn a_delete_that_went_with_a_disk_is_not_known_any_more() {
        let copy = |node| PeerWhat::SetBack { node, holds: holding(vec![(1, v(3, "p0"))]) };
        let lives = ends(1, &[0, 1, 2], lives(v(3, "p0")));
        passes(check(), then(vec![copy(0), copy(1), lives.clone()]));
        fails(check(), then(vec![copy(0), lives]), "peer 1 has the delete 5.0@p0");
    }
}
