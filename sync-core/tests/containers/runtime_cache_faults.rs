//! Redis paused, killed and started again: requests fail at once, nothing stale comes back, and subscribers
//! learn that they may have missed something.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime_support::{Redis, runtime, until};
use sync_core::cache::{CacheError, CacheKey, CacheReply, CacheRequest, Keep, Refresh};
use sync_core::data_type::SyncDataType;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::redis::{Notice, RedisCache, Subscription};
use sync_core::store::StateKey;

const BACK: Duration = Duration::from_secs(20);

fn key() -> StateKey {
    StateKey::new(SyncDataType::MapState, AccountId(1), MapName::new("m").unwrap())
}

fn refresh(version: u64) -> CacheRequest {
    let operation = OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: version };
    let data = version.to_string().into();
    let state = Refresh { key: key(), version, data, operation, keep: Keep::Value, publish: true };
    CacheRequest::Refresh { states: Arc::new(vec![state]), expires: None }
}

async fn version(cache: &RedisCache) -> Option<u64> {
    match cache.execute(&CacheRequest::Get(CacheKey::State(key()))).await.unwrap() {
        CacheReply::Value(value) => value.map(|value| value.version),
        other => panic!("{other:?}"),
    }
}

/// The version of the next publication, or nothing for a gap.
async fn next(subscription: &mut Subscription) -> Option<u64> {
    match tokio::time::timeout(BACK, subscription.next()).await.expect("a notice").expect("not ended") {
        Notice::Publication(publication) => Some(publication.version),
        Notice::Gap => None,
    }
}

#[test]
fn a_redis_that_stands_still_is_left_alone_and_holds_nothing_stale_afterwards() {
    runtime().block_on(async {
        let redis = Redis::started().await;
        let server = redis.server.as_ref().unwrap();
        let (cache, other) = (redis.connect().await, redis.connect().await);
        let mut subscription = other.subscribe();
        assert_eq!(next(&mut subscription).await, None);
        cache.execute(&refresh(1)).await.unwrap();
        assert_eq!(next(&mut subscription).await, Some(1));

        server.docker("pause");
        let asked = Instant::now();
        assert_eq!(cache.execute(&refresh(2)).await, Err(CacheError::Unavailable));
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        let asked = Instant::now();
        assert_eq!(cache.execute(&refresh(3)).await, Err(CacheError::Unavailable));
        assert!(asked.elapsed() < Duration::from_millis(100), "refused at once: {:?}", asked.elapsed());
        assert!(!cache.status().connected && cache.status().invalidations > 0);

        server.docker("unpause");
        until("the cache is back", BACK, || cache.status().connected).await;
        // The second write may have come through after all; the first must not be seen again.
        assert!(matches!(version(&cache).await, None | Some(2)));
        // Not from a reader either that was slow: the versions that Redis missed are kept.
        other.execute(&refresh(1)).await.unwrap();
        assert!(matches!(version(&cache).await, None | Some(2)));
        cache.execute(&refresh(4)).await.unwrap();
        assert_eq!(version(&cache).await, Some(4));
        let mut gaps = 0;
        loop {
            match next(&mut subscription).await {
                None => gaps += 1,
                Some(4) => break,
                Some(_) => {}
            }
        }
        assert!(gaps > 0, "the third publication was lost without a word");
    });
}

#[test]
fn a_redis_that_was_killed_is_found_again() {
    runtime().block_on(async {
        let redis = Redis::started().await;
        let server = redis.server.as_ref().unwrap();
        let cache = redis.connect().await;
        let mut subscription = cache.subscribe();
        assert_eq!(next(&mut subscription).await, None);
        for round in 1..=2 {
            server.docker("kill");
            let asked = Instant::now();
            assert_eq!(cache.execute(&refresh(round)).await, Err(CacheError::Unavailable));
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            server.docker("start");
            until("the cache is back", BACK, || cache.status().connected).await;
            // In order from the first request on, although this Redis has never run the script.
            let sent = cache.status().commands;
            let refresh_first = refresh(50 + round);
            let (written, read) = tokio::join!(cache.execute(&refresh_first), version(&cache));
            assert_eq!((written, read), (Ok(CacheReply::Done), Some(50 + round)));
            assert_eq!(cache.status().commands - sent, 2);
            assert_eq!(next(&mut subscription).await, None);
            // What is published is followed again once the subscription is back as well.
            let started = Instant::now();
            let mut seen = None;
            while seen != Some(100 + round) {
                assert!(started.elapsed() < BACK);
                cache.execute(&refresh(100 + round)).await.unwrap();
                let wait = tokio::time::timeout(Duration::from_millis(200), subscription.next());
                if let Ok(Some(Notice::Publication(publication))) = wait.await {
                    seen = Some(publication.version);
                }
            }
            // Several copies may be under way; the next round starts from silence.
            while tokio::time::timeout(Duration::from_millis(300), subscription.next()).await.is_ok() {}
        }
        assert_eq!(cache.status().connections, 3);
    });
}
