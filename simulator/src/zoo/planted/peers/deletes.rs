//! Deletes that are forgotten, not passed on, or undone.

use std::collections::BTreeSet;

use sync_core::id::Incarnation;
use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::replica::ReplicaPolicy;
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write, WriteError};
use sync_core::peer_sync::store::{
    ApplyIf, Digest, DigestEntry, DigestPart, MergeRows, Outcome, PeerReply, PeerRequest, Purge, RowHash,
};
use sync_core::peer_sync::version::Version;
use sync_core::time::{Span, Timestamp};

use super::batches::merge_but;
use super::detection::retain;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    match number {
        21 => Some(Box::new(NoTombstones)),
        22 => Some(Box::new(PurgesAtOnce)),
        23 => Some(Box::new(ConcurrentDeletes::default())),
        24 => Some(Box::new(InsertAfterDelete)),
        25 => Some(Box::new(RevivedByRepair)),
        _ => None,
    }
}

/// Zoo 21: a delete takes the row away and leaves nothing that others could see or that an older version would meet.
struct NoTombstones;

impl PeerVariant for NoTombstones {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        match request {
            PeerRequest::Merge(merge) if !merge.repair => merge_without_tombstones(store, now, merge),
            PeerRequest::Digests(parts) => {
                PeerReply::Digests(parts.iter().map(|part| digest_of_living(store, *part)).collect())
            }
            PeerRequest::Entries(parts) => {
                let entries = living(store).filter(|entry| parts.iter().any(|part| holds(*part, &entry.row)));
                PeerReply::Entries(entries.collect())
            }
            other => store.execute(now, other),
        }
    }
}

/// Tombstones that come are nothing; a row that comes where there was one is new.
fn merge_without_tombstones(store: &mut MemoryPeerStore, now: Timestamp, merge: MergeRows) -> PeerReply {
    let grave = |row: &RowVersion| {
        let held = store.stored(&row.row).filter(|held| held.image.is_tombstone());
        held.filter(|_| !row.image.is_tombstone()).map(|held| held.version.clone())
    };
    let back: Vec<_> = merge.rows.iter().filter_map(|row| Some((row.clone(), Some(grave(row)?)))).collect();
    if !back.is_empty() {
        let from = merge.from.clone();
        store.execute(
            now,
            PeerRequest::ApplyIf(ApplyIf { from, rows: back, known: Vec::new(), advance: None }),
        );
    }
    merge_but(store, now, merge, |_, row| row.image.is_tombstone().then_some(Outcome::Equal))
}

fn living(store: &MemoryPeerStore) -> impl Iterator<Item = DigestEntry> {
    let living = store.versions().into_iter().filter(|(stored, _)| !stored.image.is_tombstone());
    living.map(|(stored, _)| DigestEntry { row: stored.row.clone(), version: stored.version.clone() })
}

fn holds(part: DigestPart, row: &RowId) -> bool {
    DigestPart::leaf_of(RowHash::of(row)).ancestor(part.level) == part
}

fn digest_of_living(store: &MemoryPeerStore, part: DigestPart) -> Digest {
    let mut digest = Digest::default();
    for entry in living(store).filter(|entry| holds(part, &entry.row)) {
        digest.add(DigestEntry::fingerprint(RowHash::of(&entry.row), &entry.version));
    }
    digest
}

/// Zoo 22: tombstones go with the next purge, whoever has still to hear of them, and nobody is told what was purged.
struct PurgesAtOnce;

impl PeerVariant for PurgesAtOnce {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(Self)
    }
}

impl ReplicaPolicy for PurgesAtOnce {
    fn purges(&self, purge: Purge) -> Option<Purge> {
        Some(Purge { retention: Span::from_us(0), ..purge })
    }

    fn drops_expired(&self) -> bool {
        false
    }
}

/// Zoo 23: where a delete meets another of the same row both count as settled, and nobody passes either on to a peer
/// that has not deleted the row itself.
#[derive(Default)]
struct ConcurrentDeletes {
    /// Who deleted which row.
    deleters: BTreeSet<(u32, RowId)>,
    settled: BTreeSet<RowId>,
}

impl PeerVariant for ConcurrentDeletes {
    type Policy = AnyPolicy;

    fn writes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        if let Write::Delete(row) = &write {
            self.deleters.insert((peer, row.clone()));
        }
        store.write(transaction, now, write)
    }

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        if let PeerRequest::Merge(merge) = &request {
            for row in merge.rows.iter().filter(|row| row.image.is_tombstone()) {
                let held = store.stored(&row.row).filter(|held| held.image.is_tombstone());
                if held.is_some_and(|held| held.version != row.version) {
                    self.settled.insert(row.row.clone());
                }
            }
        }
        store.execute(now, request)
    }

    fn answers(&mut self, _from: u32, to: u32, _store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        if let PeerAnswer::Page(page) = answer {
            retain(page, |row| {
                let settled = row.image.is_tombstone() && self.settled.contains(&row.row);
                !settled || self.deleters.contains(&(to, row.row.clone()))
            });
        }
    }
}

/// Zoo 24: a row that comes where it was deleted stays deleted, even when it was inserted again later; where it was
/// first the insert stays.
struct InsertAfterDelete;

impl PeerVariant for InsertAfterDelete {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        match request {
            PeerRequest::Merge(merge) if !merge.repair => merge_but(store, now, merge, |store, row| {
                let grave = store.stored(&row.row).filter(|held| held.image.is_tombstone());
                let grave = grave.filter(|_| !row.image.is_tombstone())?;
                Some(Outcome::Beaten { by: grave.version.clone() })
            }),
            other => store.execute(now, other),
        }
    }
}

/// Zoo 25: a comparison takes what is missing for new, also where it was deleted and the tombstone is purged.
struct RevivedByRepair;

impl PeerVariant for RevivedByRepair {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        mut request: PeerRequest,
    ) -> PeerReply {
        if let PeerRequest::Merge(merge) = &mut request
            && merge.advance.is_none()
            && !merge.repair
        {
            store.forget_graves();
            for row in merge.rows.iter_mut().filter(|row| store.stored(&row.row).is_none()) {
                // What a database has never heard of it cannot have purged.
                row.origin.incarnation = NEVER_HEARD_OF;
            }
        }
        store.execute(now, request)
    }
}

/// A life of no database.
const NEVER_HEARD_OF: Incarnation = Incarnation(1);
