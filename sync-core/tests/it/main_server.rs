//! The main server and its hosts over real sockets, with database and cache in memory.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::live_support::*;
use sync_core::data_type::SyncDataType;
use sync_core::host_sync::operation::{Ask, Outcome, TransportError};
use sync_core::id::MapName;
use sync_core::limits;
use sync_core::runtime::driver::host::HostError;
use sync_core::runtime::driver::shards::{Drained, ShardOptions};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::http::{Failure, HttpClient};
use sync_core::runtime::main_server::{MainServer, Parts};
use sync_core::time::Span;
use sync_core::wire::Kind;
use sync_core::wire::batch::{read_answers, write_batch};

async fn embedded() -> MainServer {
    start("", EmbeddedDatabase::default(), EmbeddedCache::default()).await
}

async fn status(client: &HttpClient, body: Vec<u8>) -> u16 {
    match client.exchange(body, PATIENCE).await {
        Ok(_) => 200,
        Err(Failure { error: TransportError::Status(status), .. }) => status,
        Err(failure) => panic!("{failure:?}"),
    }
}

async fn health(server: &MainServer) -> (u16, String) {
    let (status, body) = client(server).with_path("/healthz").unwrap().fetch(PATIENCE).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// What the database was asked for has arrived there.
async fn until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn what_a_host_wrote_it_reads_with_its_version() {
    run(async {
        let server = embedded().await;
        let (one, other) = (host(&server, 1, ""), host(&server, 2, ""));
        assert_eq!(read(&one, 1).await, Outcome::Done(None));
        assert_eq!(write(&one, 2, r#"{"hp":1}"#).await, Outcome::Done(None));
        assert_eq!(write(&one, 3, r#"{"hp":2}"#).await, Outcome::Done(None));
        assert_eq!(read(&one, 4).await, payload(2, r#"{"hp":2}"#));
        // A player's data is its account's.
        assert_eq!(read(&other, 1).await, Outcome::Done(None));
        let stopped = one.shutdown(PATIENCE).await;
        assert_eq!((stopped.cut_short, stopped.counters.finished), (0, 4));
        drop(other);
        let Drained { cut_short, counters, .. } = server.shutdown().await;
        assert_eq!((cut_short, counters.requests, counters.applied), (0, 5, 2));
    });
}

/// In the text format of Prometheus; an account, a map or an address is nothing that it tells.
#[test]
fn the_figures_say_what_the_engines_counted() {
    run(async {
        let server = start("worker_threads = 3", EmbeddedDatabase::default(), EmbeddedCache::default()).await;
        let host = host(&server, 1, "");
        assert_eq!(write(&host, 1, r#"{"hp":1}"#).await, Outcome::Done(None));
        assert_eq!(read(&host, 2).await, payload(1, r#"{"hp":1}"#));
        let metrics = client(&server).with_path("/metrics").unwrap();
        let (status, text) = metrics.fetch(PATIENCE).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        let sum = |name: &str| -> f64 {
            let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
        };
        assert_eq!(status, 200);
        // `worker_threads` shards, each an engine of its own.
        let shards: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("p2p_sync_requests_total{shard=")).collect();
        assert_eq!(shards.len(), 3, "{text}");
        assert!(
            shards.iter().zip(0..).all(|(shard, n)| shard.starts_with(&format!("\"{n}\"}}"))),
            "{shards:?}"
        );
        assert_eq!((sum("p2p_sync_requests_total"), sum("p2p_sync_applied_total")), (2.0, 1.0), "{text}");
        assert_eq!((sum("p2p_sync_cache_hits_total"), sum("p2p_sync_exchanges_open")), (1.0, 0.0));
        assert_eq!(sum("p2p_sync_http_request_duration_seconds_count"), 2.0);
        assert_eq!(sum("p2p_sync_service_up"), 2.0);
        assert!(!text.contains("prontera") && !text.contains("127.0.0.1"));
    });
}

#[test]
fn what_is_not_authentic_is_refused() {
    run(async {
        let server = embedded().await;
        let client = client(&server);
        let (operation, good) = Sealer::new(MASTER, 7).seal(Kind::SyncTo, "{}");
        for at in (0..good.len()).step_by(7) {
            let mut tampered = good.clone();
            tampered[at] ^= 1;
            assert_eq!(status(&client, tampered).await, 400, "byte {at}");
        }
        // A key that this server never issued.
        let foreign = MASTER.replace("AAEC", "AAED");
        let (_, forged) = Sealer::new(&foreign, 7).seal(Kind::SyncTo, "{}");
        assert_eq!(status(&client, forged).await, 400);
        // Another account's key under this account's name.
        let (_, stolen) = Sealer::new(MASTER, 8).seal(Kind::SyncTo, "{}");
        let stolen = String::from_utf8(stolen).unwrap().replacen("\"account_id\":8", "\"account_id\":7", 1);
        assert_eq!(status(&client, stolen.replacen("\"8-", "\"7-", 1).into_bytes()).await, 400);
        for malformed in ["", "{}", "[]", "no json", r#"{"operations":[]}"#, r#"{"operations":[],"x":1}"#] {
            assert_eq!(status(&client, malformed.into()).await, 400, "{malformed}");
        }
        // None of it had an effect, and the server is well.
        let reply = client.exchange(good, PATIENCE).await.unwrap();
        assert_eq!(Sealer::new(MASTER, 7).open(operation, &reply), None);
        assert_eq!(server.shutdown().await.counters.applied, 1);
    });
}

#[test]
fn what_is_too_large_is_refused_as_such() {
    run(async {
        let server = embedded().await;
        let client = client(&server);
        assert_eq!(status(&client, vec![b'x'; limits::BODY_BYTES_MAX]).await, 400);
        assert_eq!(status(&client, vec![b'x'; limits::BODY_BYTES_MAX + 1]).await, 413);
        let many = vec![b"{}".to_vec(); limits::BATCH_OPERATIONS_MAX + 1];
        assert_eq!(status(&client, write_batch(&many)).await, 413);
        let missing = client.with_path("/p2p-sync/more").unwrap();
        assert_eq!(status(&missing, b"{}".to_vec()).await, 404);
        assert_eq!(client.fetch(PATIENCE).await.unwrap().0, 405);
    });
}

#[test]
fn a_batch_is_answered_in_its_order_and_a_refused_member_takes_no_other_along() {
    run(async {
        let server = start("worker_threads = 3", EmbeddedDatabase::default(), EmbeddedCache::default()).await;
        let client = client(&server);
        let mut sealers: Vec<_> = (0..20).map(|account| Sealer::new(MASTER, account)).collect();
        let sealed: Vec<_> = sealers
            .iter_mut()
            .map(|sealer| sealer.seal(Kind::SyncTo, &sealer.number().to_string()))
            .collect();
        let mut requests: Vec<_> = sealed.iter().map(|(_, body)| body.clone()).collect();
        requests.insert(10, b"{\"account_id\":1}".to_vec());
        let body = client.exchange(write_batch(&requests), PATIENCE).await.unwrap();
        let mut answers = read_answers(&body).unwrap();
        assert_eq!(answers.remove(10), Err(400));
        for ((sealer, (operation, _)), answer) in sealers.iter_mut().zip(&sealed).zip(&answers) {
            assert_eq!(sealer.open(*operation, answer.as_ref().unwrap()), None);
        }
        // Each reads its own, in one batch.
        let sealed: Vec<_> = sealers.iter_mut().map(|sealer| sealer.seal(Kind::SyncFrom, "{}")).collect();
        let requests: Vec<_> = sealed.iter().map(|(_, body)| body.clone()).collect();
        let body = client.exchange(write_batch(&requests), PATIENCE).await.unwrap();
        let answers = read_answers(&body).unwrap();
        assert_eq!(answers.len(), 20);
        for ((sealer, (operation, _)), answer) in sealers.iter_mut().zip(&sealed).zip(&answers) {
            let expected = format!(r#"{{"version":1,"data":"{}"}}"#, sealer.number());
            assert_eq!(sealer.open(*operation, answer.as_ref().unwrap()), Some(expected));
        }
        // All refused alike: a bare status, as alone.
        assert_eq!(status(&client, write_batch(&[b"1".to_vec(), b"{}".to_vec()])).await, 400);
    });
}

#[test]
fn health_tells_the_database_from_the_cache() {
    run(async {
        let (database, cache) =
            (Moody::<EmbeddedDatabase>::new(Mood::Well), Moody::<EmbeddedCache>::new(Mood::Well));
        let server = start("", Arc::clone(&database), Arc::clone(&cache)).await;
        let report = |status: &str, database: &str, cache: &str| {
            let version = env!("CARGO_PKG_VERSION");
            format!(
                r#"{{"status":"{status}","database":"{database}","cache":"{cache}","version":"{version}"}}"#
            )
        };
        assert_eq!(health(&server).await, (200, report("ok", "up", "up")));
        for mood in [Mood::Fails, Mood::Hangs] {
            cache.feel(mood);
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert_eq!(health(&server).await, (200, report("degraded", "up", "down")));
        }
        database.feel(Mood::Fails);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(health(&server).await, (503, report("degraded", "down", "down")));
        cache.feel(Mood::Well);
        database.feel(Mood::Well);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(health(&server).await, (200, report("ok", "up", "up")));
    });
}

#[test]
fn a_cache_that_is_away_in_any_way_is_one_that_misses() {
    run(async {
        let cache = Moody::<EmbeddedCache>::new(Mood::Well);
        let mut parts = Parts::new(EmbeddedDatabase::default(), Arc::clone(&cache));
        parts.options.cache_timeout = Span::from_ms(100);
        let server = start_with("", parts).await;
        let host = host(&server, 1, "");
        for (ticket, mood) in [Mood::Fails, Mood::Hangs, Mood::Panics].into_iter().enumerate() {
            cache.feel(mood);
            let ticket = ticket as u64;
            assert_eq!(write(&host, 2 * ticket, "{}").await, Outcome::Done(None), "{mood:?}");
            assert_eq!(read(&host, 2 * ticket + 1).await, payload(ticket + 1, "{}"), "{mood:?}");
        }
    });
}

#[test]
fn a_database_that_fails_hangs_or_panics_is_answered_503_within_the_bound() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Well);
        let mut parts = Parts::new(Arc::clone(&database), EmbeddedCache::default());
        parts.options.store_timeout = Span::from_ms(200);
        let server = start_with("worker_threads = 1", parts).await;
        let client = client(&server);
        for (account, mood) in [Mood::Fails, Mood::Hangs, Mood::Panics].into_iter().enumerate() {
            // Of another account each time: what was written before is in the cache.
            let mut sealer = Sealer::new(MASTER, account as u32);
            database.feel(mood);
            let asked = Instant::now();
            let (_, body) = sealer.seal(Kind::SyncTo, "{}");
            assert_eq!(status(&client, body.clone()).await, 503, "{mood:?}");
            let (_, read) = sealer.seal(Kind::SyncFrom, "{}");
            assert_eq!(status(&client, read).await, 503, "{mood:?}");
            assert!(asked.elapsed() < Duration::from_secs(2), "{mood:?}");
            database.feel(Mood::Well);
            assert_eq!(status(&client, body).await, 200, "after {mood:?}");
        }
        assert_eq!(server.shutdown().await.counters.applied, 3);
    });
}

#[test]
fn past_the_mailbox_requests_are_turned_away_with_a_time_to_come_back() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Hangs);
        let mut parts = Parts::new(Arc::clone(&database), EmbeddedCache::default());
        parts.options = ShardOptions { mailbox_max: 2, effects_max: 1, ..ShardOptions::default() };
        let server = start_with("worker_threads = 1", parts).await;
        let client = client(&server);
        let mut sealer = Sealer::new(MASTER, 1);
        let open: Vec<_> = (0..3)
            .map(|_| {
                let (client, (_, body)) = (client.clone(), sealer.seal(Kind::SyncTo, "{}"));
                tokio::spawn(async move { client.exchange(body, PATIENCE).await })
            })
            .collect();
        // One is with the database, two fill the mailbox.
        let refused = Failure { error: TransportError::Status(429), retry_after: Some(Span::from_secs(1)) };
        let started = Instant::now();
        loop {
            let (_, body) = sealer.seal(Kind::SyncTo, "{}");
            match client.exchange(body, Span::from_ms(200)).await {
                Err(failure) if failure == refused => break,
                // It took a place before the three were there.
                Err(Failure { error: TransportError::TimedOut, .. }) => {}
                other => panic!("{other:?}"),
            }
            assert!(started.elapsed() < Duration::from_secs(10));
        }
        let drained = server.shutdown_within(Span::from_ms(200)).await;
        assert!((3..=4).contains(&drained.cut_short), "{drained:?}");
        for exchange in open {
            let failure = exchange.await.unwrap().unwrap_err();
            assert!(matches!(failure.error, TransportError::Status(429 | 503)), "{failure:?}");
        }
    });
}

/// The second finding is made while the first is on its way, and waits.
#[test]
fn what_was_found_before_a_shutdown_is_kept() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Slow);
        let server = start("worker_threads = 1", Arc::clone(&database), EmbeddedCache::default()).await;
        let find = async |account: u32, after_ms: u64| {
            let host = host(&server, account, "");
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let found = format!(
                r#"{{"host_id":{account},"map_name":"prontera","validation_type":"DROP_RATE","result":false,"timestamp":1}}"#
            );
            let data_type = SyncDataType::SecurityValidation;
            host.ask(Ask { data_type, ..ask(1, Kind::SyncTo, &found) }).await.unwrap().outcome
        };
        let (first, second) = tokio::join!(find(1, 0), find(2, 100));
        assert_eq!([first, second], [Outcome::Done(None), Outcome::Done(None)]);
        server.shutdown().await;
        assert_eq!(database.findings(), 2);
    });
}

