//! What somebody on the way can do to the body of a sealed message without a key.

use std::borrow::Cow;

use sync_core::envelope::{self, BLOCK_BYTES, IV_BYTES, TAG_BYTES};
use sync_core::host_sync::sealed::Body;
use sync_core::wire::{self, OuterReply, OuterRequest};

use super::rotation::SealMark;
use crate::scenario::model::Tamper;

/// Does this to the body; says whether anything was done.
pub(super) fn body(body: &mut Body, how: Tamper, draw: u64, other: Option<&Body>) -> bool {
    let done = match how {
        Tamper::FlipBit => flip_bit(body, draw),
        Tamper::Truncate => truncate(body, draw),
        Tamper::SwapBlocks => {
            with_frame(body, |frame| swap_blocks(frame, draw).then_some(())).map(|outer| outer.body())
        }
        Tamper::UnknownVersion => {
            with_frame(body, |frame| unknown_version(frame, draw)).map(|outer| outer.body())
        }
        Tamper::ChangeOuter => change_outer(body, draw),
        Tamper::SwapReply => other.filter(|other| **other != *body).cloned(),
        Tamper::Downgrade => downgrade(body, draw),
    };
    let Some(done) = done else { return false };
    *body = done;
    true
}

/// The frame of a message.
pub(super) fn frame(body: &[u8]) -> Option<Vec<u8>> {
    let mut outer = Outer::read(body)?;
    let mut frame = Vec::new();
    envelope::decode_base64(outer.encrypted_data().as_bytes(), &mut frame).ok()?;
    Some(frame)
}

/// What stands in clear in the frame of a message.
pub(super) fn mark(body: &[u8]) -> Option<SealMark> {
    let frame = frame(body)?;
    let ciphertext = ciphertext_at(&frame)?;
    let (key, iv) = frame[2..ciphertext.start].split_last_chunk()?;
    Some(SealMark { key: String::from_utf8(key.to_vec()).ok()?, iv: *iv })
}

/// What stands around a frame, one way or the other.
enum Outer<'a> {
    Request(OuterRequest<'a>),
    Reply(OuterReply<'a>),
}

impl<'a> Outer<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let request = wire::read(body).ok().map(Self::Request);
        request.or_else(|| wire::read(body).ok().map(Self::Reply))
    }

    fn encrypted_data(&mut self) -> &mut Cow<'a, str> {
        match self {
            Self::Request(request) => &mut request.encrypted_data,
            Self::Reply(reply) => &mut reply.encrypted_data,
        }
    }

    fn body(&self) -> Body {
        let mut body = Body::new();
        match self {
            Self::Request(request) => wire::write(request, &mut body),
            Self::Reply(reply) => wire::write(reply, &mut body),
        }
        body
    }
}

/// The message with its frame changed.
fn with_frame<'a>(body: &'a [u8], change: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<Outer<'a>> {
    let mut outer = Outer::read(body)?;
    let mut frame = Vec::new();
    envelope::decode_base64(outer.encrypted_data().as_bytes(), &mut frame).ok()?;
    change(&mut frame)?;
    let mut text = String::new();
    envelope::encode_base64(&frame, &mut text);
    *outer.encrypted_data() = text.into();
    Some(outer)
}

fn flip_bit(body: &[u8], draw: u64) -> Option<Body> {
    let mut body = body.to_vec();
    let bit = below(draw, body.len() * 8);
    *body.get_mut(bit / 8)? ^= 1 << (bit % 8);
    Some(body)
}

/// Cuts off blocks of the frame, bytes of the frame, or the end of the JSON text.
fn truncate(body: &[u8], draw: u64) -> Option<Body> {
    let (kind, draw) = (draw % 3, draw / 3 * 3);
    if kind == 0 {
        return Some(body[..below(draw, body.len())].to_vec());
    }
    let cut = with_frame(body, |frame| {
        let step = if kind == 1 { BLOCK_BYTES } else { 1 };
        let pieces = frame.len() / step;
        let kept = frame.len().checked_sub((1 + below(draw, pieces)) * step)?;
        frame.truncate(kept);
        Some(())
    })?;
    Some(cut.body())
}

/// Lets two different blocks of the ciphertext change places.
fn swap_blocks(frame: &mut [u8], draw: u64) -> bool {
    let Some(ciphertext) = ciphertext_at(frame) else { return false };
    let blocks = ciphertext.len() / BLOCK_BYTES;
    if blocks < 2 {
        return false;
    }
    let first = below(draw, blocks - 1);
    let at = |block: usize| ciphertext.start + block * BLOCK_BYTES;
    let (head, tail) = frame.split_at_mut(at(first + 1));
    let (one, other) = (&mut head[at(first)..], &mut tail[..BLOCK_BYTES]);
    one.swap_with_slice(other);
    one != other
}

/// Another number in front, of a version older or newer than what is spoken.
fn unknown_version(frame: &mut [u8], draw: u64) -> Option<()> {
    let version = frame.first_mut()?;
    *version = version.wrapping_add(1 + below(draw, 255) as u8);
    Some(())
}

