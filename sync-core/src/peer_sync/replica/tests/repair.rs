//! What feeds cannot bring: databases that were set back, corrupt rows, absence longer than tombstones are kept.

use super::World;
use super::world::{address, item, items, node_id};
use crate::peer_sync::content::Content;
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::replica::Command;
use crate::time::Span;

fn settled(nodes: usize, rows: u64) -> World {
    let mut world = World::mesh(7, nodes);
    world.start();
    world.run(Span::from_secs(2));
    for id in 0..rows {
        world.write((id % nodes as u64) as usize, &[(id, Some("before"))], 0);
        world.run(Span::from_ms(2));
    }
    assert!(world.converges_within(Span::from_secs(30)).is_some());
    world
}

#[test]
fn a_database_that_was_set_back_gets_and_gives_what_is_missing() {
    let mut world = settled(3, 30);
    let copy = world.nodes[0].store.durable_copy();
    for id in 100..110 {
        world.write(0, &[(id, Some("lost at home"))], 0);
        world.run(Span::from_ms(20));
    }
    assert!(world.converges_within(Span::from_secs(5)).is_some());
    world.crash(0);
    world.nodes[0].store = copy;
    world.restart(0);
    // Transactions of the new life have numbers that were used before.
    for id in 200..203 {
        world.write(0, &[(id, Some("after"))], 0);
    }
    assert!(world.converges_within(Span::from_secs(60)).is_some());
    assert!(world.events(0).any(|event| matches!(event, ReplicaEvent::SetBack { .. })));
    for node in 0..3 {
        assert!(world.nodes[node].store.read(&item(105)).is_some(), "{node}");
        assert!(world.nodes[node].store.read(&item(202)).is_some(), "{node}");
    }
}

#[test]
fn a_corrupt_row_is_found_and_replaced() {
    let mut world = settled(2, 20);
    world.nodes[0].store.corrupt(&item(3), Content::new([Some("3"), Some("rotten")]));
    assert!(!world.converged());
    assert!(world.converges_within(Span::from_secs(200)).is_some());
    let repaired =
        |event: &ReplicaEvent| matches!(event, ReplicaEvent::RowRepaired { row, .. } if *row == item(3));
    assert!(world.events(0).any(repaired));
}

#[test]
fn tombstones_go_when_all_have_passed_them_and_rows_stay_dead() {
    let mut world = settled(3, 10);
    world.write(1, &[(4, None)], 0);
    world.run(Span::from_secs(200));
    assert!(world.converged());
    assert!((0..3).all(|node| world.nodes[node].store.stored(&item(4)).is_none()));
    assert!(world.events(1).any(|event| matches!(event, ReplicaEvent::TombstonesPurged { .. })));
}

#[test]
fn who_was_away_past_the_retention_revives_nothing_and_loses_nothing() {
    let mut world = World::mesh(9, 3);
    for settings in &mut world.settings {
        settings.retention = Span::from_secs(100);
    }
    for node in 0..3 {
        world.nodes[node].up = false;
        world.restart(node);
    }
    world.run(Span::from_secs(2));
    for id in 0..10 {
        world.write(0, &[(id, Some("before"))], 0);
    }
    assert!(world.converges_within(Span::from_secs(10)).is_some());
    world.run(Span::from_secs(2));
    for other in 0..2 {
        world.cut.extend([(2, other), (other, 2)]);
    }
    world.write(0, &[(5, None)], 0);
    world.write(2, &[(50, Some("written away"))], 0);
    world.run(Span::from_secs(400));
    assert!(world.nodes[0].store.stored(&item(5)).is_none(), "purged");
    assert!(world.nodes[2].store.read(&item(5)).is_some());
    world.cut.clear();
    assert!(world.converges_within(Span::from_secs(120)).is_some());
    for node in 0..3 {
        assert!(world.nodes[node].store.read(&item(5)).is_none(), "{node} revived it");
        assert!(world.nodes[node].store.read(&item(50)).is_some(), "{node} lost it");
    }
    assert_eq!(world.nodes[2].store.rows(&items()).len(), 10);
}

#[test]
fn a_trigger_asks_all_and_tells_of_a_table() {
    let mut world = settled(2, 3);
    world.nodes[0].events.clear();
    world.command(0, Command::SyncTable(items()));
    world.run(Span::from_ms(200));
    let told = ReplicaEvent::TableSynced { table: items(), count: 0, peer: node_id(1) };
    assert!(world.events(0).any(|event| *event == told));
}

#[test]
fn after_a_stop_nothing_is_under_way() {
    let mut world = settled(3, 9);
    world.write(0, &[(1, Some("late"))], 0);
    world.run(Span::from_us(2_500));
    for node in 0..3 {
        world.command(node, Command::Stop);
    }
    world.run(Span::from_secs(30));
    for node in 0..3 {
        assert!(world.nodes[node].replica.is_idle());
        assert_eq!(world.events(node).filter(|event| **event == ReplicaEvent::Stopped).count(), 1);
    }
}

#[test]
fn a_peer_that_is_given_is_found_and_one_that_is_removed_is_forgotten() {
    let mut world = World::with(4, 2, super::super::Standard, |_, _| false);
    world.start();
    world.run(Span::from_secs(1));
    world.write(0, &[(1, Some("a"))], 0);
    world.run(Span::from_secs(20));
    assert!(!world.converged());
    world.command(1, Command::AddPeer(address(0)));
    // The other side hears of it by the hello.
    assert!(world.converges_within(Span::from_secs(2)).is_some());
    world.run(Span::from_secs(1));
    let now = crate::time::Now::default();
    assert_eq!(world.nodes[0].replica.status(now).peer_count, 1);
    world.command(1, Command::RemovePeer(node_id(0)));
    assert_eq!(world.nodes[1].replica.status(now).peer_count, 0);
}

#[test]
fn a_delete_that_a_peer_refused_waits_for_it() {
    let mut world = settled(3, 10);
    // Two clocks go wrong by more than a peer accepts, and tombstones are purged before it does.
    world.nodes[0].skew_us = 200_000_000;
    world.nodes[1].skew_us = 200_000_000;
    world.write(0, &[(5, None)], 0);
    world.run(Span::from_secs(130));
    let refused = |event: &ReplicaEvent| matches!(event, ReplicaEvent::TooFarAhead { .. });
    assert!(world.events(2).any(refused));
    assert!(world.nodes[2].store.read(&item(5)).is_some());
    world.write(2, &[(5, Some("not knowing of it"))], 0);
    world.run(Span::from_secs(5));
    world.write(2, &[(6, Some("after it"))], 0);
    assert!(world.converges_within(Span::from_secs(60)).is_some());
    world.run(Span::from_secs(200));
    assert!(world.converged());
    for node in 0..3 {
        assert!(world.nodes[node].store.read(&item(5)).is_none(), "{node} revived it");
        assert!(world.nodes[node].store.stored(&item(5)).is_none(), "{node} did not purge it");
    }
}
