//! When which peer's turn is, and what follows from a round's end.

use super::job::{Job, Occasion};
use super::{Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::limits;
use crate::peer_sync::events::{ReplicaEvent, RoundFailure};
use crate::peer_sync::row::TableName;
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now};

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// When the next round is due, if none makes headway.
    pub(super) fn next_round(&self) -> Option<Instant> {
        let free = self.free_at()?;
        self.turns().map(|(at, _)| at.max(free)).min()
    }

    /// From when on another round may begin; none while one makes headway. Without this, one peer that has gone, or
    /// whose answers are lost, would hold back all others for as long as a question may take.
    fn free_at(&self) -> Option<Instant> {
        if self.jobs.len() >= limits::ROUNDS_MAX {
            return None;
        }
        let patient = |job: &Job| Some(job.waits_since()? + limits::ROUND_PATIENCE);
        self.jobs.values().try_fold(Instant::default(), |free, job| Some(free.max(patient(job)?)))
    }

    /// Peers that answer and have no round under way, and when their turn is.
    fn turns(&self) -> impl Iterator<Item = (Instant, &NodeId)> {
        let idle = |peer: &NodeId| self.jobs.values().all(|job| job.peer != *peer);
        let listens = |peer: &NodeId| self.discovery.listens_at(peer).is_some();
        self.peers.iter().filter(move |(peer, _)| idle(peer) && listens(peer)).map(|(peer, state)| {
            let wanted = state.wanted.as_ref().map_or(state.next_round, |wanted| wanted.at);
            (wanted.min(state.next_round).max(state.retry_at), peer)
        })
    }

    /// Begins the round that has been due for longest.
    pub(super) fn begin_round(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        while self.free_at().is_some_and(|at| at <= now.monotonic) {
            let Some((_, peer)) = self.turns().filter(|(at, _)| *at <= now.monotonic).min() else { return };
            let peer = peer.clone();
            let Some(address) = self.discovery.listens_at(&peer) else { return };
            let Some(state) = self.peers.get_mut(&peer) else { return };
            let regular = state.next_round <= now.monotonic;
            let news = state.wanted.take().and_then(|wanted| wanted.news).filter(|_| !regular);
            if news.as_ref().is_some_and(|news| !news.is_empty() && self.frontier.includes(news)) {
                self.statistics.notices_skipped += 1;
                continue;
            }
            let tables_asked = std::mem::take(&mut state.tables);
            let compare = state.compare_at <= now.monotonic;
            self.start_job(now, peer, address, Occasion { news, compare, tables_asked }, fx);
        }
    }

    /// Somebody wants rounds now: with one peer or all, and perhaps to be told of a table.
    pub(super) fn trigger(
        &mut self,
        now: Now,
        peer: Option<&NodeId>,
        table: Option<TableName>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let mut peers = Vec::new();
        for (node, state) in &mut self.peers {
            if peer.is_some_and(|peer| peer != node) {
                continue;
            }
            state.want(now.monotonic, None);
            state.retry_at = now.monotonic;
            state.tables.extend(table.clone());
            peers.push(node.clone());
        }
        fx.push(ReplicaEffect::Event(ReplicaEvent::BidirectionalSyncTriggered { peers }));
    }

    /// The news of a notice turned out to be here.
    pub(super) fn skip_round(&mut self, _now: Now, job: Job) {
        if let Some(state) = self.peers.get_mut(&job.peer) {
            state.tables.extend(job.tables_asked);
        }
    }

    /// A round has ended, well or early.
    pub(super) fn end_round(
        &mut self,
        now: Now,
        job: Job,
        failure: Option<RoundFailure>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let Job { peer, mut changed, tables_asked, pages, rows, omitted, .. } = job;
        if failure.is_none() {
            for table in &tables_asked {
                changed.entry(table.clone()).or_default();
            }
        }
        for (table, count) in changed {
            let peer = peer.clone();
            fx.push(ReplicaEffect::Event(ReplicaEvent::TableSynced { table, count, peer }));
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.pauses += 1;
        let ordinal = state.pauses;
        let Some(reason) = failure else {
            state.failed = 0;
            let draw = self.jitter(["round", peer.as_str()], ordinal);
            let pause = self.policy.round_pause(self.settings.sync_interval, draw);
            if let Some(state) = self.peers.get_mut(&peer) {
                state.next_round = now.monotonic + pause;
            }
            self.statistics.rounds += 1;
            fx.push(ReplicaEffect::Event(ReplicaEvent::RoundEnded { peer, pages, rows, omitted }));
            return;
        };
        state.tables.extend(tables_asked);
        state.failed = state.failed.saturating_add(1);
        let failed = state.failed;
        let draw = self.jitter(["retry", peer.as_str()], ordinal);
        let pause = match reason {
            RoundFailure::Store | RoundFailure::Contended => self.policy.own_backoff(failed, draw),
            _ => self.policy.backoff(failed, draw),
        };
        if let Some(state) = self.peers.get_mut(&peer) {
            state.retry_at = now.monotonic + pause;
            // The round is owed.
            state.next_round = now.monotonic;
        }
        self.statistics.rounds_failed += 1;
        fx.push(ReplicaEffect::Event(ReplicaEvent::RoundFailed { peer: peer.clone(), reason }));
        if reason == RoundFailure::NoAnswer {
            self.missed(now, &peer, fx);
        }
    }
}
