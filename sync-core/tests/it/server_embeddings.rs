//! What the main server's engine promises of texts, vectors and searches, one behaviour a test.
//!
//! A line of a test is an input and what the server does at once: `embed 0 [a b]` (the first request to the
//! provider), `store 0 save 1/m/n`, `store 1 search 3`, `1: done` (the exchange with token 1).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use sync_core::cache::CacheRequest;
use sync_core::data_type::SyncDataType;
use sync_core::embedding::{EmbedError, Metadata, Vector};
use sync_core::engine::Engine;
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::Token;
use sync_core::limits;
use sync_core::store::{Applied, Match, StoreError, StoreReply, StoreRequest, Verdict};
use sync_core::wire::{Kind, Request};

use crate::support::{Draws, Plain, PlainReply, PlainRequest, at_ms, map, operation};

struct Main {
    server: Server<Plain, Draws>,
    store: Vec<(Token, StoreRequest)>,
    provider: Vec<(Token, usize)>,
}

impl Main {
    fn new() -> Self {
        Self::with(ServerSettings {
            vector_maps: [map("m")].into(),
            embeds: true,
            ..ServerSettings::default()
        })
    }

    fn with(settings: ServerSettings) -> Self {
        let server = Server::new(Arc::new(settings), Plain, Draws::default());
        Self { server, store: Vec::new(), provider: Vec::new() }
    }

    /// Hands over an operation of that number as the exchange of that number.
    #[track_caller]
    fn asks(&mut self, exchange: u64, number: u64, kind: Kind, data: &str, expected: &str) {
        self.check(
            ServerInput::Request { token: Token(exchange), request: ask(number, kind, data) },
            expected,
        );
    }

    /// The provider gives vectors for all texts of its request of that number, each saying which it is.
    #[track_caller]
    fn gives(&mut self, number: usize, expected: &str) {
        let (token, texts) = self.provider[number];
        self.check(ServerInput::Embedded { token, answer: Ok((0..texts).map(vector).collect()) }, expected);
    }

    #[track_caller]
    fn fails(&mut self, number: usize, error: EmbedError, expected: &str) {
        let (token, _) = self.provider[number];
        self.check(ServerInput::Embedded { token, answer: Err(error) }, expected);
    }

    #[track_caller]
    fn stored(&mut self, number: usize, answer: Result<StoreReply, StoreError>, expected: &str) {
        self.check(ServerInput::Stored { token: self.store[number].0, answer }, expected);
    }

    #[track_caller]
    fn check(&mut self, input: ServerInput<PlainRequest>, expected: &str) {
        let mut effects = Vec::new();
        self.server.handle(at_ms(0), input.clone(), &mut effects);
        let words: Vec<_> = effects.iter().map(|effect| self.word(effect)).collect();
        assert_eq!(words.join(", "), expected, "after {input:?}");
    }

    fn word(&mut self, effect: &ServerEffect<PlainReply>) -> String {
        match effect {
            ServerEffect::Reply { token, reply: Err(status) } => format!("{}: {}", token.0, status.code()),
            ServerEffect::Reply { token, reply: Ok(sealed) } => match &sealed.reply.result {
                Ok(None) => format!("{}: done", token.0),
                Ok(Some(payload)) => format!("{}: {}", token.0, shown(payload)),
                Err(rejection) => format!("{}: {rejection}", token.0),
            },
            ServerEffect::Embed { token, texts } => {
                self.provider.push((*token, texts.len()));
                format!("embed {} [{}]", self.provider.len() - 1, texts.join(" "))
            }
            ServerEffect::Store { token, request } => {
                self.store.push((*token, request.clone()));
                let number = self.store.len() - 1;
                match request {
                    StoreRequest::StoreEmbedding(request) => {
                        format!("store {number} save {} v{}", request.id, mark(&request.vector))
                    }
                    StoreRequest::DeleteEmbedding(request) => format!("store {number} delete {}", request.id),
                    StoreRequest::SearchEmbeddings(request) => {
                        format!("store {number} search {} near v{}", request.limit, mark(&request.vector))
                    }
                    other => panic!("{other:?}"),
                }
            }
            ServerEffect::Cache { token: None, request: CacheRequest::Refresh { states, .. } } => {
                let told = states
                    .iter()
                    .map(|state| format!("{}{}", state.key, if state.publish { "!" } else { "" }));
                format!("refresh {:?} [{}]", states[0].keep, told.collect::<Vec<_>>().join(" "))
            }
            other => panic!("{other:?}"),
        }
    }
}

