//! How far somebody has read: in one peer's feed, and of what each peer wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::row::{Origin, RowId};
use super::snapshot::Snapshot;
use super::version::{NodeId, Version};
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
/// covered need not be sent, and a version that is covered, absent, and not beyond the horizon had been deleted and its
/// tombstone purged. The horizon goes where the frontier goes: who covers something because another did may
/// never have seen the tombstone that the other purged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// Shared by copies until one of them changes: a frontier goes with most messages, and has an entry for each peer.
    covered: Arc<BTreeMap<(NodeId, Incarnation), Snapshot>>,
    horizon: Option<Version>,
}

impl Frontier {
    /// Whether what was written there is covered. A combined version is not: it has many origins.
    pub fn covers(&self, node: &NodeId, origin: Origin) -> bool {
        !origin.is_combined()
            && self.of(node, origin.incarnation).is_some_and(|snapshot| snapshot.sees(origin.xid))
    }

    /// What is covered of one life of one peer.
    pub fn of(&self, node: &NodeId, incarnation: Incarnation) -> Option<&Snapshot> {
        self.covered.get(&(node.clone(), incarnation))
    }

    /// The greatest version among rows that were purged here, or where this frontier is from.
    pub fn horizon(&self) -> Option<&Version> {
        self.horizon.as_ref()
    }

    /// A row with this version is purged.
    pub fn raise_horizon(&mut self, version: &Version) {
        if self.horizon.as_ref() < Some(version) {
            self.horizon = Some(version.clone());
        }
    }

    /// Whether everything that `other` covers is covered, whatever the horizons.
    pub fn includes(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.covered, &other.covered) {
            return true;
        }
        let nothing = Snapshot::default();
        // Both are in the same order: the entries of one are met on the way through those of the other.
        let mut own = self.covered.iter().peekable();
        other.covered.iter().all(|(who, theirs)| {
            while own.next_if(|(name, _)| *name < who).is_some() {}
            own.next_if(|(name, _)| *name == who).map_or(&nothing, |(_, mine)| mine).covers(theirs)
        })
    }

    /// Adds what one snapshot of one peer covers.
    pub fn advance(&mut self, node: &NodeId, incarnation: Incarnation, snapshot: &Snapshot) {
        let who = (node.clone(), incarnation);
        let known = self.covered.get(&who);
        if *snapshot == Snapshot::default() || known.is_some_and(|known| known.covers(snapshot)) {
            return;
        }
        let both = known.map_or_else(|| snapshot.clone(), |known| known.union(snapshot));
        Arc::make_mut(&mut self.covered).insert(who, both);
    }

    /// Adds what another covers, and has purged.
    pub fn join(&mut self, other: &Self) {
        if other.includes(self) {
            self.covered = Arc::clone(&other.covered);
        } else {
            for ((node, incarnation), snapshot) in other.covered.iter() {
                self.advance(node, *incarnation, snapshot);
            }
        }
        if let Some(horizon) = &other.horizon {
            self.raise_horizon(horizon);
        }
    }

    /// Who is covered, and how far, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, Incarnation, &Snapshot)> {
        self.covered.iter().map(|((node, incarnation), snapshot)| (node, *incarnation, snapshot))
    }

    /// Lives of peers that it speaks of.
    pub fn len(&self) -> usize {
        self.covered.len()
    }

    /// Whether it covers nobody.
    pub fn is_empty(&self) -> bool {
        self.covered.is_empty()
    }
}

/// A frontier in JSON.
#[derive(Serialize, Deserialize)]
struct Text {
    covered: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    horizon: Option<Version>,
}

/// One entry of it.
#[derive(Serialize, Deserialize)]
struct Entry {
    node: NodeId,
    incarnation: Incarnation,
    snapshot: Snapshot,
}

impl Serialize for Frontier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |(node, incarnation, snapshot): (&NodeId, _, &Snapshot)| Entry {
            node: node.clone(),
            incarnation,
            snapshot: snapshot.clone(),
        };
        let covered = self.iter().map(entry).collect();
        Text { covered, horizon: self.horizon.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frontier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text { covered, horizon } = Text::deserialize(deserializer)?;
        let mut frontier = Self { horizon, ..Self::default() };
        for Entry { node, incarnation, snapshot } in covered {
            frontier.advance(&node, incarnation, &snapshot);
        }
        Ok(frontier)
    }
}
