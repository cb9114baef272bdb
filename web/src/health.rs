//! `/healthz`, `/readyz` and `/metrics`, for whatever looks after the daemon.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::page::{Shared, plain};

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> Response {
    plain("ok\n".to_owned())
}

/// `GET /readyz`: requests can be served, or why not.
pub(crate) async fn readyz(state: Shared) -> Response {
    match (state.ready)() {
        Ok(()) => plain("ready\n".to_owned()),
        Err(reasons) => {
            let mut response = plain(reasons.join("\n") + "\n");
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// `GET /metrics`, in the Prometheus text format.
pub(crate) async fn metrics(state: Shared) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (state.metrics)()).into_response()
}
