//! What stands behind an engine's requests: real servers, or memory. A harness wraps them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::{CacheError, CacheReply, CacheRequest, MemoryCache};
use crate::runtime::postgres::PostgresStore;
use crate::runtime::redis::RedisCache;
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
        Ok(lock(&self.store).execute(request))
    }
}

/// A cache in memory. Nobody subscribes to it: what is published is dropped.
#[derive(Debug, Default)]
pub struct EmbeddedCache {
    cache: Mutex<MemoryCache>,
}

impl CacheService for EmbeddedCache {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        let mut cache = lock(&self.cache);
        let reply = cache.execute(wall_clock(), request);
        cache.take_published().for_each(drop);
        Ok(reply)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
