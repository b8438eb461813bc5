//! Peers that somebody adds and removes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::json;

use super::Api;
use super::answer::{Answer, ApiError, Named, guarded_body, ok};
use crate::limits;
use crate::peer_sync::announcement::{PeerAddress, PeerInfo};
use crate::peer_sync::interface::notice::read_peer;
use crate::peer_sync::replica::Command;
use crate::peer_sync::version::NodeId;

/// Addresses that were added and not removed, each with what it was said to be.
#[derive(Debug, Default)]
pub(super) struct Added(Mutex<BTreeMap<PeerAddress, NodeId>>);

impl Added {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerAddress, NodeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for it.
    fn add(&self, address: &PeerAddress, said: &NodeId) -> bool {
        let mut added = self.lock();
        let has_room = added.len() < limits::PEERS_ADDED_MAX || added.contains_key(address);
        if has_room {
            added.insert(address.clone(), said.clone());
        }
        has_room
    }

    /// The address that is written so, or that was said to be this peer.
    fn take(&self, name: &str) -> Option<PeerAddress> {
        let mut added = self.lock();
        let is_named =
            |(address, said): &(&PeerAddress, &NodeId)| said.as_str() == name || address.to_string() == name;
        let address = added.iter().find(is_named).map(|(address, _)| address.clone())?;
        added.remove(&address);
        Some(address)
    }
}

pub(super) async fn add(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let bytes = guarded_body(&api, request).await?;
    let (address, peer) = read_peer(&bytes)?;
    if !api.added.add(&address, &peer.peer_id) {
        let max = limits::PEERS_ADDED_MAX;
        let detail = format!("{max} addresses were added and not removed: remove some of them first");
        return Err(ApiError::new(StatusCode::CONFLICT, detail));
    }
    api.command(Command::AddPeer(address.clone())).await?;
    ok(
        &json!({ "message": format!("{address} is asked who it is, and is tried until it is removed"), "peer": peer }),
    )
}

pub(super) async fn remove(State(api): State<Arc<Api>>, Named(id): Named, request: Request) -> Answer {
    guarded_body(&api, request).await?;
    let peers = api.look().await?.status.peers;
    let peer = peers.into_iter().find(|peer| peer.peer_id.as_str() == id);
    let message = if let Some(PeerInfo { peer_id, host, port, .. }) = peer {
        if let Ok(address) = PeerAddress::new(&host, port) {
            api.added.lock().remove(&address);
        }
        api.command(Command::RemovePeer(peer_id.clone())).await?;
        format!("{peer_id} is removed; it comes back when it announces itself or is added again")
    } else if let Some(address) = api.added.take(&id) {
        api.command(Command::RemoveAddress(address.clone())).await?;
        format!("{address} is removed, and is not asked any more")
    } else {
        return Err(ApiError::not_found("there is no such peer"));
    };
    ok(&json!({ "message": message }))
}
