//! The connection's life: up until the first error, then down while a task tries to bring it back.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, cmd,
};
use tokio::time::{sleep, timeout};

use super::{RedisFault, RedisOptions, RedisStatus, redis_key};
use super::{publication, script};
use crate::cache::{CacheRequest, Missed};
use crate::config::RedisSettings;
use crate::limits;
use crate::runtime::backoff::Backoff;
use crate::runtime::{duration, wall_clock};
use crate::secret::Secret;

/// What all clones of a cache share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) options: RedisOptions,
    /// Where updates are published: of this numbered database, which channels do not know by themselves.
    pub(super) channel: String,
    link: Mutex<Link>,
    commands: AtomicU64,
    connections: AtomicU64,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late error of a former one does not end the present one.
    life: u64,
    fault: Option<RedisFault>,
    missed: Missed,
}

impl fmt::Debug for Shared {
    /// Without the client, which knows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(settings: &RedisSettings, options: RedisOptions) -> Result<Self, RedisFault> {
        let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.db)).set_skip_set_lib_name();
        if let Some(password) = &settings.password {
            login = login.set_password(Secret::expose(password));
        }
        let address = ConnectionAddr::Tcp(settings.host.clone(), settings.port)
            .into_connection_info()
            .map_err(|_| RedisFault::Settings)?
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(login);
        Ok(Self {
            client: Client::open(address).map_err(|_| RedisFault::Settings)?,
            options,
            channel: super::updates_channel(settings.db),
            link: Mutex::default(),
            commands: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        })
    }

    /// The connection and the number of its life.
    pub(super) fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let link = self.lock();
        link.connection.clone().map(|connection| (connection, link.life))
    }

    /// Takes down what a request would have done.
    pub(super) fn missed(&self, request: &CacheRequest) {
        self.lock().missed.note(request, self.options.invalidations_max);
    }

    /// Takes down what a request may not have done, and the connection with it.
    pub(super) fn failed(self: &Arc<Self>, life: u64, error: &RedisError, request: &CacheRequest) {
        let mut link = self.lock();
        link.fault = Some(RedisFault::from(error));
        // An entry of another type says nothing about the connection.
        if error.code() == Some("WRONGTYPE") {
            return;
        }
        link.missed.note(request, self.options.invalidations_max);
        let is_present = link.connection.is_some() && link.life == life;
        // A write whose fate is unknown must be undone even if the connection has been replaced since.
        if is_present || (link.connection.is_some() && !link.missed.is_empty()) {
            link.connection = None;
            tokio::spawn(reconnect(Arc::downgrade(self)));
        }
    }

    pub(super) fn count_command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> RedisStatus {
        let link = self.lock();
        RedisStatus {
            connected: link.connection.is_some(),
            fault: link.fault.clone(),
            commands: self.commands.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            invalidations: link.missed.keys(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Connects, makes up for what was missed, and only then lets requests through.
    async fn bring_up(&self) -> Result<(), RedisFault> {
        let bound = duration(self.options.response_timeout);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(bound))
            .set_response_timeout(Some(bound));
        let open = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = timeout(bound.saturating_mul(2), open)
            .await
            .map_err(|_| RedisFault::TimedOut)?
            .map_err(|error| RedisFault::from(&error))?;
        // A server that has just started does not know the script. Were that found out by a refresh, it would be
        // sent once more, behind what follows it: a reader could then miss what was written before.
        for command in [cmd("PING"), script::load()] {
            command.query_async::<()>(&mut connection).await.map_err(|error| RedisFault::from(&error))?;
        }
        loop {
            let missed = {
                let mut link = self.lock();
                if link.missed.is_empty() {
                    link.connection = Some(connection);
                    link.life += 1;
                    link.fault = None;
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                std::mem::take(&mut link.missed)
            };
            if let Err(error) = self.make_up(&mut connection, &missed).await {
                self.lock().missed.merge(missed, self.options.invalidations_max);
                return Err(RedisFault::from(&error));
            }
        }
    }

    async fn make_up(
        &self,
        connection: &mut MultiplexedConnection,
        missed: &Missed,
    ) -> Result<(), RedisError> {
        if missed.everything() {
            cmd("FLUSHDB").query_async::<()>(connection).await?;
        }
        let keys: Vec<_> = missed.entries().map(redis_key).collect();
        for keys in keys.chunks(limits::REDIS_KEYS_REMOVED_MAX) {
            cmd("UNLINK").arg(keys).query_async::<()>(connection).await?;
        }
        // Not removed but outdated by version: a reader that is slow must not put an older value back.
        let states: Vec<_> = missed.states().collect();
        let until = (wall_clock() + limits::CACHE_VERSIONS_KEPT).as_ms();
        for states in states.chunks(limits::REDIS_KEYS_REMOVED_MAX) {
            let command = script::refresh("EVALSHA", &self.channel, states.iter().copied(), Some(until));
            command.query_async::<()>(connection).await?;
        }
        if missed.publications() {
            let gap = cmd("PUBLISH").arg(&self.channel).arg(publication::GAP).to_owned();
            gap.query_async::<()>(connection).await?;
        }
        Ok(())
    }
}

/// The first attempt is made at once; when it fails, a task goes on.
pub(super) async fn start(shared: &Arc<Shared>) {
    if let Err(fault) = shared.bring_up().await {
        shared.lock().fault = Some(fault);
        tokio::spawn(reconnect(Arc::downgrade(shared)));
    }
}

/// Tries until it succeeds or the cache is no longer used.
async fn reconnect(shared: Weak<Shared>) {
    let mut backoff = Backoff::default();
    loop {
        sleep(backoff.next_wait()).await;
        let Some(shared) = shared.upgrade() else { return };
        match shared.bring_up().await {
            Ok(()) => return,
            Err(fault) => shared.lock().fault = Some(fault),
        }
    }
}
