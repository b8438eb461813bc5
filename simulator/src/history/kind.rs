//! Kinds of event.

use super::What;
use super::peers::PeerWhat;

/// Kinds of event; a check names those it needs, a rig those it can observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Asked,
    Unsent,
    Accepted,
    Refused,
    Sent,
    Applied,
    Committed,
    Judged,
    Sealed,
    Opened,
    Keys,
    Read,
    WriteAnswered,
    Updates,
    Canary,
    Finished,
    Late,
    Vector,
    Node,
    Fault,
    Settled,
    Planned,
    FinalState,
    Given,
    FinalSession,
    Invalid,
    Rejected,
    Hosting,
    PeerTransaction,
    PeerCommitted,
    PeerRead,
    Merged,
    Advanced,
    Purged,
    PeerLife,
    PeerIdentity,
    Conflict,
    Aside,
    Membership,
    PeerMessage,
    Equal,
    FinalRow,
}

impl Kind {
    /// How many kinds are told of peers that each have a database of their own.
    pub const PEERS: usize = 14;

    /// Whether it is one of those.
    pub const fn is_of_peers(self) -> bool {
        self as usize >= Self::PeerTransaction as usize
    }

    /// Every kind.
    pub const ALL: [Self; 42] = [
        Self::Asked,
        Self::Unsent,
        Self::Accepted,
        Self::Refused,
        Self::Sent,
        Self::Applied,
        Self::Committed,
        Self::Judged,
        Self::Sealed,
        Self::Opened,
        Self::Keys,
        Self::Read,
        Self::WriteAnswered,
        Self::Updates,
        Self::Canary,
        Self::Finished,
        Self::Late,
        Self::Vector,
        Self::Node,
        Self::Fault,
        Self::Settled,
        Self::Planned,
        Self::FinalState,
        Self::Given,
        Self::FinalSession,
        Self::Invalid,
        Self::Rejected,
        Self::Hosting,
        Self::PeerTransaction,
        Self::PeerCommitted,
        Self::PeerRead,
        Self::Merged,
        Self::Advanced,
        Self::Purged,
        Self::PeerLife,
        Self::PeerIdentity,
        Self::Conflict,
        Self::Aside,
        Self::Membership,
        Self::PeerMessage,
        Self::Equal,
        Self::FinalRow,
    ];
}

impl What {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Asked { .. } => Kind::Asked,
            Self::Unsent { .. } => Kind::Unsent,
            Self::Accepted { .. } => Kind::Accepted,
            Self::Refused { .. } => Kind::Refused,
            Self::Sent { .. } => Kind::Sent,
            Self::Applied { .. } => Kind::Applied,
            Self::Committed { .. } => Kind::Committed,
            Self::Judged { .. } => Kind::Judged,
            Self::Sealed { .. } => Kind::Sealed,
            Self::Opened { .. } => Kind::Opened,
            Self::Keys { .. } => Kind::Keys,
            Self::CanarySeen { .. } | Self::CanariesSought { .. } => Kind::Canary,
            Self::Finished { .. } => Kind::Finished,
            Self::Late { .. } => Kind::Late,
            Self::Vector { .. } | Self::VectorsGiven { .. } => Kind::Vector,
            Self::Crashed { .. } | Self::Stopped { .. } | Self::Restarted { .. } => Kind::Node,
            Self::FaultBegan { .. } | Self::FaultEnded { .. } | Self::Healed => Kind::Fault,
            Self::Settled { .. } => Kind::Settled,
            Self::Planned { .. } => Kind::Planned,
            Self::FinalState { .. } => Kind::FinalState,
            Self::Given { .. } => Kind::Given,
            Self::Read { .. } => Kind::Read,
            Self::WriteAnswered { .. } => Kind::WriteAnswered,
            Self::Subscribed { .. } | Self::Published { .. } | Self::Told { .. } => Kind::Updates,
            Self::FinalSession { .. } => Kind::FinalSession,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Rejected { .. } => Kind::Rejected,
            Self::Assigned { .. } | Self::Released { .. } => Kind::Hosting,
            Self::Peer(what) => what.kind(),
        }
    }
}

impl PeerWhat {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Began { .. }
            | Self::Unsent { .. }
            | Self::Aborted { .. }
            | Self::Acknowledged { .. }
            | Self::Indefinite { .. } => Kind::PeerTransaction,
            Self::Committed { .. } => Kind::PeerCommitted,
            Self::Read { .. } => Kind::PeerRead,
            Self::Merged { .. } => Kind::Merged,
            Self::Advanced { .. } => Kind::Advanced,
            Self::Purged { .. } | Self::Dropped { .. } => Kind::Purged,
            Self::Stocked { .. } | Self::SetBack { .. } | Self::Renewed { .. } => Kind::PeerLife,
            Self::Named { .. } | Self::Released { .. } | Self::Refused { .. } | Self::Took { .. } => {
                Kind::PeerIdentity
            }
            Self::Conflict { .. } => Kind::Conflict,
            Self::Aside { .. } => Kind::Aside,
            Self::Joined { .. } | Self::Left { .. } => Kind::Membership,
            Self::Sent { .. } => Kind::PeerMessage,
            Self::Equal { .. } => Kind::Equal,
            Self::FinalRow { .. } => Kind::FinalRow,
        }
    }
}
