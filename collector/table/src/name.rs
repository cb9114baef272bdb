//! Names of the stored tables. The store keeps one sequence of segments a name; SQL uses the same words.

use arrow::datatypes::SchemaRef;

use crate::{dependency, log, metric, red, span, transaction};

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
    /// Spans counted per minute and operation.
    Red,
    /// Hops counted per minute and pair of operations.
    Dependencies,
}

impl TableName {
    /// Every stored table.
    pub const ALL: [TableName; 6] =
        [Self::Spans, Self::Logs, Self::Metrics, Self::Transactions, Self::Red, Self::Dependencies];

    /// Returns the word used in SQL and in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Transactions => "transactions",
            Self::Red => "red",
            Self::Dependencies => "dependencies",
        }
    }

    /// Returns the schema of batches in memory.
    pub fn memory_schema(self) -> SchemaRef {
        match self {
            Self::Spans => span::memory_schema(),
            Self::Logs => log::memory_schema(),
            Self::Metrics => metric::memory_schema(),
            Self::Transactions => transaction::schema(),
            Self::Red => red::schema(),
            Self::Dependencies => dependency::schema(),
        }
    }

    /// Returns the schema that queries see. Texts are plain; attributes are JSON text ([`crate::json`]).
    pub fn sql_schema(self) -> SchemaRef {
        match self {
            Self::Spans => span::sql_schema(),
            Self::Logs => log::sql_schema(),
            Self::Metrics => metric::sql_schema(),
            Self::Transactions | Self::Red | Self::Dependencies => self.memory_schema(),
        }
    }

    /// Returns the column of event time by which rows are sorted and retained.
    pub fn time_column(self) -> &'static str {
        match self {
            Self::Spans => "start_time",
            Self::Logs | Self::Metrics => "time",
            Self::Transactions => "started_at",
            Self::Red | Self::Dependencies => "minute",
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
