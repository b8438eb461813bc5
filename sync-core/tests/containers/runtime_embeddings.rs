//! Embeddings in PostgreSQL: decided as in memory, found by the index, and as many as there are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and real servers live in real time")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]

use std::sync::{Arc, OnceLock};

use crate::runtime_support::{Postgres, runtime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sync_core::data_type::SyncDataType;
use sync_core::embedding::{Metadata, Vector};
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::limits;
use sync_core::runtime::postgres::{PostgresOptions, PostgresStore};
use sync_core::store::{
    Apply, DeleteEmbedding, EmbeddingId, Match, MemoryStore, SearchEmbeddings, StoreEmbedding, StoreReply,
    StoreRequest,
};
use sync_core::time::{Span, Timestamp};

/// How much pgvector's sums in single precision may differ, in billionths.
const TOLERANCE: u32 = 2_000;

/// One server for the file; a test that empties its tables holds the guard.
fn postgres() -> std::sync::MutexGuard<'static, Postgres> {
    static SERVER: OnceLock<std::sync::Mutex<Postgres>> = OnceLock::new();
    let server =
        SERVER.get_or_init(|| std::sync::Mutex::new(runtime().block_on(Postgres::given_or_started())));
    server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn migrated(server: &Postgres) -> PostgresStore {
    let options = PostgresOptions { request_timeout: Span::from_secs(60), ..PostgresOptions::default() };
    let store = server.connect(options).await;
    store.migrate().await.unwrap();
    empty(server).await;
    store
}

async fn empty(server: &Postgres) {
    let truncate =
        "TRUNCATE p2p_sync.embeddings, p2p_sync.states, p2p_sync.operations, p2p_sync.session_sequences";
    sqlx::raw_sql(truncate).execute(&mut server.raw().await).await.unwrap();
}

/// The finaliser of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A text of six words out of a few hundred, as players' reports and descriptions are.
fn text(number: u64) -> String {
    let word = |place: u64| {
        let choice = mix(number * 31 + place);
        // Some words are much more frequent than others.
        let rank = (choice % 20) * ((choice >> 32) % 20);
        let syllables = ["ka", "ro", "mi", "tel", "un", "sha", "dor", "vi", "pen", "lu"];
        (0..3).map(|n| syllables[(mix(rank * 7 + n) % 10) as usize]).collect::<String>()
    };
    (0..6).map(word).collect::<Vec<_>>().join(" ")
}

/// A vector whose direction follows the text: each run of three characters adds a direction of its own.
fn embed(text: &str) -> Vector {
    let mut numbers = vec![0.0f32; limits::EMBEDDING_DIMENSIONS];
    for run in text.as_bytes().windows(3) {
        let hash = run.iter().fold(7, |hash, byte| mix(hash ^ u64::from(*byte)));
        for n in 0..32 {
            let place = mix(hash + n);
            let sign = if place >> 63 == 0 { 1.0 } else { -1.0 };
            numbers[(place % limits::EMBEDDING_DIMENSIONS as u64) as usize] += sign;
        }
    }
    let length = numbers.iter().map(|n| n * n).sum::<f32>().sqrt();
    Vector::new(numbers.into_iter().map(|n| n / length).collect()).unwrap()
}

fn map(name: &str) -> MapName {
    MapName::new(name).unwrap()
}

fn id(name: u64) -> EmbeddingId {
    EmbeddingId::new(AccountId(1), &map("m"), &name.to_string()).unwrap()
}

fn apply(counter: u64, sequence: u64) -> Apply {
    Apply {
        operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter },
        data_type: SyncDataType::VectorEmbedding,
        map: map("m"),
        sequence,
        critical: false,
        data: format!("{{\"counter\":{counter}}}").into(),
        received: Timestamp::from_us(1_795_000_000_000_000 + counter),
        condition: None,
    }
}

fn metadata(number: u64) -> Metadata {
    let value = serde_json::json!({
        "all": true, "half": number % 2, "rare": number % 500, "tags": [number % 3, {"deep": number % 5}], "é\n\"": null,
    });
    Metadata::new(&value).unwrap()
}

