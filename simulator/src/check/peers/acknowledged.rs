//! What was acknowledged, and so must not be lost: of each row the strongest version, and the strongest one committed.
//!
//! What was only on disks that were set back is lost with them: it is counted and not looked for, unless it turns up again,
//! on its way to somebody or on another copy of a disk.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::peer_sync::version::Version;

use super::PeerTerms;
use super::dealt::Dealt;
use super::held::{Held, Holding, Names, RowNumber, Rule};
use super::strength::Strengths;
use crate::history::OpRef;
use crate::history::peers::{HeldRow, MergeOutcome, MergedRow, PeerWhat};

#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    peers: u32,
    strengths: Strengths,
    /// What transactions wrote of which the application has learnt nothing yet.
    open: BTreeMap<OpRef, Vec<(RowNumber, Holding)>>,
    wanted: Vec<Option<Wanted>>,
    latest: Vec<Option<Holding>>,
    /// Of each row the strongest version that was on disks only which were set back.
    lost: BTreeMap<RowNumber, Version>,
    /// Acknowledged writes, and rows that were there from the start.
    pub(super) writes: u64,
    /// Of them, those that nobody else held when the disk of their peer was set back: lost by it, and not judged.
    pub(super) set_back: u64,
    /// Peers that purged tombstones.
    purged: BTreeSet<u32>,
    /// Tombstones that each peer had, purged ones too, since its disk was set back.
    buried: Dealt,
}

/// A version that must be there, or one that beats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) version: Version,
    /// Whether that is a tombstone.
    pub(super) deleted: bool,
    /// Who wrote it; none for a row that was there from the start.
    pub(super) op: Option<OpRef>,
}

/// What a version that somebody holds says of one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It is that, or beats it.
    Yes,
    No,
    /// Which of the two wins is not known.
    Unknown,
}

