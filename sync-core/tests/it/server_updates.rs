//! What the main server's engine does for applications' own entries and for subscribers, one behaviour a test:
//! see `support/main_server.rs` for how to read one.

use sync_core::cache::{CacheError, CacheReply, CacheValue, Notice, Publication};
use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::server::ServerInput;
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::AccountId;
use sync_core::limits;
use sync_core::store::StateKey;
use sync_core::wire::Kind;

use crate::support::main_server::*;
use crate::support::{PlainRequest, at_ms, map, operation};

fn entry(counter: u64, kind: Kind, data: &str) -> PlainRequest {
    changed(sealed(counter, kind, SyncDataType::MapState), |r| r.data = data.into())
}

// Entries

#[test]
fn entries_are_read_and_written_in_the_cache_and_answered_as_it_says() {
    let mut main = plain();
    let set = r#"{"key":"a","value":"v","expiry_seconds":2}"#;
    main.asks(1, entry(1, Kind::CacheSet, set), "cache 0 set 1/a=v 2s");
    main.cached(0, Ok(CacheReply::Done), "1: done");
    let set = r#"{"key":"shared:a","value":"v","expiry_seconds":0}"#;
    main.asks(2, entry(2, Kind::CacheSet, set), "cache 1 set shared/a=v for ever");
    main.asks(3, entry(3, Kind::CacheGet, r#"{"key":"a"}"#), "cache 2 get 1/a");
    main.cached(
        2,
        Ok(CacheReply::Value(Some(CacheValue { version: 0, data: "v".into() }))),
        r#"3: {"value":"v"}"#,
    );
    main.asks(4, entry(4, Kind::CacheGet, r#"{"key":"b"}"#), "cache 3 get 1/b");
    main.cached(3, Ok(CacheReply::Value(None)), "4: done");
    main.asks(5, entry(5, Kind::CacheDelete, r#"{"key":"a"}"#), "cache 4 delete 1/a");
    main.cached(4, Ok(CacheReply::Found(true)), r#"5: {"found":true}"#);
    main.asks(6, entry(6, Kind::CacheExists, r#"{"key":"a"}"#), "cache 5 exists 1/a");
    main.cached(5, Ok(CacheReply::Found(false)), r#"6: {"found":false}"#);
    assert_eq!((main.server.counters().entries, main.server.open_exchanges()), (6, 1));
}

#[test]
fn a_cache_that_is_away_is_not_an_entry_that_is_not_there() {
    let mut main = plain();
    main.asks(1, entry(1, Kind::CacheGet, r#"{"key":"a"}"#), "cache 0 get 1/a");
    main.cached(0, Err(CacheError::Unavailable), "1: cache_unavailable");
    main.asks(2, entry(2, Kind::CacheGet, r#"{"key":""}"#), "2: malformed_data");
    assert_eq!((main.server.counters().rejected, main.server.open_exchanges()), (1, 0));
}

// Subscribers

fn subscribe(counter: u64, position: Option<&str>, wait_ms: u64) -> PlainRequest {
    let position = position.map_or("null".to_owned(), |position| format!("\"{position}\""));
    let data = format!(r#"{{"maps":["m"],"types":[],"position":{position},"wait_ms":{wait_ms}}}"#);
    entry(counter, Kind::Subscribe, &data)
}

fn update(data_type: SyncDataType, owner: u32, version: u64) -> Publication {
    let key = StateKey { data_type, owner: AccountId(owner), map: map("m") };
    Publication { key, version, data: "7".into(), operation: operation(9, version) }
}

fn map_state(version: u64) -> Publication {
    update(SyncDataType::MapState, 0, version)
}

fn text(version: u64) -> String {
    format!(
        r#"{{"type":0,"owner":0,"map_name":"m","version":{version},"data":"7","operation_id":"9-0000000000000001-{version}"}}"#
    )
}

fn told(position: &str, gap: bool, versions: &[u64]) -> String {
    let updates: Vec<_> = versions.iter().map(|version| text(*version)).collect();
    format!(r#"{{"position":"{position}","gap":{gap},"updates":[{}]}}"#, updates.join(","))
}

/// A server that follows publications, and a function that names positions from there on.
fn subscribed() -> (Main, impl Fn(u64) -> String) {
    subscribed_with(ServerSettings::default())
}

fn subscribed_with(settings: ServerSettings) -> (Main, impl Fn(u64) -> String) {
    let mut main = Main::new(settings);
    main.asks(1, subscribe(1, None, 5_000), "follow");
    let mut effects = Vec::new();
    main.server.handle(at_ms(0), ServerInput::Noticed { notice: Notice::Gap }, &mut effects);
    let words: Vec<_> = effects.iter().map(|effect| main.word(effect)).collect();
    let payload = words[0].strip_prefix("1: ").expect("an answer");
    let payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
    let position = payload["position"].as_str().expect("text");
    let epoch = position.strip_suffix("-1").expect("the first position").to_owned();
    assert_eq!(payload["gap"], serde_json::Value::Bool(true));
    (main, move |next| format!("{epoch}-{}", next + 1))
}

fn notice(main: &mut Main, publication: Publication, expected: &str) {
    main.check(ServerInput::Noticed { notice: Notice::Publication(publication) }, expected);
}

#[test]
fn a_subscriber_waits_for_the_next_update_and_goes_on_from_there() {
    let (mut main, at) = subscribed();
    main.asks(2, subscribe(2, Some(&at(0)), 5_000), "");
    assert_eq!(main.server.open_exchanges(), 1);
    notice(&mut main, map_state(1), &format!("2: {}", told(&at(1), false, &[1])));
    notice(&mut main, map_state(2), "");
    notice(&mut main, map_state(3), "");
    main.asks(3, subscribe(3, Some(&at(1)), 5_000), &format!("3: {}", told(&at(3), false, &[2, 3])));
    main.asks(4, subscribe(4, Some(&at(3)), 0), &format!("4: {}", told(&at(3), false, &[])));
}

#[test]
fn while_nothing_is_known_of_publications_nobody_is_told_where_to_go_on_from() {
    let mut main = plain();
    main.asks(1, subscribe(1, None, 1_000), "follow");
    main.asks(2, subscribe(2, Some("00000000000000ab-7"), 5_000), "");
    let epoch = |words: &str| words.split('"').nth(3).expect("a position").to_owned();
    let mut effects = Vec::new();
    main.server.wake(at_ms(1_000), &mut effects);
    let words = main.word(&effects[0]);
    assert!(words.starts_with("1: ") && words.ends_with(r#""gap":true,"updates":[]}"#), "{words}");
    let position = epoch(&words);
    main.asks(3, subscribe(3, Some(&position), 5_000), "");
    let gap = told(&position.replace("-0", "-1"), true, &[]);
    main.check(ServerInput::Noticed { notice: Notice::Gap }, &format!("3: {gap}, 2: {gap}"));
}

#[test]
fn who_waits_in_vain_is_told_so_in_time() {
    let (mut main, at) = subscribed();
    main.asks(2, subscribe(2, Some(&at(0)), 1_000), "");
    main.asks(3, subscribe(3, Some(&at(0)), 60_000), "");
    assert_eq!(main.server.next_wakeup(), Some(at_ms(1_000).monotonic));
    main.wakes(999, "");
    main.wakes(1_000, &format!("2: {}", told(&at(0), false, &[])));
    // Longer than the server has anybody wait.
    main.wakes(5_000, &format!("3: {}", told(&at(0), false, &[])));
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn only_what_was_asked_for_and_may_be_seen_is_told() {
    let (mut main, at) = subscribed();
    main.asks(2, subscribe(2, Some(&at(0)), 5_000), "");
    let elsewhere = Publication { key: StateKey { map: map("n"), ..map_state(1).key }, ..map_state(1) };
    notice(&mut main, elsewhere, "");
    // What belongs to another account is nobody else's business; where it stands is.
    notice(&mut main, update(SyncDataType::PlayerData, 2, 1), "");
    let position = update(SyncDataType::PlayerPosition, 2, 1);
    let seen = r#"[{"type":2,"owner":2,"map_name":"m","version":1,"data":"7","operation_id":"9-0000000000000001-1"}]"#;
    notice(&mut main, position, &format!(r#"2: {{"position":"{}","gap":false,"updates":{seen}}}"#, at(3)));
    main.asks(3, subscribe(3, Some(&at(3)), 5_000), "");
    let own = r#"[{"type":9,"owner":1,"map_name":"m","version":4,"data":"7","operation_id":"9-0000000000000001-4"}]"#;
    let expected = format!(r#"3: {{"position":"{}","gap":false,"updates":{own}}}"#, at(4));
    notice(&mut main, update(SyncDataType::PlayerData, 1, 4), &expected);
    let typed = format!(r#"{{"maps":["m"],"types":[1],"position":"{}","wait_ms":5000}}"#, at(4));
    main.asks(4, entry(4, Kind::Subscribe, &typed), "");
    notice(&mut main, map_state(5), "");
}

#[test]
fn a_gap_is_told_to_who_waits_and_to_who_asks_from_before_it() {
    let (mut main, at) = subscribed();
    notice(&mut main, map_state(1), "");
    main.asks(2, subscribe(2, Some(&at(1)), 5_000), "");
    main.check(ServerInput::Noticed { notice: Notice::Gap }, &format!("2: {}", told(&at(2), true, &[])));
    notice(&mut main, map_state(2), "");
    for before in [0, 1, 9] {
        main.asks(3, subscribe(3, Some(&at(before)), 5_000), &format!("3: {}", told(&at(3), true, &[])));
    }
    main.asks(4, subscribe(4, Some("00000000000000ab-2"), 5_000), &format!("4: {}", told(&at(3), true, &[])));
    main.asks(5, subscribe(5, Some(&at(2)), 5_000), &format!("5: {}", told(&at(3), false, &[2])));
}

#[test]
fn what_is_kept_is_bounded_and_what_is_older_is_a_gap() {
    let (mut main, at) = subscribed();
    let kept = limits::UPDATES_KEPT_MAX as u64;
    (0..=kept).for_each(|version| notice(&mut main, map_state(version), ""));
    main.asks(2, subscribe(2, Some(&at(0)), 5_000), &format!("2: {}", told(&at(kept + 1), true, &[])));
    let versions: Vec<_> = (1..=limits::UPDATES_ANSWERED_MAX as u64).collect();
    let last = limits::UPDATES_ANSWERED_MAX as u64 + 1;
    main.asks(3, subscribe(3, Some(&at(1)), 5_000), &format!("3: {}", told(&at(last), false, &versions)));
}

#[test]
fn half_of_the_exchanges_may_wait_and_at_the_end_nobody_does() {
    let settings = ServerSettings { exchanges_max: 4, ..ServerSettings::default() };
    let (mut main, at) = subscribed_with(settings);
    main.asks(2, subscribe(2, Some(&at(0)), 5_000), "");
    main.asks(3, subscribe(3, Some(&at(0)), 5_000), "");
    main.asks(4, subscribe(4, Some(&at(0)), 5_000), "4: 429");
    let nothing = told(&at(0), false, &[]);
    main.check(ServerInput::ShutDown, &format!("2: {nothing}, 3: {nothing}"));
    main.asks(5, subscribe(5, Some(&at(0)), 5_000), &format!("5: {nothing}"));
    assert_eq!(main.server.open_exchanges(), 0);
}
