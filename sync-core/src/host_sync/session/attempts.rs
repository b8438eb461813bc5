//! Attempts at an operation: sending, answers, retries.

use std::sync::Arc;

use super::{Session, SessionEffect};
use crate::data_type::Nature;
use crate::entropy::{Entropy, Purpose};
use crate::host_sync::codec::HostCodec;
use crate::host_sync::operation::{KeyIndex, Lane, Operation, Outcome, TransportError};
use crate::host_sync::policy::SessionPolicy;
use crate::id::{OperationId, Token};
use crate::limits;
use crate::time::{Instant, Now, Span};
use crate::wire::{ErrorCode, Reply, Request};

/// An operation that holds a slot.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub(super) operation: Operation,
    pub(super) attempt: u32,
    pub(super) seat: Seat,
    pub(super) next: Next,
    /// Until then a critical operation of its key waits for it.
    hurry_until: Instant,
    /// Attempts made in haste: they do not count against the bound on attempts.
    hurried: u32,
    /// Attempts that the server found too old.
    stale: u32,
}

impl UnderWay {
    pub(super) fn new(operation: Operation, seat: Seat) -> Self {
        let next = Next::Deadline;
        // One that went up into the critical lane: the critical operation behind it lent it its urgency.
        let went_up = operation.lane == Lane::Critical && !operation.critical;
        let hurry_until = if went_up { operation.urgency } else { Instant::from_us(0) };
        Self { operation, attempt: 0, seat, next, hurry_until, hurried: 0, stale: 0 }
    }

    /// Whether attempts are made as those at a critical operation.
    fn is_urgent(&self, now: Instant) -> bool {
        self.operation.critical || now < self.hurry_until
    }

    /// Whether this attempt is the latest and neither failed nor was given up.
    fn awaits(&self, attempt: u32) -> bool {
        attempt == self.attempt && matches!(self.next, Next::GiveUp(_))
    }
}

/// Whose slot an operation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// One that only critical operations use.
    Reserved,
    /// The one for reports.
    Report,
    /// A worker's, together with all that went to the server in one request with its first operation.
    Worker {
        /// The serial of that one.
        first: u64,
        /// Its ticket.
        ticket: u64,
    },
}

/// What happens next to an operation under way, unless an answer comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// The attempt is given up.
    GiveUp(Instant),
    /// It is tried again; and no earlier than the server asked for, whatever the haste.
    Retry { at: Instant, no_earlier: Instant },
    /// Nothing before its deadline.
    Deadline,
}

