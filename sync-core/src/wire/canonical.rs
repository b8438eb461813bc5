//! The canonical form of messages, written and read directly.
//!
//! What serde writes for a message has one form: its fields in order, no white space, the shortest escapes. The
//! writers here give exactly those bytes. The readers take exactly those bytes and say nothing about any others:
//! whoever calls them asks serde then, so that what is accepted is decided there alone. Tests hold both together.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Kind, Reply, Request};
use crate::data_type::SyncDataType;
use crate::id::{MapName, OperationId, decimal_before};
use crate::limits;
use crate::time::Timestamp;

/// Appends a request's body.
pub(super) fn write_request(request: &Request, out: &mut Vec<u8>) {
    let mut id = [0; OperationId::TEXT_BYTES_MAX];
    out.reserve(request.data.len() + request.map.as_str().len() + REQUEST_BYTES_TYPICAL);
    out.extend_from_slice(br#"{"kind":""#);
    out.extend_from_slice(request.kind.name().as_bytes());
    out.extend_from_slice(br#"","type":"#);
    push_number(out, u64::from(request.data_type.wire()));
    out.extend_from_slice(br#","account_id":"#);
    push_number(out, u64::from(request.operation.account.0));
    out.extend_from_slice(br#","map_name":""#);
    // The alphabet of map names needs no escape.
    out.extend_from_slice(request.map.as_str().as_bytes());
    out.extend_from_slice(br#"","data":""#);
    push_escaped(out, &request.data);
    out.extend_from_slice(br#"","timestamp":"#);
    push_number(out, request.timestamp.as_ms());
    out.extend_from_slice(br#","operation_id":""#);
    out.extend_from_slice(request.operation.text(&mut id).as_bytes());
    out.extend_from_slice(match request.critical {
        true => br#"","is_critical":true,"sequence":"#,
        false => br#"","is_critical":false,"sequence":"#,
    });
    push_number(out, request.sequence);
    out.push(b'}');
}

/// Reads a request's body in canonical form whose data has no other escapes than `\"` and `\\`.
pub(super) fn read_request(json: &[u8]) -> Option<Request> {
    let mut rest = Rest(std::str::from_utf8(json).ok()?);
    rest.literal(r#"{"kind":""#)?;
    let name = rest.plain()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    rest.literal(r#"","type":"#)?;
    let data_type = SyncDataType::from_wire(rest.number()?)?;
    rest.literal(r#","account_id":"#)?;
    let account = rest.number()?;
    rest.literal(r#","map_name":""#)?;
    let map = MapName::new(rest.plain()?).ok()?;
    rest.literal(r#"","data":""#)?;
    let data = rest.escaped()?;
    rest.literal(r#"","timestamp":"#)?;
    let timestamp = rest.integer()?;
    rest.literal(r#","operation_id":""#)?;
    let operation: OperationId = rest.plain()?.parse().ok()?;
    rest.literal(r#"","is_critical":"#)?;
    let critical = rest.boolean()?;
    rest.literal(r#","sequence":"#)?;
    let sequence = rest.integer()?;
    rest.literal("}")?;
    rest.end()?;
    (u64::from(operation.account.0) == account).then_some(())?;
    let timestamp = Timestamp::from_ms(timestamp);
    Some(Request { kind, data_type, map, data, timestamp, operation, critical, sequence })
}

/// Appends a reply's body; its payload, if it has one, is JSON text.
pub(super) fn write_reply(reply: &Reply, out: &mut Vec<u8>) {
    let mut id = [0; OperationId::TEXT_BYTES_MAX];
    match &reply.result {
        Ok(_) => out.extend_from_slice(REPLY_DONE.as_bytes()),
        Err(rejection) => {
            out.extend_from_slice(br#"{"success":false,"error_message":""#);
            push_escaped(out, &rejection.message);
            out.extend_from_slice(br#"","error_code":""#);
            out.extend_from_slice(rejection.code.to_string().as_bytes());
            out.extend_from_slice(br#"","operation_id":""#);
        }
    }
    out.extend_from_slice(reply.operation.text(&mut id).as_bytes());
    out.extend_from_slice(br#"","payload":"#);
    match &reply.result {
        Ok(Some(json)) => out.extend_from_slice(json.as_bytes()),
        _ => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","server_time":"#);
    push_number(out, reply.server_time.as_ms());
    out.push(b'}');
}

/// Reads the body of a reply that says no more than that it was done, in canonical form.
pub(super) fn read_reply(json: &[u8]) -> Option<Reply> {
    let mut rest = Rest(std::str::from_utf8(json).ok()?);
    rest.literal(REPLY_DONE)?;
    let operation = rest.plain()?.parse().ok()?;
    rest.literal(r#"","payload":null,"server_time":"#)?;
    let server_time = Timestamp::from_ms(rest.integer()?);
    rest.literal("}")?;
    rest.end()?;
    Some(Reply { operation, server_time, result: Ok(None) })
}

/// Appends what stands before the frame of a request, which base64 text and [`OUTER_END`] follow.
pub(crate) fn write_outer_request(operation: OperationId, is_critical: bool, out: &mut Vec<u8>) {
    let mut id = [0; OperationId::TEXT_BYTES_MAX];
    out.extend_from_slice(br#"{"account_id":"#);
    push_number(out, u64::from(operation.account.0));
    out.extend_from_slice(br#","operation_id":""#);
    out.extend_from_slice(operation.text(&mut id).as_bytes());
    out.extend_from_slice(match is_critical {
        true => br#"","is_critical":true,"encrypted_data":""#,
        false => br#"","is_critical":false,"encrypted_data":""#,
    });
}

/// Reads what stands around the frame of a request in canonical form: the operation, whether it is
/// critical, and what stands where base64 text is expected, of which nothing is known yet.
pub(crate) fn read_outer_request(json: &[u8]) -> Option<(OperationId, bool, &[u8])> {
    // All before the frame is ASCII, and short.
    let head = &json[..json.len().min(OUTER_HEAD_BYTES_MAX)];
    let head = std::str::from_utf8(head).ok()?;
    let mut rest = Rest(head);
    rest.literal(r#"{"account_id":"#)?;
    let account = rest.number()?;
    rest.literal(r#","operation_id":""#)?;
    let operation: OperationId = rest.plain()?.parse().ok()?;
    rest.literal(r#"","is_critical":"#)?;
    let is_critical = rest.boolean()?;
    rest.literal(r#","encrypted_data":""#)?;
    (u64::from(operation.account.0) == account).then_some(())?;
    let text = json[head.len() - rest.0.len()..].strip_suffix(OUTER_END)?;
    Some((operation, is_critical, text))
}

/// What stands before the frame of a reply, which base64 text and [`OUTER_END`] follow.
pub(crate) const OUTER_REPLY: &[u8] = br#"{"encrypted_data":""#;

/// What stands behind a frame.
pub(crate) const OUTER_END: &[u8] = br#""}"#;

/// What stands where base64 text is expected in a reply in canonical form, of which nothing is known yet.
pub(crate) fn read_outer_reply(json: &[u8]) -> Option<&[u8]> {
    json.strip_prefix(OUTER_REPLY)?.strip_suffix(OUTER_END)
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn literal(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.literal("true") {
            Some(()) => Some(true),
            None => self.literal("false").map(|()| false),
        }
    }

    /// A number in its one decimal form, below 10^16.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (text, rest) = self.0.split_at(digits);
        if !(1..=16).contains(&digits) || (digits > 1 && text.starts_with('0')) {
            return None;
        }
        self.0 = rest;
        Some(text.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// A number that JSON carries exactly.
    fn integer(&mut self) -> Option<u64> {
        self.number().filter(|number| *number <= limits::JSON_INTEGER_MAX)
    }

    /// Text up to the next quotation mark, without anything that JSON escapes.
    fn plain(&mut self) -> Option<&'a str> {
        let (text, rest) = self.0.split_at(plain_bytes(self.0.as_bytes()));
        self.0 = rest;
        rest.starts_with('"').then_some(text)
    }

    /// Text up to the next quotation mark that is not escaped, its escapes `\"` and `\\` undone.
    fn escaped(&mut self) -> Option<Arc<str>> {
        let plain = plain_bytes(self.0.as_bytes());
        if self.0.as_bytes().get(plain) == Some(&b'"') {
            return self.plain().map(Arc::from);
        }
        with_text(|text| {
            loop {
                let (run, rest) = self.0.split_at(plain_bytes(self.0.as_bytes()));
                text.push_str(run);
                self.0 = rest;
                match rest.as_bytes() {
                    [b'"', ..] => return Some(Arc::from(text.as_str())),
                    [b'\\', escaped @ (b'"' | b'\\'), ..] => text.push(char::from(*escaped)),
                    _ => return None,
                }
                self.0 = &rest[2..];
            }
        })
    }
}

/// Hands out this thread's text, empty: data is put together there before it is shared.
fn with_text<T>(work: impl FnOnce(&mut String) -> T) -> T {
    thread_local! {
        static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    }
    TEXT.with_borrow_mut(|text| {
        text.clear();
        work(text)
    })
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let first = decimal_before(&mut digits, 20, number);
    out.extend_from_slice(&digits[first..]);
}

/// Appends text as the inside of a JSON string (RFC 8259, section 7), escaped no more than it has to be.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (run, special) = rest.split_at(plain_bytes(rest));
        out.extend_from_slice(run);
        let Some((byte, after)) = special.split_first() else { return };
        rest = after;
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend(
                    [control >> 4, control & 0xf].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]),
                );
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

/// How many bytes stand before the first one that JSON escapes. Eight at a time: in a byte of `special` the
/// highest bit is set where the word's is a quotation mark, a backslash or a control character; a false one can
/// only stand above a true one, which is met first.
fn plain_bytes(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES * 0x80;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHS;
    let (words, remainder) = text.as_chunks::<8>();
    let mut at = 0;
    for bytes in words {
        let word = u64::from_le_bytes(*bytes);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let special = quote | backslash | below(word, 0x20);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + remainder.iter().position(special).unwrap_or(remainder.len())
}

const REPLY_DONE: &str = r#"{"success":true,"error_message":null,"error_code":null,"operation_id":""#;
/// Bytes of a request's body beside its data and its map.
const REQUEST_BYTES_TYPICAL: usize = 224;
/// More than stands before a frame.
const OUTER_HEAD_BYTES_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ErrorCode, Rejection, StatePayload};
    use super::*;
    use crate::id::{AccountId, Incarnation};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Texts in which everything that JSON escapes is frequent, at any place of a word.
    fn text() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            '"', '\\', '\n', '\u{0}', '\u{1f}', ' ', '\u{7f}', '!', '[', 'é', '\u{20ac}',
        ]);
        prop::collection::vec(prop_oneof![2 => any::<char>(), 3 => special, 5 => Just('x')], 0..40)
            .prop_map(|chars| chars.into_iter().collect())
    }

    fn operations() -> impl Strategy<Value = OperationId> {
        (any::<u32>(), any::<u64>(), 0..=limits::JSON_INTEGER_MAX).prop_map(
            |(account, incarnation, counter)| OperationId {
                account: AccountId(account),
                incarnation: Incarnation(incarnation),
                counter,
            },
        )
    }

    fn requests() -> impl Strategy<Value = Request> {
        let map = "[A-Za-z0-9_.@#-]{0,20}".prop_map(|name| MapName::new(&name).unwrap());
        let numbers = (0..=limits::JSON_INTEGER_MAX, 0..=limits::JSON_INTEGER_MAX);
        let kinds = prop::sample::select(vec![Kind::SyncTo, Kind::SyncFrom, Kind::Embed, Kind::Search]);
        (kinds, 0..12usize, map, text(), numbers, operations(), any::<bool>()).prop_map(
            |(kind, data_type, map, data, (time, sequence), operation, critical)| Request {
                kind,
                data_type: SyncDataType::ALL[data_type],
                map,
                data: data.into(),
                timestamp: Timestamp::from_ms(time),
                operation,
                critical,
                sequence,
            },
        )
    }

    fn replies() -> impl Strategy<Value = Reply> {
        use ErrorCode::{EmbeddingFailed, EmbeddingUnavailable, MapNotEligible};
        use ErrorCode::{MalformedData, OutOfOrder, StaleTimestamp, TooLarge, Unsupported};
        let codes = prop::sample::select(vec![
            StaleTimestamp,
            TooLarge,
            MalformedData,
            Unsupported,
            OutOfOrder,
            MapNotEligible,
            EmbeddingUnavailable,
            EmbeddingFailed,
        ]);
        let result = prop_oneof![
            Just(Ok(None)),
            (1u64..100, text()).prop_map(|(version, data)| {
                Ok(Some(StatePayload { version, data: data.as_str().into() }.to_json()))
            }),
            (codes, text()).prop_map(|(code, message)| Err(Rejection { code, message: message.into() })),
        ];
        (operations(), 0..=limits::JSON_INTEGER_MAX, result).prop_map(|(operation, time, result)| Reply {
            operation,
            server_time: Timestamp::from_ms(time),
            result,
        })
    }

    /// The text with one byte replaced, taken out or put in.
    fn damaged(text: &[u8], at: prop::sample::Index, how: u8, byte: u8) -> Vec<u8> {
        let mut bytes = text.to_vec();
        let at = at.index(bytes.len());
        match how % 3 {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn a_request_is_written_and_read_as_by_serde(request in requests()) {
            let json = written(|out| write_request(&request, out));
            prop_assert_eq!(&json, &written(|out| request.write_by_serde(out)));
            prop_assert_eq!(Request::read_by_serde(json.as_bytes()), Ok(request.clone()));
            let read = read_request(json.as_bytes());
            prop_assert_eq!(read.is_some(), request.data.chars().all(|c| c >= ' '), "{}", json);
            prop_assert_eq!(Request::read(json.as_bytes()), Ok(request));
        }

        #[test]
        fn a_reply_is_written_and_read_as_by_serde(reply in replies()) {
            let json = written(|out| write_reply(&reply, out));
            prop_assert_eq!(&json, &written(|out| reply.write_by_serde(out)));
            prop_assert_eq!(Reply::read_by_serde(json.as_bytes()), Ok(reply.clone()));
            prop_assert_eq!(read_reply(json.as_bytes()).is_some(), reply.result == Ok(None));
            prop_assert_eq!(Reply::read(json.as_bytes()), Ok(reply));
        }

        /// Whatever the fast readers take, serde takes for the same.
        #[test]
        fn what_is_nearly_canonical_is_read_as_by_serde(
            request in requests(), reply in replies(), at: prop::sample::Index, how: u8,
            byte in prop_oneof![any::<u8>(), prop::sample::select(br#""\{}:,0123456789 -e.ntfu/"#.to_vec())],
        ) {
            let json = damaged(written(|out| write_request(&request, out)).as_bytes(), at, how, byte);
            prop_assert_eq!(Request::read(&json), Request::read_by_serde(&json));
            let json = damaged(written(|out| write_reply(&reply, out)).as_bytes(), at, how, byte);
            prop_assert_eq!(Reply::read(&json), Reply::read_by_serde(&json));
        }

        #[test]
        fn the_first_byte_to_escape_is_found(text in text()) {
            let expected = text.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\');
            prop_assert_eq!(plain_bytes(text.as_bytes()), expected.unwrap_or(text.len()));
        }
    }
}
