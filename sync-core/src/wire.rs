//! What travels between a host and the main server, as JSON: the request around a sealed frame, the
//! body inside it, and the replies to both.
//!
//! Everything is strict: an unknown field, a second spelling of a number or an id, an integer at or
//! above 2^53 is refused, so that what one side means is what the other reads.
//!
//! Serde decides what is accepted. The one form in which messages are written is also read directly, see
//! `canonical`.

pub(crate) mod canonical;

pub mod batch;
pub mod embedding;
pub mod entries;
pub(crate) mod legacy;
pub mod updates;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::data_type::SyncDataType;
use crate::id::{AccountId, MapName, OperationId};
use crate::limits;
use crate::time::Timestamp;

/// What a host asks of the main server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Here is a state or an event.
    SyncTo,
    /// What is the current state?
    SyncFrom,
    /// What are the vectors of these texts?
    Embed,
    /// Which embeddings are nearest?
    Search,
    /// What does an application's entry hold?
    CacheGet,
    /// An application's entry is to hold this.
    CacheSet,
    /// An application's entry is to go.
    CacheDelete,
    /// Is an application's entry there?
    CacheExists,
    /// What critical updates were there since?
    Subscribe,
    /// Here is how the host does; which parts does it play?
    Report,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::SyncTo,
        Self::SyncFrom,
        Self::Embed,
        Self::Search,
        Self::CacheGet,
        Self::CacheSet,
        Self::CacheDelete,
        Self::CacheExists,
        Self::Subscribe,
        Self::Report,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyncTo => "sync_to",
            Self::SyncFrom => "sync_from",
            Self::Embed => "embed",
            Self::Search => "search",
            Self::CacheGet => "cache_get",
            Self::CacheSet => "cache_set",
            Self::CacheDelete => "cache_delete",
            Self::CacheExists => "cache_exists",
            Self::Subscribe => "subscribe",
            Self::Report => "report",
        }
    }

    /// Whether it concerns its type and map; the other kinds only wait in line by them.
    pub const fn is_typed(self) -> bool {
        matches!(self, Self::SyncTo | Self::SyncFrom | Self::Embed | Self::Search | Self::Report)
    }
}

/// One operation as it travels inside a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub kind: Kind,
    /// What it concerns.
    pub data_type: SyncDataType,
    /// The map it concerns.
    pub map: MapName,
    /// JSON text.
    pub data: Arc<str>,
    /// When the frame was sealed, by the host's wall clock; whole milliseconds travel.
    pub timestamp: Timestamp,
    /// Its name; the account in it is the host's.
    pub operation: OperationId,
    /// Whether it is critical.
    pub critical: bool,
    /// Counts the session's operations for this map and type, from 1.
    pub sequence: u64,
}

/// Why a server did not do as asked. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The time on the request is too far from the server's.
    #[error("stale_timestamp")]
    StaleTimestamp,
    /// `data` is larger than the server takes.
    #[error("too_large")]
    TooLarge,
    /// `data` is not JSON text.
    #[error("malformed_data")]
    MalformedData,
    /// This type cannot be synchronised this way.
    #[error("unsupported")]
    Unsupported,
    /// A later operation on the same map and type took effect before.
    #[error("out_of_order")]
    OutOfOrder,
    /// Texts of this map may not be embedded.
    #[error("map_not_eligible")]
    MapNotEligible,
    /// The embedding provider is away, takes too long or refuses load: ask again later.
    #[error("embedding_unavailable")]
    EmbeddingUnavailable,
    /// The embedding provider refuses the texts, its answer is not usable, or there is none.
    #[error("embedding_failed")]
    EmbeddingFailed,
    /// The cache is away: nothing is known of applications' entries.
    #[error("cache_unavailable")]
    CacheUnavailable,
    /// It writes what belongs to a map whose primary is another account.
    #[error("fenced")]
    Fenced,
    /// A rule on the data does not hold; the message names it, and the numbers.
    #[error("rule_violated")]
    RuleViolated,
}

/// A server's answer to one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Which operation is answered.
    pub operation: OperationId,
    /// The server's wall clock; whole milliseconds travel.
    pub server_time: Timestamp,
    /// The payload, if the kind has one, or why not.
    pub result: Result<Option<Arc<str>>, Rejection>,
}

/// Why an operation was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// For programs.
    pub code: ErrorCode,
    /// For people; names the rule and the numbers.
    pub message: Arc<str>,
}

/// The text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed message")]
pub struct Malformed;

