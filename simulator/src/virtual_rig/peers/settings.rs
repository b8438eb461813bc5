//! What a scenario says of peers, as the settings of their engines.

use sync_core::peer_sync::announcement::PeerAddress;
use sync_core::peer_sync::settings::ReplicaSettings;

use crate::scenario::model::{Discovery, Peers};

/// The settings of a peer that has a link with these others, wherever it listens itself.
pub(crate) fn settings(peers: &Peers, linked: impl Iterator<Item = PeerAddress>) -> ReplicaSettings {
    let announces = peers.discovery == Discovery::Announcements;
    ReplicaSettings {
        auto_discovery: announces,
        sync_interval: peers.sync_interval.span(),
        static_peers: if announces { Vec::new() } else { linked.collect() },
        peers_max: peers.count as usize,
        anti_entropy_interval: peers.reconcile_interval.span(),
        scrub_interval: peers.scrub_interval.span(),
        retention: peers.tombstone_retention.span(),
        page_rows_max: peers.page_rows_max as usize,
        health_interval: peers.health_interval.span(),
        unseen_max: peers.unseen_max.span(),
        ..ReplicaSettings::default()
    }
}
