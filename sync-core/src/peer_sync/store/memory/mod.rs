//! The database of a peer in memory: it defines what each request decides, and what applications are told.
//!
//! It models what matters of a real one: a transaction has a number from its first writing statement on and
//! becomes visible when it commits, in whatever order that happens; rows are locked from the statement to the end;
//! what is committed survives a crash, what is under way does not; the whole may be set back to an older copy.
//!
//! Every change goes through one place (`put` and `forget`), which keeps the feed, the digests, the totals and the
//! tombstones in step with the rows.

mod claims;
mod digests;
mod feed;
mod graves;
mod merge;
mod page;
mod purge;
mod rows;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use self::claims::Claims;
use self::digests::Digests;
use self::feed::Feed;
use self::graves::Graves;
use self::purge::Purged;
use self::rows::{Class, Place, Row, Rows};

use self::transactions::Open;
pub use self::transactions::{Committed, TransactionId, Write, WriteError};
use super::tables::Tables;
use super::together::Part;
use super::{AsideChange, Description, DigestPart, PeerReply, PeerRequest, Standing};
use crate::id::Incarnation;
use crate::peer_sync::clock::HybridClock;
use crate::peer_sync::constraints::{Change, Constraints};
use crate::peer_sync::content::Content;
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::resolver::Resolvers;
use crate::peer_sync::row::{Image, RowId, RowVersion, TableName};
use crate::peer_sync::schema::{Schema, Table};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::version::{NodeId, Stamp};
use crate::time::{Span, Timestamp};

/// The database of one peer.
#[derive(Clone, Debug)]
pub struct MemoryPeerStore {
    node: NodeId,
    incarnation: Incarnation,
    clock: HybridClock,
    tables: Tables,
    rows: Rows,
    feed: Feed,
    digests: Digests,
    /// Tombstones by the transaction that put them here, with the moment when.
    tombstones: BTreeMap<(u64, Place), Timestamp>,
    /// What is covered of everybody else's writes, and of own ones of earlier lives.
    others: Frontier,
    positions: BTreeMap<NodeId, Position>,
    passed: BTreeMap<NodeId, Position>,
    /// Peers of whose rows some were refused as too far ahead, see [`Description::refused`].
    refused: BTreeSet<NodeId>,
    purged: Purged,
    graves: Graves,
    /// The number that the next transaction gets.
    next_xid: u64,
    /// The last transaction of an application that is committed.
    own_xid: Option<u64>,
    under_way: BTreeSet<u64>,
    open: BTreeMap<TransactionId, Open>,
    opened: u64,
    /// Never iterated: its order is nobody's.
    locks: FxHashMap<RowId, TransactionId>,
    claims: Claims,
    constraints: Constraints,
    /// Whether any table has a reference or a natural key.
    constrained: bool,
}

/// The number of a database's first transaction.
const FIRST_XID: u64 = 1;

impl MemoryPeerStore {
    /// An empty database. Stamps that lie further ahead of its clock than `stamp_ahead_max` are refused
    /// ([`STAMP_AHEAD_MAX`](crate::limits::STAMP_AHEAD_MAX) unless a test wants another).
    pub fn new(node: NodeId, schema: Schema, incarnation: Incarnation, stamp_ahead_max: Span) -> Self {
        let ties = |table: &Table| !table.references.is_empty() || !table.unique.is_empty();
        let constrained = schema.tables().any(ties);
        Self {
            node,
            incarnation,
            clock: HybridClock::new(stamp_ahead_max),
            constraints: Constraints::new(&schema),
            constrained,
            tables: Tables::new(schema),
            rows: Rows::default(),
            feed: Feed::default(),
            digests: Digests::default(),
            tombstones: BTreeMap::new(),
            others: Frontier::default(),
            positions: BTreeMap::new(),
            passed: BTreeMap::new(),
            refused: BTreeSet::new(),
            purged: Purged::default(),
            graves: Graves::default(),
            next_xid: FIRST_XID,
            own_xid: None,
            under_way: BTreeSet::new(),
            open: BTreeMap::new(),
            opened: 0,
            locks: FxHashMap::default(),
            claims: Claims::default(),
        }
    }

