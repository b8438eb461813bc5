//! A team's own resolver: by the laws, as a scenario of their counterexample, on the command line, and in a test.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use crate::support::{Sandbox, repository};
use simulator::own_resolvers::best_score::BestScore;
use simulator::own_resolvers::later_or_dearer::{later_or_dearer, later_or_dearer_repaired};
use simulator::sim::{Sim, SimError};
use simulator::verdict::Verdict;
use sync_core::peer_sync::laws::{Counterexample, probe};
use sync_core::peer_sync::resolver::{Resolution, Resolver};
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::schema::Table;

fn table() -> Table {
    Table::new("laws", &["id", "amount", "name", "note"], &["id"]).unwrap()
}

fn counterexample(resolver: &dyn Resolver) -> Counterexample {
    probe(resolver, &table()).expect_err("it breaks a law")
}

#[test]
fn the_wrong_example_fails_as_a_scenario_of_at_most_three_writes_and_the_repaired_one_passes() {
    let counterexample = counterexample(&later_or_dearer);
    assert!(counterexample.history.writes.len() <= 3, "{counterexample}");
    let scenario = counterexample.to_scenario("example-wrong").unwrap();
    let writes =
        scenario.lines().filter(|line| line.contains("put: {") || line.contains("delete: {")).count();
    assert!(writes <= 3, "{scenario}");
    let sandbox = Sandbox::new();
    sandbox.write("counterexample.yaml", &scenario);
    let ran = sandbox.p2psim(&["run", "counterexample.yaml", "--twice"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(
        ran.stdout.contains("FAIL      P1 convergence: 1 rows compared between 2 peers"),
        "{}",
        ran.stdout
    );
    assert_eq!(sandbox.sh(ran.last_line()).code, 1, "{ran:#?}");
    let plan = "reports/runs/broken-law-seed1/plan.txt";
    assert_eq!(sandbox.p2psim(&["replay", plan]).code, 1);
    assert_eq!(sandbox.p2psim(&["shrink", plan, "--property", "P1"]).code, 0);

    let repaired = "peers.tables.declared[0].policy.custom=example-repaired";
    let ran = sandbox.p2psim(&["run", "counterexample.yaml", "--set", repaired]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let declared = "peers.tables.declared[0].policy=last_writer_by_row";
    assert_eq!(sandbox.p2psim(&["run", "counterexample.yaml", "--set", declared]).code, 0);
}

#[test]
fn a_resolver_that_nobody_registered_exits_2_with_its_place_and_a_remedy() {
    let scenario = counterexample(&later_or_dearer).to_scenario("ours").unwrap();
    let sandbox = Sandbox::new();
    sandbox.write("ours.yaml", &scenario);
    let ran = sandbox.p2psim(&["run", "ours.yaml"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.stderr.contains("error: no resolver is named `ours`\n  --> ours.yaml:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Program::new().resolver(\"ours\", MyResolver).main()"), "{}", ran.stderr);
    let listed = sandbox.p2psim(&["list", "--resolvers"]);
    assert_eq!(listed.stdout, "example-correct\nexample-repaired\nexample-wrong\n");

    let outcome = Sim::text(&scenario).named_resolver("ours", later_or_dearer).run().unwrap();
    assert_eq!(outcome.verdict(), Verdict::Fail);
}

#[test]
fn a_test_of_ones_own_names_what_is_wrong_and_how_to_repeat_it() {
    let path = repository("scenarios/conflict/equal-stamps.yaml");
    let sim = Sim::scenario(&path).set("expect.properties", "[P1, P2]").seeds(3..=5);
    let outcome = sim.clone().resolver(later_or_dearer_repaired).run().unwrap();
    outcome.assert_passes();
    assert_eq!(outcome.runs.len(), 3);
    assert!(outcome.runs[0].events().unwrap().len() > 20 && outcome.runs[0].folder.is_none());

    let wrong = sim.resolver_of("users", later_or_dearer).run().unwrap();
    let (run, finding) = wrong.assert_fails("P1");
    assert!(finding.message.contains("users"), "{}", finding.message);
    assert_eq!(run.findings().next().unwrap().0, "P1");
    let said = std::panic::catch_unwind(|| wrong.assert_passes()).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("FAIL  equal-stamps, seed 3 (3 of 3 seeds)\n  P1 FAIL: "), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("P2PSIM_SEED=3 cargo test own_resolver::a_test_of_ones_own"), "{last}");
}

#[test]
fn without_code_of_ones_own_the_command_is_that_of_p2psim() {
    let path = repository("scenarios/conflict/equal-stamps.yaml");
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::scenario(&path).set("peers.sync_interval", "3s").seed(9).out(folder.path());
    let outcome = sim.run().unwrap();
    outcome.assert_passes();
    let run = &outcome.runs[0];
    let command = format!("p2psim run {} --seed 9 --set peers.sync_interval=3s", path);
    assert_eq!(run.repeat, command);
    assert!(run.folder.as_ref().unwrap().join("summary.json").exists());
    assert!(run.report().contains("equal-stamps"));
}

#[test]
fn what_is_given_wrongly_is_said_with_its_place_or_a_remedy() {
    let said = |sim: Sim| sim.run().unwrap_err().to_string();
    let peers = repository("scenarios/conflict/equal-stamps.yaml");
    let hosts = repository("scenarios/smoke/normal-load.yaml");
    assert!(said(Sim::scenario("no-such.yaml")).contains("it counts from the folder of the package"));
    assert!(said(Sim::scenario(&peers).set("peers.cuont", "3")).contains("did you mean `count`?"));
    assert!(said(Sim::text("name: a")).contains("--> scenario:1:1"));
    assert!(said(Sim::scenario(&hosts).resolver(BestScore)).contains("has hosts and no peers"));
    let table = said(Sim::scenario(&peers).resolver_of("usres", BestScore));
    assert!(table.contains("has no table `usres`; its tables are users, "), "{table}");
    assert!(matches!(Sim::scenario(&peers).seeds([]).run(), Err(SimError::NoSeeds)));
}

/// Resolvers that break laws in ways which two sides see.
#[test]
fn what_the_laws_find_diverges_in_the_simulator_too() {
    fn sides(one: bool) -> Resolution {
        if one { Resolution::One } else { Resolution::Other }
    }
    let tie =
        |_: &Table, one: &RowVersion, other: &RowVersion| sides(one.version.stamp >= other.version.stamp);
    let rounds = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let key = |row: &RowVersion| row.version.stamp.us / 1_000;
        sides(key(one) >= key(other))
    };
    let by_length = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let length = |row: &RowVersion| row.version.node.as_str().len();
        sides((one.version.stamp, length(one)) >= (other.version.stamp, length(other)))
    };
    check(tie, "a tie that keeps the local side");
    check(rounds, "stamps rounded to milliseconds");
    check(by_length, "node ids compared by their length");

    fn check(resolver: impl Resolver + Clone + 'static, what: &str) {
        let counterexample = counterexample(&resolver);
        let scenario = counterexample.to_scenario("own").unwrap_or_else(|error| panic!("{what}: {error}"));
        let outcome = Sim::text(&scenario).named_resolver("own", resolver).run().unwrap();
        assert_eq!(outcome.verdict(), Verdict::Fail, "{what}:\n{scenario}");
    }
}
