//! The documented endpoints of a peer, over real sockets, with its database in memory.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and real sockets live in real time"
)]

use std::time::Duration;

use crate::peer_support::*;
use serde_json::{Value, json};
use sync_core::limits;
use sync_core::peer_sync::interface::openapi::OPERATIONS;

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// That an answer is one that the document has for this operation: its status, and of its fields those that are required and
/// none that is not known.
fn assert_described(document: &Value, (method, path): (&str, &str), answer: &Answer) {
    let described = &document["paths"][path][method];
    let status = answer.status.to_string();
    let response = &described["responses"][&status];
    assert!(response.is_object(), "{method} {path}: {status} {}", answer.text());
    if answer.status != 200 {
        assert!(!answer.detail().is_empty());
        return;
    }
    let Some(schema) = response["content"]["application/json"]["schema"]["$ref"].as_str() else { return };
    let schema = &document["components"]["schemas"][schema.rsplit('/').next().unwrap()];
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(answer.json().get(required.as_str().unwrap()).is_some(), "{path}: {required}");
    }
    let Some(known) = schema["properties"].as_object() else { return };
    for (name, value) in answer.json().as_object().unwrap() {
        let Some(schema) = known.get(name) else { panic!("{path}: `{name}` is not documented") };
        assert!(is_of_type(value, &schema["type"]), "{path}: `{name}` is {value}, and not {schema}");
    }
}

/// Whether a value is of a type, or of one of several; of any where none is said.
fn is_of_type(value: &Value, kind: &Value) -> bool {
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    match kind {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        kind => kind.as_str().is_some_and(is),
    }
}

