//! How far somebody has read: in one peer's feed, and of what each peer wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::row::{Origin, RowId};
use super::snapshot::Snapshot;
use super::version::NodeId;
use crate::id::Incarnation;

/// How far a reader has come in one peer's feed. Moves only after what was read is durably applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The life of the peer's database. A restored copy, or another system under the same name, is a new life, and
    /// positions of an earlier one mean nothing in it.
    pub incarnation: Incarnation,
    /// The peer's transactions that were read.
    pub snapshot: Snapshot,
    /// Where in a transaction beyond the bound the reader stands: one that is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
}

/// A place inside of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// The transaction.
    pub xid: u64,
    /// The last row that was read of it; rows come in the order of their ids.
    pub after: RowId,
}

/// What somebody has of what each peer wrote, by the writers' own transactions.
///
/// Covering a transaction means: what it wrote, or what beats it, was durably applied here. So whatever is
/// covered need not be sent, and a version that is covered and yet absent had been deleted and its tombstone purged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(BTreeMap<(NodeId, Incarnation), Snapshot>);

impl Frontier {
    /// Whether what was written there is covered. A combined version is not: it has many origins.
    pub fn covers(&self, node: &NodeId, origin: Origin) -> bool {
        !origin.is_combined()
            && self.of(node, origin.incarnation).is_some_and(|snapshot| snapshot.sees(origin.xid))
    }

    /// What is covered of one life of one peer.
    pub fn of(&self, node: &NodeId, incarnation: Incarnation) -> Option<&Snapshot> {
        self.0.get(&(node.clone(), incarnation))
    }

    /// Whether everything that `other` covers is covered.
    pub fn includes(&self, other: &Self) -> bool {
        let nothing = Snapshot::default();
        other.0.iter().all(|(who, theirs)| self.0.get(who).unwrap_or(&nothing).covers(theirs))
    }

    /// Adds what one snapshot of one peer covers.
    pub fn advance(&mut self, node: &NodeId, incarnation: Incarnation, snapshot: &Snapshot) {
        let mine = self.0.entry((node.clone(), incarnation)).or_default();
        *mine = mine.union(snapshot);
    }

    /// Adds what another covers.
    pub fn join(&mut self, other: &Self) {
        for ((node, incarnation), snapshot) in &other.0 {
            self.advance(node, *incarnation, snapshot);
        }
    }

    /// Who is covered, and how far, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, Incarnation, &Snapshot)> {
        self.0.iter().map(|((node, incarnation), snapshot)| (node, *incarnation, snapshot))
    }

    /// Lives of peers that it speaks of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it covers nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One entry of a frontier in JSON.
#[derive(Serialize, Deserialize)]
struct Entry {
    node: NodeId,
    incarnation: Incarnation,
    snapshot: Snapshot,
}

impl Serialize for Frontier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(node, incarnation, snapshot)| Entry {
            node: node.clone(),
            incarnation,
            snapshot: snapshot.clone(),
        }))
    }
}

impl<'de> Deserialize<'de> for Frontier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<Entry>::deserialize(deserializer)?;
        let mut frontier = Self::default();
        for Entry { node, incarnation, snapshot } in entries {
            frontier.advance(&node, incarnation, &snapshot);
        }
        Ok(frontier)
    }
}
