//! Names of the stored tables. The store keeps one sequence of segments a name; SQL uses the same words.

use arrow::datatypes::SchemaRef;

use crate::{hop_schema, log_schema, metric_schema, span_schema, transaction_schema};

/// A stored table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableName {
    /// Spans as received.
    Spans,
    /// Log records as received.
    Logs,
    /// Metric data points as received.
    Metrics,
    /// Stitched transactions, one row a revision.
    Transactions,
    /// Caller → callee steps of transactions.
    Hops,
}

impl TableName {
    /// Every stored table.
    pub const ALL: [TableName; 5] = [Self::Spans, Self::Logs, Self::Metrics, Self::Transactions, Self::Hops];

    /// Returns the word used in SQL and in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Transactions => "transactions",
            Self::Hops => "hops",
        }
    }

    /// Returns the Arrow schema that every batch of this table has.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Spans => span_schema(),
            Self::Logs => log_schema(),
            Self::Metrics => metric_schema(),
            Self::Transactions => transaction_schema(),
            Self::Hops => hop_schema(),
        }
    }

    /// Returns the column of event time by which rows are sorted and retained.
    pub fn time_column(self) -> &'static str {
        match self {
            Self::Spans | Self::Hops => "start_time",
            Self::Logs | Self::Metrics => "time",
            Self::Transactions => "started_at",
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
