//! Synchronise now; and what has been counted.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::answer::{Answer, ApiError, guarded_body, ok};
use crate::peer_sync::announcement::HostName;
use crate::peer_sync::interface::notice::read_notice;
use crate::peer_sync::message::{Asked, Asker, PeerQuestion};
use crate::peer_sync::replica::Command;
use crate::runtime::wall_clock;

pub(super) async fn trigger(State(api): State<Arc<Api>>) -> Answer {
    triggered(&api, None).await
}

#[derive(Deserialize)]
pub(super) struct WithPeer {
    peer_id: Option<String>,
}

pub(super) async fn bidirectional(
    State(api): State<Arc<Api>>,
    query: Result<Query<WithPeer>, QueryRejection>,
) -> Answer {
    let Query(WithPeer { peer_id }) =
        query.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    triggered(&api, peer_id).await
}

async fn triggered(api: &Api, with: Option<String>) -> Answer {
    let status = api.look().await?.status;
    let peers = status.peers.into_iter().map(|peer| peer.peer_id);
    let peers: Vec<_> = peers.filter(|peer| with.as_ref().is_none_or(|with| peer.as_str() == with)).collect();
    let peer = match (&with, peers.first()) {
        (Some(_), None) => return Err(ApiError::not_found("there is no such peer")),
        (Some(_), Some(peer)) => Some(peer.clone()),
        (None, _) => None,
    };
    api.command(Command::Trigger { peer }).await?;
    let message = match peers.len() {
        0 => "no peers to synchronise with".to_owned(),
        1 => "synchronisation triggered with 1 peer".to_owned(),
        count => format!("synchronisation triggered with {count} peers"),
    };
    ok(&json!({ "message": message, "peers": peers }))
}

pub(super) async fn notify(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let bytes = guarded_body(&api, request).await?;
    let notice = read_notice(&api.schema, wall_clock(), &bytes)?;
    let known = api.look().await?.status.peers.iter().any(|peer| peer.peer_id == notice.source);
    if !known {
        return ok(&json!({
            "message": format!("{} is no peer of this node", notice.source),
            "tables": notice.tables,
            "sync_triggered": false,
        }));
    }
    let (source, tables) = (notice.source.clone(), notice.tables.clone());
    // The engine wants nothing of where a notice comes from.
    let from = HostName::new("localhost").map_err(|error| ApiError::unavailable(error.to_string()))?;
    let asker = Asker::documented(source.clone());
    api.front.ask(from, Asked { asker, question: PeerQuestion::Notify(notice) }).await?;
    ok(&json!({ "message": format!("notice of {source} taken"), "tables": tables, "sync_triggered": true }))
}

pub(super) async fn sync_status(State(api): State<Arc<Api>>) -> Answer {
    let view = api.look().await?;
    ok(&json!({
        "node_id": view.status.node_id,
        "status": view.status.status,
        "statistics": view.statistics,
        "peers": view.status.peers,
        "timestamp": view.status.timestamp,
    }))
}

pub(super) async fn refresh(State(api): State<Arc<Api>>) -> Answer {
    api.command(Command::Refresh).await?;
    ok(&json!({ "message": "announced, and all peers are looked at" }))
}
