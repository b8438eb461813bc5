//! Shrinking: what is left still fails in the same way, nothing in it can be left out, and the search is the same
//! every time.

use simulator::plan::{Action, Plan};
use simulator::run::run;
use simulator::shrink::{NotShrunk, RUNS_MAX, shrink};
use simulator::verdict::Verdict;
use simulator::zoo::{self, hunt};

fn caught(number: u32) -> (Plan, String) {
    let entry = zoo::entry(number).expect("an entry of the zoo");
    let hunt = hunt::hunt(entry, 1, 100).expect("a valid scenario");
    let seed = hunt.caught_at_seed.expect("the entry is caught");
    let scenario = hunt::scenario(entry).expect("a valid scenario");
    (Plan { defect: Some(number), ..Plan::new(&scenario, seed) }, hunt.caught_by[0].clone())
}

fn fails(plan: &Plan, property: &str) -> bool {
    let summary = run(plan).summary;
    summary.properties.iter().any(|j| j.property == property && j.verdict == Verdict::Fail)
}

#[test]
fn what_is_left_fails_alike_and_nothing_in_it_can_be_left_out() {
    let (plan, property) = caught(30);
    let shrunk = shrink(&plan, Some(&property), RUNS_MAX).expect("it fails");
    assert!(shrunk.minimal && shrunk.plan.actions.len() <= 10, "{} actions", shrunk.plan.actions.len());
    assert!(shrunk.actions_before > 100);
    assert!(fails(&shrunk.plan, &property));
    assert!(!shrunk.plan.actions.iter().any(|action| matches!(action, Action::Generate(..))));
    for left_out in 0..shrunk.plan.actions.len() {
        let mut smaller = shrunk.plan.clone();
        smaller.actions.remove(left_out);
        assert!(!fails(&smaller, &property), "action {left_out} is not needed");
    }
    // The text form is what is kept: it reads back as the same plan.
    let text = shrunk.plan.to_text();
    let read = Plan::parse("shrunk.txt", text.as_bytes()).expect("a plan");
    assert_eq!(read, shrunk.plan);
    assert_eq!(shrink(&plan, Some(&property), RUNS_MAX), Ok(shrunk));
}

#[test]
fn nothing_is_shrunk_that_does_not_fail() {
    let (plan, property) = caught(30);
    let healthy = Plan { defect: None, ..plan.clone() };
    assert_eq!(shrink(&healthy, None, 10), Err(NotShrunk::NothingFails));
    let other = NotShrunk::NotInThis { asked: "P26".to_owned(), failing: vec![property.clone()] };
    assert_eq!(shrink(&plan, Some("P26"), 10), Err(other));
    // However few runs there are, what is given back fails.
    let shrunk = shrink(&plan, Some(&property), 5).expect("it fails");
    assert!(!shrunk.minimal && shrunk.runs <= 5 && fails(&shrunk.plan, &property));
}
