//! What one operation costs on the way, as exact counts that no noise moves: round trips of HTTP and SQL,
//! statements, commands of Redis, and bytes of HTTP. A change that costs more shows here as another number.
//!
//! Counted outside of what is tested: by a relay on each connection, by `pg_stat_statements` and by Redis' own
//! `INFO commandstats`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::live_support::{MASTER, ask, run, start_with};
use crate::runtime_support::{Postgres, Redis};
use sqlx::PgConnection;
use sync_core::config::Config;
use sync_core::envelope::MasterKey;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::id::AccountId;
use sync_core::runtime::driver::host::{Host, configured};
use sync_core::runtime::main_server::Parts;
use sync_core::runtime::postgres::{PostgresOptions, PostgresStore};
use sync_core::secret::Secret;
use sync_core::wire::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ACCOUNT: AccountId = AccountId(2_000_000);
const DATA: &str = "{\"hp\":1200,\"sp\":80,\"position\":{\"x\":101,\"y\":55,\"m\":\"prontera\"}}";

/// What passed a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    connections: u64,
    /// How often the client spoke after the server, or first.
    round_trips: u64,
    bytes_up: usize,
    bytes_down: usize,
    client_spoke_last: bool,
}

/// Hands bytes on in both directions and counts.
struct Relay {
    address: SocketAddr,
    passed: Arc<Mutex<Passed>>,
}

impl Relay {
    /// A relay to a port of this machine.
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::<Mutex<Passed>>::default();
        let counted = Arc::clone(&passed);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                counted.lock().unwrap().connections += 1;
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(hand_on(from_client, to_server, Arc::clone(&counted), true));
                tokio::spawn(hand_on(from_server, to_client, Arc::clone(&counted), false));
            }
        });
        Self { address, passed }
    }

    /// What passed since the last time.
    fn take(&self) -> Passed {
        std::mem::take(&mut self.passed.lock().unwrap())
    }
}

async fn hand_on(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    passed: Arc<Mutex<Passed>>,
    is_client: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        {
            let mut passed = passed.lock().unwrap();
            if is_client {
                passed.round_trips += u64::from(!passed.client_spoke_last);
                passed.bytes_up += bytes;
            } else {
                passed.bytes_down += bytes;
            }
            passed.client_spoke_last = is_client;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}

/// What the two servers have counted themselves.
struct Counted {
    postgres: PgConnection,
    redis: redis::aio::MultiplexedConnection,
}

impl Counted {
    async fn reset(&mut self) {
        sqlx::raw_sql("SELECT pg_stat_statements_reset()").execute(&mut self.postgres).await.unwrap();
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut self.redis).await.unwrap();
    }

    /// Statements by their first words, and commands, those within a script included.
    async fn take(&mut self) -> (Vec<(String, i64)>, Vec<String>) {
        let calls = "SELECT left(query, 28), sum(calls)::bigint FROM pg_stat_statements
            WHERE query NOT LIKE '%pg_stat_statements%' GROUP BY 1 ORDER BY 1";
        let statements = sqlx::query_as(calls).fetch_all(&mut self.postgres).await.unwrap();
        let stats: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut self.redis).await.unwrap();
        let mut commands: Vec<_> = stats.lines().filter_map(command).collect();
        commands.sort_unstable();
        (statements, commands)
    }
}

/// `cmdstat_get:calls=1,usec=...` becomes `get 1`.
fn command(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let name = name.to_owned();
    (name != "config|resetstat").then(|| format!("{name} {}", rest.split(',').next().unwrap_or_default()))
}

/// What one operation cost.
#[derive(Debug, PartialEq, Eq)]
struct Costs {
    http_round_trips: u64,
    http_bytes: (usize, usize),
    sql_round_trips: u64,
    statements: Vec<(String, i64)>,
    commands: Vec<String>,
}

struct Line {
    host: Host,
    tickets: u64,
    http: Relay,
    sql: Relay,
    counted: Counted,
}

