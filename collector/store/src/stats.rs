//! Numbers about the store for `/metrics` and the ingest page.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use arrow::array::RecordBatch;
use collector_table::TableName;

use crate::evidence::Evidence;
use crate::promote::Promoted;
use crate::segment::Kept;
use crate::snapshot::{PerTable, Snapshot, TableSnapshot, place};

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
    /// Longest time that a sync of the log took.
    pub sync_max: Duration,
    /// Syncs of the log that failed after requests had been acknowledged; only with an interval.
    pub syncs_failed: u64,
    /// Requests that the last commit wrote together.
    pub group_requests_last: usize,
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
    /// Time that the last seal took.
    pub seal_last: Duration,
    /// Time that all seals took.
    pub seal_total: Duration,
    /// Merges of segments.
    pub compactions: u64,
    /// Segments that were merged into others.
    pub compacted_segments: u64,
    /// Rows that were merged.
    pub compacted_rows: u64,
    /// Merges that failed and will be tried again.
    pub compactions_failed: u64,
    /// Segments that expired.
    pub expired_segments: u64,
    /// Bytes of the segments that expired.
    pub expired_bytes: u64,
    /// Segments that should have expired and stay, because their evidence could not be written.
    pub expirations_failed: u64,
    /// Files that are removed as soon as no query reads them.
    pub replaced_segments: usize,
    /// Traces whose rows outlive ordinary retention.
    pub evidence_traces: usize,
    /// Such traces that were forgotten because there were too many.
    pub evidence_forgotten: u64,
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
    /// Segment files that hold evidence, counted above as well.
    pub evidence_segments: usize,
    /// Attributes with a column of their own.
    pub promoted_keys: usize,
    /// Attributes that were frequent enough for a column at the last seal, and found no room.
    pub promoted_left_out: usize,
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
    sync_max_ns: AtomicU64,
    pub(crate) syncs_failed: AtomicU64,
    pub(crate) group_requests_last: AtomicUsize,
    pub(crate) kept: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) refused_no_space: AtomicU64,
    pub(crate) queue_requests: AtomicUsize,
    pub(crate) queue_bytes: AtomicUsize,
    pub(crate) committed_bytes: AtomicUsize,
    pub(crate) memory_bytes: AtomicUsize,
    seals: AtomicU64,
    seal_last_ns: AtomicU64,
    seal_total_ns: AtomicU64,
    pub(crate) seals_failed: AtomicU64,
    pub(crate) revisions_forgotten: AtomicU64,
    compactions: AtomicU64,
    compacted_segments: AtomicU64,
    compacted_rows: AtomicU64,
    pub(crate) compactions_failed: AtomicU64,
    expired_segments: AtomicU64,
    expired_bytes: AtomicU64,
    pub(crate) expirations_failed: AtomicU64,
    pub(crate) replaced: AtomicUsize,
    promoted: PerTable<(AtomicUsize, AtomicUsize)>,
}

impl Counters {
    pub(crate) fn synced(&self, took: Duration) {
        let ns = nanoseconds(took);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_last_ns.store(ns, Relaxed);
        self.sync_total_ns.fetch_add(ns, Relaxed);
        self.sync_max_ns.fetch_max(ns, Relaxed);
    }

    pub(crate) fn sealed(&self, took: Duration) {
        let ns = nanoseconds(took);
        self.seals.fetch_add(1, Relaxed);
        self.seal_last_ns.store(ns, Relaxed);
        self.seal_total_ns.fetch_add(ns, Relaxed);
    }

    pub(crate) fn count_promoted(&self, promoted: &PerTable<Arc<Promoted>>) {
        for ((keys, left_out), promoted) in self.promoted.iter().zip(promoted) {
            keys.store(promoted.columns().len(), Relaxed);
            left_out.store(promoted.left_out(), Relaxed);
        }
    }

    pub(crate) fn compacted(&self, segments: usize, rows: u64) {
        self.compactions.fetch_add(1, Relaxed);
        self.compacted_segments.fetch_add(segments as u64, Relaxed);
        self.compacted_rows.fetch_add(rows, Relaxed);
    }

    pub(crate) fn expired(&self, bytes: u64) {
        self.expired_segments.fetch_add(1, Relaxed);
        self.expired_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn set_wal_bytes(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Relaxed);
    }

    /// Returns the counts, with the tables of the snapshot.
    pub(crate) fn read(&self, snapshot: &Snapshot, evidence: &Evidence, disk_free_bytes: Option<u64>) -> StoreStats {
        let duration = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        StoreStats {
            wal_bytes: self.wal_bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_last: duration(&self.sync_last_ns),
            sync_total: duration(&self.sync_total_ns),
            sync_max: duration(&self.sync_max_ns),
            syncs_failed: self.syncs_failed.load(Relaxed),
            group_requests_last: self.group_requests_last.load(Relaxed),
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
            seal_last: duration(&self.seal_last_ns),
            seal_total: duration(&self.seal_total_ns),
            compactions: self.compactions.load(Relaxed),
            compacted_segments: self.compacted_segments.load(Relaxed),
            compacted_rows: self.compacted_rows.load(Relaxed),
            compactions_failed: self.compactions_failed.load(Relaxed),
            expired_segments: self.expired_segments.load(Relaxed),
            expired_bytes: self.expired_bytes.load(Relaxed),
            expirations_failed: self.expirations_failed.load(Relaxed),
            replaced_segments: self.replaced.load(Relaxed),
            evidence_traces: evidence.ids().len(),
            evidence_forgotten: evidence.forgotten(),
            revisions_forgotten: self.revisions_forgotten.load(Relaxed),
            disk_free_bytes,
            tables: TableName::ALL.map(|table| self.table(table, &snapshot.tables[place(table)])).to_vec(),
        }
    }

    fn table(&self, table: TableName, snapshot: &TableSnapshot) -> TableStats {
        let rows: usize = snapshot.memory.iter().map(RecordBatch::num_rows).sum();
        let (promoted, left_out) = &self.promoted[place(table)];
        let segments = &snapshot.segments;
        TableStats {
            table,
            segments: segments.len(),
            segment_rows: segments.iter().map(|segment| segment.rows).sum(),
            segment_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            evidence_segments: segments.iter().filter(|segment| segment.kept == Kept::AsEvidence).count(),
            promoted_keys: promoted.load(Relaxed),
            promoted_left_out: left_out.load(Relaxed),
            memory_rows: u64::try_from(rows).unwrap_or(u64::MAX),
        }
    }
}

fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}
