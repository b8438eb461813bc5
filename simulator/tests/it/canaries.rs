//! No key of a run stands in what a run writes or shows: folder, recording, JUnit, terminal, shrunk plan.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::path::Path;

use crate::support::{Ran, Sandbox, repository};
use simulator::canaries::Canaries;
use simulator::draw::Draws;
use simulator::virtual_rig::variant::WorldKeys;
use simulator::zoo;
use sync_core::id::AccountId;

const SEED: u64 = 3;

/// The master key of a run under [`SEED`], and the keys of its first hosts.
fn keys() -> Canaries {
    let keys = WorldKeys::new(Draws::new(SEED));
    let master = ("master key", keys.server().sealing_key().to_text());
    let hosts =
        (1..=100).map(|account| ("key of a host", keys.host(AccountId(account)).sealing_key().to_text()));
    Canaries::new(std::iter::once(master).chain(hosts)).unwrap()
}

/// Every file below a folder, and what of it holds a key.
fn look(canaries: &Canaries, folder: &Path, files: &mut Vec<String>, seen: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look(canaries, &path, files, seen);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(key) = canaries.seen_in(&std::fs::read(&path).unwrap()) {
            seen.push(format!("{name}: {key}"));
        }
        files.push(name);
    }
}

/// Runs a scenario in every way that writes something, and looks at all of it.
fn written(scenario: &str, more: &[&str]) -> (Vec<String>, Vec<String>) {
    let (sandbox, canaries, seed) = (Sandbox::new(), keys(), SEED.to_string());
    let run = ["run", scenario, "--seed", &seed, "--out", "runs", "--record=full", "--junit", "junit.xml"];
    let shrink = ["shrink", scenario, "--seed", &seed, "--out", "shrunk.txt"];
    let json = ["run", scenario, "--seed", &seed, "--out", "json", "--format", "json"];
    let (mut files, mut seen) = (Vec::new(), Vec::new());
    for command in [&run[..], &shrink[..], &json[..]] {
        let Ran { stdout, stderr, .. } = sandbox.p2psim(&[command, more].concat());
        for (name, shown) in [("stdout", stdout), ("stderr", stderr)] {
            seen.extend(canaries.seen_in(shown.as_bytes()).map(|key| format!("{name}: {key}")));
        }
    }
    look(&canaries, sandbox.path(), &mut files, &mut seen);
    (files, seen)
}

#[test]
fn no_key_is_in_what_a_run_writes_or_shows() {
    for scenario in ["scenarios/smoke/tampering.yaml", "fixtures/failing/slow-database.yaml"] {
        let (files, seen) = written(&repository(scenario), &[]);
        for name in ["summary.json", "plan.txt", "history.jsonl", "junit.xml", "report.html"] {
            assert!(files.iter().any(|file| file == name), "{scenario}: no {name} in {files:?}");
        }
        assert!(files.iter().any(|file| file.ends_with(".jsonl") && file != "history.jsonl"), "no recording");
        assert_eq!(seen, Vec::<String>::new(), "{scenario}");
    }
}

/// Where the core lets its key slip into an error message, the files of the run have it, and it is found there.
#[test]
fn a_key_that_slips_out_is_found() {
    let entry = zoo::entry(59).unwrap();
    let sandbox = Sandbox::new();
    sandbox.write("leaky.yaml", entry.scenario);
    let (_, seen) = written(sandbox.path().join("leaky.yaml").to_str().unwrap(), &["--defect", "59"]);
    assert!(!seen.is_empty(), "nothing was found");
}
