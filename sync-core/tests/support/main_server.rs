//! The main server's engine with a database and a cache that answer when a test says so.
//!
//! A line of a test is an input and what the server does at once: `store 0 apply [1 2]` (the first
//! request to the database: operations 1 and 2 of account 1), `store 1 load`, `cache 0 get`,
//! `refresh [PLAYER_DATA/1/m=1!]` (version 1; `>=` for a version without its value, `:` for an event; `!` when
//! published), `1: done` (the exchange with token 1).

use std::sync::Arc;

use sync_core::cache::{CacheError, CacheKey, CacheReply, CacheRequest, Keep};
use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::Token;
use sync_core::store::{Applied, StateRow, StoreError, StoreReply, StoreRequest, Verdict};
use sync_core::time::Timestamp;
use sync_core::wire::{Kind, Request};

use super::{Draws, Plain, PlainReply, PlainRequest, at_ms, map, operation};

type Effect = ServerEffect<PlainReply>;

pub(crate) struct Main {
    pub(crate) server: Server<Plain, Draws>,
    pub(crate) now_ms: u64,
    pub(crate) store: Vec<(Token, StoreRequest)>,
    pub(crate) cache: Vec<Token>,
}

impl Main {
    pub(crate) fn new(settings: ServerSettings) -> Self {
        let server = Server::new(Arc::new(settings), Plain, Draws::default());
        Self { server, now_ms: 0, store: Vec::new(), cache: Vec::new() }
    }

    /// Hands over a request as the exchange of that number.
    #[track_caller]
    pub(crate) fn asks(&mut self, exchange: u64, request: PlainRequest, expected: &str) {
        self.check(ServerInput::Request { token: Token(exchange), request }, expected);
    }

    /// Answers the database's request of that number: applied to these versions.
    #[track_caller]
    pub(crate) fn applies(&mut self, number: usize, versions: &[u64], expected: &str) {
        let applied = versions.iter().map(|version| fresh(*version)).collect();
        self.stored(number, Ok(StoreReply::Applied(applied)), expected);
    }

    #[track_caller]
    pub(crate) fn stored(&mut self, number: usize, answer: Result<StoreReply, StoreError>, expected: &str) {
        self.check(ServerInput::Stored { token: self.store[number].0, answer }, expected);
    }

    #[track_caller]
    pub(crate) fn cached(&mut self, number: usize, answer: Result<CacheReply, CacheError>, expected: &str) {
        self.check(ServerInput::Cached { token: self.cache[number], answer }, expected);
    }

    #[track_caller]
    pub(crate) fn wakes(&mut self, ms: u64, expected: &str) {
        self.now_ms = ms;
        let mut effects = Vec::new();
        self.server.wake(at_ms(ms), &mut effects);
        let words: Vec<_> = effects.iter().map(|effect| self.word(effect)).collect();
        assert_eq!(words.join(", "), expected, "woken at {ms} ms");
    }

    #[track_caller]
    pub(crate) fn check(&mut self, input: ServerInput<PlainRequest>, expected: &str) {
        let mut effects = Vec::new();
        self.server.handle(at_ms(self.now_ms), input.clone(), &mut effects);
        let words: Vec<_> = effects.iter().map(|effect| self.word(effect)).collect();
        assert_eq!(words.join(", "), expected, "at {} ms, after {input:?}", self.now_ms);
    }

