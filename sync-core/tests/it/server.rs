//! What the main server's engine promises, one behaviour a test: see `support/main_server.rs` for how to read one.

use sync_core::cache::{CacheError, CacheReply};
use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::codec::OpenError;
use sync_core::host_sync::server::{ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::Token;
use sync_core::limits;
use sync_core::store::{Applied, StoreError, StoreReply, Verdict};
use sync_core::time::{Instant, Span};
use sync_core::wire::{Kind, Request};

use crate::support::main_server::*;
use crate::support::{PlainRequest, at_ms, operation};

// Refusals

#[test]
fn past_exchanges_max_a_request_is_answered_429_and_nothing_follows() {
    let mut main = Main::new(ServerSettings { exchanges_max: 1, ..ServerSettings::default() });
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, write(2), "2: 429");
    main.asks(3, read(3), "3: 429");
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done");
    main.asks(4, write(2), "store 1 apply [2]");
    assert_eq!(main.server.counters().overloaded, 2);
}

#[test]
fn what_has_gathered_too_long_is_answered_429_and_costs_the_database_nothing() {
    let mut main = narrow();
    let critical = |counter| changed(write(counter), |r: &mut Request| r.critical = true);
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, critical(2), "");
    main.asks(3, write(3), "");
    main.now_ms += 250;
    main.asks(4, critical(4), "");
    main.now_ms += 1;
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done, 2: 429, store 1 apply [4 3]");
    main.asks(5, write(5), "");
    main.now_ms += 5_001;
    main.stored(1, Err(StoreError::Unavailable), "4: 503, 3: 503, 5: 429");
    assert_eq!((main.server.counters().overloaded, main.server.open_exchanges()), (2, 0));
}

#[test]
fn what_does_not_open_is_answered_by_a_bare_status() {
    let mut main = plain();
    main.asks(1, PlainRequest { fault: Some(OpenError::Refused), ..write(1) }, "1: 400");
    main.asks(2, PlainRequest { fault: Some(OpenError::TooLarge), ..write(1) }, "2: 413");
    assert_eq!((main.server.counters().refused, main.server.open_exchanges()), (2, 0));
}

#[test]
fn an_authentic_request_that_is_not_valid_gets_a_sealed_rejection() {
    let freshness_window = Span::from_ms(20_000);
    let mut main =
        Main::new(ServerSettings { data_bytes_max: 4, freshness_window, ..ServerSettings::default() });
    let late = |r: &mut Request| r.timestamp = r.timestamp + Span::from_ms(20_001);
    let early = |r: &mut Request| r.timestamp = r.timestamp.saturating_sub(Span::from_ms(20_001));
    main.asks(1, changed(write(1), late), "1: stale_timestamp");
    main.asks(2, changed(write(1), early), "2: stale_timestamp");
    main.asks(3, changed(write(1), |r| r.data = "12345".into()), "3: too_large");
    main.asks(4, changed(write(1), |r| r.data = "{".into()), "4: malformed_data");
    main.asks(5, sealed(1, Kind::SyncFrom, SyncDataType::ChatMessage), "5: unsupported");
    assert_eq!((main.server.counters().rejected, main.server.open_exchanges()), (5, 0));
}

#[test]
fn a_database_that_is_gone_is_503_to_all_who_wait_for_it() {
    let mut main = narrow();
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, write(2), "");
    main.asks(3, write(3), "");
    main.stored(0, Err(StoreError::Unavailable), "1: 503, store 1 apply [2 3]");
    main.stored(1, Err(StoreError::Unavailable), "2: 503, 3: 503");
    main.asks(4, write(1), "store 2 apply [1]");
}

#[test]
fn an_answer_that_does_not_fit_its_request_acknowledges_nothing() {
    for answer in [StoreReply::Applied(vec![]), StoreReply::Loaded(None), StoreReply::Purged(1)] {
        let mut main = plain();
        main.asks(1, write(1), "store 0 apply [1]");
        main.stored(0, Ok(answer), "1: 503");
        assert_eq!(main.server.open_exchanges(), 0);
    }
}

// Batches

#[test]
fn the_first_goes_at_once_and_the_rest_gather_while_batches_are_under_way() {
    let mut main = narrow();
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, write(2), "");
    main.asks(3, event(3), "");
    main.asks(4, write(4), "");
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done, store 1 apply [2 3]");
    main.applies(1, &[2, 3], "refresh [PLAYER_DATA/1/m=2], 2: done, 3: done, store 2 apply [4]");
    main.applies(2, &[3], "refresh [PLAYER_DATA/1/m=3], 4: done");
    assert_eq!(main.server.counters().batches, 3);
}

#[test]
fn critical_operations_go_ahead_of_others_that_gather() {
    let critical_types = [SyncDataType::MapState].into_iter().collect();
    let settings = ServerSettings {
        batch_max: 2,
        batches_in_flight_max: 1,
        critical_types,
        ..ServerSettings::default()
    };
    let mut main = Main::new(settings);
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, write(2), "");
    main.asks(3, critical(event(3)), "");
    main.asks(4, sealed(4, Kind::SyncTo, SyncDataType::MapState), "");
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done, store 1 apply [3 4]");
    main.applies(
        1,
        &[3, 1],
        "refresh [CHAT_MESSAGE/1/m:3! MAP_STATE/0/m=1!], 3: done, 4: done, store 2 apply [2]",
    );
}

