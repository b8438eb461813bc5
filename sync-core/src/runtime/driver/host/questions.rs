//! What a program may ask about operations beside their results: under which name one was accepted, what is
//! known of it, and how the session does.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{Driver, Host, HostError, Letter};
use crate::entropy::Entropy;
use crate::host_sync::codec::HostCodec;
use crate::host_sync::operation::{Ask, Outcome};
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::results::Status;
use crate::host_sync::sealed::Body;
use crate::host_sync::session::{Counters, Session, SessionInput};
use crate::id::OperationId;
use crate::runtime::driver::Tap;

/// What is known of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Accepted and not ended.
    Pending,
    /// Ended like this.
    Done(Outcome),
    /// Ended, and how is forgotten.
    Expired,
    /// Not an operation of this session.
    Unknown,
}

impl From<Status<'_>> for Progress {
    fn from(status: Status<'_>) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Done(outcome) => Self::Done(outcome.clone()),
            Status::Expired => Self::Expired,
            Status::Unknown => Self::Unknown,
        }
    }
}

/// How a session does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStatus {
    /// Operations that wait for a slot.
    pub waiting: usize,
    /// Operations that hold one.
    pub under_way: usize,
    /// What the session counted.
    pub counters: Counters,
}

#[derive(Debug)]
pub(super) enum Question {
    Begin(Ask, oneshot::Sender<Result<OperationId, HostError>>),
    Progress(OperationId, oneshot::Sender<Progress>),
    Wait(OperationId, oneshot::Sender<Progress>),
    Settle(usize, oneshot::Sender<usize>),
    Status(oneshot::Sender<HostStatus>),
}

/// Whoever waits for an answer; they may be gone by then.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// By ticket: under which name it is accepted.
    beginning: BTreeMap<u64, oneshot::Sender<Result<OperationId, HostError>>>,
    /// By counter: how it ends.
    waiting: BTreeMap<u64, Vec<oneshot::Sender<Progress>>>,
    settling: Vec<Settling>,
}

#[derive(Debug)]
struct Settling {
    /// What the session had ended when this was asked.
    from: u64,
    /// So many more are enough.
    enough: u64,
    answer: oneshot::Sender<usize>,
}

impl Questions {
    pub(super) fn began(&mut self, ticket: u64, result: Result<OperationId, HostError>) {
        if let Some(answer) = self.beginning.remove(&ticket) {
            let _ = answer.send(result);
        }
    }

    pub(super) fn ended(&mut self, operation: OperationId, outcome: &Outcome) {
        for answer in self.waiting.remove(&operation.counter).into_iter().flatten() {
            let _ = answer.send(Progress::Done(outcome.clone()));
        }
    }

    /// Answers those for whom enough operations have ended, or all.
    pub(super) fn settle<C: HostCodec, E: Entropy, P: SessionPolicy>(&mut self, session: &Session<C, E, P>) {
        if self.settling.is_empty() {
            return;
        }
        let finished = session.counters().finished;
        let is_idle = session.waiting() + session.under_way() == 0;
        for Settling { from, enough, answer } in std::mem::take(&mut self.settling) {
            let ended = finished - from;
            if is_idle || ended >= enough {
                let _ = answer.send(ended.min(enough) as usize);
            } else if !answer.is_closed() {
                self.settling.push(Settling { from, enough, answer });
            }
        }
    }
}

impl Host {
    /// Asks, and gives the operation's name as soon as it is accepted. Its result can be had by
    /// [`progress`](Self::progress) and [`wait`](Self::wait) for as long as the session remembers it.
    /// `ask.ticket` must be unlike those of operations that have not ended.
    ///
    /// # Errors
    /// When the session did not accept the operation or ended.
    pub async fn begin(&self, ask: Ask) -> Result<OperationId, HostError> {
        self.question(|answer| Question::Begin(ask, answer)).await?
    }

    /// What is known of an operation.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn progress(&self, operation: OperationId) -> Result<Progress, HostError> {
        self.question(|answer| Question::Progress(operation, answer)).await
    }

    /// What is known of an operation once it has ended; at once for what is no operation of this session.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn wait(&self, operation: OperationId) -> Result<Progress, HostError> {
        self.question(|answer| Question::Wait(operation, answer)).await
    }

    /// Waits until so many more operations have ended, or all that there are; gives how many that were.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn settle(&self, operations_max: usize) -> Result<usize, HostError> {
        self.question(|answer| Question::Settle(operations_max, answer)).await
    }

    /// How the session does.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn status(&self) -> Result<HostStatus, HostError> {
        self.question(Question::Status).await
    }

    async fn question<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, HostError> {
        let (answer, answered) = oneshot::channel();
        let letter = Letter::Question(question(answer));
        self.mailbox.send(letter).await.map_err(|_| HostError::Stopped)?;
        answered.await.map_err(|_| HostError::Stopped)
    }
}

impl<C, E, P, T> Driver<C, E, P, T>
where
    C: HostCodec<Request = Body, Reply = Body>,
    E: Entropy,
    P: SessionPolicy,
    T: Tap<Session<C, E, P>>,
{
    pub(super) fn question(&mut self, question: Question) {
        let session = &self.driven.engine;
        match question {
            Question::Begin(ask, answer) => {
                let ticket = ask.ticket;
                if self.waiting.contains_key(&ticket) || self.questions.beginning.contains_key(&ticket) {
                    let _ = answer.send(Err(HostError::TicketInUse(ticket)));
                    return;
                }
                self.questions.beginning.insert(ticket, answer);
                self.driven.handle(SessionInput::Ask(ask));
            }
            Question::Progress(operation, answer) => {
                let _ = answer.send(session.status(operation).into());
            }
            Question::Wait(operation, answer) => match session.status(operation) {
                Status::Pending => {
                    let waiting = self.questions.waiting.entry(operation.counter).or_default();
                    waiting.retain(|other| !other.is_closed());
                    waiting.push(answer);
                }
                known => drop(answer.send(known.into())),
            },
            Question::Settle(operations_max, answer) => {
                let from = session.counters().finished;
                let enough = operations_max as u64;
                self.questions.settling.retain(|other| !other.answer.is_closed());
                self.questions.settling.push(Settling { from, enough, answer });
            }
            Question::Status(answer) => {
                let (waiting, under_way) = (session.waiting(), session.under_way());
                let _ = answer.send(HostStatus { waiting, under_way, counters: session.counters() });
            }
        }
    }
}
