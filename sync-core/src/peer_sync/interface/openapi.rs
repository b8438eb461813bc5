//! The OpenAPI document of the API port, out of one table of operations. The program's routes are held against the table.

use serde_json::{Map, Value, json};

use crate::limits;
use crate::peer_sync::replica::API_VERSION;

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// `get`, `post` or `delete`.
    pub method: &'static str,
    /// With names in braces for what varies.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Parameters of the query, and what they are.
    pub query: &'static [(&'static str, &'static str)],
    /// The schema of the body; empty for none.
    pub body: &'static str,
    /// The schema of the answer; empty for none.
    pub answer: &'static str,
    /// Statuses that it may have beside 200, see [`meaning`].
    pub errors: &'static [u16],
    /// Whether it needs the token, or a proof, where a shared key is set.
    pub guarded: bool,
}

const PAGED: &[(&str, &str)] = &[
    ("limit", "Rows at most, 1 to 5000; 1000 unless it is given."),
    ("after", "What `next` of the last answer said."),
];
const CHANGES: &[(&str, &str)] = &[
    (
        "since",
        "A moment in ISO 8601, UTC without an offset: only rows written then or later, by their writers' clocks.",
    ),
    ("limit", "Rows at most, 1 to 5000; 1000 unless it is given."),
    ("after", "What `next` of the last answer said."),
];

const fn get(
    path: &'static str,
    summary: &'static str,
    answer: &'static str,
    errors: &'static [u16],
) -> Operation {
    Operation { method: "get", path, summary, query: &[], body: "", answer, errors, guarded: false }
}

const fn post(
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    answer: &'static str,
    errors: &'static [u16],
) -> Operation {
    Operation { method: "post", path, summary, query: &[], body, answer, errors, guarded: false }
}

const fn guarded(operation: Operation, query: &'static [(&'static str, &'static str)]) -> Operation {
    Operation { guarded: true, query, ..operation }
}

const fn asking(operation: Operation, query: &'static [(&'static str, &'static str)]) -> Operation {
    Operation { query, ..operation }
}

/// Every operation of the API port.
pub static OPERATIONS: [Operation; 22] = [
    get(
        "/api/v1/p2p/status",
        "How the node stands: peers, ports, configuration.",
        "Status",
        &[400, 401, 409, 503],
    ),
    post("/api/v1/p2p/sync/trigger", "Synchronise with all peers now.", "", "Triggered", &[503]),
    asking(
        post(
            "/api/v1/p2p/sync/bidirectional",
            "Synchronise with one peer or all now.",
            "",
            "Triggered",
            &[400, 404, 503],
        ),
        &[("peer_id", "The peer; all of them unless it is given.")],
    ),
    guarded(
        post(
            "/api/v1/p2p/peers",
            "Add a peer: it is asked who it is, and tried until it is removed.",
            "Peer",
            "PeerAdded",
            &[400, 401, 408, 409, 413, 422, 503],
        ),
        &[],
    ),
    guarded(
        Operation {
            method: "delete",
            path: "/api/v1/p2p/peers/{id}",
            summary: "Remove a peer, by its id, or by the address or id that it was added with. It comes back when it announces itself or is added again.",
            query: &[],
            body: "",
            answer: "Message",
            errors: &[400, 401, 404, 408, 413, 503],
            guarded: true,
        },
        &[],
    ),
    get(
        "/api/v1/p2p/table-info/{table}",
        "Hash, timestamp and number of rows of a table.",
        "TableInfo",
        &[400, 404, 503],
    ),
    guarded(
        get(
            "/api/v1/p2p/table-data/{table}",
            "The rows of a table, page by page.",
            "Changes",
            &[400, 401, 404, 408, 413, 422, 503],
        ),
        PAGED,
    ),
    guarded(
        get(
            "/api/v1/p2p/table-changes/{table}",
            "Rows of a table that were written since a moment.",
            "Changes",
            &[400, 401, 404, 408, 413, 422, 503],
        ),
        CHANGES,
    ),
    guarded(
        post(
            "/api/v1/p2p/sync-table/{table}",
            "Take over rows of a table.",
            "Changes",
            "Applied",
            &[400, 401, 404, 408, 409, 413, 422, 503],
        ),
        &[],
    ),
    guarded(
        post(
            "/api/v1/p2p/apply-changes/{table}",
            "Take over changed rows of a table.",
            "Changes",
            "Applied",
            &[400, 401, 404, 408, 409, 413, 422, 503],
        ),
        &[],
    ),
    guarded(
        post(
            "/api/v1/p2p/notify-changes",
            "Say that a peer has something new.",
            "Notice",
            "Noticed",
            &[400, 401, 408, 413, 422, 503],
        ),
        &[],
    ),
    get("/api/v1/p2p/sync-status", "What the node has counted since its start.", "SyncStatus", &[503]),
    get(
        "/api/v1/p2p/config",
        "The configuration, and which of its keys may be changed.",
        "Configuration",
        &[503],
    ),
    guarded(
        post(
            "/api/v1/p2p/config",
            "Change the configuration until the next start.",
            "Patch",
            "Configuration",
            &[400, 401, 408, 413, 422, 503],
        ),
        &[],
    ),
    get(
        "/api/v1/p2p/ws",
        "WebSocket: status, sync_event and pong; takes ping and request_status.",
        "",
        &[400, 426, 503],
    ),
    post(
        "/api/v1/p2p/discovery/refresh",
        "Announce the node, and look at all peers now.",
        "",
        "Message",
        &[503],
    ),
    post(
        "/api/v1/auth/register",
        "Add a user.",
        "Registration",
        "User",
        &[400, 404, 408, 409, 413, 422, 503],
    ),
    asking(
        get("/api/v1/users/", "The users, without their passwords' hashes.", "Users", &[400, 404, 422, 503]),
        PAGED,
    ),
    asking(get("/api/v1/users", "The same.", "Users", &[400, 404, 422, 503]), PAGED),
    get("/healthz", "Whether the node can serve.", "Health", &[503]),
    get("/metrics", "Figures in the text format of Prometheus.", "", &[503]),
    get("/openapi.json", "This document.", "", &[]),
];

