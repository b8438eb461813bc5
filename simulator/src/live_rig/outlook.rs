//! What looks at the servers while a run is on, and after it.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::cache::Refresh;
use sync_core::config::RedisSettings;
use sync_core::host_sync::settings::ServerSettings;
use sync_core::limits;
use sync_core::runtime::redis::{Notice, RedisCache, RedisOptions, STATE_KEYS, state_value};
use sync_core::secret::Secret;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::drive::Arrival;
use super::evidence::{Publications, Quoted, Sighting};
use super::{LiveError, redis, watch};

/// How long the database remembers the names of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    pub(super) kept_us: u64,
}

impl Retention {
    pub(super) fn of(settings: &ServerSettings) -> Self {
        Self { kept_us: settings.freshness_window.as_us() * limits::DEDUPLICATION_WINDOWS }
    }
}

/// Shows rows to the world before the database may forget them. A database that is away is asked again later.
pub(super) async fn tail(
    dsn: Secret<String>,
    world: Sender<Arrival>,
    start_us: u64,
    Retention { kept_us }: Retention,
) {
    let pause = Duration::from_micros((kept_us / 4).max(PAUSE_US_MIN));
    let mut since_us = start_us;
    let mut connection = None;
    loop {
        tokio::time::sleep(pause).await;
        if connection.is_none() {
            connection = watch::connect(dsn.expose()).await.ok();
        }
        let Some(open) = &mut connection else { continue };
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        match watch::rows(open, since_us).await {
            // What was taken shortly before may be committed later.
            Ok(rows) => {
                since_us = now_us.saturating_sub(kept_us).max(start_us);
                if world.send(Arrival::Rows(rows)).is_err() {
                    return;
                }
            }
            Err(_) => connection = None,
        }
    }
}

/// Hears what is published to subscribers of critical updates.
pub(super) struct Subscriber {
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    sightings: Vec<Sighting>,
    /// Times at which messages may have been missed; the first one is the beginning.
    gaps: u64,
}

impl Subscriber {
    pub(super) fn start(runtime: &Runtime, settings: RedisSettings) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = Arc::clone(&heard);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let task = runtime.spawn(async move {
            let Ok(cache) = RedisCache::connect(&settings, RedisOptions::default()).await else { return };
            let mut subscription = cache.subscribe();
            let mut ready = Some(ready);
            while let Some(notice) = subscription.next().await {
                let mut heard = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                match notice {
                    Notice::Publication(Refresh { key, version, data, .. }) => {
                        heard.sightings.push(Sighting { key, version, text: Quoted::read(&data) });
                    }
                    Notice::Gap => {
                        heard.gaps += 1;
                        ready.take().map(|ready| ready.send(()));
                    }
                }
            }
        });
        // A Redis that is away is subscribed to when it comes.
        let subscribed = runtime.block_on(async { tokio::time::timeout(SUBSCRIBED, is_ready).await });
        if subscribed.is_err() {
            // The beginning is a gap then, too.
            heard.lock().unwrap_or_else(PoisonError::into_inner).gaps += 1;
        }
        Self { heard, task }
    }

    /// What it heard until now.
    pub(super) fn stop(self) -> Publications {
        self.task.abort();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        Publications { sightings: heard.sightings, complete: heard.gaps == 1 }
    }
}

/// The values that the cache holds under keys of states; `None` for what is none.
///
/// # Errors
/// When Redis does not answer.
pub(super) async fn cached(settings: &RedisSettings) -> Result<Vec<Option<Sighting>>, LiveError> {
    let sighting = |(name, text): &(String, String)| {
        let key = name.strip_prefix(STATE_KEYS)?.parse().ok()?;
        let value = state_value(text)?;
        Some(Sighting { key, version: value.version, text: Quoted::read(&value.data) })
    };
    Ok(redis::entries(settings, STATE_KEYS).await?.iter().map(sighting).collect())
}

const PAUSE_US_MIN: u64 = 500_000;
const SUBSCRIBED: Duration = Duration::from_secs(2);
