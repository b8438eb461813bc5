//! What shrinking and regressions rest on: a plan, its expansion and its text form give one history,
//! and what is left out of a plan takes no draw of the others with it.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::collections::BTreeMap;

use crate::support::EVENTFUL;
use simulator::history::{Event, Kind, OpRef, What};
use simulator::plan::{Action, Ask, Plan};
use simulator::run::run;
use simulator::scenario::Scenario;
use simulator::scenario::model::Injection;

#[test]
fn a_plan_its_expansion_and_their_texts_give_one_history() {
    for seed in [1, 2] {
        let plan = plan(EVENTFUL, seed);
        let history = run(&plan).history;
        assert!(history.len() > 10_000);
        assert!(run(&plan.expand()).history == history, "the expansion differs");
        for plan in [plan.clone(), plan.expand()] {
            let read = Plan::parse("plan.txt", plan.to_text().as_bytes()).unwrap();
            assert!(run(&read).history == history, "the text form differs");
        }
    }
}

/// Losses, copies, delays, altered bits, failures: everything is drawn, and every draw is another's
/// neighbour. `ITEM_DROP` is rare, so some hosts drop one item only: that operation shares neither
/// state nor order with any other.
const CROWDED: &str = "
name: crowded
about: Many operations, and a few that touch no other.
duration: 4s
settle: 60s
topology: { hosts: 12, maps: 3 }
network:
  to_server: { loss: 4%, duplicate: 4%, reorder: 5%, tamper: 3%, tamper_with: [flip_bit, change_outer], replay: 3% }
  to_host: { loss: 4%, duplicate: 4%, reorder: 5%, tamper: 3%, tamper_with: [truncate, downgrade], replay: 3% }
database: { latency: { lognormal: { median: 3ms, p99: 15ms } }, failures: 3% }
# Often enough that what the cache holds tells whether its draws moved.
cache: { latency: { lognormal: { median: 300us, p99: 2ms } }, failures: 40% }
clocks: { skew: 300ms, drift_ppm: 200 }
workload:
  - name: players
    arrivals: { poisson: 8/s }
    mix:
      - { type: PLAYER_POSITION, critical: true, weight: 2 }
      - { type: PLAYER_DATA, weight: 2 }
      - { type: PLAYER_DATA, kind: sync_from, weight: 3 }
      - { type: CHAT_MESSAGE, priority: true }
  - name: drops
    arrivals: { poisson: 0.4/s }
    mix: [{ type: ITEM_DROP }]
faults:
  - { at: 1s, for: 1s, inject: { partition: { hosts: { only: [2] } } } }
  - { at: 2s, for: 1s, inject: { degrade: { hosts: { only: [7] }, loss: 40% } } }
  - { at: 2s, for: 500ms, inject: { crash: { hosts: { only: [4] } } } }
expect: { properties: [P5, P14, P30], critical_miss_ratio_max: 100% }
";

#[test]
fn leaving_one_operation_out_leaves_every_other_draw_as_it_was() {
    let whole = plan(CROWDED, 1).expand();
    let events = events(&whole);
    let lonely = lonely(&whole);
    assert!(lonely.len() >= 3, "too few operations stand alone: {lonely:?}");
    for gone in lonely {
        let mut less = whole.clone();
        less.actions.retain(|action| !matches!(action, Action::Ask(ask) if ask.op == gone));
        assert_eq!(less.actions.len() + 1, whole.actions.len());
        let expected = others(&events, gone);
        let found = others(&self::events(&less), gone);
        assert_same(&expected, &found, &format!("without operation {gone}"));
    }
}

#[test]
fn leaving_one_fault_out_leaves_every_other_host_as_it_was() {
    let whole = plan(CROWDED, 1);
    let events = events(&whole);
    for (number, host) in [(0, 2), (1, 7), (2, 4)] {
        let mut less = whole.clone();
        less.actions.retain(|action| !matches!(action, Action::Inject(n, _) if *n == number));
        assert_eq!(less.actions.len() + 1, whole.actions.len());
        let of_others = |events: &[Event]| -> Vec<_> {
            let other = |event: &&Event| event.what.op().is_some_and(|op| op.host != host);
            events.iter().filter(other).map(|event| masked(event, None)).collect()
        };
        let found = of_others(&self::events(&less));
        assert_same(&of_others(&events), &found, &format!("without fault f{number}"));
    }
}

