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
mod evidence;
mod files;
mod gather;
mod inbox;
mod layout;
mod log;
mod memory;
mod output;
mod promote;
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
mod upkeep;
mod write;
mod writer;

/// What the hand-off waits with; its test puts a model in the place of it.
mod sync {
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
}

#[cfg(test)]
mod tests;

pub use committed::{Committed, CommittedReceiver};
pub use config::{Config, Durability, QueryLimits, Retention};
pub use error::{AppendError, SqlError, StoreError};
pub use sql::{HopsOf, QueryParam, QueryResult, Reader, TraceRows};
pub use stats::{StoreStats, TableStats};
pub use store::{Appended, Recovery, Store};
