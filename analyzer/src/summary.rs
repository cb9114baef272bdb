//! What the pages show without a query: transaction types now and usually, open and recent incidents.
//! Made by the analyzer's owner after each step; read by `web` as an immutable snapshot.

use std::sync::Arc;

use crate::expect::Expectations;
use crate::hazards::HazardReport;
use crate::incident::Incident;
use crate::join::{Proposal, Refused};
use crate::progress::Progress;
use crate::stitch::{JoinStats, OpenTransaction};

/// State of everything that is watched, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Event time up to which transactions were judged, unix nanoseconds; 0 before the first.
    pub as_of_ns: i64,
    /// Transaction types, most traffic first; bounded by the analyzer's limit of types.
    pub types: Vec<TypeSummary>,
    /// Incidents, newest first; open ones are always among them, resolved ones up to a bound.
    pub incidents: Vec<Incident>,
    /// Transactions that still wait for spans, those that a span reached last.
    pub arriving: Vec<OpenTransaction>,
    /// How many transactions still wait for spans.
    pub open_transactions: usize,
    /// Spans seen since the start.
    pub spans: u64,
    /// Transactions closed since the start.
    pub transactions: u64,
    /// Counters of what happened at a bound, by name.
    pub at_bounds: Vec<(&'static str, u64)>,
    /// How traces are joined.
    pub joins: JoinSummary,
    /// Transactions that are not over.
    pub progress: Progress,
    /// What is expected of transactions, by type.
    pub expectations: Expectations,
    /// What protects each hop; renewed every few seconds.
    pub hazards: Arc<HazardReport>,
}

/// How traces are joined, at one moment.
#[derive(Debug, Clone, Default)]
pub struct JoinSummary {
    /// What was counted, and what is held.
    pub stats: JoinStats,
    /// Attribute keys that join traces, or may, the best first.
    pub proposals: Vec<Proposal>,
    /// Joins that were refused, by rule, key and reason.
    pub refused: Vec<Refused>,
}

/// How a transaction type does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeState {
    /// Too little history to judge.
    Learning,
    /// Within its baseline.
    Usual,
    /// Part of an open incident.
    Slow,
}

/// One transaction type, now and usually.
#[derive(Debug, Clone)]
pub struct TypeSummary {
    /// Service of the root operation.
    pub service: String,
    /// Root operation.
    pub operation: String,
    /// Transactions a minute over the last five minutes.
    pub per_minute: f64,
    /// Share of transactions with an error over the last five minutes, 0 to 1.
    pub error_share: f64,
    /// Milliseconds over the last five minutes.
    pub p50_ms: f64,
    /// Milliseconds over the last five minutes.
    pub p99_ms: f64,
    /// Median of the reference period, milliseconds.
    pub usual_p50_ms: Option<f64>,
    /// 99th percentile of the reference period, milliseconds.
    pub usual_p99_ms: Option<f64>,
    /// Median and 95th percentile in milliseconds for each of the last minutes, oldest first; none without traffic.
    pub minutes: Vec<Option<(f64, f64)>>,
    /// State.
    pub state: TypeState,
    /// Number of the open incident that affects it.
    pub incident: Option<u64>,
    /// Transactions in the reference.
    pub reference_count: u64,
}
