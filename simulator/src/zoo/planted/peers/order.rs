//! Databases that decide by a wrong relation which version of a row wins.

use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{ApplyIf, MergeRows, Outcome, PeerReply, PeerRequest};
use sync_core::peer_sync::version::{NodeId, Version};
use sync_core::time::Timestamp;

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    let wins: Wins = match number {
        1 => by_stamp,
        2 => unless_it_deletes,
        3 => by_checksum,
        4 => by_node,
        _ => return None,
    };
    Some(Box::new(WrongOrder { wins }))
}

/// Whether what came wins over what is there; both are different versions of one row.
type Wins = fn(&RowVersion, &RowVersion) -> bool;

struct WrongOrder {
    wins: Wins,
}

impl PeerVariant for WrongOrder {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        match request {
            PeerRequest::Merge(merge) if !merge.repair => merge_by(store, now, merge, self.wins),
            other => store.execute(now, other),
        }
    }
}

/// Merges rows by another relation than the store's own.
pub(super) fn merge_by(
    store: &mut MemoryPeerStore,
    now: Timestamp,
    merge: MergeRows,
    wins: impl Fn(&RowVersion, &RowVersion) -> bool,
) -> PeerReply {
    let MergeRows { from, rows, known, advance, .. } = merge;
    let known = known.into_iter().map(|(_, row)| row).collect();
    let mut came = Vec::with_capacity(rows.len());
    let mut decided = Vec::with_capacity(rows.len());
    for row in rows {
        came.push(row.version.clone());
        let held = store.stored(&row.row).cloned();
        let version = held.as_ref().map(|held| held.version.clone());
        let row = match held {
            Some(held) if held.version == row.version || !wins(&row, &held) => held,
            _ => row,
        };
        decided.push((row, version));
    }
    let held: Vec<Option<Version>> = decided.iter().map(|(_, held)| held.clone()).collect();
    let mut reply = store.execute(now, PeerRequest::ApplyIf(ApplyIf { from, rows: decided, known, advance }));
    if let PeerReply::Merged(merged) = &mut reply {
        for ((outcome, came), held) in merged.outcomes.iter_mut().zip(came).zip(held) {
            // What stays was applied once more.
            if let (Outcome::Equal, Some(by)) = (&*outcome, held.filter(|held| *held != came)) {
                *outcome = Outcome::Beaten { by };
            }
        }
    }
    reply
}

/// Zoo 1: nothing but the stamp, so that of equal ones each side keeps its own.
fn by_stamp(came: &RowVersion, held: &RowVersion) -> bool {
    came.version.stamp > held.version.stamp
}

/// Zoo 2.
fn unless_it_deletes(came: &RowVersion, held: &RowVersion) -> bool {
    match (came.image.is_tombstone(), held.image.is_tombstone()) {
        (true, false) => false,
        (false, true) => true,
        _ => came.version > held.version,
    }
}

/// Zoo 3.
fn by_checksum(came: &RowVersion, held: &RowVersion) -> bool {
    let order = |version: &Version| (version.stamp, checksum(&version.node));
    order(&came.version) > order(&held.version)
}

/// A node id in 16 bits. Two ids with the same letters in another order have the same.
fn checksum(node: &NodeId) -> u16 {
    node.as_str().bytes().fold(0, |sum, byte| sum.wrapping_add(u16::from(byte)))
}

/// Zoo 4.
fn by_node(came: &RowVersion, held: &RowVersion) -> bool {
    let order = |version: &Version| (version.node.clone(), version.stamp);
    order(&came.version) > order(&held.version)
}
