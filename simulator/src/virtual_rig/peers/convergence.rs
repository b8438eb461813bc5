//! What peers hold differently when the last fault has ended, until they hold it alike, and when everybody holds the same.
//!
//! Applications may go on writing after the last fault, so that there need never be a moment at which everybody holds the
//! same. What is timed is each row that was held differently at that moment, until all have the same of it for once: its
//! version, as long as it lives, and what applications see of it.

use rustc_hash::{FxHashMap, FxHashSet};
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::Digest;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::version::Version;

use super::variant::PeerVariant;
use super::world::PeerWorld;
use crate::history::What;
use crate::history::peers::PeerWhat;
use crate::scenario::model::{Fault, Injection, PeerFault};
use crate::virtual_rig::world::Observer;

/// What is known of who holds what.
pub(super) struct Convergence {
    /// The digest of the living rows of each database: tombstones are purged at different moments.
    pub(super) living: Vec<Digest>,
    /// Since when everybody has held the same; looked at after the last fault only.
    pub(super) equal_since_us: Option<u64>,
    healed: bool,
    bytes_at_heal: u64,
    /// Rows that were held differently when the last fault ended and have not been held alike since, each with a peer
    /// that does not hold what the first one does, or holds it damaged. In no order that anything depends on.
    differing: FxHashMap<RowId, u32>,
}

impl Convergence {
    /// Nothing has happened yet among so many peers.
    pub(super) fn new(peers: u32) -> Self {
        Self {
            living: vec![Digest::default(); peers as usize],
            equal_since_us: None,
            healed: false,
            bytes_at_heal: 0,
            differing: FxHashMap::default(),
        }
    }
}

/// When a fault has ended: what jumps, is set back, altered or replaced does so at one moment, and stays so.
pub(crate) fn ends_us(fault: &Fault, duration_us: u64) -> u64 {
    let at_us = fault.at.as_us();
    let stays = match &fault.inject {
        Injection::Peers(fault) => fault.stays(),
        _ => false,
    };
    let is_release = matches!(fault.inject, Injection::Peers(PeerFault::Release(_)));
    match fault.lasts {
        _ if stays => at_us,
        None if is_release => at_us,
        None => duration_us,
        Some(lasts) => duration_us.min(at_us + lasts.as_us()),
    }
}

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// The last fault has ended.
    pub(super) fn heal(&mut self) {
        self.observe_all(What::Healed);
        self.convergence.healed = true;
        self.convergence.bytes_at_heal = self.bytes_sent;
        let differing = self.differing();
        let none = differing.is_empty();
        self.convergence.differing = differing;
        if none {
            self.observe(PeerWhat::Equal { bytes: 0 });
        }
        self.watch_content();
    }

    /// Whether applications see the same everywhere. Who holds the same versions need not show the same: of tombstones
    /// that are demanded back one peer may have some that another has purged. Nor are two deletes of a row one: the greater is
    /// still on its way.
    pub(super) fn shows_alike(&self) -> bool {
        let mut dead: FxHashMap<&RowId, &Version> = FxHashMap::default();
        let stored = self.nodes.iter().flat_map(|node| node.store.stored_versions());
        let mut tombstones = stored.filter(|stored| stored.image.is_tombstone());
        let alike =
            tombstones.all(|stored| *dead.entry(&stored.row).or_insert(&stored.version) == &stored.version);
        alike && self.differing().is_empty()
    }

    /// Rows of which peers do not hold the same.
    fn differing(&self) -> FxHashMap<RowId, u32> {
        let first = &self.nodes[0].store;
        let mut rows: FxHashSet<&RowId> = FxHashSet::default();
        for node in &self.nodes[1..] {
            rows.extend(first.not_shared(&node.store));
            rows.extend(node.store.not_shared(first));
        }
        if self.may_be_corrupt {
            // Copies are damaged alike.
            rows.extend(first.stored_versions().map(|stored| &stored.row));
        }
        rows.into_iter().filter_map(|row| Some((row.clone(), self.odd_one(row, 0)?))).collect()
    }

    /// A peer, looked for from this one on, that does not hold what the first one does of a row, or holds it damaged.
    fn odd_one(&self, row: &RowId, from: u32) -> Option<u32> {
        let peers = self.nodes.len() as u32;
        let first = held(&self.nodes[0].store, row);
        (0..peers).map(|step| (from + step) % peers).find(|peer| {
            let store = &self.nodes[*peer as usize].store;
            let damaged = || store.stored(row).is_some_and(|stored| !stored.is_sound());
            held(store, row) != first || self.may_be_corrupt && damaged()
        })
    }

    /// Looks at these rows again, which have changed somewhere.
    pub(super) fn watch_rows<'a>(&mut self, rows: impl Iterator<Item = &'a RowId>) {
        if self.convergence.differing.is_empty() {
            return;
        }
        let mut any = false;
        for row in rows {
            any = true;
            self.watch_row(row);
        }
        let living = &self.convergence.living;
        if any && living.iter().all(|other| *other == living[0]) {
            // A row that is dropped lets others show, and nobody says which.
            let left: Vec<RowId> = self.convergence.differing.keys().cloned().collect();
            left.iter().for_each(|row| self.watch_row(row));
        }
        if self.convergence.differing.is_empty() {
            let bytes = self.bytes_sent - self.convergence.bytes_at_heal;
            self.observe(PeerWhat::Equal { bytes });
        }
    }

    fn watch_row(&mut self, row: &RowId) {
        let Some(odd) = self.convergence.differing.get(row).copied() else { return };
        match self.odd_one(row, odd) {
            Some(odd) => drop(self.convergence.differing.insert(row.clone(), odd)),
            None => drop(self.convergence.differing.remove(row)),
        }
    }

    /// Looks whether everybody holds the same living rows, after something changed at a peer.
    pub(super) fn watch_content(&mut self) {
        if !self.convergence.healed {
            return;
        }
        let living = &self.convergence.living;
        let equal = living.iter().all(|other| *other == living[0]) && self.nobody_is_corrupt();
        match (equal, self.convergence.equal_since_us) {
            (true, None) => self.convergence.equal_since_us = Some(self.queue.now_us()),
            (false, Some(_)) => self.convergence.equal_since_us = None,
            _ => {}
        }
    }

    /// Keeps the digest of a peer's living rows: some of them were this and are that.
    pub(super) fn changed(&mut self, peer: u32, before: Digest, after: Digest) {
        let living = &mut self.convergence.living[peer as usize];
        living.rows = living.rows.wrapping_sub(before.rows).wrapping_add(after.rows);
        living.sum = living.sum.wrapping_sub(before.sum).wrapping_add(after.sum);
    }

    /// Whether every stored row has the hash that it carries; looked at only where rows are altered.
    fn nobody_is_corrupt(&self) -> bool {
        let sound = |store: &MemoryPeerStore| store.versions().iter().all(|(stored, _)| stored.is_sound());
        !self.may_be_corrupt || self.nodes.iter().all(|node| sound(&node.store))
    }
}

/// The version of a row that lives, and the one that applications see: the same, none, or a tombstone that is demanded back.
fn held<'s>(store: &'s MemoryPeerStore, row: &RowId) -> (Option<&'s Version>, Option<&'s Version>) {
    let Some((stored, visible)) = store.look(row) else { return (None, None) };
    let version = &stored.version;
    ((!stored.image.is_tombstone()).then_some(version), visible.map(|_| version))
}
