//! Webhook targets and deliveries: what the daemon's outbox offers to pages and the API, as plain data and one trait.

use askama::Template;
use axum::extract::Query;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::incidents::Badge;
use crate::page::{Frame, PageResult, Shared, render};
use crate::{format, text};

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
    /// Signing secret, `whsec_` and base64; bodies go unsigned when left out.
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

/// Deliveries shown on their page.
const DELIVERIES_MAX: usize = 200;

/// A delivery in one table row.
pub(crate) struct DeliveryLine {
    pub(crate) at: String,
    pub(crate) event: String,
    /// Page and label of the incident.
    pub(crate) incident: Option<(String, String)>,
    pub(crate) target: String,
    pub(crate) badge: Badge,
    pub(crate) outcome: String,
}

impl DeliveryLine {
    /// Makes the line.
    pub(crate) fn new(delivery: &DeliveryView, now_ns: i64) -> Self {
        let badge = match delivery.state.as_str() {
            "delivered" => Badge { shape: "✓", word: "delivered", class: "good" },
            "dead" => Badge { shape: "✕", word: "given up", class: "bad" },
            _ if delivery.attempts > 0 => Badge { shape: "▲", word: "retrying", class: "warn" },
            _ => Badge { shape: "○", word: "pending", class: "quiet" },
        };
        Self {
            at: format::moment(delivery.created_ns),
            event: delivery.event_type.clone(),
            incident: delivery.incident.map(|number| (format!("/incidents/{number}"), format!("#{number}"))),
            target: delivery.target.clone(),
            badge,
            outcome: outcome(delivery, now_ns),
        }
    }
}

/// Longest error text shown in a row, characters.
const ERROR_CHARS_MAX: usize = 300;

fn outcome(delivery: &DeliveryView, now_ns: i64) -> String {
    let mut parts = Vec::new();
    parts.extend(delivery.status.map(|status| status.to_string()));
    parts.extend(delivery.error.as_deref().map(|error| text::shortened(error, ERROR_CHARS_MAX)));
    parts.extend(delivery.duration_ms.map(format::millis));
    if delivery.attempts > 0 {
        let attempts = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
        parts.push(format::counted(attempts, "attempt", "attempts"));
    }
    if let Some(next) = delivery.next_attempt_ns.filter(|_| delivery.state == "pending") {
        let is_due = next <= now_ns;
        parts.push(if is_due { "next now".to_owned() } else { format!("next {}", format::moment(next)) });
    }
    parts.join(", ")
}

/// The webhook targets.
#[derive(Template)]
#[template(path = "webhooks.html")]
struct WebhooksPage {
    frame: Frame,
    heading: String,
    webhooks: Vec<WebhookView>,
    deliveries: Vec<DeliveryLine>,
    example: String,
}

/// `GET /webhooks`.
pub(crate) async fn webhooks(state: Shared) -> PageResult {
    let webhooks = state.webhooks.list().await;
    let recent = DeliveryQuery { target: None, incident: None, limit: 10 };
    let deliveries = state.webhooks.deliveries(recent).await;
    let now_ns = (state.now_ns)();
    Ok(render(&WebhooksPage {
        frame: Frame::new("Webhooks", "/webhooks"),
        heading: format::counted(webhooks.len(), "webhook", "webhooks"),
        webhooks,
        deliveries: deliveries.iter().map(|delivery| DeliveryLine::new(delivery, now_ns)).collect(),
        example: format!(
            "curl -X POST {}/api/v1/webhooks \\\n  -H 'content-type: application/json' \\\n  -d '{{\"name\":\"on-call\",\"url\":\"https://example.com/hook\"}}'",
            state.endpoints.public_url
        ),
    }))
}

/// The deliveries.
#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesPage {
    frame: Frame,
    heading: String,
    deliveries: Vec<DeliveryLine>,
}

/// Parameters of the deliveries.
#[derive(Deserialize)]
pub(crate) struct DeliveryParams {
    target: Option<String>,
    incident: Option<u64>,
    live: Option<String>,
}

/// `GET /deliveries`.
pub(crate) async fn deliveries(state: Shared, Query(params): Query<DeliveryParams>) -> PageResult {
    let target = params.target.filter(|target| !target.is_empty());
    let incident = params.incident.map(|number| number.to_string()).unwrap_or_default();
    let here = text::url_with("/deliveries", &[("target", target.as_deref().unwrap_or("")), ("incident", &incident)]);
    let query = DeliveryQuery { target, incident: params.incident, limit: DELIVERIES_MAX };
    let found = state.webhooks.deliveries(query).await;
    let now_ns = (state.now_ns)();
    Ok(render(&DeliveriesPage {
        frame: Frame::new("Deliveries", "/webhooks").live(&here, params.live.as_deref()),
        heading: if found.len() == DELIVERIES_MAX {
            format!("The latest {DELIVERIES_MAX} deliveries")
        } else {
            format::counted(found.len(), "delivery", "deliveries")
        },
        deliveries: found.iter().map(|delivery| DeliveryLine::new(delivery, now_ns)).collect(),
    }))
}
