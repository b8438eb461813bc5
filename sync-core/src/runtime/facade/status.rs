//! How the system does, for people and programs.

use serde::Serialize;

use super::P2pDataSync;
use crate::runtime::driver::host::HostStatus;

/// How the system does. Holds no secret: no key, and not the main server's address either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SystemStatus {
    /// Version of the core.
    pub version: &'static str,
    /// The account that this host acts for.
    pub account_id: u32,
    /// Whether operations are still accepted.
    pub is_running: bool,
    /// Operations that wait for a slot.
    pub waiting: usize,
    /// Operations that hold one.
    pub under_way: usize,
    /// `max_queue_size`.
    pub max_queue_size: usize,
    /// Operations accepted since the start.
    pub accepted: u64,
    /// Operations refused since the start.
    pub refused: u64,
    /// Attempts made since the start.
    pub attempts: u64,
    /// Operations ended since the start, critical ones included.
    pub finished: u64,
    /// Of those, critical ones that ended at their deadline.
    pub deadline_exceeded: u64,
    /// `debug_mode`.
    pub debug_mode: bool,
}

impl P2pDataSync {
    /// How the system does now.
    pub async fn get_status(&self) -> SystemStatus {
        let status = self.host.status().await;
        let HostStatus { waiting, under_way, counters } = status.unwrap_or_default();
        SystemStatus {
            version: env!("CARGO_PKG_VERSION"),
            account_id: self.account.0,
            is_running: status.is_ok(),
            waiting,
            under_way,
            max_queue_size: self.config.queue_max,
            accepted: counters.accepted,
            refused: counters.refused,
            attempts: counters.attempts,
            finished: counters.finished,
            deadline_exceeded: counters.deadline_exceeded,
            debug_mode: self.config.debug_mode,
        }
    }
}
