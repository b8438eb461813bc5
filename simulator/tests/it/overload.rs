//! The critical scenarios show what they say: verdicts, and figures that no verdict demands.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use crate::support::repository;
use simulator::plan::Plan;
use simulator::run::{Summary, Threshold, run};
use simulator::scenario::Scenario;
use simulator::verdict::Verdict;

fn summary(file: &str, seed: u64) -> Summary {
    summary_of(&std::fs::read_to_string(repository(file)).unwrap(), seed)
}

fn summary_of(text: &str, seed: u64) -> Summary {
    run(&Plan::new(&Scenario::parse("overload", text.as_bytes()).unwrap(), seed)).summary
}

/// What came of the bound on the overload.
fn load(summary: &Summary) -> &Threshold {
    let mut load = summary.thresholds.iter().filter(|found| found.figure.starts_with("load in the overload"));
    load.next().unwrap()
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
        assert_eq!(load(&summary).verdict, Verdict::Pass, "{:?}", load(&summary));
        assert_eq!(summary.counts.open, 0);
        assert!(summary.critical.corrected.p999_us.unwrap() <= 500_000);
    }
}

#[test]
fn a_load_that_is_no_overload_is_told() {
    let text = std::fs::read_to_string(repository("scenarios/critical/overload.yaml")).unwrap();
    let summary = summary_of(&text.replace("poisson: 13/s", "poisson: 9/s"), 1);
    assert_eq!(load(&summary).verdict, Verdict::Fail, "{:?}", load(&summary));
    assert_eq!(summary.verdict, Verdict::Fail);
}

#[test]
fn retries_stay_within_their_budget_when_everything_times_out() {
    let summary = summary("scenarios/fault/overload-with-retries.yaml", 1);
    let planned = summary.counts.critical.planned + summary.counts.normal.planned;
    assert!(summary.counts.attempts < 2 * planned, "{} attempts at {planned}", summary.counts.attempts);
}
