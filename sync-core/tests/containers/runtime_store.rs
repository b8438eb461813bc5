//! PostgreSQL decides as the in-memory database does: same requests, same replies, same content.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and real servers live in real time")]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::runtime_support::{Postgres, runtime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sync_core::data_type::SyncDataType;
use sync_core::host_sync::hosting::HostMetrics;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::limits;
use sync_core::runtime::postgres::{PostgresError, PostgresOptions, PostgresStore};
use sync_core::store::condition::{Condition, PaceRule};
use sync_core::store::hosting::{HostReport, Part};
use sync_core::store::validation::{SecurityValidation, ValidationType};
use sync_core::store::{Applied, Apply, MemoryStore, StateKey, StoreReply, StoreRequest, Verdict};
use sync_core::time::{Span, Timestamp};

/// One server for the file; tests that empty its tables hold the guard.
fn postgres() -> std::sync::MutexGuard<'static, Postgres> {
    static SERVER: OnceLock<std::sync::Mutex<Postgres>> = OnceLock::new();
    let server =
        SERVER.get_or_init(|| std::sync::Mutex::new(runtime().block_on(Postgres::given_or_started())));
    server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn migrated(server: &Postgres, options: PostgresOptions) -> PostgresStore {
    let store = server.connect(options).await;
    store.migrate().await.unwrap();
    empty(server).await;
    store
}

async fn empty(server: &Postgres) {
    let truncate = "TRUNCATE p2p_sync.states, p2p_sync.operations, p2p_sync.session_sequences, \
        p2p_sync.host_metrics, p2p_sync.host_offers, p2p_sync.host_assignments, p2p_sync.map_epochs, \
        p2p_sync.positions, p2p_sync.paces, p2p_sync.security_validations";
    sqlx::raw_sql(truncate).execute(&mut server.raw().await).await.unwrap();
}

fn apply(account: u32, incarnation: u64, counter: u64, data_type: SyncDataType, sequence: u64) -> Apply {
    Apply {
        operation: OperationId {
            account: AccountId(account),
            incarnation: Incarnation(incarnation),
            counter,
        },
        data_type,
        map: MapName::new("prontera").unwrap(),
        sequence,
        critical: false,
        data: format!("{{\"from\":\"{account}-{counter}\"}}").into(),
        received: Timestamp::from_us(1_795_000_000_000_000 + counter),
        condition: None,
    }
}

fn batch(operations: Vec<Apply>) -> StoreRequest {
    StoreRequest::ApplyBatch(Arc::new(operations))
}

