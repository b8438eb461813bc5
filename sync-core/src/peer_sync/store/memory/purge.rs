//! Tombstones that nobody needs any more, what is remembered of them, and new lives of the database.

use std::collections::{BTreeSet, VecDeque};

use super::MemoryPeerStore;
use super::rows::{Place, Row};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::position::Position;
use crate::peer_sync::row::{Origin, RowId, RowVersion};
use crate::peer_sync::schema::Table;
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::{DigestEntry, DropRows, PeerReply, Purge, ReadFeed, Scrub, Scrubbed};
use crate::peer_sync::version::NodeId;
use crate::time::Timestamp;

/// What is remembered of rows that were purged or dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Purged {
    /// The last transactions whose rows they were, ascending.
    xids: VecDeque<u64>,
    /// All before this are taken for such transactions.
    floor: u64,
    /// What was visible at the last purge: all that was purged was written before.
    snapshot: Snapshot,
}

impl Purged {
    pub(super) fn add(&mut self, xid: u64) {
        if let Err(at) = self.xids.binary_search(&xid) {
            self.xids.insert(at, xid);
        }
        if self.xids.len() > limits::PURGED_TRANSACTIONS_KEPT
            && let Some(first) = self.xids.pop_front()
        {
            self.floor = self.floor.max(first + 1);
        }
    }

    /// Whether a reader has read all that is purged. What is still under way here wrote nothing that was purged.
    fn passed_by(&self, read: &Snapshot, under_way: &BTreeSet<u64>) -> bool {
        let purged = |xid: &u64| {
            (*xid < self.floor && !under_way.contains(xid)) || self.xids.binary_search(xid).is_ok()
        };
        self.xids.back().is_none_or(|last| *last < read.xmax()) && !read.under_way().iter().any(purged)
    }
}

impl MemoryPeerStore {
    /// Whether a reader may have missed the purge of a tombstone, or stands in another life of this database.
    pub(super) fn is_cut_off(&self, request: &ReadFeed) -> bool {
        match &request.since {
            // Who has nothing has nothing that was deleted.
            None => self.others.horizon().is_some() && !request.frontier.is_empty(),
            Some(since) => {
                since.incarnation != self.incarnation
                    || !self.snapshot().covers(&since.snapshot)
                    || !self.purged.passed_by(&since.snapshot, &self.under_way)
            }
        }
    }

    /// Whether a version that is not here had been here: it, or what beat it, was deleted and the tombstone is purged.
    /// So says its grave; of rows whose graves are forgotten, that it is covered, absent and not beyond the horizon. A
    /// tombstone that is demanded back has not expired: whoever still has it brings the row back for all, see
    /// [`constraints`](crate::peer_sync::constraints).
    pub(super) fn is_expired(&self, row: &RowVersion) -> bool {
        let expired = Some(&row.version) <= self.others.horizon() && self.covers(row);
        (expired || self.is_buried(row)) && !(self.constrained && self.constraints.is_demanded(row))
    }

    /// Whether it is known to be beaten by a tombstone that was purged here, be it from somebody who was away for longer
    /// than tombstones are kept. Where the greater version need not win, only of what has been here that is known.
    pub(super) fn is_buried(&self, row: &RowVersion) -> bool {
        let table = || self.tables.schema().table(&row.row.table);
        self.graves.of(&row.row).is_some_and(|dead| row.version <= *dead)
            && (table().is_some_and(Table::later_write_wins) || self.covers(row))
    }

    /// Whether what was written there is covered. Of a combined version nobody can tell: it counts as covered, so
    /// that nothing deleted lives again.
    pub(super) fn covers(&self, row: &RowVersion) -> bool {
        self.covers_origin(row.node(), row.origin)
    }

    fn covers_origin(&self, node: &NodeId, origin: Origin) -> bool {
        if origin.is_combined() {
            return true;
        }
        let own = *node == self.node && origin.incarnation == self.incarnation;
        if !own {
            return self.others.covers(node, origin);
        }
        origin.xid < self.next_xid && !self.under_way.contains(&origin.xid)
    }

    /// Whether nothing that a row is known to beat would be taken for a new row if it came again, nor itself.
    fn may_go(&self, row: &Row) -> bool {
        self.covers(&row.stored) && row.beats.iter().all(|(node, origin)| self.covers_origin(node, *origin))
    }

    /// Who refused rows says how far it has read, which shows that this database was set back, and no more: a
    /// tombstone that it refused waits for it.
    pub(super) fn note_passed(&mut self, peer: NodeId, position: Position, refused: bool) -> PeerReply {
        if position.incarnation != self.incarnation {
            return PeerReply::Noted { ahead: false };
        }
        if !self.snapshot().covers(&position.snapshot) {
            return PeerReply::Noted { ahead: true };
        }
        let known = self.passed.len() < limits::PEERS_MAX || self.passed.contains_key(&peer);
        if known && !refused {
            self.passed.insert(peer, position);
        }
        PeerReply::Noted { ahead: false }
    }

