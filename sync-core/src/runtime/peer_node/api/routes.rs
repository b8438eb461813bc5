//! The one table of routes. Its operations are those of the OpenAPI document, which a test sees to.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};

use super::answer::ApiError;
use super::{Api, config, figures, peers, socket, status, sync, tables, users};
use crate::runtime::peer_node::wire::STATUS_PATH;

type Route = (&'static str, &'static str, fn() -> MethodRouter<Arc<Api>>);

/// Method, path and handler.
const ROUTES: [Route; 22] = [
    ("get", STATUS_PATH, || get(status::status)),
    ("post", "/api/v1/p2p/sync/trigger", || post(sync::trigger)),
    ("post", "/api/v1/p2p/sync/bidirectional", || post(sync::bidirectional)),
    ("post", "/api/v1/p2p/peers", || post(peers::add)),
    ("delete", "/api/v1/p2p/peers/{id}", || delete(peers::remove)),
    ("get", "/api/v1/p2p/table-info/{table}", || get(tables::info)),
    ("get", "/api/v1/p2p/table-data/{table}", || get(tables::data)),
    ("get", "/api/v1/p2p/table-changes/{table}", || get(tables::changed)),
    ("post", "/api/v1/p2p/sync-table/{table}", || post(tables::apply)),
    ("post", "/api/v1/p2p/apply-changes/{table}", || post(tables::apply)),
    ("post", "/api/v1/p2p/notify-changes", || post(sync::notify)),
    ("get", "/api/v1/p2p/sync-status", || get(sync::sync_status)),
    ("get", "/api/v1/p2p/config", || get(config::read)),
    ("post", "/api/v1/p2p/config", || post(config::change)),
    ("get", "/api/v1/p2p/ws", || get(socket::open)),
    ("post", "/api/v1/p2p/discovery/refresh", || post(sync::refresh)),
    ("post", "/api/v1/auth/register", || post(users::register)),
    ("get", "/api/v1/users/", || get(users::list)),
    ("get", "/api/v1/users", || get(users::list)),
    ("get", "/healthz", || get(figures::health)),
    ("get", "/metrics", || get(figures::figures)),
    ("get", "/openapi.json", || get(figures::document)),
];

/// The routes of the API port.
pub(crate) fn api_router(api: Api) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, (_, path, handler)| {
        // Two methods of one path come together.
        router.route(path, handler())
    });
    router.fallback(missing).method_not_allowed_fallback(wrong_method).with_state(Arc::new(api))
}

async fn missing() -> ApiError {
    ApiError::not_found("there is nothing at this path; /openapi.json lists what there is")
}

async fn wrong_method(request: Request) -> ApiError {
    let detail = format!("{} is no method of this path; /openapi.json lists them", request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::peer_sync::interface::openapi::OPERATIONS;

    /// There and back: what is documented is served, and what is served is documented.
    #[test]
    fn the_document_and_the_routes_name_the_same_operations() {
        let served: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| (*method, *path)).collect();
        let documented: BTreeSet<_> =
            OPERATIONS.iter().map(|operation| (operation.method, operation.path)).collect();
        assert_eq!(served, documented);
        assert_eq!(served.len(), ROUTES.len());
    }
}
