//! Texts, vectors and searches: the operations of type VECTOR_EMBEDDING on maps where they are allowed.
//!
//! Texts gather while requests to the provider are under way, as operations do for the database, and nothing else waits for
//! them. What the provider does not give is a typed rejection without effect; it is kept nowhere.
//! A text is embedded first and stored together with its operation afterwards, in one decision of the database, so an
//! operation that is refused has stored nothing. An attempt at an operation that is still at work here joins it: it
//! does not cost the provider a second request.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::json;
use slab::Slab;

use super::{Exchange, Server, ServerEffect, Status, Work};
use crate::embedding::{Batch, EmbedError, InvalidReply, Metadata, Vector};
use crate::entropy::Entropy;
use crate::host_sync::codec::ServerCodec;
use crate::id::{OperationId, Token};
use crate::limits;
use crate::store::{
    Apply, DeleteEmbedding, EmbeddingId, Match, SearchEmbeddings, StoreEmbedding, StoreError, StoreReply,
    StoreRequest,
};
use crate::time::{Instant, Now};
use crate::wire::embedding::{self, EmbedData, EmbeddingData, MatchesPayload, SearchData, VectorsPayload};
use crate::wire::{ErrorCode, Kind, Rejection, Request};

/// What is at work on embeddings.
#[derive(Debug, Default)]
pub(super) struct Desk {
    jobs: Slab<Job>,
    /// By operation; never iterated.
    by_operation: FxHashMap<OperationId, usize>,
    waiting_critical: VecDeque<usize>,
    waiting: VecDeque<usize>,
    texts_waiting: usize,
    requests_under_way: usize,
}

/// One operation, and the exchanges that wait for it.
#[derive(Debug)]
struct Job {
    exchanges: Vec<usize>,
    operation: OperationId,
    /// What was asked: a later attempt asks the same.
    asked: (Kind, Arc<str>),
    critical: bool,
    texts: Vec<Arc<str>>,
    goal: Goal,
    /// The provider refused it together with others: it is asked again for this one alone.
    alone: bool,
}

/// What becomes of the vectors.
#[derive(Debug)]
enum Goal {
    /// They are the answer.
    Give,
    /// The nearest to the one are found.
    Search { limit: u32, filter: Option<Metadata> },
    /// The one is stored.
    Store { apply: Apply, id: EmbeddingId, metadata: Metadata },
    /// There are none: the database was asked at once.
    Asked,
}

