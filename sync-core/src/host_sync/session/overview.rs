//! What a session is doing at a moment, as plain data that can be shown or sent.

use serde::{Deserialize, Serialize};

use super::{Counters, Session};
use crate::host_sync::codec::HostCodec;
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::queue::Waiting;
use crate::id::AccountId;

/// A session at a moment. It holds no secret and nothing of what is synchronised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// Whose session it is.
    pub account: AccountId,
    /// Its life, as 16 hex digits.
    pub incarnation: String,
    /// Operations that wait, by lane.
    pub waiting: Waiting,
    /// How many may wait, all lanes together.
    pub waiting_max: usize,
    /// Operations that have been sent and have not ended.
    pub under_way: usize,
    /// Workers' slots that are held.
    pub workers_busy: usize,
    /// Workers' slots.
    pub workers: usize,
    /// Slots that only critical operations use and that are held.
    pub critical_slots_busy: usize,
    /// Slots that only critical operations use.
    pub critical_slots: usize,
    /// Whether it shuts down or has done so: nothing new is accepted.
    pub is_shutting_down: bool,
    /// Counts since its start.
    pub counters: Counters,
}

impl<C: HostCodec, E, P: SessionPolicy> Session<C, E, P> {
    /// The session as it is now.
    pub fn overview(&self) -> Overview {
        Overview {
            account: self.account,
            incarnation: self.incarnation.to_string(),
            waiting: self.queue.waiting(),
            waiting_max: self.settings.queue_max,
            under_way: self.under_way.len(),
            workers_busy: self.workers_busy,
            workers: self.settings.workers,
            critical_slots_busy: self.reserved_busy,
            critical_slots: self.critical_slots,
            is_shutting_down: self.drain_until.is_some(),
            counters: self.counters,
        }
    }
}
