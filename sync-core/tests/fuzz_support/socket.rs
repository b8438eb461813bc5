//! What a client of the WebSocket says. An input is lines: after `text` each further line is a message of text, after
//! `binary` one of bytes; after anything else the whole input is sent as it is, in place of frames.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::world::{FROM, World};
use super::{Became, Finding};

const PATH: &str = "/api/v1/p2p/ws";
/// No answer takes nearly as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What one input may say in messages.
const MESSAGES_MAX: usize = 8;

/// A client may say whatever it likes: it changes nothing.
pub(super) async fn tell(world: &World, input: &[u8]) -> Result<Became, Finding> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let talk = async {
        match input.split(|byte| *byte == b'\n').next() {
            Some(b"text") => messages(client, input, true).await,
            Some(b"binary") => messages(client, input, false).await,
            _ => bytes(client, input).await,
        }
    };
    let (talked, ()) = tokio::join!(talk, world.ports.connection(FROM, server));
    talked.map(|()| Became::Read)
}

async fn messages(client: DuplexStream, input: &[u8], is_text: bool) -> Result<(), Finding> {
    let Ok((mut socket, _)) = tokio_tungstenite::client_async(format!("ws://node{PATH}"), client).await
    else {
        return Err(Finding("no WebSocket is opened".to_owned()));
    };
    next(&mut socket).await?;
    for line in input.split(|byte| *byte == b'\n').skip(1).take(MESSAGES_MAX) {
        let message = match is_text {
            true => Message::text(String::from_utf8_lossy(line).into_owned()),
            false => Message::binary(line.to_vec()),
        };
        if socket.send(message).await.is_err() {
            return Err(Finding("the socket does not stay open".to_owned()));
        }
        next(&mut socket).await?;
    }
    Ok(())
}

/// Each message has its answer, which is JSON with a type.
async fn next(socket: &mut WebSocketStream<DuplexStream>) -> Result<(), Finding> {
    let missing = || Finding("a message has no answer, or none that is JSON with a `type`".to_owned());
    let Ok(Some(Ok(Message::Text(text)))) = timeout(ANSWER_TIMEOUT, socket.next()).await else {
        return Err(missing());
    };
    let answer: Value = serde_json::from_str(&text).map_err(|_| missing())?;
    matches!(answer["type"].as_str(), Some("status" | "pong" | "error")).then_some(()).ok_or_else(missing)
}

/// Frames, or what is none, after an orderly beginning.
async fn bytes(mut client: DuplexStream, input: &[u8]) -> Result<(), Finding> {
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // Whoever does not like what it reads may close at any time.
    let _ = client.write_all(head.as_bytes()).await;
    let _ = client.write_all(input).await;
    let _ = client.shutdown().await;
    let mut answer = Vec::new();
    match timeout(ANSWER_TIMEOUT, client.read_to_end(&mut answer)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Finding("the connection does not end with its client".to_owned())),
    }
}
