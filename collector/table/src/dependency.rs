//! The `dependencies` table: hops of stitched transactions counted per minute and pair of operations.
//! Rows merge: several rows of one key may exist, and readers sum them.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::Sketch;
use crate::columns::{timestamps, utc};

/// What a row is built from.
pub struct DependencyFields<'a> {
    /// Unix nanoseconds at which the minute of the callers' start begins.
    pub minute_ns: i64,
    /// Calling service.
    pub caller_service: &'a str,
    /// Caller's operation.
    pub caller_operation: &'a str,
    /// Called service, or the peer's address or system when it sends no telemetry.
    pub callee_service: &'a str,
    /// Callee's operation.
    pub callee_operation: &'a str,
    /// `call`, `message` or `database`.
    pub kind: &'a str,
    /// Whether the callee sent spans of its own.
    pub is_instrumented: bool,
    /// Hops.
    pub count: i64,
    /// Hops of which either side reports an error.
    pub errors: i64,
    /// Caller's view of all hops together, nanoseconds.
    pub duration_sum_ns: i64,
    /// Caller's view, nanoseconds.
    pub durations: &'a Sketch,
    /// Gaps (a call) or waits (a message) of all hops that have one, together, nanoseconds.
    pub gap_sum_ns: i64,
    /// Hops that have a gap.
    pub gap_count: i64,
}

/// Returns the schema, which is the same in every form.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
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
    gaps: [Vec<i64>; 2],
    encoded: Vec<u8>,
}

impl DependencyTableBuilder {
    /// Appends one row.
    pub fn append(&mut self, row: &DependencyFields<'_>) {
        self.minute_ns.push(row.minute_ns);
        let texts = [row.caller_service, row.caller_operation, row.callee_service, row.callee_operation, row.kind];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_value(text);
        }
        self.instrumented.append_value(row.is_instrumented);
        for (column, number) in self.numbers.iter_mut().zip([row.count, row.errors, row.duration_sum_ns]) {
            column.push(number);
        }
        self.encoded.clear();
        row.durations.encode(&mut self.encoded);
        self.durations.append_value(&self.encoded);
        for (column, number) in self.gaps.iter_mut().zip([row.gap_sum_ns, row.gap_count]) {
            column.push(number);
        }
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
        columns.extend(self.gaps.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        RecordBatch::try_new(schema(), columns).expect("append fills every column of the schema")
    }
}
