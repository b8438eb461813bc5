//! Defects planted through the policy are seen, and the same worlds are sound without them.

use super::World;
use crate::peer_sync::position::Position;
use crate::peer_sync::replica::ReplicaPolicy;
use crate::peer_sync::snapshot::Snapshot;
use crate::time::Span;

/// Feeds alone, with what is planted.
#[derive(Clone, Copy, Debug, Default)]
struct Planted {
    /// A position is a sequence: what was under way when it was taken is skipped (zoo 65).
    by_sequence: bool,
    /// The position moves although the rows could not be stored (zoo 15).
    after_failure: bool,
}

impl ReplicaPolicy for Planted {
    fn compares(&self) -> bool {
        false
    }

    fn reads_from(&self, since: Option<Position>) -> Option<Position> {
        since.map(|position| match self.by_sequence {
            true => Position { snapshot: Snapshot::new(position.snapshot.xmax(), []), ..position },
            false => position,
        })
    }

    fn advances_after_failure(&self) -> bool {
        self.after_failure
    }
}

/// Whether all agree at the end of a world in which transactions commit late and rows are locked.
fn agrees(policy: Planted) -> bool {
    let mut world = World::with(21, 2, policy, |a, b| a != b);
    world.start();
    world.run(Span::from_secs(2));
    // Begun first, committed last.
    world.write(0, &[(1, Some("late"))], 400_000);
    world.run(Span::from_ms(10));
    world.write(0, &[(2, Some("early"))], 0);
    world.run(Span::from_secs(1));
    // A row that an application holds at the reader when a later write of it comes.
    world.write(1, &[(3, Some("held"))], 400_000);
    world.run(Span::from_ms(10));
    world.write(0, &[(3, Some("later"))], 0);
    world.run(Span::from_secs(1));
    world.converges_within(Span::from_secs(60)).is_some_and(|_| {
        world.run(Span::from_secs(30));
        world.converged() && world.content(1).len() == 3
    })
}

#[test]
fn planted_defects_diverge_and_the_healthy_engine_does_not() {
    assert!(agrees(Planted::default()));
    assert!(!agrees(Planted { by_sequence: true, ..Planted::default() }));
    assert!(!agrees(Planted { after_failure: true, ..Planted::default() }));
}
