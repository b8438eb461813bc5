//! What stands behind an engine's requests: real servers, or memory. A harness wraps them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::cache::{CacheError, CacheReply, CacheRequest, MemoryCache, Notice};
use crate::limits;
use crate::runtime::postgres::PostgresStore;
use crate::runtime::redis::{RedisCache, Subscription};
use crate::runtime::wall_clock;
use crate::store::{Content, MemoryStore, StoreError, StoreReply, StoreRequest};

/// Executes requests to the database, any number at a time.
pub trait Database: Send + Sync + 'static {
    /// Executes one request, atomically. Dropping the future gives it up; whether it took effect is then
    /// not known.
    fn execute(&self, request: &StoreRequest) -> impl Future<Output = Result<StoreReply, StoreError>> + Send;
}

/// Executes requests to the cache, any number at a time.
pub trait CacheService: Send + Sync + 'static {
    /// Executes one request. Requests are taken up in the order in which their futures are first polled.
    fn execute(&self, request: &CacheRequest) -> impl Future<Output = Result<CacheReply, CacheError>> + Send;

    /// Follows what is published from now on, by whatever server. Begins with a gap.
    fn follow(&self) -> BoxStream<'static, Notice>;
}

impl Database for PostgresStore {
    async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        Self::execute(self, request).await
    }
}

impl CacheService for RedisCache {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        Self::execute(self, request).await
    }

    fn follow(&self) -> BoxStream<'static, Notice> {
        let next = |mut subscription: Subscription| async move {
            subscription.next().await.map(|notice| (notice, subscription))
        };
        stream::unfold(self.subscribe(), next).boxed()
    }
}

impl<D: Database> Database for Arc<D> {
    async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        D::execute(self, request).await
    }
}

impl<C: CacheService> CacheService for Arc<C> {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        C::execute(self, request).await
    }

    fn follow(&self) -> BoxStream<'static, Notice> {
        C::follow(self)
    }
}

/// A database in memory; nothing of it outlives the process.
#[derive(Debug, Default)]
pub struct EmbeddedDatabase {
    store: Mutex<MemoryStore>,
}

impl EmbeddedDatabase {
    /// What an application could see.
    pub fn content(&self) -> Content {
        lock(&self.store).content()
    }
}

impl Database for EmbeddedDatabase {
    async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        let mut store = lock(&self.store);
        store.tell_time(wall_clock());
        Ok(store.execute(request))
    }
}

/// A cache in memory; nothing of it outlives the process.
#[derive(Debug)]
pub struct EmbeddedCache {
    cache: Mutex<MemoryCache>,
    notices: broadcast::Sender<Notice>,
}

impl Default for EmbeddedCache {
    fn default() -> Self {
        Self { cache: Mutex::default(), notices: broadcast::Sender::new(limits::NOTICES_WAITING_MAX) }
    }
}

impl CacheService for EmbeddedCache {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        let mut cache = lock(&self.cache);
        let reply = cache.execute(wall_clock(), request);
        // Within the lock, so that all learn of publications in the same order. Without followers nobody does.
        cache.take_published().for_each(|published| drop(self.notices.send(Notice::Publication(published))));
        Ok(reply)
    }

    fn follow(&self) -> BoxStream<'static, Notice> {
        let next = |mut receiver: broadcast::Receiver<Notice>| async move {
            match receiver.recv().await {
                Ok(notice) => Some((notice, receiver)),
                Err(RecvError::Lagged(_)) => Some((Notice::Gap, receiver)),
                Err(RecvError::Closed) => None,
            }
        };
        let notices = stream::unfold(self.notices.subscribe(), next);
        stream::once(async { Notice::Gap }).chain(notices).boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
