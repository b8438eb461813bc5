//! The links between live peers: HTTP requests, their answers and announcements, each a message that is carried, lost,
//! doubled or held back as the scenario says.
//!
//! What becomes of a message decides the network of the virtual world ([`PeerNetwork`]), draw for draw: the n-th message from
//! one peer to another has the same fate in both rigs. A request that is lost is never answered, and neither is one whose
//! answer is lost; where nobody listens the connection is reset. Until the run [`begins`](Mesh::begin) everything is carried at once.

use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_ENCODING;
use hyper::http::{request, response};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sync_core::limits;
use sync_core::peer_sync::announcement::Announcement;
use sync_core::peer_sync::message::{Asked, PeerAnswer};
use sync_core::runtime::peer_node::wire::{Body, Coding, EXCHANGE_PATH, ZSTD};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::now_us;
use super::places::{Places, at};
use crate::history::peers::PeerWhat;
use crate::live_rig::LiveError;
use crate::virtual_rig::peers::network::PeerNetwork;
use crate::virtual_rig::peers::sizes::{self, Size};

/// Every link of a run. Dropped, it carries nothing more.
pub(super) struct Mesh {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// A message, or rows that arrived, and when, in microseconds since 1970.
pub(super) type Sent = (u64, PeerWhat);

struct Shared {
    network: Mutex<PeerNetwork>,
    has_begun: AtomicBool,
    sent: Mutex<Vec<Sent>>,
    machines: Mutex<Vec<Machine>>,
}

/// What links know of a machine.
#[derive(Clone, Copy, Default)]
struct Machine {
    /// Counts its lives.
    life: u32,
    /// Whether it has another's name, or another release than in the beginning.
    is_another: bool,
}

/// One direction between two peers.
struct Link {
    from: u32,
    to: u32,
    shared: Arc<Shared>,
    client: Client<HttpConnector, Full<Bytes>>,
    target: Ipv4Addr,
    port: u16,
}

/// A message as it arrived, to be sent on.
struct Exchange {
    head: request::Parts,
    body: Bytes,
}

type Answer = (response::Parts, Bytes);

impl Mesh {
    /// Listens on every link between a peer and those that it knows.
    ///
    /// # Errors
    /// When an address is taken, or this machine has no such addresses.
    pub(super) async fn open(
        places: Places,
        network: PeerNetwork,
        known: &[Vec<u32>],
        announces: bool,
    ) -> Result<Self, LiveError> {
        let shared = Arc::new(Shared {
            network: Mutex::new(network),
            has_begun: AtomicBool::new(false),
            sent: Mutex::default(),
            machines: Mutex::new(vec![Machine::default(); known.len()]),
        });
        let mut mesh = Self { shared, tasks: Vec::new() };
        for (from, others) in (0..).zip(known) {
            for to in others {
                for port in [places.api_port, places.p2p_port] {
                    mesh.link(places, (from, *to), port).await?;
                }
                if announces {
                    mesh.datagrams(places, (from, *to)).await?;
                }
            }
        }
        Ok(mesh)
    }

    /// From now on messages meet their fates.
    pub(super) fn begin(&self) {
        self.shared.has_begun.store(true, Ordering::SeqCst);
    }

    /// What decides over messages.
    pub(super) fn network(&self) -> MutexGuard<'_, PeerNetwork> {
        lock(&self.shared.network)
    }

    /// A machine goes down: what is under way from it or to it reaches nobody whom it was meant for.
    pub(super) fn dies(&self, peer: u32) {
        self.shared.change(peer, |machine| machine.life += 1);
    }

    /// What answers at a machine is another than in the beginning, or the same again: rows that go there or come from
    /// there are told of.
    pub(super) fn is_another(&self, peer: u32, is_another: bool) {
        self.shared.change(peer, |machine| machine.is_another = is_another);
    }

