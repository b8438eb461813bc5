//! What happens among peers that each have a database of their own, as events. Peers count from 0.

use serde::{Deserialize, Serialize};
use sync_core::id::Incarnation;
use sync_core::peer_sync::message::{ProtocolRange, Refusal};
use sync_core::peer_sync::resolver::Reason;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::Standing;
use sync_core::peer_sync::version::{ContentHash, Version};

use super::OpRef;

/// What happened among peers. The names are those of the JSON form. In an [`OpRef`] the host is the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerWhat {
    /// Rows that every peer holds before anything happens. At most once, first of all.
    Stocked {
        /// All of them.
        rows: Vec<HeldRow>,
    },
    /// A transaction of an application began, be it only a read, at the moment the workload intended or, behind
    /// another one of its session, later.
    Began {
        /// Which.
        op: OpRef,
        /// The session, counted for each peer. A session does one thing after the other.
        session: u32,
        /// When the workload intended it.
        intended_us: u64,
    },
    /// A transaction could not begin: the peer was down.
    Unsent {
        /// Which.
        op: OpRef,
        /// When the workload intended it.
        intended_us: u64,
    },
    /// A transaction was rolled back, and has no effect.
    Aborted {
        /// Which.
        op: OpRef,
        /// Why, as the database says.
        why: String,
    },
    /// A transaction committed: what it wrote is visible at its peer from now on.
    Committed {
        /// Which.
        op: OpRef,
        /// The session.
        session: u32,
        /// The life of the peer's database.
        incarnation: Incarnation,
        /// The transaction's number there.
        xid: u64,
        /// What it wrote, in order; at most one entry for a row, the last.
        writes: Vec<Written>,
    },
    /// The application learnt that its transaction, told as committed before, did so.
    Acknowledged {
        /// Which.
        op: OpRef,
    },
    /// The connection broke before the application learnt what became of its transaction: indefinite.
    Indefinite {
        /// Which.
        op: OpRef,
    },
    /// A session read rows. The end of an operation that only reads.
    Read {
        /// Which.
        op: OpRef,
        /// The session.
        session: u32,
        /// What it saw.
        rows: Vec<Seen>,
    },
    /// A peer carried out rows of another in one transaction.
    Merged {
        /// The peer.
        node: u32,
        /// Who sent them.
        from: u32,
        /// The transaction's number at the peer; none when it changed nothing. (The last that its snapshot sees right
        /// afterwards; the end of the snapshot before is another number where transactions are under way.)
        xid: Option<u64>,
        /// The rows.
        rows: Vec<MergedRow>,
        /// Whether they mend what was found corrupt.
        repair: bool,
        /// Whether a comparison of everything (reconciliation) brought them, row by row, and not the feed.
        reconcile: bool,
    },
    /// A peer moved its position in another's feed, durably.
    Advanced {
        /// The reader.
        node: u32,
        /// Whose feed.
        of: u32,
        /// The life of that peer's database.
        incarnation: Incarnation,
        /// The transactions there that the reader has read; without a transaction that was read in part.
        snapshot: Snapshot,
        /// Whether a comparison of everything (reconciliation) led there, and not the feed.
        reconciled: bool,
    },
    /// A peer purged tombstones.
    Purged {
        /// The peer.
        node: u32,
        /// How many.
        rows: u64,
    },
    /// A peer dropped rows without leaving tombstones: others had deleted them and purged those.
    Dropped {
        /// The peer.
        node: u32,
        /// The rows.
        rows: Vec<RowId>,
    },
    /// A peer's database was set back to an older copy of itself.
    SetBack {
        /// The peer.
        node: u32,
        /// All that it holds now, tombstones included.
        holds: Vec<HeldRow>,
    },
    /// A peer's database began a new life.
    Renewed {
        /// The peer.
        node: u32,
        /// The new one.
        incarnation: Incarnation,
    },
    /// A machine starts under a name: that of another, or its own again; or it starts under its own with another
    /// database.
    Named {
        /// The machine.
        node: u32,
        /// The peer whose name it has from now on.
        name: u32,
        /// The life of the database that it starts with.
        incarnation: Incarnation,
    },
    /// A peer starts with a release that speaks these versions of the protocol. Before, all speak the same.
    Released {
        /// The peer.
        node: u32,
        /// The versions.
        speaks: ProtocolRange,
    },
    /// A peer says that it does not talk to whoever answers at another's address, or that it is not talked to there.
    Refused {
        /// The peer.
        node: u32,
        /// Whose address that is.
        peer: u32,
        /// Why.
        why: Refusal,
    },
    /// Rows of another machine reached a peer, in an answer or by a push. Told only while one of them has another's
    /// name, or another release than in the beginning.
    Took {
        /// The peer.
        node: u32,
        /// The machine that sent them.
        from: u32,
        /// How many.
        rows: u64,
    },
    /// Two versions of a row, neither of which knew of the other, met at a peer.
    Conflict {
        /// The peer.
        node: u32,
        /// The row.
        row: RowId,
        /// What wins.
        winner: Version,
        /// What loses.
        loser: Version,
        /// What decided.
        by: DecidedBy,
    },
    /// A row's standing at a peer changed because of another row.
    Aside {
        /// The peer.
        node: u32,
        /// The row.
        row: RowId,
        /// How it stands now.
        standing: Standing,
    },
    /// A peer counts another among those it synchronises with.
    Joined {
        /// The peer.
        node: u32,
        /// The other.
        peer: u32,
    },
    /// A peer no longer does.
    Left {
        /// The peer.
        node: u32,
        /// The other.
        peer: u32,
    },
    /// A message went to another peer.
    Sent {
        /// From.
        from: u32,
        /// To.
        to: u32,
        /// Its size.
        bytes: u64,
        /// Rows in it.
        rows: u64,
        /// Whether it belongs to a comparison of everything.
        reconcile: bool,
    },
    /// What peers held differently when the last fault ended, all of them have held alike since. An engine of one's own is
    /// looked at as a whole: its peers show the same, told again if that is lost and found.
    Equal {
        /// Bytes sent since the last fault ended.
        bytes: u64,
    },
    /// Where peers stand in the end for one row. One event for each different state of the row.
    FinalRow {
        /// The row.
        row: RowId,
        /// The peers, ascending.
        nodes: Vec<u32>,
        /// What they hold; none for peers that hold nothing of it.
        holds: Option<FinalState>,
    },
}

