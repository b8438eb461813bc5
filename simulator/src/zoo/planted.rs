//! The one variant of the world that holds every planted defect.

mod codec;

use sync_core::host_sync::policy::SessionPolicy;
use sync_core::host_sync::sealed::Body;
use sync_core::id::AccountId;
use sync_core::time::{Instant, Span};

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

    fn generator_holds_back_at(&self) -> Option<usize> {
        self.is(130).then_some(2)
    }
}

impl SessionPolicy for Planted {
    fn deadline_when_asked(&self, asked: Instant, timeout: Span) -> Option<Instant> {
        (!self.is(43)).then(|| asked + timeout)
    }

    fn deadline_when_sent(&self, deadline: Option<Instant>, sent: Instant, timeout: Span) -> Option<Instant> {
        if self.is(43) { Some(sent + timeout) } else { deadline }
    }

    fn retries_as_new_operation(&self) -> bool {
        self.is(30)
    }
}