/// What a status means, for all operations alike.
pub const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "Malformed: no JSON, or a query that cannot be read.",
        401 => "A shared key is set, and the request shows neither its token nor a proof.",
        404 => "There is no such table or peer.",
        408 => "The body did not arrive in time.",
        409 => "Another row, or another node, stands in the way.",
        413 => "The body is too large.",
        422 => "The values are not taken; nothing was changed.",
        426 => "The request asks for no WebSocket.",
        503 => "The node or its database cannot answer now.",
        _ => "",
    }
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Peer node",
            "version": API_VERSION,
            "description": "A database that synchronises with its peers.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `peer-node token` prints; needed where a shared key is set.",
                },
            },
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let in_json = |name: &str| json!({ "application/json": { "schema": reference(name) } });
    let mut ok = json!({ "description": "Done." });
    if !operation.answer.is_empty() {
        ok["content"] = in_json(operation.answer);
    }
    let mut answers = json!({ "200": ok });
    for status in operation.errors {
        answers[status.to_string()] = json!({ "description": meaning(*status), "content": in_json("Error") });
    }
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let text = json!({ "type": "string" });
    let mut parameters: Vec<Value> =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text })).collect();
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": limits::PAGE_ROWS_MAX });
    parameters.extend(operation.query.iter().map(|(name, description)| {
        let schema = if *name == "limit" { &limit } else { &text };
        json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
    }));
    let mut described = json!({
        "summary": operation.summary,
        "operationId": operation_id(operation),
        "parameters": parameters,
        "responses": answers,
    });
    if !operation.body.is_empty() {
        described["requestBody"] = json!({ "required": true, "content": in_json(operation.body) });
    }
    if operation.guarded {
        described["security"] = json!([{ "token": [] }]);
    }
    described
}

/// Method and path as one word.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.trim_start_matches("/api/v1").split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> =
        std::iter::once(operation.method).chain(words).filter(|word| !word.is_empty()).collect();
    let end = if operation.path.ends_with('/') { "_all" } else { "" };
    words.join("_") + end
}

