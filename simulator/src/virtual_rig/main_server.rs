//! The main servers of the world: an engine each, and the exchanges that the world holds open for it.

use rustc_hash::FxHashMap;
use slab::Slab;
use sync_core::cache::{CacheError, CacheReply, CacheRequest};
use sync_core::engine::Engine;
use sync_core::host_sync::operation::TransportError;
use sync_core::host_sync::server::{RETRY_AFTER, ServerEffect, ServerInput, Status};
use sync_core::id::Token;
use sync_core::store::hosting::{Assignment, Change};
use sync_core::store::{StoreError, StoreReply, StoreRequest, Verdict};
use sync_core::time::Span;

use super::clock::NodeClock;
use super::host::Route;
use super::network::Delivery;
use super::proxy::Back;
use super::recorded::{Recorded, WorldServer};
use super::services::{About, Fate, written_op};
use super::variant::{Message, Variant};
use super::world::{Answer, Happening, Observer, World};
use crate::history::{Judgement, OpRef, StateName, Tampering, Way, What, WireId};

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
        if let Some(outside) = &mut self.outside {
            outside.request(self.queue.now_us(), exchange, request);
            return;
        }
        let at = usize::from(route.server);
        if self.servers[at].engine.is_none() {
            self.refuse_connection(exchange);
            return;
        }
        let token = Token(self.servers[at].exchanges.insert(exchange) as u64);
        let mark = self.mark(&request);
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

    pub(super) fn stored(&mut self, life: u32, store_life: u32, token: Token, answer: StoreReply) {
        let lost = store_life != self.database.conditions.life();
        self.store_answers(life, token, if lost { Err(StoreError::Unavailable) } else { Ok(answer) });
    }

    pub(super) fn store_answers(&mut self, life: u32, token: Token, answer: Result<StoreReply, StoreError>) {
        if let Some(at) = self.living(life) {
            self.serving = self.servers[at].reads.remove(&token).unwrap_or_default();
            self.watch_stored(at, life, token, answer.as_ref().ok());
            self.tell_server(at, ServerInput::Stored { token, answer });
            self.serving = About::default();
        }
    }

    pub(super) fn cache_answers(&mut self, life: u32, token: Token, answer: Result<CacheReply, CacheError>) {
        if let Some(at) = self.living(life) {
            self.serving = self.servers[at].reads.remove(&token).unwrap_or_default();
            self.watch_cached(at, life, token, answer.as_ref().ok());
            self.tell_server(at, ServerInput::Cached { token, answer });
            self.serving = About::default();
        }
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
            self.idle_events += 1;
            self.queue.schedule(due_us, Happening::WakeServer { server: at as u8 });
        }
    }

    fn perform_for_server(&mut self, at: usize, effects: &mut Vec<Effect<V>>) {
        for effect in effects.drain(..) {
            match effect {
                ServerEffect::Reply { token, reply } => self.reply(at, token, reply),
                ServerEffect::Store { token, request } => self.ask_store(at, token, request),
                ServerEffect::Cache { token, request } => self.ask_cache(at, token, request),
                ServerEffect::Embed { token, texts } => self.ask_provider(at, token, texts),
                // No workload subscribes.
                ServerEffect::Follow => {}
            }
        }
    }

    fn reply(&mut self, at: usize, token: Token, reply: Result<V::Reply, Status>) {
        if let Some(exchange) = self.servers[at].exchanges.try_remove(token.0 as usize) {
            self.reply_to(exchange, reply);
        }
    }

    /// Sends an answer on its way back.
    pub(super) fn reply_to(&mut self, exchange: Exchange, reply: Result<V::Reply, Status>) {
        let Exchange { route, tampering, blurred, for_stranger } = exchange;
        match reply {
            Ok(reply) if for_stranger => {
                self.observe_sealed(Way::ToHost, route.op(), &reply);
                self.bytes_sent += reply.bytes();
                if tampering.is_some() {
                    // Answered at once, so not acted on; what a server outside does cannot be seen.
                    let judgement = match &self.outside {
                        None => Judgement::Refused("a sealed rejection".to_owned()),
                        Some(_) => Judgement::Ignored,
                    };
                    self.observe_judged(Way::ToServer, route, judgement, tampering);
                }
            }
            Ok(reply) => {
                if tampering.is_some() {
                    self.observe_judged(Way::ToServer, route, Judgement::Accepted, tampering);
                }
                self.observe_sealed(Way::ToHost, route.op(), &reply);
                self.search_message("reply", route.op(), &reply);
                self.send_back(route, Back::Reply { blurred, reply });
            }
            Err(status) => {
                self.key_watch.turned_away(status);
                let refused = matches!(status, Status::Refused | Status::TooLarge);
                let excused = blurred || self.arrives_under_unused_key();
                if refused && (tampering.is_some() || !excused) {
                    let judgement = Judgement::Refused(format!("HTTP {}", status.code()));
                    self.observe_judged(Way::ToServer, route, judgement, tampering);
                }
                let retry_after = (status == Status::Overloaded).then_some(RETRY_AFTER);
                let error = TransportError::Status(status.code());
                self.fail_attempt(exchange, Back::Failure { error, retry_after });
            }
        }
    }

    /// Sends an answer over its host's link.
    pub(super) fn send_over_link(&mut self, route: Route, back: Back<V>) {
        match back {
            Back::Reply { blurred, reply } => self.send_reply(route, blurred, reply),
            Back::Failure { error, retry_after } => {
                if let Some(after_us) = self.network.bare_delay_us(route.message(Way::ToHost)) {
                    let answer = Answer::Failure { error, retry_after };
                    self.queue.schedule(self.queue.now_us() + after_us, Happening::ToHost { route, answer });
                }
            }
        }
    }

    fn send_reply(&mut self, route: Route, blurred: bool, reply: V::Reply) {
        let now_us = self.queue.now_us();
        self.bytes_sent += reply.bytes();
        let id = route.message(Way::ToHost);
        let replay = if self.network.replays() { self.network.replay(id, &reply) } else { None };
        let earlier = self.earlier_replies.as_ref().and_then(|earlier| earlier.get(&route.host));
        let other = earlier.filter(|(ticket, _)| *ticket != route.ticket).map(|(_, reply)| reply);
        let remembered = self.earlier_replies.is_some().then(|| reply.clone());
        let (first, second) = self.network.send(id, reply, other);
        if let (Some(earlier), Some(reply)) = (&mut self.earlier_replies, remembered) {
            earlier.insert(route.host, (route.ticket, reply));
        }
        for delivery in [first, second, replay].into_iter().flatten() {
            let Delivery { after_us, tampering, message: reply, .. } = delivery;
            let answer = Answer::Frame { tampering, blurred, reply };
            self.queue.schedule(now_us + after_us, Happening::ToHost { route, answer });
        }
    }

    fn refuse_connection(&mut self, exchange: Exchange) {
        self.fail_attempt(exchange, Back::Failure { error: TransportError::Unreachable, retry_after: None });
    }

    /// An exchange failed without an answer of the server's own.
    pub(super) fn fail_exchange(
        &mut self,
        exchange: Exchange,
        error: TransportError,
        retry_after: Option<Span>,
    ) {
        self.fail_attempt(exchange, Back::Failure { error, retry_after });
    }

    fn fail_attempt(&mut self, exchange: Exchange, failure: Back<V>) {
        if let Exchange { route, for_stranger: false, .. } = exchange {
            self.send_back(route, failure);
        }
    }

    pub(super) fn observe_judged(
        &mut self,
        way: Way,
        route: Route,
        judgement: Judgement,
        tampering: Option<Tampering>,
    ) {
        let op = OpRef { host: route.host, ticket: route.ticket };
        let replayed = tampering == Some(Tampering::Replayed);
        let replayed_after_us = replayed.then(|| self.network.replay_after_us(way));
        self.observe(What::Judged { way, op, tampering, replayed_after_us, judgement });
    }

    /// Names a write by the operation whose value it holds and the latest attempt at it. Not by the id
    /// on the wire: its counter depends on what the host was asked before.
    fn about_write(&self, data: Option<&str>) -> About {
        data.and_then(written_op).map_or_else(About::default, |op| About::attempt(op, self.attempts_at(op)))
    }

    fn ask_store(&mut self, at: usize, token: Token, request: StoreRequest) {
        let now_us = self.queue.now_us();
        let about = match &request {
            StoreRequest::ApplyBatch(operations) => {
                self.about_write(operations.first().map(|apply| &*apply.data))
            }
            StoreRequest::StoreEmbedding(request) => self.about_write(Some(&request.apply.data)),
            StoreRequest::DeleteEmbedding(request) => self.about_write(Some(&request.apply.data)),
            StoreRequest::Load(_) | StoreRequest::SearchEmbeddings(_) => {
                self.servers[at].reads.insert(token, self.serving);
                self.serving
            }
            // A report is asked for at once with its request.
            StoreRequest::ReportHost(_) => self.serving,
            StoreRequest::Purge { .. }
            | StoreRequest::SweepHosts { .. }
            | StoreRequest::LoadHosts(_)
            | StoreRequest::RecordValidations(_) => About::moment(now_us),
        };
        let operations = match &request {
            StoreRequest::ApplyBatch(operations) => operations.len(),
            _ => 1,
        };
        let life = self.servers[at].life;
        self.watch_store(life, token, &request);
        let now_us = now_us + self.database.conditions.queueing_us(now_us, operations);
        match self.database.conditions.fate(about) {
            Fate::Commits(after_us) => {
                let place = self.database.wait(life, token, request);
                let store_life = self.database.conditions.life();
                self.queue.schedule(now_us + after_us, Happening::Commit { life, store_life, place });
            }
            Fate::Fails(after_us) => {
                self.queue.schedule(now_us + after_us, Happening::StoreFails { life, token });
            }
        }
    }

    /// A request takes effect in the database, whether or not its server still lives.
    pub(super) fn commit(&mut self, life: u32, store_life: u32, place: usize) {
        if store_life != self.database.conditions.life() {
            return;
        }
        let now_us = self.queue.now_us();
        let Self { database, variant, .. } = self;
        let committed =
            database.commit(place, now_us, |request, transaction| variant.carried_out(request, transaction));
        let Some((token, request, reply)) = committed else { return };
        if let StoreReply::Applied(applied) = &reply {
            for (operation, answer) in request.operations().iter().zip(applied) {
                let (Verdict::Applied { version }, false) = (answer.verdict, answer.duplicate) else {
                    continue;
                };
                let Some(op) = written_op(&operation.data) else { continue };
                self.observe(What::Applied {
                    op,
                    id: operation.operation.into(),
                    data_type: operation.data_type,
                    map: operation.map.clone(),
                    key: operation.state_key().map(StateName),
                    version,
                });
            }
        }
        if let (StoreRequest::ApplyBatch(operations), true) = (&request, self.judges_batches) {
            let decided = |id| self.database.knows(id);
            let asked: Vec<_> = operations.iter().map(|operation| operation.operation).collect();
            let present = asked.iter().copied().filter(|id| decided(*id)).map(WireId::from).collect();
            let asked = asked.into_iter().map(WireId::from).collect();
            self.observe(What::Committed { asked, present });
        }
        self.observe_stored_vector(&request, &reply);
        if let StoreReply::Reported { changes, .. } | StoreReply::Swept { changes, .. } = &reply {
            for Change { assignment, began } in changes {
                let Assignment { map, account, part, epoch } = assignment.clone();
                let account = account.0;
                self.observe(match began {
                    true => What::Assigned { map, account, part, epoch },
                    false => What::Released { map, account, part, epoch },
                });
            }
        }
        let after_us = self.database.conditions.answer_us();
        self.queue.schedule(now_us + after_us, Happening::Stored { life, store_life, token, answer: reply });
    }

    fn ask_cache(&mut self, at: usize, token: Option<Token>, request: CacheRequest) {
        let now_us = self.queue.now_us();
        let about = match &request {
            CacheRequest::Refresh { states, .. } if self.serving == About::default() => {
                self.about_write(states.first().map(|state| &*state.data))
            }
            _ => self.serving,
        };
        if let Some(token) = token {
            self.servers[at].reads.insert(token, self.serving);
        }
        let operations = match &request {
            CacheRequest::Refresh { states, .. } => states.len(),
            _ => 1,
        };
        let life = self.servers[at].life;
        self.watch_cache(at, life, token, &request);
        let now_us = now_us + self.cache.conditions.queueing_us(now_us, operations);
        match self.cache.conditions.fate(about) {
            Fate::Commits(after_us) => {
                let place = self.cache.wait(life, token, request);
                let cache_life = self.cache.conditions.life();
                self.queue.schedule(now_us + after_us, Happening::CacheRuns { life, cache_life, place });
            }
            Fate::Fails(after_us) => {
                if !self.variant.forgets_missed() {
                    self.cache.miss(&request);
                }
                if let Some(token) = token {
                    let answer = Err(CacheError::Unavailable);
                    self.queue.schedule(now_us + after_us, Happening::Cached { life, token, answer });
                }
            }
        }
    }

    pub(super) fn cache_runs(&mut self, life: u32, cache_life: u32, place: usize) {
        if cache_life != self.cache.conditions.life() {
            return;
        }
        let now_us = self.queue.now_us();
        let wall = NodeClock::default().now(now_us).wall;
        let Self { cache, variant, .. } = self;
        let expiry = self.cache_expiry;
        let done = cache.execute(place, wall, |request| variant.cache_carries_out(wall, expiry, request));
        if let Some((asked_in, Some(token), reply)) = done {
            self.watch_cache_run(asked_in, Some(token), &reply);
            let after_us = self.cache.conditions.answer_us();
            self.queue.schedule(now_us + after_us, Happening::Cached { life, token, answer: Ok(reply) });
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
