//! Recordings: what is written is read again, a replay is equal to what was recorded and to nothing else, and
//! whatever a file holds, there is an error and no panic.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::recording_support::{server_effect, server_input, session_effect, session_input};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::engine::Engine as _;
use sync_core::entropy::{Entropy, Purpose};
use sync_core::envelope::{HostRing, MasterKey, MasterRing};
use sync_core::host_sync::operation::Ask;
use sync_core::host_sync::policy::Standard;
use sync_core::host_sync::sealed::{SealedHost, SealedServer};
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::session::{Session, SessionEffect, SessionInput};
use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::id::{AccountId, MapName, Token};
use sync_core::recording::{
    DrawLog, EffectForm, EngineHeader, EngineKind, FORMAT, Header, KeyBag, KeyMark, RecordedEntropy,
    Recorder, Recording, RecordingError, Replayed, SealedParts, Tap, Tape,
};
use sync_core::store::{MemoryStore, StoreReply};
use sync_core::time::{Instant, Now, Span, Timestamp};
use sync_core::wire::Kind;

const MASTER: &str = "p2p-master:k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "p2p-master:k1:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ACCOUNT: AccountId = AccountId(7);

fn survives<T: Serialize + DeserializeOwned + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(value).unwrap();
    let again: T = serde_json::from_str(&json).unwrap();
    prop_assert_eq!(format!("{value:?}"), format!("{again:?}"));
    prop_assert_eq!(serde_json::to_string(&again).unwrap(), json);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_input_and_effect_is_read_as_it_was_written(
        (asked, sent) in (session_input(), session_effect()),
        (requested, done) in (server_input(), server_effect()),
    ) {
        survives(&asked)?;
        survives(&sent)?;
        survives(&requested)?;
        survives(&done)?;
    }

    #[test]
    fn garbage_gives_an_error_and_no_panic(bytes in any::<Vec<u8>>()) {
        prop_assert!(replay(&bytes, MASTER).is_err());
    }

    /// Behind a good beginning, so that it is looked at.
    #[test]
    fn garbage_inside_gives_an_error_or_an_early_end(at in any::<prop::sample::Index>(), bytes in any::<Vec<u8>>()) {
        let mut recording = recorded(EffectForm::Digest);
        let at = at.index(recording.len());
        recording.splice(at..at, bytes);
        let _ = replay(&recording, MASTER);
    }

    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let mut recording = recorded(EffectForm::Digest);
        let at = at.index(recording.len());
        recording[at] ^= 1 << bit;
        // The last newline is all that may be missing: then the end is not whole, and the replay says so.
        prop_assert!(replay(&recording, MASTER).is_ok_and(|replayed| replayed.cut_short.is_some())
            == (at == recording.len() - 1));
    }

    /// What is no file of ours but parses as one: nothing of it may make an engine panic.
    #[test]
    fn any_inputs_are_replayed_without_panic(
        inputs in prop::collection::vec(prop_oneof![
            session_input().prop_map(|input| (0, serde_json::to_string(&input).unwrap())),
            server_input().prop_map(|input| (1, serde_json::to_string(&input).unwrap())),
            (0..2u32).prop_map(|engine| (engine, "\"wake\"".to_owned())),
        ], 0..8),
        moments in prop::collection::vec(any::<(u64, u64)>(), 8),
    ) {
        let whole = String::from_utf8(recorded(EffectForm::Digest)).unwrap();
        let mut text: String = whole.lines().take(3).flat_map(|line| [line, "\n"]).collect();
        for (n, ((engine, input), (mono_us, wall_us))) in (4..).zip(inputs.into_iter().zip(moments)) {
            text += &format!(
                "{{\"n\":{n},\"call\":{{\"engine\":{engine},\"mono_us\":{mono_us},\"wall_us\":{wall_us},\"input\":{input},\"draws\":[],\"effects\":[]}}}}\n"
            );
        }
        prop_assert!(replay(text.as_bytes(), MASTER).is_ok());
    }
}

