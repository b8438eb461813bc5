//! P15: a position in a peer's feed skips nothing, whatever the order of commits.
//!
//! When a reader moves its position, it must have dealt with the row of every transaction of the source that the
//! position covers: hold it, or what beats it, or have been offered and refused it (too far ahead, expired,
//! unsound). Looked at is the latest version of each row at its source, since that is what a feed has. A version that
//! somebody refused as too far ahead travels by comparison later on and is not judged.
//!
//! A tombstone, and what one beats, need not come to a reader that has nothing living of the row once any peer has purged
//! some: what was purged travels with what peers say to have read. Nothing living has who never dealt with the row, or dealt
//! last with a tombstone of it, or dropped it.
//!
//! After a source's disk was set back nobody can tell what its transaction numbers mean until a new life of its
//! database begins. If none does, the readers' positions are judged in the end. What its copy held is looked for where a
//! comparison of everything leads to a position of the new life. Until then it gives numbers that it had given before: what
//! a third peer has of such a number may be passed over there until a comparison. That is counted, if the new life begins or the row comes at last.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sync_core::id::Incarnation;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::dealt::Dealt;
use super::held::{Names, RowNumber, Rule};
use crate::history::peers::{HeldRow, MergeOutcome, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct CursorCompleteness {
    names: Names,
    dealt: Dealt,
    sources: BTreeMap<u32, Source>,
    /// By reader and source: the position that was judged last; after the source was set back, the latest.
    positions: BTreeMap<(u32, u32), (Incarnation, Snapshot)>,
    /// By row: the greatest version that somebody refused as too far ahead.
    too_far: FxHashMap<RowNumber, Version>,
    /// By reader and row: the greatest tombstone, or dropped version, that it dealt with.
    buried: FxHashMap<(u32, RowNumber), Version>,
    /// By row: the greatest tombstone.
    graves: FxHashMap<RowNumber, Version>,
    /// By life: the peer whose disk was set back and that went on with it.
    clashes: BTreeMap<Incarnation, Clash>,
    /// Whether a peer purged tombstones.
    purged: bool,
    judged: u64,
    excused: Excused,
    last_us: u64,
}

/// Rows behind a position that the reader has not, and need not have.
#[derive(Default)]
struct Excused {
    /// A tombstone, or what one beats, of which the reader has nothing living; somebody has purged.
    purged: u64,
    /// Somebody refused it as too far ahead.
    too_far: u64,
    /// A third peer has it from one whose disk was set back, under a number that was given twice.
    given_twice: u64,
}

/// Numbers of a life of which some were given twice.
struct Clash {
    peer: u32,
    /// Those above this one.
    above: u64,
    /// Whether a new life began.
    noticed: bool,
    /// What was passed over for that before.
    passed_over: Vec<PassedOver>,
}

/// A row that a reader has read past.
struct PassedOver {
    reader: u32,
    row: RowNumber,
    version: Version,
    wrong: String,
}

/// What a peer's feed has.
#[derive(Default)]
struct Source {
    life: Option<Incarnation>,
    /// Whether its disk was set back and no new life began.
    set_back: bool,
    rows: FxHashMap<RowNumber, Offered>,
    by_xid: BTreeMap<u64, BTreeSet<RowNumber>>,
    /// Of the copy that its disk was set back to: the last transaction of each life that it is known to hold.
    copy: BTreeMap<Incarnation, u64>,
}

struct Offered {
    /// None: of a transaction before the disk was set back.
    xid: Option<u64>,
    version: Version,
    /// The life and the transaction that wrote it, if that is one.
    origin: Option<(Incarnation, u64)>,
}

impl Clash {
    fn of(peer: u32, above: u64) -> Self {
        Self { peer, above, noticed: false, passed_over: Vec::new() }
    }
}

impl Source {
    fn offer(&mut self, row: RowNumber, offered: Offered) {
        if let Some(xid) = offered.xid {
            self.by_xid.entry(xid).or_default().insert(row);
        }
        let xid = offered.xid;
        let before = self.rows.insert(row, offered).and_then(|before| before.xid);
        if before != xid {
            self.unlist(row, before);
        }
    }

    /// The row is not in the feed any more.
    fn forget(&mut self, row: RowNumber) {
        let before = self.rows.remove(&row).and_then(|before| before.xid);
        self.unlist(row, before);
    }

    fn unlist(&mut self, row: RowNumber, xid: Option<u64>) {
        let Some(xid) = xid else { return };
        if let Some(rows) = self.by_xid.get_mut(&xid) {
            rows.remove(&row);
            if rows.is_empty() {
                self.by_xid.remove(&xid);
            }
        }
    }

    /// Has what a copy of its disk has.
    fn set_back(&mut self, copy: Vec<(RowNumber, Version)>) {
        self.set_back = true;
        self.by_xid.clear();
        self.copy.clear();
        let before = std::mem::take(&mut self.rows);
        for (row, version) in copy {
            let same = before.get(&row).filter(|before| before.version == version);
            let origin = same.and_then(|same| same.origin);
            if let Some((life, xid)) = origin {
                let last = self.copy.entry(life).or_default();
                *last = xid.max(*last);
            }
            self.rows.insert(row, Offered { xid: None, version, origin });
        }
    }

    /// In its new life everybody has to compare everything: what is there lies before whatever comes.
    fn renewed(&mut self, life: Incarnation) {
        let before = self.life.replace(life);
        // What was written in the life before is taken over.
        for offered in self.rows.values_mut() {
            offered.origin = offered.origin.filter(|(origin, _)| before != Some(*origin));
        }
        if std::mem::take(&mut self.set_back) {
            let old = self.rows.iter_mut().filter(|(_, offered)| offered.xid.is_none());
            for (row, offered) in old {
                offered.xid = Some(OF_A_COPY);
                self.by_xid.entry(OF_A_COPY).or_default().insert(*row);
            }
        }
    }
}

impl CursorCompleteness {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            names: Names::new(terms),
            dealt: Dealt::default(),
            sources: BTreeMap::new(),
            positions: BTreeMap::new(),
            too_far: FxHashMap::default(),
            buried: FxHashMap::default(),
            graves: FxHashMap::default(),
            clashes: BTreeMap::new(),
            purged: false,
            judged: 0,
            excused: Excused::default(),
            last_us: 0,
        }
    }

    fn merged(&mut self, node: u32, xid: Option<u64>, merged: &MergedRow) {
        let row = self.names.number(&merged.row);
        self.dealt.with(node, row, &merged.version);
        if merged.deleted {
            self.bury_at(node, row, &merged.version);
        }
        if merged.outcome == MergeOutcome::TooFarAhead {
            let too_far = self.too_far.entry(row).or_insert_with(|| merged.version.clone());
            *too_far = merged.version.clone().max(too_far.clone());
        }
        let took = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated);
        if let (Some(version), Some(xid), true) = (&merged.holds, xid, took) {
            self.dealt.with(node, row, version);
            let origin = (*version == merged.version).then_some((merged.origin, merged.origin_xid));
            let offered = Offered { xid: Some(xid), version: version.clone(), origin };
            self.sources.entry(node).or_default().offer(row, offered);
        }
    }

    fn bury(&mut self, row: RowNumber, version: &Version) {
        let grave = self.graves.entry(row).or_insert_with(|| version.clone());
        if *grave < *version {
            *grave = version.clone();
        }
    }

    /// A peer dealt with a tombstone, or dropped this version.
    fn bury_at(&mut self, peer: u32, row: RowNumber, version: &Version) {
        let buried = self.buried.entry((peer, row)).or_insert_with(|| version.clone());
        if *buried < *version {
            *buried = version.clone();
        }
    }

    /// Judges what a reader's position covers and its last one did not.
    fn advanced(
        &mut self,
        reader: u32,
        of: u32,
        position: (Incarnation, &Snapshot),
        reconciled: bool,
        findings: &mut Findings,
    ) {
        let (life, to) = position;
        let Some(source) = self.sources.get(&of) else { return };
        let from = self.positions.get(&(reader, of)).filter(|(before, _)| *before == life);
        let from = from.map(|(_, from)| from.clone()).unwrap_or_default();
        let old = source.by_xid.range(OF_A_COPY..=OF_A_COPY).filter(|_| reconciled);
        let new = source
            .by_xid
            .range((OF_A_COPY + 1).max(from.xmin())..to.xmax().max(OF_A_COPY + 1).max(from.xmin()));
        let new = new.filter(|(xid, _)| to.sees(**xid) && !from.sees(**xid));
        for (xid, rows) in old.chain(new) {
            for row in rows {
                let Some(offered) = source.rows.get(row) else { continue };
                self.judged += 1;
                let version = &offered.version;
                let last_writer = self.names.rule(*row) == Rule::LastWriter;
                let dealt = self.dealt.last(reader, *row);
                let has = dealt.is_some_and(|dealt| !last_writer || dealt >= version);
                let dead = self.graves.get(row).is_some_and(|grave| grave >= version);
                let nothing_lives = dealt.is_none_or(|dealt| self.buried.get(&(reader, *row)) == Some(dealt));
                let purged = dead && self.purged && nothing_lives;
                let too_far = self.too_far.get(row).is_some_and(|too_far| too_far >= version);
                let excused = match () {
                    () if has => continue,
                    () if purged => Some(&mut self.excused.purged),
                    () if too_far => Some(&mut self.excused.too_far),
                    () => None,
                };
                if let Some(excused) = excused {
                    *excused += 1;
                    continue;
                }
                let name = self.names.row(*row);
                let has = dealt.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                let wrong = || {
                    format!(
                        "peer {reader} has read transaction {xid} of peer {of} and skipped {name} {version}; it has {has}"
                    )
                };
                // What the source writes itself is judged by the life that it has.
                let origin = offered.origin.filter(|(life, _)| source.life != Some(*life));
                let clash = origin.and_then(|(life, xid)| Some((self.clashes.get_mut(&life)?, xid)));
                let clash = clash.filter(|(clash, xid)| *xid > clash.above);
                match clash.map(|(clash, _)| clash) {
                    Some(clash) if clash.noticed => self.excused.given_twice += 1,
                    Some(clash) => {
                        let (row, version) = (*row, version.clone());
                        clash.passed_over.push(PassedOver { reader, row, version, wrong: wrong() });
                    }
                    None => findings.add(self.last_us, None, wrong),
                }
            }
        }
    }

    fn set_back(&mut self, node: u32, holds: &[HeldRow]) {
        let mut copy = Vec::with_capacity(holds.len());
        self.dealt.set_back(node);
        self.buried.retain(|(peer, _), _| *peer != node);
        for HeldRow { row, version, .. } in holds {
            let row = self.names.number(row);
            self.dealt.with(node, row, version);
            copy.push((row, version.clone()));
        }
        self.sources.entry(node).or_default().set_back(copy);
        self.positions.retain(|(reader, _), _| *reader != node);
    }
}

