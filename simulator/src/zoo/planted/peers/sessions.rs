//! Reads that are served from somewhere else than writes go to.

use std::collections::BTreeMap;

use sync_core::peer_sync::store::memory::MemoryPeerStore;

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    let one_in = match number {
        133 => 2,
        134 => 1,
        _ => return None,
    };
    Some(Box::new(ReadsFromCopies { one_in, copies: BTreeMap::new() }))
}

/// How old a copy gets before another is taken.
const COPY_AGE_US: u64 = 2_000_000;

/// Some reads are served from a copy of the database.
struct ReadsFromCopies {
    /// One read of so many.
    one_in: u64,
    /// By peer.
    copies: BTreeMap<u32, Copy>,
}

struct Copy {
    taken_us: u64,
    store: MemoryPeerStore,
    /// Reads so far.
    reads: u64,
}

impl PeerVariant for ReadsFromCopies {
    type Policy = AnyPolicy;

    fn reads<'a>(&'a mut self, peer: u32, at_us: u64, store: &'a MemoryPeerStore) -> &'a MemoryPeerStore {
        let taken = || Copy { taken_us: at_us, store: store.durable_copy(), reads: 0 };
        let copy = self.copies.entry(peer).or_insert_with(taken);
        if copy.taken_us + COPY_AGE_US <= at_us {
            (copy.taken_us, copy.store) = (at_us, store.durable_copy());
        }
        copy.reads += 1;
        if copy.reads.is_multiple_of(self.one_in) { &copy.store } else { store }
    }
}
