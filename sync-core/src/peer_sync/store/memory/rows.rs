//! The stored rows: one version each, found by the row's id, held at a place that others refer to.

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Image, RowId, RowVersion};
use crate::peer_sync::store::{DigestEntry, DigestPart, Standing};

/// Where a row is held. Places of rows that are gone are used again: [`Row::born`] tells rows at one place apart.
pub(super) type Place = u32;

/// A stored row, with what would be dear to compute again.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) stored: RowVersion,
    /// The transaction that put this version here.
    pub(super) xid: u64,
    /// The transaction that put the first version here.
    pub(super) born: u64,
    pub(super) fingerprint: u64,
    /// The prefix of its leaf among the [`DigestPart`]s.
    pub(super) leaf: u32,
    pub(super) table: u32,
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
    held: Slab<Row>,
    /// Never iterated: its order is nobody's.
    places: FxHashMap<RowId, Place>,
}

impl Row {
    pub(super) fn new(stored: RowVersion, xid: u64, table: u32) -> Self {
        Self {
            fingerprint: DigestEntry::fingerprint(&stored.row, &stored.version),
            leaf: DigestPart::leaf_of(&stored.row).prefix,
            born: xid,
            xid,
            table,
            standing: None,
            stored,
        }
    }

    /// Another version takes its place.
    pub(super) fn replace(&mut self, stored: RowVersion, xid: u64) {
        self.fingerprint = DigestEntry::fingerprint(&stored.row, &stored.version);
        self.xid = xid;
        self.standing = None;
        self.stored = stored;
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
        self.places.get(row).copied()
    }

    pub(super) fn at(&self, place: Place) -> Option<&Row> {
        self.held.get(place as usize)
    }

    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut Row> {
        self.held.get_mut(place as usize)
    }

    pub(super) fn by_id(&self, row: &RowId) -> Option<&Row> {
        self.at(self.find(row)?)
    }

    pub(super) fn insert(&mut self, row: Row) -> Place {
        let id = row.stored.row.clone();
        // Memory ends long before 2^32 rows.
        let place = self.held.insert(row) as Place;
        self.places.insert(id, place);
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Row> {
        let row = self.held.try_remove(place as usize)?;
        self.places.remove(&row.stored.row);
        Some(row)
    }

    /// All rows, to be changed in what nothing else is derived from.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.held.iter_mut().map(|(_, row)| row)
    }

    /// All rows, in the order of their places: for sums, and for what is sorted afterwards.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Row)> {
        self.held.iter().map(|(place, row)| (place as Place, row))
    }
}
