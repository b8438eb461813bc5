//! The WebSocket of a peer.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::time::Duration;

use crate::peer_support::*;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(node: &Node) -> Socket {
    connect_async(format!("ws://{}/api/v1/p2p/ws", node.api())).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Value {
    let message = timeout(Duration::from_secs(20), socket.next()).await.unwrap().unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

/// The next message of this type, events of other types left out.
async fn next_of(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = next(socket).await;
        if message["type"] == kind || message["data"]["type"] == kind {
            return message;
        }
    }
}

#[test]
fn a_client_is_told_how_the_node_stands_and_answered() {
    run(async {
        let node = start("n1", &[]).await;
        let mut socket = open(&node).await;
        let first = next(&mut socket).await;
        assert_eq!((first["type"].clone(), first["data"]["node_id"].clone()), (json!("status"), json!("n1")));
        socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
        let pong = next_of(&mut socket, "pong").await;
        assert!(pong["timestamp"].as_str().unwrap().ends_with('Z'));
        socket.send(Message::text(r#"{"type":"request_status"}"#)).await.unwrap();
        next_of(&mut socket, "status").await;
    });
}

#[test]
fn what_is_no_message_gets_an_error_and_the_socket_stays_open() {
    run(async {
        let node = start("n1", &[]).await;
        let mut socket = open(&node).await;
        let wrong = [
            Message::text("{\"type\":"),
            Message::text(""),
            Message::text(r#"{"type":"drop"}"#),
            Message::binary(vec![0xff, 0x00]),
            Message::text("[".repeat(1_000)),
        ];
        for message in wrong {
            socket.send(message).await.unwrap();
            let error = next_of(&mut socket, "error").await;
            assert!(error["message"].as_str().unwrap().contains("ping"), "{error}");
        }
        socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
        next_of(&mut socket, "pong").await;
    });
}

#[test]
fn what_happens_is_told_as_it_happens() {
    run(async {
        let (one, other) = (start("n1", &[]).await, start("n2", &[]).await);
        let mut socket = open(&other).await;
        other.meet(&one).await;
        assert_eq!(next_of(&mut socket, "peer_joined").await["data"]["peer"], "n1");
        one.register("a").await;
        let notice = next_of(&mut socket, "change_notification_received").await;
        assert_eq!(
            (notice["type"].clone(), notice["data"]["source_peer"].clone()),
            (json!("sync_event"), json!("n1"))
        );
        assert_eq!(notice["data"]["tables"], json!(["users"]));
        let applied = next_of(&mut socket, "changes_applied").await;
        assert_eq!(applied["data"]["count"], 1);
        let synced = next_of(&mut socket, "table_synced").await;
        assert_eq!(
            (synced["data"]["table"].clone(), synced["data"]["count"].clone()),
            (json!("users"), json!(1))
        );
        assert!(synced["data"]["timestamp"].is_string());
        other.post("/api/v1/p2p/sync/trigger", "").await;
        assert_eq!(
            next_of(&mut socket, "bidirectional_sync_triggered").await["data"]["peers"],
            json!(["n1"])
        );
        next_of(&mut socket, "metrics").await;
    });
}

#[test]
fn conflicts_are_told() {
    run(async {
        let (one, other) = (start("n1", &[]).await, start("n2", &[]).await);
        let put = |name: &str| json!({ "data": [{ "id": "c1", "name": name, "slug": "s" }] }).to_string();
        let path = "/api/v1/p2p/sync-table/categories";
        one.post(path, &put("one")).await;
        other.post(path, &put("other")).await;
        let mut socket = open(&other).await;
        let mut back = open(&one).await;
        other.meet(&one).await;
        let told = tokio::select! {
            told = next_of(&mut socket, "conflict") => told,
            told = next_of(&mut back, "conflict") => told,
        };
        assert_eq!(told["data"]["row"]["table"], "categories");
        assert_eq!(told["data"]["winner"]["node"], "n2");
    });
}

/// It asks and asks and takes no answer: what waits for it is bounded, and so is the time.
#[test]
fn a_client_that_takes_nothing_is_dropped() {
    run(async {
        let node = start("n1", &[]).await;
        let sockets = || async {
            let figures = node.get("/metrics").await.text();
            let line = figures.lines().find_map(|line| line.strip_prefix("p2p_sync_peer_sockets "));
            line.unwrap().parse::<u32>().unwrap()
        };
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(node.api()).await.unwrap();
        let url = format!("ws://{}/api/v1/p2p/ws", node.api());
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        until("it is open", || async { sockets().await == 1 }).await;
        let flood = tokio::spawn(async move {
            while socket.send(Message::text(r#"{"type":"request_status"}"#)).await.is_ok() {}
        });
        until("it is dropped", || async { sockets().await == 0 }).await;
        flood.abort();
    });
}

#[test]
fn a_slow_client_is_never_waited_for() {
    run(async {
        let (one, other) = (start("n1", &[]).await, start("n2", &[]).await);
        let slow = open(&other).await;
        let mut quick = open(&other).await;
        other.meet(&one).await;
        next_of(&mut quick, "peer_joined").await;
        // More than sockets and queues hold: a status each.
        let flood = async {
            for _ in 0..3_000 {
                other.post("/api/v1/p2p/sync/trigger", "").await;
            }
        };
        let watch = async {
            let mut seen = 0;
            while seen < 3_000 {
                next_of(&mut quick, "bidirectional_sync_triggered").await;
                seen += 1;
            }
        };
        timeout(Duration::from_secs(60), futures_util::future::join(flood, watch)).await.unwrap();
        one.register("a").await;
        until("rows travel all the same", || async { other.users().await == ["a"] }).await;
        drop(slow);
    });
}

#[test]
fn a_plain_request_is_told_that_this_is_a_websocket() {
    run(async {
        let node = start("n1", &[]).await;
        let answer = node.get("/api/v1/p2p/ws").await;
        assert!(matches!(answer.status, 400 | 426), "{answer:?}");
        assert!(!answer.detail().is_empty());
    });
}
