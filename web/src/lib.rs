//! Throughline's pages and HTTP API. The daemon builds a [`State`] and serves [`router`] on its web port.
//! Pages are rendered on the server, every state is a GET URL, and nothing here changes data except the webhook API.
//! Must never know how spans arrive, how they are replayed or how webhooks are sent: the daemon hands that in as plain
//! data and closures.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod assets;
mod backtest;
mod chart;
mod colour;
mod compare;
mod error;
mod format;
mod guard;
mod hazards;
mod health;
mod incident;
mod incidents;
mod ingest;
mod logs;
mod map;
mod overview;
mod page;
mod progress;
mod rules;
mod search;
mod settings;
mod source;
mod sql;
mod state;
mod table;
mod text;
mod trace;
mod tx;
mod tx_expected;
mod tx_type;
mod webhooks;
mod whole;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use backtest::{Backtest, BacktestAnswer, BacktestProgress, BacktestQuestion, BacktestResult};
pub use ingest::{IngestView, Refusal, SenderView, SignalView, StoreView};
pub use source::{
    Answer, EdgeBy, EdgeEnds, EdgeNumbers, EdgePart, EdgeRow, LogQuery, ProcessRow, Source, SourceError, StoreSource,
    StoredTrace, TransactionQuery, TransactionRow, TransactionSegment, TransactionTraces,
};
pub use state::{Dismiss, Dismissal, Endpoints, OtlpJson, Setting, State};
pub use webhooks::{
    AddWebhookError, DeliveryQuery, DeliveryView, NewWebhook, TestOutcome, TestWebhook, TestWebhookError, WebhookView,
    Webhooks,
};

/// Returns every page, the API, health, metrics and static files, behind the checks that all of them share.
pub fn router(state: State) -> Router {
    let state = Arc::new(state);
    Router::new()
        .route("/", get(overview::overview))
        .route("/incidents", get(incidents::incidents))
        .route("/incidents/{number}", get(incident::incident))
        .route("/incidents/{number}/dismiss", post(incident::dismiss))
        .route("/tx", get(tx::types))
        // Operations contain slashes, and proxies like to decode them.
        .route("/tx/{service}/{*operation}", get(tx_type::tx_type))
        .route("/search", get(search::search))
        .route("/trace/{id}", get(trace::trace))
        .route("/compare", get(compare::compare))
        .route("/map", get(map::map))
        .route("/hazards", get(hazards::hazards))
        .route("/rules", get(rules::rules))
        .route("/logs", get(logs::logs))
        .route("/sql", get(sql::sql))
        .route("/ingest", get(ingest::ingest))
        .route("/webhooks", get(webhooks::webhooks))
        .route("/deliveries", get(webhooks::deliveries))
        .route("/settings", get(settings::settings))
        .nest("/api/v1", api::routes())
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/static/{name}", get(assets::file))
        .fallback(not_found)
        .layer(from_fn(guard::gzip))
        .layer(from_fn_with_state(Arc::clone(&state), guard::headers))
        .with_state(state)
}

async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return error::Problem::new(StatusCode::NOT_FOUND, "there is no such resource").into_response();
    }
    error::PageError::NotFound {
        what: "There is no such page".to_owned(),
        hint: format!("Nothing is at {}. It may have been a link from another version.", uri.path()),
    }
    .into_response()
}
