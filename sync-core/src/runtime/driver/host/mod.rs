//! A host's side: drives one session, sends what it seals, and gives results to whoever asked.
//!
//! One task a host, so thousands of them fit in a process; they may share one [`HttpClient`].

pub mod configured;
mod questions;

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::alarm::Alarm;
use super::{Driven, NoTap, Tap};
use crate::entropy::Entropy;
use crate::host_sync::codec::HostCodec;
use crate::host_sync::operation::{Ask, AskError, Outcome, TransportError};
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::sealed::Body;
use crate::host_sync::server::{RETRY_AFTER, Status};
use crate::host_sync::session::{Counters, Session, SessionEffect, SessionInput};
use crate::host_sync::settings::SessionSettings;
use crate::id::{OperationId, Token};
use crate::limits;
use crate::runtime::clock::Clock;
use crate::runtime::http::{Failure, HttpClient};
use crate::time::Span;
use crate::wire::batch;

pub use questions::{HostStatus, Progress};
use questions::{Question, Questions};

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its name.
    pub operation: OperationId,
    /// Whether it was critical.
    pub critical: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// The session did not accept it; it had no effect.
    #[error(transparent)]
    Refused(#[from] AskError),
    /// An operation with the same ticket has not ended.
    #[error("ticket {0} is in use: give each question its own until it has ended")]
    TicketInUse(u64),
    /// The session has ended.
    #[error("the session has ended")]
    Stopped,
}

/// How long attempts are waited for. A session gives an attempt up by itself and takes a reply that comes
/// after that all the same, so the bound for critical operations here is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// One attempt at a critical operation.
    pub critical_attempt: Span,
    /// One attempt at another operation.
    pub attempt: Span,
}

impl HostOptions {
    /// Critical: twice the time allowed in all, so that a reply which comes after the deadline is seen and
    /// recorded as late. Others: as long as the session waits.
    pub fn of(settings: &SessionSettings) -> Self {
        Self {
            critical_attempt: settings.critical_timeout.saturating_mul(2),
            attempt: settings.request_timeout,
        }
    }
}

/// What became of a session when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Operations that the bound cut short.
    pub cut_short: usize,
    /// What the session counted.
    pub counters: Counters,
}

/// A running session. When the last clone is dropped, it ends at once.
#[derive(Clone, Debug)]
pub struct Host {
    mailbox: mpsc::Sender<Letter>,
    end: watch::Receiver<Option<Stopped>>,
}

#[derive(Debug)]
enum Letter {
    Ask(Ask, oneshot::Sender<Result<Finished, HostError>>),
    Question(Question),
    ShutDown(Span),
}

impl Host {
    /// Starts to drive a session over `client`. Must be called within a tokio runtime.
    pub fn start<C, E, P>(session: Session<C, E, P>, client: HttpClient, options: HostOptions) -> Self
    where
        C: HostCodec<Request = Body, Reply = Body> + Send + 'static,
        E: Entropy + Send + 'static,
        P: SessionPolicy + Send + 'static,
    {
        Self::start_with_tap(session, client, options, NoTap)
    }

    /// The same with a tap that sees every call of the session.
    pub fn start_with_tap<C, E, P, T>(
        session: Session<C, E, P>,
        client: HttpClient,
        options: HostOptions,
        tap: T,
    ) -> Self
    where
        C: HostCodec<Request = Body, Reply = Body> + Send + 'static,
        E: Entropy + Send + 'static,
        P: SessionPolicy + Send + 'static,
        T: Tap<Session<C, E, P>> + 'static,
    {
        let (mailbox, letters) = mpsc::channel(limits::HOST_MAILBOX_MAX);
        let driver = Driver {
            driven: Driven::new(session, Clock::start(), tap),
            client,
            options,
            letters,
            waiting: BTreeMap::new(),
            questions: Questions::default(),
            under_way: FuturesUnordered::new(),
            stopped: None,
        };
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let stopped = driver.run().await;
            ended.send_replace(Some(stopped));
        });
        Self { mailbox, end }
    }

    /// Asks and waits for the one result. `ask.ticket` must be unlike those of operations that have not
    /// ended.
    ///
    /// # Errors
    /// When the session did not accept the operation or ended.
    pub async fn ask(&self, ask: Ask) -> Result<Finished, HostError> {
        let (answer, answered) = oneshot::channel();
        self.mailbox.send(Letter::Ask(ask, answer)).await.map_err(|_| HostError::Stopped)?;
        answered.await.unwrap_or(Err(HostError::Stopped))
    }

    /// Accepts nothing more, ends after `drain` what has not ended by then, and says how many that were.
    pub async fn shutdown(&self, drain: Span) -> Stopped {
        // A session that has ended already says so below.
        let _ = self.mailbox.send(Letter::ShutDown(drain)).await;
        let mut end = self.end.clone();
        let stopped = end.wait_for(Option::is_some).await.ok().and_then(|stopped| *stopped);
        stopped.unwrap_or(Stopped { cut_short: 0, counters: Counters::default() })
    }
}

/// One request on its way, with one operation or a batch of them.
type Attempt = Pin<Box<dyn Future<Output = Vec<SessionInput<Body>>> + Send>>;

struct Driver<C: HostCodec, E: Entropy, P: SessionPolicy, T> {
    driven: Driven<Session<C, E, P>, T>,
    client: HttpClient,
    options: HostOptions,
    letters: mpsc::Receiver<Letter>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Finished, HostError>>>,
    questions: Questions,
    under_way: FuturesUnordered<Attempt>,
    stopped: Option<usize>,
}

