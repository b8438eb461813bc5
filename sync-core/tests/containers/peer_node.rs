//! The specification's quick test: three `peer-node` processes, each with a database of its own in one PostgreSQL.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real servers live in real time"
)]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use sync_core::runtime::postgres::PostgresOptions;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::peer_support::{Answer, http, run, until};
use crate::runtime_support::Postgres;

const PROGRAM: &str = env!("CARGO_BIN_EXE_peer-node");

/// A running node. Killed when it is dropped, as by `kill -9`.
struct Node {
    child: Child,
    api: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(url: &str, name: &str, peers: &str) -> Self {
        Self::start_at("0", url, name, peers)
    }

    fn start_at(api_port: &str, url: &str, name: &str, peers: &str) -> Self {
        Self::start_with(&[
            ("API_PORT", api_port),
            ("DISCOVERY_PORT", "0"),
            ("DISCOVERY_PEER_PORTS", "9"),
            ("NODE_NAME", name),
            ("DATABASE_URL", url),
            ("STATIC_PEERS", peers),
        ])
    }

    fn start_with(variables: &[(&str, &str)]) -> Self {
        let always = [
            ("P2P_PORT", "0"),
            ("BIND_ADDRESS", "127.0.0.1"),
            ("DISCOVERY_ADDRESSES", "127.0.0.1"),
            ("SYNC_INTERVAL", "1"),
        ];
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--create-tables"]).env_clear().envs(always).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let api = line.strip_prefix("listening: api ").and_then(|rest| rest.split(',').next());
        let api = api.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self { child, api }
    }

    async fn get(&self, path: &str) -> Answer {
        http(self.api, "GET", path, "", b"").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        http(self.api, "POST", path, "content-type: application/json\r\n", body.as_bytes()).await
    }

    async fn names(&self) -> Vec<String> {
        let users = self.get("/api/v1/users/").await.json();
        let name = |user: &Value| user["username"].as_str().unwrap().to_owned();
        let mut names: Vec<String> = users.as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    async fn shows(&self, names: &[&str]) {
        until(&format!("{names:?}"), || async { self.names().await == names }).await;
    }
}

struct Databases {
    urls: [String; 3],
}

impl Databases {
    async fn make(postgres: &Postgres) -> Self {
        // Waits until the container takes connections.
        postgres.connect(PostgresOptions::default()).await.close().await;
        let mut connection = postgres.raw().await;
        for statement in ["CREATE DATABASE n1", "CREATE DATABASE n2", "CREATE DATABASE n3"] {
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
        let url = |name: &str| postgres.dsn.expose().replace("/postgres?", &format!("/{name}?"));
        Self { urls: [url("n1"), url("n2"), url("n3")] }
    }

    async fn sql(&self, database: usize, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.urls[database]).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }

    async fn text(&self, database: usize, query: &'static str) -> String {
        let mut connection = PgConnection::connect(&self.urls[database]).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }
}

#[test]
fn three_nodes_with_a_database_each_hold_the_same() {
    run(async {
        let postgres = Postgres::started(false).await;
        let databases = Databases::make(&postgres).await;
        let one = Node::start(&databases.urls[0], "n1", "");
        let second = Node::start(&databases.urls[1], "", &one.api.to_string());
        let third = Node::start(&databases.urls[2], "n3", &format!("{},{}", one.api, second.api));

        // As the specification writes it.
        let body = r#"{"username": "testuser", "email": "test@example.com", "password": "password123"}"#;
        let registered = one.post("/api/v1/auth/register", body).await;
        assert_eq!(registered.status, 200, "{registered:?}");
        assert!(!registered.text().contains("argon2"));
        one.shows(&["testuser"]).await;
        for node in [&second, &third] {
            node.shows(&["testuser"]).await;
            let again = node.post("/api/v1/auth/register", body).await;
            assert!(again.status == 409 && again.detail().contains("key already"), "{again:?}");
        }
        let status = one.get("/api/v1/p2p/status").await.json();
        assert_eq!((status["status"].clone(), status["peer_count"].clone()), (json!("active"), json!(2)));

        // Any client's plain SQL; a column that does not travel stays here.
        databases.sql(1, "INSERT INTO users (username, email, role) VALUES ('sql', 's@x', 'admin')").await;
        one.shows(&["sql", "testuser"]).await;
        third.shows(&["sql", "testuser"]).await;
        assert_eq!(databases.text(0, "SELECT role::text FROM users WHERE username = 'sql'").await, "user");
        databases.sql(2, "DELETE FROM users WHERE username = 'sql'").await;
        one.shows(&["testuser"]).await;
        second.shows(&["testuser"]).await;

        // Killed, it keeps its name and takes up where it was.
        let name = second.get("/api/v1/p2p/status").await.json()["node_id"].clone();
        let address = second.api;
        drop(second);
        databases.sql(0, "INSERT INTO users (username, email) VALUES ('late', 'l@x')").await;
        databases.sql(1, "INSERT INTO users (username, email) VALUES ('meanwhile', 'm@x')").await;
        // At its address: at another one it would be a stranger of that name for two minutes.
        let port = address.port().to_string();
        let second = Node::start_at(&port, &databases.urls[1], "", &one.api.to_string());
        assert_eq!(second.get("/api/v1/p2p/status").await.json()["node_id"], name);
        for node in [&one, &second, &third] {
            node.shows(&["late", "meanwhile", "testuser"]).await;
        }
        let mut hashes = Vec::new();
        for node in [&one, &second, &third] {
            let info = node.get("/api/v1/p2p/table-info/users").await.json();
            hashes.push((info["hash"].clone(), info["count"].clone()));
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0] && hash.1 == 3), "{hashes:?}");
    });
}

