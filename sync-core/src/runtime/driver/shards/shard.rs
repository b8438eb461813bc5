//! One shard: an engine, its mailbox, its open exchanges and what it has under way.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::{Drained, Health, NewKeys, Probe, Service, Services, ShardEngine, ShardOptions, ShardReport};
use crate::cache::{CacheError, CacheRequest, Notice};
use crate::embedding::EmbedError;
use crate::entropy::Entropy;
use crate::host_sync::sealed::Body;
use crate::host_sync::server::{ServerEffect, ServerInput, Status};
use crate::id::Token;
use crate::limits;
use crate::runtime::clock::Clock;
use crate::runtime::driver::alarm::Alarm;
use crate::runtime::driver::{CacheService, Database, Driven, Tap};
use crate::runtime::duration;
use crate::store::{StoreError, StoreRequest};
use crate::time::Span;

/// A request in a mailbox, and where its answer goes.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) request: Body,
    pub(super) answer: oneshot::Sender<Result<Body, Status>>,
}

type Input = ServerInput<Body>;
/// Ends with what the engine is to be told, if anything.
type UnderWay = Pin<Box<dyn Future<Output = Option<Input>> + Send>>;

pub(super) struct Shard<D, C, E: Entropy, T> {
    driven: Driven<ShardEngine<E>, T>,
    services: Services<D, C>,
    options: ShardOptions,
    letters: mpsc::Receiver<Letter>,
    probes: mpsc::Receiver<Probe>,
    new_keys: mpsc::Receiver<NewKeys>,
    closing: watch::Receiver<bool>,
    stop: watch::Receiver<Option<Span>>,
    /// By token, never used twice; never iterated.
    exchanges: FxHashMap<Token, oneshot::Sender<Result<Body, Status>>>,
    next_token: u64,
    under_way: FuturesUnordered<UnderWay>,
    /// What the cache publishes, once the engine wants to know.
    notices: Option<BoxStream<'static, Notice>>,
}

/// What the shard has to attend to next.
enum Event {
    Closing,
    Stop(Span),
    GiveUp,
    Due,
    Completed(Option<Input>),
    Noticed(Option<Notice>),
    Probed(Probe),
    Rekeyed(NewKeys),
    Letter(Option<Letter>),
}

impl<D: Database, C: CacheService, E: Entropy, T: Tap<ShardEngine<E>>> Shard<D, C, E, T> {
    pub(super) fn new(
        engine: ShardEngine<E>,
        clock: Clock,
        tap: T,
        services: Services<D, C>,
        options: ShardOptions,
        (letters, probes, new_keys): (mpsc::Receiver<Letter>, mpsc::Receiver<Probe>, mpsc::Receiver<NewKeys>),
        (closing, stop): (watch::Receiver<bool>, watch::Receiver<Option<Span>>),
    ) -> Self {
        Self {
            driven: Driven::new(engine, clock, tap),
            services,
            options,
            letters,
            probes,
            new_keys,
            closing,
            stop,
            exchanges: FxHashMap::default(),
            next_token: 0,
            under_way: FuturesUnordered::new(),
            notices: None,
        }
    }

    /// Runs until it is told to stop and everything has ended, or the bound for that is past.
    pub(super) async fn run(mut self) -> Drained {
        let mut wake = Alarm::default();
        let mut give_up = Alarm::default();
        let mut mailbox_open = true;
        let mut is_closing = false;
        let mut drained = None::<Drained>;
        while mailbox_open || !self.exchanges.is_empty() || !self.under_way.is_empty() {
            wake.set(self.driven.due());
            let has_room = self.under_way.len() < self.options.effects_max.max(1);
            let is_stopping = drained.is_some();
            let event = tokio::select! {
                biased;
                () = give_up.ring() => Event::GiveUp,
                _ = self.closing.wait_for(|closing| *closing), if !is_closing && !is_stopping => Event::Closing,
                drain = stopped(&mut self.stop), if !is_stopping => Event::Stop(drain),
                () = wake.ring() => Event::Due,
                Some(completed) = self.under_way.next() => Event::Completed(completed),
                Some(probe) = self.probes.recv() => Event::Probed(probe),
                Some(keys) = self.new_keys.recv() => Event::Rekeyed(keys),
                notice = next(&mut self.notices), if !is_stopping => Event::Noticed(notice),
                letter = self.letters.recv(), if mailbox_open && has_room => Event::Letter(letter),
            };
            match event {
                Event::GiveUp => break,
                Event::Closing => {
                    is_closing = true;
                    self.driven.handle(ServerInput::ShutDown);
                }
                Event::Stop(drain) => {
                    // What is in the mailbox already counts as open.
                    self.letters.close();
                    let open = self.exchanges.len() + self.letters.len();
                    drained = Some(Drained { answered: open as u64, ..Drained::default() });
                    give_up.set(Instant::now().checked_add(duration(drain)));
                    if !is_closing {
                        self.driven.handle(ServerInput::ShutDown);
                    }
                }
                Event::Due => self.driven.wake(),
                Event::Completed(input) => {
                    if let Some(input) = input {
                        self.driven.handle(input);
                    }
                }
                Event::Noticed(Some(notice)) => self.driven.handle(ServerInput::Noticed { notice }),
                Event::Noticed(None) => self.notices = None,
                Event::Probed(probe) => {
                    let report = ShardReport {
                        counters: self.driven.engine.counters(),
                        exchanges: self.exchanges.len(),
                        under_way: self.under_way.len(),
                        keys: self.driven.engine.codec().keys_in_use(),
                        ..ShardReport::default()
                    };
                    // Whoever asked may be gone.
                    let _ = probe.send(report);
                }
                Event::Rekeyed((ring, done)) => {
                    let in_use = self.driven.engine.codec_mut().replace_keys(ring);
                    self.driven.handle(ServerInput::UseKeys(in_use));
                    // Whoever asked may be gone.
                    let _ = done.send(());
                }
                Event::Letter(Some(letter)) => self.open(letter),
                Event::Letter(None) => mailbox_open = false,
            }
            self.perform();
        }
        // Answered by dropping what waits for their answers: 503.
        let cut_short = (self.exchanges.len() + self.letters.len()) as u64;
        let mut drained = drained.unwrap_or_default();
        drained.answered = drained.answered.saturating_sub(cut_short);
        Drained { cut_short, counters: self.driven.engine.counters(), ..drained }
    }

