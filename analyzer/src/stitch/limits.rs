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
}
