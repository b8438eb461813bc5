//! Any value that can stand in a recording.

mod hosting;

use std::sync::Arc;

use proptest::prelude::*;
use sync_core::cache::{CacheError, CacheKey, CacheReply, CacheRequest, CacheValue, Keep, Refresh};
use sync_core::data_type::SyncDataType;
use sync_core::embedding::{EmbedError, InvalidReply, InvalidVector, Metadata, Vector};
use sync_core::envelope::KeyUse;
use sync_core::host_sync::operation::{Ask, AskError, Outcome, TlsFault, TransportError};
use sync_core::host_sync::server::{ServerEffect, ServerInput, Status};
use sync_core::host_sync::session::{SessionEffect, SessionInput};
use sync_core::id::{AccountId, Incarnation, MapName, OperationId, Token};
use sync_core::limits;
use sync_core::store::{
    Applied, Apply, SearchEmbeddings, StateKey, StateRow, StoreError, StoreReply, StoreRequest, Verdict,
};
use sync_core::time::{Span, Timestamp};
use sync_core::wire::{ErrorCode, Kind, Rejection};

fn text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        Just(br#"{"base64":"AA=="}"#.to_vec()),
    ]
}

fn map() -> impl Strategy<Value = MapName> {
    "[A-Za-z0-9_.@#-]{0,64}".prop_map(|name| MapName::new(&name).unwrap())
}

fn data_type() -> impl Strategy<Value = SyncDataType> {
    prop::sample::select(SyncDataType::ALL.to_vec())
}

fn operation() -> impl Strategy<Value = OperationId> {
    any::<(u32, u64, u64)>().prop_map(|(account, incarnation, counter)| OperationId {
        account: AccountId(account),
        incarnation: Incarnation(incarnation),
        counter,
    })
}

fn token() -> impl Strategy<Value = Token> {
    any::<u64>().prop_map(Token)
}

fn span() -> impl Strategy<Value = Span> {
    any::<u64>().prop_map(Span::from_us)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_us)
}

fn state_key() -> impl Strategy<Value = StateKey> {
    (data_type(), any::<u32>(), map()).prop_map(|(data_type, owner, map)| StateKey {
        data_type,
        owner: AccountId(owner),
        map,
    })
}

fn transport_error() -> impl Strategy<Value = TransportError> {
    prop_oneof![
        Just(TransportError::Unreachable),
        Just(TransportError::TimedOut),
        any::<u16>().prop_map(TransportError::Status),
        Just(TransportError::Untrusted),
        Just(TransportError::Tls(TlsFault::Expired)),
        Just(TransportError::Stale),
    ]
}

