//! Who takes part.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::Distribution;

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Number of P2P hosts, 1 to 100,000. Host `n` has the account `n + 1`.
    #[schemars(range(min = 1, max = 100_000))]
    pub hosts: u32,
    /// Number of maps; host `n` plays on map `n mod maps`. 1 to 100,000.
    #[serde(default = "default_maps")]
    #[schemars(range(min = 1, max = 100_000))]
    pub maps: u32,
    /// A sync proxy through which hosts talk to the main servers, so that they see nothing of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_proxy: Option<SyncProxy>,
    /// Number of main servers over the one database and the one cache; host `n` talks to `n mod main_servers`. 1 to 4.
    #[serde(default = "default_main_servers", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 4))]
    pub main_servers: u32,
    /// Hosts that also follow the critical updates of their map, in a session of its own. Virtual rig only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<HostSet>,
}

/// A node that forwards what it cannot read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncProxy {
    /// Delay of one message between proxy and main server; that of the link of its host comes on top.
    pub latency: Distribution,
}

/// A set of hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostSet {
    /// Every host.
    #[default]
    All,
    /// The first so many hosts.
    First(u32),
    /// These hosts, counted from 0.
    Only(Vec<u32>),
}

fn default_maps() -> u32 {
    1
}

fn default_main_servers() -> u32 {
    1
}

pub(super) fn is_one(number: &u32) -> bool {
    *number == 1
}

impl Topology {
    /// Whether there is none: the world of a scenario among peers.
    pub fn is_absent(&self) -> bool {
        self.hosts == 0
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            hosts: 0,
            maps: default_maps(),
            sync_proxy: None,
            main_servers: default_main_servers(),
            subscribers: None,
        }
    }
}
