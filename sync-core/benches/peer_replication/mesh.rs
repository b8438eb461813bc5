//! Three databases that are kept in step: by PostgreSQL's logical replication, or by peers.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::links::{Links, free_port, link_address, own_address};
use super::servers::{Servers, Used, ask, content, run};

const PATIENCE: Duration = Duration::from_secs(300);
const SCHEMA: &str = r#"[{"name": "products", "columns": ["id", "name", "price", "description", "updated_at", "node_id"],
    "key": ["id"]}]"#;

pub(super) struct Mesh<'a> {
    pub(super) servers: &'a Servers,
    name: String,
    pub(super) clients: Vec<PgConnection>,
    pub(super) how: How,
}

pub(super) enum How {
    Native,
    Peers(Peers),
}

pub(super) struct Peers {
    pub(super) links: Links,
    ports: Vec<[u16; 2]>,
    nodes: Vec<Option<Child>>,
    /// Seconds that ended processes have used.
    ended_cpu_s: f64,
}

impl<'a> Mesh<'a> {
    pub(super) async fn native(servers: &'a Servers, name: &str) -> Self {
        let mut clients = servers.databases(name).await;
        for client in &mut clients {
            run(client, "CREATE PUBLICATION all_products FOR TABLE products").await;
        }
        for (to, client) in clients.iter_mut().enumerate() {
            for from in (0..3).filter(|from| *from != to) {
                let address = &servers.addresses[from];
                run(
                    client,
                    &format!(
                        "CREATE SUBSCRIPTION {name}_{from}_{to}
                         CONNECTION 'host={address} user=postgres password=secret dbname={name}'
                         PUBLICATION all_products WITH (origin = none, copy_data = false)"
                    ),
                )
                .await;
            }
        }
        Self { servers, name: name.to_owned(), clients, how: How::Native }
    }

    pub(super) async fn peers(servers: &'a Servers, name: &str) -> Self {
        let clients = servers.databases(name).await;
        let mut ports = Vec::new();
        for peer in 0..3 {
            let api = free_port(peer).await;
            let mut p2p = free_port(peer).await;
            while p2p == api {
                p2p = free_port(peer).await;
            }
            ports.push([api, p2p]);
        }
        let links = Links::open(&ports).await;
        let peers = Peers { links, ports, nodes: vec![None, None, None], ended_cpu_s: 0.0 };
        let mut mesh = Self { servers, name: name.to_owned(), clients, how: How::Peers(peers) };
        for peer in 0..3 {
            mesh.start(peer);
        }
        // They know each other once a row has gone all ways.
        for from in 0..3 {
            let row = format!("INSERT INTO products (id, name) VALUES (md5('first {from}')::uuid, 'first')");
            run(&mut mesh.clients[from], &row).await;
        }
        mesh.equal(&[0, 1, 2]).await;
        mesh
    }

    /// Ends it and what it is kept in.
    pub(super) async fn end(mut self) {
        match &mut self.how {
            How::Native => {
                for (to, client) in self.clients.iter_mut().enumerate() {
                    for from in (0..3).filter(|from| *from != to) {
                        run(client, &format!("DROP SUBSCRIPTION {}_{from}_{to}", self.name)).await;
                    }
                }
            }
            How::Peers(peers) => (0..3).for_each(|peer| peers.stop(peer)),
        }
        drop(self.clients);
        self.servers.drop(&self.name).await;
    }

    /// Has one of them take part no more, or again.
    pub(super) async fn absent(&mut self, which: usize, is_absent: bool) {
        match (&mut self.how, is_absent) {
            (How::Native, _) => {
                let word = if is_absent { "DISABLE" } else { "ENABLE" };
                for from in (0..3).filter(|from| *from != which) {
                    let alter = format!("ALTER SUBSCRIPTION {}_{from}_{which} {word}", self.name);
                    run(&mut self.clients[which], &alter).await;
                }
            }
            (How::Peers(peers), true) => peers.stop(which),
            (How::Peers(_), false) => self.start(which),
        }
    }

