//! Every broken scenario in `fixtures/scenarios/broken/` is refused with the text beside it.
//!
//! `UPDATE_EXPECTED=1 cargo test -p simulator --test it scenario_diagnostics` writes the texts anew.

use std::fs;
use std::path::PathBuf;

use simulator::scenario::Scenario;
use sync_core::diagnostic::Diagnostic;

#[test]
fn every_broken_scenario_gets_its_diagnostics() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/scenarios/broken"));
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() > 20, "the samples are missing");
    let mut stale = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let found = match Scenario::parse(name, &bytes) {
            Ok(_) => "accepted\n".to_owned(),
            Err(diagnostics) => rendered(&diagnostics),
        };
        assert_ne!(found, "accepted\n", "{name} is not broken");
        let expected_path = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected_path, &found).unwrap();
        }
        if fs::read_to_string(&expected_path).unwrap_or_default() != found {
            stale.push(format!("{name}:\n{found}"));
        }
    }
    assert!(stale.is_empty(), "differs from the .expected file:\n\n{}", stale.join("\n"));
}

#[test]
fn settings_are_explained_where_they_stand() {
    let check = |set: &str, expected: &str| {
        let text = simulator::scenario::template("faults").unwrap();
        let found = match Scenario::parse_with("faults.yaml", text.as_bytes(), &[set.to_owned()]) {
            Ok(_) => "accepted".to_owned(),
            Err(diagnostics) => rendered(&diagnostics),
        };
        assert_eq!(found.trim_end(), expected.trim(), "{set}");
    };
    check("network.to_server.loss=5%", "accepted");
    check("database.latency.constant=2ms", "accepted");
    check("workload[0].arrivals.constant=20/s", "accepted");
    check("workload[0].mix=[{type: CHAT_MESSAGE}]", "accepted");
    check("faults=[]", "accepted");
    check(
        "network.to_sevrer.loss=5%",
        "
error: unknown key `to_sevrer`
 --> --set:1:9
  |
1 | network.to_sevrer.loss=5%
  |         ^^^^^^^^^
  = help: did you mean `to_server`?",
    );
    check(
        "faults[9].at=3s",
        "
error: there is no item 9
 --> --set:1:7
  |
1 | faults[9].at=3s
  |       ^^^
  = help: the list has 5 items: `[0]` to `[4]`",
    );
    check(
        "workload[0].until=2h",
        "
error: 2h lies after the end of the scenario
 --> --set:1:19
  |
1 | workload[0].until=2h
  |                   ^^
  = help: write at most 1m, the scenario's `duration`",
    );
    check(
        "network.to_host.latency=20",
        "
error: `20` does not say how the delays are spread, and a number needs a unit
 --> --set:1:25
  |
1 | network.to_host.latency=20
  |                         ^^
  = help: write `{constant: 20ms}`",
    );
    check(
        "network.to_host=[",
        "
error: `[` is never closed
 --> --set:1:17
  |
1 | network.to_host=[
  |                 ^
  = help: add `]`",
    );
    check(
        "duration.x=3",
        "
error: expected a length of time such as `500ms`, found a map
 --> --set:1:10
  |
1 | duration.x=3
  |          ^
  = help: write a length of time such as `500ms`",
    );
    check(
        "duration",
        "
error: a setting needs a path and a value
 --> --set:1:1
  |
1 | duration
  | ^^^^^^^^
  = help: write it like `--set network.to_server.loss=5%` or `--set faults[0].at=3s`",
    );
    check(
        "faults[x].at=3s",
        "
error: `[x]` is not an index
 --> --set:1:7
  |
1 | faults[x].at=3s
  |       ^^^
  = help: an index is a number in brackets, as in `faults[0].at`",
    );
    check(
        "clocks.skew=",
        "
error: expected a length of time such as `500ms`, found nothing
 --> --set:1:12
  |
1 | clocks.skew=
  |            ^
  = help: give `skew` a value, or remove the key",
    );
}

fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}
