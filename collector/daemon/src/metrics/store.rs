//! What the store did and holds. Every field of its numbers is taken apart here, so that none is forgotten.

use std::time::Duration;

use collector_store::{StoreStats, TableStats};

use super::{Kind, Metric, Sample};

#[rustfmt::skip]
pub(super) fn metrics(stats: &StoreStats) -> Vec<Metric> {
    let StoreStats {
        wal_bytes, syncs, sync_last, sync_total, sync_max, syncs_failed, group_requests_last, kept, duplicates,
        refused_busy, refused_no_space, queue_requests, queue_bytes, committed_bytes, memory_bytes, seals, seals_failed,
        seal_last, seal_total, compactions, compacted_segments, compacted_rows, compactions_failed, expired_segments,
        expired_bytes, expirations_failed, replaced_segments, evidence_traces, evidence_forgotten, revisions_forgotten,
        disk_free_bytes, tables,
    } = stats;
    let lasted = |name, help, duration: &Duration| Metric::single(Kind::Gauge, name, help, duration.as_secs_f64());
    let seconds = |name, help, duration: &Duration| Metric::single(Kind::Counter, name, help, duration.as_secs_f64());
    let counter = Metric::counter;
    let gauge = |name, help, value: usize| Metric::gauge(name, help, value as u64);
    let mut metrics = vec![
        counter("throughline_store_kept_requests_total", "Requests kept.", *kept),
        counter("throughline_store_duplicate_requests_total", "Requests that had been kept before.", *duplicates),
        counter("throughline_store_refused_busy_total", "Requests refused at a limit.", *refused_busy),
        counter("throughline_store_refused_no_space_total", "Requests refused for the disk.", *refused_no_space),
        gauge("throughline_store_queue_requests", "Requests that wait for the log.", *queue_requests),
        gauge("throughline_store_queue_bytes", "Bytes that wait for the log.", *queue_bytes),
        gauge("throughline_store_group_requests", "Requests that the last commit wrote together.", *group_requests_last),
        counter("throughline_store_syncs_total", "Syncs of the write-ahead log.", *syncs),
        counter("throughline_store_syncs_failed_total", "Syncs that failed after an acknowledgement.", *syncs_failed),
        seconds("throughline_store_sync_seconds_total", "Time of all syncs.", sync_total),
        lasted("throughline_store_sync_seconds", "Time of the last sync.", sync_last),
        lasted("throughline_store_sync_max_seconds", "Time of the longest sync.", sync_max),
        Metric::gauge("throughline_store_wal_bytes", "Bytes of log files.", *wal_bytes),
        gauge("throughline_store_memory_bytes", "Bytes of rows only in memory.", *memory_bytes),
        gauge("throughline_analysis_waiting_bytes", "Bytes that the analysis has not read.", *committed_bytes),
        counter("throughline_store_seals_total", "Seals that wrote segments.", *seals),
        counter("throughline_store_seals_failed_total", "Seals that failed and are tried again.", *seals_failed),
        seconds("throughline_store_seal_seconds_total", "Time of all seals.", seal_total),
        lasted("throughline_store_seal_seconds", "Time of the last seal.", seal_last),
        counter("throughline_store_compactions_total", "Merges of segments.", *compactions),
        counter("throughline_store_compactions_failed_total", "Merges that failed.", *compactions_failed),
        counter("throughline_store_compacted_segments_total", "Segments merged into others.", *compacted_segments),
        counter("throughline_store_compacted_rows_total", "Rows that were merged.", *compacted_rows),
        counter("throughline_store_expired_segments_total", "Segments removed by retention.", *expired_segments),
        counter("throughline_store_expired_bytes_total", "Bytes removed by retention.", *expired_bytes),
        counter("throughline_store_expirations_failed_total", "Removals put off for evidence.", *expirations_failed),
        gauge("throughline_store_replaced_segments", "Files removed once no query reads them.", *replaced_segments),
        gauge("throughline_store_evidence_traces", "Traces that outlive retention.", *evidence_traces),
        counter("throughline_store_evidence_forgotten_total", "Such traces forgotten: too many.", *evidence_forgotten),
        counter("throughline_store_revisions_forgotten_total", "Old revisions forgotten: too many.", *revisions_forgotten),
    ];
    // Where the file system does not tell, there is no sample.
    let free = disk_free_bytes.map(|bytes| Sample::of(bytes as f64));
    metrics.push(Metric::gauges("throughline_store_disk_free_bytes", "Free bytes of the file system.", free));
    metrics.extend(of_tables(tables));
    metrics
}

fn of_tables(tables: &[TableStats]) -> [Metric; 7] {
    let table = |name, help, field: fn(&TableStats) -> u64| {
        let sample = |table: &TableStats| Sample::of(field(table) as f64).with("table", table.table.as_str());
        Metric::gauges(name, help, tables.iter().map(sample))
    };
    [
        table("throughline_store_segments", "Segment files.", |table| table.segments as u64),
        table("throughline_store_segment_rows", "Rows in segments.", |table| table.segment_rows),
        table("throughline_store_segment_bytes", "Bytes of segments.", |table| table.segment_bytes),
        table("throughline_store_evidence_segments", "Segments of evidence.", |table| table.evidence_segments as u64),
        table("throughline_store_promoted_keys", "Attributes with a column.", |table| table.promoted_keys as u64),
        table("throughline_store_promoted_left_out", "Attributes that found no room for a column.", |table| {
            table.promoted_left_out as u64
        }),
        table("throughline_store_memory_rows", "Rows only in memory.", |table| table.memory_rows),
    ]
}
