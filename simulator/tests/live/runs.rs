//! Whole runs against real servers in containers: parity with the virtual rig, crashes, planted defects.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a random test says its seed")]
#![allow(clippy::disallowed_methods, reason = "real servers live in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use simulator::history::{Event, OpRef, What};
use simulator::live_rig::{LiveOptions, LiveRig, LiveRunError, RunId, Servers, ServersOptions, child};
use simulator::plan::Plan;
use simulator::recording;
use simulator::run::{RunResult, Summary, run};
use simulator::scenario::Scenario;
use simulator::scenario::units::Length;
use simulator::verdict::Verdict;
use simulator::zoo;
use sync_core::recording::{EffectForm, KeyBag};
use sync_core::secret::Secret;

/// One writer a key: each host has a map of its own, and every other state is its account's.
const PARITY: &str = "
name: parity
about: One writer a key, a good network.
duration: 1300ms
settle: 30s
topology: { hosts: 50, maps: 50 }
hosts: { critical_timeout: 5s }
network: { to_server: { latency: { constant: 1ms } }, to_host: { latency: { constant: 1ms } } }
workload:
  - name: players
    arrivals: { poisson: 18/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 3 }
      - { type: PLAYER_DATA, weight: 2 }
      - { type: MAP_STATE, weight: 2 }
      - { type: QUEST_PROGRESS, priority: true }
      - { type: CHAT_MESSAGE, weight: 3 }
expect: { properties: [P5, P14, P19, P30] }
";

/// What an application sees at the end: the value of each state, and which events took effect.
type Application = (BTreeMap<String, String>, BTreeSet<OpRef>);

fn application(result: &RunResult) -> Application {
    let states = &result.figures.content.states;
    let states = states.iter().map(|(key, row)| (key.to_string(), row.data.to_string())).collect();
    let lines = std::str::from_utf8(&result.history).unwrap().lines();
    let events = lines.filter_map(|line| match serde_json::from_str::<Event>(line).unwrap().what {
        What::Applied { op, key: None, .. } => op,
        _ => None,
    });
    (states, events.collect())
}

/// What did not pass.
fn faults(summary: &Summary) -> Vec<String> {
    let properties = summary.properties.iter().filter(|judgement| judgement.verdict != Verdict::Pass);
    let thresholds = summary.thresholds.iter().filter(|threshold| threshold.verdict != Verdict::Pass);
    properties.map(|found| format!("{found:?}")).chain(thresholds.map(|found| format!("{found:?}"))).collect()
}

fn rig() -> LiveRig {
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    LiveRig::start(LiveOptions::default()).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()))
}

/// `PARITY_SEEDS`, else 8. The nightly run takes 20.
fn parity_seeds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a test may ask how much it is to do")]
    std::env::var("PARITY_SEEDS").map_or(8, |seeds| seeds.parse().unwrap())
}

#[test]
fn virtual_and_live_end_in_the_same_application_state() {
    let scenario = Scenario::parse("parity", PARITY.as_bytes()).unwrap();
    let mut rig = rig();
    for seed in 1..=parity_seeds() {
        let plan = Plan::new(&scenario, seed);
        let (live, virtually) = (rig.run(&plan, None).unwrap(), run(&plan));
        for result in [&live, &virtually] {
            let summary = &result.summary;
            let counts = &summary.counts;
            eprintln!("seed {seed}, {} rig: {} operations", summary.rig, counts.planned());
            assert_eq!(summary.verdict, Verdict::Pass, "seed {seed}: {:#?}", faults(summary));
            assert!(counts.planned() >= 1_000, "seed {seed}: {} operations", counts.planned());
            let missed = counts.critical.deadline_exceeded + counts.normal.deadline_exceeded;
            assert_eq!((missed, counts.critical.unsent, counts.normal.unsent), (0, 0, 0), "seed {seed}");
        }
        let (live, virtually) = (application(&live), application(&virtually));
        assert!(!live.0.is_empty() && !live.1.is_empty());
        assert_eq!(live, virtually, "seed {seed}");
    }
    rig.remove().unwrap();
}