#[test]
fn the_document_describes_what_bodies_that_are_taken_are_answered() {
    run(async {
        let node = start("n1", &[]).await;
        until("it works", || async { node.get("/healthz").await.status == 200 }).await;
        let document = node.get("/openapi.json").await.json();
        let row = json!({ "data": [{ "id": ID, "username": "u", "email": "u@x" }] });
        let peer = json!({ "peer_id": "away", "host": "127.0.0.1", "port": 9 });
        let notice = json!({
            "source_peer": "n2", "tables": ["users"], "timestamp": "x", "notification_type": "data_changed",
        });
        let user = json!({ "username": "v", "email": "v@x.org", "password": "password123" });
        let asked = [
            ("post", "/api/v1/p2p/sync-table/{table}", row.clone()),
            ("post", "/api/v1/p2p/apply-changes/{table}", row),
            ("get", "/api/v1/p2p/table-data/{table}", Value::Null),
            ("get", "/api/v1/p2p/table-changes/{table}", Value::Null),
            ("post", "/api/v1/p2p/peers", peer),
            ("delete", "/api/v1/p2p/peers/{id}", Value::Null),
            ("post", "/api/v1/p2p/notify-changes", notice),
            ("post", "/api/v1/p2p/config", json!({ "sync_interval": 7 })),
            ("post", "/api/v1/auth/register", user),
            ("get", "/api/v1/users/", Value::Null),
        ];
        for (method, path, body) in asked {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let at = path.replace("{table}", "users").replace("{id}", "away");
            let kind = "content-type: application/json\r\n";
            let answer = http(node.api(), &method.to_uppercase(), &at, kind, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
            assert_described(&document, (method, path), &answer);
        }
    });
}

#[test]
fn the_document_describes_what_the_endpoints_answer() {
    run(async {
        let node = start("n1", &[]).await;
        until("it works", || async { node.get("/healthz").await.status == 200 }).await;
        let document = node.get("/openapi.json").await.json();
        assert_eq!(document["openapi"], "3.1.0");
        for operation in &OPERATIONS {
            let path = operation.path.replace("{table}", "users").replace("{id}", "n9");
            let answer = http(node.api(), &operation.method.to_uppercase(), &path, "", b"").await;
            assert_described(&document, (operation.method, operation.path), &answer);
        }
        let answer = node.get("/api/v1/p2p/nothing").await;
        assert!(answer.status == 404 && answer.detail().contains("openapi.json"));
        let answer = http(node.api(), "PUT", "/api/v1/p2p/status", "", b"").await;
        assert!(answer.status == 405 && answer.detail().contains("PUT"));
    });
}

#[test]
fn rows_without_versions_are_written_like_an_applications() {
    run(async {
        let node = start("n1", &[]).await;
        let send = |body: Value| {
            let node = &node;
            async move { node.post("/api/v1/p2p/sync-table/users", &body.to_string()).await }
        };
        let row = json!({ "id": ID, "username": "u", "email": "u@x" });
        let body = json!({ "table": "users", "data": [row], "count": 1, "sync_type": "full", "source_node": "other" });
        let answer = send(body).await;
        assert_eq!((answer.status, answer.json()["rows_applied"].clone()), (200, json!(1)));
        // Columns that are not named keep what they have.
        assert_eq!(send(json!({ "data": [{ "id": ID, "username": "v" }] })).await.status, 200);
        let data = node.get("/api/v1/p2p/table-data/users").await.json();
        assert_eq!((data["count"].clone(), data["sync_type"].clone()), (json!(1), json!("full")));
        assert_eq!(data["data"][0]["email"], "u@x");
        assert_eq!(data["data"][0]["username"], "v");
        let info = node.get("/api/v1/p2p/table-info/users").await.json();
        assert_eq!(info["count"], 1);
        assert_eq!(info["hash"].as_str().unwrap().len(), 16);
        assert!(info["timestamp"].as_str().unwrap().ends_with('Z'));
    });
}

#[test]
fn rows_with_versions_stay_the_writes_that_they_are() {
    run(async {
        let (one, other) = (start("n1", &[]).await, start("n2", &[]).await);
        until("both work", || async {
            one.get("/healthz").await.status == 200 && other.get("/healthz").await.status == 200
        })
        .await;
        let put =
            |name: &str| json!({ "data": [{ "id": ID, "username": name, "email": "u@x" }] }).to_string();
        one.post("/api/v1/p2p/sync-table/users", &put("first")).await;
        let carry = |mut rows: Value| {
            rows["source_node"] = json!("n1");
            rows.to_string()
        };
        let old = carry(one.get("/api/v1/p2p/table-data/users").await.json());
        tokio::time::sleep(Duration::from_millis(5)).await;
        one.post("/api/v1/p2p/sync-table/users", &put("second")).await;
        let new = carry(one.get("/api/v1/p2p/table-data/users").await.json());
        let counts = |answer: Answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = answer.json();
            (answer["rows_applied"].clone(), answer["rows_unchanged"].clone())
        };
        let path = "/api/v1/p2p/apply-changes/users";
        assert_eq!(counts(other.post(path, &new).await), (json!(1), json!(0)));
        // Again, and an older one afterwards: nothing changes.
        assert_eq!(counts(other.post(path, &new).await), (json!(0), json!(1)));
        assert_eq!(counts(other.post(path, &old).await), (json!(0), json!(1)));
        assert_eq!(other.users().await, ["second"]);
        // An altered row has not the hash that it carries.
        let altered = new.replacen("second", "Second", 1);
        assert_eq!(other.post(path, &altered).await.json()["rows_refused"], 1);
        assert_eq!(other.users().await, ["second"]);
        // Its own rows need not be told to it.
        let own = new.replace("\"source_node\":\"n1\"", "\"source_node\":\"n2\"");
        assert_eq!(other.post(path, &own).await.status, 409);
    });
}

#[test]
fn tables_are_read_page_by_page_and_since_a_moment() {
    run(async {
        let node = start("n1", &[]).await;
        for number in 0..5 {
            let row = json!({ "id": format!("c{number}"), "name": format!("n{number}"), "slug": format!("s{number}") });
            node.post("/api/v1/p2p/sync-table/categories", &json!({ "data": [row] }).to_string()).await;
        }
        let mut path = "/api/v1/p2p/table-data/categories?limit=2".to_owned();
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = node.get(&path).await.json();
            pages += 1;
            seen.extend(
                page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/v1/p2p/table-data/categories?limit=2&after={next}");
        }
        assert_eq!((seen.join(","), pages), ("c0,c1,c2,c3,c4".to_owned(), 3));
        let changes = |since: &str| format!("/api/v1/p2p/table-changes/categories?since={since}");
        let all = node.get(&changes("2020-01-01T00:00:00")).await.json();
        assert_eq!((all["count"].clone(), all["sync_type"].clone()), (json!(5), json!("incremental")));
        assert_eq!(node.get(&changes("2120-01-01T00:00:00Z")).await.json()["count"], 0);
        for (query, status) in [
            ("since=yesterday", 422),
            ("limit=0", 422),
            ("limit=5001", 422),
            ("limit=x", 400),
            ("after=zz", 422),
        ] {
            let answer = node.get(&format!("/api/v1/p2p/table-changes/categories?{query}")).await;
            assert_eq!(answer.status, status, "{query}: {}", answer.text());
        }
    });
}

