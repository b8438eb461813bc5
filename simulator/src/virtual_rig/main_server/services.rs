//! What a main server asks of its database and its cache, and what these answer.

use sync_core::cache::{CacheError, CacheReply, CacheRequest};
use sync_core::host_sync::server::ServerInput;
use sync_core::id::Token;
use sync_core::store::hosting::{Assignment, Change};
use sync_core::store::{StoreError, StoreReply, StoreRequest, Verdict};

use crate::history::{StateName, What, WireId};
use crate::virtual_rig::clock::NodeClock;
use crate::virtual_rig::services::{About, Fate, value_digest, written_op};
use crate::virtual_rig::variant::Variant;
use crate::virtual_rig::world::{Happening, Observer, World};

impl<V: Variant, O: Observer> World<V, O> {
    pub(in crate::virtual_rig) fn stored(
        &mut self,
        life: u32,
        store_life: u32,
        token: Token,
        answer: StoreReply,
    ) {
        let lost = store_life != self.database.conditions.life();
        self.store_answers(life, token, if lost { Err(StoreError::Unavailable) } else { Ok(answer) });
    }

    pub(in crate::virtual_rig) fn store_answers(
        &mut self,
        life: u32,
        token: Token,
        answer: Result<StoreReply, StoreError>,
    ) {
        if let Some(at) = self.living(life) {
            self.serving = self.servers[at].reads.remove(&token).unwrap_or_default();
            self.watch_stored(at, life, token, answer.as_ref().ok());
            self.tell_server(at, ServerInput::Stored { token, answer });
            self.serving = About::default();
        }
    }

    pub(in crate::virtual_rig) fn cache_answers(
        &mut self,
        life: u32,
        token: Token,
        answer: Result<CacheReply, CacheError>,
    ) {
        if let Some(at) = self.living(life) {
            self.serving = self.servers[at].reads.remove(&token).unwrap_or_default();
            self.watch_cached(at, life, token, answer.as_ref().ok());
            self.tell_server(at, ServerInput::Cached { token, answer });
            self.serving = About::default();
        }
    }

    /// Names a write by the operation whose value it holds and the latest attempt at it. Not by the id
    /// on the wire: its counter depends on what the host was asked before.
    fn about_write(&self, data: Option<&str>) -> About {
        data.and_then(written_op).map_or_else(About::default, |op| About::attempt(op, self.attempts_at(op)))
    }

    pub(super) fn ask_store(&mut self, at: usize, token: Token, request: StoreRequest) {
        let now_us = self.queue.now_us();
        let about = match &request {
            StoreRequest::ApplyBatch(operations) => {
                self.about_write(operations.first().map(|apply| &*apply.data))
            }
            StoreRequest::StoreEmbedding(request) => self.about_write(Some(&request.apply.data)),
            StoreRequest::DeleteEmbedding(request) => self.about_write(Some(&request.apply.data)),
            StoreRequest::Load(_) | StoreRequest::SearchEmbeddings(_) => {
                self.servers[at].reads.insert(token, self.serving);
                self.serving
            }
            // The first of a batch is on its way at once, or when the batch before it is done.
            StoreRequest::ReportHosts(reports) => match reports.first() {
                Some(first) if self.serving == About::default() => About::reports(first.account, now_us),
                _ => self.serving,
            },
            StoreRequest::Purge { .. }
            | StoreRequest::SweepHosts
            | StoreRequest::LoadHosts(_)
            | StoreRequest::RecordValidations(_) => About::moment(now_us),
        };
        let operations = match &request {
            StoreRequest::ApplyBatch(operations) => operations.len(),
            StoreRequest::ReportHosts(reports) => reports.len(),
            _ => 1,
        };
        let life = self.servers[at].life;
        self.watch_store(life, token, &request);
        let now_us = now_us + self.database.conditions.queueing_us(now_us, operations);
        match self.database.conditions.fate(about) {
            Fate::Commits(after_us) => {
                let place = self.database.wait(life, token, request);
                let store_life = self.database.conditions.life();
                self.queue.schedule(now_us + after_us, Happening::Commit { life, store_life, place });
            }
            Fate::Fails(after_us) => {
                self.queue.schedule(now_us + after_us, Happening::StoreFails { life, token });
            }
        }
    }

