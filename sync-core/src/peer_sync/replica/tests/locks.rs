//! Rows that applications keep locked while pages come.

use super::World;
use crate::time::Span;

/// A reader at which one row in twenty is locked for longer than anybody waits, and a source that has written all of them.
fn locked(rows: u64) -> World {
    let mut world = World::mesh(3, 2);
    for settings in &mut world.settings {
        settings.page_rows_max = 500;
        // Feeds alone.
        settings.anti_entropy_interval = Span::from_secs(3_600);
    }
    for node in 0..2 {
        world.nodes[node].up = false;
        world.restart(node);
    }
    world.run(Span::from_secs(1));
    world.cut.extend([(0, 1), (1, 0)]);
    for row in 0..rows {
        world.write(0, &[(row, Some("written"))], 0);
        if row % 20 == 10 {
            world.write(1, &[(row, Some("held"))], 600_000_000);
        }
    }
    world.run(Span::from_secs(1));
    world.cut.clear();
    world
}

#[test]
fn a_page_that_meets_a_locked_row_does_not_hold_back_what_comes_before_it() {
    let mut world = locked(100);
    world.run(Span::from_secs(60));
    // What stands before the first locked row is there, though pages are five times as long.
    let there = (0..100).filter(|row: &u64| !world.see(1, "items", &row.to_string()).is_empty()).count();
    assert_eq!(there, 10, "the eleventh row is locked, and nothing of a feed is passed over");
    assert_eq!(world.nodes[1].replica.pages.rows(500), 1);
    // The locks are gone: pages grow again and all the rest comes.
    world.crash(1);
    world.restart(1);
    world.write(0, &[(1_000, Some("afterwards"))], 0);
    assert!(world.converges_within(Span::from_secs(60)).is_some());
}

#[test]
fn pages_grow_again_once_rows_are_stored() {
    let mut world = locked(100);
    world.run(Span::from_secs(60));
    let page = world.nodes[1].replica.pages.rows(500);
    // The applications give up, the engine goes on.
    world.nodes[1].store.crash();
    for row in 2_000..2_400 {
        world.write(0, &[(row, Some("afterwards"))], 0);
        world.run(Span::from_ms(20));
    }
    assert!(world.converges_within(Span::from_secs(60)).is_some());
    assert!(world.nodes[1].replica.pages.rows(500) > page);
}
