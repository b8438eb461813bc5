//! What a client of the WebSocket may say, and what it is told: JSON texts with a `type`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::peer_sync::announcement::iso_text;
use crate::peer_sync::replica::Status;
use crate::time::Timestamp;

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Are you there?
    Ping,
    /// How do you stand?
    RequestStatus,
}

impl ClientMessage {
    /// Reads a text; none if it is something else, which leaves everything as it was.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// How the node stands.
pub fn status(status: &Status) -> Value {
    json!({ "type": "status", "data": status })
}

/// To a ping.
pub fn pong(now: Timestamp) -> Value {
    json!({ "type": "pong", "timestamp": iso_text(now) })
}

/// To what is no message.
pub fn misunderstood(now: Timestamp) -> Value {
    json!({
        "type": "error",
        "message": "not understood: send {\"type\":\"ping\"} or {\"type\":\"request_status\"}",
        "timestamp": iso_text(now),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_asks_two_things() {
        assert_eq!(ClientMessage::read(r#"{"type":"ping"}"#), Some(ClientMessage::Ping));
        assert_eq!(
            ClientMessage::read(r#"{"type":"request_status","x":1}"#),
            Some(ClientMessage::RequestStatus)
        );
        for wrong in ["", "ping", "{}", r#"{"type":1}"#, r#"{"type":"stop"}"#, "{\"type\":\"ping\""] {
            assert_eq!(ClientMessage::read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = ClientMessage::read(&text);
        }
    }
}
