//! What a scenario file says, as types. The doc comments become the descriptions in `scenarios/schema.json`.
//!
//! Enums are externally tagged (`constant: 20ms`) so that every error keeps its line and column.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{DataType, Length, Rate, Share, SignedLength};

/// A scenario: a world, what is done in it, what goes wrong, and what must hold all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short name, unique in its folder: lower-case letters, digits and `-`.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))]
    pub name: String,
    /// One or two sentences: what this scenario shows.
    pub about: String,
    /// How long the workload and the faults last, in simulated time.
    pub duration: Length,
    /// After `duration` every fault is healed; the system must have come to rest within this time.
    #[serde(default = "default_settle")]
    pub settle: Length,
    /// Who takes part.
    pub topology: Topology,
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
    #[serde(default = "default_database")]
    pub database: Service,
    /// The main server's cache.
    #[serde(default = "default_cache")]
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
    /// What goes wrong, and when.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What must hold.
    pub expect: Expect,
    /// How much of the history is kept.
    #[serde(default)]
    pub history: HistoryMode,
}

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
    /// A sync proxy through which hosts talk to the main servers, so that they see nothing of these. Virtual rig only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_proxy: Option<SyncProxy>,
    /// Number of main servers over the one database and the one cache; host `n` talks to `n mod main_servers`. 1 to 4.
    #[serde(default = "default_main_servers", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 4))]
    pub main_servers: u32,
}

/// A node that forwards what it cannot read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncProxy {
    /// Delay of one message between proxy and main server; that of the link of its host comes on top.
    pub latency: Distribution,
}

/// Settings of every host, named as in `p2p_data_sync.conf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    /// From the asking to the result of a critical operation.
    pub critical_timeout: Length,
    /// Types that are critical however they were asked for.
    pub critical_data_types: Vec<DataType>,
    /// Operations that may wait at one host.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_queue_size: u32,
    /// Operations under way at one host that are not critical.
    #[schemars(range(min = 1, max = 256))]
    pub worker_threads: u32,
    /// Slots that only critical operations use.
    #[schemars(range(max = 256))]
    pub critical_slots: u32,
    /// Waiting operations that are not critical and travel in one request, in the slot of one.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 256))]
    pub host_batch_max: u32,
}

/// Settings of the main server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MainServerSettings {
    /// How far the time on a request may lie from the server's clock.
    pub freshness_window: Length,
    /// Lifetime of a cached state; `0s` never expires.
    pub cache_expiry: Length,
    /// Operations in one database transaction.
    #[schemars(range(min = 1, max = 256))]
    pub batch_max: u32,
    /// Database transactions under way at once.
    #[schemars(range(min = 1, max = 64))]
    pub batches_in_flight_max: u32,
    /// How often hosts that have fallen silent are looked for; `0s` never. A host that has not reported for 45
    /// seconds is dropped.
    #[serde(skip_serializing_if = "is_never")]
    pub health_check: Length,
    /// Whether the rules built in hold for what hosts write; values then have the published form of their type.
    #[serde(skip_serializing_if = "is_false")]
    pub rules: bool,
}

/// The links between hosts and main server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// From a host to the main server.
    pub to_server: Link,
    /// From the main server to a host.
    pub to_host: Link,
    /// How a frame travels: `sealed` with the real cipher, `modelled` with the same size and no cipher.
    pub frames: Frames,
}

/// How a frame travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frames {
    /// Encrypted and authenticated by the core, as in production.
    #[default]
    Sealed,
    /// Same JSON size and delays, no cipher: for runs of millions of operations.
    Modelled,
}

/// One direction of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Delay of one message.
    pub latency: Distribution,
    /// Share of messages that vanish.
    pub loss: Share,
    /// Share of messages that arrive twice, the second after a delay of its own.
    pub duplicate: Share,
    /// Share of messages held back by `reorder_delay`, so that later ones overtake them.
    pub reorder: Share,
    /// How long a reordered message is held back.
    pub reorder_delay: Length,
    /// Share of messages that are tampered with.
    pub tamper: Share,
    /// What is done to them: one of these, drawn for each.
    #[schemars(length(min = 1))]
    pub tamper_with: Vec<Tamper>,
    /// Share of messages that somebody records and sends once more, unaltered. The answer to a replayed
    /// request goes to whoever replayed it.
    pub replay: Share,
    /// How long after the first sending; any delay of the link comes on top.
    pub replay_after: Length,
}

/// What is done to a message that is tampered with. With modelled frames the first four are only marked, and
/// refused because they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tamper {
    /// One bit of the body is flipped.
    FlipBit,
    /// The end of the frame or of the body is cut off.
    Truncate,
    /// Two blocks of the ciphertext change places.
    SwapBlocks,
    /// Plain text, or a frame without a tag, takes its place.
    Downgrade,
    /// The account, the operation id or the urgency outside the frame is changed. Requests only.
    ChangeOuter,
    /// An earlier reply to another operation of the same host takes its place. Replies only.
    SwapReply,
}

/// A distribution of delays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Constant(Length),
    /// Evenly between two bounds.
    Uniform(Uniform),
    /// Exponential.
    Exponential(Exponential),
    /// Log-normal, the usual shape of network and database latency.
    Lognormal(Lognormal),
}

/// Evenly between two bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    /// Shortest delay.
    pub min: Length,
    /// Longest delay.
    pub max: Length,
}

/// Exponential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// Mean delay.
    pub mean: Length,
}

