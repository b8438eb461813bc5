//! Requests of replicas that meet rows which applications have locked: they wait, as they do in PostgreSQL.
//!
//! A request locks its rows one after another, in the order of their ids, and keeps what it has: applications wait for it
//! as it waits for them. It gives up when one lock is not to be had in time; then it has had no effect.

use sync_core::id::Token;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::PeerRequest;
use sync_core::peer_sync::store::memory::TransactionId;

use super::store::concerned;
use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld};
use crate::virtual_rig::world::Observer;

/// How long a request waits for one lock (`lock_timeout` of a peer's database in PostgreSQL).
const LOCK_TIMEOUT_US: u64 = 2_000_000;

/// A request that waits.
pub(super) struct Waiting {
    token: Token,
    request: PeerRequest,
    /// Holds the locks that the request has.
    transaction: TransactionId,
    /// What it has to lock, in order.
    rows: Vec<RowId>,
    /// How many of them it has locked.
    locked: usize,
}

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// Gives the request back if none of its rows is locked; else it waits.
    pub(super) fn wait_for_locks(
        &mut self,
        peer: u32,
        token: Token,
        request: PeerRequest,
    ) -> Option<PeerRequest> {
        let node = &mut self.nodes[peer as usize];
        if !node.store.is_any_locked(concerned(&request)) {
            return Some(request);
        }
        let mut rows: Vec<RowId> = concerned(&request).cloned().collect();
        rows.sort_unstable();
        rows.dedup();
        let transaction = node.store.begin();
        node.waiting.push(Waiting { token, request, transaction, rows, locked: 0 });
        let place = node.waiting.len() - 1;
        self.take_locks(peer, place);
        self.watch_lock(peer, place);
        None
    }

    /// A transaction has ended.
    pub(super) fn tell_of_locks(&mut self, peer: u32) {
        let node = &self.nodes[peer as usize];
        if !node.waiting.is_empty() {
            let happening = Happening::Unlocked { peer, life: node.life };
            self.queue.schedule(self.queue.now_us(), happening);
        }
    }

    /// Requests that wait take what locks are free, who has waited for longest first.
    pub(super) fn unlocked(&mut self, peer: u32, life: u32) {
        if self.nodes[peer as usize].life != life {
            return;
        }
        let mut place = 0;
        while place < self.nodes[peer as usize].waiting.len() {
            let before = self.nodes[peer as usize].waiting[place].locked;
            if self.take_locks(peer, place) {
                self.end_waiting(peer, place);
                continue;
            }
            if self.nodes[peer as usize].waiting[place].locked > before {
                self.watch_lock(peer, place);
            }
            place += 1;
        }
    }

    /// A request that still waits for this lock gives up.
    pub(super) fn lock_timed_out(&mut self, peer: u32, life: u32, token: Token, lock: usize) {
        let node = &self.nodes[peer as usize];
        let waits = |waiting: &Waiting| waiting.token == token && waiting.locked == lock;
        let place = node.waiting.iter().position(waits).filter(|_| node.life == life);
        if let Some(place) = place {
            self.end_waiting(peer, place);
        }
    }

    /// Takes locks in their order as far as they are free; whether the request has all.
    fn take_locks(&mut self, peer: u32, place: usize) -> bool {
        let node = &mut self.nodes[peer as usize];
        let waiting = &mut node.waiting[place];
        while let Some(row) = waiting.rows.get(waiting.locked) {
            if node.store.lock(waiting.transaction, row).is_err() {
                return false;
            }
            waiting.locked += 1;
        }
        true
    }

    fn watch_lock(&mut self, peer: u32, place: usize) {
        let node = &self.nodes[peer as usize];
        let (life, waiting) = (node.life, &node.waiting[place]);
        let happening = Happening::LockTimeout { peer, life, token: waiting.token, lock: waiting.locked };
        self.queue.schedule(self.queue.now_us() + LOCK_TIMEOUT_US, happening);
    }

    /// Lets its locks go and executes the request in the same moment. One that has not got all meets a lock there, and the
    /// answer says so.
    fn end_waiting(&mut self, peer: u32, place: usize) {
        let node = &mut self.nodes[peer as usize];
        let Waiting { token, request, transaction, .. } = node.waiting.remove(place);
        node.store.rollback(transaction);
        self.carry_out(peer, token, request);
        self.tell_of_locks(peer);
    }
}
