//! Peers against real ones: `peer-node` processes, a PostgreSQL database each, plain SQL.

#![allow(clippy::print_stderr, reason = "a test says what it has seen")]

use simulator::live_rig::{LiveOptions, LiveRig, child};
use simulator::plan::Plan;
use simulator::run::Summary;
use simulator::scenario::Scenario;
use simulator::verdict::Verdict;

/// As scenarios/conflict/concurrent-update.yaml, shorter. How fast rows travel on a busy machine is not what is shown.
const CONCURRENT: &str = "
name: concurrent
about: Peers write the same few rows at once.
duration: 8s
settle: 60s
peers: { count: 3, sync_interval: 2s, rows: { users: 20, products: 20 } }
steps:
  - { at: 3s, peer: 0, do: [{ put: { table: users, row: 1, set: { full_name: from the first } } }] }
  - { at: 3002ms, peer: 1, do: [{ put: { table: users, row: 1, set: { full_name: from the second } } }] }
transactions:
  - name: writers
    arrivals: { poisson: 4/s }
    sessions: 3
    statements_max: 3
    mix:
      - { do: put, table: users, rows: 20, weight: 2 }
      - { do: put, table: products, rows: 20, weight: 2 }
      - { do: delete, table: products, rows: 20 }
      - { do: read, table: users, rows: 20, weight: 2 }
expect:
  properties: [P1, P2, P4, P5, P6, P7, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P30]
";

fn rig() -> LiveRig {
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    LiveRig::start(LiveOptions::default()).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()))
}

fn plan(text: &str) -> Plan {
    Plan::new(&Scenario::parse("peers", text.as_bytes()).unwrap(), 1)
}

fn faults_of(summary: &Summary) -> Vec<String> {
    let properties =
        summary.properties.iter().filter(|found| found.demanded && found.verdict != Verdict::Pass);
    let thresholds = summary.thresholds.iter().filter(|threshold| threshold.verdict != Verdict::Pass);
    properties.map(|found| format!("{found:?}")).chain(thresholds.map(|found| format!("{found:?}"))).collect()
}

fn verdict(summary: &Summary, property: &str) -> Verdict {
    summary.properties.iter().find(|found| found.property == property).unwrap().verdict
}

#[test]
fn writes_at_three_live_peers_end_alike_and_every_check_has_something_to_judge() {
    let mut rig = rig();
    let summary = rig.run(&plan(CONCURRENT), None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{:#?}", faults_of(&summary));
    let figures = summary.peers.unwrap();
    eprintln!("convergence {:?}, {:?}", figures.convergence, figures.receivers);
    assert!(figures.conflicts > 0 && figures.traffic.rows > 0, "{figures:?}");
    rig.remove().unwrap();
}

#[test]
fn a_row_that_one_database_holds_otherwise_is_found() {
    let text = CONCURRENT.replace(
        "steps:",
        "faults: [{ at: 7s, inject: { peers: { corrupt: { peers: { only: [1] }, rows: 3 } } } }]\nsteps:",
    );
    let text = text.replace("settle: 60s", "settle: 3s").replace("poisson: 4/s", "poisson: 1/s");
    let mut rig = rig();
    let summary = rig.run(&plan(&text), None).unwrap().summary;
    // Nobody looks through stored rows in so short a time.
    let found = ["P1", "P6", "P18"].map(|property| verdict(&summary, property));
    assert_eq!(found, [Verdict::Fail; 3], "{:#?}", faults_of(&summary));
    assert_eq!(verdict(&summary, "P30"), Verdict::Pass);
    rig.remove().unwrap();
}

/// A machine comes up under the name of another with an empty database, and gets its own name again; another's database is
/// replaced by a copy of a third's.
#[test]
fn databases_that_are_replaced_and_names_that_are_taken_lose_nothing() {
    // Whoever starts while both are there can't tell which of them was first. On a busy machine seconds pass until the copy is
    // there and anybody has asked it.
    let faults = "faults:
  - { at: 1s, for: 10s, inject: { peers: { same_name: { peer: 2, of: 0, database: copied } } } }
  - { at: 12s, inject: { peers: { replace: { peers: { only: [1] }, by: { copy_of: 0 } } } } }
steps:";
    let text =
        CONCURRENT.replace("steps:", faults).replace("P12, ", "").replace("P14, P15, P16, P17, ", "P29, ");
    let text =
        text.replace("P9, P10, ", "").replace("sync_interval: 2s", "sync_interval: 1s, health_interval: 1s");
    let text = text.replace("duration: 8s", "duration: 14s");
    let mut rig = rig();
    let summary = rig.run(&plan(&text), None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{:#?}", faults_of(&summary));
    let figures = summary.peers.unwrap();
    assert_eq!(figures.databases_replaced, 2, "{figures:?}");
    rig.remove().unwrap();
}

/// The disk of one peer is put back, and its server is killed with it, again and again.
#[test]
fn a_peer_with_a_server_of_its_own_survives_its_crash_and_an_older_disk() {
    let faults = "faults:
  - { at: 2s, for: 1s, inject: { peers: { crash: { only: [0] } } } }
  - { at: 6s, inject: { peers: { set_back: { peers: { only: [1] }, by: 3s } } } }
steps:";
    let text = CONCURRENT.replace("steps:", faults).replace("count: 3", "count: 2");
    // Whoever looks at a disk that was set back may see an older state, and numbers come again.
    let text = text.replace("P7, P9, P10, ", "").replace("P12, ", "").replace("P14, P15, P16, P17, ", "");
    let mut rig = rig();
    let summary = rig.run(&plan(&text), None).unwrap().summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{:#?}", faults_of(&summary));
    rig.remove().unwrap();
}
