//! What two versions of a row come to: the declared policies, and a team's own resolver.
//!
//! A merge has to be commutative, associative and idempotent, or peers that saw the same writes hold different
//! rows for ever (Shapiro et al. 2011). The declared policies are; [`laws`] tests any other, and what
//! can be seen to break a law at start is refused there ([`Resolvers::new`]).
//!
//! Two kinds exist. A selective policy takes one of both, by a strict total order: last writer by row, first
//! writer, node priority. A combining one makes a third out of both: last writer by column, counters.

mod by_column;
mod counter;
mod first_writer;
mod last_writer;
mod node_priority;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use by_column::LastWriterByColumn;
pub use counter::CounterDelta;
pub use first_writer::FirstWriter;
pub use last_writer::LastWriterByRow;
pub use node_priority::NodePriority;
pub use state::WriteId;

use super::content::Content;
use super::laws::{self, Counterexample};
use super::row::{Extra, Image, Origin, RowId, RowVersion, TableName};
use super::schema::{Policy, Schema, Table};
use super::version::{NodeId, Stamp, Version};

/// Decides rows of a table. Looks at nothing but its arguments, so that every peer decides alike.
pub trait Resolver: Send + Sync {
    /// What is kept beside a local write. `seen` is the stored version that it replaces, a tombstone included.
    /// The result has to beat that version, or the write would be lost.
    ///
    /// # Errors
    /// The policy cannot hold what is written; the application's statement fails with this.
    fn on_write(
        &self,
        table: &Table,
        seen: Option<&RowVersion>,
        write: &Write,
    ) -> Result<Extra, WriteRefused> {
        let _ = (table, seen, write);
        Ok(Extra::None)
    }

    /// What two versions of one row come to; which one is stored here plays no part in it.
    fn merge(&self, table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution;

    /// Whether a received version has the form that this resolver gives to its own. What has not is refused before
    /// anything is decided.
    fn accepts(&self, table: &Table, row: &RowVersion) -> bool {
        let _ = table;
        row.extra.is_none()
    }

    /// Why one of two versions won, for events and reports.
    fn reason(&self, table: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        let _ = (table, winner, loser);
        Reason::Resolver
    }
}

/// What a resolver says of two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The first one stays, as it is.
    One,
    /// The second one stays, as it is.
    Other,
    /// A third one takes the place of both. It has the later stamp of both.
    Combined {
        /// What it says.
        image: Image,
        /// What is kept beside it.
        extra: Extra,
    },
}

/// Why a version won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is later.
    Stamp,
    /// Stamps are equal, and its node is the greater.
    Node,
    /// Stamp and node are equal, and its content is the greater: one identity was used twice.
    Hash,
    /// Its row was inserted first.
    Created,
    /// Its node comes first.
    Priority,
    /// It holds parts of both.
    Combined,
    /// A team's own resolver said so.
    Resolver,
}

/// A local write, before a policy has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub row: RowId,
    /// What it shall hold; none to delete it.
    pub content: Option<Content>,
    /// A fresh stamp, later than everything that the writer has seen.
    pub stamp: Stamp,
    /// Who writes.
    pub node: NodeId,
    /// In which transaction.
    pub origin: Origin,
}

/// A table's policy cannot hold what an application writes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteRefused {
    /// A counter that is none.
    #[error(
        "row {row}: `{column}` is a counter and holds whole numbers of at most 30 digits only; write one"
    )]
    NoNumber {
        /// The row.
        row: RowId,
        /// The column.
        column: String,
    },
    /// A team's own resolver said so.
    #[error("row {row}: {reason}")]
    Resolver {
        /// The row.
        row: RowId,
        /// Why, and what to do.
        reason: String,
    },
}

/// The version that a local write makes.
///
/// # Errors
/// As [`Resolver::on_write`].
pub fn written(
    resolver: &dyn Resolver,
    table: &Table,
    seen: Option<&RowVersion>,
    write: Write,
) -> Result<RowVersion, WriteRefused> {
    let extra = resolver.on_write(table, seen, &write)?;
    let image = match write.content {
        Some(content) => Image::Row(content),
        // A tombstone keeps what its deleter saw: a living child may demand the row back.
        None => Image::Tombstone(seen.and_then(|seen| seen.image.content()).cloned()),
    };
    let version = Version { stamp: write.stamp, node: write.node, hash: image.hash_with(&extra) };
    Ok(RowVersion { row: write.row, version, image, origin: write.origin, extra })
}

