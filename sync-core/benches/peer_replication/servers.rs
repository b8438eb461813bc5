//! Three PostgreSQL servers in containers, their clients, and what they have used of processor and network.

use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::runtime_support::Postgres;

/// The table that is kept in step. `source` holds the rows of a bulk, so that making them up is no part of what is timed.
const TABLES: &str = "
    CREATE TABLE products (id uuid PRIMARY KEY, name text, price numeric, description text, updated_at timestamptz,
        node_id text);
    CREATE TABLE source (LIKE products);";
const SETTINGS: [&str; 6] = [
    "wal_level=logical",
    "max_wal_size=4GB",
    "shared_buffers=512MB",
    "max_replication_slots=20",
    "max_wal_senders=20",
    "max_logical_replication_workers=20",
];

pub(super) struct Servers {
    pub(super) servers: Vec<Postgres>,
    /// As they reach one another.
    pub(super) addresses: Vec<String>,
}

/// Seconds of processors, and bytes that left containers, since they started.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) cpu_s: f64,
    pub(super) sent_bytes: f64,
}

impl Servers {
    pub(super) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let server = Postgres::started_with(true, &SETTINGS).await;
            // Waits until it takes connections.
            server.connect(Default::default()).await.close().await;
            servers.push(server);
        }
        let of = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let addresses = servers.iter().map(|server| docker(&["inspect", "-f", of, id(server)])).collect();
        Self { servers, addresses }
    }

    /// A database of this name on each server, with the tables in it and clients for it.
    pub(super) async fn databases(&self, name: &str) -> Vec<PgConnection> {
        let mut clients = Vec::new();
        for server in 0..self.servers.len() {
            clients.push(self.database(server, name).await);
        }
        clients
    }

    pub(super) async fn database(&self, server: usize, name: &str) -> PgConnection {
        run(&mut self.servers[server].raw().await, &format!("CREATE DATABASE {name}")).await;
        let mut client = self.client(server, name).await;
        run(&mut client, TABLES).await;
        client
    }

    pub(super) async fn client(&self, server: usize, name: &str) -> PgConnection {
        PgConnection::connect(&self.url(server, name)).await.unwrap()
    }

    pub(super) fn url(&self, server: usize, name: &str) -> String {
        self.servers[server].dsn.expose().replace("/postgres?", &format!("/{name}?"))
    }

    pub(super) async fn drop(&self, name: &str) {
        for server in &self.servers {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            run(&mut server.raw().await, &drop).await;
        }
    }

    /// So that what was left to do of one measurement is not done in the next.
    pub(super) async fn calm(&self) {
        for server in &self.servers {
            run(&mut server.raw().await, "CHECKPOINT").await;
        }
    }

    pub(super) fn used(&self) -> Used {
        let mut used = Used { cpu_s: 0.0, sent_bytes: 0.0 };
        for server in &self.servers {
            let read = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage; cat /proc/net/dev";
            let text = docker(&["exec", id(server), "sh", "-c", read]);
            let number = |text: &str| text.parse::<f64>().unwrap();
            let line = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start));
            used.cpu_s += match line("usage_usec ") {
                Some(us) => number(us) / 1e6,
                None => number(text.lines().next().unwrap()) / 1e9,
            };
            let sent = line("eth0:").and_then(|counts| counts.split_whitespace().nth(8));
            used.sent_bytes += number(sent.unwrap());
        }
        used
    }
}

impl std::ops::Sub for Used {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self { cpu_s: self.cpu_s - before.cpu_s, sent_bytes: self.sent_bytes - before.sent_bytes }
    }
}

fn id(server: &Postgres) -> &str {
    server.server.as_ref().unwrap().id()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) async fn run(client: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(client).await;
    done.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

pub(super) async fn timed(client: &mut PgConnection, sql: &str) -> Duration {
    let started = Instant::now();
    run(client, sql).await;
    started.elapsed()
}

/// The one value that a statement gives, as text.
pub(super) async fn ask(client: &mut PgConnection, sql: &str) -> Option<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(client)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// Fills `source` with the rows from one number to another.
pub(super) fn make_rows(from: u32, to: u32) -> String {
    format!(
        "TRUNCATE source; INSERT INTO source SELECT md5('row ' || n)::uuid, 'product ' || n, n / 100.0,
            md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) || md5('e' || n) || md5('f' || n),
            timestamptz '2026-01-01' + n * interval '1 second', 'n1' FROM generate_series({from}, {to}) AS n"
    )
}

pub(super) const INSERT: &str = "INSERT INTO products SELECT * FROM source";

/// Number and digest of all rows.
pub(super) async fn content(client: &mut PgConnection) -> String {
    let all = "SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(p::text), '' ORDER BY id)), '') FROM products AS p";
    ask(client, all).await.unwrap()
}
