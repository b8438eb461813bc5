//! A session under a driver that keeps the contract, its effects as one line of text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sync_core::engine::Engine;
use sync_core::host_sync::operation::{Ask, AskError, Outcome, TransportError};
use sync_core::host_sync::policy::Standard;
use sync_core::host_sync::results::Status;
use sync_core::host_sync::session::{Session, SessionEffect, SessionInput};
use sync_core::host_sync::settings::SessionSettings;
use sync_core::id::{AccountId, OperationId, Token};
use sync_core::time::{Now, Span};
use sync_core::wire::{ErrorCode, Rejection, Reply};

use super::{Draws, Plain, PlainReply, PlainRequest, at_ms, at_us};

pub(crate) const ACCOUNT: AccountId = AccountId(7);

pub(crate) type Effect = SessionEffect<PlainRequest>;

/// What a step does to the session.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask(Ask),
    /// An answer to an attempt, named by ticket and number.
    Answer(u64, u32, Answer),
    /// Time passes; the driver wakes the session at each moment it asks for.
    Wait(u64),
    /// Time passes and nobody wakes the session.
    Sleep(u64),
    ShutDown(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done,
    Payload(&'static str),
    Rejected(ErrorCode),
    Untrusted,
    Error(TransportError),
    /// HTTP 429 or 503 with `Retry-After` in milliseconds.
    Busy(u16, u64),
}

pub(crate) struct Host {
    pub(crate) session: Session<Plain, Draws, Standard>,
    pub(crate) now_ms: u64,
    sent: BTreeMap<(u64, u32), (Token, PlainRequest)>,
    pub(crate) operations: BTreeMap<u64, OperationId>,
    ended: BTreeSet<u64>,
    ivs: BTreeSet<[u8; 16]>,
}

impl Host {
    /// A session whose back-offs are 50, 100, 200 ms and so on.
    pub(crate) fn new(settings: SessionSettings) -> Self {
        let draws = Draws { jitter: Some(u64::MAX) };
        Self {
            session: Session::new(ACCOUNT, Arc::new(settings), Plain, draws, Standard),
            now_ms: 0,
            sent: BTreeMap::new(),
            operations: BTreeMap::new(),
            ended: BTreeSet::new(),
            ivs: BTreeSet::new(),
        }
    }

    /// Takes the step and compares what the session does with the text.
    #[track_caller]
    pub(crate) fn check(&mut self, step: Step, expected: &str) {
        let effects = self.take(step.clone());
        assert_eq!(self.text(&effects), expected, "at {} ms, after {step:?}", self.now_ms);
    }

    /// Takes the step and ignores what the session does.
    pub(crate) fn does(&mut self, step: Step) {
        let effects = self.take(step);
        self.text(&effects);
    }

    #[track_caller]
    pub(crate) fn check_status(&self, ticket: u64, expected: Status<'_>) {
        assert_eq!(self.session.status(self.operations[&ticket]), expected);
    }

    /// What an attempt carried.
    pub(crate) fn request(&self, ticket: u64, attempt: u32) -> &PlainRequest {
        &self.sent[&(ticket, attempt)].1
    }

    fn now(&self) -> Now {
        at_ms(self.now_ms)
    }

    fn take(&mut self, step: Step) -> Vec<Effect> {
        let mut effects = Vec::new();
        let input = match step {
            Step::Ask(ask) => SessionInput::Ask(ask),
            Step::Answer(ticket, attempt, answer) => self.answered(ticket, attempt, answer),
            Step::ShutDown(drain_ms) => SessionInput::ShutDown { drain: Span::from_ms(drain_ms) },
            Step::Sleep(ms) => {
                self.now_ms += ms;
                return effects;
            }
            Step::Wait(ms) => {
                let until = at_ms(self.now_ms + ms);
                while let Some(due) = self.session.next_wakeup().filter(|due| *due <= until.monotonic) {
                    let now = at_us(due.as_us().max(self.now().monotonic.as_us()));
                    wake(&mut self.session, now, &mut effects);
                }
                self.now_ms += ms;
                return effects;
            }
        };
        self.session.handle(self.now(), input, &mut effects);
        effects
    }

    fn answered(&self, ticket: u64, attempt: u32, answer: Answer) -> SessionInput<PlainReply> {
        let (token, sealed) = &self.sent[&(ticket, attempt)];
        let reply = |result, trusted| {
            let reply = Reply { operation: sealed.request.operation, server_time: self.now().wall, result };
            Ok(PlainReply { reply, critical: sealed.request.critical, iv: sealed.iv, trusted })
        };
        let retry_after = match answer {
            Answer::Busy(_, ms) => Some(Span::from_ms(ms)),
            _ => None,
        };
        let answer = match answer {
            Answer::Done => reply(Ok(None), true),
            Answer::Payload(text) => reply(Ok(Some(text.into())), true),
            Answer::Rejected(code) => reply(Err(Rejection { code, message: "".into() }), true),
            Answer::Untrusted => reply(Ok(None), false),
            Answer::Error(error) => Err(error),
            Answer::Busy(status, _) => Err(TransportError::Status(status)),
        };
        SessionInput::Answered { token: *token, answer, retry_after }
    }

    /// One word for each effect, and what holds of every effect is checked on the way.
    fn text(&mut self, effects: &[Effect]) -> String {
        let words: Vec<_> = effects.iter().map(|effect| self.word(effect)).collect();
        words.join(", ")
    }

    fn word(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Accepted { ticket, operation } => {
                assert!(self.operations.insert(*ticket, *operation).is_none(), "accepted twice");
                format!("accepted {ticket}")
            }
            Effect::Refused { ticket, error, .. } => match error {
                AskError::QueueFull { .. } => format!("refused {ticket}: full"),
                AskError::TooLarge { .. } => format!("refused {ticket}: too large"),
                AskError::ShuttingDown => format!("refused {ticket}: shutting down"),
            },
            Effect::Send { token, ticket, operation, attempt, request, joins, .. } => {
                assert_eq!(
                    *operation, self.operations[ticket],
                    "an attempt travels under its operation's id"
                );
                assert!(self.ivs.insert(request.iv), "an initialisation vector came twice");
                self.sent.insert((*ticket, *attempt), (*token, request.clone()));
                format!("{} {ticket}.{attempt}", if *joins { "with it" } else { "send" })
            }
            Effect::Finished { ticket, operation, outcome, .. } => {
                assert_eq!(*operation, self.operations[ticket]);
                assert!(self.ended.insert(*ticket), "{ticket} ended twice");
                let outcome = match outcome {
                    Outcome::Done(payload) => {
                        payload.as_deref().map_or("done".into(), |p| format!("done {p}"))
                    }
                    Outcome::Rejected(rejection) => format!("rejected {}", rejection.code),
                    Outcome::DeadlineExceeded => "deadline".into(),
                    Outcome::Failed(error) => format!("failed {error:?}"),
                    Outcome::Superseded => "superseded".into(),
                    Outcome::Displaced => "displaced".into(),
                    Outcome::ShutDown { sent: true } => "cut short".into(),
                    Outcome::ShutDown { sent: false } => "never sent".into(),
                };
                format!("{ticket} {outcome}")
            }
            Effect::Late { ticket, success, .. } => format!("{ticket} late {success}"),
            Effect::Untrusted { .. } => "untrusted".into(),
            Effect::Stopped { cut_short } => format!("stopped, {cut_short} cut"),
        }
    }
}

/// Wakes the session as it asked, and demands that it moves on: effects, or a later moment.
pub(crate) fn wake(session: &mut Session<Plain, Draws, Standard>, now: Now, effects: &mut Vec<Effect>) {
    let before = effects.len();
    session.wake(now, effects);
    let still_due = session.next_wakeup().is_some_and(|due| due <= now.monotonic);
    assert!(!still_due || effects.len() > before, "woken at {now:?} and still due: a busy loop");
}
