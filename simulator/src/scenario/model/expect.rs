//! What must hold.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Factor;
use crate::scenario::units::{Length, Share};

/// What must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The properties demanded, by id; `p2psim list --properties` explains each.
    pub properties: Vec<String>,
    /// Share of critical operations that may miss their deadline (property P19).
    #[serde(default)]
    pub critical_miss_ratio_max: Share,
    /// How long a critical operation may wait at its host for work that is not critical (property P20).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_blocking_max: Option<Length>,
    /// How long the work of a host that is not critical may stand still (property P20); not bounded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal_stall_max: Option<Length>,
    /// How long the cache may serve a value after a newer one took effect (property P23); its lifetime when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_reads_max: Option<Length>,
    /// How often a primary may lose its map (property P31); not bounded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primaries_lost_max: Option<u32>,
    /// When goodput has to be back after an overload (property P22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// How much more is asked for than can be done in an overload, both as measured in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload: Option<Overload>,
    /// Copies of a row that a peer receives for each that it needs; among peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_max: Option<Factor>,
    /// From a commit until any other peer holds what was written, or something greater; among peers (property P17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness_max: Option<Length>,
    /// From the last fault's end until every peer holds the same; among peers. `settle` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converge_within: Option<Length>,
    /// Bounds that count in the live rig in place of those above; among peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveBounds>,
    /// How often the embedding provider is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderBounds>,
    /// Figures with an upper bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at_most: BTreeMap<Figure, Length>,
}

/// Bounds for real peers, which take time to start, to look for what was written and to share a machine. What is absent
/// stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveBounds {
    /// In place of `staleness_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness_max: Option<Length>,
    /// In place of `converge_within`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converge_within: Option<Length>,
    /// In place of `copies_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_max: Option<Factor>,
}

impl Expect {
    /// What must hold in the live rig.
    #[must_use]
    pub fn live(&self) -> Self {
        let live = self.live.clone().unwrap_or_default();
        Self {
            staleness_max: live.staleness_max.or(self.staleness_max),
            converge_within: live.converge_within.or(self.converge_within),
            copies_max: live.copies_max.or(self.copies_max),
            ..self.clone()
        }
    }

    /// What must hold where nobody can say how long things may take, such as on a machine that is shared: everything but
    /// durations and what follows from them. A result after its deadline is still no success (P19), arrivals are still handed
    /// over in time (P30), and waiting for peers to hold the same keeps its end.
    #[must_use]
    pub fn untimed(&self) -> Self {
        let is_timed = |id: &String| TIMED.contains(&id.as_str());
        Self {
            properties: self.properties.iter().filter(|id| !is_timed(id)).cloned().collect(),
            critical_miss_ratio_max: Share::from_ppm(1_000_000),
            critical_blocking_max: Some(Length::from_ms(LONG_MS)),
            normal_stall_max: None,
            stale_reads_max: None,
            // Who does not report for a while loses its map.
            primaries_lost_max: None,
            recovery: None,
            overload: None,
            staleness_max: None,
            at_most: BTreeMap::new(),
            ..self.clone()
        }
    }
}

/// Properties that are bounds of time and nothing else: staleness, recovery after an overload.
const TIMED: [&str; 2] = ["P17", "P22"];

/// No run takes that long.
const LONG_MS: u64 = 86_400_000;

/// Goodput after an overload: of the operations intended later than `overload_ends` and `within` together, at
/// least `goodput_min` are done within `latency_max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// When the load is normal again.
    pub overload_ends: Length,
    /// How long the system may take from then on.
    pub within: Length,
    /// Share of the operations after that which are done in time.
    #[serde(default = "default_goodput")]
    pub goodput_min: Share,
    /// From the intended moment to the result of an operation done in time.
    #[serde(default = "default_good_latency")]
    pub latency_max: Length,
}

/// An overload: between `from` and `until`, at least `factor_min` times as many operations a second are asked for as
/// are answered in the best second of that time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// When it begins.
    pub from: Length,
    /// When it ends; at least a second later.
    pub until: Length,
    /// How many times as much, 1 to 1,000.
    #[schemars(range(min = 1, max = 1_000))]
    pub factor_min: u32,
}

/// How often the embedding provider is asked; each attempt is a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderBounds {
    /// Calls at the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_min: Option<u32>,
    /// Calls at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_max: Option<u32>,
    /// Calls answered with an error or never, at the least: shows that a fault was felt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_min: Option<u32>,
    /// Calls answered with an error or never, at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_max: Option<u32>,
}

/// A figure of the summary that a scenario can bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Median latency of critical operations, from the intended moment.
    CriticalP50,
    /// 95th percentile of critical operations.
    CriticalP95,
    /// 99th percentile of critical operations.
    CriticalP99,
    /// 99.9th percentile of critical operations.
    CriticalP999,
    /// Median latency of all other operations.
    NormalP50,
    /// 95th percentile of all other operations.
    NormalP95,
    /// 99th percentile of all other operations.
    NormalP99,
    /// 99.9th percentile of all other operations.
    NormalP999,
}

fn default_goodput() -> Share {
    Share::from_ppm(990_000)
}

fn default_good_latency() -> Length {
    Length::from_ms(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn untimed_leaves_no_bound_of_time() {
        let text = "name: some\nabout: Something.\nduration: 10s\ntopology: { hosts: 2 }\nexpect:\n  \
                    properties: [P5, P19, P22]\n  critical_blocking_max: 50ms\n  normal_stall_max: 5s\n  \
                    overload: { from: 2s, until: 5s, factor_min: 3 }\n  \
                    recovery: { overload_ends: 5s, within: 2s }\n  at_most: { critical_p999: 500ms }\n";
        let expect = Scenario::parse("some.yaml", text.as_bytes()).unwrap().expect;
        let untimed = expect.untimed();
        assert_eq!(untimed.properties, ["P5", "P19"]);
        assert_eq!(untimed.critical_miss_ratio_max.ppm(), 1_000_000);
        assert!(untimed.at_most.is_empty() && untimed.recovery.is_none() && untimed.overload.is_none());
        assert_eq!(untimed.critical_blocking_max, Some(Length::from_ms(LONG_MS)));
    }
}
