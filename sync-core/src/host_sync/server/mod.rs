//! The main server's side: opens and checks requests, hands the store whole decisions, keeps the
//! cache fresh, tells subscribers, and seals replies.
//!
//! Promises:
//! - a request is answered after its effect is durable, never before;
//! - nothing is parsed, looked up or counted for an account before its frame is authentic;
//! - while the database is busy, operations gather into batches, critical ones ahead of the others; what has
//!   gathered for so long that nobody waits for it any more is turned away without work, so that an overload
//!   does not outlive its cause;
//! - what an engine holds is only a cache of what the store decides, so any number of servers may
//!   share one database, and one that crashes loses no acknowledged operation.

mod embeddings;
mod entries;
mod hosting;
mod message;
mod publish;
mod reads;
mod updates;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;

use super::codec::{OpenError, Opened, ServerCodec};
use super::settings::ServerSettings;
use super::validate;
use crate::cache::{CacheError, CacheReply};
use crate::data_type::SyncDataType;
use crate::engine::Engine;
use crate::entropy::Entropy;
use crate::envelope::Form;
use crate::id::{OperationId, Token};
use crate::limits;
use crate::store::{Apply, StateKey, StoreError, StoreReply, StoreRequest};
use crate::time::{Instant, Now};
use crate::wire::{Kind, Rejection, Reply};

use embeddings::Desk;
use reads::Flight;
use updates::Updates;

pub use message::{RETRY_AFTER, ServerEffect, ServerInput, Status};

/// Counts since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests taken in.
    pub requests: u64,
    /// Requests that were not authentic.
    pub refused: u64,
    /// Requests turned away under load.
    pub overloaded: u64,
    /// Operations that took effect.
    pub applied: u64,
    /// Operations seen before.
    pub duplicates: u64,
    /// Operations rejected, order included.
    pub rejected: u64,
    /// States served from the cache.
    pub cache_hits: u64,
    /// States read from the database.
    pub cache_misses: u64,
    /// Reads that waited for one of the same state already under way.
    pub reads_joined: u64,
    /// `ApplyBatch` requests made.
    pub batches: u64,
    /// Requests to the embedding provider.
    pub embed_requests: u64,
    /// Those that brought no vectors.
    pub embed_failures: u64,
    /// Requests for applications' own entries.
    pub entries: u64,
    /// Requests for critical updates.
    pub subscribes: u64,
    /// Findings about data of hosts that were not kept.
    pub findings_dropped: u64,
}

/// The main server.
#[derive(Debug)]
pub struct Server<C, E> {
    settings: Arc<ServerSettings>,
    codec: C,
    entropy: E,
    exchanges: Slab<Exchange>,
    forming_critical: VecDeque<Forming>,
    forming: VecDeque<Forming>,
    /// By token; never iterated. Tokens are never used again, so that a completion that comes twice
    /// cannot be taken for another's.
    work: FxHashMap<Token, Work>,
    /// The read of each state that others may join.
    flights: FxHashMap<StateKey, Token>,
    /// What subscribers are told.
    updates: Updates,
    next_token: u64,
    batches_under_way: usize,
    desk: Desk,
    next_purge: Option<Instant>,
    hosting: hosting::Hosting,
    /// The latest moment at which a reply was sealed, and how many were at it.
    sealed: (Instant, u64),
    counters: Counters,
}

/// A request that waits for the database or the cache.
#[derive(Clone, Debug)]
struct Exchange {
    token: Token,
    operation: OperationId,
    critical: bool,
    nonce: u64,
    form: Form,
}

/// An operation that waits for a batch: its exchange, and when it came.
#[derive(Clone, Debug)]
struct Forming {
    exchange: usize,
    came: Instant,
    apply: Apply,
}

/// What a completion is for.
#[derive(Clone, Debug)]
enum Work {
    /// A batch: the exchanges in the order of the operations, and when the database was asked.
    Batch { exchanges: Vec<usize>, operations: Arc<Vec<Apply>>, asked: Instant },
    /// A state is read from the cache.
    Look(Flight),
    /// A state is read from the database, which was asked then.
    Load { flight: Flight, asked: Instant },
    /// The provider is asked for the texts of these operations.
    Embed { jobs: Vec<usize> },
    /// The database is asked for an operation on embeddings.
    Embedding { job: usize, request: StoreRequest, asked: Instant },
    /// An application's entry is read or written.
    Entry { exchange: usize },
    /// Old names are forgotten.
    Purge,
    /// Reports of hosts are taken: the exchanges in their order.
    Reports { exchanges: Vec<usize> },
    /// Silent hosts are looked for.
    Sweep,
    /// So many findings are kept.
    Record { findings: u64 },
}

