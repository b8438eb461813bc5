//! The rules kept up to date: what changes goes in, rows that stand in another way come out.
//!
//! The two steps of [`super`] are [`super::demand`] and [`super::support`]; here are the indexes by reference and
//! natural key that both use. The result equals [`super::standings`] over all rows.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::by_id::ById;
use super::rules::{Rules, Ties};
use super::{Parent, can_return};
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::{AsideChange, Standing};
use crate::peer_sync::version::Version;

/// How rows stand. Keeps nothing of tables without references and natural keys that nobody refers to.
#[derive(Clone, Debug)]
pub struct Constraints {
    pub(super) rules: Rules,
    pub(super) rows: ById<RowId, Stored>,
    /// The rows that refer to a row, whether that is there or not.
    // Looked up only, never iterated: no order of its reaches anything.
    pub(super) children: FxHashMap<RowId, BTreeSet<RowId>>,
    /// The candidates for each natural key in order, the greatest last; nearly always one, which is all a vector holds.
    pub(super) groups: ById<NaturalKey, Vec<(Version, RowId)>>,
}

/// One change of the set of stored versions.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// This version is stored now, in the place of any other of its row.
    Put(&'a RowVersion),
    /// Nothing of this row is stored any more: its tombstone was purged.
    Remove(&'a RowId),
}

/// The table, which of its natural keys, and the value.
pub(super) type NaturalKey = (TableName, usize, Content);

/// What is known of a row.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) version: Version,
    pub(super) ties: Ties,
    pub(super) tombstone: bool,
    /// A tombstone that could be had back.
    pub(super) can_return: bool,
    /// Of such a tombstone: references of wanted rows that demand it back.
    pub(super) demand: usize,
    /// See [`super`].
    pub(super) wanted: bool,
    /// It is wanted, and its parents in other tables are visible.
    pub(super) candidate: bool,
    /// The visible row, or one that only hangs on an invisible row, that has one of its natural keys.
    pub(super) beaten_by: Option<RowId>,
    pub(super) visible: bool,
    /// How its children were last told that it stands.
    pub(super) told: Parent,
    pub(super) standing: Standing,
}

/// What has to be looked at again, while changes are worked in.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Rows, by table.
    pub(super) rows: BTreeMap<TableName, BTreeSet<RowId>>,
    /// Natural keys that a candidate has left.
    pub(super) groups: BTreeSet<NaturalKey>,
    /// Tombstones that may have become wanted, or no longer be.
    pub(super) suspects: BTreeSet<RowId>,
}

impl Constraints {
    /// No rows yet.
    pub fn new(schema: &Schema) -> Self {
        Self {
            rules: Rules::new(schema),
            rows: ById::default(),
            children: FxHashMap::default(),
            groups: ById::default(),
        }
    }

    /// Whether rows of a table can stand in another way than as they were written.
    pub fn concerns(&self, table: &TableName) -> bool {
        self.rules.table(table).is_some_and(|rules| rules.ties())
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.children.is_empty() && self.groups.is_empty()
    }

    /// How a stored row stands.
    pub fn standing(&self, stored: &RowVersion) -> Standing {
        let plain = || if stored.image.is_tombstone() { Standing::Deleted } else { Standing::Visible };
        self.rows.get(&stored.row).map_or_else(plain, |row| row.standing.clone())
    }

    /// The rows that have a natural key of their table and are not set aside for a reference; of these at most one
    /// is visible.
    pub fn holders(&self, table: &TableName, nth: usize, key: &Content) -> impl Iterator<Item = &RowId> {
        let group = self.groups.get(&(table.clone(), nth, key.clone()));
        group.into_iter().flat_map(|group| group.iter()).map(|(_, row)| row)
    }

    /// The rows whose stored versions refer to a row, however they stand, in the order of their ids.
    pub fn children(&self, row: &RowId) -> impl Iterator<Item = &RowId> {
        self.children.get(row).into_iter().flatten()
    }

    /// Whether a tombstone that is not there would be had back if it were, see [`is_demanded`](super::is_demanded).
    pub fn is_demanded(&self, tombstone: &RowVersion) -> bool {
        can_return(&tombstone.image)
            && self.children(&tombstone.row).any(|id| {
                let child = self.rows.get(id).filter(|row| row.wanted);
                child
                    .zip(self.rules.table(&id.table))
                    .is_some_and(|(row, rules)| rules.demands_back(&row.ties, &row.version, tombstone))
            })
    }

