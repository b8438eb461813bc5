//! PostgreSQL paused, killed and started again: requests fail within their bound, work again by themselves, and
//! what was answered is still there. A kill of the process is shown, not a loss of power.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime_support::{Postgres, runtime};
use sync_core::data_type::SyncDataType;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::postgres::{PostgresError, PostgresOptions, PostgresStore};
use sync_core::store::{Applied, Apply, StoreError, StoreReply, StoreRequest, Verdict};
use sync_core::time::{Span, Timestamp};

const BACK: Duration = Duration::from_secs(30);

fn operation(counter: u64) -> StoreRequest {
    StoreRequest::ApplyBatch(Arc::new(vec![Apply {
        operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter },
        data_type: SyncDataType::PlayerData,
        map: MapName::new("m").unwrap(),
        sequence: counter,
        critical: true,
        data: "{}".into(),
        received: Timestamp::from_ms(counter),
        condition: None,
    }]))
}

fn answer(version: u64, duplicate: bool) -> StoreReply {
    StoreReply::Applied(vec![Applied { verdict: Verdict::Applied { version }, duplicate }])
}

/// Asks until there is an answer.
async fn eventually(store: &PostgresStore, request: &StoreRequest) -> StoreReply {
    let started = Instant::now();
    loop {
        match store.execute(request).await {
            Ok(reply) => return reply,
            Err(StoreError::Unavailable) => assert!(started.elapsed() < BACK, "{:?}", store.status().fault),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_database_that_goes_away_is_found_again_and_keeps_what_it_answered() {
    runtime().block_on(async {
        let postgres = Postgres::started(true).await;
        let server = postgres.server.as_ref().unwrap();
        let options = PostgresOptions { connections_max: 3, request_timeout: Span::from_secs(1) };
        let store = postgres.connect(PostgresOptions::default()).await;
        store.migrate().await.unwrap();
        let store = postgres.connect(options).await;
        assert_eq!(store.execute(&operation(1)).await, Ok(answer(1, false)));

        server.docker("pause");
        let asked = Instant::now();
        assert_eq!(store.execute(&operation(2)).await, Err(StoreError::Unavailable));
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        assert_eq!(store.status().fault, Some(PostgresError::TimedOut));
        server.docker("unpause");
        // Whether the second took effect was not known; asked again it has, once.
        let reply = eventually(&store, &operation(2)).await;
        assert!(reply == answer(2, false) || reply == answer(2, true), "{reply:?}");
        assert_eq!(store.status().fault, None);

        // Several connections wait for work when the server dies; the next request must outlive all of them.
        let known = operation(1);
        let asked = Instant::now();
        while store.status().connections_idle < 2 {
            // One that is free again may serve the next before another is open, and it is given back a little later.
            assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", store.status());
            let (a, b, c) = tokio::join!(store.perform(&known), store.perform(&known), store.perform(&known));
            assert_eq!([a, b, c], [Ok(answer(1, true)), Ok(answer(1, true)), Ok(answer(1, true))]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for round in 0..2 {
            server.docker("kill");
            let asked = Instant::now();
            assert_eq!(store.execute(&operation(3 + round)).await, Err(StoreError::Unavailable));
            assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
            server.docker("start");
            assert_eq!(eventually(&store, &operation(2)).await, answer(2, true));
            assert_eq!(eventually(&store, &operation(3 + round)).await, answer(3 + round, false));
        }

        // A restart between two requests goes unnoticed.
        server.docker("restart");
        let other = postgres.connect(options).await;
        assert_eq!(other.execute(&operation(4)).await, Ok(answer(4, true)));
        assert_eq!(store.execute(&operation(4)).await, Ok(answer(4, true)));
        assert!(format!("{:?}", store.status()).find("secret").is_none());
        store.close().await;
    });
}

#[test]
fn a_refusal_says_what_to_do_and_shows_no_secret() {
    runtime().block_on(async {
        let dsn = |text: &str| sync_core::secret::Secret::new(text.to_owned());
        let postgres = Postgres::started(false).await;
        let store = postgres.connect(PostgresOptions::default()).await;
        let error = store.perform(&operation(1)).await.unwrap_err();
        assert!(error.to_string().contains("run the migrations"), "{error}");
        let port = postgres.server.as_ref().unwrap().port;
        for (text, remedy) in [
            (format!("host=127.0.0.1 port={port} user=postgres password=canary"), "password"),
            (format!("postgresql://postgres:canary@127.0.0.1:{port}/x"), "password"),
            ("postgresql://postgres:canary@127.0.0.1:1/x".to_owned(), "see that it runs"),
            ("canary".to_owned(), "host=... dbname=..."),
        ] {
            let error = PostgresStore::connect(&dsn(&text), PostgresOptions::default()).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(remedy) && !shown.contains("canary"), "{shown}");
        }
    });
}
