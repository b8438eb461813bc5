//! The main server as a whole: engines, database, cache and HTTP, from a configuration.
//!
//! A server keeps nothing of its own: any number of them may stand over one database and one cache.

#[cfg(feature = "programs")]
pub mod cli;
mod connect;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::driver::shards::{
    Drained, Front, Instruments, Plain, Service, Services, ShardOptions, Shards, add,
};
use super::driver::{CacheService, Database};
use super::duration;
use super::embedding::Embedder;
use super::http::{
    App, ClientError, Durations, HEALTH_PATH, HealthCheck, METRICS_PATH, Phase, router, serve,
};
use super::postgres::PostgresError;
use super::redis::RedisFault;
use super::tls::{Identity, TlsFileError};
use crate::config::{Config, Role};
use crate::envelope::{InvalidKey, InvalidRing, KeyUse, LegacyKey, MasterKey, MasterRing};
use crate::host_sync::sealed::SealedServer;
use crate::host_sync::server::Counters;
use crate::host_sync::settings::ServerSettings;
use crate::limits;
use crate::time::Span;

pub use connect::{connect_cache, connect_database, connect_provider};

/// The path of the sync endpoint when the configuration names none.
pub const SYNC_PATH: &str = "/p2p-sync";

/// How long connections have to carry away their last answers.
const LAST_ANSWERS: Span = Span::from_ms(500);

