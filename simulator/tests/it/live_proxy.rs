//! The fault proxy, on loopback: every verb is seen to do what it says. Bounds on time are generous; what
//! is exact is bytes, ends of streams and counts.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "sockets live in real time")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use simulator::live_rig::{Behaviour, FaultProxy, Flow, LinkSpec, LiveError, child};
use simulator::scenario::model::Distribution;
use simulator::scenario::units::Length;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const P2PSIM: &str = env!("CARGO_BIN_EXE_p2psim");
const LINK: &str = "main-database";
/// Longer than anything takes that is to happen.
const BOUND: Duration = Duration::from_secs(30);
/// Long enough for what is not to happen.
const QUIET: Duration = Duration::from_millis(300);

#[tokio::test]
async fn bytes_pass_unchanged_and_are_counted() {
    let (proxy, mut client) = echoing().await;
    let sent = pattern(3_000_000);
    let (mut reads, mut writes) = client.split();
    let mut got = vec![0; sent.len()];
    let (wrote, read) = tokio::join!(writes.write_all(&sent), reads.read_exact(&mut got));
    wrote.unwrap();
    read.unwrap();
    assert!(got == sent, "the bytes came back changed");
    let statistics = proxy.statistics(LINK).await.unwrap();
    assert_eq!((statistics.connections, statistics.open, statistics.refused), (1, 1, 0));
    // One byte more: the greeting of `echoing`.
    assert_eq!(statistics.bytes_to_upstream, 3_000_001);
    assert_eq!(statistics.bytes_to_client, 3_000_001);
    assert_eq!((statistics.bytes_corrupted, statistics.bytes_lost), (0, 0));
}

#[tokio::test]
async fn a_client_that_half_closes_still_gets_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap()).await;
    let upstream = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).await.unwrap();
        stream.write_all(b"answer to ").await.unwrap();
        stream.write_all(&asked).await.unwrap();
    };
    let client = async {
        let mut client = open(&proxy).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = timeout(BOUND, async { tokio::join!(upstream, client) }).await.unwrap();
    assert_eq!(answer, "answer to question");
}

#[tokio::test]
async fn latency_delays_each_way_without_limiting_throughput() {
    let (proxy, mut client) = echoing().await;
    let flow = Flow { latency: Some(constant_ms(200)), ..Flow::default() };
    proxy.set(LINK, Behaviour::both(flow)).await.unwrap();
    let started = Instant::now();
    client.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());

    // Chunk after chunk waiting its turn would take 600 x 200 ms at 32 KiB a chunk.
    let sent = pattern(20_000_000);
    let (mut reads, mut writes) = client.split();
    let mut got = vec![0; sent.len()];
    let started = Instant::now();
    let (wrote, read) =
        timeout(BOUND, async { tokio::join!(writes.write_all(&sent), reads.read_exact(&mut got)) })
            .await
            .unwrap();
    wrote.unwrap();
    read.unwrap();
    assert!(got == sent, "the order is lost");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_bandwidth_is_kept_and_nothing_is_lost() {
    let (proxy, mut client) = echoing().await;
    let to_upstream = Flow { bandwidth_bytes_per_s: Some(200_000), ..Flow::default() };
    proxy.set(LINK, Behaviour { to_upstream, ..Behaviour::default() }).await.unwrap();
    let sent = pattern(200_000);
    let started = Instant::now();
    client.write_all(&sent).await.unwrap();
    let mut got = vec![0; sent.len()];
    timeout(BOUND, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == sent);
    let took = started.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(5), "{took:?} instead of 1 s");
}

#[tokio::test]
async fn stalled_bytes_wait_and_flow_on() {
    let (proxy, mut client) = echoing().await;
    let to_client = Flow { stall: true, ..Flow::default() };
    proxy.set(LINK, Behaviour { to_client, ..Behaviour::default() }).await.unwrap();
    client.write_all(b"waits").await.unwrap();
    let mut got = [0; 5];
    assert!(timeout(QUIET, client.read_exact(&mut got)).await.is_err(), "it did not wait");
    assert_eq!(proxy.statistics(LINK).await.unwrap().bytes_to_upstream, 1 + 5);
    proxy.set(LINK, Behaviour::default()).await.unwrap();
    timeout(BOUND, client.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"waits");
}

