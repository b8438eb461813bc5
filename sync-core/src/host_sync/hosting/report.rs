//! What travels in an operation of kind `report`, and in the reply to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::metrics::{HostMetrics, MetricsOutOfRange};
use crate::id::MapName;
use crate::limits;
use crate::store::hosting::{Assignment, Part};

/// A host's report, which is also its sign of life: what it measures and which maps it offers to host. A map
/// that is not named any more is given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What it measures.
    #[serde(default)]
    pub metrics: HostMetrics,
    /// Maps it offers to host, at most [`limits::MAPS_OFFERED_MAX`].
    #[serde(default)]
    pub maps: Vec<MapName>,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidReport {
    /// It has not the form of a report.
    #[error("it is not a report: {0}")]
    Form(String),
    /// A number that nothing can measure.
    #[error(transparent)]
    Metrics(MetricsOutOfRange),
    /// Too many maps.
    #[error("{0} maps are offered, at most {max} are taken", max = limits::MAPS_OFFERED_MAX)]
    Maps(usize),
}

impl Report {
    /// The report's JSON text.
    pub fn to_json(&self) -> String {
        // Plain numbers and names into memory: serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a report. Maps come in the order of their names, each once.
    pub fn read(json: &str) -> Result<Self, InvalidReport> {
        // Serde would take an array for the fields in their order.
        if !json.trim_start().starts_with('{') {
            return Err(InvalidReport::Form("it is no JSON object".to_owned()));
        }
        let mut report: Self =
            serde_json::from_str(json).map_err(|error| InvalidReport::Form(error.to_string()))?;
        report.metrics.check().map_err(InvalidReport::Metrics)?;
        if report.maps.len() > limits::MAPS_OFFERED_MAX {
            return Err(InvalidReport::Maps(report.maps.len()));
        }
        if report.maps.iter().any(|map| map.as_str().is_empty()) {
            return Err(InvalidReport::Form("the empty name is no map's".to_owned()));
        }
        report.maps.sort();
        report.maps.dedup();
        Ok(report)
    }
}

/// Payload of the reply: the parts that the host plays, in the order of the maps' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentsPayload {
    /// One for each map.
    pub assignments: Vec<AssignmentLine>,
}

/// One part on one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentLine {
    /// The map.
    pub map_name: MapName,
    /// The part.
    pub part: Part,
    /// The epoch of the map in which the part was given.
    pub epoch: u64,
}

impl AssignmentsPayload {
    /// The payload of these assignments.
    pub fn of(assignments: &[Assignment]) -> Self {
        let line = |a: &Assignment| AssignmentLine { map_name: a.map.clone(), part: a.part, epoch: a.epoch };
        Self { assignments: assignments.iter().map(line).collect() }
    }

    /// The payload's JSON text.
    pub fn to_json(&self) -> Arc<str> {
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_stable_names_and_is_read_strictly() {
        let maps = ["prontera", "geffen", "prontera"].map(|map| MapName::new(map).unwrap()).to_vec();
        let report = Report { metrics: HostMetrics { cpu_mhz: 3_400, ..HostMetrics::default() }, maps };
        let json = report.to_json();
        assert_eq!(
            json,
            r#"{"metrics":{"cpu_mhz":3400,"cpu_cores":0,"free_ram_mb":0,"network_speed_mbps":0,"latency_ms":60000,"disconnects_per_hour":3600,"vps_connection_active":false},"maps":["prontera","geffen","prontera"]}"#
        );
        let read = Report::read(&json).unwrap();
        assert_eq!(read.maps.iter().map(MapName::as_str).collect::<Vec<_>>(), ["geffen", "prontera"]);
        assert_eq!(read.metrics, report.metrics);
        for wrong in [
            "",
            "[]",
            r#"{"metric":{}}"#,
            r#"{"maps":["no map!"]}"#,
            r#"{"maps":[""]}"#,
            r#"{"metrics":{"cpu_mhz":-1}}"#,
        ] {
            assert!(matches!(Report::read(wrong), Err(InvalidReport::Form(_))), "{wrong}");
        }
        let many: Vec<_> = (0..=limits::MAPS_OFFERED_MAX).map(|n| format!("\"m{n}\"")).collect();
        let refused = Report::read(&format!(r#"{{"maps":[{}]}}"#, many.join(",")));
        assert_eq!(refused, Err(InvalidReport::Maps(limits::MAPS_OFFERED_MAX + 1)));
    }
}
