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

    clean_up(&mut raw).await;
    schedule(server, &mut raw).await;
}

/// One of each kind that is past its time, and of each one that is not yet: the names say which must stay.
const AGED: &str = "
    INSERT INTO p2p_sync.cache (cache_key, cache_value, expires_at) VALUES
        ('old', '', now() - interval '1 s'), ('stays', '', now() + interval '1 h'), ('stays for ever', '', NULL)
        ON CONFLICT (cache_key) DO UPDATE SET expires_at = excluded.expires_at;
    INSERT INTO p2p_sync.operations
        (account_id, incarnation, counter, map_name, data_type, status, outcome, sequence, created_at, is_priority)
    VALUES
        (1, 1, 1, 'old', 7, 'APPLIED', 1, 1, now() - interval '7 days 1 second', false),
        (1, 1, 2, 'stays', 7, 'APPLIED', 2, 2, now() - interval '6 days 23 hours', false)
        ON CONFLICT (account_id, incarnation, counter) DO UPDATE SET created_at = excluded.created_at;
    INSERT INTO p2p_sync.session_sequences (account_id, incarnation, data_type, map_name, last_sequence, last_used_at)
    VALUES
        (1, 1, 7, 'old', 1, now() - interval '30 days 1 second'),
        (1, 1, 7, 'stays', 1, now() - interval '29 days 23 hours')
        ON CONFLICT (account_id, incarnation, data_type, map_name) DO UPDATE SET last_used_at = excluded.last_used_at";

/// The names of what is left, by table.
async fn left(raw: &mut sqlx::PgConnection) -> Vec<String> {
    let all = "SELECT 'cache ' || cache_key FROM p2p_sync.cache
        UNION ALL SELECT 'operation ' || map_name FROM p2p_sync.operations
        UNION ALL SELECT 'sequence ' || map_name FROM p2p_sync.session_sequences
        ORDER BY 1";
    sqlx::query_scalar(all).fetch_all(raw).await.unwrap()
}

const LEFT: [&str; 4] = ["cache stays", "cache stays for ever", "operation stays", "sequence stays"];

/// By hand: what is past its time goes, as many as are asked for, and nothing else.
async fn clean_up(raw: &mut sqlx::PgConnection) {
    let clean = |limit: i64| {
        let clean_up =
            "SELECT operations_removed, cache_rows_removed, sequences_removed FROM p2p_sync.clean_up($1)";
        sqlx::query_as::<_, (i64, i64, i64)>(clean_up).bind(limit)
    };
    sqlx::raw_sql(AGED).execute(&mut *raw).await.unwrap();
    assert_eq!(clean(0).fetch_one(&mut *raw).await.unwrap(), (0, 0, 0));
    assert_eq!(left(raw).await.len(), 7);
    assert_eq!(clean(10).fetch_one(&mut *raw).await.unwrap(), (1, 1, 1));
    assert_eq!(left(raw).await, LEFT);
    assert_eq!(clean(10).fetch_one(&mut *raw).await.unwrap(), (0, 0, 0));
}

/// What is older than it may be goes without anybody asking, and what is not stays.
async fn schedule(server: &Postgres, raw: &mut sqlx::PgConnection) {
    sqlx::raw_sql(AGED).execute(&mut *raw).await.unwrap();
    let store = std::sync::Arc::new(server.connect(PostgresOptions::default()).await);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let cleaner =
        tokio::spawn(keep_clean(std::sync::Arc::downgrade(&store), move |cleaned| drop(told.send(cleaned))));
    let cleaned = heard.recv().await.unwrap().unwrap();
    assert_eq!(cleaned, CleanedUp { operations: 1, cache_rows: 1, sequences: 1 });
    cleaner.abort();
    assert_eq!(left(raw).await, LEFT);
}
