//! One round with one peer: read its feed to the end, repair what is corrupt here, compare everything if that is
//! due. It waits for one thing at a time, or for both sides of a comparison.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Applied, Apply};
use super::{Asking, NoAnswer, Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::limits;
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::events::{ReplicaEvent, RoundFailure};
use crate::peer_sync::message::{PeerAnswer, PeerQuestion};
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::reconcile::Reconcile;
use crate::peer_sync::row::{RowId, TableName};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::{Advance, Merged, Outcome, Page, PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now};

/// A round under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) peer: NodeId,
    pub(super) address: PeerAddress,
    /// What a notice told, if that is the only reason for this round.
    news: Option<Frontier>,
    /// Tables that are told whatever comes.
    pub(super) tables_asked: BTreeSet<TableName>,
    pub(super) stage: Stage,
    /// What it has, until it has read its first page.
    has: Frontier,
    /// Where the reader stands.
    pub(super) position: Option<Position>,
    /// Whether everything is compared at the end.
    pub(super) compare: bool,
    /// Whether rows of the peer were refused and are not known to be here.
    pub(super) refused: bool,
    /// Whether the comparison under way refused some.
    pub(super) refuses: bool,
    /// Rows that were asked of the peer because they are corrupt here.
    asked_repair: bool,
    pub(super) pages: u64,
    pub(super) rows: u64,
    pub(super) omitted: u64,
    /// Rows that changed something, by table.
    pub(super) changed: BTreeMap<TableName, u64>,
    /// Questions that the peer has not answered.
    questions: u32,
    /// When the peer was last asked or last answered.
    moved_at: Instant,
}

impl Job {
    /// Since when the peer has kept the round waiting, if it does.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        (self.questions > 0).then_some(self.moved_at)
    }

    /// The peer is asked.
    pub(super) fn asks(&mut self, now: Now) {
        self.questions += 1;
        self.moved_at = now.monotonic;
    }

    /// The peer has answered a question, or did not in time.
    fn answered(&mut self, now: Now) {
        self.questions = self.questions.saturating_sub(1);
        self.moved_at = now.monotonic;
    }
}

/// Why a round begins.
#[derive(Debug)]
pub(super) struct Occasion {
    /// What a notice told, if that is the only reason.
    pub(super) news: Option<Frontier>,
    /// Whether everything is to be compared.
    pub(super) compare: bool,
    /// Tables that are told whatever comes.
    pub(super) tables_asked: BTreeSet<TableName>,
}

