//! A host of the world: a session, a clock, and what the harness remembers of its operations.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::host_sync::session::{SessionEffect, SessionInput};
use sync_core::host_sync::settings::SessionSettings;
use sync_core::id::{AccountId, OperationId, Token};
use sync_core::recording::Tape;
use sync_core::time::Span;
use sync_core::wire::Kind;

use super::clock::NodeClock;
use super::network::{Delivery, MessageId};
use super::pending::{Pending, Pendings};
use super::recorded::{self, HostSession, Of, Recorded};
use super::services::{embedding_data, value, value_digest};
use super::shaped;
use super::subscriber::{POLL_TICKETS, Subscriber};
use super::variant::{Message, Variant, WorldKeys};
use super::world::{Answer, Happening, Observer, World};
use crate::draw::Draws;
use crate::history::{End, Judgement, OpRef, Tampering, Way, What};
use crate::scenario::model::{Hostile, MixEntry, MixKind, Tamper};

type Effect<V> = SessionEffect<<V as Variant>::Request>;

/// A host of the world.
pub(super) struct Host<V: Variant> {
    /// None while it is down.
    session: Option<Recorded<HostSession<V>>>,
    pub(super) life: u32,
    pub(super) clock: NodeClock,
    /// What it was asked for last, where a variant has it ask again after a crash.
    journal: VecDeque<(OpRef, MixEntry)>,
    /// It shuts down and has not stopped yet.
    stopping: bool,
    /// World time of the wake-up that counts; others are stale.
    wake_us: u64,
    pending: Pendings,
    /// The main server that it talks to.
    pub(super) server: u8,
    /// What follows critical updates for it, if it subscribes and is up.
    pub(super) subscriber: Option<Box<Subscriber<V>>>,
    /// Whether it subscribes whenever it is up.
    pub(super) subscribes: bool,
}

/// Operations that a variant which replays asks for again.
const REPLAYED_MAX: usize = 8;
/// Operations that ended at their deadline and are remembered for a late reply, at each host.
const LATE_REMEMBERED_MAX: usize = 4_096;

impl<V: Variant> Host<V> {
    pub(super) fn new(
        variant: &V,
        keys: &WorldKeys,
        settings: &Arc<SessionSettings>,
        draws: Draws,
        host: u32,
        clock: NodeClock,
        tape: Option<&Tape>,
    ) -> Self {
        let pending = Pendings::default();
        let mut node = Self {
            session: None,
            life: 0,
            clock,
            journal: VecDeque::new(),
            stopping: false,
            wake_us: u64::MAX,
            pending,
            server: 0,
            subscriber: None,
            subscribes: false,
        };
        node.start(variant, keys, settings, draws, host, tape);
        node
    }

    fn start(
        &mut self,
        variant: &V,
        keys: &WorldKeys,
        settings: &Arc<SessionSettings>,
        draws: Draws,
        host: u32,
        tape: Option<&Tape>,
    ) {
        self.session =
            Some(recorded::session(variant, keys, settings, draws, Of::Host(host, self.life), tape));
    }

    /// Reads of it what lies in place, see [`World::run`].
    pub(super) fn glance(&self) -> u64 {
        let Some(session) = &self.session else { return 0 };
        let lengths = session.waiting() + session.under_way() + self.pending.len();
        session.counters().accepted ^ session.incarnation().0 ^ self.wake_us ^ lengths as u64
    }

    /// Reads what lies elsewhere.
    pub(super) fn look(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.warm()) ^ self.pending.first_ticket()
    }

    /// Operations that have not ended.
    fn open(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.waiting() + session.under_way())
    }
}

/// The account of a host.
pub(super) fn account(host: u32) -> AccountId {
    AccountId(host + 1)
}

/// The host of an account.
pub(super) fn host_of(AccountId(account): AccountId) -> u32 {
    account.wrapping_sub(1)
}