impl Line {
    async fn operation(&mut self, kind: Kind, critical: bool) -> Costs {
        self.counted.reset().await;
        let _ = (self.http.take(), self.sql.take());
        self.tickets += 1;
        let question = Ask { critical, ..ask(self.tickets, kind, DATA) };
        let finished = self.host.ask(question).await.unwrap();
        assert!(matches!(finished.outcome, Outcome::Done(_)), "{finished:?}");
        // The cache is told beside the answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (http, sql) = (self.http.take(), self.sql.take());
        assert_eq!((http.connections, sql.connections), (0, 0), "connections are kept");
        let (statements, commands) = self.counted.take().await;
        Costs {
            http_round_trips: http.round_trips,
            http_bytes: (http.bytes_up, http.bytes_down),
            sql_round_trips: sql.round_trips,
            statements,
            commands,
        }
    }
}

async fn through(port: u16) -> PostgresStore {
    let dsn = format!("postgresql://postgres:secret@127.0.0.1:{port}/postgres?sslmode=disable");
    PostgresStore::connect(&Secret::new(dsn), PostgresOptions::default()).await.unwrap()
}

const APPLY: &str = "SELECT status, outcome, is_d";
const LOAD: &str = "SELECT version, data, accoun";

#[test]
fn every_kind_of_operation_has_its_fixed_costs() {
    run(async {
        let settings = ["fsync=off", "shared_preload_libraries=pg_stat_statements"];
        let (postgres, redis) = (Postgres::started_with(false, &settings).await, Redis::started().await);
        let store = postgres.connect(PostgresOptions::default()).await;
        store.migrate().await.unwrap();
        store.close().await;
        let mut counted = Counted { postgres: postgres.raw().await, redis: redis.raw().await };
        sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&mut counted.postgres).await.unwrap();
        let sql = Relay::start(postgres.server.as_ref().unwrap().port).await;
        let parts = Parts::new(through(sql.address.port()).await, redis.connect().await);
        let server = start_with("", parts).await;
        let http = Relay::start(server.address().port()).await;
        let key = MASTER.parse::<MasterKey>().unwrap().host_key(ACCOUNT).to_text();
        let text = format!(
            "role = host\nmain_server_endpoint = http://{}/p2p-sync\nencryption_key = {}\n",
            http.address,
            key.expose()
        );
        let host = configured::start(&Config::parse("test", text.as_bytes()).unwrap().0).unwrap();
        let mut line = Line { host, tickets: 0, http, sql, counted };
        // Connections are opened and statements prepared, and the host's counters get their second digit.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for ticket in 1..=12 {
            line.tickets = ticket;
            let kind = if ticket % 2 == 0 { Kind::SyncTo } else { Kind::SyncFrom };
            line.host.ask(ask(ticket, kind, DATA)).await.unwrap();
        }

        let expected = |bytes, sql: &[&str], commands: &[&str]| Costs {
            http_round_trips: 1,
            http_bytes: bytes,
            sql_round_trips: sql.len() as u64,
            statements: sql.iter().map(|statement| ((*statement).to_owned(), 1)).collect(),
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        };
        let publishes = ["evalsha 1", "getrange 1", "publish 1", "set 1"];
        let refreshes = ["evalsha 1", "getrange 1", "set 1"];
        let fills = ["evalsha 1", "get 1", "getrange 1", "set 1"];
        for round in 1..=3 {
            let critical = line.operation(Kind::SyncTo, true).await;
            let write = line.operation(Kind::SyncTo, false).await;
            let hit = line.operation(Kind::SyncFrom, false).await;
            redis::cmd("FLUSHDB").exec_async(&mut line.counted.redis).await.unwrap();
            let miss = line.operation(Kind::SyncFrom, false).await;
            let all = [
                ("critical write", critical, expected((641, 394), &[APPLY], &publishes)),
                ("write", write, expected((642, 394), &[APPLY], &refreshes)),
                ("read of what is in the cache", hit, expected((642, 522), &[], &["get 1"])),
                ("read of what is not", miss, expected((642, 522), &[LOAD], &fills)),
            ];
            for (name, found, expected) in all {
                assert_eq!(found, expected, "{name}, round {round}");
            }
        }
    });
}