#[test]
fn replies_wait_for_the_database_and_are_bound_to_their_operation() {
    let mut main = plain();
    main.asks(1, critical(event(1)), "store 0 apply [1]");
    assert_eq!(main.server.open_exchanges(), 1);
    let answer = Ok(StoreReply::Applied(vec![fresh(1)]));
    let mut effects = Vec::new();
    let input = ServerInput::Stored { token: main.store[0].0, answer };
    main.server.handle(at_ms(5), input, &mut effects);
    let [ServerEffect::Cache { .. }, ServerEffect::Reply { reply: Ok(sealed), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(sealed.critical);
    assert_eq!((sealed.reply.operation, sealed.reply.server_time), (operation(1, 1), at_ms(5).wall));
}

#[test]
fn a_duplicate_is_answered_as_the_first_time_and_outdates_what_is_older() {
    let mut main = plain();
    main.asks(1, write(1), "store 0 apply [1]");
    let again = |applied: Applied| Ok(StoreReply::Applied(vec![Applied { duplicate: true, ..applied }]));
    main.stored(0, again(fresh(4)), "refresh [PLAYER_DATA/1/m>=4], 1: done");
    let out_of_order = Applied { verdict: Verdict::OutOfOrder { last: 4 }, duplicate: false };
    main.asks(2, write(2), "store 1 apply [2]");
    main.stored(1, Ok(StoreReply::Applied(vec![out_of_order])), "2: out_of_order");
    main.asks(3, write(2), "store 2 apply [2]");
    main.stored(2, again(out_of_order), "3: out_of_order");
    assert_eq!((main.server.counters().duplicates, main.server.counters().rejected), (2, 1));
}

#[test]
fn what_is_critical_is_published_whether_state_event_or_repeat() {
    let mut main = plain();
    let again = |version| Ok(StoreReply::Applied(vec![Applied { duplicate: true, ..fresh(version) }]));
    main.asks(1, critical(event(1)), "store 0 apply [1]");
    main.applies(0, &[1], "refresh [CHAT_MESSAGE/1/m:1!], 1: done");
    main.asks(2, critical(event(1)), "store 1 apply [1]");
    main.stored(1, again(1), "refresh [CHAT_MESSAGE/1/m:1!], 2: done");
    main.asks(3, critical(write(2)), "store 2 apply [2]");
    main.stored(2, again(4), "refresh [PLAYER_DATA/1/m>=4!], 3: done");
    main.asks(4, event(3), "store 3 apply [3]");
    main.applies(3, &[3], "4: done");
}

// Purge

#[test]
fn names_are_purged_once_a_window_and_kept_for_two() {
    let mut main = plain();
    assert_eq!(main.server.next_wakeup(), None);
    main.asks(1, event(1), "store 0 apply [1]");
    assert_eq!(main.server.next_wakeup(), Some(Instant::from_us(30_000_000)));
    let wake = |main: &mut Main, ms, expected: &str| {
        main.now_ms = ms;
        let mut effects = Vec::new();
        main.server.wake(at_ms(ms), &mut effects);
        let words: Vec<_> = effects.iter().map(|effect| main.word(effect)).collect();
        assert_eq!(words.join(", "), expected);
        assert!(main.server.next_wakeup() > Some(at_ms(ms).monotonic), "a busy loop");
    };
    wake(&mut main, 29_999, "");
    wake(&mut main, 30_000, "store 1 purge 60s");
    wake(&mut main, 30_000, "");
    main.stored(1, Ok(StoreReply::Purged(1)), "");
    wake(&mut main, 60_000, "store 2 purge 60s");
    main.stored(2, Err(StoreError::Unavailable), "");
    wake(&mut main, 90_000, "store 3 purge 60s");
}

#[test]
fn a_purge_that_came_to_its_bound_is_followed_by_another() {
    let mut main = plain();
    main.asks(1, event(1), "store 0 apply [1]");
    main.applies(0, &[1], "1: done");
    main.now_ms = 30_000;
    main.asks(
        2,
        changed(event(2), |r| r.timestamp = at_ms(30_000).wall),
        "store 1 apply [2], store 2 purge 60s",
    );
    main.stored(2, Ok(StoreReply::Purged(limits::PURGE_MAX as u64)), "store 3 purge 60s");
    main.stored(3, Ok(StoreReply::Purged(limits::PURGE_MAX as u64 - 1)), "");
}

// Tokens

#[test]
fn a_completion_counts_once_and_an_unknown_one_not_at_all() {
    let mut main = narrow();
    main.check(ServerInput::Stored { token: Token(99), answer: Err(StoreError::Unavailable) }, "");
    main.check(ServerInput::Cached { token: Token(u64::MAX), answer: Err(CacheError::Unavailable) }, "");
    main.asks(1, write(1), "store 0 apply [1]");
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done");
    main.applies(0, &[1], "");
    // A second completion of the first batch says nothing about a later one.
    main.asks(2, write(2), "store 1 apply [2]");
    main.applies(0, &[1], "");
    main.stored(1, Err(StoreError::Unavailable), "2: 503");
}

#[test]
fn a_completion_of_the_wrong_kind_counts_not_at_all() {
    let mut main = narrow();
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, read(2), "cache 0 get");
    let (batch, look) = (main.store[0].0, main.cache[0]);
    main.check(ServerInput::Cached { token: batch, answer: Err(CacheError::Unavailable) }, "");
    main.check(ServerInput::Stored { token: look, answer: Err(StoreError::Unavailable) }, "");
    main.cached(0, Ok(CacheReply::Value(None)), "store 1 load");
    main.applies(0, &[1], "refresh [PLAYER_DATA/1/m=1], 1: done");
    main.stored(1, Ok(StoreReply::Loaded(None)), "2: done");
}
