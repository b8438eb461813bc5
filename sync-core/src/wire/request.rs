//! What a host asks of the main server: the body inside a frame.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Malformed, canonical, read};
use crate::data_type::SyncDataType;
use crate::id::{MapName, OperationId};
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
    pub(super) fn write_by_serde(&self, out: &mut Vec<u8>) {
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
        super::write(&body, out);
    }

    pub(super) fn read_by_serde(json: &[u8]) -> Result<Self, Malformed> {
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