const CRASHES: &str = "
name: crashes
about: Every process is killed in mid-run and comes back.
duration: 12s
settle: 60s
topology: { hosts: 20, maps: 4 }
network: { to_server: { latency: { constant: 1ms } }, to_host: { latency: { constant: 1ms } } }
workload:
  - name: players
    arrivals: { poisson: 10/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 2 }
      - { type: PLAYER_DATA, weight: 2 }
      - { type: CHAT_MESSAGE }
      - { type: PLAYER_DATA, kind: sync_from }
faults:
  - { at: 2s, for: 1s, inject: { crash: database } }
  - { at: 5s, for: 1s, inject: { crash: cache } }
  - { at: 8s, for: 1s, inject: { crash: main_server } }
expect: { properties: [P5, P14, P30], critical_miss_ratio_max: 100% }
";

#[test]
fn what_was_acknowledged_survives_kill_9_of_every_process() {
    let mut rig = rig();
    let plan = Plan::new(&Scenario::parse("crashes", CRASHES.as_bytes()).unwrap(), 1);
    let result = rig.run(&plan, None).unwrap();
    let (summary, history) = (result.summary, String::from_utf8(result.history).unwrap());
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    for node in ["database", "cache", "main server"] {
        assert!(history.contains(&format!("{{\"restarted\":{{\"node\":\"{node}\"}}}}")), "{node} came back");
    }
    let ends = |line: &str| summary.notes.iter().any(|note| note.contains(line));
    assert!(ends("kill -9"), "{:?}", summary.notes);
    rig.remove().unwrap();
}

#[test]
fn texts_get_their_own_vectors_in_both_rigs_and_the_providers_calls_are_counted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/smoke/embeddings.yaml");
    let mut scenario = Scenario::parse("embeddings", &std::fs::read(path).unwrap()).unwrap();
    // How fast it goes is not what is shown here.
    scenario.hosts.critical_timeout = Length::from_ms(20_000);
    scenario.expect.properties = ["P5", "P6e", "P14"].map(str::to_owned).to_vec();
    let plan = Plan::new(&scenario, 1);
    let mut rig = rig();
    for result in [rig.run(&plan, None).unwrap(), run(&plan)] {
        let summary = &result.summary;
        assert_eq!(summary.verdict, Verdict::Pass, "{}: {:#?}", summary.rig, faults(summary));
        assert!(summary.thresholds.iter().any(|one| one.figure == "failed calls of the embedding provider"));
        // Both what the database holds and what hosts were given.
        let seen: BTreeSet<_> = std::str::from_utf8(&result.history)
            .unwrap()
            .lines()
            .filter_map(|line| match serde_json::from_str::<Event>(line).unwrap().what {
                What::Vector { at, .. } => Some(format!("{at:?}")),
                _ => None,
            })
            .collect();
        assert_eq!(seen.len(), 2, "{}: {seen:?}", summary.rig);
        assert!(!result.figures.content.embeddings.is_empty());
    }
    // A provider that is asked more often than it may be.
    scenario.expect.provider.as_mut().unwrap().calls_max = Some(15);
    let plan = Plan::new(&scenario, 1);
    for summary in [rig.run(&plan, None).unwrap().summary, run(&plan).summary] {
        assert_eq!(summary.verdict, Verdict::Fail, "{}", summary.rig);
        let failed: Vec<_> = summary.thresholds.iter().filter(|one| one.verdict == Verdict::Fail).collect();
        let is_named = matches!(failed.as_slice(), [one] if one.figure == "calls of the embedding provider");
        assert!(is_named, "{failed:?}");
    }
    rig.remove().unwrap();
}

