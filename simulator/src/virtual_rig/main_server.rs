//! The main servers of the world: an engine each, and the exchanges that the world holds open for it.

mod replies;
mod services;

use rustc_hash::FxHashMap;
use slab::Slab;
use sync_core::engine::Engine;
use sync_core::host_sync::server::{ServerEffect, ServerInput};
use sync_core::id::Token;

use super::clock::NodeClock;
use super::host::Route;
use super::recorded::{Recorded, WorldServer};
use super::services::About;
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::history::{Judgement, OpRef, Tampering, Way, What};

type Effect<V> = ServerEffect<<V as Variant>::Reply>;

/// A main server of the world; without an engine while it is down, or when it lies outside.
pub(super) struct MainServer<V: Variant> {
    engine: Option<Box<Recorded<WorldServer<V>>>>,
    /// No two lives have the same number, whichever server's: see [`World::living`].
    life: u32,
    clock: NodeClock,
    wake_us: u64,
    exchanges: Slab<Exchange>,
    /// What its reads under way are for.
    reads: FxHashMap<Token, About>,
}

/// A request that the server has not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    route: Route,
    tampering: Option<Tampering>,
    /// Bytes may have been altered outside the world, where it does not see them: nothing can be judged by
    /// whether its messages are believed.
    pub(super) blurred: bool,
    /// The answer goes to whoever replayed the request, and comes to nobody here.
    for_stranger: bool,
}

impl Exchange {
    /// The main server that holds it.
    pub(super) fn server(&self) -> usize {
        usize::from(self.route.server)
    }

    /// Where its answer goes.
    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// What was done to its request on the way.
    pub(super) fn tampering(&self) -> Option<Tampering> {
        self.tampering
    }

    /// Whether its request travelled with the one before it.
    pub(super) fn joins(&self) -> bool {
        self.route.joins
    }
}

impl<V: Variant> MainServer<V> {
    /// What a request is for that a read waits for.
    pub(super) fn about_read(&self, token: Token) -> About {
        self.reads.get(&token).copied().unwrap_or_default()
    }

    pub(super) fn new(engine: Option<Recorded<WorldServer<V>>>, first_life: u32) -> Self {
        Self {
            engine: engine.map(Box::new),
            life: first_life,
            clock: NodeClock::default(),
            wake_us: u64::MAX,
            exchanges: Slab::new(),
            reads: FxHashMap::default(),
        }
    }
}

