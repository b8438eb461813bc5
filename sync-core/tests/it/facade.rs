//! The facade over real sockets, with the main server's database and cache in memory.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::live_support::facade::{HostFile, system, the_whole_interface_works};
use crate::live_support::*;
use futures_util::future::BoxFuture;
use sync_core::cache::Notice;
use sync_core::data_type::SyncDataType;
use sync_core::embedding::{EmbedError, Vector};
use sync_core::host_sync::hosting::{HostMetrics, MapStatus, Player, Position, PublishedValidation, Report};
use sync_core::host_sync::operation::Outcome;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::embedding::Embedder;
use sync_core::runtime::facade::{InitError, P2pDataSync, SyncError, SyncResult};
use sync_core::runtime::main_server::{MainServer, Parts};
use sync_core::store::hosting::Part;
use sync_core::time::Span;
use sync_core::wire::ErrorCode;

async fn embedded() -> MainServer {
    start("", EmbeddedDatabase::default(), EmbeddedCache::default()).await
}

#[test]
fn the_whole_interface_works_in_memory() {
    run(the_whole_interface_works("", EmbeddedDatabase::default(), EmbeddedCache::default()));
}

#[test]
fn a_file_that_is_none_of_a_hosts_does_not_start() {
    run(async {
        let none = P2pDataSync::init("/nowhere/p2p_data_sync.conf").await;
        assert!(matches!(&none, Err(InitError::File { .. })), "{none:?}");
        let server = embedded().await;
        let file = HostFile::new(&server, 1, "worker_threads = 0");
        let zero = P2pDataSync::init(&file.0).await.map(|_| ()).unwrap_err().to_string();
        assert!(zero.contains("worker_threads") && !zero.contains("p2p-host"), "{zero}");
        let other = P2pDataSync::start(server_config("")).map(|_| ()).unwrap_err().to_string();
        assert!(other.contains("role = host"), "{other}");
    });
}

#[test]
fn questions_that_cannot_be_asked_are_refused_with_a_type() {
    run(async {
        let server = embedded().await;
        let system = system(&server, 1, "").await;
        let ask = |account, map: &'static str| {
            system.sync_to_main_server(SyncDataType::MapState, account, map, "1", false)
        };
        assert_eq!(ask(AccountId(2), "m").await, Err(SyncError::Account { asked: 2, own: 1 }));
        assert!(matches!(ask(AccountId(1), "no map").await, Err(SyncError::Map(_))));
        let malformed = system
            .sync_to_main_server(SyncDataType::MapState, AccountId(1), "m", "{", false)
            .await
            .expect("accepted, and refused by the main server");
        let result = system.wait_for_sync_result(malformed, PATIENCE).await;
        let SyncResult::Done(Outcome::Rejected(rejection)) = result else { panic!("{result:?}") };
        assert_eq!(rejection.code, ErrorCode::MalformedData);
        assert!(matches!(system.subscribe(&["no map"], &[]), Err(SyncError::Map(_))));
        let mut updates = system.subscribe(&[], &[]).unwrap();
        assert!(matches!(updates.next().await, Err(SyncError::Rejected(_))));
    });
}

/// Pending, done, expired and unknown are four answers.
#[test]
fn a_result_read_too_early_is_no_failure() {
    run(async {
        let database = Moody::<EmbeddedDatabase>::new(Mood::Hangs);
        let server = start("", Arc::clone(&database), EmbeddedCache::default()).await;
        let system = system(&server, 1, "").await;
        let id = system
            .sync_to_main_server(SyncDataType::PlayerData, AccountId(1), "m", "1", false)
            .await
            .unwrap();
        assert_eq!(system.get_sync_result(id).await, SyncResult::Pending);
        let asked = Instant::now();
        assert_eq!(system.wait_for_sync_result(id, Span::from_ms(50)).await, SyncResult::Pending);
        assert!(asked.elapsed() >= Duration::from_millis(50));
        let unknown = OperationId { counter: id.counter + 1, ..id };
        assert_eq!(system.get_sync_result(unknown).await, SyncResult::Unknown);
        let foreign = OperationId { incarnation: Incarnation(id.incarnation.0 ^ 1), ..id };
        assert_eq!(system.wait_for_sync_result(foreign, Span::ZERO).await, SyncResult::Unknown);
        let stopped = system.shut_down(Span::ZERO).await;
        assert_eq!(stopped.cut_short, 1);
    });
}