/// The README's lines of curl after it has started three nodes, with the addresses that these have here.
fn lines_of_the_readme(addresses: &[(&str, SocketAddr)]) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```bash\n").find(|block| block.starts_with("curl -X POST")).unwrap();
    let mut block = block.split("```").next().unwrap().replace("\\\n", " ");
    for (written, here) in addresses {
        block = block.replace(written, &here.to_string());
    }
    assert!(!block.contains("localhost"), "{block}");
    block.lines().map(str::to_owned).collect()
}

/// What a shell prints of a line; curl says nothing of its own.
async fn shell(line: &str) -> Value {
    let output = tokio::process::Command::new("bash").args(["-c", line]).output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{line}: {error}: {printed}"))
}

/// The next message on a socket of this type, or of an event of this type.
async fn next_of(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, kind: &str) -> Value {
    loop {
        let message = timeout(Duration::from_secs(30), socket.next()).await.unwrap().unwrap().unwrap();
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if message["type"] == kind || message["data"]["type"] == kind {
            return message;
        }
    }
}

#[test]
fn the_quick_test_works_with_its_lines_as_they_are_written() {
    run(async {
        let postgres = Postgres::started(false).await;
        let databases = Databases::make(&postgres).await;
        // As the README starts them, but on ports that are free here: they find each other by announcements.
        let free = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = [free(), free(), free()];
        let ports = sockets.map(|socket| socket.local_addr().unwrap().port().to_string());
        let peer_ports = ports.join(",");
        let start = |nth: usize, name: &str| {
            Node::start_with(&[
                ("API_PORT", "0"),
                ("DISCOVERY_PORT", &ports[nth]),
                ("DISCOVERY_PEER_PORTS", &peer_ports),
                ("NODE_NAME", name),
                ("DATABASE_URL", &databases.urls[nth]),
            ])
        };
        let nodes = [start(0, "node1"), start(1, "node2"), start(2, "node3")];
        for node in &nodes {
            let count = || async { node.get("/api/v1/p2p/status").await.json()["peer_count"] == 2 };
            until("they found each other", count).await;
        }
        let url = format!("ws://{}/api/v1/p2p/ws", nodes[2].api);
        let mut socket = connect_async(url).await.unwrap().0;
        assert_eq!(next_of(&mut socket, "status").await["data"]["node_id"], "node3");

        let addresses = [("localhost:8000", nodes[0].api), ("localhost:8010", nodes[1].api)];
        let lines = lines_of_the_readme(&addresses);
        let [register, users, status, trigger, refresh] = lines.as_slice() else { panic!("{lines:#?}") };
        let registered = shell(register).await;
        assert_eq!(registered["username"], "testuser", "{registered}");
        until("the user is at the second", || async { shell(users).await[0]["username"] == "testuser" })
            .await;
        assert_eq!(shell(users).await[0]["email"], "test@example.com");
        let applied = next_of(&mut socket, "changes_applied").await;
        assert_eq!(applied["type"], "sync_event", "{applied}");
        assert_eq!(shell(status).await["status"], "active");
        assert!(shell(trigger).await["detail"].is_null());
        assert!(shell(refresh).await["detail"].is_null());
        next_of(&mut socket, "table_synced").await;
        for (sent, answer) in [
            (r#"{"type": "ping"}"#, "pong"),
            (r#"{"type": "request_status"}"#, "status"),
            ("no JSON", "error"),
        ] {
            socket.send(Message::text(sent)).await.unwrap();
            next_of(&mut socket, answer).await;
        }
    });
}

#[test]
fn the_documented_endpoints_read_and_write_postgresql() {
    run(async {
        let postgres = Postgres::started(false).await;
        let databases = Databases::make(&postgres).await;
        let (one, other) =
            (Node::start(&databases.urls[0], "n1", ""), Node::start(&databases.urls[1], "n2", ""));
        let category = |number: usize| {
            json!({ "id": format!("00000000-0000-4000-8000-00000000000{number}"), "name": format!("c{number}"),
                "slug": format!("s{number}") })
        };
        let rows: Vec<Value> = (1..=5).map(category).collect();
        let path = "/api/v1/p2p/apply-changes/categories";
        let sent =
            one.post(path, &json!({ "table": "categories", "data": rows, "count": 5 }).to_string()).await;
        assert_eq!((sent.status, sent.json()["rows_applied"].clone()), (200, json!(5)), "{sent:?}");
        let product = json!({ "id": "00000000-0000-4000-8000-000000000009", "name": "p", "price": 12.5,
            "category_id": rows[0]["id"] });
        let sent =
            one.post("/api/v1/p2p/apply-changes/products", &json!({ "data": [product] }).to_string()).await;
        assert_eq!(sent.status, 200, "{sent:?}");
        // As the database writes it, and not as JSON did.
        let data = one.get("/api/v1/p2p/table-data/products").await.json();
        assert_eq!((data["data"][0]["price"].clone(), data["count"].clone()), (json!("12.50"), json!(1)));

        let page = one.get("/api/v1/p2p/table-data/categories?limit=3").await.json();
        assert_eq!(page["count"], 3);
        let next = page["next"].as_str().unwrap();
        let rest = one.get(&format!("/api/v1/p2p/table-data/categories?limit=3&after={next}")).await.json();
        assert_eq!((rest["count"].clone(), rest["next"].clone()), (json!(2), Value::Null));

        // Deleted rows are changes, too; sent on, rows stay the writes that they are.
        databases.sql(0, "DELETE FROM categories WHERE name = 'c5'").await;
        let mut changes =
            one.get("/api/v1/p2p/table-changes/categories?since=2020-01-01T00:00:00").await.json();
        assert_eq!((changes["count"].clone(), changes["deleted"].as_array().unwrap().len()), (json!(4), 1));
        changes["source_node"] = json!("n1");
        until("it works", || async { other.get("/healthz").await.status == 200 }).await;
        let applied = other.post(path, &changes.to_string()).await.json();
        assert_eq!((applied["rows_applied"].clone(), applied["rows_refused"].clone()), (json!(5), json!(0)));
        let again = other.post(path, &changes.to_string()).await.json();
        assert_eq!((again["rows_applied"].clone(), again["rows_unchanged"].clone()), (json!(0), json!(5)));

        // What the table does not take is the sender's fault.
        for (row, status) in [
            (json!({ "id": "no uuid", "name": "x", "slug": "x" }), 422),
            (json!({ "id": "00000000-0000-4000-8000-000000000007" }), 422),
            (json!({ "id": "00000000-0000-4000-8000-000000000007", "name": "c1", "slug": "x" }), 409),
        ] {
            let answer = one.post(path, &json!({ "data": [row] }).to_string()).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(!answer.detail().contains("no uuid"));
        }
    });
}

#[test]
fn a_database_that_cannot_be_a_peers_is_named_with_the_remedy() {
    run(async {
        let postgres = Postgres::started(false).await;
        let databases = Databases::make(&postgres).await;
        let refused = |arguments: &[&str], name: &str, url: &str| {
            let variables = [
                ("API_PORT", "0"),
                ("P2P_PORT", "0"),
                ("DISCOVERY_PORT", "0"),
                ("NODE_NAME", name),
                ("DATABASE_URL", url),
            ];
            let mut command = Command::new(PROGRAM);
            let output = command.args(arguments).env_clear().envs(variables).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(!text.contains("secret"), "{text}");
            (output.status.code(), text)
        };
        let (code, text) = refused(&["serve"], "n1", &databases.urls[0]);
        assert!(code == Some(2) && text.contains("there is no table `"), "{text}");
        let (code, text) = refused(&["serve"], "n1", "postgresql://u:secret@127.0.0.1:1/x");
        assert!(code == Some(3) && text.contains("DATABASE_URL"), "{text}");
        let (code, text) = refused(&["serve"], "n1", "hunter2:secret");
        assert!(code == Some(2) && text.contains("connection string"), "{text}");
        let node = Node::start(&databases.urls[0], "n1", "");
        let (code, text) = refused(&["serve"], "n1", &databases.urls[0]);
        assert!(code == Some(3) && text.contains("another peer works on this database"), "{text}");
        drop(node);
        let (code, text) = refused(&["serve"], "n9", &databases.urls[0]);
        assert!(code == Some(2) && text.contains("belongs to the peer `n1`"), "{text}");
        let (code, text) = refused(&["rename", "no name"], "", &databases.urls[0]);
        assert!(code == Some(2) && text.contains("1 to 64 characters"), "{text}");
        let (code, text) = refused(&["rename", "n9"], "n1", &databases.urls[1]);
        assert!(code == Some(2) && text.contains("is no peer's yet"), "{text}");
        let (code, text) = refused(&["rename", "n9"], "n1", &databases.urls[0]);
        assert!(code == Some(0) && text.contains("set NODE_NAME=n9"), "{text}");
        let (code, text) = refused(&["serve"], "n1", &databases.urls[0]);
        assert!(code == Some(2) && text.contains("belongs to the peer `n9`"), "{text}");
    });
}
