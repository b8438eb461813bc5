//! What `ApplyBatch` costs beside one prepared one-row INSERT, on the database at P2P_TEST_POSTGRES_URL.
//!
//! `cargo run --release --features runtime --example apply_latency`

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "measures real time"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::Connection;
use sync_core::data_type::SyncDataType;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::postgres::{PostgresOptions, PostgresStore};
use sync_core::secret::Secret;
use sync_core::store::{Apply, StoreRequest};
use sync_core::time::Timestamp;

const ROUNDS: u64 = 2_000;
const FLOOR: &str = "INSERT INTO floor (account_id, counter, data) VALUES ($1, $2, $3)";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let dsn = std::env::var("P2P_TEST_POSTGRES_URL").map_err(|_| "set P2P_TEST_POSTGRES_URL")?;
    let mut raw = sqlx::PgConnection::connect(&dsn).await?;
    let table = "DROP TABLE IF EXISTS floor;
        CREATE TABLE floor (account_id bigint, counter bigint, data text, PRIMARY KEY (account_id, counter))";
    sqlx::raw_sql(table).execute(&mut raw).await?;
    let store = PostgresStore::connect(&Secret::new(dsn), PostgresOptions::default()).await?;
    store.migrate().await?;

    // In turns, so that whatever else the machine does falls on all of them.
    let incarnation = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    let (mut floor, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        sqlx::query(FLOOR).bind(1i64).bind(round.cast_signed()).bind(DATA).execute(&mut raw).await?;
        floor.push(started.elapsed());
        for (times, request) in
            [(&mut one, batch(incarnation, round, 1)), (&mut many, batch(incarnation + 1, round, 64))]
        {
            let started = Instant::now();
            store.perform(&request).await?;
            times.push(started.elapsed());
        }
    }
    let floor = report("one prepared INSERT", floor, None);
    report("ApplyBatch of 1", one, Some(floor));
    report("ApplyBatch of 64", many, Some(floor));
    println!("{:?}", store.status().counters);
    Ok(sqlx::raw_sql("DROP TABLE floor").execute(&mut raw).await.map(|_| ())?)
}

const DATA: &str = "{\"hp\":1200,\"sp\":80,\"position\":{\"x\":101,\"y\":55,\"m\":\"prontera\"}}";

/// One operation each of that many accounts, on states that are there after the first round.
fn batch(incarnation: u64, round: u64, operations: u32) -> StoreRequest {
    let operation = |account| Apply {
        operation: OperationId {
            account: AccountId(account),
            incarnation: Incarnation(incarnation),
            counter: round + 1,
        },
        data_type: SyncDataType::PlayerData,
        map: MapName::new("prontera").expect("a map's name"),
        sequence: round + 1,
        critical: false,
        data: DATA.into(),
        received: Timestamp::from_us(1_795_000_000_000_000 + round),
        condition: None,
    };
    StoreRequest::ApplyBatch(Arc::new((1..=operations).map(operation).collect()))
}

fn report(name: &str, mut times: Vec<Duration>, floor: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    let ratio = floor.map_or(String::new(), |floor| {
        format!("  {:.2} x the INSERT", at(50).as_secs_f64() / floor.as_secs_f64())
    });
    println!("{name:<20} p50 {:>9.1?}  p99 {:>9.1?}{ratio}", at(50), at(99));
    at(50)
}
