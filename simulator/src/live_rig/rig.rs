//! Carries plans out against real servers.

mod courier;
mod failure;
mod plan;

pub use failure::LiveRunError;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sync_core::config::{Endpoint, RedisSettings};
use sync_core::host_sync::sealed::Body;
use sync_core::recording::{EffectForm, Tape};
use sync_core::runtime::http::HttpClient;
use sync_core::runtime::postgres::{PostgresOptions, PostgresStore};
use sync_core::secret::Secret;
use sync_core::store::Content;
use tokio::runtime::Runtime;

use courier::Courier;
use plan::{disturbs_services, may_lose_messages, notes, settings};

use super::drive::drive;
use super::evidence::Sighting;
use super::facts;
use super::inside::{self, LifeFacts};
use super::interrupts::Interrupts;
use super::limits;
use super::node::{MainServerSpec, ProviderSpec};
use super::outlook::{Retention, Subscriber, cached, tail};
use super::peers::Ground;
use super::run_id::random_hex;
use super::stage::{BEHIND, CACHE, DATABASE, HOSTS, Life, SpecOf, Stage};
use super::texts;
use super::watch::{self, Seen, Watcher};
use super::{
    EmbeddingMock, FaultProxy, LinkSpec, LiveError, RunId, Servers, ServersOptions, Service, Versions,
};
use crate::check::{INSIDE, Property, properties};
use crate::draw::Draws;
use crate::history::Kind;
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::run::{Ran, RunResult, ServerVersion, Threshold, conclude, terms};
use crate::scenario::model::Peers;
use crate::verdict::Verdict;
use crate::virtual_rig::rotation::rotations;
use crate::virtual_rig::search::{Named, is_demanded};
use crate::virtual_rig::variant::{Sealed, Variant};
use crate::virtual_rig::world::{RunFigures, World};
use crate::zoo;

/// What this rig can observe: every kind of event but which critical updates hosts are told of and what only peers do.
/// Effects and the hosts of maps are read from the database's rows, what main servers do inside from what they write down
/// ([`INSIDE`]), the rest is seen at the hosts.
pub const OBSERVABLE: &[Kind] = &all_but::<{ Kind::ALL.len() - Kind::PEERS - 1 }>(false);

/// The same where the database does not tell when a transaction was committed: who hosts which map at which effect
/// remains unknown.
pub const UNTIMED: &[Kind] = &all_but::<{ Kind::ALL.len() - Kind::PEERS - 2 }>(true);

const fn all_but<const SEEN: usize>(untimed: bool) -> [Kind; SEEN] {
    let (mut seen, mut from, mut to) = ([Kind::Asked; SEEN], 0, 0);
    while from < Kind::ALL.len() {
        let unseen = match Kind::ALL[from] {
            Kind::Updates => true,
            Kind::Hosting => untimed,
            kind => kind.is_of_peers(),
        };
        if !unseen {
            seen[to] = Kind::ALL[from];
            to += 1;
        }
        from += 1;
    }
    seen
}

/// How late the rig itself may hand over an arrival or wake a host: past it the generator could not keep up,
/// and the run does not show what it was to show.
pub const LATENESS_US_MAX: u64 = 100_000;

/// Said of a run in which no duration was judged.
const NOT_TIMED: &str = "how long things took was not judged (`--untimed`)";

/// Said where peers need servers of their own and there is no Docker to start them with.
const NO_SERVERS: &str = "its peers need PostgreSQL servers of their own, which are started in containers, and both servers \
                          are given by address: leave `--postgres-url` or `--redis-url` out";

/// Where the servers are, and what is kept.
#[derive(Clone, Debug, Default)]
pub struct LiveOptions {
    /// A running PostgreSQL instead of a container.
    pub postgres_url: Option<Secret<String>>,
    /// A running Redis instead of a container.
    pub redis_url: Option<Secret<String>>,
    /// Gives each peer a PostgreSQL server of its own, in a container.
    pub isolated: bool,
    /// Judges no duration: for a machine that others use, too.
    pub untimed: bool,
}

