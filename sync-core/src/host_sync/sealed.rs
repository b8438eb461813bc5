//! The codec of production: JSON bodies sealed in the envelope of version 2 (`wire.md`).
//!
//! A request travels as `{"account_id", "operation_id", "is_critical", "encrypted_data"}`, a reply as
//! `{"encrypted_data"}`. What stands outside the frame is bound to it by the tag, and once more by
//! comparison with the body.

use std::cell::RefCell;

use super::codec::{HostCodec, OpenError, Opened, ServerCodec, Untrusted};
use crate::envelope::{self, Direction, Form, Header, HostRing, KeyUse, MasterRing};
use crate::id::{AccountId, OperationId};
use crate::limits;
use crate::wire::{self, OuterReply, OuterRequest, Reply, Request, canonical, legacy};

/// The body of an HTTP request or response.
pub type Body = Vec<u8>;

/// A host's end.
#[derive(Clone, Debug)]
pub struct SealedHost {
    ring: HostRing,
}

/// The main server's end.
#[derive(Clone, Debug)]
pub struct SealedServer {
    ring: MasterRing,
}

/// Memory used again from one message to the next.
#[derive(Clone, Debug, Default)]
struct Buffers {
    plaintext: Vec<u8>,
    frame: Vec<u8>,
}

impl SealedHost {
    /// Seals and opens with these keys.
    pub fn new(ring: HostRing) -> Self {
        Self { ring }
    }
}

impl SealedServer {
    /// Seals and opens with the keys derived from these.
    pub fn new(ring: MasterRing) -> Self {
        Self { ring }
    }

    /// Takes other keys in place of those that it has, which are forgotten; gives those that are in use now. For
    /// drivers: a new key is a secret, so it is no input. What is in use is told by one next
    /// ([`ServerInput::UseKeys`](super::server::ServerInput::UseKeys)), so that a recording has it.
    pub fn replace_keys(&mut self, ring: MasterRing) -> KeyUse {
        self.ring = ring;
        self.ring.in_use()
    }

    /// How many keys open requests, a legacy one not counted.
    pub fn keys_in_use(&self) -> usize {
        self.ring.in_use_count()
    }
}

impl SealedServer {
    /// A request in the older form, where its key was given.
    fn open_legacy(&self, json: &[u8], frame: &mut Vec<u8>, plaintext: &mut Vec<u8>) -> Option<Opened> {
        let outer = legacy::Outer::read(json).ok()?;
        envelope::decode_base64(outer.encrypted_data.as_bytes(), frame).ok()?;
        self.ring.open_legacy(frame, plaintext).ok()?;
        let request = outer.request(plaintext).ok()?;
        Some(Opened { request, nonce: nonce(frame), form: Form::Legacy })
    }
}

impl HostCodec for SealedHost {
    type Request = Body;
    type Reply = Body;

    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> Body {
        with_buffers(|Buffers { plaintext, frame }| {
            request.write(plaintext);
            let header = header(Direction::Request, request.operation, request.critical);
            self.ring.seal(&header, iv, plaintext, frame);
            outer(frame, |body| canonical::write_outer_request(request.operation, request.critical, body))
        })
    }

    fn open(&mut self, operation: OperationId, critical: bool, reply: &Body) -> Result<Reply, Untrusted> {
        let json = bounded(reply).ok_or(Untrusted)?;
        with_buffers(|Buffers { plaintext, frame }| {
            reply_frame(json, frame).ok_or(Untrusted)?;
            let header = header(Direction::Reply, operation, critical);
            let form = self.ring.open(&header, frame, plaintext).map_err(|_| Untrusted)?;
            let reply = Reply::read(plaintext).map_err(|_| Untrusted)?;
            if form == Form::Version2 && reply.operation == operation { Ok(reply) } else { Err(Untrusted) }
        })
    }

    fn use_keys(&mut self, keys: &KeyUse) {
        self.ring.use_keys(keys);
    }
}

impl ServerCodec for SealedServer {
    type Request = Body;
    type Reply = Body;