impl<V: Variant, O: Observer> World<V, O> {
    /// An arrival, at its intended moment or, in real time, a little later.
    pub(super) fn arrive(&mut self, op: OpRef, entry: &MixEntry, intended_us: u64) {
        let now_us = self.queue.now_us();
        let host = &mut self.hosts[op.host as usize];
        let critical = entry.critical || self.session_settings.critical_types.contains(entry.data_type.get());
        if self.variant.generator_holds_back_at().is_some_and(|limit| host.open() >= limit) {
            return;
        }
        if host.session.is_none() {
            self.observe(What::Unsent { op, intended_us, critical });
            return;
        }
        if self.variant.replays_after_restart() {
            host.journal.truncate(REPLAYED_MAX - 1);
            host.journal.push_front((op, entry.clone()));
        }
        let (kind, writes) = match entry.kind {
            MixKind::SyncTo => (Kind::SyncTo, true),
            MixKind::SyncFrom => (Kind::SyncFrom, false),
            MixKind::Report => (Kind::Report, false),
            MixKind::Embed => (Kind::Embed, false),
            MixKind::Search => (Kind::Search, false),
        };
        let number = entry.map.unwrap_or(op.host) % self.maps.len() as u32;
        host.pending.insert(Pending {
            ticket: op.ticket,
            intended_us,
            asked_us: now_us,
            sent_us: None,
            counter: 0,
            attempts: 0,
            critical,
            data_type: entry.data_type.get(),
            kind: entry.kind,
            writes,
            map: number,
            unknown_version: entry.hostile == Some(Hostile::UnknownVersion),
            ended: false,
        });
        self.open_operations += 1;
        if let Some(hostile) = entry.hostile {
            self.observe(What::Invalid { op, hostile });
        }
        let (data_type, priority) = (entry.data_type.get(), entry.priority);
        let is_report = kind == Kind::Report;
        let map = self.maps[number as usize].clone();
        let data = match entry.data_type.get() {
            SyncDataType::VectorEmbedding => embedding_data(op, entry.kind),
            _ if kind == Kind::Report => shaped::report(self.draws, op.host, &map),
            _ if kind == Kind::SyncTo && (self.shaped || entry.hostile.is_some()) => {
                let value = shaped::value(op, entry, &map, now_us, &mut self.value_text);
                self.observer.writes(op, &value);
                value
            }
            _ => value(op, entry.bytes, &mut self.value_text),
        };
        let value = (self.judges_values && writes).then(|| value_digest(&data));
        self.observe(What::Asked {
            op,
            intended_us,
            critical,
            priority,
            writes,
            is_report,
            data_type,
            map: number,
            value,
        });
        let ask = Ask {
            ticket: op.ticket,
            kind,
            data_type: entry.data_type.get(),
            map,
            data,
            critical: entry.critical,
            priority: entry.priority,
        };
        self.tell_host(op.host, SessionInput::Ask(ask));
    }

    /// Attempts made at an operation; 0 when it has ended.
    pub(super) fn attempts_at(&self, op: OpRef) -> u32 {
        let pending = self.hosts.get(op.host as usize).and_then(|host| host.pending.get(op.ticket));
        pending.map_or(0, |pending| pending.attempts)
    }

    /// An answer reaches a host.
    pub(super) fn answer(&mut self, to: Route, answer: Answer<V>) {
        let host = &mut self.hosts[to.host as usize];
        let listens = if to.is_poll() { host.subscriber.is_some() } else { host.session.is_some() };
        if !listens || host.life != to.life {
            return;
        }
        let mark = match &answer {
            Answer::Frame { reply, .. } => self.mark(reply),
            Answer::Failure { .. } => None,
        };
        let (tampering, answer, retry_after) = match answer {
            Answer::Frame { tampering: None, blurred: true, reply } => (None, Ok(reply), None),
            Answer::Frame { tampering, reply, .. } => (Some(tampering), Ok(reply), None),
            Answer::Failure { error, retry_after } => (None, Err(error), retry_after),
        };
        let input = SessionInput::Answered { token: to.token, answer, retry_after };
        let judged =
            if to.is_poll() { self.tell_subscriber(to.host, input) } else { self.tell_host(to.host, input) };
        let Some(tampering) = tampering else { return };
        let judgement = judged.unwrap_or(Judgement::Ignored);
        let refused = matches!(judgement, Judgement::Refused(_));
        if tampering.is_some() || refused && !self.may_refuse(to.host, mark.as_ref()) {
            self.observe_judged(Way::ToHost, to, judgement.clone(), tampering);
        }
        if refused || judgement == Judgement::Accepted {
            self.observe_opened(Way::ToHost, to, mark, tampering, !refused);
        }
    }

