//! The main server as a child process of a run: `p2psim node main-server`.
//!
//! It is the main server of the core, function for function; only what stands around it differs: its
//! configuration comes as JSON on the standard input, so that no secret stands on a command line or in
//! a file, and its engines' calls are recorded when the run asks for it.

use std::fs::File;
use std::io::BufWriter;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sync_core::config::{Config, RedisSettings};
use sync_core::envelope::{KeyId, KeyUse, MasterKey};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::recording::{self, DrawLog, EffectForm, EngineHeader, EngineKind, KeyMark, RecordedEntropy};
use sync_core::runtime::clock::Clock;
use sync_core::runtime::driver::Tap;
use sync_core::runtime::driver::shards::{Instruments, ShardEngine};
use sync_core::runtime::entropy::OsEntropy;
use sync_core::runtime::main_server::{MainServer, Parts, connect_cache, connect_database};
use sync_core::secret::Secret;
use tokio::sync::mpsc::UnboundedReceiver;

use super::facts::{FactFile, FactTap};
use super::parent;
use super::planted::Planted;
use crate::draw::Draws;
use crate::virtual_rig::variant::WorldKeys;
use crate::zoo;

/// What a main server of a run is told. Holds secrets, so it is not shown.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MainServerSpec {
    /// Where to listen.
    pub(super) listen: SocketAddr,
    /// The run's seed; the keys derive from it.
    pub(super) seed: u64,
    /// How often keys are replaced in the run.
    pub(super) rotations: usize,
    /// The keys in force, if they are not the first ones.
    pub(super) keys: Option<KeyUse>,
    /// The planted defect: for the recording's header, and planted if it sits here.
    pub(super) defect: Option<u32>,
    /// The database, as `postgresql://…`.
    pub(super) postgres: String,
    /// The cache.
    pub(super) redis_host: String,
    /// Its port.
    pub(super) redis_port: u16,
    /// Its password.
    pub(super) redis_password: Option<String>,
    /// Its numbered database.
    pub(super) redis_db: u32,
    /// The embedding provider, if there is one.
    pub(super) provider: Option<ProviderSpec>,
    /// Settings of the engines.
    pub(super) settings: ServerSettings,
    /// How many engines there are.
    pub(super) shards: usize,
    /// Where the engines' calls are recorded.
    pub(super) recording: Option<PathBuf>,
    /// Where is written down what the engines ask of database and cache.
    pub(super) facts: Option<PathBuf>,
    /// The number of this life.
    pub(super) life: u32,
    /// How much of an effect the recording keeps.
    pub(super) effects: EffectForm,
}

/// Where a main server of a run gets vectors. Holds a secret, so it is not shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderSpec {
    /// `http://` with address, port and path.
    pub(super) endpoint: String,
    /// Its key.
    pub(super) key: String,
}

/// The line that says where it listens begins so.
pub(super) const READY: &str = "listening on ";

/// An order to use other keys begins so; their names follow, as JSON.
pub(super) const USE_KEYS: &str = "use keys ";
/// The line that says that they are in force begins so.
pub(super) const KEYS: &str = "keys in force: ";

/// Runs the main server until SIGTERM, or until the parent ends.
///
/// # Errors
/// When it does not come up; the text holds no secret.
pub(crate) fn serve() -> anyhow::Result<()> {
    let text = parent::text()?;
    let orders = parent::orders()?;
    // What serde says of a malformed text may quote it.
    let spec: MainServerSpec = serde_json::from_str(text.expose())
        .map_err(|_| anyhow::anyhow!("the text on the standard input is not what a run sends"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(spec, orders))
}

async fn run(spec: MainServerSpec, mut orders: UnboundedReceiver<String>) -> anyhow::Result<()> {
    // Before anybody is told that there is something to end.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let keys = WorldKeys::rotating(Draws::new(spec.seed), spec.rotations);
    let mut in_force = InForce { keys: &keys, never_retires: spec.defect == Some(57), known: Vec::new() };
    let config = config(&spec, in_force.take(&WorldKeys::first_use()))?;
    let (database, cache) = (connect_database(&config).await?, connect_cache(&config).await?);
    let tape = spec.recording.as_ref().map(|path| tape(path, &spec)).transpose()?;
    let facts = spec.facts.as_deref().map(FactFile::open).transpose()?;
    let defect = spec.defect.and_then(zoo::planted);
    let (database, cache) = (Planted::new(database, defect), Planted::new(cache, defect));
    let parts = Parts { settings: Some(spec.settings.clone()), ..Parts::new(database, cache) }
        .instrumented(Recorded { tape: tape.clone(), facts: facts.clone(), spec: &spec });
    let server = MainServer::start(&config, spec.listen, parts).await?;
    if let Some(keys) = &spec.keys {
        // Told as if it had run all the time: so a recording has it.
        server.replace_keys(&in_force.config(&config, keys)).await?;
    }
    parent::announce(&format!("{READY}{}", server.address()))?;
    let flushes = async {
        // A crash loses what is in memory: little of it.
        let mut ticks = tokio::time::interval(FLUSH);
        loop {
            ticks.tick().await;
            if let Some(tape) = &tape {
                tape.flush();
            }
        }
    };
    let obeys = async {
        while let Some(order) = orders.recv().await {
            let Some(names) = order.strip_prefix(USE_KEYS) else { continue };
            let keys: KeyUse = serde_json::from_str(names)?;
            let taken = server.replace_keys(&in_force.config(&config, &keys)).await?;
            parent::announce(&format!("{KEYS}{}", 1 + taken.opens.len()))?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        _ = terminate.recv() => {}
        () = flushes => {}
        failed = obeys => failed?,
    }
    server.shutdown().await;
    if let Some(facts) = &facts {
        facts.end(Clock::start().now());
    }
    if let Some(tape) = &tape {
        tape.finish()?;
    }
    Ok(())
}

/// The keys of the run as texts of a configuration.
struct InForce<'a> {
    keys: &'a WorldKeys,
    /// Planted (zoo 57): what was in use once goes on opening.
    never_retires: bool,
    known: Vec<KeyId>,
}

impl InForce<'_> {
    /// The key that seals, and those that only open.
    fn take(&mut self, keys: &KeyUse) -> (Secret<String>, Vec<Secret<String>>) {
        let KeyUse { seals, mut opens } = keys.clone();
        if self.never_retires {
            self.known.extend(std::iter::once(seals).chain(opens.iter().copied()));
            opens.clone_from(&self.known);
        }
        let ring = self.keys.server();
        let masters = ring.keys().filter(|master| master.id() != seals && opens.contains(&master.id()));
        let opens = masters.map(MasterKey::to_text).collect();
        let seals = ring.keys().find(|master| master.id() == seals);
        (seals.unwrap_or(ring.sealing_key()).to_text(), opens)
    }

    /// The configuration with these keys.
    fn config(&mut self, config: &Config, keys: &KeyUse) -> Config {
        let (encryption_key, encryption_keys_accepted) = self.take(keys);
        Config { encryption_key, encryption_keys_accepted, ..config.clone() }
    }
}

