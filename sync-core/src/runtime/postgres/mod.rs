//! The main server's database: executes [`StoreRequest`]s on PostgreSQL.
//!
//! A request is one statement in a transaction of its own, so it costs one round trip and nothing is
//! held while anything else is waited for. `ApplyBatch` is the SQL function `p2p_sync.apply_operations`
//! (`sql/main_server/0003_operations.sql`), which says how servers that share a database keep out of each
//! other's way; where it asks to be called again, this does so.
//!
//! Errors carry SQLSTATE codes and kinds, never text from the server: that may quote values, and the
//! connection string holds a password.

mod batch;
mod clean_up;
mod content;
pub(in crate::runtime) mod dsn;
mod embeddings;
mod error;
mod hosting;
pub(in crate::runtime) mod migrations;
mod pool;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::duration;
use crate::id::{AccountId, Incarnation, OperationId};
use crate::limits;
use crate::secret::Secret;
use crate::store::{StateKey, StateRow, StoreError, StoreReply, StoreRequest};
use crate::time::{Span, Timestamp};

pub use clean_up::{CleanedUp, keep_clean};
pub use error::PostgresError;
pub use migrations::{MIGRATIONS, Migration};

use error::Remedy;
use pool::Pool;

const LOAD: &str = "SELECT version, data, account_id, incarnation, counter, \
     (extract(epoch FROM updated_at) * 1000000)::bigint \
     FROM p2p_sync.states WHERE data_type = $1 AND owner = $2 AND map_name = $3";
const PURGE: &str = "SELECT p2p_sync.purge_old($1, $2)";

/// The latest moment that is stored exactly, in microseconds: the year 2255.
const MOMENT_US_MAX: u64 = 1 << 53;

/// How the database is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections at most, at least 1.
    pub connections_max: usize,
    /// One request from start to end, waiting for a connection and sending it again included. The
    /// server abandons a statement after the same time.
    pub request_timeout: Span,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections_max: limits::APPLY_BATCHES_IN_FLIGHT_MAX,
            request_timeout: limits::POSTGRES_REQUEST_TIMEOUT,
        }
    }
}

/// What was asked of the database so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostgresCounters {
    /// Statements sent. Each is one round trip, and one more on a connection that has not prepared it.
    pub statements: u64,
    /// Statements sent again because of a conflict with a concurrent one.
    pub conflicts: u64,
    /// Connections opened.
    pub connections: u64,
}

/// How the database does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresStatus {
    /// Why the last request failed; `None` after one that did not.
    pub fault: Option<PostgresError>,
    /// Connections that wait for work.
    pub connections_idle: usize,
    /// What was asked so far.
    pub counters: PostgresCounters,
}

/// Executes [`StoreRequest`]s on PostgreSQL, any number at a time.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
    /// For what is about hosts, which may wait for each other: the writes keep the other connections.
    aside: Semaphore,
    options: PostgresOptions,
    statements: AtomicU64,
    conflicts: AtomicU64,
    fault: Mutex<Option<PostgresError>>,
}

impl PostgresStore {
    /// Opens a first connection, and with it finds out whether address and credentials are right. The
    /// text is a `postgresql://` address or `keyword=value` pairs.
    pub async fn connect(dsn: &Secret<String>, options: PostgresOptions) -> Result<Self, PostgresError> {
        let target = dsn::parse(dsn.expose())?;
        let store = Self {
            pool: Pool::new(target, options),
            aside: Semaphore::new(limits::HOSTING_CONNECTIONS_MAX),
            options,
            statements: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            fault: Mutex::new(None),
        };
        store.bounded(store.pool.acquire()).await?.keep();
        Ok(store)
    }

    /// Brings the schema up to date, in one transaction, under a lock that other servers wait for.
    pub async fn migrate(&self) -> Result<(), PostgresError> {
        let mut lease = self.pool.acquire().await?;
        migrations::run(lease.connection(), &migrations::LEDGER).await?;
        lease.keep();
        Ok(())
    }

