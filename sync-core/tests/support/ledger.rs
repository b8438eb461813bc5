//! The reference for a session: a list of operations and the rules by which each may move.
//!
//! It has no queue, no timers and no back-off. It knows who is due next, and judges every effect by
//! whether it may happen now; after each step it demands that nothing that had to happen is missing.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::data_type::{Nature, SyncDataType};
use sync_core::host_sync::operation::{Ask, AskError, Lane, Outcome, TransportError};
use sync_core::host_sync::settings::SessionSettings;
use sync_core::id::{MapName, OperationId, Token};
use sync_core::time::{Instant, Now, Span};
use sync_core::wire::{ErrorCode, Kind};

use super::PlainRequest;
use super::host::{Answer, Effect};

pub(crate) type Key = (MapName, SyncDataType);

/// One accepted operation.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) ask: Ask,
    pub(crate) id: OperationId,
    key: Key,
    critical: bool,
    deadline: Option<Instant>,
    sequence: u64,
    lane: Lane,
    /// Place in the lane: the deadline in the critical one, else the number of the asking.
    rank: u64,
    /// Who superseded it while it waited.
    heir: Option<u64>,
    /// Whether a critical operation of its key ever waited for it: its attempts may come as those of one.
    hurried: bool,
    pub(crate) stage: Stage,
}

/// A slot: one that only critical operations use, or a worker's, named by the ticket that took it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seat {
    Reserved,
    Worker(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Waiting,
    /// Number of the latest attempt, since when, how it failed and until when it must rest.
    UnderWay {
        attempt: u32,
        since: Instant,
        rest: Option<Instant>,
        seat: Seat,
    },
    Ended {
        outcome: Outcome,
        at: Instant,
        by_reply: bool,
    },
}

/// What the driver does, for judging what follows from it.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Time,
    Asked(Ask),
    Answered { ticket: u64, attempt: u32, answer: Answer, retry_after: Span },
    ShutDown(Span),
}

pub(crate) struct Ledger {
    settings: SessionSettings,
    pub(crate) ops: BTreeMap<u64, Op>,
    sequences: BTreeMap<Key, u64>,
    ivs: BTreeSet<[u8; 16]>,
    pub(crate) attempts: Vec<(u64, u32, Token, PlainRequest)>,
    ended: Vec<u64>,
    drain_until: Option<Instant>,
    pub(crate) stopped: bool,
    cut: usize,
    /// The batch that may still grow in this call, and how many are in it.
    filling: Option<(u64, usize)>,
    /// Whose attempt left last in this call.
    sent_last: Option<Seat>,
}

impl Ledger {
    pub(crate) fn new(settings: SessionSettings) -> Self {
        Self {
            settings,
            ops: BTreeMap::new(),
            sequences: BTreeMap::new(),
            ivs: BTreeSet::new(),
            attempts: Vec::new(),
            ended: Vec::new(),
            drain_until: None,
            stopped: false,
            cut: 0,
            filling: None,
            sent_last: None,
        }
    }

