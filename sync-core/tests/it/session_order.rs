//! In which order a host's session sends, what it leaves out, and what it does when its queue is full.
//!
//! The steps and words are those of `session.rs`.

use sync_core::host_sync::operation::Ask;
use sync_core::host_sync::settings::SessionSettings;
use sync_core::wire::Kind;

use crate::support::host::{
    Answer::{Busy, Done},
    Host, Step,
};
use crate::support::{AskExt, event, read, write};

use Step::{Answer as Answered, Ask as Asked, Wait};

/// One worker and one critical slot.
fn narrow() -> Host {
    Host::new(SessionSettings { workers: 1, critical_slots: 1, ..SessionSettings::default() })
}

/// One worker that is busy with ticket 0 on a map of its own, and room for so many to wait.
fn busy(queue_max: usize) -> Host {
    let settings = SessionSettings { workers: 1, critical_slots: 0, queue_max, ..SessionSettings::default() };
    let mut host = Host::new(settings);
    host.check(Asked(event(0).on("busy")), "accepted 0, send 0.1");
    host
}

// One (map, type)

#[test]
fn operations_on_one_map_and_type_go_one_after_another_in_the_order_of_the_asking() {
    let mut host = Host::new(SessionSettings::default());
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Asked(event(2)), "accepted 2");
    host.check(Asked(event(3)), "accepted 3");
    host.check(Asked(event(4).on("other")), "accepted 4, send 4.1");
    host.check(Asked(write(5)), "accepted 5, send 5.1");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    host.check(Answered(2, 1, Done), "2 done, send 3.1");
    let sequence = |ticket| host.request(ticket, 1).request.sequence;
    assert_eq!([1, 2, 3].map(sequence), [1, 2, 3]);
    assert_eq!([4, 5].map(sequence), [1, 1]);
}

#[test]
fn a_read_waits_for_the_write_before_it() {
    let mut host = Host::new(SessionSettings::default());
    host.check(Asked(write(1)), "accepted 1, send 1.1");
    host.check(Asked(read(2)), "accepted 2");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
}

#[test]
fn earlier_events_go_up_with_a_critical_one_that_must_not_overtake_them() {
    let mut host = busy(10);
    for ask in [event(1).on("other"), event(2), event(3).priority(), event(4).critical()] {
        host.does(Asked(ask));
    }
    for (ended, next) in [(0, 2), (2, 3), (3, 4), (4, 1)] {
        host.check(Answered(ended, 1, Done), &format!("{ended} done, send {next}.1"));
    }
}

#[test]
fn an_operation_that_went_up_is_still_not_critical() {
    let mut host = busy(10);
    host.does(Asked(event(1)));
    host.does(Asked(event(2).critical()));
    host.check(Wait(500), "2 deadline");
    host.check(Answered(0, 1, Done), "0 done, send 1.1");
    assert!(!host.request(1, 1).request.critical);
}

// Superseding

#[test]
fn a_write_supersedes_the_one_that_waits_and_never_the_one_that_was_sent() {
    let mut host = narrow();
    host.check(Asked(write(1)), "accepted 1, send 1.1");
    host.check(Asked(write(2)), "accepted 2");
    host.check(Asked(write(3)), "2 superseded, accepted 3");
    host.check(Answered(1, 1, Done), "1 done, send 3.1");
    assert_eq!(host.request(3, 1).request.sequence, 3);
}

#[test]
fn events_are_never_superseded() {
    let mut host = narrow();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Asked(event(2)), "accepted 2");
    host.check(Asked(event(3)), "accepted 3");
}

#[test]
fn a_more_urgent_write_supersedes_and_a_less_urgent_one_does_not() {
    let mut host = busy(10);
    host.check(Asked(write(1)), "accepted 1");
    host.check(Asked(write(2).critical()), "1 superseded, accepted 2");
    host.check(Asked(write(3)), "accepted 3");
    host.check(Answered(0, 1, Done), "0 done, send 2.1");
    host.check(Answered(2, 1, Done), "2 done, send 3.1");
}

#[test]
fn a_write_that_a_waiting_read_was_asked_after_is_not_superseded() {
    let mut host = busy(10);
    host.check(Asked(write(1)), "accepted 1");
    host.check(Asked(read(2)), "accepted 2");
    host.check(Asked(write(3)), "accepted 3");
    host.check(Asked(write(4)), "3 superseded, accepted 4");
    for (ended, next) in [(0, 1), (1, 2), (2, 4)] {
        host.check(Answered(ended, 1, Done), &format!("{ended} done, send {next}.1"));
    }
}

#[test]
fn a_state_that_changes_faster_than_its_turn_comes_still_gets_its_turn() {
    for urgent in [false, true] {
        let lane = |ask: sync_core::host_sync::operation::Ask| if urgent { ask.priority() } else { ask };
        let mut host = busy(10);
        host.check(Asked(lane(write(1))), "accepted 1");
        for ticket in 2..6 {
            host.check(
                Asked(lane(event(10 + ticket).on(&format!("m{ticket}")))),
                &format!("accepted {}", 10 + ticket),
            );
            host.check(Asked(lane(write(ticket))), &format!("{} superseded, accepted {ticket}", ticket - 1));
        }
        host.check(Answered(0, 1, Done), "0 done, send 5.1");
    }
}

// Overflow

#[test]
fn a_full_queue_refuses_normal_work() {
    let mut host = busy(1);
    host.check(Asked(event(1).on("a")), "accepted 1");
    host.check(Asked(event(2).on("b")), "refused 2: full");
    assert_eq!(host.session.waiting(), 1);
}

