//! Valid messages of every kind, from which inputs are made. They are written from the code into `fixtures/fuzz`, so that a
//! change of a format reaches them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sync_core::id::Incarnation;
use sync_core::peer_sync::announcement::{Announcement, AnnouncementKind, PeerInfo};
use sync_core::peer_sync::authentication::{Nonce, SharedKey};
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::interface::changes::{self, ReadRow};
use sync_core::peer_sync::message::{Asked, Asker, Hello, Notice, PROTOCOL, PeerQuestion};
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::store::DigestPart;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::version::NodeId;
use sync_core::time::{Span, Timestamp};

use crate::fuzz_support::{KEY, NODE, PEER, Target, first_rows, schema, table};

/// Name and bytes of each.
pub(super) fn of(target: Target) -> Vec<(String, Vec<u8>)> {
    match target {
        Target::Http => http(),
        Target::Announcement => announcements(),
        Target::Socket => sockets(),
    }
}

/// After the rows that the worlds begin with.
const WRITTEN: Timestamp = Timestamp::from_ms(1_750_000_100_000);

/// What the peer holds.
fn peer_store() -> MemoryPeerStore {
    let node = NodeId::new(PEER).unwrap();
    let mut store = MemoryPeerStore::new(node, schema(), Incarnation(2), Span::from_secs(60));
    first_rows(&mut store, WRITTEN);
    store
}

fn rows() -> Vec<RowVersion> {
    peer_store().versions().into_iter().map(|(row, _)| row.clone()).collect()
}

fn http() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, head: &str, body: &[u8]| {
        seeds.push((name.to_owned(), [head.as_bytes(), b"\n\n", body].concat()));
    };
    let p2p = "/api/v1/p2p";
    let key = changes::cursor(&Content::new([Some("u1")]));
    for (name, target) in [
        ("status", format!("{p2p}/status")),
        ("sync-status", format!("{p2p}/sync-status")),
        ("table-info", format!("{p2p}/table-info/users")),
        ("table-data", format!("{p2p}/table-data/users?limit=1&after={key}")),
        ("table-changes", format!("{p2p}/table-changes/users?since=2025-01-01T12:00:00.5Z&limit=2")),
        ("read-config", format!("{p2p}/config")),
        ("users", format!("/api/v1/users/?limit=1&after={key}")),
        ("socket", format!("{p2p}/ws")),
        ("health", "/healthz".to_owned()),
        ("metrics", "/metrics".to_owned()),
        ("document", "/openapi.json".to_owned()),
    ] {
        add(name, &format!("GET {target}"), b"");
    }
    for (name, target) in [
        ("trigger", "POST /api/v1/p2p/sync/trigger"),
        ("bidirectional", "POST /api/v1/p2p/sync/bidirectional?peer_id=n2"),
        ("refresh", "POST /api/v1/p2p/discovery/refresh"),
        ("remove-peer", "DELETE /api/v1/p2p/peers/n2"),
    ] {
        add(name, target, b"");
    }
    for (name, path, body) in documented() {
        add(name, &format!("POST {path}\ncontent-type: application/json"), body.to_string().as_bytes());
    }
    let hello = STANDARD.encode(serde_json::to_vec(&hello(PEER)).unwrap());
    add("hello", &format!("GET {p2p}/status\np2p-hello: {hello}"), b"");
    for (name, question) in questions() {
        let asker = Asker {
            node: NodeId::new(PEER).unwrap(),
            instance: Some(Incarnation(2)),
            protocol: PROTOCOL,
            whom: Some(NodeId::new(NODE).unwrap()),
        };
        let asked = serde_json::to_vec(&Asked { asker, question }).unwrap();
        add(&format!("ask-{name}"), "POST /p2p/v1/exchange", &asked);
        if name == "push" {
            let packed = zstd::bulk::compress(&asked, 1).unwrap();
            add("ask-push-packed", "POST /p2p/v1/exchange\ncontent-encoding: zstd", &packed);
        }
    }
    // Sent as they are.
    let body = r#"{"data":[{"id":"c3","name":"n3","slug":"s3"}]}"#;
    let request = format!(
        "POST /api/v1/p2p/sync-table/categories HTTP/1.1\r\nhost: node\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    seeds.push(("as-it-is".to_owned(), request.into_bytes()));
    let chunked = "POST /api/v1/p2p/config HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n\
        13\r\n{\"sync_interval\": 7}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: node\r\n\r\n";
    seeds.push(("as-it-is-chunked".to_owned(), chunked.into()));
    seeds
}

