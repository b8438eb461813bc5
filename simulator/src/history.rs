//! What happened, as events: the only thing that checks see.
//!
//! An event carries the world's time in microseconds since the start of the run. Its JSON form, one
//! object a line, is the format of `history.jsonl`; a history from anywhere in this form can be judged.

mod kind;

pub use kind::Kind;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::data_type::SyncDataType;
use sync_core::host_sync::operation::{AskError, Outcome, TransportError};
use sync_core::id::{AccountId, MapName};
use sync_core::store::StateKey;
use sync_core::store::hosting::Part;
use sync_core::wire::ErrorCode;

use crate::scenario::model::Hostile;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Microseconds since the start of the run.
    pub at_us: u64,
    /// What happened.
    pub what: What,
}

/// One operation as its application knows it: the same in every rig, whatever ids it travels under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct OpRef {
    /// The host, from 0.
    pub host: u32,
    /// The host's own name for the operation.
    pub ticket: u64,
}

/// The id of an operation on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WireId {
    /// The account.
    pub account: u32,
    /// The session's life; 16 hex digits in JSON, as on the wire.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Counts the operations of that life.
    pub counter: u64,
}

/// 64 bits as 16 hex digits: many readers of JSON lose digits of integers above 2^53.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// 128 bits as 32 hex digits.
mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// Names a state: `MAP_STATE/0/prontera` is type, owner (0 for the map's own) and map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateName(pub StateKey);

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

