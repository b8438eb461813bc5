//! What a host's session promises, one behaviour a test.
//!
//! A line of a test is a step and what the session does at once: `accepted 1`, `send 1.2` (second
//! attempt at ticket 1), `1 done`, `1 late true` and so on; see `support/host.rs`. Unless a test says
//! otherwise, a critical operation has 500 ms, one attempt at it 125 ms, one attempt at another
//! operation 10 s, and back-offs are 50, 100, 200 ms.

use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine as _;
use sync_core::host_sync::operation::{Ask, Outcome, TransportError};
use sync_core::host_sync::results::Status;
use sync_core::host_sync::session::Overview;
use sync_core::host_sync::settings::SessionSettings;
use sync_core::id::OperationId;
use sync_core::limits;
use sync_core::time::{Instant, Span};
use sync_core::wire::{ErrorCode, Kind};

use crate::support::host::{ACCOUNT, Answer, Host, Step};
use crate::support::{AskExt, at_ms, event, read, write};

use Answer::{Busy, Done, Payload, Rejected, Untrusted};
use Step::{Answer as Answered, Ask as Asked, ShutDown, Sleep, Wait};

/// One worker and one critical slot.
fn narrow() -> SessionSettings {
    SessionSettings { workers: 1, critical_slots: 1, ..SessionSettings::default() }
}

fn wide() -> Host {
    Host::new(SessionSettings::default())
}

fn unreachable() -> Answer {
    Answer::Error(TransportError::Unreachable)
}

// Deadlines

#[test]
fn the_deadline_of_a_critical_operation_counts_from_the_asking_also_while_it_waits() {
    let mut host = Host::new(SessionSettings { workers: 1, critical_slots: 0, ..SessionSettings::default() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Wait(100), "");
    host.check(Asked(event(2).on("b").critical()), "accepted 2");
    host.check(Wait(499), "");
    host.check(Wait(1), "2 deadline");
}

#[test]
fn the_deadline_does_not_start_anew_when_the_operation_is_sent() {
    let mut host = Host::new(SessionSettings { workers: 1, critical_slots: 0, ..SessionSettings::default() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b").critical()), "accepted 2");
    host.check(Wait(450), "");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    host.check(Wait(49), "");
    host.check(Wait(1), "2 deadline");
}

#[test]
fn a_reply_after_the_deadline_is_late_and_never_success() {
    for (answer, late) in [(Done, "1 late true"), (Rejected(ErrorCode::Unsupported), "1 late false")] {
        let mut host = wide();
        host.check(Asked(event(1).critical()), "accepted 1, send 1.1");
        host.check(Wait(500), "send 1.2, send 1.3, 1 deadline");
        host.check(Answered(1, 1, answer), late);
        host.check_status(1, Status::Done(&Outcome::DeadlineExceeded));
    }
}

#[test]
fn a_reply_just_before_the_deadline_is_success_and_one_exactly_at_it_is_not() {
    let mut host = wide();
    host.check(Asked(event(1).critical()), "accepted 1, send 1.1");
    host.check(Wait(499), "send 1.2, send 1.3");
    host.check(Answered(1, 3, Done), "1 done");

    let mut host = wide();
    host.check(Asked(event(1).critical()), "accepted 1, send 1.1");
    host.check(Sleep(500), "");
    host.check(Answered(1, 1, Done), "1 deadline, 1 late true");
}

#[test]
fn a_driver_that_wakes_too_late_turns_nothing_into_success() {
    let mut host = wide();
    host.check(Asked(event(1).critical()), "accepted 1, send 1.1");
    host.check(Sleep(5_000), "");
    host.check(Wait(0), "1 deadline");
    host.check(Answered(1, 1, Done), "1 late true");
}

#[test]
fn an_operation_that_is_not_critical_has_no_deadline() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(9_999), "");
    host.check(Answered(1, 1, Payload("1")), "1 done 1");
}

#[test]
fn a_type_in_critical_data_types_is_critical_however_it_was_asked_for() {
    let critical_types = [SyncDataType::ChatMessage].into_iter().collect();
    let mut host = Host::new(SessionSettings { critical_types, ..SessionSettings::default() });
    host.does(Asked(event(1)));
    assert!(host.request(1, 1).request.critical);
    host.check(Wait(500), "send 1.2, send 1.3, 1 deadline");
    host.does(Asked(write(2)));
    assert!(!host.request(2, 1).request.critical);
}

// Attempts

#[test]
fn retries_keep_the_id_and_the_sequence_and_are_sealed_afresh() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, unreachable()), "");
    host.check(Wait(50), "send 1.2");
    let (first, second) = (host.request(1, 1), host.request(1, 2));
    assert_eq!(first.request.operation, second.request.operation);
    assert_eq!(first.request.sequence, second.request.sequence);
    assert_eq!(first.request.timestamp, at_ms(0).wall);
    assert_eq!(second.request.timestamp, at_ms(50).wall);
    assert_ne!(first.iv, second.iv);
}

