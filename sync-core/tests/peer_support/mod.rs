//! Peers in one process, over real sockets, with their databases in memory.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "sockets live in real time")]
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sync_core::config::peer::{PeerConfig, Variables};
use sync_core::id::Incarnation;
use sync_core::peer_sync::resolver::Resolvers;
use sync_core::runtime::peer_node::database::{MemoryDatabase, PeerDatabase};
use sync_core::runtime::peer_node::{Parts, PeerNode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A node on free ports of this machine that announces itself nowhere, unless `more` says otherwise.
pub(crate) struct Node {
    pub(crate) node: PeerNode,
    pub(crate) database: Arc<MemoryDatabase>,
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(test);
    runtime.shutdown_background();
    result
}

pub(crate) fn config(name: &str, more: &[(&str, &str)]) -> PeerConfig {
    let base = [
        ("API_PORT", "0"),
        ("P2P_PORT", "0"),
        ("DISCOVERY_PORT", "0"),
        ("BIND_ADDRESS", "127.0.0.1"),
        ("DISCOVERY_ADDRESSES", "127.0.0.1"),
        ("DISCOVERY_PEER_PORTS", "9"),
        ("SYNC_INTERVAL", "1"),
        ("NODE_NAME", name),
    ];
    let variables = base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    PeerConfig::resolve(&Variables::default().with_environment(variables)).unwrap().0
}

pub(crate) async fn start(name: &str, more: &[(&str, &str)]) -> Node {
    let config = config(name, more);
    let node = config.node_name.clone().unwrap();
    let schema = config.schema(None).unwrap();
    let database = Arc::new(MemoryDatabase::new(node, schema, Incarnation(1)));
    let node = start_over(&config, Arc::clone(&database)).await;
    Node { node, database }
}

pub(crate) async fn start_over<D: PeerDatabase>(config: &PeerConfig, database: Arc<D>) -> PeerNode {
    let schema = config.schema(None).unwrap();
    let parts = Parts {
        node: config.node_name.clone().unwrap(),
        resolvers: Resolvers::declared(&schema),
        schema: Arc::new(schema),
        database,
    };
    PeerNode::start(config, parts).await.unwrap()
}

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("{}", self.text())).to_owned()
    }
}

/// One request on a connection of its own.
pub(crate) async fn http(at: SocketAddr, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

impl Node {
    pub(crate) fn api(&self) -> SocketAddr {
        self.node.addresses().api
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http(self.api(), "GET", path, "", b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        http(self.api(), "POST", path, "content-type: application/json\r\n", body.as_bytes()).await
    }

    /// Makes the other a peer.
    pub(crate) async fn meet(&self, other: &Self) {
        let port = other.api().port();
        let body = format!(r#"{{"peer_id":"x","host":"127.0.0.1","port":{port}}}"#);
        assert_eq!(self.post("/api/v1/p2p/peers", &body).await.status, 200);
    }

    pub(crate) async fn peers(&self) -> Vec<String> {
        let status = self.get("/api/v1/p2p/status").await.json();
        let peers = status["peers"].as_array().unwrap().iter();
        peers.map(|peer| peer["peer_id"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn register(&self, name: &str) -> Answer {
        let body =
            format!(r#"{{"username":"{name}","email":"{name}@example.com","password":"password123"}}"#);
        self.post("/api/v1/auth/register", &body).await
    }

    pub(crate) async fn users(&self) -> Vec<String> {
        let users = self.get("/api/v1/users/").await.json();
        let mut names: Vec<String> = users
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["username"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

/// Waits until something holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
