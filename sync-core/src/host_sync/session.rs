//! A host's side: takes operations from the application, sends them in order of urgency, and gives
//! each exactly one result.
//!
//! Promises:
//! - the deadline of a critical operation counts from the asking; at the deadline its result is
//!   [`Outcome::DeadlineExceeded`], and a later reply is reported as late, never as success;
//! - retries travel under the same operation id, each sealed afresh;
//! - operations on one (map, type) are sent one after another, in the order of the asking;
//! - an operation that has been sent keeps its slot until it ends, so that a struggling server
//!   never faces more than `workers + critical_slots` operations of one host.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec::HostCodec;
use super::operation::{Ask, AskError, KeyIndex, Lane, Operation, Outcome, TransportError};
use super::policy::{SessionPolicy, Standard};
use super::queue::{Admission, Queue};
use super::results::{Ended, Results, Status};
use super::settings::SessionSettings;
use crate::data_type::{Nature, SyncDataType};
use crate::engine::Engine;
use crate::entropy::{Entropy, Purpose};
use crate::id::{AccountId, Incarnation, MapName, OperationId, Token};
use crate::limits;
use crate::recording::frame::{self, Frame};
use crate::time::{Instant, Now, Span};
use crate::wire::{ErrorCode, Reply, Request};

/// What the world tells a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "R: Frame", deserialize = "R: Frame"))]
pub enum SessionInput<R> {
    /// The application asks.
    Ask(Ask),
    /// An attempt brought an answer, or will bring none.
    Answered {
        /// From [`SessionEffect::Send`].
        token: Token,
        /// The reply, still sealed, or why there is none.
        #[serde(with = "frame::result")]
        answer: Result<R, TransportError>,
        /// How long the server asked to be left alone (`Retry-After`). Nobody vouches for it, so it is
        /// honoured up to [`limits::RETRY_AFTER_MAX`].
        retry_after: Option<Span>,
    },
    /// The host shuts down: nothing new is accepted, and what has not ended after `drain` ends then.
    ShutDown {
        /// How long operations may still take.
        drain: Span,
    },
}

/// What a session asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound(serialize = "Q: Frame", deserialize = "Q: Frame"))]
pub enum SessionEffect<Q> {
    /// To the application: accepted, under this name.
    Accepted {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
    },
    /// To the application: not accepted.
    Refused {
        /// From [`Ask`].
        ticket: u64,
        /// Whether it would have been critical.
        critical: bool,
        /// Why.
        error: AskError,
    },
    /// Send this request; answer with [`SessionInput::Answered`].
    Send {
        /// Names the attempt.
        token: Token,
        /// The application's name for the operation.
        ticket: u64,
        /// The operation's name in this attempt.
        operation: OperationId,
        /// Counts the attempts, from 1.
        attempt: u32,
        /// Whether it is critical.
        critical: bool,
        /// The body.
        #[serde(with = "frame")]
        request: Q,
    },
    /// To the application: the one result.
    Finished {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
        /// Whether it was critical.
        critical: bool,
        /// How it ended.
        outcome: Outcome,
    },
    /// For the record: a reply to an operation that had ended without one.
    Late {
        /// From [`Ask`].
        ticket: u64,
        /// Its name.
        operation: OperationId,
        /// Whether the server did it.
        success: bool,
    },
    /// For the record: an answer that is not authentic was thrown away.
    Untrusted {
        /// The attempt it came for.
        token: Token,
    },
    /// Everything has ended after a [`SessionInput::ShutDown`].
    Stopped {
        /// Operations that the bound cut short.
        cut_short: usize,
    },
}

/// Counts since the session's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations accepted.
    pub accepted: u64,
    /// Operations refused.
    pub refused: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Operations ended, whatever their outcome.
    pub finished: u64,
    /// Critical operations that ended at their deadline.
    pub deadline_exceeded: u64,
}

/// A host's session with the main server.
#[derive(Debug)]
pub struct Session<C, E, P = Standard> {
    settings: Arc<SessionSettings>,
    codec: C,
    entropy: E,
    policy: P,
    account: AccountId,
    incarnation: Incarnation,
    next_counter: u64,
    next_serial: u64,
    keys: Vec<KeyState>,
    queue: Queue,
    under_way: Vec<UnderWay>,
    /// Of those, how many are not critical.
    workers_busy: usize,
    results: Results,
    drain_until: Option<Instant>,
    stopped: bool,
    counters: Counters,
}

/// What is kept for each (map, type).
#[derive(Clone, Debug)]
struct KeyState {
    map: MapName,
    data_type: SyncDataType,
    sequence: u64,
    under_way: bool,
    waiting: u32,
}

