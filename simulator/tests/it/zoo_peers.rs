//! Defects planted among peers: each is caught by a property that it is expected to break, the healthy core is silent, and a
//! catch shrinks to a plan of a few actions that repeats it.

use simulator::plan::Plan;
use simulator::run::run;
use simulator::scenario::Scenario;
use simulator::shrink::{RUNS_MAX, shrink};
use simulator::verdict::Verdict;
use simulator::zoo::{self, Entry, hunt};

/// Seeds within which this test wants every entry caught; `p2psim zoo` has more.
const SEEDS_MAX: u64 = 5;

fn among_peers() -> Vec<(&'static Entry, Scenario)> {
    let entries = zoo::entries().into_iter().map(|entry| (entry, hunt::scenario(entry).expect("a scenario")));
    entries.filter(|(_, scenario)| scenario.peers.is_some()).collect()
}

#[test]
fn each_defect_is_caught_and_the_healthy_core_is_silent() {
    for (entry, _) in among_peers() {
        let hunt = hunt::hunt(entry, 1, SEEDS_MAX).expect("a scenario");
        assert_eq!(hunt.verdict(), Verdict::Pass, "{hunt:#?}");
        assert!(hunt.triggered > 0, "{hunt:#?}");
    }
}

#[test]
fn a_catch_shrinks_to_a_plan_that_repeats_it() {
    // A defect of each seam: how the database decides, its clock, what travels, the policy, reads, membership, arrivals.
    for number in [1, 9, 13, 15, 133, 64, 137] {
        let entry = zoo::entry(number).expect("an entry");
        let caught = hunt::hunt(entry, 1, SEEDS_MAX).expect("a scenario");
        let seed = caught.caught_at_seed.expect("it is caught");
        let scenario = hunt::scenario(entry).expect("a scenario");
        let plan = Plan { defect: Some(number), ..Plan::new(&scenario, seed) };
        let property = &caught.caught_by[0];
        let shrunk = shrink(&plan, Some(property), RUNS_MAX).expect("it fails").plan;
        assert!(shrunk.actions.len() <= 10, "zoo {number}: {} actions", shrunk.actions.len());
        let read = Plan::parse("shrunk.txt", shrunk.to_text().as_bytes()).expect("a plan");
        let fails = |plan: &Plan| hunt::failed(&run(plan).summary).any(|(id, _)| id == *property);
        assert!(fails(&read), "zoo {number}");
        assert!(!fails(&Plan { defect: None, ..read }), "zoo {number}: the defect is the cause");
    }
}
