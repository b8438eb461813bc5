//! The database of a peer: executes [`PeerRequest`]s on PostgreSQL as the in-memory store does.
//!
//! Applications write to their own tables with plain SQL; triggers append what they wrote to a log
//! (`sql/peer/0002_capture.sql`). One connection, which holds a lock so that no second process works here, executes
//! the requests one after another: each folds the log into the versions, decides, and commits. What is decided, and in
//! which order, is what the in-memory store defines; reading and writing are sets. Content of rows stays in the tables
//! of applications, with a version beside it; only tombstones, and tables with references, natural keys or a policy, have
//! theirs kept in the versions, too.
//!
//! The modules: `applications` is what is read and written for them, `sql` quotes names and makes the statements of each
//! table, `catalog` sees whether a table can travel, `identity` recognises the database, `witness` watches it, `state` is how
//! far everything has come and `totals` what there is, `rows` the stored versions, `base` what
//! applications see; `work` is one request, with `fold`, `merge`, `settle`, `page`, `digests`, `purge` and
//! `graves`, what is remembered of purged rows.

mod applications;
mod base;
mod catalog;
mod copy;
mod digests;
mod error;
mod fold;
mod graves;
mod identity;
mod merge;
mod migrations;
mod page;
mod perform;
mod purge;
mod rows;
mod settle;
mod sql;
mod state;
mod totals;
mod transactions;
mod witness;
mod work;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as StdMutex};

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::sql::Statements;
use self::writer::{Done, Task, Writer};
use super::duration;
use super::postgres::{PostgresError, dsn};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::constraints::Constraints;
use crate::peer_sync::resolver::Resolvers;
use crate::peer_sync::row::{RowId, TableName};
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::tables::Tables;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::secret::Secret;
use crate::time::Span;

pub use applications::PutError;
pub use error::{PeerStoreError, TableProblem};
pub use migrations::PEER_MIGRATIONS;
pub use witness::{Decided, Witness};

/// Of a large statement the beginning is enough: what is behind it is told once it is folded.
const UNFOLDED: &str =
    "SELECT DISTINCT table_name FROM (SELECT table_name FROM p2p_peer.log LIMIT 1000) AS first";

/// How a peer's database is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStoreOptions {
    /// Connections of [`PeerStore::pool`] at most, at least 1; one more executes requests.
    pub connections_max: u32,
    /// One request from start to end, sending it again included.
    pub request_timeout: Span,
    /// How long a request that merges waits for one row that an application has locked, over all its attempts: they wait a
    /// sixteenth of this for each row, then twice as long each time, four times. Then it has not taken effect. What else
    /// waits for a lock does so this long. At least 16 ms.
    pub lock_timeout: Span,
    /// How far ahead of the database's clock a received stamp may lie.
    pub stamp_ahead_max: Span,
}

impl Default for PeerStoreOptions {
    fn default() -> Self {
        Self {
            connections_max: 8,
            request_timeout: limits::STORE_TIMEOUT,
            lock_timeout: Span::from_secs(2),
            stamp_ahead_max: limits::STAMP_AHEAD_MAX,
        }
    }
}

/// What somebody has been told of local writes, for [`PeerStore::changed`].
#[derive(Clone, Debug, Default)]
pub struct ChangeMark(BTreeMap<TableName, u64>);

/// The database of one peer. One process at a time; requests are executed one after another.
#[derive(Debug)]
pub struct PeerStore {
    shared: Shared,
    writer: Mutex<Writer>,
    pool: PgPool,
    options: PeerStoreOptions,
    /// How often local writes of each table were folded.
    folded: StdMutex<BTreeMap<TableName, u64>>,
    fault: StdMutex<Option<PostgresError>>,
}

/// What does not change while the store lives.
#[derive(Debug)]
struct Shared {
    node: NodeId,
    schema: Schema,
    /// The form that received rows must have.
    tables: Tables,
    statements: BTreeMap<TableName, Statements>,
    /// Tables with references or natural keys, or referred to.
    tied: BTreeSet<TableName>,
    stamp_ahead_max: Span,
}

impl PeerStore {
    /// Connects, brings the schema `p2p_peer` up to date, and has the tables captured from now on. `dsn` is a
    /// `postgresql://` address or `keyword=value` pairs; its user owns the tables. Rows that are there already are
    /// taken for written now. A database that turns out to be another, or restored, begins a new life.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses, belongs to another peer or is in use by one, or when a table
    /// cannot travel as declared.
    pub async fn connect(
        dsn: &Secret<String>,
        schema: Schema,
        node: NodeId,
        options: PeerStoreOptions,
    ) -> Result<Self, PeerStoreError> {
        let resolvers = Resolvers::declared(&schema);
        Self::connect_with(dsn, schema, resolvers, node, options).await
    }