/// What stands around a frame on its way to the server: only this is readable on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterRequest<'a> {
    /// Whose operation it is; chooses the key.
    pub account_id: u32,
    /// The operation's id.
    #[serde(borrow)]
    pub operation_id: Cow<'a, str>,
    /// Whether it is critical.
    pub is_critical: bool,
    /// The frame in base64.
    #[serde(borrow)]
    pub encrypted_data: Cow<'a, str>,
}

/// What stands around a frame on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterReply<'a> {
    /// The frame in base64.
    #[serde(borrow)]
    pub encrypted_data: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody<'a> {
    kind: Kind,
    #[serde(rename = "type")]
    data_type: u64,
    account_id: u32,
    #[serde(borrow)]
    map_name: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    timestamp: u64,
    #[serde(borrow)]
    operation_id: Cow<'a, str>,
    is_critical: bool,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyBody<'a> {
    success: bool,
    #[serde(borrow)]
    error_message: Option<Cow<'a, str>>,
    error_code: Option<ErrorCode>,
    #[serde(borrow)]
    operation_id: Cow<'a, str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    server_time: u64,
}

/// Payload of a reply to [`Kind::SyncFrom`]: the state as JSON text with its version, or null for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatePayload<'a> {
    /// Version of the state, from 1.
    pub version: u64,
    /// The state.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
}

impl Request {
    /// Appends the body's JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        canonical::write_request(self, out);
    }

    /// Reads a body.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        canonical::read_request(json).map_or_else(|| Self::read_by_serde(json), Ok)
    }

    #[cfg(test)]
    fn write_by_serde(&self, out: &mut Vec<u8>) {
        let mut id = [0; OperationId::TEXT_BYTES_MAX];
        let body = RequestBody {
            kind: self.kind,
            data_type: u64::from(self.data_type.wire()),
            account_id: self.operation.account.0,
            map_name: self.map.as_str().into(),
            data: (&*self.data).into(),
            timestamp: self.timestamp.as_ms(),
            operation_id: self.operation.text(&mut id).into(),
            is_critical: self.critical,
            sequence: self.sequence,
        };
        write(&body, out);
    }

    fn read_by_serde(json: &[u8]) -> Result<Self, Malformed> {
        let body: RequestBody<'_> = read(json)?;
        let operation: OperationId = body.operation_id.parse().map_err(|_| Malformed)?;
        let in_range =
            body.timestamp <= limits::JSON_INTEGER_MAX && body.sequence <= limits::JSON_INTEGER_MAX;
        if operation.account.0 != body.account_id || !in_range {
            return Err(Malformed);
        }
        Ok(Self {
            kind: body.kind,
            data_type: SyncDataType::from_wire(body.data_type).ok_or(Malformed)?,
            map: MapName::new(&body.map_name).map_err(|_| Malformed)?,
            data: body.data.into(),
            timestamp: Timestamp::from_ms(body.timestamp),
            operation,
            critical: body.is_critical,
            sequence: body.sequence,
        })
    }
}

impl Reply {
    /// Appends the body's JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.result {
            // A payload comes from `StatePayload`; text that is no JSON would make the reply unreadable.
            Ok(Some(json)) if serde_json::from_str::<&RawValue>(json).is_err() => {
                canonical::write_reply(&Self { result: Ok(None), ..self.clone() }, out);
            }
            _ => canonical::write_reply(self, out),
        }
    }

    /// Reads a body.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        canonical::read_reply(json).map_or_else(|| Self::read_by_serde(json), Ok)
    }

    #[cfg(test)]
    fn write_by_serde(&self, out: &mut Vec<u8>) {
        let payload = match &self.result {
            Ok(Some(json)) => serde_json::from_str::<&RawValue>(json).ok(),
            _ => None,
        };
        let rejection = self.result.as_ref().err();
        let mut id = [0; OperationId::TEXT_BYTES_MAX];
        let body = ReplyBody {
            success: rejection.is_none(),
            error_message: rejection.map(|r| (&*r.message).into()),
            error_code: rejection.map(|r| r.code),
            operation_id: self.operation.text(&mut id).into(),
            payload,
            server_time: self.server_time.as_ms(),
        };
        write(&body, out);
    }

    fn read_by_serde(json: &[u8]) -> Result<Self, Malformed> {
        let body: ReplyBody<'_> = read(json)?;
        if body.server_time > limits::JSON_INTEGER_MAX {
            return Err(Malformed);
        }
        let result = match (body.success, body.error_code, body.error_message) {
            (true, None, None) => Ok(body.payload.map(|raw| raw.get().into())),
            (false, Some(code), Some(message)) if body.payload.is_none() => {
                Err(Rejection { code, message: message.into() })
            }
            _ => return Err(Malformed),
        };
        Ok(Self {
            operation: body.operation_id.parse().map_err(|_| Malformed)?,
            server_time: Timestamp::from_ms(body.server_time),
            result,
        })
    }
}

