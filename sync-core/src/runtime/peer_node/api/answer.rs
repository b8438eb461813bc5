//! Answers and errors of the documented endpoints, and the reading of bodies.

use axum::extract::{FromRequestParts, Path, Request};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::time::timeout;

use super::Api;
use crate::limits;
use crate::peer_sync::authentication;
use crate::peer_sync::interface::Fault;
use crate::runtime::driver::replica::Gone;
use crate::runtime::duration;
use crate::runtime::http::json;
use crate::runtime::peer_node::database::DatabaseError;

/// What a path names.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "what the path names is no UTF-8"))?;
        Ok(Self(name))
    }
}

/// Why a request is not answered as it wants: `{"detail": ...}`.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<Fault> for ApiError {
    fn from(Fault(detail): Fault) -> Self {
        let malformed = detail.contains("is not the JSON");
        let status = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self { status, detail }
    }
}

impl From<Gone> for ApiError {
    fn from(_: Gone) -> Self {
        Self::unavailable("the node is stopping")
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        let status = match error {
            DatabaseError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            DatabaseError::Conflict(_) => StatusCode::CONFLICT,
            DatabaseError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = answer(self.status, &serde_json::json!({ "detail": self.detail }));
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// What an endpoint gives.
pub(super) type Answer = Result<Response, ApiError>;

/// Done.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    Ok(answer(StatusCode::OK, body))
}

pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    // What is written here are texts, numbers and lists of them, which JSON has.
    let mut response = json(status, serde_json::to_vec(body).unwrap_or_default());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(body: String) -> Response {
    let mut response = body.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The whole body, bounded in size and time.
pub(super) async fn body(request: Request) -> Result<Vec<u8>, ApiError> {
    let read = Limited::new(request.into_body(), limits::API_BODY_BYTES_MAX).collect();
    match timeout(duration(limits::BODY_READ_TIMEOUT), read).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let max = limits::API_BODY_BYTES_MAX;
            let detail = format!("a body has at most {max} bytes: send it in parts");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Ok(Err(_)) => Err(ApiError::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

/// The body of a request that only those may make who hold the key, where there is one.
pub(super) async fn guarded_body(api: &Api, request: Request) -> Result<Vec<u8>, ApiError> {
    let method = request.method().clone();
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let authorization = request.headers().get(AUTHORIZATION).cloned();
    if api.keys.is_set() && authorization.is_none() {
        // Before a stranger's body is read.
        return Err(unauthorised());
    }
    let bytes = body(request).await?;
    let authorization = authorization.as_ref().and_then(|header| header.to_str().ok());
    let signed = authentication::Request { method: method.as_str(), target: &target, head: "", body: &bytes };
    api.keys.caller(authorization, &signed).ok_or_else(unauthorised)?;
    Ok(bytes)
}

fn unauthorised() -> ApiError {
    let detail =
        "this node has a shared key: show `Authorization: Bearer` with what `peer-node token` prints";
    ApiError::new(StatusCode::UNAUTHORIZED, detail)
}
