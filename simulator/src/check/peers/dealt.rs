//! The greatest version of each row that a peer ever dealt with: held, or was offered and refused.
//!
//! Other than what it holds now, this does not fall back when a tombstone is purged.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;

use super::held::RowNumber;

#[derive(Debug, Default)]
pub(super) struct Dealt {
    stock: FxHashMap<RowNumber, Version>,
    peers: BTreeMap<u32, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Whether the stock does not count: its disk was set back.
    bare: bool,
    rows: FxHashMap<RowNumber, Version>,
}

impl Dealt {
    /// A version that every peer held from the start.
    pub(super) fn stock(&mut self, row: RowNumber, version: &Version) {
        self.stock.insert(row, version.clone());
    }

    /// A peer dealt with a version.
    pub(super) fn with(&mut self, peer: u32, row: RowNumber, version: &Version) {
        let rows = &mut self.peers.entry(peer).or_default().rows;
        let last = rows.entry(row).or_insert_with(|| version.clone());
        if *last < *version {
            *last = version.clone();
        }
    }

    /// A peer's disk was set back: it knows nothing but what is told from now on.
    pub(super) fn set_back(&mut self, peer: u32) {
        self.peers.insert(peer, Peer { bare: true, ..Peer::default() });
    }

    /// The greatest version that the peer dealt with.
    pub(super) fn last(&self, peer: u32, row: RowNumber) -> Option<&Version> {
        let known = self.peers.get(&peer);
        let stock = || self.stock.get(&row).filter(|_| known.is_none_or(|peer| !peer.bare));
        known.and_then(|peer| peer.rows.get(&row)).or_else(stock)
    }
}
