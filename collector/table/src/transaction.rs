//! The `transactions` table: what stitching makes of spans. The analysis' owner appends, SQL reads.
//! A transaction that late spans change is appended again with a higher revision; readers take the highest.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int64Array, ListBuilder, RecordBatch, StringBuilder, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashTable;

use crate::TraceId;
use crate::columns::{IdColumn, timestamps, utc};
use crate::json::write_text;

/// Owners and causes that a critical path names; what the others took is one entry more.
const CRITICAL_PATH_MAX: usize = 16;

/// One segment of a critical path.
pub struct SegmentFields<'a> {
    /// Service that owns the time.
    pub service_name: &'a str,
    /// Operation that owns the time.
    pub operation: &'a str,
    /// Why the time passed: `self`, `network_gap`, `queue_wait`, …
    pub cause: &'a str,
    /// Nanoseconds.
    pub self_ns: i64,
}

/// A stage that is expected of a transaction and is not there.
pub struct LackingFields<'a> {
    /// Who should have done it.
    pub service_name: &'a str,
    /// What should have been done.
    pub operation: &'a str,
    /// `waiting`, `overdue` or `missing`.
    pub state: &'a str,
}

/// What is known of the stages that are expected of a transaction.
pub struct CompletenessFields<'a> {
    /// Expected stages, those that are there included.
    pub expected_count: u32,
    /// Those that are not there.
    pub lacking: &'a [LackingFields<'a>],
}

/// What a transaction's row is built from.
pub struct TransactionFields<'a> {
    /// Id of the transaction: the trace in which it began.
    pub transaction_id: TraceId,
    /// 1, and one more each time late spans change it.
    pub revision: u32,
    /// Service of the root operation.
    pub service_name: &'a str,
    /// Root operation.
    pub operation: &'a str,
    /// Unix nanoseconds.
    pub started_ns: i64,
    /// Nanoseconds from start to the last end.
    pub duration_ns: i64,
    /// `ok` or `error`.
    pub status: &'a str,
    /// Whether a root arrived and no parent is missing.
    pub is_complete: bool,
    /// Why it stopped waiting for spans.
    pub close_reason: &'a str,
    /// Distinct spans.
    pub spans_count: u32,
    /// Spans with status error.
    pub errors_count: u32,
    /// Hash of the call path; the row has it in hex.
    pub path_id: u64,
    /// Largest clock skew noted between two of its services, in nanoseconds.
    pub clock_skew_ns: i64,
    /// Traces it spans.
    pub trace_ids: &'a [TraceId],
    /// Services it touches, in order of first start.
    pub services: &'a [&'a str],
    /// Segments that sum to the duration.
    pub critical_path: &'a [SegmentFields<'a>],
    /// None while nothing is known of its type, or when it lacks spans.
    pub completeness: Option<CompletenessFields<'a>>,
    /// What became of its saga: `completed`, `compensation_missing`, …; none if it is no saga.
    pub saga: Option<&'a str>,
}

fn trace_id_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::FixedSizeBinary(16), false))
}

/// Returns the schema, which is the same in every form.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("transaction_id", DataType::FixedSizeBinary(16), false),
            Field::new("revision", DataType::UInt32, false),
            Field::new("type", DataType::Utf8, false),
            Field::new("service_name", DataType::Utf8, false),
            Field::new("operation", DataType::Utf8, false),
            Field::new("started_at", utc(), false),
            Field::new("duration_ns", DataType::Int64, false),
            Field::new("status", DataType::Utf8, false),
            Field::new("complete", DataType::Boolean, false),
            Field::new("close_reason", DataType::Utf8, false),
            Field::new("spans_count", DataType::UInt32, false),
            Field::new("errors_count", DataType::UInt32, false),
            Field::new("path_id", DataType::Utf8, false),
            Field::new("clock_skew_ns", DataType::Int64, false),
            Field::new("trace_ids", DataType::List(trace_id_item()), true),
            Field::new("services", DataType::Utf8, false),
            Field::new("critical_path", DataType::Utf8, false),
            // Segments that were written before these columns existed have null in them.
            Field::new("completeness", DataType::Utf8, true),
            Field::new("expected_count", DataType::UInt32, true),
            Field::new("lacking", DataType::Utf8, true),
            Field::new("saga", DataType::Utf8, true),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a batch of the `transactions` table.
