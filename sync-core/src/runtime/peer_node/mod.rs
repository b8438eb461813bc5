//! A peer as a whole: its engine, its database, and its three ports, from the environment.
//!
//! The API port answers people, applications and hellos ([`wire`] says how peers speak); the P2P port answers peers; the
//! discovery port hears announcements. Everything goes through the one mailbox of the engine
//! ([`driver::replica`](super::driver::replica)), so that a tap sees all that the node knew.

mod api;
#[cfg(feature = "programs")]
pub mod cli;
pub mod database;
mod discovery;
mod poll;
mod ports;
pub mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::database::PeerDatabase;
use self::discovery::Targets;
pub use self::ports::Ports;
use self::wire::{Keys, PeerClient};
use super::driver::replica::{ReplicaDriver, ReplicaFront, Surroundings};
use super::duration;
use super::entropy::OsEntropy;
use super::http::Phase;
use crate::config::peer::PeerConfig;
use crate::limits;
use crate::peer_sync::announcement::{Announcement, PeerAddress};
use crate::peer_sync::message::{Asked, PeerAnswer};
use crate::peer_sync::replica::{NoAnswer, Replica, Standard};
use crate::peer_sync::resolver::Resolvers;
use crate::peer_sync::schema::Schema;
use crate::peer_sync::settings::ReplicaSettings;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::time::Span;

/// How long connections have to carry away their last answers.
const LAST_ANSWERS: Span = Span::from_ms(500);

/// Why a node did not start. No message holds a secret.
#[derive(Debug, Error)]
pub enum PeerNodeError {
    /// An address to listen on.
    #[error("{variable}: cannot listen on {address}: {error}; {}", crate::runtime::listen_help(error))]
    Listen {
        /// The variable that names the port.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// What a node is put together from, beside its configuration.
pub struct Parts {
    /// Who it is.
    pub node: NodeId,
    /// What travels.
    pub schema: Arc<Schema>,
    /// Who wins; those of the schema.
    pub resolvers: Resolvers,
    /// Its database.
    pub database: Arc<dyn PeerDatabase>,
}

/// A running node. Dropped, it ends at once; [`shutdown`](Self::shutdown) ends it in order.
#[derive(Debug)]
pub struct PeerNode {
    addresses: Addresses,
    driver: ReplicaDriver,
    ports: Ports,
    listeners: [JoinHandle<()>; 2],
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The documented endpoints.
    pub api: SocketAddr,
    /// Peers' questions.
    pub p2p: SocketAddr,
    /// Announcements.
    pub discovery: SocketAddr,
}

impl PeerNode {
    /// Opens the ports and begins to work. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub async fn start(config: &PeerConfig, parts: Parts) -> Result<Self, PeerNodeError> {
        Self::start_with(config, parts, |settings| settings).await
    }

    /// The same with other settings of the engine than the environment can say: `adjust` is given those of the
    /// environment.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        config: &PeerConfig,
        parts: Parts,
        adjust: impl FnOnce(ReplicaSettings) -> ReplicaSettings,
    ) -> Result<Self, PeerNodeError> {
        let (api, api_address) = listen("API_PORT", config.bind_address, config.api_port).await?;
        let (p2p, p2p_address) = listen("P2P_PORT", config.bind_address, config.p2p_port).await?;
        let (socket, discovery_address) = hear(config.bind_address, config.discovery_port).await?;
        let socket = Arc::new(socket);
        let Parts { node, schema, resolvers, database } = parts;
        let host = announced_host(config.bind_address);
        let settings = adjust(config.settings(&host, api_address.port(), p2p_address.port()));
        let replica =
            Replica::new(node, Arc::clone(&schema), resolvers, settings, OsEntropy::new(), Standard);
        let keys = Keys::new(config.shared_key.clone());
        let surroundings = Arc::new(Real {
            database: Arc::clone(&database),
            client: PeerClient::new(keys.clone()),
            socket: Arc::clone(&socket),
            targets: Targets {
                addresses: config.discovery_addresses.clone(),
                ports: config.discovery_peer_ports.clone(),
            },
            keys: keys.clone(),
        });
        let driver = ReplicaDriver::start(replica, surroundings);
        let front = driver.front().clone();
        let ports =
            Ports::with_keys(front.clone(), Arc::clone(&database), schema, keys, discovery_address.port());
        let listeners = ports.serve(api, p2p);
        tokio::spawn(poll::watch(database, front, ports.phases()));
        ports.hear(socket);
        let addresses = Addresses { api: api_address, p2p: p2p_address, discovery: discovery_address };
        Ok(Self { addresses, driver, ports, listeners })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What speaks to its engine.
    pub fn front(&self) -> &ReplicaFront {
        self.driver.front()
    }

    /// Begins nothing new, waits for what is under way no longer than [`limits::SHUTDOWN_DRAIN`], and closes the ports.
    /// Says whether everything had ended by then.
    pub async fn shutdown(self) -> bool {
        let bound = Instant::now() + duration(limits::SHUTDOWN_DRAIN);
        self.ports.enter(Phase::Closing);
        let ended = self.driver.shutdown(limits::SHUTDOWN_DRAIN).await;
        let mut in_time = ended;
        for mut listener in self.listeners {
            if timeout_at(bound, &mut listener).await.is_err() {
                in_time = false;
                let _ = timeout(duration(LAST_ANSWERS), &mut listener).await;
            }
        }
        self.ports.enter(Phase::Closed);
        in_time
    }
}

async fn listen(
    variable: &'static str,
    address: IpAddr,
    port: u16,
) -> Result<(TcpListener, SocketAddr), PeerNodeError> {
    let address = SocketAddr::new(address, port);
    let refused = |error| PeerNodeError::Listen { variable, address, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let taken = listener.local_addr().map_err(refused)?;
    Ok((listener, taken))
}

async fn hear(address: IpAddr, port: u16) -> Result<(UdpSocket, SocketAddr), PeerNodeError> {
    let address = SocketAddr::new(address, port);
    let refused = |error| PeerNodeError::Listen { variable: "DISCOVERY_PORT", address, error };
    let socket = UdpSocket::bind(address).await.map_err(refused)?;
    // Without that right announcements still reach single machines.
    let _ = socket.set_broadcast(true);
    let taken = socket.local_addr().map_err(refused)?;
    Ok((socket, taken))
}

/// What the node calls itself in announcements. Peers go by where these come from, so this is for people.
fn announced_host(address: IpAddr) -> String {
    if !address.is_unspecified() {
        return address.to_string();
    }
    // Connecting a datagram socket sends nothing: it only chooses the address that the machine would send from.
    let chosen = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    chosen.map_or_else(|_| Ipv4Addr::LOCALHOST.to_string(), |chosen| chosen.ip().to_string())
}

/// Real sockets and a real database behind an engine.
struct Real {
    database: Arc<dyn PeerDatabase>,
    client: PeerClient,
    socket: Arc<UdpSocket>,
    targets: Targets,
    keys: Keys,
}

impl Surroundings for Real {
    fn execute(self: Arc<Self>, request: PeerRequest) -> BoxFuture<'static, PeerReply> {
        Box::pin(async move { self.database.execute(request).await })
    }

    fn ask(
        self: Arc<Self>,
        to: PeerAddress,
        asked: Asked,
        timeout: Span,
    ) -> BoxFuture<'static, Result<PeerAnswer, NoAnswer>> {
        Box::pin(async move { self.client.ask(&to, &asked, timeout).await })
    }

    fn announce(self: Arc<Self>, announcement: Announcement) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            discovery::announce(&self.socket, &self.targets, &self.keys, &announcement).await;
        })
    }
}
