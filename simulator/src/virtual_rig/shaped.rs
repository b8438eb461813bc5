//! Values in the published form of their type, reports of hosts, and values that are invalid on purpose.
//!
//! Each value names its operation as every other does, so that its effect is recognised wherever it shows.

use std::fmt::Write as _;
use std::sync::Arc;

use sync_core::data_type::SyncDataType;
use sync_core::host_sync::hosting::{HostMetrics, Report};
use sync_core::id::MapName;

use super::services::begin_value;
use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::scenario::model::{Hostile, MixEntry};

/// The value that an operation writes at this moment, in the form of its type, and invalid if it is to be.
pub(super) fn value(op: OpRef, entry: &MixEntry, map: &MapName, at_us: u64, text: &mut String) -> Arc<str> {
    begin_value(op, text);
    let account = u64::from(op.host) + 1;
    let hostile = entry.hostile;
    let (x, y) = match hostile {
        Some(Hostile::OutOfBounds) => (1_000_000, 0),
        Some(Hostile::Teleport) => (WALK_CELLS + FAR_CELLS, 511),
        _ => (walked(at_us), u64::from(op.host) % 100),
    };
    let said = if matches!(hostile, Some(Hostile::WrongAccount | Hostile::ForeignMap)) {
        account + 1
    } else {
        account
    };
    let level = if hostile == Some(Hostile::ImpossibleMonster) { 9_999 } else { 10 };
    let amount = if hostile == Some(Hostile::DropRate) { AT_ONCE } else { 1 };
    let ends = text.len();
    let written = match entry.data_type.get() {
        SyncDataType::PlayerPosition | SyncDataType::PlayerData => {
            write!(text, r#","account_id":{said},"position":{{"x":{x},"y":{y},"m":"{map}"}}"#)
        }
        SyncDataType::MapState => write!(text, r#","map_name":"{map}","host_id":{said}"#),
        SyncDataType::SecurityValidation => write!(
            text,
            r#","host_id":{account},"map_name":"{map}","validation_type":"DROP_RATE","result":true,"timestamp":0"#
        ),
        SyncDataType::MonsterData if hostile == Some(Hostile::SpawnRate) => {
            let one = r#"{"level":1,"hp":1,"max_hp":1,"position":{"x":1,"y":1}}"#;
            let all = vec![one; AT_ONCE as usize].join(",");
            write!(text, r#","map_name":"{map}","spawned":{AT_ONCE},"monsters":[{all}]"#)
        }
        SyncDataType::CriticalGameState if hostile == Some(Hostile::SkillForm) => {
            write!(text, r#","account_id":{account},"skill_id":"46""#)
        }
        SyncDataType::MonsterData => write!(
            text,
            r#","map_name":"{map}","spawned":0,"monsters":[{{"level":{level},"hp":1,"max_hp":1,"position":{{"x":1,"y":1}}}}]"#
        ),
        SyncDataType::ItemDrop => {
            write!(text, r#","map_name":"{map}","item_id":501,"amount":{amount},"position":{{"x":1,"y":1}}"#)
        }
        _ => Ok(()),
    };
    if written.is_err() {
        text.truncate(ends);
    }
    match hostile {
        Some(Hostile::TooDeep) => {
            let _ = write!(text, r#","deep":{}{}"#, "[".repeat(DEPTH), "]".repeat(DEPTH));
        }
        Some(Hostile::Oversized) => {
            let _ = write!(text, r#","long":"{}""#, "x".repeat(OVERSIZED_BYTES));
        }
        _ => {}
    }
    if hostile != Some(Hostile::Malformed) {
        text.push('}');
    }
    text.as_str().into()
}

/// What a host reports: it is fit, and offers its map. What it measures is its own for the whole run.
pub(super) fn report(draws: Draws, host: u32, map: &MapName) -> Arc<str> {
    let drawn = |bound: u64, ordinal| draws.below(bound, Label::HostMetrics, u64::from(host), ordinal) as u32;
    let metrics = HostMetrics {
        cpu_mhz: 3_000 + drawn(2_000, 0),
        cpu_cores: 4 + drawn(13, 1),
        free_ram_mb: 8_192 + drawn(24_577, 2),
        network_speed_mbps: 100 + drawn(901, 3),
        latency_ms: 5 + drawn(26, 4),
        disconnects_per_hour: drawn(2, 5),
        vps_connection_active: true,
    };
    Report { metrics, maps: vec![map.clone()] }.to_json().into()
}

/// Where somebody is who walks to and fro, five cells a second.
fn walked(at_us: u64) -> u64 {
    let cells = at_us / 200_000 % (2 * WALK_CELLS);
    cells.min(2 * WALK_CELLS - cells)
}

/// Length of the walk.
const WALK_CELLS: u64 = 100;
/// How far off a teleport ends at the least: 15 seconds at the greatest speed allowed.
const FAR_CELLS: u64 = 304;
/// More monsters or items at once than the rules built in allow.
const AT_ONCE: u64 = 201;
/// Deeper than the rules built in allow.
const DEPTH: usize = 20;
/// More than the rules built in allow for a position or a line of chat.
const OVERSIZED_BYTES: usize = 2_000;

#[cfg(test)]
mod tests {
    use sync_core::host_sync::validate::Rules;

    use super::super::services::written_op;
    use super::*;
    use crate::scenario::model::MixKind;
    use crate::scenario::units::DataType;

    fn entry(data_type: SyncDataType, hostile: Option<Hostile>) -> MixEntry {
        let data_type = DataType::new(data_type);
        let kind = MixKind::SyncTo;
        MixEntry {
            data_type,
            kind,
            critical: false,
            priority: false,
            weight: 1,
            bytes: 96,
            map: None,
            hostile,
        }
    }

    #[test]
    fn every_value_names_its_operation_and_only_a_malformed_one_is_no_json() {
        let op = OpRef { host: 7, ticket: 3 << 40 | 9 };
        let map = MapName::new("map1").unwrap();
        let hostile = [
            Hostile::Malformed,
            Hostile::TooDeep,
            Hostile::Oversized,
            Hostile::OutOfBounds,
            Hostile::SpawnRate,
            Hostile::DropRate,
            Hostile::SkillForm,
            Hostile::ForeignMap,
        ];
        for hostile in hostile.into_iter().map(Some).chain([None]) {
            for data_type in SyncDataType::ALL {
                let value = value(op, &entry(data_type, hostile), &map, 1_000_000, &mut String::new());
                assert_eq!(written_op(&value), Some(op));
                let is_json = serde_json::from_str::<serde_json::Value>(&value).is_ok();
                assert_eq!(is_json, hostile != Some(Hostile::Malformed), "{value}");
            }
        }
    }

    #[test]
    fn the_walk_stays_on_its_way_and_is_slower_than_the_rules_allow() {
        let speed = Rules::built_in().movement.unwrap().cells_per_second_max.get();
        let places: Vec<_> = (0..120).map(|second| walked(second * 1_000_000)).collect();
        assert!(places.iter().all(|cells| *cells <= WALK_CELLS));
        assert!(places.windows(2).all(|w| w[0].abs_diff(w[1]) * 4 <= speed));
        assert!(FAR_CELLS >= 15 * speed);
        let rules = Rules::built_in();
        assert!(
            rules.spawn.unwrap().burst_max.get() < AT_ONCE && rules.drop.unwrap().burst_max.get() < AT_ONCE
        );
    }

    #[test]
    fn a_report_is_one_and_its_host_is_fit() {
        for host in 0..100 {
            let map = MapName::new("map1").unwrap();
            let report = Report::read(&report(Draws::new(3), host, &map)).unwrap();
            assert!(report.metrics.is_fit() && report.maps == [map]);
        }
    }
}
