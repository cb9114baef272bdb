//! Keeps what was received: write-ahead log with group commit, tables in memory, Parquet segments, and SQL over all of
//! it as one. `receiver` appends, the daemon's analysis reads what was committed and appends what it derived, `web` and
//! the command line query. Must never acknowledge a row that a crash could lose, store one twice, or grow without bound.
//!
//! One writer thread owns everything that changes: the log, rows in memory, the list of segments, recent requests.
//! Queries only see the immutable snapshot that it publishes after each commit and each seal.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod committed;
mod config;
mod disk;
mod error;
mod log;
mod memory;
mod queue;
mod recent;
mod recovery;
mod revisions;
mod rollup;
mod seal;
mod segment;
mod snapshot;
mod sql;
mod stats;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use committed::{Committed, CommittedReceiver};
pub use config::{Config, QueryLimits};
pub use error::{AppendError, SqlError, StoreError};
pub use sql::{QueryParam, QueryResult, Reader, TraceRows};
pub use stats::{StoreStats, TableStats};
pub use store::{Appended, Recovery, Store};
