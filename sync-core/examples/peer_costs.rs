//! What a peer's database costs on the server at P2P_TEST_POSTGRES_URL, of which it makes two databases: capture beside
//! plain inserts, and 100,000 rows from one peer's database into the other's.
//!
//! `cargo run --release --features runtime --example peer_costs`

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "measures real time"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use sync_core::limits;
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::{Advance, MergeRows, PeerReply, PeerRequest, ReadFeed};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::{PeerStore, PeerStoreOptions};
use sync_core::secret::Secret;

const ROWS: u32 = 100_000;
const TABLE: &str = "CREATE TABLE products (id uuid PRIMARY KEY, name text, price numeric, description text,
    updated_at timestamptz, node_id text)";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let dsn = std::env::var("P2P_TEST_POSTGRES_URL").map_err(|_| "set P2P_TEST_POSTGRES_URL")?;
    let mut server = PgConnection::connect(&dsn).await?;
    let mut clients = Vec::new();
    let mut stores = Vec::new();
    for name in ["peer_costs_a", "peer_costs_b"] {
        run(&mut server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        run(&mut server, &format!("CREATE DATABASE {name}")).await?;
        let (address, query) = dsn.split_once('?').unwrap_or((&dsn, ""));
        let (address, _) = address.rsplit_once('/').ok_or("the address names no database")?;
        let dsn = format!("{address}/{name}?{query}");
        let mut client = PgConnection::connect(&dsn).await?;
        run(&mut client, TABLE).await?;
        if stores.is_empty() {
            told("insert, not captured", &timed(&mut client, &insert()).await?);
            run(&mut client, "TRUNCATE products").await?;
            let singles = singles(&mut client, 2_000).await?;
            told("2,000 single inserts, not captured", &singles);
            run(&mut client, "TRUNCATE products").await?;
        }
        let columns = ["id", "name", "price", "description", "updated_at", "node_id"];
        let schema = Schema::new([Table::new("products", &columns, &["id"])?])?;
        let node = NodeId::new(name)?;
        stores.push(PeerStore::connect(&Secret::new(dsn), schema, node, PeerStoreOptions::default()).await?);
        clients.push(client);
    }
    let ([a, b], [client, _]) = (stores.as_slice(), clients.as_mut_slice()) else { return Ok(()) };
    told("2,000 single inserts, captured", &singles(client, 2_000).await?);
    pull(b, a).await?;
    told("insert, captured", &timed(client, &insert()).await?);
    told("fold", &describe(a).await?);
    told("to the other", &pull(b, a).await?);
    told("update, captured", &timed(client, "UPDATE products SET price = price + 1").await?);
    told("fold", &describe(a).await?);
    told("to the other", &pull(b, a).await?);
    told("delete, captured", &timed(client, "DELETE FROM products").await?);
    told("fold", &describe(a).await?);
    told("to the other", &pull(b, a).await?);
    let mut latencies = Vec::new();
    for _ in 0..500 {
        let started = Instant::now();
        singles(client, 1).await?;
        pull(b, a).await?;
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    println!("one row, commit to commit: p50 {:?}, p99 {:?}", latencies[250], latencies[495]);
    for store in stores {
        store.close().await;
    }
    clients.clear();
    for name in ["peer_costs_a", "peer_costs_b"] {
        run(&mut server, &format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    }
    Ok(())
}

fn insert() -> String {
    format!(
        "INSERT INTO products SELECT gen_random_uuid(), 'product ' || n, n / 100.0, repeat('description ', 17), now(), 'a'
         FROM generate_series(1, {ROWS}) AS n"
    )
}

async fn run(client: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(client).await.map(|_| ())
}

async fn timed(client: &mut PgConnection, sql: &str) -> Result<Duration, sqlx::Error> {
    let started = Instant::now();
    run(client, sql).await?;
    Ok(started.elapsed())
}

async fn singles(client: &mut PgConnection, rows: u32) -> Result<Duration, sqlx::Error> {
    let started = Instant::now();
    for _ in 0..rows {
        let insert = "INSERT INTO products VALUES (gen_random_uuid(), 'one', 1.5, repeat('description ', 17), now(), 'a')";
        sqlx::query(insert).execute(&mut *client).await?;
    }
    Ok(started.elapsed())
}

async fn describe(store: &PeerStore) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    match store.execute(PeerRequest::Describe).await {
        PeerReply::Described(_) => Ok(started.elapsed()),
        other => Err(format!("{other:?} {:?}", store.fault()).into()),
    }
}

/// Reads a source to its end.
async fn pull(reader: &PeerStore, source: &PeerStore) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    let PeerReply::Described(mut here) = reader.execute(PeerRequest::Describe).await else {
        return Err(format!("{:?}", reader.fault()).into());
    };
    let mut since = here.positions.remove(source.node());
    loop {
        let frontier = here.frontier.clone();
        let read =
            ReadFeed { since, frontier, rows_max: limits::PAGE_ROWS_MAX, bytes_max: limits::PAGE_BYTES_MAX };
        let PeerReply::Page(page) = source.execute(PeerRequest::Feed(read)).await else {
            return Err(format!("{:?}", source.fault()).into());
        };
        let is_end = page.frontier.is_some();
        since = Some(page.position.clone());
        let merge = MergeRows {
            from: source.node().clone(),
            rows: page.rows,
            groups: page.groups,
            known: page.known,
            advance: Some(Advance { position: page.position, frontier: page.frontier.unwrap_or_default() }),
            repair: false,
        };
        let PeerReply::Merged(_) = reader.execute(PeerRequest::Merge(merge)).await else {
            return Err(format!("{:?}", reader.fault()).into());
        };
        if is_end {
            return Ok(started.elapsed());
        }
    }
}

fn told(what: &str, time: &Duration) {
    println!("{what}: {:.3} s", time.as_secs_f64());
}
