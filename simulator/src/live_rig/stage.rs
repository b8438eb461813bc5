//! What a live run stands on: servers, the fault proxy before each of them, and the main server's process;
//! and what faults do to them.
//!
//! Each process has a task of its own that carries its orders out one after the other, so that a
//! database that takes long to start delays nothing else.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use sync_core::envelope::KeyUse;
use sync_core::secret::Secret;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::child::Printed;
use super::drive::Arrival;
use super::facts;
use super::node::{KEYS, MainServerSpec, READY, USE_KEYS};
use super::sync_proxy::{Closed, Gate};
use super::texts::{self, Text};
use super::{Behaviour, Child, FaultProxy, Flow, LiveError, Servers, Service};
use crate::scenario::model::{Connection, ConnectionEnd, Crash, Disturbance, Injection, Process, SyncProxy};
use crate::scenario::validate::MAIN_SERVERS_MAX;
use crate::virtual_rig::main_server::server_name;
use crate::virtual_rig::outside::Order;

/// The links between hosts and each main server, between main servers and database, between main servers and cache.
pub(super) const HOSTS: [&str; MAIN_SERVERS_MAX as usize] = ["hosts", "hosts 1", "hosts 2", "hosts 3"];
/// The links between sync proxies and main servers, where the former stand between hosts and the latter.
pub(super) const BEHIND: [&str; MAIN_SERVERS_MAX as usize] =
    ["proxied", "proxied 1", "proxied 2", "proxied 3"];
pub(super) const DATABASE: &str = "database";
pub(super) const CACHE: &str = "cache";

/// The processes beside the hosts, each with its task.
pub(super) struct Stage {
    main_servers: Vec<UnboundedSender<Order>>,
    database: UnboundedSender<Order>,
    cache: UnboundedSender<Order>,
    tasks: Vec<JoinHandle<Result<Acted, LiveError>>>,
    sync_proxies: Vec<UnboundedSender<Order>>,
    gates: Vec<JoinHandle<Result<Closed, LiveError>>>,
}

/// What is left of a process's task.
#[derive(Default)]
struct Acted {
    child: Option<Child>,
    /// What the process did that it must not do.
    offences: Vec<String>,
    lives: Vec<Life>,
}

/// One life of a main server's process.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Where it listened.
    pub(super) address: SocketAddr,
    /// What it printed.
    pub(super) printed: Printed,
    /// Counts the lives of all main servers.
    pub(super) number: u32,
    /// What it writes down of what it does, if it does so.
    pub(super) facts: Option<Arc<File>>,
    /// Whether a fault killed it.
    pub(super) was_killed: bool,
}

/// What is left of a stage.
#[derive(Default)]
pub(super) struct Struck {
    /// What main servers did that they must not do.
    pub(super) offences: Vec<String>,
    /// Every life of every main server.
    pub(super) lives: Vec<Life>,
    /// What sync proxies printed.
    pub(super) printed: Vec<Printed>,
    /// What those that were up at the end answer to anybody.
    pub(super) answers: Vec<Text>,
}

/// One process and what is on at it.
struct Actor {
    process: Process,
    /// Which of the main servers, and of how many.
    number: usize,
    count: usize,
    servers: Arc<Servers>,
    proxy: Arc<FaultProxy>,
    world: Sender<Arrival>,
    /// The main server's child process, while it is up.
    child: Option<Child>,
    spec: Option<SpecOf>,
    /// Changes of the link that are on, by fault.
    changes: Vec<(u32, Change)>,
    /// Freezes that are on.
    freezes: u32,
    is_frozen: bool,
    is_down: bool,
    /// Whether the main server may fail to start for want of another process.
    has_excuse: bool,
    offences: Vec<String>,
    lives: Vec<Life>,
    /// Whether a sync proxy stands between hosts and main server.
    is_proxied: bool,
    /// The keys that the main server was told last, and whether it has yet to take them.
    keys: Option<KeyUse>,
    owes_keys: bool,
}

/// How the main server's process is made, life after life: with these keys, or the first ones.
pub(super) type SpecOf = Box<dyn FnMut(Option<KeyUse>) -> MainServerSpec + Send + Sync>;

