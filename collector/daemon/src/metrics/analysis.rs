//! What the analysis did. Every field of its summary is taken apart here, so that none is forgotten.

use std::time::Duration;

use analyzer::Summary;
use analyzer::incident::IncidentStatus;

use super::{Kind, Metric, Sample};
use crate::analysis::TellingCounts;

pub(super) fn metrics(summary: &Summary, lag: Duration, telling: &TellingCounts) -> Vec<Metric> {
    // `arriving` are some of those that `open_transactions` counts.
    let Summary { as_of_ns, types, incidents, arriving: _, open_transactions, spans, transactions, at_bounds, .. } =
        summary;
    let Summary { joins, progress, expectations: _, hazards, .. } = summary;
    let open = incidents.iter().filter(|incident| incident.status == IncidentStatus::Open).count();
    let bounds = at_bounds.iter().map(|(bound, count)| Sample::of(*count as f64).with("bound", *bound));
    vec![
        Metric::gauge(
            "throughline_judged_until_seconds",
            "Event time up to which transactions were judged, unix seconds.",
            u64::try_from(as_of_ns / 1_000_000_000).unwrap_or(0),
        ),
        Metric::single(
            Kind::Gauge,
            "throughline_analysis_lag_seconds",
            "Time from commit to analysis of what was analysed last.",
            lag.as_secs_f64(),
        ),
        Metric::counter("throughline_stitched_spans_total", "Spans stitched.", *spans),
        Metric::counter("throughline_transactions_total", "Transactions closed.", *transactions),
        Metric::counter(
            "throughline_joined_transactions_total",
            "Transactions of several traces, later revisions included.",
            joins.stats.joined,
        ),
        Metric::counter(
            "throughline_superseded_transactions_total",
            "Transactions taken back because they turned out to be part of another.",
            joins.stats.superseded,
        ),
        Metric::gauge(
            "throughline_joinable_traces",
            "Traces held because others may join them.",
            joins.stats.traces as u64,
        ),
        Metric::gauge("throughline_open_transactions", "Transactions that wait for spans.", *open_transactions as u64),
        Metric::gauge(
            "throughline_stuck_transactions",
            "Transactions that lack something overdue, or take far longer than like ones.",
            progress.stuck as u64,
        ),
        Metric::gauge(
            "throughline_late_transactions",
            "Transactions that are not over and take longer than 99 % of like ones.",
            progress.late as u64,
        ),
        Metric::gauge("throughline_transaction_types", "Transaction types watched.", types.len() as u64),
        Metric::gauge("throughline_hazard_hops", "Hops in the register of hazards.", hazards.hops.len() as u64),
        Metric::gauge("throughline_incidents_open", "Open incidents.", open as u64),
        Metric::counters("throughline_at_bounds_total", "What happened at a bound of the analysis.", bounds),
        Metric::counter(
            "throughline_incident_changes_saved_total",
            "Changes of incidents saved; from then on they outlive the daemon, and are delivered.",
            telling.saved(),
        ),
        Metric::counter(
            "throughline_incident_saves_failed_total",
            "Tries to save an incident's change that failed and are repeated.",
            telling.failed(),
        ),
        Metric::counter(
            "throughline_incident_changes_lost_total",
            "Changes of incidents given up: too many waited to be saved.",
            telling.lost(),
        ),
    ]
}
