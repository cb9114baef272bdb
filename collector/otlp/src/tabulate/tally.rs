//! What one request costs and loses while it is tabulated: cut attributes, rejected items, memory of rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use collector_table::ValueType;
use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::values::as_text;
use crate::{DecodedBatch, Limits, RejectReason, Rejected, Signal};

/// Memory of a row beside its texts: numbers, ids, offsets.
const ROW_BYTES: usize = 256;
/// Memory of an attribute, event or link beside its texts.
pub(super) const ENTRY_BYTES: usize = 32;

/// Counts for one request.
pub(super) struct Tally<'a> {
    limits: &'a Limits,
    rows_bytes: usize,
    rejected: BTreeMap<RejectReason, u64>,
    cut_attributes: u64,
}

/// An attribute as the tables keep it.
pub(super) struct Attribute<'a> {
    pub(super) key: &'a str,
    pub(super) value: Cow<'a, str>,
    pub(super) value_type: ValueType,
}

impl<'a> Tally<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, rows_bytes: 0, rejected: BTreeMap::new(), cut_attributes: 0 }
    }

    /// Counts items as rejected.
    pub(super) fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_default() += 1;
    }

    /// Takes memory for one more row, or says that the batch is full.
    pub(super) fn admit(&mut self, text_bytes: usize) -> Result<(), RejectReason> {
        let grown = self.rows_bytes.saturating_add(text_bytes).saturating_add(ROW_BYTES);
        if grown > self.limits.rows_bytes_max {
            return Err(RejectReason::BatchFull);
        }
        self.rows_bytes = grown;
        Ok(())
    }

    /// Returns the attributes within the limits, and how many were left out.
    pub(super) fn cut<'m>(&mut self, attributes: &'m [KeyValue]) -> (Vec<Attribute<'m>>, u32) {
        let kept = attributes.len().min(self.limits.attributes_max);
        let left_out = attributes.len() - kept;
        self.cut_attributes += left_out as u64;
        let attributes = attributes[..kept].iter().map(|attribute| self.shorten(attribute)).collect();
        (attributes, u32::try_from(left_out).unwrap_or(u32::MAX))
    }

    pub(super) fn finish(self, signal: Signal, rows: arrow::array::RecordBatch) -> DecodedBatch {
        let rejected = self.rejected.into_iter().map(|(reason, count)| Rejected { reason, count }).collect();
        DecodedBatch { signal, accepted: rows.num_rows(), rows, rejected, cut_attributes: self.cut_attributes }
    }

    fn shorten<'m>(&mut self, attribute: &'m KeyValue) -> Attribute<'m> {
        let max = self.limits.attribute_bytes_max;
        let (value, value_type) = as_text(attribute.value.as_ref());
        if attribute.key.len() <= max && value.len() <= max {
            return Attribute { key: &attribute.key, value, value_type };
        }
        self.cut_attributes += 1;
        let is_cut = value.len() > max;
        let value = match value {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..text.floor_char_boundary(max)]),
            Cow::Owned(mut text) => {
                text.truncate(text.floor_char_boundary(max));
                Cow::Owned(text)
            }
        };
        // What is left of a number or of JSON is only text.
        let value_type = if is_cut { ValueType::String } else { value_type };
        Attribute { key: &attribute.key[..attribute.key.floor_char_boundary(max)], value, value_type }
    }
}

/// Returns the memory that attributes take in one row.
pub(super) fn attribute_bytes(attributes: &[Attribute<'_>]) -> usize {
    attributes.iter().map(|attribute| attribute.key.len() + attribute.value.len() + ENTRY_BYTES).sum()
}

/// Returns signed nanoseconds, or that the time lies beyond them.
pub(super) fn time_ns(unix_ns: u64) -> Result<i64, RejectReason> {
    i64::try_from(unix_ns).map_err(|_| RejectReason::TimeOutOfRange)
}

/// Returns nothing for an empty text: OTLP does not tell empty from absent.
pub(super) fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
