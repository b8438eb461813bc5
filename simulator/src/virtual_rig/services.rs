//! The main server's database and cache as nodes of the world: with latency, failures and crashes.
//!
//! A request takes effect at its commit and is answered some time later; a crash between the two
//! loses the answer and keeps the effect, a crash before the commit loses both.

use std::collections::VecDeque;
use std::hash::Hasher as _;

use rustc_hash::FxHasher;
use slab::Slab;
use sync_core::cache::{CacheReply, CacheRequest, MemoryCache, Missed, Notice};
use sync_core::id::{AccountId, OperationId, Token};
use sync_core::limits;
use sync_core::store::validation::SecurityValidation;
use sync_core::store::{Apply, Content, MemoryStore, StoreReply, StoreRequest};
use sync_core::time::Timestamp;

use super::clock::NodeClock;
use crate::distribution::Sampler;
use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::scenario::model::{Disturbance, MixKind, Service};

/// Latency and failures of a service, with the faults that are on.
#[derive(Debug)]
pub(crate) struct Conditions {
    draws: Draws,
    entity: u64,
    latency: Sampler,
    answer_us: u64,
    failures_ppm: u32,
    disturbed: Vec<Disturbed>,
    /// Micro-operations a second.
    capacity: Option<u64>,
    /// When what has come so far will be done, in nanoseconds.
    busy_until_ns: u64,
    up: bool,
    life: u32,
}

/// A fault that is on: its number, another latency, another share of failures.
type Disturbed = (u32, Option<Sampler>, Option<u32>);

/// Names a request to a service by the attempt that it serves; a batch by its first operation's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    host: u64,
    ordinal: u64,
}

impl About {
    /// The latest attempt at an operation.
    pub(super) fn attempt(op: OpRef, attempt: u32) -> Self {
        Self { host: u64::from(op.host) + 1, ordinal: op.ticket << 8 | u64::from(attempt & 0xff) }
    }

    /// What draws about it are keyed by, at the service `entity`.
    pub(super) fn key(self, entity: u64) -> (u64, u64) {
        (self.host << 8 | entity, self.ordinal)
    }

    /// The attempt that this is about.
    pub(super) fn op(self) -> (OpRef, u32) {
        let host = u32::try_from(self.host.saturating_sub(1)).unwrap_or(u32::MAX);
        (OpRef { host, ticket: self.ordinal >> 8 }, (self.ordinal & 0xff) as u32)
    }

    /// A batch of reports that waited for the one before, the first of which is this account's.
    pub(super) fn reports(account: AccountId, now_us: u64) -> Self {
        Self { host: u64::from(account.0), ordinal: now_us }
    }

    /// Work that serves no operation, told apart by its moment.
    pub(super) fn moment(now_us: u64) -> Self {
        Self { host: 0, ordinal: now_us }
    }
}

/// What will become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It takes effect after so long.
    Commits(u64),
    /// It is answered with an error after so long, without effect.
    Fails(u64),
}

impl Conditions {
    pub(super) fn new(draws: Draws, entity: u64, service: &Service) -> Self {
        Self {
            draws,
            entity,
            latency: Sampler::new(&service.latency),
            answer_us: service.answer.span().as_us(),
            failures_ppm: service.failures.ppm(),
            disturbed: Vec::new(),
            capacity: service.capacity.map(|rate| rate.micro_hz()),
            busy_until_ns: 0,
            up: true,
            life: 0,
        }
    }

    pub(super) fn disturb(&mut self, fault: u32, disturbance: &Disturbance) {
        let latency = disturbance.latency.as_ref().map(Sampler::new);
        self.disturbed.push((fault, latency, disturbance.failures.map(|share| share.ppm())));
    }

    pub(super) fn heal(&mut self, fault: u32) {
        self.disturbed.retain(|(number, ..)| *number != fault);
    }

    /// How long a request for so many operations that comes now waits for its turn and is worked on, where the
    /// service has a capacity.
    pub(super) fn queueing_us(&mut self, now_us: u64, operations: usize) -> u64 {
        let Some(micro_hz) = self.capacity.filter(|_| self.up) else { return 0 };
        let now_ns = now_us * 1_000;
        let work_ns = operations as u128 * 1_000_000_000_000_000 / u128::from(micro_hz);
        let start_ns = self.busy_until_ns.max(now_ns);
        self.busy_until_ns = start_ns.saturating_add(u64::try_from(work_ns).unwrap_or(u64::MAX));
        (self.busy_until_ns - now_ns) / 1_000
    }