#[tokio::test]
async fn a_stalled_sender_is_held_up_by_a_bounded_buffer() {
    let (proxy, mut client) = echoing().await;
    let to_upstream = Flow { stall: true, ..Flow::default() };
    proxy.set(LINK, Behaviour { to_upstream, ..Behaviour::default() }).await.unwrap();
    let block = pattern(1 << 20);
    let mut sent = 0;
    while let Ok(wrote) = timeout(Duration::from_secs(1), client.write(&block)).await {
        sent += wrote.unwrap();
        assert!(sent < 200 << 20, "the buffer has no bound");
    }
    proxy.set(LINK, Behaviour::default()).await.unwrap();
    let mut scratch = vec![0; 1 << 16];
    while sent > 0 {
        let got = timeout(BOUND, client.read(&mut scratch)).await.unwrap().unwrap();
        assert!(got > 0, "{sent} bytes are missing");
        sent -= got;
    }
}

#[tokio::test]
async fn a_black_hole_swallows_and_the_connection_does_not_outlive_it() {
    let (proxy, mut client) = echoing().await;
    let mut unused = open(&proxy).await;
    unused.write_all(b"a").await.unwrap();
    unused.read_exact(&mut [0]).await.unwrap();
    let to_upstream = Flow { blackhole: true, ..Flow::default() };
    proxy.set(LINK, Behaviour { to_upstream, ..Behaviour::default() }).await.unwrap();
    client.write_all(b"gone").await.unwrap();
    assert!(timeout(QUIET, client.read(&mut [0; 8])).await.is_err(), "something came back");
    assert_eq!(proxy.statistics(LINK).await.unwrap().bytes_lost, 4);
    proxy.set(LINK, Behaviour::default()).await.unwrap();
    expect_reset(&mut client).await;
    // One that lost nothing goes on.
    unused.write_all(b"b").await.unwrap();
    timeout(BOUND, unused.read_exact(&mut [0])).await.unwrap().unwrap();
}

#[tokio::test]
async fn slices_arrive_one_by_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap()).await;
    let mut client = open(&proxy).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let to_upstream = Flow { slice_bytes: Some(3), ..Flow::default() };
    proxy.set(LINK, Behaviour { to_upstream, ..Behaviour::default() }).await.unwrap();
    let sent = pattern(300);
    client.write_all(&sent).await.unwrap();
    let (mut got, mut reads) = (Vec::new(), 0);
    while got.len() < sent.len() {
        let mut part = [0; 300];
        let count = timeout(BOUND, upstream.read(&mut part)).await.unwrap().unwrap();
        got.extend_from_slice(&part[..count]);
        reads += 1;
    }
    assert_eq!(got, sent);
    assert!(reads >= 20, "{reads} reads for 100 slices");
}

#[tokio::test]
async fn damage_follows_the_seed_and_flips_one_bit_of_a_byte() {
    let mut runs = Vec::new();
    for (seed, chunk) in [(7, 50_000), (7, 1_001), (8, 50_000)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = proxy_with(listener.local_addr().unwrap(), seed).await;
        let to_upstream = Flow { corrupt_ppm: 10_000, ..Flow::default() };
        proxy.set(LINK, Behaviour { to_upstream, ..Behaviour::default() }).await.unwrap();
        let mut client = open(&proxy).await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        let sent = pattern(50_000);
        for part in sent.chunks(chunk) {
            client.write_all(part).await.unwrap();
        }
        let mut got = vec![0; sent.len()];
        timeout(BOUND, upstream.read_exact(&mut got)).await.unwrap().unwrap();
        let flipped: Vec<_> = sent.iter().zip(&got).map(|(sent, got)| (sent ^ got).count_ones()).collect();
        assert!(flipped.iter().all(|bits| *bits <= 1), "a byte lost more than one bit");
        let damaged = flipped.iter().filter(|bits| **bits == 1).count();
        assert!((350..650).contains(&damaged), "{damaged} of 50,000 at 1 %");
        assert_eq!(proxy.statistics(LINK).await.unwrap().bytes_corrupted, damaged as u64);
        runs.push(got);
    }
    assert!(runs[0] == runs[1], "chunks decide what is damaged");
    assert!(runs[0] != runs[2], "the seed does not");
}

#[tokio::test]
async fn a_cut_is_an_orderly_end_for_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap()).await;
    let mut client = open(&proxy).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    proxy.cut(LINK).await.unwrap();
    for side in [&mut client, &mut upstream] {
        assert_eq!(timeout(BOUND, side.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
    }
    assert_eq!(proxy.statistics(LINK).await.unwrap().open, 0);
    // The link itself goes on.
    let mut again = open(&proxy).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    again.write_all(b"x").await.unwrap();
    timeout(BOUND, upstream.read_exact(&mut [0])).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_is_a_reset_for_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap()).await;
    let mut client = open(&proxy).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    proxy.reset(LINK).await.unwrap();
    expect_reset(&mut client).await;
    expect_reset(&mut upstream).await;
}