/// Real servers, ready for one plan after the other. Whatever happens, the servers started here go when this does.
pub struct LiveRig {
    // In this order: the proxy and the servers need the runtime while they go.
    proxy: Arc<FaultProxy>,
    servers: Arc<Servers>,
    versions: Versions,
    /// Whether the database tells when a transaction was committed.
    keeps_commit_moments: bool,
    /// Whether each peer has a server of its own.
    isolated: bool,
    /// Whether durations are left unjudged.
    untimed: bool,
    /// To each main server, through the proxy.
    clients: Vec<HttpClient>,
    runtime: Runtime,
    interrupts: Interrupts,
}

impl LiveRig {
    /// Starts the servers, or connects to those given, and the fault proxy.
    ///
    /// # Errors
    /// What is missing, with its remedy.
    pub fn start(options: LiveOptions) -> Result<Self, LiveRunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| LiveRunError::Reading(format!("no threads: {error}")))?;
        let interrupts = Interrupts::new(runtime.handle());
        limits::raise_open_files();
        let LiveOptions { postgres_url, redis_url, isolated, untimed } = options;
        let run = RunId::random()?;
        let setting_up = async {
            let servers = Servers::start(ServersOptions { postgres_url, redis_url, run }).await?;
            let versions = servers.versions().await?;
            let keeps_commit_moments = watch::keeps_commit_moments(servers.postgres_dsn().expose()).await;
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
            let link = |name: &str, upstream| LinkSpec { name: name.to_owned(), upstream };
            let (database, redis) = (servers.postgres_address().await?, servers.redis_address().await?);
            let mut links = vec![link(DATABASE, database), link(CACHE, redis)];
            links.extend(HOSTS.into_iter().chain(BEHIND).map(|name| link(name, nowhere)));
            let proxy = FaultProxy::spawn(links, FAULT_SEED).await?;
            Ok::<_, LiveError>((servers, versions, proxy, keeps_commit_moments))
        };
        let (servers, versions, proxy, keeps_commit_moments) = interrupts.or(&runtime, setting_up)??;
        let client = |name| {
            let address = listening(&proxy, name)?;
            let endpoint: Endpoint = format!("http://{address}/p2p-sync")
                .parse()
                .map_err(|error| LiveRunError::Reading(format!("{error}")))?;
            HttpClient::new(&endpoint).map_err(|error| LiveRunError::Reading(error.to_string()))
        };
        let clients = HOSTS.into_iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self {
            proxy: Arc::new(proxy),
            servers: Arc::new(servers),
            versions,
            keeps_commit_moments: keeps_commit_moments.map_err(|e| reading(&e))?,
            isolated,
            untimed,
            clients,
            runtime,
            interrupts,
        })
    }

    /// Carries a plan out in real time. With a folder, every call of an engine is recorded there.
    ///
    /// # Errors
    /// When it comes to no result: the rig failed, or somebody stopped it.
    pub fn run(
        &mut self,
        plan: &Plan,
        record: Option<(&Path, EffectForm)>,
    ) -> Result<RunResult, LiveRunError> {
        self.cannot(plan)?;
        let mut plan = plan.clone();
        plan.world.expect = plan.world.expect.live();
        if self.untimed {
            plan.world.expect = plan.world.expect.untimed();
        }
        let mut result = self.carry_out(&plan, record)?;
        if self.untimed {
            result.summary.notes.push(NOT_TIMED.to_owned());
        }
        Ok(result)
    }

    fn carry_out(
        &mut self,
        plan: &Plan,
        record: Option<(&Path, EffectForm)>,
    ) -> Result<RunResult, LiveRunError> {
        if let Some(peers) = &plan.world.peers {
            return self.run_peers(plan, peers);
        }
        match plan.defect.and_then(zoo::planted) {
            Some(planted) => self.run_in(plan, planted, record),
            None => self.run_in(plan, Sealed, record),
        }
    }

    /// Ends the servers that were started here, and waits until they are gone.
    ///
    /// # Errors
    /// What is left, see `p2psim doctor`.
    pub fn remove(self) -> Result<(), LiveRunError> {
        let Self { proxy, servers, runtime, .. } = self;
        drop(proxy);
        let Ok(servers) = runtime.block_on(alone(servers)) else {
            // After an interruption a task may still hold them; the janitor takes them when this process ends.
            return Ok(());
        };
        let cleaned = runtime.block_on(servers.remove())?;
        match cleaned.faults.as_slice() {
            [] => Ok(()),
            faults => Err(LiveRunError::Left(faults.join("; "))),
        }
    }

    fn run_peers(&mut self, plan: &Plan, peers: &Peers) -> Result<RunResult, LiveRunError> {
        let versions = servers(&self.versions);
        let own = match self.isolated || super::peers::needs_servers(plan) {
            true if !self.servers.has_docker() => return Err(LiveRunError::Cannot(NO_SERVERS.to_owned())),
            true => self.interrupts.or(&self.runtime, self.servers.for_peers(peers.count))??,
            false => Vec::new(),
        };
        let ground = Ground {
            server: self.servers.postgres_dsn(),
            prefix: super::postgres::database_of(self.servers.run()),
            own,
            versions: versions.into_iter().filter(|server| server.name != "Redis").collect(),
        };
        self.interrupts.or(&self.runtime, super::peers::run(ground, plan, peers))?
    }

    fn run_in<V>(
        &mut self,
        plan: &Plan,
        variant: V,
        record: Option<(&Path, EffectForm)>,
    ) -> Result<RunResult, LiveRunError>
    where
        V: Variant<Request = Body, Reply = Body>,
    {
        let tape = record.map(|(folder, effects)| tape(plan, folder, effects)).transpose();
        let tape = tape.map_err(LiveRunError::Recording)?;
        self.interrupts.or(&self.runtime, self.servers.reset())??;
        let dsn = self.servers.postgres_dsn();
        self.interrupts.or(&self.runtime, watch::watch_hosts(dsn.expose()))?.map_err(|e| reading(&e))?;
        let (to_world, arrivals) = channel();
        let count = plan.world.topology.main_servers;
        let provider = self.provider(plan)?;
        let place = provider.as_ref().map(|(_, place)| place);
        // Why what main servers do inside is not told, where it is demanded.
        let mut untold = self.does_not_tell_inside(plan);
        let inside = judges_inside(plan) && untold.is_none();
        let facts = inside.then(random_hex::<16>).transpose()?;
        let facts = facts.map(|name| std::env::temp_dir().join(format!("p2psim-{name}")));
        let specs =
            (0..count).map(|number| self.spec(plan, (number, count), place, record, facts.as_deref()));
        let specs = specs.collect::<Result<_, _>>()?;
        let sync_proxy = plan.world.topology.sync_proxy.as_ref();
        let excuse = disturbs_services(plan);
        let set = Stage::set(&self.servers, &self.proxy, specs, &to_world, excuse, sync_proxy);
        let stage = self.interrupts.or(&self.runtime, set)??;
        let subscriber = Subscriber::start(&self.runtime, self.servers.redis_settings());
        let terms = crate::check::Terms { lateness_us_max: LATENESS_US_MAX, ..terms(plan) };
        let recorder = Recorder::new(&terms, plan.world.history).with_types();
        let watcher = Watcher::new(recorder.deferring(&terms).measuring(&plan.world.expect), inside);
        let mut world = World::outside(plan, variant, watcher, tape.clone());
        let mut secrets = self.secrets(count as usize)?;
        secrets.extend(place.map(|place| ("provider's key", Secret::new(place.key.clone()))));
        world.seek(plan, &secrets);
        // From here on the plan's time goes by.
        if let (Some((mock, _)), Some(service)) = (&provider, &plan.world.embedding) {
            mock.behave(Draws::new(plan.seed), service);
        }
        let (start, unix) = (Instant::now(), SystemTime::now());
        let unix_us = unix.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        world.begins_at(unix_us);
        world.observer_mut().start_us = unix_us;
        let retention = Retention::of(&settings(plan));
        let tail = self.runtime.spawn(tail(
            self.servers.postgres_dsn(),
            to_world.clone(),
            unix_us,
            retention,
            inside,
        ));
        self.interrupts.tell(Some(to_world.clone()));
        let mut carrier = Courier {
            runtime: self.runtime.handle().clone(),
            clients: self.clients.clone(),
            world: to_world.clone(),
            stage: &stage,
            provider: provider.as_ref().map(|(mock, _)| mock),
        };
        // A signal that came before there was a world to tell.
        self.interrupts.check()?;
        let driven = drive(&mut world, &mut carrier, &arrivals, start);
        self.interrupts.tell(None);
        tail.abort();
        let strike = self.interrupts.or(&self.runtime, stage.strike(is_demanded(plan)));
        self.interrupts.check()?;
        let struck = strike??;
        driven.map_err(LiveRunError::Reading)?;
        let left = self.interrupts.or(&self.runtime, self.left(inside))??;
        if is_demanded(plan) {
            secrets.extend(struck.lives.iter().map(|life| address(life.address)));
            world.seek(plan, &secrets);
            let (dsn, redis) = (self.servers.postgres_dsn(), self.servers.redis_settings());
            let held = self.interrupts.or(&self.runtime, texts::held(&dsn, &redis))??;
            let printed = struck.lives.iter().map(|life| &life.printed).chain(&struck.printed);
            let printed = printed.flat_map(texts::printed);
            for (place, text) in held.into_iter().chain(printed).chain(struck.answers) {
                world.search(place, None, &text);
            }
        }
        // Whatever the main server published before it ended has come by now, or got lost.
        let published = self.interrupts.or(&self.runtime, subscriber.stop(may_lose_messages(plan)))??;
        watch::show(&mut world, left.seen);
        if inside {
            untold = tell_inside(world.observer_mut(), &struck.lives).err();
        }
        let now_us = unix_us + u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Watcher { evidence, reads, start_us, .. } = world.observer_mut();
        let mut judged = evidence.judge(&left.content, &left.cached, &published);
        let stale_us_max = self.keeps_commit_moments.then_some(terms.stale_reads_us_max);
        judged.extend(reads.judge(evidence, *start_us, stale_us_max));
        let content = evidence.remembered(left.content, now_us.saturating_sub(retention.kept_us));
        if let Some(tape) = &tape {
            tape.finish().map_err(LiveRunError::Recording)?;
        }
        let heard = published.sightings.len() as u64;
        let (watcher, figures) = world.finish(plan, content, heard);
        let figures = RunFigures { provider: provider.and_then(|(mock, _)| mock.asked()), ..figures };
        judged.extend(struck.offences.into_iter().map(offence));
        let observable = if self.keeps_commit_moments { OBSERVABLE } else { UNTIMED };
        let is_told = |kind: &Kind| (inside && untold.is_none()) || !INSIDE.contains(kind);
        let why = untold.as_ref().map(|why| format!("what main servers did inside is not judged: {why}"));
        let ran = Ran {
            rig: "live",
            observable: observable.iter().copied().filter(is_told).collect(),
            servers: servers(&self.versions),
            notes: notes(plan).into_iter().chain(why).collect(),
            thresholds: judged,
            secrets,
        };
        let result = conclude(plan, watcher.recorder, figures, &ran);
        Ok(RunResult { recording: record.map(|(folder, _)| folder.to_owned()), ..result })
    }

    /// What nobody may see of this rig: passwords, and where hosts find the main servers.
    fn secrets(&self, main_servers: usize) -> Result<Vec<Named>, LiveRunError> {
        let mut secrets = texts::passwords(&self.servers.postgres_dsn(), &self.servers.redis_settings());
        for link in &HOSTS[..main_servers] {
            secrets.push(address(listening(&self.proxy, link)?));
        }
        Ok(secrets)
    }

    /// The embedding provider of a plan, for main servers to ask.
    fn provider(&self, plan: &Plan) -> Result<Option<(EmbeddingMock, ProviderSpec)>, LiveRunError> {
        if plan.world.embedding.is_none() {
            return Ok(None);
        }
        let key = random_hex::<16>()?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = std::net::TcpListener::bind(free)
            .map_err(|error| LiveRunError::Reading(format!("no port for the embedding provider: {error}")))?;
        let mock = self.runtime.block_on(EmbeddingMock::start(listener, Secret::new(key.clone())));
        let endpoint = format!("{}/v1", mock.address());
        Ok(Some((mock, ProviderSpec { endpoint, key })))
    }

    /// Why it cannot be told here what main servers do inside, where that is to be judged and cannot.
    fn does_not_tell_inside(&self, plan: &Plan) -> Option<String> {
        let why = match (self.servers.can_kill(Service::Postgres), self.keeps_commit_moments) {
            (false, _) => "the database was given by its address, and its clock may be another one",
            (true, false) => "the database does not keep the moments of commits",
            (true, true) => return None,
        };
        judges_inside(plan).then(|| why.to_owned())
    }

    /// How the process of one of so many main servers is made, life after life. With `facts`, each writes down what it
    /// does, in a file whose path begins so.
    fn spec(
        &self,
        plan: &Plan,
        (number, count): (u32, u32),
        provider: Option<&ProviderSpec>,
        record: Option<(&Path, EffectForm)>,
        facts: Option<&Path>,
    ) -> Result<SpecOf, LiveRunError> {
        let database = listening(&self.proxy, DATABASE)?;
        let options: PgConnectOptions = self
            .servers
            .postgres_dsn()
            .expose()
            .parse()
            .map_err(|_| LiveRunError::Reading("the database's address is malformed".to_owned()))?;
        let options = options.host(&database.ip().to_string()).port(database.port());
        let mut postgres = options.to_url_lossy();
        if plan.defect == Some(32) {
            // What is acknowledged is written up to 600 ms later (three times `wal_writer_delay`).
            postgres.query_pairs_mut().append_pair("options[synchronous_commit]", "off");
        }
        let postgres = postgres.to_string();
        let cache = listening(&self.proxy, CACHE)?;
        let RedisSettings { password, db, .. } = self.servers.redis_settings();
        let provider = provider.cloned();
        let (settings, folder) = (settings(plan), record.map(|(folder, _)| folder.to_owned()));
        let effects = record.map_or(EffectForm::Digest, |(_, effects)| effects);
        // No two lives have the same number, as in the virtual world.
        let (seed, defect, mut life) = (plan.seed, plan.defect, number);
        let rotations = rotations(plan);
        let facts = facts.map(|path| path.display().to_string());
        Ok(Box::new(move |keys| {
            let recording = folder.as_ref().map(|folder| folder.join(format!("main-server-{life}.jsonl")));
            let facts = facts.as_ref().map(|path| format!("{path}-{life}").into());
            let this_life = life;
            life += count;
            MainServerSpec {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                seed,
                rotations,
                keys,
                defect,
                postgres: postgres.clone(),
                redis_host: cache.ip().to_string(),
                redis_port: cache.port(),
                redis_password: password.as_ref().map(|password| password.expose().clone()),
                redis_db: db,
                provider: provider.clone(),
                settings: settings.clone(),
                shards: SHARDS,
                recording,
                facts,
                life: this_life,
                effects,
            }
        }))
    }

    /// What the servers hold at the end.
    async fn left(&self, with_transactions: bool) -> Result<Left, LiveRunError> {
        // Had the proxy gone, its silence would look like the system's.
        for link in HOSTS.into_iter().chain(BEHIND).chain([DATABASE, CACHE]) {
            self.proxy.statistics(link).await?;
        }
        let dsn = self.servers.postgres_dsn();
        // A main server that was killed may have left a statement that still runs.
        super::postgres::disconnect_others(&dsn).await?;
        let store =
            PostgresStore::connect(&dsn, PostgresOptions::default()).await.map_err(|e| reading(&e))?;
        let content = store.content().await.map_err(|e| reading(&e))?;
        store.close().await;
        let mut connection = watch::connect(dsn.expose()).await.map_err(|e| reading(&e))?;
        let seen = watch::seen(&mut connection, 0, with_transactions).await.map_err(|e| reading(&e))?;
        let cached = cached(&self.servers.redis_settings()).await?;
        Ok(Left { content, seen, cached })
    }
}

