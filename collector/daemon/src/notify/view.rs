//! The notifier as the pages and the HTTP API see it: the same targets and deliveries in `web`'s words and units.
//! Called by `web` through its trait. Must never hand out a secret: addresses are masked, and a secret is only a fact.

use futures::future::{BoxFuture, FutureExt as _};
use web::{
    AddWebhookError, DeliveryQuery, DeliveryView, NewWebhook, TestOutcome, TestWebhook, TestWebhookError, WebhookView,
    Webhooks,
};

use super::{AddTargetError, Notifier, PRESET_STANDARD, Secret, Target, TestError};
use crate::state::{DeliveryFilter, DeliveryRow, DeliveryState, StoredTarget, TargetOrigin};
use crate::telemetry::error_chain;

const NS_PER_MS: i64 = 1_000_000;

impl Webhooks for Notifier {
    fn list(&self) -> BoxFuture<'_, Vec<WebhookView>> {
        async {
            let targets = self.list_targets().await.unwrap_or_else(|cause| {
                tracing::error!(cause = error_chain(&cause), "webhooks cannot be listed");
                Vec::new()
            });
            targets.iter().map(webhook_view).collect()
        }
        .boxed()
    }

    fn deliveries(&self, query: DeliveryQuery) -> BoxFuture<'_, Vec<DeliveryView>> {
        async move {
            let DeliveryQuery { target, incident, limit } = query;
            let filter = DeliveryFilter { target, incident, event_id: None, limit };
            let rows = self.list_deliveries(filter).await.unwrap_or_else(|cause| {
                tracing::error!(cause = error_chain(&cause), "deliveries cannot be listed");
                Vec::new()
            });
            rows.into_iter().map(delivery_view).collect()
        }
        .boxed()
    }

    fn add(&self, webhook: NewWebhook) -> BoxFuture<'_, Result<WebhookView, AddWebhookError>> {
        async move {
            let target = checked(&webhook).map_err(AddWebhookError::Refused)?;
            match self.add_target(target).await {
                Ok(stored) => Ok(webhook_view(&stored)),
                Err(AddTargetError::NameExists) => Err(AddWebhookError::NameExists),
                Err(AddTargetError::State(cause)) => Err(AddWebhookError::Unavailable(cause.into())),
                Err(refusal) => Err(AddWebhookError::Refused(error_chain(&refusal))),
            }
        }
        .boxed()
    }

    fn test(&self, name: String, test: TestWebhook) -> BoxFuture<'_, Result<TestOutcome, TestWebhookError>> {
        async move {
            match Notifier::test(self, &name, test.key, test.retry).await {
                Ok(row) => Ok(test_outcome(row)),
                Err(TestError::Unknown) => Err(TestWebhookError::Unknown),
                Err(cause) => Err(TestWebhookError::Unavailable(cause.into())),
            }
        }
        .boxed()
    }
}

fn checked(webhook: &NewWebhook) -> Result<Target, String> {
    if let Some(preset) = webhook.preset.as_deref().filter(|preset| *preset != PRESET_STANDARD) {
        return Err(format!("there is no preset {preset:?}; there is {PRESET_STANDARD}"));
    }
    let secret = webhook.secret.as_deref().map(Secret::parse).transpose().map_err(|wrong| wrong.to_string())?;
    Target::new(&webhook.name, &webhook.url, secret, Vec::new()).map_err(|wrong| wrong.0)
}

fn webhook_view(stored: &StoredTarget) -> WebhookView {
    WebhookView {
        name: stored.target.name.clone(),
        url: stored.target.shown_url(),
        preset: PRESET_STANDARD.to_owned(),
        is_signed: stored.target.secret.is_some(),
        origin: match stored.origin {
            TargetOrigin::File => "file".to_owned(),
            TargetOrigin::Api => "api".to_owned(),
        },
        problem: stored.unusable.clone().or_else(|| stored.disabled.clone()).or_else(|| stored.problem.clone()),
    }
}

fn delivery_view(row: DeliveryRow) -> DeliveryView {
    DeliveryView {
        event_id: row.event_id,
        event_type: row.event_type,
        incident: row.incident,
        target: row.target,
        state: match row.state {
            DeliveryState::Pending => "pending".to_owned(),
            DeliveryState::Delivered => "delivered".to_owned(),
            DeliveryState::Dead => "dead".to_owned(),
        },
        attempts: row.attempts,
        created_ns: row.created_ms.saturating_mul(NS_PER_MS),
        last_attempt_ns: row.last_attempt_ms.map(|ms| ms.saturating_mul(NS_PER_MS)),
        next_attempt_ns: row.next_attempt_ms.map(|ms| ms.saturating_mul(NS_PER_MS)),
        status: row.status,
        duration_ms: row.duration_ms,
        error: row.error,
    }
}

fn test_outcome(row: DeliveryRow) -> TestOutcome {
    TestOutcome {
        event_id: row.event_id,
        is_delivered: row.state == DeliveryState::Delivered,
        status: row.status,
        duration_ms: row.duration_ms,
        error: row.error,
    }
}