async fn applied(store: &PostgresStore, operations: Vec<Apply>) -> Vec<Applied> {
    match store.perform(&batch(operations)).await.unwrap() {
        StoreReply::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

/// Few names, so that they meet: repeats, other contents under one name, sequences in any order.
fn operations() -> impl Strategy<Value = Apply> {
    let names =
        (prop_oneof![Just(0u32), Just(7), Just(u32::MAX)], prop_oneof![Just(1u64), Just(u64::MAX)], 1..9u64);
    let types = prop::sample::select(vec![
        SyncDataType::MapState,
        SyncDataType::PlayerData,
        SyncDataType::ChatMessage,
        SyncDataType::VectorEmbedding,
    ]);
    let maps = prop::sample::select(vec!["", "m", "prontera@1#2"]);
    let data = prop_oneof![
        "[ -~]{0,12}",
        Just("{\"nul\":\"\\u0000\",\"b\":1,\"a\":2,\"a\":1.0}".to_owned()),
        Just("\"\u{1F409} \u{e9}\u{301}\t\\ ' NULL {} \"".to_owned()),
        Just("NULL".to_owned()),
    ];
    let received = prop_oneof![0..=1u64 << 53, 0..5_000_000u64];
    let condition = prop_oneof![3 => Just(None), 1 => conditions().prop_map(|c| Some(Box::new(c)))];
    (names, types, maps, 0..9u64, data, any::<bool>(), received, condition).prop_map(
        |((account, incarnation, counter), data_type, map, sequence, data, critical, received, condition)| {
            Apply {
                operation: OperationId {
                    account: AccountId(account),
                    incarnation: Incarnation(incarnation),
                    counter,
                },
                data_type,
                map: MapName::new(map).unwrap(),
                sequence,
                critical,
                data: data.into(),
                received: Timestamp::from_us(received),
                condition,
            }
        },
    )
}

/// Positions near each other and far off, speeds and paces that allow some of what comes.
fn conditions() -> impl Strategy<Value = Condition> {
    let reach = (0..40u32, 0..40u32, 0..6u32, prop::sample::select(vec![0u32, 1, 5_000, u32::MAX]));
    let pace = (prop::sample::select(PaceRule::ALL.to_vec()), 0..2u32, 0..1_500_000u64, 0..3_000_000u64);
    prop_oneof![
        reach.prop_map(|(x, y, slack_cells, millicells_per_second)| {
            Condition::Reach { x, y, slack_cells, millicells_per_second }
        }),
        pace.prop_map(|(rule, subject, cost_us, ahead_us_max)| {
            Condition::Pace { rule, subject, cost_us, ahead_us_max }
        }),
    ]
}

/// Few hosts and maps, scores that are equal or not.
fn hosting() -> impl Strategy<Value = StoreRequest> {
    let account = prop_oneof![Just(0u32), Just(7), Just(u32::MAX), 1..6u32];
    let maps = prop::collection::btree_set(prop::sample::select(vec!["m", "prontera@1#2", "Z"]), 0..3);
    let report = (account, 3..6u32, 29..32u32, maps).prop_map(|(account, cpu_cores, latency_ms, maps)| {
        let mut maps: Vec<_> = maps.into_iter().map(|name| MapName::new(name).unwrap()).collect();
        maps.sort();
        HostReport {
            account: AccountId(account),
            metrics: HostMetrics { cpu_cores, latency_ms, ..FIT },
            maps,
        }
    });
    prop_oneof![
        4 => prop::collection::vec(report, 1..5)
            .prop_map(|reports| StoreRequest::ReportHosts(Arc::new(reports))),
        1 => Just(StoreRequest::SweepHosts),
        1 => prop::sample::select(vec!["m", "prontera@1#2", "Z", "never"])
            .prop_map(|name| StoreRequest::LoadHosts(MapName::new(name).unwrap())),
    ]
}

/// A host that just meets every minimum.
const FIT: HostMetrics = HostMetrics {
    cpu_mhz: 3_000,
    cpu_cores: 4,
    free_ram_mb: 8_192,
    network_speed_mbps: 100,
    latency_ms: 30,
    disconnects_per_hour: 0,
    vps_connection_active: true,
};

fn reports(reports: impl IntoIterator<Item = (u32, Vec<MapName>)>) -> StoreRequest {
    let report = |(account, maps)| HostReport { account: AccountId(account), metrics: FIT, maps };
    StoreRequest::ReportHosts(Arc::new(reports.into_iter().map(report).collect()))
}

/// How much later something happens, around the moments at which hosts are dropped.
fn steps() -> impl Strategy<Value = u64> {
    let jumps = vec![1u64, 14_999_999, 15_000_000, 44_999_999, 45_000_000];
    prop_oneof![3 => Just(0), 2 => prop::sample::select(jumps)]
}

/// While it lives the test says what time it is by the database's clock.
const TEST_CLOCK: &str = "CREATE TABLE IF NOT EXISTS p2p_sync.test_clock (at_us bigint NOT NULL);
    TRUNCATE p2p_sync.test_clock;
    INSERT INTO p2p_sync.test_clock VALUES (0);
    CREATE OR REPLACE FUNCTION p2p_sync.moment() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
        SELECT timestamptz 'epoch' + at_us * interval '1 microsecond' FROM p2p_sync.test_clock
    $$";
const REAL_CLOCK: &str = "CREATE OR REPLACE FUNCTION p2p_sync.moment() RETURNS timestamptz
    LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() $$";

async fn run(server: &Postgres, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut server.raw().await).await.unwrap();
}

fn requests() -> impl Strategy<Value = StoreRequest> {
    prop_oneof![
        4 => prop::collection::vec(operations(), 0..12).prop_map(batch),
        // One alone is decided by statements of its own.
        4 => operations().prop_map(|apply| batch(vec![apply])),
        1 => operations().prop_map(|apply| {
            StoreRequest::Load(StateKey::new(apply.data_type, apply.operation.account, apply.map))
        }),
        5 => hosting(),
    ]
}

#[test]
fn postgres_decides_as_memory_does() {
    let server = postgres();
    let runtime = runtime();
    let store = runtime.block_on(migrated(&server, PostgresOptions::default()));
    runtime.block_on(run(&server, TEST_CLOCK));
    let check = |requests: Vec<(u64, StoreRequest)>| {
        runtime.block_on(async {
            empty(&server).await;
            let mut memory = MemoryStore::default();
            let mut raw = server.raw().await;
            let (mut at_us, mut told_us) = (100_000_000u64, 0);
            for (step_us, request) in &requests {
                at_us += step_us;
                memory.tell_time(Timestamp::from_us(at_us));
                if at_us != told_us {
                    sqlx::query("UPDATE p2p_sync.test_clock SET at_us = $1")
                        .bind(at_us.cast_signed())
                        .execute(&mut raw)
                        .await
                        .unwrap();
                    told_us = at_us;
                }
                let before = store.status().counters;
                let reply = store.perform(request).await.unwrap();
                prop_assert_eq!(&reply, &memory.execute(request), "{:?}", request);
                let empty = matches!(request, StoreRequest::ApplyBatch(operations) if operations.is_empty());
                let after = store.status().counters;
                prop_assert_eq!(after.statements - before.statements, u64::from(!empty));
            }
            prop_assert_eq!(store.content().await.unwrap(), memory.content());
            Ok(())
        })
    };
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let requests = prop::collection::vec((steps(), requests()), 1..16);
    let found = TestRunner::new(config).run(&requests, check);
    runtime.block_on(run(&server, REAL_CLOCK));
    found.unwrap();
    assert_eq!(store.status().counters.conflicts, 0);
}

/// Operations come in the order of their counters, as the in-memory purge wants them; the latest is repeated now
/// and then, whether its name is remembered or forgotten.
#[test]
fn a_purge_forgets_the_same_names_as_in_memory() {
    let server = postgres();
    let runtime = runtime();
    let store = runtime.block_on(migrated(&server, PostgresOptions::default()));
    let check = |steps: Vec<(u32, u64)>| {
        runtime.block_on(async {
            empty(&server).await;
            let mut memory = MemoryStore::default();
            let mut latest = [0u64; 3];
            for (at, (account, choice)) in steps.into_iter().enumerate() {
                let moment = |at: u64| Timestamp::from_us(1_795_000_000_000_000 + at);
                let request = if choice < 4 {
                    StoreRequest::Purge { before: moment((at as u64).saturating_sub(choice)) }
                } else {
                    let counter = &mut latest[account as usize];
                    *counter += u64::from(choice < 9 || *counter == 0);
                    let operation = apply(account, 1, *counter, SyncDataType::PlayerData, *counter);
                    batch(vec![Apply { received: moment(at as u64), ..operation }])
                };
                prop_assert_eq!(store.perform(&request).await.unwrap(), memory.execute(&request));
            }
            Ok(())
        })
    };
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&prop::collection::vec((1..3u32, 0..12u64), 1..24), check).unwrap();
}

