//! Reads stored spans and log records back slice by slice, and gives them in the order in which they arrived as far as
//! that is known: a span when it ended, a log record when it was written. Used at the start, by `analyze --stored` and by
//! backtests. Only reads; holds one slice, and spans that have not ended by its end. What is given depends on what is
//! stored alone, and not on how the store has laid it out.

use std::ops::Range;

use anyhow::Context as _;
use arrow::array::{Array, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use collector_store::{QueryParam, QueryResult, Reader, SqlError};
use collector_table::{LogTable, SpanTable};

const SECOND_NS: i64 = 1_000_000_000;
/// What arrives within this time arrives together. Also the least event time that one query covers.
const ARRIVAL_NS: i64 = SECOND_NS / 4;
/// Event time that one query covers at first, and at most. Whole arrivals, also when it is halved again and again.
const STEP_NS: i64 = 16 * SECOND_NS;
const STEP_MAX_NS: i64 = 64 * SECOND_NS;
/// Rows of spans, and of log records, of one slice, unless they are more within the least time. With far less, the next
/// slice covers more time. Many at once are read with less work: neighbours in time lie far apart in segments.
pub(crate) const ROWS_MANY: usize = 100_000;
/// The same where people query at the same time, with the same memory.
pub(crate) const ROWS_FEW: usize = 20_000;
/// Spans, and bytes of them, that are held until the slice in which they ended; with more, all of them arrive at once.
const UNENDED_MAX: usize = 100_000;
const UNENDED_BYTES_MAX: usize = 64 << 20;

/// Reads from one moment to another.
pub(crate) struct Slices {
    reader: Reader,
    /// What started before was read.
    at_ns: i64,
    until_ns: i64,
    step_ns: i64,
    /// Of a slice.
    rows_max: usize,
    /// Spans that were read before they ended, in the SQL form.
    unended: Vec<RecordBatch>,
    truncated: u64,
}

/// What started, or was written, in a stretch of time, and what ended in it.
pub(crate) struct Slice {
    /// The stretch that was read.
    pub(crate) started_ns: Range<i64>,
    /// Whether there were too many log records, and some that are of no trace are left out.
    pub(crate) lacks_logs: bool,
    /// In order of time.
    pub(crate) arrivals: Vec<Arrival>,
}

/// What arrived together.
pub(crate) struct Arrival {
    /// Event time of the arrival.
    pub(crate) now_ns: i64,
    /// Log records; they come before the spans.
    pub(crate) logs: Option<LogTable>,
    /// Spans, in order of their ends.
    pub(crate) spans: Option<SpanTable>,
}

impl Slices {
    /// Reads what started in this time, at most so many rows at once.
    pub(crate) fn new(reader: Reader, started_ns: Range<i64>, rows_max: usize) -> Self {
        let Range { start: at_ns, end: until_ns } = started_ns;
        Self { reader, at_ns, until_ns, step_ns: STEP_NS, rows_max, unended: Vec::new(), truncated: 0 }
    }

    /// Returns up to when everything that started was read.
    pub(crate) fn read_until_ns(&self) -> i64 {
        self.at_ns
    }

    /// Returns of how many slices a query's limit cut rows off.
    pub(crate) fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Goes on with another reader of the same data.
    pub(crate) fn read_from(&mut self, reader: Reader) {
        self.reader = reader;
    }

    /// Leaves out the slice that could not be read.
    pub(crate) fn skip(&mut self) {
        self.at_ns = self.step_end_ns();
    }

    /// Returns the next slice with anything in it, or nothing when everything was given. After an error the same slice is
    /// tried again unless it is skipped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Slice>> {
        while self.at_ns < self.until_ns {
            let started_ns = self.at_ns..self.step_end_ns();
            let can_be_less = self.step_ns > ARRIVAL_NS;
            let Some(spans) = self.read(SPANS, &started_ns, can_be_less).await.context("reading back spans")? else {
                self.step_ns /= 2;
                continue;
            };
            let Some((logs, lacks_logs)) = self.read_logs(&started_ns, can_be_less).await? else {
                self.step_ns /= 2;
                continue;
            };
            let rows = rows_of(&spans).max(rows_of(&logs));
            if rows == 0 {
                // Quiet time, as when the daemon did not run, is not worth a query for each of its steps.
                self.at_ns = self.next_start_ns(started_ns.end).await?;
            } else {
                self.at_ns = started_ns.end;
            }
            if rows < self.rows_max / 4 {
                self.step_ns = (self.step_ns * 2).min(STEP_MAX_NS);
            }
            self.truncated += u64::from(spans.truncated || logs.truncated);
            let arrivals = self.arrivals(spans.batches, &logs.batches, self.at_ns)?;
            if !arrivals.is_empty() {
                return Ok(Some(Slice { started_ns: started_ns.start..self.at_ns, lacks_logs, arrivals }));
            }
        }
        let arrivals = self.arrivals(Vec::new(), &[], i64::MAX)?;
        let started_ns = self.until_ns..self.until_ns;
        Ok((!arrivals.is_empty()).then_some(Slice { started_ns, lacks_logs: false, arrivals }))
    }

    /// Slices end where arrivals do, so that none is torn.
    fn step_end_ns(&self) -> i64 {
        let floor_ns = self.at_ns - self.at_ns.rem_euclid(ARRIVAL_NS);
        floor_ns.saturating_add(self.step_ns).min(self.until_ns)
    }

    /// Returns the rows of a slice, or nothing when they are too many for one query and it can be asked for less.
    async fn read(
        &self,
        sql: &str,
        started_ns: &Range<i64>,
        can_be_less: bool,
    ) -> Result<Option<QueryResult>, SqlError> {
        let params = [started_ns.start, started_ns.end].map(QueryParam::TimestampNs).into();
        if !can_be_less {
            return self.reader.query_with(sql, params).await.map(Some);
        }
        let limited = format!("{sql} LIMIT {}", self.rows_max);
        match self.reader.query_with(&limited, params).await {
            Ok(found) if found.truncated || rows_of(&found) >= self.rows_max => Ok(None),
            Err(SqlError::Memory { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Does what [`Self::read`] does with log records; of too many that cannot be asked for in less, those of traces, which
    /// keys in them may join. Also returns whether others are left out.
    async fn read_logs(
        &self,
        written_ns: &Range<i64>,
        can_be_less: bool,
    ) -> anyhow::Result<Option<(QueryResult, bool)>> {
        let found = self.read(LOGS, written_ns, can_be_less).await;
        if can_be_less || found.as_ref().is_ok_and(|logs| logs.as_ref().is_some_and(|logs| !logs.truncated)) {
            return Ok(found.context("reading back log records")?.map(|logs| (logs, false)));
        }
        // What it holds is room that the next one needs.
        drop(found);
        let found = self.read(&format!("{LOGS} AND trace_id IS NOT NULL"), written_ns, false).await;
        Ok(found.context("reading back log records of traces")?.map(|logs| (logs, true)))
    }

    /// Returns when something starts again.
    async fn next_start_ns(&self, from_ns: i64) -> anyhow::Result<i64> {
        let mut next_ns = self.until_ns;
        for sql in [NEXT_SPAN, NEXT_LOG] {
            let params = [from_ns, self.until_ns].map(QueryParam::TimestampNs).into();
            let found = self.reader.query_with(sql, params).await.context("finding what comes next")?;
            next_ns = next_ns.min(only_time(&found).unwrap_or(i64::MAX));
        }
        Ok(next_ns - next_ns.rem_euclid(ARRIVAL_NS)).map(|at_ns| at_ns.max(from_ns))
    }

    /// Returns log records, and spans that ended before then; holds the other spans.
    fn arrivals(
        &mut self,
        mut spans: Vec<RecordBatch>,
        logs: &[RecordBatch],
        ended_before_ns: i64,
    ) -> anyhow::Result<Vec<Arrival>> {
        spans.splice(0..0, self.unended.drain(..));
        let mut ended = in_order(&spans, end_ns, ended_before_ns)?;
        let holds_too_much =
            |held: &RecordBatch| held.num_rows() > UNENDED_MAX || held.get_array_memory_size() > UNENDED_BYTES_MAX;
        if ended.1.as_ref().is_some_and(holds_too_much) {
            ended = in_order(&spans, end_ns, i64::MAX)?;
        }
        let (spans, unended) = ended;
        self.unended.extend(unended);
        let (logs, _) = in_order(logs, |batch, row| time_ns(batch, "time", row), i64::MAX)?;
        self.together(spans, logs)
    }

    /// Puts what arrives at the same time together.
    fn together(&self, spans: Vec<Piece>, logs: Vec<Piece>) -> anyhow::Result<Vec<Arrival>> {
        let (mut spans, mut logs) = (spans.into_iter().peekable(), logs.into_iter().peekable());
        let mut arrivals = Vec::new();
        loop {
            let ns = |piece: Option<&Piece>| piece.map(|(ns, _)| *ns);
            let Some(at_ns) = ns(spans.peek()).into_iter().chain(ns(logs.peek())).min() else { break };
            let log_rows = logs.next_if(|(ns, _)| *ns == at_ns).map(|(_, batch)| LogTable::from_batch(batch));
            let span_rows = spans.next_if(|(ns, _)| *ns == at_ns).map(|(_, batch)| SpanTable::from_batch(batch));
            arrivals.push(Arrival {
                // What ends after everything that is read must not make time run on.
                now_ns: at_ns.saturating_add(ARRIVAL_NS).min(self.until_ns),
                logs: log_rows.transpose().context("reading back log records")?,
                spans: span_rows.transpose().context("reading back spans")?,
            });
        }
        Ok(arrivals)
    }
}

const SPANS: &str = "SELECT * FROM spans WHERE start_time >= $1 AND start_time < $2";
const LOGS: &str = "SELECT * FROM logs WHERE time >= $1 AND time < $2";
const NEXT_SPAN: &str = "SELECT min(start_time) FROM spans WHERE start_time >= $1 AND start_time < $2";
const NEXT_LOG: &str = "SELECT min(time) FROM logs WHERE time >= $1 AND time < $2";

/// Rows by when they arrive.
type Piece = (i64, RecordBatch);

/// Returns the value of a result that is one time, or nothing if it is null.
pub(crate) fn only_time(found: &QueryResult) -> Option<i64> {
    let times = found.batches.first()?.column(0).as_primitive_opt::<TimestampNanosecondType>()?;
    (!times.is_empty() && times.is_valid(0)).then(|| times.value(0))
}

fn rows_of(found: &QueryResult) -> usize {
    found.batches.iter().map(RecordBatch::num_rows).sum()
}

/// Returns the rows before a time in order of time, cut into arrivals; and the others. Of the same time, ids decide: in
/// which order the store has them is its own business.
fn in_order(
    batches: &[RecordBatch],
    ns_of: impl Fn(&RecordBatch, usize) -> i64,
    before_ns: i64,
) -> anyhow::Result<(Vec<Piece>, Option<RecordBatch>)> {
    let Some(first) = batches.first() else { return Ok((Vec::new(), None)) };
    let all = concat_batches(&first.schema(), batches).context("gathering rows")?;
    let (mut now, mut later): (Vec<(i64, u32)>, Vec<u32>) = (Vec::new(), Vec::new());
    for (row, index) in (0..all.num_rows()).zip(0_u32..) {
        match ns_of(&all, row) {
            ns if ns < before_ns => now.push((ns, index)),
            _ => later.push(index),
        }
    }
    let ids = ["trace_id", "span_id"].map(|name| all.column_by_name(name)?.as_fixed_size_binary_opt());
    let ids = |row: u32| ids.map(|ids| ids.map(|ids| ids.value(row as usize)));
    now.sort_unstable_by(|(ns, row), (other_ns, other)| (ns, ids(*row), row).cmp(&(other_ns, ids(*other), other)));
    let rows = UInt32Array::from_iter_values(now.iter().map(|(_, row)| *row));
    let sorted = take_record_batch(&all, &rows).context("ordering rows")?;
    let mut pieces = Vec::new();
    let mut begin = 0;
    for together in now.chunk_by(|(ns, _), (other_ns, _)| arrival_of(*ns) == arrival_of(*other_ns)) {
        pieces.push((arrival_of(together[0].0), sorted.slice(begin, together.len())));
        begin += together.len();
    }
    let later = (!later.is_empty()).then(|| take_record_batch(&all, &UInt32Array::from(later)));
    Ok((pieces, later.transpose().context("keeping rows")?))
}

fn arrival_of(ns: i64) -> i64 {
    ns - ns.rem_euclid(ARRIVAL_NS)
}

/// Exporters send a span when it has ended; one that ends before it starts was sent when it started.
fn end_ns(batch: &RecordBatch, row: usize) -> i64 {
    let durations = batch.column_by_name("duration_ns").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let duration_ns = durations.map_or(0, |durations| durations.value(row));
    time_ns(batch, "start_time", row).saturating_add(duration_ns.max(0))
}

fn time_ns(batch: &RecordBatch, column: &str, row: usize) -> i64 {
    let times = batch.column_by_name(column).and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    times.map_or(0, |times| times.value(row))
}

#[cfg(test)]
mod tests;
