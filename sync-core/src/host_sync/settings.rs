//! What the two engines need to know of the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::validate::Rules;
use crate::data_type::TypeSet;
use crate::id::MapName;
use crate::limits;
use crate::time::Span;

/// Settings of a host's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// From the asking to the result of a critical operation (`critical_timeout_ms`).
    pub critical_timeout: Span,
    /// Types that are critical however they were asked for (`critical_data_types`).
    pub critical_types: TypeSet,
    /// Operations that wait, all lanes together (`max_queue_size`).
    pub queue_max: usize,
    /// Operations under way that are not critical (`worker_threads`).
    pub workers: usize,
    /// Slots that only critical operations use (`critical_slots`).
    pub critical_slots: usize,
    /// Waiting operations that are not critical and go to the server in one request, at least 1 (`host_batch_max`).
    pub batch_max: usize,
    /// One attempt at an operation that is not critical.
    pub request_timeout: Span,
    /// Attempts at one operation that is not critical.
    pub attempts_max: u32,
    /// Results remembered after the end.
    pub results_kept: usize,
    /// How long a result is remembered.
    pub result_retention: Span,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            critical_timeout: Span::from_ms(500),
            critical_types: TypeSet::default(),
            queue_max: 10_000,
            workers: 4,
            critical_slots: 4,
            batch_max: 1,
            request_timeout: limits::REQUEST_TIMEOUT,
            attempts_max: limits::ATTEMPTS_MAX,
            results_kept: limits::RESULTS_KEPT,
            result_retention: limits::RESULT_RETENTION,
        }
    }
}

/// Settings of the main server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// How far the time stamped on a request may lie from the server's (`freshness_window_ms`).
    pub freshness_window: Span,
    /// Bytes of `data` taken at the most.
    pub data_bytes_max: usize,
    /// Lifetime of a cached state; `None` never expires (`cache_expiry_seconds`, 0 for never).
    pub cache_expiry: Option<Span>,
    /// Operations in one `ApplyBatch`.
    pub batch_max: usize,
    /// `ApplyBatch` requests under way at once.
    pub batches_in_flight_max: usize,
    /// Requests open at once; past it the answer is 429.
    pub exchanges_max: usize,
    /// Types that are critical however they were asked for (`critical_data_types`).
    pub critical_types: TypeSet,
    /// Maps whose texts may be embedded and searched (`vector_eligible_maps`).
    #[serde(default)]
    pub vector_maps: BTreeSet<MapName>,
    /// Whether there is an embedding provider.
    #[serde(default)]
    pub embeds: bool,
    /// How often hosts that have fallen silent are looked for; `None` never.
    #[serde(default)]
    pub health_check: Option<Span>,
    /// What hosts may say; `None` judges form and size only.
    #[serde(default)]
    pub rules: Option<Arc<Rules>>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            freshness_window: Span::from_secs(30),
            data_bytes_max: limits::DATA_BYTES_MAX,
            cache_expiry: Some(Span::from_secs(3_600)),
            batch_max: limits::APPLY_BATCH_MAX,
            batches_in_flight_max: limits::APPLY_BATCHES_IN_FLIGHT_MAX,
            exchanges_max: limits::SERVER_EXCHANGES_MAX,
            critical_types: TypeSet::default(),
            vector_maps: BTreeSet::new(),
            embeds: false,
            health_check: None,
            rules: None,
        }
    }
}
