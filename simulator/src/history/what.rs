//! Every kind of event, with what it tells.

use serde::{Deserialize, Serialize};
use sync_core::data_type::SyncDataType;
use sync_core::id::MapName;
use sync_core::store::hosting::Part;
use sync_core::wire::ErrorCode;

use super::detail::{End, Judgement, ReadStage, Refusal, Tampering, Update, VectorAt, Way};
use super::digits::{hex, hex128, some_hex};
use super::name::{OpRef, StateName, WireId};
use crate::scenario::model::Hostile;

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
        /// Whether it is a report of the host's.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_report: bool,
        /// What it synchronises.
        data_type: SyncDataType,
        /// The map's number.
        map: u32,
        /// Digest of the value that it writes. Only where a check needs it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "some_hex")]
        value: Option<u64>,
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
        /// Which operation, as the written value says; none for a value that names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpRef>,
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
        /// Digest of what was written. Only where a check needs it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "some_hex")]
        value: Option<u64>,
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
        /// The operation that it belongs to; none where its text is not one that such an operation has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpRef>,
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
    /// A host got an answer to the texts that it asked to have embedded.
    VectorsGiven {
        /// The operation.
        op: OpRef,
        /// How many texts there were.
        texts: u32,
        /// How many vectors it was given.
        vectors: u32,
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
    /// The last fault is over, or writing is where there was none: what is known now must spread. Among hosts, and with an
    /// engine of one's own, faults and writing are over.
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
    /// A host follows the critical updates of its map from now on, in a new life. Only of hosts that subscribe, like
    /// the next two.
    Subscribed {
        /// The host.
        host: u32,
        /// Its account.
        account: u32,
        /// The map.
        map: MapName,
    },
    /// A main server asks for a critical update to be published.
    Published {
        /// The operation whose value it holds.
        op: OpRef,
        /// The update.
        update: Update,
    },
    /// A host is told of critical updates.
    Told {
        /// The host.
        host: u32,
        /// Whether updates before these may have been missed.
        gap: bool,
        /// In their order.
        updates: Vec<Update>,
    },
    /// A state as the database holds it at the end.
    FinalState {
        /// The state.
        key: StateName,
        /// Its version.
        version: u64,
        /// The operation whose value it holds; none for a value that names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpRef>,
        /// The id under which that took effect.
        id: WireId,
        /// Digest of the value. Only where a check needs it.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "some_hex")]
        value: Option<u64>,
    },
    /// A host was given the value of a state: for what it asked, or as a critical update. Only where a check needs it.
    Given {
        /// The operation that asked.
        op: OpRef,
        /// The state.
        key: StateName,
        /// Its version; 0 for what is no value of a state.
        version: u64,
        /// The operation whose value it is; none for a value that names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<OpRef>,
        /// Digest of the value.
        #[serde(with = "hex")]
        value: u64,
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
    /// Something among peers that each have a database of their own.
    Peer(super::peers::PeerWhat),
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
            | Self::Invalid { op, .. }
            | Self::Rejected { op, .. }
            | Self::Judged { op, .. }
            | Self::Sealed { op, .. }
            | Self::Opened { op, .. }
            | Self::Finished { op, .. }
            | Self::Late { op, .. }
            | Self::VectorsGiven { op, .. }
            | Self::Published { op, .. }
            | Self::Given { op, .. } => Some(*op),
            Self::Applied { op, .. }
            | Self::FinalState { op, .. }
            | Self::CanarySeen { op, .. }
            | Self::Vector { op, .. } => *op,
            Self::Peer(what) => what.op(),
            _ => None,
        }
    }
}
