//! Small histories for the tests of checks of peers: peer `n` is called `p<n>` and has the life 1.

use std::collections::BTreeMap;

use sync_core::id::Incarnation;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::Policy;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::Standing;
use sync_core::peer_sync::version::{ContentHash, NodeId, Stamp, Version};

pub(super) use super::super::testing::{decides_nothing_at, fails_at, passes_at};
use super::super::{Check, Findings};
use super::PeerTerms;
use crate::history::peers::{FinalState, HeldRow, MergeOutcome, MergedRow, Ought, PeerWhat, Seen, Written};
use crate::history::{Event, OpRef, What};

/// Three peers; table `users` goes by the last writer, in `ranked` (by node, `p2` before all others) and `firsts` (by the
/// first writer) one wins, others join: `cells` by column, the rest by a team's own resolver.
pub(crate) fn terms() -> PeerTerms {
    PeerTerms {
        count: 3,
        stamp_ahead_us_max: 100,
        converge_within_us: 1_000,
        transaction_rows_max: 3,
        last_writer_tables: vec!["users".to_owned()],
        one_wins_tables: vec!["ranked".to_owned(), "firsts".to_owned()],
        policies: BTreeMap::from([
            ("users".to_owned(), Policy::LastWriterByRow),
            ("ranked".to_owned(), Policy::NodePriority(vec![NodeId::new("p2").unwrap()])),
            ("firsts".to_owned(), Policy::FirstWriter),
            ("cells".to_owned(), Policy::LastWriterByColumn),
        ]),
        staleness_us_max: None,
        outside: None,
    }
}

pub(crate) fn row(key: u32) -> RowId {
    row_of("users", key)
}

pub(super) fn row_of(table: &str, key: u32) -> RowId {
    let key = Content::new([Some(key.to_string().as_str())]);
    let table = serde_json::from_value(table.into()).unwrap();
    RowId { table, key }
}

/// A version of this moment by this node; its content follows from both.
pub(crate) fn v(us: u64, node: &str) -> Version {
    let content = Content::new([Some(format!("{us} {node}").as_str())]);
    Version { stamp: Stamp { us, counter: 0 }, node: NodeId::new(node).unwrap(), hash: content.hash() }
}

pub(super) fn op(peer: u32, ticket: u64) -> OpRef {
    OpRef { host: peer, ticket }
}

pub(super) fn began(peer: u32, ticket: u64) -> PeerWhat {
    PeerWhat::Began { op: op(peer, ticket), session: 0, intended_us: 0 }
}

pub(super) fn acknowledged(peer: u32, ticket: u64) -> PeerWhat {
    PeerWhat::Acknowledged { op: op(peer, ticket) }
}

pub(crate) fn committed(peer: u32, ticket: u64, xid: u64, writes: Vec<Written>) -> PeerWhat {
    PeerWhat::Committed { op: op(peer, ticket), session: 0, incarnation: Incarnation(1), xid, writes }
}

/// A write whose stamp is what the clock showed.
pub(crate) fn write(key: u32, version: Version, seen: Option<Version>) -> Written {
    let clock_us = version.stamp.us;
    Written { row: row(key), version, deleted: false, seen, clock_us, clock_us_max: clock_us, content: None }
}

pub(super) fn delete(key: u32, version: Version, seen: Option<Version>) -> Written {
    Written { deleted: true, ..write(key, version, seen) }
}

pub(crate) fn merged(node: u32, from: u32, rows: Vec<MergedRow>) -> PeerWhat {
    PeerWhat::Merged { node, from, xid: Some(1), rows, repair: false, reconcile: false }
}

/// A row with what became of it and what the peer holds afterwards. It was written by transaction 1 of its writer.
pub(super) fn came(key: u32, version: Version, outcome: MergeOutcome, holds: Option<Version>) -> MergedRow {
    MergedRow {
        row: row(key),
        version,
        deleted: false,
        origin: Incarnation(1),
        origin_xid: 1,
        outcome,
        holds,
        ahead_us: 0,
    }
}