/// What happened. The names are those of the JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// An application asked, at the moment the workload intended.
    Asked {
        /// Which operation.
        op: OpRef,
        /// When the workload intended it.
        intended_us: u64,
        /// Whether it is critical.
        critical: bool,
        /// Whether it was asked with priority.
        priority: bool,
        /// Whether it writes.
        writes: bool,
        /// What it synchronises.
        data_type: SyncDataType,
        /// The map's number.
        map: u32,
    },
    /// The generator could not hand it over: the host was down.
    Unsent {
        /// Which operation.
        op: OpRef,
        /// When the workload intended it.
        intended_us: u64,
        /// Whether it is critical.
        critical: bool,
    },
    /// The session took it.
    Accepted {
        /// Which operation.
        op: OpRef,
        /// Its id.
        id: WireId,
    },
    /// The session refused it at once.
    Refused {
        /// Which operation.
        op: OpRef,
        /// Whether it would have been critical.
        critical: bool,
        /// Why.
        why: Refusal,
    },
    /// An attempt left the host.
    Sent {
        /// Which operation.
        op: OpRef,
        /// Its id in this attempt.
        id: WireId,
        /// Counts the attempts.
        attempt: u32,
        /// Size of the body.
        bytes: u64,
    },
    /// A write took effect in the database.
    Applied {
        /// Which operation, as the written value says.
        op: OpRef,
        /// The id under which it took effect.
        id: WireId,
        /// What it synchronises.
        data_type: SyncDataType,
        /// The map.
        map: MapName,
        /// The state, for one that replaces.
        key: Option<StateName>,
        /// The state's new version, or the event's sequence.
        version: u64,
    },
    /// The database has carried out a transaction of several operations. Only reported where a check asks for it.
    Committed {
        /// The operations that it was to decide together.
        asked: Vec<WireId>,
        /// Those of them that the database knows now, as it says when asked for each.
        present: Vec<WireId>,
    },
    /// A message that was altered on its way, or that was refused, reached its receiver.
    Judged {
        /// Which way it went.
        way: Way,
        /// The operation it belongs to.
        op: OpRef,
        /// What had been done to it, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tampering: Option<Tampering>,
        /// For a replayed one: how long after the first sending at the least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replayed_after_us: Option<u64>,
        /// What the receiver made of it.
        judgement: Judgement,
    },
    /// Somebody sealed a message. Only where a check needs it.
    Sealed {
        /// Which way it goes.
        way: Way,
        /// The operation it belongs to.
        op: OpRef,
        /// The name of the key.
        key: String,
        /// The initialisation vector, which stands in clear in the frame.
        #[serde(with = "hex128")]
        iv: u128,
        /// Whether that is half of a key of the sender.
        iv_is_key: bool,
    },
    /// A message that nobody had altered was opened, or refused. Only where a check needs it.
    Opened {
        /// Which way it went.
        way: Way,
        /// The operation it belongs to.
        op: OpRef,
        /// The name of the key that sealed it.
        key: String,
        /// Whether its receiver opened it.
        opened: bool,
    },
    /// Keys are being replaced: these are in use from now on.
    Keys {
        /// The one that seals, and opens.
        seals: String,
        /// Those that only open.
        opens: Vec<String>,
        /// The hosts that were told nothing.
        left_behind: Vec<u32>,
    },
    /// A secret was seen where somebody might read it. Only where P25 is demanded.
    CanarySeen {
        /// Where.
        place: String,
        /// Which, by its name.
        secret: String,
        /// The operation it belongs to, if it belongs to one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpRef>,
    },
    /// How much was searched for secrets. Only where P25 is demanded.
    CanariesSought {
        /// Where.
        place: String,
        /// Texts looked through.
        texts: u64,
    },
    /// An operation that somebody hostile made invalid is about to be asked for.
    Invalid {
        /// Which operation.
        op: OpRef,
        /// How it is invalid.
        hostile: Hostile,
    },
    /// The server rejected an operation: comes just before its result.
    Rejected {
        /// Which operation.
        op: OpRef,
        /// Why, for programs.
        code: ErrorCode,
        /// The rule and the numbers.
        why: String,
    },
    /// A host was given a part on a map.
    Assigned {
        /// The map.
        map: MapName,
        /// The host's account.
        account: u32,
        /// The part.
        part: Part,
        /// The map's epoch.
        epoch: u64,
    },
    /// A host's part on a map ended.
    Released {
        /// The map.
        map: MapName,
        /// The host's account.
        account: u32,
        /// The part.
        part: Part,
        /// The epoch in which it was given.
        epoch: u64,
    },
    /// The one result.
    Finished {
        /// Which operation.
        op: OpRef,
        /// Its id.
        id: WireId,
        /// Whether it is critical.
        critical: bool,
        /// Whether it writes.
        writes: bool,
        /// What it synchronises.
        data_type: SyncDataType,
        /// How it ended.
        end: End,
        /// When the workload intended it.
        intended_us: u64,
        /// When the session was asked.
        asked_us: u64,
        /// When its first attempt left, if one did.
        sent_us: Option<u64>,
    },
    /// A vector reached a place where it is kept or used. The numbers are digests.
    Vector {
        /// The operation that it belongs to.
        op: OpRef,
        /// Where.
        at: VectorAt,
        /// Its text.
        #[serde(with = "hex")]
        text: u64,
        /// The vector.
        #[serde(with = "hex")]
        vector: u64,
        /// The vector that the model gives for this text.
        #[serde(with = "hex")]
        own: u64,
    },
    /// A reply to an operation that had ended without one.
    Late {
        /// Which operation.
        op: OpRef,
        /// Whether it is critical.
        critical: bool,
        /// What it synchronises.
        data_type: SyncDataType,
        /// Whether the server had done it.
        success: bool,
        /// When the workload intended it.
        intended_us: u64,
        /// When its first attempt left, if one did.
        sent_us: Option<u64>,
    },
    /// A process died.
    Crashed {
        /// Which.
        node: String,
    },
    /// A process ended in order.
    Stopped {
        /// Which.
        node: String,
    },
    /// A process came back.
    Restarted {
        /// Which.
        node: String,
    },
    /// A fault began.
    FaultBegan {
        /// The plan's name for it.
        action: String,
    },
    /// A fault ended.
    FaultEnded {
        /// The plan's name for it.
        action: String,
    },
    /// Every fault is over; the system must come to rest.
    Healed,
    /// The run came to rest, or did not within its bound.
    Settled {
        /// Operations accepted and not ended.
        open: u64,
    },
    /// How many arrivals the plan holds for a host, counted apart from the run.
    Planned {
        /// The host.
        host: u32,
        /// Arrivals.
        arrivals: u64,
        /// Hash of their intended moments.
        moments: u64,
    },
    /// A read of a state at a main server got this far. Told only where a check asks for it.
    Read {
        /// The main server, from 0.
        server: u32,
        /// The state.
        key: StateName,
        /// The operation that it was begun for.
        op: OpRef,
        /// The attempt at that operation.
        attempt: u32,
        /// How far.
        stage: ReadStage,
    },
    /// The database answered a main server's write of a state, repeats included. Told only where a check asks
    /// for it.
    WriteAnswered {
        /// The main server, from 0.
        server: u32,
        /// The state.
        key: StateName,
    },
    /// A state as the database holds it at the end.
    FinalState {
        /// The state.
        key: StateName,
        /// Its version.
        version: u64,
        /// The operation whose value it holds.
        op: OpRef,
        /// The id under which that took effect.
        id: WireId,
    },
    /// The operations of one life of a session that the database holds at the end.
    FinalSession {
        /// The account.
        account: u32,
        /// The session's life.
        #[serde(with = "hex")]
        incarnation: u64,
        /// Counters, as inclusive runs.
        applied: Vec<(u64, u64)>,
    },
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

