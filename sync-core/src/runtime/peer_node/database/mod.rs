//! What stands behind a peer: its engine's requests, and what the documented endpoints read and write.

mod memory;
mod postgres;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

pub use memory::MemoryDatabase;
pub use postgres::PostgresDatabase;

pub use crate::peer_sync::interface::changes::{Existing, ReadRow, ReadRows, Statement};
use crate::peer_sync::row::TableName;
use crate::peer_sync::store::{PeerReply, PeerRequest};

/// The database of a peer, for any number of callers at once.
pub trait PeerDatabase: Send + Sync + 'static {
    /// Executes one request of the engine, atomically. Dropping the future gives it up; whether it took effect is then
    /// not known.
    fn execute(&self, request: PeerRequest) -> BoxFuture<'_, PeerReply>;

    /// The tables that applications have committed writes of since it was asked last. Cheap: it is asked many times a
    /// second, by one caller.
    ///
    /// # Errors
    /// The database does not answer.
    fn changed(&self) -> BoxFuture<'_, Result<Vec<TableName>, DatabaseError>>;

    /// Whether the database answers.
    fn is_up(&self) -> BoxFuture<'_, bool>;

    /// Why the last request of the engine was not executed, and what may help, for a log; none after one that was, or where that
    /// is not known.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Reads rows of a table in the order of their keys.
    ///
    /// # Errors
    /// Why it cannot.
    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>>;

    /// Executes an application's statements in one transaction, and says how many rows they wrote.
    ///
    /// # Errors
    /// Why none took effect.
    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>>;
}

impl<D: PeerDatabase + ?Sized> PeerDatabase for Arc<D> {
    fn execute(&self, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        D::execute(self, request)
    }

    fn changed(&self) -> BoxFuture<'_, Result<Vec<TableName>, DatabaseError>> {
        D::changed(self)
    }

    fn is_up(&self) -> BoxFuture<'_, bool> {
        D::is_up(self)
    }

    fn trouble(&self) -> Option<String> {
        D::trouble(self)
    }

    fn read(&self, read: ReadRows) -> BoxFuture<'_, Result<Vec<ReadRow>, DatabaseError>> {
        D::read(self, read)
    }

    fn write(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<u64, DatabaseError>> {
        D::write(self, statements)
    }
}

/// Why a statement or a read did not take effect. No message holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DatabaseError {
    /// The database cannot be reached or did not answer in time.
    #[error("the database does not answer; try again")]
    Unavailable,
    /// Another row stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// The row cannot be one of the table.
    #[error("{0}")]
    Invalid(String),
}