    /// With resolvers that include a team's own. Without these, applications cannot write to tables that name one.
    pub fn with_resolvers(mut self, resolvers: Resolvers) -> Self {
        self.tables.resolvers = resolvers;
        self
    }

    /// Executes one request at a moment of the database's clock.
    pub fn execute(&mut self, now: Timestamp, request: PeerRequest) -> PeerReply {
        match request {
            PeerRequest::Describe => PeerReply::Described(self.describe(now)),
            PeerRequest::Feed(request) => self.read_feed(&request),
            PeerRequest::Merge(request) => self.merge(now, request),
            PeerRequest::FetchVersions(rows) => {
                PeerReply::Versions(rows.iter().map(|row| self.stored(row).cloned()).collect())
            }
            PeerRequest::ApplyIf(request) => self.apply_if(now, request),
            PeerRequest::Digests(parts) => {
                PeerReply::Digests(parts.iter().map(|part| self.digests.of(*part, &self.rows)).collect())
            }
            PeerRequest::Entries(parts) => PeerReply::Entries(self.digests.entries(&parts, &self.rows)),
            PeerRequest::Passed { peer, position, refused } => self.note_passed(peer, position, refused),
            PeerRequest::Settle(peer) => {
                self.refused.remove(&peer);
                PeerReply::Settled
            }
            PeerRequest::Purge(request) => self.purge(now, &request),
            PeerRequest::Drop(request) => self.drop_rows(&request),
            PeerRequest::Scrub(request) => self.scrub(&request),
            PeerRequest::Renew(incarnation) => self.renew(incarnation),
        }
    }

    /// Whose database it is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Its life.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Its clock.
    pub fn clock(&self) -> HybridClock {
        self.clock
    }

    /// Gives it another clock, as a defect in how clocks are kept would.
    pub fn set_clock(&mut self, clock: HybridClock) {
        self.clock = clock;
    }

    /// The tables.
    pub fn schema(&self) -> &Schema {
        self.tables.schema()
    }

