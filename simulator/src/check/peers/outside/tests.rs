//! A passing and a failing history of each property as it is judged from the outside.

use super::super::super::Check;
use super::super::testing as base;
use super::super::testing::{
    acknowledged, basis, committed, delete, ends, fails_at, lives, op, passes_at, read, saw, saw_nothing,
    terms, timed, v, write,
};
use super::ends::{DeleteSymmetry, Liveness, NoResurrection, NothingLost};
use super::reads::{AtomicBatches, ExactlyOnce, KeyOrder, MonotonicReads, NoPhantom, OwnWrites};
use crate::history::peers::{PeerWhat, Seen};
use crate::history::{Event, What};
use sync_core::peer_sync::version::Version;

/// What a check needs to see of a story.
fn shown(check: &impl Check, whats: Vec<PeerWhat>) -> Vec<PeerWhat> {
    let needs = check.property().needs;
    whats.into_iter().filter(|what| needs.contains(&what.kind())).collect()
}

fn passes(check: impl Check, whats: Vec<PeerWhat>) {
    let whats = shown(&check, whats);
    base::passes(check, whats);
}

fn decides_nothing(check: impl Check, whats: Vec<PeerWhat>) {
    let whats = shown(&check, whats);
    base::decides_nothing(check, whats);
}

fn fails(check: impl Check, whats: Vec<PeerWhat>, expected: &str) {
    let whats = shown(&check, whats);
    base::fails(check, whats, expected);
}

fn wrote(peer: u32, ticket: u64, us: u64, seen: Option<Version>) -> PeerWhat {
    committed(peer, ticket, ticket, vec![write(1, v(us, "w"), seen)])
}

fn deleted_it(peer: u32, ticket: u64, us: u64, seen: Option<Version>) -> PeerWhat {
    committed(peer, ticket, ticket, vec![delete(1, v(us, "w"), seen)])
}

fn sees(peer: u32, ticket: u64, us: u64) -> PeerWhat {
    read(peer, ticket, vec![Seen { version: None, ..saw(1, v(us, "w")) }])
}

fn sees_nothing(peer: u32, ticket: u64) -> PeerWhat {
    read(peer, ticket, vec![saw_nothing(1, None)])
}

fn end(peers: &[u32], us: u64) -> PeerWhat {
    ends(1, peers, lives(v(us, "w")))
}

/// Peer 0 writes, peer 1 sees that and writes after it, both are acknowledged.
fn story(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
    let mut story =
        vec![wrote(0, 1, 1, None), acknowledged(0, 1), wrote(1, 2, 2, Some(v(1, "w"))), acknowledged(1, 2)];
    story.extend(rest);
    story
}

/// The same with a heal at 10, and equality at `equal_us`.
fn healed(equal_us: u64, rest: Vec<PeerWhat>) -> Vec<Event> {
    let mut events: Vec<_> = story(Vec::new()).into_iter().map(|what| (1, What::Peer(what))).collect();
    events.push((10, What::Healed));
    events.push((equal_us, What::Peer(PeerWhat::Equal { bytes: 0 })));
    events.extend(rest.into_iter().map(|what| (9_000, What::Peer(what))));
    timed(events)
}

#[test]
fn p2_every_peer_shows_the_last_write_in_time() {
    let check = || Liveness::new(&terms());
    passes_at(check(), healed(1_010, vec![end(&[0, 1, 2], 2)]));
    fails_at(
        check(),
        healed(1_011, vec![end(&[0, 1, 2], 2)]),
        "all peers showed the same 1001 us after the heal",
    );
    fails_at(check(), healed(20, vec![end(&[0, 1], 2), end(&[2], 1)]), "peer 2 ends with content");
}

#[test]
fn p5_of_writes_that_do_not_know_each_other_either_may_win() {
    passes(NothingLost::new(), story(vec![end(&[0, 1, 2], 2)]));
    let aside = vec![wrote(2, 3, 3, None), acknowledged(2, 3)];
    for winner in [2, 3] {
        passes(NothingLost::new(), story([aside.clone(), vec![end(&[0, 1, 2], winner)]].concat()));
    }
    let lost = "the write of 1.2 was acknowledged; in the end peers show content";
    fails(NothingLost::new(), story(vec![end(&[0, 1, 2], 1)]), lost);
    fails(NothingLost::new(), story(vec![ends(1, &[0, 1, 2], None)]), "in the end peers show no row");
}

#[test]
fn p5_what_was_not_acknowledged_may_be_lost() {
    let indefinite =
        vec![wrote(0, 1, 1, None), PeerWhat::Indefinite { op: op(0, 1) }, ends(1, &[0, 1, 2], None)];
    decides_nothing(NothingLost::new(), indefinite);
}

