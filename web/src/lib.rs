//! Throughline's pages and HTTP API. The daemon builds a [`State`] and serves [`router`] on its web port.
//! Pages are rendered on the server, every state is a GET URL, and nothing here changes data except the webhook API.
//! Must never know how spans arrive or how webhooks are sent: the daemon hands that in as plain data and closures.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ingest;
mod source;
mod state;
mod webhooks;

pub use ingest::{IngestView, Refusal, SenderView, SignalView, StoreView};
pub use source::{Answer, LogQuery, Source, SourceError, TransactionQuery, TransactionRow, TransactionSegment};
pub use state::{AllowedHosts, Endpoints, Setting, State};
pub use webhooks::{
    AddWebhookError, DeliveryQuery, DeliveryView, NewWebhook, TestOutcome, TestWebhook, TestWebhookError, WebhookView,
    Webhooks,
};

/// Returns every page, the API, health, metrics and static files, behind the checks that all of them share.
pub fn router(state: State) -> axum::Router {
    axum::Router::new().with_state(std::sync::Arc::new(state))
}
