//! What `GET /healthz` says.

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::cache::{CacheKey, CacheRequest};
use crate::data_type::SyncDataType;
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::runtime::driver::shards::{Front, Service, Services};
use crate::runtime::driver::{CacheService, Database};
use crate::runtime::duration;
use crate::store::{StateKey, StoreRequest};

/// The body of the answer. Never holds an address or any other setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    status: &'static str,
    database: &'static str,
    cache: &'static str,
    version: &'static str,
    #[serde(skip)]
    can_serve: bool,
}

impl Report {
    fn new(serves: bool, database: bool, cache: bool) -> Self {
        let word = |up: bool| if up { "up" } else { "down" };
        Self {
            status: if serves && database && cache { "ok" } else { "degraded" },
            database: word(database),
            cache: word(cache),
            version: env!("CARGO_PKG_VERSION"),
            can_serve: serves && database,
        }
    }

    /// Whether requests can be answered: without a cache they can, without a database not.
    pub(crate) fn can_serve(&self) -> bool {
        self.can_serve
    }
}

/// Asks both services something that changes nothing.
#[derive(Debug)]
pub(crate) struct HealthCheck<D, C> {
    services: Services<D, C>,
    front: Front,
    last: Mutex<Option<(Instant, Report)>>,
}

impl<D: Database, C: CacheService> HealthCheck<D, C> {
    pub(crate) fn new(services: Services<D, C>, front: Front) -> Self {
        Self { services, front, last: Mutex::new(None) }
    }

    /// One question at a time, however many ask.
    pub(crate) async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = *last
            && at.elapsed() < duration(limits::HEALTH_KEPT)
        {
            return report;
        }
        let (database, cache) = tokio::join!(self.database(), self.cache());
        self.services.health.saw(Service::Database, database);
        self.services.health.saw(Service::Cache, cache);
        let report = Report::new(self.front.is_open(), database, cache);
        *last = Some((Instant::now(), report));
        report
    }

    /// How the services were last seen, without asking them.
    pub(crate) fn seen(&self) -> [(&'static str, Option<bool>); 2] {
        let seen = |service| self.services.health.last(service);
        [("database", seen(Service::Database)), ("cache", seen(Service::Cache))]
    }

    async fn database(&self) -> bool {
        let Ok(map) = MapName::new("") else { return false };
        let request = StoreRequest::Load(StateKey::new(SyncDataType::MapState, AccountId(0), map));
        matches!(
            timeout(duration(limits::HEALTH_PROBE_TIMEOUT), self.services.database.execute(&request)).await,
            Ok(Ok(_))
        )
    }

    async fn cache(&self) -> bool {
        let request = CacheRequest::Exists(CacheKey::Text("healthz".into()));
        matches!(
            timeout(duration(limits::HEALTH_PROBE_TIMEOUT), self.services.cache.execute(&request)).await,
            Ok(Ok(_))
        )
    }
}