fn answer<T: Clone + std::fmt::Debug, E: Clone + std::fmt::Debug>(
    good: impl Strategy<Value = T>,
    bad: impl Strategy<Value = E>,
) -> impl Strategy<Value = Result<T, E>> {
    prop_oneof![good.prop_map(Ok), bad.prop_map(Err)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let code = prop::sample::select(vec![
        ErrorCode::StaleTimestamp,
        ErrorCode::TooLarge,
        ErrorCode::MalformedData,
        ErrorCode::Unsupported,
        ErrorCode::OutOfOrder,
        ErrorCode::MapNotEligible,
        ErrorCode::EmbeddingUnavailable,
        ErrorCode::EmbeddingFailed,
    ]);
    prop_oneof![
        prop::option::of(text()).prop_map(Outcome::Done),
        (code, text()).prop_map(|(code, message)| Outcome::Rejected(Rejection { code, message })),
        Just(Outcome::DeadlineExceeded),
        transport_error().prop_map(Outcome::Failed),
        Just(Outcome::Superseded),
        Just(Outcome::Displaced),
        any::<bool>().prop_map(|sent| Outcome::ShutDown { sent }),
    ]
}

fn key_use() -> impl Strategy<Value = KeyUse> {
    let id = || "[a-z0-9-]{1,32}".prop_map(|id| id.parse().unwrap());
    (id(), prop::collection::vec(id(), 0..3)).prop_map(|(seals, opens)| KeyUse { seals, opens })
}

pub(crate) fn session_input() -> impl Strategy<Value = SessionInput<Vec<u8>>> {
    let kind = prop::sample::select(vec![Kind::SyncTo, Kind::SyncFrom, Kind::Embed, Kind::Search]);
    prop_oneof![
        (any::<u64>(), kind, data_type(), map(), text(), any::<bool>(), any::<bool>()).prop_map(
            |(ticket, kind, data_type, map, data, critical, priority)| SessionInput::Ask(Ask {
                ticket,
                kind,
                data_type,
                map,
                data,
                critical,
                priority
            })
        ),
        (token(), answer(body(), transport_error()), prop::option::of(span()))
            .prop_map(|(token, answer, retry_after)| SessionInput::Answered { token, answer, retry_after }),
        span().prop_map(|drain| SessionInput::ShutDown { drain }),
        key_use().prop_map(SessionInput::UseKeys),
    ]
}

pub(crate) fn session_effect() -> impl Strategy<Value = SessionEffect<Vec<u8>>> {
    let error = prop_oneof![
        any::<usize>().prop_map(|waiting| AskError::QueueFull { waiting }),
        any::<(usize, usize)>().prop_map(|(bytes, max)| AskError::TooLarge { bytes, max }),
        Just(AskError::ShuttingDown),
    ];
    prop_oneof![
        (any::<u64>(), operation())
            .prop_map(|(ticket, operation)| SessionEffect::Accepted { ticket, operation }),
        (any::<u64>(), any::<bool>(), error).prop_map(|(ticket, critical, error)| SessionEffect::Refused {
            ticket,
            critical,
            error
        }),
        (token(), any::<u64>(), operation(), any::<u32>(), any::<bool>(), body()).prop_map(
            |(token, ticket, operation, attempt, critical, request)| SessionEffect::Send {
                joins: attempt % 2 == 0,
                token,
                ticket,
                operation,
                attempt,
                critical,
                request
            }
        ),
        (any::<u64>(), operation(), any::<bool>(), outcome()).prop_map(
            |(ticket, operation, critical, outcome)| SessionEffect::Finished {
                ticket,
                operation,
                critical,
                outcome
            }
        ),
        (any::<u64>(), operation(), any::<bool>())
            .prop_map(|(ticket, operation, success)| SessionEffect::Late { ticket, operation, success }),
        token().prop_map(|token| SessionEffect::Untrusted { token }),
        any::<usize>().prop_map(|cut_short| SessionEffect::Stopped { cut_short }),
    ]
}

fn applied() -> impl Strategy<Value = Applied> {
    let verdict = prop_oneof![
        any::<u64>().prop_map(|version| Verdict::Applied { version }),
        any::<u64>().prop_map(|last| Verdict::OutOfOrder { last }),
        hosting::verdict(),
    ];
    (verdict, any::<bool>()).prop_map(|(verdict, duplicate)| Applied { verdict, duplicate })
}

pub(crate) fn server_input() -> impl Strategy<Value = ServerInput<Vec<u8>>> {
    let row = (any::<u64>(), text(), operation(), moment())
        .prop_map(|(version, data, operation, updated)| StateRow { version, data, operation, updated });
    let stored = prop_oneof![
        prop::collection::vec(applied(), 0..4).prop_map(StoreReply::Applied),
        prop::option::of(row).prop_map(StoreReply::Loaded),
        any::<u64>().prop_map(StoreReply::Purged),
        hosting::reply(),
    ];
    let value = (any::<u64>(), text()).prop_map(|(version, data)| CacheValue { version, data });
    let cached = prop_oneof![
        prop::option::of(value).prop_map(CacheReply::Value),
        Just(CacheReply::Done),
        any::<bool>().prop_map(CacheReply::Found),
    ];
    prop_oneof![
        (token(), body()).prop_map(|(token, request)| ServerInput::Request { token, request }),
        (token(), answer(stored, Just(StoreError::Unavailable)))
            .prop_map(|(token, answer)| ServerInput::Stored { token, answer }),
        (token(), answer(cached, Just(CacheError::Unavailable)))
            .prop_map(|(token, answer)| ServerInput::Cached { token, answer }),
        key_use().prop_map(ServerInput::UseKeys),
        (token(), answer(prop::collection::vec(vector(), 0..3), embed_error()))
            .prop_map(|(token, answer)| ServerInput::Embedded { token, answer }),
    ]
}

fn store_request() -> impl Strategy<Value = StoreRequest> {
    let condition = prop::option::of(hosting::condition().prop_map(Box::new));
    let what = (operation(), data_type(), map(), any::<u64>(), any::<bool>(), text(), moment());
    let apply = (what, condition).prop_map(
        |((operation, data_type, map, sequence, critical, data, received), condition)| Apply {
            operation,
            data_type,
            map,
            sequence,
            critical,
            data,
            received,
            condition,
        },
    );
    prop_oneof![
        prop::collection::vec(apply, 0..3).prop_map(|batch| StoreRequest::ApplyBatch(Arc::new(batch))),
        state_key().prop_map(StoreRequest::Load),
        moment().prop_map(|before| StoreRequest::Purge { before }),
        (vector(), any::<u32>()).prop_map(|(vector, limit)| {
            let filter = Some(Metadata::parse(r#"{"a":[1]}"#).unwrap());
            StoreRequest::SearchEmbeddings(Arc::new(SearchEmbeddings { vector, limit, filter }))
        }),
        hosting::request(),
    ]
}

fn embed_error() -> impl Strategy<Value = EmbedError> {
    prop::sample::select(vec![
        EmbedError::NotConfigured,
        EmbedError::TimedOut,
        EmbedError::Refused(400),
        EmbedError::Invalid(InvalidReply::Count { asked: 2, given: 1 }),
        EmbedError::Invalid(InvalidReply::Vector(InvalidVector::Dimensions { given: 7 })),
    ])
}

fn vector() -> impl Strategy<Value = Vector> {
    (1u8..9).prop_map(|number| {
        let mut numbers = vec![f32::from(number) / 7.0; limits::EMBEDDING_DIMENSIONS];
        numbers[3] = -0.1;
        Vector::new(numbers).unwrap()
    })
}

fn cache_request() -> impl Strategy<Value = CacheRequest> {
    let key = || prop_oneof![state_key().prop_map(CacheKey::State), text().prop_map(CacheKey::Text)];
    let keep = prop::sample::select(vec![Keep::Value, Keep::Version, Keep::Nothing]);
    let refresh = (state_key(), any::<u64>(), text(), operation(), keep, any::<bool>()).prop_map(
        |(key, version, data, operation, keep, publish)| Refresh {
            key,
            version,
            data,
            operation,
            keep,
            publish,
        },
    );
    prop_oneof![
        key().prop_map(CacheRequest::Get),
        (key(), text(), prop::option::of(moment())).prop_map(|(key, value, expires)| CacheRequest::Set {
            key,
            value,
            expires
        }),
        (prop::collection::vec(refresh, 0..3), prop::option::of(moment()))
            .prop_map(|(states, expires)| CacheRequest::Refresh { states: Arc::new(states), expires }),
        key().prop_map(CacheRequest::Delete),
        key().prop_map(CacheRequest::Exists),
        Just(CacheRequest::Flush),
    ]
}

pub(crate) fn server_effect() -> impl Strategy<Value = ServerEffect<Vec<u8>>> {
    let status = prop::sample::select(vec![
        Status::Refused,
        Status::TooLarge,
        Status::Overloaded,
        Status::Unavailable,
    ]);
    prop_oneof![
        (token(), answer(body(), status)).prop_map(|(token, reply)| ServerEffect::Reply { token, reply }),
        (token(), store_request()).prop_map(|(token, request)| ServerEffect::Store { token, request }),
        (prop::option::of(token()), cache_request())
            .prop_map(|(token, request)| ServerEffect::Cache { token, request }),
        (token(), prop::collection::vec(text(), 0..3))
            .prop_map(|(token, texts)| ServerEffect::Embed { token, texts: Arc::new(texts) }),
        Just(ServerEffect::Follow),
    ]
}