impl<C: HostCodec, E: Entropy, P: SessionPolicy> Session<C, E, P> {
    /// Makes the next attempt at the operation in this slot.
    pub(super) fn send(&mut self, now: Now, slot: usize, effects: &mut Vec<SessionEffect<C::Request>>) {
        if self.under_way[slot].attempt > 0 && self.policy.retries_as_new_operation() {
            let id = self.operation_id();
            let operation = &mut self.under_way[slot].operation;
            (operation.id, operation.sequence) = (id, self.keys.count(operation.key));
            self.next_counter += 1;
        }
        let under_way = &mut self.under_way[slot];
        under_way.attempt += 1;
        let urgent = under_way.is_urgent(now.monotonic);
        let (operation, attempt) = (&under_way.operation, under_way.attempt);
        under_way.hurried += u32::from(urgent && !operation.critical);
        let patience = if urgent {
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
        let joins = matches!(under_way.seat, Seat::Worker { .. })
            && self.joining == Some(under_way.seat)
            && matches!(effects.last(), Some(SessionEffect::Send { .. }));
        self.joining = Some(under_way.seat);
        let effect = SessionEffect::Send {
            token: token(operation.serial, attempt),
            ticket: operation.ticket,
            operation: operation.id,
            attempt,
            critical: operation.critical,
            joins,
            request: self.codec.seal(&request, iv),
        };
        self.counters.attempts += 1;
        effects.push(effect);
    }

    pub(super) fn answered(
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
        // Somebody may have withheld the answer to an earlier attempt, or to this one, and sent it once more when it
        // was stale: that this copy is refused says nothing of the first. So it is tried again under a fresh time.
        let opened = match opened {
            Ok(reply) if is_stale(&reply) => Err(TransportError::Stale),
            opened => opened,
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
            // It says nothing of whether an attempt took effect.
            Ok(reply) if is_stale(&reply) => {}
            Ok(Reply { result: Ok(payload), .. }) if self.policy.reports_late_success() => {
                let (ticket, critical) = (ended.ticket, ended.critical);
                let outcome = Outcome::Done(payload);
                effects.push(SessionEffect::Finished { ticket, operation: id, critical, outcome });
            }
            Ok(reply) => effects.push(SessionEffect::Late {
                ticket: ended.ticket,
                operation: id,
                success: reply.result.is_ok(),
            }),
        }
    }

    /// Plans the next attempt, or ends the operation and says so.
    pub(super) fn attempt_failed(
        &mut self,
        now: Now,
        slot: usize,
        error: TransportError,
        retry_after: Option<Span>,
        effects: &mut Vec<SessionEffect<C::Request>>,
    ) -> bool {
        self.under_way[slot].stale += u32::from(error == TransportError::Stale);
        let under_way = &self.under_way[slot];
        let UnderWay { operation, attempt, hurried, seat, stale, .. } = under_way;
        let hopeless = matches!(error, TransportError::Status(413)) || *stale >= limits::STALE_ATTEMPTS_MAX;
        // A token counts so many attempts and no more.
        let attempts_max = self.settings.attempts_max.min(ATTEMPT_MASK as u32);
        let tried = *attempt - hurried;
        if hopeless || !operation.critical && (tried >= attempts_max || *attempt >= ATTEMPT_MASK as u32) {
            self.end(now, slot, Outcome::Failed(error), effects);
            return true;
        }
        let urgent = under_way.is_urgent(now.monotonic);
        // What failed together is tried again together.
        let ticket = match seat {
            Seat::Worker { ticket, .. } => *ticket,
            Seat::Reserved | Seat::Report => operation.ticket,
        };
        let draw = self.entropy.draw(Purpose::Jitter, ticket, u64::from(*attempt));
        let mut pause = self.policy.backoff(*attempt, draw);
        if urgent && !operation.critical {
            pause = pause.min(self.policy.critical_attempt_timeout(self.settings.critical_timeout));
        }
        let no_earlier = now.monotonic + retry_after.unwrap_or(Span::ZERO).min(limits::RETRY_AFTER_MAX);
        let mut retry = no_earlier.max(now.monotonic + pause);
        let budget = if urgent { &mut self.critical_retries } else { &mut self.other_retries };
        if self.policy.budgets_retries() {
            retry = budget.affords(retry);
        }
        let in_vain =
            operation.deadline.is_some_and(|deadline| deadline <= retry) || *attempt >= ATTEMPT_MASK as u32;
        self.under_way[slot].next = if in_vain {
            Next::Deadline
        } else {
            budget.take(retry);
            Next::Retry { at: retry, no_earlier }
        };
        false
    }

    /// A critical operation waits until its deadline for one of its key that is under way: if that one is not
    /// critical, it is given up and tried again as if it were. Attempts keep their mark, so the server still
    /// takes it for what it is.
    pub(super) fn hurry(&mut self, now: Now, key: KeyIndex, until: Instant) {
        let patience = self.policy.critical_attempt_timeout(self.settings.critical_timeout);
        let of_key = self
            .under_way
            .iter_mut()
            .find(|u| u.operation.key == key && !u.operation.critical && u.seat != Seat::Report);
        let Some(under_way) = of_key else { return };
        if now.monotonic >= under_way.hurry_until {
            under_way.next = match under_way.next {
                Next::GiveUp(at) => {
                    // It left this long before it would have been given up.
                    let left = at.as_us().saturating_sub(self.settings.request_timeout.as_us());
                    Next::GiveUp(at.min(now.monotonic.max(Instant::from_us(left) + patience)))
                }
                Next::Retry { at, no_earlier } => {
                    let soon = no_earlier.max(now.monotonic + limits::BACKOFF_MIN);
                    Next::Retry { at: at.min(soon), no_earlier }
                }
                Next::Deadline => Next::Deadline,
            };
        }
        under_way.hurry_until = under_way.hurry_until.max(until);
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

/// Whether the server did not look at the request because of the time on it.
fn is_stale(reply: &Reply) -> bool {
    matches!(&reply.result, Err(rejection) if rejection.code == ErrorCode::StaleTimestamp)
}

/// An attempt's token: the operation's serial and the attempt's number.
fn token(serial: u64, attempt: u32) -> Token {
    Token(serial << ATTEMPT_BITS | u64::from(attempt) & ATTEMPT_MASK)
}

const ATTEMPT_BITS: u32 = 8;
const ATTEMPT_MASK: u64 = (1 << ATTEMPT_BITS) - 1;
