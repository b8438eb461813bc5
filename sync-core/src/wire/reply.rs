//! A server's answer to one operation: the body inside a frame.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Malformed, canonical, read, write};
use crate::id::OperationId;
use crate::limits;
use crate::time::Timestamp;

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

/// Payload of a reply to [`Kind::SyncFrom`](super::Kind::SyncFrom): the state as JSON text with its version, or null for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatePayload<'a> {
    /// Version of the state, from 1.
    pub version: u64,
    /// The state.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
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
    pub(super) fn write_by_serde(&self, out: &mut Vec<u8>) {
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

    pub(super) fn read_by_serde(json: &[u8]) -> Result<Self, Malformed> {
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

impl StatePayload<'_> {
    /// The payload's JSON text.
    pub fn to_json(&self) -> Arc<str> {
        let mut out = Vec::with_capacity(self.data.len() + 32);
        write(self, &mut out);
        String::from_utf8(out).unwrap_or_default().into()
    }
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
