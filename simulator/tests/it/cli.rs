//! The command line as people and CI servers meet it: exit codes, messages with a remedy, files, and
//! never a panic (the sandbox sees to that in every test).

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::process::Command;

use crate::support::{P2PSIM, Ran, SMALL, Sandbox, repository};
use serde_json::Value;
use simulator::scenario::Scenario;

#[test]
fn a_scenario_that_holds_exits_0() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    let ran = sandbox.p2psim(&["run", "small.yaml"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    assert!(ran.stdout.contains("small, seed 1, virtual rig"), "{}", ran.stdout);
    assert!(ran.stdout.contains("of 500 ms allowed"), "{}", ran.stdout);
    assert!(ran.last_line().starts_with("1 passed, 0 failed, 0 unknown in "), "{}", ran.stdout);
    for file in ["summary.json", "plan.txt", "history.jsonl", "latency.hgrm", "junit.xml"] {
        assert!(!sandbox.read(&format!("reports/runs/small-seed1/{file}")).is_empty(), "{file}");
    }
}

#[test]
fn the_replay_of_another_plan_leaves_the_run_that_it_was_made_of() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    sandbox.p2psim(&["run", "small.yaml", "--out", "runs"]);
    let plan = sandbox.read("runs/small-seed1/plan.txt");
    let expanded = sandbox.p2psim(&["replay", "runs/small-seed1/plan.txt", "--expand", "--print"]).stdout;
    let first = expanded.lines().find(|line| line.starts_with("  ask ")).unwrap();
    let edited = expanded.replacen(&format!("{first}\n"), "", 1);
    assert_ne!(edited, expanded);
    sandbox.write("edited.txt", &edited);
    let ran = sandbox.p2psim(&["replay", "edited.txt", "--out", "runs"]);
    assert!(ran.stdout.contains("kept in runs/edited/small-seed1"), "{}", ran.stdout);
    assert_eq!(sandbox.read("runs/small-seed1/plan.txt"), plan);
    // What it was made of itself goes to where it came from.
    let again = sandbox.p2psim(&["replay", "runs/small-seed1/plan.txt", "--out", "runs"]);
    assert!(again.stdout.contains("kept in runs/small-seed1"), "{}", again.stdout);
}

#[test]
fn the_doctor_exits_3_without_docker_and_says_what_to_do() {
    let sandbox = Sandbox::new();
    let nobody = "tcp://127.0.0.1:1";
    let ran = sandbox.ran(Command::new(P2PSIM).arg("doctor").env("DOCKER_HOST", nobody));
    assert_eq!(ran.code, 3, "{ran:#?}");
    let mut lines = ran.stdout.lines();
    assert!(
        lines.next().unwrap().starts_with("missing  docker          Docker does not answer: "),
        "{}",
        ran.stdout
    );
    assert!(lines.next().unwrap().contains("= help: start Docker"), "{}", ran.stdout);

    let json = ["doctor", "--remove-leftovers", "--format", "json"];
    let ran = sandbox.ran(Command::new(P2PSIM).args(json).env("DOCKER_HOST", nobody));
    assert_eq!(ran.code, 3, "{ran:#?}");
    let lines: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&lines[0]["subject"], &lines[0]["state"]), (&"docker".into(), &"missing".into()));
    assert!(lines[0]["remedy"].as_str().unwrap().contains("--postgres-url"), "{}", ran.stdout);
    assert_eq!(lines[1]["subject"], "open files");
}

