//! Accepts connections and serves them until told to stop.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::limits;
use crate::runtime::duration;

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

/// How long to wait when no connection can be accepted: out of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` until [`Phase::Closing`], and returns when every connection has ended.
pub(crate) async fn serve(listener: TcpListener, router: Router, phase: watch::Receiver<Phase>) {
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
            Ok((stream, _)) => {
                let (router, phase) = (router.clone(), phase.clone());
                tokio::spawn(async move {
                    connection(stream, router, phase).await;
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

async fn connection(stream: TcpStream, router: Router, phase: watch::Receiver<Phase>) {
    // A socket that cannot be told so still works.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(duration(limits::CONNECTION_IDLE))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