#[test]
fn back_off_grows() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    for (attempt, pause_ms) in [(1, 50), (2, 100), (3, 200), (4, 400)] {
        host.check(Answered(1, attempt, unreachable()), "");
        host.check(Wait(pause_ms - 1), "");
        host.check(Wait(1), &format!("send 1.{}", attempt + 1));
    }
}

#[test]
fn an_attempt_without_an_answer_is_given_up() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(10_049), "");
    host.check(Wait(1), "send 1.2");
}

#[test]
fn a_reply_to_an_earlier_attempt_counts() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(10_050), "send 1.2");
    host.check(Answered(1, 1, Done), "1 done");
    host.check(Answered(1, 2, Done), "");
}

#[test]
fn the_failure_of_an_attempt_that_was_given_up_changes_nothing() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(10_040), "");
    host.check(Answered(1, 1, unreachable()), "");
    host.check(Wait(9), "");
    host.check(Wait(1), "send 1.2");
    host.check(Answered(1, 1, unreachable()), "");
    host.check(Wait(9_999), "");
    host.check(Answered(1, 2, Done), "1 done");
}

#[test]
fn retry_after_is_respected_where_it_is_longer_than_the_back_off() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, Busy(429, 3_000)), "");
    host.check(Wait(2_999), "");
    host.check(Wait(1), "send 1.2");
    host.check(Answered(1, 2, Busy(503, 10)), "");
    host.check(Wait(99), "");
    host.check(Wait(1), "send 1.3");
}

#[test]
fn a_critical_operation_is_not_tried_again_past_its_deadline() {
    let mut host = wide();
    host.check(Asked(event(1).critical()), "accepted 1, send 1.1");
    host.check(Answered(1, 1, Busy(429, 500)), "");
    host.check(Wait(499), "");
    host.check(Wait(1), "1 deadline");
}

#[test]
fn an_operation_that_a_critical_one_waits_for_is_tried_again_as_if_it_were_critical() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(100), "");
    host.check(Asked(event(2).critical()), "accepted 2");
    // The first attempt was lost 100 ms ago: given up after 125 ms in all, tried again 50 ms later.
    host.check(Wait(74), "");
    host.check(Wait(1), "send 1.2");
    assert!(!host.request(1, 2).request.critical);
    host.check(Answered(1, 2, Done), "1 done, send 2.1");
}

#[test]
fn the_haste_ends_with_the_deadline_that_it_came_from_and_costs_no_attempts() {
    let settings = SessionSettings { attempts_max: 3, ..SessionSettings::default() };
    let mut host = Host::new(settings);
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Asked(event(2).critical()), "accepted 2");
    host.check(Wait(500), "send 1.2, send 1.3, 2 deadline");
    // 1.3 was still made in haste: 125 ms and a pause.
    host.check(Wait(250), "send 1.4");
    host.check(Wait(9_999), "");
    host.check(Wait(20_000), "send 1.5, 1 failed TimedOut");
}

#[test]
fn one_that_went_up_with_a_critical_operation_is_in_haste_as_well() {
    let mut host = Host::new(SessionSettings { workers: 1, critical_slots: 1, ..SessionSettings::default() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Asked(event(3).on("b").critical()), "accepted 3, send 2.1");
    host.check(Wait(175), "send 2.2");
    host.check(Answered(2, 2, Done), "2 done, send 3.1");
}

#[test]
fn haste_shortens_a_pause_but_not_what_the_server_asked_for() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    for (attempt, pause_ms) in [(1, 50), (2, 100), (3, 200)] {
        host.check(Answered(1, attempt, unreachable()), "");
        host.check(Wait(pause_ms), &format!("send 1.{}", attempt + 1));
    }
    host.check(Answered(1, 4, unreachable()), "");
    host.check(Asked(event(2).critical()), "accepted 2");
    host.check(Wait(49), "");
    host.check(Wait(1), "send 1.5");
    host.check(Answered(1, 5, Busy(429, 300)), "");
    host.check(Asked(event(3).critical()), "accepted 3");
    host.check(Wait(299), "");
    host.check(Wait(1), "send 1.6");
}

