//! Peers over real sockets, with their databases in memory.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::time::Duration;

use crate::peer_support::*;
use serde_json::json;

#[test]
fn a_node_answers_on_its_ports_and_says_which() {
    run(async {
        let node = start("n1", &[]).await;
        let addresses = node.node.addresses();
        until("it works", || async { node.get("/healthz").await.status == 200 }).await;
        let status = node.get("/api/v1/p2p/status").await.json();
        assert_eq!(status["node_id"], "n1");
        assert_eq!(status["status"], "active");
        assert_eq!(status["api_port"], addresses.api.port());
        assert_eq!(status["listen_port"], addresses.p2p.port());
        assert_eq!(status["peer_count"], 0);
        let config = node.get("/api/v1/p2p/config").await.json();
        assert_eq!(config["config"]["discovery_port"], addresses.discovery.port());
        assert_eq!(config["config"]["max_peers"], 10);
        assert!(addresses.api.ip().is_loopback() && addresses.p2p.ip().is_loopback());
        assert!(node.node.shutdown().await);
    });
}

/// The specification's quick test.
#[test]
fn what_is_written_at_one_node_is_seen_at_the_others_at_once() {
    run(async {
        let one = start("n1", &[("SYNC_INTERVAL", "3600")]).await;
        let other = start("n2", &[("SYNC_INTERVAL", "3600")]).await;
        let third = start("n3", &[("SYNC_INTERVAL", "3600")]).await;
        one.meet(&other).await;
        other.meet(&third).await;
        third.meet(&one).await;
        until("all are peers", || async {
            one.peers().await.len() + other.peers().await.len() + third.peers().await.len() == 6
        })
        .await;
        let registered = one.register("testuser").await;
        assert_eq!(registered.status, 200, "{registered:?}");
        let user = registered.json();
        assert_eq!(user["username"], "testuser");
        assert!(!registered.text().contains("argon2") && user.get("password_hash").is_none());
        for node in [&other, &third] {
            until("the user is there", || async { node.users().await == ["testuser"] }).await;
            assert_eq!(node.get("/api/v1/users/").await.json()[0]["id"], user["id"]);
            assert!(!node.get("/api/v1/users/").await.text().contains("argon2"));
        }
        // One e-mail address is one user's.
        assert_eq!(other.register("testuser").await.status, 409);
    });
}

#[test]
fn peers_on_one_machine_find_each_other_by_announcements() {
    run(async {
        // Ports of their own, as the specification's three terminals have them.
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let second = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (a, b) = (probe.local_addr().unwrap().port(), second.local_addr().unwrap().port());
        drop((probe, second));
        let ports = format!("{a},{b}");
        let more = |own: &str| [("DISCOVERY_PEER_PORTS", ports.clone()), ("DISCOVERY_PORT", own.to_owned())];
        let (first, last) = (more(&a.to_string()), more(&b.to_string()));
        let text = |pairs: &[(&'static str, String); 2]| pairs.clone().map(|(name, value)| (name, value));
        let (first, last) = (text(&first), text(&last));
        let one = start("n1", &first.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        let other = start("n2", &last.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
        until("they met", || async { one.peers().await == ["n2"] && other.peers().await == ["n1"] }).await;
    });
}

#[test]
fn without_discovery_only_given_peers_are_met() {
    run(async {
        let one = start("n1", &[("ENABLE_AUTO_DISCOVERY", "false")]).await;
        let given = format!("127.0.0.1:{}", one.api().port());
        let other = start("n2", &[("ENABLE_AUTO_DISCOVERY", "false"), ("STATIC_PEERS", &given)]).await;
        until("it is met", || async { other.peers().await == ["n1"] }).await;
        one.register("a").await;
        until("rows come", || async { other.users().await == ["a"] }).await;
        let datagram = r#"{"type":"peer_announcement","peer":{"peer_id":"n9","host":"127.0.0.1","port":9,
            "last_seen":"2025-01-01T12:00:00","api_version":"1.0.1","status":"active"}}"#;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(datagram.as_bytes(), one.node.addresses().discovery).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(one.get("/api/v1/p2p/sync-status").await.json()["statistics"]["addresses_ignored"], 0);
    });
}

#[test]
fn a_node_that_does_not_synchronise_asks_nobody() {
    run(async {
        let one = start("n1", &[]).await;
        let off = start("n2", &[("ENABLE_P2P_SYNC", "false")]).await;
        off.meet(&one).await;
        one.meet(&off).await;
        one.register("a").await;
        off.register("b").await;
        // It answers: its rows are read.
        until("its rows are read", || async { one.users().await == ["a", "b"] }).await;
        let status = off.get("/api/v1/p2p/sync-status").await.json();
        assert_eq!(status["statistics"]["questions_asked"], 0);
        assert_eq!(off.users().await, ["b"]);
    });
}

#[test]
fn a_table_of_many_rows_comes_whole_and_packed() {
    run(async {
        let one = start("n1", &[]).await;
        let rows: Vec<_> = (0..3_000)
            .map(|number| {
                json!({ "id": format!("{number}"), "name": format!("c{number}"), "slug": format!("s{number}"),
                "description": "x".repeat(300) })
            })
            .collect();
        let body = json!({ "table": "categories", "data": rows, "count": 3_000, "sync_type": "full" });
        let applied = one.post("/api/v1/p2p/apply-changes/categories", &body.to_string()).await;
        assert_eq!((applied.status, applied.json()["rows_applied"].clone()), (200, json!(3_000)));
        let other = start("n2", &[]).await;
        other.meet(&one).await;
        until("all rows are there", || async {
            other.get("/api/v1/p2p/table-info/categories").await.json()["count"] == 3_000
        })
        .await;
        let hash = |info: serde_json::Value| info["hash"].clone();
        assert_eq!(
            hash(one.get("/api/v1/p2p/table-info/categories").await.json()),
            hash(other.get("/api/v1/p2p/table-info/categories").await.json())
        );
    });
}
