//! Scenarios that are for one rig alone.

use crate::support::Sandbox;

const SCENARIO: &str = "name: real
about: Something that only real servers show.
only: { rig: live, because: clocks of real servers do this }
duration: 2s
topology: { hosts: 2 }
workload: [{ name: play, arrivals: { constant: 2/s }, mix: [{ type: PLAYER_POSITION }] }]
expect: { properties: [P5] }
";

#[test]
fn a_folder_skips_what_is_for_the_other_rig_and_says_why() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("all")).unwrap();
    sandbox.write("all/real.yaml", SCENARIO);
    let other = SCENARIO.replace("name: real", "name: other");
    sandbox.write("all/other.yaml", other.replace("only: { rig: live", "only: { rig: virtual"));
    let ran = sandbox.p2psim(&["run", "all", "--junit", "junit.xml"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(
        ran.stdout.contains("skip  real, virtual rig: clocks of real servers do this\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("1 passed, 0 failed, 0 unknown in"), "{}", ran.stdout);
    assert!(ran.stdout.contains("; 1 skipped\n"), "{}", ran.stdout);
    let junit = String::from_utf8(sandbox.read("junit.xml")).unwrap();
    assert!(junit.contains("<skipped message=\"clocks of real servers do this\"/>"), "{junit}");

    let ran = sandbox.p2psim(&["run", "all", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(all[1]["scenario"], "real");
    assert_eq!(all[1]["verdict"], "skipped");
    assert_eq!(all[1]["why"], "clocks of real servers do this");

    let ran = sandbox.p2psim(&["run", "all", "--seeds", "2"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("skip  real, virtual rig"), "{}", ran.stdout);
}

#[test]
fn a_scenario_that_is_named_itself_is_refused_in_the_other_rig() {
    let sandbox = Sandbox::new();
    sandbox.write("real.yaml", SCENARIO);
    for more in [&[][..], &["--seeds", "2"]] {
        let ran = sandbox.p2psim(&[&["run", "real.yaml"], more].concat());
        assert_eq!(ran.code, 2, "{ran:#?}");
        let said = "error: real is for the live rig only: clocks of real servers do this\n  = help: run it with --rig live\n";
        assert_eq!(ran.stderr, said);
    }
}

#[test]
fn what_only_real_servers_have_is_refused_in_the_virtual_rig() {
    let sandbox = Sandbox::new();
    sandbox.write("other.yaml", SCENARIO.replace("rig: live", "rig: virtual"));
    for option in ["--isolated", "--untimed"] {
        let ran = sandbox.p2psim(&["run", "other.yaml", option]);
        assert_eq!(ran.code, 2, "{ran:#?}");
        let remedy = format!("add --rig live, or leave {option} out");
        assert!(ran.stderr.contains(&remedy), "{}", ran.stderr);
    }
}
