//! The sync proxy: what hosts speak to, so that they see nothing of the main server.
//!
//! It holds no key and forwards bodies as they are. What goes back is a sealed answer, or a bare status: no header
//! and no text of whatever stands behind it, and no telling why that cannot be reached.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::Response;
use axum::routing::post;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::duration;
use super::http::{ClientError, Failure, HttpClient, Phase, bare, json, read, serve};
use super::tls::{Identity, TlsFileError};
use crate::config::Endpoint;
use crate::host_sync::operation::TransportError;
use crate::limits;
use crate::wire::batch::read_answers;
use crate::wire::{self, OuterReply};

/// Why a sync proxy did not start.
#[derive(Debug, Error)]
pub enum SyncProxyError {
    /// The main server's address.
    #[error("`--upstream`: {0}")]
    Upstream(#[from] ClientError),
    /// A file of certificates or of a key.
    #[error("{0}")]
    Tls(#[from] TlsFileError),
    /// The address to listen on.
    #[error("cannot listen on {address}: {error}; {}", crate::runtime::listen_help(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// A running sync proxy. Dropped, it ends at once; [`shutdown`](Self::shutdown) ends it in order.
#[derive(Debug)]
pub struct SyncProxy {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    listener: JoinHandle<()>,
}

impl SyncProxy {
    /// Listens on `listen` (port 0 for a free one), takes requests at `path` and carries them to `upstream`. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// When `upstream` cannot be spoken to, or the address cannot be listened on.
    pub async fn start(upstream: &Endpoint, path: &str, listen: SocketAddr) -> Result<Self, SyncProxyError> {
        Self::start_with(HttpClient::new(upstream)?, path, listen, None).await
    }

    /// The same with a client of one's own, over TLS when there is an identity.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_with(
        client: HttpClient,
        path: &str,
        listen: SocketAddr,
        identity: Option<Identity>,
    ) -> Result<Self, SyncProxyError> {
        let refused = |error| SyncProxyError::Listen { address: listen, error };
        let socket = TcpListener::bind(listen).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let routes =
            Router::new().without_v07_checks().route(path, post(forward)).with_state(Arc::new(client));
        let (phase, phases) = watch::channel(Phase::Serving);
        let listener = tokio::spawn(serve(socket, identity, routes, phases));
        Ok(Self { address, phase, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further request, and waits for those that are open within [`limits::SHUTDOWN_DRAIN`].
    pub async fn shutdown(mut self) {
        self.phase.send_replace(Phase::Closing);
        let _ = timeout(duration(limits::SHUTDOWN_DRAIN), &mut self.listener).await;
        self.phase.send_replace(Phase::Closed);
    }
}

async fn forward(State(client): State<Arc<HttpClient>>, request: Request) -> Response {
    let body = match timeout(duration(limits::BODY_READ_TIMEOUT), read(request.into_body())).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return bare(status),
        Err(_) => return bare(StatusCode::REQUEST_TIMEOUT),
    };
    match client.exchange(body, limits::PROXY_TIMEOUT).await {
        Ok(reply) if is_sealed(&reply) => json(StatusCode::OK, reply),
        // Whatever that was, it was no main server's.
        Ok(_) => bare(StatusCode::BAD_GATEWAY),
        Err(Failure { error, retry_after }) => {
            let mut response = bare(status(error));
            if let (StatusCode::TOO_MANY_REQUESTS, Some(pause)) = (response.status(), retry_after) {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause.as_ms() / 1_000));
            }
            response
        }
    }
}

/// A reply, or the answers to a batch.
fn is_sealed(body: &[u8]) -> bool {
    wire::read::<OuterReply<'_>>(body).is_ok() || read_answers(body).is_ok()
}

/// Statuses that are part of the protocol pass; everything else is a gateway's own.
fn status(error: TransportError) -> StatusCode {
    match error {
        TransportError::Status(code @ (400 | 413 | 429 | 503)) => {
            StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY)
        }
        TransportError::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
        TransportError::Status(_)
        | TransportError::Unreachable
        | TransportError::Untrusted
        | TransportError::Stale
        | TransportError::Tls(_) => StatusCode::BAD_GATEWAY,
    }
}