    /// The messages since the run began, and no more of them.
    pub(super) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut lock(&self.shared.sent))
    }

    async fn link(&mut self, places: Places, (from, to): (u32, u32), port: u16) -> Result<(), LiveError> {
        let address = at(places.link(from, to), port);
        let listener = TcpListener::bind(address).await.map_err(|error| refused(address, &error))?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_local_address(Some(places.link(to, from).into()));
        let link = Arc::new(Link {
            from,
            to,
            shared: Arc::clone(&self.shared),
            client: Client::builder(TokioExecutor::new()).build(tcp),
            target: places.of(to),
            port,
        });
        self.tasks.push(tokio::spawn(accept(listener, link)));
        Ok(())
    }

    /// Announcements go from the sender's socket to this link, and on to the other peer.
    async fn datagrams(&mut self, places: Places, (from, to): (u32, u32)) -> Result<(), LiveError> {
        let heard_at = at(places.link(from, to), places.discovery_port);
        let seen_as = at(places.link(to, from), 0);
        let hear = UdpSocket::bind(heard_at).await.map_err(|error| refused(heard_at, &error))?;
        let send = UdpSocket::bind(seen_as).await.map_err(|error| refused(seen_as, &error))?;
        let (send, target) = (Arc::new(send), at(places.of(to), places.discovery_port));
        let shared = Arc::clone(&self.shared);
        self.tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; limits::ANNOUNCEMENT_BYTES_MAX];
            loop {
                let Ok((length, _)) = hear.recv_from(&mut buffer).await else {
                    sleep(PAUSE).await;
                    continue;
                };
                let datagram = buffer[..length].to_vec();
                let size = Announcement::read(&datagram).map_or(Size::default(), |announcement| Size {
                    bytes: length as u64,
                    ..sizes::of_announcement(&announcement)
                });
                shared.tell(from, to, size);
                for delay in shared.fate(from, to) {
                    let (send, datagram) = (Arc::clone(&send), datagram.clone());
                    tokio::spawn(async move {
                        sleep(delay).await;
                        // Nobody hears it where the process is down.
                        let _ = send.send_to(&datagram, target).await;
                    });
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// After how long copies of a message arrive.
    fn fate(&self, from: u32, to: u32) -> Vec<Duration> {
        if !self.has_begun.load(Ordering::SeqCst) {
            return vec![Duration::ZERO];
        }
        let copies = lock(&self.network).send(from, to).copies;
        copies.into_iter().map(Duration::from_micros).collect()
    }

    fn change(&self, peer: u32, change: impl FnOnce(&mut Machine)) {
        if let Some(machine) = lock(&self.machines).get_mut(peer as usize) {
            change(machine);
        }
    }

    fn machine(&self, peer: u32) -> Machine {
        lock(&self.machines).get(peer as usize).copied().unwrap_or_default()
    }

    fn tell(&self, from: u32, to: u32, Size { bytes, rows, reconcile }: Size) {
        if self.has_begun.load(Ordering::SeqCst) {
            lock(&self.sent).push((now_us(), PeerWhat::Sent { from, to, bytes, rows, reconcile }));
        }
    }
}

impl Link {
    /// Carries a request and its answer. An error resets the connection.
    async fn carry(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, limits::PEER_BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| io::Error::other("a body that broke off"))?.to_bytes();
        self.tell(self.from, self.to, head.uri.path(), head_bytes(&head.headers), &head.headers, &body, true);
        let asked_by = self.shared.machine(self.from).life;
        let exchange_path = head.uri.path() == EXCHANGE_PATH;
        let (answered, mut answers) = mpsc::channel(2);
        for delay in self.shared.fate(self.from, self.to) {
            let (link, answered) = (Arc::clone(&self), answered.clone());
            let exchange = Exchange { head: head.clone(), body: body.clone() };
            // A copy that is under way arrives, whether or not anybody waits for its answer.
            tokio::spawn(async move {
                sleep(delay).await;
                if exchange_path {
                    let Exchange { head, body } = &exchange;
                    link.tell_took((link.from, asked_by), link.to, || rows_asked(&head.headers, body));
                }
                let answer = link.exchange(exchange).await;
                let answered_by = link.shared.machine(link.to).life;
                if let Some(delay) = link.shared.fate(link.to, link.from).first() {
                    sleep(*delay).await;
                    let _ = answered.send((answer, answered_by)).await;
                }
            });
        }
        drop(answered);
        match answers.recv().await {
            Some((Ok((head, body)), answered_by)) => {
                if exchange_path && self.shared.machine(self.from).life == asked_by {
                    self.tell_took((self.to, answered_by), self.from, || rows_answered(&head.headers, &body));
                }
                Ok(Response::from_parts(head, Full::new(body)))
            }
            Some((Err(error), _)) => Err(error),
            // Lost, there or back: whoever asked gives up some day.
            None => pending().await,
        }
    }

    async fn exchange(&self, Exchange { head, body }: Exchange) -> io::Result<Answer> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let uri = format!("http://{}:{}{path}", self.target, self.port);
        let mut request = Request::builder().method(head.method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = head.headers;
            headers.remove(hyper::header::HOST);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        let response = self.client.request(request).await.map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limits::PEER_BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| io::Error::other("an answer that broke off"))?.to_bytes();
        self.tell(self.to, self.from, &path, head_bytes(&head.headers), &head.headers, &body, false);
        Ok((head, body))
    }

    /// Tells of a message, beside the way: what is in it has to be unpacked.
    #[allow(clippy::too_many_arguments)]
    fn tell(
        &self,
        from: u32,
        to: u32,
        path: &str,
        head_bytes: u64,
        headers: &HeaderMap,
        body: &Bytes,
        is_question: bool,
    ) {
        let bytes = head_bytes + body.len() as u64;
        if path != EXCHANGE_PATH || body.is_empty() {
            return self.shared.tell(from, to, Size { bytes, ..Size::default() });
        }
        let shared = Arc::clone(&self.shared);
        let body = packed(headers, body);
        tokio::task::spawn_blocking(move || {
            let size = if is_question { size_of_question(&body) } else { size_of_answer(&body) };
            shared.tell(from, to, Size { bytes, ..size });
        });
    }

    /// Tells of rows that arrive where names or releases are mixed, from a sender that is still what it was.
    fn tell_took(&self, (from, life): (u32, u32), to: u32, rows: impl FnOnce() -> u64) {
        let [sender, reader] = [from, to].map(|peer| self.shared.machine(peer));
        if sender.life != life || !(sender.is_another || reader.is_another) {
            return;
        }
        let rows = rows();
        if rows > 0 && self.shared.has_begun.load(Ordering::SeqCst) {
            lock(&self.shared.sent).push((now_us(), PeerWhat::Took { node: to, from, rows }));
        }
    }
}

