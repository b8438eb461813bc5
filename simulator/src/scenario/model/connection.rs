//! Faults of processes and of the connections between them, which only the live rig knows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use crate::scenario::units::Share;

/// Connections behave otherwise. At least one of the fields says how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Which connections: those of the main server with its hosts, its database or its cache.
    pub to: Process,
    /// Delay of the bytes, each way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Distribution>,
    /// Bytes a second that one connection carries, each way; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_per_second: Option<u64>,
    /// Bytes go on in slices of at most so many, one after the other; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub slice_bytes: Option<u32>,
    /// Share of the bytes in which one bit is flipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Share>,
    /// Bytes wait until the fault ends, and go on then.
    #[serde(default)]
    pub stall: bool,
    /// What happens to the connections that are open when the fault begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<ConnectionEnd>,
    /// New connections are refused.
    #[serde(default)]
    pub refuse: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionEnd {
    /// In order, as if the other side had closed it.
    Cut,
    /// At once, with a reset.
    Reset,
}

/// A process beside the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// The main server.
    MainServer,
    /// The database.
    Database,
    /// The cache.
    Cache,
}