impl Check for CursorCompleteness {
    fn property(&self) -> Property {
        Property {
            id: "P15",
            name: "cursor completeness",
            statement: "A reader's position covers no transaction of which it skipped a row, whatever the order of commits.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::Advanced, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Stocked { rows } => {
                for held in rows {
                    let row = self.names.number(&held.row);
                    self.dealt.stock(row, &held.version);
                    if held.deleted {
                        self.bury(row, &held.version);
                    }
                }
            }
            PeerWhat::Committed { op, incarnation, xid, writes, .. } => {
                let source = self.sources.entry(op.host).or_default();
                source.life = source.life.or(Some(*incarnation));
                if source.set_back {
                    let above = source.copy.get(incarnation).copied().unwrap_or(0);
                    let clash = self.clashes.entry(*incarnation).or_insert_with(|| Clash::of(op.host, above));
                    (clash.above, clash.noticed) = (clash.above.min(above), false);
                }
                for write in writes {
                    let row = self.names.number(&write.row);
                    let origin = Some((*incarnation, *xid));
                    source.offer(row, Offered { xid: Some(*xid), version: write.version.clone(), origin });
                    self.dealt.with(op.host, row, &write.version);
                }
                for write in writes.iter().filter(|write| write.deleted) {
                    let row = self.names.number(&write.row);
                    self.bury(row, &write.version);
                    self.bury_at(op.host, row, &write.version);
                }
            }
            PeerWhat::Merged { node, xid, rows, .. } => {
                rows.iter().for_each(|merged| self.merged(*node, *xid, merged));
            }
            PeerWhat::Advanced { node, of, incarnation, snapshot, reconciled } => {
                let source = self.sources.entry(*of).or_default();
                if source.life.is_some_and(|life| life != *incarnation) {
                    return;
                }
                source.life = Some(*incarnation);
                if !source.set_back {
                    self.advanced(*node, *of, (*incarnation, snapshot), *reconciled, findings);
                }
                self.positions.insert((*node, *of), (*incarnation, snapshot.clone()));
            }
            PeerWhat::Purged { .. } => self.purged = true,
            // Others had deleted it: whatever of it comes next is dealt with.
            PeerWhat::Dropped { node, rows } => {
                for row in rows {
                    let row = self.names.number(row);
                    let offered = self.sources.values().filter_map(|source| source.rows.get(&row));
                    if let Some(version) = offered.map(|offered| offered.version.clone()).max() {
                        self.dealt.with(*node, row, &version);
                        self.bury_at(*node, row, &version);
                    }
                    self.sources.entry(*node).or_default().forget(row);
                }
            }
            PeerWhat::SetBack { node, holds } => self.set_back(*node, holds),
            PeerWhat::Renewed { node, incarnation } => {
                for clash in self.clashes.values_mut().filter(|clash| clash.peer == *node) {
                    clash.noticed = true;
                    self.excused.given_twice += clash.passed_over.drain(..).count() as u64;
                }
                self.sources.entry(*node).or_default().renewed(*incarnation)
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let positions = std::mem::take(&mut self.positions);
        for ((reader, of), (life, to)) in &positions {
            let source = self.sources.get(of);
            if source.is_some_and(|source| source.set_back && source.life == Some(*life)) {
                self.advanced(*reader, *of, (*life, to), false, findings);
            }
        }
        // Nobody noticed: then it takes a comparison for other reasons to bring what was passed over.
        for passed in self.clashes.values_mut().flat_map(|clash| clash.passed_over.drain(..)) {
            let PassedOver { reader, row, version, wrong } = passed;
            if self.dealt.last(reader, row).is_some_and(|dealt| *dealt >= version) {
                self.excused.given_twice += 1;
            } else {
                findings.add(self.last_us, None, || wrong);
            }
        }
        let Excused { purged, too_far, given_twice } = self.excused;
        Basis::new(self.judged, "rows looked for behind positions")
            .excusing(purged, "deletes did not come where nothing of the row lived, after a purge")
            .excusing(too_far, "had been refused somewhere as too far ahead")
            .excusing(
                given_twice,
                "came by another from one whose disk had been set back, under numbers given twice",
            )
    }
}

/// Stands for the transactions that wrote what a copy holds: no database gives this number.
const OF_A_COPY: u64 = 0;

#[cfg(test)]
mod tests;