/// What an operation comes to.
enum Demand {
    /// Vectors first.
    Embed { texts: Vec<Arc<str>>, goal: Goal },
    /// The database at once.
    Ask(StoreRequest),
}

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    /// Takes an operation on embeddings that was found valid but for what is embedded.
    pub(super) fn embedding(
        &mut self,
        now: Now,
        exchange: Exchange,
        request: Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let asked = (request.kind, Arc::clone(&request.data));
        let (operation, critical) = (request.operation, self.is_critical(&request));
        if let Some(job) = self.desk.by_operation.get(&operation).and_then(|job| self.desk.jobs.get_mut(*job))
            && job.asked == asked
        {
            job.exchanges.push(self.exchanges.insert(exchange));
            return;
        }
        let demand = match self.demand(now, request, critical) {
            Ok(demand) => demand,
            Err(rejection) => {
                self.counters.rejected += 1;
                self.reply(now, &exchange, Err(rejection), effects);
                return;
            }
        };
        let (texts, goal, ask) = match demand {
            Demand::Embed { texts, goal } => (texts, goal, None),
            Demand::Ask(request) => (Vec::new(), Goal::Asked, Some(request)),
        };
        if self.desk.texts_waiting + texts.len() > limits::EMBEDDING_TEXTS_WAITING_MAX {
            self.counters.overloaded += 1;
            effects.push(ServerEffect::Reply { token: exchange.token, reply: Err(Status::Overloaded) });
            return;
        }
        let exchanges = vec![self.exchanges.insert(exchange)];
        let job = Job { exchanges, operation, asked, critical, texts, goal, alone: false };
        let place = self.desk.jobs.insert(job);
        self.desk.by_operation.insert(operation, place);
        match ask {
            Some(request) => self.ask_for(now, place, request, effects),
            None => self.desk.wait(place),
        }
    }

    fn demand(&self, now: Now, request: Request, critical: bool) -> Result<Demand, Rejection> {
        if !self.settings.vector_maps.contains(&request.map) {
            let map = request.map.as_str();
            return reject(
                ErrorCode::MapNotEligible,
                format!("the map {map} is not in vector_eligible_maps"),
            );
        }
        let demand = match request.kind {
            Kind::Embed => Demand::Embed { texts: EmbedData::read(&request.data)?.texts, goal: Goal::Give },
            Kind::Search => search(&request.data)?,
            _ => change(now, request, critical)?,
        };
        if matches!(demand, Demand::Embed { .. }) && !self.settings.embeds {
            return Err(rejection(EmbedError::NotConfigured));
        }
        Ok(demand)
    }

    /// Asks the provider as long as texts wait and it may be asked.
    pub(super) fn send_texts(&mut self, effects: &mut Vec<ServerEffect<C::Reply>>) {
        while self.desk.requests_under_way < limits::EMBEDDING_REQUESTS_IN_FLIGHT_MAX {
            let (jobs, texts) = self.desk.next_batch();
            if jobs.is_empty() {
                return;
            }
            let token = self.begin(Work::Embed { jobs });
            self.desk.requests_under_way += 1;
            self.counters.embed_requests += 1;
            effects.push(ServerEffect::Embed { token, texts: Arc::new(texts) });
        }
    }

    /// The provider answered, or will not.
    pub(super) fn embedded(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<Vec<Vector>, EmbedError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        // All else is for the database or the cache to complete.
        if !matches!(self.work.get(&token), Some(Work::Embed { .. })) {
            return;
        }
        let Some(Work::Embed { jobs }) = self.work.remove(&token) else { return };
        self.desk.requests_under_way -= 1;
        let asked: usize = jobs.iter().map(|job| self.desk.jobs[*job].texts.len()).sum();
        let answer = answer.and_then(|vectors| match vectors.len() {
            given if given == asked => Ok(vectors),
            given => {
                let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
                Err(InvalidReply::Count { asked: number(asked), given: number(given) }.into())
            }
        });
        match answer {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                for job in jobs {
                    let texts = self.desk.jobs[job].texts.len();
                    self.vectors_given(now, job, vectors.by_ref().take(texts).collect(), effects);
                }
            }
            // One of them may be at fault: the others must not suffer for it.
            Err(EmbedError::Refused(_)) if jobs.len() > 1 => {
                for job in jobs {
                    self.desk.jobs[job].alone = true;
                    self.desk.wait(job);
                }
            }
            Err(error) => {
                self.counters.embed_failures += 1;
                for job in jobs {
                    self.end(now, job, &Err(rejection(error)), effects);
                }
            }
        }
    }

    fn vectors_given(
        &mut self,
        now: Now,
        job: usize,
        vectors: Vec<Vector>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let goal = std::mem::replace(&mut self.desk.jobs[job].goal, Goal::Asked);
        let request = match (goal, vectors.first().cloned()) {
            (Goal::Give, _) => {
                let mut json = Vec::new();
                crate::wire::write(&VectorsPayload { vectors }, &mut json);
                self.end(now, job, &Ok(Some(text(json))), effects);
                return;
            }
            (Goal::Search { limit, filter }, Some(vector)) => {
                StoreRequest::SearchEmbeddings(Arc::new(SearchEmbeddings { vector, limit, filter }))
            }
            (Goal::Store { apply, id, metadata }, Some(vector)) => {
                StoreRequest::StoreEmbedding(Arc::new(StoreEmbedding { apply, id, vector, metadata }))
            }
            // Both have one text.
            (Goal::Asked | Goal::Search { .. } | Goal::Store { .. }, _) => return,
        };
        self.ask_for(now, job, request, effects);
    }

    fn ask_for(
        &mut self,
        now: Now,
        job: usize,
        request: StoreRequest,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let token = self.begin(Work::Embedding { job, request: request.clone(), asked: now.monotonic });
        effects.push(ServerEffect::Store { token, request });
    }

    /// The database, asked at a moment for an operation on embeddings, answered or will not.
    pub(super) fn embedding_stored(
        &mut self,
        now: Now,
        (job, asked): (usize, Instant),
        request: &StoreRequest,
        answer: Result<StoreReply, StoreError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        match answer {
            Ok(StoreReply::Applied(applied)) if applied.len() == 1 => {
                self.refresh(now, asked, request.operations(), &applied, effects);
                let result = self.count(&applied[0]);
                self.end(now, job, &result, effects);
            }
            Ok(StoreReply::Found(found)) => self.end(now, job, &Ok(Some(matches(&found))), effects),
            _ => {
                let Some(job) = self.desk.take(job) else { return };
                job.exchanges.into_iter().for_each(|slot| self.unavailable(slot, effects));
            }
        }
    }

    /// Answers every exchange of an operation.
    fn end(
        &mut self,
        now: Now,
        job: usize,
        result: &Result<Option<Arc<str>>, Rejection>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        let Some(job) = self.desk.take(job) else { return };
        for slot in job.exchanges {
            let exchange = self.exchanges.remove(slot);
            self.reply(now, &exchange, result.clone(), effects);
        }
    }
}

