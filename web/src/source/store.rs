//! Answers pages' questions from the store, by SQL. Values only ever travel as parameters; names of attributes, which
//! cannot, are quoted.

use std::fmt::Write;

use arrow::array::{
    Array, AsArray, BooleanArray, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array,
};
use bytes::Bytes;
use collector_store::{QueryParam, QueryResult, Reader, SqlError};
use collector_table::{LogTable, SpanTable, TraceId};

use super::edges;
use super::{
    Answer, EdgeBy, EdgeEnds, EdgePart, EdgeRow, LogQuery, ProcessRow, Source, SourceError, StoredTrace,
    TransactionQuery, TransactionRow, TransactionSegment, TransactionTraces,
};

/// Services listed at most.
const SERVICES_MAX: usize = 1_000;
/// How much later than its transaction a span with a wanted attribute may start, nanoseconds.
const SPAN_LATER_NS: i64 = 3_600_000_000_000;
/// How much earlier than one of its traces a transaction may begin: a day.
const TRANSACTION_EARLIER_NS: i64 = 24 * SPAN_LATER_NS;
/// Transactions that one trace is part of, at most.
const TRANSACTIONS_OF_MAX: usize = 50;
const MINUTE_NS: i64 = 60_000_000_000;

/// The store as a source.
#[derive(Clone)]
pub struct StoreSource {
    reader: Reader,
}

impl StoreSource {
    /// Makes a source of a store's reader.
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }

    async fn run(&self, statement: Statement) -> Result<QueryResult, SourceError> {
        Ok(self.reader.query_with(&statement.sql, statement.params).await?)
    }
}

impl From<SqlError> for SourceError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Failed(_) => Self::Unavailable(Box::new(error)),
            _ => Self::Question(error.to_string()),
        }
    }
}

/// A statement under construction.
pub(super) struct Statement {
    sql: String,
    params: Vec<QueryParam>,
}

impl Statement {
    pub(super) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), params: Vec::new() }
    }

    /// Adds text without a parameter.
    pub(super) fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    /// Adds text with `?` in place of the parameter.
    pub(super) fn with(&mut self, text: &str, param: QueryParam) {
        self.params.push(param);
        self.sql.push_str(&text.replace('?', &format!("${}", self.params.len())));
    }

    pub(super) fn paged(mut self, limit: usize, offset: usize) -> Self {
        write!(self.sql, " LIMIT {limit} OFFSET {offset}").expect("writing to a string cannot fail");
        self
    }
}