    /// Judges what one call brought, in order, and then what it did not bring.
    pub(crate) fn judge(&mut self, now: Now, cause: &Cause, effects: &[Effect]) {
        if let Cause::ShutDown(drain) = cause {
            let until = now.monotonic + *drain;
            self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
        }
        self.sent_last = None;
        let target = match cause {
            Cause::Answered { ticket, .. } => self.ops.get(ticket).map(|op| op.stage.clone()),
            _ => None,
        };
        let mut victim = None;
        for effect in effects {
            if let (Some(expected), false) = (victim, matches!(effect, Effect::Accepted { .. })) {
                let displaced = matches!(effect, Effect::Finished { ticket, outcome: Outcome::Displaced, .. } if *ticket == expected);
                assert!(displaced, "{expected} had to give way, not {effect:?}");
            }
            let joins = matches!(effect, Effect::Send { joins: true, .. });
            if !joins {
                self.batch_is_full();
            }
            match effect {
                Effect::Accepted { ticket, operation } => {
                    victim = self.accepted(now, cause, *ticket, *operation)
                }
                Effect::Refused { ticket, error, .. } => self.refused(cause, *ticket, *error),
                Effect::Send { token, ticket, operation, attempt, critical, request, joins } => {
                    let op = &self.ops[ticket];
                    assert_eq!((op.id, op.critical), (*operation, *critical));
                    let sent = &request.request;
                    assert_eq!((sent.operation, sent.critical), (op.id, op.critical));
                    assert_eq!((sent.sequence, sent.timestamp), (op.sequence, now.wall));
                    assert!(self.ivs.insert(request.iv), "an initialisation vector came twice");
                    self.sent(now, cause, *ticket, *attempt, *joins);
                    self.attempts.push((*ticket, *attempt, *token, request.clone()));
                }
                Effect::Finished { ticket, operation, outcome, .. } => {
                    assert_eq!(self.ops[ticket].id, *operation);
                    if *outcome == Outcome::Displaced {
                        assert_eq!(victim.take(), Some(*ticket), "displaced without need");
                    }
                    self.finished(now, cause, *ticket, outcome);
                }
                Effect::Late { ticket, success, .. } => self.late(cause, *ticket, *success),
                Effect::Untrusted { .. } => {
                    assert!(matches!(cause, Cause::Answered { answer: Answer::Untrusted, .. }));
                }
                Effect::Stopped { cut_short } => {
                    assert!(!self.stopped && self.drain_until.is_some());
                    assert_eq!(*cut_short, self.cut);
                    assert_eq!(self.alive().count(), 0, "stopped with operations left");
                    self.stopped = true;
                }
            }
        }
        self.batch_is_full();
        assert_eq!(victim, None, "somebody had to give way");
        self.account(now, cause, target, effects);
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u64, &Op)> {
        self.alive().filter(|(_, op)| matches!(op.stage, Stage::Waiting))
    }

    pub(crate) fn under_way(&self) -> impl Iterator<Item = (u64, &Op)> {
        self.alive().filter(|(_, op)| matches!(op.stage, Stage::UnderWay { .. }))
    }

    /// Whether an ended operation's result must still be known: one of the latest, and not too old.
    pub(crate) fn remembers(&self, ticket: u64, now: Instant) -> bool {
        let latest = self.ended.iter().rev().take(self.settings.results_kept).any(|t| *t == ticket);
        let Stage::Ended { at, .. } = self.ops[&ticket].stage else { return false };
        latest && now.since(at) <= self.settings.result_retention
    }

    fn alive(&self) -> impl Iterator<Item = (u64, &Op)> {
        self.ops.iter().filter(|(_, op)| !matches!(op.stage, Stage::Ended { .. })).map(|(t, op)| (*t, op))
    }

    /// Who is sent next, if anybody may be: the most urgent lane, the first in it, of those whose key
    /// is free, and only critical ones while no worker is.
    fn due(&self) -> Option<(u64, bool)> {
        let seats = || self.under_way().filter_map(|(_, op)| op.seat());
        let reserved = seats().filter(|seat| *seat == Seat::Reserved).count();
        let workers = seats().filter(|seat| *seat != Seat::Reserved).collect::<BTreeSet<_>>().len();
        let SessionSettings { workers: workers_max, critical_slots, .. } = self.settings;
        let may = |op: &Op| match op.lane {
            Lane::Critical => reserved < critical_slots || workers < workers_max,
            _ => workers < workers_max,
        };
        let free = |op: &Op| self.under_way().all(|(_, other)| other.key != op.key);
        self.waiting()
            .filter(|(_, op)| may(op) && free(op))
            .min_by_key(|(ticket, op)| (std::cmp::Reverse(op.lane), op.rank, *ticket))
            .map(|(ticket, op)| (ticket, op.lane == Lane::Critical && reserved < critical_slots))
    }

    /// Who joins a batch next: the first that is not critical and whose key is free.
    fn joining(&self) -> Option<u64> {
        let free = |op: &Op| self.under_way().all(|(_, other)| other.key != op.key);
        self.waiting()
            .filter(|(_, op)| op.lane < Lane::Critical && free(op))
            .min_by_key(|(ticket, op)| (std::cmp::Reverse(op.lane), op.rank, *ticket))
            .map(|(ticket, _)| ticket)
    }