fn schemas() -> Value {
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let (text, number, switch) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let texts = json!({ "type": "array", "items": text });
    let nullable = json!({ "type": ["string", "null"] });
    let row = json!({ "type": "object", "additionalProperties": nullable });
    let peer = json!({
        "peer_id": text, "host": text, "port": number, "last_seen": text, "api_version": text, "status": text,
    });
    json!({
        "Error": object(&["detail"], json!({ "detail": text })),
        "Message": object(&["message"], json!({ "message": text })),
        "Peer": object(&["peer_id", "host", "port"], peer),
        "PeerAdded": object(&["message", "peer"], json!({
            "message": text, "peer": { "$ref": "#/components/schemas/Peer" },
        })),
        "Triggered": object(&["message", "peers"], json!({ "message": text, "peers": texts })),
        "Status": object(
            &["node_id", "status", "api_version", "listen_port", "api_port", "peer_count", "peers", "sync_config", "timestamp"],
            json!({
                "node_id": text, "status": text, "api_version": text, "listen_port": number, "api_port": number,
                "peer_count": number,
                "peers": { "type": "array", "items": { "$ref": "#/components/schemas/Peer" } },
                "sync_config": { "type": "object" }, "timestamp": text, "hello": { "type": "object" },
            }),
        ),
        "TableInfo": object(&["table", "hash", "timestamp", "count"], json!({
            "table": text, "hash": text, "timestamp": nullable, "count": number, "tombstones": number,
            "set_aside": number,
        })),
        "Changes": object(&["data"], json!({
            "table": text, "data": { "type": "array", "items": row }, "count": number, "timestamp": text,
            "since": nullable, "sync_type": { "enum": ["full", "incremental"] },
            "versions": { "type": "array", "items": { "type": ["object", "null"] } },
            "deleted": { "type": "array", "items": { "type": "object" } },
            "next": nullable, "source_node": text, "sync_timestamp": text,
        })),
        "Applied": object(&["message", "rows_applied", "rows_unchanged"], json!({
            "message": text, "rows_applied": number, "rows_unchanged": number, "rows_refused": number,
            "source_peer": nullable,
        })),
        "Notice": object(&["source_peer", "tables"], json!({
            "source_peer": text, "tables": texts, "timestamp": text, "notification_type": { "enum": ["data_changed"] },
        })),
        "Noticed": object(&["message", "sync_triggered"], json!({
            "message": text, "tables": texts, "sync_triggered": switch,
        })),
        "SyncStatus": object(&["node_id", "status", "statistics", "peers", "timestamp"], json!({
            "node_id": text, "status": text, "statistics": { "type": "object", "additionalProperties": number },
            "peers": { "type": "array", "items": { "$ref": "#/components/schemas/Peer" } }, "timestamp": text,
        })),
        "Configuration": object(&["node_id", "config", "changeable"], json!({
            "node_id": text, "config": { "type": "object" }, "changeable": texts,
        })),
        "Patch": object(&[], json!({
            "sync_interval": number, "enable_p2p_sync": switch, "enable_auto_discovery": switch, "max_peers": number,
        })),
        "Registration": object(&["username", "email", "password"], json!({
            "username": text, "email": text, "password": text, "full_name": nullable,
        })),
        "User": row,
        "Users": { "type": "array", "items": { "$ref": "#/components/schemas/User" } },
        "Health": object(&["status", "database", "version"], json!({
            "status": text, "database": text, "version": text,
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_no_schema_stands_alone() {
        let document = document();
        let text = document.to_string();
        let named: BTreeSet<&str> =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let declared: BTreeSet<&str> =
            document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, declared);
    }

    #[test]
    fn operations_have_names_and_statuses_a_meaning() {
        let names: BTreeSet<_> = OPERATIONS.iter().map(operation_id).collect();
        assert_eq!(names.len(), OPERATIONS.len());
        for operation in &OPERATIONS {
            assert!(operation.errors.iter().all(|status| !meaning(*status).is_empty()), "{}", operation.path);
            assert_eq!(
                operation.guarded,
                operation.errors.contains(&401) && operation.path != "/api/v1/p2p/status"
            );
        }
    }
}
