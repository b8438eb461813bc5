//! The engines of a main server: so many shards, each with a mailbox and a task of its own.
//!
//! An exchange goes to the shard of the account that stands outside its frame, so that order within an
//! account is kept. Reads go the same way: what an operation asks for is sealed, and nothing but the
//! account can be seen before the engine has opened it.
//!
//! Promises:
//! - every exchange is answered: by its engine, with 429 while the mailbox is full, with 503 after the end;
//! - a database or a cache that hangs, or panics, is one that failed, after [`ShardOptions::store_timeout`]
//!   and [`ShardOptions::cache_timeout`];
//! - requests to the cache are started in the order in which the engine made them: a state that was written
//!   is on its way to the cache before whoever wrote it can ask for it;
//! - while [`ShardOptions::effects_max`] requests are under way, nothing is taken from the mailbox.

mod shard;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{CacheService, Database, NoTap, Tap};
use crate::entropy::Entropy;
use crate::envelope::MasterRing;
use crate::host_sync::sealed::{Body, SealedServer};
use crate::host_sync::server::{Counters, Server, Status};
use crate::host_sync::settings::ServerSettings;
use crate::limits;
use crate::runtime::clock::Clock;
use crate::runtime::duration;
use crate::runtime::embedding::Embedder;
use crate::runtime::entropy::OsEntropy;
use crate::time::Span;

use shard::{Letter, Shard};

/// The engine that a shard drives.
pub type ShardEngine<E> = Server<SealedServer, E>;

/// Where the engines' draws come from and who sees their calls: [`Plain`], or what makes a recording.
pub trait Instruments: Send {
    /// The generator of a shard.
    type Entropy: Entropy + Send + 'static;
    /// What sees the calls of a shard.
    type Tap: Tap<ShardEngine<Self::Entropy>> + 'static;

    /// Called once for each shard, from 0, with the settings of its engine.
    fn shard(&mut self, shard: usize, settings: &ServerSettings) -> (Self::Entropy, Self::Tap);
}

/// The system's randomness, and no tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain;

impl Instruments for Plain {
    type Entropy = OsEntropy;
    type Tap = NoTap;

    fn shard(&mut self, _shard: usize, _settings: &ServerSettings) -> (OsEntropy, NoTap) {
        (OsEntropy::new(), NoTap)
    }
}

/// Bounds of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// Requests that wait in a mailbox, at least 1; further ones are answered 429.
    pub mailbox_max: usize,
    /// Requests to the database and the cache under way at a shard, at least 1.
    pub effects_max: usize,
    /// One request to the database.
    pub store_timeout: Span,
    /// One request to the cache.
    pub cache_timeout: Span,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            mailbox_max: limits::MAILBOX_REQUESTS_MAX,
            effects_max: limits::SHARD_EFFECTS_MAX,
            store_timeout: limits::STORE_TIMEOUT,
            cache_timeout: limits::CACHE_TIMEOUT,
        }
    }
}

/// The mailboxes of all shards: takes exchanges and gives them their answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    mailboxes: Arc<[mpsc::Sender<Letter>]>,
    probes: Arc<[mpsc::Sender<Probe>]>,
    open: Arc<AtomicUsize>,
}

/// Counts one exchange for as long as it is waited for.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a shard does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardReport {
    /// Which one, from 0.
    pub(crate) shard: usize,
    /// What its engine counted since the start.
    pub(crate) counters: Counters,
    /// Requests in its mailbox.
    pub(crate) mailbox: usize,
    /// Requests that its engine has not answered.
    pub(crate) exchanges: usize,
    /// Requests to database, cache and provider under way.
    pub(crate) under_way: usize,
    /// Keys that open requests.
    pub(crate) keys: usize,
}

/// A question to a shard how it does.
pub(super) type Probe = oneshot::Sender<ShardReport>;

/// Other keys for a shard, and whom to tell that it has them.
pub(super) type NewKeys = (MasterRing, oneshot::Sender<()>);

/// The running shards.
#[derive(Debug)]
pub struct Shards {
    front: Front,
    keys: Vec<mpsc::Sender<NewKeys>>,
    closing: watch::Sender<bool>,
    stop: watch::Sender<Option<Span>>,
    tasks: Vec<JoinHandle<ShardEnd>>,
}

/// What became of the shards' work when they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges that were open when the end began and were answered by their engine.
    pub answered: u64,
    /// Exchanges that the bound cut short; they were answered 503, and whether they took effect is not known.
    pub cut_short: u64,
    /// What the engines counted since their start, added up.
    pub counters: Counters,
}

pub(super) type ShardEnd = Drained;

