//! What the pages and `/metrics` are shown of the daemon's parts, read from their owners when asked.

use std::time::Duration;

use analyzer::Summary;
use analyzer::incident::IncidentStatus;
use collector_otlp::Signal;
use collector_receiver::{Ledger, LedgerSnapshot};
use collector_store::{Store, StoreStats};
use tokio::sync::watch;
use tokio::time::Instant;
use web::{IngestView, Refusal, SenderView, SignalView, StoreView};

use crate::analysis::{TellingCounts, Watched};
use crate::clock::{now_ns, to_ns};
use crate::metrics::{Kind, Metric, Sample, render};

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
    queue_bytes_max: usize,
    disk_free_bytes_min: u64,
    measured: watch::Sender<[Measured; SIGNALS]>,
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
    pub(crate) fn new(ledger: Ledger, store: Store, watched: Watched, config: &collector_store::Config) -> Self {
        let (queue_bytes_max, disk_free_bytes_min) = (config.queue_bytes_max, config.disk_free_bytes_min);
        let measured = watch::Sender::new([Measured::default(); SIGNALS]);
        Self { ledger, store, watched, queue_bytes_max, disk_free_bytes_min, measured }
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
            refusals: refusals(&ledger),
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
        let mut metrics = receiver_metrics(&self.ledger.snapshot());
        metrics.extend(store_metrics(&self.store.stats()));
        metrics.extend(analysis_metrics(&self.watched.summary.borrow().clone()));
        metrics.extend(telling_metrics(&self.watched.telling));
        render(&metrics)
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

fn refusals(ledger: &LedgerSnapshot) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = ledger
        .refusals
        .iter()
        .map(|row| Refusal {
            cause: row.reason.as_str().to_owned(),
            protocol: row.protocol.as_str().to_owned(),
            count: row.count,
            unit: "requests".to_owned(),
            last_ns: Some(to_ns(row.last_seen)),
            example: Some(format!("{}: {}", row.user_agent, row.message)),
        })
        .collect();
    refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.last_ns));
    refusals.extend(ledger.rejected.iter().map(|(signal, reason, count)| Refusal {
        cause: reason.as_str().to_owned(),
        protocol: String::new(),
        count: *count,
        unit: signal.table().to_string(),
        last_ns: None,
        example: None,
    }));
    refusals
}

fn receiver_metrics(ledger: &LedgerSnapshot) -> Vec<Metric> {
    let counter = |name, help, samples| Metric { name, help, kind: Kind::Counter, samples };
    let stream = |of: fn(&collector_receiver::Counts) -> u64| -> Vec<Sample> {
        ledger
            .streams
            .iter()
            .map(|row| {
                Sample::of(of(&row.counts) as f64)
                    .with("signal", row.signal.as_str())
                    .with("protocol", row.protocol.as_str())
                    .with("encoding", row.encoding.as_str())
                    .with("compression", row.compression.as_str())
            })
            .collect()
    };
    let rejected = ledger.rejected.iter().map(|(signal, reason, count)| {
        Sample::of(*count as f64).with("signal", signal.as_str()).with("reason", reason.as_str())
    });
    let refused = ledger.refusals.iter().map(|row| {
        Sample::of(row.count as f64).with("protocol", row.protocol.as_str()).with("reason", row.reason.as_str())
    });
    let gauge = |name, help, value| Metric::single(Kind::Gauge, name, help, value);
    vec![
        counter("throughline_received_requests_total", "Requests kept.", stream(|counts| counts.requests)),
        counter(
            "throughline_received_items_total",
            "Spans, log records and points kept.",
            stream(|counts| counts.items),
        ),
        counter(
            "throughline_received_wire_bytes_total",
            "Bytes of kept requests as sent.",
            stream(|counts| counts.wire_bytes),
        ),
        counter("throughline_rejected_items_total", "Items left out of requests that were kept.", rejected.collect()),
        counter("throughline_refused_requests_total", "Requests refused as a whole.", refused.collect()),
        Metric::single(
            Kind::Counter,
            "throughline_cut_attributes_total",
            "Attributes dropped or shortened to keep the limits.",
            ledger.cut_attributes as f64,
        ),
        Metric::single(
            Kind::Counter,
            "throughline_refused_connections_total",
            "Connections closed because too many were open.",
            ledger.connections_refused as f64,
        ),
        gauge("throughline_connections", "Open connections of senders.", ledger.connections as f64),
        gauge(
            "throughline_in_flight_bytes",
            "Bytes of requests that are not yet answered.",
            ledger.in_flight_bytes as f64,
        ),
    ]
}

