//! The main server's side: opens and checks requests, hands the store whole decisions, keeps the
//! cache fresh, tells subscribers, and seals replies.
//!
//! Promises:
//! - a request is answered after its effect is durable, never before;
//! - nothing is parsed, looked up or counted for an account before its frame is authentic;
//! - while the database is busy, operations gather into batches, critical ones ahead of the others;
//! - what an engine holds is only a cache of what the store decides, so any number of servers may
//!   share one database, and one that crashes loses no acknowledged operation.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::codec::{OpenError, Opened, ServerCodec};
use super::settings::ServerSettings;
use super::validate;
use crate::cache::{CacheError, CacheKey, CacheReply, CacheRequest, Refresh};
use crate::engine::Engine;
use crate::entropy::Entropy;
use crate::id::{OperationId, Token};
use crate::limits;
use crate::recording::frame::{self, Frame};
use crate::store::{Applied, Apply, StateKey, StoreError, StoreReply, StoreRequest, Verdict};
use crate::time::{Instant, Now, Span};
use crate::wire::{ErrorCode, Kind, Rejection, Reply, Request, StatePayload};

/// What the world tells the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "R: Frame", deserialize = "R: Frame"))]
pub enum ServerInput<R> {
    /// A request came in; answer with [`ServerEffect::Reply`] and the same token.
    Request {
        /// The driver's name for the exchange.
        token: Token,
        /// Its body.
        #[serde(with = "frame")]
        request: R,
    },
    /// The database answered, or will not.
    Stored {
        /// From [`ServerEffect::Store`].
        token: Token,
        /// The answer.
        answer: Result<StoreReply, StoreError>,
    },
    /// The cache answered, or will not.
    Cached {
        /// From [`ServerEffect::Cache`].
        token: Token,
        /// The answer.
        answer: Result<CacheReply, CacheError>,
    },
}

/// What the server asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "Q: Frame", deserialize = "Q: Frame"))]
pub enum ServerEffect<Q> {
    /// Answer an exchange: a sealed reply with HTTP 200, or a bare status.
    Reply {
        /// From [`ServerInput::Request`].
        token: Token,
        /// The body, or the status without one.
        #[serde(with = "frame::result")]
        reply: Result<Q, Status>,
    },
    /// Ask the database.
    Store {
        /// Names the request.
        token: Token,
        /// What is asked.
        request: StoreRequest,
    },
    /// Ask the cache; without a token the answer is of no interest.
    Cache {
        /// Names the request.
        token: Option<Token>,
        /// What is asked.
        request: CacheRequest,
    },
}

/// An HTTP status without a frame. It says nothing about the request but this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// 400: not an authentic request. One answer to every cause.
    Refused,
    /// 413.
    TooLarge,
    /// 429: too many exchanges are open; with `Retry-After` of [`RETRY_AFTER`].
    Overloaded,
    /// 503: the database is gone.
    Unavailable,
}

/// What a 429 asks for.
pub const RETRY_AFTER: Span = Span::from_secs(1);

impl Status {
    /// The number.
    pub const fn code(self) -> u16 {
        match self {
            Self::Refused => 400,
            Self::TooLarge => 413,
            Self::Overloaded => 429,
            Self::Unavailable => 503,
        }
    }
}

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
    /// `ApplyBatch` requests made.
    pub batches: u64,
}

/// The main server.
#[derive(Debug)]
pub struct Server<C, E> {
    settings: Arc<ServerSettings>,
    codec: C,
    entropy: E,
    exchanges: Slab<Exchange>,
    forming_critical: VecDeque<(usize, Apply)>,
    forming: VecDeque<(usize, Apply)>,
    /// By token; never iterated. Tokens are never used again, so that a completion that comes twice
    /// cannot be taken for another's.
    work: FxHashMap<Token, Work>,
    next_token: u64,
    batches_under_way: usize,
    next_purge: Option<Instant>,
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
}

