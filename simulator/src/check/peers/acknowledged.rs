//! What was acknowledged, and so must not be lost: of each row the greatest version, and the greatest one committed.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::peer_sync::version::Version;

use super::PeerTerms;
use super::held::{Held, Holding, RowNumber, Rule};
use crate::history::OpRef;
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};

#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    peers: u32,
    /// What transactions wrote of which the application has learnt nothing yet.
    open: BTreeMap<OpRef, Vec<(RowNumber, Version)>>,
    wanted: Vec<Option<Wanted>>,
    latest: Vec<Option<Holding>>,
    /// The greatest version of a row that was on one disk only when that was set back: the latest is what others hold.
    lost: BTreeMap<RowNumber, Holding>,
    /// Acknowledged writes, and rows that were there from the start.
    pub(super) writes: u64,
    /// Of them, those that nobody else held when the disk of their peer was set back: lost by it, and not judged.
    pub(super) set_back: u64,
    /// Peers that purged tombstones.
    purged: BTreeSet<u32>,
}

/// A version that must be there, or one that beats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) version: Version,
    /// Who wrote it; none for a row that was there from the start.
    pub(super) op: Option<OpRef>,
}

impl Acknowledged {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { peers: terms.count, ..Self::default() }
    }

    /// Takes one event, after `held` took it. Gives an operation that was acknowledged and had not committed.
    pub(super) fn observe(&mut self, what: &PeerWhat, held: &mut Held) -> Option<OpRef> {
        match what {
            PeerWhat::Stocked { rows } => {
                for row in rows {
                    let number = held.names.number(&row.row);
                    self.committed(number, &row.version, row.deleted);
                    self.want(number, row.version.clone(), None);
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                let mut open = Vec::with_capacity(writes.len());
                for write in writes {
                    let row = held.names.number(&write.row);
                    self.committed(row, &write.version, write.deleted);
                    open.push((row, write.version.clone()));
                }
                self.open.insert(*op, open);
            }
            PeerWhat::Acknowledged { op } => {
                let Some(writes) = self.open.remove(op) else { return Some(*op) };
                writes.into_iter().for_each(|(row, version)| self.want(row, version, Some(*op)));
            }
            PeerWhat::Indefinite { op } => drop(self.open.remove(op)),
            PeerWhat::Purged { node, .. } | PeerWhat::Dropped { node, .. } => {
                self.purged.insert(*node);
            }
            PeerWhat::SetBack { node, .. } => self.set_back(*node, held),
            _ => {}
        }
        None
    }

    /// Takes one row that a peer merged. A write of which a deleter did not know may come when the tombstone that
    /// beats it is purged: it is taken for a new row, and the delete is over. (P7 judges what was known.)
    pub(super) fn merged(&mut self, node: u32, row: RowNumber, merged: &MergedRow) {
        let came = &merged.version;
        // What was lost with a disk, and was on its way to somebody, is not lost.
        if self.lost.get(&row).is_some_and(|lost| lost.version == *came)
            && let Some(back) = self.lost.remove(&row)
        {
            self.committed(row, &back.version, back.deleted);
        }
        let inserted = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated)
            && !merged.deleted
            && merged.holds.as_ref() == Some(came);
        let Some(latest) =
            self.latest(row).filter(|latest| inserted && self.purged.contains(&node) && latest.deleted)
        else {
            return;
        };
        if latest.version > *came
            && let Some(wanted) = slot(&mut self.wanted, row)
            && wanted.version > *came
        {
            wanted.version = came.clone();
        }
    }

    /// What must be there of a row.
    pub(super) fn wanted(&self, row: RowNumber) -> Option<&Wanted> {
        self.wanted.get(row as usize)?.as_ref()
    }

    /// The greatest version of a row that any transaction wrote, and that was not lost with a disk.
    pub(super) fn latest(&self, row: RowNumber) -> Option<&Holding> {
        self.latest.get(row as usize)?.as_ref()
    }

    /// Whether nothing at all, or a lesser tombstone, is as good as what is wanted of a row: it was deleted, and
    /// tombstones were purged.
    pub(super) fn may_be_absent(&self, row: RowNumber) -> bool {
        !self.purged.is_empty() && self.latest(row).is_some_and(|latest| latest.deleted)
    }

    /// Whether a version is what is wanted of a row, or beats it.
    pub(super) fn is_served(&self, row: RowNumber, rule: Rule, version: &Version) -> bool {
        self.wanted(row).is_none_or(|wanted| rule != Rule::LastWriter || *version >= wanted.version)
    }

    fn committed(&mut self, row: RowNumber, version: &Version, deleted: bool) {
        let latest = slot(&mut self.latest, row);
        if latest.as_ref().is_none_or(|latest| latest.version < *version) {
            *latest = Some(Holding { version: version.clone(), deleted });
        }
    }

    fn want(&mut self, row: RowNumber, version: Version, op: Option<OpRef>) {
        self.writes += 1;
        let wanted = slot(&mut self.wanted, row);
        if wanted.as_ref().is_none_or(|wanted| wanted.version < version) {
            *wanted = Some(Wanted { version, op });
        }
    }

    /// What nobody holds any more is lost with the disk. What another peer holds is not.
    fn set_back(&mut self, node: u32, held: &mut Held) {
        self.open.iter_mut().filter(|(op, _)| op.host == node).for_each(|(_, writes)| writes.clear());
        for (row, wanted) in (0..).zip(&mut self.wanted) {
            let Some(version) = wanted.as_ref().map(|wanted| &wanted.version) else { continue };
            let greatest = held.greatest(self.peers, row).map(|holding| holding.version);
            let beaten = greatest.as_ref().is_some_and(|greatest| greatest >= version);
            let kept = if held.names.rule(row) == Rule::LastWriter { beaten } else { greatest.is_some() };
            // Where nobody holds anything because it was deleted and purged, nothing is lost either.
            let gone = !self.purged.is_empty()
                && self
                    .latest
                    .get(row as usize)
                    .is_some_and(|latest| latest.as_ref().is_some_and(|latest| latest.deleted));
            if !kept && !gone {
                self.set_back += 1;
                *wanted = greatest.map(|version| Wanted { version, op: None });
            }
        }
        for (row, latest) in (0..).zip(&mut self.latest) {
            let Some(greatest) = held.greatest(self.peers, row) else { continue };
            let lost = latest.as_ref().is_some_and(|latest| latest.version > greatest.version);
            if lost && held.names.rule(row) == Rule::LastWriter {
                self.lost.extend(latest.replace(greatest).map(|lost| (row, lost)));
            }
        }
    }
}

fn slot<T>(rows: &mut Vec<Option<T>>, row: RowNumber) -> &mut Option<T> {
    let place = row as usize;
    if place >= rows.len() {
        rows.resize_with(place + 1, || None);
    }
    &mut rows[place]
}
