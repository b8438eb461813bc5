//! What a scenario says, as settings of engines and clocks.

use std::collections::BTreeSet;
use std::sync::Arc;

use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::host_sync::validate::Rules;
use sync_core::id::MapName;
use sync_core::limits;
use sync_core::time::Span;

use crate::draw::{Draws, Label};
use crate::scenario::model::Scenario;
use crate::virtual_rig::clock::NodeClock;

pub(super) fn session_settings(scenario: &Scenario) -> SessionSettings {
    let hosts = &scenario.hosts;
    SessionSettings {
        critical_timeout: hosts.critical_timeout.span(),
        critical_types: hosts.critical_data_types.iter().map(|data_type| data_type.get()).collect(),
        queue_max: hosts.max_queue_size as usize,
        workers: hosts.worker_threads as usize,
        critical_slots: hosts.critical_slots as usize,
        batch_max: hosts.host_batch_max as usize,
        // The harness keeps results itself; a session needs them for replies that come late.
        results_kept: (RESULTS_IN_ALL / scenario.topology.hosts as usize)
            .clamp(RESULTS_MIN, limits::RESULTS_KEPT),
        ..SessionSettings::default()
    }
}

pub(crate) fn server_settings(scenario: &Scenario) -> ServerSettings {
    let server = &scenario.main_server;
    let expiry = server.cache_expiry.span();
    ServerSettings {
        freshness_window: server.freshness_window.span(),
        cache_expiry: (expiry != Span::ZERO).then_some(expiry),
        batch_max: server.batch_max as usize,
        batches_in_flight_max: server.batches_in_flight_max as usize,
        health_check: (server.health_check.span() != Span::ZERO).then(|| server.health_check.span()),
        rules: server.rules.then(|| Arc::new(Rules::built_in())),
        critical_types: scenario.hosts.critical_data_types.iter().map(|data_type| data_type.get()).collect(),
        vector_maps: match scenario.embedding {
            Some(_) => (0..scenario.topology.maps).map(map_name).collect(),
            None => BTreeSet::new(),
        },
        embeds: scenario.embedding.is_some(),
        ..ServerSettings::default()
    }
}

pub(crate) fn host_clock(scenario: &Scenario, draws: Draws, host: u32) -> NodeClock {
    let either_way = |bound: u64, label| {
        let bound = i64::try_from(bound).unwrap_or(i64::MAX / 4);
        draws.below(2 * bound as u64 + 1, label, u64::from(host), 0) as i64 - bound
    };
    let drift = either_way(u64::from(scenario.clocks.drift_ppm), Label::Drift);
    let skew = either_way(scenario.clocks.skew.span().as_us(), Label::Skew);
    NodeClock::new(drift as i32, skew)
}

pub(crate) fn map_name(number: u32) -> MapName {
    MapName::new(&format!("map{number}")).unwrap_or_else(|_| unreachable!("letters and digits"))
}

/// Results that all simulated sessions together keep, so that ten thousand hosts fit into memory.
const RESULTS_IN_ALL: usize = 1_000_000;
/// Results that each simulated session keeps at the least.
const RESULTS_MIN: usize = 32;
