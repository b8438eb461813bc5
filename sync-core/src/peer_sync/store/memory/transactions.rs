//! What applications do: transactions of writes, as a database with read-committed isolation runs them.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::MemoryPeerStore;
use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::{self, WriteRefused};
use crate::peer_sync::row::{Origin, RowId, RowVersion, TableName};
use crate::peer_sync::store::AsideChange;
use crate::peer_sync::version::Version;
use crate::time::Timestamp;

/// Names an application's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u64);

/// A statement that writes one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Inserts the row, or updates it if it is there.
    Put {
        /// The table.
        table: TableName,
        /// All columns of the row.
        content: Content,
    },
    /// Deletes the row if it is there.
    Delete(RowId),
}

/// Why a statement did not take effect. The transaction is over then and can only be rolled back, as in
/// PostgreSQL, but for [`Locked`](Self::Locked).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The transaction does not exist, has ended or was ended by a crash.
    #[error("there is no such transaction; begin one")]
    NoTransaction,
    /// An earlier statement of it failed.
    #[error("a statement of the transaction failed; roll it back")]
    Aborted,
    /// Another transaction has written it: the statement would wait until that has ended. Try it again.
    #[error("{row} is locked by another transaction; try again when that has ended")]
    Locked {
        /// What.
        row: RowId,
        /// By whom.
        by: TransactionId,
    },
    /// The content is no row of the table, or the table is not declared.
    #[error("`{table}` does not exist or has other columns")]
    NoSuchRow {
        /// The table.
        table: TableName,
    },
    /// The table's policy cannot hold it.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// The table names a resolver that the store was not given.
    #[error("`{table}` has a resolver of its own, which is not known here; give it to the store")]
    NoResolver {
        /// The table.
        table: TableName,
    },
    /// Another visible row has one of its natural keys.
    #[error("{row} has a natural key that {holder} has already")]
    NaturalKey {
        /// The row.
        row: RowId,
        /// The other.
        holder: RowId,
    },
    /// A row that it refers to is not there.
    #[error("{row} refers to {parent}, which is not there")]
    NoParent {
        /// The row.
        row: RowId,
        /// The other.
        parent: RowId,
    },
    /// Another row refers to what would be deleted, and is not to go with it.
    #[error("{row} cannot be deleted: {child} refers to it")]
    HasChildren {
        /// The row.
        row: RowId,
        /// The other.
        child: RowId,
    },
    /// The row is larger than a row may be.
    #[error("{row} has more than {} bytes", limits::ROW_BYTES_MAX)]
    TooLarge {
        /// The row.
        row: RowId,
    },
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The transaction's number; none if it wrote nothing.
    pub xid: Option<u64>,
    /// Rows that were deleted because the row that they referred to was.
    pub cascaded: Vec<(RowId, Version)>,
    /// Rows that stand otherwise than before, because of references and natural keys.
    pub aside: Vec<AsideChange>,
}

/// A transaction under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// From its first writing statement on.
    xid: Option<u64>,
    writes: BTreeMap<RowId, (u32, RowVersion)>,
    /// Rows that it locked without writing them.
    locked: BTreeSet<RowId>,
    cascaded: Vec<(RowId, Version)>,
    failed: bool,
}

impl Open {
    /// The rows of a table that it wrote.
    pub(super) fn rows_of<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = &'a RowId> {
        let first = RowId { table: table.clone(), key: Content::new([]) };
        self.writes.range(first..).map(|(row, _)| row).take_while(move |row| row.table == *table)
    }
}

impl MemoryPeerStore {
    /// Begins a transaction.
    pub fn begin(&mut self) -> TransactionId {
        self.opened += 1;
        let transaction = TransactionId(self.opened);
        self.open.insert(transaction, Open::default());
        transaction
    }

    /// Executes one writing statement. Answers the version that it wrote; none for a delete that found nothing.
    pub fn write(
        &mut self,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        let open = self.open.get(&transaction).ok_or(WriteError::NoTransaction)?;
        if open.failed {
            return Err(WriteError::Aborted);
        }
        let written = self.write_row(transaction, now, write);
        if let (Err(error), Some(open)) = (&written, self.open.get_mut(&transaction)) {
            open.failed = !matches!(error, WriteError::Locked { .. });
        }
        written
    }

    /// Locks a row until the transaction ends, as `SELECT ... FOR UPDATE` does. It need not be there.
    ///
    /// # Errors
    /// Another transaction has it: [`WriteError::Locked`], or the transaction is over.
    pub fn lock(&mut self, transaction: TransactionId, row: &RowId) -> Result<(), WriteError> {
        let open = self.open.get_mut(&transaction).ok_or(WriteError::NoTransaction)?;
        match self.locks.get(row).copied() {
            Some(by) if by != transaction => return Err(WriteError::Locked { row: row.clone(), by }),
            Some(_) => {}
            None => {
                self.locks.insert(row.clone(), transaction);
                open.locked.insert(row.clone());
            }
        }
        Ok(())
    }