    fn open(&mut self, request: &Body) -> Result<Opened, OpenError> {
        let json = bounded(request).ok_or(OpenError::TooLarge)?;
        with_buffers(|Buffers { plaintext, frame }| {
            let Some((operation, is_critical)) = request_frame(json, frame) else {
                return self.open_legacy(json, frame, plaintext).ok_or(OpenError::Refused);
            };
            let header = header(Direction::Request, operation, is_critical);
            let form = self.ring.open(&header, frame, plaintext).map_err(|_| OpenError::Refused)?;
            let request = Request::read(plaintext).map_err(|_| OpenError::Refused)?;
            let bound = request.operation == operation && request.critical == is_critical;
            if form == Form::Version2 && bound {
                Ok(Opened { request, nonce: nonce(frame), form })
            } else {
                Err(OpenError::Refused)
            }
        })
    }

    fn seal(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> Body {
        with_buffers(|Buffers { plaintext, frame }| {
            reply.write(plaintext);
            let header = header(Direction::Reply, reply.operation, critical);
            self.ring.seal(&header, iv, plaintext, frame);
            outer(frame, |body| body.extend_from_slice(canonical::OUTER_REPLY))
        })
    }

    fn seal_legacy(&mut self, _: bool, reply: &Reply, iv: [u8; 16]) -> Body {
        with_buffers(|Buffers { plaintext, frame }| {
            legacy::write_reply(reply, plaintext);
            // Without the key there is no request of this form to answer; an empty frame answers nothing.
            let sealed = self.ring.seal_legacy(iv, plaintext, frame);
            debug_assert!(sealed.is_ok());
            outer(frame, |body| body.extend_from_slice(canonical::OUTER_REPLY))
        })
    }

    fn use_keys(&mut self, keys: &KeyUse) {
        self.ring.use_keys(keys);
    }
}

/// What stands around a frame, written directly: base64, ids and numbers need no escape, and the
/// frame is most of the body. A test compares it with what serde writes.
fn outer(frame: &[u8], write_head: impl FnOnce(&mut Body)) -> Body {
    let mut body = Body::with_capacity(frame.len().div_ceil(3) * 4 + OUTER_BYTES_TYPICAL);
    write_head(&mut body);
    envelope::append_base64(frame, &mut body);
    body.extend_from_slice(canonical::OUTER_END);
    body
}

/// Replaces the content of `frame` by the one in a request's body; says whose operation it is to be and
/// whether it is critical. Text that is base64 throughout needs no serde to be told from anything else.
fn request_frame(json: &[u8], frame: &mut Vec<u8>) -> Option<(OperationId, bool)> {
    if let Some((operation, is_critical, text)) = canonical::read_outer_request(json)
        && envelope::decode_base64(text, frame).is_ok()
    {
        return Some((operation, is_critical));
    }
    let outer: OuterRequest<'_> = wire::read(json).ok()?;
    let operation = outer.operation().ok()?;
    envelope::decode_base64(outer.encrypted_data.as_bytes(), frame).ok()?;
    Some((operation, outer.is_critical))
}

/// Replaces the content of `frame` by the one in a reply's body.
fn reply_frame(json: &[u8], frame: &mut Vec<u8>) -> Option<()> {
    if let Some(text) = canonical::read_outer_reply(json)
        && envelope::decode_base64(text, frame).is_ok()
    {
        return Some(());
    }
    let outer: OuterReply<'_> = wire::read(json).ok()?;
    envelope::decode_base64(outer.encrypted_data.as_bytes(), frame).ok()
}

/// Hands out this thread's buffers, empty. A process may have thousands of sessions, so none has its own.
fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static BUFFERS: RefCell<Buffers> = RefCell::default();
    }
    BUFFERS.with_borrow_mut(|buffers| {
        buffers.plaintext.clear();
        buffers.frame.clear();
        work(buffers)
    })
}

fn header(direction: Direction, operation: OperationId, is_critical: bool) -> Header {
    Header { direction, account: AccountId(operation.account.0), operation, is_critical }
}

fn bounded(body: &[u8]) -> Option<&[u8]> {
    (body.len() <= limits::BODY_BYTES_MAX).then_some(body)
}

