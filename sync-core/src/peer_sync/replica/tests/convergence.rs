//! P1, P2, P15 and the cost of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::World;
use super::world::item;
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::resolver::Reason;
use crate::peer_sync::store::memory::MemoryPeerStore;
use crate::time::Span;

#[test]
fn a_write_reaches_everybody_at_once_and_once() {
    let mut world = World::mesh(1, 3);
    world.start();
    world.run(Span::from_secs(2));
    for id in 0..200 {
        let text = format!("value {id}");
        world.write((id % 3) as usize, &[(id, Some(&text))], 500);
        world.run(Span::from_ms(20));
    }
    let took = world.converges_within(Span::from_secs(1)).expect("all hold the same");
    assert!(took <= Span::from_ms(300), "{took}");
    assert_eq!(world.content(0).len(), 200);
    for (node, copies) in world.copies.iter().enumerate() {
        // Each node lacks two thirds of the rows.
        assert!(*copies as f64 <= 1.2 * 134.0, "node {node}: {copies} copies");
    }
}

#[test]
fn rows_travel_on_through_others() {
    // A line: each knows its neighbours only.
    let mut world = World::with(2, 4, super::super::Standard, |a, b| a.abs_diff(b) == 1);
    world.start();
    world.run(Span::from_secs(2));
    world.write(0, &[(1, Some("a")), (2, Some("b"))], 100);
    world.write(3, &[(3, Some("c"))], 100);
    world.run(Span::from_ms(1));
    assert!(world.converges_within(Span::from_secs(1)).is_some());
    assert_eq!(world.content(1).len(), 3);
}

/// What may happen in a rough world.
#[derive(Clone, Debug)]
enum Step {
    Write {
        node: usize,
        rows: Vec<(u64, bool)>,
        after_us: u64,
    },
    Wait(u64),
    Crash(usize),
    Restart(usize),
    Cut(usize, usize),
    Heal,
    /// A backup is made.
    Copy(usize),
    /// A node crashes and starts again from its backup.
    SetBack(usize),
}

fn any_step(nodes: usize) -> impl Strategy<Value = Step> {
    let node = 0..nodes;
    let rows = proptest::collection::vec((0..12u64, proptest::bool::weighted(0.25)), 1..4);
    prop_oneof![
        12 => (node.clone(), rows, 0u64..200_000)
            .prop_map(|(node, rows, after_us)| Step::Write { node, rows, after_us }),
        6 => (0u64..4_000_000).prop_map(Step::Wait),
        1 => node.clone().prop_map(Step::Crash),
        2 => node.clone().prop_map(Step::Restart),
        1 => (node.clone(), node).prop_map(|(from, to)| Step::Cut(from, to)),
        1 => Just(Step::Heal),
    ]
}

fn any_setback(nodes: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any_step(nodes),
        1 => (0..nodes).prop_map(Step::Copy),
        1 => (0..nodes).prop_map(Step::SetBack),
    ]
}

fn live(world: &mut World<impl super::super::ReplicaPolicy + Clone>, steps: &[Step]) {
    let mut copies: BTreeMap<usize, MemoryPeerStore> = BTreeMap::new();
    for (count, step) in steps.iter().enumerate() {
        match step {
            Step::Copy(node) => drop(copies.insert(*node, world.nodes[*node].store.durable_copy())),
            Step::SetBack(node) => {
                if let Some(copy) = copies.get(node).cloned() {
                    world.crash(*node);
                    world.nodes[*node].store = copy;
                    world.restart(*node);
                }
            }
            Step::Write { node, rows, after_us } => {
                let text = format!("{count} of {node}");
                let rows: Vec<_> =
                    rows.iter().map(|(id, delete)| (*id, (!delete).then_some(text.as_str()))).collect();
                world.write(*node, &rows, *after_us);
            }
            Step::Wait(us) => world.run(Span::from_us(*us)),
            Step::Crash(node) if world.nodes[*node].up => world.crash(*node),
            Step::Restart(node) if !world.nodes[*node].up => world.restart(*node),
            Step::Cut(from, to) => drop(world.cut.insert((*from, *to))),
            Step::Heal => world.cut.clear(),
            Step::Crash(_) | Step::Restart(_) => {}
        }
    }
    world.cut.clear();
    (world.lost, world.doubled) = (0, 0);
    for node in 0..world.nodes.len() {
        if !world.nodes[node].up {
            world.restart(node);
        }
    }
}

/// Never compares: what arrives, arrives by the feeds.
#[derive(Clone, Copy, Debug)]
struct FeedsAlone;

