//! What the main server's engine does about its cache, one behaviour a test: see `support/main_server.rs` for how
//! to read one.

use sync_core::cache::{CacheError, CacheReply, CacheRequest, CacheValue};
use sync_core::engine::Engine;
use sync_core::host_sync::server::{ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::limits;
use sync_core::store::{Applied, StoreError, StoreReply};
use sync_core::time::Span;

use crate::support::main_server::*;
use crate::support::{at_ms, map};

#[test]
fn states_refresh_the_cache_with_their_version_and_only_critical_ones_are_published() {
    let mut main = narrow();
    main.asks(1, event(1), "store 0 apply [1]");
    main.asks(2, critical(write(2)), "");
    main.asks(3, write(3), "");
    main.applies(0, &[1], "1: done, store 1 apply [2 3]");
    main.applies(1, &[8, 9], "refresh [PLAYER_DATA/1/m=8! PLAYER_DATA/1/m=9], 2: done, 3: done");
}

#[test]
fn a_read_is_served_from_the_cache() {
    let mut main = plain();
    main.asks(1, read(1), "cache 0 get");
    let value = CacheValue { version: 4, data: "7".into() };
    main.cached(0, Ok(CacheReply::Value(Some(value))), r#"1: {"version":4,"data":"7"}"#);
    assert_eq!(main.server.counters().cache_hits, 1);
}

#[test]
fn a_read_that_misses_is_loaded_and_refreshes_the_cache_without_publication() {
    for miss in [Ok(CacheReply::Value(None)), Err(CacheError::Unavailable)] {
        let mut main = plain();
        main.asks(1, critical(read(1)), "cache 0 get");
        main.cached(0, miss, "store 0 load");
        let loaded = Ok(StoreReply::Loaded(Some(row(3))));
        main.stored(0, loaded, r#"refresh [PLAYER_DATA/1/m=3], 1: {"version":3,"data":"7"}"#);
    }
}

#[test]
fn a_state_that_is_not_there_is_no_payload_and_is_not_cached() {
    let mut main = plain();
    main.asks(1, read(1), "cache 0 get");
    main.cached(0, Ok(CacheReply::Value(None)), "store 0 load");
    main.stored(0, Ok(StoreReply::Loaded(None)), "1: done");
}

#[test]
fn a_read_that_misses_while_the_database_is_gone_is_503() {
    let mut main = plain();
    main.asks(1, read(1), "cache 0 get");
    main.cached(0, Ok(CacheReply::Value(None)), "store 0 load");
    main.stored(0, Err(StoreError::Unavailable), "1: 503");
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn reads_of_one_state_at_once_look_and_load_once() {
    let mut main = plain();
    main.asks(1, read(1), "cache 0 get");
    main.asks(2, read(2), "");
    main.cached(0, Ok(CacheReply::Value(None)), "store 0 load");
    main.asks(3, read(3), "");
    main.asks(4, changed(read(4), |r| r.map = map("n")), "cache 1 get");
    let loaded = Ok(StoreReply::Loaded(Some(row(3))));
    let all = r#"refresh [PLAYER_DATA/1/m=3], 1: {"version":3,"data":"7"}, 2: {"version":3,"data":"7"}, 3: {"version":3,"data":"7"}"#;
    main.stored(0, loaded, all);
    main.asks(5, read(5), "cache 2 get");
    assert_eq!((main.server.counters().cache_misses, main.server.counters().reads_joined), (1, 2));
}

#[test]
fn a_failed_load_fails_all_who_wait_and_the_next_one_tries_again() {
    let mut main = plain();
    main.asks(1, read(1), "cache 0 get");
    main.asks(2, read(2), "");
    main.cached(0, Err(CacheError::Unavailable), "store 0 load");
    main.stored(0, Err(StoreError::Unavailable), "1: 503, 2: 503");
    main.asks(3, read(3), "cache 1 get");
    assert_eq!(main.server.open_exchanges(), 1);
}

/// Who has had a write answered must find it, so a read that began before is none to wait for.
#[test]
fn a_read_after_a_write_does_not_wait_for_one_from_before_it() {
    for repeated in [false, true] {
        let mut main = plain();
        main.asks(1, read(1), "cache 0 get");
        main.cached(0, Ok(CacheReply::Value(None)), "store 0 load");
        main.asks(2, write(2), "store 1 apply [2]");
        let answer = Ok(StoreReply::Applied(vec![Applied { duplicate: repeated, ..fresh(4) }]));
        let sign = if repeated { ">=" } else { "=" };
        main.stored(1, answer, &format!("refresh [PLAYER_DATA/1/m{sign}4], 2: done"));
        main.asks(3, read(3), "cache 1 get");
        main.asks(4, read(4), "");
        main.stored(
            0,
            Ok(StoreReply::Loaded(Some(row(3)))),
            r#"refresh [PLAYER_DATA/1/m=3], 1: {"version":3,"data":"7"}"#,
        );
        main.asks(5, read(5), "");
        let value = CacheValue { version: 4, data: "7".into() };
        let payload = r#"{"version":4,"data":"7"}"#;
        main.cached(
            1,
            Ok(CacheReply::Value(Some(value))),
            &format!("3: {payload}, 4: {payload}, 5: {payload}"),
        );
    }
}

#[test]
fn past_the_bound_a_read_of_the_same_state_is_429() {
    let mut main = plain();
    main.asks(0, read(1), "cache 0 get");
    let bound = limits::FLIGHT_EXCHANGES_MAX as u64;
    (1..bound).for_each(|exchange| main.asks(exchange, read(exchange), ""));
    main.asks(bound, read(bound), &format!("{bound}: 429"));
    assert_eq!(main.server.open_exchanges() as u64, bound);
}

/// What the database took to answer is part of the lifetime: no value is served longer than that after it
/// was current.
#[test]
fn a_lifetime_counts_from_when_the_database_was_asked() {
    let mut main =
        Main::new(ServerSettings { cache_expiry: Some(Span::from_secs(5)), ..ServerSettings::default() });
    let expires = |main: &mut Main, input| {
        let mut effects = Vec::new();
        main.server.handle(at_ms(main.now_ms), input, &mut effects);
        match &effects[0] {
            ServerEffect::Cache { request: CacheRequest::Refresh { expires, .. }, .. } => *expires,
            other => panic!("{other:?}"),
        }
    };
    main.now_ms = 100;
    main.asks(1, write(1), "store 0 apply [1]");
    main.asks(2, read(2), "cache 0 get");
    main.now_ms = 200;
    main.cached(0, Ok(CacheReply::Value(None)), "store 1 load");
    main.now_ms = 1_000;
    let answer = Ok(StoreReply::Applied(vec![fresh(1)]));
    let written = ServerInput::Stored { token: main.store[0].0, answer };
    assert_eq!(expires(&mut main, written), Some(at_ms(5_100).wall));
    let loaded = ServerInput::Stored { token: main.store[1].0, answer: Ok(StoreReply::Loaded(Some(row(3)))) };
    assert_eq!(expires(&mut main, loaded), Some(at_ms(5_200).wall));

    // `cache_expiry_seconds = 0`.
    let mut main = Main::new(ServerSettings { cache_expiry: None, ..ServerSettings::default() });
    main.asks(1, write(1), "store 0 apply [1]");
    let answer = Ok(StoreReply::Applied(vec![fresh(1)]));
    let written = ServerInput::Stored { token: main.store[0].0, answer };
    assert_eq!(expires(&mut main, written), None);
}
