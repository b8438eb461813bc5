//! Hosts and what validation found: one function of the database for each decision.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::{MOMENT_US_MAX, PostgresError, unsigned};
use crate::host_sync::hosting::HostMetrics;
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::store::StoreReply;
use crate::store::hosting::{Assignment, Change, HostReport, MapHosts, Part};
use crate::store::validation::SecurityValidation;
use crate::time::Timestamp;

const REPORT: &str = "SELECT map_name, account_id, part, epoch, began \
     FROM p2p_sync.report_hosts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const SWEEP: &str = "SELECT map_name, account_id, part, epoch, began FROM p2p_sync.sweep_hosts($1)";
const HOSTS: &str = "SELECT a.map_name, a.account_id, \
     CASE WHEN a.is_backup THEN 'backup' WHEN a.is_assistance THEN 'assistant' ELSE 'primary' END, \
     a.epoch, e.epoch \
     FROM p2p_sync.map_epochs AS e \
     LEFT JOIN p2p_sync.host_assignments AS a ON a.map_name = e.map_name AND a.is_active \
     WHERE e.map_name = $1 ORDER BY a.is_backup OR a.is_assistance, a.account_id";
const RECORD: &str = "INSERT INTO p2p_sync.security_validations \
     (account_id, map_name, validation_type, is_valid, details, created_at) \
     SELECT v.account_id, v.map_name, v.validation, v.is_valid, jsonb_build_object('finding', v.details), \
     timestamptz 'epoch' + v.at_us * interval '1 microsecond' \
     FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::bigint[]) \
     AS v (account_id, map_name, validation, is_valid, details, at_us)";

pub(super) async fn report(
    connection: &mut PgConnection,
    reports: &[HostReport],
) -> Result<StoreReply, PostgresError> {
    // Of two by one host the later.
    let latest: BTreeMap<_, _> = reports.iter().map(|report| (report.account, report)).collect();
    let signed =
        |number: u32| i32::try_from(number).map_err(|_| PostgresError::OutOfRange("a host's metrics"));
    let numbers = |pick: fn(&HostMetrics) -> u32| {
        latest.values().map(|report| signed(pick(&report.metrics))).collect::<Result<Vec<_>, _>>()
    };
    let flags = |pick: fn(&HostMetrics) -> bool| {
        latest.values().map(|report| pick(&report.metrics)).collect::<Vec<_>>()
    };
    // No name has a comma.
    let maps = |report: &&HostReport| report.maps.iter().map(MapName::as_str).collect::<Vec<_>>().join(",");
    let rows = sqlx::query(REPORT)
        .bind(latest.keys().map(|account| i64::from(account.0)).collect::<Vec<_>>())
        .bind(numbers(|metrics| metrics.cpu_mhz)?)
        .bind(numbers(|metrics| metrics.cpu_cores)?)
        .bind(latest.values().map(|report| i64::from(report.metrics.free_ram_mb)).collect::<Vec<_>>())
        .bind(numbers(|metrics| metrics.network_speed_mbps)?)
        .bind(numbers(|metrics| metrics.latency_ms)?)
        .bind(numbers(|metrics| metrics.disconnects_per_hour)?)
        .bind(flags(|metrics| metrics.vps_connection_active))
        .bind(flags(HostMetrics::is_fit))
        .bind(latest.values().map(|report| report.metrics.score_millionths()).collect::<Vec<_>>())
        .bind(latest.values().map(maps).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let (mut played, mut changes) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for row in rows {
        let assignment = assignment(&row)?;
        match row.try_get(4)? {
            Some(began) => changes.push(Change { assignment, began }),
            None => played.entry(assignment.account).or_default().push(assignment),
        }
    }
    let parts = |report: &HostReport| played.get(&report.account).cloned().unwrap_or_default();
    Ok(StoreReply::Reported { assignments: reports.iter().map(parts).collect(), changes })
}

pub(super) async fn sweep(connection: &mut PgConnection) -> Result<StoreReply, PostgresError> {
    let rows = sqlx::query(SWEEP)
        .bind(i64::try_from(limits::HOSTS_DROPPED_MAX).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let (mut dropped, mut changes) = (0, Vec::new());
    for row in rows {
        match row.try_get(4)? {
            Some(began) => changes.push(Change { assignment: assignment(&row)?, began }),
            None => dropped = unsigned(row.try_get(3)?)?,
        }
    }
    Ok(StoreReply::Swept { dropped, changes })
}

pub(super) async fn load(connection: &mut PgConnection, map: &MapName) -> Result<StoreReply, PostgresError> {
    let rows = sqlx::query(HOSTS).bind(map.as_str()).fetch_all(connection).await?;
    let mut hosts = MapHosts::default();
    for row in rows {
        hosts.epoch = unsigned(row.try_get(4)?)?;
        if row.try_get::<Option<i64>, _>(1)?.is_some() {
            hosts.assignments.push(assignment(&row)?);
        }
    }
    Ok(StoreReply::Hosts(hosts))
}

pub(super) async fn record(
    connection: &mut PgConnection,
    found: &[SecurityValidation],
) -> Result<StoreReply, PostgresError> {
    let moments: Vec<_> = found.iter().map(|finding| moment(finding.at)).collect::<Result<_, _>>()?;
    sqlx::query(RECORD)
        .bind(found.iter().map(|finding| i64::from(finding.account.0)).collect::<Vec<_>>())
        .bind(found.iter().map(|finding| finding.map.as_str()).collect::<Vec<_>>())
        .bind(found.iter().map(|finding| finding.validation.name()).collect::<Vec<_>>())
        .bind(found.iter().map(|finding| finding.is_valid).collect::<Vec<_>>())
        // Neither text nor jsonb holds NUL.
        .bind(found.iter().map(|finding| finding.details.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .bind(moments)
        .execute(connection)
        .await?;
    Ok(StoreReply::Recorded(found.len() as u64))
}

fn assignment(row: &PgRow) -> Result<Assignment, PostgresError> {
    let part = match row.try_get::<&str, _>(2)? {
        "primary" => Part::Primary,
        "backup" => Part::Backup,
        "assistant" => Part::Assistant,
        _ => return Err(PostgresError::Unexpected),
    };
    let account = u32::try_from(row.try_get::<i64, _>(1)?).map_err(|_| PostgresError::Unexpected)?;
    Ok(Assignment {
        map: MapName::new(row.try_get(0)?).map_err(|_| PostgresError::Unexpected)?,
        account: AccountId(account),
        part,
        epoch: unsigned(row.try_get(3)?)?,
    })
}

fn moment(at: Timestamp) -> Result<i64, PostgresError> {
    if at.as_us() > MOMENT_US_MAX {
        return Err(PostgresError::OutOfRange("a moment"));
    }
    Ok(at.as_us().cast_signed())
}
