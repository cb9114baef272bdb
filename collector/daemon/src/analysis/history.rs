//! Reads recent spans back at the start, so that what is usual need not be learned again and open incidents go on.
//! Called once, before anything is received. Must never keep the daemon from starting: what cannot be read is said and
//! left out.

use std::ops::Range;
use std::time::Duration;

use analyzer::incident::{Incident, IncidentStatus};
use analyzer::time::parse_rfc3339;
use anyhow::Context as _;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use collector_store::{QueryParam, SqlError};
use collector_table::{LogTable, SpanTable};
use tokio::time::Instant;

use super::{Analysis, only_time, stored};

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
/// History that is read back in any case: the half hour that is compared with, and some.
const USUAL_NS: i64 = 45 * MINUTE_NS;
/// History before the onset of an open incident: what was usual then.
const BEFORE_ONSET_NS: i64 = 40 * MINUTE_NS;
/// History at most, however long an incident has been open.
const HISTORY_MAX_NS: i64 = 6 * 60 * MINUTE_NS;
/// Event time that one query covers, unless that is too much for it.
const STEP_NS: i64 = 15 * SECOND_NS;
/// Event time that one query covers at least, however much that is.
const STEP_MIN_NS: i64 = SECOND_NS / 4;
/// Longest that reading back may take; then the rest is learned live.
const TAKES_MAX: Duration = Duration::from_secs(30);
/// Time after which no span is joined to a transaction any more, and some.
const JOINED_NS: i64 = 15 * MINUTE_NS;
/// Longest transaction that is still found to be stored, when it began before the history that is read back.
const TRANSACTION_MAX_NS: i64 = 24 * 60 * MINUTE_NS;

/// Spans that are held until the step in which they ended; with more, what was read is analysed at once.
const UNENDED_MAX: usize = 100_000;

/// Returns from when on spans are read back, given the last span's start.
pub(super) fn from_ns(last_ns: i64, incidents: &[Incident]) -> i64 {
    let onsets = incidents
        .iter()
        .filter(|incident| incident.status == IncidentStatus::Open)
        .filter_map(|incident| parse_rfc3339(&incident.started_at));
    let for_incidents = onsets.min().map_or(i64::MAX, |onset_ns| onset_ns.saturating_sub(BEFORE_ONSET_NS));
    for_incidents.min(last_ns.saturating_sub(USUAL_NS)).max(last_ns.saturating_sub(HISTORY_MAX_NS))
}

/// What became of a step.
enum Step {
    /// All was read.
    Whole,
    /// A query's limit cut rows off.
    Truncated,
    /// It is too much for a query; nothing was analysed.
    TooMuch,
    /// No span started in it; the next one started then.
    Empty { next_ns: i64 },
}

/// Spans that were read before they ended: exporters send a span when it has ended, and so it is analysed here.
#[derive(Default)]
struct Unended(Vec<RecordBatch>);

/// What reading back left out.
#[derive(Default)]
struct Missing {
    /// Steps that could not be read, and why the first could not.
    failed: u64,
    first_error: Option<anyhow::Error>,
    /// Steps of which a query's limit cut rows off.
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
        let mut unended = Unended::default();
        let (mut at_ns, mut step_ns) = (from_ns, STEP_NS);
        while at_ns <= last_ns {
            if began.elapsed() > TAKES_MAX {
                let unread_s = (last_ns - at_ns) / SECOND_NS;
                tracing::warn!(unread_s, "reading back recent spans took too long; the last of them are left out");
                break;
            }
            let to_ns = at_ns + step_ns;
            let started_ns = at_ns..to_ns;
            at_ns = to_ns;
            match self.read_step(&mut unended, stored_ns, started_ns.clone(), last_ns).await {
                Ok(Step::TooMuch) => {
                    (at_ns, step_ns) = (started_ns.start, (step_ns / 2).max(STEP_MIN_NS));
                    continue;
                }
                Ok(Step::Whole) => stored_ns = to_ns,
                Ok(Step::Truncated) => (stored_ns, missing.truncated) = (to_ns, missing.truncated + 1),
                Ok(Step::Empty { next_ns }) => at_ns = next_ns,
                Err(error) => {
                    missing.failed += 1;
                    missing.first_error.get_or_insert(error);
                }
            }
            self.stored.forget_before(to_ns - JOINED_NS);
        }
        if let Err(error) = self.analyse(unended.ended(Vec::new(), i64::MAX), last_ns).await {
            missing.first_error.get_or_insert(error);
        }
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

