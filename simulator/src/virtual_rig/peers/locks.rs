//! Requests of replicas that meet rows which applications have locked: they wait, as they do in PostgreSQL.
//!
//! A request locks its rows one after another, in the order of their ids, and keeps what it has: applications wait for it
//! as it waits for them. When one lock is not to be had in time it lets go of all, begins anew, and after some attempts
//! gives up ([`lock_patience`]); then it has had no effect.

use sync_core::id::Token;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::memory::TransactionId;
use sync_core::peer_sync::store::{PeerRequest, lock_patience};
use sync_core::time::Span;

use super::store::concerned;
use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld};
use crate::virtual_rig::world::Observer;

/// What a request's patience with a row is a part of (`lock_timeout` of a peer's database in PostgreSQL).
const LOCK_TIMEOUT: Span = Span::from_secs(2);
/// How soon it begins anew: whoever waited for what it let go of has that by then.
const AGAIN_US: u64 = 2_000;

/// A request that waits.
pub(super) struct Waiting {
    token: Token,
    request: PeerRequest,
    /// Holds the locks that the request has; none between two attempts.
    transaction: Option<TransactionId>,
    /// Attempts that came to nothing.
    failed: u32,
    /// What it has to lock, in order.
    rows: Vec<RowId>,
    /// How many of them it has locked.
    locked: usize,
}

/// The lock that a request waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Counted from 0.
    attempt: u32,
    /// Its place among the rows of the request.
    row: usize,
}

impl Waiting {
    fn wanted(&self) -> Wanted {
        Wanted { attempt: self.failed, row: self.locked }
    }
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
        node.waiting.push(Waiting {
            token,
            request,
            transaction: Some(transaction),
            failed: 0,
            rows,
            locked: 0,
        });
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

    /// A request that still waits for this lock lets go of what it has.
    pub(super) fn lock_timed_out(&mut self, peer: u32, life: u32, token: Token, wanted: Wanted) {
        let node = &mut self.nodes[peer as usize];
        let waits = |waiting: &Waiting| waiting.token == token && waiting.wanted() == wanted;
        let Some(place) = node.waiting.iter().position(waits).filter(|_| node.life == life) else { return };
        let waiting = &mut node.waiting[place];
        waiting.failed += 1;
        if lock_patience(LOCK_TIMEOUT, waiting.failed).is_none() {
            return self.end_waiting(peer, place);
        }
        waiting.locked = 0;
        if let Some(transaction) = waiting.transaction.take() {
            node.store.rollback(transaction);
        }
        self.tell_of_locks(peer);
        self.queue.schedule(self.queue.now_us() + AGAIN_US, Happening::LockAgain { peer, life, token });
    }

    /// A request begins anew.
    pub(super) fn lock_again(&mut self, peer: u32, life: u32, token: Token) {
        let node = &mut self.nodes[peer as usize];
        let waits = |waiting: &Waiting| waiting.token == token;
        let Some(place) = node.waiting.iter().position(waits).filter(|_| node.life == life) else { return };
        node.waiting[place].transaction = Some(node.store.begin());
        if self.take_locks(peer, place) {
            self.end_waiting(peer, place);
        } else {
            self.watch_lock(peer, place);
        }
    }

    /// Takes locks in their order as far as they are free; whether the request has all.
    fn take_locks(&mut self, peer: u32, place: usize) -> bool {
        let node = &mut self.nodes[peer as usize];
        let waiting = &mut node.waiting[place];
        let Some(transaction) = waiting.transaction else { return false };
        while let Some(row) = waiting.rows.get(waiting.locked) {
            if node.store.lock(transaction, row).is_err() {
                return false;
            }
            waiting.locked += 1;
        }
        true
    }

    fn watch_lock(&mut self, peer: u32, place: usize) {
        let node = &self.nodes[peer as usize];
        let (life, waiting) = (node.life, &node.waiting[place]);
        let (token, wanted) = (waiting.token, waiting.wanted());
        let patience = lock_patience(LOCK_TIMEOUT, wanted.attempt).unwrap_or(Span::ZERO);
        let happening = Happening::LockTimeout { peer, life, token, wanted };
        self.queue.schedule(self.queue.now_us() + patience.as_us(), happening);
    }

    /// Lets its locks go and executes the request in the same moment. One that has not got all meets a lock there, and the
    /// answer says so.
    fn end_waiting(&mut self, peer: u32, place: usize) {
        let node = &mut self.nodes[peer as usize];
        let Waiting { token, request, transaction, .. } = node.waiting.remove(place);
        if let Some(transaction) = transaction {
            node.store.rollback(transaction);
        }
        self.carry_out(peer, token, request);
        self.tell_of_locks(peer);
    }
}
