//! The stored rows: one version each, found by the row's id, held at a place that others refer to.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use slab::Slab;

use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Image, Origin, RowId, RowVersion};
use crate::peer_sync::store::together::Part;
use crate::peer_sync::store::{DigestEntry, DigestPart, RowHash, Standing};
use crate::peer_sync::version::NodeId;

/// Where a row is held. Places of rows that are gone are used again: [`Row::born`] tells rows at one place apart.
pub(super) type Place = u32;

/// A stored row, with what would be dear to compute again.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) stored: RowVersion,
    /// The transaction that put this version here.
    pub(super) xid: u64,
    /// Which part of it.
    nth: u32,
    /// The transaction that put the first version here.
    pub(super) born: u64,
    pub(super) fingerprint: u64,
    pub(super) hash: RowHash,
    pub(super) table: u32,
    /// What it is known to beat and was not covered when it came here: each writer's last write of the row. (Who covers
    /// that one covers those before: one transaction waited for the other.)
    pub(super) beats: Vec<(NodeId, Origin)>,
    /// How it stands, where that is not what its image alone says.
    pub(super) standing: Option<Box<Standing>>,
}

/// What a row counts as in the totals of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Visible,
    Tombstone,
    SetAside,
}

/// The rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Shared by copies of a database until they change.
    held: Slab<Arc<Row>>,
    /// By the row's id: a part of its hash, and where it is. Never iterated: its order is nobody's. A map would hold
    /// the ids as well, and what is looked up most would be spread over six times as much memory.
    places: HashTable<(u32, Place)>,
}

impl Row {
    pub(super) fn new(stored: RowVersion, (xid, nth): Part, table: u32) -> Self {
        let hash = RowHash::of(&stored.row);
        Self {
            fingerprint: DigestEntry::fingerprint(hash, &stored.version),
            hash,
            born: xid,
            xid,
            nth,
            table,
            beats: Vec::new(),
            standing: None,
            stored,
        }
    }

    /// Another version takes its place.
    pub(super) fn replace(&mut self, stored: RowVersion, (xid, nth): Part) {
        self.fingerprint = DigestEntry::fingerprint(self.hash, &stored.version);
        self.xid = xid;
        self.nth = nth;
        self.standing = None;
        self.stored = stored;
    }

    /// What put this version here.
    pub(super) fn part(&self) -> Part {
        (self.xid, self.nth)
    }

    /// It is known to beat what was written there.
    pub(super) fn beat(&mut self, node: NodeId, origin: Origin) {
        let same = |(writer, known): &&mut (NodeId, Origin)| {
            *writer == node && known.incarnation == origin.incarnation
        };
        match self.beats.iter_mut().find(same) {
            Some((_, known)) => known.xid = known.xid.max(origin.xid),
            None => self.beats.push((node, origin)),
        }
    }

    /// The prefix of its leaf among the [`DigestPart`]s.
    pub(super) fn leaf(&self) -> u32 {
        DigestPart::leaf_of(self.hash).prefix
    }

    pub(super) fn class(&self) -> Class {
        match self.standing.as_deref() {
            None if self.stored.image.is_tombstone() => Class::Tombstone,
            None | Some(Standing::Revived) => Class::Visible,
            Some(_) => Class::SetAside,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match &self.standing {
            Some(standing) => Standing::clone(standing),
            None if self.stored.image.is_tombstone() => Standing::Deleted,
            None => Standing::Visible,
        }
    }

    /// Whether it is deleted and demanded back, be it in vain.
    pub(super) fn is_demanded(&self) -> bool {
        self.stored.image.is_tombstone() && self.standing.is_some()
    }

    /// What applications see of it.
    pub(super) fn visible(&self) -> Option<&Content> {
        match (self.standing.as_deref(), &self.stored.image) {
            (None, Image::Row(content)) => Some(content),
            (Some(Standing::Revived), Image::Tombstone(content)) => content.as_ref(),
            _ => None,
        }
    }
}

impl Rows {
    pub(super) fn find(&self, row: &RowId) -> Option<Place> {
        let short = short_hash(row);
        let found =
            self.places.find(spread(short), |(other, place)| *other == short && self.is_at(*place, row));
        found.map(|(_, place)| *place)
    }

    fn is_at(&self, place: Place, row: &RowId) -> bool {
        self.at(place).is_some_and(|held| held.stored.row == *row)
    }

    pub(super) fn at(&self, place: Place) -> Option<&Row> {
        self.held.get(place as usize).map(|row| &**row)
    }

    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut Row> {
        self.held.get_mut(place as usize).map(Arc::make_mut)
    }

    pub(super) fn by_id(&self, row: &RowId) -> Option<&Row> {
        self.at(self.find(row)?)
    }

    pub(super) fn insert(&mut self, row: Row) -> Place {
        let short = short_hash(&row.stored.row);
        // Memory ends long before 2^32 rows.
        let place = self.held.insert(Arc::new(row)) as Place;
        self.places.insert_unique(spread(short), (short, place), |(short, _)| spread(*short));
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Row> {
        let row = self.held.try_remove(place as usize)?;
        let short = short_hash(&row.stored.row);
        if let Ok(entry) = self.places.find_entry(spread(short), |(_, other)| *other == place) {
            entry.remove();
        }
        Some(Arc::unwrap_or_clone(row))
    }

    /// Those rows that are chosen, to be changed in what nothing else is derived from.
    pub(super) fn iter_mut(&mut self, chosen: impl Fn(&Row) -> bool) -> impl Iterator<Item = &mut Row> {
        self.held.iter_mut().filter(move |(_, row)| chosen(row)).map(|(_, row)| Arc::make_mut(row))
    }

    /// Rows that are not one and the same in memory in another database, as those of copies are until one of them changes,
    /// in the order of their places.
    pub(super) fn unshared<'r>(&'r self, other: &'r Self) -> impl Iterator<Item = &'r Row> {
        let shared = |place, row: &Arc<Row>| other.held.get(place).is_some_and(|held| Arc::ptr_eq(row, held));
        self.held.iter().filter(move |(place, row)| !shared(*place, row)).map(|(_, row)| &**row)
    }

    /// All rows, in the order of their places: for sums, and for what is sorted afterwards.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Row)> {
        self.held.iter().map(|(place, row)| (place as Place, &**row))
    }
}

/// A part of the hash of a row's id: enough to tell all but a few of the rows apart without looking at them.
fn short_hash(row: &RowId) -> u32 {
    (FxBuildHasher.hash_one(row) >> 32) as u32
}

/// What the table wants: bits that differ at both ends.
fn spread(short: u32) -> u64 {
    u64::from(short) << 32 | u64::from(short)
}
