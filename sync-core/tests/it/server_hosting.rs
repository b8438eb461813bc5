//! What the main server's engine does with reports, silent hosts, rules and findings.

use std::sync::Arc;

use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::host_sync::validate::Rules;
use sync_core::id::{AccountId, Token};
use sync_core::limits;
use sync_core::store::hosting::MapHosts;
use sync_core::store::validation::ValidationType;
use sync_core::store::{MemoryStore, StoreError, StoreReply, StoreRequest};
use sync_core::time::{Span, Timestamp};
use sync_core::wire::{Kind, Request};

use crate::support::{Draws, Plain, PlainReply, PlainRequest, at_ms, map, operation};

/// A server whose database does at once what it is asked.
struct Main {
    server: Server<Plain, Draws>,
    store: MemoryStore,
    now_ms: u64,
    exchange: u64,
    database_is_up: bool,
    /// Whether hosts' clocks are far behind.
    stale: bool,
    /// What the database was asked for, in words.
    asked: Vec<&'static str>,
}

impl Main {
    fn new(rules: bool) -> Self {
        let settings = ServerSettings {
            health_check: Some(limits::HEALTH_CHECK),
            rules: rules.then(|| Arc::new(Rules::built_in())),
            ..ServerSettings::default()
        };
        Self {
            server: Server::new(Arc::new(settings), Plain, Draws::default()),
            store: MemoryStore::default(),
            now_ms: 0,
            exchange: 0,
            database_is_up: true,
            stale: false,
            asked: Vec::new(),
        }
    }

    /// Sends an operation of an account; the answer in words.
    fn says(&mut self, account: u32, kind: Kind, data_type: SyncDataType, data: &str) -> String {
        self.exchange += 1;
        let request = Request {
            kind,
            data_type,
            map: map("m"),
            data: data.into(),
            timestamp: if self.stale { Timestamp::from_ms(0) } else { at_ms(self.now_ms).wall },
            operation: operation(account, self.exchange),
            critical: false,
            sequence: self.exchange,
        };
        let request = PlainRequest { request, iv: [self.exchange as u8; 16], fault: None };
        let input = ServerInput::Request { token: Token(self.exchange), request };
        let mut effects = Vec::new();
        self.server.handle(at_ms(self.now_ms), input, &mut effects);
        self.perform(effects).join(", ")
    }

    fn writes(&mut self, account: u32, data_type: SyncDataType, data: &str) -> String {
        self.says(account, Kind::SyncTo, data_type, data)
    }

    fn reports(&mut self, account: u32, cores: u32) -> String {
        let data = format!(
            r#"{{"metrics":{{"cpu_mhz":3000,"cpu_cores":{cores},"free_ram_mb":8192,"network_speed_mbps":100,"latency_ms":9,"disconnects_per_hour":0,"vps_connection_active":true}},"maps":["m"]}}"#
        );
        self.says(account, Kind::Report, SyncDataType::HostMetrics, &data)
    }

    fn wakes_at(&mut self, ms: u64) {
        self.now_ms = ms;
        let mut effects = Vec::new();
        self.server.wake(at_ms(ms), &mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, mut effects: Vec<ServerEffect<PlainReply>>) -> Vec<String> {
        let mut answers = Vec::new();
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    ServerEffect::Reply { reply: Ok(sealed), .. } => {
                        answers.push(match sealed.reply.result {
                            Ok(None) => "done".to_owned(),
                            Ok(Some(payload)) => payload.to_string(),
                            Err(rejection) => rejection.to_string(),
                        })
                    }
                    ServerEffect::Reply { reply: Err(status), .. } => answers.push(status.code().to_string()),
                    ServerEffect::Store { token, request } => {
                        self.asked.push(match &request {
                            StoreRequest::ApplyBatch(_) => "apply",
                            StoreRequest::ReportHosts(_) => "report",
                            StoreRequest::SweepHosts => "sweep",
                            StoreRequest::RecordValidations(_) => "record",
                            _ => "another",
                        });
                        self.store.tell_time(at_ms(self.now_ms).wall);
                        let answer = if self.database_is_up {
                            Ok(self.store.execute(&request))
                        } else {
                            Err(StoreError::Unavailable)
                        };
                        let input = ServerInput::Stored { token, answer };
                        self.server.handle(at_ms(self.now_ms), input, &mut effects);
                    }
                    _ => {}
                }
            }
        }
        answers
    }

    fn hosts(&mut self) -> MapHosts {
        match self.store.execute(&StoreRequest::LoadHosts(map("m"))) {
            StoreReply::Hosts(hosts) => hosts,
            other => panic!("{other:?}"),
        }
    }

    fn found(&self) -> Vec<(u32, ValidationType, bool)> {
        self.store.validations().map(|f| (f.account.0, f.validation, f.is_valid)).collect()
    }
}

