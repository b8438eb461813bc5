//! A codec without a cipher whose messages have the size of sealed ones.
//!
//! For runs of millions of operations: what the cipher costs is not simulated, what it means is. An
//! altered message is refused like an altered frame.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sync_core::envelope::Form;
use sync_core::host_sync::codec::{HostCodec, OpenError, Opened, ServerCodec, Untrusted};
use sync_core::id::OperationId;
use sync_core::recording::frame::Frame;
use sync_core::wire::{Reply, Request};

use super::rotation::SealMark;
use super::variant::Message;
use crate::scenario::model::Tamper;

/// A request with the size that it would have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelledRequest {
    request: Request,
    nonce: u64,
    bytes: u32,
    altered: bool,
}

/// A reply with the size that it would have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelledReply {
    reply: Reply,
    critical: bool,
    bytes: u32,
    altered: bool,
}

/// A host's end.
#[derive(Clone, Copy, Debug)]
pub struct ModelledHost;

/// The main server's end.
#[derive(Clone, Copy, Debug)]
pub struct ModelledServer;

impl HostCodec for ModelledHost {
    type Request = ModelledRequest;
    type Reply = ModelledReply;

    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> ModelledRequest {
        let nonce = u64::from_le_bytes([iv[0], iv[1], iv[2], iv[3], iv[4], iv[5], iv[6], iv[7]]);
        let bytes = request_bytes(request) as u32;
        // Whole milliseconds travel.
        let timestamp = sync_core::time::Timestamp::from_ms(request.timestamp.as_ms());
        ModelledRequest { request: Request { timestamp, ..request.clone() }, nonce, bytes, altered: false }
    }

    fn open(
        &mut self,
        operation: OperationId,
        critical: bool,
        reply: &ModelledReply,
    ) -> Result<Reply, Untrusted> {
        let bound = reply.reply.operation == operation && reply.critical == critical;
        if bound && !reply.altered { Ok(reply.reply.clone()) } else { Err(Untrusted) }
    }
}

impl ServerCodec for ModelledServer {
    type Request = ModelledRequest;
    type Reply = ModelledReply;

    fn open(&mut self, request: &ModelledRequest) -> Result<Opened, OpenError> {
        if request.altered {
            return Err(OpenError::Refused);
        }
        Ok(Opened { request: request.request.clone(), nonce: request.nonce, form: Form::Version2 })
    }

    fn seal(&mut self, critical: bool, reply: &Reply, _: [u8; 16]) -> ModelledReply {
        ModelledReply { reply: reply.clone(), critical, bytes: reply_bytes(reply) as u32, altered: false }
    }
}

impl Message for ModelledRequest {
    fn bytes(&self) -> u64 {
        u64::from(self.bytes)
    }

    /// Marked, and refused because it is; a request has no reply to swap with.
    fn tamper(&mut self, how: Tamper, _: u64, _: Option<&Self>) -> bool {
        self.altered = how != Tamper::SwapReply;
        self.altered
    }

    fn mark(&self) -> Option<SealMark> {
        None
    }

    fn texts(&self, _: impl FnMut(&[u8])) {}
}

impl Message for ModelledReply {
    fn bytes(&self) -> u64 {
        u64::from(self.bytes)
    }

    /// Marked, and refused because it is. Another operation's reply is what it is, and refused by its name.
    fn tamper(&mut self, how: Tamper, _: u64, other: Option<&Self>) -> bool {
        match (how, other) {
            (Tamper::SwapReply, Some(other)) => self.clone_from(other),
            (Tamper::SwapReply, None) | (Tamper::ChangeOuter, _) => return false,
            _ => self.altered = true,
        }
        true
    }

    fn mark(&self) -> Option<SealMark> {
        None
    }

    fn texts(&self, _: impl FnMut(&[u8])) {}
}

