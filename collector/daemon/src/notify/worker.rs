//! One target's worker: takes the next delivery that is due, attempts it, notes the outcome, sleeps until there is more.
//! Started and stopped by the notifier. Knows no other target, so none can delay it.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::attempt::{self, Timeouts};
use super::schedule::RetryPolicy;
use super::{Clock, EgressGuard, NotifyConfig, Signals, Target};
use crate::state::{AttemptRecord, DueDelivery, NextStep, State, StateError};
use crate::telemetry::error_chain;

/// Pause when the state cannot be read or written, for example because the disk is full.
const STATE_PAUSE: Duration = Duration::from_secs(5);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Plan {
    state: State,
    guard: EgressGuard,
    retry: RetryPolicy,
    timeouts: Timeouts,
    clock: Clock,
    signals: Signals,
}

/// Delivers to one target.
pub(super) struct Worker {
    plan: Plan,
    target: Target,
    queued: watch::Receiver<()>,
}

impl Worker {
    /// Returns what workers share.
    pub(super) fn plan(state: State, config: NotifyConfig, signals: Signals) -> Plan {
        let NotifyConfig { guard, retry, timeouts, clock, .. } = config;
        Plan { state, guard, retry, timeouts, clock, signals }
    }

    /// Returns a worker for a target.
    pub(super) fn new(plan: &Plan, target: Target) -> Self {
        Self { plan: plan.clone(), target, queued: plan.signals.queued.subscribe() }
    }

    /// Delivers until it is stopped from outside. It may be stopped anywhere: what was not noted is sent again.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(cause) = self.step().await {
                let (target, cause) = (&self.target.name, error_chain(&cause));
                tracing::error!(target, cause, "the outbox cannot be used; deliveries wait");
                tokio::time::sleep(STATE_PAUSE).await;
            }
        }
    }

    /// Attempts the next delivery if it is due, or waits until one may be.
    async fn step(&mut self) -> Result<(), StateError> {
        // Marked before looking, so that what is queued while we look wakes us again.
        self.queued.mark_unchanged();
        let next = self.plan.state.next_delivery(self.target.name.clone()).await?;
        let now_ms = (self.plan.clock)();
        match next {
            Some(delivery) if delivery.next_attempt_ms <= now_ms => self.attempt(&delivery, now_ms).await,
            Some(delivery) => {
                let wait_ms = u64::try_from(delivery.next_attempt_ms - now_ms).unwrap_or(0);
                let _ = tokio::time::timeout(Duration::from_millis(wait_ms), self.queued.changed()).await;
                Ok(())
            }
            None => {
                // The sender lives as long as the worker's plan.
                let _ = self.queued.changed().await;
                Ok(())
            }
        }
    }

    async fn attempt(&self, delivery: &DueDelivery, now_ms: i64) -> Result<(), StateError> {
        let started = Instant::now();
        let attempt = attempt::send(&self.plan.guard, self.plan.timeouts, &self.target, delivery, now_ms).await;
        let next = self.plan.retry.next_step(delivery, attempt.answer, (self.plan.clock)());
        self.log(delivery, next, attempt.error.as_deref());
        let record = AttemptRecord {
            at_ms: now_ms,
            duration_ms: started.elapsed().as_secs_f64() * 1000.0,
            status: attempt.status(),
            error: attempt.error,
            answer: attempt.text,
            next,
        };
        self.plan.state.record_attempt(delivery.seq, record).await?;
        self.plan.signals.attempted.send_replace(());
        Ok(())
    }

    fn log(&self, delivery: &DueDelivery, next: NextStep, error: Option<&str>) {
        let (target, event, attempt) = (&self.target.name, &delivery.event_id, delivery.attempts + 1);
        match next {
            NextStep::Delivered => tracing::debug!(target, event, attempt, "webhook delivered"),
            NextStep::RetryAt { .. } => tracing::warn!(target, event, attempt, error, "webhook waits for a retry"),
            NextStep::GiveUp => tracing::error!(target, event, attempt, error, "webhook given up"),
            NextStep::DisableTarget => tracing::error!(target, event, attempt, error, "webhook target disabled"),
        }
    }
}