fn config(
    spec: &MainServerSpec,
    (key, accepted): (Secret<String>, Vec<Secret<String>>),
) -> anyhow::Result<Config> {
    let text = Secret::new(format!("role = main_server\nencryption_key = {}\n", key.expose()));
    let (config, _) = Config::parse("p2psim", text.expose().as_bytes())
        .map_err(|found| anyhow::anyhow!("{} findings in the configuration of a run", found.len()))?;
    let mut embedding = config.embedding.clone();
    if let Some(provider) = &spec.provider {
        embedding.openai_endpoint = provider.endpoint.parse()?;
        embedding.openai_api_key = Some(Secret::new(provider.key.clone()));
    }
    Ok(Config {
        embedding,
        pg_connection_string: Some(Secret::new(spec.postgres.clone())),
        redis: RedisSettings {
            host: spec.redis_host.clone(),
            port: spec.redis_port,
            password: spec.redis_password.clone().map(Secret::new),
            db: spec.redis_db,
        },
        worker_threads: spec.shards.max(1),
        encryption_keys_accepted: accepted,
        ..config
    })
}

type Tape = recording::Tape<BufWriter<File>>;

fn tape(path: &std::path::Path, spec: &MainServerSpec) -> anyhow::Result<Tape> {
    let header = recording::Header {
        format: recording::FORMAT,
        frames: "sealed".to_owned(),
        effects: spec.effects,
        rig_seed: Some(spec.seed),
        defect: spec.defect,
    };
    Ok(Tape::new(BufWriter::new(File::create(path)?), &header))
}

/// Records the calls of every shard, if there is a tape.
struct Recorded<'a> {
    tape: Option<Tape>,
    facts: Option<FactFile>,
    spec: &'a MainServerSpec,
}

impl Instruments for Recorded<'_> {
    type Entropy = RecordedEntropy<OsEntropy>;
    type Tap = Taps;

    fn shard(&mut self, shard: usize, settings: &ServerSettings) -> (Self::Entropy, Taps) {
        let log = self.tape.as_ref().map(|_| DrawLog::default());
        let entropy = RecordedEntropy::new(OsEntropy::new(), log.clone());
        let tap = self.tape.as_ref().zip(log).map(|(tape, draws)| {
            // Those that it will have are named, too: a replay has them from the start, and uses them when told to.
            let ring = WorldKeys::rotating(Draws::new(self.spec.seed), self.spec.rotations).server();
            let made_of = EngineHeader {
                name: format!("main server, shard {shard}"),
                kind: EngineKind::Server {
                    shard: u32::try_from(shard).unwrap_or(u32::MAX),
                    settings: settings.clone(),
                },
                keys: KeyMark::server(&ring),
            };
            tape.tap(&made_of, draws)
        });
        let number = u32::try_from(shard).unwrap_or(u32::MAX);
        (entropy, Taps { tap, facts: self.facts.clone().map(|file| FactTap::new(file, number)) })
    }
}

/// What sees the calls of one shard.
struct Taps {
    tap: Option<recording::Tap<BufWriter<File>>>,
    facts: Option<FactTap>,
}

impl Tap<ShardEngine<RecordedEntropy<OsEntropy>>> for Taps {
    fn call(
        &mut self,
        now: sync_core::time::Now,
        input: Option<&sync_core::host_sync::server::ServerInput<sync_core::host_sync::sealed::Body>>,
        effects: &[sync_core::host_sync::server::ServerEffect<sync_core::host_sync::sealed::Body>],
    ) {
        if let Some(tap) = &self.tap {
            tap.call(now, input, effects);
        }
        if let Some(facts) = &mut self.facts {
            facts.call(now, input, effects);
        }
    }

    fn is_active(&self) -> bool {
        self.tap.is_some() || self.facts.is_some()
    }
}

const FLUSH: std::time::Duration = std::time::Duration::from_millis(100);
