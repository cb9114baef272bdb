//! The analysis as one task: committed spans in; transactions and hops back into the store, incidents to the notifier,
//! and a summary for the pages. It alone owns the analyzer; started by `serve`, before anything is received.

use std::sync::Arc;
use std::time::Duration;

use analyzer::detect::IncidentChange;
use analyzer::incident::{Incident, IncidentEvent};
use analyzer::{Analyzer, AnalyzerLimits, Outcome, Summary, Transaction};
use anyhow::Context as _;
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampNanosecondType;
use collector_store::{AppendError, Committed, CommittedReceiver, QueryParam, Store};
use collector_table::{
    HopFields, HopTableBuilder, SegmentFields, SpanTable, TableName, TransactionFields, TransactionTableBuilder,
};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::now_ns;
use crate::incident_table;
use crate::notify::Notifier;
use crate::state::{Happening, State};
use crate::telemetry::error_chain;

/// How often time moves on and the summary is renewed.
const TICK: Duration = Duration::from_millis(500);
/// History that is read back at start, so that what is usual need not be learned again.
const WARM_UP_NS: i64 = 45 * 60 * 1_000_000_000;
/// Event time that one query of the history covers.
const WARM_UP_STEP_NS: i64 = 15 * 1_000_000_000;
/// Longest that reading back may take; then the rest is learned live.
const WARM_UP_MAX: Duration = Duration::from_secs(30);
/// Incidents that are taken over from before a restart.
const INCIDENTS_RESTORED: usize = 100;
/// Spans that end this short before the last one may have been judged too late before a restart.
const JUDGED_MARGIN_NS: i64 = 30 * 1_000_000_000;
/// Pause before a change that could not be saved is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Tries to save a change before it is given up and logged: about a minute.
const RETRIES_MAX: u32 = 60;

/// The analysis and everything it writes to.
pub struct Analysis {
    analyzer: Analyzer,
    store: Store,
    notifier: Notifier,
    summary: watch::Sender<Arc<Summary>>,
    public_url: String,
}

impl Analysis {
    /// Takes over incidents and reads back recent history; nothing opens for the time before.
    ///
    /// # Errors
    /// When the state or the store cannot be read.
    pub async fn start(
        limits: AnalyzerLimits,
        store: Store,
        state: &State,
        notifier: Notifier,
        public_url: String,
    ) -> anyhow::Result<(Self, watch::Receiver<Arc<Summary>>)> {
        let (summary, watched) = watch::channel(Arc::new(Summary::default()));
        let mut analysis = Self { analyzer: Analyzer::new(limits), store, notifier, summary, public_url };
        let incidents = state.load_incidents(INCIDENTS_RESTORED).await.context("loading incidents")?;
        let next_number = state.next_number().await.context("numbering incidents")?;
        let last_ns = analysis.last_span_ns().await?;
        let judged_ns = last_ns.map_or(i64::MIN, |last_ns| last_ns - JUDGED_MARGIN_NS);
        analysis.analyzer.restore(incidents, next_number, judged_ns);
        if let Some(last_ns) = last_ns {
            analysis.warm_up(last_ns).await?;
        }
        analysis.publish();
        Ok((analysis, watched))
    }

    async fn last_span_ns(&self) -> anyhow::Result<Option<i64>> {
        let found = self.store.query("SELECT max(end_time) FROM spans").await.context("finding the last span")?;
        let column = found.batches.first().map(|batch| batch.column(0).clone());
        let times = column.as_ref().and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
        Ok(times.filter(|times| !times.is_empty() && times.is_valid(0)).map(|times| times.value(0).min(now_ns())))
    }