/// An operation that holds a slot.
#[derive(Clone, Debug)]
struct UnderWay {
    operation: Operation,
    attempt: u32,
    /// Whether the slot is one of the workers'.
    worker: bool,
    next: Next,
}

impl UnderWay {
    /// Whether this attempt is the latest and neither failed nor was given up.
    fn awaits(&self, attempt: u32) -> bool {
        attempt == self.attempt && matches!(self.next, Next::GiveUp(_))
    }
}

/// What happens next to an operation under way, unless an answer comes.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The attempt is given up.
    GiveUp(Instant),
    /// It is tried again.
    Retry(Instant),
    /// Nothing before its deadline.
    Deadline,
}

impl<C: HostCodec, E: Entropy, P: SessionPolicy> Session<C, E, P> {
    /// A session of one account. Draws its incarnation from `entropy`.
    pub fn new(
        account: AccountId,
        settings: Arc<SessionSettings>,
        codec: C,
        mut entropy: E,
        policy: P,
    ) -> Self {
        let incarnation = Incarnation(entropy.draw(Purpose::Incarnation, u64::from(account.0), 0));
        Self {
            queue: Queue::new(settings.queue_max),
            results: Results::new(settings.results_kept, settings.result_retention),
            settings,
            codec,
            entropy,
            policy,
            account,
            incarnation,
            next_counter: 1,
            next_serial: 1,
            keys: Vec::new(),
            under_way: Vec::new(),
            workers_busy: 0,
            drain_until: None,
            stopped: false,
            counters: Counters::default(),
        }
    }

