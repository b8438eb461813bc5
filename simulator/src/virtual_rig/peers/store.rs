//! Requests of replicas to their databases, and what is told of them.

use sync_core::engine::Engine as _;
use sync_core::id::Token;
use sync_core::peer_sync::replica::ReplicaInput;
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{
    Advance, AsideChange, Digest, DigestEntry, Merged, Outcome, PeerReply, PeerRequest, RowHash,
};
use sync_core::peer_sync::version::NodeId;
use sync_core::time::Timestamp;

use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld};
use crate::draw::Label;
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};
use crate::virtual_rig::world::Observer;

/// The rows that a request may change.
pub(super) fn concerned(request: &PeerRequest) -> Box<dyn Iterator<Item = &RowId> + '_> {
    match request {
        PeerRequest::Merge(merge) => Box::new(merge.rows.iter().map(|row| &row.row)),
        PeerRequest::ApplyIf(apply) => Box::new(apply.rows.iter().map(|(row, _)| &row.row)),
        PeerRequest::Drop(request) => Box::new(request.entries.iter().map(|entry| &entry.row)),
        _ => Box::new(std::iter::empty()),
    }
}

/// The digest of these rows, as far as they live.
pub(super) fn living<'a>(store: &MemoryPeerStore, rows: impl Iterator<Item = &'a RowId>) -> Digest {
    let mut digest = Digest::default();
    for stored in rows.filter_map(|row| store.stored(row)).filter(|stored| !stored.image.is_tombstone()) {
        digest.add(DigestEntry::fingerprint(RowHash::of(&stored.row), &stored.version));
    }
    digest
}