impl Source for StoreSource {
    fn trace(&self, trace_id: TraceId) -> Answer<'_, StoredTrace> {
        Box::pin(async move {
            let found = self.reader.trace(trace_id).await?;
            let spans = found.spans.batches.into_iter().map(SpanTable::from_batch).collect::<Result<_, _>>();
            Ok(StoredTrace {
                spans: spans.map_err(unavailable)?,
                logs: log_tables(&found.logs)?,
                is_cut: found.spans.truncated,
            })
        })
    }

    fn transactions_of(&self, trace_id: TraceId, started_ns: i64) -> Answer<'_, Vec<TransactionTraces>> {
        Box::pin(async move {
            let mut statement = Statement::new("SELECT transaction_id, trace_ids FROM transactions WHERE ");
            statement.with("transaction_id = ?", id_param(trace_id));
            let own = transaction_traces(&self.run(statement.paged(1, 0)).await?);
            if !own.is_empty() {
                return Ok(own);
            }
            let result = self.run(transactions_of_statement(trace_id, started_ns)).await?;
            Ok(transaction_traces(&result))
        })
    }

    fn transactions(&self, query: TransactionQuery) -> Answer<'_, Vec<TransactionRow>> {
        Box::pin(async move {
            let result = self.run(transactions_statement(&query)).await?;
            Ok(transaction_rows(&result))
        })
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<LogTable>> {
        Box::pin(async move {
            let result = self.run(logs_statement(&query)).await?;
            log_tables(&result)
        })
    }

    fn services(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            // The minute in which the period begins counts as part of it.
            let minute_ns = from_ns - from_ns.rem_euclid(MINUTE_NS);
            let mut statement = Statement::new("SELECT DISTINCT service_name FROM red WHERE ");
            statement.with("minute >= ?", QueryParam::TimestampNs(minute_ns));
            statement.with(" AND minute < ? ORDER BY service_name", QueryParam::TimestampNs(to_ns));
            let result = self.run(statement.paged(SERVICES_MAX, 0)).await?;
            let names = result.batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
            Ok(names.map(str::to_owned).collect())
        })
    }

    fn edges(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<EdgeRow>> {
        Box::pin(async move { Ok(edges::edge_rows(&self.run(edges::edges_statement(from_ns, to_ns)).await?)) })
    }

    fn edge_parts(&self, ends: EdgeEnds, by: EdgeBy, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<EdgePart>> {
        Box::pin(async move {
            let statement = edges::parts_statement(&ends, by, from_ns, to_ns);
            Ok(edges::edge_parts(&self.run(statement).await?))
        })
    }

    fn processes(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<ProcessRow>> {
        Box::pin(async move { Ok(edges::process_rows(&self.run(edges::processes_statement(from_ns, to_ns)).await?)) })
    }

    fn sql(&self, query: String) -> Answer<'_, QueryResult> {
        Box::pin(async move { Ok(self.reader.query(&query).await?) })
    }
}

fn id_param(id: TraceId) -> QueryParam {
    QueryParam::Bytes(Bytes::copy_from_slice(id.as_bytes()))
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError::Unavailable(Box::new(error))
}

fn transactions_of_statement(trace_id: TraceId, started_ns: i64) -> Statement {
    let mut statement =
        Statement::new("SELECT transaction_id, trace_ids FROM transactions WHERE trace_ids IS NOT NULL");
    let from_ns = started_ns.saturating_sub(TRANSACTION_EARLIER_NS);
    statement.with(" AND started_at >= ?", QueryParam::TimestampNs(from_ns));
    statement.with(" AND started_at <= ?", QueryParam::TimestampNs(started_ns.saturating_add(SPAN_LATER_NS)));
    // An id is nothing but hexadecimal digits.
    write!(statement.sql, " AND array_has(trace_ids, arrow_cast(X'{trace_id}', 'FixedSizeBinary(16)'))")
        .expect("writing to a string cannot fail");
    statement.sql.push_str(" ORDER BY started_at");
    statement.paged(TRANSACTIONS_OF_MAX, 0)
}

fn transactions_statement(query: &TransactionQuery) -> Statement {
    let mut statement = Statement::new(
        "SELECT transaction_id, service_name, operation, started_at, duration_ns, status, complete, spans_count, \
         errors_count, services, critical_path, completeness, saga FROM transactions WHERE ",
    );
    statement.with("started_at >= ?", QueryParam::TimestampNs(query.from_ns));
    statement.with(" AND started_at < ?", QueryParam::TimestampNs(query.to_ns));
    if let Some(text) = &query.text {
        statement.with(" AND strpos(lower(type), ?) > 0", QueryParam::Text(text.to_lowercase()));
    }
    for (column, value) in
        [("service_name", &query.service), ("operation", &query.operation), ("status", &query.status)]
    {
        if let Some(value) = value {
            statement.with(&format!(" AND {column} = ?"), QueryParam::Text(value.clone()));
        }
    }
    for (comparison, value) in [(">=", query.duration_min_ns), ("<=", query.duration_max_ns)] {
        if let Some(value) = value {
            statement.with(&format!(" AND duration_ns {comparison} ?"), QueryParam::Int(value));
        }
    }
    for (key, value) in &query.attributes {
        with_attribute(&mut statement, query, key, value);
    }
    statement.sql.push_str(if query.is_slowest_first {
        " ORDER BY duration_ns DESC, started_at DESC"
    } else {
        " ORDER BY started_at DESC"
    });
    statement.paged(query.limit, query.offset)
}

/// Restricts to transactions that have a span with an attribute, in any of their traces.
fn with_attribute(statement: &mut Statement, query: &TransactionQuery, key: &str, value: &str) {
    let spans = |statement: &mut Statement| {
        statement.with("(SELECT trace_id FROM spans WHERE start_time >= ?", QueryParam::TimestampNs(query.from_ns));
        let to_ns = query.to_ns.saturating_add(SPAN_LATER_NS);
        statement.with(" AND start_time < ?", QueryParam::TimestampNs(to_ns));
        write!(statement.sql, " AND attributes[{}]", quoted(key)).expect("writing to a string cannot fail");
        statement.with(" = ?)", QueryParam::Text(value.to_owned()));
    };
    statement.sql.push_str(" AND (transaction_id IN ");
    spans(statement);
    statement.sql.push_str(" OR transaction_id IN (SELECT transaction_id FROM (");
    statement.sql.push_str("SELECT transaction_id, unnest(trace_ids) AS part FROM transactions ");
    statement.with("WHERE trace_ids IS NOT NULL AND started_at >= ?", QueryParam::TimestampNs(query.from_ns));
    statement.with(" AND started_at < ?) WHERE part IN ", QueryParam::TimestampNs(query.to_ns));
    spans(statement);
    statement.sql.push_str("))");
}

/// Returns an SQL string literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn logs_statement(query: &LogQuery) -> Statement {
    let mut statement = Statement::new("SELECT * FROM logs WHERE ");
    statement.with("time >= ?", QueryParam::TimestampNs(query.from_ns));
    statement.with(" AND time < ?", QueryParam::TimestampNs(query.to_ns));
    if let Some(text) = &query.text {
        statement.with(" AND strpos(lower(body), ?) > 0", QueryParam::Text(text.to_lowercase()));
    }
    if let Some(service) = &query.service {
        statement.with(" AND service_name = ?", QueryParam::Text(service.clone()));
    }
    for (number, trace_id) in query.trace_ids.iter().enumerate() {
        statement.with(if number == 0 { " AND trace_id IN (?" } else { ", ?" }, id_param(*trace_id));
    }
    if !query.trace_ids.is_empty() {
        statement.push(")");
    }
    if let Some(severity) = query.severity_min {
        statement.with(" AND severity_number >= ?", QueryParam::Int(i64::from(severity)));
    }
    statement.sql.push_str(" ORDER BY time DESC");
    statement.paged(query.limit, query.offset)
}