#[test]
fn a_purge_is_bounded() {
    let server = postgres();
    runtime().block_on(async {
        let store = migrated(&server, PostgresOptions::default()).await;
        let many = "INSERT INTO p2p_sync.operations
            (account_id, incarnation, counter, map_name, data_type, status, outcome, sequence, created_at, is_priority)
            SELECT 1, 1, n, 'm', 7, 'APPLIED', n, n, 'epoch', false FROM generate_series(1, $1) AS n";
        sqlx::query(many).bind(limits::PURGE_MAX as i64 + 5).execute(&mut server.raw().await).await.unwrap();
        let purge = StoreRequest::Purge { before: Timestamp::from_us(u64::MAX) };
        assert_eq!(store.perform(&purge).await, Ok(StoreReply::Purged(limits::PURGE_MAX as u64)));
        assert_eq!(store.perform(&purge).await, Ok(StoreReply::Purged(5)));
    });
}

#[test]
fn the_greatest_numbers_are_kept_and_greater_ones_refused() {
    let server = postgres();
    runtime().block_on(async {
        let store = migrated(&server, PostgresOptions::default()).await;
        let mut greatest = apply(u32::MAX, u64::MAX, limits::JSON_INTEGER_MAX, SyncDataType::PlayerData, 1);
        greatest.sequence = limits::JSON_INTEGER_MAX;
        greatest.received = Timestamp::from_us(1 << 53);
        applied(&store, vec![greatest.clone()]).await;
        let key = greatest.state_key().unwrap();
        let loaded = store.perform(&StoreRequest::Load(key)).await.unwrap();
        let StoreReply::Loaded(Some(row)) = loaded else { panic!("{loaded:?}") };
        assert_eq!((row.operation, row.updated), (greatest.operation, greatest.received));
        let name: String = sqlx::query_scalar("SELECT operation_id FROM p2p_sync.find_operation($1)")
            .bind(greatest.operation.to_string())
            .fetch_one(&mut server.raw().await)
            .await
            .unwrap();
        assert_eq!(name, greatest.operation.to_string());
        greatest.operation.counter = u64::MAX;
        let refused = store.perform(&batch(vec![greatest])).await;
        assert!(matches!(refused, Err(PostgresError::OutOfRange(_))), "{refused:?}");
    });
}

