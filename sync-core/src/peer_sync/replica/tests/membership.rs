//! P2 of the membership: who was away comes back (zoo 64).

use super::World;
use super::world::node_id;
use crate::limits;
use crate::peer_sync::events::{LeaveReason, ReplicaEvent};
use crate::peer_sync::replica::{Command, ReplicaPolicy, Standard};
use crate::time::Span;

/// Nobody is given; all announce themselves. One is cut off for three minutes.
fn away<P: ReplicaPolicy + Clone>(policy: P) -> World<P> {
    let mut world = World::with(11, 3, policy, |_, _| false);
    world.broadcast = true;
    for node in 0..3 {
        world.settings[node].auto_discovery = true;
        world.nodes[node].up = false;
        world.restart(node);
    }
    world.run(Span::from_secs(10));
    world.write(0, &[(1, Some("before"))], 0);
    assert!(world.converges_within(Span::from_secs(5)).is_some());
    world.run(Span::from_secs(1));
    for other in 0..2 {
        world.cut.extend([(2, other), (other, 2)]);
    }
    world.run(Span::from_secs(240));
    world.write(0, &[(2, Some("meanwhile"))], 0);
    world.write(2, &[(3, Some("away"))], 0);
    world.run(Span::from_secs(5));
    world.cut.clear();
    world
}

#[test]
fn who_was_away_is_removed_and_welcomed_back() {
    let mut world = away(Standard);
    let left =
        |event: &ReplicaEvent| matches!(event, ReplicaEvent::PeerLeft { reason: LeaveReason::Unseen, .. });
    assert!(world.events(0).any(left) && world.events(2).any(left));
    assert!(world.converges_within(Span::from_secs(60)).is_some());
    assert_eq!(world.content(1).len(), 3);
}

#[test]
fn a_silent_peer_keeps_no_other_waiting() {
    for place in 0..20 {
        let mut world = World::mesh(place, 3);
        world.start();
        world.run(Span::from_secs(10));
        // What the third says no longer arrives, and the first has just asked it.
        world.cut.insert((2, 0));
        world.command(0, Command::Trigger { peer: Some(node_id(2)) });
        world.run(Span::from_ms(100));
        world.write(1, &[(2, Some("meanwhile"))], 0);
        world.run(limits::ROUND_PATIENCE + Span::from_ms(400));
        assert_eq!(world.see(0, "items", "2"), ["2", "meanwhile"], "a question to a peer may take 10 s");
    }
}

/// Removes at the first missed answer, and for good.
#[derive(Clone, Copy, Debug)]
struct Unforgiving;

impl ReplicaPolicy for Unforgiving {
    fn removes(&self, failed: u32, _: Span, _: Span) -> bool {
        failed > 0
    }

    fn readmits(&self) -> bool {
        false
    }
}

#[test]
fn a_policy_that_readmits_nobody_is_seen_to_diverge() {
    let mut world = away(Unforgiving);
    assert!(world.converges_within(Span::from_secs(300)).is_none());
}
