//! Recorded runs: replayed they are equal, and whatever is changed in one is found.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use crate::support::{Ran, SMALL, Sandbox, repository};
use simulator::own_resolvers::OwnResolvers;
use simulator::recording::{ReplayError, record, replay};
use simulator::run::run;
use simulator::scenario::model::HistoryMode;
use simulator::{plan::Plan, scenario::Scenario};
use sync_core::recording::{EffectForm, KeyBag, Recording, RecordingError, Replayed};

/// Faults of every kind in two seconds: hosts and the server crash and come back, messages are lost and altered.
const STORMY: &str = "name: stormy
about: for the tests of recordings
duration: 2s
topology: {hosts: 4}
network:
  to_server: {loss: 5%, duplicate: 5%, tamper: 5%}
  to_host: {tamper: 5%}
workload:
  - name: players
    arrivals: {poisson: 20/s}
    mix:
      - {type: PLAYER_POSITION, critical: true}
      - {type: PLAYER_POSITION, kind: sync_from}
faults:
  - {at: 500ms, for: 300ms, inject: {crash: {hosts: {first: 2}}}}
  - {at: 1s, for: 300ms, inject: {crash: main_server}}
expect: {properties: [P5]}
";

fn plan(text: &str) -> Plan {
    Plan::new(&Scenario::parse("stormy.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found:?}")), 3)
}

fn recorded(plan: &Plan, form: EffectForm) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let result = record(plan, &OwnResolvers::default(), form, folder.path()).unwrap();
    let plain = run(plan);
    assert_eq!(result.summary, plain.summary, "recording changes nothing");
    assert_eq!(result.history, plain.history);
    std::fs::read(folder.path().join("virtual.jsonl")).unwrap()
}

fn replayed(recording: &[u8]) -> Result<Replayed, ReplayError> {
    replay(recording, &KeyBag::default())
}

#[test]
fn every_engine_of_a_stormy_run_is_replayed_equal() {
    let sealed = plan(STORMY);
    let modelled = plan(&STORMY.replace("network:\n", "network:\n  frames: modelled\n"));
    for plan in [sealed, modelled] {
        for form in [EffectForm::Digest, EffectForm::Full] {
            let Replayed { totals, cut_short, difference } = replayed(&recorded(&plan, form)).unwrap();
            assert_eq!(difference, None);
            assert_eq!(cut_short, None);
            // Four hosts and a server, and those that came back.
            assert_eq!(totals.engines, 8);
            assert!(totals.operations > 80 && totals.requests > 80 && totals.effects > 400, "{totals:?}");
        }
    }
}

#[test]
fn each_planted_defect_is_replayed_with_the_defect_and_differs_without() {
    // What a defect changes outside the engines (32, 130) is in the inputs.
    for (defect, inside) in [(30, true), (32, false), (43, true), (50, true), (130, false)] {
        let scenario = simulator::zoo::hunt::scenario(simulator::zoo::entry(defect).unwrap()).unwrap();
        let mut plan = Plan::new(&scenario, 1);
        plan.world.history = HistoryMode::None;
        let recording = recorded(&Plan { defect: Some(defect), ..plan }, EffectForm::Digest);
        assert_eq!(replayed(&recording).unwrap().difference, None, "{defect}");
        let healthy = without_sum(&recording, &format!(",\"defect\":{defect}"), "");
        assert_eq!(replayed(healthy.as_bytes()).unwrap().difference.is_some(), inside, "{defect}");
    }
}

#[test]
fn whatever_is_changed_in_a_recording_is_found() {
    let recording = recorded(&plan(STORMY), EffectForm::Digest);
    // As it lies there, each line guards itself.
    for at in (0..recording.len() - 1).step_by(recording.len() / 40) {
        let mut changed = recording.clone();
        changed[at] ^= 1;
        assert!(replayed(&changed).is_err(), "{at}");
    }
    // Without the guard, the engines tell.
    let text = std::str::from_utf8(&recording).unwrap();
    let differs = |from: &str, to: &str| {
        let replayed = replayed(without_sum(&recording, from, to).as_bytes()).unwrap();
        let difference = replayed.difference.unwrap_or_else(|| panic!("{from} -> {to}"));
        let line = text.lines().position(|line| line.contains(from)).unwrap() as u64 + 1;
        // There, or where it first shows.
        assert!(difference.line >= line, "{difference}");
    };
    let after = |begin: &str, chars: usize| {
        let at = text.find(begin).unwrap();
        text[at..at + begin.len() + chars].to_owned()
    };
    let effect = after("\"effects\":[\"", 1);
    differs(&effect, &(effect[..effect.len() - 1].to_owned() + "x"));
    let input = after("\"input\":{\"request\":{\"token\":", 0);
    differs(&input, &(input.clone() + "1"));
    let drawn = text.split("\"draws\":[[\"iv\",").nth(1).unwrap().split(']').next().unwrap();
    differs(drawn, &(drawn.parse::<u64>().unwrap() ^ 1).to_string());
    differs("\"data_type\":\"PLAYER_POSITION\"", "\"data_type\":\"CHAT_MESSAGE\"");
    // A line that is gone.
    let gone: Vec<_> = text.lines().enumerate().filter(|(n, _)| *n != 20).map(|(_, line)| line).collect();
    let error = replayed((gone.join("\n") + "\n").as_bytes()).unwrap_err();
    assert!(matches!(error, ReplayError::Recording(RecordingError::Damaged { line: 21, .. })), "{error}");
}