impl Front {
    /// Gives one request to the shard of `account` at once; the future waits for its answer. A request from
    /// which no account could be read goes to the first shard, whose engine refuses it.
    pub fn exchange(
        &self,
        account: Option<u32>,
        request: Body,
    ) -> impl Future<Output = Result<Body, Status>> + Send + use<> {
        let shard = account.map_or(0, |account| shard_of(account, self.mailboxes.len()));
        let (answer, answered) = oneshot::channel();
        let open = Open::begin(&self.open);
        let sent = self.mailboxes[shard].try_send(Letter { request, answer });
        async move {
            let _open = open;
            match sent {
                Ok(()) => answered.await.unwrap_or(Err(Status::Unavailable)),
                Err(TrySendError::Full(_)) => Err(Status::Overloaded),
                Err(TrySendError::Closed(_)) => Err(Status::Unavailable),
            }
        }
    }

    /// Exchanges that wait for their answer.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How each shard does; one that has ended, or has no time for that, is left out.
    pub(crate) async fn reports(&self) -> Vec<ShardReport> {
        let mut reports = Vec::with_capacity(self.probes.len());
        for (shard, probe) in self.probes.iter().enumerate() {
            let (answer, answered) = oneshot::channel();
            if probe.try_send(answer).is_err() {
                continue;
            }
            if let Ok(Ok(report)) = timeout(duration(limits::PROBE_TIMEOUT), answered).await {
                let mailbox = self.mailboxes[shard].max_capacity() - self.mailboxes[shard].capacity();
                reports.push(ShardReport { shard, mailbox, ..report });
            }
        }
        reports
    }

    /// Whether every shard still takes requests.
    pub fn is_open(&self) -> bool {
        self.mailboxes.iter().all(|mailbox| !mailbox.is_closed())
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }
}

/// The shard of an account: the upper bits of a multiplicative hash, scaled to the number of shards.
fn shard_of(account: u32, shards: usize) -> usize {
    let hash = u64::from(account.wrapping_mul(0x9e37_79b9));
    ((hash * shards as u64) >> 32) as usize
}

impl Shards {
    /// Starts so many shards, at least one, that share the bounds of `settings` among them. Must be called
    /// within a tokio runtime.
    pub fn start<D: Database, C: CacheService, I: Instruments>(
        shards: usize,
        settings: &ServerSettings,
        codec: &SealedServer,
        services: &Services<D, C>,
        instruments: &mut I,
        options: ShardOptions,
    ) -> Self {
        let shards = shards.max(1);
        let settings = Arc::new(ServerSettings {
            batches_in_flight_max: (settings.batches_in_flight_max / shards).max(1),
            exchanges_max: settings.exchanges_max.div_ceil(shards),
            ..settings.clone()
        });
        let (closing, is_closing) = watch::channel(false);
        let (stop, stopped) = watch::channel(None);
        let clock = Clock::start();
        let (senders, tasks): (Vec<_>, Vec<_>) = (0..shards)
            .map(|number| {
                let (entropy, tap) = instruments.shard(number, &settings);
                let engine = Server::new(Arc::clone(&settings), codec.clone(), entropy);
                let (mailbox, letters) = mpsc::channel(options.mailbox_max.max(1));
                let (probe, probes) = mpsc::channel(limits::SHARD_PROBES_MAX);
                let (keys, new_keys) = mpsc::channel(1);
                let comes = (letters, probes, new_keys);
                let ends = (is_closing.clone(), stopped.clone());
                let shard = Shard::new(engine, clock, tap, services.clone(), options, comes, ends);
                ((mailbox, probe, keys), tokio::spawn(shard.run()))
            })
            .unzip();
        let (mut mailboxes, mut probes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (mailbox, probe, new_keys) in senders {
            mailboxes.push(mailbox);
            probes.push(probe);
            keys.push(new_keys);
        }
        let front = Front { mailboxes: mailboxes.into(), probes: probes.into(), open: Arc::default() };
        Self { front, keys, closing, stop, tasks }
    }

    /// Gives every shard these keys in place of those that it has, and waits until each has taken them: from then on a
    /// key that is not among them opens nothing. A shard that has ended needs none.
    pub async fn replace_keys(&self, ring: &MasterRing) {
        let mut taken = Vec::with_capacity(self.keys.len());
        for keys in &self.keys {
            let (done, is_done) = oneshot::channel();
            if keys.send((ring.clone(), done)).await.is_ok() {
                taken.push(is_done);
            }
        }
        for is_done in taken {
            // One that ends meanwhile opens nothing either.
            let _ = is_done.await;
        }
    }

    /// The mailboxes.
    pub fn front(&self) -> Front {
        self.front.clone()
    }

    /// Nobody is kept waiting from here on who only waits for news; all else goes on.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Takes nothing more, lets what is open end within `drain`, and stops.
    pub async fn stop(self, drain: Span) -> Drained {
        self.stop.send_replace(Some(drain));
        let mut all = Drained::default();
        for task in self.tasks {
            // A shard that panicked has nothing to tell: its exchanges were answered 503 then.
            if let Ok(end) = task.await {
                all.answered += end.answered;
                all.cut_short += end.cut_short;
                add(&mut all.counters, end.counters);
            }
        }
        all
    }
}

pub(crate) fn add(sum: &mut Counters, more: Counters) {
    // By name, so that none is forgotten.
    let Counters {
        requests,
        refused,
        overloaded,
        applied,
        duplicates,
        rejected,
        cache_hits,
        cache_misses,
        reads_joined,
        batches,
        embed_requests,
        embed_failures,
        entries,
        subscribes,
        findings_dropped,
    } = more;
    sum.requests += requests;
    sum.refused += refused;
    sum.overloaded += overloaded;
    sum.applied += applied;
    sum.duplicates += duplicates;
    sum.rejected += rejected;
    sum.cache_hits += cache_hits;
    sum.cache_misses += cache_misses;
    sum.reads_joined += reads_joined;
    sum.batches += batches;
    sum.embed_requests += embed_requests;
    sum.embed_failures += embed_failures;
    sum.entries += entries;
    sum.subscribes += subscribes;
    sum.findings_dropped += findings_dropped;
}

/// The database, the cache and the embedding provider of all shards, and how the first two were last seen.
#[derive(Debug)]
pub struct Services<D, C> {
    pub(crate) database: Arc<D>,
    pub(crate) cache: Arc<C>,
    pub(crate) embedder: Option<Arc<dyn Embedder>>,
    pub(crate) health: Arc<Health>,
}

impl<D, C> Clone for Services<D, C> {
    fn clone(&self) -> Self {
        Self {
            database: Arc::clone(&self.database),
            cache: Arc::clone(&self.cache),
            embedder: self.embedder.clone(),
            health: Arc::clone(&self.health),
        }
    }
}

impl<D: Database, C: CacheService> Services<D, C> {
    /// These two, whose changes between up and down are told to `report`.
    pub fn new(database: D, cache: C, report: impl Fn(Service, bool) + Send + Sync + 'static) -> Self {
        let health = Health {
            database: AtomicU8::new(UNSEEN),
            cache: AtomicU8::new(UNSEEN),
            report: Box::new(report),
        };
        Self {
            database: Arc::new(database),
            cache: Arc::new(cache),
            embedder: None,
            health: Arc::new(health),
        }
    }