#[test]
fn retries_that_fresh_work_does_not_pay_for_are_put_off() {
    let settings = SessionSettings { workers: 20, attempts_max: 100, ..SessionSettings::default() };
    let mut host = Host::new(settings);
    for ticket in 0..20 {
        let map = format!("m{ticket}");
        host.check(Asked(event(ticket).on(&map)), &format!("accepted {ticket}, send {ticket}.1"));
    }
    for ticket in 0..20 {
        host.check(Answered(ticket, 1, unreachable()), "");
    }
    // Saved: 10. Paid for by 20 first attempts: 4, but nothing is saved beyond the bound. The rest wait for time.
    let at_once: Vec<_> = (0..11).map(|ticket| format!("send {ticket}.2")).collect();
    host.check(Wait(50), &at_once.join(", "));
    host.check(Wait(199), "");
    host.check(Wait(1), "send 11.2");
    host.check(Wait(200), "send 12.2");
}

#[test]
fn a_request_that_is_too_large_ends_at_once() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    let too_large = Answer::Error(TransportError::Status(413));
    host.check(Answered(1, 1, too_large), "1 failed Status(413)");
}

#[test]
fn data_larger_than_any_server_takes_is_refused() {
    let mut host = wide();
    let ask = |bytes| Ask { data: "1".repeat(bytes).into(), ..event(1) };
    host.check(Asked(ask(limits::DATA_BYTES_MAX + 1)), "refused 1: too large");
    host.check(Asked(ask(limits::DATA_BYTES_MAX)), "accepted 1, send 1.1");
}

#[test]
fn an_operation_that_is_not_critical_fails_after_attempts_max() {
    let mut host = Host::new(SessionSettings { attempts_max: 2, ..SessionSettings::default() });
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Wait(10_050), "send 1.2");
    host.check(Wait(9_999), "");
    host.check(Wait(1), "1 failed TimedOut");
    host.check(Answered(1, 2, Done), "1 late true");
}

#[test]
fn attempts_beyond_what_a_token_counts_still_end() {
    let mut host = Host::new(SessionSettings { attempts_max: u32::MAX, ..SessionSettings::default() });
    host.does(Asked(event(1)));
    host.does(Wait(100 * 3_600_000));
    host.check_status(1, Status::Done(&Outcome::Failed(TransportError::TimedOut)));
}

/// Somebody may have sent a recorded copy of the request once it was stale, and withheld the answer to the first.
#[test]
fn a_stale_time_is_a_failed_attempt_and_not_the_end() {
    let stale = || Rejected(ErrorCode::StaleTimestamp);
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, stale()), "");
    host.check(Wait(50), "send 1.2");
    let times = [1, 2].map(|attempt| host.request(1, attempt).request.timestamp);
    assert!(times[0] < times[1], "{times:?}");
    // Of an attempt that is over already it says nothing at all.
    host.check(Answered(1, 1, stale()), "");
    host.check(Answered(1, 2, Done), "1 done");
    // Nor of an operation that has ended.
    host.check(Asked(event(2).critical()), "accepted 2, send 2.1");
    host.check(Wait(500), "send 2.2, send 2.3, 2 deadline");
    host.check(Answered(2, 1, stale()), "");
}

#[test]
fn a_clock_that_is_wrong_ends_an_operation_as_failed_which_leaves_open_whether_it_took_effect() {
    for ask in [event(1), event(1).critical()] {
        let mut host = wide();
        host.check(Asked(ask), "accepted 1, send 1.1");
        host.check(Answered(1, 1, Rejected(ErrorCode::StaleTimestamp)), "");
        host.check(Wait(50), "send 1.2");
        host.check(Answered(1, 2, Rejected(ErrorCode::StaleTimestamp)), "");
        host.check(Wait(100), "send 1.3");
        host.check(Answered(1, 3, Rejected(ErrorCode::StaleTimestamp)), "1 failed Stale");
    }
}