/// Eight bytes of the tag: no two authentic frames share them but by chance.
fn nonce(frame: &[u8]) -> u64 {
    frame.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

const OUTER_BYTES_TYPICAL: usize = 192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data_type::SyncDataType;
    use crate::envelope::MasterKey;
    use crate::id::{Incarnation, MapName};
    use crate::time::Timestamp;
    use crate::wire::Kind;

    fn ends() -> (SealedHost, SealedServer) {
        let master: MasterKey = "p2p-master:k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let host = master.host_key(AccountId(7));
        (
            SealedHost::new(HostRing::new(host, Vec::new()).unwrap()),
            SealedServer::new(MasterRing::new(master, Vec::new()).unwrap()),
        )
    }

    fn request() -> Request {
        Request {
            kind: Kind::SyncTo,
            data_type: SyncDataType::PlayerPosition,
            map: MapName::new("prontera").unwrap(),
            data: r#"{"x":1,"y":2}"#.into(),
            timestamp: Timestamp::from_ms(1_700_000_000_000),
            operation: OperationId { account: AccountId(7), incarnation: Incarnation(9), counter: 1 },
            critical: true,
            sequence: 1,
        }
    }

    #[test]
    fn a_request_and_its_reply_make_the_round() {
        let (mut host, mut server) = ends();
        let body = host.seal(&request(), [1; 16]);
        let opened = server.open(&body).unwrap();
        assert_eq!(opened.request, request());
        let reply = Reply {
            operation: request().operation,
            server_time: Timestamp::from_ms(5),
            result: Ok(Some(r#"{"version":1,"data":"{}"}"#.into())),
        };
        let body = server.seal(true, &reply, [2; 16]);
        assert_eq!(host.open(request().operation, true, &body), Ok(reply.clone()));
        let other = OperationId { counter: 2, ..request().operation };
        assert_eq!(host.open(other, true, &body), Err(Untrusted));
        assert_eq!(host.open(request().operation, false, &body), Err(Untrusted));
    }

    #[test]
    fn what_stands_around_a_frame_is_what_serde_writes() {
        let (mut host, mut server) = ends();
        let body = host.seal(&request(), [1; 16]);
        let outer: OuterRequest<'_> = wire::read(&body).unwrap();
        let mut again = Vec::new();
        wire::write(&outer, &mut again);
        assert_eq!(String::from_utf8(again), String::from_utf8(body));
        let reply =
            Reply { operation: request().operation, server_time: Timestamp::from_ms(5), result: Ok(None) };
        let body = server.seal(true, &reply, [2; 16]);
        let outer: OuterReply<'_> = wire::read(&body).unwrap();
        let mut again = Vec::new();
        wire::write(&outer, &mut again);
        assert_eq!(again, body);
    }

    #[test]
    fn nothing_of_an_earlier_message_is_left_in_a_later_one() {
        let (mut host, mut server) = ends();
        let reply = Reply {
            operation: request().operation,
            server_time: Timestamp::from_ms(5),
            result: Ok(Some(r#"{"version":1,"data":"{}"}"#.into())),
        };
        let first = server.seal(true, &reply, [2; 16]);
        let shorter = Reply { result: Ok(None), ..reply.clone() };
        let second = server.seal(true, &shorter, [3; 16]);
        assert!(second.len() < first.len());
        assert_eq!(host.open(reply.operation, true, &second), Ok(shorter));
        for _ in 0..2 {
            assert_eq!(server.open(&host.seal(&request(), [1; 16])).map(|o| o.request), Ok(request()));
        }
    }

    #[test]
    fn a_request_is_no_reply_and_plain_text_is_neither() {
        let (mut host, mut server) = ends();
        let body = host.seal(&request(), [1; 16]);
        assert_eq!(host.open(request().operation, true, &body), Err(Untrusted));
        let plain = br#"{"success":true,"error_message":null}"#.to_vec();
        assert_eq!(host.open(request().operation, true, &plain), Err(Untrusted));
        assert_eq!(server.open(&plain), Err(OpenError::Refused));
        assert_eq!(server.open(&vec![b' '; limits::BODY_BYTES_MAX + 1]), Err(OpenError::TooLarge));
    }

    const LEGACY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    /// A request as the older hosts send it.
    fn legacy_request(id: &str, inner_id: &str, inner_critical: bool, iv: [u8; 16]) -> Body {
        let inside = format!(
            r#"{{"type":2,"account_id":7,"map_name":"prontera","data":"{{\"x\":1}}","timestamp":1700000000000,"operation_id":"{inner_id}","is_critical":{inner_critical}}}"#
        );
        let key: envelope::LegacyKey = LEGACY.parse().unwrap();
        let (mut frame, mut text) = (Vec::new(), String::new());
        key.seal(iv, inside.as_bytes(), &mut frame);
        envelope::encode_base64(&frame, &mut text);
        format!(r#"{{"encrypted_data":"{text}","operation_id":"{id}","is_critical":true}}"#).into_bytes()
    }

    #[test]
    fn a_legacy_request_is_opened_only_with_its_key_and_answered_in_its_form() {
        let (mut host, mut off) = ends();
        let mut on = SealedServer::new(off.ring.clone().with_legacy(LEGACY.parse().unwrap()));
        let body = legacy_request("op_1", "op_1", true, [1; 16]);
        assert_eq!(off.open(&body), Err(OpenError::Refused));
        let opened = on.open(&body).unwrap();
        let Request { kind, data_type, map, data, timestamp, operation, critical, sequence } =
            opened.request.clone();
        assert_eq!((kind, data_type, map.as_str()), (Kind::SyncTo, SyncDataType::PlayerPosition, "prontera"));
        assert_eq!((&*data, timestamp.as_ms()), (r#"{"x":1}"#, 1_700_000_000_000));
        assert_eq!((operation.account.0, critical, sequence), (7, true, 1));
        assert_eq!(opened.form, Form::Legacy);
        // The same id is the same operation, however it was encrypted; another one is another.
        let again = on.open(&legacy_request("op_1", "op_1", true, [2; 16])).unwrap();
        assert_eq!(again.request.operation, operation);
        let other = on.open(&legacy_request("op_2", "op_2", true, [2; 16])).unwrap();
        assert_ne!(other.request.operation, operation);
        // What stands outside must be what stands inside.
        for differs in [("op_1", "op_2", true), ("op_1", "op_1", false), ("", "", true)] {
            let body = legacy_request(differs.0, differs.1, differs.2, [1; 16]);
            assert_eq!(on.open(&body), Err(OpenError::Refused));
        }
        let server_time = Timestamp::from_ms(5);
        let done = Reply { operation, server_time, result: Ok(None) };
        let rejection = wire::Rejection { code: wire::ErrorCode::StaleTimestamp, message: "too old".into() };
        let rejected = Reply { result: Err(rejection), ..done.clone() };
        for (reply, expected) in [
            (done, r#"{"success":true,"error_message":""}"#),
            (rejected, r#"{"success":false,"error_message":"too old"}"#),
        ] {
            let body = on.seal_legacy(true, &reply, [3; 16]);
            let (mut frame, mut plaintext) = (Vec::new(), Vec::new());
            reply_frame(&body, &mut frame).unwrap();
            LEGACY.parse::<envelope::LegacyKey>().unwrap().open(&frame, &mut plaintext).unwrap();
            assert_eq!(String::from_utf8(plaintext).unwrap(), expected);
            // No host of version 2 believes it, not even one that was given the key.
            assert_eq!(host.open(request().operation, true, &body), Err(Untrusted));
            let ring = host.ring.clone().with_legacy(LEGACY.parse().unwrap());
            assert_eq!(SealedHost::new(ring).open(request().operation, true, &body), Err(Untrusted));
        }
    }

    /// Neither a frame of version 2 in the older form around it, nor the other way round.
    #[test]
    fn forms_do_not_mix() {
        let (mut host, off) = ends();
        let mut on = SealedServer::new(off.ring.with_legacy(LEGACY.parse().unwrap()));
        let sealed = String::from_utf8(host.seal(&request(), [1; 16])).unwrap();
        let bare = sealed.replace(r#""account_id":7,"#, "");
        assert_ne!(bare, sealed);
        assert_eq!(on.open(&bare.into_bytes()), Err(OpenError::Refused));
        let legacy = legacy_request("7-0000000000000009-1", "7-0000000000000009-1", true, [1; 16]);
        let dressed = String::from_utf8(legacy).unwrap().replacen('{', r#"{"account_id":7,"#, 1);
        assert_eq!(on.open(&dressed.into_bytes()), Err(OpenError::Refused));
    }

    /// Not only in the frame: wherever in the whole HTTP body a bit flips, the body is refused.
    #[test]
    fn every_bit_flip_of_a_body_is_refused() {
        let (mut host, mut server) = ends();
        let sealed = host.seal(&request(), [1; 16]);
        let reply =
            Reply { operation: request().operation, server_time: Timestamp::from_ms(5), result: Ok(None) };
        let answer = server.seal(true, &reply, [2; 16]);
        for bit in 0..sealed.len() * 8 {
            let mut body = sealed.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(server.open(&body), Err(OpenError::Refused), "bit {bit}");
        }
        for bit in 0..answer.len() * 8 {
            let mut body = answer.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(host.open(reply.operation, true, &body), Err(Untrusted), "bit {bit}");
        }
    }

    /// What surrounds a frame is read in any form that serde takes, not only in the one that is written.
    #[test]
    fn a_body_in_another_form_opens_as_well() {
        let (mut host, mut server) = ends();
        let sealed = String::from_utf8(host.seal(&request(), [1; 16])).unwrap();
        let spaced = sealed.replace(',', " , ");
        assert_eq!(server.open(&spaced.into_bytes()).map(|o| o.request), Ok(request()));
        let (head, tail) = sealed.split_once("\"encrypted_data\":\"").unwrap();
        let first = tail.as_bytes()[0];
        let escaped = format!("{head}\"encrypted_data\":\"\\u{first:04x}{}", &tail[1..]);
        assert_eq!(server.open(&escaped.into_bytes()).map(|o| o.request), Ok(request()));
        let reply =
            Reply { operation: request().operation, server_time: Timestamp::from_ms(5), result: Ok(None) };
        let answer = String::from_utf8(server.seal(true, &reply, [2; 16])).unwrap();
        let spaced = answer.replace(':', " : ");
        assert_eq!(host.open(reply.operation, true, &spaced.into_bytes()), Ok(reply));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Damage anywhere is refused, and what the direct reading takes serde takes for the same.
        #[test]
        fn what_surrounds_a_frame_is_read_as_by_serde(at: prop::sample::Index, byte: u8, put_in: bool) {
            let (mut host, mut server) = ends();
            let reply =
                Reply { operation: request().operation, server_time: Timestamp::from_ms(5), result: Ok(None) };
            for body in [host.seal(&request(), [1; 16]), server.seal(true, &reply, [2; 16])] {
                let mut body = body;
                let at = at.index(body.len());
                if put_in { body.insert(at, byte) } else { body[at] = byte }
                let (mut frame, mut by_serde) = (Vec::new(), Vec::new());
                let outer = wire::read::<OuterRequest<'_>>(&body).ok().and_then(|outer| {
                    let operation = outer.operation().ok()?;
                    envelope::decode_base64(outer.encrypted_data.as_bytes(), &mut by_serde).ok()?;
                    Some((operation, outer.is_critical))
                });
                prop_assert_eq!(request_frame(&body, &mut frame), outer);
                prop_assert!(outer.is_none() || frame == by_serde);
                let outer = wire::read::<OuterReply<'_>>(&body).ok().and_then(|outer| {
                    envelope::decode_base64(outer.encrypted_data.as_bytes(), &mut by_serde).ok()
                });
                prop_assert_eq!(reply_frame(&body, &mut frame), outer);
                prop_assert!(outer.is_none() || frame == by_serde);
            }
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (mut host, mut server) = ends();
            prop_assert_eq!(server.open(&bytes), Err(OpenError::Refused));
            prop_assert_eq!(host.open(request().operation, true, &bytes), Err(Untrusted));
        }
    }
}
