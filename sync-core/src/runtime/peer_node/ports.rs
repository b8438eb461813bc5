//! What a node answers, apart from its sockets: whoever brings a request in another way is answered by the very handlers
//! of the ports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_service::Service as _;

use super::api::{Api, api_router};
use super::database::PeerDatabase;
use super::discovery;
use super::wire::{Keys, P2pApp, p2p_router};
use crate::peer_sync::authentication::SharedKey;
use crate::peer_sync::schema::Schema;
use crate::runtime::driver::replica::ReplicaFront;
use crate::runtime::http::{Phase, RemoteAddress, connection, serve};

/// The three ports of a node: documented endpoints, peers' questions, announcements.
#[derive(Debug)]
pub struct Ports {
    api: Router,
    p2p: Router,
    keys: Keys,
    front: ReplicaFront,
    phase: watch::Sender<Phase>,
}

impl Ports {
    /// Those of an engine and its database. `discovery_port` is shown, and nothing is opened.
    pub fn new(
        front: ReplicaFront,
        database: Arc<dyn PeerDatabase>,
        schema: Arc<Schema>,
        key: Option<SharedKey>,
        discovery_port: u16,
    ) -> Self {
        Self::with_keys(front, database, schema, Keys::new(key), discovery_port)
    }

    pub(super) fn with_keys(
        front: ReplicaFront,
        database: Arc<dyn PeerDatabase>,
        schema: Arc<Schema>,
        keys: Keys,
        discovery_port: u16,
    ) -> Self {
        let (phase, phases) = watch::channel(Phase::Serving);
        let api = Api::new(front.clone(), database, schema, keys.clone(), discovery_port, phases);
        let p2p = P2pApp::new(front.clone(), keys.clone());
        Self { api: api_router(api), p2p: p2p_router(p2p), keys, front, phase }
    }

    /// Answers a request to the port of the documented endpoints.
    pub async fn api(&self, from: SocketAddr, request: Request<Body>) -> Response {
        call(&self.api, from, request).await
    }

    /// Answers a request to the port of peers' questions.
    pub async fn p2p(&self, from: SocketAddr, request: Request<Body>) -> Response {
        call(&self.p2p, from, request).await
    }

    /// Answers what comes over one connection to the port of the documented endpoints, WebSockets included, until it ends.
    pub async fn connection<S>(&self, from: SocketAddr, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection(stream, from, self.api.clone(), self.phase.subscribe()).await;
    }

    /// Hears a datagram, and says whether it is an announcement that is heeded.
    pub fn announced(&self, from: IpAddr, datagram: &[u8]) -> bool {
        discovery::heard(datagram, from, &self.keys, &self.front)
    }

    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Serves both ports of HTTP until the node closes.
    pub(super) fn serve(&self, api: TcpListener, p2p: TcpListener) -> [JoinHandle<()>; 2] {
        [
            tokio::spawn(serve(api, None, self.api.clone(), self.phases())),
            tokio::spawn(serve(p2p, None, self.p2p.clone(), self.phases())),
        ]
    }

    /// Hears announcements until the node closes.
    pub(super) fn hear(&self, socket: Arc<UdpSocket>) {
        let (keys, front, phases) = (self.keys.clone(), self.front.clone(), self.phases());
        tokio::spawn(async move { discovery::hear(&socket, &keys, &front, phases).await });
    }
}

async fn call(router: &Router, from: SocketAddr, mut request: Request<Body>) -> Response {
    request.extensions_mut().insert(RemoteAddress(from));
    // A router is ready at any time.
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