#[test]
fn p6_what_nobody_wrote_is_a_phantom() {
    passes(NoPhantom::default(), story(vec![sees(2, 5, 1), sees_nothing(0, 6), end(&[0, 1, 2], 2)]));
    fails(NoPhantom::default(), story(vec![sees(2, 5, 7)]), "which nobody wrote");
    fails(NoPhantom::default(), story(vec![end(&[2], 7)]), "peer 2 ends with");
}

#[test]
fn p7_what_a_delete_knew_does_not_come_back() {
    let dead = |rest: Vec<PeerWhat>| story([vec![deleted_it(0, 7, 3, Some(v(2, "w")))], rest].concat());
    passes(NoResurrection::new(), dead(vec![ends(1, &[0, 1, 2], None)]));
    passes(NoResurrection::new(), dead(vec![wrote(2, 8, 8, None), end(&[0, 1, 2], 8)]));
    fails(NoResurrection::new(), dead(vec![end(&[0, 1, 2], 2)]), "which precedes the delete of 0.7");
    fails(NoResurrection::new(), dead(vec![sees(0, 9, 1)]), "which precedes the delete of 0.7, known there");
    passes(NoResurrection::new(), dead(vec![sees(1, 9, 2), ends(1, &[0, 1, 2], None)]));
}

#[test]
fn p8_rows_deleted_and_written_end_alike() {
    let both = |rest: Vec<PeerWhat>| story([vec![deleted_it(0, 7, 3, None)], rest].concat());
    passes(DeleteSymmetry::new(), both(vec![end(&[0, 1, 2], 2)]));
    fails(DeleteSymmetry::new(), both(vec![end(&[0, 1], 2), ends(1, &[2], None)]), "peer 2 with no row");
    assert_eq!(basis(DeleteSymmetry::new(), story(vec![end(&[0, 1, 2], 2)])), 0);
}

#[test]
fn p9_a_session_does_not_go_back() {
    passes(MonotonicReads::default(), story(vec![sees(2, 5, 1), sees(2, 6, 2)]));
    fails(MonotonicReads::default(), story(vec![sees(2, 5, 2), sees(2, 6, 1)]), "had seen the write of 1.2");
    fails(
        MonotonicReads::default(),
        story(vec![sees(2, 5, 2), sees_nothing(2, 6)]),
        "sees users(1) with no row",
    );
}

#[test]
fn p10_a_session_sees_what_it_wrote() {
    passes(OwnWrites::default(), story(vec![wrote(2, 3, 3, None), sees(2, 5, 3), sees(1, 6, 3)]));
    fails(OwnWrites::default(), story(vec![sees(1, 5, 1)]), "had made the write of 1.2");
}

#[test]
fn p11_of_one_writer_no_earlier_write_is_seen_after_a_later_one() {
    let two = |rest: Vec<PeerWhat>| story([vec![wrote(1, 4, 4, Some(v(2, "w")))], rest].concat());
    passes(KeyOrder::default(), two(vec![sees(2, 5, 2), sees(2, 6, 4)]));
    fails(KeyOrder::default(), two(vec![sees(2, 5, 4), sees(2, 6, 2)]), "a peer that had shown its 2.");
}

#[test]
fn p14_a_write_takes_effect_once() {
    let check = ExactlyOnce::default;
    passes(check(), story(vec![sees(2, 5, 1), sees(2, 6, 2), sees(2, 7, 2)]));
    fails(
        check(),
        story(vec![sees(2, 5, 1), sees(2, 6, 2), sees(2, 7, 1)]),
        "the write of 0.1 to users(1) again at peer 2",
    );
    fails(check(), story(vec![wrote(1, 2, 9, None)]), "transaction 1.2 committed again");
}

#[test]
fn p16_who_sees_a_part_sees_the_whole() {
    let batch =
        committed(0, 4, 4, vec![write(1, v(5, "b"), Some(v(2, "w"))), write(2, v(6, "b"), Some(v(3, "o")))]);
    let pair = |one: Version, two: Version| {
        let seen = |key, version| Seen { version: None, ..saw(key, version) };
        vec![
            committed(1, 3, 3, vec![write(2, v(3, "o"), None)]),
            batch.clone(),
            read(2, 9, vec![seen(1, one), seen(2, two)]),
        ]
    };
    passes(AtomicBatches::default(), story(pair(v(5, "b"), v(6, "b"))));
    decides_nothing(AtomicBatches::default(), story(pair(v(2, "w"), v(3, "o"))));
    fails(
        AtomicBatches::default(),
        story(pair(v(5, "b"), v(3, "o"))),
        "0.4 wrote to users(1), and users(2) with content",
    );
}
