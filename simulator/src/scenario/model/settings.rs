//! Settings of hosts and main servers, and the hosts' clocks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::topology::is_one;
use crate::scenario::units::{DataType, Length};

/// Settings of every host, named as in `p2p_data_sync.conf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    /// From the asking to the result of a critical operation.
    pub critical_timeout: Length,
    /// Types that are critical however they were asked for.
    pub critical_data_types: Vec<DataType>,
    /// Operations that may wait at one host.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_queue_size: u32,
    /// Operations under way at one host that are not critical.
    #[schemars(range(min = 1, max = 256))]
    pub worker_threads: u32,
    /// Slots that only critical operations use.
    #[schemars(range(max = 256))]
    pub critical_slots: u32,
    /// Waiting operations that are not critical and travel in one request, in the slot of one.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 256))]
    pub host_batch_max: u32,
}

/// Settings of the main server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MainServerSettings {
    /// How far the time on a request may lie from the server's clock.
    pub freshness_window: Length,
    /// Lifetime of a cached state; `0s` never expires.
    pub cache_expiry: Length,
    /// Operations in one database transaction.
    #[schemars(range(min = 1, max = 256))]
    pub batch_max: u32,
    /// Database transactions under way at once.
    #[schemars(range(min = 1, max = 64))]
    pub batches_in_flight_max: u32,
    /// How often hosts that have fallen silent are looked for; `0s` never. A host that has not reported for 45
    /// seconds is dropped.
    #[serde(skip_serializing_if = "is_never")]
    pub health_check: Length,
    /// Whether the rules built in hold for what hosts write; values then have the published form of their type.
    #[serde(skip_serializing_if = "is_false")]
    pub rules: bool,
}

/// The hosts' clocks; the main server's is the world's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Each host's wall clock is off by up to this much, either way.
    pub skew: Length,
    /// Each host's clock runs fast or slow by up to this many parts in a million.
    #[schemars(range(max = 100_000))]
    pub drift_ppm: u32,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            critical_timeout: Length::from_ms(500),
            critical_data_types: Vec::new(),
            max_queue_size: 10_000,
            worker_threads: 4,
            critical_slots: 4,
            host_batch_max: 1,
        }
    }
}

impl Default for MainServerSettings {
    fn default() -> Self {
        Self {
            freshness_window: Length::from_ms(30_000),
            cache_expiry: Length::from_ms(3_600_000),
            batch_max: 256,
            batches_in_flight_max: 16,
            health_check: Length::ZERO,
            rules: false,
        }
    }
}

fn is_never(length: &Length) -> bool {
    *length == Length::ZERO
}

fn is_false(value: &bool) -> bool {
    !value
}
