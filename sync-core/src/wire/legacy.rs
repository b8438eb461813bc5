//! The older form of a request and of its reply, as published: no direction, no sequence, and a reply that names
//! nothing.
//!
//! Around the frame of a request stands `{"encrypted_data", "operation_id", "is_critical"}`, inside
//! `{"type", "account_id", "map_name", "data", "timestamp", "operation_id", "is_critical"}`. A reply is
//! `{"encrypted_data"}` around `{"success", "error_message"}`. Operation ids are any text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Kind, Malformed, Reply, Request, read, write};
use crate::data_type::SyncDataType;
use crate::id::{AccountId, Incarnation, MapName, OperationId};
use crate::limits;
use crate::time::Timestamp;

/// What stands around the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outer<'a> {
    /// The frame in base64.
    #[serde(borrow)]
    pub(crate) encrypted_data: Cow<'a, str>,
    #[serde(borrow)]
    operation_id: Cow<'a, str>,
    is_critical: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
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
}

#[derive(Serialize)]
struct ReplyBody<'a> {
    success: bool,
    error_message: &'a str,
}

impl<'a> Outer<'a> {
    /// Reads what stands around the frame.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, Malformed> {
        let outer: Self = read(json)?;
        let sound = (1..=limits::LEGACY_OPERATION_ID_BYTES_MAX).contains(&outer.operation_id.len());
        if sound { Ok(outer) } else { Err(Malformed) }
    }

    /// Reads the body. It must say the same as what stands outside.
    pub(crate) fn request(&self, json: &[u8]) -> Result<Request, Malformed> {
        let body: Body<'_> = read(json)?;
        let agrees = body.operation_id == self.operation_id && body.is_critical == self.is_critical;
        if !agrees || body.timestamp > limits::JSON_INTEGER_MAX {
            return Err(Malformed);
        }
        Ok(Request {
            // There is no direction: every one of them writes.
            kind: Kind::SyncTo,
            data_type: SyncDataType::from_wire(body.data_type).ok_or(Malformed)?,
            map: MapName::new(&body.map_name).map_err(|_| Malformed)?,
            data: body.data.into(),
            timestamp: Timestamp::from_ms(body.timestamp),
            operation: operation(AccountId(body.account_id), &body.operation_id),
            critical: body.is_critical,
            sequence: 1,
        })
    }
}

/// Appends the body of a reply.
pub(crate) fn write_reply(reply: &Reply, out: &mut Vec<u8>) {
    let error_message = reply.result.as_ref().map_or_else(|rejection| &*rejection.message, |_| "");
    write(&ReplyBody { success: reply.result.is_ok(), error_message }, out);
}

/// Names an operation by its account and a hash of its id: a life of a session for itself, so that it is known
/// when it comes again and stands in no order with others.
fn operation(account: AccountId, id: &str) -> OperationId {
    let hash = Sha256::new().chain_update(b"p2p-sync legacy operation").chain_update(id).finalize();
    let incarnation = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    OperationId { account, incarnation: Incarnation(incarnation), counter: 1 }
}
