//! P11: what one peer writes to one row takes effect in the order of the writing, at itself and at all others.
//!
//! At a peer the version that takes effect from one writer is greater than the one that did so before. The latest
//! few writers of each row are kept for each peer.
//!
//! A writer whose disk was set back has lost what it wrote: what it writes next does not follow that. Where one of two
//! versions wins that need not be the greater, what was lost and was kept by others may win in the end: it is counted.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Names, RowNumber, Rule};
use crate::history::peers::{HeldRow, MergeOutcome, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct KeyOrder {
    names: Names,
    /// By peer and row: the latest effect of each writer, the last one last.
    latest: BTreeMap<u32, FxHashMap<RowNumber, Vec<Version>>>,
    /// By peer: the last version that it wrote of each row.
    written: BTreeMap<u32, FxHashMap<RowNumber, Version>>,
    /// By row: what writers wrote and had lost when they wrote on.
    lost: FxHashMap<RowNumber, Vec<Lost>>,
    excused: u64,
    effects: u64,
}

/// What one peer wrote of a row and lost with its disk.
struct Lost {
    /// What the copy of its disk had, if anything.
    after: Option<Version>,
    last: Version,
}

impl Lost {
    /// Whether one version was lost, and the other written by the same peer after that.
    fn parts(&self, one: &Version, later: &Version) -> bool {
        let lost = *one <= self.last && self.after.as_ref().is_none_or(|after| one > after);
        one.node == self.last.node && lost && *later > self.last
    }
}

impl KeyOrder {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            names: Names::new(terms),
            latest: BTreeMap::new(),
            written: BTreeMap::new(),
            lost: FxHashMap::default(),
            excused: 0,
            effects: 0,
        }
    }

    /// Whether a version is one that its writer had lost before it wrote the later one.
    fn is_lost(&mut self, row: RowNumber, version: &Version, later: &Version) -> bool {
        let lost = self.lost.get(&row).is_some_and(|lost| lost.iter().any(|lost| lost.parts(version, later)));
        self.excused += u64::from(lost);
        lost
    }

    /// A peer's disk has again what it had once.
    fn set_back(&mut self, node: u32, holds: &[HeldRow]) {
        let written = self.written.get(&node).cloned().unwrap_or_default();
        let mut copy: FxHashMap<RowNumber, &Version> = FxHashMap::default();
        for held in holds {
            copy.insert(self.names.number(&held.row), &held.version);
        }
        for (row, last) in written {
            let after = copy.get(&row).filter(|held| held.node == last.node).map(|held| (*held).clone());
            if after.as_ref() == Some(&last) {
                continue;
            }
            let lost = self.lost.entry(row).or_default();
            if lost.len() == LOST_MAX {
                lost.remove(0);
            }
            lost.push(Lost { after, last });
        }
    }

    /// Takes an effect; gives the one of the same writer that is later and came before.
    fn took_effect(&mut self, peer: u32, row: RowNumber, version: &Version) -> Option<Version> {
        self.effects += 1;
        let latest = self.latest.entry(peer).or_default().entry(row).or_default();
        let place = latest.iter().position(|known| known.node == version.node);
        let before = place.map(|place| latest.remove(place));
        if latest.len() == WRITERS_MAX {
            latest.remove(0);
        }
        let later = before.filter(|before| before > version);
        latest.push(later.as_ref().unwrap_or(version).clone());
        later
    }
}

