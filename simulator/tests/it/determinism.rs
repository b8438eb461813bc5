//! The same plan gives the same bytes: in two processes, in two folders, under other surroundings.
//!
//! This is the first of all tests that `ci/test` runs: nothing else means much while it fails.

use std::process::Command;

use crate::support::{EVENTFUL, P2PSIM, Ran, SMALL, Sandbox, repository};

#[test]
fn two_processes_write_the_same_files() {
    for seed in ["1", "2", "3", "18446744073709551615"] {
        let (first, second) = (Sandbox::new(), Sandbox::new());
        let run = |sandbox: &Sandbox, surroundings: &[(&str, &str)]| {
            sandbox.write("eventful.yaml", EVENTFUL);
            let mut command = Command::new(P2PSIM);
            command.args(["run", "eventful.yaml", "--out", "runs", "--seed", seed]);
            command.envs(surroundings.iter().copied());
            passed(&sandbox.ran(&mut command));
        };
        run(&first, &[("TZ", "UTC"), ("LANG", "C")]);
        run(&second, &[("TZ", "Asia/Tokyo"), ("LANG", "de_DE.UTF-8"), ("RUST_BACKTRACE", "1")]);
        let (first, second) = (first.files("runs"), second.files("runs"));
        assert!(first.len() >= 5, "{:?}", first.keys());
        assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
        for (path, bytes) in &first {
            assert!(!bytes.is_empty(), "{} is empty", path.display());
            assert!(*bytes == second[path], "seed {seed}: {} differs", path.display());
        }
    }
}

#[test]
fn twice_compares_every_byte() {
    let sandbox = Sandbox::new();
    sandbox.write("eventful.yaml", EVENTFUL);
    for seed in ["1", "7"] {
        let ran = sandbox.p2psim(&["run", "eventful.yaml", "--twice", "--seed", seed]);
        passed(&ran);
        assert!(ran.last_line().ends_with("; every byte the same twice"), "{}", ran.stdout);
    }
}

#[test]
fn frames_without_a_cipher_are_deterministic_too() {
    let sandbox = Sandbox::new();
    sandbox.write("eventful.yaml", EVENTFUL);
    passed(&sandbox.p2psim(&["run", "eventful.yaml", "--twice", "--set", "network.frames=modelled"]));
}

#[test]
fn planted_defects_are_deterministic_too() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    for defect in ["30", "32", "43", "50", "130"] {
        let ran = sandbox.p2psim(&["run", "small.yaml", "--twice", "--defect", defect]);
        assert!(!ran.stderr.contains("the simulator itself is at fault"), "{}", ran.stderr);
    }
}

#[test]
fn other_seeds_give_other_histories() {
    let sandbox = Sandbox::new();
    sandbox.write("eventful.yaml", EVENTFUL);
    let history = |seed: &str| {
        passed(&sandbox.p2psim(&["run", "eventful.yaml", "--out", "runs", "--seed", seed]));
        sandbox.read(&format!("runs/eventful-seed{seed}/history.jsonl"))
    };
    let histories: std::collections::BTreeSet<_> = ["0", "1", "2", "3"].map(history).into();
    assert_eq!(histories.len(), 4);
}

#[test]
fn where_a_scenario_lies_does_not_matter() {
    let (first, second) = (Sandbox::new(), Sandbox::new());
    let scenario = repository("scenarios/smoke/tampering.yaml");
    passed(&first.p2psim(&["run", &scenario, "--out", "runs"]));
    second.write("copy.yaml", std::fs::read(&scenario).unwrap());
    passed(&second.p2psim(&["run", "copy.yaml", "--out", "elsewhere"]));
    let history = "tampering-seed1/history.jsonl";
    assert!(first.read(&format!("runs/{history}")) == second.read(&format!("elsewhere/{history}")));
}

fn passed(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:#?}");
}