/// Where the ciphertext of a frame of version 2 lies.
fn ciphertext_at(frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = 2 + usize::from(*frame.get(1)?) + IV_BYTES;
    let end = frame.len().checked_sub(TAG_BYTES)?;
    (start < end).then_some(start..end)
}

/// Another operation, another urgency, or another account; a reply has none of them.
fn change_outer(body: &[u8], draw: u64) -> Option<Body> {
    let mut outer: OuterRequest<'_> = wire::read(body).ok()?;
    let mut operation = outer.operation().ok()?;
    match draw % 3 {
        0 => operation.counter += 1,
        1 => outer.is_critical = !outer.is_critical,
        _ => operation.account.0 = operation.account.0.checked_add(1)?,
    }
    outer.account_id = operation.account.0;
    outer.operation_id = operation.to_string().into();
    Some(Outer::Request(outer).body())
}

/// What a receiver of the older form, or of none, would take: plain text, or IV and ciphertext alone.
fn downgrade(body: &[u8], draw: u64) -> Option<Body> {
    let without_tag = |frame: &mut Vec<u8>| {
        let ciphertext = ciphertext_at(frame)?;
        frame.truncate(ciphertext.end);
        frame.drain(..ciphertext.start - IV_BYTES);
        Some(())
    };
    match (Outer::read(body)?, draw % 3) {
        (_, 0) => with_frame(body, without_tag).map(|outer| outer.body()),
        (Outer::Reply(_), 1) => Some(br#"{"success":true,"error_message":null}"#.to_vec()),
        (Outer::Reply(_), _) => {
            let mut text = String::new();
            envelope::encode_base64(br#"{"success":true,"error_message":null}"#, &mut text);
            Some(Outer::Reply(OuterReply { encrypted_data: text.into() }).body())
        }
        // Its published form has no account outside.
        (Outer::Request(outer), 1) => {
            let legacy = with_frame(body, without_tag)?.encrypted_data().to_string();
            let OuterRequest { operation_id, is_critical, .. } = outer;
            let json = serde_json::json!({
                "encrypted_data": legacy, "operation_id": operation_id, "is_critical": is_critical,
            });
            Some(json.to_string().into_bytes())
        }
        (Outer::Request(outer), _) => {
            let json = serde_json::json!({
                "type": 0, "account_id": outer.account_id, "map_name": "", "data": "{}", "timestamp": 0,
                "operation_id": outer.operation_id, "is_critical": outer.is_critical,
            });
            Some(json.to_string().into_bytes())
        }
    }
}

/// A number below the bound; 0 when the bound is 0.
fn below(draw: u64, bound: usize) -> usize {
    ((u128::from(draw) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sync_core::data_type::SyncDataType;
    use sync_core::host_sync::codec::{HostCodec as _, OpenError, ServerCodec as _, Untrusted};
    use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
    use sync_core::time::Timestamp;
    use sync_core::wire::{Kind, Reply, Request};

    use super::super::variant::{Sealed, Variant as _, WorldKeys};
    use super::*;
    use crate::draw::Draws;

    const ALL: [Tamper; 7] = [
        Tamper::FlipBit,
        Tamper::Truncate,
        Tamper::SwapBlocks,
        Tamper::Downgrade,
        Tamper::UnknownVersion,
        Tamper::ChangeOuter,
        Tamper::SwapReply,
    ];

    fn request(counter: u64) -> Request {
        let operation = OperationId { account: AccountId(7), incarnation: Incarnation(9), counter };
        Request {
            kind: Kind::SyncTo,
            data_type: SyncDataType::PlayerPosition,
            map: MapName::new("prontera").unwrap(),
            data: r#"{"x":1,"y":2}"#.into(),
            timestamp: Timestamp::from_ms(1_700_000_000_000),
            operation,
            critical: true,
            sequence: 1,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn whatever_is_done_to_a_message_is_refused(how in prop::sample::select(&ALL[..]), draw: u64) {
            let keys = WorldKeys::new(Draws::new(1));
            let mut host = Sealed.host_codec(&keys, AccountId(7));
            let mut server = Sealed.server_codec(&keys);
            let sealed = host.seal(&request(1), [1; 16]);
            let mut altered = sealed.clone();
            let done = body(&mut altered, how, draw, None);
            prop_assert_eq!(done, how != Tamper::SwapReply);
            prop_assert_eq!(done, altered != sealed);
            if done {
                prop_assert_eq!(server.open(&altered), Err(OpenError::Refused));
            }
            let mut reply = |counter| {
                let operation = request(counter).operation;
                let reply = Reply { operation, server_time: Timestamp::from_ms(5), result: Ok(None) };
                server.seal(true, &reply, [counter as u8; 16])
            };
            let (sealed, other) = (reply(1), reply(2));
            let mut altered = sealed.clone();
            let done = body(&mut altered, how, draw, Some(&other));
            prop_assert_eq!(done, how != Tamper::ChangeOuter);
            prop_assert_eq!(done, altered != sealed);
            if done {
                prop_assert_eq!(host.open(request(1).operation, true, &altered), Err(Untrusted));
            }
        }
    }
}
