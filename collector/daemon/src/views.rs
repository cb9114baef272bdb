//! What the pages and `/metrics` are shown of the daemon's parts, read from their owners when asked.

use std::sync::Arc;
use std::time::Duration;

use collector_otlp::Signal;
use collector_receiver::{Cause, ComplaintRow, Ledger, LedgerSnapshot};
use collector_store::{Store, StoreStats};
use tokio::sync::watch;
use tokio::time::Instant;
use web::{IngestView, Refusal, SenderView, SignalView, StoreView};

use crate::analysis::Watched;
use crate::budget::Budget;
use crate::clock::{now_ns, to_ns};
use crate::memory::Memory;
use crate::metrics::{self, Numbers, render};
use crate::state::State;

/// Rates are measured over this time.
const RATES_EVERY: Duration = Duration::from_secs(5);
/// A summary that is older means that the analysis does not get on.
const SUMMARY_AGE_MAX: Duration = Duration::from_secs(10);

/// Reads the receiver, the store and the analysis.
#[derive(Clone)]
pub(crate) struct Views {
    ledger: Ledger,
    store: Store,
    watched: Watched,
    memory: Memory,
    state: State,
    queue_bytes_max: usize,
    disk_free_bytes_min: u64,
    /// Bounds by name, bytes.
    limits: Arc<[(&'static str, u64)]>,
    measured: watch::Sender<[Measured; SIGNALS]>,
    /// Deliveries that wait, when they were last counted.
    outbox_pending: watch::Sender<Option<u64>>,
}

/// What the views read from, besides the store.
pub(crate) struct Owners {
    pub(crate) ledger: Ledger,
    pub(crate) watched: Watched,
    pub(crate) memory: Memory,
    pub(crate) state: State,
}

/// Number of signals.
const SIGNALS: usize = Signal::ALL.len();

/// What was measured of one signal, every few seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Measured {
    /// Items kept since the start.
    items: u64,
    per_second: f64,
    /// When items were last seen to be more than before.
    last_ns: Option<i64>,
}

impl Measured {
    /// Returns the next measurement, so many seconds later.
    fn next(self, items: u64, seconds: f64, now_ns: i64) -> Self {
        let more = items.saturating_sub(self.items);
        Self { items, per_second: more as f64 / seconds, last_ns: self.last_ns(items, now_ns) }
    }

    /// Returns when the last item came, given how many there are by now; late by the time between measurements at most.
    fn last_ns(self, items: u64, now_ns: i64) -> Option<i64> {
        if items > self.items { Some(now_ns) } else { self.last_ns }
    }
}

impl Views {
    pub(crate) fn new(owners: Owners, store: Store, config: &collector_store::Config, budget: &Budget) -> Self {
        let Owners { ledger, watched, memory, state } = owners;
        let Budget { in_flight_bytes, tables_bytes, committed_bytes, analysis_bytes, queries_bytes } = *budget;
        let limits = [
            ("in_flight", in_flight_bytes as u64),
            ("tables", tables_bytes as u64),
            ("committed", committed_bytes as u64),
            ("analysis", analysis_bytes as u64),
            ("queries", queries_bytes as u64),
            ("memory", memory.limit_bytes()),
        ];
        Self {
            ledger,
            store,
            watched,
            memory,
            state,
            queue_bytes_max: config.queue_bytes_max,
            disk_free_bytes_min: config.disk_free_bytes_min,
            limits: Arc::new(limits),
            measured: watch::Sender::new([Measured::default(); SIGNALS]),
            outbox_pending: watch::Sender::new(None),
        }
    }

    /// Returns what was received and refused.
    pub(crate) fn ingest(&self) -> IngestView {
        let ledger = self.ledger.snapshot();
        let stats = self.store.stats();
        let items = Signal::ALL.map(|signal| items_of(&ledger, signal));
        let measured = *self.measured.borrow();
        let mut senders: Vec<SenderView> = ledger.senders.iter().map(sender_view).collect();
        senders.sort_by(|a, b| (b.spans + b.logs, &a.service).cmp(&(a.spans + a.logs, &b.service)));
        let signal_view = |(index, signal): (usize, Signal)| SignalView {
            signal: signal.table().to_string(),
            accepted: items[index],
            rejected: rejected_of(&ledger, signal),
            per_second: measured[index].per_second,
            last_ns: measured[index].last_ns(items[index], now_ns()),
        };
        IngestView {
            signals: Signal::ALL.into_iter().enumerate().map(signal_view).collect(),
            refusals: ledger.complaints.iter().map(refusal).collect(),
            forgotten: ledger.senders_evicted + ledger.complaints_evicted,
            store: self.store_view(&stats),
            senders,
        }
    }

