//! The cache: executes [`CacheRequest`]s on Redis.
//!
//! A state is kept as `version:data`, or as `version-` where the version alone is known, and one script
//! decides for all states of a request whether what is held is older, so no slow reader puts a stale value
//! back. Lifetimes travel as absolute deadlines: time spent on the way shortens them instead of adding to
//! them. An application's own entry is its plain text.
//!
//! While Redis is away every request fails at once and the system goes on from the database. What was to be
//! written meanwhile is taken down ([`Missed`](crate::cache::Missed)): when Redis is back, and before it is
//! used again, older versions and changed entries are removed. A publication that may have been lost becomes
//! a [`Notice::Gap`] for every subscriber. The numbered database belongs to the cache alone:
//! [`CacheRequest::Flush`] empties it.

mod error;
mod publication;
mod script;
mod subscription;
mod supervisor;

use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, RedisError, cmd};

use crate::cache::{CacheError, CacheKey, CacheReply, CacheRequest, CacheValue, Refresh};
use crate::config::RedisSettings;
use crate::limits;
use crate::time::{Span, Timestamp};

pub use crate::cache::Notice;
pub use error::RedisFault;
pub use subscription::Subscription;

use supervisor::Shared;

/// Everything that the cache keeps is under this prefix.
const PREFIX: &str = "p2p_sync";
/// How the keys of cached states begin; the state follows as [`StateKey`](crate::store::StateKey) is written.
pub const STATE_KEYS: &str = "p2p_sync:state:";

/// Where the numbered database `db` publishes updates of states; channels know nothing of databases themselves.
pub fn updates_channel(db: u32) -> String {
    format!("{PREFIX}:{db}:updates")
}

/// How Redis is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// One answer, the opening of a connection included. Past it Redis counts as gone.
    pub response_timeout: Span,
    /// How often a subscription makes sure that its connection still lives.
    pub ping_interval: Span,
    /// Messages that wait for a subscriber; further ones are dropped and become a [`Notice::Gap`].
    pub subscription_messages_max: usize,
    /// Keys that are remembered for removal while Redis is away; past it everything is removed.
    pub invalidations_max: usize,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            response_timeout: limits::REDIS_RESPONSE_TIMEOUT,
            ping_interval: limits::REDIS_PING_INTERVAL,
            subscription_messages_max: limits::REDIS_MESSAGES_MAX,
            invalidations_max: limits::PURGE_MAX,
        }
    }
}

/// How Redis does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Whether requests go through.
    pub connected: bool,
    /// Why they do not, or did not last time.
    pub fault: Option<RedisFault>,
    /// Commands sent on behalf of requests; each is one round trip.
    pub commands: u64,
    /// Connections opened for requests, the first included.
    pub connections: u64,
    /// Keys that are removed before Redis is used again.
    pub invalidations: usize,
}

/// Executes [`CacheRequest`]s on Redis, any number at a time, over one connection.
#[derive(Clone, Debug)]
pub struct RedisCache {
    shared: Arc<Shared>,
}

impl RedisCache {
    /// Tries once to connect, and goes on trying while requests are refused: a cache that is away is no
    /// reason not to start. Must be called within a tokio runtime.
    pub async fn connect(settings: &RedisSettings, options: RedisOptions) -> Result<Self, RedisFault> {
        let shared = Arc::new(Shared::new(settings, options)?);
        supervisor::start(&shared).await;
        Ok(Self { shared })
    }

