//! The configuration of a running node.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::Api;
use super::answer::{Answer, guarded_body, ok};
use crate::peer_sync::interface::config::{Patch, show};
use crate::peer_sync::replica::Command;

pub(super) async fn read(State(api): State<Arc<Api>>) -> Answer {
    let view = api.look().await?;
    ok(&show(&view.status, &view.settings, api.discovery_port, api.keys.is_set()))
}

pub(super) async fn change(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let bytes = guarded_body(&api, request).await?;
    let patch = Patch::read(&bytes)?;
    let _turn = api.configuring.lock().await;
    let settings = patch.applied_to(&api.look().await?.settings);
    api.command(Command::Configure(Box::new(settings))).await?;
    read(State(Arc::clone(&api))).await
}