pub struct TransactionTableBuilder {
    transaction_id: IdColumn<16>,
    revision: Vec<u32>,
    transaction_type: StringBuilder,
    service_name: StringBuilder,
    operation: StringBuilder,
    started_ns: Vec<i64>,
    duration_ns: Vec<i64>,
    status: StringBuilder,
    complete: BooleanBuilder,
    close_reason: StringBuilder,
    spans_count: Vec<u32>,
    errors_count: Vec<u32>,
    path_id: StringBuilder,
    clock_skew_ns: Vec<i64>,
    trace_ids: ListBuilder<FixedSizeBinaryBuilder>,
    services: StringBuilder,
    critical_path: StringBuilder,
    completeness: StringBuilder,
    expected_count: Vec<Option<u32>>,
    lacking: StringBuilder,
    saga: StringBuilder,
    path: PathWriter,
}

impl Default for TransactionTableBuilder {
    fn default() -> Self {
        Self {
            transaction_id: IdColumn::default(),
            revision: Vec::new(),
            transaction_type: StringBuilder::new(),
            service_name: StringBuilder::new(),
            operation: StringBuilder::new(),
            started_ns: Vec::new(),
            duration_ns: Vec::new(),
            status: StringBuilder::new(),
            complete: BooleanBuilder::new(),
            close_reason: StringBuilder::new(),
            spans_count: Vec::new(),
            errors_count: Vec::new(),
            path_id: StringBuilder::new(),
            clock_skew_ns: Vec::new(),
            trace_ids: ListBuilder::new(FixedSizeBinaryBuilder::new(16)).with_field(trace_id_item()),
            services: StringBuilder::new(),
            critical_path: StringBuilder::new(),
            completeness: StringBuilder::new(),
            expected_count: Vec::new(),
            lacking: StringBuilder::new(),
            saga: StringBuilder::new(),
            path: PathWriter::default(),
        }
    }
}

impl TransactionTableBuilder {
    /// Appends one revision of a transaction.
    pub fn append(&mut self, transaction: &TransactionFields<'_>) {
        self.transaction_id.push(Some(&transaction.transaction_id.0));
        self.revision.push(transaction.revision);
        append_joined(&mut self.transaction_type, " ", &[transaction.service_name, transaction.operation]);
        self.service_name.append_value(transaction.service_name);
        self.operation.append_value(transaction.operation);
        self.started_ns.push(transaction.started_ns);
        self.duration_ns.push(transaction.duration_ns);
        self.status.append_value(transaction.status);
        self.complete.append_value(transaction.is_complete);
        self.close_reason.append_value(transaction.close_reason);
        self.spans_count.push(transaction.spans_count);
        self.errors_count.push(transaction.errors_count);
        // Into the builder's own memory, as everything that would otherwise be a text of its own for each row.
        let _ = write!(self.path_id, "{:016x}", transaction.path_id);
        self.path_id.append_value("");
        self.clock_skew_ns.push(transaction.clock_skew_ns);
        self.append_trace_ids(transaction);
        append_joined(&mut self.services, ", ", transaction.services);
        self.critical_path.append_value(self.path.json(transaction.critical_path));
        self.append_completeness(transaction.completeness.as_ref());
        self.saga.append_option(transaction.saga);
    }

    /// The word is the worst of what lacks; the list is null when nothing does, which is the usual case.
    fn append_completeness(&mut self, completeness: Option<&CompletenessFields<'_>>) {
        let lacking = completeness.map(|known| known.lacking).unwrap_or_default();
        let is_any = |state: &str| lacking.iter().any(|stage| stage.state == state);
        let worst = ["missing", "overdue", "waiting"].into_iter().find(|state| is_any(state)).unwrap_or("whole");
        self.completeness.append_option(completeness.map(|_| worst));
        self.expected_count.push(completeness.map(|known| known.expected_count));
        let json = (!lacking.is_empty()).then(|| {
            let json = &mut self.path.json;
            write_rows(json, lacking.iter().map(|stage| ([stage.service_name, stage.operation, stage.state], None)));
            &*json
        });
        self.lacking.append_option(json);
    }

    /// Null stands for the usual case: the one trace that gave the transaction its id.
    fn append_trace_ids(&mut self, transaction: &TransactionFields<'_>) {
        let is_usual = matches!(transaction.trace_ids, [] | [_])
            && transaction.trace_ids.iter().all(|id| *id == transaction.transaction_id);
        if !is_usual {
            for id in transaction.trace_ids {
                self.trace_ids.values().append_value(id.0).expect("the builder was made for 16 bytes");
            }
        }
        self.trace_ids.append(!is_usual);
    }

    /// Returns how many rows were appended.
    pub fn len(&self) -> usize {
        self.revision.len()
    }

