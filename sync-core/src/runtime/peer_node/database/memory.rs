//! The database in memory: nothing of it outlives the process.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};

use super::{DatabaseError, Existing, PeerDatabase, ReadRow, ReadRows, Statement};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::Resolvers;
use crate::peer_sync::row::{RowId, TableName};
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write, WriteError};
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::runtime::wall_clock;

/// A [`MemoryPeerStore`] by the machine's clock.
#[derive(Debug)]
pub struct MemoryDatabase {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: MemoryPeerStore,
    /// What applications wrote since somebody asked.
    changed: BTreeSet<TableName>,
}

impl MemoryDatabase {
    /// An empty database in its first life.
    pub fn new(node: NodeId, schema: Schema, incarnation: Incarnation) -> Self {
        let resolvers = Resolvers::declared(&schema);
        let store = MemoryPeerStore::new(node, schema, incarnation, limits::STAMP_AHEAD_MAX);
        let store = store.with_resolvers(resolvers);
        Self { inner: Mutex::new(Inner { store, changed: BTreeSet::new() }) }
    }

    /// Does something to these tables as an application would.
    pub fn with<R>(
        &self,
        tables: impl IntoIterator<Item = TableName>,
        work: impl FnOnce(&mut MemoryPeerStore) -> R,
    ) -> R {
        let mut inner = self.lock();
        inner.changed.extend(tables);
        work(&mut inner.store)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_rows(&self, read: &ReadRows) -> Vec<ReadRow> {
        let inner = self.lock();
        let after = read.after.as_ref();
        let mut rows: Vec<ReadRow> = inner
            .store
            .versions()
            .into_iter()
            .filter(|(stored, _)| {
                stored.row.table == read.table
                    && after.is_none_or(|after| stored.row.key > *after)
                    && read.since.is_none_or(|since| stored.version.stamp.us >= since.as_us())
            })
            .map(|(stored, _)| ReadRow {
                visible: inner.store.read(&stored.row).cloned(),
                stored: stored.clone(),
            })
            .filter(|row| read.since.is_some() || row.visible.is_some())
            .collect();
        rows.truncate(read.rows_max);
        rows
    }
}

impl PeerDatabase for MemoryDatabase {
    fn execute(&self, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(ready(self.lock().store.execute(wall_clock(), request)))
    }

    fn changed(&self) -> BoxFuture<'_, Result<Vec<TableName>, DatabaseError>> {
        Box::pin(ready(Ok(std::mem::take(&mut self.lock().changed).into_iter().collect())))
    }

    fn is_up(&self) -> BoxFuture<'_, bool> {
        Box::pin(ready(true))
    }

    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>> {
        Box::pin(ready(Ok(self.read_rows(&read))))
    }

    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        let tables: BTreeSet<_> = statements.iter().map(|statement| statement.table.clone()).collect();
        let written = self.with(tables, |store| {
            let transaction = store.begin();
            for statement in &statements {
                if let Err(error) = execute(store, transaction, statement) {
                    store.rollback(transaction);
                    return Err(error);
                }
            }
            store.commit(transaction, wall_clock()).map_err(|error| refused(&error))?;
            Ok(statements.len() as u64)
        });
        Box::pin(ready(written))
    }
}

fn execute(
    store: &mut MemoryPeerStore,
    transaction: TransactionId,
    statement: &Statement,
) -> Result<(), DatabaseError> {
    let missing = || DatabaseError::Invalid("the row has no key, or its table does not travel".to_owned());
    let table = store.schema().table(&statement.table).ok_or_else(missing)?;
    let given = |place: usize| statement.columns.iter().find(|(at, _)| *at == place);
    let key: Option<Vec<&str>> = table
        .key
        .iter()
        .map(|column| given(table.place(column)?).and_then(|(_, text)| text.as_deref()))
        .collect();
    let key = Content::new(key.ok_or_else(missing)?.into_iter().map(Some));
    let row = RowId { table: statement.table.clone(), key };
    let present = store.read_in(transaction, &row).cloned();
    if present.is_some() && statement.existing == Existing::Refuse {
        return Err(DatabaseError::Conflict(format!("{row} is there already")));
    }
    let kept: Vec<Option<&str>> =
        present.as_ref().map(|present| present.columns().collect()).unwrap_or_default();
    let columns = (0..table.columns.len()).map(|place| match given(place) {
        Some((_, text)) => text.as_deref(),
        None => kept.get(place).copied().flatten(),
    });
    let content = Content::new(columns);
    let write = Write::Put { table: statement.table.clone(), content };
    store.write(transaction, wall_clock(), write).map(drop).map_err(|error| refused(&error))
}

fn refused(error: &WriteError) -> DatabaseError {
    match error {
        WriteError::NaturalKey { .. } | WriteError::HasChildren { .. } | WriteError::Locked { .. } => {
            DatabaseError::Conflict(error.to_string())
        }
        _ => DatabaseError::Invalid(error.to_string()),
    }
}