impl<V: Variant> MainServer<V> {
    /// From now on the answers to what is open go to nobody. Says whom they were for.
    pub(super) fn answer_nobody(&mut self) -> Vec<Route> {
        let open = self.exchanges.iter_mut().map(|(_, exchange)| exchange);
        let for_hosts = open.filter(|exchange| !exchange.for_stranger);
        for_hosts
            .map(|exchange| {
                exchange.for_stranger = true;
                exchange.route
            })
            .collect()
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A request reaches the server, or its closed door.
    pub(super) fn request(&mut self, route: Route, tampering: Option<Tampering>, request: V::Request) {
        let for_stranger = tampering == Some(Tampering::Replayed);
        let exchange = Exchange { route, tampering, blurred: false, for_stranger };
        let mark = self.mark(&request);
        if let Some(outside) = &mut self.outside {
            let keys = (mark, self.key_watch.epoch());
            outside.request(self.queue.now_us(), exchange, keys, request);
            return;
        }
        let at = usize::from(route.server);
        if self.servers[at].engine.is_none() {
            self.refuse_connection(exchange);
            return;
        }
        let token = Token(self.servers[at].exchanges.insert(exchange) as u64);
        self.arrives(mark.as_ref());
        // Whatever the server asks for at once, it asks for this attempt.
        self.serving = About::attempt(OpRef { host: route.host, ticket: route.ticket }, route.attempt);
        self.tell_server(at, ServerInput::Request { token, request });
        self.serving = About::default();
        self.arrived(route, mark, tampering);
        if tampering.is_some() && self.servers[at].exchanges.contains(token.0 as usize) {
            // Neither refused nor answered: it went on to the database, so it was believed.
            self.observe_judged(Way::ToServer, route, Judgement::Accepted, tampering);
            if let Some(exchange) = self.servers[at].exchanges.get_mut(token.0 as usize) {
                exchange.tampering = None;
            }
        }
    }

    /// The present life of a main server.
    pub(super) fn life_of(&self, at: usize) -> u32 {
        self.servers[at].life
    }

    /// The main server whose present life this is. Lives of `n` servers count in steps of `n`.
    pub(super) fn living(&self, life: u32) -> Option<usize> {
        let at = life as usize % self.servers.len();
        (self.servers[at].life == life).then_some(at)
    }

    pub(super) fn wake_server(&mut self, at: usize, due_us: u64) {
        let server = &mut self.servers[at];
        if server.wake_us != due_us {
            return;
        }
        server.wake_us = u64::MAX;
        let Some(engine) = &mut server.engine else { return };
        let now = server.clock.now(self.queue.now_us());
        let mut effects = std::mem::take(&mut self.server_effects);
        engine.wake(now, &mut effects);
        self.perform_for_server(at, &mut effects);
        self.server_effects = effects;
        self.schedule_server_wake(at);
    }

    pub(super) fn tell_server(&mut self, at: usize, input: ServerInput<V::Request>) {
        let server = &mut self.servers[at];
        let Some(engine) = &mut server.engine else { return };
        let now = server.clock.now(self.queue.now_us());
        let mut effects = std::mem::take(&mut self.server_effects);
        engine.handle(now, input, &mut effects);
        self.perform_for_server(at, &mut effects);
        self.server_effects = effects;
        self.schedule_server_wake(at);
    }

    fn schedule_server_wake(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let Some(due) = server.engine.as_ref().and_then(|engine| engine.next_wakeup()) else { return };
        let due_us = server.clock.world_us(due).max(self.queue.now_us());
        if due_us < server.wake_us {
            server.wake_us = due_us;
            self.schedule_wake_up(due_us, Happening::WakeServer { server: at as u8 });
        }
    }

    fn perform_for_server(&mut self, at: usize, effects: &mut Vec<Effect<V>>) {
        for effect in effects.drain(..) {
            match effect {
                ServerEffect::Reply { token, reply } => self.reply(at, token, reply),
                ServerEffect::Store { token, request } => self.ask_store(at, token, request),
                ServerEffect::Cache { token, request } => self.ask_cache(at, token, request),
                ServerEffect::Embed { token, texts } => self.ask_provider(at, token, texts),
                ServerEffect::Follow => self.follow(at),
            }
        }
    }

    /// A main server dies: what it held is forgotten, and its connections break.
    pub(super) fn crash_server(&mut self, at: usize) {
        let lives = self.servers.len() as u32;
        let server = &mut self.servers[at];
        if server.engine.take().is_none() {
            return;
        }
        server.life += lives;
        server.wake_us = u64::MAX;
        server.reads.clear();
        let ended = server.life - lives;
        let broken = std::mem::take(&mut server.exchanges);
        self.read_watch.forget(ended);
        self.notices.forget(ended);
        self.observe(What::Crashed { node: self.server_name(at) });
        broken.into_iter().for_each(|(_, exchange)| self.refuse_connection(exchange));
    }

    /// A main server comes back and knows nothing but what the database holds.
    pub(super) fn restart_server(&mut self, at: usize) {
        if self.servers[at].engine.is_none() {
            self.servers[at].engine = Some(Box::new(self.new_server(self.servers[at].life)));
            self.observe(What::Restarted { node: self.server_name(at) });
            self.tell_server_keys(at);
        }
    }

    /// As events name it.
    pub(super) fn server_name(&self, at: usize) -> String {
        server_name(at, self.servers.len())
    }
}

/// As events name a main server of so many.
pub(crate) fn server_name(at: usize, of: usize) -> String {
    if of == 1 { "main server".to_owned() } else { format!("main server {at}") }
}