    /// Executes one request.
    pub async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        let Some((mut connection, life)) = self.shared.connection() else {
            self.shared.missed(request);
            return Err(CacheError::Unavailable);
        };
        self.perform(&mut connection, request).await.map_err(|error| {
            self.shared.failed(life, &error, request);
            CacheError::Unavailable
        })
    }

    /// Everything that is published from now on, over a connection of its own.
    pub fn subscribe(&self) -> Subscription {
        subscription::start(&self.shared)
    }

    /// How Redis does, without asking it.
    pub fn status(&self) -> RedisStatus {
        self.shared.status()
    }

    async fn perform(
        &self,
        connection: &mut MultiplexedConnection,
        request: &CacheRequest,
    ) -> Result<CacheReply, RedisError> {
        Ok(match request {
            CacheRequest::Get(key) => {
                let held: Option<String> = self.send(connection, cmd("GET").arg(redis_key(key))).await?;
                CacheReply::Value(held.and_then(|text| value(key, text)))
            }
            CacheRequest::Set { key, value, expires } => {
                let mut set = cmd("SET");
                set.arg(redis_key(key)).arg(match key {
                    CacheKey::State(_) => format!("0:{value}"),
                    CacheKey::Text(_) => value.to_string(),
                });
                if let Some(expires) = expires {
                    set.arg("PXAT").arg(deadline_ms(*expires));
                }
                self.send::<()>(connection, &set).await?;
                CacheReply::Done
            }
            CacheRequest::Refresh { states, expires } => {
                if !states.is_empty() {
                    self.refresh(connection, states, expires.map(deadline_ms)).await?;
                }
                CacheReply::Done
            }
            // A version without a value is nothing to have found.
            CacheRequest::Delete(key @ CacheKey::State(_)) => {
                let held: Option<String> = self.send(connection, cmd("GETDEL").arg(redis_key(key))).await?;
                CacheReply::Found(held.and_then(|text| value(key, text)).is_some())
            }
            CacheRequest::Exists(key @ CacheKey::State(_)) => {
                let held: Option<String> = self.send(connection, cmd("GET").arg(redis_key(key))).await?;
                CacheReply::Found(held.and_then(|text| value(key, text)).is_some())
            }
            CacheRequest::Delete(key) => {
                CacheReply::Found(self.send::<u64>(connection, cmd("DEL").arg(redis_key(key))).await? > 0)
            }
            CacheRequest::Exists(key) => {
                CacheReply::Found(self.send::<u64>(connection, cmd("EXISTS").arg(redis_key(key))).await? > 0)
            }
            CacheRequest::Flush => {
                self.send::<()>(connection, &cmd("FLUSHDB")).await?;
                CacheReply::Done
            }
        })
    }

    async fn refresh(
        &self,
        connection: &mut MultiplexedConnection,
        states: &[Refresh],
        deadline: Option<u64>,
    ) -> Result<(), RedisError> {
        let by_hash = script::refresh("EVALSHA", &self.shared.channel, states.iter(), deadline);
        match self.send::<()>(connection, &by_hash).await {
            // Every new connection begins by loading the script, but somebody may have removed it since.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let whole = script::refresh("EVAL", &self.shared.channel, states.iter(), deadline);
                self.send(connection, &whole).await
            }
            result => result,
        }
    }

    async fn send<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        self.shared.count_command();
        command.query_async(connection).await
    }
}

/// Where an entry is kept.
fn redis_key(key: &CacheKey) -> String {
    match key {
        CacheKey::State(state) => format!("{STATE_KEYS}{state}"),
        CacheKey::Text(text) => format!("{PREFIX}:text:{text}"),
    }
}

/// What an entry's text stands for; nothing when somebody else wrote it.
fn value(key: &CacheKey, text: String) -> Option<CacheValue> {
    match key {
        CacheKey::Text(_) => Some(CacheValue { version: 0, data: text.into() }),
        CacheKey::State(_) => state_value(&text),
    }
}

/// What the text under a state's key stands for; nothing when it is a version alone, or somebody else wrote it.
pub fn state_value(text: &str) -> Option<CacheValue> {
    let (version, data) = text.split_once(':')?;
    Some(CacheValue { version: version.parse().ok()?, data: data.into() })
}

/// The version that the text under a state's key holds without a value.
pub fn state_version(text: &str) -> Option<u64> {
    text.strip_suffix('-')?.parse().ok()
}

/// The moment in whole milliseconds at which an entry is no longer served, never later than asked for.
fn deadline_ms(expires: Timestamp) -> u64 {
    expires.as_ms().max(1)
}