    /// What will become of a request, named by what it is about: never by when it comes, which hangs on
    /// what else happens.
    pub(super) fn fate(&self, about: About) -> Fate {
        if !self.up {
            return Fate::Fails(self.answer_us);
        }
        let (entity, ordinal) = about.key(self.entity);
        let latest = |pick: fn(&Disturbed) -> bool| self.disturbed.iter().rfind(|d| pick(d));
        let latency = latest(|d| d.1.is_some()).and_then(|d| d.1.as_ref()).unwrap_or(&self.latency);
        let failures = latest(|d| d.2.is_some()).and_then(|d| d.2).unwrap_or(self.failures_ppm);
        let after_us = latency.at(self.draws.bits(Label::Commit, entity, ordinal));
        if self.draws.hits(failures, Label::Failure, entity, ordinal) {
            Fate::Fails(after_us + self.answer_us)
        } else {
            Fate::Commits(after_us)
        }
    }

    pub(super) fn answer_us(&self) -> u64 {
        self.answer_us
    }

    /// Which life it is in: what was sent in an earlier one is lost.
    pub(super) fn life(&self) -> u32 {
        self.life
    }

    pub(super) fn restart(&mut self) {
        self.up = true;
    }

    fn crash(&mut self) {
        self.up = false;
        self.busy_until_ns = 0;
        self.life += 1;
    }
}

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) conditions: Conditions,
    store: MemoryStore,
    /// Each with the life of the main server that asks.
    waiting: Slab<(u32, Token, StoreRequest)>,
    transactions: u64,
    unsafe_tail: Option<UnsafeTail>,
    /// For the planted defect whose writes know of no host: what is asked about hosts is decided here.
    hosts_apart: Option<MemoryStore>,
}

/// For the planted defect that answers before it is durable.
#[derive(Debug)]
struct UnsafeTail {
    lag_us: u64,
    durable: MemoryStore,
    journal: VecDeque<(u64, StoreRequest)>,
}

impl Database {
    pub(super) fn new(draws: Draws, service: &Service, durability_lag_us: Option<u64>, fences: bool) -> Self {
        Self {
            conditions: Conditions::new(draws, 1, service),
            store: MemoryStore::default(),
            waiting: Slab::new(),
            transactions: 0,
            unsafe_tail: durability_lag_us.map(|lag_us| UnsafeTail {
                lag_us,
                durable: MemoryStore::default(),
                journal: VecDeque::new(),
            }),
            hosts_apart: (!fences).then(MemoryStore::default),
        }
    }

    /// Keeps a request until its commit.
    pub(super) fn wait(&mut self, life: u32, token: Token, request: StoreRequest) -> usize {
        self.waiting.insert((life, token, request))
    }

    /// Commits a request that waited, if no crash took it, or what `instead` makes of it.
    pub(super) fn commit(
        &mut self,
        place: usize,
        now_us: u64,
        instead: impl FnOnce(&StoreRequest, u64) -> Option<StoreRequest>,
    ) -> Option<(Token, StoreRequest, StoreReply)> {
        let (_, token, request) = self.waiting.try_remove(place)?;
        self.transactions += 1;
        let altered = instead(&request, self.transactions);
        if let Some(tail) = &mut self.unsafe_tail {
            tail.journal.push_back((now_us + tail.lag_us, request.clone()));
            tail.settle(now_us);
        }
        let about_hosts = matches!(
            request,
            StoreRequest::ReportHosts(_) | StoreRequest::SweepHosts | StoreRequest::LoadHosts(_)
        );
        let wall = NodeClock::default().now(now_us).wall;
        self.store.tell_time(wall);
        let reply = match &mut self.hosts_apart {
            Some(apart) if about_hosts => {
                apart.tell_time(wall);
                apart.execute(&request)
            }
            _ => self.store.execute(altered.as_ref().unwrap_or(&request)),
        };
        Some((token, request, reply))
    }

    /// Dies: what waited is answered with an error, what was committed stays. Gives the lives of the main servers
    /// that wait, and what for.
    pub(super) fn crash(&mut self, now_us: u64) -> Vec<(u32, Token)> {
        self.conditions.crash();
        if let Some(tail) = &mut self.unsafe_tail {
            tail.settle(now_us);
            tail.journal.clear();
            self.store = tail.durable.clone();
        }
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().map(|(_, (life, token, _))| (life, token)).collect()
    }

    /// The operations of a request that waits.
    pub(super) fn operations(&self, place: usize) -> &[Apply] {
        self.waiting.get(place).map_or(&[], |(.., request)| request.operations())
    }

    /// Reads what these will need.
    pub(super) fn warm(&self, operations: &[Apply]) -> u64 {
        self.store.warm(operations)
    }

    pub(super) fn knows(&self, operation: OperationId) -> bool {
        self.store.knows(operation)
    }

    pub(super) fn content(&self) -> Content {
        self.store.content()
    }

