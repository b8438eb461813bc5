use super::super::testing::*;
use super::*;

fn check() -> CursorCompleteness {
    CursorCompleteness::new(&terms())
}

fn wrote(key: u32, us: u64, xid: u64) -> PeerWhat {
    committed(0, us, xid, vec![write(key, v(us, "p0"), None)])
}

/// What is said of a history in which nothing is found: the basis in words, and how much was excused.
fn said(whats: Vec<PeerWhat>) -> (String, u64) {
    let (mut check, mut findings) = (check(), Findings::default());
    history(whats).iter().for_each(|event| check.observe(event, &mut findings));
    let Basis { words, excused, .. } = check.finish(&mut findings);
    assert_eq!(findings.count(), 0, "{words}");
    (words, excused)
}

#[test]
fn what_was_refused_as_too_far_ahead_is_counted_and_not_judged() {
    let refused = merged(1, 2, vec![came(1, v(3, "p0"), MergeOutcome::TooFarAhead, None)]);
    let later = committed(0, 4, 10, vec![write(1, v(3, "p0"), None)]);
    let reader = PeerWhat::Advanced {
        node: 2,
        of: 0,
        incarnation: Incarnation(1),
        snapshot: Snapshot::new(11, []),
        reconciled: false,
    };
    let (basis, excused) = said(vec![later, refused, reader]);
    assert_eq!(
        (basis.as_str(), excused),
        ("1 rows looked for behind positions; 1 had been refused somewhere as too far ahead", 1)
    );
}

fn at(xmax: u64) -> PeerWhat {
    advanced(1, 0, Snapshot::new(xmax, []))
}

#[test]
fn a_position_behind_which_everything_is_there_passes() {
    let history = vec![
        wrote(1, 3, 10),
        wrote(2, 4, 12),
        merged(1, 0, vec![took(1, v(3, "p0"))]),
        advanced(1, 0, Snapshot::new(11, [])),
        wrote(3, 5, 11),
        merged(1, 0, vec![took(2, v(9, "p2"))]),
        // 11 committed late: the reader's snapshot does not see it yet.
        advanced(1, 0, Snapshot::new(13, [11])),
        merged(1, 2, vec![came(3, v(5, "p0"), MergeOutcome::Expired, None)]),
        at(13),
    ];
    assert_eq!(basis(check(), history.clone()), 3);
    passes(check(), history);
}

#[test]
fn a_late_commit_that_is_skipped_fails() {
    let history = vec![
        wrote(2, 4, 12),
        merged(1, 0, vec![took(2, v(4, "p0"))]),
        advanced(1, 0, Snapshot::new(13, [11])),
        wrote(1, 3, 11),
        at(13),
    ];
    fails(
        check(),
        history,
        "peer 1 has read transaction 11 of peer 0 and skipped users(1) 3.0@p0; it has nothing",
    );
}

#[test]
fn a_relay_counts_as_well() {
    let history = vec![
        PeerWhat::Merged {
            node: 0,
            from: 2,
            xid: Some(7),
            rows: vec![took(1, v(3, "p2"))],
            repair: false,
            reconcile: false,
        },
        at(8),
    ];
    fails(check(), history, "skipped users(1) 3.0@p2");
}

#[test]
fn an_older_version_is_not_enough() {
    let history = vec![wrote(1, 3, 10), merged(1, 2, vec![took(1, v(2, "p2"))]), at(11)];
    fails(check(), history, "it has 2.0@p2");
}

#[test]
fn a_purged_tombstone_need_not_come_to_whom_nothing_of_the_row_lives() {
    let story = |first: MergedRow, purged: bool| {
        let purge = PeerWhat::Purged { node: 0, rows: 1 };
        let mut history = vec![wrote(1, 3, 10), merged(1, 0, vec![first]), at(11)];
        history.push(committed(0, 5, 12, vec![delete(1, v(5, "p0"), None)]));
        history.extend(purged.then_some(purge));
        history.push(at(13));
        history
    };
    passes(check(), story(dead(took(1, v(4, "p2"))), true));
    let (basis, excused) = said(story(dead(took(1, v(4, "p2"))), true));
    assert_eq!(excused, 1, "{basis}");
    assert!(basis.ends_with("; 1 deletes did not come where nothing of the row lived, after a purge"));
    fails(check(), story(dead(took(1, v(4, "p2"))), false), "skipped users(1) 5.0@p0; it has 4.0@p2");
    fails(check(), story(took(1, v(4, "p2")), true), "skipped users(1) 5.0@p0; it has 4.0@p2");
}

#[test]
fn a_restored_source_is_judged_by_its_new_life() {
    let back = PeerWhat::SetBack { node: 0, holds: holding(vec![(1, v(3, "p0"))]) };
    let life = Incarnation(2);
    let renewed = PeerWhat::Renewed { node: 0, incarnation: life };
    let anew = |rows| {
        vec![
            merged(1, 0, rows),
            PeerWhat::Advanced {
                node: 1,
                of: 0,
                incarnation: life,
                snapshot: Snapshot::new(20, []),
                reconciled: true,
            },
        ]
    };
    let start = vec![wrote(1, 3, 10), merged(1, 0, vec![took(1, v(3, "p0"))]), at(15), back, wrote(2, 6, 11)];
    fails(check(), start.clone(), "skipped users(2) 6.0@p0");
    passes(check(), [start.clone(), vec![renewed.clone()], anew(vec![took(2, v(6, "p0"))])].concat());
    fails(check(), [start, vec![renewed], anew(vec![])].concat(), "skipped users(2) 6.0@p0");
}

#[test]
fn a_set_back_reader_reads_again() {
    let start = vec![wrote(1, 3, 10), merged(1, 0, vec![took(1, v(3, "p0"))]), at(11)];
    let back = PeerWhat::SetBack { node: 1, holds: vec![] };
    fails(check(), [start.clone(), vec![back.clone(), at(11)]].concat(), "skipped users(1)");
    passes(check(), [start, vec![back, merged(1, 0, vec![took(1, v(3, "p0"))]), at(11)]].concat());
}

#[test]
fn a_number_that_was_given_twice_may_be_passed_over_at_a_third_peer() {
    let back = PeerWhat::SetBack { node: 0, holds: vec![] };
    let relay = PeerWhat::Advanced {
        node: 2,
        of: 1,
        incarnation: Incarnation(2),
        snapshot: Snapshot::new(11, []),
        reconciled: false,
    };
    let relayed = vec![merged(1, 0, vec![took(1, v(3, "p0")), took(2, v(1, "p0"))]), relay];
    let twice = [vec![wrote(2, 1, 7), back.clone(), wrote(1, 3, 10)], relayed.clone()].concat();
    let renewed = PeerWhat::Renewed { node: 0, incarnation: Incarnation(3) };
    let (basis, excused) = said([twice.clone(), vec![renewed]].concat());
    assert_eq!(excused, 2, "{basis}");
    // Nobody noticed, nothing was given again, or it was not set back.
    let skipped = "peer 2 has read transaction 1 of peer 1 and skipped";
    fails(check(), twice, skipped);
    fails(check(), [vec![wrote(1, 3, 10), back], relayed.clone()].concat(), skipped);
    fails(check(), [vec![wrote(1, 3, 10)], relayed].concat(), skipped);
}