    /// The transactions that are visible now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.next_xid, self.under_way.iter().copied())
    }

    /// What is there of everybody's writes. Own writes are covered up to the last of them: merging what others
    /// wrote is nothing that others would have to fetch, so it does not move this.
    pub fn frontier(&self) -> Frontier {
        let mut frontier = self.others.clone();
        if let Some(last) = self.own_xid {
            frontier.advance(&self.node, self.incarnation, &self.snapshot().up_to(last));
        }
        frontier
    }

    /// What applications see of a row.
    pub fn read(&self, row: &RowId) -> Option<&Content> {
        self.rows.by_id(row).and_then(Row::visible)
    }

    /// What applications see of a table, in the order of the keys.
    pub fn rows(&self, table: &TableName) -> Vec<(&RowId, &Content)> {
        let number = self.tables.number(table);
        let of_table = self.rows.iter().filter(|(_, row)| Some(row.table) == number);
        let mut rows: Vec<_> =
            of_table.filter_map(|(_, row)| Some((&row.stored.row, row.visible()?))).collect();
        rows.sort_unstable();
        rows
    }

    /// The stored version of a row, tombstones and rows that are set aside included.
    pub fn stored(&self, row: &RowId) -> Option<&RowVersion> {
        self.rows.by_id(row).map(|row| &row.stored)
    }

    /// The stored version of a row, and what applications see of it.
    pub fn look(&self, row: &RowId) -> Option<(&RowVersion, Option<&Content>)> {
        self.rows.by_id(row).map(|row| (&row.stored, row.visible()))
    }

    /// All stored versions, in no order that means anything.
    pub fn stored_versions(&self) -> impl Iterator<Item = &RowVersion> {
        self.rows.iter().map(|(_, row)| &row.stored)
    }

    /// All stored versions and how they stand, in the order of the rows' ids.
    pub fn versions(&self) -> Vec<(&RowVersion, Standing)> {
        let mut versions: Vec<_> = self.rows.iter().map(|(_, row)| (&row.stored, row.standing())).collect();
        versions.sort_unstable_by(|a, b| a.0.row.cmp(&b.0.row));
        versions
    }

    /// How a row stands; none if nothing is stored of it.
    pub fn standing(&self, row: &RowId) -> Option<Standing> {
        self.rows.by_id(row).map(Row::standing)
    }

    /// A copy as a backup would have it: what is committed.
    pub fn durable_copy(&self) -> Self {
        let mut copy = self.clone();
        copy.crash();
        copy
    }

    /// What another peer would hold that has read and applied just what this one has: the same rows under the same
    /// transactions' numbers. Meant for a database in which nobody has written yet.
    pub fn copy_for(&self, node: NodeId, incarnation: Incarnation) -> Self {
        Self { node, incarnation, ..self.durable_copy() }
    }

    /// The database ends abruptly and starts again: what was committed is there, what was under way never was.
    /// Its clock goes on after the greatest stamp that it knows.
    pub fn crash(&mut self) {
        self.open.clear();
        self.under_way.clear();
        self.locks.clear();
        self.claims = Claims::default();
        let greatest = self.tables.greatest_stamp();
        // A stored stamp was given or accepted by this clock, so it is none that a clock may not reach.
        self.clock = HybridClock::after(greatest, self.clock.ahead_max()).unwrap_or(self.clock);
    }

    /// The rows that are stored here and are not known, without a closer look, to be stored alike in the other: copies of a
    /// database share what neither has changed.
    pub fn not_shared<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = &'s RowId> {
        self.rows.unshared(&other.rows).map(|row| &row.stored.row)
    }

    /// Forgets what was purged here, but for the horizon, as a defect in how that is kept would.
    pub fn forget_graves(&mut self) {
        self.graves = Graves::default();
    }

    /// Alters what a row holds and nothing else, as a defect of a disk would. Without effect on a tombstone without
    /// content and on a row that is not there.
    pub fn corrupt(&mut self, row: &RowId, content: Content) {
        let place = self.rows.find(row);
        if let Some(row) = place.and_then(|place| self.rows.at_mut(place)) {
            match &mut row.stored.image {
                Image::Row(held) | Image::Tombstone(Some(held)) => *held = content,
                Image::Tombstone(None) => {}
            }
        }
    }

    fn describe(&self, now: Timestamp) -> Description {
        Description {
            node: self.node.clone(),
            incarnation: self.incarnation,
            snapshot: self.snapshot(),
            frontier: self.frontier(),
            positions: self.positions.clone(),
            refused: self.refused.clone(),
            tables: self.tables.describe(),
            digest: self.digests.of(DigestPart::ALL, &self.rows),
            now,
        }
    }

    fn draw_xid(&mut self) -> u64 {
        let xid = self.next_xid;
        self.next_xid += 1;
        xid
    }

    /// Stores a version as the work of a transaction, and keeps all that follows from it.
    fn put(&mut self, part: Part, now: Timestamp, table: u32, stored: RowVersion) -> Place {
        let found = self.rows.find(&stored.row);
        self.put_at(found, part, now, table, stored)
    }

    fn put_at(
        &mut self,
        found: Option<Place>,
        part: Part,
        now: Timestamp,
        table: u32,
        stored: RowVersion,
    ) -> Place {
        let xid = part.0;
        let tombstone = stored.image.is_tombstone();
        let stamp = stored.version.stamp;
        let beaten = found.and_then(|place| self.rows.at(place)).map(|row| &row.stored);
        let beaten = beaten
            .filter(|beaten| beaten.version != stored.version && !self.covers(beaten))
            .map(|beaten| (beaten.version.node.clone(), beaten.origin));
        let (place, old, new) = match found.and_then(|place| Some((place, self.rows.at_mut(place)?))) {
            Some((place, row)) => {
                let (old, before_it, born) = (row.fingerprint, row.part(), row.born);
                let was_tombstone = row.stored.image.is_tombstone();
                let before = row.class();
                row.replace(stored, part);
                if let Some((node, origin)) = beaten {
                    row.beat(node, origin);
                }
                let (leaf, new, after) = (row.leaf(), row.fingerprint, row.class());
                self.digests.replace(leaf, old, new);
                if before_it != part {
                    self.feed.lost(before_it, place, born);
                }
                if before_it.0 != xid {
                    self.feed.gone(before_it.0, &self.rows);
                    self.feed.wrote(xid, place);
                }
                if was_tombstone {
                    self.tombstones.remove(&(before_it.0, place));
                }
                self.count(table, Some(before), Some(after));
                (place, old, new)
            }
            None => {
                let row = Row::new(stored, part, table);
                let (leaf, new, after) = (row.leaf(), row.fingerprint, row.class());
                self.count(table, None, Some(after));
                let place = self.rows.insert(row);
                self.digests.insert(leaf, place, new);
                self.feed.wrote(xid, place);
                (place, 0, new)
            }
        };
        if tombstone {
            self.tombstones.insert((xid, place), now);
        }
        self.sum(table, old, new, stamp);
        place
    }

    /// Takes a row away without a trace but for the horizon.
    fn forget(&mut self, place: Place) -> Option<RowId> {
        let row = self.rows.remove(place)?;
        self.digests.remove(row.leaf(), place, row.fingerprint);
        self.feed.gone(row.xid, &self.rows);
        if row.stored.image.is_tombstone() {
            self.tombstones.remove(&(row.xid, place));
        }
        self.count(row.table, Some(row.class()), None);
        self.sum(row.table, row.fingerprint, 0, Stamp::default());
        self.purged.add(row.xid);
        self.others.raise_horizon(&row.stored.version);
        self.graves.dig(&row.stored.row, &row.stored.version);
        Some(row.stored.row)
    }

    fn count(&mut self, table: u32, before: Option<Class>, after: Option<Class>) {
        let Some(rules) = self.tables.get_mut(table) else { return };
        for (class, by) in [(before, -1), (after, 1)] {
            let number = match class {
                None => continue,
                Some(Class::Visible) => &mut rules.totals.rows,
                Some(Class::Tombstone) => &mut rules.totals.tombstones,
                Some(Class::SetAside) => &mut rules.totals.set_aside,
            };
            *number = number.wrapping_add_signed(by);
        }
    }

    fn sum(&mut self, table: u32, old: u64, new: u64, stamp: Stamp) {
        if let Some(rules) = self.tables.get_mut(table) {
            rules.totals.sum = rules.totals.sum.wrapping_sub(old).wrapping_add(new);
            rules.totals.stamp = rules.totals.stamp.max(stamp);
        }
    }

    /// Evaluates references and natural keys anew where what changed concerns them.
    fn settle(&mut self, changed: &[Place], removed: &[RowId]) -> Vec<AsideChange> {
        if !self.constrained {
            return Vec::new();
        }
        let stored =
            changed.iter().filter_map(|place| self.rows.at(*place)).map(|row| Change::Put(&row.stored));
        let aside = self.constraints.apply(stored.chain(removed.iter().map(Change::Remove)));
        for place in changed {
            if let Some(row) = self.rows.at(*place) {
                let standing = self.constraints.standing(&row.stored);
                self.stand(*place, standing);
            }
        }
        for change in &aside {
            if let Some(place) = self.rows.find(&change.row) {
                self.stand(place, change.standing.clone());
            }
        }
        aside
    }

    fn stand(&mut self, place: Place, standing: Standing) {
        let plain = matches!(standing, Standing::Visible | Standing::Deleted);
        let standing = (!plain).then_some(standing);
        // Most stand as they did.
        let changes = |row: &&Row| row.standing.as_deref() != standing.as_ref();
        if self.rows.at(place).filter(changes).is_none() {
            return;
        }
        let Some(row) = self.rows.at_mut(place) else { return };
        let before = row.class();
        row.standing = standing.map(Box::new);
        let (table, after) = (row.table, row.class());
        self.count(table, Some(before), Some(after));
    }
}