/// What two versions of one row come to.
///
/// A result that is one of both, however it was made, is that one with its origin; a combined one has none.
pub fn merged(resolver: &dyn Resolver, table: &Table, one: &RowVersion, other: &RowVersion) -> RowVersion {
    if one.is_same_as(other) {
        // A known origin says more than that of a combined version, which is the smallest.
        return if one.origin >= other.origin { one.clone() } else { other.clone() };
    }
    let (image, extra) = match resolver.merge(table, one, other) {
        Resolution::One => return one.clone(),
        Resolution::Other => return other.clone(),
        Resolution::Combined { image, extra } => (image, extra),
    };
    let later = WriteId::of(one).max(WriteId::of(other));
    let version = Version { stamp: later.stamp, node: later.node, hash: image.hash_with(&extra) };
    let combined = RowVersion { row: one.row.clone(), version, image, origin: Origin::COMBINED, extra };
    [one, other].into_iter().find(|side| side.is_same_as(&combined)).cloned().unwrap_or(combined)
}

/// The resolver of each table.
#[derive(Clone)]
pub struct Resolvers(BTreeMap<TableName, Arc<dyn Resolver>>);

/// A table cannot have the resolver that it names.
#[derive(Clone, Debug, Error)]
pub enum InvalidResolver {
    /// Nobody has given it.
    #[error(
        "table `{table}`: no resolver `{name}` was given; register it under this name or declare another policy"
    )]
    Unknown {
        /// The table.
        table: TableName,
        /// The name.
        name: String,
    },
    /// It breaks a law.
    #[error(
        "table `{table}`: the resolver `{name}` would let peers diverge; repair it, `laws::suite!` has the tests\n{counterexample}"
    )]
    BreaksLaw {
        /// The table.
        table: TableName,
        /// The name.
        name: String,
        /// How.
        counterexample: Counterexample,
    },
}

impl Resolvers {
    /// The declared policies of a schema alone: tables with a team's own resolver have none.
    pub fn declared(schema: &Schema) -> Self {
        let resolvers =
            schema.tables().filter_map(|table| Some((table.name.clone(), declared(&table.policy)?)));
        Self(resolvers.collect())
    }

    /// The declared policies of a schema, and a team's own resolvers by their names. Each of these is tried on
    /// some thousand made-up writes first.
    ///
    /// # Errors
    /// A policy names a resolver that was not given, or one that is seen to break a law.
    pub fn new(schema: &Schema, own: &BTreeMap<String, Arc<dyn Resolver>>) -> Result<Self, InvalidResolver> {
        let mut resolvers = BTreeMap::new();
        for table in schema.tables() {
            let resolver = match (declared(&table.policy), &table.policy) {
                (Some(resolver), _) => resolver,
                (None, Policy::Custom(name)) => {
                    let at = || (table.name.clone(), name.clone());
                    let Some(resolver) = own.get(name) else {
                        let (table, name) = at();
                        return Err(InvalidResolver::Unknown { table, name });
                    };
                    if let Err(counterexample) = laws::probe(&**resolver, table) {
                        let (table, name) = at();
                        return Err(InvalidResolver::BreaksLaw { table, name, counterexample });
                    }
                    Arc::clone(resolver)
                }
                (None, _) => Arc::new(LastWriterByRow),
            };
            resolvers.insert(table.name.clone(), resolver);
        }
        Ok(Self(resolvers))
    }

    /// The same without trying them: for a harness that shows what a broken one comes to. A table whose resolver was not
    /// given has none, and takes no writes.
    pub fn untried(schema: &Schema, own: &BTreeMap<String, Arc<dyn Resolver>>) -> Self {
        let of = |table: &Table| match &table.policy {
            Policy::Custom(name) => own.get(name).cloned(),
            policy => declared(policy),
        };
        Self(schema.tables().filter_map(|table| Some((table.name.clone(), of(table)?))).collect())
    }

    /// The resolver of a table; none if the table does not travel.
    pub fn of(&self, table: &TableName) -> Option<&dyn Resolver> {
        self.0.get(table).map(|resolver| &**resolver)
    }
}

impl fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The resolver of a declared policy; none for a team's own.
pub fn declared(policy: &Policy) -> Option<Arc<dyn Resolver>> {
    Some(match policy {
        Policy::LastWriterByRow => Arc::new(LastWriterByRow),
        Policy::LastWriterByColumn => Arc::new(LastWriterByColumn),
        Policy::FirstWriter => Arc::new(FirstWriter),
        Policy::NodePriority(order) => Arc::new(NodePriority(order.clone())),
        Policy::CounterDelta(columns) => Arc::new(CounterDelta(columns.clone())),
        Policy::Custom(_) => return None,
    })
}

/// A plain function is a resolver that keeps nothing beside a row.
impl<F> Resolver for F
where
    F: Fn(&Table, &RowVersion, &RowVersion) -> Resolution + Send + Sync,
{
    fn merge(&self, table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        self(table, one, other)
    }
}

/// The side with the greater key.
fn greater<K: Ord>(one: K, other: K) -> Resolution {
    if one >= other { Resolution::One } else { Resolution::Other }
}

#[cfg(test)]
mod tests;