/// How a merge came about.
#[derive(Clone, Copy)]
struct Kind {
    /// It mends what was found corrupt.
    repair: bool,
    /// A comparison of everything brought it.
    reconcile: bool,
}

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// A replica asks its database: the request takes effect a while later.
    pub(super) fn ask_store(&mut self, peer: u32, token: Token, mut request: PeerRequest) {
        self.variant.asks_store(peer, &mut request);
        let ordinal = self.store_requests[peer as usize];
        self.store_requests[peer as usize] += 1;
        let delay = self.database_latency.at(self.draws.bits(Label::Commit, u64::from(peer), ordinal));
        let life = self.nodes[peer as usize].life;
        let happening = Happening::StoreRuns { peer, life, token, request: Box::new(request) };
        self.queue.schedule(self.queue.now_us() + delay, happening);
    }

    /// A request takes effect.
    pub(super) fn store_runs(&mut self, peer: u32, life: u32, token: Token, request: PeerRequest) {
        if self.nodes[peer as usize].life != life {
            return;
        }
        if let Some(request) = self.wait_for_locks(peer, token, request) {
            self.carry_out(peer, token, request);
        }
    }

    /// Has the database execute a request that nothing holds up, and answer.
    pub(super) fn carry_out(&mut self, peer: u32, token: Token, request: PeerRequest) {
        let life = self.nodes[peer as usize].life;
        let reply = self.execute_now(peer, request);
        let happening = Happening::Stored { peer, life, token, reply: Box::new(reply) };
        self.queue.schedule(self.queue.now_us() + self.database_answer_us, happening);
    }

    /// Has a database execute a request, and tells what came of it.
    pub(super) fn execute_now(&mut self, peer: u32, request: PeerRequest) -> PeerReply {
        let clock = self.database_now(peer);
        let store = &mut self.nodes[peer as usize].store;
        let xmax = store.snapshot().xmax();
        let shown = request.clone();
        let before = living(store, concerned(&shown));
        let mut reply = self.variant.executes(peer, store, clock, request);
        let after = living(store, concerned(&shown));
        let drew = store.snapshot().xmax() > xmax;
        let xid = drew.then(|| store.snapshot().xmax() - 1);
        self.changed(peer, before, after);
        self.tell(peer, clock, xid, &shown, &reply);
        self.watch_rows(concerned(&shown));
        self.variant.store_answers(peer, &shown, &mut reply);
        reply
    }

    /// The answer reaches the replica.
    pub(super) fn stored(&mut self, peer: u32, life: u32, token: Token, reply: PeerReply) {
        if self.nodes[peer as usize].life == life {
            self.tell_replica(peer, ReplicaInput::Stored { token, reply });
        }
    }

    fn tell(
        &mut self,
        peer: u32,
        clock: Timestamp,
        xid: Option<u64>,
        request: &PeerRequest,
        reply: &PeerReply,
    ) {
        match (request, reply) {
            (PeerRequest::Merge(merge), PeerReply::Merged(merged)) => {
                let rows: Vec<&RowVersion> = merge.rows.iter().collect();
                let kind = Kind { repair: merge.repair, reconcile: merge.advance.is_none() && !merge.repair };
                self.tell_merged(peer, clock, xid, &merge.from, &rows, merged, kind);
                self.tell_advanced(peer, &merge.from, merge.advance.as_ref(), rows.is_empty(), merged);
            }
            (PeerRequest::ApplyIf(apply), PeerReply::Merged(merged)) => {
                let rows: Vec<&RowVersion> = apply.rows.iter().map(|(row, _)| row).collect();
                let kind = Kind { repair: false, reconcile: apply.advance.is_none() };
                self.tell_merged(peer, clock, xid, &apply.from, &rows, merged, kind);
                self.tell_advanced(peer, &apply.from, apply.advance.as_ref(), rows.is_empty(), merged);
            }
            (PeerRequest::Purge(_), PeerReply::Purged(rows)) if *rows > 0 => {
                self.observe(PeerWhat::Purged { node: peer, rows: *rows });
            }
            (PeerRequest::Drop(request), _) => {
                let store = &self.nodes[peer as usize].store;
                let gone = request.entries.iter().filter(|entry| store.stored(&entry.row).is_none());
                let rows: Vec<_> = gone.map(|entry| entry.row.clone()).collect();
                if !rows.is_empty() {
                    self.observe(PeerWhat::Dropped { node: peer, rows });
                }
                self.watch_content();
            }
            (PeerRequest::Renew(incarnation), PeerReply::Renewed) => {
                self.observe(PeerWhat::Renewed { node: peer, incarnation: *incarnation });
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn tell_merged(
        &mut self,
        peer: u32,
        clock: Timestamp,
        xid: Option<u64>,
        from: &NodeId,
        rows: &[&RowVersion],
        merged: &Merged,
        kind: Kind,
    ) {
        let store = &self.nodes[peer as usize].store;
        let told: Vec<MergedRow> = rows
            .iter()
            .zip(&merged.outcomes)
            .filter_map(|(row, outcome)| {
                let outcome = match outcome {
                    Outcome::Inserted => MergeOutcome::Inserted,
                    Outcome::Updated { .. } => MergeOutcome::Updated,
                    Outcome::Equal => MergeOutcome::Equal,
                    Outcome::Beaten { .. } => MergeOutcome::Beaten,
                    Outcome::TooFarAhead { .. } => MergeOutcome::TooFarAhead,
                    Outcome::Expired => MergeOutcome::Expired,
                    Outcome::Unsound(_) => MergeOutcome::Unsound,
                    // It is decided anew.
                    Outcome::Changed => return None,
                };
                Some(MergedRow {
                    row: row.row.clone(),
                    version: row.version.clone(),
                    deleted: row.image.is_tombstone(),
                    origin: row.origin.incarnation,
                    origin_xid: row.origin.xid,
                    outcome,
                    holds: store.stored(&row.row).map(|stored| stored.version.clone()),
                    ahead_us: row.version.stamp.us.saturating_sub(clock.as_us()),
                })
            })
            .collect();
        if !told.is_empty() {
            let from = self.peer_of(from).unwrap_or(peer);
            let Kind { repair, reconcile } = kind;
            self.observe(PeerWhat::Merged { node: peer, from, xid, rows: told, repair, reconcile });
        }
        self.observe_aside(peer, merged.aside.clone());
        self.watch_content();
    }

    /// `bare` says that no rows came with the position.
    fn tell_advanced(
        &mut self,
        peer: u32,
        from: &NodeId,
        advance: Option<&Advance>,
        bare: bool,
        merged: &Merged,
    ) {
        if let (Some(Advance { position, frontier }), true, Some(of)) =
            (advance, merged.advanced, self.peer_of(from))
        {
            // Where the source sent it to read on after a comparison: with nothing else, for that is not the feed's.
            let reads_on = &mut self.nodes[peer as usize].reads_on;
            let reconciled = bare && frontier.is_empty() && reads_on.get(&of) == Some(position);
            if reconciled {
                reads_on.remove(&of);
            }
            let (incarnation, snapshot) = (position.incarnation, position.snapshot.clone());
            self.observe(PeerWhat::Advanced { node: peer, of, incarnation, snapshot, reconciled });
        }
    }

    pub(super) fn observe_aside(&mut self, peer: u32, changes: Vec<AsideChange>) {
        for AsideChange { row, standing } in changes {
            self.observe(PeerWhat::Aside { node: peer, row: row.clone(), standing });
            self.watch_rows(std::iter::once(&row));
        }
    }

    /// Wakes the replica if something is due.
    pub(super) fn wake(&mut self, peer: u32, at_us: u64) {
        let node = &mut self.nodes[peer as usize];
        if node.wakes_at_us != Some(at_us) {
            return;
        }
        node.wakes_at_us = None;
        let now = node.clock.now(self.queue.now_us());
        let mut effects = Vec::new();
        if let Some(replica) = &mut node.replica {
            replica.wake(now, &mut effects);
        }
        self.perform(peer, effects);
    }
}
