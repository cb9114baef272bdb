//! Tells people: from the durable outbox to webhook receivers, signed as in Standard Webhooks, at least once, in order
//! per target and incident. Started by `serve`; given every change of an incident; asked by the pages and the API.
//! Must never call an address that the egress guard refuses, follow a redirect, or let one target delay another.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::state::{
    DeliveryFilter, DeliveryRow, DeliveryState, Happening, Recorded, State, StateError, StoredTarget, TargetOrigin,
    TestEvent,
};
use worker::Worker;

pub use attempt::Timeouts;
pub(crate) use attempt::install_tls;
pub use guard::{AllowRule, AllowRuleError, EgressGuard, GuardError, Lookup};
pub use schedule::RetryPolicy;
pub use secret::{Secret, SecretError};
pub use target::{EVENT_TYPES, PRESET_STANDARD, Target, TargetError};

/// Targets at most; each has a task of its own.
pub const TARGETS_MAX: usize = 200;
/// Added targets that wait for their task; whoever adds one more waits.
const ADDED_MAX: usize = 16;

/// Returns Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the notifier needs.
#[derive(Clone)]
pub struct NotifyConfig {
    /// Targets from the configuration.
    pub targets: Vec<Target>,
    /// Which addresses may be called.
    pub guard: EgressGuard,
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// How long a receiver may take.
    pub timeouts: Timeouts,
    /// What time it is.
    pub clock: Clock,
}

/// Handle to the notifier; clones share it.
#[derive(Clone)]
pub struct Notifier {
    state: State,
    guard: EgressGuard,
    clock: Clock,
    timeouts: Timeouts,
    added: mpsc::Sender<Target>,
    signals: Signals,
}

/// How the handle and the workers wake each other.
#[derive(Clone)]
struct Signals {
    /// Something is new in the outbox.
    queued: watch::Sender<()>,
    /// An attempt was recorded.
    attempted: watch::Sender<()>,
}

/// Why a target was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddTargetError {
    /// The name is taken.
    #[error("a webhook with this name exists")]
    NameExists,
    /// There are as many as there may be.
    #[error("there are {TARGETS_MAX} webhooks already; remove one first")]
    TooMany,
    /// A part of it cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its address may not be called.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// It was not stored.
    #[error("storing the webhook")]
    State(#[from] StateError),
}

/// Why there was no test.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// There is no such target.
    #[error("there is no webhook with this name")]
    Unknown,
    /// It must not be called.
    #[error("the webhook cannot be used: {0}")]
    Unusable(String),
    /// It was not queued.
    #[error("sending the test event")]
    State(#[from] StateError),
}

impl NotifyConfig {
    /// Returns the usual schedule, timeouts and clock.
    pub fn new(targets: Vec<Target>, egress_allow: Vec<AllowRule>) -> Self {
        Self {
            targets,
            guard: EgressGuard::new(egress_allow),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            clock: Arc::new(|| jiff::Timestamp::now().as_millisecond()),
        }
    }
}

