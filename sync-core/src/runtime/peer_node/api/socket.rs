//! The WebSocket: what happens at the node, as it happens.
//!
//! Each client has a task of its own and is never waited for: one that does not take what it is sent in time, or falls too
//! far behind, is dropped.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::timeout;

use super::Api;
use super::answer::{Answer, ApiError};
use crate::limits;
use crate::peer_sync::interface::socket::{self, ClientMessage};
use crate::runtime::driver::replica::Told;
use crate::runtime::http::Phase;
use crate::runtime::{duration, wall_clock};

/// Bytes of a buffer of a socket that has nothing to say.
const BUFFER_BYTES: usize = 4 * 1024;

pub(super) async fn open(
    State(api): State<Arc<Api>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let upgrade = upgrade.map_err(|error| {
        let status = match error.status() {
            StatusCode::METHOD_NOT_ALLOWED => StatusCode::BAD_REQUEST,
            status => status,
        };
        ApiError::new(status, error.body_text())
    })?;
    let place = Arc::clone(&api.sockets).try_acquire_owned();
    let place = place.map_err(|_| ApiError::unavailable("too many are watching"))?;
    let upgrade = upgrade
        .max_message_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(limits::SOCKET_WAITING_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| attend(api, socket, place)))
}

enum Next {
    Said(Message),
    Told(Arc<Told>),
    Over(u16, &'static str),
}

async fn attend(api: Arc<Api>, mut socket: WebSocket, _place: OwnedSemaphorePermit) {
    let mut events = api.front.follow();
    let mut phase = api.phase.clone();
    if send_status(&api, &mut socket).await.is_err() {
        return;
    }
    loop {
        let next = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => Next::Over(close_code::AWAY, "the node stops"),
            told = events.recv() => next_told(told),
            said = socket.recv() => match said {
                Some(Ok(said)) => Next::Said(said),
                // Broken, closed, or a frame that is none.
                _ => return,
            },
        };
        let done = match next {
            Next::Told(told) => send(&mut socket, &told.event.socket_message(told.at)).await,
            Next::Said(said) => answer(&api, &mut socket, said).await,
            Next::Over(code, reason) => {
                let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
                let _ =
                    timeout(duration(limits::SOCKET_SEND_TIMEOUT), socket.send(Message::Close(Some(frame))))
                        .await;
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

fn next_told(told: Result<Arc<Told>, RecvError>) -> Next {
    match told {
        Ok(told) => Next::Told(told),
        Err(broadcast::error::RecvError::Lagged(_)) => {
            Next::Over(close_code::POLICY, "too slow: more happened than was taken")
        }
        Err(broadcast::error::RecvError::Closed) => Next::Over(close_code::AWAY, "the node stops"),
    }
}

/// The client is gone or does not take what it is sent.
struct Dropped;

async fn answer(api: &Api, socket: &mut WebSocket, said: Message) -> Result<(), Dropped> {
    let read = match &said {
        Message::Text(text) => ClientMessage::read(text),
        Message::Binary(_) => None,
        // Pings of the protocol are answered by themselves.
        Message::Ping(_) | Message::Pong(_) => return Ok(()),
        Message::Close(_) => return Err(Dropped),
    };
    match read {
        Some(ClientMessage::Ping) => send(socket, &socket::pong(wall_clock())).await,
        Some(ClientMessage::RequestStatus) => send_status(api, socket).await,
        None => send(socket, &socket::misunderstood(wall_clock())).await,
    }
}

async fn send_status(api: &Api, socket: &mut WebSocket) -> Result<(), Dropped> {
    let view = api.look().await.map_err(|_| Dropped)?;
    send(socket, &socket::status(&view.status)).await
}

async fn send(socket: &mut WebSocket, message: &serde_json::Value) -> Result<(), Dropped> {
    let sent = timeout(
        duration(limits::SOCKET_SEND_TIMEOUT),
        socket.send(Message::Text(message.to_string().into())),
    )
    .await;
    sent.ok().and_then(Result::ok).ok_or(Dropped)
}
