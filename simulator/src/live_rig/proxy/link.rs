//! One link: where it listens, where it leads, how it behaves.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::connection;
use super::flow::Rule;
use super::{Behaviour, LinkStatistics};
use crate::draw::Draws;

#[derive(Debug)]
pub(super) struct Link {
    listening: SocketAddr,
    state: watch::Sender<State>,
    /// Ends when every connection of the present generation is gone and the generation is over.
    gone: Mutex<mpsc::Receiver<Infallible>>,
    counts: Arc<Counts>,
}

/// Everything that connections look at, as one value: who takes a copy sees it as it was at one moment.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) to_upstream: Arc<Rule>,
    pub(super) to_client: Arc<Rule>,
    refuse_new: bool,
    upstream: SocketAddr,
    /// Grows when all connections of the time are ended.
    pub(super) generation: u64,
    /// Whether the last end was a reset.
    pub(super) ended_by_reset: bool,
    /// Held by every connection of the generation: when all are dropped, all are gone.
    alive: mpsc::Sender<Infallible>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    refused: AtomicU64,
    pub(super) to_upstream: AtomicU64,
    pub(super) to_client: AtomicU64,
    pub(super) corrupted: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Link {
    /// Listens on a port of 127.0.0.1. Must be called within a tokio runtime, which accepts from now on.
    pub(super) async fn open(index: u64, upstream: SocketAddr, draws: Draws) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let quiet = Arc::new(Rule::default());
        let (alive, gone) = mpsc::channel(1);
        let state = State {
            to_upstream: quiet.clone(),
            to_client: quiet,
            refuse_new: false,
            upstream,
            generation: 0,
            ended_by_reset: false,
            alive,
        };
        let link = Arc::new(Self {
            listening: listener.local_addr()?,
            state: watch::Sender::new(state),
            gone: Mutex::new(gone),
            counts: Arc::default(),
        });
        tokio::spawn(link.clone().accept(listener, index, draws));
        Ok(link)
    }

    pub(super) const fn listening(&self) -> SocketAddr {
        self.listening
    }

    pub(super) fn set(&self, behaviour: Behaviour) {
        self.state.send_modify(|state| {
            state.refuse_new = behaviour.refuse_new;
            state.to_upstream = Arc::new(Rule::new(behaviour.to_upstream));
            state.to_client = Arc::new(Rule::new(behaviour.to_client));
        });
    }

    pub(super) fn set_upstream(&self, upstream: SocketAddr) {
        self.state.send_modify(|state| state.upstream = upstream);
    }

    /// Ends every connection there is, and waits until they are gone.
    pub(super) async fn end_connections(&self, by_reset: bool) {
        let (alive, gone) = mpsc::channel(1);
        let mut all_gone = std::mem::replace(&mut *self.gone.lock().await, gone);
        self.state.send_modify(|state| {
            state.generation += 1;
            state.ended_by_reset = by_reset;
            state.alive = alive;
        });
        let _ = timeout(GONE, all_gone.recv()).await;
    }

    pub(super) fn statistics(&self) -> LinkStatistics {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LinkStatistics {
            connections: of(&self.counts.connections),
            open: of(&self.counts.open),
            refused: of(&self.counts.refused),
            bytes_to_upstream: of(&self.counts.to_upstream),
            bytes_to_client: of(&self.counts.to_client),
            bytes_corrupted: of(&self.counts.corrupted),
            bytes_lost: of(&self.counts.lost),
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, index: u64, draws: Draws) {
        for ordinal in 0.. {
            let client = loop {
                match listener.accept().await {
                    Ok((client, _)) => break client,
                    // Too few files, or a client that is gone again: the next one may fare better.
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
            };
            let keys = Keys { draws, connection: index << 48 | ordinal << 1 };
            tokio::spawn(self.clone().connection(client, keys));
        }
    }

    async fn connection(self: Arc<Self>, client: TcpStream, keys: Keys) {
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
        let mut watch = self.state.subscribe();
        let state = watch.borrow_and_update().clone();
        let upstream = if state.refuse_new {
            None
        } else {
            let mut connecting = Box::pin(timeout(CONNECT, TcpStream::connect(state.upstream)));
            tokio::select! {
                connected = &mut connecting => connected.ok().and_then(Result::ok),
                by_reset = connection::over(watch.clone(), state.generation) => {
                    connection::end(client, by_reset);
                    // The upstream may have taken the connection already: it sees the same end.
                    if let Ok(Ok(upstream)) = connecting.await {
                        connection::end(upstream, by_reset);
                    }
                    return;
                }
            }
        };
        match upstream {
            Some(upstream) => {
                self.counts.open.fetch_add(1, Ordering::Relaxed);
                connection::run(client, upstream, watch, &state, keys, &self.counts).await;
                self.counts.open.fetch_sub(1, Ordering::Relaxed);
            }
            None => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                connection::reset(client);
            }
        }
    }
}

/// What the draws of a connection are keyed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) draws: Draws,
    /// Link and connection; the lowest bit is free for the direction.
    pub(super) connection: u64,
}

const CONNECT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const GONE: Duration = Duration::from_secs(5);
