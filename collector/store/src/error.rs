//! What can go wrong, one variant for each thing that a caller could do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use collector_table::TableName;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

/// The store could not be opened, or a segment could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder open.
    #[error("locking data folder {}: another throughline is running on it", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What we were doing, as "reading".
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A segment is not readable as Parquet, or rows could not be written as such.
    #[error("segment {}", path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// What Parquet said.
        source: ParquetError,
    },
    /// Rollups could not be computed.
    #[error("computing rollups")]
    Rollup {
        /// What Arrow said.
        source: arrow::error::ArrowError,
    },
    /// A thread of the store panicked: a defect.
    #[error("{doing} broke off")]
    Broken {
        /// What it was doing.
        doing: &'static str,
    },
    /// The SQL engine could not be set up.
    #[error("setting up the SQL engine")]
    Engine(#[source] DataFusionError),
}

/// A request was not kept. Nothing of it is visible, and nothing was promised to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue, the memory or the analysis is at its limit: the sender should retry.
    #[error("the store is busy")]
    Busy {
        /// When to retry.
        retry_after: Duration,
    },
    /// The disk is full or failing: the sender should retry.
    #[error("the disk does not take more data")]
    NoSpace {
        /// When to retry.
        retry_after: Duration,
    },
    /// The payload is larger than the whole queue: retrying cannot help.
    #[error("the request has {bytes} bytes, more than the queue's limit of {bytes_max}")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// `queue_bytes_max`.
        bytes_max: usize,
    },
    /// The rows do not have the schema of their table: a mistake of the caller.
    #[error("the rows do not have the schema of table {table}")]
    WrongSchema {
        /// Table that was named.
        table: TableName,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A query gave no result. The text is for the person who wrote the query.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement does more than read, or is not exactly one statement.
    #[error("only a single SELECT, EXPLAIN, SHOW or DESCRIBE is allowed: {reason}")]
    Refused {
        /// What was found.
        reason: String,
    },
    /// The statement is wrong: syntax, unknown column, types that do not fit.
    #[error("the query is not valid: {message}")]
    Invalid {
        /// What the planner said.
        message: String,
    },
    /// The query used its memory up.
    #[error("the query needs more than {bytes_max} bytes of memory")]
    Memory {
        /// The limit.
        bytes_max: usize,
    },
    /// The query used its time up.
    #[error("the query took longer than {after:?}")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// Running failed: a segment is unreadable, or a computation overflowed.
    #[error("running the query")]
    Failed(#[source] DataFusionError),
}
