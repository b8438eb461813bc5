//! Strategies for what is asked and answered about hosts, conditions and findings.

use std::sync::Arc;

use proptest::prelude::*;
use sync_core::host_sync::hosting::HostMetrics;
use sync_core::id::AccountId;
use sync_core::store::condition::{Condition, PaceRule};
use sync_core::store::hosting::{Assignment, Change, HostReport, MapHosts, Part};
use sync_core::store::validation::{SecurityValidation, ValidationType};
use sync_core::store::{StoreReply, StoreRequest, Verdict};

use super::{map, moment, text};

fn pace_rule() -> impl Strategy<Value = PaceRule> {
    prop::sample::select(PaceRule::ALL.to_vec())
}

pub(super) fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        any::<u64>().prop_map(|epoch| Verdict::Fenced { epoch }),
        any::<(u32, u32)>().prop_map(|(cells, cells_max)| Verdict::Unreachable { cells, cells_max }),
        (pace_rule(), any::<u64>()).prop_map(|(rule, wait_ms)| Verdict::TooOften { rule, wait_ms }),
    ]
}

pub(super) fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        any::<(u32, u32, u32, u32)>().prop_map(|(x, y, slack_cells, millicells_per_second)| {
            Condition::Reach { x, y, slack_cells, millicells_per_second }
        }),
        (pace_rule(), any::<(u32, u64, u64)>()).prop_map(|(rule, (subject, cost_us, ahead_us_max))| {
            Condition::Pace { rule, subject, cost_us, ahead_us_max }
        }),
    ]
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let part = prop::sample::select(vec![Part::Primary, Part::Backup, Part::Assistant]);
    (map(), any::<u32>(), part, any::<u64>()).prop_map(|(map, account, part, epoch)| Assignment {
        map,
        account: AccountId(account),
        part,
        epoch,
    })
}

fn assignments() -> impl Strategy<Value = Vec<Assignment>> {
    prop::collection::vec(assignment(), 0..3)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (assignment(), any::<bool>()).prop_map(|(assignment, began)| Change { assignment, began });
    prop::collection::vec(change, 0..3)
}

pub(super) fn reply() -> impl Strategy<Value = StoreReply> {
    prop_oneof![
        (prop::collection::vec(assignments(), 0..3), changes())
            .prop_map(|(assignments, changes)| StoreReply::Reported { assignments, changes }),
        (any::<u64>(), changes()).prop_map(|(dropped, changes)| StoreReply::Swept { dropped, changes }),
        (any::<u64>(), assignments())
            .prop_map(|(epoch, assignments)| StoreReply::Hosts(MapHosts { epoch, assignments })),
        any::<u64>().prop_map(StoreReply::Recorded),
    ]
}

pub(super) fn request() -> impl Strategy<Value = StoreRequest> {
    let metrics = any::<([u32; 6], bool)>().prop_map(|(numbers, vps_connection_active)| {
        let [cpu_mhz, cpu_cores, free_ram_mb, network_speed_mbps, latency_ms, disconnects_per_hour] = numbers;
        HostMetrics {
            cpu_mhz,
            cpu_cores,
            free_ram_mb,
            network_speed_mbps,
            latency_ms,
            disconnects_per_hour,
            vps_connection_active,
        }
    });
    let report = (any::<u32>(), metrics, prop::collection::vec(map(), 0..3))
        .prop_map(|(account, metrics, maps)| HostReport { account: AccountId(account), metrics, maps });
    let validations = prop::sample::select(vec![
        ValidationType::SpawnRate,
        ValidationType::DropRate,
        ValidationType::MonsterStats,
        ValidationType::PlayerMovement,
        ValidationType::SkillUsage,
        ValidationType::DataForm,
        ValidationType::AccountRights,
    ]);
    let finding = (any::<u32>(), map(), validations, any::<bool>(), text(), moment()).prop_map(
        |(account, map, validation, is_valid, details, at)| SecurityValidation {
            account: AccountId(account),
            map,
            validation,
            is_valid,
            details,
            at,
        },
    );
    prop_oneof![
        prop::collection::vec(report, 0..3).prop_map(|reports| StoreRequest::ReportHosts(Arc::new(reports))),
        Just(StoreRequest::SweepHosts),
        map().prop_map(StoreRequest::LoadHosts),
        prop::collection::vec(finding, 0..3)
            .prop_map(|found| StoreRequest::RecordValidations(Arc::new(found))),
    ]
}
