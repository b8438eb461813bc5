//! The migrations, by psql and by the main server, and the functions for hosting.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and real servers live in real time")]

use crate::runtime_support::{Postgres, runtime};
use sqlx::Row;
use sync_core::runtime::postgres::{CleanedUp, MIGRATIONS, PostgresError, PostgresOptions, keep_clean};

#[test]
fn psql_and_the_server_may_both_run_the_migrations() {
    runtime().block_on(async {
        let server = Postgres::started(false).await;
        let store = server.connect(PostgresOptions::default()).await;
        for migration in MIGRATIONS.iter().chain(&MIGRATIONS) {
            server.server.as_ref().unwrap().psql(migration.sql);
        }
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        let mut raw = server.raw().await;
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM p2p_sync.migrations ORDER BY name")
            .fetch_all(&mut raw)
            .await
            .unwrap();
        assert_eq!(names, MIGRATIONS.map(|migration| migration.name));

        let edit = "UPDATE p2p_sync.migrations SET sha256 = 'x' WHERE name = '0002_hosting'";
        sqlx::raw_sql(edit).execute(&mut raw).await.unwrap();
        assert_eq!(store.migrate().await, Err(PostgresError::MigrationChanged("0002_hosting")));
    });
}

#[test]
fn two_servers_may_migrate_at_once() {
    runtime().block_on(async {
        let server = Postgres::started(false).await;
        let first = server.connect(PostgresOptions::default()).await;
        let second = server.connect(PostgresOptions::default()).await;
        assert_eq!(tokio::join!(first.migrate(), second.migrate()), (Ok(()), Ok(())));

        hosting(&server).await;
        embeddings(&server).await;
    });
}

async fn hosting(server: &Postgres) {
    let mut raw = server.raw().await;
    let metrics = "INSERT INTO p2p_sync.host_metrics
        (account_id, cpu_ghz, cpu_cores, free_ram_mb, network_speed_mbps, latency_ms) VALUES
        (1, 3.0, 4, 8192, 100, 29), (4294967295, 4.0, 8, 16384, 200, 9), (3, 9, 64, 999999, 9999, 31)";
    sqlx::raw_sql(metrics).execute(&mut raw).await.unwrap();
    let score: f64 = sqlx::query_scalar("SELECT host_score FROM p2p_sync.host_metrics WHERE account_id = 1")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert!((score - (0.8 + 0.2 + 0.2 + 0.3 + 0.1)).abs() < 1e-9, "{score}");
    let chosen: Option<i64> =
        sqlx::query_scalar("SELECT p2p_sync.choose_host('m')").fetch_one(&mut raw).await.unwrap();
    assert_eq!(chosen, Some(4_294_967_295), "the fastest that is not too far away");
    let too_large = "INSERT INTO p2p_sync.host_metrics
        (account_id, cpu_ghz, cpu_cores, free_ram_mb, network_speed_mbps, latency_ms) VALUES (4294967296, 3, 4, 1, 1, 1)";
    assert!(sqlx::raw_sql(too_large).execute(&mut raw).await.is_err());

    // Twenty at once, and a host that comes back: one primary at the end, epochs without gap.
    let mut tasks = Vec::new();
    for n in 0..20i64 {
        let mut raw = server.raw().await;
        tasks.push(tokio::spawn(async move {
            let assign = sqlx::query_scalar::<_, i64>("SELECT p2p_sync.assign_primary('m', $1)");
            assign.bind(n % 3).fetch_one(&mut raw).await.unwrap()
        }));
    }
    let mut epochs = Vec::new();
    for task in tasks {
        epochs.push(task.await.unwrap());
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=20).collect::<Vec<i64>>());
    let active = "SELECT count(*), max(epoch) FROM p2p_sync.host_assignments WHERE is_active";
    let row = sqlx::query(active).fetch_one(&mut raw).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 20));

    let states = "INSERT INTO p2p_sync.states VALUES
        (0, 0, 'm', 1, '{\"b\": 1}', 1, 1, 1, now()), (0, 0, 'n', 1, '\"\\u0000\"', 1, 1, 1, now()),
        (9, 1, 'm', 1, '{}', 1, 1, 1, now())";
    sqlx::raw_sql(states).execute(&mut raw).await.unwrap();
    let view = "SELECT map_name, state::text, host_account_id IS NULL = is_vps_hosted, is_vps_hosted
        FROM p2p_sync.map_states ORDER BY map_name";
    let rows: Vec<(String, Option<String>, bool, bool)> =
        sqlx::query_as(view).fetch_all(&mut raw).await.unwrap();
    let expected =
        [("m".to_owned(), Some("{\"b\": 1}".to_owned()), true, false), ("n".to_owned(), None, true, true)];
    assert_eq!(rows, expected);
}

async fn embeddings(server: &Postgres) {
    let mut raw = server.raw().await;
    let insert = "INSERT INTO p2p_sync.embeddings (id, embedding, metadata)
        SELECT n::text, (SELECT array_agg(CASE WHEN d = n THEN 1 ELSE 0.01 END) FROM generate_series(1, 1536) AS d)::vector,
            jsonb_build_object('map', 'm' || n % 2)
        FROM generate_series(1, 20) AS n";
    sqlx::raw_sql(insert).execute(&mut raw).await.unwrap();
    let search = "SELECT id FROM p2p_sync.search_embeddings(
        (SELECT embedding FROM p2p_sync.embeddings WHERE id = '7'), 3, $1::jsonb)";
    let near: Vec<String> =
        sqlx::query_scalar(search).bind(None::<String>).fetch_all(&mut raw).await.unwrap();
    assert_eq!((near.len(), near[0].as_str()), (3, "7"));
    let filtered: Vec<String> =
        sqlx::query_scalar(search).bind("{\"map\": \"m0\"}").fetch_all(&mut raw).await.unwrap();
    assert!(filtered.iter().all(|id| id.parse::<u32>().unwrap() % 2 == 0), "{filtered:?}");

    let cache = "INSERT INTO p2p_sync.cache (cache_key, cache_value, expires_at) VALUES
        ('old', '', now() - interval '1 s'), ('new', '', now() + interval '1 h'), ('kept', '', NULL)";
    sqlx::raw_sql(cache).execute(&mut raw).await.unwrap();
    let removed: i64 = sqlx::query_scalar("SELECT cache_rows_removed FROM p2p_sync.clean_up(10)")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(removed, 1);
    schedule(server, &mut raw).await;
}

/// What is older than it may be goes without anybody asking, and what is not stays.
async fn schedule(server: &Postgres, raw: &mut sqlx::PgConnection) {
    let insert = "INSERT INTO p2p_sync.cache (cache_key, cache_value, expires_at) VALUES
        ('old again', '', now() - interval '1 s')";
    sqlx::raw_sql(insert).execute(&mut *raw).await.unwrap();
    let store = std::sync::Arc::new(server.connect(PostgresOptions::default()).await);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let cleaner =
        tokio::spawn(keep_clean(std::sync::Arc::downgrade(&store), move |cleaned| drop(told.send(cleaned))));
    let cleaned = heard.recv().await.unwrap().unwrap();
    assert_eq!(cleaned, CleanedUp { cache_rows: 1, ..CleanedUp::default() });
    cleaner.abort();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM p2p_sync.cache").fetch_one(raw).await.unwrap();
    assert_eq!(left, 2);
}
