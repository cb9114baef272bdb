//! Webhook targets and deliveries: what the daemon's outbox offers to pages and the API, as plain data and one trait.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// The daemon's outbox, as pages and API see it.
pub trait Webhooks: Send + Sync {
    /// Returns every target, by name.
    fn list(&self) -> BoxFuture<'_, Vec<WebhookView>>;

    /// Returns deliveries that fit, newest first.
    fn deliveries(&self, query: DeliveryQuery) -> BoxFuture<'_, Vec<DeliveryView>>;

    /// Adds a target.
    fn add(&self, webhook: NewWebhook) -> BoxFuture<'_, Result<WebhookView, AddWebhookError>>;

    /// Sends a test event through the very same pipeline; the same key is the same event.
    fn test(&self, name: String, test: TestWebhook) -> BoxFuture<'_, Result<TestOutcome, TestWebhookError>>;
}

/// A target, secrets masked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WebhookView {
    /// Unique name.
    pub name: String,
    /// Address, with anything secret in it masked.
    pub url: String,
    /// Shape of the body, such as `standard`.
    pub preset: String,
    /// Whether bodies are signed.
    pub is_signed: bool,
    /// Where it was configured: `file` or `api`.
    pub origin: String,
    /// Why it is failing now, in words.
    pub problem: Option<String>,
}

/// A target to add.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Unique name.
    pub name: String,
    /// `http` or `https` address.
    pub url: String,
    /// Shape of the body; `standard` when left out.
    #[serde(default)]
    pub preset: Option<String>,
    /// Signing secret, `whsec_` and base64; made up when left out.
    #[serde(default)]
    pub secret: Option<String>,
}

/// Why a target was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddWebhookError {
    /// 409.
    #[error("a webhook with this name exists")]
    NameExists,
    /// 422, with the reason: the egress guard refuses the address, or a field is wrong.
    #[error("{0}")]
    Refused(String),
    /// 503.
    #[error("storing the webhook")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How to test a target.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestWebhook {
    /// The same key is the same event, with the same id.
    #[serde(default)]
    pub key: Option<String>,
    /// Whether failures are retried as for a real event.
    #[serde(default)]
    pub retry: bool,
}

/// What a test did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TestOutcome {
    /// The event's id, as sent in `webhook-id`.
    pub event_id: String,
    /// Whether it arrived.
    pub is_delivered: bool,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// Milliseconds until the answer.
    pub duration_ms: Option<f64>,
    /// What went wrong, in words.
    pub error: Option<String>,
}

/// Why there was no test.
#[derive(Debug, thiserror::Error)]
pub enum TestWebhookError {
    /// 404.
    #[error("there is no webhook with this name")]
    Unknown,
    /// 503.
    #[error("sending the test event")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// Target's name.
    pub target: Option<String>,
    /// Incident's number.
    pub incident: Option<u64>,
    /// Rows to return at most.
    pub limit: usize,
}

/// One event on its way to one target.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeliveryView {
    /// The event's id.
    pub event_id: String,
    /// Such as `incident.opened`.
    pub event_type: String,
    /// Incident's number; none for tests.
    pub incident: Option<u64>,
    /// Target's name.
    pub target: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Unix nanoseconds at which the event was made.
    pub created_ns: i64,
    /// Unix nanoseconds of the last attempt.
    pub last_attempt_ns: Option<i64>,
    /// Unix nanoseconds of the next attempt.
    pub next_attempt_ns: Option<i64>,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Milliseconds that the last attempt took.
    pub duration_ms: Option<f64>,
    /// What went wrong last, in words; from the receiver, so hostile.
    pub error: Option<String>,
}