    /// What the main servers found in what hosts sent.
    pub(super) fn validations(&self) -> impl Iterator<Item = &SecurityValidation> {
        self.store.validations()
    }
}

impl UnsafeTail {
    fn settle(&mut self, now_us: u64) {
        while self.journal.front().is_some_and(|(at_us, _)| *at_us <= now_us) {
            if let Some((at_us, request)) = self.journal.pop_front() {
                self.durable.tell_time(NodeClock::default().now(at_us).wall);
                self.durable.execute(&request);
            }
        }
    }
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) conditions: Conditions,
    cache: MemoryCache,
    /// Each with the life of the main server that asks.
    waiting: Slab<(u32, Option<Token>, CacheRequest)>,
    /// What it was not told while it failed; made up for before it does anything else.
    missed: Missed,
    /// Followers are to be told of a gap, before anything else.
    announces_gap: bool,
    published: u64,
}

impl Cache {
    pub(super) fn new(draws: Draws, service: &Service) -> Self {
        Self {
            conditions: Conditions::new(draws, 2, service),
            cache: MemoryCache::default(),
            waiting: Slab::new(),
            missed: Missed::default(),
            announces_gap: false,
            published: 0,
        }
    }

    pub(super) fn wait(&mut self, life: u32, token: Option<Token>, request: CacheRequest) -> usize {
        self.waiting.insert((life, token, request))
    }

    /// Reads what a request that waits will need.
    pub(super) fn warm(&self, place: usize) -> u64 {
        match self.waiting.get(place) {
            Some((.., CacheRequest::Refresh { states, .. })) => self.cache.warm(states),
            _ => 0,
        }
    }

    /// A request failed.
    pub(super) fn miss(&mut self, request: &CacheRequest) {
        self.missed.note(request, limits::PURGE_MAX);
    }

    /// Executes a request that waited, if no crash took it: that request, or what `instead` says. Gives the life
    /// of the main server that asked, and how it named the request.
    pub(super) fn execute(
        &mut self,
        place: usize,
        now: Timestamp,
        instead: impl FnOnce(&CacheRequest) -> Option<Vec<CacheRequest>>,
    ) -> Option<(u32, Option<Token>, CacheReply)> {
        let (life, token, request) = self.waiting.try_remove(place)?;
        self.make_up(now);
        let reply = match instead(&request) {
            None => self.cache.execute(now, &request),
            Some(requests) => {
                let replies = requests.iter().map(|request| self.cache.execute(now, request));
                replies.last().unwrap_or(CacheReply::Done)
            }
        };
        Some((life, token, reply))
    }

    /// What has been published since this was asked last.
    pub(super) fn take_published(&mut self) -> Vec<Notice> {
        let told = self.cache.take_published().map(Notice::Publication);
        let told: Vec<_> =
            std::mem::take(&mut self.announces_gap).then_some(Notice::Gap).into_iter().chain(told).collect();
        self.published += told.iter().filter(|notice| **notice != Notice::Gap).count() as u64;
        told
    }

    /// Whether followers have yet to be told that publications were lost.
    pub(super) fn owes_gap(&self) -> bool {
        self.missed.publications()
    }

    /// Whether it can be reached at all.
    pub(super) fn is_up(&self) -> bool {
        self.conditions.up
    }

    /// Executes a request that nobody made.
    pub(super) fn put(&mut self, now: Timestamp, request: &CacheRequest) {
        self.cache.execute(now, request);
    }

    /// What was missed goes, as when a connection is back.
    pub(super) fn make_up(&mut self, now: Timestamp) {
        if self.missed.is_empty() {
            return;
        }
        let missed = std::mem::take(&mut self.missed);
        self.announces_gap |= missed.publications();
        if missed.everything() {
            self.cache.execute(now, &CacheRequest::Flush);
        }
        for entry in missed.entries() {
            self.cache.execute(now, &CacheRequest::Delete(entry.clone()));
        }
        let states: Vec<_> = missed.states().cloned().collect();
        let expires = Some(now + limits::CACHE_VERSIONS_KEPT);
        self.cache.execute(now, &CacheRequest::Refresh { states: states.into(), expires });
    }

    /// Dies and forgets everything. Gives the lives of the main servers that wait, and what for.
    pub(super) fn crash(&mut self) -> Vec<(u32, Token)> {
        self.conditions.crash();
        self.cache = MemoryCache::default();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(_, (life, token, _))| Some((life, token?))).collect()
    }

    /// Messages published to subscribers so far.
    pub(super) fn published(&self) -> u64 {
        self.published
    }
}