/// What the round waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// The own database says how far it has come; whether it has all of its own writes that the peer has.
    Describing { theirs: Option<Snapshot> },
    /// The peer gives a page.
    Pulling,
    /// A page is applied; whether it was the last.
    Applying { apply: Box<Apply>, last: bool },
    /// The peer gives sound copies of rows.
    Repairing(BTreeSet<RowId>),
    /// They are applied.
    Mending(Box<Apply>),
    /// Both sides are compared; where the feed is then read from, if its position had lost its meaning.
    Comparing { reconcile: Box<Reconcile>, apply: Option<Box<Apply>>, resume: Option<Position> },
    /// What was refused of the peer is noted to be here; then as after a comparison.
    Settling { resume: Option<Position> },
    /// The position after a comparison is stored.
    Resuming(Box<Apply>),
    /// Nothing; the round is being moved on.
    Moving,
}

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// Begins a round.
    pub(super) fn start_job(
        &mut self,
        now: Now,
        peer: NodeId,
        address: PeerAddress,
        why: Occasion,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let Occasion { news, compare, tables_asked } = why;
        self.jobs_begun += 1;
        let job = Job {
            id: self.jobs_begun,
            peer,
            address,
            news,
            tables_asked,
            stage: Stage::Describing { theirs: None },
            has: Frontier::default(),
            position: None,
            compare,
            refused: false,
            refuses: false,
            asked_repair: false,
            pages: 0,
            rows: 0,
            omitted: 0,
            changed: BTreeMap::new(),
            questions: 0,
            moved_at: now.monotonic,
        };
        self.wait_store(job, PeerRequest::Describe, fx);
    }

    /// The peer answered a question of a round, or did not.
    pub(super) fn job_answered(
        &mut self,
        now: Now,
        id: u64,
        answer: Result<PeerAnswer, NoAnswer>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.answered(now);
        let stage = std::mem::replace(&mut job.stage, Stage::Moving);
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => return self.end_round(now, job, Some(RoundFailure::NoAnswer), fx),
        };
        self.discovery.heard(now, &job.peer);
        let failure = match (&stage, &answer) {
            (_, PeerAnswer::Busy) => Some(RoundFailure::Busy),
            (_, PeerAnswer::Refused(_)) => {
                self.discovery.doubted(now.monotonic, &job.peer);
                Some(RoundFailure::Refused)
            }
            _ if !self.works() => Some(RoundFailure::Cancelled),
            _ => None,
        };
        if failure.is_some() {
            return self.end_round(now, job, failure, fx);
        }
        match (stage, answer) {
            (Stage::Pulling, PeerAnswer::Page(page)) => self.take_page(now, job, page, fx),
            (Stage::Pulling, PeerAnswer::MustReconcile(position)) => {
                self.compare(now, job, Some(position), fx);
            }
            (Stage::Repairing(rows), PeerAnswer::Rows(mut found)) => {
                found.retain(|row| rows.contains(&row.row));
                let mut apply = Apply::repair(job.peer.clone(), found);
                let request = apply.begin(self.rules());
                job.stage = Stage::Mending(Box::new(apply));
                self.wait_store(job, request, fx);
            }
            (Stage::Comparing { mut reconcile, apply, resume }, answer) => {
                let result = reconcile.theirs(answer);
                job.stage = Stage::Comparing { reconcile, apply, resume };
                match result {
                    Ok(()) => self.compare_on(now, job, fx),
                    Err(failure) => self.end_round(now, job, Some(failure), fx),
                }
            }
            _ => self.end_round(now, job, Some(RoundFailure::Nonsense), fx),
        }
    }

    /// The own database replied to a request of a round.
    pub(super) fn job_stored(&mut self, now: Now, id: u64, reply: PeerReply, fx: &mut Vec<ReplicaEffect>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        let stage = std::mem::replace(&mut job.stage, Stage::Moving);
        match (stage, reply) {
            (Stage::Describing { theirs }, PeerReply::Described(description)) => {
                let before = self.incarnation;
                self.know(&description);
                let set_back = theirs.is_some_and(|theirs| !self.snapshot.covers(&theirs));
                if set_back && before == self.incarnation {
                    self.renew(None, fx);
                    return self.end_round(now, job, Some(RoundFailure::SetBack), fx);
                }
                job.has = description.reads_with();
                job.position = description.positions.get(&job.peer).cloned();
                job.refused = description.refused.contains(&job.peer);
                let known = job.news.as_ref().is_some_and(|news| self.frontier.includes(news));
                if known && !news_is_empty(&job) {
                    self.statistics.notices_skipped += 1;
                    self.skip_round(now, job);
                } else {
                    self.pull(now, job, fx);
                }
            }
            (Stage::Applying { mut apply, last }, reply) => match apply.stored(self.rules(), reply) {
                Applied::Next(request) => {
                    job.stage = Stage::Applying { apply, last };
                    self.wait_store(job, request, fx);
                }
                Applied::Done(merged) => self.page_applied(now, job, *apply, merged, last, fx),
                Applied::Failed(failure) => {
                    self.pages.refused(apply.rows().len());
                    if self.policy.advances_after_failure()
                        && let Some(advance) = apply.advance().cloned()
                    {
                        let mut empty = Apply::new(job.peer.clone(), Vec::new(), Some(advance));
                        let request = empty.begin(self.rules());
                        job.stage = Stage::Resuming(Box::new(empty));
                        return self.wait_store(job, request, fx);
                    }
                    self.end_round(now, job, Some(failure), fx);
                }
            },
            (Stage::Mending(mut apply), reply) => match apply.stored(self.rules(), reply) {
                Applied::Next(request) => {
                    job.stage = Stage::Mending(apply);
                    self.wait_store(job, request, fx);
                }
                Applied::Done(merged) => {
                    self.mended(&job.peer, apply.rows(), &merged, fx);
                    self.after_feed(now, job, fx);
                }
                Applied::Failed(failure) => self.end_round(now, job, Some(failure), fx),
            },
            (Stage::Comparing { reconcile, apply: Some(mut apply), resume }, reply) => {
                let applied = apply.stored(self.rules(), reply);
                match applied {
                    Applied::Next(request) => {
                        job.stage = Stage::Comparing { reconcile, apply: Some(apply), resume };
                        self.wait_store(job, request, fx);
                    }
                    Applied::Done(merged) => {
                        let mut reconcile = reconcile;
                        job.refuses |= refuses(&merged);
                        self.tally(now, &mut job, &apply, &merged, fx);
                        reconcile.merged();
                        job.stage = Stage::Comparing { reconcile, apply: None, resume };
                        self.compare_on(now, job, fx);
                    }
                    Applied::Failed(failure) => self.end_round(now, job, Some(failure), fx),
                }
            }
            (Stage::Comparing { mut reconcile, apply: None, resume }, reply) => {
                let result = reconcile.own(reply);
                job.stage = Stage::Comparing { reconcile, apply: None, resume };
                match result {
                    Ok(()) => self.compare_on(now, job, fx),
                    Err(failure) => self.end_round(now, job, Some(failure), fx),
                }
            }
            (Stage::Settling { resume }, PeerReply::Settled) => {
                job.refused = false;
                self.resume(now, job, resume, fx);
            }
            (Stage::Resuming(mut apply), reply) => match apply.stored(self.rules(), reply) {
                Applied::Next(request) => {
                    job.stage = Stage::Resuming(apply);
                    self.wait_store(job, request, fx);
                }
                Applied::Done(merged) => {
                    let (position, advanced) = (apply.advance().map(|a| a.position.clone()), merged.advanced);
                    if advanced && position.is_some() {
                        self.advanced(&job, &apply);
                        job.position = position;
                        self.pull(now, job, fx);
                    } else {
                        self.end_round(now, job, Some(RoundFailure::Store), fx);
                    }
                }
                Applied::Failed(failure) => self.end_round(now, job, Some(failure), fx),
            },
            _ => self.end_round(now, job, Some(RoundFailure::Store), fx),
        }
    }

    pub(super) fn wait_store(&mut self, job: Job, request: PeerRequest, fx: &mut Vec<ReplicaEffect>) {
        self.store(request, Pending::JobStored(job.id), fx);
        self.jobs.insert(job.id, job);
    }

    fn wait_peer(&mut self, now: Now, mut job: Job, question: PeerQuestion, fx: &mut Vec<ReplicaEffect>) {
        job.asks(now);
        self.ask(now, job.address.clone(), Some(&job.peer), question, Asking::Job(job.id), fx);
        self.jobs.insert(job.id, job);
    }

    /// Asks for the next page.
    pub(super) fn pull(&mut self, now: Now, mut job: Job, fx: &mut Vec<ReplicaEffect>) {
        if !self.works() {
            return self.end_round(now, job, Some(RoundFailure::Cancelled), fx);
        }
        if job.pages >= limits::PAGES_PER_ROUND_MAX {
            // Others wait, too.
            if let Some(state) = self.peers.get_mut(&job.peer) {
                state.want(now.monotonic, None);
            }
            return self.end_round(now, job, None, fx);
        }
        // A first page is asked for with what the database held a moment ago.
        let frontier = if job.position.is_none() { job.has.clone() } else { self.frontier.clone() };
        let question = PeerQuestion::Pull {
            since: job.position.clone(),
            frontier,
            rows_max: self.pages.rows(self.settings.page_rows_max),
            refused: job.refused,
        };
        job.stage = Stage::Pulling;
        self.wait_peer(now, job, question, fx);
    }

    /// A page has come.
    fn take_page(&mut self, now: Now, mut job: Job, page: Page, fx: &mut Vec<ReplicaEffect>) {
        let grouped: u64 = page.groups.iter().map(|rows| u64::from(*rows)).sum();
        let moved = job.position.as_ref() != Some(&page.position);
        if grouped != page.rows.len() as u64 || (!moved && page.frontier.is_none()) {
            return self.end_round(now, job, Some(RoundFailure::Nonsense), fx);
        }
        let own = self.incarnation.and_then(|life| page.frontier.as_ref()?.of(&self.node, life));
        if let Some(theirs) = own.filter(|theirs| self.policy.renews() && !self.snapshot.covers(theirs)) {
            // Written a moment ago, or before the database was set back: then it is not there now.
            job.stage = Stage::Describing { theirs: Some(theirs.clone()) };
            return self.wait_store(job, PeerRequest::Describe, fx);
        }
        job.pages += 1;
        job.rows += page.rows.len() as u64;
        job.omitted += page.omitted;
        self.statistics.pages_received += 1;
        self.statistics.rows_received += page.rows.len() as u64;
        if page.split > 0 {
            let (peer, count) = (job.peer.clone(), u64::from(page.split));
            fx.push(ReplicaEffect::Event(ReplicaEvent::TransactionsSplit { peer, count }));
        }
        if let (Some(state), Some(theirs)) = (self.peers.get_mut(&job.peer), &page.frontier) {
            state.has.clone_from(theirs);
        }
        let last = page.frontier.is_some();
        // In the middle of a feed nothing is covered: what overwrote a row that is left out may be yet to come.
        let frontier = page.frontier.unwrap_or_default();
        if page.rows.is_empty() && !moved && self.frontier.includes(&frontier) {
            return self.after_page(now, job, last, fx);
        }
        let advance = self.policy.advances(Advance { position: page.position, frontier });
        let mut apply =
            Apply::new(job.peer.clone(), page.rows, Some(advance)).of_groups(page.groups, page.known);
        let request = apply.begin(self.rules());
        job.stage = Stage::Applying { apply: Box::new(apply), last };
        self.wait_store(job, request, fx);
    }

    fn page_applied(
        &mut self,
        now: Now,
        mut job: Job,
        apply: Apply,
        merged: Merged,
        last: bool,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        self.tally(now, &mut job, &apply, &merged, fx);
        if !merged.advanced {
            return self.end_round(now, job, Some(RoundFailure::Store), fx);
        }
        self.pages.stored();
        job.refused |= refuses(&merged);
        self.advanced(&job, &apply);
        job.position = apply.advance().map(|advance| advance.position.clone());
        self.after_page(now, job, last, fx);
    }

    /// The database has stored how far the reader has come.
    fn advanced(&mut self, job: &Job, apply: &Apply) {
        if let Some(advance) = apply.advance().filter(|_| !job.refused) {
            self.frontier.join(&advance.frontier);
        }
    }

    fn after_page(&mut self, now: Now, job: Job, last: bool, fx: &mut Vec<ReplicaEffect>) {
        if last { self.after_feed(now, job, fx) } else { self.pull(now, job, fx) }
    }

    /// The feed was read to its end.
    fn after_feed(&mut self, now: Now, mut job: Job, fx: &mut Vec<ReplicaEffect>) {
        if !std::mem::replace(&mut job.asked_repair, true) {
            let rows = self.upkeep.to_repair(&job.peer);
            if !rows.is_empty() {
                let question = PeerQuestion::Rows(rows.iter().cloned().collect());
                job.stage = Stage::Repairing(rows);
                return self.wait_peer(now, job, question, fx);
            }
        }
        if std::mem::take(&mut job.compare) && self.policy.compares() && self.may_compare(now, &job.peer) {
            return self.compare(now, job, None, fx);
        }
        self.end_round(now, job, None, fx);
    }

    /// Counts and tells what became of rows.
    fn tally(
        &mut self,
        now: Now,
        job: &mut Job,
        apply: &Apply,
        merged: &Merged,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        for (table, count) in self.outcomes(now, apply, merged, fx) {
            *job.changed.entry(table).or_default() += count;
        }
    }
}

/// Whether rows were refused.
fn refuses(merged: &Merged) -> bool {
    merged.outcomes.iter().any(Outcome::is_refused)
}

/// Whether a notice said nothing of what there is.
fn news_is_empty(job: &Job) -> bool {
    job.news.as_ref().is_some_and(Frontier::is_empty)
}