    pub(super) fn wake_host(&mut self, host: u32, due_us: u64) {
        let now_us = self.queue.now_us();
        let node = &mut self.hosts[host as usize];
        if node.wake_us != due_us {
            return;
        }
        node.wake_us = u64::MAX;
        let Some(session) = &mut node.session else { return };
        let now = node.clock.now(now_us);
        let mut effects = std::mem::take(&mut self.session_effects);
        session.wake(now, &mut effects);
        self.perform_for_host(host, &mut effects);
        self.session_effects = effects;
        self.schedule_wake(host);
    }

    /// Hands an input over and performs what follows. Says how an answer was taken, if one was.
    pub(super) fn tell_host(&mut self, host: u32, input: SessionInput<V::Reply>) -> Option<Judgement> {
        let node = &mut self.hosts[host as usize];
        let session = node.session.as_mut()?;
        let now = node.clock.now(self.queue.now_us());
        let mut effects = std::mem::take(&mut self.session_effects);
        session.handle(now, input, &mut effects);
        let judged = self.perform_for_host(host, &mut effects);
        self.session_effects = effects;
        self.schedule_wake(host);
        judged
    }

    fn schedule_wake(&mut self, host: u32) {
        let node = &mut self.hosts[host as usize];
        let Some(due) = node.session.as_ref().and_then(|session| session.next_wakeup()) else { return };
        let due_us = node.clock.world_us(due).max(self.queue.now_us());
        if due_us < node.wake_us {
            node.wake_us = due_us;
            self.schedule_wake_up(due_us, Happening::WakeHost { host });
        }
    }

    fn perform_for_host(&mut self, host: u32, effects: &mut Vec<Effect<V>>) -> Option<Judgement> {
        let mut judged = None;
        let mut first = None;
        for effect in effects.drain(..) {
            match effect {
                SessionEffect::Accepted { ticket, operation } => {
                    if let Some(pending) = self.hosts[host as usize].pending.get_mut(ticket) {
                        pending.counter = operation.counter;
                    }
                    self.observe(What::Accepted { op: OpRef { host, ticket }, id: operation.into() });
                }
                SessionEffect::Refused { ticket, critical, error } => {
                    self.hosts[host as usize].pending.remove(ticket);
                    self.open_operations -= 1;
                    self.observe(What::Refused { op: OpRef { host, ticket }, critical, why: error.into() });
                }
                SessionEffect::Send { token, ticket, operation, attempt, request, joins, .. } => {
                    let of_batch = first.filter(|_| joins);
                    let message =
                        self.send_request(host, (token, ticket, attempt), operation, of_batch, request);
                    first = of_batch.or(Some(message));
                }
                SessionEffect::Finished { ticket, operation, critical, outcome } => {
                    if matches!(outcome, Outcome::Done(_) | Outcome::Rejected(_)) {
                        judged = Some(Judgement::Accepted);
                    }
                    self.finished(host, ticket, operation, critical, &outcome);
                }
                SessionEffect::Late { ticket, success, .. } => {
                    judged = Some(Judgement::Accepted);
                    if let Some(pending) = self.hosts[host as usize].pending.remove(ticket) {
                        self.observe(What::Late {
                            op: OpRef { host, ticket },
                            critical: pending.critical,
                            data_type: pending.data_type,
                            success,
                            intended_us: pending.intended_us,
                            sent_us: pending.sent_us,
                        });
                    }
                }
                SessionEffect::Untrusted { .. } => judged = Some(Judgement::Refused("untrusted".to_owned())),
                SessionEffect::Stopped { .. } => self.stopped_host(host),
            }
        }
        judged
    }

