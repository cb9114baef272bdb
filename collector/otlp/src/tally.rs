//! What one request costs and loses while it is read: cut attributes, rejected items, memory of rows.

use std::collections::BTreeMap;

use crate::{DecodedBatch, Limits, RejectReason, Rejected, Signal};

/// Memory of a row beside its texts: numbers, ids, offsets.
const ROW_BYTES: usize = 256;
/// Most that the rows of one request take, whatever the limits say: an Arrow column of texts ends at twice as much, and
/// the resource of the last row comes on top.
const ROWS_BYTES_MAX: usize = 1 << 30;
/// Memory of an attribute, event or link beside its texts.
pub(crate) const ENTRY_BYTES: usize = 16;

/// Counts for one request.
pub(crate) struct Tally {
    rows_bytes_max: usize,
    rows_bytes: usize,
    rejected: BTreeMap<RejectReason, u64>,
    /// Attributes that were left out or shortened.
    pub(crate) cut_attributes: u64,
}

impl Tally {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rows_bytes_max = limits.rows_bytes_max.min(ROWS_BYTES_MAX);
        Self { rows_bytes_max, rows_bytes: 0, rejected: BTreeMap::new(), cut_attributes: 0 }
    }

    /// Counts an item as rejected.
    pub(crate) fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_default() += 1;
    }

    /// Takes memory for one more row, or says that the batch is full.
    pub(crate) fn admit(&mut self, text_bytes: usize) -> Result<(), RejectReason> {
        let grown = self.rows_bytes.saturating_add(text_bytes).saturating_add(ROW_BYTES);
        if grown > self.rows_bytes_max {
            return Err(RejectReason::BatchFull);
        }
        self.rows_bytes = grown;
        Ok(())
    }

    /// Takes memory for what many rows share; the row that needs it first was admitted.
    pub(crate) fn take(&mut self, shared_bytes: usize) {
        self.rows_bytes = self.rows_bytes.saturating_add(shared_bytes);
    }

    pub(crate) fn finish(self, signal: Signal, rows: arrow::array::RecordBatch) -> DecodedBatch {
        let rejected = self.rejected.into_iter().map(|(reason, count)| Rejected { reason, count }).collect();
        DecodedBatch { signal, accepted: rows.num_rows(), rows, rejected, cut_attributes: self.cut_attributes }
    }
}

/// Returns signed nanoseconds, or that the time lies beyond them.
pub(crate) fn time_ns(unix_ns: u64) -> Result<i64, RejectReason> {
    i64::try_from(unix_ns).map_err(|_| RejectReason::TimeOutOfRange)
}

/// Returns nothing for an empty text: OTLP does not tell empty from absent.
pub(crate) fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