    /// This life of the session.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What is known of an operation.
    pub fn status(&self, id: OperationId) -> Status<'_> {
        let ours = id.account == self.account && id.incarnation == self.incarnation;
        if !ours || id.counter == 0 || id.counter >= self.next_counter {
            return Status::Unknown;
        }
        if let Some(ended) = self.results.by_counter(id.counter) {
            return Status::Done(ended.outcome());
        }
        let pending =
            self.under_way.iter().map(|u| &u.operation).chain(self.queue.iter()).any(|o| o.id == id);
        if pending { Status::Pending } else { Status::Expired }
    }

    /// Operations that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Operations that hold a slot.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn ask(&mut self, now: Now, ask: Ask, effects: &mut Vec<SessionEffect<C::Request>>) {
        let critical = ask.critical || self.settings.critical_types.contains(ask.data_type);
        let error = if self.drain_until.is_some() {
            Some(AskError::ShuttingDown)
        } else if ask.data.len() > limits::DATA_BYTES_MAX {
            Some(AskError::TooLarge { bytes: ask.data.len(), max: limits::DATA_BYTES_MAX })
        } else {
            None
        };
        if let Some(error) = error {
            self.counters.refused += 1;
            effects.push(SessionEffect::Refused { ticket: ask.ticket, critical, error });
            return;
        }
        let operation = self.operation(now, ask, critical);
        let key = operation.key;
        let (ticket, id) = (operation.ticket, operation.id);
        // Nobody waits and nothing stands in the way: the queue is not needed.
        if self.queue.is_empty() && self.can_start(&operation) {
            self.accept(key, ticket, id, effects);
            self.start(now, operation, effects);
            return;
        }
        let follows = self.keys[index(key)].waiting > 0;
        let admission =
            if follows { self.queue.admit_following(operation) } else { self.queue.admit(operation) };
        match admission {
            Admission::Refused(_) => {
                self.counters.refused += 1;
                let error = AskError::QueueFull { waiting: self.queue.len() };
                effects.push(SessionEffect::Refused { ticket, critical, error });
                return;
            }
            Admission::Admitted => self.accept(key, ticket, id, effects),
            Admission::Replaced(older) => {
                self.keys[index(key)].waiting -= 1;
                self.finish(now, *older, Outcome::Superseded, effects);
                self.accept(key, ticket, id, effects);
            }
            Admission::Displaced(victim) => {
                self.accept(key, ticket, id, effects);
                self.keys[index(victim.key)].waiting -= 1;
                self.finish(now, *victim, Outcome::Displaced, effects);
            }
        }
        self.dispatch(now, effects);
    }

    /// Makes the operation without using up its numbers: those are spent when it is accepted.
    fn operation(&mut self, now: Now, ask: Ask, critical: bool) -> Operation {
        let key = self.key(&ask.map, ask.data_type);
        let lane = match (critical, ask.priority) {
            (true, _) => Lane::Critical,
            (false, true) => Lane::Priority,
            (false, false) => Lane::Normal,
        };
        let timeout = self.settings.critical_timeout;
        let deadline = if critical { self.policy.deadline_when_asked(now.monotonic, timeout) } else { None };
        Operation {
            serial: self.next_serial,
            id: self.operation_id(),
            ticket: ask.ticket,
            kind: ask.kind,
            data_type: ask.data_type,
            map: self.keys[index(key)].map.clone(),
            data: ask.data,
            lane,
            critical,
            asked: now.monotonic,
            deadline,
            urgency: now.monotonic + timeout,
            key,
            sequence: self.keys[index(key)].sequence + 1,
        }
    }

    fn operation_id(&self) -> OperationId {
        OperationId { account: self.account, incarnation: self.incarnation, counter: self.next_counter }
    }

    fn accept(
        &mut self,
        key: KeyIndex,
        ticket: u64,
        operation: OperationId,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        self.next_serial += 1;
        self.next_counter += 1;
        self.keys[index(key)].sequence += 1;
        self.keys[index(key)].waiting += 1;
        self.counters.accepted += 1;
        effects.push(SessionEffect::Accepted { ticket, operation });
    }

    fn key(&mut self, map: &MapName, data_type: SyncDataType) -> KeyIndex {
        let at = self.keys.iter().position(|k| k.data_type == data_type && k.map == *map);
        let at = at.unwrap_or_else(|| {
            self.keys.push(KeyState {
                map: map.clone(),
                data_type,
                sequence: 0,
                under_way: false,
                waiting: 0,
            });
            self.keys.len() - 1
        });
        KeyIndex(at as u32)
    }

    /// Gives free slots to whom they are due, most urgent first.
    fn dispatch(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        while self.under_way.len() < self.settings.workers + self.settings.critical_slots {
            let Self { keys, queue, .. } = self;
            let ready = |operation: &Operation| !keys[index(operation.key)].under_way;
            let worker_free = self.workers_busy < self.settings.workers;
            let taken = queue.take(Lane::Critical, ready).or_else(|| {
                if !worker_free {
                    return None;
                }
                queue.take(Lane::Priority, ready).or_else(|| queue.take(Lane::Normal, ready))
            });
            let Some(operation) = taken else { return };
            self.start(now, operation, effects);
        }
    }

    /// Whether a slot is free for this operation and nothing on its key is under way.
    fn can_start(&self, operation: &Operation) -> bool {
        let slot_free = self.under_way.len() < self.settings.workers + self.settings.critical_slots;
        let lane_free = operation.lane == Lane::Critical || self.workers_busy < self.settings.workers;
        slot_free && lane_free && !self.keys[index(operation.key)].under_way
    }

    /// Gives an accepted operation a slot and makes the first attempt.
    fn start(&mut self, now: Now, mut operation: Operation, effects: &mut Vec<SessionEffect<C::Request>>) {
        let key = &mut self.keys[index(operation.key)];
        key.waiting -= 1;
        key.under_way = true;
        // Critical work takes a reserved slot first, and a worker's when those are taken.
        let reserved_busy = self.under_way.len() - self.workers_busy;
        let worker = operation.lane != Lane::Critical || reserved_busy >= self.settings.critical_slots;
        self.workers_busy += usize::from(worker);
        if operation.critical {
            operation.deadline = self.policy.deadline_when_sent(
                operation.deadline,
                now.monotonic,
                self.settings.critical_timeout,
            );
        }
        self.under_way.push(UnderWay { operation, attempt: 0, worker, next: Next::Deadline });
        self.send(now, self.under_way.len() - 1, effects);
    }

    /// Makes the next attempt at the operation in this slot.
    fn send(&mut self, now: Now, slot: usize, effects: &mut Vec<SessionEffect<C::Request>>) {
        if self.under_way[slot].attempt > 0 && self.policy.retries_as_new_operation() {
            let id = self.operation_id();
            let operation = &mut self.under_way[slot].operation;
            let key = &mut self.keys[index(operation.key)];
            key.sequence += 1;
            (operation.id, operation.sequence) = (id, key.sequence);
            self.next_counter += 1;
        }
        let under_way = &mut self.under_way[slot];
        under_way.attempt += 1;
        let (operation, attempt) = (&under_way.operation, under_way.attempt);
        let patience = if operation.critical {
            self.policy.critical_attempt_timeout(self.settings.critical_timeout)
        } else {
            self.settings.request_timeout
        };
        under_way.next = Next::GiveUp(now.monotonic + patience);
        let request = Request {
            kind: operation.kind,
            data_type: operation.data_type,
            map: operation.map.clone(),
            data: Arc::clone(&operation.data),
            timestamp: now.wall,
            operation: operation.id,
            critical: operation.critical,
            sequence: operation.sequence,
        };
        let iv = self.entropy.iv(operation.ticket, u64::from(attempt));
        let effect = SessionEffect::Send {
            token: token(operation.serial, attempt),
            ticket: operation.ticket,
            operation: operation.id,
            attempt,
            critical: operation.critical,
            request: self.codec.seal(&request, iv),
        };
        self.counters.attempts += 1;
        effects.push(effect);
    }

    fn answered(
        &mut self,
        now: Now,
        token: Token,
        answer: Result<C::Reply, TransportError>,
        retry_after: Option<Span>,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        let (serial, attempt) = (token.0 >> ATTEMPT_BITS, (token.0 & ATTEMPT_MASK) as u32);
        let Some(slot) = self.under_way.iter().position(|u| u.operation.serial == serial) else {
            self.late(serial, token, answer, effects);
            return;
        };
        let operation = &self.under_way[slot].operation;
        let opened = match answer {
            Ok(reply) => self.codec.open(operation.id, operation.critical, &reply).map_err(|_| {
                effects.push(SessionEffect::Untrusted { token });
                TransportError::Untrusted
            }),
            Err(error) => Err(error),
        };
        match opened {
            Ok(reply) => {
                let outcome = outcome(operation, reply);
                self.end(now, slot, outcome, effects);
                self.dispatch(now, effects);
            }
            // The failure of an attempt that was given up already changes nothing.
            Err(error) if self.under_way[slot].awaits(attempt) => {
                if self.attempt_failed(now, slot, error, retry_after, effects) {
                    self.dispatch(now, effects);
                }
            }
            Err(_) => {}
        }
    }

    /// A reply to an operation that has ended: recorded, never turned into success.
    fn late(
        &mut self,
        serial: u64,
        token: Token,
        answer: Result<C::Reply, TransportError>,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        let (Ok(reply), Some(ended)) = (answer, self.results.by_serial(serial)) else { return };
        let id = OperationId { counter: ended.counter, ..self.operation_id() };
        match self.codec.open(id, ended.critical, &reply) {
            Err(_) => effects.push(SessionEffect::Untrusted { token }),
            // The second reply to an operation whose first one counted.
            Ok(_)
                if matches!(
                    ended.outcome(),
                    Outcome::Done(_) | Outcome::Rejected(_) | Outcome::Superseded
                ) => {}
            Ok(reply) => effects.push(SessionEffect::Late {
                ticket: ended.ticket,
                operation: id,
                success: reply.result.is_ok(),
            }),
        }
    }

    /// Plans the next attempt, or ends the operation and says so.
    fn attempt_failed(
        &mut self,
        now: Now,
        slot: usize,
        error: TransportError,
        retry_after: Option<Span>,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) -> bool {
        let UnderWay { operation, attempt, .. } = &self.under_way[slot];
        let hopeless = matches!(error, TransportError::Status(413));
        // A token counts so many attempts and no more.
        let attempts_max = self.settings.attempts_max.min(ATTEMPT_MASK as u32);
        if hopeless || (!operation.critical && *attempt >= attempts_max) {
            self.end(now, slot, Outcome::Failed(error), effects);
            return true;
        }
        let draw = self.entropy.draw(Purpose::Jitter, operation.ticket, u64::from(*attempt));
        let pause = self
            .policy
            .backoff(*attempt, draw)
            .max(retry_after.unwrap_or(Span::ZERO).min(limits::RETRY_AFTER_MAX));
        let retry = now.monotonic + pause;
        let in_vain =
            operation.deadline.is_some_and(|deadline| deadline <= retry) || *attempt >= ATTEMPT_MASK as u32;
        self.under_way[slot].next = if in_vain { Next::Deadline } else { Next::Retry(retry) };
        false
    }

    /// Ends the operation in this slot and frees the slot.
    fn end(&mut self, now: Now, slot: usize, outcome: Outcome, effects: &mut Vec<SessionEffect<C::Request>>) {
        let UnderWay { operation, worker, .. } = self.under_way.remove(slot);
        self.workers_busy -= usize::from(worker);
        self.keys[index(operation.key)].under_way = false;
        self.finish(now, operation, outcome, effects);
    }

    fn finish(
        &mut self,
        now: Now,
        operation: Operation,
        outcome: Outcome,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        self.counters.finished += 1;
        self.counters.deadline_exceeded += u64::from(outcome == Outcome::DeadlineExceeded);
        self.results.push(Ended::new(&operation, now.monotonic, &outcome));
        effects.push(SessionEffect::Finished {
            ticket: operation.ticket,
            operation: operation.id,
            critical: operation.critical,
            outcome,
        });
    }

    /// Lets pass what is due: deadlines first, so that nothing that came too late can succeed.
    fn pass(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        while let Some(operation) = self.queue.take_overdue(now.monotonic) {
            self.keys[index(operation.key)].waiting -= 1;
            self.finish(now, operation, Outcome::DeadlineExceeded, effects);
        }
        let mut slot = 0;
        while slot < self.under_way.len() {
            let UnderWay { operation, next, .. } = &self.under_way[slot];
            if operation.deadline.is_some_and(|deadline| deadline <= now.monotonic) {
                self.end(now, slot, Outcome::DeadlineExceeded, effects);
                continue;
            }
            let ended = match *next {
                Next::GiveUp(at) if at <= now.monotonic => {
                    self.attempt_failed(now, slot, TransportError::TimedOut, None, effects)
                }
                Next::Retry(at) if at <= now.monotonic => {
                    self.send(now, slot, effects);
                    false
                }
                _ => false,
            };
            slot += usize::from(!ended);
        }
        if self.drain_until.is_some_and(|until| until <= now.monotonic) {
            self.cut_short(now, effects);
        }
        self.dispatch(now, effects);
    }

    fn cut_short(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        let mut cut = 0;
        while !self.under_way.is_empty() {
            self.end(now, 0, Outcome::ShutDown { sent: true }, effects);
            cut += 1;
        }
        for operation in self.queue.drain() {
            self.keys[index(operation.key)].waiting -= 1;
            self.finish(now, operation, Outcome::ShutDown { sent: false }, effects);
            cut += 1;
        }
        self.stop(cut, effects);
    }

    fn stop(&mut self, cut_short: usize, effects: &mut Vec<SessionEffect<C::Request>>) {
        if !self.stopped {
            self.stopped = true;
            effects.push(SessionEffect::Stopped { cut_short });
        }
    }

    fn stop_when_drained(&mut self, effects: &mut Vec<SessionEffect<C::Request>>) {
        if self.drain_until.is_some() && self.under_way.is_empty() && self.queue.is_empty() {
            self.stop(0, effects);
        }
    }
}