/// The operation whose value this is: every value that a workload writes names its operation.
pub(crate) fn written_op(data: &str) -> Option<OpRef> {
    match data.strip_prefix(VALUE_PREFIX) {
        Some(value) => value.split('"').next()?.parse().ok(),
        None => data.strip_prefix(TEXT_PREFIX)?.split(' ').next()?.parse().ok(),
    }
}

/// A hash over a value, by which values are told apart.
pub(crate) fn value_digest(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The data of an operation on embeddings: each of its texts names it. Its size is not for the workload to choose.
pub(crate) fn embedding_data(op: OpRef, kind: MixKind) -> std::sync::Arc<str> {
    let texts = embedded_texts(op);
    match kind {
        MixKind::Embed => serde_json::json!({"texts": texts}).to_string(),
        MixKind::Search => serde_json::json!({"text": texts[0], "limit": 3}).to_string(),
        MixKind::SyncTo | MixKind::SyncFrom | MixKind::Report => format!("{TEXT_PREFIX}{}\"}}", texts[0]),
    }
    .into()
}

/// The texts of an operation on embeddings, without anything that JSON escapes.
pub(crate) fn embedded_texts(op: OpRef) -> [String; 3] {
    let word = |place: u64| WORDS[(op.ticket / 3u64.pow(place as u32) + place) as usize % WORDS.len()];
    [0, 1, 2].map(|text| format!("{op} {} {} {}", word(text), word(text + 1), word(text + 4)))
}

const WORDS: [&str; 7] = ["sword", "shield", "potion", "market", "dragon", "bridge", "harbour"];

/// How a text to be stored begins; see [`embedding_data`].
const TEXT_PREFIX: &str = "{\"text\":\"";

/// How values begin; see [`value`].
const VALUE_PREFIX: &str = "{\"w\":\"";

/// The value that an operation writes or, for a read, asks with: JSON of `bytes` bytes that names
/// it, filled up with spaces before the closing brace.
pub(crate) fn value(op: OpRef, bytes: u32, text: &mut String) -> std::sync::Arc<str> {
    let bytes = bytes as usize;
    begin_value(op, text);
    while text.len() + 1 < bytes {
        let missing = bytes - text.len() - 1;
        text.push_str(&SPACES[..missing.min(SPACES.len())]);
    }
    text.push('}');
    text.as_str().into()
}

/// The part of a value that names its operation; more fields may follow, and a closing brace.
pub(super) fn begin_value(op: OpRef, text: &mut String) {
    text.clear();
    text.push_str(VALUE_PREFIX);
    push_decimal(text, u64::from(op.host));
    text.push('.');
    push_decimal(text, op.ticket);
    text.push('"');
}

/// Appends a number; every operation has two, and formatting machinery would cost more than all else here.
fn push_decimal(text: &mut String, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().copied().map(char::from));
}

const SPACES: &str = "                                                                ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_capacity_waits_in_the_order_of_its_coming() {
        let capacity = Some("1000/s".parse().unwrap());
        let latency = crate::scenario::model::Distribution::Constant(crate::scenario::units::Length::ZERO);
        let service = Service { latency, answer: Default::default(), failures: Default::default(), capacity };
        let mut conditions = Conditions::new(Draws::new(1), 1, &service);
        assert_eq!(conditions.queueing_us(0, 1), 1_000);
        assert_eq!(conditions.queueing_us(500, 10), 10_500);
        assert_eq!(conditions.queueing_us(11_000, 1), 1_000);
        assert_eq!(conditions.queueing_us(20_000, 1), 1_000);
        conditions.crash();
        conditions.restart();
        assert_eq!(conditions.queueing_us(20_000, 1), 1_000);
        let mut unbounded = Conditions::new(Draws::new(1), 1, &Service { capacity: None, ..service });
        assert_eq!(unbounded.queueing_us(0, 1_000_000), 0);
    }

    #[test]
    fn a_value_names_its_operation_and_has_its_size() {
        for bytes in [32, 40, 96, 5_000] {
            let op = OpRef { host: 99_999, ticket: 3 << 40 | 77 };
            let value = value(op, bytes, &mut String::new());
            assert_eq!(written_op(&value), Some(op));
            assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok());
            assert_eq!(value.len(), bytes as usize);
        }
        assert_eq!(written_op("{\"read\":\"1.2\"}"), None);
    }

    #[test]
    fn texts_name_their_operation() {
        let op = OpRef { host: 7, ticket: 3 << 40 | 77 };
        assert_eq!(written_op(&embedding_data(op, MixKind::SyncTo)), Some(op));
        for kind in [MixKind::SyncTo, MixKind::Embed, MixKind::Search] {
            let data = embedding_data(op, kind);
            assert!(serde_json::from_str::<serde_json::Value>(&data).is_ok(), "{data}");
            assert!(data.contains(&embedded_texts(op)[0]), "{data}");
        }
    }
}
