//! What looks at the servers while a run is on, and after it.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::cache::Publication;
use sync_core::config::RedisSettings;
use sync_core::host_sync::settings::ServerSettings;
use sync_core::limits;
use sync_core::runtime::redis::{
    Notice, RedisCache, RedisOptions, STATE_KEYS, state_value, state_version, updates_channel,
};
use sync_core::secret::Secret;
use sync_core::store::StateKey;
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
    with_transactions: bool,
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
        match watch::seen(open, since_us, with_transactions).await {
            // What was taken shortly before may be committed later.
            Ok(rows) => {
                since_us = now_us.saturating_sub(kept_us).max(start_us);
                // Little by little: meanwhile the world has its hosts to serve.
                let mut rows = rows.into_iter();
                loop {
                    let some: Vec<_> = rows.by_ref().take(ROWS_AT_ONCE).collect();
                    if some.is_empty() {
                        break;
                    }
                    if world.send(Arrival::Seen(some)).is_err() {
                        return;
                    }
                }
            }
            Err(_) => connection = None,
        }
    }
}

/// Hears what is published to subscribers of critical updates.
pub(super) struct Subscriber {
    heard: Arc<Mutex<Heard>>,
    settings: RedisSettings,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    sightings: Vec<Sighting>,
    /// Times at which messages may have been missed; the first one is the beginning.
    gaps: u64,
}

fn gaps(heard: &Mutex<Heard>) -> u64 {
    heard.lock().unwrap_or_else(PoisonError::into_inner).gaps
}

impl Subscriber {
    pub(super) fn start(runtime: &Runtime, settings: RedisSettings) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = Arc::clone(&heard);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let connecting = settings.clone();
        let task = runtime.spawn(async move {
            let settings = connecting;
            let Ok(cache) = RedisCache::connect(&settings, RedisOptions::default()).await else { return };
            let mut subscription = cache.subscribe();
            let mut ready = Some(ready);
            while let Some(notice) = subscription.next().await {
                let mut heard = hearing.lock().unwrap_or_else(PoisonError::into_inner);
                match notice {
                    Notice::Publication(Publication { key, version, data, .. }) => {
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
        Self { heard, settings, task }
    }

    /// What it heard of all that was published before this call.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(super) async fn stop(self, may_lack: bool) -> Result<Publications, LiveError> {
        // A message that is none becomes a gap, after all that came before it.
        let before = gaps(&self.heard);
        redis::publish(&self.settings, &updates_channel(self.settings.db), LAST).await?;
        let deadline = tokio::time::Instant::now() + SUBSCRIBED;
        while gaps(&self.heard) == before && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.task.abort();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        // The first gap was the beginning and the last one the end; one that did not come is a gap itself.
        let gaps = heard.gaps.abs_diff(2);
        Ok(Publications { sightings: heard.sightings, gaps, may_lack })
    }
}

/// The values that the cache holds under keys of states; `None` for what is none.
///
/// # Errors
/// When Redis does not answer.
pub(super) async fn cached(settings: &RedisSettings) -> Result<Vec<Option<Sighting>>, LiveError> {
    let sighting = |(name, text): &(String, String)| {
        let written = name.strip_prefix(STATE_KEYS)?;
        let key: StateKey = written.parse().ok()?;
        let value = state_value(text)?;
        // Only as the core writes them: another text would be another key.
        if key.to_string() != written || !text.starts_with(&format!("{}:", value.version)) {
            return None;
        }
        Some(Sighting { key, version: value.version, text: Quoted::read(&value.data) })
    };
    let entries = redis::entries(settings, STATE_KEYS).await?;
    // A version without a value is none.
    Ok(entries.iter().filter(|(_, text)| state_version(text).is_none()).map(sighting).collect())
}

const ROWS_AT_ONCE: usize = 500;
const PAUSE_US_MIN: u64 = 500_000;
const SUBSCRIBED: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
const LAST: &str = "the last message of a run";