impl Desk {
    fn wait(&mut self, place: usize) {
        let Some(job) = self.jobs.get(place) else { return };
        self.texts_waiting += job.texts.len();
        let lane = if job.critical { &mut self.waiting_critical } else { &mut self.waiting };
        lane.push_back(place);
    }

    /// Takes what fits into one request, critical operations first.
    fn next_batch(&mut self) -> (Vec<usize>, Vec<Arc<str>>) {
        let (mut jobs, mut texts, mut batch) = (Vec::new(), Vec::new(), Batch::default());
        loop {
            let lane = if self.waiting_critical.is_empty() { &self.waiting } else { &self.waiting_critical };
            let Some(place) = lane.front().copied() else { break };
            let job = &self.jobs[place];
            let bytes = job.texts.iter().map(|text| text.len()).sum();
            if job.alone && !jobs.is_empty() || !batch.takes(job.texts.len(), bytes) {
                break;
            }
            texts.extend(job.texts.iter().cloned());
            jobs.push(place);
            let alone = job.alone;
            self.waiting_critical.pop_front().or_else(|| self.waiting.pop_front());
            if alone {
                break;
            }
        }
        self.texts_waiting -= texts.len();
        (jobs, texts)
    }

    fn take(&mut self, place: usize) -> Option<Job> {
        let job = self.jobs.try_remove(place)?;
        // A later attempt that asked something else may have taken its place there.
        if self.by_operation.get(&job.operation) == Some(&place) {
            self.by_operation.remove(&job.operation);
        }
        Some(job)
    }
}

fn search(data: &str) -> Result<Demand, Rejection> {
    let (data, limit, filter) = SearchData::read(data)?;
    if let Some(vector) = data.near()? {
        let request = SearchEmbeddings { vector, limit, filter };
        return Ok(Demand::Ask(StoreRequest::SearchEmbeddings(Arc::new(request))));
    }
    Ok(Demand::Embed { texts: data.text.into_iter().collect(), goal: Goal::Search { limit, filter } })
}

fn change(now: Now, request: Request, critical: bool) -> Result<Demand, Rejection> {
    let data = EmbeddingData::read(&request.data)?;
    let account = request.operation.account;
    let name = data.delete.as_deref().or(data.name.as_deref());
    let own = || request.operation.to_string();
    let name = name.map_or_else(own, str::to_owned);
    let id = match EmbeddingId::new(account, &request.map, &name) {
        Ok(id) => id,
        Err(error) => return reject(ErrorCode::MalformedData, error.to_string()),
    };
    let stored = data.text.map(|text| {
        let given = data.metadata.unwrap_or_else(|| json!({}));
        embedding::metadata(&given, "metadata")?;
        let map = request.map.as_str();
        let whole = json!({"account_id": account.0, "map_name": map, "metadata": given, "text": &*text});
        Ok((text, embedding::metadata(&whole, "metadata with the text")?))
    });
    let stored = stored.transpose()?;
    let apply = Apply {
        operation: request.operation,
        data_type: request.data_type,
        map: request.map,
        sequence: request.sequence,
        critical,
        data: request.data,
        received: now.wall,
        condition: None,
    };
    Ok(match stored {
        Some((text, metadata)) => {
            Demand::Embed { texts: vec![text], goal: Goal::Store { apply, id, metadata } }
        }
        None => Demand::Ask(StoreRequest::DeleteEmbedding(Arc::new(DeleteEmbedding { apply, id }))),
    })
}

fn matches(found: &[Match]) -> Arc<str> {
    let mut json = Vec::new();
    crate::wire::write(&MatchesPayload::new(found), &mut json);
    text(json)
}

fn text(json: Vec<u8>) -> Arc<str> {
    String::from_utf8(json).unwrap_or_default().into()
}

fn rejection(error: EmbedError) -> Rejection {
    let code = match error.is_transient() {
        true => ErrorCode::EmbeddingUnavailable,
        false => ErrorCode::EmbeddingFailed,
    };
    Rejection { code, message: error.to_string().into() }
}

fn reject<T>(code: ErrorCode, message: String) -> Result<T, Rejection> {
    Err(Rejection { code, message: message.into() })
}