impl What {
    /// The operation it is about, if it is about one.
    pub const fn op(&self) -> Option<OpRef> {
        match self {
            Self::Asked { op, .. }
            | Self::Unsent { op, .. }
            | Self::Accepted { op, .. }
            | Self::Refused { op, .. }
            | Self::Sent { op, .. }
            | Self::Applied { op, .. }
            | Self::Invalid { op, .. }
            | Self::Rejected { op, .. }
            | Self::Judged { op, .. }
            | Self::Sealed { op, .. }
            | Self::Opened { op, .. }
            | Self::Finished { op, .. }
            | Self::Late { op, .. }
            | Self::Vector { op, .. }
            | Self::FinalState { op, .. } => Some(*op),
            Self::CanarySeen { op, .. } => *op,
            _ => None,
        }
    }
}

impl From<sync_core::id::OperationId> for WireId {
    fn from(id: sync_core::id::OperationId) -> Self {
        Self { account: id.account.0, incarnation: id.incarnation.0, counter: id.counter }
    }
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
                | TransportError::Untrusted,
            ) => Self::Failed,
            Outcome::Superseded => Self::Superseded,
            Outcome::Displaced => Self::Displaced,
            Outcome::ShutDown { .. } => Self::ShutDown,
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

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for StateName {
    type Err = NotAStateName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(NotAStateName);
        let (data_type, owner, map) = (next()?, next()?, next()?);
        Ok(Self(StateKey {
            data_type: data_type.parse().map_err(|_| NotAStateName)?,
            owner: AccountId(owner.parse().map_err(|_| NotAStateName)?),
            map: MapName::new(map).map_err(|_| NotAStateName)?,
        }))
    }
}

impl Serialize for StateName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`<type>/<owner>/<map>` is expected, such as `MAP_STATE/0/prontera`")]
pub struct NotAStateName;

impl std::fmt::Display for WireId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:016x}-{}", self.account, self.incarnation, self.counter)
    }
}

impl std::fmt::Display for OpRef {
    /// `host.ticket`, as in plans and in written values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.host, self.ticket)
    }
}

impl std::str::FromStr for OpRef {
    type Err = NotAnOpRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, ticket) = text.split_once('.').ok_or(NotAnOpRef)?;
        Ok(Self {
            host: host.parse().map_err(|_| NotAnOpRef)?,
            ticket: ticket.parse().map_err(|_| NotAnOpRef)?,
        })
    }
}

/// The text names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`<host>.<ticket>` is expected, such as `3.17`")]
pub struct NotAnOpRef;
