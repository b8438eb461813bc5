//! Connections between peers: each goes through here, so that it can be cut, and what passes is counted.
//!
//! Peer `i` reaches peer `j` at an address of the machine's own that stands for this link; `j` sees `i` come from the
//! address at which it reaches `i` in turn, so peers keep to the links.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, tcp};
use tokio::sync::watch;

pub(super) struct Links {
    /// Pairs of peers whose links are cut.
    cut: watch::Sender<Vec<(usize, usize)>>,
    bytes: Arc<AtomicU64>,
}

/// Where a peer listens.
pub(super) fn own_address(peer: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 100, peer as u8 + 1)
}

/// Where one peer reaches another.
pub(super) fn link_address(from: usize, to: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 101 + from as u8, to as u8 + 1)
}

/// A port that is free at all addresses of a peer.
pub(super) async fn free_port(peer: usize) -> u16 {
    loop {
        let listener = TcpListener::bind((own_address(peer), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut is_free = true;
        for from in (0..3).filter(|from| *from != peer) {
            is_free &= TcpListener::bind((link_address(from, peer), port)).await.is_ok();
        }
        if is_free {
            return port;
        }
    }
}

impl Links {
    /// Links to peers with these ports.
    pub(super) async fn open(ports: &[[u16; 2]]) -> Self {
        let links = Self { cut: watch::Sender::default(), bytes: Arc::default() };
        for (to, ports) in ports.iter().enumerate() {
            for from in (0..3).filter(|from| *from != to) {
                for port in ports {
                    let listener = TcpListener::bind((link_address(from, to), *port)).await.unwrap();
                    let (cut, bytes) = (links.cut.subscribe(), Arc::clone(&links.bytes));
                    tokio::spawn(listen(listener, (from, to), *port, cut, bytes));
                }
            }
        }
        links
    }

    /// Cuts the links between these pairs, in both directions, and mends all others.
    pub(super) fn cut(&self, pairs: &[(usize, usize)]) {
        self.cut.send_replace(pairs.to_vec());
    }

    /// Bytes that have passed.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64
    }
}

async fn listen(
    listener: TcpListener,
    link: (usize, usize),
    port: u16,
    cut: watch::Receiver<Vec<(usize, usize)>>,
    bytes: Arc<AtomicU64>,
) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let (mut cut, bytes) = (cut.clone(), Arc::clone(&bytes));
        tokio::spawn(async move {
            let is_cut =
                |pairs: &Vec<(usize, usize)>| pairs.iter().any(|(a, b)| (*a, *b) == link || (*b, *a) == link);
            if is_cut(&cut.borrow()) {
                return;
            }
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((link_address(link.1, link.0), 0))).unwrap();
            let Ok(far) = socket.connect(SocketAddr::from((own_address(link.1), port))).await else { return };
            // Small answers are not to wait for anything.
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                () = pass(near, far, &bytes) => {}
                _ = cut.wait_for(is_cut) => {}
            }
        });
    }
}

async fn pass(near: TcpStream, far: TcpStream, bytes: &AtomicU64) {
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::join!(copy(near_read, far_write, bytes), copy(far_read, near_write, bytes));
}

async fn copy(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, bytes: &AtomicU64) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}
