//! Of writes side by side the one of the node that comes first in a list wins; nodes of one rank go by version.
//!
//! A write inherits the rank of what it replaces, or it could be lost to what its writer had seen. Beside a row
//! stands the node whose rank it has, where that is not its own.

use super::last_writer::{by_version, reason_of_versions};
use super::{Reason, Resolution, Resolver, Write, WriteRefused, greater};
use crate::peer_sync::row::{Extra, RowVersion};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::NodeId;

/// See [`Policy::NodePriority`](crate::peer_sync::schema::Policy::NodePriority). The first has the highest rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePriority(pub Vec<NodeId>);

impl Resolver for NodePriority {
    fn on_write(&self, _: &Table, seen: Option<&RowVersion>, write: &Write) -> Result<Extra, WriteRefused> {
        let inherited =
            seen.map(rank_holder).filter(|holder| self.place(holder) < self.place(write.node.as_str()));
        Ok(inherited.map_or(Extra::None, |holder| Extra::State(holder.into())))
    }

    fn merge(&self, _: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        let key = |row| (std::cmp::Reverse(self.place(rank_holder(row))), by_version(row));
        greater(key(one), key(other))
    }

    fn accepts(&self, _: &Table, row: &RowVersion) -> bool {
        match &row.extra {
            Extra::None => true,
            Extra::State(holder) => self.place(holder) < self.place(row.node().as_str()),
        }
    }

    fn reason(&self, _: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        if self.place(rank_holder(winner)) == self.place(rank_holder(loser)) {
            reason_of_versions(winner, loser)
        } else {
            Reason::Priority
        }
    }
}

impl NodePriority {
    /// The smaller, the higher the rank. Nodes that are not named come last, alike.
    fn place(&self, node: &str) -> usize {
        self.0.iter().position(|named| named.as_str() == node).unwrap_or(self.0.len())
    }
}

/// The node whose rank a version has.
fn rank_holder(row: &RowVersion) -> &str {
    match &row.extra {
        Extra::State(holder) => holder,
        Extra::None => row.node().as_str(),
    }
}