    /// Nobody is left behind who could have joined the batch that has just left.
    fn batch_is_full(&mut self) {
        if let Some((first, count)) = self.filling.take() {
            let left = self.joining().filter(|_| count < self.settings.batch_max);
            assert_eq!(left, None, "the batch of {first} left without one that waits");
        }
    }

    fn accepted(&mut self, now: Now, cause: &Cause, ticket: u64, id: OperationId) -> Option<u64> {
        let Cause::Asked(ask) = cause else { panic!("accepted without an asking") };
        assert!(ticket == ask.ticket && self.drain_until.is_none());
        assert_eq!(id.counter, self.ops.len() as u64 + 1);
        let key = (ask.map.clone(), ask.data_type);
        let critical = ask.critical || self.settings.critical_types.contains(ask.data_type);
        let lane = match (critical, ask.priority) {
            (true, _) => Lane::Critical,
            (false, true) => Lane::Priority,
            (false, false) => Lane::Normal,
        };
        let deadline = now.monotonic + self.settings.critical_timeout;
        let mut rank = if critical { deadline.as_us() } else { ticket };
        // The write that this one replaces ended just before; in its lane its place is inherited.
        let replaced = self.ops.values().find(|op| op.heir == Some(ticket));
        if let Some(older) = replaced.filter(|older| older.lane == lane && !critical) {
            rank = older.rank;
        }
        let newest = self.waiting().filter(|(_, op)| op.key == key).last();
        let missed =
            newest.is_some_and(|(_, op)| op.lane <= lane && op.is_write() && ask.kind == Kind::SyncTo);
        assert!(replaced.is_some() || !missed, "{newest:?} had to be superseded by {ticket}");
        let full = self.waiting().count() >= self.settings.queue_max;
        let victim = if full { self.weakest(lane) } else { None };
        assert!(!full || victim.is_some(), "{ticket} was accepted into a full queue");
        for (other, op) in &mut self.ops {
            let follows = matches!(op.stage, Stage::Waiting) && op.key == key && op.lane < lane;
            if follows && victim != Some(*other) {
                (op.lane, op.rank) = (lane, rank);
            }
            let before = !matches!(op.stage, Stage::Ended { .. }) && op.key == key && !op.critical;
            op.hurried |= critical && before;
        }
        let sequence = self.sequences.entry(key.clone()).or_default();
        *sequence += 1;
        let deadline = critical.then_some(deadline);
        let (sequence, stage) = (*sequence, Stage::Waiting);
        let op = Op {
            ask: ask.clone(),
            id,
            key,
            critical,
            deadline,
            sequence,
            lane,
            rank,
            heir: None,
            hurried: false,
            stage,
        };
        assert!(self.ops.insert(ticket, op).is_none());
        victim
    }

    /// Who gives way to a newcomer in this lane: the last in the least urgent lane below it.
    fn weakest(&self, lane: Lane) -> Option<u64> {
        self.waiting()
            .filter(|(_, op)| op.lane < lane)
            .min_by_key(|(ticket, op)| (op.lane, std::cmp::Reverse((op.rank, *ticket))))
            .map(|(ticket, _)| ticket)
    }

    fn refused(&self, cause: &Cause, ticket: u64, error: AskError) {
        let Cause::Asked(ask) = cause else { panic!("refused without an asking") };
        assert_eq!(ask.ticket, ticket);
        match error {
            AskError::ShuttingDown => assert!(self.drain_until.is_some()),
            AskError::QueueFull { waiting } => {
                assert_eq!((waiting, self.waiting().count()), (self.settings.queue_max, waiting));
                let critical = ask.critical || self.settings.critical_types.contains(ask.data_type);
                let lane = if critical { Lane::Critical } else { Lane::Priority };
                let lane = if critical || ask.priority { lane } else { Lane::Normal };
                assert_eq!(self.weakest(lane), None, "{ticket} was refused although others can give way");
            }
            AskError::TooLarge { .. } => panic!("nothing here is too large"),
        }
    }