fn store_metrics(stats: &StoreStats) -> Vec<Metric> {
    let gauge = |name, help, value| Metric::single(Kind::Gauge, name, help, value);
    let counter = |name, help, value| Metric::single(Kind::Counter, name, help, value);
    let tables = |name, help, of: fn(&collector_store::TableStats) -> f64| Metric {
        name,
        help,
        kind: Kind::Gauge,
        samples: stats.tables.iter().map(|table| Sample::of(of(table)).with("table", table.table.as_str())).collect(),
    };
    vec![
        counter("throughline_store_syncs_total", "Syncs of the write-ahead log.", stats.syncs as f64),
        counter("throughline_store_sync_seconds_total", "Time of all syncs.", stats.sync_total.as_secs_f64()),
        counter("throughline_store_kept_requests_total", "Requests kept.", stats.kept as f64),
        counter(
            "throughline_store_duplicate_requests_total",
            "Requests that had been kept before.",
            stats.duplicates as f64,
        ),
        counter("throughline_store_refused_busy_total", "Requests refused at a limit.", stats.refused_busy as f64),
        counter(
            "throughline_store_refused_no_space_total",
            "Requests refused for the disk.",
            stats.refused_no_space as f64,
        ),
        counter("throughline_store_seals_total", "Seals that wrote segments.", stats.seals as f64),
        counter(
            "throughline_store_seals_failed_total",
            "Seals that failed and are tried again.",
            stats.seals_failed as f64,
        ),
        gauge("throughline_store_wal_bytes", "Bytes of log files.", stats.wal_bytes as f64),
        gauge("throughline_store_queue_requests", "Requests that wait for the log.", stats.queue_requests as f64),
        gauge("throughline_store_queue_bytes", "Bytes that wait for the log.", stats.queue_bytes as f64),
        gauge("throughline_store_memory_bytes", "Bytes of rows only in memory.", stats.memory_bytes as f64),
        gauge(
            "throughline_store_disk_free_bytes",
            "Free bytes of the file system.",
            stats.disk_free_bytes.unwrap_or(0) as f64,
        ),
        gauge(
            "throughline_analysis_waiting_bytes",
            "Bytes that the analysis has not read.",
            stats.committed_bytes as f64,
        ),
        tables("throughline_store_segments", "Segment files.", |table| table.segments as f64),
        tables("throughline_store_segment_rows", "Rows in segments.", |table| table.segment_rows as f64),
        tables("throughline_store_segment_bytes", "Bytes of segments.", |table| table.segment_bytes as f64),
    ]
}

fn analysis_metrics(summary: &Summary) -> Vec<Metric> {
    let open = summary.incidents.iter().filter(|incident| incident.status == IncidentStatus::Open).count();
    let bounds = summary.at_bounds.iter().map(|(bound, count)| Sample::of(*count as f64).with("bound", *bound));
    vec![
        Metric::single(Kind::Counter, "throughline_stitched_spans_total", "Spans stitched.", summary.spans as f64),
        Metric::single(
            Kind::Counter,
            "throughline_transactions_total",
            "Transactions closed.",
            summary.transactions as f64,
        ),
        Metric::single(
            Kind::Gauge,
            "throughline_open_transactions",
            "Transactions that wait for spans.",
            summary.open_transactions as f64,
        ),
        Metric::single(Kind::Gauge, "throughline_incidents_open", "Open incidents.", open as f64),
        Metric {
            name: "throughline_at_bounds_total",
            help: "What happened at a bound of the analysis.",
            kind: Kind::Counter,
            samples: bounds.collect(),
        },
    ]
}

fn telling_metrics(counts: &TellingCounts) -> Vec<Metric> {
    let counter = |name, help, value: u64| Metric::single(Kind::Counter, name, help, value as f64);
    vec![
        counter(
            "throughline_incident_saves_failed_total",
            "Tries to save an incident's change that failed and are repeated.",
            counts.failed(),
        ),
        counter(
            "throughline_incident_changes_lost_total",
            "Changes of incidents that were given up: too many waited to be saved.",
            counts.lost(),
        ),
    ]
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