#[test]
fn a_reply_that_is_not_authentic_is_thrown_away_and_the_attempt_made_again() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, Untrusted), "untrusted");
    host.check(Wait(50), "send 1.2");
    host.check(Answered(1, 2, Done), "1 done");
    host.check(Answered(1, 1, Untrusted), "untrusted");
}

#[test]
fn a_rejection_is_a_result() {
    let mut host = wide();
    host.check(Asked(event(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, Rejected(ErrorCode::MalformedData)), "1 rejected malformed_data");
}

#[test]
fn a_state_that_came_out_of_order_was_superseded_and_an_event_was_rejected() {
    let mut host = wide();
    host.check(Asked(write(1)), "accepted 1, send 1.1");
    host.check(Answered(1, 1, Rejected(ErrorCode::OutOfOrder)), "1 superseded");
    host.check(Asked(event(2)), "accepted 2, send 2.1");
    host.check(Answered(2, 1, Rejected(ErrorCode::OutOfOrder)), "2 rejected out_of_order");
}

#[test]
fn a_second_reply_is_not_late() {
    let mut host = wide();
    for (ticket, answer) in
        [(1, Done), (2, Rejected(ErrorCode::Unsupported)), (3, Rejected(ErrorCode::OutOfOrder))]
    {
        host.does(Asked(write(ticket)));
        host.does(Answered(ticket, 1, answer.clone()));
        host.check(Answered(ticket, 1, answer), "");
    }
}

// Slots

#[test]
fn work_that_is_not_critical_never_takes_a_critical_slot() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b").priority()), "accepted 2");
    host.check(Asked(event(3).on("c")), "accepted 3");
    host.check(Asked(event(4).on("d").critical()), "accepted 4, send 4.1");
    host.check(Answered(4, 1, Done), "4 done");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
}

#[test]
fn critical_work_takes_its_own_slot_first_and_then_a_free_worker() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a").critical()), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2, send 2.1");
    host.check(Answered(2, 1, Done), "2 done");
    host.check(Asked(event(3).on("c").critical()), "accepted 3, send 3.1");
    host.check(Asked(event(4).on("d").critical()), "accepted 4");
    host.check(Asked(event(5).on("e")), "accepted 5");
    host.check(Answered(3, 1, Done), "3 done, send 4.1");
}

#[test]
fn an_operation_keeps_its_slot_while_it_backs_off() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Answered(1, 1, unreachable()), "");
    host.check(Wait(50), "send 1.2");
    host.check(Answered(1, 2, Done), "1 done, send 2.1");
}

#[test]
fn lanes_go_critical_then_priority_then_normal_each_in_order_of_asking() {
    let mut host = Host::new(SessionSettings { workers: 1, critical_slots: 0, ..SessionSettings::default() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    for ask in [
        event(2).on("b"),
        event(3).on("c"),
        event(4).on("d").priority(),
        event(5).on("e").priority(),
        event(6).on("f").critical(),
    ] {
        let expected = format!("accepted {}", ask.ticket);
        host.check(Asked(ask), &expected);
    }
    for (ended, next) in [(1, 6), (6, 4), (4, 5), (5, 2), (2, 3)] {
        host.check(Answered(ended, 1, Done), &format!("{ended} done, send {next}.1"));
    }
}

// Results

#[test]
fn a_result_is_pending_then_done_then_expired_and_another_id_is_unknown() {
    let settings = SessionSettings { result_retention: Span::from_secs(60), ..SessionSettings::default() };
    let mut host = Host::new(settings);
    host.does(Asked(event(1)));
    host.check_status(1, Status::Pending);
    host.does(Answered(1, 1, Payload("1")));
    host.check_status(1, Status::Done(&Outcome::Done(Some("1".into()))));
    host.does(Wait(60_000));
    host.does(Asked(event(2)));
    host.check_status(1, Status::Done(&Outcome::Done(Some("1".into()))));
    host.does(Wait(1));
    host.does(Asked(event(3)));
    host.check_status(1, Status::Expired);

    let known = host.operations[&1];
    let check = |id: OperationId| assert_eq!(host.session.status(id), Status::Unknown, "{id}");
    check(OperationId { counter: 0, ..known });
    check(OperationId { counter: 4, ..known });
    check(OperationId { account: sync_core::id::AccountId(ACCOUNT.0 + 1), ..known });
    check(OperationId { incarnation: sync_core::id::Incarnation(known.incarnation.0 ^ 1), ..known });
}

#[test]
fn only_the_latest_results_are_remembered() {
    let mut host = Host::new(SessionSettings { results_kept: 1, ..SessionSettings::default() });
    for ticket in [1, 2] {
        host.does(Asked(event(ticket)));
        host.does(Answered(ticket, 1, Done));
    }
    host.check_status(1, Status::Expired);
    host.check_status(2, Status::Done(&Outcome::Done(None)));
}

// Shutdown

#[test]
fn shutting_down_lets_what_was_accepted_end_and_accepts_nothing_new() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(ShutDown(5_000), "");
    host.check(Asked(event(3).critical()), "refused 3: shutting down");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    host.check(Answered(2, 1, Done), "2 done, stopped, 0 cut");
    host.check(Wait(10_000), "");
    host.check(Asked(event(4)), "refused 4: shutting down");
}

#[test]
fn what_has_not_ended_when_the_drain_ends_is_cut_short_and_counted() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(ShutDown(5_000), "");
    host.check(Wait(4_999), "");
    host.check(Wait(1), "1 cut short, 2 never sent, stopped, 2 cut");
    host.check(Answered(1, 1, Done), "1 late true");
    host.check(Wait(60_000), "");
}