#[test]
fn a_shutdown_answers_what_is_open_and_takes_nothing_more() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Slow);
        // So many batches under way that none of the writes waits for another.
        let settings = Some(server_config("").server_settings());
        let parts = Parts { settings, ..Parts::new(Arc::clone(&database), EmbeddedCache::default()) };
        let server = start_with("", parts).await;
        let client = client(&server);
        let open: Vec<_> = (0..8)
            .map(|account| {
                let (operation, body) = Sealer::new(MASTER, account).seal(Kind::SyncTo, "{}");
                let client = client.clone();
                tokio::spawn(async move { (account, operation, client.exchange(body, PATIENCE).await) })
            })
            .collect();
        until(|| database.calls() >= 8).await;
        let shutting_down = Instant::now();
        let drained = server.shutdown().await;
        assert!(shutting_down.elapsed() < Duration::from_secs(3));
        assert_eq!((drained.answered, drained.cut_short, drained.counters.applied), (8, 0, 8));
        for exchange in open {
            let (account, operation, reply) = exchange.await.unwrap();
            assert_eq!(Sealer::new(MASTER, account).open(operation, &reply.unwrap()), None);
        }
        let (_, body) = Sealer::new(MASTER, 1).seal(Kind::SyncTo, "{}");
        let failure = client.exchange(body, PATIENCE).await.unwrap_err();
        assert_eq!(failure.error, TransportError::Unreachable);
    });
}