    /// Returns whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.revision.is_empty()
    }

    /// Returns the batch and consumes the builder.
    pub fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            self.transaction_id.finish(),
            Arc::new(UInt32Array::from(self.revision)),
            Arc::new(self.transaction_type.finish()),
            Arc::new(self.service_name.finish()),
            Arc::new(self.operation.finish()),
            timestamps(self.started_ns),
            Arc::new(Int64Array::from(self.duration_ns)),
            Arc::new(self.status.finish()),
            Arc::new(self.complete.finish()),
            Arc::new(self.close_reason.finish()),
            Arc::new(UInt32Array::from(self.spans_count)),
            Arc::new(UInt32Array::from(self.errors_count)),
            Arc::new(self.path_id.finish()),
            Arc::new(Int64Array::from(self.clock_skew_ns)),
            Arc::new(self.trace_ids.finish()),
            Arc::new(self.services.finish()),
            Arc::new(self.critical_path.finish()),
            Arc::new(self.completeness.finish()),
            Arc::new(UInt32Array::from(self.expected_count)),
            Arc::new(self.lacking.finish()),
            Arc::new(self.saga.finish()),
        ];
        RecordBatch::try_new(schema(), columns).expect("append fills every column of the schema")
    }
}

fn append_joined(column: &mut StringBuilder, separator: &str, texts: &[&str]) {
    for (at, text) in texts.iter().enumerate() {
        // Writing to a builder's memory cannot fail.
        let _ = column.write_str(if at == 0 { "" } else { separator });
        let _ = column.write_str(text);
    }
    column.append_value("");
}

/// Writes a list of lists of three texts, and a number where there is one, in place of what was written before.
fn write_rows<'a>(json: &mut String, rows: impl Iterator<Item = ([&'a str; 3], Option<i64>)>) {
    json.clear();
    json.push('[');
    for (texts, number) in rows {
        json.push_str(if json.len() > 1 { ",[" } else { "[" });
        for (at, text) in texts.into_iter().enumerate() {
            json.push_str(if at == 0 { "" } else { "," });
            write_text(json, text);
        }
        if let Some(number) = number {
            json.push(',');
            json.push_str(itoa::Buffer::new().format(number));
        }
        json.push(']');
    }
    json.push(']');
}

/// Writes critical paths; keeps its room from one to the next.
#[derive(Default)]
struct PathWriter {
    json: String,
    /// Place of an owner and cause in the merged path, by hash.
    known: HashTable<usize>,
    hasher: ahash::RandomState,
}

impl PathWriter {
    /// Returns `[["service","operation","cause",self_ns],…]`, merged by owner and cause, largest first, at most
    /// [`CRITICAL_PATH_MAX`]; the rest is one `["","","other",self_ns]`, so that the numbers still sum to the duration.
    fn json(&mut self, segments: &[SegmentFields<'_>]) -> &str {
        let mut merged = self.merge(segments);
        merged.sort_by_key(|(_, self_ns)| std::cmp::Reverse(*self_ns));
        let rest = merged.get(CRITICAL_PATH_MAX..).unwrap_or_default();
        let rest_ns: Option<i64> = rest.iter().map(|(_, self_ns)| *self_ns).reduce(i64::saturating_add);
        merged.truncate(CRITICAL_PATH_MAX);
        let named = merged.iter().map(|(owner, ns)| ([owner.service_name, owner.operation, owner.cause], Some(*ns)));
        let other = rest_ns.map(|ns| (["", "", "other"], Some(ns)));
        write_rows(&mut self.json, named.chain(other));
        &self.json
    }

    fn merge<'a, 'b>(&mut self, segments: &'b [SegmentFields<'a>]) -> Vec<(&'b SegmentFields<'a>, i64)> {
        let Self { known, hasher, .. } = self;
        let mut merged: Vec<(&SegmentFields<'a>, i64)> = Vec::with_capacity(segments.len().min(CRITICAL_PATH_MAX));
        known.clear();
        for segment in segments {
            let owner = segment.owner();
            let hash = hasher.hash_one(owner);
            let place = known.find(hash, |place| merged[*place].0.owner() == owner).copied().unwrap_or_else(|| {
                merged.push((segment, 0));
                let rehash = |place: &usize| hasher.hash_one(merged[*place].0.owner());
                known.insert_unique(hash, merged.len() - 1, rehash);
                merged.len() - 1
            });
            merged[place].1 = merged[place].1.saturating_add(segment.self_ns);
        }
        merged
    }
}

impl<'a> SegmentFields<'a> {
    fn owner(&self) -> (&'a str, &'a str, &'a str) {
        (self.service_name, self.operation, self.cause)
    }
}

#[cfg(test)]
mod tests;