#[test]
fn planted_defects_are_caught_live_and_the_healthy_core_is_not() {
    let mut rig = rig();
    for number in [30, 32, 34, 57] {
        let entry = zoo::entry(number).unwrap();
        let mut scenario = zoo::hunt::scenario(entry).unwrap();
        // In real time a seed takes as long as it says: enough happens for the first one to show it.
        scenario.topology.hosts *= if number == 57 { 1 } else { 4 };
        let healthy = Plan::new(&scenario, 1);
        let summary = rig.run(&healthy, None).unwrap().summary;
        assert_eq!(summary.verdict, Verdict::Pass, "healthy core, zoo {number}: {summary:#?}");
        let planted = Plan { defect: Some(number), ..healthy };
        let summary = rig.run(&planted, None).unwrap().summary;
        let failed: Vec<_> = summary
            .properties
            .iter()
            .filter(|judgement| judgement.verdict == Verdict::Fail)
            .map(|judgement| judgement.property.as_str())
            .collect();
        assert!(entry.breaks.iter().any(|property| failed.contains(property)), "zoo {number}: {summary:#?}");
    }
    rig.remove().unwrap();
}

const ROTATED: &str = "
name: rotated
about: Keys are replaced twice under load, while one main server is killed and the other frozen; one host misses the second time.
duration: 9s
settle: 60s
topology: { hosts: 12, maps: 4, main_servers: 2 }
hosts: { critical_timeout: 2s }
main_server: { freshness_window: 1500ms }
network: { to_server: { latency: { constant: 1ms }, replay: 5%, replay_after: 2s }, to_host: { latency: { constant: 1ms } } }
workload:
  - name: players
    arrivals: { poisson: 10/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 2 }
      - { type: PLAYER_DATA }
      - { type: PLAYER_DATA, kind: sync_from }
faults:
  - { at: 1s, for: 3s, inject: { rotate_keys: { prepare: 1s } } }
  - { at: 1900ms, for: 700ms, inject: { crash: { main_servers: [0] } } }
  - { at: 3800ms, for: 600ms, inject: { freeze: main_server } }
  - { at: 6s, for: 2s, inject: { rotate_keys: { left_behind: { only: [11] } } } }
expect: { properties: [P5, P14, P26, P27, P28], critical_miss_ratio_max: 100% }
";

#[test]
fn keys_are_replaced_under_load_and_what_was_recorded_of_it_is_replayed() {
    let mut rig = rig();
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(&Scenario::parse("rotated", ROTATED.as_bytes()).unwrap(), 1);
    let result = rig.run(&plan, Some((folder.path(), EffectForm::Digest))).unwrap();
    rig.remove().unwrap();
    assert_eq!(result.summary.verdict, Verdict::Pass, "{:#?}", faults(&result.summary));
    let events = std::str::from_utf8(&result.history).unwrap().lines();
    let steps = events.filter_map(|line| match serde_json::from_str::<Event>(line).unwrap().what {
        What::Keys { seals, opens, .. } => Some((seals, opens.join(" "))),
        _ => None,
    });
    let steps: Vec<_> = steps.collect();
    let steps: Vec<_> = steps.iter().map(|(seals, opens)| (seals.as_str(), opens.as_str())).collect();
    let [old, new, newest] = ["world", "world-1", "world-2"];
    assert_eq!(steps, [(old, new), (new, old), (new, ""), (new, newest), (newest, new), (newest, "")]);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let lines = std::io::BufReader::new(std::fs::File::open(&file).unwrap());
        let replayed = recording::replay(lines, &KeyBag::default()).unwrap();
        assert!(replayed.difference.is_none(), "{}: {:?}", file.display(), replayed.difference);
    }
}

#[test]
fn what_main_servers_do_inside_is_judged_though_one_is_killed() {
    let mut rig = rig();
    let text = include_str!("../../../scenarios/fault/inside-main-servers.yaml");
    let mut scenario = Scenario::parse("inside", text.as_bytes()).unwrap();
    // How late the rig is depends on what else this machine does.
    scenario.expect.properties.retain(|property| property != "P30");
    let plan = Plan::new(&scenario, 1);
    let summary = rig.run(&plan, None).unwrap().summary;
    rig.remove().unwrap();
    assert_eq!(summary.verdict, Verdict::Pass, "{:#?}", faults(&summary));
    for property in ["P16", "P23", "P24"] {
        let judged = summary.properties.iter().find(|judgement| judgement.property == property).unwrap();
        assert_eq!(judged.verdict, Verdict::Pass, "{judged:#?}");
        eprintln!("{property}: {}", judged.basis);
    }
}

