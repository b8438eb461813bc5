//! The main server over PostgreSQL and Redis, with Redis gone for a while.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::live_support::{client, host, payload, read, run, server_config, start_with, write};
use crate::runtime_support::{Postgres, Redis, services};
use sync_core::host_sync::operation::Outcome;
use sync_core::runtime::driver::shards::Service;
use sync_core::runtime::main_server::{Parts, connect_cache, connect_database};
use sync_core::runtime::postgres::PostgresOptions;
use sync_core::time::Span;

#[test]
fn a_server_goes_on_without_redis_and_shows_nothing_stale_when_it_is_back() {
    run(async {
        let (postgres, redis) = (Postgres::started(false).await, Redis::started().await);
        // Waits until the container takes connections.
        postgres.connect(PostgresOptions::default()).await.close().await;
        redis.connect().await;
        let more = format!(
            "worker_threads = 2
{}",
            services(&postgres, &redis)
        );
        let config = server_config(&more);
        let cache = connect_cache(&config).await.unwrap();
        let mut parts = Parts::new(connect_database(&config).await.unwrap(), cache.clone());
        let reports = Arc::new(Mutex::new(Vec::new()));
        parts.report = Box::new({
            let reports = Arc::clone(&reports);
            move |service, is_up| reports.lock().unwrap().push((service, is_up))
        });
        let server = start_with(&more, parts).await;
        let health = client(&server).with_path("/healthz").unwrap();
        let host = host(&server, 1, "");
        assert_eq!(write(&host, 1, "1").await, Outcome::Done(None));
        assert_eq!(read(&host, 2).await, payload(1, "1"));
        let container = redis.server.as_ref().unwrap();

        container.docker("kill");
        assert_eq!(write(&host, 3, "2").await, Outcome::Done(None));
        assert_eq!(read(&host, 4).await, payload(2, "2"));
        let (status, report) = health.fetch(Span::from_secs(5)).await.unwrap();
        let report = String::from_utf8(report).unwrap();
        assert_eq!(status, 200);
        assert!(report.contains(r#""status":"degraded","database":"up","cache":"down""#), "{report}");

        container.docker("start");
        let started = Instant::now();
        while !cache.status().connected {
            assert!(started.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(read(&host, 5).await, payload(2, "2"));
        assert_eq!(write(&host, 6, "3").await, Outcome::Done(None));
        assert_eq!(read(&host, 7).await, payload(3, "3"));
        assert_eq!(*reports.lock().unwrap(), [(Service::Cache, false), (Service::Cache, true)]);

        // Another server over the same database and cache goes on where this one ends.
        let drained = server.shutdown().await;
        assert_eq!((drained.cut_short, drained.counters.applied), (0, 3));
        // After each of the outer writes; while Redis was away and when it had just come back, the database was read.
        assert_eq!((drained.counters.cache_hits, drained.counters.cache_misses), (2, 2));
        let parts =
            Parts::new(connect_database(&config).await.unwrap(), connect_cache(&config).await.unwrap());
        let server = start_with(&more, parts).await;
        let host = crate::live_support::host(&server, 1, "");
        assert_eq!(read(&host, 1).await, payload(3, "3"));
        assert_eq!(write(&host, 2, "4").await, Outcome::Done(None));
        assert_eq!(read(&host, 3).await, payload(4, "4"));
    });
}