    pub(super) fn purge(&mut self, now: Timestamp, request: &Purge) -> PeerReply {
        let passed = self.passed_by(&request.peers);
        // Who knows nobody does not know who has still to hear of it.
        let passed = passed.filter(|passed| !passed.is_empty());
        let oldest = now.saturating_sub(request.retention);
        let mut ready: Vec<(u64, Place)> = Vec::new();
        for (&(xid, place), stored) in &self.tombstones {
            if ready.len() >= request.rows_max && ready.last().is_some_and(|(last, _)| *last != xid) {
                break;
            }
            let Some(row) = self.rows.at(place) else { continue };
            let everybody = passed.as_ref().is_some_and(|all| all.iter().all(|read| read.sees(xid)));
            let needless = everybody || *stored < oldest;
            // One that is demanded back, even in vain, may be needed.
            if needless && row.standing.is_none() && self.may_go(row) {
                ready.push((xid, place));
            }
        }
        ready.sort_by(|a, b| self.in_transaction(*a).cmp(&self.in_transaction(*b)));
        ready.truncate(request.rows_max);
        let gone: Vec<RowId> = ready.iter().filter_map(|(_, place)| self.forget(*place)).collect();
        if !ready.is_empty() {
            self.purged.snapshot = self.snapshot();
        }
        self.settle(&[], &gone);
        PeerReply::Purged(ready.len() as u64)
    }

    fn in_transaction(&self, (xid, place): (u64, Place)) -> (u64, Option<&RowId>) {
        (xid, self.rows.at(place).map(|row| &row.stored.row))
    }

    /// Drops rows of which others say that they were deleted, without tombstones, each if it is still in this version.
    /// It waits for locks as a merge does: what stays although others know it to be dead is left out of feeds.
    pub(super) fn drop_rows(&mut self, request: &DropRows) -> PeerReply {
        if self.is_any_locked(request.entries.iter().map(|entry| &entry.row)) {
            return PeerReply::Unavailable;
        }
        let passed = self.passed_by(&request.readers);
        let mut gone = Vec::new();
        for DigestEntry { row, version } in &request.entries {
            let Some(place) = self.rows.find(row) else { continue };
            // What is demanded back here is so with whoever says that it is gone, as soon as the demand is there.
            let goes = |row: &Row| {
                let passed = || passed.as_ref().is_some_and(|all| all.iter().all(|read| read.sees(row.xid)));
                row.stored.version == *version
                    && !row.is_demanded()
                    && (!row.stored.image.is_tombstone() || passed())
            };
            if self.rows.at(place).is_some_and(goes) {
                gone.push(place);
            }
        }
        let dropped: Vec<RowId> = gone.into_iter().filter_map(|place| self.forget(place)).collect();
        self.settle(&[], &dropped);
        PeerReply::Dropped(dropped)
    }

    /// How far each of these has read; none if one has said nothing.
    fn passed_by(&self, peers: &[NodeId]) -> Option<Vec<&Snapshot>> {
        peers.iter().map(|peer| Some(&self.passed.get(peer)?.snapshot)).collect()
    }

    pub(super) fn scrub(&self, request: &Scrub) -> PeerReply {
        let mut scrubbed = Scrubbed::default();
        let mut last = None;
        for row in self.digests.rotate(request.after.as_ref(), &self.rows) {
            if scrubbed.rows >= request.rows_max as u64 {
                scrubbed.next = last;
                break;
            }
            scrubbed.rows += 1;
            if !row.stored.is_sound() {
                scrubbed.corrupt.push(row.stored.row.clone());
            }
            last = Some(row.stored.row.clone());
        }
        PeerReply::Scrubbed(scrubbed)
    }

    /// Begins a new life. What was written here belongs to it from now on: peers may have read other things under
    /// the same numbers of the old life, and must not take these for those. Of the old life only that is still
    /// claimed to be covered which was there at the last purge: what came after may be what was lost.
    pub(super) fn renew(&mut self, incarnation: Incarnation) -> PeerReply {
        let old = std::mem::replace(&mut self.incarnation, incarnation);
        let own = |row: &Row| row.stored.version.node == self.node && row.stored.origin.incarnation == old;
        for row in self.rows.iter_mut(own) {
            row.stored.origin.incarnation = incarnation;
        }
        self.others.advance(&self.node, old, &self.purged.snapshot);
        self.passed.clear();
        PeerReply::Renewed
    }

    /// The database goes on as that of another node, in a new life: it was copied from the one whose name it has, or
    /// came up under a name that was in use. What was written here under the old name keeps that name and belongs to the
    /// new life, as after `renew`: the other owner of the name may have given the same numbers to
    /// something else. Call it between two lives of the replica, with no transaction under way.
    pub fn rename(&mut self, node: NodeId, incarnation: Incarnation) {
        self.renew(incarnation);
        let old = std::mem::replace(&mut self.node, node);
        self.others.advance(&old, incarnation, &self.snapshot());
        self.own_xid = None;
        self.positions.remove(&self.node);
        self.refused.remove(&self.node);
    }
}