#[test]
fn a_replay_is_equal_to_what_was_recorded() {
    for form in [EffectForm::Digest, EffectForm::Full] {
        let replayed = replay(&recorded(form), MASTER).unwrap();
        assert_eq!(replayed.difference, None);
        assert_eq!(replayed.cut_short, None);
        let totals = replayed.totals;
        assert_eq!((totals.engines, totals.calls, totals.operations, totals.requests), (2, 7, 2, 1));
        assert_eq!(totals.effects, 8, "{totals:?}");
    }
}

#[test]
fn each_changed_part_of_a_call_is_a_difference_at_its_place() {
    let check = |form, (from, to): (&str, &str), place: &str, shown: &[&str]| {
        let text = edited(&recorded(form), from, to);
        let replayed = replay(text.as_bytes(), MASTER).unwrap();
        let difference = replayed.difference.unwrap_or_else(|| panic!("{from} -> {to}")).to_string();
        assert!(difference.starts_with(place), "{difference}");
        shown.iter().for_each(|part| assert!(difference.contains(part), "{part}: {difference}"));
    };
    let full = EffectForm::Full;
    let first = "line 4: engine 0 (`host`), call 1: ";
    // An input: the operation's name stays, its frame does not.
    check(
        full,
        (r#"{\"hp\":1}"#, r#"{\"hp\":2}"#),
        first,
        &["effect 2 differs", "recorded: ", "encrypted_data"],
    );
    // A moment.
    check(full, ("\"wall_us\":1000000", "\"wall_us\":3000000"), first, &["effect 2 differs"]);
    // A draw's value, its purpose, one too few, one too many.
    check(full, ("[\"iv\",5]", "[\"iv\",6]"), first, &["effect 2 differs"]);
    check(full, ("[\"iv\",5]", "[\"jitter\",5]"), first, &["draws differ", "jitter", "initialisation"]);
    check(full, ("[\"iv\",5],", ""), first, &["draws differ", "replayed: an initialisation", "nothing more"]);
    check(
        full,
        ("[\"iv\",5],", "[\"iv\",5],[\"iv\",5],"),
        first,
        &["draws differ", "replayed: nothing more"],
    );
    check(
        full,
        ("[\"incarnation\",5]", "[\"jitter\",5]"),
        "line 2: engine 0 (`host`), at its start: ",
        &["draws"],
    );
    // An effect: changed, gone, too many.
    let accepted = r#"{"accepted":{"ticket":1,"operation":"7-0000000000000005-1"}}"#;
    check(
        full,
        (accepted, &accepted.replace("-1\"", "-2\"")),
        first,
        &["effect 1 differs", "0005-1", "0005-2"],
    );
    check(full, (&format!("[{accepted},"), "["), first, &["effect 1 differs"]);
    check(
        full,
        (&format!("[{accepted},"), &format!("[{accepted},{accepted},")),
        first,
        &["effect 2 differs"],
    );
    // A digest: the replayed effect is shown.
    let kept = sync_core::recording::digest(accepted.as_bytes());
    let (flipped, digest) = (kept.replace(&kept[..1], "x"), EffectForm::Digest);
    check(digest, (&kept, &flipped), first, &["effect 1 differs", &flipped, &kept, accepted]);
}

#[test]
fn a_missing_line_is_damage_with_its_place() {
    let whole = String::from_utf8(recorded(EffectForm::Digest)).unwrap();
    let lines = whole.lines().count();
    for left_out in 1..lines {
        let text: String = whole
            .lines()
            .enumerate()
            .filter(|(place, _)| place + 1 != left_out)
            .flat_map(|(_, line)| [line, "\n"])
            .collect();
        let error = replay(text.as_bytes(), MASTER).unwrap_err();
        match left_out {
            1 => assert!(matches!(error, RecordingError::NotARecording), "{error}"),
            _ => assert_eq!(error.line(), left_out as u64, "{error}"),
        }
        assert!(!error.help().is_empty());
    }
}

#[test]
fn a_recording_of_a_killed_process_is_replayed_as_far_as_it_goes() {
    let whole = recorded(EffectForm::Digest);
    let ends: Vec<_> = (1..=whole.len()).filter(|end| whole[end - 1] == b'\n').collect();
    for end in ends[0]..whole.len() {
        let replayed = replay(&whole[..end], MASTER).unwrap();
        assert_eq!(replayed.difference, None);
        assert!(replayed.cut_short.is_some(), "{end}");
    }
    for end in 0..ends[0] {
        assert!(matches!(replay(&whole[..end], MASTER), Err(RecordingError::NotARecording)));
    }
}

#[test]
fn a_missing_or_wrong_key_is_named_by_its_fingerprint_and_a_hosts_own_key_will_do() {
    let master: MasterKey = MASTER.parse().unwrap();
    let recording = recorded(EffectForm::Digest);
    let host = master.host_key(ACCOUNT);
    for keys in [KeyBag::default(), bag(OTHER)] {
        let error = replay_with(&recording, keys).unwrap_err();
        assert!(error.to_string().contains(&host.fingerprint()), "{error}");
        assert_eq!(error.line(), 2);
        assert!(error.help().contains("--key"));
    }
    // The host's own key makes the session; the server still lacks its own.
    let mut keys = bag(host.to_text().expose());
    let error = replay_with(&recording, keys.clone()).unwrap_err();
    assert!(error.line() == 3 && error.to_string().contains(&master.fingerprint()), "{error}");
    keys.add(MASTER).unwrap();
    assert_eq!(replay_with(&recording, keys).unwrap().difference, None);
}

#[test]
fn a_recording_holds_no_key() {
    let master: MasterKey = MASTER.parse().unwrap();
    let text = String::from_utf8(recorded(EffectForm::Full)).unwrap();
    let host = master.host_key(ACCOUNT).to_text();
    for secret in [MASTER, host.expose()] {
        let secret = secret.rsplit(':').next().unwrap();
        assert!(!text.contains(secret));
    }
}

#[test]
fn what_is_no_recording_of_this_version_says_so() {
    let whole = recorded(EffectForm::Digest);
    let check = |from: &str, to: &str, expected: &str| {
        let error = replay(edited(&whole, from, to).as_bytes(), MASTER).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("\"format\":1", "\"format\":2", "format 2");
    check("\"workers\":4", "\"workers\":18446744073709551615", "`workers`");
    check("\"engine\":0,", "\"engine\":9,", "no engine 9");
    check("\"calls\":7", "\"calls\":8", "8 calls");
    check("\"input\":\"wake\"", "\"input\":\"sleep\"", "no such input");
    let mut longer = whole;
    longer.extend_from_slice(b"{}\n");
    assert!(replay(&longer, MASTER).unwrap_err().to_string().contains("after the end"));
}

#[test]
fn an_error_of_the_file_is_kept_and_disturbs_nothing() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let header = header(EffectForm::Digest);
    let mut recorder = Recorder::new(Full(200), &header);
    let engine = recorder.engine(&session_header(), &DrawLog::default());
    let input = || sync_core::recording::NotedInput::wake();
    recorder.call::<u8>(engine, now(1), input(), &DrawLog::default(), &[]);
    recorder.flush();
    recorder.call::<u8>(engine, now(2), input(), &DrawLog::default(), &[]);
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let mut recorder = Recorder::new(Full(0), &header);
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn recorders_may_go_from_thread_to_thread() {
    fn check<T: Send>() {}
    check::<Recorder<Box<dyn Write + Send>>>();
    check::<Tape>();
    check::<Tap>();
    check::<RecordedEntropy<Fives>>();
}

/// Draws are all the same, so that tests can name them.
#[derive(Clone, Copy)]
struct Fives;

impl Entropy for Fives {
    fn draw(&mut self, _: Purpose, _: u64, _: u64) -> u64 {
        5
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now(second: u64) -> Now {
    Now { monotonic: Instant::from_us(second * 1_000_000), wall: Timestamp::from_us(second * 1_000_000) }
}

fn header(effects: EffectForm) -> Header {
    Header { format: FORMAT, frames: "sealed".to_owned(), effects, rig_seed: None, defect: None }
}

fn ring() -> MasterRing {
    MasterRing::new(MASTER.parse().unwrap(), Vec::new()).unwrap()
}

fn host_ring() -> HostRing {
    HostRing::new(ring().sealing_key().host_key(ACCOUNT), Vec::new()).unwrap()
}

fn session_header() -> EngineHeader {
    let kind = EngineKind::Session { account: ACCOUNT, settings: SessionSettings::default() };
    EngineHeader { name: "host".to_owned(), kind, keys: KeyMark::host(&host_ring()) }
}

/// A session and a server: one operation goes there and back, another stays without an answer.
fn recorded(form: EffectForm) -> Vec<u8> {
    let file = Shared::default();
    let tape = Tape::new(file.clone(), &header(form));
    let log = DrawLog::default();
    let mut session = Session::new(
        ACCOUNT,
        Arc::new(SessionSettings::default()),
        SealedHost::new(host_ring()),
        RecordedEntropy::new(Fives, Some(log.clone())),
        Standard,
    );
    let host = tape.tap(&session_header(), log);
    let log = DrawLog::default();
    let settings = ServerSettings::default();
    let entropy = RecordedEntropy::new(Fives, Some(log.clone()));
    let mut server = Server::new(Arc::new(settings.clone()), SealedServer::new(ring()), entropy);
    let kind = EngineKind::Server { shard: 0, settings };
    let made_of = EngineHeader { name: "server".to_owned(), kind, keys: KeyMark::server(&ring()) };
    let main = tape.tap(&made_of, log);

    let ask = |ticket| {
        SessionInput::Ask(Ask {
            ticket,
            kind: Kind::SyncTo,
            data_type: sync_core::data_type::SyncDataType::ChatMessage,
            map: MapName::new("prontera").unwrap(),
            data: r#"{"hp":1}"#.into(),
            critical: false,
            priority: false,
        })
    };
    let (mut up, mut down) = (Vec::new(), Vec::new());
    host.handle(&mut session, now(1), ask(1), &mut up);
    let Some(SessionEffect::Send { token: sent, request, .. }) = up.pop() else { panic!("{up:?}") };
    main.handle(&mut server, now(1), ServerInput::Request { token: Token(1), request }, &mut down);
    let Some(ServerEffect::Store { token, request }) = down.pop() else { panic!("{down:?}") };
    let answer: Result<StoreReply, _> = Ok(MemoryStore::default().execute(&request));
    main.handle(&mut server, now(1), ServerInput::Stored { token, answer }, &mut down);
    let Some(ServerEffect::Reply { reply: Ok(reply), .. }) = down.pop() else { panic!("{down:?}") };
    let answered = SessionInput::Answered { token: sent, answer: Ok(reply), retry_after: None };
    host.handle(&mut session, now(2), answered, &mut up);
    assert!(matches!(up.pop(), Some(SessionEffect::Finished { .. })));
    host.handle(&mut session, now(3), ask(2), &mut up);
    let due = session_due(&session);
    host.wake(&mut session, due, &mut up);
    main.wake(&mut server, now(60), &mut down);
    tape.finish().unwrap();
    file.0.lock().unwrap().clone()
}

/// When the session's attempt is given up, which draws jitter.
fn session_due<C, E, P>(session: &Session<C, E, P>) -> Now
where
    Session<C, E, P>: sync_core::engine::Engine,
{
    let due = session.next_wakeup().unwrap();
    Now { monotonic: due, wall: Timestamp::from_us(due.as_us()) }
}

/// The text with its first `from` replaced, and without the sum of that line, as a person would edit it.
fn edited(recording: &[u8], from: &str, to: &str) -> String {
    let text = std::str::from_utf8(recording).unwrap();
    let mut done = false;
    let lines = text.lines().map(|line| {
        if done || !line.contains(from) {
            return format!("{line}\n");
        }
        done = true;
        format!("{{{}\n", line.replacen(from, to, 1).split_once(',').unwrap().1)
    });
    let edited = lines.collect();
    assert!(done, "{from} is not in {text}");
    edited
}

fn bag(key: &str) -> KeyBag {
    let mut keys = KeyBag::default();
    keys.add(key).unwrap();
    keys
}

fn replay(bytes: &[u8], key: &str) -> Result<Replayed, RecordingError> {
    replay_with(bytes, bag(key))
}

fn replay_with(bytes: &[u8], keys: KeyBag) -> Result<Replayed, RecordingError> {
    Recording::open(bytes)?.replay(&mut SealedParts { keys, policy: Standard })
}

#[test]
fn spans_of_settings_are_microseconds() {
    let json = serde_json::to_value(SessionSettings::default()).unwrap();
    assert_eq!(json["critical_timeout"], Span::from_ms(500).as_us());
}