/// A row that took effect where there was none.
pub(crate) fn took(key: u32, version: Version) -> MergedRow {
    came(key, version.clone(), MergeOutcome::Inserted, Some(version))
}

/// A row that beat what was there.
pub(super) fn beat(key: u32, version: Version) -> MergedRow {
    came(key, version.clone(), MergeOutcome::Updated, Some(version))
}

/// A row that was beaten by what was there.
pub(super) fn lost(key: u32, version: Version, to: Version) -> MergedRow {
    came(key, version, MergeOutcome::Beaten, Some(to))
}

/// The same as a tombstone.
pub(super) fn dead(merged: MergedRow) -> MergedRow {
    MergedRow { deleted: true, ..merged }
}

pub(super) fn holding(rows: Vec<(u32, Version)>) -> Vec<HeldRow> {
    let held = |(key, version)| HeldRow { row: row(key), version, deleted: false };
    rows.into_iter().map(held).collect()
}

pub(super) fn stocked(rows: Vec<(u32, Version)>) -> PeerWhat {
    PeerWhat::Stocked { rows: holding(rows) }
}

pub(super) fn advanced(node: u32, of: u32, snapshot: Snapshot) -> PeerWhat {
    PeerWhat::Advanced { node, of, incarnation: Incarnation(1), snapshot, reconciled: false }
}

pub(super) fn read(peer: u32, ticket: u64, rows: Vec<Seen>) -> PeerWhat {
    PeerWhat::Read { op: op(peer, ticket), session: 0, rows }
}

/// A row as an application sees it that nothing stands in the way of.
pub(super) fn saw(key: u32, version: Version) -> Seen {
    Seen { row: row(key), visible: Some(version.hash), version: Some(version) }
}

/// A row of which the application sees nothing.
pub(super) fn saw_nothing(key: u32, version: Option<Version>) -> Seen {
    Seen { row: row(key), visible: None, version }
}

pub(super) fn lives(version: Version) -> Option<FinalState> {
    let hash = version.hash;
    Some(FinalState {
        version,
        deleted: false,
        standing: Standing::Visible,
        content: hash,
        visible: Some(hash),
        ought: Some(Ought { standing: Standing::Visible, visible: Some(hash) }),
    })
}

pub(super) fn deleted(version: Version) -> Option<FinalState> {
    let content = version.hash;
    let ought = Some(Ought { standing: Standing::Deleted, visible: None });
    Some(FinalState { version, deleted: true, standing: Standing::Deleted, content, visible: None, ought })
}

pub(super) fn ends(key: u32, nodes: &[u32], holds: Option<FinalState>) -> PeerWhat {
    PeerWhat::FinalRow { row: row(key), nodes: nodes.to_vec(), holds }
}

pub(super) fn no_hash() -> ContentHash {
    ContentHash([0xee; 16])
}

/// The events at the moments 0, 1, 2 and so on.
pub(super) fn history(whats: Vec<PeerWhat>) -> Vec<Event> {
    (0..).zip(whats).map(|(at_us, what)| Event { at_us, what: What::Peer(what) }).collect()
}

/// Events at stated moments.
pub(crate) fn timed(whats: Vec<(u64, What)>) -> Vec<Event> {
    whats.into_iter().map(|(at_us, what)| Event { at_us, what }).collect()
}

pub(super) fn passes(check: impl Check, whats: Vec<PeerWhat>) {
    passes_at(check, history(whats));
}

pub(super) fn decides_nothing(check: impl Check, whats: Vec<PeerWhat>) {
    decides_nothing_at(check, history(whats));
}

pub(super) fn fails(check: impl Check, whats: Vec<PeerWhat>, expected: &str) {
    fails_at(check, history(whats), expected);
}

/// How much the check looked at: what it counts, when it is to have seen enough to judge.
pub(super) fn basis(mut check: impl Check, whats: Vec<PeerWhat>) -> u64 {
    let mut findings = Findings::default();
    for event in &history(whats) {
        check.observe(event, &mut findings);
    }
    check.finish(&mut findings).count
}
