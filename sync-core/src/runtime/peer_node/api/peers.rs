//! Peers that somebody adds and removes.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use serde_json::json;

use super::Api;
use super::answer::{Answer, ApiError, guarded_body, ok};
use crate::peer_sync::interface::notice::read_peer;
use crate::peer_sync::replica::Command;

pub(super) async fn add(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let bytes = guarded_body(&api, request).await?;
    let (address, peer) = read_peer(&bytes)?;
    api.command(Command::AddPeer(address.clone())).await?;
    ok(&json!({ "message": format!("{address} is asked who it is, and is tried for ever"), "peer": peer }))
}

pub(super) async fn remove(State(api): State<Arc<Api>>, Path(id): Path<String>, request: Request) -> Answer {
    guarded_body(&api, request).await?;
    let peers = api.look().await?.status.peers;
    let peer = peers.into_iter().map(|peer| peer.peer_id).find(|peer| peer.as_str() == id);
    let peer = peer.ok_or_else(|| ApiError::not_found("there is no such peer"))?;
    api.command(Command::RemovePeer(peer.clone())).await?;
    ok(
        &json!({ "message": format!("{peer} is removed; it comes back when it announces itself or is added again") }),
    )
}
