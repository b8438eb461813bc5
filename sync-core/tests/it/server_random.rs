//! Random requests to the main server's engine, with a database and a cache that answer in any order,
//! fail, or do as asked and lose the answer.
//!
//! A failure prints the shortest run that shows it; `PROPTEST_RNG_SEED=<seed> cargo test -p sync-core
//! --test it server_random` makes the runs of one seed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use sync_core::cache::{CacheError, CacheRequest, MemoryCache};
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::engine::Engine;
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput, Status};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::{OperationId, Token};
use sync_core::limits;
use sync_core::store::{Content, MemoryStore, StateKey, StoreError, StoreReply, StoreRequest};
use sync_core::time::Timestamp;
use sync_core::wire::{ErrorCode, Kind, Request};

use crate::support::{Draws, Plain, PlainReply, PlainRequest, at_ms, map, operation};

const TYPES: [SyncDataType; 3] =
    [SyncDataType::PlayerData, SyncDataType::ChatMessage, SyncDataType::MapState];

/// How a request to the database or the cache ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    /// It is not done, and fails.
    Failed,
    /// It is done, and the answer is lost.
    AnswerLost,
}

#[derive(Clone, Debug)]
enum Step {
    /// An operation is asked for; the same one may come again, as its host's retry.
    Write {
        account: u32,
        counter: u64,
        critical: bool,
    },
    Read {
        account: u32,
        data_type: SyncDataType,
    },
    /// One of the database's open requests ends, not the oldest in general.
    Store {
        which: Index,
        fate: Fate,
    },
    /// One of the cache's open requests ends.
    Cache {
        which: Index,
        fate: Fate,
    },
    /// A completion that was delivered before comes again.
    Repeat {
        which: Index,
    },
    Pass {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = || prop_oneof![6 => Just(Fate::Done), 1 => Just(Fate::Failed), 1 => Just(Fate::AnswerLost)];
    let step = prop_oneof![
        8 => (1u32..3, 1u64..13, any::<bool>())
            .prop_map(|(account, counter, critical)| Step::Write { account, counter, critical }),
        2 => (1u32..3, prop::sample::select(vec![TYPES[0], TYPES[2]]))
            .prop_map(|(account, data_type)| Step::Read { account, data_type }),
        6 => (any::<Index>(), fate()).prop_map(|(which, fate)| Step::Store { which, fate }),
        2 => (any::<Index>(), fate()).prop_map(|(which, fate)| Step::Cache { which, fate }),
        1 => any::<Index>().prop_map(|which| Step::Repeat { which }),
        1 => (0u64..20_000).prop_map(|ms| Step::Pass { ms }),
    ];
    prop::collection::vec(step, 1..150)
}

/// The server between its hosts, a database and a cache.
struct World {
    server: Server<Plain, Draws>,
    settings: ServerSettings,
    now_ms: u64,
    database: MemoryStore,
    cache: MemoryCache,
    /// Open exchanges and what was asked in them.
    open: BTreeMap<u64, Request>,
    exchanges: u64,
    store_requests: Vec<(Token, StoreRequest)>,
    cache_requests: Vec<(Token, CacheRequest)>,
    completed: Vec<ServerInput<PlainRequest>>,
    /// Every version of every state that the database ever held.
    versions: BTreeMap<(StateKey, u64), Arc<str>>,
    /// When the server took what was then applied.
    received: BTreeMap<OperationId, Timestamp>,
    ivs: BTreeSet<[u8; 16]>,
}

impl World {
    fn new(settings: ServerSettings) -> Self {
        Self {
            server: Server::new(Arc::new(settings.clone()), Plain, Draws::default()),
            settings,
            now_ms: 0,
            database: MemoryStore::default(),
            cache: MemoryCache::default(),
            open: BTreeMap::new(),
            exchanges: 0,
            store_requests: Vec::new(),
            cache_requests: Vec::new(),
            completed: Vec::new(),
            versions: BTreeMap::new(),
            received: BTreeMap::new(),
            ivs: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { account, counter, critical } => {
                let data_type = TYPES[*counter as usize % TYPES.len()];
                self.ask(Request {
                    kind: Kind::SyncTo,
                    data_type,
                    map: map("m"),
                    data: format!("\"{account} {counter}\"").into(),
                    timestamp: at_ms(self.now_ms).wall,
                    operation: operation(*account, *counter),
                    critical: *critical,
                    sequence: *counter,
                });
            }
            Step::Read { account, data_type } => {
                self.ask(Request {
                    kind: Kind::SyncFrom,
                    data_type: *data_type,
                    map: map("m"),
                    data: "null".into(),
                    timestamp: at_ms(self.now_ms).wall,
                    operation: operation(*account, 1_000 + self.exchanges),
                    critical: false,
                    sequence: 1_000 + self.exchanges,
                });
            }
            Step::Store { which, fate } if !self.store_requests.is_empty() => {
                self.end_store(which.index(self.store_requests.len()), *fate);
            }
            Step::Cache { which, fate } if !self.cache_requests.is_empty() => {
                self.end_cache(which.index(self.cache_requests.len()), *fate);
            }
            Step::Repeat { which } if !self.completed.is_empty() => {
                let open = self.open.len();
                self.handle(which.get(&self.completed).clone());
                assert_eq!(self.open.len(), open, "a completion that came twice answered somebody");
            }
            Step::Store { .. } | Step::Cache { .. } | Step::Repeat { .. } => {}
            Step::Pass { ms } => {
                self.now_ms += ms;
                let mut effects = Vec::new();
                self.server.wake(at_ms(self.now_ms), &mut effects);
                assert!(self.server.next_wakeup().is_none_or(|due| due > at_ms(self.now_ms).monotonic));
                self.perform(effects);
            }
        }
        assert_eq!(self.server.open_exchanges(), self.open.len());
        assert!(self.open.len() <= self.settings.exchanges_max);
        let batches = self.store_requests.iter().filter(|(_, r)| matches!(r, StoreRequest::ApplyBatch(_)));
        assert!(batches.count() <= self.settings.batches_in_flight_max);
    }