fn requests() -> impl Strategy<Value = StoreRequest> {
    let filters = prop::sample::select(vec![
        "{}",
        r#"{"half":1}"#,
        r#"{"tags":[{"deep":2}]}"#,
        r#"{"tags":[[]]}"#,
        r#"{"é\n\"":null,"all":true}"#,
        r#"{"all":1}"#,
        r#"{"none":null}"#,
    ]);
    prop_oneof![
        4 => (1..9u64, 0..9u64, 0..6u64, 0..40u64).prop_map(|(counter, sequence, name, number)| {
            let vector = embed(&text(number));
            let request =
                StoreEmbedding { apply: apply(counter, sequence), id: id(name), vector, metadata: metadata(number) };
            StoreRequest::StoreEmbedding(Arc::new(request))
        }),
        1 => (1..9u64, 0..9u64, 0..6u64).prop_map(|(counter, sequence, name)| {
            let request = DeleteEmbedding { apply: apply(counter, sequence), id: id(name) };
            StoreRequest::DeleteEmbedding(Arc::new(request))
        }),
        3 => (0..40u64, 0..5u32, prop::option::of(filters)).prop_map(|(number, limit, filter)| {
            let filter = filter.map(|filter| Metadata::parse(filter).unwrap());
            let request = SearchEmbeddings { vector: embed(&text(number)), limit, filter };
            StoreRequest::SearchEmbeddings(Arc::new(request))
        }),
        1 => (1..9u64, 0..9u64).prop_map(|(counter, sequence)| {
            StoreRequest::ApplyBatch(Arc::new(vec![apply(counter, sequence)]))
        }),
    ]
}

/// Whether two answers to a search say the same: the same distances in the same order, and of each embedding the same.
/// Those that are equally far but for the precision may stand in another order.
fn alike(left: &[Match], right: &[Match]) -> bool {
    let near = |left: u32, right: u32| left.abs_diff(right) <= TOLERANCE;
    left.len() == right.len()
        && left.iter().zip(right).all(|(l, r)| near(l.distance.billionths(), r.distance.billionths()))
        && left.iter().all(|found| {
            let same = right.iter().find(|other| other.id == found.id);
            let last = right
                .last()
                .is_some_and(|last| near(last.distance.billionths(), found.distance.billionths()));
            same.map_or(last, |other| other.metadata == found.metadata)
        })
}

#[test]
fn postgres_decides_as_memory_does() {
    let server = postgres();
    let runtime = runtime();
    let store = runtime.block_on(migrated(&server));
    let check = |requests: Vec<StoreRequest>| {
        runtime.block_on(async {
            empty(&server).await;
            let mut memory = MemoryStore::default();
            for request in &requests {
                let before = store.status().counters;
                let reply = store.perform(request).await.unwrap();
                match (reply, memory.execute(request)) {
                    (StoreReply::Found(left), StoreReply::Found(right)) => {
                        prop_assert!(alike(&left, &right), "{:?}\n{:?}\n{:?}", request, left, right);
                    }
                    (left, right) => prop_assert_eq!(left, right, "{:?}", request),
                }
                prop_assert_eq!(store.status().counters.statements - before.statements, 1);
            }
            // Vectors at full precision: bit for bit.
            prop_assert_eq!(store.content().await.unwrap(), memory.content());
            Ok(())
        })
    };
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&prop::collection::vec(requests(), 1..16), check).unwrap();
}

/// Fills the table with the vectors of so many texts, and builds the index of the migration over them.
async fn fill(server: &Postgres, memory: &mut MemoryStore, count: u64) {
    let mut raw = server.raw().await;
    let definition: String =
        sqlx::query_scalar("SELECT pg_get_indexdef('p2p_sync.embeddings_nearest'::regclass)")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    // Built at once rather than row by row, which takes several times as long and finds alike.
    sqlx::raw_sql("SET maintenance_work_mem = '600MB'; SET max_parallel_maintenance_workers = 0; DROP INDEX p2p_sync.embeddings_nearest")
        .execute(&mut raw)
        .await
        .unwrap();
    let numbers: Vec<u64> = (0..count).collect();
    for part in numbers.chunks(200) {
        let vectors: Vec<_> = part.iter().map(|number| embed(&text(*number))).collect();
        let flat: Vec<f32> = vectors.iter().flat_map(|vector| vector.numbers()).copied().collect();
        let ids: Vec<String> = part.iter().map(|number| id(*number).to_string()).collect();
        let rows: Vec<String> = part.iter().map(|number| metadata(*number).as_str().to_owned()).collect();
        sqlx::query(
            "INSERT INTO p2p_sync.embeddings (id, embedding, metadata)
             SELECT r.id, ($1::real[])[(r.n - 1) * 1536 + 1:r.n * 1536]::vector(1536), r.metadata::jsonb
             FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS r (id, metadata, n)",
        )
        .bind(flat)
        .bind(ids)
        .bind(rows)
        .execute(&mut raw)
        .await
        .unwrap();
        for (number, vector) in part.iter().zip(vectors) {
            let (apply, metadata) = (apply(number + 1, number + 1), metadata(*number));
            let request = StoreEmbedding { apply, id: id(*number), vector, metadata };
            memory.execute(&StoreRequest::StoreEmbedding(Arc::new(request)));
        }
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(definition)).execute(&mut raw).await.unwrap();
    sqlx::raw_sql("ANALYZE p2p_sync.embeddings").execute(&mut raw).await.unwrap();
}

