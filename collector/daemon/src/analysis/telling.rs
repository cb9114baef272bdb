//! Saves each change of an incident and queues its deliveries, in order, and has the traces that it names kept longer.
//! In a task of its own: a state that cannot be written must never hold up the analysis, and with it reception.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use analyzer::Incident;
use collector_store::Store;
use collector_table::TraceId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use crate::notify::Notifier;
use crate::state::{Happening, StateError};
use crate::telemetry::error_chain;

/// Pause before a change that could not be saved is tried again; doubled with each try.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The analysis' end of the queue. When the last one is dropped, the task saves what waits and ends.
pub(super) struct Teller {
    queue: mpsc::Sender<Happening>,
    counts: Arc<TellingCounts>,
}

/// What became of changes of incidents.
#[derive(Debug, Default)]
pub struct TellingCounts {
    saved: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

impl TellingCounts {
    /// Returns how many changes were saved.
    pub fn saved(&self) -> u64 {
        self.saved.load(Relaxed)
    }

    /// Returns how many tries to save a change failed; each is tried again.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Returns how many changes were given up: too many waited, or the state is gone.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn lose(&self, happening: &Happening, reason: &str) {
        self.lost.fetch_add(1, Relaxed);
        tracing::error!(number = happening.incident.number, "an incident's change is given up: {reason}");
    }
}

impl Teller {
    /// Starts the task; at most `changes_max` changes wait for it.
    pub(super) fn start(notifier: Notifier, store: Store, changes_max: usize) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(changes_max);
        let counts = Arc::new(TellingCounts::default());
        let task = tokio::spawn(tell_all(notifier, store, waiting, Arc::clone(&counts)));
        (Self { queue, counts }, task)
    }

    /// Hands a change over without waiting. When too many wait it is lost, which is counted.
    pub(super) fn tell(&self, happening: Happening) {
        match self.queue.try_send(happening) {
            Ok(()) => {}
            Err(TrySendError::Full(happening)) => self.counts.lose(&happening, "too many wait to be saved"),
            Err(TrySendError::Closed(happening)) => self.counts.lose(&happening, "nobody saves them any more"),
        }
    }

    /// Returns what went wrong so far.
    pub(super) fn counts(&self) -> Arc<TellingCounts> {
        Arc::clone(&self.counts)
    }
}

async fn tell_all(
    notifier: Notifier,
    store: Store,
    mut waiting: mpsc::Receiver<Happening>,
    counts: Arc<TellingCounts>,
) {
    'next: while let Some(happening) = waiting.recv().await {
        keep_evidence(&store, &happening.incident).await;
        let mut pause = RETRY_PAUSE;
        while let Err(error) = notifier.tell(&happening).await {
            if matches!(error, StateError::Stopped { .. }) {
                counts.lose(&happening, "the state is closed");
                continue 'next;
            }
            counts.failed.fetch_add(1, Relaxed);
            tracing::error!(error = error_chain(&error), "an incident's change was not saved yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
        counts.saved.fetch_add(1, Relaxed);
    }
}

/// Has the traces that an incident names outlive ordinary retention: affected ones, usual ones, and those of log lines.
async fn keep_evidence(store: &Store, incident: &Incident) {
    let lines = incident.evidence.logs.iter().flat_map(|log| &log.examples);
    let named =
        incident.exemplars.iter().map(|one| &one.trace_id).chain(lines.filter_map(|line| line.trace_id.as_ref()));
    let traces: Vec<TraceId> = named.filter_map(|id| id.parse().ok()).collect();
    if traces.is_empty() {
        return;
    }
    if let Err(error) = store.keep_evidence(traces).await {
        // The store has noted them until the next start, and every further change of the incident tries again.
        tracing::warn!(error = error_chain(&error), number = incident.number, "evidence is not yet kept durably");
    }
}

#[cfg(test)]
mod tests;