impl PeerWhat {
    /// The transaction or read concerned, if it is one.
    pub const fn op(&self) -> Option<OpRef> {
        match self {
            Self::Began { op, .. }
            | Self::Unsent { op, .. }
            | Self::Aborted { op, .. }
            | Self::Committed { op, .. }
            | Self::Acknowledged { op }
            | Self::Indefinite { op }
            | Self::Read { op, .. } => Some(*op),
            _ => None,
        }
    }
}

/// One row that a peer's database holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRow {
    /// The row.
    pub row: RowId,
    /// Its version.
    pub version: Version,
    /// Whether that is a tombstone.
    pub deleted: bool,
}

/// One row that a transaction wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The row.
    pub row: RowId,
    /// The version that it got.
    pub version: Version,
    /// Whether it was deleted.
    pub deleted: bool,
    /// The version that the writer saw before; none for a row that was not there. Of a deleted row, its tombstone's.
    pub seen: Option<Version>,
    /// What the peer's clock showed at the statement, in microseconds since the epoch.
    pub clock_us: u64,
    /// The greatest that it has shown so far: more than that only after it stepped back.
    pub clock_us_max: u64,
    /// Hash over what the row holds, where the table's policy keeps something beside it: the version's hash covers both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHash>,
}

/// One row that a session saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The row.
    pub row: RowId,
    /// The version that the peer holds, be it a tombstone or set aside; none when it holds nothing.
    pub version: Option<Version>,
    /// Hash of what the application saw; none when it saw no row.
    pub visible: Option<ContentHash>,
}

/// One row that came from another peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedRow {
    /// The row.
    pub row: RowId,
    /// Its version.
    pub version: Version,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// The life of its writer's database.
    pub origin: Incarnation,
    /// The transaction there that wrote it.
    pub origin_xid: u64,
    /// What became of it.
    pub outcome: MergeOutcome,
    /// What the peer holds afterwards; none when it holds nothing.
    pub holds: Option<Version>,
    /// How far its stamp lies ahead of the peer's clock, in microseconds; 0 for the past.
    pub ahead_us: u64,
}

/// What became of a row that came from another peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeOutcome {
    /// It was absent and is stored.
    Inserted,
    /// It beat what was stored, or was joined with it.
    Updated,
    /// The same version was stored.
    Equal,
    /// What was stored beats it.
    Beaten,
    /// Refused: too far in the future.
    TooFarAhead,
    /// Refused: deleted and purged here before.
    Expired,
    /// Refused: not a row.
    Unsound,
}

/// What decided a conflict.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The later stamp.
    Stamp,
    /// Equal stamps: the greater node id.
    Node,
    /// The same stamp and node twice: the greater content hash.
    Hash,
    /// Its row was inserted first, as the table's policy has it.
    Created,
    /// Its node comes first, as the table's policy has it.
    Priority,
    /// Nobody lost: what is stored holds parts of both.
    Combined,
    /// A team's own resolver.
    Resolver,
}

impl From<Reason> for DecidedBy {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Stamp => Self::Stamp,
            Reason::Node => Self::Node,
            Reason::Hash => Self::Hash,
            Reason::Created => Self::Created,
            Reason::Priority => Self::Priority,
            Reason::Combined => Self::Combined,
            Reason::Resolver => Self::Resolver,
        }
    }
}

/// What a peer holds of a row in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalState {
    /// The version.
    pub version: Version,
    /// Whether that is a tombstone.
    pub deleted: bool,
    /// How the row stands.
    pub standing: Standing,
    /// Hash over what is really stored, made anew.
    pub content: ContentHash,
    /// Hash over what applications see, made anew; none when they see no row.
    pub visible: Option<ContentHash>,
    /// How it ought to stand by the rules between rows, given all that these peers store; none where that is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ought: Option<Ought>,
}

/// How a row ought to stand, which is a function of the versions that a peer stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ought {
    /// How.
    pub standing: Standing,
    /// Hash over what applications ought to see; none when they ought to see no row.
    pub visible: Option<ContentHash>,
}
