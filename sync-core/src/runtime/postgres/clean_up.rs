//! Old rows go on a schedule: operations after seven days, entries of the cache table when they have expired,
//! sequences of sessions after thirty days (`sql/main_server/0004_search_and_clean_up.sql`).

use std::sync::Weak;

use sqlx::Row;
use tokio::time::sleep;

use super::{PostgresError, PostgresStore, unsigned};
use crate::limits;
use crate::runtime::duration;

const CLEAN_UP: &str =
    "SELECT operations_removed, cache_rows_removed, sequences_removed FROM p2p_sync.clean_up($1)";

/// Rows that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Operations.
    pub operations: u64,
    /// Entries of the cache table.
    pub cache_rows: u64,
    /// Sequences of sessions.
    pub sequences: u64,
}

impl CleanedUp {
    /// Whether there may be more to remove.
    fn is_at_bound(self) -> bool {
        let Self { operations, cache_rows, sequences } = self;
        [operations, cache_rows, sequences].into_iter().any(|removed| removed >= limits::PURGE_MAX as u64)
    }
}

impl PostgresStore {
    /// Removes what is old, at most [`limits::PURGE_MAX`] rows of each kind. Any number of servers may do so at
    /// once.
    pub async fn clean_up(&self) -> Result<CleanedUp, PostgresError> {
        self.bounded(async {
            let mut lease = self.pool.acquire().await?;
            let row = sqlx::query(CLEAN_UP)
                .bind(limits::PURGE_MAX as i64)
                .fetch_one(lease.connection())
                .await
                .map_err(PostgresError::from)?;
            lease.keep();
            Ok(CleanedUp {
                operations: unsigned(row.try_get(0)?)?,
                cache_rows: unsigned(row.try_get(1)?)?,
                sequences: unsigned(row.try_get(2)?)?,
            })
        })
        .await
    }
}

/// Cleans up at once and then every [`limits::CLEAN_UP_INTERVAL`], for as long as the store is used. Told what
/// came of it each time.
pub async fn keep_clean(store: Weak<PostgresStore>, report: impl Fn(Result<CleanedUp, PostgresError>)) {
    while let Some(store) = store.upgrade() {
        let cleaned = store.clean_up().await;
        drop(store);
        let is_done = !matches!(&cleaned, Ok(cleaned) if cleaned.is_at_bound());
        report(cleaned);
        if is_done {
            sleep(duration(limits::CLEAN_UP_INTERVAL)).await;
        }
    }
}
