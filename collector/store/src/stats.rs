//! Numbers about the store for `/metrics` and the ingest page.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::snapshot::{Snapshot, TableSnapshot, place};

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

/// Counts that the writer and the handles keep. Each number stands alone, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    wal_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_last_ns: AtomicU64,
    sync_total_ns: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) refused_no_space: AtomicU64,
    pub(crate) queue_requests: AtomicUsize,
    pub(crate) queue_bytes: AtomicUsize,
    pub(crate) committed_bytes: AtomicUsize,
    pub(crate) memory_bytes: AtomicUsize,
    pub(crate) seals: AtomicU64,
    pub(crate) seals_failed: AtomicU64,
    pub(crate) revisions_forgotten: AtomicU64,
}

impl Counters {
    pub(crate) fn synced(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_last_ns.store(ns, Relaxed);
        self.sync_total_ns.fetch_add(ns, Relaxed);
    }

    pub(crate) fn set_wal_bytes(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Relaxed);
    }

    /// Returns the counts, with the tables of the snapshot.
    pub(crate) fn read(&self, snapshot: &Snapshot, disk_free_bytes: Option<u64>) -> StoreStats {
        StoreStats {
            wal_bytes: self.wal_bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_last: Duration::from_nanos(self.sync_last_ns.load(Relaxed)),
            sync_total: Duration::from_nanos(self.sync_total_ns.load(Relaxed)),
            kept: self.kept.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            refused_busy: self.refused_busy.load(Relaxed),
            refused_no_space: self.refused_no_space.load(Relaxed),
            queue_requests: self.queue_requests.load(Relaxed),
            queue_bytes: self.queue_bytes.load(Relaxed),
            committed_bytes: self.committed_bytes.load(Relaxed),
            memory_bytes: self.memory_bytes.load(Relaxed),
            seals: self.seals.load(Relaxed),
            seals_failed: self.seals_failed.load(Relaxed),
            revisions_forgotten: self.revisions_forgotten.load(Relaxed),
            disk_free_bytes,
            tables: TableName::ALL.map(|table| table_stats(table, &snapshot.tables[place(table)])).to_vec(),
        }
    }
}

fn table_stats(table: TableName, snapshot: &TableSnapshot) -> TableStats {
    let rows: usize = snapshot.memory.iter().map(RecordBatch::num_rows).sum();
    TableStats {
        table,
        segments: snapshot.segments.len(),
        segment_rows: snapshot.segments.iter().map(|segment| segment.rows).sum(),
        segment_bytes: snapshot.segments.iter().map(|segment| segment.bytes).sum(),
        memory_rows: u64::try_from(rows).unwrap_or(u64::MAX),
    }
}