impl Acknowledged {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { peers: terms.count, strengths: Strengths::new(terms), ..Self::default() }
    }

    /// Takes one event, after `held` took it. Gives an operation that was acknowledged and had not committed.
    pub(super) fn observe(&mut self, what: &PeerWhat, held: &mut Held) -> Option<OpRef> {
        match what {
            PeerWhat::Stocked { rows } => {
                for row in rows {
                    let number = held.names.number(&row.row);
                    self.strengths.wrote(&held.names, number, &row.version, None);
                    self.committed(&held.names, number, &row.version, row.deleted);
                    self.writes += 1;
                    let holding = Holding { version: row.version.clone(), deleted: row.deleted };
                    self.want(&held.names, number, holding, None);
                    if row.deleted {
                        self.buried.stock(number, &row.version);
                    }
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                let mut open = Vec::with_capacity(writes.len());
                for write in writes {
                    let row = held.names.number(&write.row);
                    self.strengths.wrote(&held.names, row, &write.version, write.seen.as_ref());
                    self.committed(&held.names, row, &write.version, write.deleted);
                    open.push((row, Holding { version: write.version.clone(), deleted: write.deleted }));
                    if write.deleted {
                        self.buried.with(op.host, row, &write.version);
                    }
                }
                self.open.insert(*op, open);
            }
            PeerWhat::Acknowledged { op } => {
                let Some(writes) = self.open.remove(op) else { return Some(*op) };
                for (row, holding) in writes {
                    self.writes += 1;
                    self.want(&held.names, row, holding, Some(*op));
                }
            }
            PeerWhat::Indefinite { op } => drop(self.open.remove(op)),
            PeerWhat::Purged { node, .. } | PeerWhat::Dropped { node, .. } => {
                self.purged.insert(*node);
            }
            PeerWhat::SetBack { node, holds } => self.set_back(*node, holds, held),
            _ => {}
        }
        None
    }

    /// Takes one row that a peer merged. A write of which a deleter did not know may come when the tombstone that
    /// beats it is purged: it is taken for a new row, and the delete is over. (P7 judges what was known.)
    pub(super) fn merged(&mut self, node: u32, names: &Names, row: RowNumber, merged: &MergedRow) {
        let came = &merged.version;
        let holds = merged.holds.as_ref() == Some(came);
        if holds {
            // What was lost with a disk, and was on its way to somebody, is not lost.
            self.turned_up(names, row, Holding { version: came.clone(), deleted: merged.deleted });
            if merged.deleted {
                self.buried.with(node, row, came);
            }
        }
        let inserted = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated)
            && !merged.deleted
            && holds;
        if !inserted || !self.purged.contains(&node) || !self.latest(row).is_some_and(|latest| latest.deleted)
        {
            return;
        }
        let beats = |one: Option<&Version>| one.is_some_and(|one| self.beats(names, row, one, came));
        if beats(self.latest(row).map(|latest| &latest.version))
            && beats(self.wanted(row).map(|wanted| &wanted.version))
            && let Some(wanted) = slot(&mut self.wanted, row)
        {
            (wanted.version, wanted.deleted) = (came.clone(), false);
        }
    }

    /// What must be there of a row.
    pub(super) fn wanted(&self, row: RowNumber) -> Option<&Wanted> {
        self.wanted.get(row as usize)?.as_ref()
    }

    /// The strongest version of a row that any transaction wrote, and that was not lost with a disk.
    pub(super) fn latest(&self, row: RowNumber) -> Option<&Holding> {
        self.latest.get(row as usize)?.as_ref()
    }

    /// Whether nothing at all, or a lesser tombstone, is as good as what is wanted of a row: it was deleted, and
    /// tombstones were purged.
    pub(super) fn may_be_absent(&self, row: RowNumber) -> bool {
        !self.purged.is_empty() && self.latest(row).is_some_and(|latest| latest.deleted)
    }

    /// Whether a version is what is wanted of a row, or beats it.
    pub(super) fn is_served(&self, names: &Names, row: RowNumber, version: &Version) -> Served {
        self.wanted(row).map_or(Served::Yes, |wanted| self.serves(names, row, version, &wanted.version))
    }

    /// Whether a version of a row is that other one, or beats it.
    pub(super) fn serves(
        &self,
        names: &Names,
        row: RowNumber,
        version: &Version,
        wanted: &Version,
    ) -> Served {
        if names.rule(row) == Rule::LastWriter {
            return if version >= wanted { Served::Yes } else { Served::No };
        }
        let strength = |version| self.strengths.of(names, row, version);
        let forgotten = self.strengths.is_ranked(names, row) && self.may_be_absent(row);
        match strength(version).zip(strength(wanted)) {
            _ if version == wanted => Served::Yes,
            Some((strength, wanted)) if strength >= wanted => Served::Yes,
            Some(_) if !forgotten => Served::No,
            _ => Served::Unknown,
        }
    }

    /// Whether one version beats another; by the greater version where nothing is known.
    fn beats(&self, names: &Names, row: RowNumber, one: &Version, other: &Version) -> bool {
        let strength = |version| self.strengths.of(names, row, version);
        let known =
            if names.rule(row) == Rule::LastWriter { None } else { strength(one).zip(strength(other)) };
        known.map_or(one > other, |(one, other)| one > other)
    }

    fn committed(&mut self, names: &Names, row: RowNumber, version: &Version, deleted: bool) {
        if self.latest(row).is_none_or(|latest| self.beats(names, row, version, &latest.version)) {
            *slot(&mut self.latest, row) = Some(Holding { version: version.clone(), deleted });
        }
    }

    fn want(&mut self, names: &Names, row: RowNumber, holding: Holding, op: Option<OpRef>) {
        let Holding { version, deleted } = holding;
        if self.wanted(row).is_none_or(|wanted| self.beats(names, row, &version, &wanted.version)) {
            *slot(&mut self.wanted, row) = Some(Wanted { version, deleted, op });
        }
    }

    /// A peer holds a version that is no stronger than one that was lost: it had been written, and counts again.
    fn turned_up(&mut self, names: &Names, row: RowNumber, holding: Holding) {
        let Some(lost) = self.lost.get(&row) else { return };
        if !self.beats(names, row, &holding.version, lost) {
            self.committed(names, row, &holding.version, holding.deleted);
            self.want(names, row, holding, None);
        }
    }

    fn lose(&mut self, names: &Names, row: RowNumber, version: Version) {
        if self.lost.get(&row).is_none_or(|lost| self.beats(names, row, &version, lost)) {
            self.lost.insert(row, version);
        }
    }

    /// What nobody holds any more is lost with the disk. What another peer holds is not, nor what this copy has again.
    fn set_back(&mut self, node: u32, holds: &[HeldRow], held: &mut Held) {
        self.open.iter_mut().filter(|(op, _)| op.host == node).for_each(|(_, writes)| writes.clear());
        self.buried.set_back(node);
        for copy in holds {
            let row = held.names.number(&copy.row);
            let holding = Holding { version: copy.version.clone(), deleted: copy.deleted };
            self.turned_up(&held.names, row, holding);
            if copy.deleted {
                self.buried.with(node, row, &copy.version);
            }
        }
        for row in 0..held.names.count() {
            let mut best: Option<Holding> = None;
            for peer in 0..self.peers {
                let holding = held.of(peer, row).cloned();
                let better = |holding: &Holding| {
                    let beats =
                        |best: &Holding| self.beats(&held.names, row, &holding.version, &best.version);
                    best.as_ref().is_none_or(beats)
                };
                best = holding.filter(better).or(best);
            }
            self.settle(&held.names, row, best);
        }
    }

    /// The strongest that anybody holds of a row, or remembers, is all that is left of it.
    fn settle(&mut self, names: &Names, row: RowNumber, best: Option<Holding>) {
        let stays = |version: &Version| match &best {
            Some(best) => self.serves(names, row, &best.version, version) != Served::No,
            None => false,
        };
        if self.may_be_absent(row)
            && (best.as_ref().is_none_or(|best| best.deleted) || self.is_remembered(row))
        {
            return;
        }
        let wanted = self.wanted(row).filter(|wanted| !stays(&wanted.version)).cloned();
        let latest = self.latest(row).filter(|latest| !stays(&latest.version)).cloned();
        if let Some(Wanted { version, .. }) = wanted {
            self.set_back += 1;
            self.lose(names, row, version);
            let left = best.clone().map(|Holding { version, deleted }| Wanted { version, deleted, op: None });
            *slot(&mut self.wanted, row) = left;
        }
        if let Some(Holding { version, .. }) = latest {
            self.lose(names, row, version);
            *slot(&mut self.latest, row) = best;
        }
    }

    /// Whether a peer had the delete of a row that was the last of it, be it purged.
    fn is_remembered(&self, row: RowNumber) -> bool {
        let Some(latest) = self.latest(row) else { return false };
        (0..self.peers)
            .any(|peer| self.buried.last(peer, row).is_some_and(|buried| *buried >= latest.version))
    }
}

fn slot<T>(rows: &mut Vec<Option<T>>, row: RowNumber) -> &mut Option<T> {
    let place = row as usize;
    if place >= rows.len() {
        rows.resize_with(place + 1, || None);
    }
    &mut rows[place]
}
