//! The critical scenarios show what they say: verdicts, and figures that no verdict demands.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

mod support;

use simulator::plan::Plan;
use simulator::run::{Summary, run};
use simulator::scenario::Scenario;
use simulator::verdict::Verdict;
use support::repository;

fn summary(file: &str, seed: u64) -> Summary {
    let text = std::fs::read(repository(file)).unwrap();
    run(&Plan::new(&Scenario::parse(file, &text).unwrap(), seed)).summary
}

#[test]
fn at_three_times_the_capacity_others_are_refused_with_results_and_critical_ones_are_done() {
    for seed in 1..4 {
        let summary = summary("scenarios/critical/overload.yaml", seed);
        assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.properties);
        let (critical, normal) = (summary.counts.critical, summary.counts.normal);
        assert!(critical.planned * 5 >= normal.planned, "a fifth is critical: {critical:?} {normal:?}");
        assert!(critical.completed * 1_000 >= critical.planned * 999, "{critical:?}");
        assert!(normal.refused + normal.displaced > normal.planned / 3, "{normal:?}");
        assert_eq!(summary.counts.open, 0);
        assert!(summary.critical.corrected.p999_us.unwrap() <= 500_000);
    }
}

#[test]
fn retries_stay_within_their_budget_when_everything_times_out() {
    let summary = summary("scenarios/fault/overload-with-retries.yaml", 1);
    let planned = summary.counts.critical.planned + summary.counts.normal.planned;
    assert!(summary.counts.attempts < 2 * planned, "{} attempts at {planned}", summary.counts.attempts);
}
