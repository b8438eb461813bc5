//! Rows that come from others: received ones by the greater version, and those that were decided outside.

use super::MemoryPeerStore;
use super::rows::Place;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::{Advance, ApplyIf, MergeRows, Merged, Outcome, PeerReply};
use crate::peer_sync::version::{NodeId, Version};
use crate::time::Timestamp;

/// One transaction that merges.
struct Work {
    now: Timestamp,
    /// Drawn when the first row is stored: a merge that stores nothing is no transaction that others see.
    xid: Option<u64>,
    changed: Vec<Place>,
    /// Rows of the merged transactions that are here already, or what beats them.
    held: Vec<Place>,
    outcomes: Vec<Outcome>,
}

impl MemoryPeerStore {
    /// A row that an application has locked makes the whole request wait in a real database; here it is
    /// answered as one that did not come through in time, without effect.
    pub(super) fn merge(&mut self, now: Timestamp, request: MergeRows) -> PeerReply {
        if self.any_locked(request.rows.iter()) {
            return PeerReply::Unavailable;
        }
        let mut work = Work::new(now, request.rows.len());
        for row in request.rows {
            let outcome = self.merge_row(&mut work, row, request.repair);
            work.outcomes.push(outcome);
        }
        self.finish_merge(work, &request.from, &request.known, request.advance)
    }

    pub(super) fn apply_if(&mut self, now: Timestamp, request: ApplyIf) -> PeerReply {
        if self.any_locked(request.rows.iter().map(|(row, _)| row)) {
            return PeerReply::Unavailable;
        }
        let mut work = Work::new(now, request.rows.len());
        for (row, expected) in request.rows {
            let outcome = self.apply_row(&mut work, row, expected.as_ref());
            work.outcomes.push(outcome);
        }
        let all = !work.outcomes.contains(&Outcome::Changed);
        self.finish_merge(work, &request.from, &request.known, request.advance.filter(|_| all))
    }

    fn finish_merge(
        &mut self,
        work: Work,
        from: &NodeId,
        known: &[RowId],
        advance: Option<Advance>,
    ) -> PeerReply {
        if let Some(xid) = work.xid {
            let known = known.iter().filter_map(|row| self.rows.find(row));
            for place in work.held.into_iter().chain(known) {
                if let Some(row) = self.rows.at(place).filter(|row| row.xid != xid) {
                    self.feed.lost(xid, place, row.born);
                }
            }
        }
        let aside = self.settle(&work.changed, &[]);
        let advanced = advance.is_some();
        if let Some(Advance { position, frontier }) = advance {
            self.positions.insert(from.clone(), position);
            self.others.join(&frontier);
        }
        PeerReply::Merged(Merged { outcomes: work.outcomes, aside, advanced })
    }

    fn merge_row(&mut self, work: &mut Work, row: RowVersion, repair: bool) -> Outcome {
        let table = match self.accept(work.now, &row) {
            Ok(table) => table,
            Err(refused) => return refused,
        };
        let found = self.rows.find(&row.row);
        let Some(held) = found.and_then(|place| self.rows.at(place)) else {
            return self.insert(work, table, row);
        };
        if held.stored.version == row.version {
            if !repair || held.stored.is_sound() {
                work.held.extend(found);
                return Outcome::Equal;
            }
        } else if self.tables.get(table).is_none_or(|rules| !rules.greater_version_wins) {
            // Whatever the order of the versions says, it is for the table's policy to decide.
            return Outcome::Changed;
        } else if held.stored.version > row.version {
            work.held.extend(found);
            return Outcome::Beaten { by: held.stored.version.clone() };
        }
        let beaten = held.stored.version.clone();
        self.store(work, found, table, row);
        Outcome::Updated { beaten }
    }

    fn apply_row(&mut self, work: &mut Work, row: RowVersion, expected: Option<&Version>) -> Outcome {
        let table = match self.accept(work.now, &row) {
            Ok(table) => table,
            Err(refused) => return refused,
        };
        let found = self.rows.find(&row.row);
        let held = found.and_then(|place| self.rows.at(place)).map(|held| &held.stored);
        if held.map(|held| &held.version) != expected {
            return Outcome::Changed;
        }
        let Some(held) = held else { return self.insert(work, table, row) };
        if *held == row {
            work.held.extend(found);
            return Outcome::Equal;
        }
        let beaten = held.version.clone();
        self.store(work, found, table, row);
        Outcome::Updated { beaten }
    }

    /// The table of a row that may be stored; its stamp is absorbed, so that whatever is written here after it was
    /// seen is greater.
    fn accept(&mut self, now: Timestamp, row: &RowVersion) -> Result<u32, Outcome> {
        let table = self.tables.check(row).map_err(Outcome::Unsound)?;
        self.clock
            .receive(now, row.version.stamp)
            .map_err(|refused| Outcome::TooFarAhead { ahead: refused.ahead })?;
        Ok(table)
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
        let place = self.put_at(found, xid, work.now, table, row);
        work.changed.push(place);
    }

    fn any_locked<'a>(&self, mut rows: impl Iterator<Item = &'a RowVersion>) -> bool {
        !self.locks.is_empty() && rows.any(|row| self.locks.contains_key(&row.row))
    }
}

impl Work {
    fn new(now: Timestamp, rows: usize) -> Self {
        Self { now, xid: None, changed: Vec::new(), held: Vec::new(), outcomes: Vec::with_capacity(rows) }
    }
}