    /// Executes one request; [`status`](Self::status) knows why one failed.
    pub async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        let reply = self.perform(request).await;
        let mut fault = self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *fault = reply.as_ref().err().cloned();
        reply.map_err(|_| StoreError::Unavailable)
    }

    /// Executes one request, with the reason when it fails.
    pub async fn perform(&self, request: &StoreRequest) -> Result<StoreReply, PostgresError> {
        self.bounded(self.attempts(request)).await
    }

    /// How the database does, without asking it.
    pub fn status(&self) -> PostgresStatus {
        PostgresStatus {
            fault: self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone(),
            connections_idle: self.pool.idle(),
            counters: PostgresCounters {
                statements: self.statements.load(Ordering::Relaxed),
                conflicts: self.conflicts.load(Ordering::Relaxed),
                connections: self.pool.opened(),
            },
        }
    }

    /// Closes the connections that wait for work, in order.
    pub async fn close(&self) {
        for connection in self.pool.take_idle() {
            // A server that is gone needs no farewell.
            let _ = timeout(duration(self.options.request_timeout), connection.close()).await;
        }
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        timeout(duration(self.options.request_timeout), work).await.unwrap_or(Err(PostgresError::TimedOut))
    }

    async fn attempts(&self, request: &StoreRequest) -> Result<StoreReply, PostgresError> {
        let _aside = match request {
            StoreRequest::ReportHosts(_) | StoreRequest::SweepHosts | StoreRequest::RecordValidations(_) => {
                Some(self.aside.acquire().await.map_err(|_| PostgresError::TimedOut)?)
            }
            _ => None,
        };
        let mut conflicts = 0;
        loop {
            let mut lease = self.pool.acquire().await?;
            let error = match self.attempt(lease.connection(), request).await {
                Ok(reply) => {
                    lease.keep();
                    return Ok(reply);
                }
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::Again if conflicts < limits::CONFLICT_RETRIES_MAX => {
                    conflicts += 1;
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                    lease.keep();
                }
                // A connection that broke while it waited for work says nothing about the server, and
                // neither do its neighbours. Every request may be sent twice: names take effect once.
                Remedy::Reconnect if lease.was_idle() => lease.condemn_all_idle(),
                Remedy::None | Remedy::Again => {
                    lease.keep();
                    return Err(error);
                }
                Remedy::Reconnect => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        request: &StoreRequest,
    ) -> Result<StoreReply, PostgresError> {
        if !matches!(request, StoreRequest::ApplyBatch(operations) if operations.is_empty()) {
            self.statements.fetch_add(1, Ordering::Relaxed);
        }
        match request {
            StoreRequest::ApplyBatch(operations) => {
                batch::apply(connection, operations).await.map(StoreReply::Applied)
            }
            StoreRequest::Load(key) => load(connection, key).await.map(StoreReply::Loaded),
            StoreRequest::Purge { before } => purge(connection, *before).await.map(StoreReply::Purged),
            StoreRequest::StoreEmbedding(request) => {
                let row = Some((&request.vector, &request.metadata));
                let applied = embeddings::change(connection, &request.apply, &request.id, row).await?;
                Ok(StoreReply::Applied(vec![applied]))
            }
            StoreRequest::DeleteEmbedding(request) => {
                let applied = embeddings::change(connection, &request.apply, &request.id, None).await?;
                Ok(StoreReply::Applied(vec![applied]))
            }
            StoreRequest::SearchEmbeddings(request) => {
                embeddings::search(connection, request).await.map(StoreReply::Found)
            }
            StoreRequest::ReportHosts(reports) => hosting::report(connection, reports).await,
            StoreRequest::SweepHosts => hosting::sweep(connection).await,
            StoreRequest::LoadHosts(map) => hosting::load(connection, map).await,
            StoreRequest::RecordValidations(found) => hosting::record(connection, found).await,
        }
    }
}

async fn load(connection: &mut PgConnection, key: &StateKey) -> Result<Option<StateRow>, PostgresError> {
    let row = sqlx::query(LOAD)
        .bind(i16::from(key.data_type.wire()))
        .bind(i64::from(key.owner.0))
        .bind(key.map.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(StateRow {
            version: unsigned(row.try_get(0)?)?,
            data: row.try_get::<&str, _>(1)?.into(),
            operation: operation_id(row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)?,
            updated: Timestamp::from_us(unsigned(row.try_get(5)?)?),
        })
    })
    .transpose()
}

async fn purge(connection: &mut PgConnection, before: Timestamp) -> Result<u64, PostgresError> {
    // No moment past the bound is stored, so it stands for all of them.
    let before = before.as_us().min(MOMENT_US_MAX).cast_signed();
    let purged: i64 = sqlx::query_scalar(PURGE)
        .bind(before)
        .bind(i64::try_from(limits::PURGE_MAX).unwrap_or(i64::MAX))
        .fetch_one(connection)
        .await?;
    unsigned(purged)
}

fn operation_id(account: i64, incarnation: i64, counter: i64) -> Result<OperationId, PostgresError> {
    Ok(OperationId {
        account: AccountId(u32::try_from(account).map_err(|_| PostgresError::Unexpected)?),
        incarnation: Incarnation(incarnation.cast_unsigned()),
        counter: unsigned(counter)?,
    })
}

fn unsigned(number: i64) -> Result<u64, PostgresError> {
    u64::try_from(number).map_err(|_| PostgresError::Unexpected)
}
