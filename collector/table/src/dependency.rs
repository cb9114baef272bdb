//! The `dependencies` table: hops of stitched transactions counted per minute and pair of operations, by instance and
//! version. A message that passes a named queue is two rows: what was sent to it, and what was taken from it.
//! Rows merge: several rows of one key may exist, and readers sum them.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::Sketch;
use crate::columns::{timestamps, utc};

/// What a row is built from.
#[derive(Default)]
pub struct DependencyFields<'a> {
    /// Unix nanoseconds at which the minute of the callers' start begins.
    pub minute_ns: i64,
    /// Calling service; the queue of what is taken from one.
    pub caller_service: &'a str,
    /// Caller's operation.
    pub caller_operation: &'a str,
    /// Called service, the queue of what is sent to one, or the peer's address or system when it sends no telemetry.
    pub callee_service: &'a str,
    /// Callee's operation.
    pub callee_operation: &'a str,
    /// `call`, `message` or `database`.
    pub kind: &'a str,
    /// `service`, `queue` or `client`.
    pub caller_kind: &'a str,
    /// `service`, `queue`, `database` or `peer`.
    pub callee_kind: &'a str,
    /// System of the database or queue, such as `postgresql`.
    pub system: Option<&'a str>,
    /// Name of the database within its system.
    pub namespace: Option<&'a str>,
    /// Version of the calling service.
    pub caller_version: Option<&'a str>,
    /// Instance that calls; only where the callee sends no telemetry, or every pair of instances would have a row.
    pub caller_instance: Option<&'a str>,
    /// Version of the called service.
    pub callee_version: Option<&'a str>,
    /// Instance that is called.
    pub callee_instance: Option<&'a str>,
    /// Whether the callee sent spans of its own.
    pub is_instrumented: bool,
}

/// What is counted of the hops of a row.
#[derive(Debug, Clone, Default)]
pub struct DependencyTally {
    /// Hops, every attempt included.
    pub count: i64,
    /// Hops of which either side reports an error.
    pub errors: i64,
    /// Attempts beyond the first of one logical call.
    pub retries: i64,
    /// Caller's view of all hops together, nanoseconds; the consumer's work where it takes a message from a queue.
    pub duration_sum_ns: i64,
    /// The same one by one.
    pub durations: Sketch,
    /// Gaps (a call) or waits (a message) of all hops that have one, together, nanoseconds.
    pub gap_sum_ns: i64,
    /// Hops that have a gap.
    pub gap_count: i64,
    /// Gaps or waits one by one, nanoseconds; negative ones, which clocks make, count as zero.
    pub gaps: Sketch,
}

impl DependencyTally {
    /// Adds all that another counted.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.retries += other.retries;
        self.duration_sum_ns = self.duration_sum_ns.saturating_add(other.duration_sum_ns);
        self.durations.merge(&other.durations);
        self.gap_sum_ns = self.gap_sum_ns.saturating_add(other.gap_sum_ns);
        self.gap_count += other.gap_count;
        self.gaps.merge(&other.gaps);
    }
}

/// Returns the schema, which is the same in every form. Columns that may be null were added later: segments from before
/// do not have them.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let later = |name: &str| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("minute", utc(), false),
            Field::new("caller_service", DataType::Utf8, false),
            Field::new("caller_operation", DataType::Utf8, false),
            Field::new("callee_service", DataType::Utf8, false),
            Field::new("callee_operation", DataType::Utf8, false),
            Field::new("kind", DataType::Utf8, false),
            Field::new("instrumented", DataType::Boolean, false),
            Field::new("count", DataType::Int64, false),
            Field::new("errors", DataType::Int64, false),
            Field::new("duration_sum_ns", DataType::Int64, false),
            Field::new("duration_sketch", DataType::Binary, false),
            Field::new("gap_sum_ns", DataType::Int64, false),
            Field::new("gap_count", DataType::Int64, false),
            later("caller_kind"),
            later("callee_kind"),
            later("system"),
            later("namespace"),
            later("caller_version"),
            later("caller_instance"),
            later("callee_version"),
            later("callee_instance"),
            Field::new("retries", DataType::Int64, true),
            Field::new("gap_sketch", DataType::Binary, true),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a batch of the `dependencies` table.
#[derive(Default)]
pub struct DependencyTableBuilder {
    minute_ns: Vec<i64>,
    texts: [StringBuilder; 5],
    instrumented: BooleanBuilder,
    numbers: [Vec<i64>; 3],
    durations: BinaryBuilder,
    gap_numbers: [Vec<i64>; 2],
    details: [StringBuilder; 8],
    retries: Vec<i64>,
    gaps: BinaryBuilder,
    encoded: Vec<u8>,
}

impl DependencyTableBuilder {
    /// Appends one row.
    pub fn append(&mut self, row: &DependencyFields<'_>, tally: &DependencyTally) {
        self.minute_ns.push(row.minute_ns);
        let texts = [row.caller_service, row.caller_operation, row.callee_service, row.callee_operation, row.kind];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_value(text);
        }
        self.instrumented.append_value(row.is_instrumented);
        for (column, number) in self.numbers.iter_mut().zip([tally.count, tally.errors, tally.duration_sum_ns]) {
            column.push(number);
        }
        self.encoded.clear();
        tally.durations.encode(&mut self.encoded);
        self.durations.append_value(&self.encoded);
        for (column, number) in self.gap_numbers.iter_mut().zip([tally.gap_sum_ns, tally.gap_count]) {
            column.push(number);
        }
        let details = [
            Some(row.caller_kind),
            Some(row.callee_kind),
            row.system,
            row.namespace,
            row.caller_version,
            row.caller_instance,
            row.callee_version,
            row.callee_instance,
        ];
        for (column, text) in self.details.iter_mut().zip(details) {
            column.append_option(text);
        }
        self.retries.push(tally.retries);
        self.encoded.clear();
        tally.gaps.encode(&mut self.encoded);
        self.gaps.append_option((tally.gap_count > 0).then_some(&self.encoded));
    }

    /// Returns how many rows were appended.
    pub fn len(&self) -> usize {
        self.minute_ns.len()
    }

    /// Returns whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.minute_ns.is_empty()
    }

    /// Returns the batch and consumes the builder.
    pub fn finish(mut self) -> RecordBatch {
        let mut columns: Vec<ArrayRef> = vec![timestamps(self.minute_ns)];
        columns.extend(self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.instrumented.finish()));
        columns.extend(self.numbers.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        columns.push(Arc::new(self.durations.finish()));
        columns.extend(self.gap_numbers.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        columns.extend(self.details.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(Int64Array::from(self.retries)));
        columns.push(Arc::new(self.gaps.finish()));
        RecordBatch::try_new(schema(), columns).expect("append fills every column of the schema")
    }
}
