//! What a host measures of itself, the minimum a primary needs, and the score by which hosts are compared.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;

/// What a host measures of itself, in whole numbers. A number that is missing counts as the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostMetrics {
    /// Clock of a core in MHz, 0 to 100,000.
    pub cpu_mhz: u32,
    /// Cores, 0 to 4,096.
    pub cpu_cores: u32,
    /// Free memory in MB, 0 to 16,777,216.
    pub free_ram_mb: u32,
    /// Network speed in Mbit/s, 0 to 1,000,000.
    pub network_speed_mbps: u32,
    /// Latency to the main server in ms, 0 to 60,000.
    pub latency_ms: u32,
    /// Disconnects in the last hour, 0 to 3,600.
    pub disconnects_per_hour: u32,
    /// Whether the host can be reached through the main server's own machines.
    pub vps_connection_active: bool,
}

/// A measured number that nothing can measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{name} is {value}, at most {max} is taken")]
pub struct MetricsOutOfRange {
    /// Which.
    pub name: &'static str,
    /// What was reported.
    pub value: u32,
    /// The bound.
    pub max: u32,
}

impl Default for HostMetrics {
    /// The worst of everything.
    fn default() -> Self {
        Self {
            cpu_mhz: 0,
            cpu_cores: 0,
            free_ram_mb: 0,
            network_speed_mbps: 0,
            latency_ms: limits::HOST_LATENCY_MS_MAX,
            disconnects_per_hour: limits::HOST_DISCONNECTS_MAX,
            vps_connection_active: false,
        }
    }
}

impl HostMetrics {
    /// Refuses numbers that nothing can measure: a host could otherwise win every map with one of them.
    pub fn check(&self) -> Result<(), MetricsOutOfRange> {
        let bounds = [
            ("cpu_mhz", self.cpu_mhz, limits::HOST_CPU_MHZ_MAX),
            ("cpu_cores", self.cpu_cores, limits::HOST_CPU_CORES_MAX),
            ("free_ram_mb", self.free_ram_mb, limits::HOST_FREE_RAM_MB_MAX),
            ("network_speed_mbps", self.network_speed_mbps, limits::HOST_NETWORK_MBPS_MAX),
            ("latency_ms", self.latency_ms, limits::HOST_LATENCY_MS_MAX),
            ("disconnects_per_hour", self.disconnects_per_hour, limits::HOST_DISCONNECTS_MAX),
        ];
        match bounds.into_iter().find(|(_, value, max)| value > max) {
            Some((name, value, max)) => Err(MetricsOutOfRange { name, value, max }),
            None => Ok(()),
        }
    }

    /// Whether the host may be the primary of a map: every minimum of the specification.
    pub fn is_fit(&self) -> bool {
        self.vps_connection_active
            && self.cpu_mhz >= limits::HOST_CPU_MHZ_MIN
            && self.cpu_cores >= limits::HOST_CPU_CORES_MIN
            && self.free_ram_mb >= limits::HOST_FREE_RAM_MB_MIN
            && self.network_speed_mbps >= limits::HOST_NETWORK_MBPS_MIN
            && self.latency_ms <= limits::HOST_LATENCY_MS_FIT_MAX
            && self.disconnects_per_hour <= limits::HOST_DISCONNECTS_FIT_MAX
    }

    /// The score of the specification in millionths, each term rounded down: 0.2 × GHz × cores / 3.0 GHz, 0.2 × free
    /// memory / 8192 MB, 0.2 × network / 100 Mbit/s, 0.3 × 30 ms / (latency + 1 ms) and 0.1 × (1 − disconnects /
    /// 1 an hour). No term is clamped, as published: more of one makes up for less of another, and many
    /// disconnects make the last one negative. What bounds it is [`check`](Self::check).
    pub fn score_millionths(&self) -> i64 {
        let term = |millionths: u64, value: u64, of: u64| (millionths * value / of) as i64;
        term(
            200_000,
            u64::from(self.cpu_mhz) * u64::from(self.cpu_cores),
            u64::from(limits::HOST_CPU_MHZ_MIN),
        ) + term(200_000, u64::from(self.free_ram_mb), u64::from(limits::HOST_FREE_RAM_MB_MIN))
            + term(200_000, u64::from(self.network_speed_mbps), u64::from(limits::HOST_NETWORK_MBPS_MIN))
            + term(300_000, u64::from(limits::HOST_LATENCY_MS_FIT_MAX), u64::from(self.latency_ms) + 1)
            + 100_000
            - term(100_000, u64::from(self.disconnects_per_hour), u64::from(limits::HOST_DISCONNECTS_FIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exactly what a primary needs.
    const MINIMUM: HostMetrics = HostMetrics {
        cpu_mhz: 3_000,
        cpu_cores: 4,
        free_ram_mb: 8_192,
        network_speed_mbps: 100,
        latency_ms: 30,
        disconnects_per_hour: 1,
        vps_connection_active: true,
    };

    #[test]
    fn the_score_is_that_of_the_specification() {
        // 0.2 × 4 + 0.2 + 0.2 + 0.3 × 30 / 31 + 0.
        assert_eq!(MINIMUM.score_millionths(), 800_000 + 200_000 + 200_000 + 290_322);
        let near = HostMetrics { latency_ms: 0, disconnects_per_hour: 0, ..MINIMUM };
        assert_eq!(near.score_millionths(), 1_200_000 + 9_000_000 + 100_000);
        let unsteady = HostMetrics { disconnects_per_hour: 21, ..MINIMUM };
        assert_eq!(unsteady.score_millionths(), MINIMUM.score_millionths() - 2_000_000);
    }

    #[test]
    fn each_minimum_counts() {
        assert!(MINIMUM.is_fit());
        let changes: [fn(&mut HostMetrics); 7] = [
            |m| m.cpu_mhz -= 1,
            |m| m.cpu_cores -= 1,
            |m| m.free_ram_mb -= 1,
            |m| m.network_speed_mbps -= 1,
            |m| m.latency_ms += 1,
            |m| m.disconnects_per_hour += 1,
            |m| m.vps_connection_active = false,
        ];
        for change in changes {
            let mut less = MINIMUM;
            change(&mut less);
            assert!(!less.is_fit() && less.score_millionths() <= MINIMUM.score_millionths(), "{less:?}");
        }
    }

    #[test]
    fn what_is_missing_is_the_worst_and_what_nothing_measures_is_refused() {
        let nothing: HostMetrics = serde_json::from_str("{}").unwrap();
        assert!(nothing == HostMetrics::default() && !nothing.is_fit() && nothing.check().is_ok());
        assert!(nothing.score_millionths() < 0);
        let boast = HostMetrics { cpu_mhz: 100_001, ..MINIMUM };
        assert_eq!(boast.check().unwrap_err().to_string(), "cpu_mhz is 100001, at most 100000 is taken");
    }
}
