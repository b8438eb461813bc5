//! The interface of the specification's `P2PDataSync`, for a host's program: asynchronous, with typed errors.
//!
//! Nothing here decides: each function hands the [session](crate::host_sync::session) one question and tells
//! what it said (docs/facade.md has the table). Applications that need more control use
//! [`Host`] itself.

mod debug;
mod embeddings;
mod entries;
mod error;
mod hosting;
mod results;
mod status;
mod updates;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;
use crate::data_type::SyncDataType;
use crate::host_sync::operation::Ask;
use crate::id::{AccountId, MapName, OperationId};
use crate::limits;
use crate::runtime::driver::host::configured;
use crate::runtime::driver::host::{Host, HostError, Stopped};
use crate::time::Span;
use crate::wire::Kind;

pub use error::{InitError, SyncError};
pub use hosting::{Reported, Reporting};
pub use results::SyncResult;
pub use status::SystemStatus;
pub use updates::CriticalUpdates;

/// What [`P2pDataSync::wait_for_sync_result`] waits for at most, unless another bound is given.
pub const WAIT_DEFAULT: Span = limits::SYNC_RESULT_WAIT_DEFAULT;

/// A host's side of the system. Functions may be called from any task; [`shut_down`](Self::shut_down) ends it
/// in order, and dropping it at once.
#[derive(Debug)]
pub struct P2pDataSync {
    config: Config,
    account: AccountId,
    host: Host,
    next_ticket: Arc<AtomicU64>,
}

impl P2pDataSync {
    /// Starts the system with the configuration file at `path`, which is a host's. Must be called within a
    /// tokio runtime. The main server need not be there yet.
    ///
    /// # Errors
    /// When the file cannot be read, has mistakes, or is not a host's.
    pub async fn init(path: impl AsRef<Path>) -> Result<Self, InitError> {
        let path = path.as_ref().to_owned();
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || std::fs::read(path)).await
        };
        let bytes = read
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| InitError::File { path: path.clone(), error })?;
        let (config, warnings) = Config::parse(&path.to_string_lossy(), &bytes).map_err(InitError::Config)?;
        for warning in warnings {
            tracing::warn!(target: debug::TARGET, "{warning}");
        }
        Self::start(config)
    }

    /// The same with a configuration that has been read. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it is not a host's.
    pub fn start(config: Config) -> Result<Self, InitError> {
        let parts = configured::parts(&config)?;
        let account = parts.account;
        let host = if config.debug_mode {
            debug::settings(&config);
            Host::start_with_tap(parts.session(), parts.client, parts.options, debug::DebugLog)
        } else {
            Host::start(parts.session(), parts.client, parts.options)
        };
        Ok(Self { config, account, host, next_ticket: Arc::default() })
    }

    /// Accepts nothing more, gives what is under way `drain` to end, and says how many operations that cut
    /// short. Whatever else holds this system, such as reports at intervals, hears that it has stopped.
    pub async fn shut_down(&self, drain: Span) -> Stopped {
        self.host.shutdown(drain).await
    }

    /// The account that this host acts for: that of its key.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Sends a state or an event to the main server; the result comes under the id that this gives, as soon as
    /// the operation is accepted.
    ///
    /// HOST_METRICS go as a [`report`](Self::report), since nothing else makes them count: `data` is the JSON text of a
    /// [`Report`](crate::host_sync::hosting::Report), no map is named in the operation, `priority` says nothing, and the
    /// payload of the result has the parts that the host plays.
    ///
    /// # Errors
    /// When it is not accepted; it has no effect then.
    pub async fn sync_to_main_server(
        &self,
        data_type: SyncDataType,
        account: AccountId,
        map_name: &str,
        data: &str,
        priority: bool,
    ) -> Result<OperationId, SyncError> {
        self.begin(Kind::SyncTo, data_type, account, map_name, data, (false, priority)).await
    }

    /// Asks the main server for a state; `request` is JSON text of any kind. The payload of the result has the
    /// state and its version.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn sync_from_main_server(
        &self,
        data_type: SyncDataType,
        account: AccountId,
        map_name: &str,
        request: &str,
        priority: bool,
    ) -> Result<OperationId, SyncError> {
        self.begin(Kind::SyncFrom, data_type, account, map_name, request, (false, priority)).await
    }

    /// Sends a state or an event that must arrive within `critical_timeout_ms`. It goes before all that is not
    /// critical, whatever `priority` says. HOST_METRICS go as with [`sync_to_main_server`](Self::sync_to_main_server): a
    /// report is never critical, and waits for no other work.
    ///
    /// # Errors
    /// When it is not accepted; it has no effect then.
    pub async fn sync_critical_data(
        &self,
        data_type: SyncDataType,
        account: AccountId,
        map_name: &str,
        data: &str,
        priority: bool,
    ) -> Result<OperationId, SyncError> {
        self.begin(Kind::SyncTo, data_type, account, map_name, data, (true, priority)).await
    }

    /// Critical updates of these maps from now on, of these types or, with none, of all.
    ///
    /// # Errors
    /// When a name can be no map's, or the address can no longer be spoken to.
    pub fn subscribe(&self, maps: &[&str], types: &[SyncDataType]) -> Result<CriticalUpdates, SyncError> {
        CriticalUpdates::start(&self.config, maps, types)
    }

    async fn begin(
        &self,
        kind: Kind,
        data_type: SyncDataType,
        account: AccountId,
        map_name: &str,
        data: &str,
        (critical, priority): (bool, bool),
    ) -> Result<OperationId, SyncError> {
        self.own(account)?;
        let map = MapName::new(map_name)?;
        let ticket = self.ticket();
        if (kind, data_type) == (Kind::SyncTo, SyncDataType::HostMetrics) {
            let ask = hosting::reporting(ticket, data.into())?;
            return self.host.begin(ask).await.map_err(SyncError::from);
        }
        let ask = Ask { ticket, kind, data_type, map, data: data.into(), critical, priority };
        self.host.begin(ask).await.map_err(SyncError::from)
    }

    /// A host acts for the account of its key and for no other.
    fn own(&self, account: AccountId) -> Result<(), SyncError> {
        if account == self.account {
            Ok(())
        } else {
            Err(SyncError::Account { asked: account.0, own: self.account.0 })
        }
    }

    fn ticket(&self) -> u64 {
        self.next_ticket.fetch_add(1, Ordering::Relaxed)
    }
}

impl From<HostError> for SyncError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Refused(error) => Self::Refused(error),
            HostError::TicketInUse(_) | HostError::Stopped => Self::Stopped,
        }
    }
}
