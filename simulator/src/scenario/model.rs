//! What a scenario file says, as types. The doc comments become the descriptions in `scenarios/schema.json`.
//!
//! Enums are externally tagged (`constant: 20ms`) so that every error keeps its line and column.

mod connection;
mod distribution;
mod expect;
mod fault;
mod network;
mod only;
mod peer_fault;
mod peers;
mod service;
mod settings;
mod topology;
mod workload;

pub use connection::{Connection, ConnectionEnd, Process};
pub use distribution::{Distribution, Exponential, Lognormal, Uniform};
pub use expect::{Expect, Figure, LiveBounds, Overload, ProviderBounds, Recovery};
pub use fault::{
    ClockStep, Crash, CutNotifications, Degrade, Direction, Disturbance, EmbeddingAnswer, EmbeddingTrouble,
    Fault, Injection, Move, Partition, RotateKeys, ShutDown,
};
pub use network::{Frames, Link, Network, Tamper};
pub use only::{Only, OnlyRig};
pub use peer_fault::{
    Corrupt, Cut, DegradeLinks, PeerFault, Release, Replace, Replacement, SameName, SetBack, StepClocks,
    TwinDatabase,
};
pub use peers::{
    DeclaredReference, DeclaredTable, Discovery, Links, OnDeleted, Peers, Put, RandomLinks, RowName,
    Statement, StatementKind, StatementMix, Step, TablePolicy, Tables, Texts, Transactions,
};
pub use service::Service;
pub use settings::{Clocks, HostSettings, MainServerSettings};
pub use topology::{HostSet, SyncProxy, Topology};
pub use workload::{Arrivals, Burst, Hostile, MixEntry, MixKind, Ramp, Trace, Workload};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Length;

/// A scenario: a world, what is done in it, what goes wrong, and what must hold all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short name, unique in its folder: lower-case letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))]
    pub name: String,
    /// One or two sentences: what this scenario shows.
    pub about: String,
    /// The one rig that this scenario is for, where the other cannot carry it out. In the other a folder skips it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// How long the workload and the faults last, in simulated time.
    pub duration: Length,
    /// After `duration` every fault is healed; the system must have come to rest within this time.
    #[serde(default = "default_settle")]
    pub settle: Length,
    /// The hosts that take part, and their main servers.
    #[serde(default, skip_serializing_if = "Topology::is_absent")]
    pub topology: Topology,
    /// The peers that take part, each with a database of its own, instead of hosts and main servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// Settings of every host.
    #[serde(default)]
    pub hosts: HostSettings,
    /// Settings of the main server.
    #[serde(default)]
    pub main_server: MainServerSettings,
    /// The links between hosts and main server.
    #[serde(default)]
    pub network: Network,
    /// The main server's database.
    #[serde(default = "service::default_database")]
    pub database: Service,
    /// The main server's cache.
    #[serde(default = "service::default_cache")]
    pub cache: Service,
    /// The main server's embedding provider; without it nothing is embedded. Every map is eligible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Service>,
    /// The hosts' clocks.
    #[serde(default)]
    pub clocks: Clocks,
    /// What the hosts' applications ask for: open-loop, so arrivals never wait for earlier results.
    #[serde(default)]
    pub workload: Vec<Workload>,
    /// Operations that are written down one by one, in files beside this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Trace>,
    /// What applications do at peers, drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<Transactions>,
    /// What applications do at peers, written down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What must hold.
    pub expect: Expect,
    /// How much of the history is kept.
    #[serde(default)]
    pub history: HistoryMode,
}

/// How much of the history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryMode {
    /// Every event.
    #[default]
    Full,
    /// Only events of what a check found fault with.
    FailingKeys,
    /// None.
    None,
}

fn default_settle() -> Length {
    Length::from_ms(30_000)
}
