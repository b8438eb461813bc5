//! What the engine of a peer needs to know of its environment.

use serde::{Deserialize, Serialize};

use super::announcement::PeerAddress;
use super::message::{PROTOCOL, ProtocolRange};
use crate::limits;
use crate::time::Span;

/// Settings of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicaSettings {
    /// Whether it synchronises at all (`ENABLE_P2P_SYNC`). If not, it answers questions and asks none.
    pub sync_enabled: bool,
    /// Whether it announces itself and heeds announcements (`ENABLE_AUTO_DISCOVERY`).
    pub auto_discovery: bool,
    /// From the end of one round with a peer to the next, and from one announcement to the next (`SYNC_INTERVAL`).
    pub sync_interval: Span,
    /// How long notices of changes wait for further ones.
    pub notify_delay: Span,
    /// Versions of the protocol that it speaks: [`PROTOCOL`], but for a simulation of releases that are older or newer.
    pub protocol: ProtocolRange,
    /// The host that it announces; others go by where an announcement comes from.
    pub host: String,
    /// The port of the documented endpoints (`API_PORT`).
    pub api_port: u16,
    /// The port of all other questions (`P2P_PORT`).
    pub listen_port: u16,
    /// Peers that are always tried (`STATIC_PEERS`), by their API ports.
    pub static_peers: Vec<PeerAddress>,
    /// Peers known at once (`MAX_PEERS`), 1 to [`limits::PEERS_MAX`]; static ones are known beyond it, too.
    pub peers_max: usize,
    /// Rows of a page that it asks for and gives, at least 1.
    pub page_rows_max: usize,
    /// Bytes of a page that it gives.
    pub page_bytes_max: usize,
    /// Questions of others that it has its database answer at once; past it the answer is Busy.
    pub answers_max: usize,
    /// How long a question to a peer may stay without an answer.
    pub ask_timeout: Span,
    /// How often a peer that answers is asked whether it is still there.
    pub health_interval: Span,
    /// A peer that cannot be reached and was not seen for longer is removed.
    pub unseen_max: Span,
    /// How often everything is compared with a peer, by digests.
    pub anti_entropy_interval: Span,
    /// How often a part of the own rows is looked through for corruption.
    pub scrub_interval: Span,
    /// Rows of that part.
    pub scrub_rows_max: usize,
    /// How often tombstones are purged.
    pub purge_interval: Span,
    /// Tombstones that one purge takes away at most.
    pub purge_rows_max: usize,
    /// How long tombstones wait for peers that do not come back.
    pub retention: Span,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            sync_enabled: true,
            auto_discovery: true,
            sync_interval: Span::from_secs(30),
            notify_delay: limits::NOTIFY_DELAY,
            protocol: PROTOCOL,
            host: "localhost".to_owned(),
            api_port: 8_000,
            listen_port: 8_001,
            static_peers: Vec::new(),
            peers_max: limits::PEERS_MAX_DEFAULT,
            page_rows_max: limits::PAGE_ROWS_MAX,
            page_bytes_max: limits::PAGE_BYTES_MAX,
            answers_max: limits::PEER_ANSWERS_MAX,
            ask_timeout: limits::PEER_ASK_TIMEOUT,
            health_interval: limits::PEER_HEALTH_INTERVAL,
            unseen_max: limits::PEER_UNSEEN_MAX,
            anti_entropy_interval: limits::ANTI_ENTROPY_INTERVAL,
            scrub_interval: limits::SCRUB_INTERVAL,
            scrub_rows_max: limits::SCRUB_ROWS_MAX,
            purge_interval: limits::TOMBSTONE_PURGE_INTERVAL,
            purge_rows_max: limits::PURGE_MAX,
            retention: limits::TOMBSTONE_RETENTION,
        }
    }
}
