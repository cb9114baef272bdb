//! What the store may use: folder, sizes, limits. The daemon fills it from its own configuration.

use std::path::PathBuf;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Where the store lives and what it may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder that holds everything; created when missing. One daemon at a time.
    pub dir: PathBuf,
    /// Sealed to Parquet when the active log file is larger than this, bytes.
    pub wal_bytes_max: u64,
    /// Sealed to Parquet this long after the first row that is only in memory.
    pub seal_after: Duration,
    /// Payloads of requests that wait for the log, bytes. A single larger payload is refused for good.
    pub queue_bytes_max: usize,
    /// Requests that wait for the log.
    pub queue_requests_max: usize,
    /// Rows that are only in memory, bytes. Beyond it requests are refused until a seal has made room.
    pub memory_bytes_max: usize,
    /// Rows that the analysis has not yet read, bytes. Beyond it requests wait in the queue.
    pub committed_bytes_max: usize,
    /// Requests are refused when the file system has less space than this, bytes.
    pub disk_free_bytes_min: u64,
    /// What one query may use.
    pub query: QueryLimits,
}

/// What one query may use, and how many run at once.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// Memory of one query's sorts, joins and aggregations, and of its result, bytes.
    pub memory_bytes: usize,
    /// Rows of a result; the rest is cut off and the result says so.
    pub rows_max: usize,
    /// Time after which a query is stopped.
    pub timeout: Duration,
    /// Queries that run at once; further ones wait, within their timeout.
    pub concurrent_max: usize,
}

impl Config {
    /// Returns the configuration of a small daemon for this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            wal_bytes_max: 64 * MIB as u64,
            seal_after: Duration::from_secs(60),
            queue_bytes_max: 128 * MIB,
            queue_requests_max: 4096,
            memory_bytes_max: 512 * MIB,
            committed_bytes_max: 128 * MIB,
            disk_free_bytes_min: 256 * MIB as u64,
            query: QueryLimits::default(),
        }
    }
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { memory_bytes: 256 * MIB, rows_max: 100_000, timeout: Duration::from_secs(30), concurrent_max: 4 }
    }
}