#[test]
fn a_report_is_answered_with_the_parts_that_the_host_plays() {
    let mut main = Main::new(false);
    let primary = r#"{"assignments":[{"map_name":"m","part":"primary","epoch":1}]}"#;
    let backup = r#"{"assignments":[{"map_name":"m","part":"backup","epoch":1}]}"#;
    assert_eq!(main.reports(1, 4), primary);
    assert_eq!(main.reports(2, 8), backup);
    assert_eq!(main.reports(3, 3), r#"{"assignments":[]}"#, "not fit");
    let nonsense = main.says(1, Kind::Report, SyncDataType::HostMetrics, r#"{"maps":1}"#);
    assert!(nonsense.starts_with("malformed_data: it is not a report"), "{nonsense}");
    main.database_is_up = false;
    assert_eq!(main.reports(1, 4), "503");
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn only_the_primary_writes_for_its_map() {
    let mut main = Main::new(false);
    assert_eq!(main.writes(2, SyncDataType::MapState, "{}"), "done", "a map without a history is open");
    main.reports(1, 4);
    main.reports(2, 4);
    assert_eq!(main.writes(1, SyncDataType::MapState, "{}"), "done");
    for data_type in [SyncDataType::MapState, SyncDataType::MonsterData, SyncDataType::NpcState] {
        let refused = main.writes(2, data_type, "{}");
        assert!(refused.starts_with("fenced: the map is in epoch 1"), "{refused}");
    }
    assert_eq!(main.writes(2, SyncDataType::PlayerData, "{}"), "done", "its own player is its own");
    assert_eq!(main.found(), [(2, ValidationType::AccountRights, false); 3]);
}

#[test]
fn a_host_that_misses_three_checks_is_dropped_and_its_map_moves() {
    let mut main = Main::new(false);
    main.reports(1, 8);
    assert_eq!(main.server.next_wakeup(), Some(at_ms(15_000).monotonic));
    main.wakes_at(15_000);
    main.reports(2, 4);
    main.wakes_at(30_000);
    assert_eq!(main.hosts().assignments[0].account, AccountId(1));
    main.reports(2, 4);
    main.wakes_at(45_000);
    let hosts = main.hosts();
    assert_eq!((hosts.epoch, hosts.assignments[0].account), (2, AccountId(2)));
    let refused = main.writes(1, SyncDataType::MapState, "{}");
    assert!(refused.starts_with("fenced: the map is in epoch 2"), "{refused}");
}

#[test]
fn a_violation_names_rule_and_numbers_and_is_recorded() {
    let mut main = Main::new(true);
    let at =
        |account: u32, x: u32| format!(r#"{{"account_id":{account},"position":{{"x":{x},"y":0,"m":"m"}}}}"#);
    let position = SyncDataType::PlayerPosition;
    assert_eq!(main.writes(1, position, &at(1, 0)), "done");
    assert_eq!(
        main.writes(1, position, &at(1, 512)),
        "rule_violated: PLAYER_MOVEMENT position.x: 512, at most 511 on this map"
    );
    assert_eq!(
        main.writes(1, position, &at(1, 5)),
        "rule_violated: PLAYER_MOVEMENT movement.cells_per_second_max: 5 cells from the last position, at most 4 by now"
    );
    main.now_ms += 50;
    assert_eq!(main.writes(1, position, &at(1, 5)), "done", "a twentieth of a second is one cell more");
    assert_eq!(
        main.writes(1, position, &at(2, 5)),
        "rule_violated: ACCOUNT_RIGHTS account_id: account 2 in the data, the host's is 1"
    );
    let skill = r#"{"account_id":1,"skill_id":46}"#;
    assert_eq!(main.writes(1, SyncDataType::CriticalGameState, skill), "done");
    main.now_ms += 200;
    assert_eq!(
        main.writes(1, SyncDataType::CriticalGameState, skill),
        "rule_violated: SKILL_USAGE skills.cooldown_ms: too soon by 300 ms"
    );
    main.now_ms += 300;
    assert_eq!(main.writes(1, SyncDataType::CriticalGameState, skill), "done");
    let expected = [
        (1, ValidationType::PlayerMovement, false),
        (1, ValidationType::PlayerMovement, false),
        (1, ValidationType::AccountRights, false),
        (1, ValidationType::SkillUsage, false),
    ];
    assert_eq!(main.found(), expected);
}

#[test]
fn what_is_refused_whatever_the_rules_are_is_recorded_where_there_are_some() {
    for rules in [true, false] {
        let mut main = Main::new(rules);
        let chat = SyncDataType::ChatMessage;
        assert!(main.writes(1, chat, "{").starts_with("malformed_data"));
        assert!(main.writes(2, chat, &"x".repeat(limits::DATA_BYTES_MAX + 1)).starts_with("too_large"));
        assert!(main.says(3, Kind::SyncFrom, chat, "{}").starts_with("unsupported"));
        let report = main.says(4, Kind::Report, SyncDataType::HostMetrics, r#"{"maps":1}"#);
        assert!(report.starts_with("malformed_data"), "{report}");
        main.stale = true;
        assert!(main.writes(5, chat, "{}").starts_with("stale_timestamp"));
        let all = [1, 2, 3, 4, 5].map(|account| (account, ValidationType::DataForm, false));
        assert_eq!(main.found(), if rules { all.to_vec() } else { Vec::new() });
    }
}

#[test]
fn what_a_host_found_itself_is_recorded() {
    let mut main = Main::new(true);
    let found = |host: u32, result: bool| {
        format!(
            r#"{{"host_id":{host},"map_name":"m","validation_type":"DROP_RATE","result":{result},"timestamp":1}}"#
        )
    };
    let validation = SyncDataType::SecurityValidation;
    assert_eq!(main.writes(1, validation, &found(1, true)), "done");
    assert_eq!(main.writes(1, validation, &found(1, false)), "done");
    assert!(
        main.writes(1, validation, &found(2, false)).starts_with("rule_violated: ACCOUNT_RIGHTS host_id")
    );
    let own = |is_valid| (1, ValidationType::DropRate, is_valid);
    assert_eq!(main.found(), [own(true), own(false), (1, ValidationType::AccountRights, false)]);
}

#[test]
fn a_flood_of_findings_is_bounded_and_counted() {
    let mut main = Main::new(true);
    main.writes(1, SyncDataType::MapState, "[]");
    main.database_is_up = false;
    main.writes(1, SyncDataType::MapState, "[]");
    assert_eq!(main.server.counters().findings_dropped, 1, "the database was away");
    main.database_is_up = true;
    main.writes(1, SyncDataType::MapState, "[]");
    assert_eq!(main.found().len(), 2);
    assert_eq!(main.asked, ["record"; 3]);
}

#[test]
fn a_server_without_rules_takes_any_json_and_one_without_checks_never_wakes_for_them() {
    let mut main = Main::new(false);
    assert_eq!(main.writes(1, SyncDataType::PlayerPosition, r#"{"x":"anything"}"#), "done");
    let mut quiet = Server::<Plain, Draws>::new(Arc::new(ServerSettings::default()), Plain, Draws::default());
    let mut effects = Vec::new();
    quiet.wake(at_ms(0), &mut effects);
    quiet.wake(at_ms(Span::from_secs(60).as_ms()), &mut effects);
    let sweeps = |effect: &ServerEffect<PlainReply>| {
        matches!(effect, ServerEffect::Store { request: StoreRequest::SweepHosts, .. })
    };
    assert!(!effects.iter().any(sweeps));
}

/// However slow the database is, one batch of reports is on its way: what comes meanwhile goes together in the next,
/// and writes are not held up.
#[test]
fn reports_go_one_batch_at_a_time_beside_the_writes() {
    let mut main = Main::new(false);
    let mut effects = Vec::new();
    let mut sent = |main: &mut Main, input: ServerInput<PlainRequest>| {
        main.server.handle(at_ms(main.now_ms), input, &mut effects);
        std::mem::take(&mut effects)
    };
    let request = |n: u64, kind, data_type| {
        let request = Request {
            kind,
            data_type,
            map: map("m"),
            data: if kind == Kind::Report { r#"{"maps":["m"]}"# } else { "{}" }.into(),
            timestamp: at_ms(0).wall,
            operation: operation(n as u32, 1),
            critical: false,
            sequence: 1,
        };
        ServerInput::Request { token: Token(n), request: PlainRequest { request, iv: [0; 16], fault: None } }
    };
    let report = |n| request(n, Kind::Report, SyncDataType::HostMetrics);
    let batch = |effects: &[ServerEffect<PlainReply>]| match effects {
        [ServerEffect::Store { token, request: StoreRequest::ReportHosts(reports) }] => {
            Some((*token, reports.len()))
        }
        _ => None,
    };
    let (first, size) = batch(&sent(&mut main, report(1))).unwrap();
    assert_eq!(size, 1);
    for n in 2..400 {
        assert!(sent(&mut main, report(n)).is_empty(), "a second batch is on its way");
    }
    let write = sent(&mut main, request(500, Kind::SyncTo, SyncDataType::ChatMessage));
    assert!(matches!(&write[..], [ServerEffect::Store { request: StoreRequest::ApplyBatch(_), .. }]));
    let answer = Ok(StoreReply::Reported { assignments: vec![Vec::new()], changes: Vec::new() });
    let mut next = sent(&mut main, ServerInput::Stored { token: first, answer });
    assert!(matches!(next.remove(0), ServerEffect::Reply { token: Token(1), reply: Ok(_) }));
    let (second, size) = batch(&next).unwrap();
    assert_eq!(size, limits::REPORTS_BATCH_MAX);
    // The database is away for long: those that were with it are told so, the others are not worked on any more.
    main.now_ms += limits::GATHERING_MAX.as_ms() + 1;
    let answer = Err(StoreError::Unavailable);
    let ended = sent(&mut main, ServerInput::Stored { token: second, answer });
    let told = |code| {
        let is = |e: &&ServerEffect<PlainReply>| matches!(e, ServerEffect::Reply { reply: Err(s), .. } if s.code() == code);
        ended.iter().filter(is).count()
    };
    assert_eq!((told(503), told(429)), (256, 399 - 1 - 256));
    assert_eq!(main.server.open_exchanges(), 1, "the write");
}
