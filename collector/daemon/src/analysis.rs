//! The analysis as one task: committed spans in; transactions and hops back into the store, incidents to the notifier,
//! and a summary for the pages. It alone owns the analyzer; started by `serve`, before anything is received.
//! Must never wait for the state or for a receiver of webhooks: reception waits for the analysis.

mod derived;
mod history;
mod kept;
mod rows;
mod stored;
mod telling;

pub use telling::TellingCounts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use analyzer::detect::IncidentChange;
use analyzer::hazards::HazardReport;
use analyzer::incident::{Incident, IncidentEvent};
use analyzer::{Analyzer, AnalyzerLimits, Outcome, Summary};
use anyhow::Context as _;
use collector_store::{AppendError, Committed, CommittedReceiver, Store};
use collector_table::{LogTable, SpanTable, TableName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::now_ns;
use crate::notify::Notifier;
use crate::slices::only_time;
use crate::state::{Happening, State};
use crate::telemetry::error_chain;
use crate::{hazard_table, incident_table};
use derived::Derived;
use kept::{KEEP_EVERY, Kept};
use stored::StoredBefore;
use telling::Teller;

/// Tries to keep derived rows while the store is full: about a minute, longer than a seal takes.
const KEEP_TRIES_MAX: u32 = 240;
/// Pause between two tries.
const KEEP_PAUSE_MAX: Duration = Duration::from_millis(250);
/// How often time moves on without spans.
const TICK: Duration = Duration::from_millis(500);
/// How often the summary is renewed, and derived rows are kept.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Incidents that are taken over from before a restart.
const INCIDENTS_RESTORED: usize = 1_000;
/// Spans that end this short before the last one may have been judged too late before a restart.
const JUDGED_MARGIN_NS: i64 = 30 * 1_000_000_000;
/// Changes of incidents that wait to be saved; more are lost, and counted.
const CHANGES_MAX: usize = 1_000;
/// After this time every transaction that began before the start is closed, also for late spans.
const STORED_BEFORE_MATTERS: Duration = Duration::from_secs(15 * 60);

/// Incidents that wait to be closed as no problem; who asks for more waits.
const DISMISSALS_MAX: usize = 16;

/// Asks for an incident to be closed as no problem; the answer is how it is now, or nothing if it is not open.
#[derive(Debug)]
pub struct Dismissing {
    number: u64,
    answer: oneshot::Sender<Option<Incident>>,
}

/// The analysis and everything it writes to.
pub struct Analysis {
    analyzer: Analyzer,
    store: Store,
    stored: StoredBefore,
    derived: Derived,
    teller: Teller,
    lag: watch::Sender<Duration>,
    summary: watch::Sender<Arc<Summary>>,
    published: watch::Sender<Instant>,
    public_url: String,
    /// As SQL shows it now.
    hazards_shown: Option<Arc<HazardReport>>,
    dismissals: mpsc::Receiver<Dismissing>,
    kept: Kept,
    /// Writes what is usual.
    keeping: Option<JoinHandle<()>>,
}

/// What others see of the analysis.
#[derive(Clone)]
pub struct Watched {
    /// State of everything that is watched.
    pub summary: watch::Receiver<Arc<Summary>>,
    /// When the summary was last renewed.
    pub published: watch::Receiver<Instant>,
    /// How long the rows that were analysed last had waited for it.
    pub lag: watch::Receiver<Duration>,
    /// What went wrong while changes of incidents were saved.
    pub telling: Arc<TellingCounts>,
    /// Takes incidents that are no problem.
    pub dismissals: mpsc::Sender<Dismissing>,
}

impl Watched {
    /// Closes an incident as no problem.
    pub async fn dismiss(self, number: u64) -> web::Dismissal {
        let (answer, answered) = oneshot::channel();
        if self.dismissals.send(Dismissing { number, answer }).await.is_err() {
            return web::Dismissal::Unavailable;
        }
        match answered.await {
            Ok(Some(incident)) => web::Dismissal::Closed(Box::new(incident)),
            Ok(None) => web::Dismissal::NotOpen,
            Err(_) => web::Dismissal::Unavailable,
        }
    }
}

impl Analysis {
    /// Takes over incidents and reads back recent history; nothing opens for the time before. The task that is returned
    /// saves changes of incidents; it ends some time after the analysis.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn start(
        limits: AnalyzerLimits,
        store: Store,
        state: &State,
        notifier: Notifier,
        public_url: String,
        data_dir: &Path,
    ) -> anyhow::Result<(Self, Watched, JoinHandle<()>)> {
        let incidents = state.load_incidents(INCIDENTS_RESTORED).await.context("loading incidents")?;
        let next_number = state.next_number().await.context("numbering incidents")?;
        let (teller, telling) = Teller::start(notifier, store.clone(), CHANGES_MAX);
        let (summary, watched_summary) = watch::channel(Arc::new(Summary::default()));
        let (published, watched_published) = watch::channel(Instant::now());
        let (lag, watched_lag) = watch::channel(Duration::ZERO);
        let (asking, dismissals) = mpsc::channel(DISMISSALS_MAX);
        let watched = Watched {
            summary: watched_summary,
            published: watched_published,
            lag: watched_lag,
            telling: teller.counts(),
            dismissals: asking,
        };
        let analyzer = Analyzer::new(limits);
        let (stored, derived) = (StoredBefore::default(), Derived::default());
        let (hazards_shown, kept, keeping) = (None, Kept::in_folder(data_dir), None);
        let mut analysis = Self {
            analyzer,
            store,
            stored,
            derived,
            teller,
            lag,
            summary,
            published,
            public_url,
            hazards_shown,
            dismissals,
            kept,
            keeping,
        };
        let last_ns = analysis.last_span_ns().await;
        let history = last_ns.map(|last_ns| (history::from_ns(last_ns, &incidents), last_ns));
        let judged_ns = last_ns.map_or(i64::MIN, |last_ns| last_ns - JUDGED_MARGIN_NS);
        analysis.analyzer.restore(incidents, next_number, judged_ns);
        if let Some((from_ns, last_ns)) = history {
            analysis.recall(last_ns).await;
            analysis.read_back(from_ns, last_ns).await;
        }
        analysis.publish();
        Ok((analysis, watched, telling))
    }

    /// Returns when the last span started. A history that cannot be read is said and left out.
    async fn last_span_ns(&self) -> Option<i64> {
        let found = self.store.query("SELECT max(start_time) FROM spans").await;
        let found = found.inspect_err(|error| {
            tracing::warn!(error = error_chain(error), "the last span was not found; what is usual is learned anew");
        });
        only_time(&found.ok()?).map(|last_ns| last_ns.min(now_ns()))
    }

    /// Analyses what is committed until the store is closed.
    pub async fn run(mut self, mut committed: CommittedReceiver) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publish = tokio::time::interval(PUBLISH_EVERY);
        publish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keep = tokio::time::interval(KEEP_EVERY);
        let stored_matters_until = Instant::now() + STORED_BEFORE_MATTERS;
        loop {
            tokio::select! {
                received = committed.recv() => match received {
                    Some(received) => self.take(received).await,
                    None => break,
                },
                Some(asked) = self.dismissals.recv() => self.dismiss(asked),
                _ = tick.tick() => {
                    let outcome = self.analyzer.advance(now_ns());
                    self.keep(outcome).await;
                }
                _ = keep.tick() => self.keep_usual(),
                now = publish.tick() => {
                    self.keep_derived().await;
                    self.publish();
                    if now > stored_matters_until {
                        self.stored.clear();
                    }
                }
            }
        }
        self.keep_usual_at_end().await;
    }

    /// Closes an incident that is no problem, and shows that before it answers.
    fn dismiss(&mut self, asked: Dismissing) {
        let change = self.analyzer.dismiss(asked.number);
        let incident = change.as_ref().map(|change| with_url(&self.public_url, change.incident.clone()));
        if let Some(change) = change {
            self.tell(change);
            self.publish();
        }
        // Who asked may be gone.
        let _ = asked.answer.send(incident);
    }

    async fn take(&mut self, committed: Committed) {
        // What the log still held was read back with the rest of the history.
        if committed.is_replay {
            return;
        }
        match committed.table {
            TableName::Spans => self.take_spans(committed).await,
            TableName::Logs => match LogTable::from_batch(committed.rows) {
                Ok(table) => self.analyzer.push_logs(&table, now_ns()),
                Err(error) => tracing::error!(error = error_chain(&error), "committed log records cannot be read"),
            },
            _ => {}
        }
    }

    async fn take_spans(&mut self, committed: Committed) {
        match SpanTable::from_batch(committed.rows) {
            Ok(table) => {
                let outcome = self.analyzer.push(&table, now_ns());
                self.keep(outcome).await;
                self.lag.send_replace(committed.at.elapsed());
            }
            Err(error) => tracing::error!(error = error_chain(&error), "committed spans cannot be read"),
        }
    }

    /// Keeps derived rows; while the store is full, waits for the next seal to make room. Senders are asked to come back
    /// later meanwhile, because nobody reads what they send.
    async fn keep_derived(&mut self) {
        let rows = self.derived.take();
        if rows.is_empty() {
            return;
        }
        for _ in 0..KEEP_TRIES_MAX {
            match self.store.append_derived(rows.clone()).await {
                // What is not kept at the end is derived again at the next start.
                Ok(()) | Err(AppendError::Closed) => return,
                Err(AppendError::Busy { retry_after } | AppendError::NoSpace { retry_after }) => {
                    tokio::time::sleep(retry_after.min(KEEP_PAUSE_MAX)).await;
                }
                Err(error) => return tracing::error!(error = error_chain(&error), "derived rows do not fit"),
            }
        }
        tracing::warn!("the store stayed full; derived rows are left to the next start");
    }

    async fn keep(&mut self, outcome: Outcome) {
        for transaction in self.stored.only_news(outcome.transactions) {
            self.derived.add(&transaction);
        }
        if self.derived.is_full() {
            self.keep_derived().await;
        }
        for change in outcome.changes {
            self.tell(change);
        }
    }

    /// Logs a change and hands it over to be saved together with its deliveries.
    fn tell(&self, change: IncidentChange) {
        let incident = with_url(&self.public_url, change.incident);
        match change.event {
            IncidentEvent::Opened => tracing::warn!(number = incident.number, "incident: {}", incident.title),
            IncidentEvent::Updated => tracing::info!(number = incident.number, "incident changed: {}", incident.title),
            IncidentEvent::Resolved => tracing::info!(number = incident.number, "incident resolved"),
        }
        self.teller.tell(Happening { incident, event: change.event, event_time_ns: now_ns() });
    }

    /// Shows the present state to pages and SQL.
    fn publish(&mut self) {
        let mut summary = self.analyzer.summary();
        summary.incidents = summary.incidents.into_iter().map(|one| with_url(&self.public_url, one)).collect();
        self.store.publish(incident_table::INCIDENTS, incident_table::rows(&summary.incidents));
        if self.hazards_shown.as_ref().is_none_or(|shown| !Arc::ptr_eq(shown, &summary.hazards)) {
            self.store.publish(hazard_table::HAZARDS, hazard_table::rows(&summary.hazards));
            self.store.publish(hazard_table::CHAINS, hazard_table::chain_rows(&summary.hazards));
            self.hazards_shown = Some(summary.hazards.clone());
        }
        self.summary.send_replace(Arc::new(summary));
        self.published.send_replace(Instant::now());
    }
}

fn with_url(public_url: &str, mut incident: Incident) -> Incident {
    incident.url = format!("{public_url}/incidents/{}", incident.number);
    incident
}
