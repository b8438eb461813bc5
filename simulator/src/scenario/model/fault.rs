//! What goes wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, Process};
use super::distribution::Distribution;
use super::network::Tamper;
use super::peer_fault::PeerFault;
use super::topology::HostSet;
use crate::scenario::units::{Length, Share, SignedLength};

/// Something goes wrong at a moment, for a while or for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at: Length,
    /// How long it lasts; until the end of `duration` when absent.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Length>,
    /// What it is.
    pub inject: Injection,
}

impl Injection {
    /// What a scenario calls it, with what of it where it has kinds.
    pub fn verb(&self) -> String {
        let verb = serde_json::to_value(self).ok();
        let verb = verb.as_ref().and_then(|value| value.as_object()?.iter().next());
        match verb {
            Some((verb, serde_json::Value::String(kind))) => format!("{verb} {kind}"),
            Some((verb, _)) => verb.clone(),
            None => "fault".to_owned(),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Injection {
    /// Messages between these hosts and the main server vanish.
    Partition(Partition),
    /// The links of these hosts behave otherwise.
    Degrade(Degrade),
    /// The database behaves otherwise.
    Database(Disturbance),
    /// The cache behaves otherwise.
    Cache(Disturbance),
    /// A process dies at once and starts again when the fault ends, with exactly what was durable.
    Crash(Crash),
    /// The wall clock of these hosts jumps once.
    ClockStep(ClockStep),
    /// Hosts shut down in order, and start again when the fault ends.
    ShutDown(ShutDown),
    /// Requests of these hosts go to another main server; when the fault ends, to their own again.
    Move(Move),
    /// Keys are replaced: for as long as this lasts both open. Virtual rig only.
    RotateKeys(RotateKeys),
    /// Main servers are told of no critical updates: the channel on which these are published is cut. Virtual rig only.
    CutNotifications(CutNotifications),
    /// Connections behave otherwise, at the level of their bytes. Live rig only.
    Connection(Connection),
    /// The embedding provider misbehaves.
    Embedding(EmbeddingTrouble),
    /// A process stands still, with all it holds, and goes on when the fault ends. Live rig only.
    Freeze(Process),
    /// Something goes wrong among peers that each have a database of their own.
    Peers(PeerFault),
}

/// Messages vanish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The hosts cut off.
    #[serde(default)]
    pub hosts: HostSet,
    /// Which way.
    #[serde(default)]
    pub direction: Direction,
}

/// Which way messages vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Requests only.
    ToServer,
    /// Replies only: the work is done and nobody learns of it.
    ToHost,
}

/// The links of these hosts behave otherwise; what is absent stays as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Degrade {
    /// The hosts concerned.
    #[serde(default)]
    pub hosts: HostSet,
    /// Delay of one message, each way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Distribution>,
    /// Share of messages that vanish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// Share of messages that arrive twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    /// Share of messages held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
    /// Share of messages that are tampered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tamper: Option<Share>,
    /// What is done to them; what a direction does not know is left out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tamper_with: Option<Vec<Tamper>>,
    /// Share of messages that are sent once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Share>,
}

/// A service behaves otherwise; what is absent stays as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disturbance {
    /// From the request to its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Distribution>,
    /// Share of requests answered with an error and without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Share>,
}

/// Which process dies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// The main server, or all of them: requests under way are forgotten.
    MainServer,
    /// These main servers, counted from 0.
    MainServers(Vec<u32>),
    /// The database: what was committed stays, answers under way are lost.
    Database,
    /// The cache: everything in it is lost.
    Cache,
    /// The sync proxy: every connection of a host breaks.
    SyncProxy,
    /// These hosts: their queues are lost, and they come back with a new incarnation.
    Hosts(HostSet),
}

/// Hosts talk to another main server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The hosts concerned.
    #[serde(default)]
    pub hosts: HostSet,
    /// The main server, counted from 0.
    pub to: u32,
}

/// Hosts shut down in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutDown {
    /// The hosts concerned.
    #[serde(default)]
    pub hosts: HostSet,
    /// How long operations may still take; what has not ended by then is cut short.
    #[serde(default)]
    pub drain: Length,
}

/// The wall clock of these hosts jumps once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// The hosts concerned.
    #[serde(default)]
    pub hosts: HostSet,
    /// How far; a minus sign steps back.
    pub by: SignedLength,
}

/// Keys are replaced at the main servers and the hosts. At first everybody opens with both and seals with the old
/// one, then everybody seals with the new one, and in the end the old one is retired. `for` says when that is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateKeys {
    /// How long the old key goes on sealing; less than `for`.
    pub prepare: Length,
    /// Hosts that are told nothing of it and go on with the old key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<HostSet>,
}

/// The channel between the cache and main servers on which critical updates are published is cut; all else of the
/// cache works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CutNotifications {
    /// The main servers cut off, counted from 0; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_servers: Option<Vec<u32>>,
}

/// The embedding provider misbehaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingTrouble {
    /// How it answers.
    pub answer: EmbeddingAnswer,
    /// Share of attempts that it answers so.
    #[serde(default = "default_share")]
    pub share: Share,
    /// How long it asks to be left alone, in whole seconds (rounded up); without it, it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Length>,
}

/// How an embedding provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingAnswer {
    /// HTTP 429.
    RateLimited,
    /// HTTP 500.
    Error,
    /// It never answers.
    Stall,
    /// The first text gets no vector, and the others count from 0.
    FewerVectors,
    /// Vectors in another order than the texts, each with its right `index`.
    PermutedIndex,
    /// Vectors of half as many numbers.
    WrongDimension,
    /// The answer breaks off.
    MalformedJson,
}

fn default_share() -> Share {
    Share::from_ppm(1_000_000)
}
