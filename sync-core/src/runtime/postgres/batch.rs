//! `ApplyBatch` as one statement: the operations as columns, the decisions as rows.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::{MOMENT_US_MAX, PostgresError, unsigned};
use crate::store::{Applied, Apply, Verdict};

const APPLY: &str = "SELECT is_applied, outcome, is_duplicate \
     FROM p2p_sync.apply_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

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
        .fetch_all(connection)
        .await?;
    if rows.len() != operations.len() {
        return Err(PostgresError::Unexpected);
    }
    rows.iter().map(answer).collect()
}

/// A row of the answer: whether it was applied, the outcome, whether it is a duplicate.
pub(super) fn answer(row: &PgRow) -> Result<Applied, PostgresError> {
    let outcome = unsigned(row.try_get(1)?)?;
    let verdict = if row.try_get(0)? {
        Verdict::Applied { version: outcome }
    } else {
        Verdict::OutOfOrder { last: outcome }
    };
    Ok(Applied { verdict, duplicate: row.try_get(2)? })
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
        Ok(columns)
    }
}
