//! Accepts connections, over TLS where there is an identity, and serves them until told to stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_service::Service as _;

use crate::limits;
use crate::runtime::duration;
use crate::runtime::tls::Identity;

/// How far a server has come on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Connections are accepted.
    Serving,
    /// None is accepted any more; those that are open end when their request is answered.
    Closing,
    /// All are cut.
    Closed,
}

/// Where a request comes from; every request has it among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAddress(pub(crate) SocketAddr);

/// How long to wait when no connection can be accepted: out of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The first byte of a connection that begins with TLS (RFC 8446, section 5.1: a record of a handshake).
const TLS_HANDSHAKE: u8 = 22;

/// What a client gets that speaks plain HTTP to a port with TLS.
const NO_PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 36\r\n\
    connection: close\r\n\r\nthis port speaks TLS: use https://\r\n";

/// Serves `router` until [`Phase::Closing`], and returns when every connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: Option<Identity>,
    router: Router,
    phase: watch::Receiver<Phase>,
) {
    let acceptor = identity.as_ref().map(Identity::acceptor);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut stop = phase.clone();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            biased;
            () = reached(&mut stop, Phase::Closing) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let (router, mut phase, acceptor) = (router.clone(), phase.clone(), acceptor.clone());
                tokio::spawn(async move {
                    // It still works without, only slower.
                    let _ = stream.set_nodelay(true);
                    match acceptor {
                        None => connection(stream, from, router, phase).await,
                        Some(acceptor) => {
                            if let Some(stream) = shaken(stream, &acceptor, &mut phase).await {
                                connection(stream, from, router, phase).await;
                            }
                        }
                    }
                    drop(place);
                });
            }
            // A connection that broke before it was taken is none; else something is scarce.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    // Every place is free when every connection has ended.
    let all = u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

/// The connection with TLS on it; `None` when that does not come about in time or before the server closes.
async fn shaken(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
    phase: &mut watch::Receiver<Phase>,
) -> Option<TlsStream<TcpStream>> {
    let opening = async {
        let mut first = [0];
        // Nothing is there when the other side closed.
        let speaks_tls = match stream.peek(&mut first).await {
            Ok(1) => first[0] == TLS_HANDSHAKE,
            _ => return None,
        };
        if speaks_tls {
            return acceptor.accept(stream).await.ok();
        }
        if stream.write_all(NO_PLAIN_HTTP).await.is_ok() && stream.shutdown().await.is_ok() {
            // What is unread when a socket is closed makes the system throw away the answer, too.
            let mut rest = stream.take(limits::PLAIN_HTTP_BYTES_MAX);
            let _ = timeout(
                duration(limits::PLAIN_HTTP_TIMEOUT),
                tokio::io::copy(&mut rest, &mut tokio::io::sink()),
            )
            .await;
        }
        None
    };
    tokio::select! {
        biased;
        opened = timeout(duration(limits::TLS_HANDSHAKE_TIMEOUT), opening) => opened.ok().flatten(),
        () = reached(phase, Phase::Closing) => None,
    }
}

/// Serves one connection until it ends or the server is closed.
pub(crate) async fn connection<S>(stream: S, from: SocketAddr, router: Router, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // A router is ready at any time.
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddress(from));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(duration(limits::CONNECTION_IDLE))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let (mut closing, mut closed) = (phase.clone(), phase);
    let mut is_closing = false;
    loop {
        tokio::select! {
            // Broken or at its end: either way it is over.
            _ = connection.as_mut() => return,
            () = reached(&mut closing, Phase::Closing), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = reached(&mut closed, Phase::Closed) => return,
        }
    }
}

/// Waits for a phase; a server that is gone has reached them all.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
