//! The same transactions have other numbers in PostgreSQL and in the in-memory store: which is which.

use std::collections::BTreeMap;

use sync_core::peer_sync::position::{Frontier, Position, Within};
use sync_core::peer_sync::row::{Origin, RowVersion};
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::{Description, Page, PeerReply};
use sync_core::peer_sync::version::NodeId;

/// Numbers of one node's transactions, those of PostgreSQL first.
pub(super) struct Numbers {
    pub(super) node: NodeId,
    pairs: BTreeMap<u64, u64>,
}

impl Numbers {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, pairs: BTreeMap::new() }
    }

    pub(super) fn enter(&mut self, postgres: u64, memory: u64) {
        assert_eq!(self.pairs.insert(postgres, memory), None);
    }

    pub(super) fn knows(&self, postgres: u64) -> bool {
        self.pairs.contains_key(&postgres)
    }

    /// A snapshot of PostgreSQL in the numbers of memory, as far as transactions are known.
    fn snapshot(&self, snapshot: &Snapshot) -> Snapshot {
        translated(snapshot, self.pairs.iter().map(|(from, to)| (*from, *to)))
    }

    fn back_snapshot(&self, snapshot: &Snapshot) -> Snapshot {
        translated(snapshot, self.pairs.iter().map(|(to, from)| (*from, *to)))
    }

    fn position(&self, position: &Position) -> Position {
        let within = position
            .within
            .as_ref()
            .map(|within| Within { xid: self.pairs[&within.xid], after: within.after.clone() });
        Position { incarnation: position.incarnation, snapshot: self.snapshot(&position.snapshot), within }
    }

    pub(super) fn frontier(&self, frontier: &Frontier) -> Frontier {
        self.frontier_by(frontier, |snapshot| self.snapshot(snapshot))
    }

    pub(super) fn back_frontier(&self, frontier: &Frontier) -> Frontier {
        self.frontier_by(frontier, |snapshot| self.back_snapshot(snapshot))
    }

    fn frontier_by(&self, frontier: &Frontier, by: impl Fn(&Snapshot) -> Snapshot) -> Frontier {
        let mut all = Frontier::default();
        for (node, incarnation, snapshot) in frontier.iter() {
            let snapshot = if *node == self.node { by(snapshot) } else { snapshot.clone() };
            all.advance(node, incarnation, &snapshot);
        }
        if let Some(horizon) = frontier.horizon() {
            all.raise_horizon(horizon);
        }
        all
    }

    /// A row as memory names its origin.
    pub(super) fn row(&self, mut row: RowVersion) -> RowVersion {
        if row.version.node == self.node && !row.origin.is_combined() {
            let xid =
                *self.pairs.get(&row.origin.xid).unwrap_or_else(|| panic!("no such transaction: {row:?}"));
            row.origin = Origin { xid, ..row.origin };
        }
        row
    }

    /// A row as PostgreSQL names its origin.
    pub(super) fn back_row(&self, mut row: RowVersion) -> RowVersion {
        if row.version.node == self.node && !row.origin.is_combined() {
            let pair = self.pairs.iter().find(|(_, memory)| **memory == row.origin.xid);
            row.origin.xid = *pair.unwrap_or_else(|| panic!("no such transaction: {row:?}")).0;
        }
        row
    }

    /// What PostgreSQL replied, in the numbers of memory.
    pub(super) fn reply(&self, reply: PeerReply) -> PeerReply {
        match reply {
            PeerReply::Described(description) => PeerReply::Described(Description {
                snapshot: self.snapshot(&description.snapshot),
                frontier: self.frontier(&description.frontier),
                ..description
            }),
            PeerReply::Page(page) => PeerReply::Page(Page {
                rows: page.rows.into_iter().map(|row| self.row(row)).collect(),
                position: self.position(&page.position),
                frontier: page.frontier.map(|frontier| self.frontier(&frontier)),
                ..page
            }),
            PeerReply::MustReconcile(position) => PeerReply::MustReconcile(self.position(&position)),
            PeerReply::Versions(versions) => {
                PeerReply::Versions(versions.into_iter().map(|row| row.map(|row| self.row(row))).collect())
            }
            other => other,
        }
    }

    /// What memory replied, in a form that can be compared: snapshots tell of known transactions only.
    pub(super) fn plain(&self, reply: PeerReply) -> PeerReply {
        let known = |snapshot: &Snapshot| translated(snapshot, self.pairs.values().map(|xid| (*xid, *xid)));
        let of_position = |position: Position| Position { snapshot: known(&position.snapshot), ..position };
        match reply {
            PeerReply::Described(description) => PeerReply::Described(Description {
                snapshot: known(&description.snapshot),
                frontier: self.frontier_by(&description.frontier, known),
                ..description
            }),
            PeerReply::Page(page) => PeerReply::Page(Page {
                position: of_position(page.position),
                frontier: page.frontier.map(|frontier| self.frontier_by(&frontier, known)),
                ..page
            }),
            PeerReply::MustReconcile(position) => PeerReply::MustReconcile(of_position(position)),
            other => other,
        }
    }
}

/// The known transactions that a snapshot sees, under other numbers.
fn translated(snapshot: &Snapshot, pairs: impl Iterator<Item = (u64, u64)>) -> Snapshot {
    let (seen, unseen): (Vec<_>, Vec<_>) = pairs.partition(|(from, _)| snapshot.sees(*from));
    let xmax = seen.iter().map(|(_, to)| to + 1).max().unwrap_or(0);
    Snapshot::new(xmax, unseen.into_iter().map(|(_, to)| to))
}
