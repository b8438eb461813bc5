//! One run of a plan in the virtual world.
//!
//! The world holds the nodes and the event queue and performs the engines' effects. Time is the
//! kernel's; nothing here reads a clock or draws from a stream.

mod conclusion;
mod happening;
mod schedule;
mod settings;
mod warm_up;

pub use super::manners::ProviderCalls;
pub use conclusion::{RunFigures, WakeUps};
pub use happening::EVENT_BYTES;
pub(super) use happening::{Answer, Happening};
pub(crate) use settings::{map_name, server_settings};

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sync_core::host_sync::server::ServerEffect;
use sync_core::host_sync::session::SessionEffect;
use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::id::MapName;
use sync_core::recording::Tape;
use sync_core::store::StoreError;
use sync_core::time::Span;

use schedule::HEAL_RANK;
pub(crate) use settings::host_clock;
use settings::session_settings;

use super::host::Host;
use super::kernel::EventQueue;
use super::main_server::MainServer;
use super::network::Network;
use super::notices::Notices;
use super::outside::Outside;
use super::provider::Provider;
use super::proxy::Proxy;
use super::reads::ReadWatch;
use super::recorded::{self, Recorded, WorldServer};
use super::rotation::{KeyWatch, rotations};
use super::search::Search;
use super::services::{About, Cache, Database};
use super::variant::{Variant, WorldKeys};
use crate::arrivals::{Generator, Stream};
use crate::draw::Draws;
use crate::history::{Event, OpRef, StateName, What};
use crate::plan::{Action, Ask, Plan};
use crate::scenario::model::{Fault, Injection, Move, Tamper};

/// Sees every event as it happens.
pub trait Observer {
    /// Takes one event.
    fn event(&mut self, event: Event);

    /// Is told that an operation writes a value in a form of its own, which no event carries.
    fn writes(&mut self, _op: OpRef, _text: &str) {}

    /// Reads what an event about this host will need, and about this state if it is about one. Changes nothing: it is
    /// called some time before, so that the memory is near by then.
    fn warm(&self, _host: u32, _state: Option<&StateName>) -> u64 {
        0
    }

    /// Is told what a host is given for what it asked, which no event carries; before that ends.
    fn given(&mut self, _op: OpRef, _payload: &str) {}
}

/// The virtual world.
pub struct World<V: Variant, O: Observer> {
    pub(super) queue: EventQueue<Happening<V>>,
    pub(super) draws: Draws,
    pub(super) variant: V,
    pub(super) keys: WorldKeys,
    pub(super) session_settings: Arc<SessionSettings>,
    server_settings: Arc<ServerSettings>,
    pub(super) maps: Vec<MapName>,
    pub(super) hosts: Vec<Host<V>>,
    /// Main servers over the one database and the one cache.
    pub(super) servers: Vec<MainServer<V>>,
    pub(super) database: Database,
    pub(super) cache: Cache,
    pub(super) provider: Option<Provider>,
    pub(super) network: Network,
    generators: Vec<(u32, Generator)>,
    streams: Vec<(usize, Stream)>,
    asks: Vec<Ask>,
    pub(super) faults: Vec<(u32, Fault)>,
    /// Operations accepted or on their way to a session that have not ended.
    pub(super) open_operations: u64,
    /// Events in the queue that only wake somebody up.
    pub(super) idle_events: usize,
    /// How long all of those lay ahead that there have been.
    wake_ups: WakeUps,
    pub(super) bytes_sent: u64,
    /// What a main server is at work for.
    pub(super) serving: About,
    /// Crashes that are on, by their place among the faults.
    pub(super) crashes: Vec<usize>,
    /// Moves of hosts that are on, by the fault's number.
    pub(super) moves: Vec<(u32, Move)>,
    /// The latest reply to each host, and whose it was; none unless replies may be swapped.
    pub(super) earlier_replies: Option<FxHashMap<u32, (u64, V::Reply)>>,
    /// Main servers that follow what the cache publishes.
    pub(super) notices: Notices,
    /// Whether any host ever follows critical updates.
    pub(super) has_subscribers: bool,
    /// Hosts that follow critical updates and have not been told of the last ones.
    pub(super) open_subscriptions: usize,
    /// What stands between hosts and main servers, if anything does.
    pub(super) proxy: Option<Proxy>,
    /// Which keys are in use.
    pub(super) key_watch: KeyWatch,
    /// What becomes of reads, where that is told.
    pub(super) read_watch: ReadWatch,
    /// Lifetime of what the cache holds.
    pub(super) cache_expiry: Option<Span>,
    /// What is looked for, if anything is.
    pub(super) search: Option<Box<Search>>,
    /// Hosts to which something will happen next, where they are gathered.
    coming: Vec<u32>,
    /// Where values are put together.
    pub(super) value_text: String,
    /// Whether values have the published form of their type.
    pub(super) shaped: bool,
    pub(super) session_effects: Vec<SessionEffect<V::Request>>,
    pub(super) server_effects: Vec<ServerEffect<V::Reply>>,
    /// What is to be done outside, when the main server is not of this world.
    pub(super) outside: Option<Outside<V>>,
    pub(super) observer: O,
    /// Whether values are reported by their digests, and what hosts are given.
    pub(super) judges_values: bool,
    /// Whether transactions are reported as such.
    pub(super) judges_batches: bool,
    pub(super) duration_us: u64,
    pub(super) settle_us: u64,
    /// Where the calls of the engines are written down, if they are.
    pub(super) tape: Option<Tape>,
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A world at its first moment, with the plan's actions scheduled.
    pub fn new(plan: &Plan, variant: V, observer: O) -> Self {
        Self::recorded(plan, variant, observer, None)
    }

