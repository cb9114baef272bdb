//! Bounds and counters of stitching. Set by the daemon's configuration; read by pages and metrics.

const SECOND_NS: i64 = 1_000_000_000;

/// Bounds and waits of stitching. Times are nanoseconds of arrival, not of event time.
///
/// Waiting adapts to the load: up to the bounds on what is open, everyone waits as long as stated. At the bounds, whole
/// transactions are closed before they settled, those first that have been quiet for longest, so that at twice the
/// spans a second the wait is half as long. Only when none is whole are incomplete ones evicted.
#[derive(Debug, Clone)]
pub struct StitcherLimits {
    /// Quiet time after which a transaction with a root and all parents is closed. Exporters send every five
    /// seconds by default, each process at its own moment.
    pub settle_ns: i64,
    /// Quiet time after which a transaction that lacks something is closed.
    pub idle_ns: i64,
    /// Longest time that a transaction stays open.
    pub age_max_ns: i64,
    /// Time for which a closed transaction can be reopened.
    pub reopen_ns: i64,
    /// Spans of one transaction; at the bound it is closed, and what follows is a part of its own.
    pub spans_per_transaction_max: usize,
    /// Open transactions; at the bound some are closed early or evicted.
    pub open_transactions_max: usize,
    /// Spans of all open transactions, about 60 bytes each with all that belongs to them; at the bound some are closed early or evicted.
    pub open_spans_max: usize,
    /// Spans kept of closed transactions, 40 bytes each; at the bound the oldest can no longer be reopened.
    pub closed_spans_max: usize,
    /// Whether critical paths, own times and gaps are corrected where clocks of two processes are known to differ.
    pub corrects_skew: bool,
    /// Attribute keys whose values join traces, beside those that are discovered.
    pub join_keys: Vec<String>,
    /// Whether keys are discovered; if not, only those of `join_keys` join traces.
    pub discovers_keys: bool,
    /// Time that a closed trace waits for one that it seems to have caused, or to be caused by.
    pub join_wait_ns: i64,
    /// Longest time that a closed trace waits for traces that share something with it and are still open.
    pub join_wait_max_ns: i64,
    /// Time for which a closed trace can be joined, from when it was last of use.
    pub join_ns: i64,
    /// Longest time, in event time, that a join bridges; discovered keys bridge less, by what they usually do.
    pub join_distance_ns: i64,
    /// Spans kept of traces that can be joined, 50 bytes each; at the bound the oldest are given out and let go of.
    pub joinable_spans_max: usize,
    /// Traces that can be joined, about 500 bytes each; at the bound the oldest are given out and let go of.
    pub joinable_traces_max: usize,
    /// Values by which traces can be joined, about 150 bytes each; at the bound the oldest traces are let go of, and
    /// what then still does not fit is left out.
    pub join_values_max: usize,
    /// Links of one trace, and values; further ones are left out.
    pub facts_per_trace_max: usize,
    /// Traces that share one message; what more share joins none.
    pub traces_per_message_max: usize,
    /// Traces that share one value of a named key; what more share joins none.
    pub traces_per_named_value_max: usize,
    /// Traces that share one value of a discovered key; what more share joins none.
    pub traces_per_discovered_value_max: usize,
    /// Traces that link to one trace; if there are more, none of these links joins.
    pub links_to_trace_max: usize,
    /// Traces of one transaction; further ones are not joined to it.
    pub traces_per_transaction_max: usize,
    /// Transactions that one trace serves; it is not joined to further ones.
    pub transactions_per_trace_max: usize,
}

impl Default for StitcherLimits {
    fn default() -> Self {
        Self {
            settle_ns: 6 * SECOND_NS,
            idle_ns: 20 * SECOND_NS,
            age_max_ns: 600 * SECOND_NS,
            reopen_ns: 60 * SECOND_NS,
            spans_per_transaction_max: 20_000,
            open_transactions_max: 100_000,
            open_spans_max: 1_000_000,
            closed_spans_max: 300_000,
            corrects_skew: true,
            join_keys: Vec::new(),
            discovers_keys: true,
            join_wait_ns: 5 * SECOND_NS,
            join_wait_max_ns: 60 * SECOND_NS,
            join_ns: 300 * SECOND_NS,
            join_distance_ns: 3_600 * SECOND_NS,
            joinable_spans_max: 300_000,
            joinable_traces_max: 60_000,
            join_values_max: 150_000,
            facts_per_trace_max: 4_000,
            traces_per_message_max: 64,
            traces_per_named_value_max: 64,
            traces_per_discovered_value_max: 32,
            links_to_trace_max: 512,
            traces_per_transaction_max: 512,
            transactions_per_trace_max: 1_000,
        }
    }
}

impl StitcherLimits {
    /// Returns the limits without those on what is held, for spans that are held anyway.
    pub(super) fn unbounded(self) -> Self {
        Self {
            spans_per_transaction_max: usize::MAX,
            open_transactions_max: usize::MAX,
            open_spans_max: usize::MAX,
            joinable_spans_max: usize::MAX,
            joinable_traces_max: usize::MAX,
            join_values_max: usize::MAX,
            ..self
        }
    }
}

/// What stitching counted since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StitcherStats {
    /// Spans taken in.
    pub spans: u64,
    /// Transactions closed, later revisions included.
    pub closed: u64,
    /// Transactions reopened by late spans.
    pub reopened: u64,
    /// Spans that came after their transaction could be reopened; they form a transaction of revision 0.
    pub too_late: u64,
    /// Transactions closed at the bound of spans of one.
    pub at_span_limit: u64,
    /// Transactions closed at the bound of age.
    pub at_age_limit: u64,
    /// Whole transactions closed before they settled, at a bound on what is open.
    pub early: u64,
    /// Incomplete transactions closed at a bound on what is open.
    pub evicted: u64,
    /// Spans of names or sites beyond their bound, read as those of "(others)".
    pub folded: u64,
    /// Values of business keys, and executions that work for them, that were not told at a bound.
    pub values_left_out: u64,
    /// What was counted of joins.
    pub joins: JoinStats,
}

/// What was counted of joins since they began, and what is held for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinStats {
    /// Transactions of several traces, later revisions included.
    pub joined: u64,
    /// Transactions taken back because they turned out to be part of another.
    pub superseded: u64,
    /// Joins that were refused.
    pub refused: u64,
    /// Revisions not given out because there were as many as the bound allows.
    pub at_revision_limit: u64,
    /// Links and values left out at a bound.
    pub facts_left_out: u64,
    /// Traces that could no longer be joined because there was no room.
    pub let_go_early: u64,
    /// Attribute keys not watched because there are too many.
    pub keys_left_out: u64,
    /// How often a discovered key came into use or went out of it.
    pub keys_changed: u64,
    /// Spans held for joins now.
    pub kept_spans: usize,
    /// Traces held for joins now, open ones included.
    pub traces: usize,
    /// Values held for joins now.
    pub values: usize,
}