    fn ask(&mut self, request: Request) {
        self.exchanges += 1;
        self.open.insert(self.exchanges, request.clone());
        let mut iv = [0; 16];
        iv[..8].copy_from_slice(&self.exchanges.to_le_bytes());
        let request = PlainRequest { request, iv, fault: None };
        self.handle(ServerInput::Request { token: Token(self.exchanges), request });
    }

    fn end_store(&mut self, at: usize, fate: Fate) {
        let (token, request) = self.store_requests.remove(at);
        let mut answer = Err(StoreError::Unavailable);
        if !matches!(fate, Fate::Failed) {
            let done = self.database.execute(&request);
            if let (StoreRequest::ApplyBatch(operations), StoreReply::Applied(applied)) = (&request, &done) {
                for (operation, _) in operations.iter().zip(applied).filter(|(_, a)| !a.duplicate) {
                    self.received.entry(operation.operation).or_insert(operation.received);
                }
            }
            for (key, row) in self.database.content().states {
                self.versions.insert((key, row.version), row.data);
            }
            if matches!(fate, Fate::Done) {
                answer = Ok(done);
            }
        }
        self.complete(ServerInput::Stored { token, answer });
    }

    fn end_cache(&mut self, at: usize, fate: Fate) {
        let (token, request) = self.cache_requests.remove(at);
        let done = self.cache.execute(at_ms(self.now_ms).wall, &request);
        let answer = if matches!(fate, Fate::Done) { Ok(done) } else { Err(CacheError::Unavailable) };
        self.complete(ServerInput::Cached { token, answer });
    }

    fn complete(&mut self, completion: ServerInput<PlainRequest>) {
        self.completed.push(completion.clone());
        self.handle(completion);
    }

