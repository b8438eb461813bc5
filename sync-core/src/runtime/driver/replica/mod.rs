//! A peer's side: drives one replica over its database, its client and its announcer.
//!
//! Requests to the database and questions to peers are tasks of their own: whatever panics, fails or takes too long is
//! reported as unavailable, and a large page that is being written holds nobody up.

mod front;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::front::Letter;
pub use self::front::{Gone, ReplicaFront, Told, View};
use super::alarm::Alarm;
use super::{Driven, NoTap, Tap};
use crate::entropy::Entropy;
use crate::id::Token;
use crate::limits;
use crate::peer_sync::announcement::{Announcement, PeerAddress};
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::message::{Asked, PeerAnswer};
use crate::peer_sync::replica::{Command, NoAnswer, Replica, ReplicaEffect, ReplicaInput, ReplicaPolicy};
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::runtime::clock::Clock;
use crate::runtime::duration;
use crate::time::Span;
use futures_util::future::BoxFuture;

/// What stands behind a replica's effects.
pub trait Surroundings: Send + Sync + 'static {
    /// Has the database execute one request, atomically. Dropping the future gives it up.
    fn execute(self: Arc<Self>, request: PeerRequest) -> BoxFuture<'static, PeerReply>;

    /// Asks a peer.
    fn ask(
        self: Arc<Self>,
        to: PeerAddress,
        asked: Asked,
        timeout: Span,
    ) -> BoxFuture<'static, Result<PeerAnswer, NoAnswer>>;

    /// Sends an announcement to every discovery port. What becomes of it is not told.
    fn announce(self: Arc<Self>, announcement: Announcement) -> BoxFuture<'static, ()>;
}

/// A running replica. Dropped, it ends at once; [`shutdown`](Self::shutdown) ends it in order.
#[derive(Debug)]
pub struct ReplicaDriver {
    front: ReplicaFront,
    /// Tells the task that nobody drives any more when it is dropped.
    _alive: mpsc::Sender<()>,
    end: watch::Receiver<bool>,
}

impl ReplicaDriver {
    /// Starts to drive a replica. Must be called within a tokio runtime.
    pub fn start<E, P, S>(replica: Replica<E, P>, surroundings: Arc<S>) -> Self
    where
        E: Entropy + Send + 'static,
        P: ReplicaPolicy + Send + 'static,
        S: Surroundings,
    {
        Self::start_with_tap(replica, surroundings, NoTap)
    }

    /// The same with a tap that sees every call of the replica.
    pub fn start_with_tap<E, P, S, T>(replica: Replica<E, P>, surroundings: Arc<S>, tap: T) -> Self
    where
        E: Entropy + Send + 'static,
        P: ReplicaPolicy + Send + 'static,
        S: Surroundings,
        T: Tap<Replica<E, P>> + 'static,
    {
        let (mailbox, letters) = mpsc::channel(limits::REPLICA_MAILBOX_MAX);
        let events = broadcast::Sender::new(limits::REPLICA_EVENTS_WAITING_MAX);
        let (alive, abandoned) = mpsc::channel(1);
        let (ended, end) = watch::channel(false);
        let mut driver = Driver {
            driven: Driven::new(replica, Clock::start(), tap),
            surroundings,
            letters,
            abandoned,
            open: BTreeMap::new(),
            exchanges: 0,
            events: events.clone(),
            under_way: FuturesUnordered::new(),
            is_stopped: false,
        };
        tokio::spawn(async move {
            driver.run().await;
            ended.send_replace(true);
        });
        Self { front: ReplicaFront::new(mailbox, events), _alive: alive, end }
    }

    /// What others speak to the replica through.
    pub fn front(&self) -> &ReplicaFront {
        &self.front
    }

    /// Begins nothing new and waits, no longer than `drain`, until everything has ended. Says whether it has.
    pub async fn shutdown(self, drain: Span) -> bool {
        // One that has ended already says so below.
        let _ = self.front.tell(ReplicaInput::Command(Command::Stop)).await;
        let mut end = self.end.clone();
        timeout(duration(drain), end.wait_for(|ended| *ended)).await.is_ok()
    }
}

type Effect = Pin<Box<dyn Future<Output = ReplicaInput> + Send>>;