impl super::super::ReplicaPolicy for FeedsAlone {
    fn compares(&self) -> bool {
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn feeds_alone_bring_everything_whatever_is_lost(
        seed in any::<u64>(), nodes in 2usize..5, steps in proptest::collection::vec(any_step(4), 1..40),
        lost in 0u64..200, doubled in 0u64..200,
    ) {
        let mut world = World::with(seed, nodes, FeedsAlone, |a, b| a != b);
        (world.lost, world.doubled) = (lost, doubled);
        world.start();
        let steps: Vec<Step> = steps.into_iter().map(|step| within(step, nodes)).collect();
        live(&mut world, &steps);
        prop_assert!(world.converges_within(Span::from_secs(120)).is_some(), "seed {seed}");
    }

    #[test]
    fn everybody_agrees_whatever_is_set_back(
        seed in any::<u64>(), steps in proptest::collection::vec(any_setback(3), 1..40), lost in 0u64..100,
    ) {
        let mut world = World::mesh(seed, 3);
        world.lost = lost;
        world.start();
        live(&mut world, &steps);
        prop_assert!(world.converges_within(Span::from_secs(200)).is_some(), "seed {seed}");
        // And it stays so; tombstones go at different moments.
        world.run(Span::from_secs(60));
        prop_assert!(world.lives_alike(), "seed {seed}");
        prop_assert!(world.converges_within(Span::from_secs(200)).is_some(), "seed {seed}");
    }

    #[test]
    fn the_same_world_does_the_same(seed in any::<u64>(), steps in proptest::collection::vec(any_step(3), 1..20)) {
        let run = || {
            let mut world = World::mesh(seed, 3);
            (world.lost, world.doubled) = (100, 100);
            world.start();
            live(&mut world, &steps);
            world.run(Span::from_secs(30));
            (world.trace, world.messages, world.bytes)
        };
        prop_assert_eq!(run(), run());
    }
}

fn within(step: Step, nodes: usize) -> Step {
    match step {
        Step::Write { node, rows, after_us } => Step::Write { node: node % nodes, rows, after_us },
        Step::Crash(node) => Step::Crash(node % nodes),
        Step::Restart(node) => Step::Restart(node % nodes),
        Step::Cut(from, to) => Step::Cut(from % nodes, to % nodes),
        other => other,
    }
}

#[test]
fn a_long_feed_comes_in_pages_and_in_turns() {
    let mut world = World::mesh(3, 3);
    for settings in 0..3 {
        world.settings[settings].page_rows_max = 4;
    }
    for node in 0..3 {
        let life = world.nodes[node].store.clone();
        world.crash(node);
        world.nodes[node].store = life;
    }
    for node in 0..3 {
        world.restart(node);
    }
    for id in 0..600 {
        world.write(0, &[(id, Some("x"))], 0);
        world.run(Span::from_us(50));
    }
    assert!(world.converges_within(Span::from_secs(20)).is_some());
    assert!(world.nodes[1].store.read(&item(599)).is_some());
    for copies in &world.copies[1..] {
        assert!(*copies <= 720, "{copies}");
    }
}

#[test]
fn policies_beyond_the_last_writer_are_decided_alike() {
    let mut world = World::mesh(5, 3);
    world.start();
    world.run(Span::from_secs(2));
    world.put(0, "counters", &["c", "10", "x"]);
    world.put(0, "cells", &["c", "a", "b"]);
    assert!(world.converges_within(Span::from_secs(5)).is_some());
    world.run(Span::from_secs(1));
    for (node, other) in [(0, 1), (0, 2), (1, 2)] {
        world.cut.extend([(node, other), (other, node)]);
    }
    for (node, sum) in ["11", "12", "14"].iter().enumerate() {
        world.put(node, "counters", &["c", sum, "x"]);
        world.put(node, "firsts", &["f", &format!("by {node}"), "-"]);
        world.run(Span::from_ms(5));
    }
    world.put(1, "cells", &["c", "A", "b"]);
    world.put(2, "cells", &["c", "a", "B"]);
    world.run(Span::from_secs(1));
    world.cut.clear();
    assert!(world.converges_within(Span::from_secs(60)).is_some());
    for node in 0..3 {
        assert_eq!(world.see(node, "counters", "c"), ["c", "17", "x"]);
        assert_eq!(world.see(node, "firsts", "f"), ["f", "by 0", "-"]);
        assert_eq!(world.see(node, "cells", "c"), ["c", "A", "B"]);
    }
    // Sums of two writers are joined, and no earlier stamp wins by being later.
    let mut joined = 0;
    for event in (0..3).flat_map(|node| world.events(node)) {
        let ReplicaEvent::Conflict { row, winner, loser, reason } = event else { continue };
        assert!(*reason != Reason::Stamp || winner.stamp > loser.stamp, "{row}: {winner} {loser}");
        assert!(row.table.as_str() != "firsts" || *reason == Reason::Created, "{row}: {reason:?}");
        joined += u32::from(*reason == Reason::Combined);
    }
    assert!(joined > 0);
}
