//! Numbers about the store for `/metrics` and the ingest page.

use std::time::Duration;

use collector_table::TableName;

/// Numbers about the store at one moment. Counts start at zero when the store is opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreStats {
    /// Bytes of the log files that are kept.
    pub wal_bytes: u64,
    /// Times that the log was synced.
    pub syncs: u64,
    /// Time that the last sync of the log took.
    pub sync_last: Duration,
    /// Time that all syncs of the log took.
    pub sync_total: Duration,
    /// Requests that were kept.
    pub kept: u64,
    /// Requests that had been kept before and were only acknowledged again.
    pub duplicates: u64,
    /// Requests refused because a queue, the memory or the analysis was at its limit.
    pub refused_busy: u64,
    /// Requests refused because the disk was full or failed.
    pub refused_no_space: u64,
    /// Requests that wait for the log.
    pub queue_requests: usize,
    /// Payloads of the requests that wait for the log.
    pub queue_bytes: usize,
    /// Bytes of rows that the analysis has not yet read.
    pub committed_bytes: usize,
    /// Bytes of rows that are only in memory.
    pub memory_bytes: usize,
    /// Seals that wrote segments.
    pub seals: u64,
    /// Seals that failed and will be tried again.
    pub seals_failed: u64,
    /// Superseded revisions that were forgotten because too many transactions were revised.
    pub revisions_forgotten: u64,
    /// Free bytes of the file system; nothing when it cannot be asked.
    pub disk_free_bytes: Option<u64>,
    /// Each stored table.
    pub tables: Vec<TableStats>,
}

/// Numbers about one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// The table.
    pub table: TableName,
    /// Segment files.
    pub segments: usize,
    /// Rows in segments.
    pub segment_rows: u64,
    /// Bytes of the segment files.
    pub segment_bytes: u64,
    /// Rows that are only in memory.
    pub memory_rows: u64,
}