/// Bodies of the documented endpoints.
fn documented() -> Vec<(&'static str, &'static str, Value)> {
    let category = |number: u8| json!({ "id": format!("c{number}"), "name": format!("n{number}"), "slug": format!("s{number}") });
    let users = schema().find("users").unwrap().clone();
    let store = peer_store();
    let versions: Vec<ReadRow> = store
        .versions()
        .into_iter()
        .filter(|(stored, _)| stored.row.table == users.name)
        .map(|(stored, _)| ReadRow { visible: store.read(&stored.row).cloned(), stored: stored.clone() })
        .collect();
    let mut versions = changes::write(&users, &versions, None, WRITTEN, None);
    versions["source_node"] = json!(PEER);
    vec![
        (
            "add-peer",
            "/api/v1/p2p/peers",
            json!({ "peer_id": "n3", "host": "192.0.2.3", "port": 8000, "last_seen": "2025-01-01T12:00:00",
                "api_version": "1.0.1", "status": "active" }),
        ),
        (
            "notify",
            "/api/v1/p2p/notify-changes",
            json!({ "source_peer": PEER, "tables": ["users"], "timestamp": "2025-01-01T12:00:00",
                "notification_type": "data_changed" }),
        ),
        (
            "config",
            "/api/v1/p2p/config",
            json!({ "sync_interval": 60, "enable_p2p_sync": false, "enable_auto_discovery": true, "max_peers": 5 }),
        ),
        (
            "register",
            "/api/v1/auth/register",
            json!({ "username": "three", "email": "three@example.com", "password": "password123" }),
        ),
        (
            "rows",
            "/api/v1/p2p/sync-table/categories",
            json!({ "table": "categories", "data": [category(2), category(3)], "count": 2, "since": null,
                "sync_type": "full", "source_node": PEER }),
        ),
        ("versions", "/api/v1/p2p/apply-changes/users", versions),
    ]
}

fn questions() -> Vec<(&'static str, PeerQuestion)> {
    let parts = |level| vec![DigestPart { level, prefix: 0 }, DigestPart { level, prefix: 1 }];
    let mut own =
        MemoryPeerStore::new(NodeId::new(NODE).unwrap(), schema(), Incarnation(1), Span::from_secs(60));
    first_rows(&mut own, Timestamp::from_ms(1_750_000_000_000));
    let position = Position { incarnation: Incarnation(1), snapshot: own.snapshot(), within: None };
    let notice = Notice {
        source: NodeId::new(PEER).unwrap(),
        tables: vec![table("users")],
        frontier: peer_store().frontier(),
        timestamp: WRITTEN,
    };
    let pull = |since, frontier| PeerQuestion::Pull { since, frontier, rows_max: 100, refused: false };
    vec![
        ("hello", PeerQuestion::Hello(hello(PEER))),
        ("pull", pull(None, Frontier::default())),
        ("pull-on", pull(Some(position), peer_store().frontier())),
        ("digests", PeerQuestion::Digests(parts(1))),
        ("entries", PeerQuestion::Entries(parts(3))),
        ("rows", PeerQuestion::Rows(rows().into_iter().map(|row| row.row).collect())),
        ("push", PeerQuestion::Push(rows())),
        ("notify", PeerQuestion::Notify(notice)),
    ]
}

fn hello(node: &str) -> Hello {
    Hello {
        node: NodeId::new(node).unwrap(),
        incarnation: Incarnation(2),
        instance: Incarnation(2),
        api_port: 9,
        listen_port: 10,
        protocol: PROTOCOL,
        schema: schema().fingerprint(),
    }
}

fn announcements() -> Vec<(String, Vec<u8>)> {
    let announcement = |node: &str, host: &str, port| Announcement {
        kind: AnnouncementKind::PeerAnnouncement,
        peer: PeerInfo {
            peer_id: NodeId::new(node).unwrap(),
            host: host.to_owned(),
            port,
            last_seen: "2025-01-01T12:00:00.000000Z".to_owned(),
            api_version: "1.0.1".to_owned(),
            status: "active".to_owned(),
        },
    };
    let stranger = announcement("n3", "203.0.113.9", 8_000);
    let key: SharedKey = KEY.parse().unwrap();
    // Long past: it shows the way, and is heeded by nobody who asks for a proof.
    let proof = key.prove_announcement(&stranger, WRITTEN, Nonce(7));
    let mut proved = serde_json::to_value(&stranger).unwrap();
    proved["proof"] = json!(proof.to_string());
    vec![
        ("stranger".to_owned(), serde_json::to_vec(&stranger).unwrap()),
        ("itself".to_owned(), serde_json::to_vec(&announcement(NODE, "localhost", 8_000)).unwrap()),
        ("known".to_owned(), serde_json::to_vec(&announcement(PEER, "127.0.0.1", 9)).unwrap()),
        ("proved-long-ago".to_owned(), proved.to_string().into_bytes()),
    ]
}

fn sockets() -> Vec<(String, Vec<u8>)> {
    // A text of two bytes, a ping, a pong, a close: masked with zeros.
    let frames = b"\x81\x82\0\0\0\0{}\x89\x80\0\0\0\0\x8a\x80\0\0\0\0\x88\x80\0\0\0\0";
    vec![
        ("asks".to_owned(), b"text\n{\"type\":\"ping\"}\n{\"type\":\"request_status\"}".to_vec()),
        ("wrong".to_owned(), b"text\n{\"type\":\"stop\"}\n[1,2]\n".to_vec()),
        ("binary".to_owned(), b"binary\n{\"type\":\"ping\"}\n\xff\xfe".to_vec()),
        ("frames".to_owned(), frames.to_vec()),
        ("long-frame".to_owned(), b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0x".to_vec()),
    ]
}