/// What a completion is for.
#[derive(Clone, Debug)]
enum Work {
    /// A batch: the exchanges in the order of the operations.
    Batch { exchanges: Vec<usize>, operations: Arc<Vec<Apply>> },
    /// One exchange reads a state from the cache.
    Look { exchange: usize, key: StateKey },
    /// One exchange reads a state from the database.
    Load { exchange: usize, key: StateKey },
    /// Old names are forgotten.
    Purge,
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
            next_token: 0,
            batches_under_way: 0,
            next_purge: None,
            sealed: (Instant::from_us(0), 0),
            counters: Counters::default(),
        }
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
        let Opened { request, nonce } = match self.codec.open(request) {
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
        let exchange = Exchange { token, operation: request.operation, critical: request.critical, nonce };
        if let Err(rejection) = validate::request(&self.settings, now.wall, &request) {
            self.counters.rejected += 1;
            self.reply(now, &exchange, Err(rejection), effects);
            return;
        }
        match request.kind {
            Kind::SyncTo => self.gather(now, exchange, request),
            Kind::SyncFrom => self.look(exchange, request, effects),
        }
    }

    fn gather(&mut self, now: Now, exchange: Exchange, request: Request) {
        let critical = request.critical || self.settings.critical_types.contains(request.data_type);
        let slot = self.exchanges.insert(exchange);
        let apply = Apply {
            operation: request.operation,
            data_type: request.data_type,
            map: request.map,
            sequence: request.sequence,
            critical,
            data: request.data,
            received: now.wall,
        };
        let lane = if critical { &mut self.forming_critical } else { &mut self.forming };
        lane.push_back((slot, apply));
    }

    /// Sends batches as long as there is something to send and room for it.
    fn send_batches(&mut self, effects: &mut Vec<ServerEffect<C::Reply>>) {
        while self.batches_under_way < self.settings.batches_in_flight_max {
            let waiting = self.forming_critical.len() + self.forming.len();
            let size = waiting.min(self.settings.batch_max);
            if size == 0 {
                return;
            }
            let mut exchanges = Vec::with_capacity(size);
            let mut operations = Vec::with_capacity(size);
            let Self { forming_critical, forming, .. } = self;
            let next = std::iter::from_fn(|| forming_critical.pop_front().or_else(|| forming.pop_front()));
            for (exchange, apply) in next.take(size) {
                exchanges.push(exchange);
                operations.push(apply);
            }
            let operations = Arc::new(operations);
            let request = StoreRequest::ApplyBatch(Arc::clone(&operations));
            let token = self.begin(Work::Batch { exchanges, operations });
            self.batches_under_way += 1;
            self.counters.batches += 1;
            effects.push(ServerEffect::Store { token, request });
        }
    }

    /// Names work that a completion will end.
    fn begin(&mut self, work: Work) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.work.insert(token, work);
        token
    }

    fn look(&mut self, exchange: Exchange, request: Request, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let key = StateKey::new(request.data_type, request.operation.account, request.map);
        let exchange = self.exchanges.insert(exchange);
        let request = CacheRequest::Get(CacheKey::State(key.clone()));
        let token = self.begin(Work::Look { exchange, key });
        effects.push(ServerEffect::Cache { token: Some(token), request });
    }

    fn stored(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<StoreReply, StoreError>,
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        // A look is for the cache to complete.
        if matches!(self.work.get(&token), Some(Work::Look { .. })) {
            return;
        }
        let Some(work) = self.work.remove(&token) else { return };
        match (work, answer) {
            (Work::Batch { exchanges, operations }, Ok(StoreReply::Applied(applied)))
                if applied.len() == exchanges.len() =>
            {
                self.batches_under_way -= 1;
                self.refresh(&operations, &applied, effects);
                for (slot, answer) in exchanges.into_iter().zip(applied) {
                    self.applied(now, slot, answer, effects);
                }
            }
            (Work::Batch { exchanges, .. }, _) => {
                self.batches_under_way -= 1;
                exchanges.into_iter().for_each(|slot| self.unavailable(slot, effects));
            }
            (Work::Load { exchange, key }, Ok(StoreReply::Loaded(row))) => {
                let payload = row
                    .as_ref()
                    .map(|r| StatePayload { version: r.version, data: (&*r.data).into() }.to_json());
                if let Some(row) = row {
                    let refresh = Refresh {
                        key,
                        version: row.version,
                        data: row.data,
                        operation: row.operation,
                        publish: false,
                    };
                    self.put(vec![refresh], effects);
                }
                let exchange = self.exchanges.remove(exchange);
                self.reply(now, &exchange, Ok(payload), effects);
            }
            (Work::Load { exchange, .. } | Work::Look { exchange, .. }, _) => {
                self.unavailable(exchange, effects)
            }
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
        // All else is for the database to complete.
        if !matches!(self.work.get(&token), Some(Work::Look { .. })) {
            return;
        }
        let Some(Work::Look { exchange, key }) = self.work.remove(&token) else { return };
        // A cache that is down is a cache that misses.
        if let Ok(CacheReply::Value(Some(value))) = answer {
            self.counters.cache_hits += 1;
            let payload = StatePayload { version: value.version, data: (&*value.data).into() }.to_json();
            let exchange = self.exchanges.remove(exchange);
            self.reply(now, &exchange, Ok(Some(payload)), effects);
        } else {
            self.counters.cache_misses += 1;
            let request = StoreRequest::Load(key.clone());
            let token = self.begin(Work::Load { exchange, key });
            effects.push(ServerEffect::Store { token, request });
        }
    }

    fn applied(&mut self, now: Now, slot: usize, answer: Applied, effects: &mut Vec<ServerEffect<C::Reply>>) {
        let exchange = self.exchanges.remove(slot);
        let result = match answer.verdict {
            Verdict::Applied { .. } => Ok(None),
            Verdict::OutOfOrder { last } => Err(Rejection {
                code: ErrorCode::OutOfOrder,
                message: format!("sequence {last} of this map and type took effect before").into(),
            }),
        };
        let counter = match (&result, answer.duplicate) {
            (_, true) => &mut self.counters.duplicates,
            (Ok(_), _) => &mut self.counters.applied,
            (Err(_), _) => &mut self.counters.rejected,
        };
        *counter += 1;
        self.reply(now, &exchange, result, effects);
    }

    /// Brings the cache up to date with a batch and tells subscribers of what was critical in it.
    fn refresh(
        &mut self,
        operations: &[Apply],
        applied: &[Applied],
        effects: &mut Vec<ServerEffect<C::Reply>>,
    ) {
        for (operation, _) in operations.iter().zip(applied).filter(|(_, answer)| answer.duplicate) {
            // Its first answer may have been lost before the cache was told. By now its value may be an
            // old one, so the entry goes, and the next reader brings the current value.
            if let Some(key) = operation.state_key() {
                let request = CacheRequest::Delete(CacheKey::State(key));
                effects.push(ServerEffect::Cache { token: None, request });
            }
        }
        let fresh = operations.iter().zip(applied).filter_map(|(operation, answer)| match answer {
            Applied { verdict: Verdict::Applied { version }, duplicate: false } => Some(Refresh {
                key: operation.state_key()?,
                version: *version,
                data: Arc::clone(&operation.data),
                operation: operation.operation,
                publish: operation.critical,
            }),
            _ => None,
        });
        let fresh: Vec<_> = fresh.collect();
        self.put(fresh, effects);
    }

    fn put(&self, states: Vec<Refresh>, effects: &mut Vec<ServerEffect<C::Reply>>) {
        if !states.is_empty() {
            let request =
                CacheRequest::Refresh { states: Arc::new(states), expiry: self.settings.cache_expiry };
            effects.push(ServerEffect::Cache { token: None, request });
        }
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
        let reply = self.codec.seal(exchange.critical, &reply, iv);
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
        }
        self.send_batches(effects);
        self.purge(now, effects);
    }

    fn wake(&mut self, now: Now, effects: &mut Vec<Self::Effect>) {
        self.purge(now, effects);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.next_purge
    }
}