impl<C: HostCodec, E: Entropy, P: SessionPolicy> Engine for Session<C, E, P> {
    type Input = SessionInput<C::Reply>;
    type Effect = SessionEffect<C::Request>;

    fn handle(&mut self, now: Now, input: Self::Input, effects: &mut Vec<Self::Effect>) {
        self.results.forget(now.monotonic);
        if self.next_wakeup().is_some_and(|due| due <= now.monotonic) {
            self.pass(now, effects);
        }
        match input {
            SessionInput::Ask(ask) => self.ask(now, ask, effects),
            SessionInput::Answered { token, answer, retry_after } => {
                self.answered(now, token, answer, retry_after, effects);
            }
            SessionInput::ShutDown { drain } => {
                let until = now.monotonic + drain;
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
                if drain == Span::ZERO {
                    self.cut_short(now, effects);
                }
            }
        }
        self.stop_when_drained(effects);
    }

    fn wake(&mut self, now: Now, effects: &mut Vec<Self::Effect>) {
        self.results.forget(now.monotonic);
        self.pass(now, effects);
        self.stop_when_drained(effects);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        if self.under_way.is_empty() && self.queue.is_empty() {
            return None;
        }
        let slots = self.under_way.iter().filter_map(|u| match u.next {
            Next::GiveUp(at) | Next::Retry(at) => Some(u.operation.deadline.map_or(at, |d| d.min(at))),
            Next::Deadline => u.operation.deadline,
        });
        slots.chain(self.queue.earliest_deadline()).chain(self.drain_until).min()
    }
}

/// How an authentic reply ends an operation.
fn outcome(operation: &Operation, reply: Reply) -> Outcome {
    match reply.result {
        Ok(payload) => Outcome::Done(payload),
        Err(rejection)
            if rejection.code == ErrorCode::OutOfOrder && operation.data_type.nature() == Nature::State =>
        {
            Outcome::Superseded
        }
        Err(rejection) => Outcome::Rejected(rejection),
    }
}

fn index(key: KeyIndex) -> usize {
    key.0 as usize
}

/// An attempt's token: the operation's serial and the attempt's number.
fn token(serial: u64, attempt: u32) -> Token {
    Token(serial << ATTEMPT_BITS | u64::from(attempt) & ATTEMPT_MASK)
}

const ATTEMPT_BITS: u32 = 8;
const ATTEMPT_MASK: u64 = (1 << ATTEMPT_BITS) - 1;