    /// A request takes effect in the database, whether or not its server still lives.
    pub(in crate::virtual_rig) fn commit(&mut self, life: u32, store_life: u32, place: usize) {
        if store_life != self.database.conditions.life() {
            return;
        }
        let now_us = self.queue.now_us();
        let Self { database, variant, .. } = self;
        let committed =
            database.commit(place, now_us, |request, transaction| variant.carried_out(request, transaction));
        let Some((token, request, reply)) = committed else { return };
        if let StoreReply::Applied(applied) = &reply {
            for (operation, answer) in request.operations().iter().zip(applied) {
                let (Verdict::Applied { version }, false) = (answer.verdict, answer.duplicate) else {
                    continue;
                };
                self.observe(What::Applied {
                    op: written_op(&operation.data),
                    id: operation.operation.into(),
                    data_type: operation.data_type,
                    map: operation.map.clone(),
                    key: operation.state_key().map(StateName),
                    version,
                    value: self.judges_values.then(|| value_digest(&operation.data)),
                });
            }
        }
        if let (StoreRequest::ApplyBatch(operations), true) = (&request, self.judges_batches) {
            let decided = |id| self.database.knows(id);
            let asked: Vec<_> = operations.iter().map(|operation| operation.operation).collect();
            let present = asked.iter().copied().filter(|id| decided(*id)).map(WireId::from).collect();
            let asked = asked.into_iter().map(WireId::from).collect();
            self.observe(What::Committed { asked, present });
        }
        self.observe_stored_vector(&request, &reply);
        if let StoreReply::Reported { changes, .. } | StoreReply::Swept { changes, .. } = &reply {
            for Change { assignment, began } in changes {
                let Assignment { map, account, part, epoch } = assignment.clone();
                let account = account.0;
                self.observe(match began {
                    true => What::Assigned { map, account, part, epoch },
                    false => What::Released { map, account, part, epoch },
                });
            }
        }
        let after_us = self.database.conditions.answer_us();
        self.queue.schedule(now_us + after_us, Happening::Stored { life, store_life, token, answer: reply });
    }

    pub(super) fn ask_cache(&mut self, at: usize, token: Option<Token>, request: CacheRequest) {
        let now_us = self.queue.now_us();
        let about = match &request {
            CacheRequest::Refresh { states, .. } if self.serving == About::default() => {
                self.about_write(states.first().map(|state| &*state.data))
            }
            _ => self.serving,
        };
        if let Some(token) = token {
            self.servers[at].reads.insert(token, self.serving);
        }
        let operations = match &request {
            CacheRequest::Refresh { states, .. } => states.len(),
            _ => 1,
        };
        let life = self.servers[at].life;
        self.watch_cache(at, life, token, &request);
        self.watch_publishing(&request);
        let now_us = now_us + self.cache.conditions.queueing_us(now_us, operations);
        match self.cache.conditions.fate(about) {
            Fate::Commits(after_us) => {
                let place = self.cache.wait(life, token, request);
                let cache_life = self.cache.conditions.life();
                self.queue.schedule(now_us + after_us, Happening::CacheRuns { life, cache_life, place });
            }
            Fate::Fails(after_us) => {
                if !self.variant.forgets_missed() {
                    self.cache.miss(&request);
                    self.gap_is_owed(now_us + after_us);
                }
                if let Some(token) = token {
                    let answer = Err(CacheError::Unavailable);
                    self.queue.schedule(now_us + after_us, Happening::Cached { life, token, answer });
                }
            }
        }
    }

    pub(in crate::virtual_rig) fn cache_runs(&mut self, life: u32, cache_life: u32, place: usize) {
        if cache_life != self.cache.conditions.life() {
            return;
        }
        let now_us = self.queue.now_us();
        let wall = NodeClock::default().now(now_us).wall;
        let Self { cache, variant, .. } = self;
        let expiry = self.cache_expiry;
        let done = cache.execute(place, wall, |request| variant.cache_carries_out(wall, expiry, request));
        self.tell_published();
        if let Some((asked_in, Some(token), reply)) = done {
            self.watch_cache_run(asked_in, Some(token), &reply);
            let after_us = self.cache.conditions.answer_us();
            self.queue.schedule(now_us + after_us, Happening::Cached { life, token, answer: Ok(reply) });
        }
    }
}
