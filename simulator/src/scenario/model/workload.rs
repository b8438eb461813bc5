//! What the hosts' applications ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::topology::HostSet;
use crate::scenario::trace::TracedAsk;
use crate::scenario::units::{DataType, Length, Rate};

/// One stream of operations at each of a set of hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Short name, unique in the file.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))]
    pub name: String,
    /// The hosts concerned: `all`, or the first so many.
    #[serde(default)]
    pub hosts: HostSet,
    /// When operations arrive at each host.
    pub arrivals: Arrivals,
    /// What they are, drawn by weight.
    #[schemars(length(min = 1))]
    pub mix: Vec<MixEntry>,
    /// First moment at which one may arrive.
    #[serde(default)]
    pub from: Length,
    /// Moment after which none arrives; the scenario's `duration` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Length>,
}

/// Operations from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Short name, unique in the file.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))]
    pub name: String,
    /// Its path, from the folder of this file. `.csv`: the first line names the columns `time`, `host`, `type`, and
    /// where wanted `map`, `kind`, `critical`, `priority`, `bytes`; `.jsonl`: one object with such fields a line.
    pub file: String,
    /// What it holds; the plan takes it over.
    #[serde(skip)]
    #[schemars(skip)]
    pub operations: Vec<TracedAsk>,
}

/// When operations arrive at one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// At equal distances, each host with a phase of its own.
    Constant(Rate),
    /// A Poisson process: independent arrivals with this mean rate.
    Poisson(Rate),
    /// A Poisson process whose rate grows or falls evenly from the workload's first moment to its last.
    Ramp(Ramp),
    /// Many at once, again and again, at every host at the same moments.
    Burst(Burst),
}

/// A rate that changes evenly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// At the workload's first moment.
    pub from: Rate,
    /// At its last.
    pub to: Rate,
}

/// Groups of arrivals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// From the beginning of one group to that of the next; the first begins with the workload.
    pub every: Length,
    /// Operations in a group, 1 to 100,000.
    #[schemars(range(min = 1, max = 100_000))]
    pub size: u32,
    /// Over how long a group spreads, at equal distances; at most `every`. All at once when absent.
    #[serde(default)]
    pub within: Length,
}

/// One kind of operation in a mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixEntry {
    /// What it synchronises.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// `sync_to` writes, `sync_from` reads, `embed` asks for vectors, `search` for what is near.
    #[serde(default)]
    pub kind: MixKind,
    /// Asked through `sync_critical_data`.
    #[serde(default)]
    pub critical: bool,
    /// Asked with priority.
    #[serde(default)]
    pub priority: bool,
    /// Relative frequency.
    #[serde(default = "default_weight")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: u32,
    /// Bytes of the data text, 32 to 1,000,000; VECTOR_EMBEDDING has texts of its own.
    #[serde(default = "default_bytes")]
    #[schemars(range(min = 32, max = 1_000_000))]
    pub bytes: u32,
    /// The map it concerns, counted from 0; the host's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<u32>,
    /// How it is invalid, for an operation that must be refused. Needs `main_server: {rules: true}`, but for `malformed` and
    /// `unknown_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostile: Option<Hostile>,
}

/// Direction of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MixKind {
    /// Host to main server.
    #[default]
    SyncTo,
    /// Main server to host.
    SyncFrom,
    /// Texts to vectors: three of them; VECTOR_EMBEDDING only.
    Embed,
    /// The embeddings nearest to a text; VECTOR_EMBEDDING only.
    Search,
    /// How the host does, and that it offers its map: of type `HOST_METRICS`. What it measures is drawn.
    Report,
}

/// How a hostile operation is invalid; each must be refused without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hostile {
    /// Its data are not JSON. Any type.
    Malformed,
    /// Its data are nested too deeply. Any type.
    TooDeep,
    /// Its data are larger than its type allows: `CHAT_MESSAGE` or `PLAYER_POSITION`.
    Oversized,
    /// A position beyond the map: `PLAYER_POSITION` or `PLAYER_DATA`.
    OutOfBounds,
    /// A position that cannot be reached from the one before: `PLAYER_POSITION`, from a host that has moved before.
    Teleport,
    /// Another account's data: `PLAYER_POSITION` or `PLAYER_DATA`.
    WrongAccount,
    /// A monster that cannot be: `MONSTER_DATA`.
    ImpossibleMonster,
    /// More monsters that appear at once than may: `MONSTER_DATA`.
    SpawnRate,
    /// More items that fall at once than may: `ITEM_DROP`.
    DropRate,
    /// The use of a skill that is named in another form than its rule reads: `CRITICAL_GAME_STATE`.
    SkillForm,
    /// A map's state that another host is said to run: `MAP_STATE`.
    ForeignMap,
    /// Its frame has a version that nobody speaks. Any type; every attempt is turned away.
    UnknownVersion,
}

fn default_weight() -> u32 {
    1
}

fn default_bytes() -> u32 {
    96
}
