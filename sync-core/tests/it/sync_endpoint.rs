//! The sync endpoint as older hosts see it, and as hosts see it through a sync proxy.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use crate::live_support::*;
use sync_core::envelope::{self, HostKey, LegacyKey, MasterKey};
use sync_core::host_sync::operation::{Outcome, TransportError};
use sync_core::id::AccountId;
use sync_core::runtime::driver::host::{Host, configured};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::http::{Failure, HttpClient};
use sync_core::runtime::main_server::MainServer;
use sync_core::runtime::sync_proxy::SyncProxy;
use sync_core::time::Span;
use sync_core::wire::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LEGACY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn embedded(more: &str) -> MainServer {
    start(more, EmbeddedDatabase::default(), EmbeddedCache::default()).await
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A write as the older hosts send it.
fn legacy(id: &str, data: &str, timestamp: u64, iv: u8) -> Vec<u8> {
    let inside = serde_json::json!({
        "type": 9, "account_id": 7, "map_name": "prontera", "data": data, "timestamp": timestamp,
        "operation_id": id, "is_critical": false,
    });
    let (mut frame, mut text) = (Vec::new(), String::new());
    LEGACY.parse::<LegacyKey>().unwrap().seal([iv; 16], inside.to_string().as_bytes(), &mut frame);
    envelope::encode_base64(&frame, &mut text);
    let outer = serde_json::json!({ "encrypted_data": text, "operation_id": id, "is_critical": false });
    outer.to_string().into_bytes()
}

fn open_legacy(reply: &[u8]) -> serde_json::Value {
    let outer: serde_json::Value = serde_json::from_slice(reply).unwrap();
    let (mut frame, mut plaintext) = (Vec::new(), Vec::new());
    envelope::decode_base64(outer["encrypted_data"].as_str().unwrap().as_bytes(), &mut frame).unwrap();
    LEGACY.parse::<LegacyKey>().unwrap().open(&frame, &mut plaintext).unwrap();
    serde_json::from_slice(&plaintext).unwrap()
}

#[test]
fn older_hosts_are_served_only_where_they_are_allowed() {
    run(async {
        let off = embedded("").await;
        let refused = client(&off).exchange(legacy("op_1", "1", now_ms(), 1), PATIENCE).await;
        assert_eq!(refused.unwrap_err().error, TransportError::Status(400));

        let on = embedded(&format!("allow_legacy_envelope = 1\nlegacy_encryption_key = {LEGACY}")).await;
        let send = async |body| open_legacy(&client(&on).exchange(body, PATIENCE).await.unwrap());
        let done = serde_json::json!({ "success": true, "error_message": "" });
        assert_eq!(send(legacy("op_1", "1", now_ms(), 1)).await, done);
        assert_eq!(send(legacy("op_2", "2", now_ms(), 2)).await, done);
        // Once, however often it comes; and what is old is not taken.
        assert_eq!(send(legacy("op_1", "1", now_ms(), 3)).await, done);
        let stale = send(legacy("op_3", "3", now_ms() - 60_000, 4)).await;
        assert_eq!(stale["success"], false);
        assert!(stale["error_message"].as_str().unwrap().contains("set the host's clock"), "{stale}");
        let host = host(&on, 7, "");
        assert_eq!(read(&host, 1).await, payload(2, "2"));
    });
}

/// A host that knows the proxy only.
fn host_at(proxy: &SyncProxy, account: u32) -> Host {
    let key: HostKey = MASTER.parse::<MasterKey>().unwrap().host_key(AccountId(account));
    let text = format!(
        "role = host\nmain_server_endpoint = http://{}/sync\nencryption_key = {}\n",
        proxy.address(),
        key.to_text().expose()
    );
    configured::start(&sync_core::config::Config::parse("test", text.as_bytes()).unwrap().0).unwrap()
}

async fn proxy_to(upstream: std::net::SocketAddr) -> SyncProxy {
    let upstream = format!("http://{upstream}/p2p-sync").parse().unwrap();
    SyncProxy::start(&upstream, "/sync", "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn client_of(proxy: &SyncProxy) -> HttpClient {
    HttpClient::new(&format!("http://{}/sync", proxy.address()).parse().unwrap()).unwrap()
}

/// All bytes of the answer to a request.
async fn raw(proxy: &SyncProxy, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A server that gives everybody the same answer.
async fn chatty(answer: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[test]
fn hosts_work_through_a_sync_proxy_and_see_nothing_of_what_is_behind_it() {
    run(async {
        let server = embedded("").await;
        let proxy = proxy_to(server.address()).await;
        let host = host_at(&proxy, 1);
        assert_eq!(write(&host, 1, "1").await, Outcome::Done(None));
        assert_eq!(read(&host, 2).await, payload(1, "1"));
        // Refusals are those of the protocol; other paths of the main server are not there.
        let refused = client_of(&proxy).exchange(b"{}".to_vec(), PATIENCE).await.unwrap_err();
        assert_eq!(refused.error, TransportError::Status(400));
        for path in ["/healthz", "/p2p-sync"] {
            assert!(raw(&proxy, path, b"").await.starts_with("HTTP/1.1 404 "), "{path}");
        }
        // The main server goes, and nobody is told more than that there is no answer.
        server.shutdown().await;
        let answer = raw(&proxy, "/sync", b"{}").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        proxy.shutdown().await;
    });
}

#[test]
fn what_a_sync_proxy_passes_on_is_sealed_or_a_bare_status() {
    run(async {
        let check = async |answer: &'static str, status: &str| {
            let upstream = chatty(answer).await;
            let proxy = proxy_to(upstream).await;
            let got = raw(&proxy, "/sync", b"{}").await;
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}: {got}");
            let head = got.to_lowercase();
            for leak in ["secret-host", "\r\nserver:", "\r\nx-", "\r\nvia:", &upstream.to_string()] {
                assert!(!head.contains(leak), "{leak}: {got}");
            }
        };
        check("HTTP/1.1 200 OK\r\nserver: secret-host\r\nx-real: 10.0.0.5\r\ncontent-length: 25\r\n\r\n{\"encrypted_data\":\"AAAA\"} ", "200").await;
        check("HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n<h1>secret-host</h1>   ", "502").await;
        check("HTTP/1.1 500 secret-host\r\ncontent-length: 11\r\n\r\nsecret-host", "502").await;
        check("HTTP/1.1 302 Found\r\nlocation: http://secret-host/\r\ncontent-length: 0\r\n\r\n", "502")
            .await;
        check("HTTP/1.1 503 no\r\nserver: secret-host\r\ncontent-length: 11\r\n\r\nsecret-host", "503").await;
        check("nonsense", "502").await;
        let upstream = chatty("HTTP/1.1 429 no\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n").await;
        let busy = client_of(&proxy_to(upstream).await).exchange(b"{}".to_vec(), PATIENCE).await;
        let expected = Failure { error: TransportError::Status(429), retry_after: Some(Span::from_secs(3)) };
        assert_eq!(busy, Err(expected));
        // Sealed bodies are not looked at: what is altered on the way is for the ends to find.
        let server = embedded("").await;
        let mut sealer = Sealer::new(MASTER, 7);
        let (operation, body) = sealer.seal(Kind::SyncTo, "{}");
        let reply = client_of(&proxy_to(server.address()).await).exchange(body, PATIENCE).await.unwrap();
        assert_eq!(sealer.open(operation, &reply), None);
    });
}