/// Waits a while for others to let go.
async fn alone<T>(mut shared: Arc<T>) -> Result<T, Arc<T>> {
    for _ in 0..LETTING_GO {
        shared = match Arc::try_unwrap(shared) {
            Ok(alone) => return Ok(alone),
            Err(shared) => shared,
        };
        tokio::time::sleep(LET_GO).await;
    }
    Err(shared)
}

/// What the servers hold after a run.
struct Left {
    content: Content,
    seen: Vec<Seen>,
    /// What the cache holds for states; `None` for an entry that cannot be read.
    cached: Vec<Option<Sighting>>,
}

/// Whether a plan demands what shows at main servers only.
fn judges_inside(plan: &Plan) -> bool {
    let needs_it = |property: &Property| property.needs.iter().any(|kind| INSIDE.contains(kind));
    let demanded = &plan.world.expect.properties;
    properties().iter().filter(|property| needs_it(property)).any(|p| demanded.iter().any(|id| id == p.id))
}

/// Shows the checks what main servers did inside, now that all rows have been seen.
///
/// # Errors
/// Why it cannot be told.
fn tell_inside(watcher: &mut Watcher, lives: &[Life]) -> Result<(), String> {
    let read = |life: &Life| {
        let file = life.facts.as_ref().ok_or("a main server has no file of what it did")?;
        let first_engine = life.number.saturating_mul(SHARDS as u32);
        Ok::<_, String>(LifeFacts { first_engine, lines: facts::read(file, life.was_killed)? })
    };
    let lives: Vec<_> = lives.iter().map(read).collect::<Result<_, _>>()?;
    let outside = inside::Outside {
        decided: &watcher.decided,
        applied: &watcher.applied,
        op: &|id| watcher.evidence.op(id),
        start_us: watcher.start_us,
    };
    let events = inside::events(&lives, &outside)?;
    events.iter().for_each(|event| watcher.recorder.late(event));
    Ok(())
}

