//! Answers peers: the P2P port.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use http_body_util::{BodyExt, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::{aside, coding_name};
use super::{Body, Caller, Coding, EXCHANGE_PATH, Keys, SIGNATURE_HEADER, ZSTD};
use crate::limits;
use crate::peer_sync::announcement::HostName;
use crate::peer_sync::authentication;
use crate::peer_sync::message::{Asked, PeerAnswer, PeerQuestion, Refusal};
use crate::runtime::driver::replica::ReplicaFront;
use crate::runtime::duration;
use crate::runtime::http::{RemoteAddress, bare};

/// What the P2P port needs.
#[derive(Debug)]
pub(crate) struct P2pApp {
    front: ReplicaFront,
    keys: Keys,
    /// Questions that are read and answered at once.
    places: Semaphore,
    /// Mebibytes of bodies that are held at once.
    memory: Semaphore,
    /// Bodies that are unpacked or packed at once.
    large: Arc<Semaphore>,
}

const MIB: usize = 1024 * 1024;

impl P2pApp {
    pub(crate) fn new(front: ReplicaFront, keys: Keys) -> Self {
        Self {
            front,
            keys,
            places: Semaphore::new(limits::PEER_QUESTIONS_OPEN_MAX),
            memory: Semaphore::new(limits::PEER_QUESTIONS_MIB_MAX),
            large: Arc::new(Semaphore::new(limits::PEER_LARGE_BODIES_MAX)),
        }
    }
}

/// The routes of the P2P port.
pub(crate) fn p2p_router(app: P2pApp) -> Router {
    Router::new().route(EXCHANGE_PATH, post(exchange)).with_state(Arc::new(app))
}

async fn exchange(
    State(app): State<Arc<P2pApp>>,
    Extension(RemoteAddress(from)): Extension<RemoteAddress>,
    request: Request,
) -> Response {
    match answer(&app, from.ip().to_string(), request).await {
        Ok(response) => response,
        Err(status) => bare(status),
    }
}

async fn answer(app: &P2pApp, from: String, request: Request) -> Result<Response, StatusCode> {
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    let _place = app.places.try_acquire().map_err(|_| busy)?;
    let (parts, body) = request.into_parts();
    let coding = coding(&parts.headers)?;
    let declared = declared(&parts.headers)?;
    let mib = u32::try_from(declared.div_ceil(MIB)).unwrap_or(u32::MAX);
    let _memory = app.memory.try_acquire_many(mib).map_err(|_| busy)?;
    let body = timeout(duration(limits::BODY_READ_TIMEOUT), Limited::new(body, declared).collect()).await;
    let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::BAD_REQUEST)?;
    let body = Body { bytes: body.to_bytes().into(), coding };

    let authorization = parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let signed = authentication::Request {
        method: parts.method.as_str(),
        target: EXCHANGE_PATH,
        head: coding_name(coding),
        body: &body.bytes,
    };
    let caller = app.keys.caller(authorization, &signed).filter(|caller| *caller != Caller::Operator);
    let Some(caller) = caller else {
        return Err(StatusCode::UNAUTHORIZED);
    };
    let asked = if body.is_large() {
        let _turn = app.large.acquire().await.map_err(|_| busy)?;
        aside(move || body.read::<Asked>()).await
    } else {
        body.read().ok()
    };
    let asked = asked.ok_or(StatusCode::BAD_REQUEST)?;
    if asked.asker.instance.is_none() || matches!(asked.question, PeerQuestion::Hello(_)) {
        // Engines alone ask here; a hello is answered by the status, at the other port.
        return Err(StatusCode::BAD_REQUEST);
    }
    let from = HostName::new(&from).map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = app.front.ask(from, asked).await.map_err(|_| busy)?;
    respond(app, caller, answer).await
}

async fn respond(app: &P2pApp, caller: Caller, answer: PeerAnswer) -> Result<Response, StatusCode> {
    let can_be_large = matches!(
        answer,
        PeerAnswer::Page(_) | PeerAnswer::Rows(_) | PeerAnswer::Entries(_) | PeerAnswer::Digests(_)
    );
    let body = if can_be_large {
        let _turn = app.large.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        aside(move || Body::write(&answer)).await
    } else {
        Body::write(&answer).ok()
    };
    let Body { bytes, coding } = body.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let signature = app.keys.sign(caller, StatusCode::OK.as_u16(), &bytes);
    let mut response = Response::new(axum::body::Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if coding == Coding::Zstd {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(ZSTD));
    }
    if let Some(signature) = signature.and_then(|signature| HeaderValue::try_from(signature.to_string()).ok())
    {
        headers.insert(SIGNATURE_HEADER, signature);
    }
    Ok(response)
}

fn coding(headers: &HeaderMap) -> Result<Coding, StatusCode> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Coding::Plain),
        Some(b"zstd") => Ok(Coding::Zstd),
        Some(_) => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// How large the body will be: it has to say so, so that it can be turned away unread.
fn declared(headers: &HeaderMap) -> Result<usize, StatusCode> {
    let length = headers.get(CONTENT_LENGTH).ok_or(StatusCode::LENGTH_REQUIRED)?;
    let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or(StatusCode::BAD_REQUEST)?;
    if length > limits::PEER_BODY_BYTES_MAX { Err(StatusCode::PAYLOAD_TOO_LARGE) } else { Ok(length) }
}

/// A refusal as the status of HTTP that comes nearest.
pub(crate) const fn refusal_status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Key => StatusCode::UNAUTHORIZED,
        Refusal::Protocol | Refusal::Schema | Refusal::SameNode | Refusal::AnotherNode => {
            StatusCode::CONFLICT
        }
    }
}
