//! What applications ask through the node: rows of a table, and statements that are captured as anybody's.

use thiserror::Error;
use tokio::time::timeout;

use super::writer::{Done, Task};
use super::{PeerStore, duration};
use crate::peer_sync::interface::changes::{ReadRow, ReadRows, Statement};
use crate::runtime::postgres::PostgresError;

/// Why rows were not written. Holds no value of a row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PutError {
    /// The table, or a column, does not travel, or the key is not among the columns.
    #[error("the table or a column does not travel, or the row has no key")]
    Unknown,
    /// The database refused.
    #[error("{error}{}", constraint.as_ref().map(|name| format!(" (`{name}`)")).unwrap_or_default())]
    Postgres {
        /// With which SQLSTATE, or why not at all.
        error: PostgresError,
        /// The constraint that stands against it.
        constraint: Option<String>,
    },
}

impl PeerStore {
    /// Reads rows of a table in the order of their keys (as bytes of their canonical form).
    ///
    /// # Errors
    /// When the database cannot be reached or refuses, or the table does not travel.
    pub async fn rows(&self, read: ReadRows) -> Result<Vec<ReadRow>, PostgresError> {
        self.shared.statements(&read.table)?;
        let done = timeout(duration(self.options.request_timeout), self.perform(Task::Read(read))).await;
        match done.unwrap_or(Err(PostgresError::TimedOut))? {
            Done::Rows(rows) => Ok(rows),
            Done::Reply(_) | Done::Renamed => Err(PostgresError::Unexpected),
        }
    }

    /// Executes statements as an application would, in one transaction; says how many these were.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses, or a table or column does not travel. Then none took effect.
    pub async fn put(&self, statements: &[Statement]) -> Result<u64, PutError> {
        let work = async {
            let mut transaction = self.pool.begin().await.map_err(refused)?;
            for group in groups(statements) {
                let Some(first) = group.first() else { continue };
                let places: Vec<usize> = first.columns.iter().map(|(place, _)| *place).collect();
                let table = self.shared.statements(&first.table).map_err(|_| PutError::Unknown)?;
                let mut query = sqlx::query(table.put(&places, first.existing).ok_or(PutError::Unknown)?);
                for at in 0..places.len() {
                    let texts: Vec<Option<&str>> = group
                        .iter()
                        .map(|statement| statement.columns.get(at).and_then(|(_, text)| text.as_deref()))
                        .collect();
                    query = query.bind(texts);
                }
                query.execute(&mut *transaction).await.map_err(refused)?;
            }
            transaction.commit().await.map_err(refused)?;
            Ok(statements.len() as u64)
        };
        let late = PutError::Postgres { error: PostgresError::TimedOut, constraint: None };
        timeout(duration(self.options.request_timeout), work).await.unwrap_or(Err(late))
    }
}

/// Statements that go together: of one table, with the same columns in the same order.
fn groups(statements: &[Statement]) -> impl Iterator<Item = &[Statement]> {
    statements.chunk_by(|one, next| {
        one.table == next.table
            && one.existing == next.existing
            && one.columns.iter().map(|(place, _)| place).eq(next.columns.iter().map(|(place, _)| place))
    })
}

fn refused(error: sqlx::Error) -> PutError {
    let constraint = error.as_database_error().and_then(|error| error.constraint()).map(str::to_owned);
    PutError::Postgres { error: error.into(), constraint }
}
