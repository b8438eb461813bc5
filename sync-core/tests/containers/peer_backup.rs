//! docs/backup.md: a peer's database is dumped and restored with the commands written there, while everybody goes on
//! writing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use sync_core::peer_sync::resolver::Resolvers;
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::settings::ReplicaSettings;
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_node::database::PostgresDatabase;
use sync_core::runtime::peer_node::{Parts, PeerNode};
use sync_core::runtime::postgres::PostgresOptions;
use sync_core::secret::Secret;
use sync_core::time::Span;

use crate::peer_support::{config, run, until};
use crate::runtime_support::Postgres;

const DOCUMENT: &str = include_str!("../../../docs/backup.md");

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, text text, here text NOT NULL DEFAULT 'nothing')";
const SHOWN: &str = "SELECT coalesce(string_agg(id || ' ' || text, ', ' ORDER BY id), '') FROM notes";

/// A server with a database for each of three peers.
struct Databases {
    postgres: Postgres,
}

impl Databases {
    async fn make() -> Self {
        let postgres = Postgres::started(false).await;
        // Waits until the container takes connections.
        postgres.connect(PostgresOptions::default()).await.close().await;
        let databases = Self { postgres };
        for statement in ["CREATE DATABASE node1", "CREATE DATABASE node2", "CREATE DATABASE node3"] {
            databases.sql("postgres", statement).await;
        }
        for name in ["node1", "node2", "node3"] {
            databases.sql(name, NOTES).await;
        }
        databases
    }

    fn url(&self, name: &str) -> String {
        self.postgres.dsn.expose().replace("/postgres?", &format!("/{name}?"))
    }

