//! Kinds of event.

use super::What;

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
    Canary,
    Finished,
    Late,
    Vector,
    Node,
    Fault,
    Settled,
    Planned,
    FinalState,
    FinalSession,
    Invalid,
    Rejected,
    Hosting,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 26] = [
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
        Self::Canary,
        Self::Finished,
        Self::Late,
        Self::Vector,
        Self::Node,
        Self::Fault,
        Self::Settled,
        Self::Planned,
        Self::FinalState,
        Self::FinalSession,
        Self::Invalid,
        Self::Rejected,
        Self::Hosting,
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
            Self::Vector { .. } => Kind::Vector,
            Self::Crashed { .. } | Self::Stopped { .. } | Self::Restarted { .. } => Kind::Node,
            Self::FaultBegan { .. } | Self::FaultEnded { .. } | Self::Healed => Kind::Fault,
            Self::Settled { .. } => Kind::Settled,
            Self::Planned { .. } => Kind::Planned,
            Self::FinalState { .. } => Kind::FinalState,
            Self::Read { .. } => Kind::Read,
            Self::WriteAnswered { .. } => Kind::WriteAnswered,
            Self::FinalSession { .. } => Kind::FinalSession,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Rejected { .. } => Kind::Rejected,
            Self::Assigned { .. } | Self::Released { .. } => Kind::Hosting,
        }
    }
}