    fn open(&mut self, letter: Letter) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.exchanges.insert(token, letter.answer);
        self.driven.handle(ServerInput::Request { token, request: letter.request });
    }

    fn perform(&mut self) {
        let mut effects = self.driven.take_effects();
        for effect in effects.drain(..) {
            match effect {
                ServerEffect::Reply { token, reply } => {
                    if let Some(answer) = self.exchanges.remove(&token) {
                        // Whoever asked may be gone.
                        let _ = answer.send(reply);
                    }
                }
                ServerEffect::Store { token, request } => {
                    let work = store(&self.services, self.options.store_timeout, token, request);
                    self.under_way.push(Box::pin(work));
                }
                ServerEffect::Cache { token, request } => {
                    let work = cache(&self.services, self.options.cache_timeout, token, request);
                    self.under_way.push(Box::pin(work));
                }
                ServerEffect::Embed { token, texts } => {
                    self.under_way.push(Box::pin(embed(&self.services, token, texts)));
                }
                ServerEffect::Follow => self.notices = Some(self.services.cache.follow()),
            }
        }
        self.driven.give_back(effects);
    }
}

/// A large batch in a task of its own: what is sent and read for it need not share the engine's processor.
/// Anything else within the shard's task, which saves waking another one, there and back.
fn store<D: Database, C: CacheService>(
    services: &Services<D, C>,
    bound: Span,
    token: Token,
    request: StoreRequest,
) -> impl Future<Output = Option<Input>> + Send + use<D, C> {
    let (database, health) = (Arc::clone(&services.database), Arc::clone(&services.health));
    let is_large = matches!(&request, StoreRequest::ApplyBatch(operations) if operations.len() > INLINE_MAX);
    let work = async move { timeout(duration(bound), database.execute(&request)).await };
    let work = if is_large {
        let task = tokio::spawn(work);
        async move { task.await.ok() }.left_future()
    } else {
        AssertUnwindSafe(work).catch_unwind().map(Result::ok).right_future()
    };
    async move {
        // Panicked, too late, or failed: all the same to an engine.
        let answer = match work.await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => Err(StoreError::Unavailable),
        };
        health.saw(Service::Database, answer.is_ok());
        Some(ServerInput::Stored { token, answer })
    }
}

/// Operations of a batch that is performed within the shard's task.
const INLINE_MAX: usize = 4;

/// Within the shard's task, so that requests start in the order in which the engine made them.
fn cache<D: Database, C: CacheService>(
    services: &Services<D, C>,
    bound: Span,
    token: Option<Token>,
    request: CacheRequest,
) -> impl Future<Output = Option<Input>> + Send + use<D, C> {
    let service = Arc::clone(&services.cache);
    let health: Arc<Health> = Arc::clone(&services.health);
    async move {
        let work = AssertUnwindSafe(async { service.execute(&request).await }).catch_unwind();
        let answer = match timeout(duration(bound), work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(CacheError::Unavailable),
        };
        health.saw(Service::Cache, answer.is_ok());
        token.map(|token| ServerInput::Cached { token, answer })
    }
}

/// In a task of its own: reading vectors takes a while.
fn embed<D: Database, C: CacheService>(
    services: &Services<D, C>,
    token: Token,
    texts: Arc<Vec<Arc<str>>>,
) -> impl Future<Output = Option<Input>> + Send + use<D, C> {
    let embedder = services.embedder.clone();
    let work = async move {
        let Some(embedder) = embedder else { return Err(EmbedError::NotConfigured) };
        let bound = duration(limits::EMBEDDING_TIMEOUT);
        timeout(bound, embedder.embed(texts)).await.unwrap_or(Err(EmbedError::TimedOut))
    };
    let task = tokio::spawn(work);
    async move {
        // A panic is a provider that is away.
        let answer = task.await.unwrap_or(Err(EmbedError::Unavailable));
        Some(ServerInput::Embedded { token, answer })
    }
}

/// The next notice; waits for ever where none can come.
async fn next(notices: &mut Option<BoxStream<'static, Notice>>) -> Option<Notice> {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

/// Waits to be told to stop; a driver that is gone tells so, too.
async fn stopped(stop: &mut watch::Receiver<Option<Span>>) -> Span {
    match stop.wait_for(Option::is_some).await {
        Ok(drain) => drain.unwrap_or(Span::ZERO),
        Err(_) => Span::ZERO,
    }
}
