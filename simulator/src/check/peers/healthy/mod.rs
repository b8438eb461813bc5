//! Every check over histories of healthy peers: real databases in memory under random steps must give no finding.
//!
//! What is told here is what a rig tells; the checks that judge it see nothing else.

mod world;

use proptest::prelude::*;

use self::world::{PEERS, ROWS, SESSIONS, SKEW_US_MAX, World};

#[derive(Clone, Debug)]
enum Step {
    Write {
        peer: usize,
        session: usize,
        row: u32,
        delete: bool,
    },
    Commit {
        peer: usize,
        session: usize,
    },
    Rollback {
        peer: usize,
        session: usize,
    },
    Read {
        peer: usize,
    },
    Pull {
        reader: usize,
        source: usize,
        rows_max: usize,
        lost: bool,
    },
    /// A database's clock is set, and is so far ahead now.
    Skew {
        peer: usize,
        ahead_us: u64,
    },
    Crash(usize),
    /// Of what all peers have passed.
    Purge(usize),
    /// Of what is old, whoever has not passed it.
    Expire(usize),
    Copy(usize),
    /// To the copy. A new life begins at once, as where the runtime sees another timeline, or nobody notices.
    SetBack {
        peer: usize,
        noticed: bool,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (peer, session) = (0..PEERS, 0..SESSIONS);
    let delete = proptest::bool::weighted(0.3);
    prop_oneof![
        14 => (peer.clone(), session.clone(), 0..ROWS, delete)
            .prop_map(|(peer, session, row, delete)| Step::Write { peer, session, row, delete }),
        8 => (peer.clone(), session.clone()).prop_map(|(peer, session)| Step::Commit { peer, session }),
        1 => (peer.clone(), session).prop_map(|(peer, session)| Step::Rollback { peer, session }),
        5 => peer.clone().prop_map(|peer| Step::Read { peer }),
        10 => (peer.clone(), 1..PEERS, 1usize..5, proptest::bool::weighted(0.2)).prop_map(
            |(reader, by, rows_max, lost)| Step::Pull { reader, source: (reader + by) % PEERS, rows_max, lost }
        ),
        1 => (peer.clone(), 0..=SKEW_US_MAX).prop_map(|(peer, ahead_us)| Step::Skew { peer, ahead_us }),
        1 => peer.clone().prop_map(Step::Crash),
        2 => peer.prop_map(Step::Purge),
    ]
}

/// Tombstones are purged by age, too, whoever has not passed them.
fn any_step_with_expiry() -> impl Strategy<Value = Step> {
    prop_oneof![44 => any_step(), 2 => (0..PEERS).prop_map(Step::Expire)]
}

/// Disks are set back.
fn any_step_with_losses() -> impl Strategy<Value = Step> {
    let back = |peer| Step::SetBack { peer, noticed: true };
    prop_oneof![44 => any_step(), 1 => (0..PEERS).prop_map(Step::Copy), 1 => (0..PEERS).prop_map(back)]
}

fn run(steps: &[Step]) -> World {
    let mut world = World::new();
    steps.iter().for_each(|step| world.step(step));
    world.settle();
    world
}

fn silent(world: &World) -> Result<(), TestCaseError> {
    for (property, (findings, _)) in world.judged() {
        prop_assert!(findings.count() == 0, "{property}: {findings:?}\n{}", story(world));
    }
    Ok(())
}

fn story(world: &World) -> String {
    let line = |event: &crate::history::Event| serde_json::to_string(event).unwrap() + "\n";
    world.told.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn healthy_peers_give_no_finding(steps in proptest::collection::vec(any_step(), 1..100)) {
        silent(&run(&steps))?;
    }

    #[test]
    fn healthy_peers_that_purge_by_age_give_no_finding(
        steps in proptest::collection::vec(any_step_with_expiry(), 1..100),
    ) {
        silent(&run(&steps))?;
    }

    #[test]
    fn healthy_peers_whose_disks_are_set_back_give_no_finding(
        steps in proptest::collection::vec(any_step_with_losses(), 1..100),
    ) {
        silent(&run(&steps))?;
    }
}

#[test]
fn every_check_has_something_to_judge() {
    let mut number = 0u64;
    let mut draw = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((number >> 33) % below) as usize
    };
    let steps: Vec<_> = (0..400)
        .map(|_| match draw(10) {
            0..4 => Step::Write {
                peer: draw(3),
                session: draw(2),
                row: draw(u64::from(ROWS)) as u32,
                delete: draw(3) == 0,
            },
            4..6 => Step::Commit { peer: draw(3), session: draw(2) },
            6 => Step::Read { peer: draw(3) },
            _ => {
                let reader = draw(3);
                Step::Pull { reader, source: (reader + 1 + draw(2)) % PEERS, rows_max: 3, lost: draw(5) == 0 }
            }
        })
        .collect();
    for (property, (findings, basis)) in run(&steps).judged() {
        // The sessions that read here write nothing, so P10 has nothing to look for; nobody is somebody else (P29).
        assert!(findings.count() == 0, "{property}: {findings:?}");
        assert!(basis > 0 || ["P10", "P29"].contains(&property), "{property} judged nothing");
    }
}

/// Zoo 68: it writes on under numbers that its readers have read, and takes what it lost for its own.
#[test]
fn a_disk_that_is_set_back_and_nobody_notices_is_caught() {
    let wrote = |row| {
        let (peer, session) = (0, 0);
        [Step::Write { peer, session, row, delete: false }, Step::Commit { peer, session }]
    };
    let pull = Step::Pull { reader: 1, source: 0, rows_max: 1, lost: false };
    let story = |noticed| {
        let back = Step::SetBack { peer: 0, noticed };
        run(&[wrote(2).as_slice(), &[pull.clone(), back], &wrote(0), &wrote(1)].concat())
    };
    let caught = |noticed| story(noticed).judged()["P15"].0.count() > 0;
    assert!(caught(false) && !caught(true));
}
