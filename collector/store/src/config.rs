//! What the store may use: folder, sizes, limits. The daemon fills it from its own configuration.

use std::path::PathBuf;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Where the store lives and what it may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder that holds everything; created when missing. One daemon at a time.
    pub dir: PathBuf,
    /// When a request counts as kept.
    pub durability: Durability,
    /// Sealed to Parquet when the active log file is larger than this, bytes.
    pub wal_bytes_max: u64,
    /// Sealed to Parquet when a table has this many rows that are only in memory.
    pub seal_rows: usize,
    /// Sealed to Parquet when the rows that are only in memory are larger than this, bytes.
    pub seal_bytes: usize,
    /// Sealed to Parquet this long after the first row that is only in memory.
    pub seal_after: Duration,
    /// Attributes of one table that get a column of their own in segments; the most frequent ones.
    pub promoted_max: usize,
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
    /// Largest file that compaction makes, bytes; also at most a sixteenth of `retention.bytes`.
    pub segment_bytes_max: u64,
    /// How long segments are kept.
    pub retention: Retention,
    /// How long the rows of traces are kept that [`Store::keep_evidence`](crate::Store::keep_evidence) named.
    pub evidence: Retention,
    /// What one query may use.
    pub query: QueryLimits,
}

/// When a request counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: a loss of power loses nothing that was acknowledged.
    Always,
    /// When the operating system has it: a crash of the daemon loses nothing, a loss of power at most this time.
    Interval(Duration),
}

/// Up to when segments are kept; whole files are removed, those with the oldest rows first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// A file is removed when its latest event is older than this.
    pub time: Option<Duration>,
    /// The oldest files are removed while all of them are larger than this, bytes.
    pub bytes: Option<u64>,
}

/// What one query may use, and how many run at once.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// Memory of the sorts, joins and aggregations of all queries together, and of the results that are still held, bytes.
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
            durability: Durability::Always,
            wal_bytes_max: 256 * MIB as u64,
            seal_rows: 256 * 1024,
            seal_bytes: 96 * MIB,
            seal_after: Duration::from_secs(60),
            promoted_max: 128,
            queue_bytes_max: 128 * MIB,
            queue_requests_max: 4096,
            memory_bytes_max: 512 * MIB,
            committed_bytes_max: 128 * MIB,
            disk_free_bytes_min: 256 * MIB as u64,
            segment_bytes_max: 512 * MIB as u64,
            retention: Retention::default(),
            evidence: Retention::default(),
            query: QueryLimits::default(),
        }
    }
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { memory_bytes: 256 * MIB, rows_max: 100_000, timeout: Duration::from_secs(30), concurrent_max: 4 }
    }
}