#[derive(Clone, Debug)]
enum Change {
    Disturbed(Disturbance),
    Connection(Connection),
}

impl Stage {
    /// Starts the main servers' processes, each made by one of `specs`, and waits until they listen. With `has_excuse`,
    /// a later start may fail for a while: what it needs is disturbed, too. With `sync_proxy`, hosts reach them through
    /// sync proxies.
    ///
    /// # Errors
    /// When one does not come up.
    pub(super) async fn set(
        servers: &Arc<Servers>,
        proxy: &Arc<FaultProxy>,
        specs: Vec<SpecOf>,
        world: &Sender<Arrival>,
        has_excuse: bool,
        sync_proxy: Option<&SyncProxy>,
    ) -> Result<Self, LiveError> {
        for link in HOSTS.into_iter().chain(BEHIND).chain([DATABASE, CACHE]) {
            proxy.set(link, Behaviour::default()).await?;
        }
        let count = specs.len();
        let actor = |process, number| Actor {
            process,
            number,
            count,
            servers: Arc::clone(servers),
            proxy: Arc::clone(proxy),
            world: world.clone(),
            child: None,
            spec: None,
            changes: Vec::new(),
            freezes: 0,
            is_frozen: false,
            is_down: false,
            has_excuse,
            offences: Vec::new(),
            lives: Vec::new(),
            is_proxied: sync_proxy.is_some(),
            keys: None,
            owes_keys: false,
        };
        let mut gates = Vec::new();
        let mut main_servers = Vec::new();
        for (number, mut spec) in specs.into_iter().enumerate() {
            let (child, life) = start(&spec(None)).await?;
            let address = life.address;
            match sync_proxy {
                None => proxy.set_upstream(HOSTS[number], address).await?,
                Some(settings) => {
                    proxy.set_upstream(BEHIND[number], address).await?;
                    let flow = Flow { latency: Some(settings.latency.clone()), ..Flow::default() };
                    let delayed =
                        Behaviour { to_upstream: flow.clone(), to_client: flow, ..Behaviour::default() };
                    proxy.set(BEHIND[number], delayed).await?;
                    let behind = proxy
                        .listening(BEHIND[number])
                        .ok_or_else(|| LiveError::Proxy(format!("there is no link {}", BEHIND[number])))?;
                    gates.push(Gate::open(number, behind, proxy, world).await?);
                }
            }
            let mut actor = actor(Process::MainServer, number);
            actor.lives.push(life);
            (actor.child, actor.spec) = (Some(child), Some(spec));
            main_servers.push(actor);
        }
        let mut tasks = Vec::new();
        let mut begin = |actor: Actor| {
            let (sender, receiver) = unbounded_channel();
            tasks.push(tokio::spawn(actor.act(receiver)));
            sender
        };
        let main_servers = main_servers.into_iter().map(&mut begin).collect();
        let (database, cache) = (begin(actor(Process::Database, 0)), begin(actor(Process::Cache, 0)));
        let (mut sync_proxies, mut closing) = (Vec::new(), Vec::new());
        for gate in gates {
            let (sender, receiver) = unbounded_channel();
            closing.push(tokio::spawn(gate.act(receiver)));
            sync_proxies.push(sender);
        }
        Ok(Self { main_servers, database, cache, tasks, sync_proxies, gates: closing })
    }

