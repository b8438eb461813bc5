//! Redis decides as the in-memory cache does: same requests, same replies, same content, same publications.
//! Lifetimes are compared as absolute deadlines, never by waiting.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::runtime_support::{Redis, runtime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use sync_core::cache::{CacheKey, CacheReply, CacheRequest, Held, Keep, MemoryCache, Refresh};
use sync_core::data_type::SyncDataType;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::redis::{Notice, RedisOptions};
use sync_core::store::StateKey;
use sync_core::time::{Span, Timestamp};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Span = Span::from_secs(24 * 3_600);

fn state_keys() -> impl Strategy<Value = StateKey> {
    let types = prop::sample::select(vec![SyncDataType::MapState, SyncDataType::PlayerData]);
    let maps = prop::sample::select(vec!["", "m", "a@b#c"]);
    (types, prop_oneof![Just(1), Just(u32::MAX)], maps).prop_map(|(data_type, account, map)| {
        StateKey::new(data_type, AccountId(account), MapName::new(map).unwrap())
    })
}

fn keys() -> impl Strategy<Value = CacheKey> {
    let texts = prop::sample::select(vec!["", "a", "0/0/m", "line\n\u{1F409} :*?"]);
    prop_oneof![state_keys().prop_map(CacheKey::State), texts.prop_map(|text| CacheKey::Text(text.into()))]
}

fn data() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[ -~]{0,8}", Just("3:4\n\u{e9}".to_owned()), Just("\0".to_owned())].prop_map(Arc::from)
}

/// Counted from the beginning of the check.
fn expiries() -> impl Strategy<Value = Option<Timestamp>> {
    let days = (1..4u64, 0..3_000u64)
        .prop_map(|(days, us)| Some(Timestamp::from_us(0) + DAY.saturating_mul(days) + Span::from_us(us)));
    prop_oneof![2 => Just(None), 1 => Just(Some(Timestamp::from_us(0))), 4 => days]
}

/// The same request with its lifetime counted from `start`.
fn started(request: &CacheRequest, start: Timestamp) -> CacheRequest {
    let mut request = request.clone();
    if let CacheRequest::Set { expires, .. } | CacheRequest::Refresh { expires, .. } = &mut request {
        *expires = expires.map(|at| start + Span::from_us(at.as_us()));
    }
    request
}

/// Around the numbers where Lua's own arithmetic would no longer be exact.
fn versions() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..12u64, 1 => (1u64 << 53) - 2..(1 << 53) + 3, 1 => u64::MAX - 2..=u64::MAX]
}

fn refreshes() -> impl Strategy<Value = Refresh> {
    let keep = prop_oneof![4 => Just(Keep::Value), 2 => Just(Keep::Version), 1 => Just(Keep::Nothing)];
    (state_keys(), versions(), data(), keep, any::<bool>()).prop_map(|(key, version, data, keep, publish)| {
        let counter = version % (1 << 53);
        let operation = OperationId { account: AccountId(1), incarnation: Incarnation(1), counter };
        Refresh { key, version, data, operation, keep, publish }
    })
}

fn requests() -> impl Strategy<Value = CacheRequest> {
    prop_oneof![
        4 => keys().prop_map(CacheRequest::Get),
        2 => (keys(), data(), expiries()).prop_map(|(key, value, expires)| CacheRequest::Set { key, value, expires }),
        6 => (prop::collection::vec(refreshes(), 0..6), expiries())
            .prop_map(|(states, expires)| CacheRequest::Refresh { states: Arc::new(states), expires }),
        1 => keys().prop_map(CacheRequest::Delete),
        1 => keys().prop_map(CacheRequest::Exists),
        1 => Just(CacheRequest::Flush),
    ]
}

