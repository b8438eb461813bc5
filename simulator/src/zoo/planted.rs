//! The one variant of a world of hosts that holds every planted defect; those among peers.

mod cache;
mod codec;
mod embedding;
mod hosting;
pub(super) mod peers;
mod queue;
mod store;

use sync_core::cache::CacheRequest;
use sync_core::embedding::{EmbedError, Vector};
use sync_core::host_sync::sealed::Body;
use sync_core::id::AccountId;
use sync_core::store::{StateKey, StoreRequest};
use sync_core::time::{Span, Timestamp};

use codec::{PlantedHost, PlantedServer};

use crate::virtual_rig::variant::{Variant, WorldKeys};

/// The real core with one defect.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    number: u32,
}

impl Planted {
    pub(super) fn new(number: u32) -> Self {
        Self { number }
    }

    fn is(self, number: u32) -> bool {
        self.number == number
    }
}

impl Variant for Planted {
    type Request = Body;
    type Reply = Body;
    type HostCodec = PlantedHost;
    type ServerCodec = PlantedServer;
    type Policy = Planted;

    fn host_codec(&self, keys: &WorldKeys, account: AccountId) -> PlantedHost {
        PlantedHost::new(*self, keys, account)
    }

    fn server_codec(&self, keys: &WorldKeys) -> PlantedServer {
        PlantedServer::new(*self, keys)
    }

    fn policy(&self) -> Planted {
        *self
    }

    fn durability_lag_us(&self) -> Option<u64> {
        self.is(32).then_some(200_000)
    }

    fn carried_out(&self, request: &StoreRequest, transaction: u64) -> Option<StoreRequest> {
        match request {
            StoreRequest::Load(key) if self.is(49) => Some(StoreRequest::Load(self.means(key.clone()))),
            request => store::carried_out(*self, request, transaction),
        }
    }

    fn cache_carries_out(
        &self,
        now: Timestamp,
        expiry: Option<Span>,
        request: &CacheRequest,
    ) -> Option<Vec<CacheRequest>> {
        self.cache_instead(now, expiry, request)
    }

    fn forgets_missed(&self) -> bool {
        self.is(46)
    }

    fn tells_of_gaps(&self) -> bool {
        !self.is(132)
    }

    fn failure_kept(&self, now: Timestamp, key: &StateKey) -> Option<CacheRequest> {
        self.keeps_failure(now, key)
    }

    fn meant(&self, key: StateKey) -> StateKey {
        self.means(key)
    }

    fn replays_after_restart(&self) -> bool {
        self.is(31)
    }

    fn read_vectors(&self, body: &[u8], asked: usize) -> Result<Vec<Vector>, EmbedError> {
        embedding::read_vectors(*self, body, asked)
    }

    fn generator_holds_back_at(&self) -> Option<usize> {
        self.is(130).then_some(2)
    }

    fn fences(&self) -> bool {
        !self.does_not_fence()
    }

    fn has_rules(&self) -> bool {
        !self.has_no_rules()
    }
}
