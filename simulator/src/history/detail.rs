//! How things went, as events tell it.

use serde::{Deserialize, Serialize};
use sync_core::host_sync::operation::{AskError, Outcome, TransportError};

use super::name::{StateName, WireId};

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Host to main server.
    ToServer,
    /// Main server to host.
    ToHost,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Acknowledged.
    Done,
    /// Refused by the server, without effect.
    Rejected,
    /// No result at the deadline: indefinite.
    DeadlineExceeded,
    /// Every attempt failed: indefinite.
    Failed,
    /// A newer value took its place before it took effect.
    Superseded,
    /// A more urgent operation took its place in the queue.
    Displaced,
    /// The session ended first: indefinite.
    ShutDown,
}

/// Where a vector was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorAt {
    /// Stored in the database.
    Database,
    /// Given to the host that asked.
    Host,
}

/// How far a read of a state has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadStage {
    /// The main server asks the cache.
    Began,
    /// The cache gives a value of this version.
    Cached {
        /// Version of the state.
        version: u64,
    },
    /// That has reached the main server, and the read is over.
    Served,
    /// The database answered, and the read is over.
    Loaded {
        /// Version of the state; none when there is none, or the database failed.
        version: Option<u64>,
    },
}

/// A critical update.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Update {
    /// The id under which it took effect.
    pub id: WireId,
    /// The state; of an event, the type, the account it came from (0 for a type of the map) and the map.
    pub key: StateName,
    /// The state's version, or the event's sequence.
    pub version: u64,
}

/// Why a session refused an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its queue is full.
    QueueFull,
    /// The data is too large.
    TooLarge,
    /// It is shutting down.
    ShuttingDown,
}

/// What somebody on the way did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// One bit was flipped.
    FlippedBit,
    /// Its end was cut off.
    Truncated,
    /// Two blocks of its ciphertext changed places.
    SwappedBlocks,
    /// What stands outside the frame was changed: account, operation id or urgency.
    ChangedOuter,
    /// It was replaced by the reply to another operation of the same host.
    SwappedReply,
    /// It was replaced by plain text, or by a frame without a tag.
    Downgraded,
    /// The version in front of it became one that nobody speaks.
    UnknownVersion,
    /// It was sent once more, unaltered.
    Replayed,
}

/// What a receiver made of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It believed it.
    Accepted,
    /// It refused it, and this is all that its sender could learn.
    Refused(String),
    /// It took no notice: nobody waited for it.
    Ignored,
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done(_) => Self::Done,
            Outcome::Rejected(_) => Self::Rejected,
            Outcome::DeadlineExceeded => Self::DeadlineExceeded,
            Outcome::Failed(
                TransportError::Unreachable
                | TransportError::TimedOut
                | TransportError::Status(_)
                | TransportError::Untrusted
                | TransportError::Tls(_)
                | TransportError::Stale,
            ) => Self::Failed,
            Outcome::Superseded => Self::Superseded,
            Outcome::Displaced => Self::Displaced,
            Outcome::ShutDown { .. } => Self::ShutDown,
        }
    }
}

impl From<&sync_core::cache::Publication> for Update {
    fn from(publication: &sync_core::cache::Publication) -> Self {
        Self {
            id: publication.operation.into(),
            key: StateName(publication.key.clone()),
            version: publication.version,
        }
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        match error {
            AskError::QueueFull { .. } => Self::QueueFull,
            AskError::TooLarge { .. } => Self::TooLarge,
            AskError::ShuttingDown => Self::ShuttingDown,
        }
    }
}
