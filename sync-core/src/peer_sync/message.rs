//! What peers say to one another: requests, their answers, and announcements. JSON on the wire.

use serde::{Deserialize, Serialize};

use super::position::{Frontier, Position};
use super::row::{RowId, RowVersion, TableName};
use super::store::{Digest, DigestEntry, DigestPart, Outcome, Page};
use super::version::NodeId;
use crate::id::Incarnation;
use crate::time::Timestamp;

/// The version of the protocol that this library speaks, and the oldest one that it still understands.
pub const PROTOCOL: ProtocolRange = ProtocolRange { oldest: 1, newest: 1 };

/// Versions of the protocol that a peer understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl ProtocolRange {
    /// The newest version that both understand; none if there is no such version.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest && newest >= other.oldest).then_some(newest)
    }
}

/// Who asks. Goes with every question but the hello, which says more: an answer changes what is noted of the asker, so
/// it is given to one engine of each name, and to nobody who would take it for something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Who.
    pub node: NodeId,
    /// The life of its engine, as in [`Hello::instance`]; none for who is no engine and speaks through the documented
    /// endpoints of the one that is asked.
    pub instance: Option<Incarnation>,
    /// What it understands.
    pub protocol: ProtocolRange,
    /// Whom it takes to be there: somebody else may answer at an address by now. None where that is the question.
    pub whom: Option<NodeId>,
}

impl Asker {
    /// Somebody who speaks for a node through the documented endpoints.
    pub fn documented(node: NodeId) -> Self {
        Self { node, instance: None, protocol: PROTOCOL, whom: None }
    }
}

/// A question as it travels: with who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who asks.
    pub asker: Asker,
    /// The question.
    pub question: PeerQuestion,
}

/// A request of one peer to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerQuestion {
    /// Who are you, and do we understand each other?
    Hello(Hello),
    /// What is new in your feed?
    Pull {
        /// Where the reader stands; says, too, what it has durably applied.
        since: Option<Position>,
        /// What the reader has of everybody's writes.
        frontier: Frontier,
        /// Rows of the page.
        rows_max: u32,
        /// Whether the reader has refused rows of this feed, and holds neither them nor what beats them: `since` then
        /// says where to read on, and nothing of what tombstones need wait for.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        refused: bool,
    },
    /// What are your digests of these parts?
    Digests(Vec<DigestPart>),
    /// Which rows, in which versions, lie in these leaves?
    Entries(Vec<DigestPart>),
    /// What do these rows hold?
    Rows(Vec<RowId>),
    /// Take these, which you lack or have in an older version.
    Push(Vec<RowVersion>),
    /// Something changed here.
    Notify(Notice),
}

/// The answer to a [`PeerQuestion`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerAnswer {
    /// To a hello: the same of the other side.
    Hello(Hello),
    /// To a pull.
    Page(Page),
    /// To a pull from a position that means nothing any more: compare everything, then go on from here.
    MustReconcile(Position),
    /// To digests, in the order of the question.
    Digests(Vec<Digest>),
    /// To entries, ordered.
    Entries(Vec<DigestEntry>),
    /// To rows: those that are there.
    Rows(Vec<RowVersion>),
    /// To a push: what became of each row.
    Pushed(Vec<Outcome>),
    /// To a notice.
    Noted,
    /// The other side cannot answer now; come back later.
    Busy,
    /// The other side does not talk to whoever asked, or does not understand it.
    Refused(Refusal),
}

/// Why a peer does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No common version of the protocol.
    #[error("no common version of the protocol; update the older peer")]
    Protocol,
    /// The tables differ.
    #[error("the synchronised tables or columns differ; give all peers the same schema")]
    Schema,
    /// Both have the same node id, but not the same database.
    #[error("both peers have the same node id; give one of them another")]
    SameNode,
    /// Another peer was asked than the one that is there.
    #[error("another peer answers at this address than before")]
    AnotherNode,
    /// Not authenticated.
    #[error("not authenticated; give all peers the same shared key")]
    Key,
}

/// How a peer introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who.
    pub node: NodeId,
    /// The life of its database.
    pub incarnation: Incarnation,
    /// The life of its engine, drawn at its start: the same node at two addresses is one that has two addresses, or
    /// two that were given one name.
    pub instance: Incarnation,
    /// Where its documented endpoints answer.
    pub api_port: u16,
    /// Where it answers all other questions.
    pub listen_port: u16,
    /// What it understands.
    pub protocol: ProtocolRange,
    /// What it synchronises, see [`super::schema::Schema::fingerprint`].
    pub schema: u64,
}

/// A notice that a peer has something new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Who.
    pub source: NodeId,
    /// The tables that changed.
    pub tables: Vec<TableName>,
    /// What the source has now: who has all of that need not ask.
    pub frontier: Frontier,
    /// When, by the source's clock.
    pub timestamp: Timestamp,
}

impl std::fmt::Display for ProtocolRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest { write!(f, "{oldest}") } else { write!(f, "{oldest} to {newest}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_speak_the_newest_version_that_both_understand() {
        let range = |oldest, newest| ProtocolRange { oldest, newest };
        for (one, other, common) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(1, 5), range(2, 3), Some(3)),
            (range(1, 1), range(2, 3), None),
        ] {
            assert_eq!((one.common(other), other.common(one)), (common, common), "{one} and {other}");
        }
    }
}