    /// Hands an order to whom it concerns.
    pub(super) fn order(&self, order: Order) {
        let injection = match &order {
            Order::Begin { injection, .. } | Order::End { injection, .. } => injection,
            Order::UseKeys(_) => {
                for orders in &self.main_servers {
                    // Its task ends only after this handle.
                    let _ = orders.send(order.clone());
                }
                return;
            }
        };
        let of = |process: Process| match process {
            Process::MainServer => self.main_servers.iter().collect(),
            Process::Database => vec![&self.database],
            Process::Cache => vec![&self.cache],
        };
        let concerned: Vec<_> = match injection {
            Injection::Database(_) | Injection::Crash(Crash::Database) => of(Process::Database),
            Injection::Cache(_) | Injection::Crash(Crash::Cache) => of(Process::Cache),
            Injection::Crash(Crash::MainServer) => of(Process::MainServer),
            Injection::Crash(Crash::MainServers(list)) => {
                list.iter().filter_map(|number| self.main_servers.get(*number as usize)).collect()
            }
            Injection::Crash(Crash::SyncProxy) => self.sync_proxies.iter().collect(),
            Injection::Freeze(process) => of(*process),
            Injection::Connection(connection) => of(connection.to),
            Injection::Partition(_)
            | Injection::Degrade(_)
            | Injection::ClockStep(_)
            | Injection::ShutDown(_)
            | Injection::Move(_)
            | Injection::RotateKeys(_)
            | Injection::CutNotifications(_)
            | Injection::Embedding(_)
            | Injection::Peers(_)
            | Injection::Crash(Crash::Hosts(_)) => Vec::new(),
        };
        for orders in concerned {
            // Its task ends only after this handle.
            let _ = orders.send(order.clone());
        }
    }

    /// Waits until every order was carried out, and ends the main servers in order. `ask` says whether they are asked
    /// before what they answer to anybody.
    ///
    /// # Errors
    /// The first order that could not be carried out.
    pub(super) async fn strike(self, ask: bool) -> Result<Struck, LiveError> {
        let Self { main_servers, database, cache, tasks, sync_proxies, gates } = self;
        drop((main_servers, database, cache, sync_proxies));
        let (mut struck, mut failed) = (Struck::default(), None);
        // To the last one, whatever the others say: nothing goes on afterwards.
        for task in tasks {
            let acted = match task.await {
                Ok(Ok(acted)) => acted,
                Ok(Err(error)) => {
                    failed = failed.or(Some(error));
                    continue;
                }
                Err(_) => {
                    failed = failed.or(Some(LiveError::Proxy("a task of the stage panicked".to_owned())));
                    continue;
                }
            };
            struck.offences.extend(acted.offences);
            if let Some(mut child) = acted.child {
                if let (true, Some(life)) = (ask, acted.lives.last()) {
                    struck.answers.extend(texts::answers(life.address).await);
                }
                struck.offences.extend(match child.has_ended() {
                    Some(status) => Some(format!("it ended by itself: {status}")),
                    None => match child.terminate(TERMINATE).await {
                        Ok(status) if status.success() => None,
                        Ok(status) => Some(format!("asked to end, it did so with {status}")),
                        Err(error) => Some(format!("it could not be ended: {error}")),
                    },
                });
            }
            struck.lives.extend(acted.lives);
        }
        for gate in gates {
            match gate.await {
                Ok(Ok(Closed { offences, printed })) => {
                    struck.offences.extend(offences);
                    struck.printed.extend(printed);
                }
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(_) => {
                    failed = failed.or(Some(LiveError::Proxy("a task of the stage panicked".to_owned())));
                }
            }
        }
        failed.map_or(Ok(struck), Err)
    }
}

impl Actor {
    async fn act(mut self, mut orders: UnboundedReceiver<Order>) -> Result<Acted, LiveError> {
        while let Some(order) = orders.recv().await {
            let done = match order {
                Order::Begin { number, injection } => self.begin(number, injection).await,
                Order::End { number, injection } => self.end(number, injection).await,
                Order::UseKeys(keys) => {
                    self.keys = Some(keys);
                    self.owes_keys = true;
                    self.take_keys().await;
                    Ok(())
                }
            };
            if let Err(error) = done {
                // The run is told at once; it cannot show what it was to show.
                let _ = self.world.send(Arrival::Stop(error.to_string()));
                return Err(error);
            }
        }
        Ok(Acted { child: self.child, offences: self.offences, lives: self.lives })
    }

