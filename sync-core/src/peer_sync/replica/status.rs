//! What the status endpoint shows of a peer.

use serde::{Deserialize, Serialize};

use crate::peer_sync::announcement::PeerInfo;
use crate::peer_sync::message::Hello;
use crate::peer_sync::row::TableName;
use crate::peer_sync::version::NodeId;

/// The version of the documented interface.
pub const API_VERSION: &str = "1.0.1";

/// The documented status, in JSON. It is also how a peer answers a hello over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who.
    pub node_id: NodeId,
    /// What it does.
    pub status: Activity,
    /// See [`API_VERSION`].
    pub api_version: String,
    /// The port of feeds and digests.
    pub listen_port: u16,
    /// The port of the documented endpoints.
    pub api_port: u16,
    /// How many peers there are.
    pub peer_count: usize,
    /// Which.
    pub peers: Vec<PeerInfo>,
    /// How it synchronises.
    pub sync_config: SyncConfig,
    /// When, see [`iso_text`](crate::peer_sync::announcement::iso_text).
    pub timestamp: String,
    /// How it introduces itself to peers; none until it knows its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It does not yet know its database.
    Starting,
    /// It works.
    Active,
    /// It begins nothing new.
    Stopping,
    /// It has ended.
    Stopped,
}

/// How a replica synchronises, as the configuration endpoint shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncConfig {
    /// `ENABLE_P2P_SYNC`.
    pub enable_p2p_sync: bool,
    /// `ENABLE_AUTO_DISCOVERY`.
    pub enable_auto_discovery: bool,
    /// `SYNC_INTERVAL`, in milliseconds.
    pub sync_interval_ms: u64,
    /// `MAX_PEERS`.
    pub max_peers: usize,
    /// The tables that travel, parents before children.
    pub tables: Vec<TableName>,
}