    /// Whether a transaction under way has one of these rows locked.
    pub fn is_any_locked<'a>(&self, mut rows: impl Iterator<Item = &'a RowId>) -> bool {
        !self.locks.is_empty() && rows.any(|row| self.locks.contains_key(row))
    }

    /// What a transaction sees of a row: what it wrote itself, else what is committed.
    pub fn read_in(&self, transaction: TransactionId, row: &RowId) -> Option<&Content> {
        match self.open.get(&transaction).and_then(|open| open.writes.get(row)) {
            Some((_, written)) => written.image.row(),
            None => self.read(row),
        }
    }

    /// Makes a transaction durable and visible, whole. One of which a statement failed is rolled back instead.
    pub fn commit(&mut self, transaction: TransactionId, now: Timestamp) -> Result<Committed, WriteError> {
        let open = self.end(transaction).ok_or(WriteError::NoTransaction)?;
        if open.failed {
            return Err(WriteError::Aborted);
        }
        let Some(xid) = open.xid.filter(|_| !open.writes.is_empty()) else { return Ok(Committed::default()) };
        let mut changed = Vec::with_capacity(open.writes.len());
        for (table, mut written) in open.writes.into_values() {
            written.origin.incarnation = self.incarnation;
            changed.push(self.put((xid, 0), now, table, written));
        }
        self.own_xid = self.own_xid.max(Some(xid));
        let aside = self.settle(&changed, &[]);
        Ok(Committed { xid: Some(xid), cascaded: open.cascaded, aside })
    }

    /// Rows that a transaction's statements so far have deleted because the row that they referred to was.
    pub fn cascaded(&self, transaction: TransactionId) -> &[(RowId, Version)] {
        self.open.get(&transaction).map_or(&[], |open| &open.cascaded)
    }

    /// Ends a transaction without effect. One that does not exist needs no end.
    pub fn rollback(&mut self, transaction: TransactionId) {
        self.end(transaction);
    }

    /// Transactions under way.
    pub fn open_transactions(&self) -> impl Iterator<Item = TransactionId> {
        self.open.keys().copied()
    }

    fn end(&mut self, transaction: TransactionId) -> Option<Open> {
        let open = self.open.remove(&transaction)?;
        for row in open.writes.keys().chain(&open.locked) {
            self.locks.remove(row);
        }
        self.claims.release(transaction);
        if let Some(xid) = open.xid {
            self.under_way.remove(&xid);
        }
        Some(open)
    }

    fn write_row(
        &mut self,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        let (table, row) = self.target(&write)?;
        if let Some(by) = self.locks.get(&row).copied().filter(|by| *by != transaction) {
            return Err(WriteError::Locked { row, by });
        }
        let Write::Put { content, .. } = write else {
            if self.read_in(transaction, &row).is_none() {
                return Ok(None);
            }
            for child in self.check_delete(transaction, &row)? {
                let number = self.tables.number(&child.table).unwrap_or(table);
                let version = self.store_pending(transaction, now, number, child.clone(), None)?;
                if let Some(open) = self.open.get_mut(&transaction) {
                    open.cascaded.push((child, version));
                }
            }
            return self.store_pending(transaction, now, table, row, None).map(Some);
        };
        self.claim(transaction, table, &row, &content)?;
        self.store_pending(transaction, now, table, row, Some(content)).map(Some)
    }

    /// Keeps what a statement does to one row until the transaction ends, and locks the row so long.
    fn store_pending(
        &mut self,
        transaction: TransactionId,
        now: Timestamp,
        table: u32,
        row: RowId,
        content: Option<Content>,
    ) -> Result<Version, WriteError> {
        let xid = self.xid_of(transaction)?;
        let origin = Origin { incarnation: self.incarnation, xid };
        let (stamp, node) = (self.clock.stamp(now), self.node.clone());
        let written =
            self.decide(transaction, table, resolver::Write { row, content, stamp, node, origin })?;
        let version = written.version.clone();
        if written.bytes() > limits::ROW_BYTES_MAX {
            return Err(WriteError::TooLarge { row: written.row });
        }
        let open = self.open.get_mut(&transaction).ok_or(WriteError::NoTransaction)?;
        self.locks.insert(written.row.clone(), transaction);
        open.writes.insert(written.row.clone(), (table, written));
        Ok(version)
    }

    /// The version that a statement makes, by the policy of its table.
    fn decide(
        &self,
        transaction: TransactionId,
        table: u32,
        write: resolver::Write,
    ) -> Result<RowVersion, WriteError> {
        let own = self.open.get(&transaction).and_then(|open| open.writes.get(&write.row));
        let seen = own.map(|(_, written)| written).or_else(|| self.stored(&write.row));
        let no_resolver = || WriteError::NoResolver { table: write.row.table.clone() };
        let rules = self.tables.get(table).ok_or_else(no_resolver)?;
        let resolver = self.tables.resolver(rules).ok_or_else(no_resolver)?;
        Ok(resolver::written(resolver, &rules.table, seen, write)?)
    }

    /// The table and the row that a statement writes.
    fn target(&self, write: &Write) -> Result<(u32, RowId), WriteError> {
        let (table, row) = match write {
            Write::Put { table, content } => (table, self.tables.schema().row_id(table, content)),
            Write::Delete(row) => (&row.table, Some(row.clone())),
        };
        let found = self.tables.number(table).zip(row);
        found.ok_or_else(|| WriteError::NoSuchRow { table: table.clone() })
    }

    /// The number of a transaction, drawn at its first writing statement.
    fn xid_of(&mut self, transaction: TransactionId) -> Result<u64, WriteError> {
        let drawn = self.open.get(&transaction).ok_or(WriteError::NoTransaction)?.xid;
        if let Some(xid) = drawn {
            return Ok(xid);
        }
        let xid = self.draw_xid();
        self.under_way.insert(xid);
        if let Some(open) = self.open.get_mut(&transaction) {
            open.xid = Some(xid);
        }
        Ok(xid)
    }
}