    fn start(&mut self, peer: usize) {
        let url = self.servers.url(peer, &self.name);
        let How::Peers(peers) = &mut self.how else { return };
        let schema = std::env::temp_dir().join(format!("peer-replication-{}.json", std::process::id()));
        std::fs::write(&schema, SCHEMA).unwrap();
        let others: Vec<String> = (0..3)
            .filter(|other| *other != peer)
            .map(|other| format!("{}:{}", link_address(peer, other), peers.ports[other][0]))
            .collect();
        let [api, p2p] = peers.ports[peer].map(|port| port.to_string());
        let variables = [
            ("API_PORT", api.as_str()),
            ("P2P_PORT", &p2p),
            ("DISCOVERY_PORT", "0"),
            ("BIND_ADDRESS", &own_address(peer).to_string()),
            ("DISCOVERY_ADDRESSES", "127.0.0.1"),
            ("DISCOVERY_PEER_PORTS", "9"),
            ("NODE_NAME", &format!("n{}", peer + 1)),
            ("DATABASE_URL", &url),
            ("STATIC_PEERS", &others.join(",")),
            ("SYNC_SCHEMA_FILE", &schema.to_string_lossy()),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer-node"));
        command.arg("serve").env_clear().envs(variables).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening"), "{line}");
        peers.nodes[peer] = Some(child);
    }

    /// Waits until these have what the first of them has.
    pub(super) async fn equal(&mut self, which: &[usize]) {
        let started = Instant::now();
        let state = match self.how {
            How::Native => "SELECT count(*) || ' ' || coalesce(sum(price), 0) FROM products",
            // Written with the rows themselves: one cheap row instead of all.
            How::Peers(_) => {
                "SELECT CASE WHEN NOT EXISTS (SELECT FROM p2p_peer.log) THEN rows || ' ' || sum END FROM p2p_peer.tables"
            }
        };
        loop {
            let mut states = Vec::new();
            for peer in which {
                states.push(ask(&mut self.clients[*peer], state).await);
            }
            if states.iter().all(|state| state.is_some() && *state == states[0]) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{} never equal: {states:?}", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a row shows at some, which the last of one transaction does with all others in logical replication;
    /// peers split what is large.
    pub(super) async fn arrived(&mut self, marker: &str, which: &[usize]) {
        if let How::Peers(_) = self.how {
            return self.equal(&[&[0], which].concat()).await;
        }
        let started = Instant::now();
        for peer in which {
            while ask(&mut self.clients[*peer], marker).await.is_none() {
                assert!(started.elapsed() < PATIENCE, "{} never shows {marker}", self.name);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Checks every column of every row.
    pub(super) async fn same_everywhere(&mut self) {
        let first = content(&mut self.clients[0]).await;
        for client in &mut self.clients[1..] {
            assert_eq!(first, content(client).await, "{}", self.name);
        }
    }

    /// What servers and nodes have used.
    pub(super) fn used(&self) -> Used {
        let mut used = self.servers.used();
        if let How::Peers(peers) = &self.how {
            let nodes = peers.nodes.iter().flatten();
            used.cpu_s += peers.ended_cpu_s + nodes.map(cpu_s).sum::<f64>();
            // Between machines this is all; what goes to and from the own database stays on one.
            used.sent_bytes = peers.links.bytes();
        }
        used
    }
}

impl Peers {
    fn stop(&mut self, peer: usize) {
        let Some(mut child) = self.nodes[peer].take() else { return };
        self.ended_cpu_s += cpu_s(&child);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        (0..3).for_each(|peer| self.stop(peer));
    }
}

/// Seconds of processors, in user mode and in the kernel (proc_pid_stat(5), fields 14 and 15 in ticks of 10 ms).
fn cpu_s(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].map(|at| fields[at].parse::<u64>().unwrap()).iter().sum();
    ticks as f64 / 100.0
}