    pub(crate) fn word(&mut self, effect: &Effect) -> String {
        match effect {
            ServerEffect::Reply { token, reply: Err(status) } => format!("{}: {}", token.0, status.code()),
            ServerEffect::Reply { token, reply: Ok(sealed) } => match &sealed.reply.result {
                Ok(None) => format!("{}: done", token.0),
                Ok(Some(payload)) => format!("{}: {payload}", token.0),
                Err(rejection) => format!("{}: {}", token.0, rejection.code),
            },
            ServerEffect::Store { token, request } => {
                self.store.push((*token, request.clone()));
                let number = self.store.len() - 1;
                match request {
                    StoreRequest::ApplyBatch(operations) => {
                        let counters: Vec<_> =
                            operations.iter().map(|o| o.operation.counter.to_string()).collect();
                        format!("store {number} apply [{}]", counters.join(" "))
                    }
                    StoreRequest::Load(_) => format!("store {number} load"),
                    StoreRequest::StoreEmbedding(_)
                    | StoreRequest::DeleteEmbedding(_)
                    | StoreRequest::SearchEmbeddings(_) => {
                        panic!("tests/it/server_embeddings.rs is about these")
                    }
                    StoreRequest::Purge { before } => {
                        let kept = at_ms(self.now_ms).wall.distance(*before);
                        format!("store {number} purge {kept}")
                    }
                    other => panic!("{other:?}"),
                }
            }
            ServerEffect::Cache { token: None, request: CacheRequest::Refresh { states, .. } } => {
                let state = |s: &sync_core::cache::Refresh| {
                    let keep = match s.keep {
                        Keep::Value => "=",
                        Keep::Version => ">=",
                        Keep::Nothing => ":",
                    };
                    format!("{}{keep}{}{}", s.key, s.version, if s.publish { "!" } else { "" })
                };
                format!("refresh [{}]", states.iter().map(state).collect::<Vec<_>>().join(" "))
            }
            ServerEffect::Cache { token: Some(token), request } => {
                self.cache.push(*token);
                let asked = match request {
                    CacheRequest::Get(CacheKey::State(_)) => "get".to_owned(),
                    CacheRequest::Get(CacheKey::Text(key)) => format!("get {key}"),
                    CacheRequest::Set { key: CacheKey::Text(key), value, expires } => {
                        let lifetime = expires.map(|at| at.distance(at_ms(self.now_ms).wall));
                        format!(
                            "set {key}={value} {}",
                            lifetime.map_or("for ever".to_owned(), |l| l.to_string())
                        )
                    }
                    CacheRequest::Delete(CacheKey::Text(key)) => format!("delete {key}"),
                    CacheRequest::Exists(CacheKey::Text(key)) => format!("exists {key}"),
                    other => panic!("{other:?}"),
                };
                format!("cache {} {asked}", self.cache.len() - 1)
            }
            ServerEffect::Follow => "follow".to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn plain() -> Main {
    Main::new(ServerSettings::default())
}

/// At most one batch under way, of at most two operations.
pub(crate) fn narrow() -> Main {
    Main::new(ServerSettings { batch_max: 2, batches_in_flight_max: 1, ..ServerSettings::default() })
}

pub(crate) fn fresh(version: u64) -> Applied {
    Applied { verdict: Verdict::Applied { version }, duplicate: false }
}

pub(crate) fn sealed(counter: u64, kind: Kind, data_type: SyncDataType) -> PlainRequest {
    let request = Request {
        kind,
        data_type,
        map: map("m"),
        data: "1".into(),
        timestamp: at_ms(0).wall,
        operation: operation(1, counter),
        critical: false,
        sequence: counter,
    };
    PlainRequest { request, iv: [counter as u8; 16], fault: None }
}

pub(crate) fn write(counter: u64) -> PlainRequest {
    sealed(counter, Kind::SyncTo, SyncDataType::PlayerData)
}

pub(crate) fn event(counter: u64) -> PlainRequest {
    sealed(counter, Kind::SyncTo, SyncDataType::ChatMessage)
}

pub(crate) fn read(counter: u64) -> PlainRequest {
    sealed(counter, Kind::SyncFrom, SyncDataType::PlayerData)
}

pub(crate) fn critical(mut sealed: PlainRequest) -> PlainRequest {
    sealed.request.critical = true;
    sealed
}

pub(crate) fn changed(mut sealed: PlainRequest, change: impl FnOnce(&mut Request)) -> PlainRequest {
    change(&mut sealed.request);
    sealed
}

pub(crate) fn row(version: u64) -> StateRow {
    StateRow { version, data: "7".into(), operation: operation(1, 1), updated: Timestamp::from_ms(0) }
}
