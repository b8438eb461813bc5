//! Policies of a peer that give somebody up, skip, or take too long.

use sync_core::limits;
use sync_core::peer_sync::position::Position;
use sync_core::peer_sync::replica::ReplicaPolicy;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::time::Span;

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    let policy = match number {
        64 => Planted::Unforgiving,
        65 => Planted::BySequence,
        68 => Planted::SameLife,
        135 => Planted::TellsNobody,
        136 => Planted::NoEndOfPauses,
        _ => return None,
    };
    Some(Box::new(policy))
}

#[derive(Clone, Copy)]
enum Planted {
    /// Zoo 64: who misses one heartbeat is removed, and never taken on again.
    Unforgiving,
    /// Zoo 65: a position is a number, so what was under way when it was taken counts as read.
    BySequence,
    /// Zoo 68: a database that was set back goes on in its old life, under numbers that readers have seen.
    SameLife,
    /// Zoo 135: nobody is told of what came from others; it travels on with the next regular round.
    TellsNobody,
    /// Zoo 136: each failure makes the next pause four times as long, without an end.
    NoEndOfPauses,
}

impl PeerVariant for Planted {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(*self)
    }
}

impl ReplicaPolicy for Planted {
    fn backoff(&self, failed: u32, draw: u64) -> Span {
        match self {
            Self::NoEndOfPauses => {
                Span::from_us(limits::PEER_BACKOFF_MIN.as_us() << (2 * failed.saturating_sub(1).min(10)))
            }
            _ => sync_core::peer_sync::replica::Standard.backoff(failed, draw),
        }
    }

    fn removes(&self, failed: u32, unseen: Span, unseen_max: Span) -> bool {
        failed > 0 && (matches!(self, Self::Unforgiving) || unseen > unseen_max)
    }

    fn readmits(&self) -> bool {
        !matches!(self, Self::Unforgiving)
    }

    fn reads_from(&self, since: Option<Position>) -> Option<Position> {
        since.map(|position| match self {
            Self::BySequence => {
                Position { snapshot: Snapshot::new(position.snapshot.xmax(), []), ..position }
            }
            _ => position,
        })
    }

    fn relays(&self) -> bool {
        !matches!(self, Self::TellsNobody)
    }

    fn renews(&self) -> bool {
        !matches!(self, Self::SameLife)
    }
}