fn packed(headers: &HeaderMap, body: &Bytes) -> Body {
    let packed = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() == ZSTD.as_bytes());
    Body { bytes: body.to_vec(), coding: if packed { Coding::Zstd } else { Coding::Plain } }
}

fn size_of_question(body: &Body) -> Size {
    body.read::<Asked>().map(|asked| sizes::of_question(&asked.question)).unwrap_or_default()
}

fn size_of_answer(body: &Body) -> Size {
    body.read::<PeerAnswer>().map(|answer| sizes::of_answer(&answer)).unwrap_or_default()
}

fn rows_asked(headers: &HeaderMap, body: &Bytes) -> u64 {
    size_of_question(&packed(headers, body)).rows
}

fn rows_answered(headers: &HeaderMap, body: &Bytes) -> u64 {
    size_of_answer(&packed(headers, body)).rows
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&link).carry(request));
            // A connection that breaks says nothing about the next one.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// About what the head of a message takes.
fn head_bytes(headers: &HeaderMap) -> u64 {
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    FIRST_LINE_BYTES + lines.sum::<usize>() as u64
}

fn refused(address: std::net::SocketAddr, error: &io::Error) -> LiveError {
    LiveError::Mesh(format!("cannot listen on {address}: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const FIRST_LINE_BYTES: u64 = 40;
const CONNECT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