const STALE: &str = "
name: stale
about: Requests of two main servers to the cache overtake each other; once the writers have stopped, the newest value is served.
duration: 4s
settle: 60s
topology: { hosts: 28, maps: 7, main_servers: 2 }
cache: { latency: { uniform: { min: 1ms, max: 200ms } } }
workload:
  - name: writers
    arrivals: { poisson: 4/s }
    until: 1s
    mix: [ { type: MAP_STATE } ]
  - name: readers
    arrivals: { poisson: 3/s }
    mix: [ { type: MAP_STATE, kind: sync_from } ]
expect: { properties: [P23], stale_reads_max: 1s, critical_miss_ratio_max: 100% }
";

#[test]
fn a_stale_value_that_is_written_back_is_caught_live() {
    let mut rig = rig();
    let plan = Plan::new(&Scenario::parse("stale", STALE.as_bytes()).unwrap(), 1);
    let mut judged = |defect| {
        let summary = rig.run(&Plan { defect, ..plan.clone() }, None).unwrap().summary;
        summary.properties.into_iter().find(|judgement| judgement.property == "P23").unwrap()
    };
    let healthy = judged(None);
    assert_eq!(healthy.verdict, Verdict::Pass, "{healthy:?}");
    let caught = judged(Some(45));
    assert_eq!(caught.verdict, Verdict::Fail, "{caught:?}");
    eprintln!("zoo 45: {}", caught.findings[0].message);
    rig.remove().unwrap();
}

const RECORDED: &str = "
name: recorded
about: Ten thousand operations, recorded, with the main server killed in the middle.
duration: 20s
settle: 60s
topology: { hosts: 100, maps: 10 }
network: { to_server: { latency: { constant: 1ms }, loss: 1% }, to_host: { latency: { constant: 1ms } } }
workload:
  - name: players
    arrivals: { poisson: 5.3/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 3 }
      - { type: PLAYER_DATA, weight: 2 }
      - { type: CHAT_MESSAGE }
      - { type: PLAYER_DATA, kind: sync_from }
faults:
  - { at: 8s, for: 1s, inject: { crash: main_server } }
expect: { properties: [P5, P14], critical_miss_ratio_max: 100% }
";

#[test]
fn a_recorded_run_of_ten_thousand_operations_is_replayed_equal_without_servers() {
    let mut rig = rig();
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(&Scenario::parse("recorded", RECORDED.as_bytes()).unwrap(), 1);
    let record = Some((folder.path(), EffectForm::Digest));
    let summary = rig.run(&plan, record).unwrap().summary;
    rig.remove().unwrap();
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    let (mut operations, mut requests, mut cut_short) = (0, 0, 0);
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    // The hosts, and two lives of the main server.
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        let lines = std::io::BufReader::new(std::fs::File::open(file).unwrap());
        let replayed = recording::replay(lines, &KeyBag::default()).unwrap();
        assert!(replayed.difference.is_none(), "{}: {:?}", file.display(), replayed.difference);
        operations += replayed.totals.operations;
        requests += replayed.totals.requests;
        cut_short += u64::from(replayed.cut_short.is_some());
    }
    assert!(operations >= 10_000, "{operations} operations");
    assert!(requests >= operations * 9 / 10, "{requests} requests");
    // Killed in the middle, the first life wrote to where it came.
    assert_eq!(cut_short, 1);
}

const DISTURBED: &str = "
name: disturbed
about: Connections are slow, cut, reset, sliced, corrupted and stalled, and processes stand still.
duration: 14s
settle: 60s
topology: { hosts: 20, maps: 4 }
network: { to_server: { latency: { constant: 1ms }, tamper: 2% }, to_host: { latency: { constant: 1ms }, tamper: 2% } }
workload:
  - name: players
    arrivals: { poisson: 8/s }
    mix:
      - { type: PLAYER_POSITION, critical: true }
      - { type: PLAYER_DATA }
      - { type: CHAT_MESSAGE }
      - { type: PLAYER_DATA, kind: sync_from }
