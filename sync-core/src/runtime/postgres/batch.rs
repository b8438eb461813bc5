//! `ApplyBatch` as one statement: the operations as columns, the decisions as rows.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::{MOMENT_US_MAX, PostgresError, unsigned};
use crate::store::condition::{Condition, PaceRule};
use crate::store::{Applied, Apply, Verdict};

const APPLY: &str = "SELECT status, outcome, is_duplicate \
     FROM p2p_sync.apply_operations($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// Applies the operations, all or none, and answers in their order.
pub(super) async fn apply(
    connection: &mut PgConnection,
    operations: &[Apply],
) -> Result<Vec<Applied>, PostgresError> {
    if operations.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(operations)?;
    let rows = sqlx::query(APPLY)
        .bind(columns.accounts)
        .bind(columns.incarnations)
        .bind(columns.counters)
        .bind(columns.types)
        .bind(columns.owners)
        .bind(columns.maps)
        .bind(columns.sequences)
        .bind(columns.critical)
        .bind(columns.data)
        .bind(columns.received_us)
        .bind(columns.checks)
        .bind(columns.check_numbers[0].as_slice())
        .bind(columns.check_numbers[1].as_slice())
        .bind(columns.check_numbers[2].as_slice())
        .bind(columns.check_numbers[3].as_slice())
        .fetch_all(connection)
        .await?;
    if rows.len() != operations.len() {
        return Err(PostgresError::Unexpected);
    }
    rows.iter().map(answer).collect()
}

/// A row of the answer: its status, the outcome, whether it is a duplicate.
pub(super) fn answer(row: &PgRow) -> Result<Applied, PostgresError> {
    Ok(Applied { verdict: verdict(row.try_get(0)?, unsigned(row.try_get(1)?)?)?, duplicate: row.try_get(2)? })
}

fn verdict(status: &str, outcome: u64) -> Result<Verdict, PostgresError> {
    Ok(match status {
        "APPLIED" => Verdict::Applied { version: outcome },
        "OUT_OF_ORDER" => Verdict::OutOfOrder { last: outcome },
        "FENCED" => Verdict::Fenced { epoch: outcome },
        "UNREACHABLE" => Verdict::Unreachable { cells: (outcome >> 32) as u32, cells_max: outcome as u32 },
        "TOO_OFTEN" => {
            let rule = PaceRule::ALL.get((outcome & 3) as usize).ok_or(PostgresError::Unexpected)?;
            Verdict::TooOften { rule: *rule, wait_ms: outcome >> 2 }
        }
        _ => return Err(PostgresError::Unexpected),
    })
}

/// One array for each parameter of the function.
#[derive(Default)]
struct Columns<'a> {
    accounts: Vec<i64>,
    incarnations: Vec<i64>,
    counters: Vec<i64>,
    types: Vec<i16>,
    owners: Vec<Option<i64>>,
    maps: Vec<&'a str>,
    sequences: Vec<i64>,
    critical: Vec<bool>,
    data: Vec<&'a str>,
    received_us: Vec<i64>,
    /// Absent when no operation has a condition.
    checks: Option<Vec<Option<i16>>>,
    check_numbers: [Vec<i64>; 4],
}

impl<'a> Columns<'a> {
    fn of(operations: &'a [Apply]) -> Result<Self, PostgresError> {
        let signed = |number: u64, name| i64::try_from(number).map_err(|_| PostgresError::OutOfRange(name));
        let mut columns = Self::default();
        for apply in operations {
            if apply.received.as_us() > MOMENT_US_MAX {
                return Err(PostgresError::OutOfRange("the moment of an operation"));
            }
            columns.accounts.push(i64::from(apply.operation.account.0));
            columns.incarnations.push(apply.operation.incarnation.0.cast_signed());
            columns.counters.push(signed(apply.operation.counter, "the counter of an operation")?);
            columns.types.push(i16::from(apply.data_type.wire()));
            columns.owners.push(apply.state_key().map(|key| i64::from(key.owner.0)));
            columns.maps.push(apply.map.as_str());
            columns.sequences.push(signed(apply.sequence, "the sequence of an operation")?);
            columns.critical.push(apply.critical);
            columns.data.push(&apply.data);
            columns.received_us.push(signed(apply.received.as_us(), "the moment of an operation")?);
        }
        if operations.iter().any(|apply| apply.condition.is_some()) {
            columns.conditions(operations)?;
        }
        Ok(columns)
    }

    fn conditions(&mut self, operations: &[Apply]) -> Result<(), PostgresError> {
        let signed = |number: u64| {
            i64::try_from(number).map_err(|_| PostgresError::OutOfRange("the condition of an operation"))
        };
        let mut checks = Vec::with_capacity(operations.len());
        for apply in operations {
            let (check, numbers) = match apply.condition.as_deref() {
                None => (None, [0; 4]),
                Some(Condition::Reach { x, y, slack_cells, millicells_per_second }) => {
                    (Some(0), [*x, *y, *slack_cells, *millicells_per_second].map(u64::from))
                }
                Some(Condition::Pace { rule, subject, cost_us, ahead_us_max }) => {
                    (Some(1 + rule.number()), [u64::from(*subject), *cost_us, *ahead_us_max, 0])
                }
            };
            checks.push(check);
            for (column, number) in self.check_numbers.iter_mut().zip(numbers) {
                column.push(signed(number)?);
            }
        }
        self.checks = Some(checks);
        Ok(())
    }
}