    /// As [`connect`](Self::connect), with resolvers that include a team's own.
    ///
    /// # Errors
    /// As there, and for a table whose resolver is not among these.
    pub async fn connect_with(
        dsn: &Secret<String>,
        schema: Schema,
        resolvers: Resolvers,
        node: NodeId,
        options: PeerStoreOptions,
    ) -> Result<Self, PeerStoreError> {
        let target = dsn::parse(dsn.expose())?;
        if let Some(table) = schema.tables().find(|table| resolvers.of(&table.name).is_none()) {
            let problem = TableProblem::NoResolver;
            return Err(PeerStoreError::Table { table: table.name.clone(), problem });
        }
        let constraints = Constraints::new(&schema);
        let tied = schema.tables().map(|table| &table.name).filter(|name| constraints.concerns(name));
        let mut tables = Tables::new(schema.clone());
        tables.resolvers = resolvers;
        let mut shared = Shared {
            node,
            tied: tied.cloned().collect(),
            tables,
            schema,
            statements: BTreeMap::new(),
            stamp_ahead_max: options.stamp_ahead_max,
        };
        let mut writer = Writer::new(target.clone(), options);
        timeout(duration(options.request_timeout), writer.prepare())
            .await
            .unwrap_or(Err(PostgresError::TimedOut.into()))?;
        shared.statements = writer.install(&shared).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max.max(1))
            .acquire_timeout(duration(options.request_timeout))
            .connect_lazy_with(target.options(sql::PINNED));
        Ok(Self {
            shared,
            writer: Mutex::new(writer),
            pool,
            options,
            folded: StdMutex::default(),
            fault: StdMutex::default(),
        })
    }

    /// The same store, watched: `witness` is told of each request before it is committed. Costs a statement for each.
    #[must_use]
    pub fn witnessed(mut self, witness: Arc<dyn Witness>) -> Self {
        self.writer.get_mut().watch(witness);
        self
    }

    /// Executes one request. Whatever goes wrong is [`PeerReply::Unavailable`], and [`fault`](Self::fault) knows why.
    pub async fn execute(&self, request: PeerRequest) -> PeerReply {
        let task = Task::Request(request);
        let done = timeout(duration(self.options.request_timeout), self.perform(task)).await;
        let done = done.unwrap_or(Err(PostgresError::TimedOut));
        *lock(&self.fault) = done.as_ref().err().cloned();
        match done {
            Ok(Done::Reply(reply)) => reply,
            _ => PeerReply::Unavailable,
        }
    }

    /// Why the last request was not executed; none after one that was.
    pub fn fault(&self) -> Option<PostgresError> {
        lock(&self.fault).clone()
    }

    /// The tables in which applications have committed writes since `mark` was given to this last; a new mark names
    /// those that were folded since the start. One cheap statement, which asks the log alone: to be called often.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn changed(&self, mark: &mut ChangeMark) -> Result<Vec<TableName>, PostgresError> {
        let unfolded: Vec<String> = sqlx::query_scalar(UNFOLDED).fetch_all(&self.pool).await?;
        let folded = lock(&self.folded).clone();
        let mut changed: BTreeSet<TableName> =
            unfolded.iter().filter_map(|name| self.shared.table_name(name).ok()).collect();
        changed.extend(
            folded
                .iter()
                .filter(|(table, count)| mark.0.get(*table) != Some(count))
                .map(|(table, _)| table.clone()),
        );
        mark.0 = folded;
        Ok(changed.into_iter().collect())
    }

    /// Connections for what an application asks of its own tables: what they write is captured as anybody's.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whose database it is.
    pub fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// The tables that travel.
    pub fn schema(&self) -> &Schema {
        &self.shared.schema
    }

    /// Makes this the database of a node of another name, in a new life, which it says: it was copied from the one whose name
    /// it has, or came up under a name that was in use. What was written here under the old name stays that node's. Waits
    /// no longer than for any lock until no application is in the middle of writing. The store is closed.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses; it has its old name then.
    pub async fn rename(self, name: NodeId) -> Result<Incarnation, PeerStoreError> {
        let life = identity::new_life();
        let task = Task::Rename(name, life);
        let done = timeout(duration(self.options.request_timeout), self.perform(task)).await;
        self.close().await;
        done.unwrap_or(Err(PostgresError::TimedOut))?;
        Ok(life)
    }

    /// Ends all connections, in order.
    pub async fn close(&self) {
        self.writer.lock().await.close().await;
        self.pool.close().await;
    }

    async fn perform(&self, task: Task) -> Result<Done, PostgresError> {
        let mut writer = self.writer.lock().await;
        let (done, written) = writer.execute(&self.shared, task).await?;
        let mut folded = lock(&self.folded);
        for table in written {
            *folded.entry(table).or_default() += 1;
        }
        Ok(done)
    }
}

impl Shared {
    fn table_name(&self, name: &str) -> Result<TableName, PostgresError> {
        self.schema.find(name).map(|table| table.name.clone()).ok_or(PostgresError::Unexpected)
    }

    fn statements(&self, table: &TableName) -> Result<&Statements, PostgresError> {
        self.statements.get(table).ok_or(PostgresError::Unexpected)
    }

    fn is_tied(&self, table: &TableName) -> bool {
        self.tied.contains(table)
    }

    /// Whether the versions keep what living rows hold.
    fn keeps_content(&self, table: &TableName) -> bool {
        self.is_tied(table) || self.schema.table(table).is_some_and(|table| !table.goes_by_version())
    }

    fn key_columns(&self, table: &TableName) -> usize {
        self.schema.table(table).map_or(0, |table| table.key.len())
    }

    /// Whether a row that somebody names has a key of its table. No text of PostgreSQL holds a NUL.
    fn has_key(&self, row: &RowId) -> bool {
        row.key.columns().count() == self.key_columns(&row.table)
            && row.key.columns().all(|column| column.is_some_and(|text| !text.contains('\0')))
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