faults:
  - { at: 1s, for: 1s, inject: { database: { latency: { constant: 50ms }, failures: 5% } } }
  - { at: 3s, for: 1s, inject: { connection: { to: database, open: reset, slice_bytes: 20 } } }
  - { at: 5s, for: 500ms, inject: { connection: { to: cache, open: cut, refuse: true } } }
  - { at: 6s, for: 1s, inject: { connection: { to: main_server, corrupt: 0.05%, bytes_per_second: 20000 } } }
  - { at: 8s, for: 1s, inject: { connection: { to: main_server, stall: true } } }
  - { at: 10s, for: 500ms, inject: { freeze: database } }
  - { at: 11s, for: 500ms, inject: { freeze: main_server } }
  - { at: 12s, for: 500ms, inject: { freeze: cache } }
expect: { properties: [P5, P14, P26, P30], critical_miss_ratio_max: 100% }
";

#[test]
fn connections_may_do_what_they_like() {
    let mut rig = rig();
    let plan = Plan::new(&Scenario::parse("disturbed", DISTURBED.as_bytes()).unwrap(), 1);
    let summary = rig.run(&plan, None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    assert!(summary.counts.attempts > summary.counts.planned(), "faults made retries: {summary:#?}");
    rig.remove().unwrap();
}

const FREEZES: &str = "
name: freezes
about: Processes are frozen, twice at once, and killed while they are.
duration: 7s
settle: 60s
topology: { hosts: 5 }
workload:
  - name: players
    arrivals: { constant: 6/s }
    mix: [{ type: PLAYER_POSITION, critical: true }, { type: PLAYER_DATA }, { type: CHAT_MESSAGE }]
faults:
  - { at: 500ms, for: 1s, inject: { freeze: cache } }
  - { at: 1s, for: 1s, inject: { freeze: cache } }
  - { at: 2500ms, for: 1s, inject: { freeze: database } }
  - { at: 3s, for: 1s, inject: { crash: database } }
  - { at: 4500ms, for: 1s, inject: { freeze: main_server } }
  - { at: 5s, for: 1s, inject: { crash: main_server } }
expect: { properties: [P5, P14, P30], critical_miss_ratio_max: 100% }
";

#[test]
fn freezes_overlap_and_end_with_a_crash() {
    let mut rig = rig();
    let plan = Plan::new(&Scenario::parse("freezes", FREEZES.as_bytes()).unwrap(), 1);
    let summary = rig.run(&plan, None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    assert!(summary.counts.effects > 100, "{summary:#?}");
    rig.remove().unwrap();
}

const PROXIED: &str = "
name: proxied
about: Hosts know nothing but sync proxies. A main server dies behind one, then the proxies do.
duration: 7s
settle: 30s
topology: { hosts: 6, maps: 2, main_servers: 2, sync_proxy: { latency: { constant: 2ms } } }
network: { to_server: { tamper: 1% }, to_host: { tamper: 1% } }
workload:
  - name: players
    arrivals: { constant: 6/s }
    mix:
      - { type: PLAYER_POSITION, critical: true }
      - { type: PLAYER_DATA, kind: sync_from }
      - { type: CHAT_MESSAGE }
faults:
  - { at: 2s, for: 500ms, inject: { crash: { main_servers: [1] } } }
  - { at: 4s, for: 500ms, inject: { crash: sync_proxy } }
expect: { properties: [P5, P14, P25, P26, P30], critical_miss_ratio_max: 100% }
";

#[test]
fn hosts_that_know_only_a_sync_proxy_lose_nothing_when_it_dies() {
    let mut rig = rig();
    let plan = Plan::new(&Scenario::parse("proxied", PROXIED.as_bytes()).unwrap(), 1);
    let result = rig.run(&plan, None).unwrap();
    rig.remove().unwrap();
    let summary = &result.summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    assert!(summary.counts.effects > 100, "{:?}", summary.counts);
    let events: Vec<_> = std::str::from_utf8(&result.history)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Event>(line).unwrap().what)
        .collect();
    let restarted = |name: &str| {
        events.iter().filter(|what| matches!(what, What::Restarted { node } if node == name)).count()
    };
    assert_eq!((restarted("sync proxy"), restarted("main server 1")), (1, 1));
    // What a host learns of a main server that is down is a gateway's answer, and the proxy's own end is a broken connection.
    assert!(summary.counts.attempts > summary.counts.planned(), "{:?}", summary.counts);
}

const SHORT: &str = "
name: short
about: A few hosts, long enough for somebody else to meddle.
duration: 4s
settle: 20s
topology: { hosts: 5 }
workload:
  - name: players
    arrivals: { constant: 4/s }
    mix: [{ type: PLAYER_POSITION, critical: true }, { type: PLAYER_DATA }, { type: CHAT_MESSAGE }]
expect: { properties: [P5, P14, P30] }
";

#[test]
fn who_does_not_know_the_machine_judges_no_duration() {
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    let bounds = "expect: { properties: [P5, P14, P19, P30], at_most: { critical_p50: 0ms } }";
    let text = SHORT.replace("expect: { properties: [P5, P14, P30] }", bounds);
    let plan = Plan::new(&Scenario::parse("short", text.as_bytes()).unwrap(), 1);
    for (untimed, verdict, notes) in [(false, Verdict::Fail, 0), (true, Verdict::Pass, 1)] {
        let options = LiveOptions { untimed, ..LiveOptions::default() };
        let mut rig = LiveRig::start(options).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()));
        let summary = rig.run(&plan, None).unwrap().summary;
        assert_eq!(summary.verdict, verdict, "{summary:#?}");
        let said = summary.notes.iter().filter(|note| note.contains("`--untimed`"));
        assert_eq!(said.count(), notes, "{:?}", summary.notes);
        rig.remove().unwrap();
    }
}