impl Notifier {
    /// Stores the configured targets and starts delivering. The task ends when `shutdown` becomes true or its sender is
    /// gone; an attempt that is under way then is dropped and made again, with the same id, at the next start.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub async fn start(
        state: State,
        config: NotifyConfig,
        shutdown: watch::Receiver<bool>,
    ) -> Result<(Self, JoinHandle<()>), StateError> {
        attempt::install_tls();
        state.sync_targets(config.targets.clone()).await?;
        let targets = state.targets().await?;
        let (added, waiting) = mpsc::channel(ADDED_MAX);
        let signals = Signals { queued: watch::Sender::new(()), attempted: watch::Sender::new(()) };
        let notifier = Self {
            state: state.clone(),
            guard: config.guard.clone(),
            clock: config.clock.clone(),
            timeouts: config.timeouts,
            added,
            signals: signals.clone(),
        };
        let plan = Worker::plan(state, config, signals);
        let targets = targets.into_iter().filter_map(usable).collect();
        let task = tokio::spawn(supervise(plan, targets, waiting, shutdown));
        Ok((notifier, task))
    }

    /// Saves a change of an incident and queues it for every target that wants it, in one transaction. A change that
    /// was told before is not told again.
    ///
    /// # Errors
    /// When nothing was saved; the caller tries again.
    pub async fn tell(&self, happening: &Happening) -> Result<Recorded, StateError> {
        let body = json!({
            "type": happening.event.type_name(),
            "timestamp": rfc3339(i128::from(happening.event_time_ns)),
            "data": happening.incident,
        });
        let recorded = self.state.record(happening, body.to_string(), (self.clock)()).await?;
        self.signals.queued.send_replace(());
        Ok(recorded)
    }

    /// Adds a target whose address the egress guard lets through, and starts delivering to it.
    ///
    /// # Errors
    /// When the name is taken, the address is refused, or it was not stored.
    pub async fn add_target(&self, target: Target) -> Result<StoredTarget, AddTargetError> {
        let targets = self.state.targets().await?;
        if targets.iter().any(|stored| stored.target.name == target.name) {
            return Err(AddTargetError::NameExists);
        }
        if targets.len() >= TARGETS_MAX {
            return Err(AddTargetError::TooMany);
        }
        self.guard.check(&target.url).await?;
        if !self.state.add_target(target.clone()).await? {
            return Err(AddTargetError::NameExists);
        }
        // Nobody is there to take it only at shutdown; the next start delivers to it.
        let _ = self.added.send(target.clone()).await;
        Ok(StoredTarget { target, origin: TargetOrigin::Api, disabled: None, unusable: None, problem: None })
    }

    /// Sends a test event to one target through the very same pipeline, and returns its delivery after the first
    /// attempt (or as it is, when that takes too long). The same key is the same event; a key is made up when left out.
    ///
    /// # Errors
    /// When there is no such target, it must not be called, or it was not queued.
    pub async fn test(&self, name: &str, key: Option<String>, may_retry: bool) -> Result<DeliveryRow, TestError> {
        let stored = self.state.targets().await?.into_iter().find(|stored| stored.target.name == name);
        if let Some(why) = stored.ok_or(TestError::Unknown)?.unusable {
            return Err(TestError::Unusable(why));
        }
        let now_ms = (self.clock)();
        let body = json!({
            "type": "test",
            "timestamp": rfc3339(i128::from(now_ms) * 1_000_000),
            "data": {"message": "This is a test from Throughline. Nothing is wrong.", "target": name},
        });
        let mut attempted = self.signals.attempted.subscribe();
        let key = key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let test = TestEvent { target: name.to_owned(), key, may_retry, body: body.to_string() };
        let event_id = self.state.enqueue_test(test, now_ms).await?;
        self.signals.queued.send_replace(());
        let patience = tokio::time::sleep(self.timeouts.total + Duration::from_secs(5));
        tokio::pin!(patience);
        loop {
            let row = self.test_delivery(name, &event_id).await?;
            if row.state != DeliveryState::Pending || row.last_attempt_ms.is_some() {
                return Ok(row);
            }
            tokio::select! {
                _ = attempted.changed() => {}
                () = &mut patience => return Ok(row),
            }
        }
    }

    /// Returns every target and how it is doing, by name.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn list_targets(&self) -> Result<Vec<StoredTarget>, StateError> {
        self.state.targets().await
    }

    /// Returns deliveries that fit, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn list_deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryRow>, StateError> {
        self.state.deliveries(filter).await
    }

    async fn test_delivery(&self, target: &str, event_id: &str) -> Result<DeliveryRow, TestError> {
        let filter = DeliveryFilter {
            target: Some(target.to_owned()),
            event_id: Some(event_id.to_owned()),
            limit: 1,
            ..DeliveryFilter::default()
        };
        // A delivery is only forgotten long after it was finished, or when its target was removed meanwhile.
        self.state.deliveries(filter).await?.pop().ok_or(TestError::Unknown)
    }
}

/// Returns the target if it may be called; otherwise it is shown and gets no worker.
fn usable(stored: StoredTarget) -> Option<Target> {
    if let Some(why) = stored.unusable {
        tracing::error!(target = stored.target.name, why, "webhook target cannot be used; its events wait");
        return None;
    }
    Some(stored.target)
}

/// Keeps one worker for each target until shutdown.
async fn supervise(
    plan: worker::Plan,
    targets: Vec<Target>,
    mut added: mpsc::Receiver<Target>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut workers = JoinSet::new();
    for target in targets {
        workers.spawn(Worker::new(&plan, target).run());
    }
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|is_down| *is_down) => break,
            target = added.recv() => match target {
                Some(target) => { workers.spawn(Worker::new(&plan, target).run()); }
                None => break,
            },
        }
    }
    workers.shutdown().await;
}

fn rfc3339(unix_ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

mod address;
mod attempt;
mod guard;
mod schedule;
mod secret;
mod target;
mod view;
mod worker;

#[cfg(test)]
mod tests;
