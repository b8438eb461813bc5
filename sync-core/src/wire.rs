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
mod outer;
mod reply;
mod request;
pub mod updates;

pub use outer::{OuterReply, OuterRequest};
pub use reply::{ErrorCode, Rejection, Reply, StatePayload};
pub use request::{Kind, Request};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed message")]
pub struct Malformed;

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
    use crate::data_type::SyncDataType;
    use crate::id::{AccountId, Incarnation, MapName, OperationId};
    use crate::time::Timestamp;

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