enum Event {
    Due,
    Answered(Vec<SessionInput<Body>>),
    Letter(Letter),
    Abandoned,
}

impl<C, E, P, T> Driver<C, E, P, T>
where
    C: HostCodec<Request = Body, Reply = Body>,
    E: Entropy,
    P: SessionPolicy,
    T: Tap<Session<C, E, P>>,
{
    async fn run(mut self) -> Stopped {
        let mut wake = Alarm::default();
        let mut is_abandoned = false;
        loop {
            if let Some(cut_short) = self.stopped {
                return Stopped { cut_short, counters: self.driven.engine.counters() };
            }
            wake.set(self.driven.due());
            let event = tokio::select! {
                biased;
                () = wake.ring() => Event::Due,
                Some(answer) = self.under_way.next() => Event::Answered(answer),
                letter = self.letters.recv(), if !is_abandoned => {
                    letter.map_or(Event::Abandoned, Event::Letter)
                }
            };
            match event {
                Event::Due => self.driven.wake(),
                Event::Answered(inputs) => inputs.into_iter().for_each(|input| self.driven.handle(input)),
                Event::Letter(Letter::Ask(ask, answer)) => self.ask(ask, answer),
                Event::Letter(Letter::Question(question)) => self.question(question),
                Event::Letter(Letter::ShutDown(drain)) => {
                    self.driven.handle(SessionInput::ShutDown { drain });
                }
                Event::Abandoned => {
                    is_abandoned = true;
                    self.driven.handle(SessionInput::ShutDown { drain: Span::ZERO });
                }
            }
            self.perform();
        }
    }

    fn ask(&mut self, ask: Ask, answer: oneshot::Sender<Result<Finished, HostError>>) {
        let ticket = ask.ticket;
        if self.waiting.contains_key(&ticket) {
            let _ = answer.send(Err(HostError::TicketInUse(ticket)));
            return;
        }
        self.waiting.insert(ticket, answer);
        self.driven.handle(SessionInput::Ask(ask));
    }

    fn perform(&mut self) {
        let mut effects = self.driven.take_effects();
        let mut batch: Vec<(Token, Body)> = Vec::new();
        let mut is_critical = false;
        for effect in effects.drain(..) {
            match effect {
                SessionEffect::Send { token, critical, request, joins, .. } => {
                    if !joins {
                        self.carry(std::mem::take(&mut batch), is_critical);
                    }
                    is_critical = critical;
                    batch.push((token, request));
                }
                SessionEffect::Refused { ticket, error, .. } => {
                    self.questions.began(ticket, Err(HostError::Refused(error)));
                    self.answer(ticket, Err(HostError::Refused(error)));
                }
                SessionEffect::Accepted { ticket, operation } => self.questions.began(ticket, Ok(operation)),
                SessionEffect::Finished { ticket, operation, critical, outcome } => {
                    self.questions.ended(operation, &outcome);
                    self.answer(ticket, Ok(Finished { operation, critical, outcome }));
                }
                SessionEffect::Stopped { cut_short } => self.stopped = Some(cut_short),
                // For the record: a tap sees them.
                SessionEffect::Late { .. } | SessionEffect::Untrusted { .. } => {}
            }
        }
        self.carry(batch, is_critical);
        self.driven.give_back(effects);
        self.questions.settle(&self.driven.engine);
    }

    /// Sends operations in one request; what comes back is taken apart again.
    fn carry(&mut self, batch: Vec<(Token, Body)>, is_critical: bool) {
        if batch.is_empty() {
            return;
        }
        let client = self.client.clone();
        let bound = if is_critical { self.options.critical_attempt } else { self.options.attempt };
        self.under_way.push(Box::pin(async move {
            let (tokens, bodies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let answers = exchange_all(&client, bodies, bound).await;
            let input = |(token, answer): (Token, Result<Body, Failure>)| {
                let retry_after = answer.as_ref().err().and_then(|failure| failure.retry_after);
                let answer = answer.map_err(|failure| failure.error);
                SessionInput::Answered { token, answer, retry_after }
            };
            tokens.into_iter().zip(answers).map(input).collect()
        }));
    }

    fn answer(&mut self, ticket: u64, result: Result<Finished, HostError>) {
        if let Some(answer) = self.waiting.remove(&ticket) {
            // Whoever asked may be gone.
            let _ = answer.send(result);
        }
    }
}

/// Posts operations, several as one batch, and brings the answer to each, in their order.
pub async fn exchange_all(
    client: &HttpClient,
    mut bodies: Vec<Body>,
    bound: Span,
) -> Vec<Result<Body, Failure>> {
    let count = bodies.len();
    if let (1, Some(body)) = (count, bodies.pop_if(|_| count == 1)) {
        return vec![client.exchange(body, bound).await];
    }
    let all = |failure: Failure| vec![Err(failure); count];
    match client.exchange(batch::write_batch(&bodies), bound).await {
        Err(failure) => all(failure),
        Ok(answers) => match batch::read_answers(&answers) {
            Ok(answers) if answers.len() == count => answers
                .into_iter()
                .map(|answer| {
                    answer.map_err(|status| Failure {
                        error: TransportError::Status(status),
                        retry_after: (status == Status::Overloaded.code()).then_some(RETRY_AFTER),
                    })
                })
                .collect(),
            _ => all(Failure { error: TransportError::Untrusted, retry_after: None }),
        },
    }
}