#[test]
fn parts_of_a_live_run_are_not_offered_and_end_with_their_input() {
    let sandbox = Sandbox::new();
    let help = sandbox.p2psim(&["--help"]);
    assert!(help.stdout.contains("doctor") && !help.stdout.contains("node"), "{}", help.stdout);
    let janitor: &[&str] = &["node", "janitor", "--run", "a1"];
    for node in [janitor, &["node", "fault-proxy"]] {
        let ran = sandbox.ran(Command::new(P2PSIM).args(node).stdin(std::process::Stdio::null()));
        assert_eq!(ran.code, 2, "{ran:#?}");
        assert!(ran.stderr.contains("the text's length is expected first"), "{}", ran.stderr);
    }
    let ran = sandbox.p2psim(&["node", "janitor", "--run", "A-B"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("lower-case letters and digits"), "{}", ran.stderr);
}

#[test]
fn a_scenario_that_fails_exits_1_and_ends_with_the_command_that_repeats_it() {
    let sandbox = Sandbox::new();
    let scenario = repository("fixtures/failing/slow-database.yaml");
    let ran = sandbox.p2psim(&["run", &scenario, "--seed", "3", "--out", "my runs"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("P19 critical deadline"), "{}", ran.stdout);
    repeats(&sandbox, &ran, "my runs/slow-database-seed3/history.jsonl", 1);
}

#[test]
fn the_command_that_repeats_holds_every_setting() {
    let sandbox = Sandbox::new();
    sandbox.write("it's small.yaml", SMALL);
    let ran = sandbox.p2psim(&[
        "run",
        "it's small.yaml",
        "--set",
        "database.latency.constant=700ms",
        "--set",
        "workload[0].mix=[{type: PLAYER_POSITION, critical: true}]",
    ]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    repeats(&sandbox, &ran, "reports/runs/small-seed1/history.jsonl", 1);

    let defect = repository("simulator/src/zoo/scenarios/50-no-mac.yaml");
    let ran = sandbox.p2psim(&["run", &defect, "--defect", "50"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    repeats(&sandbox, &ran, "reports/runs/no-mac-seed1-defect50/history.jsonl", 1);
}

#[test]
fn a_plan_repeats_its_run() {
    let sandbox = Sandbox::new();
    let scenario = repository("fixtures/failing/slow-database.yaml");
    assert_eq!(sandbox.p2psim(&["run", &scenario, "--out", "runs"]).code, 1);
    let history = sandbox.read("runs/slow-database-seed1/history.jsonl");
    let plan = "runs/slow-database-seed1/plan.txt";
    for expand in [None, Some("--expand")] {
        let mut arguments = vec!["replay", plan, "--out", "again"];
        arguments.extend(expand);
        let ran = sandbox.p2psim(&arguments);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(sandbox.read("again/slow-database-seed1/history.jsonl") == history, "{expand:?}");
        repeats(&sandbox, &ran, "again/slow-database-seed1/history.jsonl", 1);
    }
    let printed = sandbox.p2psim(&["replay", plan, "--expand", "--print"]);
    assert_eq!(printed.code, 0, "{printed:#?}");
    assert!(printed.stdout.lines().filter(|line| line.starts_with("  ask ")).count() > 50);
    sandbox.write("printed.txt", &printed.stdout);
    assert_eq!(sandbox.p2psim(&["replay", "printed.txt", "--out", "printed"]).code, 1);
    assert!(sandbox.read("printed/slow-database-seed1/history.jsonl") == history);
}

#[test]
fn a_broken_file_exits_2_with_place_caret_and_remedy() {
    let check = |from: &str, to: &str, place: &str, message: &str| {
        let sandbox = Sandbox::new();
        let broken = SMALL.replacen(from, to, 1);
        assert_ne!(broken, SMALL);
        sandbox.write("broken.yaml", broken);
        let ran = sandbox.p2psim(&["run", "broken.yaml"]);
        invalid(&ran);
        assert!(ran.stderr.contains(&format!("--> broken.yaml:{place}\n")), "{}", ran.stderr);
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
        assert!(ran.stderr.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^')));
    };
    check("topology", "topolgy", "4:1", "did you mean `topology`?");
    check("duration: 1s", "duration: 1 sek", "3:11", "unit");
    check("duration: 1s", "duration: 1", "3:11", "unit");
    check("poisson: 8/s", "poisson: -8/s", "7:26", "negative");
    check("    arrivals", "  arrivals", "7:3", "indent");
    check("hosts: 3", "hosts: three", "4:20", "number");
    check("[P5, P14", "[P5, P99", "9:28", "P99");
}

#[test]
fn what_cannot_be_read_exits_2_with_a_remedy() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("empty")).unwrap();
    sandbox.write("small.yaml", SMALL);
    sandbox.write("same.yaml", SMALL);
    sandbox.write("file", "");
    for arguments in [
        &["run", "missing.yaml"][..],
        &["run", "small.yaml", "missing.yaml"],
        &["run", "empty"],
        &["run", "small.yaml", "same.yaml"],
        &["run", "small.yaml", "--defect", "99"],
        &["run", "small.yaml", "--defect", "1"],
        &["run", &repository("scenarios/conflict/relay.yaml"), "--defect", "50"],
        &["run", "small.yaml", "--set", "topology.hosts"],
        &["run", "small.yaml", "--set", "topology.hosts=many"],
        &["run", "small.yaml", "--set", "topology.hsots=3"],
        &["run", "small.yaml", "--set", "faults[0].at=3s"],
        &["run", "small.yaml", "--set", ""],
        // Below a file nobody can make a folder, not even root.
        &["run", "small.yaml", "--out", "file/runs"],
        &["run", "small.yaml", "--junit", "file/junit.xml"],
        &["run", "/dev/zero"],
        &["replay", "missing.txt"],
        &["replay", "small.yaml"],
        &["list", "missing"],
        &["init", "nothing"],
        &["zoo", "99"],
    ] {
        let ran = sandbox.p2psim(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:#?}");
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains("= help: "),
            "{arguments:?}: {ran:#?}"
        );
    }
}

#[test]
fn a_plan_is_shrunk_by_a_figure_that_fails() {
    let sandbox = Sandbox::new();
    let failing = repository("fixtures/failing/slow-database.yaml");
    let shrink = |property: &str| {
        let bound = "expect.at_most.critical_p50=100ms";
        sandbox.p2psim(&["shrink", &failing, "--set", bound, "--property", property, "--out", "shrunk.txt"])
    };
    let ran = shrink("p51");
    assert_eq!(ran.code, 2, "{ran:#?}");
    let named = ran.stderr.split_once("fail in `p51`, but in ").expect("what fails is named").1;
    let failing: Vec<_> = named.lines().next().unwrap_or_default().split(", ").collect();
    let figure = failing.iter().find(|name| name.contains(' ')).expect("a figure fails");
    let ran = shrink(figure);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.starts_with(&format!("{figure} fails with ")), "{ran:#?}");
}

#[test]
fn usage_errors_exit_2_and_help_exits_0() {
    let sandbox = Sandbox::new();
    for arguments in [
        &[][..],
        &["run"],
        &["rnu"],
        &["run", "a.yaml", "--seed", "-1"],
        &["run", "a.yaml", "--format", "xml"],
    ] {
        let ran = sandbox.p2psim(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:#?}");
        assert!(ran.stderr.contains("Usage: ") || ran.stderr.contains("--help"), "{arguments:?}: {ran:#?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["zoo", "--help"]] {
        assert_eq!(sandbox.p2psim(arguments).code, 0, "{arguments:?}");
    }
}

#[test]
fn garbage_exits_2() {
    let sandbox = Sandbox::new();
    let binary: Vec<u8> = (0..4_096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let nested = "[".repeat(100_000);
    let anchors = "a: &a [x]\n".repeat(3) + "b: *a\nc: *zzz\n";
    for garbage in [
        &b""[..],
        b"\0",
        b"\xff\xfe\x00",
        b"---\n---\n",
        b"- - - -",
        b"name",
        b"name: [",
        b"\xef\xbb\xbf\xef\xbb\xbf",
        &binary,
        nested.as_bytes(),
        anchors.as_bytes(),
    ] {
        sandbox.write("garbage", garbage);
        invalid(&sandbox.p2psim(&["run", "garbage"]));
        invalid(&sandbox.p2psim(&["replay", "garbage"]));
    }
}

#[test]
fn a_broken_plan_exits_2_with_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    assert_eq!(sandbox.p2psim(&["run", "small.yaml", "--out", "runs"]).code, 0);
    let plan = String::from_utf8(sandbox.read("runs/small-seed1/plan.txt")).unwrap();
    let actions = plan.lines().count() - 1;
    let check = |broken: String, message: &str| {
        sandbox.write("broken.txt", broken);
        let ran = sandbox.p2psim(&["replay", "broken.txt"]);
        invalid(&ran);
        assert!(ran.stderr.contains("broken.txt") && ran.stderr.contains(message), "{}", ran.stderr);
    };
    let ask = |name: &str, rest: &str| format!("{plan}  ask {name} at {rest}\n");
    check(plan.replace("p2psim plan 1", "p2psim plan 2"), "this is not a plan");
    check(plan.replace("seed 1", "seed one"), "broken.txt:2:1");
    check(plan.replace("seed 1", "seed 1\ndefect 99"), "no planted defect has the number 99");
    check(plan.replace("generate w0", "conjure w0"), &format!("broken.txt:{}:3", actions + 1));
    check(ask("9.0", r#"5us {"type":"CHAT_MESSAGE"}"#), "a host that the world does not have");
    check(ask("0.0", r#"5us {"type":"CHAT_MESSAGE"}"#), "two actions");
    check(ask("0.18446744073709551615", r#"5us {"type":"CHAT_MESSAGE"}"#), "ticket");
    check(ask("1.1099511627776", r#"999999999999us {"type":"CHAT_MESSAGE"}"#), "after the end");
    check(ask("1.1099511627776", r#"5us {"type":"CHAT_MESSAGE","bytes":4000000000}"#), "bytes");
    check(plan.replace("generate w0", "generate w4294967295"), "w4294967295");
    check(plan.clone() + plan.lines().last().unwrap(), "two actions");
}

#[test]
fn json_is_json() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    let ran = sandbox.p2psim(&["run", "small.yaml", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let summaries: Vec<simulator::run::Summary> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((summaries.len(), &*summaries[0].scenario), (1, "small"));

    let scenario = repository("fixtures/failing/slow-database.yaml");
    let ran = sandbox.p2psim(&["run", "small.yaml", &scenario, "--format", "json", "--quiet"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let summaries: Value = serde_json::from_str(&ran.stdout).unwrap();
    let verdicts: Vec<_> = summaries.as_array().unwrap().iter().map(|summary| &summary["verdict"]).collect();
    assert_eq!(verdicts, ["pass", "fail"]);

    let ran = sandbox.p2psim(&["zoo", "50", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()[0]["caught_by"][0], "P26");
}

#[test]
fn junit_holds_every_scenario() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    let scenario = repository("fixtures/failing/slow-database.yaml");
    let ran = sandbox.p2psim(&["run", "small.yaml", &scenario, "--junit", "junit.xml"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let xml = String::from_utf8(sandbox.read("junit.xml")).unwrap();
    assert!(
        xml.contains("\"small\"") && xml.contains("\"slow-database\"") && xml.contains("<failure"),
        "{xml}"
    );
}

#[test]
fn what_a_rig_cannot_do_is_unknown_and_keeps_nobody_else_from_running() {
    let sandbox = Sandbox::new();
    let frozen = SMALL.replace("name: small", "name: frozen")
        + "faults: [{ at: 100ms, for: 100ms, inject: { freeze: database } }]\n";
    sandbox.write("frozen.yaml", &frozen);
    sandbox.write("small.yaml", SMALL);
    let ran = sandbox.p2psim(&["run", "frozen.yaml", "small.yaml", "--junit", "junit.xml"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.stderr.contains("frozen cannot run in the virtual rig"), "{}", ran.stderr);
    assert!(ran.stdout.contains("1 passed, 0 failed, 1 unknown in "), "{}", ran.stdout);
    assert!(ran.last_line().contains("run frozen.yaml --seed 1"), "{}", ran.stdout);
    let xml = String::from_utf8(sandbox.read("junit.xml")).unwrap();
    assert!(xml.contains("\"small\"") && xml.contains("<error") && xml.contains("\"frozen\""), "{xml}");

    let ran = sandbox.p2psim(&["run", "frozen.yaml", "small.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    let runs: Value = serde_json::from_str(&ran.stdout).unwrap();
    let seen = |run: &Value| (run["scenario"].clone(), run["verdict"].clone());
    assert_eq!(seen(&runs[0]), ("small".into(), "pass".into()));
    assert_eq!(seen(&runs[1]), ("frozen".into(), "unknown".into()));

    // A failure outweighs what is unknown.
    let failing = repository("fixtures/failing/slow-database.yaml");
    assert_eq!(sandbox.p2psim(&["run", "frozen.yaml", &failing, "--quiet"]).code, 1);
}

#[test]
fn quiet_shows_failures_only() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    let ran = sandbox.p2psim(&["run", "small.yaml", "--quiet"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:#?}");
    let scenario = repository("fixtures/failing/slow-database.yaml");
    let ran = sandbox.p2psim(&["run", "small.yaml", &scenario, "--quiet"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("slow-database, seed 1") && !ran.stdout.contains("small, seed 1"),
        "{ran:#?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    sandbox.write("small.yaml", SMALL);
    for command in ["run small.yaml", "schema", "list --properties", "zoo 50", "--help"] {
        let ran = sandbox.sh(&format!("'{P2PSIM}' {command} | head -1"));
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{command}: {ran:#?}");
        assert_eq!(ran.stderr, "", "{command}");
        // Nobody reads at all; the exit code stays that of the run.
        let ran = sandbox.sh(&format!("{{ sleep 0.1; '{P2PSIM}' {command}; echo $? >&2; }} | true"));
        assert_eq!(ran.stderr, "0\n", "{command}");
    }
}

#[test]
fn starter_scenarios_are_valid_and_lists_name_what_there_is() {
    let sandbox = Sandbox::new();
    let kinds = sandbox.p2psim(&["init"]);
    assert_eq!(kinds.code, 0);
    for kind in kinds.stdout.lines().filter_map(|line| line.split_whitespace().next()) {
        let ran = sandbox.p2psim(&["init", kind]);
        assert_eq!(ran.code, 0, "{kind}");
        assert!(Scenario::parse(kind, ran.stdout.as_bytes()).is_ok(), "{kind}");
    }
    let schema: Value = serde_json::from_str(&sandbox.p2psim(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["topology"].is_object());

    let scenarios = sandbox.p2psim(&["list", &repository("scenarios")]);
    assert_eq!(scenarios.code, 0);
    assert!(scenarios.stdout.contains("normal-load.yaml\n"), "{}", scenarios.stdout);
    let zoo = sandbox.p2psim(&["list", "--zoo"]).stdout;
    assert!(["30 ", "32 ", "43 ", "50 ", "130 "].iter().all(|number| zoo.contains(number)), "{zoo}");
}

#[test]
fn what_can_be_demanded_is_what_is_checked() {
    let properties = Sandbox::new().p2psim(&["list", "--properties"]).stdout;
    let (hosts, peers) = properties.split_once("Among peers").unwrap();
    let ids = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with('P'));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids(hosts), simulator::scenario::known_properties());
    for property in (1..=18).map(|number| format!("P{number}")) {
        assert!(ids(peers).contains(&property), "{property} is not there: {peers}");
    }
}

#[test]
fn the_zoo_catches_what_it_planted() {
    let sandbox = Sandbox::new();
    let ran = sandbox.p2psim(&["zoo", "50"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("caught by P26"), "{}", ran.stdout);
    // Without a single seed nothing is caught, and that is a failure.
    let ran = sandbox.p2psim(&["zoo", "50", "--seeds", "0"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert_eq!(sandbox.sh(ran.last_line()).code, 1);
}

/// The last line, pasted into a shell, gives the same history byte for byte.
fn repeats(sandbox: &Sandbox, ran: &Ran, history: &str, code: i32) {
    let before = sandbox.read(history);
    std::fs::remove_file(sandbox.path().join(history)).unwrap();
    let again = sandbox.sh(ran.last_line());
    assert_eq!(again.code, code, "{}: {again:#?}", ran.last_line());
    assert!(sandbox.read(history) == before, "{} gives another history", ran.last_line());
}

fn invalid(ran: &Ran) {
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("= help: "), "{ran:#?}");
}