/// Why a main server did not start. No message holds a secret.
#[derive(Debug, Error)]
pub enum MainServerError {
    /// A host's file.
    #[error("this is a host's configuration: a main server's says `role = main_server`")]
    Role,
    /// No database is named.
    #[error(
        "no `pg_connection_string`: name the database, or run with `--embedded` to try things out in memory"
    )]
    NoDatabase,
    /// A key cannot be read.
    #[error("`encryption_key`: {0}")]
    Key(#[from] InvalidKey),
    /// The keys do not go together.
    #[error("`encryption_keys_accepted`: {0}")]
    Ring(#[from] InvalidRing),
    /// The path of the endpoint is taken.
    #[error(
        "`main_server_endpoint` has the path {HEALTH_PATH} or {METRICS_PATH}, which are taken: give it another one"
    )]
    Path,
    /// The database.
    #[error("{0}")]
    Database(#[from] PostgresError),
    /// The settings of the cache. A cache that is away is no error.
    #[error("{0}")]
    Cache(#[from] RedisFault),
    /// A file of certificates or of a key.
    #[error("{0}")]
    Tls(#[from] TlsFileError),
    /// The address of the embedding provider.
    #[error("`{key}`: {error}")]
    Embedding {
        /// The key of the configuration.
        key: &'static str,
        /// Why it cannot be spoken to.
        error: ClientError,
    },
    /// The address to listen on.
    #[error("cannot listen on {address}: {error}; {}", crate::runtime::listen_help(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// What a server is put together from, beside its configuration.
pub struct Parts<D, C, I = Plain> {
    /// The database.
    pub database: D,
    /// The cache.
    pub cache: C,
    /// Where draws come from and who sees the engines' calls.
    pub instruments: I,
    /// Settings of the engines in place of those that the configuration gives.
    pub settings: Option<ServerSettings>,
    /// Bounds of the driver.
    pub options: ShardOptions,
    /// The embedding provider in place of the one that the configuration names.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Told when the database or the cache goes away (`false`) and when it is back.
    pub report: Box<dyn Fn(Service, bool) + Send + Sync>,
}

impl<D, C, I> Parts<D, C, I> {
    /// The same with other instruments.
    pub fn instrumented<J>(self, instruments: J) -> Parts<D, C, J> {
        let Self { database, cache, instruments: _, settings, options, embedder, report } = self;
        Parts { database, cache, instruments, settings, options, embedder, report }
    }
}

impl<D, C> Parts<D, C> {
    /// These two, with the system's randomness, no tap and no report.
    pub fn new(database: D, cache: C) -> Self {
        Self {
            database,
            cache,
            instruments: Plain,
            settings: None,
            options: ShardOptions::default(),
            embedder: None,
            report: Box::new(|_, _| ()),
        }
    }
}

/// A running main server. Dropped, it ends at once; [`shutdown`](Self::shutdown) ends it in order.
#[derive(Debug)]
pub struct MainServer {
    address: SocketAddr,
    front: Front,
    shards: Shards,
    phase: watch::Sender<Phase>,
    listener: JoinHandle<()>,
}

impl MainServer {
    /// Starts `worker_threads` shards and listens on `listen` (port 0 for a free one), over TLS when the
    /// configuration names a certificate, else in plain HTTP. The endpoint's path is that of `main_server_endpoint`, or
    /// [`SYNC_PATH`]. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the configuration is not a main server's, a file that it names cannot be used, or the address cannot be
    /// listened on.
    pub async fn start<D: Database, C: CacheService, I: Instruments>(
        config: &Config,
        listen: SocketAddr,
        mut parts: Parts<D, C, I>,
    ) -> Result<Self, MainServerError> {
        let codec = SealedServer::new(ring(config)?);
        let path = config.main_server_endpoint.as_ref().map_or(SYNC_PATH, |endpoint| endpoint.path());
        if path == HEALTH_PATH || path == METRICS_PATH {
            return Err(MainServerError::Path);
        }
        let identity = config.tls.as_ref().map(Identity::read).transpose()?;
        let embedder = match parts.embedder.take() {
            Some(embedder) => Some(embedder),
            None => connect_provider(config, |_| ())?,
        };
        let refused = |error| MainServerError::Listen { address: listen, error };
        let socket = TcpListener::bind(listen).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let services = Services::new(parts.database, parts.cache, parts.report).with_embedder(embedder);
        let shards = Shards::start(
            config.worker_threads,
            &parts.settings.unwrap_or_else(|| server_settings(config)),
            &codec,
            &services,
            &mut parts.instruments,
            parts.options,
        );
        let front = shards.front();
        let health = HealthCheck::new(services, front.clone());
        let (phase, phases) = watch::channel(Phase::Serving);
        let routes = router(path, App { front: front.clone(), health, durations: Durations::default() });
        let listener = tokio::spawn(serve(socket, identity, routes, phases));
        Ok(Self { address, front, shards, phase, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the keys of this configuration in place of those in force, and nothing else of it, while requests go on.
    /// When this returns, every shard seals with the one that `encryption_key` names and opens with it and those of
    /// `encryption_keys_accepted`; any other key opens nothing any more. Says which keys are in force, by their names.
    ///
    /// # Errors
    /// When the configuration is not a main server's, or its keys cannot be used; the keys in force then stay.
    pub async fn replace_keys(&self, config: &Config) -> Result<KeyUse, MainServerError> {
        let ring = ring(config)?;
        self.shards.replace_keys(&ring).await;
        Ok(ring.in_use())
    }

    /// What all shards have counted since the start; those that have no time to say so are left out.
    pub async fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for report in self.front.reports().await {
            add(&mut sum, report.counters);
        }
        sum
    }

    /// Takes no further request, answers what is open within [`limits::SHUTDOWN_DRAIN`], and stops.
    pub async fn shutdown(self) -> Drained {
        self.shutdown_within(limits::SHUTDOWN_DRAIN).await
    }

    /// The same with a bound of one's own.
    pub async fn shutdown_within(mut self, drain: Span) -> Drained {
        let open = self.front.open() as u64;
        let bound = Instant::now() + duration(drain);
        self.phase.send_replace(Phase::Closing);
        self.shards.close();
        let in_time = timeout_at(bound, &mut self.listener).await.is_ok();
        let left = bound.saturating_duration_since(Instant::now());
        let left = Span::from_us(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let drained = self.shards.stop(left).await;
        if !in_time {
            // What was cut short is answered 503 by now.
            let _ = timeout(duration(LAST_ANSWERS), &mut self.listener).await;
        }
        self.phase.send_replace(Phase::Closed);
        Drained { answered: open.saturating_sub(drained.cut_short), ..drained }
    }
}

/// What the engines of a server get from its configuration, all shards together: for each of them one batch
/// under way, while what arrives gathers for the next. More at once would be smaller ones, and a transaction
/// costs much more than an operation in it.
pub fn server_settings(config: &Config) -> ServerSettings {
    let settings = config.server_settings();
    let batches = config.worker_threads.saturating_mul(limits::SHARD_BATCHES_MAX);
    ServerSettings {
        batches_in_flight_max: batches.min(settings.batches_in_flight_max),
        health_check: Some(limits::HEALTH_CHECK),
        ..settings
    }
}

fn ring(config: &Config) -> Result<MasterRing, MainServerError> {
    if config.role != Role::MainServer {
        return Err(MainServerError::Role);
    }
    let key: MasterKey = config.encryption_key.expose().parse()?;
    let accepted = config.encryption_keys_accepted.iter().map(|key| key.expose().parse());
    let mut ring = MasterRing::new(key, accepted.collect::<Result<_, _>>()?)?;
    if let Some(legacy) = &config.legacy_encryption_key {
        ring = ring.with_legacy(legacy.expose().parse::<LegacyKey>()?);
    }
    Ok(ring)
}