/// Two servers on one database get overlapping batches: the same names, the same sessions, the same states.
#[test]
fn servers_that_share_a_database_apply_each_operation_once() {
    share_a_database(|_| None);
}

/// The same with rules: conditions on positions that all can be reached, and on paces that suffice for all.
#[test]
fn servers_with_rules_that_share_a_database_apply_each_operation_once() {
    share_a_database(|apply| {
        let counter = apply.operation.counter;
        let condition = match counter % 8 {
            0..3 => {
                Condition::Reach { x: counter as u32 % 40, y: 0, slack_cells: 40, millicells_per_second: 0 }
            }
            3..7 => Condition::Pace {
                rule: PaceRule::ALL[(counter % 3) as usize],
                subject: (counter / 3) as u32 % 4,
                cost_us: 1,
                ahead_us_max: 1_000_000_000,
            },
            _ => return None,
        };
        Some(Box::new(condition))
    });
}

fn share_a_database(condition: impl Fn(&Apply) -> Option<Box<Condition>>) {
    let server = postgres();
    runtime().block_on(async {
        // All are asked for at once, so the last waits for all the others.
        let options = PostgresOptions { connections_max: 4, request_timeout: Span::from_secs(120) };
        let first = Arc::new(migrated(&server, options).await);
        let second = Arc::new(server.connect(options).await);
        let mut work = Vec::new();
        for round in 0..40u64 {
            for copy in 0..4 {
                // Each round asks for 24 operations four times over, in other orders and groupings.
                let types = [SyncDataType::MapState, SyncDataType::PlayerData, SyncDataType::ChatMessage];
                let mut operations: Vec<_> = (0..24u64)
                    .map(|n| {
                        let data_type = types[(n % 3) as usize];
                        let counter = round * 24 + n + 1;
                        // Every few rounds new sessions: their first operations race as well.
                        let operation = apply((n % 4) as u32, round / 4, counter, data_type, counter);
                        let map = MapName::new(&format!("m{}", n % 5)).unwrap();
                        let operation = Apply { map, ..operation };
                        Apply { condition: condition(&operation), ..operation }
                    })
                    .collect();
                if copy % 2 == 1 {
                    // Sessions come in another order; each keeps its own.
                    operations.sort_by_key(|apply| std::cmp::Reverse(apply.operation.account));
                }
                for part in operations.chunks(if copy < 2 { 24 } else { 6 }) {
                    work.push((copy, batch(part.to_vec())));
                }
            }
        }
        let tasks: Vec<_> = work
            .into_iter()
            .map(|(copy, request)| {
                let store = Arc::clone(if copy % 2 == 0 { &first } else { &second });
                tokio::spawn(async move { (store.perform(&request).await.unwrap(), request) })
            })
            .collect();
        let mut effects: BTreeMap<OperationId, u32> = BTreeMap::new();
        let mut verdicts: BTreeMap<OperationId, Verdict> = BTreeMap::new();
        let mut versions: BTreeMap<StateKey, Vec<u64>> = BTreeMap::new();
        for task in tasks {
            let (StoreReply::Applied(answers), StoreRequest::ApplyBatch(operations)) = task.await.unwrap()
            else {
                panic!("an answer of another kind");
            };
            for (operation, answer) in operations.iter().zip(answers) {
                let first = *verdicts.entry(operation.operation).or_insert(answer.verdict);
                assert_eq!(first, answer.verdict, "{} was answered in two ways", operation.operation);
                *effects.entry(operation.operation).or_default() += u32::from(!answer.duplicate);
                if let (false, Verdict::Applied { version }, Some(key)) =
                    (answer.duplicate, answer.verdict, operation.state_key())
                {
                    versions.entry(key).or_default().push(version);
                }
            }
        }
        assert_eq!(effects.len(), 40 * 24);
        // They waited for each other; none of them deadlocked.
        assert_eq!((first.status().counters.conflicts, second.status().counters.conflicts), (0, 0));
        assert!(effects.values().all(|times| *times == 1), "not once each: {effects:?}");
        let content = first.content().await.unwrap();
        for (key, mut given) in versions {
            given.sort_unstable();
            assert_eq!(given, (1..=given.len() as u64).collect::<Vec<_>>(), "versions of {key}");
            assert_eq!(content.states[&key].version, given.len() as u64, "{key}");
        }
        let applied: u64 = content.sessions.values().map(|session| session.applied.len()).sum();
        let expected = verdicts.values().filter(|verdict| matches!(verdict, Verdict::Applied { .. })).count();
        assert_eq!(applied, expected as u64);
    });
}

