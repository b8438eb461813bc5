//! What a replica is told, and what it asks for.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::Token;
use crate::peer_sync::announcement::{Announcement, HostName, PeerAddress};
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::message::{Asker, PeerAnswer, PeerQuestion};
use crate::peer_sync::row::TableName;
use crate::peer_sync::settings::ReplicaSettings;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::time::Span;

/// What the world tells a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaInput {
    /// Begin to work. Before that questions are answered with Busy.
    Start {
        /// Whether it is known that the database was restored, or replaced under the same name: it then begins a
        /// new life.
        set_back: bool,
    },
    /// A peer asks. Answered by exactly one [`ReplicaEffect::Answer`].
    Question {
        /// Names the exchange; unique among those that are open.
        exchange: Token,
        /// Where it comes from.
        from: HostName,
        /// Who says to ask.
        asker: Asker,
        /// The question.
        question: PeerQuestion,
    },
    /// To [`ReplicaEffect::Ask`].
    Answered {
        /// Which.
        token: Token,
        /// The answer, or why there is none.
        answer: Result<PeerAnswer, NoAnswer>,
    },
    /// To [`ReplicaEffect::Store`].
    Stored {
        /// Which.
        token: Token,
        /// The reply.
        reply: PeerReply,
    },
    /// An announcement was heard.
    Announced {
        /// What it says.
        announcement: Announcement,
        /// Where it comes from.
        from: HostName,
    },
    /// Applications committed changes of these tables.
    LocalChange {
        /// Which; empty if that is not known.
        tables: Vec<TableName>,
    },
    /// Somebody wants something done.
    Command(Command),
}

/// What somebody may want of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Synchronise now, with one peer or with all.
    Trigger {
        /// With whom; none for all.
        peer: Option<NodeId>,
    },
    /// Synchronise now with all, and say for this table what came from each, even if nothing did.
    SyncTable(TableName),
    /// Look whether a peer is there (its API port), and keep it whatever happens.
    AddPeer(PeerAddress),
    /// Forget a peer. It comes back only when it is added, or when it announces itself or asks again.
    RemovePeer(NodeId),
    /// Forget an address that was added, and whoever answers there.
    RemoveAddress(PeerAddress),
    /// Announce, and look at all peers now.
    Refresh,
    /// From now on these settings.
    Configure(Box<ReplicaSettings>),
    /// Begin nothing new; [`ReplicaEvent::Stopped`] says when all has ended.
    Stop,
}

/// Why a question brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum NoAnswer {
    /// Nobody can be reached there.
    #[error("nobody can be reached at that address")]
    Unreachable,
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// What came is not an answer.
    #[error("what came back is no answer of a peer")]
    Malformed,
    /// Nobody wants an answer any more.
    #[error("given up")]
    GivenUp,
}

/// What a replica asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaEffect {
    /// Have the database do this; answer with [`ReplicaInput::Stored`], exactly once, with
    /// [`PeerReply::Unavailable`] where it cannot.
    Store {
        /// Names it.
        token: Token,
        /// What.
        request: PeerRequest,
    },
    /// Ask a peer; answer with [`ReplicaInput::Answered`]. The answer may never come, or come again: the replica
    /// gives up at the timeout by itself and leaves alone what comes later.
    Ask {
        /// Names it.
        token: Token,
        /// Whom: the API port for a hello, the listen port for everything else.
        to: PeerAddress,
        /// When the replica gives up; whoever performs it may then, too.
        timeout: Span,
        /// Who asks.
        asker: Asker,
        /// What.
        question: PeerQuestion,
    },
    /// Answer a question.
    Answer {
        /// From [`ReplicaInput::Question`].
        exchange: Token,
        /// The answer.
        answer: PeerAnswer,
    },
    /// Send this to every discovery port.
    Announce {
        /// What.
        announcement: Announcement,
    },
    /// For those who watch.
    Event(ReplicaEvent),
}
