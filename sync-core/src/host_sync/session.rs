//! A host's side: takes operations from the application, sends them in order of urgency, and gives
//! each exactly one result.
//!
//! Promises:
//! - the deadline of a critical operation counts from the asking; at the deadline its result is
//!   [`Outcome::DeadlineExceeded`], and a later reply is reported as late, never as success;
//! - retries travel under the same operation id, each sealed afresh;
//! - operations on one (map, type) are sent one after another, in the order of the asking;
//! - a critical operation that waits for one of its own (map, type) which is under way and not critical lends
//!   it its haste: attempts are given up and made again as those of a critical one, until its deadline;
//! - an operation that has been sent keeps its slot until it ends, so that a struggling server
//!   never faces more than `workers + critical_slots` operations of one host, or batches of them: where a worker is
//!   free and more than one operation waits, up to `batch_max` of them that concern different (map, type) go in one
//!   request and share the slot; what may take long (`subscribe`, embeddings) never does, or the others would wait
//!   for its answer;
//! - a report (not a critical one) has a slot of its own, beside the queue and the workers, and is never refused for a
//!   full queue: it is the host's sign of life, and a host that is merely busy must not lose its maps. One is under way
//!   at a time, and at most one waits for it: a newer one supersedes that;
//! - what is kept of (map, type)s is bounded, see `session/keys.rs`;
//! - retries are bounded against fresh work, see [`super::retry_budget`].

mod attempts;
mod keys;
mod messages;
mod overview;
mod shut_down;

pub use messages::{Counters, SessionEffect, SessionInput};
pub use overview::Overview;

use std::sync::Arc;