impl Frame for ModelledRequest {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl Frame for ModelledReply {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// Size of the sealed body of a request.
fn request_bytes(request: &Request) -> usize {
    let id = id_chars(request.operation);
    let account = decimal_chars(u64::from(request.operation.account.0));
    let kind = request.kind.name().len();
    let body = r#"{"kind":"","type":,"account_id":,"map_name":"","data":"","timestamp":,"operation_id":"","is_critical":,"sequence":}"#.len()
        + kind
        + decimal_chars(u64::from(request.data_type.wire()))
        + account
        + request.map.as_str().len()
        + escaped_bytes(&request.data)
        + decimal_chars(request.timestamp.as_ms())
        + id
        + bool_chars(request.critical)
        + decimal_chars(request.sequence);
    let outer = r#"{"account_id":,"operation_id":"","is_critical":,"encrypted_data":""}"#.len();
    outer + account + id + bool_chars(request.critical) + base64_chars(frame_bytes(body))
}

/// Size of the sealed body of a reply.
fn reply_bytes(reply: &Reply) -> usize {
    let text = |text: Option<&str>| text.map_or(4, |text| escaped_bytes(text) + 2);
    let rejection = reply.result.as_ref().err();
    let payload = reply.result.as_ref().ok().and_then(Option::as_ref);
    let body = r#"{"success":,"error_message":,"error_code":,"operation_id":"","payload":,"server_time":}"#
        .len()
        + bool_chars(rejection.is_none())
        + text(rejection.map(|r| &*r.message))
        + rejection.map_or(4, |r| r.code.to_string().len() + 2)
        + id_chars(reply.operation)
        + payload.map_or(4, |json| json.len())
        + decimal_chars(reply.server_time.as_ms());
    r#"{"encrypted_data":""}"#.len() + base64_chars(frame_bytes(body))
}

fn frame_bytes(plaintext: usize) -> usize {
    sync_core::envelope::frame_bytes("world".len(), plaintext)
}

fn base64_chars(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

fn id_chars(id: OperationId) -> usize {
    decimal_chars(u64::from(id.account.0)) + 1 + 16 + 1 + decimal_chars(id.counter)
}

fn decimal_chars(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

fn bool_chars(value: bool) -> usize {
    if value { 4 } else { 5 }
}

/// Bytes of a text inside a JSON string (RFC 8259, section 7), as serde_json writes it.
fn escaped_bytes(text: &str) -> usize {
    // Two passes that look at many bytes at once: data without control characters is the rule.
    if text.bytes().filter(|byte| *byte < 0x20).count() == 0 {
        return text.len() + text.bytes().filter(|byte| (*byte == b'"') | (*byte == b'\\')).count();
    }
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sync_core::data_type::SyncDataType;
    use sync_core::host_sync::codec::{HostCodec as _, ServerCodec as _};
    use sync_core::id::{AccountId, Incarnation, MapName};
    use sync_core::time::Timestamp;
    use sync_core::wire::{ErrorCode, Kind, Rejection};

    use super::super::variant::{Modelled, Sealed, Variant, WorldKeys};
    use super::*;
    use crate::draw::Draws;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The benchmark's modelled frames are as long as real ones, to the byte.
        #[test]
        fn a_modelled_message_is_as_long_as_a_sealed_one(
            data in any::<String>(), account in 1u32.., counter in 1u64..1 << 50, critical in any::<bool>(),
            time in 0u64..1 << 50, from in any::<bool>(), rejected in any::<bool>(),
        ) {
            let keys = WorldKeys::new(Draws::new(1));
            let operation = OperationId { account: AccountId(account), incarnation: Incarnation(1), counter };
            let request = Request {
                kind: if from { Kind::SyncFrom } else { Kind::SyncTo },
                data_type: SyncDataType::ALL[(account % 12) as usize],
                map: MapName::new("prontera").unwrap(),
                data: data.as_str().into(),
                timestamp: Timestamp::from_ms(time),
                operation,
                critical,
                sequence: counter,
            };
            let sealed = Sealed.host_codec(&keys, operation.account).seal(&request, [0; 16]);
            let modelled = Modelled.host_codec(&keys, operation.account).seal(&request, [0; 16]);
            prop_assert_eq!(sealed.bytes(), modelled.bytes());
            let payload = serde_json::to_string(&data).unwrap();
            let result = match rejected {
                true => Err(Rejection { code: ErrorCode::OutOfOrder, message: data.into() }),
                false if from => Ok(Some(payload.into())),
                false => Ok(None),
            };
            let reply = Reply { operation, server_time: Timestamp::from_ms(time), result };
            let sealed = Sealed.server_codec(&keys).seal(critical, &reply, [0; 16]);
            let modelled = Modelled.server_codec(&keys).seal(critical, &reply, [0; 16]);
            prop_assert_eq!(sealed.bytes(), modelled.bytes());
        }
    }
}