#[test]
fn a_result_that_was_forgotten_is_expired() {
    run(async {
        let server = embedded().await;
        let system = system(&server, 1, "").await;
        let first = system
            .sync_to_main_server(SyncDataType::ChatMessage, AccountId(1), "m", "0", false)
            .await
            .unwrap();
        assert!(system.wait_for_sync_result(first, PATIENCE).await.success());
        for _ in 0..sync_core::limits::RESULTS_KEPT {
            // Quick ones: each is cut out before it is sent anywhere.
            let too_large = "x".repeat(sync_core::limits::ENTRY_KEY_BYTES_MAX + 1);
            assert!(system.get_cached_data(&too_large).await.is_err());
        }
        assert_eq!(system.get_sync_result(first).await, SyncResult::Expired);
    });
}

#[test]
fn a_cache_that_is_away_is_told() {
    run(async {
        let cache = Moody::<EmbeddedCache>::new(Mood::Fails);
        let server = start("", EmbeddedDatabase::default(), cache).await;
        let system = system(&server, 1, "").await;
        for refused in [system.cache_data("a", "b", 0).await.err(), system.get_cached_data("a").await.err()] {
            let Some(SyncError::Rejected(rejection)) = refused else { panic!("{refused:?}") };
            assert_eq!(rejection.code, ErrorCode::CacheUnavailable);
        }
    });
}