    fn sent(&mut self, now: Now, cause: &Cause, ticket: u64, attempt: u32, joins: bool) {
        let due = self.due();
        let (joining, filling) = (self.joining(), self.filling);
        self.failed_now(now, cause, ticket);
        let settings = self.settings.clone();
        let op = self.ops.get_mut(&ticket).expect("an accepted operation");
        let seat = match &op.stage {
            Stage::Waiting if joins => {
                let (first, count) = filling.expect("a batch to join");
                assert_eq!((attempt, joining), (1, Some(ticket)));
                assert!(count < settings.batch_max, "{ticket} joins a full batch");
                self.filling = Some((first, count + 1));
                Seat::Worker(first)
            }
            Stage::Waiting => {
                assert_eq!(attempt, 1);
                let (next, reserved) = due.expect("a free slot");
                assert_eq!(next, ticket, "{next} was due before {ticket}");
                self.filling = (op.lane < Lane::Critical).then_some((ticket, 1));
                if reserved { Seat::Reserved } else { Seat::Worker(ticket) }
            }
            Stage::UnderWay { attempt: before, rest, seat, .. } => {
                assert_eq!(attempt, before + 1);
                assert!(op.critical || op.hurried || attempt <= settings.attempts_max);
                assert!(rest.is_some_and(|rest| rest <= now.monotonic), "{ticket} tried again too soon");
                *seat
            }
            Stage::Ended { .. } => panic!("{ticket} was sent after its end"),
        };
        assert!(op.deadline.is_none_or(|d| now.monotonic < d), "{ticket} was sent after its deadline");
        assert!(!joins || self.sent_last == Some(seat), "{ticket} joins a request of others");
        self.sent_last = Some(seat);
        op.stage = Stage::UnderWay { attempt, since: now.monotonic, rest: None, seat };
    }

    /// Notes that the latest attempt has failed, when it has by now: the least that follows is a rest.
    fn failed_now(&mut self, now: Now, cause: &Cause, of: u64) {
        let (patience, critical_patience) =
            (self.settings.request_timeout, Span::from_us(self.settings.critical_timeout.as_us() / 4));
        let Some(op) = self.ops.get_mut(&of) else { return };
        let critical = op.critical || op.hurried;
        let Stage::UnderWay { attempt, since, rest: rest @ None, .. } = &mut op.stage else { return };
        let given_up = *since + if critical { critical_patience } else { patience };
        // Half of the doubled back-off is the least that jitter leaves.
        let pause = Span::from_us((50_000u64 << (*attempt - 1).min(20)).min(5_000_000) / 2);
        let pause = if op.hurried { pause.min(Span::from_ms(10)) } else { pause };
        match cause {
            _ if given_up <= now.monotonic => *rest = Some(given_up + pause),
            Cause::Answered { ticket, attempt: answered, answer, retry_after }
                if *ticket == of
                    && answered == attempt
                    && !matches!(answer, Answer::Done | Answer::Rejected(_)) =>
            {
                *rest = Some(now.monotonic + pause.max(*retry_after));
            }
            _ => {}
        }
    }