fn reading(error: &dyn std::fmt::Display) -> LiveRunError {
    LiveRunError::Reading(format!("cannot read what the database holds: {error}"))
}

fn address(of: SocketAddr) -> Named {
    ("main server's address", Secret::new(of.to_string()))
}

fn offence(actual: String) -> Threshold {
    Threshold {
        figure: "starts and ends of the main server".to_owned(),
        bound: "in order".to_owned(),
        actual,
        verdict: Verdict::Fail,
    }
}

fn listening(proxy: &FaultProxy, link: &str) -> Result<SocketAddr, LiveRunError> {
    let address = proxy.listening(link);
    address.ok_or_else(|| LiveRunError::Reading(format!("the fault proxy has no link {link}")))
}

fn tape(plan: &Plan, folder: &Path, effects: EffectForm) -> std::io::Result<Tape> {
    std::fs::create_dir_all(folder)?;
    let file = std::fs::File::create(folder.join("hosts.jsonl"))?;
    Ok(Tape::new(Box::new(file), &crate::recording::header(plan, effects)))
}

fn servers(versions: &Versions) -> Vec<ServerVersion> {
    let named =
        |name: &str, version: &str| ServerVersion { name: name.to_owned(), version: version.to_owned() };
    let mut servers = vec![named("PostgreSQL", versions.postgres.trim_start_matches("PostgreSQL "))];
    servers.extend(versions.pgvector.as_deref().map(|version| named("pgvector", version)));
    servers.push(named("Redis", &versions.redis));
    servers.extend(versions.docker.as_deref().map(|version| named("Docker", version)));
    servers
}

/// How often, and with which pauses, it is looked whether tasks still hold the servers.
const LETTING_GO: u32 = 100;
const LET_GO: Duration = Duration::from_millis(20);
/// Engines of the main server.
const SHARDS: usize = 2;
/// Seed of what the fault proxy draws.
const FAULT_SEED: u64 = 1;