#[test]
fn adding_a_workload_leaves_the_arrivals_of_the_others_as_they_were() {
    let small = plan(CROWDED, 3);
    let mut large = small.clone();
    let more = large.actions.iter().find_map(|action| match action {
        Action::Generate(1, workload) => Some(Action::Generate(9, workload.clone())),
        _ => None,
    });
    large.actions.insert(0, more.unwrap());
    let asks = |plan: &Plan| -> Vec<Ask> {
        let expanded = plan.expand().actions.into_iter();
        let ask = |action| if let Action::Ask(ask) = action { Some(ask) } else { None };
        expanded.filter_map(ask).filter(|ask| ask.op.ticket >> 40 != 9).collect()
    };
    assert_eq!(asks(&small), asks(&large));
    assert!(asks(&small).len() > 200);
}

#[test]
fn the_crowded_scenario_has_what_the_tests_need() {
    let plan = plan(CROWDED, 1);
    let faults = plan.actions.iter().filter_map(|action| match action {
        Action::Inject(number, fault) => Some((*number, &fault.inject)),
        _ => None,
    });
    let faults: Vec<_> = faults.collect();
    assert!(matches!(
        faults[..],
        [(0, Injection::Partition(_)), (1, Injection::Degrade(_)), (2, Injection::Crash(_))]
    ));
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    events(&plan).iter().for_each(|event| *kinds.entry(event.what.kind()).or_default() += 1);
    for kind in [Kind::Asked, Kind::Sent, Kind::Applied, Kind::Judged, Kind::Finished, Kind::Unsent] {
        assert!(kinds.contains_key(&kind), "no {kind:?} in {kinds:?}");
    }
}

fn plan(scenario: &str, seed: u64) -> Plan {
    Plan::new(&Scenario::parse("plans.yaml", scenario.as_bytes()).unwrap(), seed)
}

fn events(plan: &Plan) -> Vec<Event> {
    let history = run(plan).history;
    history.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect()
}

fn parse(line: &[u8]) -> Event {
    serde_json::from_slice(line).unwrap()
}

/// Operations that are the only ones of their host with their type.
fn lonely(plan: &Plan) -> Vec<OpRef> {
    let mut of_type: BTreeMap<_, Vec<OpRef>> = BTreeMap::new();
    for action in &plan.actions {
        if let Action::Ask(ask) = action {
            of_type.entry((ask.op.host, ask.entry.data_type.get())).or_default().push(ask.op);
        }
    }
    of_type.into_values().filter(|ops| ops.len() == 1).map(|ops| ops[0]).collect()
}

/// The events of every other operation, but for what counts the operations of one host.
fn others(events: &[Event], gone: OpRef) -> Vec<Event> {
    let other = |event: &&Event| event.what.op().is_some_and(|op| op != gone);
    events.iter().filter(other).map(|event| masked(event, Some(gone.host))).collect()
}

/// Later operations of the same host have other counters, and a counter of fewer digits may make a
/// frame a block shorter. When the run comes to rest depends on whatever was last.
fn masked(event: &Event, counted: Option<u32>) -> Event {
    let mut event = event.clone();
    if matches!(event.what, What::FinalState { .. }) {
        event.at_us = 0;
    }
    if event.what.op().map(|op| op.host) == counted {
        match &mut event.what {
            What::Sent { id, bytes, .. } => (id.counter, *bytes) = (0, 0),
            What::Accepted { id, .. }
            | What::Applied { id, .. }
            | What::Finished { id, .. }
            | What::FinalState { id, .. } => id.counter = 0,
            _ => {}
        }
    }
    event
}

fn assert_same(expected: &[Event], found: &[Event], what: &str) {
    assert!(expected.len() > 500, "{what}: too few events to compare");
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected, found, "{what}");
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}
