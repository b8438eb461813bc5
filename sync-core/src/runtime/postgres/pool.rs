//! Connections and their reuse.
//!
//! sqlx's own pool sends a round trip of its own each time a connection comes back (and, by default, each
//! time one is taken). Here a connection that comes back from a request that succeeded is taken to be in
//! order, and one that broke in the meantime is found out by its next request, which goes to another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{PostgresError, PostgresOptions};

#[derive(Debug)]
pub(super) struct Pool {
    target: PgConnectOptions,
    permits: Semaphore,
    idle: Mutex<Idle>,
    opened: AtomicU64,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one that was used last is used next, so a burst's surplus ages at the bottom.
    connections: Vec<PgConnection>,
    /// Grows when all connections of the time are given up.
    generation: u64,
}

/// A connection in use. Dropped without [`keep`](Lease::keep) it is closed: a request that was abandoned
/// leaves its connection in the middle of an answer.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: PgConnection,
    generation: u64,
    was_idle: bool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(target: PgConnectOptions, options: PostgresOptions) -> Self {
        let target = target
            .disable_statement_logging()
            .options([
                // What each statement is written for, whatever the database's defaults are.
                ("default_transaction_isolation", "read committed"),
                ("client_min_messages", "warning"),
                // Statements look rows up by key. Plans are made once for each connection, perhaps while
                // the tables are still empty: they must not turn to scans.
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
            ])
            .options([("statement_timeout", options.request_timeout.as_ms().max(1).to_string())]);
        Self {
            target,
            permits: Semaphore::new(options.connections_max.max(1)),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// Waits for a place, then takes a connection that waits for work, or opens one.
    pub(super) async fn acquire(&self) -> Result<Lease<'_>, PostgresError> {
        let permit = self.permits.acquire().await.map_err(|_| PostgresError::TimedOut)?;
        let (waiting, generation) = {
            let mut idle = self.lock();
            (idle.connections.pop(), idle.generation)
        };
        let was_idle = waiting.is_some();
        let connection = match waiting {
            Some(connection) => connection,
            None => {
                let connection = self.target.connect().await?;
                self.opened.fetch_add(1, Ordering::Relaxed);
                connection
            }
        };
        Ok(Lease { pool: self, connection, generation, was_idle, _permit: permit })
    }

    pub(super) fn idle(&self) -> usize {
        self.lock().connections.len()
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn take_idle(&self) -> Vec<PgConnection> {
        std::mem::take(&mut self.lock().connections)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Lease<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Whether it waited for work before, and so may have broken unseen.
    pub(super) fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// Puts the connection back for the next request.
    pub(super) fn keep(self) {
        let mut idle = self.pool.lock();
        if self.generation == idle.generation {
            idle.connections.push(self.connection);
        }
    }

    /// Closes this connection and all that were opened before now.
    pub(super) fn condemn_all_idle(self) {
        let mut idle = self.pool.lock();
        if self.generation == idle.generation {
            idle.generation += 1;
            idle.connections.clear();
        }
    }
}