impl Check for KeyOrder {
    fn property(&self) -> Property {
        Property {
            id: "P11",
            name: "per-key order",
            statement: "Writes of one peer to one row take effect everywhere in the order of their issue.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes {
                    let row = self.names.number(&write.row);
                    self.written.entry(op.host).or_default().insert(row, write.version.clone());
                    if let Some(later) = self.took_effect(op.host, row, &write.version) {
                        findings.add(event.at_us, Some(*op), || {
                            format!(
                                "{} {} was written after {later}, which is greater",
                                write.row, write.version
                            )
                        });
                    }
                }
            }
            PeerWhat::Merged { node, rows, .. } => {
                for merged in rows {
                    let took = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated);
                    let row = self.names.number(&merged.row);
                    let judged = self.names.rule(row) != Rule::Joins;
                    if !took || !judged || merged.holds.as_ref() != Some(&merged.version) {
                        continue;
                    }
                    let later = self.took_effect(*node, row, &merged.version);
                    if let Some(later) = later.filter(|later| !self.is_lost(row, &merged.version, later)) {
                        findings.add(event.at_us, None, || {
                            format!(
                                "{} {} took effect at peer {node} after {later}",
                                merged.row, merged.version
                            )
                        });
                    }
                }
            }
            PeerWhat::SetBack { node, holds } => {
                self.set_back(*node, holds);
                self.latest.remove(node);
                let effects = self.effects;
                for HeldRow { row, version, .. } in holds {
                    let row = self.names.number(row);
                    self.took_effect(*node, row, version);
                }
                self.effects = effects;
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let lost = "were of a writer that had lost them with its disk and written on";
        Basis::new(self.effects, "effects in the order of their writers").excusing(self.excused, lost)
    }
}

/// Writers of a row that are kept for each peer.
const WRITERS_MAX: usize = 4;
/// Losses of a row that are remembered.
const LOST_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> KeyOrder {
        KeyOrder::new(&terms())
    }

    #[test]
    fn the_order_of_the_writing_passes_and_writers_are_apart() {
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(4, "p0"), None)]),
            committed(0, 2, 2, vec![write(1, v(6, "p0"), None)]),
            merged(1, 0, vec![took(1, v(6, "p0")), took(2, v(3, "p0"))]),
            merged(1, 0, vec![lost(1, v(4, "p0"), v(6, "p0"))]),
            merged(1, 2, vec![beat(1, v(7, "p2"))]),
        ];
        assert_eq!(basis(check(), history.clone()), 5);
        passes(check(), history);
    }

    #[test]
    fn an_older_write_that_takes_effect_last_fails() {
        let history = vec![merged(1, 0, vec![took(1, v(6, "p0"))]), merged(1, 0, vec![beat(1, v(4, "p0"))])];
        fails(check(), history, "users(1) 4.0@p0 took effect at peer 1 after 6.0@p0");
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(6, "p0"), None)]),
            committed(0, 2, 2, vec![write(1, v(4, "p0"), None)]),
        ];
        fails(check(), history, "was written after 6.0@p0");
    }

    #[test]
    fn what_a_disk_lost_may_take_effect_again() {
        let back = PeerWhat::SetBack { node: 1, holds: holding(vec![(1, v(3, "p0"))]) };
        let again = merged(1, 0, vec![beat(1, v(4, "p0"))]);
        passes(check(), vec![merged(1, 0, vec![took(1, v(6, "p0"))]), back.clone(), again]);
        fails(check(), vec![back, merged(1, 0, vec![beat(1, v(2, "p0"))])], "after 3.0@p0");
    }

    #[test]
    fn what_a_writer_lost_before_it_wrote_on_may_win() {
        let writes = |us| committed(0, us, us, vec![write(1, v(us, "p0"), None)]);
        let back = |rows| PeerWhat::SetBack { node: 0, holds: holding(rows) };
        let story = |back: Option<PeerWhat>, wins: u64| {
            let meets = merged(1, 0, vec![took(1, v(6, "p0"))]);
            let loses = merged(1, 2, vec![beat(1, v(wins, "p0"))]);
            let back: Vec<_> = back.into_iter().collect();
            [vec![writes(2), writes(4)], back, vec![writes(6), meets, loses]].concat()
        };
        passes(check(), story(Some(back(vec![])), 4));
        passes(check(), story(Some(back(vec![(1, v(2, "p0"))])), 4));
        fails(check(), story(None, 4), "users(1) 4.0@p0 took effect at peer 1 after 6.0@p0");
        fails(check(), story(Some(back(vec![(1, v(4, "p0"))])), 4), "took effect at peer 1 after 6.0@p0");
        fails(check(), story(Some(back(vec![(1, v(2, "p0"))])), 2), "took effect at peer 1 after 6.0@p0");
    }
}