/// A subscription goes on with another main server at the same place, and says that it may have missed some.
#[test]
fn a_subscription_outlives_its_main_server() {
    run(async {
        let server = embedded().await;
        let address = server.address();
        let system = system(&server, 1, "").await;
        let mut updates = system.subscribe(&["m"], &[]).unwrap();
        assert_eq!(updates.next().await, Ok(Notice::Gap));
        let asked = Instant::now();
        let waiting = tokio::spawn(async move {
            loop {
                if let Notice::Publication(publication) = updates.next().await.unwrap() {
                    return (publication.version, updates);
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Nobody who waits holds up the end.
        server.shutdown().await;
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
        let parts = Parts::new(EmbeddedDatabase::default(), EmbeddedCache::default());
        let _server = MainServer::start(&server_config(""), address, parts).await.unwrap();
        let mut version = 0;
        let mut waiting = waiting;
        let told = loop {
            version += 1;
            let data = version.to_string();
            let id = system
                .sync_critical_data(SyncDataType::MapState, AccountId(1), "m", &data, false)
                .await
                .unwrap();
            system.wait_for_sync_result(id, PATIENCE).await;
            if let Ok(told) = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await {
                break told.unwrap().0;
            }
        };
        assert!(told >= 1);
    });
}

/// One direction for each first letter.
#[derive(Debug)]
struct Letters;

impl Embedder for Letters {
    fn embed(&self, texts: Arc<Vec<Arc<str>>>) -> BoxFuture<'_, Result<Vec<Vector>, EmbedError>> {
        let vector = |text: &Arc<str>| {
            let mut numbers = vec![0.0; sync_core::limits::EMBEDDING_DIMENSIONS];
            numbers[usize::from(text.as_bytes()[0])] = 1.0;
            Vector::new(numbers).unwrap()
        };
        let vectors = texts.iter().map(vector).collect();
        Box::pin(async move { Ok(vectors) })
    }
}

#[test]
fn texts_are_embedded_and_found_again() {
    run(async {
        let parts = Parts::new(EmbeddedDatabase::default(), EmbeddedCache::default());
        let parts = Parts { embedder: Some(Arc::new(Letters)), ..parts };
        let server = start_with("vector_eligible_maps = prontera\nopenai_api_key = canary", parts).await;
        let system = system(&server, 1, "").await;
        for text in ["apple", "banana"] {
            let data = format!(r#"{{"text":"{text}","name":"{text}"}}"#);
            let stored = system
                .sync_to_main_server(SyncDataType::VectorEmbedding, AccountId(1), "prontera", &data, false)
                .await
                .unwrap();
            let result = system.wait_for_sync_result(stored, PATIENCE).await;
            assert!(result.success(), "{result:?}");
        }
        system.store_embedding("prontera", Some("cherry"), "cherry", None).await.unwrap();
        let cherry = system.create_embedding("prontera", "cherry").await.unwrap();
        let found = system.search_similar_embeddings("prontera", &cherry, 1, None).await.unwrap();
        assert_eq!(found.iter().map(|found| &*found.id).collect::<Vec<_>>(), ["1/prontera/cherry"]);
        system.delete_embedding("prontera", "cherry").await.unwrap();
        let found = system.search_similar_embeddings("prontera", &cherry, 5, None).await.unwrap();
        assert!(found.iter().all(|found| found.id != "1/prontera/cherry"), "{found:?}");
        let near = system.create_embedding("prontera", "avocado").await.unwrap();
        let found = system.search_similar_embeddings("prontera", &near, 1, None).await.unwrap();
        let found: Vec<_> = found.iter().map(|found| (&*found.id, found.distance_billionths)).collect();
        assert_eq!(found, [("1/prontera/apple", 0)]);
        let filter = serde_json::json!({"text": "banana"});
        let found = system.search_similar_embeddings("prontera", &near, 5, Some(filter)).await.unwrap();
        assert_eq!(found.iter().map(|found| &*found.id).collect::<Vec<_>>(), ["1/prontera/banana"]);
        let refused = system.create_embedding("geffen", "text").await;
        assert!(
            matches!(&refused, Err(SyncError::Rejected(r)) if r.code == ErrorCode::MapNotEligible),
            "{refused:?}"
        );
    });
}

/// Collects what is logged: what the facade says, and what anything says.
#[derive(Clone, Default)]
pub(crate) struct Log {
    own: Arc<Mutex<String>>,
    all: Arc<Mutex<String>>,
}

impl Log {
    /// That of this process: there can be one only.
    pub(crate) fn of_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Log::default();
            tracing::subscriber::set_global_default(log.clone()).unwrap();
            log
        });
        log.clone()
    }

    /// What anything has said so far.
    pub(crate) fn all(&self) -> String {
        self.all.lock().unwrap().clone()
    }
}

/// The fields of one event.
struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let line = fields.0 + "\n";
        if event.metadata().target() == "p2p_data_sync" {
            self.own.lock().unwrap().push_str(&line);
        }
        self.all.lock().unwrap().push_str(&line);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn debug_mode_logs_what_happens_and_no_secret() {
    let log = Log::of_process();
    run(async {
        let server = embedded().await;
        // Without it nothing is said of what happens.
        let quiet = crate::live_support::facade::system(&server, 2, "").await;
        quiet.cache_data("a", "b", 0).await.unwrap();
        quiet.shut_down(PATIENCE).await;
        assert!(!log.own.lock().unwrap().contains("asked"));
        let system = system(&server, 1, "debug_mode = 1").await;
        let id = system
            .sync_critical_data(SyncDataType::PlayerData, AccountId(1), "m", r#""canary""#, false)
            .await
            .unwrap();
        assert!(system.wait_for_sync_result(id, PATIENCE).await.success());
        system.shut_down(PATIENCE).await;
        let log = log.own.lock().unwrap().clone();
        for word in ["settings in force", "asked", "accepted", "sent", "ended", &id.to_string()] {
            assert!(log.contains(word), "no `{word}` in:\n{log}");
        }
        let port = server.address().port().to_string();
        let key = MASTER.parse::<sync_core::envelope::MasterKey>().unwrap().host_key(AccountId(1)).to_text();
        let secret = key.expose().rsplit(':').next().unwrap();
        for word in ["canary", secret, &port] {
            assert!(!log.contains(word), "`{word}` in:\n{log}");
        }
    });
}

/// The first report is made at once, the others at the interval; the host learns which maps are its own.
#[test]
fn a_host_reports_at_its_interval_and_learns_its_parts() {
    run(async {
        let server = embedded().await;
        let system = Arc::new(system(&server, 1, "sync_interval_ms = 40").await);
        let map = MapName::new("prontera").unwrap();
        let metrics = HostMetrics {
            cpu_mhz: 3_400,
            cpu_cores: 8,
            free_ram_mb: 16_384,
            network_speed_mbps: 1_000,
            latency_ms: 10,
            disconnects_per_hour: 0,
            vps_connection_active: true,
        };
        let report = Report { metrics, maps: vec![map.clone()] };
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let measured = report.clone();
        let begun = Instant::now();
        let reporting =
            system.report_at_intervals(move || measured.clone(), move |reported| drop(told.send(reported)));
        for _ in 0..3 {
            let parts = heard.recv().await.unwrap().unwrap();
            assert_eq!(parts.len(), 1);
            assert_eq!((&parts[0].map_name, parts[0].part, parts[0].epoch), (&map, Part::Primary, 1));
        }
        assert!(begun.elapsed() >= Duration::from_millis(80), "two intervals lie between three reports");
        drop(reporting);
        while heard.recv().await.is_some() {}
        let none = Report { maps: Vec::new(), ..report.clone() };
        assert_eq!(system.report(&none).await, Ok(Vec::new()));

        // As in the specification's example: metrics that are synchronised count as those that are reported.
        let told = async |data: &str| {
            let asked =
                system.sync_to_main_server(SyncDataType::HostMetrics, system.account(), "", data, false);
            system.wait_for_sync_result(asked.await.unwrap(), PATIENCE).await
        };
        let result = told(&report.to_json()).await;
        let SyncResult::Done(Outcome::Done(Some(payload))) = result else { panic!("{result:?}") };
        assert!(payload.contains(r#""map_name":"prontera","part":"primary","epoch":2"#), "{payload}");
        let result = told(r#"{"cpu_ghz":3.4}"#).await;
        let SyncResult::Done(Outcome::Rejected(why)) = result else { panic!("{result:?}") };
        assert!(why.message.contains("it is not a report"), "{why}");
    });
}

#[test]
fn what_happens_on_a_map_is_written_in_the_published_formats() {
    run(async {
        let server = embedded().await;
        let system = system(&server, 7, "").await;
        let m = MapName::new("prontera").unwrap();
        let player = Player {
            account_id: AccountId(7),
            char_id: 8,
            name: "Ayu".to_owned(),
            class: 1,
            base_level: 50,
            job_level: 20,
            hp: 900,
            max_hp: 1_000,
            sp: 40,
            max_sp: 60,
            position: Position { x: 3, y: 4, m: m.clone() },
            timestamp: 5,
        };
        let state = MapStatus {
            map_name: m,
            host_id: AccountId(7),
            is_vps_hosted: false,
            backup_host_ids: vec![AccountId(9)],
            assistance_host_ids: Vec::new(),
            timestamp: 6,
        };
        let left = Player { hp: 850, ..player.clone() };
        for operation in [
            system.player_enters_map(&player).await.unwrap(),
            system.player_moves(&Position { x: 5, ..player.position.clone() }).await.unwrap(),
            system.sync_map_state(&state).await.unwrap(),
            system.player_leaves_map(&left).await.unwrap(),
            system
                .sync_security_validation("prontera", PublishedValidation::SkillUsage, false)
                .await
                .unwrap(),
        ] {
            let result = system.wait_for_sync_result(operation, PATIENCE).await;
            assert!(result.success(), "{result:?}");
        }
        let another = Player { account_id: AccountId(8), ..player.clone() };
        let refused = Err(SyncError::Account { asked: 8, own: 7 });
        assert_eq!(system.player_enters_map(&another).await, refused);
        assert_eq!(system.player_leaves_map(&another).await, refused);
        assert_eq!(
            system.sync_map_state(&MapStatus { host_id: AccountId(8), ..state.clone() }).await,
            refused
        );
        for (data_type, shown) in [
            (SyncDataType::PlayerData, r#"\"hp\":850"#),
            (SyncDataType::PlayerPosition, r#"\"x\":5"#),
            (SyncDataType::MapState, r#"\"backup_host_ids\":[9]"#),
        ] {
            let asked = system.sync_from_main_server(data_type, AccountId(7), "prontera", "{}", false).await;
            let result = system.wait_for_sync_result(asked.unwrap(), PATIENCE).await;
            let SyncResult::Done(Outcome::Done(Some(payload))) = result else { panic!("{result:?}") };
            assert!(payload.contains(shown), "{payload}");
        }
    });
}