#[test]
fn a_shutdown_does_not_wait_for_a_database_for_ever() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Hangs);
        let server = start("", Arc::clone(&database), EmbeddedCache::default()).await;
        let (client, (_, body)) = (client(&server), Sealer::new(MASTER, 1).seal(Kind::SyncTo, "{}"));
        let open = tokio::spawn(async move { client.exchange(body, PATIENCE).await });
        until(|| database.calls() > 0).await;
        let started = Instant::now();
        let drained = server.shutdown_within(Span::from_ms(300)).await;
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!((drained.answered, drained.cut_short), (0, 1));
        assert_eq!(open.await.unwrap().unwrap_err().error, TransportError::Status(503));
    });
}

#[test]
fn a_host_ends_with_a_result_for_every_question() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Hangs);
        let server = start("", Arc::clone(&database), EmbeddedCache::default()).await;
        let host = Arc::new(host(&server, 1, "critical_timeout_ms = 200"));
        let critical = sync_core::host_sync::operation::Ask { critical: true, ..ask(1, Kind::SyncTo, "{}") };
        let asked = Instant::now();
        assert_eq!(host.ask(critical).await.unwrap().outcome, Outcome::DeadlineExceeded);
        assert!((200..1_000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
        database.feel(Mood::Slow);
        let (first, second) = tokio::join!(write(&host, 2, "{}"), host.ask(ask(2, Kind::SyncTo, "{}")));
        assert_eq!((first, second), (Outcome::Done(None), Err(HostError::TicketInUse(2))));
        // What the bound cuts short ends, too.
        database.feel(Mood::Hangs);
        let before = database.calls();
        let open = tokio::spawn({
            let host = Arc::clone(&host);
            async move { host.ask(ask(3, Kind::SyncTo, "{}")).await.unwrap().outcome }
        });
        until(|| database.calls() > before).await;
        let stopped = host.shutdown(Span::from_ms(100)).await;
        assert_eq!((stopped.cut_short, stopped.counters.finished), (1, 3));
        assert_eq!(open.await.unwrap(), Outcome::ShutDown { sent: true });
        assert_eq!(host.ask(ask(4, Kind::SyncTo, "{}")).await, Err(HostError::Stopped));
    });
}