    /// Lets an attempt leave. What travels in one request with others has the fate of the first of them.
    fn send_request(
        &mut self,
        host: u32,
        (token, ticket, attempt): (Token, u64, u32),
        operation: OperationId,
        of_batch: Option<MessageId>,
        mut request: V::Request,
    ) -> MessageId {
        let now_us = self.queue.now_us();
        let node = &mut self.hosts[host as usize];
        let (life, server, joins) = (node.life, node.server, of_batch.is_some());
        let route = Route { host, life, token, ticket, attempt, copy: 0, server, joins };
        let mut tampering = None;
        if let Some(pending) = node.pending.get_mut(ticket) {
            pending.sent_us.get_or_insert(now_us);
            pending.attempts = attempt;
            if pending.unknown_version && request.tamper(Tamper::UnknownVersion, ticket, None) {
                tampering = Some(Tampering::UnknownVersion);
            }
        }
        let bytes = request.bytes();
        self.observe(What::Sent { op: OpRef { host, ticket }, id: operation.into(), attempt, bytes });
        self.send_to_server(route, of_batch, tampering, request)
    }

    /// Puts a request on its host's link; `tampered` says what is wrong with it from the start.
    pub(super) fn send_to_server(
        &mut self,
        route: Route,
        of_batch: Option<MessageId>,
        tampered: Option<Tampering>,
        request: V::Request,
    ) -> MessageId {
        let now_us = self.queue.now_us();
        self.bytes_sent += request.bytes();
        self.observe_sealed(Way::ToServer, route.op(), &request);
        self.search_message("request", route.op(), &request);
        let id = of_batch.unwrap_or_else(|| route.message(Way::ToServer));
        let replay = if self.network.replays() { self.network.replay(id, &request) } else { None };
        let (first, second) = self.network.send(id, request, None);
        for delivery in [first, second, replay].into_iter().flatten() {
            let Delivery { after_us, tampering, copy, message: request } = delivery;
            let tampering = tampering.or(tampered);
            let route = Route { copy, ..route };
            self.queue.schedule(now_us + after_us, Happening::ToServer { route, tampering, request });
        }
        id
    }

    fn finished(
        &mut self,
        host: u32,
        ticket: u64,
        operation: OperationId,
        critical: bool,
        outcome: &Outcome,
    ) {
        let node = &mut self.hosts[host as usize];
        let remembered = node.pending.len() < LATE_REMEMBERED_MAX;
        let pending = match node.pending.get_mut(ticket) {
            // A result after the one at the deadline, of a session that reports both.
            Some(pending) if pending.ended => {
                self.open_operations += 1;
                match node.pending.remove(ticket) {
                    Some(pending) => pending,
                    None => return,
                }
            }
            Some(pending) if *outcome == Outcome::DeadlineExceeded && remembered => {
                pending.ended = true;
                *pending
            }
            Some(_) => match node.pending.remove(ticket) {
                Some(pending) => pending,
                None => return,
            },
            None => return,
        };
        self.open_operations -= 1;
        if let Outcome::Rejected(rejection) = outcome {
            self.search("error message", Some(OpRef { host, ticket }), rejection.message.as_bytes());
            let (code, why) = (rejection.code, rejection.message.to_string());
            self.observe(What::Rejected { op: OpRef { host, ticket }, code, why });
        }
        if let (MixKind::Embed, Outcome::Done(payload)) = (pending.kind, outcome) {
            self.observe_given_vectors(OpRef { host, ticket }, payload.as_deref());
        }
        if let (false, Outcome::Done(Some(payload))) = (pending.writes, outcome) {
            self.observer.given(OpRef { host, ticket }, payload);
            self.observe_given(OpRef { host, ticket }, &pending, payload);
        }
        self.observe(What::Finished {
            op: OpRef { host, ticket },
            id: operation.into(),
            critical,
            writes: pending.writes,
            data_type: pending.data_type,
            end: End::from(outcome),
            intended_us: pending.intended_us,
            asked_us: pending.asked_us,
            sent_us: pending.sent_us,
        });
    }