#[test]
fn priority_displaces_the_newest_normal_operation_else_it_is_refused() {
    let mut host = busy(2);
    host.check(Asked(event(1).on("a")), "accepted 1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Asked(event(3).on("c").priority()), "accepted 3, 2 displaced");
    host.check(Asked(event(4).on("d").priority()), "accepted 4, 1 displaced");
    host.check(Asked(event(5).on("e").priority()), "refused 5: full");
}

#[test]
fn critical_displaces_normal_then_priority_else_it_is_refused() {
    let mut host = busy(2);
    host.check(Asked(event(1).on("a").priority()), "accepted 1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Asked(event(3).on("c").critical()), "accepted 3, 2 displaced");
    host.check(Asked(event(4).on("d").critical()), "accepted 4, 1 displaced");
    host.check(Asked(event(5).on("e").critical()), "refused 5: full");
    assert_eq!(host.session.counters().refused, 1);
}

#[test]
fn a_write_that_supersedes_needs_no_room() {
    let mut host = busy(1);
    host.check(Asked(write(1)), "accepted 1");
    host.check(Asked(write(2)), "1 superseded, accepted 2");
}

#[test]
fn a_refused_operation_uses_up_no_number_and_moves_nothing() {
    let mut host = busy(1);
    host.check(Asked(event(1).on("a").critical()), "accepted 1");
    host.check(Asked(event(2).critical()), "refused 2: full");
    host.check(Answered(0, 1, Done), "0 done, send 1.1");
    host.check(Answered(1, 1, Done), "1 done");
    host.check(Asked(event(3)), "accepted 3, send 3.1");
    assert_eq!(host.request(3, 1).request.sequence, 1);
    assert_eq!(host.operations[&3].counter, 3);
}

#[test]
fn critical_displaces_also_what_waits_on_its_own_map_and_type() {
    let mut host = busy(2);
    host.check(Asked(event(1)), "accepted 1");
    host.check(Asked(event(2)), "accepted 2");
    host.check(Asked(event(3).critical()), "accepted 3, 2 displaced");
    host.check(Answered(0, 1, Done), "0 done, send 1.1");
    host.check(Answered(1, 1, Done), "1 done, send 3.1");
}

#[test]
fn one_busy_map_and_type_does_not_hold_up_the_others() {
    let mut host = Host::new(SessionSettings { workers: 2, ..SessionSettings::default() });
    host.check(Asked(event(1).on("hot")), "accepted 1, send 1.1");
    for ticket in 2..500 {
        host.check(Asked(event(ticket).on("hot")), &format!("accepted {ticket}"));
    }
    host.check(Asked(event(500).on("cold")), "accepted 500, send 500.1");
    host.check(Asked(event(501).on("cold")), "accepted 501");
    host.check(Answered(500, 1, Done), "500 done, send 501.1");
}

/// In quadratic time this would take minutes.
#[test]
fn a_hundred_thousand_on_one_key_and_as_many_critical_ones_behind_them_are_no_burden() {
    let count = 100_000;
    let mut host = Host::new(SessionSettings {
        workers: 1,
        critical_slots: 1,
        queue_max: 4 * count as usize,
        ..SessionSettings::default()
    });
    for ticket in 0..count {
        host.does(Asked(event(ticket)));
    }
    for ticket in count..2 * count {
        host.does(Asked(event(ticket).critical()));
    }
    for ticket in 0..1_000 {
        host.check(Answered(ticket, 1, Done), &format!("{ticket} done, send {}.1", ticket + 1));
    }
    assert_eq!(host.session.waiting() as u64, 2 * count - 1_001);
}

// Batches

/// What waits travels together once a worker is free, priority first, one operation of a key at a time; the slot is free
/// again when all of them have ended, and what failed together is tried again together.
#[test]
fn what_waits_travels_in_one_request() {
    let settings =
        SessionSettings { workers: 1, critical_slots: 0, batch_max: 3, ..SessionSettings::default() };
    let mut host = Host::new(settings);
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    for (ticket, map) in [(2, "b"), (3, "b"), (4, "c"), (6, "e")] {
        host.does(Asked(event(ticket).on(map)));
    }
    host.does(Asked(event(5).on("d").priority()));
    host.check(Answered(1, 1, Done), "1 done, send 5.1, with it 2.1, with it 4.1");
    host.check(Answered(2, 1, Done), "2 done");
    host.check(Answered(4, 1, Busy(503, 0)), "");
    host.check(Answered(5, 1, Busy(503, 0)), "");
    host.check(Wait(50), "send 5.2, with it 4.2");
    host.check(Answered(5, 2, Done), "5 done");
    // A critical operation travels alone.
    host.check(Asked(event(7).on("f").critical()), "accepted 7");
    host.check(Answered(4, 2, Done), "4 done, send 7.1");
    host.check(Answered(7, 1, Done), "7 done, send 3.1, with it 6.1");
}

/// Its answer may take seconds, and those of one request come together.
#[test]
fn a_subscribe_shares_no_request() {
    let settings =
        SessionSettings { workers: 1, critical_slots: 0, batch_max: 3, ..SessionSettings::default() };
    let mut host = Host::new(settings);
    let poll = |ticket: u64, map: &str| Ask { kind: Kind::Subscribe, ..event(ticket).on(map) };
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    for ask in [event(2).on("b"), poll(3, "c"), event(4).on("d"), event(5).on("e")] {
        host.does(Asked(ask));
    }
    // It is not overtaken by what comes after it, either.
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    host.check(Answered(2, 1, Done), "2 done, send 3.1");
    host.check(Answered(3, 1, Done), "3 done, send 4.1, with it 5.1");
}