#[test]
fn another_seed_gives_other_keys_and_the_error_names_the_one_recorded() {
    let recording = recorded(&plan(STORMY), EffectForm::Digest);
    let text = std::str::from_utf8(&recording).unwrap();
    let fingerprint = text.split("\"fingerprint\":\"").nth(1).unwrap().split('"').next().unwrap();
    let error = replayed(without_sum(&recording, "\"rig_seed\":3", "\"rig_seed\":4").as_bytes()).unwrap_err();
    assert!(error.to_string().contains(fingerprint), "{error}");
    let error = replayed(without_sum(&recording, ",\"rig_seed\":3", "").as_bytes()).unwrap_err();
    assert!(error.to_string().contains(fingerprint) && error.help().contains("--key"), "{error}");
    assert!(Recording::open(&recording[..]).unwrap().header().rig_seed.is_some());
}

#[test]
fn the_command_line_records_and_replays() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    let ran = sandbox.p2psim(&["run", "small.yaml", "--record", "--out", "runs"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let file = "runs/small-seed1/recording/virtual.jsonl";
    for path in ["runs/small-seed1", "runs/small-seed1/recording", file] {
        let ran = sandbox.p2psim(&["replay", "--recording", path]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.stdout.starts_with(&format!("equal {file}: 4 engines, ")), "{ran:#?}");
    }
    let recording = sandbox.read(file);
    let with = |bytes: &[u8]| {
        sandbox.write("changed.jsonl", bytes);
        sandbox.p2psim(&["replay", "--recording", "changed.jsonl"])
    };
    let different = with(without_sum(&recording, "\"data\":\"{", "\"data\":\"[").as_bytes());
    assert_eq!(different.code, 1, "{different:#?}");
    assert!(different.stdout.contains("changed.jsonl: line ") && different.stdout.contains("replayed: "));
    let cut = with(&recording[..recording.len() - 20]);
    assert_eq!(cut.code, 0, "{cut:#?}");
    assert!(cut.stderr.starts_with("note: ") && cut.stderr.contains("cut short"), "{cut:#?}");
    let mut flipped = recording.clone();
    flipped[recording.len() / 2] ^= 1;
    invalid(&with(&flipped), "is damaged");
    invalid(&with(b""), "not a recording");
    invalid(&with(without_sum(&recording, ",\"rig_seed\":1", "").as_bytes()), "fingerprint");
    // Another run of the same name leaves no recording that is not its own.
    assert_eq!(sandbox.p2psim(&["run", "small.yaml", "--out", "runs"]).code, 0);
    assert!(!sandbox.path().join(file).exists());
    invalid(&sandbox.p2psim(&["replay", "--recording", "runs"]), "no recording");
    invalid(&sandbox.p2psim(&["replay", "--recording", "missing"]), "missing");
    sandbox.write("nothing.key", "# no key\n");
    sandbox.write("wrong.key", "p2p-master:k1:canary\n");
    for (key, message) in [("nothing.key", "no key"), ("wrong.key", "base64"), ("missing.key", "missing.key")]
    {
        let ran = sandbox.p2psim(&["replay", "--recording", "changed.jsonl", "--key", key]);
        invalid(&ran, message);
        assert!(!ran.stderr.contains("canary"), "{ran:#?}");
    }
    for arguments in
        [&["replay"][..], &["replay", "plan.txt", "--recording", file], &["replay", "p", "--key", "k"]]
    {
        assert_eq!(sandbox.p2psim(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
#[ignore = "a minute without optimisation; ci/test does the same with the optimised program"]
fn every_smoke_scenario_is_replayed_equal() {
    for entry in std::fs::read_dir(repository("scenarios/smoke")).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::parse("smoke", &std::fs::read(&path).unwrap()).unwrap();
        let recording = recorded(&Plan::new(&scenario, 1), EffectForm::Digest);
        assert_eq!(replayed(&recording).unwrap().difference, None, "{}", path.display());
    }
}

fn invalid(ran: &Ran, message: &str) {
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("= help: "), "{ran:#?}");
    assert!(ran.stderr.contains(message), "{message}: {ran:#?}");
}

/// The recording with the first `from` replaced, and without the sum of its line, as a person would edit it.
fn without_sum(recording: &[u8], from: &str, to: &str) -> String {
    let text = std::str::from_utf8(recording).unwrap();
    let at = text.find(from).unwrap_or_else(|| panic!("{from} is not in the recording"));
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = at + text[at..].find('\n').unwrap();
    let line = text[begin..end].replacen(from, to, 1);
    format!("{}{{{}{}", &text[..begin], line.split_once(',').unwrap().1, &text[end..])
}
