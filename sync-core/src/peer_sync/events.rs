//! What happens at a peer, as those who watch it are told: over the WebSocket and in the simulator's history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::announcement::{PeerAddress, iso_text};
use super::message::Refusal;
use super::resolver::Reason;
use super::row::{RowId, TableName};
use super::store::{Standing, Unsound};
use super::version::{NodeId, Version};
use crate::id::Incarnation;
use crate::time::{Span, Timestamp};

/// Something happened at a peer. In JSON an object with a field `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplicaEvent {
    /// It knows its database and begins to work.
    Started {
        /// Who.
        node: NodeId,
        /// The life of its database.
        incarnation: Incarnation,
    },
    /// Everything has ended after a stop.
    Stopped,
    /// A round brought rows of a table; or a table was asked for, and this is what came.
    TableSynced {
        /// The table.
        table: TableName,
        /// Rows that changed something.
        count: u64,
        /// From whom.
        peer: NodeId,
    },
    /// Rows of a peer were merged and committed.
    ChangesApplied {
        /// Who sent them.
        peer: NodeId,
        /// Per table, rows that changed something.
        tables: BTreeMap<TableName, u64>,
        /// Their sum.
        count: u64,
        /// Rows that changed nothing: beaten, equal or refused.
        unchanged: u64,
    },
    /// A peer says that it has something new.
    ChangeNotificationReceived {
        /// Who.
        source_peer: NodeId,
        /// What.
        tables: Vec<TableName>,
    },
    /// Somebody asked for a synchronisation with all peers, or one.
    BidirectionalSyncTriggered {
        /// With whom.
        peers: Vec<NodeId>,
    },
    /// A round with a peer ended well.
    RoundEnded {
        /// With whom.
        peer: NodeId,
        /// Pages read.
        pages: u64,
        /// Rows received in them.
        rows: u64,
        /// Rows that the peer left out because they were here.
        omitted: u64,
    },
    /// A round with a peer ended early; it is tried again.
    RoundFailed {
        /// With whom.
        peer: NodeId,
        /// Why.
        reason: RoundFailure,
    },
    /// Two writes of one row met that did not know of each other, as far as can be told from here.
    Conflict {
        /// The row.
        row: RowId,
        /// What won.
        winner: Version,
        /// What lost.
        loser: Version,
        /// Why.
        reason: Reason,
    },
    /// A row became visible or invisible because of another.
    SetAside {
        /// The row.
        row: RowId,
        /// How it stands now.
        standing: Standing,
    },
    /// A received row lies too far in the future and was refused.
    TooFarAhead {
        /// The row.
        row: RowId,
        /// Who sent it.
        peer: NodeId,
        /// By how much.
        ahead: Span,
    },
    /// A received row cannot be a row and was refused.
    RowRefused {
        /// The row.
        row: RowId,
        /// Who sent it.
        peer: NodeId,
        /// Why.
        reason: Unsound,
    },
    /// Transactions of a peer were too large to come whole.
    TransactionsSplit {
        /// Whose.
        peer: NodeId,
        /// How many, in this page.
        count: u64,
    },
    /// A comparison of everything ended.
    Reconciled {
        /// With whom.
        peer: NodeId,
        /// Questions asked.
        questions: u64,
        /// Rows fetched.
        fetched: u64,
        /// Rows pushed.
        pushed: u64,
        /// Rows dropped because they had been deleted.
        dropped: u64,
    },
    /// The own database was found to be older than what peers have read of it; a new life began.
    SetBack {
        /// The new life.
        incarnation: Incarnation,
    },
    /// A stored row no longer has the hash that it carries.
    RowCorrupt {
        /// The row.
        row: RowId,
    },
    /// Such a row was replaced.
    RowRepaired {
        /// The row.
        row: RowId,
        /// By the copy of this peer.
        peer: NodeId,
    },
    /// Tombstones were purged.
    TombstonesPurged {
        /// How many.
        count: u64,
    },
    /// A peer answers for the first time, or again after it was removed.
    PeerJoined {
        /// Who.
        peer: NodeId,
        /// Where.
        address: PeerAddress,
    },
    /// A peer does not answer.
    PeerSuspected {
        /// Who.
        peer: NodeId,
    },
    /// A suspected peer answers again.
    PeerRecovered {
        /// Who.
        peer: NodeId,
    },
    /// A peer answers at another address.
    PeerMoved {
        /// Who.
        peer: NodeId,
        /// Where.
        address: PeerAddress,
    },
    /// A peer is no longer one.
    PeerLeft {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: LeaveReason,
    },
    /// Who answers at an address is no peer.
    PeerRefused {
        /// Where.
        address: PeerAddress,
        /// Why.
        reason: Refusal,
    },
    /// Two that are not the same answer to one node id; the one that is named here is left out.
    NodeIdTwice {
        /// The node id.
        node: NodeId,
        /// Where the second answers.
        address: PeerAddress,
    },
    /// Counts since the start.
    Metrics(Statistics),
}