    /// The same with an embedding provider.
    #[must_use]
    pub fn with_embedder(self, embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self { embedder, ..self }
    }
}

/// One of the two services of a main server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The database: without it nothing can be answered.
    Database,
    /// The cache: without it every read goes to the database.
    Cache,
}

/// How the services were last seen, and who is told of a change.
pub(crate) struct Health {
    database: AtomicU8,
    cache: AtomicU8,
    report: Box<dyn Fn(Service, bool) + Send + Sync>,
}

const UNSEEN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").field("database", &self.database).field("cache", &self.cache).finish()
    }
}

impl Health {
    /// Whether the last request to a service went through; `None` before the first.
    pub(crate) fn last(&self, service: Service) -> Option<bool> {
        let state = match service {
            Service::Database => &self.database,
            Service::Cache => &self.cache,
        };
        match state.load(Ordering::Relaxed) {
            UNSEEN => None,
            seen => Some(seen == UP),
        }
    }

    /// Takes down whether a request went through; a change is reported once, a first success not at all.
    pub(crate) fn saw(&self, service: Service, is_up: bool) {
        let (state, seen) = match service {
            Service::Database => (&self.database, if is_up { UP } else { DOWN }),
            Service::Cache => (&self.cache, if is_up { UP } else { DOWN }),
        };
        // Read first: it hardly ever changes, and every shard looks at it with every completion.
        if state.load(Ordering::Relaxed) == seen {
            return;
        }
        let before = state.swap(seen, Ordering::Relaxed);
        if before != seen && (before, seen) != (UNSEEN, UP) {
            (self.report)(service, is_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_spread_over_all_shards() {
        for shards in [1, 2, 3, 4, 7, 256] {
            let mut counts = vec![0_u32; shards];
            for account in 2_000_000..2_010_000 {
                counts[shard_of(account, shards)] += 1;
            }
            let fair = 10_000 / shards as u32;
            assert!(counts.iter().all(|count| (fair / 2..=fair * 2).contains(count)), "{counts:?}");
        }
        assert_eq!(shard_of(u32::MAX, 256), shard_of(u32::MAX, 256));
    }
}