    /// Works changes in, all at once. Tells, ordered by row, who stands in another way because of another row: whoever is
    /// now, or was, set aside or had back. That a write shows or a delete hides its own row goes without saying.
    pub fn apply<'a>(&mut self, changes: impl IntoIterator<Item = Change<'a>>) -> Vec<AsideChange> {
        // Of several changes of one row the last one counts; what was between nobody has seen.
        let mut last: BTreeMap<&RowId, Option<&RowVersion>> = BTreeMap::new();
        for change in changes {
            let (row, version) = match change {
                Change::Put(version) => (&version.row, Some(version)),
                Change::Remove(row) => (row, None),
            };
            if self.concerns(&row.table) {
                last.insert(row, version);
            }
        }
        let mut agenda = Agenda::default();
        for (row, version) in last {
            match version {
                Some(version) => self.put(version, &mut agenda),
                None => self.remove(row, &mut agenda),
            }
        }
        self.settle_demand(&mut agenda);
        let mut changed = BTreeMap::new();
        for place in 0..self.rules.order_len() {
            self.settle_support(place, &mut agenda, &mut changed);
        }
        changed.into_iter().map(|(row, standing)| AsideChange { row, standing }).collect()
    }

    fn put(&mut self, version: &RowVersion, agenda: &mut Agenda) {
        let Some(rules) = self.rules.table(&version.row.table) else { return };
        let id = &version.row;
        let tombstone = version.image.is_tombstone();
        let plain = if tombstone { Standing::Deleted } else { Standing::Visible };
        let mut stored = Stored {
            version: version.version.clone(),
            ties: rules.of(version),
            tombstone,
            can_return: can_return(&version.image),
            demand: 0,
            wanted: false,
            candidate: false,
            beaten_by: None,
            visible: false,
            told: Parent::Absent,
            standing: plain,
        };
        if let Some(old) = self.take(id, agenda) {
            // What others were told stays true until they are told something else.
            (stored.visible, stored.told, stored.standing) = (old.visible, old.told, old.standing);
        }
        for parent in stored.ties.parents.iter().flatten() {
            self.children.entry(parent.clone()).or_default().insert(id.clone());
        }
        self.rows.insert(id.clone(), stored);
        self.count_demand(id);
        if !tombstone {
            self.set_wanted(id, true);
        }
        self.suspect(id, agenda);
        agenda.add(id);
    }

    fn remove(&mut self, id: &RowId, agenda: &mut Agenda) {
        if self.take(id, agenda).is_some() {
            for child in self.children_of(id) {
                agenda.add(&child);
            }
        }
    }

    /// Takes a row out of all indexes.
    fn take(&mut self, id: &RowId, agenda: &mut Agenda) -> Option<Stored> {
        self.rows.get(id)?;
        self.suspect(id, agenda);
        self.set_wanted(id, false);
        self.set_candidate(id, false, agenda);
        let old = self.rows.remove(id)?;
        for parent in old.ties.parents.iter().flatten() {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(id);
                if children.is_empty() {
                    self.children.remove(parent);
                }
            }
        }
        Some(old)
    }

    /// Enters a row into the groups of its natural keys, or takes it out of them.
    pub(super) fn set_candidate(&mut self, id: &RowId, candidate: bool, agenda: &mut Agenda) {
        let Some(row) = self.rows.get_mut_if(id, |row| row.candidate != candidate) else { return };
        row.candidate = candidate;
        row.beaten_by = None;
        let member = (row.version.clone(), id.clone());
        for (nth, key) in row.ties.unique.iter().enumerate() {
            let Some(key) = key else { continue };
            let key = (id.table.clone(), nth, key.clone());
            let group = self.groups.entry(&key, || Vec::with_capacity(1));
            match (group.binary_search(&member), candidate) {
                (Err(place), true) => group.insert(place, member.clone()),
                (Ok(place), false) => drop(group.remove(place)),
                (Ok(_), true) | (Err(_), false) => {}
            }
            if group.is_empty() {
                self.groups.remove(&key);
            }
            agenda.groups.insert(key);
        }
    }

    pub(super) fn children_of(&self, id: &RowId) -> Vec<RowId> {
        self.children.get(id).map(|children| children.iter().cloned().collect()).unwrap_or_default()
    }
}

impl Agenda {
    pub(super) fn add(&mut self, id: &RowId) {
        if !self.rows.get(&id.table).is_some_and(|rows| rows.contains(id)) {
            self.rows.entry(id.table.clone()).or_default().insert(id.clone());
        }
    }
}
