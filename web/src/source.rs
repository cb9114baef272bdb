//! What pages ask of stored data. `StoreSource` answers from the store; tests answer from memory.

use collector_store::QueryResult;
use collector_table::{LogTable, SpanTable, TraceId};
use futures::future::BoxFuture;

mod edges;
mod store;

pub(crate) use edges::EDGES_MAX;
pub use edges::{EdgeBy, EdgeEnds, EdgeNumbers, EdgePart, EdgeRow, ProcessRow};
pub use store::StoreSource;

/// An answer that is being computed.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, SourceError>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The question was wrong; the text says how, for the person who asked.
    #[error("{0}")]
    Question(String),
    /// The store cannot answer now.
    #[error("reading stored data")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads what is stored.
pub trait Source: Send + Sync {
    /// Returns the spans of a trace and the log records written in it; empty when it is unknown.
    fn trace(&self, trace_id: TraceId) -> Answer<'_, StoredTrace>;

    /// Returns the transactions that a trace is part of, with their traces, the earliest first; empty when none is kept
    /// yet. `started_ns` is when the trace began.
    fn transactions_of(&self, trace_id: TraceId, started_ns: i64) -> Answer<'_, Vec<TransactionTraces>>;

    /// Returns the latest revision of each transaction that fits.
    fn transactions(&self, query: TransactionQuery) -> Answer<'_, Vec<TransactionRow>>;

    /// Returns log records that fit, newest first.
    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<LogTable>>;

    /// Returns services that sent spans in the period, by name.
    fn services(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<String>>;

    /// Returns who called whom in the period, the busiest first, at most as many as a map can have.
    fn edges(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<EdgeRow>>;

    /// Returns an edge of the period in parts, the busiest first.
    fn edge_parts(&self, ends: EdgeEnds, by: EdgeBy, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<EdgePart>>;

    /// Returns the instances that were called in the period, by service.
    fn processes(&self, from_ns: i64, to_ns: i64) -> Answer<'_, Vec<ProcessRow>>;

    /// Runs SQL that only reads; the store's limits on rows, memory and time apply.
    fn sql(&self, query: String) -> Answer<'_, QueryResult>;
}

/// What is stored of one trace.
#[derive(Debug, Clone, Default)]
pub struct StoredTrace {
    /// The spans, in any order.
    pub spans: Vec<SpanTable>,
    /// The log records, in any order.
    pub logs: Vec<LogTable>,
    /// Whether there are more spans than the store's limit on rows.
    pub is_cut: bool,
}

/// Which traces a transaction consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionTraces {
    /// Id: the trace in which it began.
    pub id: TraceId,
    /// Its traces, the one in which it began first.
    pub traces: Vec<TraceId>,
}

/// Which transactions are wanted. Empty fields do not restrict.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TransactionQuery {
    /// Unix nanoseconds, inclusive.
    pub from_ns: i64,
    /// Unix nanoseconds, exclusive.
    pub to_ns: i64,
    /// Text contained in the transaction type, in any case.
    pub text: Option<String>,
    /// Service of the root operation, exactly.
    pub service: Option<String>,
    /// Root operation, exactly.
    pub operation: Option<String>,
    /// `ok` or `error`.
    pub status: Option<String>,
    /// Nanoseconds.
    pub duration_min_ns: Option<i64>,
    /// Nanoseconds.
    pub duration_max_ns: Option<i64>,
    /// Attributes that one span of the transaction has, key and value.
    pub attributes: Vec<(String, String)>,
    /// Slowest first instead of newest first.
    pub is_slowest_first: bool,
    /// Rows to skip.
    pub offset: usize,
    /// Rows to return at most.
    pub limit: usize,
}

/// A stored transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TransactionRow {
    /// Id: the trace in which it began.
    pub id: TraceId,
    /// Service of the root operation.
    pub service: String,
    /// Root operation.
    pub operation: String,
    /// Unix nanoseconds.
    pub started_ns: i64,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// Whether its root failed.
    pub has_error: bool,
    /// Whether a root arrived and no parent is missing.
    pub is_complete: bool,
    /// Distinct spans.
    pub spans_count: u32,
    /// Spans with status error.
    pub errors_count: u32,
    /// Services it touches.
    pub services: Vec<String>,
    /// Who owns how much of the duration, and why, longest first; sums to the duration. What the short ones own is one
    /// entry without a service.
    pub critical_path: Vec<TransactionSegment>,
    /// Whether all came that is expected: `whole`, or the worst state of what lacks; none while nothing is known of that.
    pub completeness: Option<String>,
    /// What became of its saga, if it is one.
    pub saga: Option<String>,
}

/// A stretch of a stored transaction's critical path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TransactionSegment {
    /// Service that owns the time.
    pub service: String,
    /// Operation that owns the time.
    pub operation: String,
    /// Why the time passed, as in [`analyzer::transaction::Cause::as_str`].
    pub cause: String,
    /// Nanoseconds.
    pub self_ns: i64,
}

/// Which log records are wanted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogQuery {
    /// Unix nanoseconds, inclusive.
    pub from_ns: i64,
    /// Unix nanoseconds, exclusive.
    pub to_ns: i64,
    /// Text contained in the body, in any case.
    pub text: Option<String>,
    /// Service, exactly.
    pub service: Option<String>,
    /// Traces in which they were written; empty for any, and none.
    pub trace_ids: Vec<TraceId>,
    /// Lowest severity number, 1 to 24.
    pub severity_min: Option<i32>,
    /// Rows to skip.
    pub offset: usize,
    /// Rows to return at most.
    pub limit: usize,
}