fn ask(number: u64, kind: Kind, data: &str) -> PlainRequest {
    let request = Request {
        kind,
        data_type: SyncDataType::VectorEmbedding,
        map: map("m"),
        data: data.into(),
        timestamp: at_ms(0).wall,
        operation: operation(1, number),
        critical: false,
        sequence: number,
    };
    PlainRequest { request, iv: [number as u8; 16], fault: None }
}

/// A vector that says which it is.
fn vector(number: usize) -> Vector {
    let mut numbers = vec![0.5; limits::EMBEDDING_DIMENSIONS];
    numbers[0] = number as f32;
    Vector::new(numbers).unwrap()
}

fn mark(vector: &Vector) -> f32 {
    vector.numbers()[0]
}

/// A payload with its vectors as what they say.
fn shown(payload: &str) -> String {
    (0..8).fold(payload.to_owned(), |text, n| text.replace(&vector(n).to_base64(), &format!("v{n}")))
}

fn applied(verdict: Verdict, duplicate: bool) -> Result<StoreReply, StoreError> {
    Ok(StoreReply::Applied(vec![Applied { verdict, duplicate }]))
}

const DONE: Verdict = Verdict::Applied { version: 1 };

#[test]
fn vectors_are_given_in_the_order_of_the_texts() {
    let mut main = Main::new();
    main.asks(7, 1, Kind::Embed, r#"{"texts":["a","b"]}"#, "embed 0 [a b]");
    main.gives(0, r#"7: {"vectors":["v0","v1"]}"#);
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn texts_gather_while_the_provider_is_busy_and_each_operation_gets_its_own() {
    let mut main = Main::new();
    for n in 0..limits::EMBEDDING_REQUESTS_IN_FLIGHT_MAX as u64 {
        main.asks(n, n, Kind::Embed, &format!(r#"{{"texts":["{n}"]}}"#), &format!("embed {n} [{n}]"));
    }
    main.asks(10, 10, Kind::Embed, r#"{"texts":["a","b"]}"#, "");
    main.asks(11, 11, Kind::SyncTo, r#"{"text":"c","name":"n"}"#, "");
    main.asks(12, 12, Kind::Search, r#"{"text":"d","limit":3}"#, "");
    main.gives(0, r#"0: {"vectors":["v0"]}, embed 4 [a b c d]"#);
    main.gives(4, r#"10: {"vectors":["v0","v1"]}, store 0 save 1/m/n v2, store 1 search 3 near v3"#);
    main.stored(0, applied(DONE, false), "11: done");
    let found = Match {
        id: serde_json::from_str(r#""1/m/n""#).unwrap(),
        distance: vector(1).distance(&vector(1)),
        metadata: Metadata::parse(r#"{"text":"c"}"#).unwrap(),
    };
    main.stored(
        1,
        Ok(StoreReply::Found(vec![found])),
        r#"12: {"matches":[{"id":"1/m/n","distance_billionths":0,"metadata":{"text":"c"}}]}"#,
    );
}

#[test]
fn what_is_stored_says_whose_it_is() {
    let mut main = Main::new();
    main.asks(1, 1, Kind::SyncTo, r#"{"text":"a \"b\"","metadata":{"z":1,"k":[]}}"#, r#"embed 0 [a "b"]"#);
    main.gives(0, "store 0 save 1/m/1-0000000000000001-1 v0");
    let StoreRequest::StoreEmbedding(request) = &main.store[0].1 else { panic!("{:?}", main.store) };
    let expected = r#"{"account_id":1,"map_name":"m","metadata":{"k":[],"z":1},"text":"a \"b\""}"#;
    assert_eq!(request.metadata.as_str(), expected);
    assert_eq!(request.apply.operation, operation(1, 1));
}

#[test]
fn a_search_by_vector_and_a_removal_need_no_provider() {
    let settings = ServerSettings { vector_maps: [map("m")].into(), ..ServerSettings::default() };
    let mut main = Main::with(settings);
    let near = format!(r#"{{"vector":"{}"}}"#, vector(5).to_base64());
    main.asks(1, 1, Kind::Search, &near, "store 0 search 10 near v5");
    main.stored(0, Ok(StoreReply::Found(Vec::new())), r#"1: {"matches":[]}"#);
    main.asks(2, 2, Kind::SyncTo, r#"{"delete":"n"}"#, "store 1 delete 1/m/n");
    main.stored(1, applied(DONE, false), "2: done");
    let none = "3: embedding_failed: no embedding provider is configured";
    main.asks(3, 3, Kind::Embed, r#"{"texts":["a"]}"#, none);
}

#[test]
fn a_map_that_is_not_eligible_gives_nothing_to_the_provider() {
    let mut main = Main::with(ServerSettings {
        vector_maps: [map("other")].into(),
        embeds: true,
        ..ServerSettings::default()
    });
    for (kind, data) in [
        (Kind::Embed, r#"{"texts":["a"]}"#),
        (Kind::Search, r#"{"text":"a"}"#),
        (Kind::SyncTo, r#"{"text":"a"}"#),
        (Kind::SyncTo, r#"{"delete":"a"}"#),
    ] {
        let expected = "1: map_not_eligible: the map m is not in vector_eligible_maps";
        main.asks(1, 1, kind, data, expected);
    }
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn failures_of_the_provider_are_typed_and_have_no_effect_and_are_not_kept() {
    let mut main = Main::new();
    for (number, (error, expected)) in [
        (EmbedError::Unavailable, "embedding_unavailable: the embedding provider is not available"),
        (EmbedError::TimedOut, "embedding_unavailable: the embedding provider did not answer in time"),
        (EmbedError::RateLimited, "embedding_unavailable: the embedding provider refuses load"),
        (
            EmbedError::Refused(401),
            "embedding_failed: the embedding provider refused the request with HTTP 401",
        ),
        (
            EmbedError::Invalid(sync_core::embedding::InvalidReply::Malformed),
            "embedding_failed: the embedding provider's answer is not usable: it is malformed",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        main.asks(1, 1, Kind::SyncTo, r#"{"text":"a"}"#, &format!("embed {number} [a]"));
        main.fails(number, error, &format!("1: {expected}"));
    }
    assert!(main.store.is_empty());
    main.asks(1, 1, Kind::SyncTo, r#"{"text":"a"}"#, "embed 5 [a]");
    main.gives(5, "store 0 save 1/m/1-0000000000000001-1 v0");
    main.stored(0, Err(StoreError::Unavailable), "1: 503");
    assert_eq!(main.server.open_exchanges(), 0);
}

#[test]
fn too_few_vectors_are_no_vectors() {
    let mut main = Main::new();
    main.asks(1, 1, Kind::Embed, r#"{"texts":["a","b"]}"#, "embed 0 [a b]");
    let (token, _) = main.provider[0];
    let expected =
        "1: embedding_failed: the embedding provider's answer is not usable: 1 vectors for 2 texts";
    main.check(ServerInput::Embedded { token, answer: Ok(vec![vector(0)]) }, expected);
    // It is answered once.
    main.check(ServerInput::Embedded { token, answer: Ok(vec![vector(0), vector(1)]) }, "");
}

#[test]
fn a_text_that_the_provider_refuses_takes_no_other_along() {
    let mut main = Main::new();
    for n in 0..limits::EMBEDDING_REQUESTS_IN_FLIGHT_MAX as u64 {
        main.asks(n, n, Kind::Embed, &format!(r#"{{"texts":["{n}"]}}"#), &format!("embed {n} [{n}]"));
    }
    main.asks(10, 10, Kind::Embed, r#"{"texts":["a"]}"#, "");
    main.asks(11, 11, Kind::Embed, r#"{"texts":["b"]}"#, "");
    main.gives(0, r#"0: {"vectors":["v0"]}, embed 4 [a b]"#);
    main.fails(4, EmbedError::Refused(400), "embed 5 [a]");
    main.gives(5, r#"10: {"vectors":["v0"]}, embed 6 [b]"#);
    let expected = "11: embedding_failed: the embedding provider refused the request with HTTP 400";
    main.fails(6, EmbedError::Refused(400), expected);
}

#[test]
fn a_later_attempt_joins_the_first_and_both_are_answered() {
    let mut main = Main::new();
    main.asks(1, 1, Kind::SyncTo, r#"{"text":"a","name":"n"}"#, "embed 0 [a]");
    main.asks(2, 1, Kind::SyncTo, r#"{"text":"a","name":"n"}"#, "");
    main.gives(0, "store 0 save 1/m/n v0");
    main.asks(3, 1, Kind::SyncTo, r#"{"text":"a","name":"n"}"#, "");
    main.stored(0, applied(DONE, false), "1: done, 2: done, 3: done");
    // After the end it is the database that knows it.
    main.asks(4, 1, Kind::SyncTo, r#"{"text":"a","name":"n"}"#, "embed 1 [a]");
    main.gives(1, "store 1 save 1/m/n v0");
    main.stored(1, applied(DONE, true), "4: done");
    let counters = main.server.counters();
    assert_eq!((counters.applied, counters.duplicates, counters.embed_requests), (1, 1, 2));
}

#[test]
fn more_texts_than_may_wait_are_refused_for_now() {
    let mut main = Main::new();
    let data = serde_json::json!({"texts": vec!["x"; limits::EMBEDDING_BATCH_TEXTS_MAX]}).to_string();
    let full = (limits::EMBEDDING_TEXTS_WAITING_MAX / limits::EMBEDDING_BATCH_TEXTS_MAX
        + limits::EMBEDDING_REQUESTS_IN_FLIGHT_MAX) as u64;
    for n in 0..full {
        let mut effects = Vec::new();
        let request = ServerInput::Request { token: Token(n), request: ask(n, Kind::Embed, &data) };
        main.server.handle(at_ms(0), request, &mut effects);
        assert!(
            effects.iter().all(|effect| matches!(effect, ServerEffect::Embed { .. })),
            "{n}: {effects:?}"
        );
    }
    main.asks(full, full, Kind::Embed, &data, &format!("{full}: 429"));
    assert_eq!(main.server.open_exchanges(), full as usize);
}

#[test]
fn an_operation_that_comes_out_of_order_says_so() {
    let mut main = Main::new();
    main.asks(1, 1, Kind::SyncTo, r#"{"text":"a"}"#, "embed 0 [a]");
    main.gives(0, "store 0 save 1/m/1-0000000000000001-1 v0");
    let expected = "1: out_of_order: sequence 2 of this map and type took effect before";
    main.stored(0, applied(Verdict::OutOfOrder { last: 2 }, false), expected);
}

#[test]
fn subscribers_are_told_of_critical_ones() {
    let mut main = Main::new();
    let mut request = ask(1, Kind::SyncTo, r#"{"text":"a"}"#);
    request.request.critical = true;
    main.check(ServerInput::Request { token: Token(1), request }, "embed 0 [a]");
    main.gives(0, "store 0 save 1/m/1-0000000000000001-1 v0");
    main.stored(0, applied(DONE, false), "refresh Nothing [VECTOR_EMBEDDING/1/m!], 1: done");
}