    fn handle(&mut self, input: ServerInput<PlainRequest>) {
        let mut effects = Vec::new();
        self.server.handle(at_ms(self.now_ms), input, &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<ServerEffect<PlainReply>>) {
        for effect in effects {
            match effect {
                ServerEffect::Store { token, request } => {
                    if let StoreRequest::ApplyBatch(operations) = &request {
                        assert!((1..=self.settings.batch_max).contains(&operations.len()));
                    }
                    self.store_requests.push((token, request));
                }
                ServerEffect::Cache { token: Some(token), request } => {
                    self.cache_requests.push((token, request));
                }
                ServerEffect::Cache { token: None, request } => {
                    self.cache.execute(at_ms(self.now_ms).wall, &request);
                }
                ServerEffect::Reply { token, reply } => self.replied(token, reply),
                ServerEffect::Embed { .. } => panic!("nobody asked for vectors"),
                ServerEffect::Follow => panic!("nobody subscribes"),
            }
        }
    }

    /// An exchange has its one reply, and what it says is so at this moment.
    fn replied(&mut self, token: Token, reply: Result<PlainReply, Status>) {
        let asked = self.open.remove(&token.0).expect("an exchange is answered once");
        let Ok(sealed) = reply else { return };
        assert!(self.ivs.insert(sealed.iv), "an initialisation vector came twice");
        assert_eq!((sealed.reply.operation, sealed.critical), (asked.operation, asked.critical));
        let content = self.database.content();
        match (asked.kind, sealed.reply.result) {
            (Kind::SyncTo, Ok(payload)) => {
                assert_eq!(payload, None);
                assert!(has_applied(&content, &asked), "{asked:?} was acknowledged before it was durable");
            }
            (Kind::SyncTo, Err(rejection)) => {
                assert_eq!(rejection.code, ErrorCode::OutOfOrder);
                // Once its name is forgotten, an operation is told from a late one no more.
                let kept = self.settings.freshness_window.saturating_mul(limits::DEDUPLICATION_WINDOWS);
                let forgotten = at_ms(self.now_ms).wall.saturating_sub(kept);
                let known = self.received.get(&asked.operation).is_some_and(|at| *at >= forgotten);
                assert!(
                    !(known && has_applied(&content, &asked)),
                    "{asked:?} was refused although it took effect"
                );
            }
            (Kind::SyncFrom, Ok(None)) => {}
            (Kind::SyncFrom, Ok(Some(payload))) => {
                let payload: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
                let version = payload["version"].as_u64().expect("a version");
                let key = StateKey::new(asked.data_type, asked.operation.account, asked.map.clone());
                let written = self.versions.get(&(key, version)).expect("a version that was written");
                assert_eq!(payload["data"].as_str(), Some(&**written));
            }
            (Kind::SyncFrom, Err(rejection)) => panic!("{rejection}"),
            (Kind::Embed | Kind::Search, _) => panic!("nobody asked for vectors"),
            (kind, _) => panic!("nobody asks for {kind:?}"),
        }
    }

    /// Whatever is open ends well.
    fn finish(&mut self) {
        while !(self.store_requests.is_empty() && self.cache_requests.is_empty()) {
            if self.cache_requests.is_empty() {
                self.end_store(0, Fate::Done);
            } else {
                self.end_cache(0, Fate::Done);
            }
        }
        assert!(self.open.is_empty(), "without a reply: {:?}", self.open);
        assert_eq!(self.server.open_exchanges(), 0);
    }
}

fn has_applied(content: &Content, asked: &Request) -> bool {
    let session = (asked.operation.account, asked.operation.incarnation);
    content.sessions.get(&session).is_some_and(|s| s.applied.contains(asked.operation.counter))
}

/// How often each state must have been written by what the sessions' records say was applied.
fn writes(content: &Content) -> BTreeMap<StateKey, u64> {
    let mut writes = BTreeMap::new();
    for ((account, _), session) in &content.sessions {
        for counter in (1..13).filter(|counter| session.applied.contains(*counter)) {
            let data_type = TYPES[counter as usize % TYPES.len()];
            if data_type.nature() == Nature::State {
                *writes.entry(StateKey::new(data_type, *account, map("m"))).or_default() += 1;
            }
        }
    }
    writes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(512),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_exchange_has_one_true_reply_and_each_operation_one_effect(
        steps in steps(),
        (batch_max, batches_in_flight_max, exchanges_max) in (1usize..5, 1usize..4, 1usize..40),
    ) {
        let settings =
            ServerSettings { batch_max, batches_in_flight_max, exchanges_max, ..ServerSettings::default() };
        let mut world = World::new(settings);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        let content = world.database.content();
        let versions: BTreeMap<_, _> = content.states.iter().map(|(key, row)| (key.clone(), row.version)).collect();
        prop_assert_eq!(versions, writes(&content));
    }
}