impl OuterRequest<'_> {
    /// The operation's id, if it is canonical and of this account.
    pub fn operation(&self) -> Result<OperationId, Malformed> {
        let operation: OperationId = self.operation_id.parse().map_err(|_| Malformed)?;
        if operation.account == AccountId(self.account_id) { Ok(operation) } else { Err(Malformed) }
    }
}

impl StatePayload<'_> {
    /// The payload's JSON text.
    pub fn to_json(&self) -> Arc<str> {
        let mut out = Vec::with_capacity(self.data.len() + 32);
        write(self, &mut out);
        String::from_utf8(out).unwrap_or_default().into()
    }
}

/// Appends the JSON text of a message.
pub fn write<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    // Plain structs of text and numbers into memory: serialising cannot fail.
    let written = serde_json::to_writer(out, message);
    debug_assert!(written.is_ok());
}

/// Reads one message and nothing after it.
pub fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(json).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Incarnation;

    fn request(data: &str) -> Request {
        Request {
            kind: Kind::SyncTo,
            data_type: SyncDataType::MapState,
            map: MapName::new("prontera").unwrap(),
            data: data.into(),
            timestamp: Timestamp::from_ms(1_700_000_000_000),
            operation: OperationId { account: AccountId(7), incarnation: Incarnation(0xab), counter: 3 },
            critical: true,
            sequence: 2,
        }
    }

    #[test]
    fn a_request_has_the_published_names() {
        let mut json = Vec::new();
        request(r#"{"hp":1}"#).write(&mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"kind":"sync_to","type":0,"account_id":7,"map_name":"prontera","data":"{\"hp\":1}","timestamp":1700000000000,"operation_id":"7-00000000000000ab-3","is_critical":true,"sequence":2}"#
        );
    }

    #[test]
    fn each_kind_travels_under_its_name() {
        for kind in Kind::ALL {
            let there = Request { kind, ..request("{}") };
            let (mut json, mut by_serde) = (Vec::new(), Vec::new());
            there.write(&mut json);
            there.write_by_serde(&mut by_serde);
            assert_eq!(json, by_serde);
            assert!(json.starts_with(format!("{{\"kind\":\"{}\"", kind.name()).as_bytes()));
            assert_eq!(canonical::read_request(&json), Some(there.clone()));
            assert_eq!(Request::read_by_serde(&json), Ok(there));
        }
    }

    #[test]
    fn a_reply_has_the_published_names() {
        let mut json = Vec::new();
        let payload = StatePayload { version: 4, data: r#"{"hp":1}"#.into() }.to_json();
        let reply = Reply {
            operation: request("").operation,
            server_time: Timestamp::from_ms(5),
            result: Ok(Some(payload)),
        };
        reply.write(&mut json);
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"success":true,"error_message":null,"error_code":null,"operation_id":"7-00000000000000ab-3","payload":{"version":4,"data":"{\"hp\":1}"},"server_time":5}"#
        );
        assert_eq!(Reply::read(&json), Ok(reply));
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        let good = r#"{"kind":"sync_to","type":0,"account_id":7,"map_name":"m","data":"","timestamp":1,"operation_id":"7-00000000000000ab-3","is_critical":true,"sequence":2}"#;
        assert!(Request::read(good.as_bytes()).is_ok());
        for (from, to) in [
            ("\"type\":0", "\"type\":12"),
            ("\"account_id\":7", "\"account_id\":8"),
            ("\"sequence\":2", "\"sequence\":9007199254740992"),
            ("\"sequence\":2", "\"sequence\":2,\"more\":1"),
            ("\"sequence\":2", "\"sequence\":2.0"),
            ("00ab-3", "00AB-3"),
            ("\"kind\":\"sync_to\"", "\"kind\":\"sync\""),
        ] {
            let wrong = good.replace(from, to);
            assert_ne!(wrong, good);
            assert_eq!(Request::read(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_data_survives_the_way(data in any::<String>()) {
            let mut json = Vec::new();
            let there = request(&data);
            there.write(&mut json);
            prop_assert_eq!(Request::read(&json), Ok(there));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::read(&bytes);
            let _ = Reply::read(&bytes);
            let _ = read::<OuterRequest<'_>>(&bytes);
        }
    }
}
