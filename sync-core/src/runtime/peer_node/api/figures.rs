//! How the node does: health, figures, and the OpenAPI document.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Api;
use super::answer::{Answer, answer, ok, text};
use crate::limits;
use crate::peer_sync::interface::openapi;
use crate::peer_sync::replica::Activity;
use crate::runtime::driver::replica::View;
use crate::runtime::duration;

pub(super) async fn health(State(api): State<Arc<Api>>) -> Answer {
    let is_up = is_up(&api).await;
    let works = api.look().await?.status.status == Activity::Active;
    let report = json!({
        "status": if is_up && works { "ok" } else { "degraded" },
        "database": if is_up { "up" } else { "down" },
        "version": env!("CARGO_PKG_VERSION"),
    });
    let status = if is_up && works { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(answer(status, &report))
}

async fn is_up(api: &Api) -> bool {
    timeout(duration(limits::PROBE_TIMEOUT), api.database.is_up()).await.unwrap_or(false)
}

pub(super) async fn figures(State(api): State<Arc<Api>>) -> Result<Response, super::ApiError> {
    let view = api.look().await?;
    let sockets = limits::SOCKETS_MAX - api.sockets.available_permits();
    Ok(text(write(&view, sockets, is_up(&api).await)))
}

pub(super) async fn document() -> Answer {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);
    ok(&*DOCUMENT)
}

/// Counts and numbers only: no name of a peer or a table.
fn write(view: &View, sockets: usize, is_up: bool) -> String {
    let mut out = String::with_capacity(4_096);
    let counts = serde_json::to_value(view.statistics).unwrap_or_default();
    for (name, count) in counts.as_object().into_iter().flatten() {
        let full = format!("p2p_sync_peer_{name}_total");
        let what = name.replace('_', " ");
        figure(&mut out, &full, "counter", &format!("Since the start: {what}."), count);
    }
    let active = view.status.peers.iter().filter(|peer| peer.status == "active").count();
    let works = view.status.status == Activity::Active;
    let gauges = [
        ("p2p_sync_peers", "Peers that are known.", view.status.peers.len()),
        ("p2p_sync_peers_active", "Peers that answer.", active),
        ("p2p_sync_peer_active", "Whether the node works.", usize::from(works)),
        ("p2p_sync_peer_database_up", "Whether the database answers.", usize::from(is_up)),
        ("p2p_sync_peer_sockets", "WebSockets that are open.", sockets),
    ];
    for (name, help, value) in gauges {
        figure(&mut out, name, "gauge", help, &value.into());
    }
    out
}

fn figure(out: &mut String, name: &str, kind: &str, help: &str, value: &Value) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}