    /// Reads the spans of one step and, before they are analysed, which transactions are stored that started between
    /// `stored_ns` and the step's end.
    async fn read_step(
        &mut self,
        unended: &mut Unended,
        stored_ns: i64,
        started_ns: Range<i64>,
        last_ns: i64,
    ) -> anyhow::Result<Step> {
        let range = |from_ns| vec![QueryParam::TimestampNs(from_ns), QueryParam::TimestampNs(started_ns.end)];
        let sql = "SELECT * FROM spans WHERE start_time >= $1 AND start_time < $2";
        let can_be_less = started_ns.end - started_ns.start > STEP_MIN_NS;
        let spans = match self.store.query_with(sql, range(started_ns.start)).await {
            Ok(spans) if spans.truncated && can_be_less => return Ok(Step::TooMuch),
            Err(SqlError::Memory { .. }) if can_be_less => return Ok(Step::TooMuch),
            spans => spans.context("reading back spans")?,
        };
        if spans.batches.iter().all(|batch| batch.num_rows() == 0) {
            // Quiet time, as when the daemon did not run, is not worth a query for each of its steps.
            let sql = "SELECT min(start_time) FROM spans WHERE start_time >= $1";
            let from = vec![QueryParam::TimestampNs(started_ns.end)];
            let next = self.store.query_with(sql, from).await.context("finding the next span")?;
            return Ok(Step::Empty { next_ns: only_time(&next).unwrap_or(i64::MAX) });
        }
        let stored = self.store.query_with(stored::QUERY, range(stored_ns)).await.context("finding what is stored")?;
        for batch in &stored.batches {
            self.stored.add(batch);
        }
        let is_whole = self.read_logs(range(started_ns.start), started_ns.end.min(last_ns)).await?;
        let is_whole = is_whole && !stored.truncated && !spans.truncated;
        self.analyse(unended.ended(spans.batches, started_ns.end), started_ns.end.min(last_ns)).await?;
        Ok(if is_whole { Step::Whole } else { Step::Truncated })
    }

    /// Reads the log records that were written in a step: keys in them join traces. Returns whether all were read.
    async fn read_logs(&mut self, written: Vec<QueryParam>, now_ns: i64) -> anyhow::Result<bool> {
        let sql = "SELECT * FROM logs WHERE time >= $1 AND time < $2 AND trace_id IS NOT NULL";
        let logs = self.store.query_with(sql, written).await.context("reading back log records")?;
        for batch in logs.batches {
            let table = LogTable::from_batch(batch).context("reading back log records")?;
            self.analyzer.push_logs(&table, now_ns);
        }
        Ok(!logs.truncated)
    }

    async fn analyse(&mut self, spans: anyhow::Result<Vec<SpanTable>>, now_ns: i64) -> anyhow::Result<()> {
        for table in spans? {
            let outcome = self.analyzer.push(&table, now_ns);
            self.keep(outcome).await;
        }
        Ok(())
    }
}

impl Unended {
    /// Adds spans; returns, and no longer holds, those that ended before `until_ns`.
    fn ended(&mut self, mut spans: Vec<RecordBatch>, until_ns: i64) -> anyhow::Result<Vec<SpanTable>> {
        spans.splice(0..0, self.0.drain(..));
        let is_too_much = spans.iter().map(RecordBatch::num_rows).sum::<usize>() > UNENDED_MAX;
        let mut ended = Vec::new();
        for batch in spans {
            let table = SpanTable::from_batch(batch).context("reading back spans")?;
            let columns = table.columns();
            let ends_ns =
                columns.starts_ns.iter().zip(columns.durations_ns).map(|(start, ns)| start.saturating_add(*ns));
            let has_ended: BooleanArray = ends_ns.map(|end_ns| Some(is_too_much || end_ns < until_ns)).collect();
            let has_not_ended = not(&has_ended).context("reading back spans")?;
            let of = |wanted| filter_record_batch(table.batch(), wanted).context("reading back spans");
            self.0.extend(Some(of(&has_not_ended)?).filter(|batch| batch.num_rows() > 0));
            ended.push(SpanTable::from_batch(of(&has_ended)?).context("reading back spans")?);
        }
        Ok(ended)
    }
}

impl Missing {
    fn warn(&self) {
        if let Some(error) = &self.first_error {
            tracing::warn!(steps = self.failed, "recent spans could not be read back: {error:#}");
        }
        if self.truncated > 0 {
            tracing::warn!(
                steps = self.truncated,
                "recent spans or log records were too many to read back all of them"
            );
        }
    }
}

#[cfg(test)]
mod tests;