    /// The same, with every call of an engine written down if there is a tape.
    pub fn recorded(plan: &Plan, variant: V, observer: O, tape: Option<Tape>) -> Self {
        Self::build(plan, variant, observer, tape, None)
    }

    pub(super) fn build(
        plan: &Plan,
        variant: V,
        observer: O,
        tape: Option<Tape>,
        outside: Option<Outside<V>>,
    ) -> Self {
        let scenario = &plan.world;
        let draws = Draws::new(plan.seed);
        let keys = WorldKeys::rotating(draws, rotations(plan));
        let session_settings = Arc::new(session_settings(scenario));
        let server_settings = Arc::new(server_settings(scenario));
        let shaped = server_settings.rules.is_some();
        let server_settings = match &*server_settings {
            ServerSettings { rules: Some(_), .. } if !variant.has_rules() => {
                Arc::new(ServerSettings { rules: None, ..ServerSettings::clone(&server_settings) })
            }
            _ => server_settings,
        };
        let count = scenario.topology.main_servers;
        let hosts = (0..scenario.topology.hosts)
            .map(|host| {
                let clock = host_clock(scenario, draws, host);
                let mut node =
                    Host::new(&variant, &keys, &session_settings, draws, host, clock, tape.as_ref());
                node.server = (host % count) as u8;
                node
            })
            .collect();
        let servers = (0..count).map(|first_life| {
            let engine =
                || recorded::server(&variant, &keys, &server_settings, draws, first_life, tape.as_ref());
            MainServer::new(outside.is_none().then(engine), first_life)
        });
        let servers = servers.collect();
        let database =
            Database::new(draws, &scenario.database, variant.durability_lag_us(), variant.fences());
        let search = Search::new(plan, &keys);
        let mut world = Self {
            queue: EventQueue::default(),
            draws,
            keys,
            session_settings,
            server_settings,
            maps: (0..scenario.topology.maps).map(map_name).collect(),
            hosts,
            servers,
            database,
            cache: Cache::new(draws, &scenario.cache),
            provider: scenario.embedding.as_ref().map(|service| Provider::new(draws, service)),
            network: Network::new(draws, &scenario.network),
            variant,
            generators: Vec::new(),
            streams: Vec::new(),
            asks: Vec::new(),
            faults: Vec::new(),
            open_operations: 0,
            idle_events: 0,
            wake_ups: WakeUps::default(),
            bytes_sent: 0,
            serving: About::default(),
            crashes: Vec::new(),
            moves: Vec::new(),
            earlier_replies: swaps_replies(plan).then(FxHashMap::default),
            notices: Notices::new(count as usize),
            has_subscribers: false,
            open_subscriptions: 0,
            // Outside it is a process of its own.
            proxy: scenario
                .topology
                .sync_proxy
                .as_ref()
                .filter(|_| outside.is_none())
                .map(|settings| Proxy::new(draws, settings)),
            key_watch: KeyWatch::new(plan),
            read_watch: ReadWatch::new(&scenario.expect.properties),
            cache_expiry: Some(scenario.main_server.cache_expiry.span()).filter(|span| *span > Span::ZERO),
            search,
            coming: Vec::new(),
            value_text: String::new(),
            shaped,
            session_effects: Vec::new(),
            server_effects: Vec::new(),
            outside,
            tape,
            observer,
            judges_values: scenario.expect.properties.iter().any(|id| id == "P6"),
            judges_batches: scenario.expect.properties.iter().any(|id| id == "P16"),
            duration_us: scenario.duration.span().as_us(),
            settle_us: scenario.settle.span().as_us(),
        };
        plan.actions.iter().for_each(|action| world.schedule(scenario, action));
        if let Some(set) = &scenario.topology.subscribers {
            world.subscribe_all(set);
        }
        world.queue.schedule_planned(world.duration_us, HEAL_RANK, Happening::Heal);
        world
    }

