//! What decoding returns: the rows that are good and the count, by reason, of the items that are not.

use std::collections::BTreeMap;

use arrow::array::{Array, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::UInt32Type;

use crate::Signal;

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedBatch {
    /// Signal; `signal.table()` is the table of the rows.
    pub signal: Signal,
    /// Accepted items, with the schema of their table.
    pub rows: RecordBatch,
    /// How many items were accepted.
    pub accepted: usize,
    /// How many were not, by reason; empty when all were accepted.
    pub rejected: Vec<Rejected>,
    /// Attributes that were dropped or shortened to keep the limits.
    pub cut_attributes: u64,
}

/// Items rejected for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The reason.
    pub reason: RejectReason,
    /// How many items.
    pub count: u64,
}

/// Why an item of an otherwise good request is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// Trace id is not 16 bytes or all zero.
    InvalidTraceId,
    /// Span id is not 8 bytes or all zero.
    InvalidSpanId,
    /// Parent span id is neither empty nor 8 bytes.
    InvalidParentSpanId,
    /// A time is beyond signed 64-bit nanoseconds (the year 2262).
    TimeOutOfRange,
    /// The request's rows already take all the memory that one request may take.
    BatchFull,
    /// Metric without a data point of a known kind.
    UnknownMetricKind,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::InvalidTraceId,
        Self::InvalidSpanId,
        Self::InvalidParentSpanId,
        Self::TimeOutOfRange,
        Self::BatchFull,
        Self::UnknownMetricKind,
    ];

    /// Returns the word used in answers, counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTraceId => "invalid_trace_id",
            Self::InvalidSpanId => "invalid_span_id",
            Self::InvalidParentSpanId => "invalid_parent_span_id",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::BatchFull => "batch_full",
            Self::UnknownMetricKind => "unknown_metric_kind",
        }
    }
}

impl DecodedBatch {
    /// Returns how many items were rejected, over all reasons.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.iter().map(|rejected| rejected.count).sum()
    }

    /// Returns how many accepted items each `service.name` sent, in order of name.
    pub fn items_by_service(&self) -> Vec<(String, u64)> {
        let Some(column) = self.rows.column_by_name("service_name") else { return Vec::new() };
        let Some(names) = column.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() else { return Vec::new() };
        let Some(entries) = names.values().as_any().downcast_ref::<StringArray>() else { return Vec::new() };
        let mut counts = vec![0_u64; entries.len()];
        for key in names.keys().values() {
            counts[*key as usize] += 1;
        }
        // Several resources may be of one service.
        let mut items: BTreeMap<&str, u64> = BTreeMap::new();
        for (entry, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            *items.entry(entries.value(entry)).or_default() += count;
        }
        items.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
