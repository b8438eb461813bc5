//! What a database checks when an application writes: references and natural keys, at each statement, against what is
//! visible to the transaction; and what transactions under way hold against one another until they end.
//!
//! A deleted row that visible ones refer to: where the reference says cascade, they go with it, in the same
//! transaction; else the statement fails. The rule that lets such a parent live again is for deletes that meet a child
//! only at a merge: here the deleter can be told.

use std::collections::{BTreeMap, BTreeSet};

use super::MemoryPeerStore;
use super::transactions::{TransactionId, WriteError};
use crate::peer_sync::content::Content;
use crate::peer_sync::row::RowId;
use crate::peer_sync::schema::{OnDeleted, Reference, Table};

/// A table's number, which of its natural keys, and the value.
type NaturalKey = (u32, usize, Content);

/// What transactions under way hold, beside the rows that they wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Natural keys that they gave to rows.
    keys: BTreeMap<NaturalKey, (TransactionId, RowId)>,
    /// Rows that they refer to, which nobody else may delete.
    needed: BTreeMap<RowId, BTreeSet<TransactionId>>,
}

impl Claims {
    /// A transaction ends.
    pub(super) fn release(&mut self, transaction: TransactionId) {
        if self.keys.is_empty() && self.needed.is_empty() {
            return;
        }
        self.keys.retain(|_, (by, _)| *by != transaction);
        self.needed.retain(|_, by| {
            by.remove(&transaction);
            !by.is_empty()
        });
    }
}

impl MemoryPeerStore {
    /// Checks what a statement inserts or updates, and claims it.
    pub(super) fn claim(
        &mut self,
        transaction: TransactionId,
        number: u32,
        row: &RowId,
        content: &Content,
    ) -> Result<(), WriteError> {
        let Some(rules) = self.tables.get(number) else { return Ok(()) };
        let mut keys = Vec::new();
        for (nth, columns) in rules.table.unique.iter().enumerate() {
            if let Some(key) = rules.table.pick(columns, content) {
                self.check_free(transaction, (number, nth, &key), columns, row)?;
                keys.push((number, nth, key));
            }
        }
        let mut parents = Vec::new();
        for reference in &rules.table.references {
            if let Some(parent) = parent(&rules.table, reference, content).filter(|parent| parent != row) {
                self.check_parent(transaction, row, &parent)?;
                parents.push(parent);
            }
        }
        self.claims.keys.extend(keys.into_iter().map(|key| (key, (transaction, row.clone()))));
        for parent in parents {
            self.claims.needed.entry(parent).or_default().insert(transaction);
        }
        Ok(())
    }

    /// Checks what a statement deletes; answers the rows that go with it.
    pub(super) fn check_delete(
        &self,
        transaction: TransactionId,
        row: &RowId,
    ) -> Result<Vec<RowId>, WriteError> {
        let mut going = vec![row.clone()];
        let mut gone: BTreeSet<RowId> = BTreeSet::from([row.clone()]);
        let mut staying = Vec::new();
        let mut next = 0;
        while let Some(parent) = going.get(next).cloned() {
            next += 1;
            self.check_unlocked(transaction, &parent)?;
            let needed = self.claims.needed.get(&parent);
            if let Some(by) = needed.into_iter().flatten().find(|by| **by != transaction) {
                return Err(WriteError::Locked { row: parent, by: *by });
            }
            for (child, on_deleted) in self.children(transaction, &parent) {
                if on_deleted != OnDeleted::Cascade {
                    staying.push((parent.clone(), child));
                } else if gone.insert(child.clone()) {
                    going.push(child);
                }
            }
        }
        if let Some((row, child)) = staying.into_iter().find(|(_, child)| !gone.contains(child)) {
            self.check_unlocked(transaction, &child)?;
            return Err(WriteError::HasChildren { row, child });
        }
        going.remove(0);
        Ok(going)
    }

    fn check_unlocked(&self, transaction: TransactionId, row: &RowId) -> Result<(), WriteError> {
        match self.locks.get(row) {
            Some(by) if *by != transaction => Err(WriteError::Locked { row: row.clone(), by: *by }),
            _ => Ok(()),
        }
    }

    /// Whether no other row has a natural key, or might have it once somebody else's transaction ends.
    fn check_free(
        &self,
        transaction: TransactionId,
        (number, nth, key): (u32, usize, &Content),
        columns: &[String],
        row: &RowId,
    ) -> Result<(), WriteError> {
        let taken = |holder: &RowId| WriteError::NaturalKey { row: row.clone(), holder: holder.clone() };
        let Some(rules) = self.tables.get(number) else { return Ok(()) };
        let still_has = |holder: &RowId| {
            let content = self.read_in(transaction, holder);
            content.and_then(|content| rules.table.pick(columns, content)).as_ref() == Some(key)
        };
        if let Some((by, holder)) = self.claims.keys.get(&(number, nth, key.clone()))
            && holder != row
        {
            if *by != transaction {
                return Err(WriteError::Locked { row: holder.clone(), by: *by });
            }
            if still_has(holder) {
                return Err(taken(holder));
            }
        }
        let held = self.constraints.holders(&row.table, nth, key);
        for holder in held.filter(|holder| *holder != row && self.read(holder).is_some()) {
            self.check_unlocked(transaction, holder)?;
            if still_has(holder) {
                return Err(taken(holder));
            }
        }
        Ok(())
    }

    fn check_parent(
        &self,
        transaction: TransactionId,
        row: &RowId,
        parent: &RowId,
    ) -> Result<(), WriteError> {
        let by = self.locks.get(parent).filter(|by| **by != transaction);
        if let Some(by) = by.filter(|by| self.read_in(**by, parent).is_none()) {
            return Err(WriteError::Locked { row: parent.clone(), by: *by });
        }
        match self.read_in(transaction, parent) {
            Some(_) => Ok(()),
            None => Err(WriteError::NoParent { row: row.clone(), parent: parent.clone() }),
        }
    }

    /// The rows that refer to a row, as a transaction sees them, in the order of their ids.
    fn children(&self, transaction: TransactionId, parent_row: &RowId) -> BTreeMap<RowId, OnDeleted> {
        let open = self.open.get(&transaction);
        let referring = self
            .tables
            .schema()
            .tables()
            .filter(|table| table.references.iter().any(|reference| reference.table == parent_row.table));
        let own = referring.flat_map(|table| open.into_iter().flat_map(|open| open.rows_of(&table.name)));
        let refers = |child: &RowId| {
            let table = self.tables.schema().table(&child.table)?;
            let content = self.read_in(transaction, child)?;
            // Where several references name the row, one that does not let it go decides.
            let to_it = table
                .references
                .iter()
                .filter(|reference| parent(table, reference, content).as_ref() == Some(parent_row));
            to_it.map(|reference| reference.on_deleted).max_by_key(|rule| *rule != OnDeleted::Cascade)
        };
        let all = self.constraints.children(parent_row).chain(own).filter(|child| *child != parent_row);
        all.filter_map(|child| Some((child.clone(), refers(child)?))).collect()
    }
}

/// The row that a reference names.
fn parent(table: &Table, reference: &Reference, content: &Content) -> Option<RowId> {
    Some(RowId { table: reference.table.clone(), key: table.pick(&reference.columns, content)? })
}
