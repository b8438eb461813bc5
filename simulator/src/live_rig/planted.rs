//! Defects of a database and of a cache, planted between a main server of a run and the real ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sync_core::cache::{CacheError, CacheReply, CacheRequest, Notice};
use sync_core::runtime::driver::{BoxStream, CacheService, Database};
use sync_core::store::{StoreError, StoreReply, StoreRequest};
use sync_core::time::Timestamp;

use crate::virtual_rig::variant::Variant as _;
use crate::zoo;

/// A service, and the defect that it has, if one is planted.
#[derive(Debug)]
pub(super) struct Planted<S> {
    service: S,
    defect: Option<zoo::Planted>,
    /// Requests that were altered so far.
    altered: AtomicU64,
}

impl<S> Planted<S> {
    pub(super) fn new(service: S, defect: Option<zoo::Planted>) -> Self {
        Self { service, defect, altered: AtomicU64::new(0) }
    }
}

impl<D: Database> Database for Planted<D> {
    /// What was altered on the way is answered with an error, whatever came of it.
    async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        match self.defect.and_then(|defect| defect.carried_out(request, 0)) {
            None => self.service.execute(request).await,
            Some(altered) => {
                self.service.execute(&altered).await?;
                Err(StoreError::Unavailable)
            }
        }
    }
}

impl<C: CacheService> CacheService for Planted<C> {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        let instead = |defect: zoo::Planted| defect.cache_carries_out(Timestamp::from_us(0), None, request);
        let Some(requests) = self.defect.and_then(instead) else {
            return self.service.execute(request).await;
        };
        // One connection keeps requests in their order; for the defect to show they have to overtake each other.
        if self.altered.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            tokio::time::sleep(OVERTAKEN).await;
        }
        let mut reply = Ok(CacheReply::Done);
        for request in &requests {
            reply = self.service.execute(request).await;
        }
        reply
    }

    fn follow(&self) -> BoxStream<'static, Notice> {
        self.service.follow()
    }
}

/// How long every second request that was altered waits.
const OVERTAKEN: Duration = Duration::from_millis(200);
