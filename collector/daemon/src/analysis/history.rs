//! Reads recent spans back at the start, so that what is usual need not be learned again and open incidents go on.
//! Called once, before anything is received. Must never keep the daemon from starting: what cannot be read is said and
//! left out.

use std::ops::Range;
use std::time::Duration;

use analyzer::incident::{Incident, IncidentStatus};
use analyzer::time::parse_rfc3339;
use anyhow::Context as _;
use collector_store::QueryParam;
use tokio::time::Instant;

use super::{Analysis, stored};
use crate::slices::{ROWS_MANY, Slice, Slices};

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
/// History that is read back in any case: the half hour that is compared with, and some.
const USUAL_NS: i64 = 45 * MINUTE_NS;
/// History before the onset of an open incident: what was usual then.
const BEFORE_ONSET_NS: i64 = 40 * MINUTE_NS;
/// History at most, however long an incident has been open.
const HISTORY_MAX_NS: i64 = 6 * 60 * MINUTE_NS;
/// Longest that reading back may take; then the rest is learned live.
const TAKES_MAX: Duration = Duration::from_secs(30);
/// Time after which no span is joined to a transaction any more, and some.
const JOINED_NS: i64 = 15 * MINUTE_NS;
/// Longest transaction that is still found to be stored, when it began before the history that is read back.
const TRANSACTION_MAX_NS: i64 = 24 * 60 * MINUTE_NS;

/// Returns from when on spans are read back, given the last span's start.
pub(super) fn from_ns(last_ns: i64, incidents: &[Incident]) -> i64 {
    let onsets = incidents
        .iter()
        .filter(|incident| incident.status == IncidentStatus::Open)
        .filter_map(|incident| parse_rfc3339(&incident.started_at));
    let for_incidents = onsets.min().map_or(i64::MAX, |onset_ns| onset_ns.saturating_sub(BEFORE_ONSET_NS));
    for_incidents.min(last_ns.saturating_sub(USUAL_NS)).max(last_ns.saturating_sub(HISTORY_MAX_NS))
}

/// What reading back left out.
#[derive(Default)]
struct Missing {
    /// Slices that could not be read, and why the first could not.
    failed: u64,
    first_error: Option<anyhow::Error>,
    /// Slices of which a query's limit cut rows off.
    truncated: u64,
}

impl Analysis {
    /// Derives again what came from the spans that started in `from_ns..=last_ns`, and stores what is not stored yet.
    pub(super) async fn read_back(&mut self, from_ns: i64, last_ns: i64) {
        let began = Instant::now();
        let mut missing = Missing::default();
        // Also a transaction that began before may be derived, from its last spans.
        let mut stored_ns = from_ns - JOINED_NS;
        if let Err(error) = self.find_long(stored_ns).await {
            tracing::warn!("long transactions may be stored twice: {error:#}");
        }
        let mut slices = Slices::new(self.store.reader().clone(), from_ns..last_ns.saturating_add(1), ROWS_MANY);
        loop {
            if began.elapsed() > TAKES_MAX {
                let unread_s = (last_ns - slices.read_until_ns()) / SECOND_NS;
                tracing::warn!(unread_s, "reading back recent spans took too long; the last of them are left out");
                self.analyzer.miss_logs(last_ns);
                break;
            }
            match slices.next().await {
                Ok(Some(slice)) => match self.find_stored(stored_ns..slice.started_ns.end).await {
                    Ok(is_whole) => {
                        stored_ns = slice.started_ns.end;
                        missing.truncated += u64::from(!is_whole);
                        self.analyse(slice).await;
                        self.stored.forget_before(stored_ns - JOINED_NS);
                    }
                    // Without knowing what is stored, it would be stored twice.
                    Err(error) => missing.note(error),
                },
                Ok(None) => break,
                Err(error) => {
                    slices.skip();
                    self.analyzer.miss_logs(slices.read_until_ns());
                    missing.note(error);
                }
            }
        }
        missing.truncated += slices.truncated();
        self.keep_derived().await;
        missing.warn();
        if self.stored.left_out() > 0 {
            let count = self.stored.left_out();
            tracing::warn!(count, "too many stored transactions to remember; some may now be stored twice");
        }
        let minutes = (last_ns - from_ns) / MINUTE_NS;
        tracing::info!(minutes, took_ms = began.elapsed().as_millis(), "recent spans were read back");
    }

    /// Finds out which transactions are stored that began before `before_ns` and may have ended since.
    async fn find_long(&mut self, before_ns: i64) -> anyhow::Result<()> {
        let began = [before_ns - TRANSACTION_MAX_NS, before_ns].map(QueryParam::TimestampNs);
        let params = began.into_iter().chain([QueryParam::Int(JOINED_NS)]).collect();
        let found = self.store.query_with(stored::QUERY_LONG, params).await.context("finding long transactions")?;
        for batch in &found.batches {
            self.stored.add(batch);
        }
        Ok(())
    }

    /// Finds out which transactions are stored that started then, before they are derived again. Returns whether all were
    /// read.
    async fn find_stored(&mut self, started_ns: Range<i64>) -> anyhow::Result<bool> {
        let params = [started_ns.start, started_ns.end].map(QueryParam::TimestampNs).into();
        let stored = self.store.query_with(stored::QUERY, params).await.context("finding what is stored")?;
        for batch in &stored.batches {
            self.stored.add(batch);
        }
        Ok(!stored.truncated)
    }

    async fn analyse(&mut self, slice: Slice) {
        if slice.lacks_logs {
            self.analyzer.miss_logs(slice.started_ns.end);
        }
        for arrival in slice.arrivals {
            if let Some(logs) = &arrival.logs {
                self.analyzer.push_logs(logs, arrival.now_ns);
            }
            if let Some(spans) = &arrival.spans {
                let outcome = self.analyzer.push(spans, arrival.now_ns);
                self.keep(outcome).await;
            }
        }
    }
}

impl Missing {
    fn note(&mut self, error: anyhow::Error) {
        self.failed += 1;
        self.first_error.get_or_insert(error);
    }

    fn warn(&self) {
        if let Some(error) = &self.first_error {
            tracing::warn!(slices = self.failed, "recent spans could not be read back: {error:#}");
        }
        if self.truncated > 0 {
            tracing::warn!(
                slices = self.truncated,
                "recent spans or log records were too many to read back all of them"
            );
        }
    }
}

#[cfg(test)]
mod tests;