    async fn warm_up(&mut self, last_ns: i64) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut from_ns = last_ns - WARM_UP_NS;
        while from_ns <= last_ns {
            let to_ns = from_ns + WARM_UP_STEP_NS;
            let range = vec![QueryParam::TimestampNs(from_ns), QueryParam::TimestampNs(to_ns)];
            let sql = "SELECT * FROM spans WHERE end_time >= $1 AND end_time < $2 ORDER BY end_time";
            let found = self.store.query_with(sql, range).await.context("reading back recent spans")?;
            for batch in found.batches {
                let table = SpanTable::from_batch(batch).context("reading back recent spans")?;
                let outcome = self.analyzer.push(&table, to_ns.min(last_ns));
                self.keep(outcome).await;
            }
            if began.elapsed() > WARM_UP_MAX {
                tracing::warn!("reading back recent spans took too long; what is usual is learned from now on");
                break;
            }
            from_ns = to_ns;
        }
        tracing::info!(took_ms = began.elapsed().as_millis(), "recent spans were read back");
        Ok(())
    }

    /// Analyses what is committed until the store is closed.
    pub async fn run(mut self, mut committed: CommittedReceiver) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = committed.recv() => match received {
                    Some(received) => self.take(received).await,
                    None => break,
                },
                _ = tick.tick() => {
                    let outcome = self.analyzer.advance(now_ns());
                    self.keep(outcome).await;
                    self.publish();
                }
            }
        }
    }

    async fn take(&mut self, committed: Committed) {
        // What the log still held was read back with the rest of the history.
        if committed.table != TableName::Spans || committed.is_replay {
            return;
        }
        match SpanTable::from_batch(committed.rows) {
            Ok(table) => {
                let outcome = self.analyzer.push(&table, now_ns());
                self.keep(outcome).await;
            }
            Err(error) => tracing::error!(error = error_chain(&error), "committed spans cannot be read"),
        }
    }

    async fn keep(&mut self, outcome: Outcome) {
        if !outcome.transactions.is_empty() {
            let (transactions, hops) = tables(&outcome.transactions);
            for (table, rows) in [(TableName::Transactions, transactions), (TableName::Hops, hops)] {
                match self.store.append_derived(table, rows).await {
                    // What is not kept at the end is derived again at the next start.
                    Ok(()) | Err(AppendError::Closed) => {}
                    Err(error) => tracing::warn!(error = error_chain(&error), %table, "derived rows were not kept"),
                }
            }
        }
        let has_changes = !outcome.changes.is_empty();
        for change in outcome.changes {
            self.tell(change).await;
        }
        if has_changes {
            self.publish();
        }
    }

    /// Saves a change together with its deliveries; tries again while the state cannot be written.
    async fn tell(&self, change: IncidentChange) {
        let incident = with_url(&self.public_url, change.incident);
        match change.event {
            IncidentEvent::Opened => tracing::warn!(number = incident.number, "incident: {}", incident.title),
            IncidentEvent::Updated => tracing::info!(number = incident.number, "incident changed: {}", incident.title),
            IncidentEvent::Resolved => tracing::info!(number = incident.number, "incident resolved"),
        }
        let happening = Happening { incident, event: change.event, event_time_ns: now_ns() };
        for _ in 0..RETRIES_MAX {
            match self.notifier.tell(&happening).await {
                Ok(_) => return,
                Err(error) => tracing::error!(error = error_chain(&error), "an incident's change was not saved yet"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        tracing::error!(number = happening.incident.number, "an incident's change is given up");
    }

    /// Shows the present state to pages and SQL.
    fn publish(&self) {
        let mut summary = self.analyzer.summary();
        summary.incidents = summary.incidents.into_iter().map(|one| with_url(&self.public_url, one)).collect();
        self.store.publish(incident_table::INCIDENTS, incident_table::rows(&summary.incidents));
        self.summary.send_replace(Arc::new(summary));
    }
}

fn with_url(public_url: &str, mut incident: Incident) -> Incident {
    incident.url = format!("{public_url}/incidents/{}", incident.number);
    incident
}

/// Returns the rows of transactions and of their hops.
fn tables(transactions: &[Transaction]) -> (arrow::array::RecordBatch, arrow::array::RecordBatch) {
    let mut rows = TransactionTableBuilder::default();
    let mut hops = HopTableBuilder::default();
    for transaction in transactions {
        append_transaction(&mut rows, transaction);
        append_hops(&mut hops, transaction);
    }
    (rows.finish(), hops.finish())
}

fn append_transaction(rows: &mut TransactionTableBuilder, transaction: &Transaction) {
    let root = transaction.root_span();
    let mut services: Vec<&str> = Vec::new();
    for span in &transaction.spans {
        if !services.contains(&&*span.service) {
            services.push(&span.service);
        }
    }
    let segment = |segment: &analyzer::transaction::Segment| {
        let owner = &transaction.spans[segment.span];
        SegmentFields {
            service_name: &owner.service,
            operation: &owner.operation,
            cause: segment.cause.as_str(),
            self_ns: segment.end_ns - segment.start_ns,
        }
    };
    let errors = transaction.spans.iter().filter(|span| span.has_error).count();
    rows.append(&TransactionFields {
        transaction_id: transaction.id,
        revision: transaction.revision,
        service_name: &root.service,
        operation: &root.operation,
        started_ns: transaction.started_ns,
        duration_ns: transaction.duration_ns,
        status: if transaction.has_error() { "error" } else { "ok" },
        is_complete: transaction.is_complete,
        close_reason: transaction.close_reason.as_str(),
        spans_count: u32::try_from(transaction.spans.len()).unwrap_or(u32::MAX),
        errors_count: u32::try_from(errors).unwrap_or(u32::MAX),
        path_id: &format!("{:016x}", transaction.path_id),
        clock_skew_ns: transaction.clock_skew_ns,
        trace_ids: &[transaction.id],
        services: &services,
        critical_path: &transaction.critical_path.iter().map(segment).collect::<Vec<_>>(),
    });
}

fn append_hops(rows: &mut HopTableBuilder, transaction: &Transaction) {
    for hop in &transaction.hops {
        let caller = &transaction.spans[hop.caller];
        let callee = hop.callee.map(|callee| &transaction.spans[callee]);
        let peer = caller.peer.as_deref().unwrap_or("(unknown)");
        rows.append(&HopFields {
            transaction_id: transaction.id,
            revision: transaction.revision,
            trace_id: caller.trace_id,
            span_id: caller.span_id,
            kind: hop.kind.as_str(),
            caller_service: &caller.service,
            caller_operation: &caller.operation,
            callee_service: callee.map_or(peer, |callee| &callee.service),
            callee_operation: callee.map_or(&caller.operation, |callee| &callee.operation),
            is_instrumented: callee.is_some(),
            start_ns: caller.start_ns,
            duration_ns: caller.duration_ns(),
            callee_duration_ns: callee.map(analyzer::transaction::Span::duration_ns),
            gap_ns: hop.gap_ns,
            has_error: caller.has_error || callee.is_some_and(|callee| callee.has_error),
        });
    }
}