#[test]
fn what_is_at_fault_is_answered_4xx_and_changes_nothing() {
    run(async {
        let node = start("n1", &[]).await;
        let before = node.get("/api/v1/p2p/table-info/users").await.text();
        let check = |path: &str, body: &str, status: u16, expected: &str| {
            let (path, body, expected) = (path.to_owned(), body.to_owned(), expected.to_owned());
            let node = &node;
            async move {
                let answer = node.post(&path, &body).await;
                assert_eq!(answer.status, status, "{path} {body}: {}", answer.text());
                assert!(answer.detail().contains(&expected), "{}", answer.text());
            }
        };
        let users = "/api/v1/p2p/sync-table/users";
        check(users, "{", 400, "JSON").await;
        check(users, r#"{"data":[{"id":"1","role":"admin"}]}"#, 422, "role").await;
        check(users, r#"{"data":[{"id\"; DROP TABLE users; --":"1"}]}"#, 422, "no column").await;
        check("/api/v1/p2p/sync-table/pg_authid", r#"{"data":[]}"#, 404, "there are: ").await;
        check("/api/v1/p2p/peers", r#"{"peer_id":"x","host":"a b","port":1}"#, 422, "host").await;
        check("/api/v1/p2p/peers", "[]", 400, "JSON").await;
        check("/api/v1/p2p/config", r#"{"api_port":1}"#, 422, "API_PORT").await;
        check("/api/v1/p2p/config", r#"{"sync_interval":0}"#, 422, "1 to 86400").await;
        check("/api/v1/p2p/notify-changes", r#"{"source_peer":"x","tables":["nothing"]}"#, 422, "tables")
            .await;
        check("/api/v1/p2p/sync/bidirectional?peer_id=x", "", 404, "no such peer").await;
        check("/api/v1/auth/register", r#"{"username":"u"}"#, 422, "username").await;
        check(
            "/api/v1/auth/register",
            r#"{"username":"u","email":"u","password":"password123"}"#,
            422,
            "email",
        )
        .await;
        let answer = http(node.api(), "DELETE", "/api/v1/p2p/peers/x", "", b"").await;
        assert_eq!(answer.status, 404);
        let long = format!("{{\"data\":[{}]}}", " ".repeat(16 * 1024 * 1024));
        assert_eq!(node.post(users, &long).await.status, 413);
        assert_eq!(node.get("/api/v1/p2p/table-info/users").await.text(), before);
    });
}

#[test]
fn peers_are_removed_and_come_back_when_they_are_added() {
    run(async {
        let (one, other) = (start("n1", &[]).await, start("n2", &[]).await);
        one.meet(&other).await;
        until("they met", || async { one.peers().await == ["n2"] && other.peers().await == ["n1"] }).await;
        let triggered = one.post("/api/v1/p2p/sync/bidirectional?peer_id=n2", "").await.json();
        assert_eq!(triggered["peers"], json!(["n2"]));
        let notice =
            r#"{"source_peer":"n2","tables":["users"],"timestamp":"x","notification_type":"data_changed"}"#;
        assert_eq!(one.post("/api/v1/p2p/notify-changes", notice).await.json()["sync_triggered"], true);
        let stranger = notice.replace("n2", "n9");
        assert_eq!(one.post("/api/v1/p2p/notify-changes", &stranger).await.json()["sync_triggered"], false);
        let removed = remove(&one, "n2").await;
        assert_eq!(removed.status, 200);
        assert!(removed.text().contains("n2 is removed"), "{}", removed.text());
        one.meet(&other).await;
        until("it is back", || async { one.peers().await == ["n2"] }).await;
    });
}

async fn remove(node: &Node, peer: &str) -> Answer {
    http(node.api(), "DELETE", &format!("/api/v1/p2p/peers/{peer}"), "", b"").await
}

#[test]
fn an_address_where_nobody_answers_can_be_removed() {
    run(async {
        let node = start("n1", &[]).await;
        let body = r#"{"peer_id":"node2-uuid","host":"127.0.0.1","port":9}"#;
        for name in ["node2-uuid", "127.0.0.1:9"] {
            assert_eq!(remove(&node, name).await.status, 404);
            assert_eq!(node.post("/api/v1/p2p/peers", body).await.status, 200);
            let removed = remove(&node, name).await;
            assert_eq!(removed.status, 200);
            assert!(removed.text().contains("127.0.0.1:9 is removed"), "{}", removed.text());
            assert_eq!(remove(&node, name).await.status, 404);
        }
        let mut refused = 0;
        for port in 1..=limits::PEERS_ADDED_MAX + 1 {
            let body = body.replace(":9}", &format!(":{port}}}"));
            refused += usize::from(node.post("/api/v1/p2p/peers", &body).await.status == 409);
        }
        assert_eq!(refused, 1);
    });
}

#[test]
fn what_a_path_or_a_cursor_names_is_checked() {
    run(async {
        let node = start("n1", &[]).await;
        for (method, path, status) in [
            ("GET", "/api/v1/p2p/table-info/%FF", 400),
            ("DELETE", "/api/v1/p2p/peers/%FF", 400),
            ("GET", "/api/v1/p2p/table-data/users?after=313a00", 422),
        ] {
            let answer = http(node.api(), method, path, "", b"").await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.json()["detail"].is_string(), "{path}: {}", answer.text());
        }
    });
}

#[test]
fn what_may_change_changes_while_the_node_runs() {
    run(async {
        let node = start("n1", &[]).await;
        let answer = node.post("/api/v1/p2p/config", r#"{"sync_interval":7,"max_peers":3}"#).await.json();
        assert_eq!(
            (answer["config"]["sync_interval"].clone(), answer["config"]["max_peers"].clone()),
            (json!(7), json!(3))
        );
        assert_eq!(node.get("/api/v1/p2p/config").await.json(), answer);
        assert_eq!(node.get("/api/v1/p2p/status").await.json()["sync_config"]["sync_interval_ms"], 7_000);
    });
}

#[test]
fn figures_are_samples_without_names() {
    run(async {
        let node = start("n1", &[]).await;
        node.register("somebody").await;
        let text = node.get("/metrics").await.text();
        for line in text.lines() {
            let sample = line.split_once(' ').is_some_and(|(name, value)| {
                name.starts_with("p2p_sync_peer") && value.parse::<f64>().is_ok()
            });
            assert!(line.starts_with("# HELP ") || line.starts_with("# TYPE ") || sample, "{line}");
        }
        assert!(
            text.contains("p2p_sync_peer_rounds_total 0\n") && text.contains("p2p_sync_peer_database_up 1\n")
        );
        assert!(!text.contains("somebody") && !text.contains("n1"));
    });
}

/// Whatever comes to either port, in whatever body: an answer, no row, and a node that goes on.
#[test]
fn garbage_is_answered_and_changes_nothing() {
    run(async {
        let node = start("n1", &[]).await;
        let addresses = node.node.addresses();
        let before = node.get("/api/v1/p2p/table-info/users").await.text();
        // Random bodies are for the property tests of the formats; these are of all the kinds that there are.
        let bodies: [&[u8]; 9] = [
            b"\0\xff\xfe",
            b"{",
            b"null",
            b"[[[[",
            b"\"text\"",
            b"{\"hello\":{}}",
            b"{\"pull\":1}",
            b"\x28\xb5\x2f\xfd\x00",
            b"{\"push\":{\"from\":\"n9\",\"rows\":[{}]}}",
        ];
        let paths: Vec<_> = OPERATIONS.iter().filter(|operation| !operation.body.is_empty()).collect();
        for (body, operation) in bodies.iter().flat_map(|body| paths.iter().map(move |path| (*body, *path))) {
            let path = operation.path.replace("{table}", "users");
            let answer = http(addresses.api, "POST", &path, "", body).await;
            assert!((400..500).contains(&answer.status), "{path} {body:?}: {}", answer.status);
            for head in ["", "content-encoding: zstd\r\n"] {
                let answer = http(addresses.p2p, "POST", "/p2p/v1/exchange", head, body).await;
                assert_eq!(answer.status, 400, "{body:?}");
            }
            let hello = "p2p-hello: nonsense\r\n";
            assert_eq!(http(addresses.api, "GET", "/api/v1/p2p/status", hello, b"").await.status, 400);
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(body, addresses.discovery).unwrap();
        }
        let p2p = |head: &'static str| http(addresses.p2p, "POST", "/p2p/v1/exchange", head, b"{}");
        assert_eq!(p2p("content-encoding: br\r\n").await.status, 415);
        assert_eq!(node.get("/api/v1/p2p/table-info/users").await.text(), before);
        assert!(node.peers().await.is_empty());
    });
}