impl<C: ServerCodec, E: Entropy> Server<C, E> {
    /// A server with nothing under way.
    pub fn new(settings: Arc<ServerSettings>, codec: C, entropy: E) -> Self {
        Self {
            settings,
            codec,
            entropy,
            exchanges: Slab::new(),
            forming_critical: VecDeque::new(),
            forming: VecDeque::new(),
            work: FxHashMap::default(),
            flights: FxHashMap::default(),
            updates: Updates::default(),
            next_token: 0,
            batches_under_way: 0,
            desk: Desk::default(),
            next_purge: None,
            hosting: hosting::Hosting::default(),
            sealed: (Instant::from_us(0), 0),
            counters: Counters::default(),
        }
    }

    /// What seals and opens.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// The same, for a driver that has something to give it that no input may hold: keys.
    pub fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Exchanges that wait for the database or the cache.
    pub fn open_exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn request(
        &mut self,
        now: Now,
        token: Token,
        request: &C::Request,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.counters.requests += 1;
        if self.exchanges.len() >= self.settings.exchanges_max {
            self.counters.overloaded += 1;
            effects.push(ServerEffect::Reply { token, reply: Err(Status::Overloaded) });
            return;
        }
        let Opened { request, nonce, form } = match self.codec.open(request) {
            Ok(opened) => opened,
            Err(error) => {
                self.counters.refused += 1;
                let status = match error {
                    OpenError::TooLarge => Status::TooLarge,
                    OpenError::Refused => Status::Refused,
                };
                effects.push(ServerEffect::Reply { token, reply: Err(status) });
                return;
            }
        };
        let exchange =
            Exchange { token, operation: request.operation, critical: request.critical, nonce, form };
        let condition = match validate::request(&self.settings, now.wall, &request) {
            Ok(condition) => condition,
            Err(refusal) => return self.refuse(now, &exchange, refusal, effects),
        };
        match request.kind {
            Kind::SyncTo if request.data_type == SyncDataType::VectorEmbedding => {
                self.embedding(now, exchange, request, effects);
            }
            Kind::Embed | Kind::Search => self.embedding(now, exchange, request, effects),
            Kind::SyncTo => self.gather(now, exchange, request, condition),
            Kind::SyncFrom => self.read(exchange, request, effects),
            Kind::CacheGet | Kind::CacheSet | Kind::CacheDelete | Kind::CacheExists => {
                self.entry(now, exchange, &request, effects);
            }
            Kind::Subscribe => self.subscribe(now, exchange, &request, effects),
            Kind::Report => self.report(now, exchange, &request, effects),
        }
    }