/// The same name for two maps at once: no lock keeps these apart, so one is told to try again.
#[test]
fn one_name_for_two_maps_at_once_takes_effect_once() {
    let server = postgres();
    runtime().block_on(async {
        let store = Arc::new(migrated(&server, PostgresOptions::default()).await);
        for counter in 1..=100 {
            let tasks: Vec<_> = ["a", "b", "c"]
                .map(|map| {
                    let mut operation = apply(1, 1, counter, SyncDataType::PlayerData, counter);
                    operation.map = MapName::new(map).unwrap();
                    let store = Arc::clone(&store);
                    tokio::spawn(async move { applied(&store, vec![operation]).await })
                })
                .into();
            let mut effects = 0;
            for task in tasks {
                effects += task.await.unwrap().iter().filter(|answer| !answer.duplicate).count();
            }
            assert_eq!(effects, 1);
        }
    });
}

/// Hosts come and go over two servers while both write for the map: at the end each write that took effect was
/// its primary's, in the epoch of the moment, and no two epochs had writes that overlap.
#[test]
fn a_former_primary_has_no_effect_whatever_server_it_asks() {
    let server = postgres();
    runtime().block_on(async {
        let options = PostgresOptions { connections_max: 4, request_timeout: Span::from_secs(120) };
        let first = Arc::new(migrated(&server, options).await);
        let second = Arc::new(server.connect(options).await);
        let map = MapName::new("prontera").unwrap();
        let report = |account, maps: Vec<MapName>| reports([(account, maps)]);
        for account in [1, 2] {
            first.perform(&report(account, vec![map.clone()])).await.unwrap();
        }
        let mut tasks = Vec::new();
        for counter in 1..=60u64 {
            for account in [1, 2] {
                let store = Arc::clone(if account == 1 { &first } else { &second });
                let write = apply(account, 1, counter, SyncDataType::MapState, counter);
                tasks.push(tokio::spawn(async move { drop(applied(&store, vec![write]).await) }));
            }
            if counter % 10 == 0 {
                // The primary gives the map back, and offers it again: the other one takes over.
                let leaving = 1 + (counter / 10 + 1) as u32 % 2;
                let store = Arc::clone(if leaving == 1 { &second } else { &first });
                let (back, again) = (report(leaving, Vec::new()), report(leaving, vec![map.clone()]));
                tasks.push(tokio::spawn(async move {
                    store.perform(&back).await.unwrap();
                    store.perform(&again).await.unwrap();
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        let StoreReply::Hosts(hosts) = first.perform(&StoreRequest::LoadHosts(map.clone())).await.unwrap()
        else {
            panic!("an answer of another kind");
        };
        assert_eq!(hosts.assignments[0].part, Part::Primary);
        assert!(hosts.epoch >= 2, "the map never moved");
        let loser = if hosts.assignments[0].account == AccountId(1) { 2 } else { 1 };
        let late = applied(&second, vec![apply(loser, 1, 1_000, SyncDataType::MapState, 1_000)]).await;
        assert_eq!(late[0].verdict, Verdict::Fenced { epoch: hosts.epoch });
        let written: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM p2p_sync.operations WHERE status = 'APPLIED' AND data_type = 0",
        )
        .fetch_one(&mut server.raw().await)
        .await
        .unwrap();
        let key = StateKey::new(SyncDataType::MapState, AccountId(0), map);
        let version = first.content().await.unwrap().states.get(&key).map_or(0, |row| row.version);
        assert_eq!(version, written.unsigned_abs());
    });
}

#[test]
fn findings_are_rows() {
    let server = postgres();
    runtime().block_on(async {
        let store = migrated(&server, PostgresOptions::default()).await;
        let finding = |validation, details: &str| SecurityValidation {
            account: AccountId(u32::MAX),
            map: MapName::new("prontera").unwrap(),
            validation,
            is_valid: false,
            details: details.into(),
            at: Timestamp::from_ms(5_000),
        };
        let found = vec![
            finding(ValidationType::PlayerMovement, "too far"),
            finding(ValidationType::AccountRights, "\0 \" \u{1F409}"),
        ];
        let reply = store.perform(&StoreRequest::RecordValidations(Arc::new(found))).await;
        assert_eq!(reply, Ok(StoreReply::Recorded(2)));
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT account_id, validation_type, details->>'finding' FROM p2p_sync.security_validations
             WHERE NOT is_valid AND created_at = timestamptz 'epoch' + interval '5 seconds' ORDER BY 1, 2",
        )
        .fetch_all(&mut server.raw().await)
        .await
        .unwrap();
        let row = |name: &str, details: &str| (4_294_967_295, name.to_owned(), details.to_owned());
        assert_eq!(rows, [row("ACCOUNT_RIGHTS", "\u{fffd} \" \u{1F409}"), row("PLAYER_MOVEMENT", "too far")]);
    });
}

/// Reports that change nothing wait for nobody: neither for hosts that move, nor for each other.
#[test]
fn a_report_that_changes_nothing_takes_no_lock_of_others() {
    let server = postgres();
    runtime().block_on(async {
        let options = PostgresOptions { connections_max: 4, request_timeout: Span::from_secs(2) };
        let store = Arc::new(migrated(&server, options).await);
        let maps = |n: u32| vec![MapName::new(&format!("m{}", n % 4)).unwrap()];
        let all = || reports((0..80).map(|n| (n, maps(n))));
        store.perform(&all()).await.unwrap();
        // Somebody changes who hosts which map, and takes long.
        let mut raw = server.raw().await;
        let hold = "BEGIN; SELECT pg_advisory_xact_lock(1882353779, n) FROM generate_series(-1, 63) AS n";
        sqlx::raw_sql(hold).execute(&mut raw).await.unwrap();
        let StoreReply::Reported { assignments, changes } = store.perform(&all()).await.unwrap() else {
            panic!("an answer of another kind");
        };
        assert_eq!((assignments.iter().flatten().count(), changes.len()), (4 * 5, 0));
        let changing = store.perform(&reports([(1, Vec::new())])).await;
        // Whose patience ends first, this side's or the server's (query_canceled), is open.
        let gave_up = match &changing {
            Err(PostgresError::Refused { code }) => code == "57014",
            other => *other == Err(PostgresError::TimedOut),
        };
        assert!(gave_up, "it waits for its turn: {changing:?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
        // Of another host: what was given up may have taken effect since.
        let StoreReply::Reported { changes, .. } = store.perform(&reports([(2, Vec::new())])).await.unwrap()
        else {
            panic!("an answer of another kind");
        };
        assert!(!changes.is_empty());
    });
}

/// However many reports wait for each other, writes keep their connections.
#[test]
fn reports_leave_connections_to_the_writes() {
    let server = postgres();
    runtime().block_on(async {
        let options = PostgresOptions { connections_max: 4, request_timeout: Span::from_secs(10) };
        let store = Arc::new(migrated(&server, options).await);
        let mut raw = server.raw().await;
        let hold = "BEGIN; SELECT pg_advisory_xact_lock(1882353779, -1)";
        sqlx::raw_sql(hold).execute(&mut raw).await.unwrap();
        let waiting: Vec<_> = (0..16)
            .map(|account| {
                let (store, request) = (Arc::clone(&store), reports([(account, Vec::new())]));
                tokio::spawn(async move { store.perform(&request).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let write = batch(vec![apply(1, 1, 1, SyncDataType::ChatMessage, 1)]);
        let answered = tokio::time::timeout(std::time::Duration::from_secs(2), store.perform(&write)).await;
        assert!(matches!(answered, Ok(Ok(StoreReply::Applied(_)))), "{answered:?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
        for report in waiting {
            report.await.unwrap().unwrap();
        }
    });
}

/// What hosts report from many sides, in any grouping, deadlocks with nothing.
#[test]
fn reports_checks_and_writes_do_not_deadlock() {
    let server = postgres();
    runtime().block_on(async {
        let options = PostgresOptions { connections_max: 4, request_timeout: Span::from_secs(120) };
        let first = Arc::new(migrated(&server, options).await);
        let second = Arc::new(server.connect(options).await);
        let maps = ["a", "b", "c", "d"].map(|name| MapName::new(name).unwrap());
        let mut tasks = Vec::new();
        for round in 0..150u32 {
            let store = Arc::clone(if round % 2 == 0 { &first } else { &second });
            let of = |n: u32| (n * 7 + round) % 24;
            let request = match round % 5 {
                // Some offers change, most do not.
                0..3 => reports((0..16).map(|n| {
                    let offered = maps.iter().skip((of(n) % 3) as usize + usize::from(n == round % 40));
                    (of(n), offered.cloned().collect())
                })),
                3 => StoreRequest::SweepHosts,
                _ => batch(
                    (0..8)
                        .map(|n| Apply {
                            map: maps[((n + u64::from(round)) % 4) as usize].clone(),
                            ..apply(of(n as u32), 1, u64::from(round) * 8 + n, SyncDataType::MapState, n + 1)
                        })
                        .collect(),
                ),
            };
            tasks.push(tokio::spawn(async move { store.perform(&request).await }));
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!((first.status().counters.conflicts, second.status().counters.conflicts), (0, 0));
    });
}
