//! Why a peer's database cannot be used.

use thiserror::Error;

use crate::peer_sync::row::TableName;
use crate::peer_sync::version::NodeId;
use crate::runtime::postgres::PostgresError;

/// Why a peer's database cannot be used, or did not do as asked. Holds neither the connection string nor any value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerStoreError {
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Another process works on this database as a peer.
    #[error(
        "another peer works on this database: give each peer a database of its own, or end the other process"
    )]
    InUse,
    /// The database belongs to a peer of another name.
    #[error(
        "this database belongs to the peer `{stored}`, not to `{given}`: start it under its name, or give the new peer \
         an empty database"
    )]
    OtherNode {
        /// Who it belongs to.
        stored: NodeId,
        /// Who wants to use it.
        given: NodeId,
    },
    /// The database's encoding would change what is hashed.
    #[error("the database's encoding is {0}; create it with ENCODING 'UTF8'")]
    Encoding(String),
    /// The user may not write rows without setting off triggers, which received rows need.
    #[error(
        "the database's user may not set `session_replication_role`, which received rows need; as a superuser run \
         GRANT SET ON PARAMETER session_replication_role TO <user>"
    )]
    NoRightToApply,
    /// A table that travels does not exist.
    #[error("there is no table `{table}`; create it, or take it off the tables that travel")]
    MissingTable {
        /// The table.
        table: TableName,
    },
    /// Something of the table's form stands against its travelling.
    #[error("table `{table}`: {problem}")]
    Table {
        /// The table.
        table: TableName,
        /// What, and what to do.
        problem: TableProblem,
    },
}

/// What stands against a table's travelling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// It is a view, a partitioned or a foreign table.
    #[error("it is no ordinary table; only those can be captured")]
    Kind,
    /// A declared column is not there.
    #[error("there is no column `{0}`; add it, or take it off the columns that travel")]
    MissingColumn(String),
    /// The database computes a declared column.
    #[error("column `{0}` is generated; take it off the columns that travel")]
    Generated(String),
    /// The primary key is another.
    #[error("its primary key is ({found}), not ({declared}); declare the key that it has")]
    Key {
        /// What is there.
        found: String,
        /// What is declared.
        declared: String,
    },
    /// A received row cannot be inserted, since a column that does not travel wants a value.
    #[error(
        "column `{0}` does not travel, but must not be null and has no default; give it one, or let it travel"
    )]
    NeedsValue(String),
    /// A unique index that is not declared: received rows would break it.
    #[error(
        "the unique index `{0}` is not declared; declare its columns as a natural key, or drop the index"
    )]
    Unique(String),
    /// A counter whose type can hold what is none.
    #[error("column `{0}` is a counter; give it the type smallint, integer or bigint")]
    Counter(String),
    /// Its policy is a team's own resolver that was not given.
    #[error("its resolver was not given; register it under the declared name or declare another policy")]
    NoResolver,
    /// A foreign key that is not declared: received rows would break it.
    #[error("the foreign key `{0}` is not declared; declare it as a reference, or drop it")]
    ForeignKey(String),
}