#[test]
fn runs_against_given_servers_notice_what_no_host_wrote() {
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = ServersOptions { postgres_url: None, redis_url: None, run: RunId::random().unwrap() };
    let given = runtime.block_on(Servers::start(options)).unwrap();
    let redis = given.redis_settings();
    let password = redis.password.as_ref().unwrap().expose().clone();
    let url = format!("redis://:{password}@{}:{}/5", redis.host, redis.port);
    let options = LiveOptions {
        postgres_url: Some(given.postgres_dsn()),
        redis_url: Some(Secret::new(url.clone())),
        ..LiveOptions::default()
    };
    let mut rig = LiveRig::start(options).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()));
    let plan = Plan::new(&Scenario::parse("short", SHORT.as_bytes()).unwrap(), 1);

    let summary = rig.run(&plan, None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    assert!(summary.published > 0, "{summary:#?}");
    assert!(summary.servers.iter().all(|server| server.name != "Docker"), "{:?}", summary.servers);

    let meddler = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
        let (header, value) = (
            r#"{"type":2,"owner":7,"map_name":"nowhere","version":1,"operation_id":"7-0000000000000001-1"}"#,
            r#"{"w":"0.1"}"#,
        );
        redis::cmd("SET")
            .arg("p2p_sync:state:PLAYER_POSITION/7/nowhere")
            .arg(format!("1:{value}"))
            .exec(&mut redis)
            .unwrap();
        redis::cmd("PUBLISH")
            .arg("p2p_sync:5:updates")
            .arg(format!("{header}\n{value}"))
            .exec(&mut redis)
            .unwrap();
    });
    let summary = rig.run(&plan, None).unwrap().summary;
    meddler.join().unwrap();
    let failed = summary.thresholds.iter().filter(|threshold| threshold.verdict == Verdict::Fail);
    let failed: Vec<_> = failed.map(|threshold| threshold.figure.as_str()).collect();
    let expected =
        ["cached values that were never written", "published messages of what no host wrote as critical"];
    assert_eq!(failed, expected, "{summary:#?}");

    let crashes = Plan::new(&Scenario::parse("crashes", CRASHES.as_bytes()).unwrap(), 1);
    let refused = rig.run(&crashes, None).map(|result| result.summary.verdict).unwrap_err();
    assert!(matches!(refused, LiveRunError::Cannot(_)), "{refused}");
    rig.remove().unwrap();
    let cleaned = runtime.block_on(given.remove()).unwrap();
    assert!(cleaned.faults.is_empty(), "{cleaned:?}");
}