/// Log-normal by two of its percentiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// Half of the delays are shorter.
    pub median: Length,
    /// 99 of 100 delays are shorter; at least `median`.
    pub p99: Length,
}

/// A database or a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// From the request to its commit.
    pub latency: Distribution,
    /// From the commit to the answer's arrival.
    #[serde(default = "default_answer")]
    pub answer: Length,
    /// Share of requests answered with an error and without effect.
    #[serde(default)]
    pub failures: Share,
    /// Operations that it can carry out in a time, one after the other; those beyond wait in the order of their
    /// coming, before `latency`. Without bound when absent. Virtual rig only: real services have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Rate>,
}

/// The hosts' clocks; the main server's is the world's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Each host's wall clock is off by up to this much, either way.
    pub skew: Length,
    /// Each host's clock runs fast or slow by up to this many parts in a million.
    #[schemars(range(max = 100_000))]
    pub drift_ppm: u32,
}

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
    pub operations: Vec<super::trace::TracedAsk>,
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
    /// How it is invalid, for an operation that must be refused. Needs `main_server: {rules: true}`, but for `malformed`.
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
}

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
    /// Connections behave otherwise, at the level of their bytes. Live rig only.
    Connection(Connection),
    /// The embedding provider misbehaves. Virtual rig only.
    Embedding(EmbeddingTrouble),
    /// A process stands still, with all it holds, and goes on when the fault ends. Live rig only.
    Freeze(Process),
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

/// What must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The properties demanded, by id; `p2psim list --properties` explains each.
    pub properties: Vec<String>,
    /// Share of critical operations that may miss their deadline (property P19).
    #[serde(default)]
    pub critical_miss_ratio_max: Share,
    /// How long a critical operation may wait at its host for work that is not critical (property P20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_blocking_max: Option<Length>,
    /// How long the work of a host that is not critical may stand still (property P20); not bounded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal_stall_max: Option<Length>,
    /// How long the cache may serve a value after a newer one took effect (property P23); its lifetime when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_reads_max: Option<Length>,
    /// When goodput has to be back after an overload (property P22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Figures with an upper bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at_most: BTreeMap<Figure, Length>,
}

/// Goodput after an overload: of the operations intended later than `overload_ends` and `within` together, at
/// least `goodput_min` are done within `latency_max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// When the load is normal again.
    pub overload_ends: Length,
    /// How long the system may take from then on.
    pub within: Length,
    /// Share of the operations after that which are done in time.
    #[serde(default = "default_goodput")]
    pub goodput_min: Share,
    /// From the intended moment to the result of an operation done in time.
    #[serde(default = "default_good_latency")]
    pub latency_max: Length,
}

/// A figure of the summary that a scenario can bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Median latency of critical operations, from the intended moment.
    CriticalP50,
    /// 95th percentile of critical operations.
    CriticalP95,
    /// 99th percentile of critical operations.
    CriticalP99,
    /// 99.9th percentile of critical operations.
    CriticalP999,
    /// Median latency of all other operations.
    NormalP50,
    /// 95th percentile of all other operations.
    NormalP95,
    /// 99th percentile of all other operations.
    NormalP99,
    /// 99.9th percentile of all other operations.
    NormalP999,
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

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            critical_timeout: Length::from_ms(500),
            critical_data_types: Vec::new(),
            max_queue_size: 10_000,
            worker_threads: 4,
            critical_slots: 4,
            host_batch_max: 1,
        }
    }
}

impl Default for MainServerSettings {
    fn default() -> Self {
        Self {
            freshness_window: Length::from_ms(30_000),
            cache_expiry: Length::from_ms(3_600_000),
            batch_max: 256,
            batches_in_flight_max: 16,
            health_check: Length::ZERO,
            rules: false,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { to_server: Link::default(), to_host: Link::default(), frames: Frames::Sealed }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Distribution::Lognormal(Lognormal {
                median: Length::from_ms(15),
                p99: Length::from_ms(60),
            }),
            loss: Share::ZERO,
            duplicate: Share::ZERO,
            reorder: Share::ZERO,
            reorder_delay: Length::from_ms(100),
            tamper: Share::ZERO,
            tamper_with: vec![Tamper::FlipBit],
            replay: Share::ZERO,
            replay_after: Length::from_ms(200),
        }
    }
}

fn default_settle() -> Length {
    Length::from_ms(30_000)
}

fn default_maps() -> u32 {
    1
}

fn default_main_servers() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_never(length: &Length) -> bool {
    *length == Length::ZERO
}

fn is_false(value: &bool) -> bool {
    !value
}

fn default_database() -> Service {
    Service {
        latency: Distribution::Lognormal(Lognormal { median: Length::from_ms(3), p99: Length::from_ms(15) }),
        answer: default_answer(),
        failures: Share::ZERO,
        capacity: None,
    }
}

fn default_cache() -> Service {
    Service {
        latency: Distribution::Constant(Length::from_us(300)),
        answer: default_answer(),
        failures: Share::ZERO,
        capacity: None,
    }
}

fn default_answer() -> Length {
    Length::from_us(200)
}

fn default_goodput() -> Share {
    Share::from_ppm(990_000)
}

fn default_good_latency() -> Length {
    Length::from_ms(1_000)
}

fn default_share() -> Share {
    Share::from_ppm(1_000_000)
}

fn default_weight() -> u32 {
    1
}

fn default_bytes() -> u32 {
    96
}
