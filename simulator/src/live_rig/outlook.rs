//! Tasks that look at the servers while a run is on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::config::RedisSettings;
use sync_core::host_sync::settings::ServerSettings;
use sync_core::limits;
use sync_core::runtime::redis::{Notice, RedisCache, RedisOptions};
use sync_core::secret::Secret;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::drive::Arrival;
use super::watch;

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

/// Counts what is published to subscribers of critical updates.
pub(super) struct Published {
    count: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Published {
    pub(super) fn count(runtime: &Runtime, settings: RedisSettings) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let task = runtime.spawn(async move {
            let Ok(cache) = RedisCache::connect(&settings, RedisOptions::default()).await else { return };
            let mut subscription = cache.subscribe();
            let mut ready = Some(ready);
            while let Some(notice) = subscription.next().await {
                match notice {
                    Notice::Publication(_) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    // The first one: from here on nothing is missed.
                    Notice::Gap => {
                        ready.take().map(|ready| ready.send(()));
                    }
                }
            }
        });
        // A Redis that is away is subscribed to when it comes.
        let _ = runtime.block_on(async { tokio::time::timeout(SUBSCRIBED, is_ready).await });
        Self { count, task }
    }

    pub(super) fn stop(self) -> u64 {
        self.task.abort();
        self.count.load(Ordering::Relaxed)
    }
}

const PAUSE_US_MIN: u64 = 500_000;
const SUBSCRIBED: Duration = Duration::from_secs(2);