struct Driver<E: Entropy, P: ReplicaPolicy, S, T> {
    driven: Driven<Replica<E, P>, T>,
    surroundings: Arc<S>,
    letters: mpsc::Receiver<Letter>,
    abandoned: mpsc::Receiver<()>,
    /// Exchanges that wait for their answer.
    open: BTreeMap<Token, oneshot::Sender<PeerAnswer>>,
    exchanges: u64,
    events: broadcast::Sender<Arc<Told>>,
    under_way: FuturesUnordered<Effect>,
    is_stopped: bool,
}

enum Event {
    Due,
    Done(ReplicaInput),
    Letter(Letter),
    Abandoned,
}

impl<E, P, S, T> Driver<E, P, S, T>
where
    E: Entropy,
    P: ReplicaPolicy,
    S: Surroundings,
    T: Tap<Replica<E, P>>,
{
    async fn run(&mut self) {
        let mut alarm = Alarm::default();
        self.driven.handle(ReplicaInput::Start { set_back: false });
        self.perform();
        while !self.is_stopped {
            alarm.set(self.driven.due());
            let event = tokio::select! {
                biased;
                _ = self.abandoned.recv() => Event::Abandoned,
                () = alarm.ring() => Event::Due,
                Some(input) = self.under_way.next() => Event::Done(input),
                Some(letter) = self.letters.recv() => Event::Letter(letter),
            };
            match event {
                Event::Abandoned => return,
                Event::Due => self.driven.wake(),
                Event::Done(input) => self.driven.handle(input),
                Event::Letter(Letter::Tell(input)) => self.driven.handle(input),
                Event::Letter(Letter::Question { from, asked, answer }) => {
                    let exchange = Token(self.exchanges);
                    self.exchanges += 1;
                    self.open.insert(exchange, answer);
                    let Asked { asker, question } = *asked;
                    self.driven.handle(ReplicaInput::Question { exchange, from, asker, question });
                }
                Event::Letter(Letter::Look(answer)) => {
                    let replica = &self.driven.engine;
                    // Whoever asked may be gone.
                    let _ = answer.send(View {
                        status: replica.status(self.driven.clock.now()),
                        settings: replica.settings().clone(),
                        statistics: replica.statistics(),
                    });
                }
            }
            self.perform();
        }
    }

    fn perform(&mut self) {
        let mut effects = self.driven.take_effects();
        for effect in effects.drain(..) {
            match effect {
                ReplicaEffect::Store { token, request } => {
                    let work = Arc::clone(&self.surroundings).execute(request);
                    self.spawn(limits::PEER_STORE_TIMEOUT, work, move |reply| {
                        let reply = reply.unwrap_or(PeerReply::Unavailable);
                        ReplicaInput::Stored { token, reply }
                    });
                }
                ReplicaEffect::Ask { token, to, timeout, asker, question } => {
                    let asked = Asked { asker, question };
                    let work = Arc::clone(&self.surroundings).ask(to, asked, timeout);
                    self.spawn(timeout, work, move |answer| {
                        let answer = answer.unwrap_or(Err(NoAnswer::TimedOut));
                        ReplicaInput::Answered { token, answer }
                    });
                }
                ReplicaEffect::Answer { exchange, answer } => {
                    if let Some(open) = self.open.remove(&exchange) {
                        // Whoever asked may be gone.
                        let _ = open.send(answer);
                    }
                }
                ReplicaEffect::Announce { announcement } => {
                    tokio::spawn(Arc::clone(&self.surroundings).announce(announcement));
                }
                ReplicaEffect::Event(event) => {
                    self.is_stopped |= event == ReplicaEvent::Stopped;
                    let at = self.driven.clock.now().wall;
                    // Without followers nobody is told.
                    let _ = self.events.send(Arc::new(Told { at, event }));
                }
            }
        }
        self.driven.give_back(effects);
    }

    /// Does something beside the engine and hands over what comes of it; `None` if it took too long or panicked.
    fn spawn<R: Send + 'static>(
        &self,
        bound: Span,
        work: BoxFuture<'static, R>,
        input: impl FnOnce(Option<R>) -> ReplicaInput + Send + 'static,
    ) {
        let task = tokio::spawn(timeout(duration(bound), work));
        self.under_way.push(Box::pin(async move { input(task.await.ok().and_then(Result::ok)) }));
    }
}
