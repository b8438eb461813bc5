//! The documented formats of a peer's HTTP interface and WebSocket, apart from any socket: what comes in is checked here
//! and becomes values that can be meant; what goes out is written here.
//!
//! Promises: no text makes it panic; names of tables and columns that come in are only ever looked up.

pub mod changes;
pub mod config;
pub mod moment;
pub mod notice;
pub mod openapi;
pub mod socket;
pub mod user;

use thiserror::Error;

/// What is wrong with what came in. Shown to whoever sent it; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    /// With a message that says what is wrong and what would be right.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Of text that is no JSON of the expected form, without echoing more of it than a name.
    pub fn of_json(error: &serde_json::Error) -> Self {
        Self(format!("the body is not the JSON that is expected: {error}"))
    }
}

/// At most this much of a text that came in is shown back.
const CHARS_SHOWN: usize = 80;

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(CHARS_SHOWN).collect::<String>())
}
