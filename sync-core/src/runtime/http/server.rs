//! The main server's end: the sync endpoint, `/healthz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::metrics::{self, Durations};
use super::{HealthCheck, batch};
use crate::host_sync::server::{RETRY_AFTER as RETRY_AFTER_SPAN, Status};
use crate::limits;
use crate::runtime::driver::shards::Front;
use crate::runtime::driver::{CacheService, Database};
use crate::runtime::duration;
use crate::wire;
use crate::wire::batch::Outer;

/// Where the server says how it does.
pub(crate) const HEALTH_PATH: &str = "/healthz";

/// Where the server gives its figures.
pub(crate) const METRICS_PATH: &str = "/metrics";

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct App<D, C> {
    pub(crate) front: Front,
    pub(crate) health: HealthCheck<D, C>,
    pub(crate) durations: Durations,
}

/// The routes. `path` is that of the sync endpoint and is neither [`HEALTH_PATH`] nor [`METRICS_PATH`]; anything else is answered
/// 404, another method 405, both with an empty body.
pub(crate) fn router<D: Database, C: CacheService>(path: &str, app: App<D, C>) -> Router {
    Router::new()
        // A path of a configuration may start with what once had a meaning here.
        .without_v07_checks()
        .route(path, post(sync::<D, C>))
        .route(HEALTH_PATH, get(health::<D, C>))
        .route(METRICS_PATH, get(figures::<D, C>))
        .with_state(Arc::new(app))
}

async fn sync<D: Database, C: CacheService>(State(app): State<Arc<App<D, C>>>, request: Request) -> Response {
    let body = match timeout(duration(limits::BODY_READ_TIMEOUT), read(request.into_body())).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return bare(status),
        Err(_) => return bare(StatusCode::REQUEST_TIMEOUT),
    };
    let started = Instant::now();
    let answer = match Outer::of(&body) {
        Outer::Single(account) => app.front.exchange(account, body).await,
        Outer::Batch(operations) => batch::exchange(&app.front, &operations).await,
        Outer::TooMany => Err(Status::TooLarge),
        Outer::Malformed => Err(Status::Refused),
    };
    app.durations.took(started.elapsed());
    match answer {
        Ok(reply) => json(StatusCode::OK, reply),
        Err(status) => {
            let mut response = bare(StatusCode::from_u16(status.code()).unwrap_or(StatusCode::BAD_REQUEST));
            if status == Status::Overloaded {
                let seconds = RETRY_AFTER_SPAN.as_ms() / 1_000;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

async fn health<D: Database, C: CacheService>(State(app): State<Arc<App<D, C>>>) -> Response {
    let report = app.health.report().await;
    let mut body = Vec::new();
    wire::write(&report, &mut body);
    let status = if report.can_serve() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = json(status, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn figures<D: Database, C: CacheService>(State(app): State<Arc<App<D, C>>>) -> Response {
    let text = metrics::text(&app.front.reports().await, app.health.seen(), &app.durations);
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The whole body, up to the bound. One that is larger is read on for as much again, so that the sender gets
/// to see the answer instead of a broken connection.
pub(crate) async fn read(mut body: Body) -> Result<Vec<u8>, StatusCode> {
    const BYTES_MAX: usize = limits::BODY_BYTES_MAX;
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(declared.min(RESERVED_BYTES_MAX));
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if seen > 2 * BYTES_MAX {
            break;
        } else {
            bytes = Vec::new();
        }
    }
    if seen <= BYTES_MAX { Ok(bytes) } else { Err(StatusCode::PAYLOAD_TOO_LARGE) }
}

/// What is set aside for a body on its sender's word.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
