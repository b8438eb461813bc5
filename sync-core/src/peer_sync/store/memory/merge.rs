//! Rows that come from others: received ones by the greater version, and those that were decided outside.

use super::MemoryPeerStore;
use super::rows::Place;
use crate::limits;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::together::GroupOf;
use crate::peer_sync::store::{Advance, ApplyIf, MergeRows, Merged, Outcome, PeerReply};
use crate::peer_sync::version::{NodeId, Version};
use crate::time::Timestamp;

/// One transaction that merges.
struct Work {
    now: Timestamp,
    /// Drawn when the first row is stored: a merge that stores nothing is no transaction that others see.
    xid: Option<u64>,
    /// Which part of it the row at hand belongs to: the place of its group.
    nth: u32,
    changed: Vec<Place>,
    /// Rows of the merged transactions that are here already, or what beats them, with their part.
    held: Vec<(u32, Place)>,
    outcomes: Vec<Outcome>,
}

impl MemoryPeerStore {
    /// A row that an application has locked makes the whole request wait. Whoever executes requests lets them wait
    /// ([`lock`](Self::lock)); here it is answered as one that waited for too long, without effect.
    pub(super) fn merge(&mut self, now: Timestamp, request: MergeRows) -> PeerReply {
        if self.is_any_locked(request.rows.iter().map(|row| &row.row)) {
            return PeerReply::Unavailable;
        }
        let mut work = Work::new(now, request.rows.len());
        let mut groups = GroupOf::new(&request.groups);
        for row in request.rows {
            work.nth = groups.next();
            let outcome = self.merge_row(&mut work, row, request.repair);
            work.outcomes.push(outcome);
        }
        let known = request.known.into_iter().map(|(group, row)| (groups.bound(group), row));
        self.finish_merge(work, &request.from, known, request.advance)
    }

    pub(super) fn apply_if(&mut self, now: Timestamp, request: ApplyIf) -> PeerReply {
        if self.is_any_locked(request.rows.iter().map(|(row, _)| &row.row)) {
            return PeerReply::Unavailable;
        }
        let mut work = Work::new(now, request.rows.len());
        for (row, expected) in request.rows {
            let outcome = self.apply_row(&mut work, row, expected.as_ref());
            work.outcomes.push(outcome);
        }
        let all = !work.outcomes.contains(&Outcome::Changed);
        let known = request.known.into_iter().map(|row| (0, row));
        self.finish_merge(work, &request.from, known, request.advance.filter(|_| all))
    }

    fn finish_merge(
        &mut self,
        work: Work,
        from: &NodeId,
        known: impl Iterator<Item = (u32, RowId)>,
        advance: Option<Advance>,
    ) -> PeerReply {
        if let Some(xid) = work.xid {
            let rows = &self.rows;
            let known = known.filter_map(|(nth, row)| Some((nth, rows.find(&row)?)));
            let mut lost: Vec<(u32, Place)> = work.held.into_iter().chain(known).collect();
            // What is named twice is lost once: there is room for so many only.
            lost.sort_unstable();
            lost.dedup();
            for (nth, place) in lost {
                let part = (xid, nth);
                if let Some(row) = rows.at(place).filter(|row| row.part() != part) {
                    self.feed.lost(part, place, row.born);
                }
            }
        }
        let aside = self.settle(&work.changed, &[]);
        let refuses = work.outcomes.iter().any(Outcome::is_refused);
        if refuses && self.refused.len() < limits::PEERS_MAX {
            self.refused.insert(from.clone());
        }
        let advanced = advance.is_some();
        if let Some(Advance { position, frontier }) = advance {
            self.positions.insert(from.clone(), position);
            if !self.refused.contains(from) {
                self.others.join(&frontier);
            }
        }
        PeerReply::Merged(Merged { outcomes: work.outcomes, aside, advanced })
    }

