//! A harness that makes the system look better than it is.

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    match number {
        137 => Some(Box::new(WaitsForTheSystem)),
        _ => None,
    }
}

/// Zoo 137: coordinated omission: what arrives while its session has a transaction under way is left out.
struct WaitsForTheSystem;

impl PeerVariant for WaitsForTheSystem {
    type Policy = AnyPolicy;

    fn sessions_hold_back(&self) -> bool {
        true
    }
}
