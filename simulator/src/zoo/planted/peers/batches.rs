//! Batches of which something is lost, and what defects of batches lean on.

use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{MergeRows, Merged, Outcome, PeerReply, PeerRequest};
use sync_core::time::Timestamp;

use super::constraints::parents;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    match number {
        19 => Some(Box::new(KeepsBooks)),
        20 => Some(Box::new(ReportsSuccess)),
        _ => None,
    }
}

/// Zoo 19: how far the reader has come is kept, although the batch was rolled back.
struct KeepsBooks;

impl PeerVariant for KeepsBooks {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let books = match &request {
            PeerRequest::Merge(merge) => Some(PeerRequest::Merge(books_of(merge))),
            _ => None,
        };
        let reply = store.execute(now, request);
        if let (PeerReply::Unavailable, Some(books)) = (&reply, books) {
            store.execute(now, books);
        }
        reply
    }
}

/// Zoo 20: the first row that the schema does not take rolls the batch back, and nobody looks at what the commit says. A
/// row is not taken while what it refers to is not there: rows come by the names of their tables.
struct ReportsSuccess;

impl PeerVariant for ReportsSuccess {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let PeerRequest::Merge(merge) = request else { return store.execute(now, request) };
        if merge.repair || !merge.rows.iter().any(|row| lacks_a_parent(store, row)) {
            return store.execute(now, PeerRequest::Merge(merge));
        }
        let outcomes = vec![Outcome::Inserted; merge.rows.len()];
        match store.execute(now, PeerRequest::Merge(books_of(&merge))) {
            PeerReply::Merged(merged) => PeerReply::Merged(Merged { outcomes, ..merged }),
            other => other,
        }
    }
}

fn lacks_a_parent(store: &MemoryPeerStore, row: &RowVersion) -> bool {
    let schema: &Schema = store.schema();
    parents(schema, row).iter().any(|parent| store.read(parent).is_none())
}

/// A batch without its rows.
fn books_of(merge: &MergeRows) -> MergeRows {
    MergeRows { rows: Vec::new(), groups: Vec::new(), known: Vec::new(), ..merge.clone() }
}

/// Merges a batch but for the rows for which there is an outcome already: those are answered with that, and stay outside.
pub(super) fn merge_but(
    store: &mut MemoryPeerStore,
    now: Timestamp,
    merge: MergeRows,
    settled: impl Fn(&MemoryPeerStore, &RowVersion) -> Option<Outcome>,
) -> PeerReply {
    let outcomes: Vec<Option<Outcome>> = merge.rows.iter().map(|row| settled(store, row)).collect();
    let rows = merge.rows.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_none());
    let rows = rows.map(|(row, _)| row.clone()).collect();
    match store.execute(now, PeerRequest::Merge(MergeRows { rows, groups: Vec::new(), ..merge })) {
        PeerReply::Merged(merged) => {
            let mut taken = merged.outcomes.into_iter();
            let outcomes = outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| taken.next()));
            PeerReply::Merged(Merged { outcomes: outcomes.collect(), ..merged })
        }
        other => other,
    }
}
