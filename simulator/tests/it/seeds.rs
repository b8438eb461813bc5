//! `p2psim run --seeds`: one line for each scenario, and what fails can be repeated.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use crate::support::{SMALL, Sandbox, repository};
use serde_json::Value;

const PEERS: &str = "
name: two-peers
about: Two peers write.
duration: 5s
peers: { count: 2, sync_interval: 1s, rows: { users: 4 } }
transactions:
  - { name: writers, arrivals: { poisson: 3/s }, mix: [{ do: put, table: users, rows: 4 }] }
expect: { properties: [P1] }
";

#[test]
fn scenarios_that_hold_have_a_line_each() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    sandbox.write("peers.yaml", PEERS);
    let ran = sandbox.p2psim(&["run", "small.yaml", "peers.yaml", "--seeds", "4", "--seed", "7", "--twice"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("pass  small: 4 seeds, "), "{}", ran.stdout);
    assert!(lines[1].starts_with("pass  two-peers: 4 seeds, 4 distinct interleavings, "), "{}", ran.stdout);
    assert!(lines[2].starts_with("2 scenarios, 8 runs: 8 passed, 0 failed, 0 unknown in "), "{}", ran.stdout);
    assert!(lines[2].ends_with("; every byte the same twice"), "{}", ran.stdout);
    let quiet = sandbox.p2psim(&["run", "peers.yaml", "--seeds", "2", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.lines().count()), (0, 1), "{quiet:#?}");
}

#[test]
fn the_first_seed_that_fails_is_kept_and_repeated_by_the_last_line() {
    let sandbox = Sandbox::new();
    let scenario = repository("fixtures/failing/slow-database.yaml");
    let ran = sandbox.p2psim(&["run", &scenario, "--seeds", "2", "--seed", "3", "--junit", "all.xml"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.starts_with("FAIL  slow-database: 2 seeds, 2 failed, "), "{}", ran.stdout);
    assert!(ran.stdout.contains("      seed 3: P19: "), "{}", ran.stdout);
    assert!(ran.last_line().ends_with("slow-database.yaml --seed 3"), "{}", ran.stdout);
    let kept = sandbox.read("reports/runs/slow-database-seed3/summary.json");
    let words: Vec<_> = ran.last_line().split(' ').skip(1).collect();
    assert_eq!(sandbox.p2psim(&words).code, 1);
    assert_eq!(sandbox.read("reports/runs/slow-database-seed3/summary.json"), kept);
    let xml = String::from_utf8_lossy(&sandbox.read("all.xml")).into_owned();
    assert!(xml.contains(r#"name="seed 4""#) && xml.contains("--seed 4"), "{xml}");

    let ran = sandbox.p2psim(&["run", &scenario, "--seeds", "2", "--seed", "3", "--format", "json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told[0]["verdict"], &told[0]["failed"]), (&"fail".into(), &2.into()));
    assert_eq!(told[0]["failures"][1]["seed"], 4);
}

#[test]
fn what_cannot_be_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    for wrong in [
        vec!["--seeds", "0"],
        vec!["--seeds", "2", "--rig", "live"],
        vec!["--seeds", "2", "--seed", "18446744073709551615"],
        vec!["--seeds", "2", "--record"],
        vec!["--threads", "2"],
    ] {
        let ran = sandbox.p2psim(&[vec!["run", "small.yaml"], wrong].concat());
        assert_eq!(ran.code, 2, "{ran:#?}");
    }
}
