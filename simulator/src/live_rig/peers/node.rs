//! A peer of a live run: as a child process, `p2psim node peer`, and seen from the run.
//!
//! It is the `peer-node` of the core over its PostgreSQL database, with the scenario's settings in place of those that an
//! environment can state, and with a [witness](super::facts) beside its database.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::config::peer::PeerConfig;
use sync_core::peer_sync::resolver::Resolvers;
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::settings::ReplicaSettings;
use sync_core::runtime::driver::replica::ReplicaFront;
use sync_core::runtime::peer_node::database::PostgresDatabase;
use sync_core::runtime::peer_node::{Parts, PeerNode};
use sync_core::runtime::peer_store::{PeerStore, PeerStoreOptions};
use sync_core::secret::Secret;
use sync_core::time::Span;
use tokio::sync::broadcast::error::RecvError;

use super::facts::FactFile;
use crate::live_rig::{Child, LiveError, parent};
use crate::peer_schema::node_id;

/// What a peer's process is told. Holds a password: it travels through a pipe and is shown nowhere.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerSpec {
    /// Which, of how many.
    pub(super) peer: u32,
    pub(super) count: u32,
    /// The peer whose name it has, which may be another's.
    pub(super) name: u32,
    /// Where it listens, on three ports.
    pub(super) address: Ipv4Addr,
    pub(super) api_port: u16,
    pub(super) p2p_port: u16,
    pub(super) discovery_port: u16,
    /// Where its announcements go.
    pub(super) announces_to: Vec<Ipv4Addr>,
    pub(super) postgres: String,
    pub(super) tables: Vec<Table>,
    /// Its own addresses in them are filled in by itself.
    pub(super) settings: ReplicaSettings,
    pub(super) stamp_ahead_max: Span,
    /// A file to be made.
    pub(super) facts: PathBuf,
}

/// Starts a peer's process and waits until it listens.
///
/// # Errors
/// When it does not come up.
pub(super) async fn start(spec: &PeerSpec) -> Result<Child, LiveError> {
    let text = serde_json::to_string(spec)
        .map_err(|_| LiveError::Child { name: "peer".to_owned(), cause: "no input".to_owned() })?;
    let ready = |line: &str| (line == READY).then_some(());
    let (child, ()) = Child::spawn(&["node", "peer"], Some(Secret::new(text)), ready).await?;
    Ok(child)
}

/// Serves until SIGTERM, or until the parent ends.
///
/// # Errors
/// When it does not come up.
pub(crate) fn serve() -> anyhow::Result<()> {
    let spec: PeerSpec = serde_json::from_str(parent::text()?.expose())?;
    parent::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(spec));
    runtime.shutdown_background();
    served
}

async fn run(spec: PeerSpec) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let facts = Arc::new(FactFile::create(&spec.facts, spec.peer, spec.count)?);
    let node = node_id(spec.name, spec.count);
    let schema = Schema::new(spec.tables.iter().cloned())?;
    let options = PeerStoreOptions { stamp_ahead_max: spec.stamp_ahead_max, ..PeerStoreOptions::default() };
    let url = Secret::new(spec.postgres.clone());
    let store = PeerStore::connect(&url, schema.clone(), node.clone(), options).await?;
    let store = store.witnessed(Arc::clone(&facts) as Arc<_>);
    let resolvers = Resolvers::declared(&schema);
    let database = Arc::new(PostgresDatabase::over(store));
    let parts = Parts { node, schema: Arc::new(schema), resolvers, database };
    let settings = spec.settings.clone();
    let config = config(spec);
    let running = PeerNode::start_with(&config, parts, |given| ReplicaSettings {
        host: given.host,
        api_port: given.api_port,
        listen_port: given.listen_port,
        ..settings
    });
    let running = running.await?;
    tokio::spawn(follow(running.front().clone(), facts));
    parent::announce(READY)?;
    terminate.recv().await;
    running.shutdown().await;
    Ok(())
}

fn config(spec: PeerSpec) -> PeerConfig {
    PeerConfig {
        bind_address: IpAddr::V4(spec.address),
        api_port: spec.api_port,
        p2p_port: spec.p2p_port,
        discovery_port: spec.discovery_port,
        node_name: Some(node_id(spec.name, spec.count)),
        database_url: None,
        sync_enabled: true,
        auto_discovery: spec.settings.auto_discovery,
        sync_interval: spec.settings.sync_interval,
        static_peers: spec.settings.static_peers.clone(),
        discovery_peer_ports: vec![spec.discovery_port],
        discovery_addresses: spec.announces_to,
        peers_max: spec.settings.peers_max,
        shared_key: None,
        sync_tables: Vec::new(),
        schema_file: None,
    }
}

/// Writes down what the engine tells.
async fn follow(front: ReplicaFront, facts: Arc<FactFile>) {
    let mut events = front.follow();
    loop {
        match events.recv().await {
            Ok(told) => facts.tell(told.at.as_us(), &told.event),
            // They serve figures; no check needs all of them.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

const READY: &str = "ready";