fn log_tables(result: &QueryResult) -> Result<Vec<LogTable>, SourceError> {
    let tables = result.batches.iter().cloned().map(LogTable::from_batch);
    tables.collect::<Result<_, _>>().map_err(unavailable)
}

fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    let array = batch.column_by_name(name).expect("the statement names this column");
    array.as_any().downcast_ref().expect("a query's result has the types of the table's SQL form")
}

fn transaction_traces(result: &QueryResult) -> Vec<TransactionTraces> {
    let mut found = Vec::new();
    for batch in &result.batches {
        let id: &FixedSizeBinaryArray = column(batch, "transaction_id");
        let lists: &ListArray = column(batch, "trace_ids");
        found.extend((0..batch.num_rows()).map(|row| {
            let id = TraceId::from_otlp(id.value(row)).unwrap_or_default();
            let traces = lists.is_valid(row).then(|| lists.value(row));
            let traces = traces.as_ref().and_then(|traces| traces.as_fixed_size_binary_opt());
            let traces = traces.map(|ids| ids.iter().flatten().filter_map(TraceId::from_otlp).collect());
            TransactionTraces { id, traces: traces.unwrap_or_else(|| vec![id]) }
        }));
    }
    found
}

fn transaction_rows(result: &QueryResult) -> Vec<TransactionRow> {
    let mut rows = Vec::new();
    for batch in &result.batches {
        let id: &FixedSizeBinaryArray = column(batch, "transaction_id");
        let service: &StringArray = column(batch, "service_name");
        let operation: &StringArray = column(batch, "operation");
        let started: &TimestampNanosecondArray = column(batch, "started_at");
        let duration: &Int64Array = column(batch, "duration_ns");
        let status: &StringArray = column(batch, "status");
        let complete: &BooleanArray = column(batch, "complete");
        let spans: &UInt32Array = column(batch, "spans_count");
        let errors: &UInt32Array = column(batch, "errors_count");
        let services: &StringArray = column(batch, "services");
        let path: &StringArray = column(batch, "critical_path");
        let completeness: &StringArray = column(batch, "completeness");
        let saga: &StringArray = column(batch, "saga");
        let text = |texts: &StringArray, row: usize| texts.is_valid(row).then(|| texts.value(row).to_owned());
        rows.extend((0..batch.num_rows()).map(|row| TransactionRow {
            id: TraceId::from_otlp(id.value(row)).unwrap_or_default(),
            service: service.value(row).to_owned(),
            operation: operation.value(row).to_owned(),
            started_ns: started.value(row),
            duration_ns: duration.value(row),
            has_error: status.value(row) == "error",
            is_complete: complete.value(row),
            spans_count: spans.value(row),
            errors_count: errors.value(row),
            services: services.value(row).split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            critical_path: segments(path.value(row)),
            completeness: text(completeness, row),
            saga: text(saga, row),
        }));
    }
    rows
}

/// Reads `[["service","operation","cause",self_ns],…]`. What is something else is no segment.
fn segments(path: &str) -> Vec<TransactionSegment> {
    let segments: Vec<(String, String, String, i64)> = serde_json::from_str(path).unwrap_or_default();
    let segment = |(service, operation, cause, self_ns)| TransactionSegment { service, operation, cause, self_ns };
    segments.into_iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_sql() {
        let hostile = "'] = '' OR 1=1 --";
        let query = TransactionQuery {
            text: Some(hostile.to_owned()),
            service: Some(hostile.to_owned()),
            attributes: vec![(hostile.to_owned(), hostile.to_owned())],
            limit: 5,
            ..TransactionQuery::default()
        };
        let statement = transactions_statement(&query);
        assert_eq!(statement.sql.matches("OR 1=1").count(), 2);
        for value in ["$7", "$12"] {
            let condition = format!("attributes['''] = '''' OR 1=1 --'] = {value})");
            assert!(statement.sql.contains(&condition), "{}", statement.sql);
        }
        assert_eq!(statement.params.len(), 12);
    }
}
