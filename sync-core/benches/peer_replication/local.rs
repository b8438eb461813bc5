//! What is measured at one database: what capture costs whoever writes, and digests over many rows.

use std::time::{Duration, Instant};

use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::{DigestPart, PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::{PeerStore, PeerStoreOptions};
use sync_core::secret::Secret;
use sync_core::time::Span;

use super::Size;
use super::figures::{self, Figures};
use super::servers::{INSERT, Servers, make_rows, run, timed};

const CLIENTS: u32 = 2;
const COMMIT_ROUNDS: u32 = 7;
const COMMIT_TIME: Duration = Duration::from_secs(2);
const BULK_ROUNDS: u32 = 3;

async fn store(servers: &Servers, name: &str) -> PeerStore {
    let columns = ["id", "name", "price", "description", "updated_at", "node_id"];
    let schema = Schema::new([Table::new("products", &columns, &["id"]).unwrap()]).unwrap();
    let dsn = Secret::new(servers.url(0, name));
    // Only the first request after many rows were there already takes long.
    let options = PeerStoreOptions { request_timeout: Span::from_secs(600), ..PeerStoreOptions::default() };
    PeerStore::connect(&dsn, schema, NodeId::new("n1").unwrap(), options).await.unwrap()
}

/// Single-row commits and one bulk insert with capture and without, in turns; no node is at work.
pub(super) async fn capture(servers: &Servers, size: Size, without: &mut Figures, with: &mut Figures) {
    for name in ["plain", "captured"] {
        drop(servers.database(0, name).await);
    }
    store(servers, "captured").await.close().await;
    for round in 0..=COMMIT_ROUNDS {
        for (name, figures) in [("plain", &mut *without), ("captured", &mut *with)] {
            let rate = commits(servers, name, round).await;
            // The first round warms up and does not count.
            if round > 0 {
                figures.number(figures::COMMITS, rate);
            }
        }
    }
    for round in 0..BULK_ROUNDS {
        let from = round * size.bulk + 1;
        for (name, figures) in [("plain", &mut *without), ("captured", &mut *with)] {
            let mut client = servers.client(0, name).await;
            run(&mut client, &make_rows(from, from + size.bulk - 1)).await;
            servers.calm().await;
            figures.seconds(figures::CAPTURED, timed(&mut client, INSERT).await);
        }
    }
    for name in ["plain", "captured"] {
        servers.drop(name).await;
    }
}

/// Commits a second.
async fn commits(servers: &Servers, name: &str, round: u32) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let mut connection = servers.client(0, name).await;
        tasks.spawn(async move {
            let started = Instant::now();
            let mut done = 0_u32;
            while started.elapsed() < COMMIT_TIME {
                done += 1;
                sqlx::query("INSERT INTO products VALUES (md5($1)::uuid, 'one', 1.5, repeat(md5($1), 6), now(), 'n1')")
                    .bind(format!("{round} {client} {done}"))
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
            f64::from(done) / started.elapsed().as_secs_f64()
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// What a comparison asks of a database with many rows.
pub(super) async fn digests(servers: &Servers, rows: u32) {
    let mut client = servers.database(0, "many").await;
    for from in (1..=rows).step_by(100_000) {
        run(&mut client, &make_rows(from, (from + 99_999).min(rows))).await;
        run(&mut client, INSERT).await;
    }
    let store = store(servers, "many").await;
    let started = Instant::now();
    let PeerReply::Described(described) = store.execute(PeerRequest::Describe).await else {
        panic!("{:?}", store.fault())
    };
    assert_eq!(described.digest.rows, u64::from(rows));
    println!("\n{rows} rows that were there before, folded: {:.2} s", started.elapsed().as_secs_f64());
    println!("what a comparison of them asks, median of 21, in ms");
    let level = |level: u8| -> Vec<DigestPart> {
        (0..1_u32 << (4 * u32::from(level))).map(|prefix| DigestPart { level, prefix }).collect()
    };
    let children = |part: DigestPart| part.children().unwrap().to_vec();
    let requests = [
        ("Describe, with the digest of everything", PeerRequest::Describe),
        ("digests of 16 parts", PeerRequest::Digests(level(1))),
        ("digests of all 4,096 kept parts", PeerRequest::Digests(level(3))),
        (
            "digests of the 16 parts of a kept one",
            PeerRequest::Digests(children(DigestPart { level: 3, prefix: 5 })),
        ),
        ("entries of a kept part", PeerRequest::Entries(vec![DigestPart { level: 3, prefix: 5 }])),
    ];
    for (name, request) in requests {
        let mut times = Vec::new();
        for _ in 0..21 {
            let started = Instant::now();
            let reply = store.execute(request.clone()).await;
            assert!(reply != PeerReply::Unavailable, "{:?}", store.fault());
            times.push(started.elapsed());
        }
        times.sort_unstable();
        println!("  {name:<42} {:>8.2}", times[10].as_secs_f64() * 1e3);
    }
    store.close().await;
    drop(client);
    servers.drop("many").await;
}