#[test]
fn a_drain_of_zero_cuts_at_once() {
    let mut host = Host::new(narrow());
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(ShutDown(0), "1 cut short, 2 never sent, stopped, 2 cut");
    host.check(ShutDown(0), "");
}

#[test]
fn an_idle_session_stops_at_once() {
    let mut host = wide();
    host.check(ShutDown(5_000), "stopped, 0 cut");
    host.check(ShutDown(0), "");
}

#[test]
fn a_second_shut_down_may_shorten_the_drain_and_never_lengthens_it() {
    let mut host = wide();
    host.does(Asked(event(1)));
    host.check(ShutDown(5_000), "");
    host.check(ShutDown(9_000), "");
    host.check(ShutDown(1_000), "");
    host.check(Wait(1_000), "1 cut short, stopped, 1 cut");
}

// Wake-ups

#[test]
fn an_idle_session_asks_for_no_wake_up() {
    let mut host = wide();
    assert_eq!(host.session.next_wakeup(), None);
    host.does(Asked(event(1).critical()));
    host.does(Answered(1, 1, Done));
    assert_eq!(host.session.next_wakeup(), None);
}

#[test]
fn the_next_wake_up_is_the_earliest_of_what_is_due() {
    let mut host = Host::new(narrow());
    let check = |host: &Host, ms: u64| {
        assert_eq!(host.session.next_wakeup(), Some(Instant::from_us(ms * 1_000)));
    };
    host.does(Asked(event(1).on("a")));
    check(&host, 10_000);
    host.does(Asked(event(2).on("b").critical()));
    check(&host, 125);
    host.does(Asked(event(3).on("c").critical()));
    host.does(Answered(2, 1, Busy(429, 499)));
    check(&host, 499);
    host.does(Wait(499));
    check(&host, 500);
}