    /// The host dies: its operations end without anybody knowing how.
    pub(super) fn crash_host(&mut self, host: u32) {
        let node = &mut self.hosts[host as usize];
        let Some(session) = node.session.take() else { return };
        node.stopping = false;
        self.open_subscriptions -= usize::from(node.subscriber.take().is_some());
        let id =
            |counter| OperationId { account: account(host), incarnation: session.incarnation(), counter };
        node.life += 1;
        node.wake_us = u64::MAX;
        let lost = node.pending.drain();
        self.observe(What::Crashed { node: format!("host {host}") });
        for pending in lost.into_iter().filter(|pending| !pending.ended) {
            self.open_operations -= 1;
            if pending.counter == 0 {
                continue;
            }
            self.observe(What::Finished {
                op: OpRef { host, ticket: pending.ticket },
                id: id(pending.counter).into(),
                critical: pending.critical,
                writes: pending.writes,
                data_type: pending.data_type,
                end: End::ShutDown,
                intended_us: pending.intended_us,
                asked_us: pending.asked_us,
                sent_us: pending.sent_us,
            });
        }
    }

    /// The host is asked to end in order.
    pub(super) fn shut_down_host(&mut self, host: u32, drain: Span) {
        if self.hosts[host as usize].session.is_some() {
            self.hosts[host as usize].stopping = true;
            self.tell_host(host, SessionInput::ShutDown { drain });
        }
    }

    /// A host that was to shut down has not done so yet.
    pub(super) fn is_stopping(&self, host: u32) -> bool {
        self.hosts[host as usize].stopping
    }

    /// The host has ended in order. Operations of which its session said nothing stay open for ever.
    fn stopped_host(&mut self, host: u32) {
        let node = &mut self.hosts[host as usize];
        node.session = None;
        node.stopping = false;
        self.open_subscriptions -= usize::from(node.subscriber.take().is_some());
        node.life += 1;
        node.wake_us = u64::MAX;
        node.pending.drain();
        self.observe(What::Stopped { node: format!("host {host}") });
    }

    /// The host comes back with a new incarnation and an empty queue.
    pub(super) fn restart_host(&mut self, host: u32) {
        let node = &mut self.hosts[host as usize];
        if node.session.is_none() {
            let tape = self.tape.as_ref();
            node.start(&self.variant, &self.keys, &self.session_settings, self.draws, host, tape);
            let again = std::mem::take(&mut node.journal);
            self.observe(What::Restarted { node: format!("host {host}") });
            self.subscribe(host);
            self.tell_host_keys(host);
            for (op, entry) in again {
                self.arrive(op, &entry, self.queue.now_us());
            }
        }
    }
}

/// Where an attempt came from, and its answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) host: u32,
    pub(super) life: u32,
    pub(super) token: Token,
    pub(super) ticket: u64,
    pub(super) attempt: u32,
    pub(super) copy: u8,
    /// The main server that it goes to.
    pub(super) server: u8,
    /// Whether it travels in one request with the one sent right before it.
    pub(super) joins: bool,
}

impl Route {
    /// The operation as its application knows it.
    pub(super) fn op(&self) -> OpRef {
        OpRef { host: self.host, ticket: self.ticket }
    }

    /// Whether it is a request for critical updates.
    pub(super) fn is_poll(&self) -> bool {
        self.ticket & POLL_TICKETS != 0
    }

    pub(super) fn message(&self, way: Way) -> MessageId {
        let Self { host, ticket, attempt, copy, .. } = *self;
        MessageId { host, way, ticket, attempt, copy }
    }
}
