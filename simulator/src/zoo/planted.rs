//! The one variant of the world that holds every planted defect.

mod codec;
mod embedding;
mod queue;
mod store;

use sync_core::embedding::{EmbedError, Vector};
use sync_core::host_sync::sealed::Body;
use sync_core::id::AccountId;
use sync_core::store::StoreRequest;

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
        store::carried_out(*self, request, transaction)
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
}
