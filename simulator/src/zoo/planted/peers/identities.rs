//! Policies that talk to anybody.

use sync_core::peer_sync::message::{PeerAnswer, ProtocolRange};
use sync_core::peer_sync::replica::ReplicaPolicy;

use super::detection::retain;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    match number {
        140 => Some(Box::new(OneOfAName)),
        141 => Some(Box::new(AnyVersion)),
        _ => None,
    }
}

/// Zoo 140: engines of one node id are taken for one.
struct OneOfAName;

impl ReplicaPolicy for OneOfAName {
    fn tells_apart(&self) -> bool {
        false
    }
}

impl PeerVariant for OneOfAName {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(Self)
    }
}

/// Zoo 141: everybody is talked to. What an old peer does not know of a new version it leaves out: there, deletions.
struct AnyVersion;

impl ReplicaPolicy for AnyVersion {
    fn understands(&self, _own: ProtocolRange, _theirs: ProtocolRange) -> bool {
        true
    }
}

impl PeerVariant for AnyVersion {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(Self)
    }

    fn misreads(&mut self, answer: &mut PeerAnswer) {
        match answer {
            PeerAnswer::Page(page) => retain(page, |row| !row.image.is_tombstone()),
            PeerAnswer::Rows(rows) => rows.retain(|row| !row.image.is_tombstone()),
            _ => {}
        }
    }
}