/// What Redis holds, under its own names.
async fn held(raw: &mut MultiplexedConnection) -> BTreeMap<String, (String, Option<u64>)> {
    let mut held = BTreeMap::new();
    let names: Vec<String> = cmd("KEYS").arg("*").query_async(raw).await.unwrap();
    for name in names {
        let text: Option<String> = cmd("GET").arg(&name).query_async(raw).await.unwrap();
        let deadline: i64 = cmd("PEXPIRETIME").arg(&name).query_async(raw).await.unwrap();
        if let Some(text) = text {
            held.insert(name, (text, u64::try_from(deadline).ok()));
        }
    }
    held
}

fn expected(memory: &MemoryCache, now: Timestamp) -> BTreeMap<String, (String, Option<u64>)> {
    let name = |key: &CacheKey| match key {
        CacheKey::State(state) => format!("p2p_sync:state:{state}"),
        CacheKey::Text(text) => format!("p2p_sync:text:{text}"),
    };
    let text = |key: &CacheKey, held: &Held| match (key, &held.data) {
        (CacheKey::State(_), Some(data)) => format!("{}:{data}", held.version),
        (CacheKey::State(_), None) => format!("{}-", held.version),
        (CacheKey::Text(_), data) => data.as_deref().unwrap_or_default().to_owned(),
    };
    let entries = memory.entries(now).into_iter();
    entries
        .map(|(key, (held, deadline))| (name(&key), (text(&key, &held), deadline.map(Timestamp::as_ms))))
        .collect()
}

#[test]
fn redis_decides_as_memory_does() {
    let runtime = runtime();
    let (cache, mut raw, mut subscription) = runtime.block_on(async {
        let server = Redis::given_or_started().await;
        let cache = server.connect().await;
        let mut subscription = cache.subscribe();
        assert_eq!(subscription.next().await, Some(Notice::Gap));
        (cache, server.raw().await, subscription)
    });
    let check = |requests: Vec<(CacheRequest, u64)>| {
        runtime.block_on(async {
            let mut memory = MemoryCache::default();
            assert_eq!(cache.execute(&CacheRequest::Flush).await, Ok(CacheReply::Done));
            // An hour ago, so that a lifetime of nothing has passed for Redis as well, whose clock is the real one.
            let start = (SystemTime::now() - HOUR).duration_since(UNIX_EPOCH).unwrap().as_micros();
            let start = Timestamp::from_us(start as u64);
            let mut now = start;
            for (request, later) in &requests {
                now = now + Span::from_us(*later);
                let request = &started(request, start);
                let before = cache.status().commands;
                let reply = cache.execute(request).await.unwrap();
                prop_assert_eq!(reply, memory.execute(now, request), "{:?}", request);
                let empty = matches!(request, CacheRequest::Refresh { states, .. } if states.is_empty());
                // One command each; the script itself travels once in a server's life.
                let commands = cache.status().commands - before;
                prop_assert!(
                    commands == u64::from(!empty) || commands == 2 && before < 200,
                    "{} commands",
                    commands
                );
                for publication in memory.take_published() {
                    let notice = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await;
                    prop_assert_eq!(notice, Ok(Some(Notice::Publication(publication))));
                }
            }
            prop_assert_eq!(held(&mut raw).await, expected(&memory, now));
            Ok(())
        })
    };
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let check = std::cell::RefCell::new(check);
    let requests = prop::collection::vec((requests(), 0..1_000_000u64), 1..16);
    runner.run(&requests, |requests| (check.borrow_mut())(requests)).unwrap();
}

#[test]
fn a_wrong_password_is_named_and_not_shown() {
    runtime().block_on(async {
        let mut server = Redis::started().await;
        server.connect().await;
        server.settings.password = Some(sync_core::secret::Secret::new("canary".to_owned()));
        let cache = sync_core::runtime::redis::RedisCache::connect(&server.settings, RedisOptions::default())
            .await
            .unwrap();
        let status = cache.status();
        assert!(!status.connected);
        let shown = format!("{} {cache:?}", status.fault.unwrap());
        assert!(shown.contains("redis_password") && !shown.contains("canary"), "{shown}");
    });
}