impl ReplicaEvent {
    /// The event as the WebSocket carries it: `{"type":"sync_event","data":{"type":..., ..., "timestamp":...}}`.
    pub fn socket_message(&self, at: Timestamp) -> serde_json::Value {
        let mut data = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = data.as_object_mut() {
            fields.insert("timestamp".to_owned(), iso_text(at).into());
        }
        serde_json::json!({ "type": "sync_event", "data": data })
    }
}

/// Why a round ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundFailure {
    /// The peer did not answer.
    NoAnswer,
    /// The peer has too much to do.
    Busy,
    /// The peer refused.
    Refused,
    /// The peer's answer was none to the question.
    Nonsense,
    /// The own database did not answer.
    Store,
    /// The own database was set back; a new life begins.
    SetBack,
    /// Applications changed the rows again and again.
    Contended,
    /// The peer left, or synchronisation was switched off.
    Cancelled,
}

/// Why a peer is no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It could not be reached and was not seen for too long.
    Unseen,
    /// Somebody removed it.
    Removed,
    /// Somebody else answers at its address.
    Replaced,
    /// It no longer wants to talk to us, or we not to it.
    Refused,
}

/// Counts since the start of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Rounds with a peer that ended well.
    pub rounds: u64,
    /// Rounds that ended early.
    pub rounds_failed: u64,
    /// Notices that told nothing new.
    pub notices_skipped: u64,
    /// Pages received.
    pub pages_received: u64,
    /// Rows received in pages.
    pub rows_received: u64,
    /// Rows received that changed something.
    pub rows_applied: u64,
    /// Rows received that were the same or older than what was here.
    pub rows_unchanged: u64,
    /// Rows received that were refused.
    pub rows_refused: u64,
    /// Pages given.
    pub pages_sent: u64,
    /// Rows given in pages.
    pub rows_sent: u64,
    /// Rows left out of pages because the reader had them.
    pub rows_omitted: u64,
    /// Conflicts.
    pub conflicts: u64,
    /// Comparisons of everything that ended.
    pub reconciliations: u64,
    /// Rows fetched by them.
    pub rows_fetched: u64,
    /// Rows pushed by them.
    pub rows_pushed: u64,
    /// Rows dropped because they had been deleted.
    pub rows_dropped: u64,
    /// Rows looked at for corruption.
    pub rows_scrubbed: u64,
    /// Corrupt rows found.
    pub rows_corrupt: u64,
    /// Tombstones purged.
    pub tombstones_purged: u64,
    /// Questions asked.
    pub questions_asked: u64,
    /// Questions that stayed without an answer.
    pub questions_failed: u64,
    /// Questions answered.
    pub questions_answered: u64,
    /// Questions answered with Busy.
    pub questions_busy: u64,
    /// Announcements and addresses left alone because there were enough.
    pub addresses_ignored: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_an_object_with_its_type() {
        let event = ReplicaEvent::TableSynced {
            table: TableName("users".into()),
            count: 10,
            peer: NodeId::new("n2").unwrap(),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"type":"table_synced","table":"users","count":10,"peer":"n2"}"#);
        let message = event.socket_message(Timestamp::from_ms(1_735_732_800_000));
        assert_eq!(message["type"], "sync_event");
        assert_eq!(message["data"]["count"], 10);
        assert_eq!(message["data"]["timestamp"], "2025-01-01T12:00:00.000000Z");
        assert!(
            serde_json::to_string(&ReplicaEvent::Metrics(Statistics::default())).unwrap().contains("metrics")
        );
    }
}
