//! The `red` table: spans counted per minute, operation, kind, status and instance, so that no page or detector scans
//! raw spans for a number. Rows merge: several rows of one key may exist, and readers sum them.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryBuilder, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::columns::{timestamps, utc};
use crate::{Sketch, SpanKind, StatusCode};

/// What a row is built from.
pub struct RedFields<'a> {
    /// Unix nanoseconds at which the minute of the spans' start begins.
    pub minute_ns: i64,
    /// `service.name`.
    pub service_name: &'a str,
    /// Operation.
    pub operation: &'a str,
    /// Kind of the spans.
    pub kind: SpanKind,
    /// Status of the spans.
    pub status_code: StatusCode,
    /// Instance, pod or host.
    pub service_instance: Option<&'a str>,
    /// Spans.
    pub count: i64,
    /// Spans with status error.
    pub errors: i64,
    /// Nanoseconds of all spans together.
    pub duration_sum_ns: i64,
    /// Nanoseconds of the shortest.
    pub duration_min_ns: i64,
    /// Nanoseconds of the longest.
    pub duration_max_ns: i64,
    /// Durations, nanoseconds.
    pub durations: &'a Sketch,
}

/// Returns the schema, which is the same in every form.
pub(crate) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("minute", utc(), false),
            Field::new("service_name", DataType::Utf8, false),
            Field::new("operation", DataType::Utf8, false),
            Field::new("kind", DataType::Utf8, false),
            Field::new("status_code", DataType::Utf8, false),
            Field::new("service_instance", DataType::Utf8, true),
            Field::new("count", DataType::Int64, false),
            Field::new("errors", DataType::Int64, false),
            Field::new("duration_sum_ns", DataType::Int64, false),
            Field::new("duration_min_ns", DataType::Int64, false),
            Field::new("duration_max_ns", DataType::Int64, false),
            Field::new("duration_sketch", DataType::Binary, false),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a batch of the `red` table.
#[derive(Default)]
pub struct RedTableBuilder {
    minute_ns: Vec<i64>,
    texts: [StringBuilder; 4],
    service_instance: StringBuilder,
    numbers: [Vec<i64>; 5],
    durations: BinaryBuilder,
    encoded: Vec<u8>,
}

impl RedTableBuilder {
    /// Appends one row.
    pub fn append(&mut self, row: &RedFields<'_>) {
        self.minute_ns.push(row.minute_ns);
        let texts = [row.service_name, row.operation, row.kind.as_str(), row.status_code.as_str()];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_value(text);
        }
        self.service_instance.append_option(row.service_instance);
        let numbers = [row.count, row.errors, row.duration_sum_ns, row.duration_min_ns, row.duration_max_ns];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.push(number);
        }
        self.encoded.clear();
        row.durations.encode(&mut self.encoded);
        self.durations.append_value(&self.encoded);
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
        columns.push(Arc::new(self.service_instance.finish()));
        columns.extend(self.numbers.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        columns.push(Arc::new(self.durations.finish()));
        RecordBatch::try_new(schema(), columns).expect("append fills every column of the schema")
    }
}