    async fn begin(&mut self, number: u32, injection: Injection) -> Result<(), LiveError> {
        match injection {
            Injection::Crash(_) => self.kill().await,
            Injection::Freeze(_) => self.freeze(true).await,
            Injection::Database(disturbance) | Injection::Cache(disturbance) => {
                self.changes.push((number, Change::Disturbed(disturbance)));
                self.apply().await
            }
            Injection::Connection(connection) => {
                let open = connection.open;
                self.changes.push((number, Change::Connection(connection)));
                self.apply().await?;
                match open {
                    Some(ConnectionEnd::Cut) => self.proxy.cut(self.link()).await,
                    Some(ConnectionEnd::Reset) => self.proxy.reset(self.link()).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    async fn end(&mut self, number: u32, injection: Injection) -> Result<(), LiveError> {
        match injection {
            Injection::Crash(_) => self.start().await,
            Injection::Freeze(_) => self.freeze(false).await,
            _ => {
                self.changes.retain(|(other, _)| *other != number);
                self.apply().await
            }
        }
    }

    /// Lets the main server use the keys that it was told last, and tells the world when it does. One that is frozen
    /// does so afterwards, one that is down when it starts.
    async fn take_keys(&mut self) {
        if !self.owes_keys || self.is_frozen {
            return;
        }
        if let (Some(child), Some(keys)) = (&mut self.child, &self.keys)
            && let Err(cause) = use_keys(child, keys).await
        {
            self.offences.push(format!("it does not take new keys: {cause}"));
        }
        self.owes_keys = false;
        // The world may be over already.
        let _ = self.world.send(Arrival::KeysTaken);
    }

    async fn kill(&mut self) -> Result<(), LiveError> {
        self.is_down = true;
        let Some(service) = self.service() else {
            self.is_frozen = false;
            let Some(mut child) = self.child.take() else { return Ok(()) };
            self.take_keys().await;
            if let Some(status) = child.has_ended() {
                self.offences.push(format!("it ended by itself before it was to be killed: {status}"));
                return Ok(());
            }
            if let Some(life) = self.lives.last_mut() {
                life.was_killed = true;
            }
            return child.kill9().await.map(|_| ()).map_err(|error| failed(&format!("kill: {error}")));
        };
        if std::mem::take(&mut self.is_frozen) {
            self.servers.unpause(service).await?;
        }
        self.servers.kill(service).await
    }

    async fn start(&mut self) -> Result<(), LiveError> {
        let name = match self.service() {
            Some(service) => {
                self.servers.start_again(service).await?;
                if service == Service::Postgres { "database".to_owned() } else { "cache".to_owned() }
            }
            None => {
                let Some(spec) = &mut self.spec else { return Ok(()) };
                match start_in_time(&spec(self.keys.clone()), self.has_excuse, &mut self.offences).await {
                    Ok((child, life)) => {
                        let address = life.address;
                        self.lives.push(life);
                        self.child = Some(child);
                        let links = if self.is_proxied { BEHIND } else { HOSTS };
                        self.proxy.set_upstream(links[self.number], address).await?;
                    }
                    Err(error) => {
                        self.offences.push(format!("killed, it does not come up again: {error}"));
                        return Ok(());
                    }
                }
                server_name(self.number, self.count)
            }
        };
        self.is_down = false;
        // The world may be over already.
        let _ = self.world.send(Arrival::Restarted(name));
        Ok(())
    }

    /// Counts freezes: it goes on when the last is over. What is started after a crash is not frozen.
    async fn freeze(&mut self, begins: bool) -> Result<(), LiveError> {
        self.freezes = if begins { self.freezes + 1 } else { self.freezes.saturating_sub(1) };
        let freeze = self.freezes > 0;
        if freeze == self.is_frozen || self.is_down || (freeze && !begins) {
            return Ok(());
        }
        match (self.service(), freeze) {
            (Some(service), true) => self.servers.pause(service).await?,
            (Some(service), false) => self.servers.unpause(service).await?,
            (None, _) => {
                if let Some(child) = &self.child {
                    child.freeze(freeze).map_err(|error| failed(&format!("freeze: {error}")))?;
                }
            }
        }
        self.is_frozen = freeze;
        self.take_keys().await;
        Ok(())
    }

    /// Lets the link behave as all that is on at it says; of two that change the same, the later wins.
    async fn apply(&self) -> Result<(), LiveError> {
        let mut flow = Flow::default();
        let mut refuse_new = false;
        for (_, change) in &self.changes {
            match change {
                Change::Disturbed(disturbance) => {
                    flow.latency = disturbance.latency.clone().or(flow.latency);
                    flow.reset_ppm = disturbance.failures.map_or(flow.reset_ppm, |share| share.ppm());
                }
                Change::Connection(connection) => {
                    flow.latency = connection.latency.clone().or(flow.latency);
                    flow.bandwidth_bytes_per_s = connection.bytes_per_second.or(flow.bandwidth_bytes_per_s);
                    flow.slice_bytes = connection.slice_bytes.or(flow.slice_bytes);
                    flow.corrupt_ppm = connection.corrupt.map_or(flow.corrupt_ppm, |share| share.ppm());
                    flow.stall |= connection.stall;
                    refuse_new |= connection.refuse;
                }
            }
        }
        let disturbed = self.changes.iter().all(|(_, change)| matches!(change, Change::Disturbed(_)));
        // A service's latency runs from the request to its commit: it is added once, on the way there.
        let to_client = if disturbed { Flow::default() } else { Flow { reset_ppm: 0, ..flow.clone() } };
        self.proxy.set(self.link(), Behaviour { to_upstream: flow, to_client, refuse_new }).await
    }

    fn service(&self) -> Option<Service> {
        match self.process {
            Process::MainServer => None,
            Process::Database => Some(Service::Postgres),
            Process::Cache => Some(Service::Redis),
        }
    }

    fn link(&self) -> &'static str {
        match self.process {
            Process::MainServer => HOSTS[self.number],
            Process::Database => DATABASE,
            Process::Cache => CACHE,
        }
    }
}

async fn start(spec: &MainServerSpec) -> Result<(Child, Life), LiveError> {
    let text = serde_json::to_string(spec).map_err(|error| failed(&error.to_string()))?;
    let ready = |line: &str| line.strip_prefix(READY)?.parse().ok();
    let unmade = |error: std::io::Error| failed(&format!("no file for what it does: {error}"));
    let facts = spec.facts.as_deref().map(facts::make).transpose().map_err(unmade)?;
    let started = Child::spawn(&["node", "main-server"], Some(Secret::new(text)), ready).await;
    if let Some(path) = &spec.facts {
        // Both have it open: without a name it goes with them, however they end.
        std::fs::remove_file(path).map_err(unmade)?;
    }
    let (child, address) = started?;
    let (printed, facts) = (child.printed(), facts.map(Arc::new));
    Ok((child, Life { address, printed, number: spec.life, facts, was_killed: false }))
}

/// Sends these keys' names, and waits until they are in force.
async fn use_keys(child: &mut Child, keys: &KeyUse) -> Result<(), String> {
    let names = serde_json::to_string(keys).map_err(|error| error.to_string())?;
    child.send(&format!("{USE_KEYS}{names}")).await.map_err(|error| error.to_string())?;
    let taken = async {
        while let Some(line) = child.line().await {
            if line.starts_with(KEYS) {
                return Ok(());
            }
        }
        Err("it ended".to_owned())
    };
    let late = || format!("not within {} s", TAKES_KEYS.as_secs());
    tokio::time::timeout(TAKES_KEYS, taken).await.unwrap_or_else(|_| Err(late()))
}

/// Starts it again and again for a while: what it needs may be down by another fault. Without that excuse, a start
/// that failed is an offence.
async fn start_in_time(
    spec: &MainServerSpec,
    has_excuse: bool,
    offences: &mut Vec<String>,
) -> Result<(Child, Life), LiveError> {
    let deadline = tokio::time::Instant::now() + COMES_UP;
    loop {
        match start(spec).await {
            Err(error) if tokio::time::Instant::now() < deadline => {
                if !has_excuse && offences.is_empty() {
                    offences.push(format!("killed, it does not come up at once: {error}"));
                }
                tokio::time::sleep(AGAIN).await;
            }
            started => return started,
        }
    }
}

fn failed(cause: &str) -> LiveError {
    LiveError::Child { name: "main-server".to_owned(), cause: super::error::one_line(cause) }
}

/// How long a main server that was killed may take to come up again.
const COMES_UP: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);
/// How long a main server may take to use other keys.
const TAKES_KEYS: Duration = Duration::from_secs(10);
/// How long a main server may take to end in order.
const TERMINATE: Duration = Duration::from_secs(15);
