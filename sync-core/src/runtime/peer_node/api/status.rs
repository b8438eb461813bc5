//! `GET status`: for people, and how a peer answers a hello.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Api;
use super::answer::{Answer, ApiError, answer, ok};
use crate::peer_sync::announcement::HostName;
use crate::peer_sync::authentication;
use crate::peer_sync::message::{Asked, Asker, Hello, PeerAnswer, PeerQuestion, Refusal};
use crate::runtime::http::RemoteAddress;
use crate::runtime::peer_node::wire::{Caller, HELLO_HEADER, SIGNATURE_HEADER, STATUS_PATH, refusal_status};

pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Extension(RemoteAddress(from)): Extension<RemoteAddress>,
    request: Request,
) -> Answer {
    let Some(header) = request.headers().get(HELLO_HEADER) else {
        return ok(&api.look().await?.status);
    };
    let malformed = || ApiError::new(StatusCode::BAD_REQUEST, "the header `p2p-hello` is no hello");
    let text = header.to_str().map_err(|_| malformed())?;
    let authorization = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let signed = authentication::Request { method: "GET", target: STATUS_PATH, head: text, body: b"" };
    let caller = api.keys.caller(authorization, &signed).filter(|caller| *caller != Caller::Operator);
    let Some(caller) = caller else {
        return Ok(refused(Refusal::Key));
    };
    let hello = STANDARD.decode(text).map_err(|_| malformed())?;
    let hello: Hello = serde_json::from_slice(&hello).map_err(|_| malformed())?;
    let from = HostName::new(&from.ip().to_string()).map_err(|_| malformed())?;
    let asker = Asker {
        node: hello.node.clone(),
        instance: Some(hello.instance),
        protocol: hello.protocol,
        whom: None,
    };
    let response = match api.front.ask(from, Asked { asker, question: PeerQuestion::Hello(hello) }).await? {
        PeerAnswer::Hello(own) => {
            let mut status = api.look().await?.status;
            status.hello = Some(own);
            answer(StatusCode::OK, &status)
        }
        PeerAnswer::Refused(refusal) => return Ok(refused(refusal)),
        _ => return Err(ApiError::unavailable("the node does not know its database yet")),
    };
    sign(&api, caller, response).await
}

fn refused(refusal: Refusal) -> Response {
    answer(refusal_status(refusal), &json!({ "detail": refusal.to_string(), "refused": refusal }))
}

async fn sign(api: &Api, caller: Caller, response: Response) -> Answer {
    use http_body_util::BodyExt as _;
    let (mut parts, body) = response.into_parts();
    let broken = |_| ApiError::unavailable("the answer could not be made");
    let bytes = body.collect().await.map_err(broken)?.to_bytes();
    if let Some(signature) = api.keys.sign(caller, parts.status.as_u16(), &bytes)
        && let Ok(signature) = HeaderValue::try_from(signature.to_string())
    {
        parts.headers.insert(SIGNATURE_HEADER, signature);
    }
    Ok(Response::from_parts(parts, bytes.into()))
}
