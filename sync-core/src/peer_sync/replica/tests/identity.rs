//! Who is somebody else than it seems: two of one name, a replaced database, another version of the protocol.

use super::World;
use super::world::{address, node_id, schema};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::message::{PROTOCOL, ProtocolRange, Refusal};
use crate::peer_sync::replica::{ReplicaPolicy, Standard};
use crate::peer_sync::store::memory::MemoryPeerStore;
use crate::time::Span;

fn fresh(place: usize, life: u64) -> MemoryPeerStore {
    MemoryPeerStore::new(node_id(place), schema(), Incarnation(life), limits::STAMP_AHEAD_MAX)
}

/// Three nodes that hold a row each of their own.
fn three<P: ReplicaPolicy + Clone>(seed: u64, policy: P) -> World<P> {
    let mut world = World::with(seed, 3, policy, |a, b| a != b);
    for settings in &mut world.settings {
        settings.health_interval = Span::from_secs(5);
        // Feeds alone: a comparison would hide what they skip.
        settings.anti_entropy_interval = Span::from_secs(3_600);
    }
    for node in 0..3 {
        world.nodes[node].up = false;
        world.restart(node);
        world.write(node, &[(node as u64, Some("its own"))], 0);
    }
    world.run(Span::from_secs(10));
    assert!(world.converged());
    world
}

/// The third machine starts again under the name of the first.
fn double<P: ReplicaPolicy + Clone>(world: &mut World<P>, copied: bool) {
    world.crash(2);
    world.nodes[2].store = if copied { world.nodes[0].store.durable_copy() } else { fresh(0, 77) };
    world.restart(2);
    world.write(2, &[(10, Some("at the double")), (11, Some("at the double"))], 0);
    world.run(Span::from_secs(1));
    world.write(0, &[(12, Some("at the first"))], 0);
    world.run(Span::from_secs(1));
    world.write(0, &[(13, Some("at the first"))], 0);
    world.run(Span::from_secs(20));
}

#[test]
fn the_second_of_a_name_is_refused_and_reported_and_harms_nobody() {
    for (seed, copied) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = three(seed, Standard);
        double(&mut world, copied);
        for node in 0..3 {
            let other = if node == 2 { 0 } else { 2 };
            let told = ReplicaEvent::NodeIdTwice { node: node_id(0), address: address(other) };
            assert!(world.events(node).any(|event| *event == told), "seed {seed}: node {node} is silent");
        }
        assert_eq!(world.see(1, "items", "13"), ["13", "at the first"], "seed {seed}");
        assert!(world.see(1, "items", "10").is_empty() && world.see(0, "items", "10").is_empty());
        assert!(world.see(2, "items", "13").is_empty(), "seed {seed}: it was answered");
        // With a name of its own it brings along what was written there.
        world.crash(2);
        world.nodes[2].store.rename(node_id(2), Incarnation(78));
        world.restart(2);
        assert!(world.converges_within(Span::from_secs(60)).is_some(), "seed {seed}, copied {copied}");
        assert_eq!(world.content(1).len(), 7, "seed {seed}: three, two and two");
        // And nobody has lost track of anybody's feed.
        for node in 0..3 {
            world.write(node, &[(20 + node as u64, Some("afterwards"))], 0);
        }
        world.run(Span::from_secs(20));
        assert!(world.converged(), "seed {seed}, copied {copied}");
    }
}

#[test]
fn who_starts_while_two_have_one_name_has_all_rows_of_the_first_once_the_other_gives_it_up() {
    for seed in 0..40 {
        let mut world = three(seed, Standard);
        double(&mut world, true);
        world.crash(1);
        world.restart(1);
        world.run(Span::from_secs(20));
        // From the copy, the other one, or both, the same numbers stand for other rows.
        world.write(2, &[(14, Some("at the double"))], 0);
        world.write(0, &[(15, Some("at the first"))], 0);
        world.run(Span::from_secs(20));
        world.crash(2);
        world.nodes[2].store.rename(node_id(2), Incarnation(78));
        world.restart(2);
        assert!(world.converges_within(Span::from_secs(60)).is_some(), "seed {seed}");
        world.write(0, &[(16, Some("afterwards"))], 0);
        world.run(Span::from_secs(20));
        assert!(world.converged(), "seed {seed}");
    }
}

/// Takes whoever answers to a name for the peer of that name.
#[derive(Clone, Copy, Debug)]
struct Credulous;

impl ReplicaPolicy for Credulous {
    fn tells_apart(&self) -> bool {
        false
    }
}

#[test]
fn a_policy_that_tells_nobody_apart_is_seen_to_lose_rows() {
    let lost = (0..10).any(|seed| {
        let mut world = three(seed, Credulous);
        double(&mut world, true);
        world.see(1, "items", "13").is_empty() || !world.see(1, "items", "10").is_empty()
    });
    assert!(lost);
}

#[test]
fn a_replaced_database_gets_back_what_others_hold_and_revives_nothing() {
    for (seed, copied) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = three(seed, Standard);
        world.write(1, &[(1, None)], 0);
        world.write(1, &[(5, Some("written before"))], 0);
        world.run(Span::from_secs(10));
        world.crash(1);
        world.nodes[1].store = if copied {
            let mut copy = world.nodes[0].store.durable_copy();
            copy.rename(node_id(1), Incarnation(78));
            copy
        } else {
            fresh(1, 77)
        };
        world.restart(1);
        world.write(1, &[(6, Some("written after"))], 0);
        world.run(Span::from_secs(1));
        assert!(world.converges_within(Span::from_secs(60)).is_some(), "seed {seed}, copied {copied}");
        assert!(world.see(1, "items", "1").is_empty(), "seed {seed}");
        assert_eq!(world.see(1, "items", "5"), ["5", "written before"], "seed {seed}");
        assert_eq!(world.see(0, "items", "6"), ["6", "written after"], "seed {seed}");
    }
}

#[test]
fn without_a_common_version_no_rows_are_exchanged_until_the_upgrade() {
    for seed in 0..20 {
        let mut world = three(seed, Standard);
        let newer = ProtocolRange { oldest: PROTOCOL.newest + 1, newest: PROTOCOL.newest + 1 };
        let upgrade = |world: &mut World, node: usize, protocol| {
            world.settings[node].protocol = protocol;
            world.crash(node);
            world.restart(node);
        };
        upgrade(&mut world, 2, newer);
        world.write(2, &[(10, Some("new"))], 0);
        world.write(0, &[(11, Some("old"))], 0);
        world.run(Span::from_secs(20));
        assert_eq!(world.see(1, "items", "11"), ["11", "old"], "seed {seed}");
        assert!(world.see(1, "items", "10").is_empty() && world.see(2, "items", "11").is_empty());
        for (node, other) in [(0, 2), (1, 2), (2, 0)] {
            let told = ReplicaEvent::PeerRefused { address: address(other), reason: Refusal::Protocol };
            assert!(world.events(node).any(|event| *event == told), "seed {seed}: node {node} is silent");
        }
        // One after another; who speaks both talks to everybody, and relays.
        upgrade(&mut world, 1, ProtocolRange { oldest: PROTOCOL.oldest, newest: newer.newest });
        assert!(world.converges_within(Span::from_secs(60)).is_some(), "seed {seed}");
        upgrade(&mut world, 0, newer);
        world.write(0, &[(12, Some("new"))], 0);
        world.run(Span::from_secs(20));
        assert!(world.converged(), "seed {seed}");
    }
}