    fn merge_row(&mut self, work: &mut Work, row: RowVersion, repair: bool) -> Outcome {
        let table = match self.tables.check(&row) {
            Ok(table) => table,
            Err(unsound) => return Outcome::Unsound(unsound),
        };
        let found = self.rows.find(&row.row);
        let Some(held) = found.and_then(|place| self.rows.at(place)) else {
            return self.accept(work.now, &row).err().unwrap_or_else(|| self.insert(work, table, row));
        };
        if held.stored.version == row.version {
            if !repair || held.stored.is_sound() {
                work.holds(found);
                return Outcome::Equal;
            }
        } else if self.tables.get(table).is_none_or(|rules| !rules.greater_version_wins) {
            // Whatever the order of the versions says, it is for the table's policy to decide.
            return Outcome::Changed;
        } else if held.stored.version > row.version {
            work.holds(found);
            let by = held.stored.version.clone();
            if !self.covers(&row)
                && let Some(held) = found.and_then(|place| self.rows.at_mut(place))
            {
                held.beat(row.version.node, row.origin);
            }
            return Outcome::Beaten { by };
        }
        let beaten = held.stored.version.clone();
        // An older write of which no deleter knew may stand where the row was purged: what is known to be dead stays so.
        if beaten < row.version && self.is_expired(&row) {
            return Outcome::Expired;
        }
        // The stamp of a version that is held was taken in with it.
        if beaten != row.version
            && let Err(refused) = self.accept(work.now, &row)
        {
            return refused;
        }
        self.store(work, found, table, row);
        Outcome::Updated { beaten }
    }

    fn apply_row(&mut self, work: &mut Work, row: RowVersion, expected: Option<&Version>) -> Outcome {
        let table = match self.tables.check(&row) {
            Ok(table) => table,
            Err(unsound) => return Outcome::Unsound(unsound),
        };
        let found = self.rows.find(&row.row);
        let held = found.and_then(|place| self.rows.at(place)).map(|held| &held.stored);
        if held.map(|held| &held.version) != expected {
            return Outcome::Changed;
        }
        // The same version that comes from another life of its writer's database is nothing new.
        if held.is_some_and(|held| held.is_same_as(&row)) {
            work.holds(found);
            return Outcome::Equal;
        }
        let beaten = held.map(|held| held.version.clone());
        // A policy may prefer what was deleted before the row that is here came: the dead stays dead.
        if beaten.as_ref().is_some_and(|beaten| *beaten != row.version) && self.is_buried(&row) {
            return Outcome::Expired;
        }
        if let Err(refused) = self.accept(work.now, &row) {
            return refused;
        }
        let Some(beaten) = beaten else { return self.insert(work, table, row) };
        self.store(work, found, table, row);
        Outcome::Updated { beaten }
    }

    /// Absorbs the stamp of a row that is to be stored, so that whatever is written here after it was seen is
    /// greater. A row that stays outside leaves the clock alone.
    fn accept(&mut self, now: Timestamp, row: &RowVersion) -> Result<(), Outcome> {
        let received = self.clock.receive(now, row.version.stamp);
        received.map_err(|refused| Outcome::TooFarAhead { ahead: refused.ahead })
    }

    /// Stores a row that is not there, unless it was deleted and its tombstone purged.
    fn insert(&mut self, work: &mut Work, table: u32, row: RowVersion) -> Outcome {
        if self.is_expired(&row) {
            return Outcome::Expired;
        }
        self.store(work, None, table, row);
        Outcome::Inserted
    }

    fn store(&mut self, work: &mut Work, found: Option<Place>, table: u32, row: RowVersion) {
        let xid = *work.xid.get_or_insert_with(|| self.draw_xid());
        let place = self.put_at(found, (xid, work.nth), work.now, table, row);
        work.changed.push(place);
    }
}

impl Work {
    fn new(now: Timestamp, rows: usize) -> Self {
        Self {
            now,
            xid: None,
            nth: 0,
            changed: Vec::new(),
            held: Vec::new(),
            outcomes: Vec::with_capacity(rows),
        }
    }

    /// The row at hand is here already, or what beats it.
    fn holds(&mut self, found: Option<Place>) {
        self.held.extend(found.map(|place| (self.nth, place)));
    }
}
