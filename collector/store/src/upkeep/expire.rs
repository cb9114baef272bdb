//! Removes segments when their time is over, or the oldest when all of them are too large. Before a segment goes, the
//! rows of traces that were named as evidence are written to a segment of their own, which takes its place.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use collector_table::TableName;

use super::{Running, say};
use crate::segment::{Kept, Segment};
use crate::snapshot::Snapshot;
use crate::{Retention, write};

impl Running {
    /// Removes what has expired by this time.
    pub(super) fn expire(&mut self, now_ns: i64) {
        for (kept, retention) in
            [(Kept::Ordinarily, self.worker.config.retention), (Kept::AsEvidence, self.worker.config.evidence)]
        {
            let snapshot = self.worker.snapshot.load_full();
            let log_from = self.log_from.load(Relaxed);
            for segment in expired(&snapshot, kept, retention, log_from, now_ns) {
                if self.is_stopping() {
                    return;
                }
                self.expire_one(segment);
            }
        }
    }

    fn expire_one(&mut self, segment: Arc<Segment>) {
        let evidence = match self.evidence_of(&segment) {
            Ok(evidence) => evidence,
            Err(error) => {
                self.worker.counters.expirations_failed.fetch_add(1, Relaxed);
                return say(&error, "keeping evidence of a segment that has expired: it stays");
            }
        };
        self.worker.counters.expired(segment.bytes);
        self.replace(vec![segment], evidence);
    }

    fn evidence_of(&self, segment: &Segment) -> Result<Option<Segment>, crate::StoreError> {
        let has_traces = matches!(segment.table, TableName::Spans | TableName::Logs);
        let ids = self.worker.evidence.ids();
        if segment.kept == Kept::AsEvidence || !has_traces || ids.is_empty() {
            return Ok(None);
        }
        write::evidence(&self.worker.files, segment, &ids)
    }
}

/// Returns the segments that have to go, the oldest first. One whose requests the log still has stays, or they would
/// be replayed.
fn expired(snapshot: &Snapshot, kept: Kept, retention: Retention, log_from: u64, now_ns: i64) -> Vec<Arc<Segment>> {
    let all = snapshot.tables.iter().flat_map(|table| table.segments.iter()).filter(|segment| segment.kept == kept);
    let mut all: Vec<(i64, &Arc<Segment>)> = all.map(|segment| (age_ns(segment, now_ns), segment)).collect();
    all.sort_by_key(|(age_ns, _)| std::cmp::Reverse(*age_ns));
    let mut bytes: u64 = all.iter().map(|(_, segment)| segment.bytes).sum();
    let mut expired = Vec::new();
    for (age_ns, segment) in all {
        let is_old = retention.time.is_some_and(|time| i128::from(age_ns) > time.as_nanos().cast_signed());
        let is_too_much = retention.bytes.is_some_and(|bytes_max| bytes > bytes_max);
        if (is_old || is_too_much) && segment.seqs.to < log_from {
            bytes -= segment.bytes;
            expired.push(Arc::clone(segment));
        }
    }
    expired
}

/// Returns how long ago the latest event was; the earliest, if a sender's clock was ahead.
fn age_ns(segment: &Segment, now_ns: i64) -> i64 {
    let (earliest, latest) = segment.time_range.unwrap_or((0, 0));
    now_ns.saturating_sub(if latest > now_ns { earliest } else { latest })
}