    async fn sql(&self, name: &str, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.url(name)).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }

    async fn text(&self, name: &str, query: &'static str) -> String {
        let mut connection = PgConnection::connect(&self.url(name)).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }

    /// Waits until these show this.
    async fn show(&self, names: &[&str], expected: &str) {
        for name in names {
            let started = Instant::now();
            loop {
                let shown = self.text(name, SHOWN).await;
                if shown == expected {
                    break;
                }
                assert!(started.elapsed() < Duration::from_secs(30), "{name} shows {shown}, not {expected}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// A peer over one of the databases, at a port of 0 for a free one.
    async fn node(&self, node: &str, database: &str, port: u16, peers: &[&PeerNode]) -> PeerNode {
        let peers: Vec<String> = peers.iter().map(|peer| peer.addresses().api.to_string()).collect();
        let config = config(node, &[("API_PORT", &port.to_string()), ("STATIC_PEERS", &peers.join(","))]);
        let schema = Schema::new([Table::new("notes", &["id", "text"], &["id"]).unwrap()]).unwrap();
        let node = NodeId::new(node).unwrap();
        let url = Secret::new(self.url(database));
        let database = PostgresDatabase::connect(&url, &schema, node.clone()).await.unwrap();
        let parts = Parts {
            node,
            resolvers: Resolvers::declared(&schema),
            schema: Arc::new(schema),
            database: Arc::new(database),
        };
        // Tombstones go as soon as they may, so that a backup meets peers that have forgotten them; and what happens once a
        // minute happens sooner.
        let quick = |settings| ReplicaSettings {
            purge_interval: Span::from_ms(300),
            anti_entropy_interval: Span::from_secs(2),
            ..settings
        };
        PeerNode::start_with(&config, parts, quick).await.unwrap()
    }

    /// Runs the commands of a section of the document where the server is.
    fn follow(&self, section: &str) {
        let text = DOCUMENT.split("\n## ").find(|text| text.starts_with(section)).unwrap();
        let commands = text.split("```bash\n").nth(1).unwrap().split("```").next().unwrap();
        let server = self.postgres.server.as_ref().unwrap();
        let output = Command::new("docker")
            .args(["exec", "-w", "/tmp", "-e", "PGUSER=postgres", server.id(), "sh", "-ec", commands])
            .output()
            .unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_restored_peer_reconciles() {
    run(async {
        let databases = Databases::make().await;
        let one = databases.node("node1", "node1", 0, &[]).await;
        let second = databases.node("node2", "node2", 0, &[&one]).await;
        let third = databases.node("node3", "node3", 0, &[&one, &second]).await;
        let all = ["node1", "node2", "node3"];
        databases
            .sql("node1", "INSERT INTO notes SELECT n, 'first' FROM generate_series(1, 7) AS n WHERE n <> 5")
            .await;
        databases.sql("node3", "INSERT INTO notes VALUES (5, 'first')").await;
        databases.show(&all, "1 first, 2 first, 3 first, 4 first, 5 first, 6 first, 7 first").await;
        databases.sql("node2", "DELETE FROM notes WHERE id = 5").await;
        databases.sql("node1", "UPDATE notes SET here = 'kept' WHERE id = 6").await;
        databases.show(&all, "1 first, 2 first, 3 first, 4 first, 6 first, 7 first").await;

        databases.follow("Back up");

        // Everybody goes on, and everything reaches everybody.
        databases
            .sql(
                "node1",
                "UPDATE notes SET text = 'later' WHERE id IN (1, 7); INSERT INTO notes VALUES (10, 'later');
                DELETE FROM notes WHERE id = 4",
            )
            .await;
        databases
            .sql("node2", "UPDATE notes SET text = 'second' WHERE id = 2; DELETE FROM notes WHERE id = 3")
            .await;
        databases.sql("node3", "INSERT INTO notes VALUES (11, 'third')").await;
        databases.show(&all, "1 later, 2 second, 6 first, 7 later, 10 later, 11 third").await;
        // The tombstones are gone everywhere: nothing but what peers know to have had tells of them.
        for name in ["node2", "node3"] {
            until("tombstones are purged", || async {
                databases.text(name, "SELECT sum(tombstones)::text FROM p2p_peer.tables").await == "0"
            })
            .await;
        }
        // The node stops; what is written at its old database now has left it for nobody.
        let port = one.addresses().api.port();
        let life = databases.text("node1", "SELECT to_hex(incarnation) FROM p2p_peer.node").await;
        assert!(one.shutdown().await);
        databases.sql("node1", "INSERT INTO notes VALUES (12, 'lost')").await;
        databases
            .sql("node2", "INSERT INTO notes VALUES (13, 'second'); DELETE FROM notes WHERE id = 10")
            .await;
        databases.sql("node3", "UPDATE notes SET text = 'third' WHERE id = 1").await;
        databases.show(&["node2", "node3"], "1 third, 2 second, 6 first, 7 later, 11 third, 13 second").await;

        databases.follow("Restore");

        databases.show(&["node1_restored"], "1 first, 2 first, 3 first, 4 first, 6 first, 7 first").await;
        // Applications may be back before the node.
        databases
            .sql(
                "node1_restored",
                "UPDATE notes SET text = 'restored' WHERE id = 6; INSERT INTO notes VALUES (12, 'anew'), (14, 'restored')",
            )
            .await;
        let one = databases.node("node1", "node1_restored", port, &[&second, &third]).await;
        databases.sql("node1_restored", "INSERT INTO notes VALUES (15, 'restored')").await;
        let all = ["node1_restored", "node2", "node3"];
        let expected =
            "1 third, 2 second, 6 restored, 7 later, 11 third, 12 anew, 13 second, 14 restored, 15 restored";
        databases.show(&all, expected).await;
        let now = databases.text("node1_restored", "SELECT to_hex(incarnation) FROM p2p_peer.node").await;
        assert_ne!(life, now);
        // What does not travel is as it was saved.
        let here = databases.text("node1_restored", "SELECT here FROM notes WHERE id = 6").await;
        assert_eq!(here, "kept");

        // It is a peer like any other from now on, and nothing that was deleted shows again.
        databases.sql("node1_restored", "UPDATE notes SET text = 'new life' WHERE id = 15").await;
        databases.sql("node2", "DELETE FROM notes WHERE id = 14").await;
        let expected = "1 third, 2 second, 6 restored, 7 later, 11 third, 12 anew, 13 second, 15 new life";
        databases.show(&all, expected).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        databases.show(&all, expected).await;
        let digests = "SELECT coalesce(string_agg(format('%s %s %s', table_name, rows, sum), ', '), '') FROM p2p_peer.tables WHERE tombstones = 0";
        until("all hold the same", || async {
            let mut held = Vec::new();
            for name in all {
                held.push(databases.text(name, digests).await);
            }
            held.iter().all(|one| !one.is_empty() && *one == held[0])
        })
        .await;
        for node in [one, second, third] {
            node.shutdown().await;
        }
    });
}