#[tokio::test]
async fn new_connections_can_be_refused_while_open_ones_go_on() {
    let (proxy, mut client) = echoing().await;
    proxy.set(LINK, Behaviour { refuse_new: true, ..Behaviour::default() }).await.unwrap();
    expect_refusal(&proxy).await;
    client.write_all(b"x").await.unwrap();
    timeout(BOUND, client.read_exact(&mut [0])).await.unwrap().unwrap();
    let statistics = proxy.statistics(LINK).await.unwrap();
    assert_eq!((statistics.connections, statistics.open, statistics.refused), (2, 1, 1));
}

#[tokio::test]
async fn an_upstream_that_is_down_closes_its_clients_until_another_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = proxy_to(nobody).await;
    expect_refusal(&proxy).await;
    assert_eq!(proxy.statistics(LINK).await.unwrap().refused, 1);
    proxy.set_upstream(LINK, echo().await).await.unwrap();
    let mut client = open(&proxy).await;
    client.write_all(b"x").await.unwrap();
    timeout(BOUND, client.read_exact(&mut [0])).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_upstream_that_breaks_off_breaks_its_client_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = proxy_to(listener.local_addr().unwrap()).await;
    let mut client = open(&proxy).await;
    let (upstream, _) = listener.accept().await.unwrap();
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    expect_reset(&mut client).await;
}

#[tokio::test]
async fn two_thousand_connections_at_once_are_served() {
    let (proxy, _first) = echoing().await;
    let mut clients = Vec::new();
    for _ in 0..2_000 {
        clients.push(open(&proxy).await);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        client.write_all(&index.to_be_bytes()).await.unwrap();
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let mut got = [0; 8];
        timeout(BOUND, client.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(usize::from_be_bytes(got), index);
    }
    assert_eq!(proxy.statistics(LINK).await.unwrap().open, 2_001);
    proxy.reset(LINK).await.unwrap();
    assert_eq!(proxy.statistics(LINK).await.unwrap().open, 0);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (proxy, mut client) = echoing().await;
    let refused = |error| matches!(error, LiveError::Proxy(_));
    assert!(refused(proxy.cut("nowhere").await.unwrap_err()));
    for flow in [
        Flow { bandwidth_bytes_per_s: Some(0), ..Flow::default() },
        Flow { slice_bytes: Some(0), ..Flow::default() },
        Flow { corrupt_ppm: 1_000_001, ..Flow::default() },
    ] {
        assert!(refused(proxy.set(LINK, Behaviour::both(flow)).await.unwrap_err()));
    }
    assert_eq!(proxy.listening("nowhere"), None);
    client.write_all(b"x").await.unwrap();
    timeout(BOUND, client.read_exact(&mut [0])).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_links_of_one_name_are_refused() {
    child::use_program(P2PSIM);
    let link = LinkSpec { name: LINK.to_owned(), upstream: echo().await };
    let error = FaultProxy::spawn(vec![link.clone(), link], 1).await.unwrap_err();
    assert!(error.to_string().contains("two links are named main-database"), "{error}");
}

/// A proxy before a server that sends everything back, and one connection through it.
async fn echoing() -> (FaultProxy, TcpStream) {
    let proxy = proxy_to(echo().await).await;
    let mut client = open(&proxy).await;
    client.write_all(b"!").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    (proxy, client)
}

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
            });
        }
    });
    address
}

async fn proxy_to(upstream: SocketAddr) -> FaultProxy {
    proxy_with(upstream, 1).await
}

async fn proxy_with(upstream: SocketAddr, seed: u64) -> FaultProxy {
    child::use_program(P2PSIM);
    FaultProxy::spawn(vec![LinkSpec { name: LINK.to_owned(), upstream }], seed).await.unwrap()
}

async fn open(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.listening(LINK).unwrap()).await.unwrap()
}

/// A new connection is opened and reset; both may happen before the opening has been looked at.
async fn expect_refusal(proxy: &FaultProxy) {
    match TcpStream::connect(proxy.listening(LINK).unwrap()).await {
        Ok(mut stream) => expect_reset(&mut stream).await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

async fn expect_reset(stream: &mut TcpStream) {
    let error = timeout(BOUND, stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Bytes without a short period.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn constant_ms(ms: u64) -> Distribution {
    Distribution::Constant(Length::from_ms(ms))
}