    /// Names work that a completion will end.
    fn begin(&mut self, work: Work) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.work.insert(token, work);
        token
    }

    fn stored(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<StoreReply, StoreError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        // Looks and entries are for the cache to complete, texts are for the provider.
        if matches!(self.work.get(&token), Some(Work::Look(_) | Work::Entry { .. } | Work::Embed { .. })) {
            return;
        }
        let Some(work) = self.work.remove(&token) else { return };
        match (work, answer) {
            (Work::Batch { exchanges, operations, asked }, answer) => {
                self.batch_stored(now, (exchanges, &operations, asked), answer, effects);
            }
            (Work::Load { flight, asked }, Ok(StoreReply::Loaded(row))) => {
                self.loaded(now, token, (flight, asked), Some(row), effects);
            }
            (Work::Load { flight, asked }, _) => self.loaded(now, token, (flight, asked), None, effects),
            (Work::Embedding { job, request, asked }, answer) => {
                self.embedding_stored(now, (job, asked), &request, answer, effects);
            }
            (Work::Look(_) | Work::Entry { .. } | Work::Embed { .. }, _) => {}
            (Work::Reports { exchanges }, answer) => self.reported(now, exchanges, answer, effects),
            (Work::Sweep, answer) => self.swept(now, &answer),
            (Work::Record { findings }, answer) => self.recorded(findings, &answer),
            // There may be more to forget: not a window later, or names would pile up under load.
            (Work::Purge, Ok(StoreReply::Purged(purged))) if purged >= limits::PURGE_MAX as u64 => {
                self.next_purge = Some(now.monotonic);
            }
            (Work::Purge, _) => {}
        }
    }

    fn cached(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<CacheReply, CacheError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        match self.work.remove(&token) {
            Some(Work::Look(flight)) => self.looked(now, token, flight, answer, effects),
            Some(Work::Entry { exchange }) => self.entry_answered(now, exchange, answer, effects),
            // All else is for the database to complete.
            Some(work) => {
                self.work.insert(token, work);
            }
            None => {}
        }
    }

    fn reject(
        &mut self,
        now: Now,
        exchange: &Exchange,
        rejection: Rejection,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.counters.rejected += 1;
        self.reply(now, exchange, Err(rejection), effects);
    }

    fn unavailable(&mut self, slot: usize, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let token = self.exchanges.remove(slot).token;
        effects.push(ServerEffect::Reply { token, reply: Err(Status::Unavailable) });
    }

    fn reply(
        &mut self,
        now: Now,
        exchange: &Exchange,
        result: Result<Option<Arc<str>>, Rejection>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        self.sealed = if self.sealed.0 == now.monotonic {
            (now.monotonic, self.sealed.1 + 1)
        } else {
            (now.monotonic, 0)
        };
        let ordinal = now.monotonic.as_us() << 12 | self.sealed.1 & 0xfff;
        let iv = self.entropy.iv(exchange.nonce, ordinal);
        let reply = Reply { operation: exchange.operation, server_time: now.wall, result };
        let reply = match exchange.form {
            Form::Version2 => self.codec.seal(exchange.critical, &reply, iv),
            Form::Legacy => self.codec.seal_legacy(exchange.critical, &reply, iv),
        };
        effects.push(ServerEffect::Reply { token: exchange.token, reply: Ok(reply) });
    }

    /// Names must be kept for as long as a request could still be taken as fresh.
    fn purge(&mut self, now: Now, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let kept = self.settings.freshness_window.saturating_mul(limits::DEDUPLICATION_WINDOWS);
        match self.next_purge {
            Some(due) if due <= now.monotonic => {
                let request = StoreRequest::Purge { before: now.wall.saturating_sub(kept) };
                let token = self.begin(Work::Purge);
                effects.push(ServerEffect::Store { token, request });
                self.next_purge = Some(now.monotonic + self.settings.freshness_window);
            }
            Some(_) => {}
            None => self.next_purge = Some(now.monotonic + self.settings.freshness_window),
        }
    }
}

impl<C: ServerCodec, E: Entropy> Engine for Server<C, E> {
    type Input = ServerInput<C::Request>;
    type Effect = ServerEffect<C::Reply>;

    fn handle(&mut self, now: Now, input: Self::Input, effects: &mut Vec<Self::Effect>) {
        match input {
            ServerInput::Request { token, request } => self.request(now, token, &request, effects),
            ServerInput::Stored { token, answer } => self.stored(now, token, answer, effects),
            ServerInput::Cached { token, answer } => self.cached(now, token, answer, effects),
            ServerInput::UseKeys(keys) => self.codec.use_keys(&keys),
            ServerInput::Embedded { token, answer } => self.embedded(now, token, answer, effects),
            ServerInput::Noticed { notice } => self.noticed(now, notice, effects),
            ServerInput::ShutDown => self.stop_waiting(now, effects),
        }
        self.send_batches(now, effects);
        self.send_reports(now, effects);
        self.send_texts(effects);
        self.purge(now, effects);
        self.check_hosts(now, effects);
        self.record(effects);
    }

    fn wake(&mut self, now: Now, effects: &mut Vec<Self::Effect>) {
        self.pass_waiting(now, effects);
        self.purge(now, effects);
        self.check_hosts(now, effects);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let due = [self.next_purge, self.updates.next_deadline(), self.hosting.next_check];
        due.into_iter().flatten().min()
    }
}