    /// Measures rates every few seconds, for as long as the runtime lives.
    pub(crate) async fn measure(self) {
        let mut every = tokio::time::interval(RATES_EVERY);
        let mut measured_at = Instant::now();
        loop {
            every.tick().await;
            let ledger = self.ledger.snapshot();
            let items = Signal::ALL.map(|signal| items_of(&ledger, signal));
            let seconds = measured_at.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            measured_at = Instant::now();
            let before = *self.measured.borrow();
            let next = |index: usize| before[index].next(items[index], seconds, now_ns());
            self.measured.send_replace(std::array::from_fn(next));
            // A state that does not answer is said where it matters, when something is to be saved.
            self.outbox_pending.send_replace(self.state.pending_count().await.ok());
        }
    }

    fn store_view(&self, stats: &StoreStats) -> StoreView {
        let segments: u64 = stats.tables.iter().map(|table| table.segment_bytes).sum();
        let too_little = stats.disk_free_bytes.filter(|free| *free < self.disk_free_bytes_min);
        let problem = |free| {
            let min = self.disk_free_bytes_min;
            format!("the disk has {free} bytes free and needs {min}; senders are asked to come back later")
        };
        StoreView {
            bytes: segments + stats.wal_bytes,
            bytes_max: None,
            oldest_ns: None,
            queue_share: stats.queue_bytes as f64 / self.queue_bytes_max.max(1) as f64,
            problem: too_little.map(problem),
        }
    }

    /// Returns the daemon's own numbers as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        render(&metrics::all(&Numbers {
            ledger: self.ledger.snapshot(),
            store: self.store.stats(),
            summary: self.watched.summary.borrow().clone(),
            lag: *self.watched.lag.borrow(),
            telling: &self.watched.telling,
            memory: &self.memory,
            outbox_pending: *self.outbox_pending.borrow(),
            limits: &self.limits,
        }))
    }

    /// Returns nothing when requests can be served, or why not.
    pub(crate) fn ready(&self) -> Result<(), Vec<String>> {
        let mut problems = Vec::from_iter(self.store_view(&self.store.stats()).problem);
        let age = self.watched.published.borrow().elapsed();
        if age > SUMMARY_AGE_MAX {
            problems.push(format!("the analysis has not said anything for {} s", age.as_secs()));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

fn items_of(ledger: &LedgerSnapshot, signal: Signal) -> u64 {
    ledger.streams.iter().filter(|stream| stream.signal == signal).map(|stream| stream.counts.items).sum()
}

fn rejected_of(ledger: &LedgerSnapshot, signal: Signal) -> u64 {
    ledger.rejected.iter().filter(|(of, _, _)| *of == signal).map(|(_, _, count)| count).sum()
}

fn sender_view(sender: &collector_receiver::SenderRow) -> SenderView {
    SenderView {
        service: sender.service.clone(),
        exporter: sender.user_agent.clone(),
        spans: sender.spans,
        logs: sender.logs,
        metrics: sender.metrics,
        last_ns: Some(to_ns(sender.last_seen)),
    }
}

fn refusal(row: &ComplaintRow) -> Refusal {
    let unit = match row.cause {
        Cause::Refused(_) => "requests".to_owned(),
        Cause::Rejected(_) => row.signal.map_or_else(|| "items".to_owned(), |signal| signal.table().to_string()),
        Cause::Cut => "attributes".to_owned(),
    };
    Refusal {
        cause: row.cause.as_str().to_owned(),
        exporter: row.sender.user_agent.clone(),
        address: row.sender.peer.to_string(),
        service: row.service.clone(),
        protocol: row.sender.protocol.as_str().to_owned(),
        count: row.count,
        unit,
        last_ns: Some(to_ns(row.last_seen)),
        message: row.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_as_fresh_as_its_own_last_item() {
        let quiet = Measured::default().next(0, 5.0, 1);
        assert_eq!(quiet.last_ns(0, 2), None, "nothing ever came");
        assert_eq!(quiet.last_ns(1, 2), Some(2), "something came since the last measurement");
        let busy = quiet.next(10, 5.0, 3);
        assert_eq!(busy, Measured { items: 10, per_second: 2.0, last_ns: Some(3) });
        assert_eq!(busy.next(10, 5.0, 4), Measured { items: 10, per_second: 0.0, last_ns: Some(3) });
    }
}