use super::codec::HostCodec;
use super::operation::{Ask, AskError, KeyIndex, Lane, Operation, Outcome, TransportError};
use super::policy::{SessionPolicy, Standard};
use super::queue::{Admission, Queue};
use super::results::{Ended, Results, Status};
use super::retry_budget::RetryBudget;
use super::settings::SessionSettings;
use crate::data_type::SyncDataType;
use crate::engine::Engine;
use crate::entropy::{Entropy, Purpose};
use crate::id::{AccountId, Incarnation, MapName, OperationId};
use crate::limits;
use crate::time::{Instant, Now, Span};
use crate::wire::Kind;
use attempts::{Next, Seat, UnderWay};
use keys::Keys;

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
    keys: Keys,
    queue: Queue,
    /// The report that waits for the one under way.
    report: Option<Box<Operation>>,
    under_way: Vec<UnderWay>,
    /// Workers' slots that are held, each by one operation or batch.
    workers_busy: usize,
    /// Reserved slots that are held.
    reserved_busy: usize,
    /// Who sent last within the present call.
    joining: Option<Seat>,
    /// Slots that only critical operations use.
    critical_slots: usize,
    /// Critical operations that have not ended.
    critical_open: usize,
    critical_retries: RetryBudget,
    other_retries: RetryBudget,
    results: Results,
    drain_until: Option<Instant>,
    stopped: bool,
    counters: Counters,
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
            critical_slots: policy.critical_slots(settings.critical_slots),
            critical_open: 0,
            critical_retries: RetryBudget::critical(),
            other_retries: RetryBudget::others(),
            settings,
            codec,
            entropy,
            policy,
            account,
            incarnation,
            next_counter: 1,
            next_serial: 1,
            keys: Keys::default(),
            report: None,
            under_way: Vec::new(),
            workers_busy: 0,
            reserved_busy: 0,
            joining: None,
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
        let pending = self
            .under_way
            .iter()
            .map(|u| &u.operation)
            .chain(self.queue.iter())
            .chain(self.report.as_deref())
            .any(|o| o.id == id);
        if pending { Status::Pending } else { Status::Expired }
    }

    /// Operations that wait in the queue for a slot.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Operations that hold a slot.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Reads what the next call will need, and changes nothing. For a driver of very many sessions: it can have the
    /// memory of several fetched at once, before it calls any of them. The number means nothing.
    pub fn warm(&self) -> u64 {
        let under_way = self.under_way.iter().map(|u| u.operation.serial).fold(0, u64::wrapping_add);
        under_way ^ self.keys.warm() ^ self.results.latest() ^ u64::from(self.queue.is_held(KeyIndex(0)))
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn ask(&mut self, now: Now, ask: Ask, effects: &mut Vec<SessionEffect<C::Request>>) {
        let by_type = ask.kind.is_typed() && self.settings.critical_types.contains(ask.data_type);
        let critical = ask.critical || by_type;
        let error = if self.drain_until.is_some() {
            Some(AskError::ShuttingDown)
        } else if ask.data.len() > limits::DATA_BYTES_MAX {
            Some(AskError::TooLarge { bytes: ask.data.len(), max: limits::DATA_BYTES_MAX })
        } else if critical && self.critical_open >= self.policy.critical_open_max() {
            Some(AskError::QueueFull { waiting: self.queue.len() })
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
        if operation.kind == Kind::Report && !critical {
            if let Some(older) = self.report.replace(Box::new(operation)) {
                self.finish(now, *older, Outcome::Superseded, effects);
            }
            self.accept(key, ticket, id, critical, effects);
            return self.send_report(now, effects);
        }
        // Nobody waits and nothing stands in the way: the queue is not needed.
        if self.queue.is_empty() && self.can_start(&operation) {
            self.accept(key, ticket, id, critical, effects);
            self.start(now, operation, None, effects);
            return;
        }
        let urgency = operation.urgency;
        let Self { queue, policy, .. } = self;
        match queue.admit(operation, |lane, waiting| policy.gives_way(lane, waiting)) {
            Admission::Refused(_) => {
                self.counters.refused += 1;
                let error = AskError::QueueFull { waiting: self.queue.len() };
                effects.push(SessionEffect::Refused { ticket, critical, error });
                return;
            }
            Admission::Admitted => self.accept(key, ticket, id, critical, effects),
            Admission::Replaced(older) => {
                self.finish(now, *older, Outcome::Superseded, effects);
                self.accept(key, ticket, id, critical, effects);
            }
            Admission::Displaced(victim) => {
                self.accept(key, ticket, id, critical, effects);
                if self.policy.reports_displaced() {
                    self.finish(now, *victim, Outcome::Displaced, effects);
                }
            }
        }
        if critical && self.queue.is_held(key) {
            self.hurry(now, key, urgency);
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
            map: ask.map,
            data: ask.data,
            lane,
            critical,
            asked: now.monotonic,
            deadline,
            urgency: now.monotonic + timeout,
            key,
            sequence: self.keys.sequence(key) + 1,
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
        critical: bool,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        self.next_serial += 1;
        self.next_counter += 1;
        self.critical_open += usize::from(critical);
        self.keys.count(key);
        self.counters.accepted += 1;
        effects.push(SessionEffect::Accepted { ticket, operation });
    }

    fn key(&mut self, map: &MapName, data_type: SyncDataType) -> KeyIndex {
        let Self { keys, queue, under_way, report, .. } = self;
        let beside =
            |key| under_way.iter().map(|u| &u.operation).chain(report.as_deref()).any(|o| o.key == key);
        keys.place(map, data_type, |key| queue.is_used(key) || beside(key))
    }

    /// Sends the report that waits, unless one is under way.
    fn send_report(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        if self.report.is_some()
            && !self.under_way.iter().any(|u| u.seat == Seat::Report)
            && let Some(report) = self.report.take()
        {
            self.start(now, *report, Some(Seat::Report), effects);
        }
    }

    /// Gives free slots to whom they are due, most urgent first.
    fn dispatch(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        self.send_report(now, effects);
        let hold = self.policy.keeps_key_order();
        while self.workers_busy + self.reserved_busy < self.settings.workers + self.critical_slots {
            let worker_free = self.workers_busy < self.settings.workers;
            let lanes: &[Lane] =
                if worker_free { &[Lane::Critical, Lane::Priority, Lane::Normal] } else { &[Lane::Critical] };
            let Self { queue, policy, .. } = self;
            let taken =
                lanes.iter().find_map(|lane| queue.take(*lane, policy.takes_newest_first(*lane), hold));
            let Some(operation) = taken else { return };
            let batches =
                operation.lane != Lane::Critical && self.settings.batch_max > 1 && may_share(&operation);
            let bytes = operation.data.len();
            let seat = self.start(now, operation, None, effects);
            if batches {
                self.fill(now, seat, bytes, effects);
            }
        }
    }

    /// Lets others that wait travel in one request with the operation that has just been sent.
    fn fill(&mut self, now: Now, seat: Seat, mut bytes: usize, effects: &mut Vec<SessionEffect<C::Request>>) {
        let hold = self.policy.keeps_key_order();
        for _ in 1..self.settings.batch_max {
            if bytes >= limits::SESSION_BATCH_BYTES {
                return;
            }
            let Self { queue, policy, .. } = self;
            let taken = [Lane::Priority, Lane::Normal]
                .into_iter()
                .find_map(|lane| queue.take_if(lane, policy.takes_newest_first(lane), hold, may_share));
            let Some(operation) = taken else { return };
            bytes += operation.data.len();
            self.start(now, operation, Some(seat), effects);
        }
    }

    /// Whether a slot is free for this operation and nothing on its key is under way.
    fn can_start(&self, operation: &Operation) -> bool {
        let slots = self.settings.workers + self.critical_slots;
        let slot_free = self.workers_busy + self.reserved_busy < slots;
        let lane_free = operation.lane == Lane::Critical || self.workers_busy < self.settings.workers;
        slot_free && lane_free && !self.queue.is_held(operation.key)
    }

    /// Gives an accepted operation a slot, or lets it share one, and makes the first attempt.
    fn start(
        &mut self,
        now: Now,
        mut operation: Operation,
        shared: Option<Seat>,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) -> Seat {
        if self.policy.keeps_key_order() && shared != Some(Seat::Report) {
            self.queue.hold(operation.key);
        }
        // Critical work takes a reserved slot first, and a worker's when those are taken.
        let worker = operation.lane != Lane::Critical || self.reserved_busy >= self.critical_slots;
        let seat = match (shared, worker) {
            (Some(seat), _) => seat,
            (None, true) => {
                self.workers_busy += 1;
                Seat::Worker { first: operation.serial, ticket: operation.ticket }
            }
            (None, false) => {
                self.reserved_busy += 1;
                Seat::Reserved
            }
        };
        if operation.critical {
            operation.deadline = self.policy.deadline_when_sent(
                operation.deadline,
                now.monotonic,
                self.settings.critical_timeout,
            );
        }
        let retries = if operation.critical { &mut self.critical_retries } else { &mut self.other_retries };
        retries.pay();
        self.under_way.push(UnderWay::new(operation, seat));
        self.send(now, self.under_way.len() - 1, effects);
        seat
    }

    /// Ends the operation in this slot, and frees the slot unless others share it.
    fn end(&mut self, now: Now, slot: usize, outcome: Outcome, effects: &mut Vec<SessionEffect<C::Request>>) {
        let UnderWay { operation, seat, .. } = self.under_way.remove(slot);
        match seat {
            Seat::Reserved => self.reserved_busy -= 1,
            Seat::Report => return self.finish(now, operation, outcome, effects),
            // With batches of one nobody shares.
            _ if self.settings.batch_max > 1 && self.under_way.iter().any(|other| other.seat == seat) => {}
            Seat::Worker { .. } => self.workers_busy -= 1,
        }
        self.queue.release(operation.key);
        self.finish(now, operation, outcome, effects);
    }

    fn finish(
        &mut self,
        now: Now,
        operation: Operation,
        outcome: Outcome,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) {
        self.critical_open -= usize::from(operation.critical);
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
                Next::Retry { at, .. } if at <= now.monotonic => {
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
}

impl<C: HostCodec, E: Entropy, P: SessionPolicy> Engine for Session<C, E, P> {
    type Input = SessionInput<C::Reply>;
    type Effect = SessionEffect<C::Request>;

    fn handle(&mut self, now: Now, input: Self::Input, effects: &mut Vec<Self::Effect>) {
        self.joining = None;
        self.results.forget(now.monotonic);
        if self.next_wakeup().is_some_and(|due| due <= now.monotonic) {
            self.pass(now, effects);
        }
        match input {
            SessionInput::Ask(ask) => self.ask(now, ask, effects),
            SessionInput::Answered { token, answer, retry_after } => {
                self.answered(now, token, answer, retry_after, effects);
            }
            SessionInput::UseKeys(keys) => self.codec.use_keys(&keys),
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
        self.joining = None;
        self.results.forget(now.monotonic);
        self.pass(now, effects);
        self.stop_when_drained(effects);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        if self.under_way.is_empty() && self.queue.is_empty() {
            return None;
        }
        let slots = self.under_way.iter().filter_map(|u| match u.next {
            Next::GiveUp(at) | Next::Retry { at, .. } => Some(u.operation.deadline.map_or(at, |d| d.min(at))),
            Next::Deadline => u.operation.deadline,
        });
        slots.chain(self.queue.earliest_deadline()).chain(self.drain_until).min()
    }
}

/// Whether an operation may travel in one request with others: their answers come together, and what waits at the
/// server for something to happen, or for an embedding provider, would hold up all of them.
fn may_share(operation: &Operation) -> bool {
    match operation.kind {
        Kind::Subscribe | Kind::Embed | Kind::Search => false,
        Kind::SyncTo => operation.data_type != SyncDataType::VectorEmbedding,
        _ => true,
    }
}