    /// Carries the plan out and gives back the observer.
    pub fn run(mut self, plan: &Plan) -> (O, RunFigures) {
        let end_us = self.duration_us + self.settle_us;
        loop {
            if self.queue.look_ahead() {
                self.warm_up();
            }
            if self.is_at_rest() || self.queue.next_us().is_none_or(|next| next > end_us) {
                break;
            }
            let Some(happening) = self.queue.pop() else { break };
            self.happen(self.queue.now_us(), happening);
        }
        let (content, published) = (self.database.content(), self.cache.published());
        if self.search.is_some() {
            let found: Vec<_> = self.database.validations().cloned().collect();
            found.iter().for_each(|found| self.search("row", None, format!("{found:?}").as_bytes()));
        }
        self.conclude(plan, content, published)
    }

    /// Whether the workload and every fault are over and nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.queue.now_us() >= self.duration_us
            && self.open_operations == 0
            && self.open_subscriptions == 0
            && self.queue.len() == self.idle_events
    }

    /// Lets something happen that was due at `due_us`.
    pub(super) fn happen(&mut self, due_us: u64, happening: Happening<V>) {
        match happening {
            Happening::Arrive { stream } => self.next_arrival(stream),
            Happening::Ask { number } => {
                let Ask { op, entry, .. } = self.asks[number].clone();
                self.arrive(op, &entry, due_us);
            }
            Happening::FaultBegins { place } => self.begin_fault(place),
            Happening::FaultEnds { place } => self.end_fault(place),
            Happening::SwitchKeys => self.switch_keys(),
            Happening::Heal => self.observe(What::Healed),
            Happening::ToServer { route, tampering, request } => {
                self.arrive_at_server_side(route, tampering, request);
            }
            Happening::Forwarded { route, life, tampering, request } => {
                self.forwarded(route, life, tampering, request);
            }
            Happening::Back { route, life, back } => self.back_at_proxy(route, life, back),
            Happening::ToHost { route, answer } => self.answer(route, answer),
            Happening::Commit { life, store_life, place } => self.commit(life, store_life, place),
            Happening::Stored { life, store_life, token, answer } => {
                self.stored(life, store_life, token, answer)
            }
            Happening::StoreFails { life, token } => {
                self.store_answers(life, token, Err(StoreError::Unavailable));
            }
            Happening::CacheRuns { life, cache_life, place } => self.cache_runs(life, cache_life, place),
            Happening::Cached { life, token, answer } => self.cache_answers(life, token, answer),
            Happening::Noticed { life, connection, notice } => self.noticed(life, connection, *notice),
            Happening::MakeUp => self.make_up(),
            Happening::Poll { host, life } => self.poll(host, life),
            Happening::WakeSubscriber { host } => {
                self.take_wake_up();
                self.wake_subscriber(host, due_us);
            }
            Happening::Provider { place } => self.provider_due(place),
            Happening::WakeHost { host } => {
                self.take_wake_up();
                self.wake_host(host, due_us);
            }
            Happening::WakeServer { server } => {
                self.take_wake_up();
                self.wake_server(usize::from(server), due_us);
            }
        }
    }

    /// Schedules what only wakes somebody up.
    pub(super) fn schedule_wake_up(&mut self, due_us: u64, happening: Happening<V>) {
        self.idle_events += 1;
        self.wake_ups.scheduled += 1;
        self.wake_ups.ahead_us += due_us.saturating_sub(self.queue.now_us());
        self.queue.schedule(due_us, happening);
    }

    fn take_wake_up(&mut self) {
        self.idle_events -= 1;
        self.wake_ups.taken += 1;
    }

    pub(super) fn observe(&mut self, what: What) {
        self.observer.event(Event { at_us: self.queue.now_us(), what });
    }

    pub(super) fn new_server(&self, life: u32) -> Recorded<WorldServer<V>> {
        let tape = self.tape.as_ref();
        recorded::server(&self.variant, &self.keys, &self.server_settings, self.draws, life, tape)
    }
}

/// Whether any reply may be replaced by another.
fn swaps_replies(plan: &Plan) -> bool {
    plan.world.network.to_host.tamper_with.contains(&Tamper::SwapReply)
        || plan.actions.iter().any(|action| match action {
            Action::Inject(_, Fault { inject: Injection::Degrade(degrade), .. }) => {
                degrade.tamper_with.as_ref().is_some_and(|with| with.contains(&Tamper::SwapReply))
            }
            _ => false,
        })
}