#[test]
fn a_write_a_read_and_a_write_of_one_state_are_three_sequences() {
    let mut host = wide();
    host.does(Asked(write(1)));
    host.does(Answered(1, 1, Done));
    host.does(Asked(read(2)));
    host.does(Answered(2, 1, Payload("1")));
    host.does(Asked(write(3)));
    let sequences: Vec<_> = (1..=3).map(|ticket| host.request(ticket, 1).request.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

// Overview

#[test]
fn an_overview_says_what_waits_and_what_is_under_way_and_travels_as_json() {
    let mut host = Host::new(narrow());
    for ask in [event(1).on("a"), event(2).on("b"), event(3).on("c").priority(), event(4).on("d").critical()]
    {
        host.does(Asked(ask));
    }
    let overview = host.session.overview();
    assert_eq!((overview.account, overview.under_way), (ACCOUNT, 2));
    assert_eq!((overview.workers_busy, overview.critical_slots_busy), (1, 1));
    assert_eq!((overview.waiting.normal, overview.waiting.priority, overview.waiting.critical), (1, 1, 0));
    assert_eq!((overview.counters.accepted, overview.is_shutting_down), (4, false));
    let json = serde_json::to_string(&overview).expect("plain data");
    assert_eq!(serde_json::from_str::<Overview>(&json).expect("what was written"), overview);
    host.does(ShutDown(1_000));
    assert!(host.session.overview().is_shutting_down);
}

// Reports

fn report(ticket: u64) -> Ask {
    Ask { kind: Kind::Report, data_type: SyncDataType::HostMetrics, ..event(ticket).on("") }
}

#[test]
fn a_report_waits_for_no_other_work_and_is_never_refused_for_a_full_queue() {
    let mut host = Host::new(SessionSettings { queue_max: 1, ..narrow() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Asked(event(3).on("c")), "refused 3: full");
    host.check(Asked(report(4)), "accepted 4, send 4.1");
    assert_eq!((host.session.waiting(), host.session.under_way()), (1, 2));
    host.check(Asked(report(5)), "accepted 5");
    host.check(Asked(report(6)), "5 superseded, accepted 6");
    host.check(Answered(4, 1, Payload("{}")), "4 done {}, send 6.1");
    host.check(Answered(6, 1, Done), "6 done");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    // It does not keep others of its map and type waiting, nor they it.
    host.check(Answered(2, 1, Done), "2 done");
    let metrics = Ask { data_type: SyncDataType::HostMetrics, ..event(8).on("") };
    host.check(Asked(metrics), "accepted 8, send 8.1");
    host.check(Asked(report(9)), "accepted 9, send 9.1");
    assert!(host.request(9, 1).request.sequence > host.request(8, 1).request.sequence);
    host.check(Answered(9, 1, unreachable()), "");
    host.check(Asked(report(10)), "accepted 10");
    host.check(Wait(50), "send 9.2");
    host.check(ShutDown(0), "8 cut short, 9 cut short, 10 never sent, stopped, 3 cut");
}

#[test]
fn a_report_that_waits_is_sent_when_the_one_before_it_has_failed_for_good() {
    let mut host = Host::new(SessionSettings { attempts_max: 1, ..narrow() });
    host.check(Asked(report(1)), "accepted 1, send 1.1");
    host.check(Asked(report(2)), "accepted 2");
    host.check(Answered(1, 1, unreachable()), "1 failed Unreachable, send 2.1");
    host.check(ShutDown(100), "");
    host.check(Answered(2, 1, Done), "2 done, stopped, 0 cut");
}

#[test]
fn what_may_take_long_shares_no_request() {
    let mut host = Host::new(SessionSettings { batch_max: 8, ..narrow() });
    host.check(Asked(event(1).on("a")), "accepted 1, send 1.1");
    let vector = SyncDataType::VectorEmbedding;
    host.check(Asked(event(2).on("b")), "accepted 2");
    host.check(Asked(Ask { data_type: vector, ..event(3).on("c") }), "accepted 3");
    host.check(Asked(event(4).on("d")), "accepted 4");
    host.check(Asked(Ask { kind: Kind::Embed, data_type: vector, ..event(5).on("e") }), "accepted 5");
    host.check(Asked(Ask { kind: Kind::Search, data_type: vector, ..event(6).on("f") }), "accepted 6");
    host.check(Asked(event(7).on("g")), "accepted 7");
    host.check(Answered(1, 1, Done), "1 done, send 2.1");
    host.check(Answered(2, 1, Done), "2 done, send 3.1");
    host.check(Answered(3, 1, Done), "3 done, send 4.1");
    host.check(Answered(4, 1, Done), "4 done, send 5.1");
    host.check(Answered(5, 1, Done), "5 done, send 6.1");
    host.check(Answered(6, 1, Done), "6 done, send 7.1");
}

// What is remembered

#[test]
fn any_number_of_maps_may_be_named_and_order_holds_after_they_were_forgotten() {
    let mut host = wide();
    let mut asked = |ticket: u64, map: &str| {
        host.does(Asked(event(ticket).on(map)));
        host.does(Answered(ticket, 1, Done));
        host.request(ticket, 1).request.sequence
    };
    assert_eq!((asked(1, "first"), asked(2, "first")), (1, 2));
    let many = 2 * limits::SESSION_KEYS_MAX as u64;
    for n in 0..many {
        asked(3 + n, &format!("m{n}"));
    }
    assert!(asked(3 + many, "first") > 2, "the server would take it for an old one");
}
