//! Peers with a shared key, and strangers.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::peer_support::*;
use sync_core::peer_sync::authentication::SharedKey;

const KEY: &str = "p2p-peers:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "p2p-peers:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn bearer() -> String {
    let key: SharedKey = KEY.parse().unwrap();
    format!("authorization: Bearer {}\r\n", key.token().expose())
}

async fn meet(node: &Node, other: &Node) {
    let body = format!(r#"{{"peer_id":"x","host":"127.0.0.1","port":{}}}"#, other.api().port());
    let answer = http(node.api(), "POST", "/api/v1/p2p/peers", &bearer(), body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn peers_with_one_key_meet_and_others_are_refused() {
    run(async {
        let one = start("n1", &[("P2P_SHARED_KEY", KEY)]).await;
        let other = start("n2", &[("P2P_SHARED_KEY", KEY)]).await;
        let wrong = start("n3", &[("P2P_SHARED_KEY", OTHER)]).await;
        let none = start("n4", &[]).await;
        for stranger in [&wrong, &none] {
            meet(&one, stranger).await;
        }
        none.meet(&one).await;
        meet(&one, &other).await;
        until("they met", || async { one.peers().await == ["n2"] && other.peers().await == ["n1"] }).await;
        one.register("a").await;
        until("rows travel", || async { other.users().await == ["a"] }).await;
        // As often as they try: nobody without the key becomes a peer, on either side.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(one.peers().await, ["n2"]);
        assert!(none.peers().await.is_empty() && wrong.peers().await.is_empty());
        assert!(none.users().await.is_empty() && wrong.users().await.is_empty());
    });
}

#[test]
fn what_lets_rows_in_or_out_needs_the_token() {
    run(async {
        let node = start("n1", &[("P2P_SHARED_KEY", KEY)]).await;
        let guarded = [
            ("POST", "/api/v1/p2p/peers"),
            ("DELETE", "/api/v1/p2p/peers/x"),
            ("GET", "/api/v1/p2p/table-data/users"),
            ("GET", "/api/v1/p2p/table-changes/users"),
            ("POST", "/api/v1/p2p/sync-table/users"),
            ("POST", "/api/v1/p2p/apply-changes/users"),
            ("POST", "/api/v1/p2p/notify-changes"),
            ("POST", "/api/v1/p2p/config"),
        ];
        for (method, path) in guarded {
            for head in ["", "authorization: Bearer 00\r\n", "authorization: P2P-HMAC time=1\r\n"] {
                let answer = http(node.api(), method, path, head, b"{}").await;
                assert_eq!(answer.status, 401, "{method} {path}");
                assert!(
                    answer.detail().contains("peer-node token") && answer.head.contains("www-authenticate")
                );
            }
            let answer = http(node.api(), method, path, &bearer(), b"{}").await;
            assert_ne!(answer.status, 401, "{method} {path}");
        }
        // The monitoring commands of the specification work without.
        assert_eq!(node.get("/api/v1/p2p/status").await.status, 200);
        assert_eq!(node.post("/api/v1/p2p/sync/trigger", "").await.status, 200);
        assert_eq!(node.post("/api/v1/p2p/discovery/refresh", "").await.status, 200);
    });
}

#[test]
fn a_question_without_a_proof_is_answered_401_and_changes_nothing() {
    run(async {
        let node = start("n1", &[("P2P_SHARED_KEY", KEY)]).await;
        let p2p = node.node.addresses().p2p;
        let pull = br#"{"asker":{"node":"n9","instance":1,"protocol":{"oldest":1,"newest":1},"whom":null},
            "question":{"pull":{"since":null,"frontier":{"covered":[]},"rows_max":10}}}"#;
        for head in ["", bearer().as_str(), "authorization: P2P-HMAC x\r\n"] {
            assert_eq!(http(p2p, "POST", "/p2p/v1/exchange", head, pull).await.status, 401);
        }
        let hello = "p2p-hello: e30=\r\n";
        let answer = http(node.api(), "GET", "/api/v1/p2p/status", hello, b"").await;
        assert_eq!((answer.status, answer.json()["refused"].as_str()), (401, Some("key")));
    });
}

/// Whoever announces itself without the key makes the node connect nowhere.
#[test]
fn the_announcement_of_a_stranger_leads_to_no_request() {
    run(async {
        let lure = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = lure.local_addr().unwrap().port();
        let connected = Arc::new(AtomicUsize::new(0));
        std::thread::spawn({
            let connected = Arc::clone(&connected);
            move || {
                for _ in lure.incoming() {
                    connected.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let datagram = format!(
            r#"{{"type":"peer_announcement","peer":{{"peer_id":"n9","host":"127.0.0.1","port":{port},
            "last_seen":"2025-01-01T12:00:00","api_version":"1.0.1","status":"active"}}}}"#
        );
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let with_key = start("n1", &[("P2P_SHARED_KEY", KEY)]).await;
        socket.send_to(datagram.as_bytes(), with_key.node.addresses().discovery).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(connected.load(Ordering::Relaxed), 0);
        // Without a key it is asked who it is: so the lure works.
        let open = start("n2", &[]).await;
        until("it is asked", || async {
            socket.send_to(datagram.as_bytes(), open.node.addresses().discovery).unwrap();
            connected.load(Ordering::Relaxed) > 0
        })
        .await;
    });
}