    fn finished(&mut self, now: Now, cause: &Cause, ticket: u64, outcome: &Outcome) {
        self.failed_now(now, cause, ticket);
        let attempts_max = self.settings.attempts_max;
        let newest_of_key = |op: &Op| self.waiting().filter(|(_, o)| o.key == op.key).last().map(|(t, _)| t);
        let op = &self.ops[&ticket];
        let in_time = op.deadline.is_none_or(|deadline| now.monotonic < deadline);
        let answer = match cause {
            Cause::Answered { ticket: t, answer, attempt, .. } if *t == ticket => Some((answer, *attempt)),
            _ => None,
        };
        let mut by_reply = false;
        match (&op.stage, outcome, answer) {
            (Stage::UnderWay { .. }, Outcome::Done(None), Some((Answer::Done, _))) => by_reply = true,
            (
                Stage::UnderWay { .. },
                Outcome::Superseded,
                Some((Answer::Rejected(ErrorCode::OutOfOrder), _)),
            ) => {
                by_reply = true;
                assert_eq!(op.ask.data_type.nature(), Nature::State);
            }
            (Stage::UnderWay { .. }, Outcome::Rejected(why), Some((Answer::Rejected(code), _))) => {
                by_reply = true;
                assert_eq!(why.code, *code);
            }
            (
                Stage::UnderWay { attempt, .. },
                Outcome::Failed(TransportError::Status(413)),
                Some((_, answered)),
            ) if answered == *attempt => {}
            (Stage::UnderWay { attempt, rest: Some(_), .. }, Outcome::Failed(_), _) => {
                assert!(!op.critical && *attempt >= attempts_max, "{ticket} failed too early");
            }
            (Stage::Waiting, Outcome::Superseded, None) => {
                let Cause::Asked(ask) = cause else { panic!("{ticket} superseded by nothing") };
                assert!(op.is_write() && ask.kind == Kind::SyncTo);
                assert_eq!((&op.key.0, op.key.1), (&ask.map, ask.data_type));
                assert_eq!(newest_of_key(op), Some(ticket), "something was asked after {ticket}");
            }
            (Stage::Waiting, Outcome::Displaced, None) => {}
            (_, Outcome::DeadlineExceeded, _) => assert!(op.critical && !in_time),
            (stage, Outcome::ShutDown { sent }, _) => {
                assert!(self.drain_until.is_some_and(|until| until <= now.monotonic));
                assert_eq!(*sent, matches!(stage, Stage::UnderWay { .. }));
                self.cut += 1;
            }
            (stage, ..) => panic!("{ticket} cannot go from {stage:?} to {outcome:?} by {cause:?}"),
        }
        assert!(
            in_time || matches!(outcome, Outcome::DeadlineExceeded),
            "{ticket} past its deadline: {outcome:?}"
        );
        let heir = match (outcome, cause) {
            (Outcome::Superseded, Cause::Asked(ask)) => Some(ask.ticket),
            _ => None,
        };
        let op = self.ops.get_mut(&ticket).expect("an accepted operation");
        op.heir = heir;
        op.stage = Stage::Ended { outcome: outcome.clone(), at: now.monotonic, by_reply };
        self.ended.push(ticket);
    }

    fn late(&self, cause: &Cause, ticket: u64, success: bool) {
        let Stage::Ended { by_reply: false, .. } = self.ops[&ticket].stage else {
            panic!("{ticket} had a reply in time");
        };
        match cause {
            Cause::Answered { answer: Answer::Done, .. } => assert!(success),
            Cause::Answered { answer: Answer::Rejected(_), .. } => assert!(!success),
            other => panic!("late by {other:?}"),
        }
    }

    /// What must have happened by now.
    fn account(&mut self, now: Now, cause: &Cause, target: Option<Stage>, effects: &[Effect]) {
        if let Cause::Answered { ticket, .. } = cause {
            self.failed_now(now, cause, *ticket);
        }
        let everybody: Vec<u64> = self.under_way().map(|(ticket, _)| ticket).collect();
        everybody.into_iter().for_each(|ticket| self.failed_now(now, &Cause::Time, ticket));
        for (ticket, op) in self.alive() {
            assert!(op.deadline.is_none_or(|d| now.monotonic < d), "{ticket} lives past its deadline");
        }
        assert_eq!(self.due(), None, "somebody is due and was not sent");
        match cause {
            Cause::Asked(ask) => {
                let heard = effects.iter().filter(|e| {
                    matches!(e, Effect::Accepted { ticket, .. } | Effect::Refused { ticket, .. } if *ticket == ask.ticket)
                });
                assert_eq!(heard.count(), 1, "an asking has one answer");
            }
            Cause::Answered { ticket, answer: Answer::Done | Answer::Rejected(_), .. } => {
                assert!(matches!(self.ops[ticket].stage, Stage::Ended { .. }), "{ticket} has its reply");
                let was_late = matches!(target, Some(Stage::Ended { by_reply: false, .. }));
                let said = effects.iter().any(|e| matches!(e, Effect::Late { .. }));
                assert!(!was_late || said || !self.remembers(*ticket, now.monotonic), "{ticket} was late");
            }
            _ => {}
        }
        let over = self.drain_until.is_some_and(|until| until <= now.monotonic);
        assert!(!over || self.alive().count() == 0, "the drain is over");
        assert_eq!(self.stopped, self.drain_until.is_some() && self.alive().count() == 0);
    }
}

impl Op {
    fn is_write(&self) -> bool {
        self.ask.kind == Kind::SyncTo && self.ask.data_type.nature() == Nature::State
    }

    fn seat(&self) -> Option<Seat> {
        match self.stage {
            Stage::UnderWay { seat, .. } => Some(seat),
            _ => None,
        }
    }
}
