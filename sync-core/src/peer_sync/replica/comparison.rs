//! The part of a round that compares everything with the peer, and what follows from it.

use super::apply::{Apply, Rules};
use super::job::{Job, Stage};
use super::{Activity, Asking, Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::peer_sync::events::{ReplicaEvent, RoundFailure};
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::reconcile::{Action, Found, Reconcile};
use crate::peer_sync::store::{Advance, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::time::{Now, Span};

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// Whether it is time to compare: not while the peer is still reading, or it would be pushed what it is about to
    /// read; but a peer that never reads is not waited for.
    pub(super) fn may_compare(&self, now: Now, peer: &NodeId) -> bool {
        self.peers.get(peer).is_some_and(|state| {
            let overdue = state.compare_at + self.settings.anti_entropy_interval <= now.monotonic;
            state.must_compare || overdue || state.has.includes(&self.frontier)
        })
    }

    /// Compares everything with the peer.
    pub(super) fn compare(
        &mut self,
        now: Now,
        mut job: Job,
        resume: Option<Position>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let schema = std::sync::Arc::clone(&self.schema);
        let readers = self.known.iter().cloned().collect();
        let reconcile = Reconcile::new(schema, self.policy.pushes(), self.policy.drops_expired(), readers);
        job.stage = Stage::Comparing { reconcile: Box::new(reconcile), apply: None, resume };
        job.refuses = false;
        self.compare_on(now, job, fx);
    }

    pub(super) fn compare_on(&mut self, now: Now, mut job: Job, fx: &mut Vec<ReplicaEffect>) {
        let Stage::Comparing { reconcile, apply, .. } = &mut job.stage else {
            return self.end_round(now, job, Some(RoundFailure::Nonsense), fx);
        };
        let rules = Rules { schema: &self.schema, resolvers: &self.resolvers };
        let actions = reconcile.begin();
        let found = reconcile.found();
        let mut requests = Vec::new();
        let mut questions = Vec::new();
        for action in actions {
            match action {
                Action::Own(request) => requests.push(request),
                Action::Ask(question) => questions.push(question),
                Action::Merge(rows) => {
                    let mut merge = Apply::new(job.peer.clone(), rows, None);
                    requests.push(merge.begin(rules));
                    *apply = Some(Box::new(merge));
                }
                Action::Done => return self.compared(now, job, found, fx),
            }
        }
        if self.activity != Activity::Active {
            return self.end_round(now, job, Some(RoundFailure::Cancelled), fx);
        }
        for request in requests {
            self.store(request, Pending::JobStored(job.id), fx);
        }
        for question in questions {
            let id = job.id;
            job.asks(now);
            self.ask(now, job.address.clone(), Some(&job.peer), question, Asking::Job(id), fx);
        }
        self.jobs.insert(job.id, job);
    }

    /// The parent of a row may be a tombstone that was purged here and is demanded back now: somebody may still have
    /// it, though no feed brings what is covered. They are compared with once they, too, had time to hear of the row, and
    /// again after pauses that double: they may have to get it from others first.
    pub(super) fn miss_parents(&mut self, now: Now) {
        let pause = self.settings.sync_interval.min(self.settings.anti_entropy_interval);
        for state in self.peers.values_mut() {
            if state.compare_pause >= self.settings.anti_entropy_interval {
                state.compare_pause = pause;
            }
            state.compare_at = state.compare_at.min(now.monotonic + state.compare_pause);
        }
    }

    /// Both sides hold the same, but for what was written meanwhile.
    fn compared(&mut self, now: Now, mut job: Job, found: Found, fx: &mut Vec<ReplicaEffect>) {
        self.statistics.reconciliations += 1;
        self.statistics.rows_fetched += found.fetched;
        self.statistics.rows_pushed += found.pushed;
        self.statistics.rows_dropped += found.dropped;
        fx.push(ReplicaEffect::Event(ReplicaEvent::Reconciled {
            peer: job.peer.clone(),
            questions: found.questions,
            fetched: found.fetched,
            pushed: found.pushed,
            dropped: found.dropped,
        }));
        if let Some(state) = self.peers.get_mut(&job.peer) {
            // What was dropped may have stood in the way of something else.
            let pause = state.compare_pause.min(self.settings.anti_entropy_interval);
            state.compare_pause = pause.saturating_mul(2);
            state.compare_at = now.monotonic + if found.dropped > 0 { Span::ZERO } else { pause };
            state.must_compare = false;
        }
        let Stage::Comparing { resume, .. } = std::mem::replace(&mut job.stage, Stage::Moving) else {
            return self.end_round(now, job, Some(RoundFailure::Nonsense), fx);
        };
        job.refused |= job.refuses;
        if job.refused && !job.refuses {
            let request = PeerRequest::Settle(job.peer.clone());
            job.stage = Stage::Settling { resume };
            return self.wait_store(job, request, fx);
        }
        self.resume(now, job, resume, fx);
    }

    /// Reads the feed after a comparison that it asked for; else the round is over.
    pub(super) fn resume(
        &mut self,
        now: Now,
        mut job: Job,
        resume: Option<Position>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let Some(position) = resume else { return self.end_round(now, job, None, fx) };
        // The position was taken before the comparison began: all that it covers has been compared, but for what
        // was overwritten meanwhile. The end of the feed says what is covered.
        job.compare = false;
        let advance = self.policy.advances(Advance { position, frontier: Frontier::default() });
        let mut apply = Apply::new(job.peer.clone(), Vec::new(), Some(advance));
        let request = apply.begin(self.rules());
        job.stage = Stage::Resuming(Box::new(apply));
        self.wait_store(job, request, fx);
    }
}