#[test]
fn hundreds_of_hosts_are_served_beside_each_other() {
    run(async {
        let server = embedded().await;
        let client = client(&server);
        let exchanges = (0..500).map(|account| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut sealer = Sealer::new(MASTER, account);
                for round in 0..4 {
                    let (operation, body) = sealer.seal(Kind::SyncTo, &round.to_string());
                    let reply = client.exchange(body, PATIENCE).await.unwrap();
                    assert_eq!(sealer.open(operation, &reply), None);
                }
            })
        });
        for exchange in exchanges.collect::<Vec<_>>() {
            exchange.await.unwrap();
        }
        assert_eq!(server.shutdown().await.counters.applied, 2_000);
    });
}

#[test]
fn what_waits_at_a_host_travels_in_one_request() {
    for (more, transactions) in
        [("worker_threads = 1", 8..=8), ("worker_threads = 1\nhost_batch_max = 8", 2..=4)]
    {
        run(async {
            // Slow enough that what comes in one request is there before the first of it is done.
            let database = Moody::<EmbeddedDatabase>::new(Mood::Slow);
            let server = start("", database, EmbeddedCache::default()).await;
            let host = host(&server, 1, more);
            let asks: Vec<_> = (1..=8u64)
                .map(|ticket| {
                    let map = MapName::new(&format!("map{ticket}")).unwrap();
                    let (host, ask) = (host.clone(), Ask { map, ..ask(ticket, Kind::SyncTo, "{}") });
                    tokio::spawn(async move { host.ask(ask).await.unwrap().outcome })
                })
                .collect();
            for ask in asks {
                assert_eq!(ask.await.unwrap(), Outcome::Done(None));
            }
            let counters = server.shutdown().await.counters;
            assert_eq!(counters.applied, 8);
            // What comes in one request is gathered into few transactions; what comes one by one is not.
            assert!(transactions.contains(&counters.batches), "{more}: {counters:?}");
        });
    }
}