async fn search(store: &PostgresStore, request: SearchEmbeddings) -> Vec<Match> {
    match store.perform(&StoreRequest::SearchEmbeddings(Arc::new(request))).await.unwrap() {
        StoreReply::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

/// How often the index has been used.
async fn index_scans(server: &Postgres) -> i64 {
    let scans =
        "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_indexes WHERE indexrelname = 'embeddings_nearest'";
    sqlx::query_scalar(scans).fetch_one(&mut server.raw().await).await.unwrap()
}

/// Recall against exact search, the plan, and as many as there are under every filter.
fn searches_of(count: u64, queries: u64) {
    let server = postgres();
    runtime().block_on(async {
        let store = migrated(&server).await;
        let mut memory = MemoryStore::default();
        fill(&server, &mut memory, count).await;

        let scans = index_scans(&server).await;
        let (mut found, mut wanted) = (0, 0);
        for n in 0..queries {
            let vector = embed(&text(1_000_000 + n));
            let request = SearchEmbeddings { vector, limit: 10, filter: None };
            let near = search(&store, request.clone()).await;
            let StoreReply::Found(exact) = memory.execute(&StoreRequest::SearchEmbeddings(Arc::new(request)))
            else {
                panic!("an answer of another kind");
            };
            assert_eq!(near.len(), 10);
            wanted += exact.len();
            // One that is as near as the tenth is as good.
            let tenth = exact[9].distance.billionths() + TOLERANCE;
            found += near.iter().filter(|found| found.distance.billionths() <= tenth).count();
        }
        let recall = found as f64 / wanted as f64;
        assert!(recall >= 0.95, "recall@10 of {recall} over {queries} searches among {count}");
        store.close().await;
        // Connections report what they used when they close.
        let mut used = 0;
        for _ in 0..100 {
            used = index_scans(&server).await - scans;
            if used >= queries as i64 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(used >= queries as i64, "{used} scans of the index in {queries} searches");

        let explain = "EXPLAIN SELECT e.id FROM p2p_sync.embeddings AS e
            ORDER BY e.embedding <=> (SELECT embedding FROM p2p_sync.embeddings LIMIT 1) LIMIT 10";
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut server.raw().await).await.unwrap();
        assert!(plan.iter().any(|line| line.contains("Index Scan using embeddings_nearest")), "{plan:#?}");

        for (filter, each) in
            [(r#"{"half":1}"#, 2), (r#"{"rare":7}"#, 500), (r#"{"all":true}"#, 1), (r#"{"all":false}"#, 0)]
        {
            let passing = if each == 0 {
                0
            } else {
                (0..count).filter(|n| metadata(*n).contains(&parse(filter))).count()
            };
            for limit in [1, 10, 100] {
                let request =
                    SearchEmbeddings { vector: embed(&text(7_000_000)), limit, filter: Some(parse(filter)) };
                let near = search(&store, request).await;
                assert_eq!(near.len(), passing.min(limit as usize), "{filter}, {limit}");
                assert!(near.iter().all(|found| found.metadata.contains(&parse(filter))));
                assert!(near.is_sorted_by_key(|found| found.distance));
            }
        }
    });
}

fn parse(filter: &str) -> Metadata {
    Metadata::parse(filter).unwrap()
}

#[test]
fn a_search_finds_what_is_near_by_the_index() {
    searches_of(3_000, 20);
}

/// Takes minutes: ci/nightly.
#[test]
#[ignore = "20,000 vectors take minutes: ci/nightly runs it"]
fn a_search_among_20000_finds_what_is_near_by_the_index() {
    searches_of(20_000, 50);
}
