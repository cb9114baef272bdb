//! The `hops` view: caller → callee steps, computed from spans when a query asks for them. Filled by the daemon.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder,
    TimestampNanosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::columns::utc;
use crate::{SpanId, TraceId};

/// What a hop's row is built from.
pub struct HopFields<'a> {
    /// Transaction that the hop belongs to.
    pub transaction_id: TraceId,
    /// Revision of that transaction.
    pub revision: u32,
    /// Trace of the caller's span.
    pub trace_id: TraceId,
    /// Caller's span.
    pub span_id: SpanId,
    /// `call`, `message` or `database`.
    pub kind: &'a str,
    /// Which try of its logical call it is, from 1 on.
    pub attempt: u32,
    /// How often the logical call was tried.
    pub attempts: u32,
    /// Calling service.
    pub caller_service: &'a str,
    /// Caller's operation.
    pub caller_operation: &'a str,
    /// Called service, or the peer's address or system when it sends no telemetry.
    pub callee_service: &'a str,
    /// Callee's operation.
    pub callee_operation: &'a str,
    /// Whether the callee sent spans of its own.
    pub is_instrumented: bool,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Caller's view, nanoseconds.
    pub duration_ns: i64,
    /// Callee's view, nanoseconds.
    pub callee_duration_ns: Option<i64>,
    /// Caller's view minus callee's view (a call), or wait between the two (a message), nanoseconds.
    pub gap_ns: Option<i64>,
    /// Whether either side reports an error.
    pub has_error: bool,
}

/// Returns the schema of the `hops` view.
pub fn hop_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("transaction_id", DataType::FixedSizeBinary(16), false),
            Field::new("revision", DataType::UInt32, false),
            Field::new("trace_id", DataType::FixedSizeBinary(16), false),
            Field::new("span_id", DataType::FixedSizeBinary(8), false),
            Field::new("kind", DataType::Utf8, false),
            Field::new("attempt", DataType::UInt32, false),
            Field::new("attempts", DataType::UInt32, false),
            Field::new("caller_service", DataType::Utf8, false),
            Field::new("caller_operation", DataType::Utf8, false),
            Field::new("callee_service", DataType::Utf8, false),
            Field::new("callee_operation", DataType::Utf8, false),
            Field::new("instrumented", DataType::Boolean, false),
            Field::new("start_time", utc(), false),
            Field::new("duration_ns", DataType::Int64, false),
            Field::new("callee_duration_ns", DataType::Int64, true),
            Field::new("gap_ns", DataType::Int64, true),
            Field::new("has_error", DataType::Boolean, false),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a batch of the `hops` view.
pub struct HopTableBuilder {
    transaction_id: FixedSizeBinaryBuilder,
    revision: UInt32Builder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    texts: [StringBuilder; 5],
    attempts: [UInt32Builder; 2],
    instrumented: BooleanBuilder,
    start_time: TimestampNanosecondBuilder,
    duration_ns: Int64Builder,
    callee_duration_ns: Int64Builder,
    gap_ns: Int64Builder,
    has_error: BooleanBuilder,
    rows: usize,
}

impl Default for HopTableBuilder {
    fn default() -> Self {
        Self {
            transaction_id: FixedSizeBinaryBuilder::new(16),
            revision: UInt32Builder::new(),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            texts: std::array::from_fn(|_| StringBuilder::new()),
            attempts: std::array::from_fn(|_| UInt32Builder::new()),
            instrumented: BooleanBuilder::new(),
            start_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            duration_ns: Int64Builder::new(),
            callee_duration_ns: Int64Builder::new(),
            gap_ns: Int64Builder::new(),
            has_error: BooleanBuilder::new(),
            rows: 0,
        }
    }
}

impl HopTableBuilder {
    /// Appends one hop.
    pub fn append(&mut self, hop: &HopFields<'_>) {
        self.transaction_id.append_value(hop.transaction_id.0).expect("the builder was made for 16 bytes");
        self.revision.append_value(hop.revision);
        self.trace_id.append_value(hop.trace_id.0).expect("the builder was made for 16 bytes");
        self.span_id.append_value(hop.span_id.0).expect("the builder was made for 8 bytes");
        let texts = [hop.kind, hop.caller_service, hop.caller_operation, hop.callee_service, hop.callee_operation];
        for (column, value) in self.texts.iter_mut().zip(texts) {
            column.append_value(value);
        }
        for (column, value) in self.attempts.iter_mut().zip([hop.attempt, hop.attempts]) {
            column.append_value(value);
        }
        self.instrumented.append_value(hop.is_instrumented);
        self.start_time.append_value(hop.start_ns);
        self.duration_ns.append_value(hop.duration_ns);
        self.callee_duration_ns.append_option(hop.callee_duration_ns);
        self.gap_ns.append_option(hop.gap_ns);
        self.has_error.append_value(hop.has_error);
        self.rows += 1;
    }

    /// Returns how many rows were appended.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the batch and consumes the builder.
    pub fn finish(mut self) -> RecordBatch {
        let [mut kind, mut caller_service, mut caller_operation, mut callee_service, mut callee_operation] = self.texts;
        let [mut attempt, mut attempts] = self.attempts;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.transaction_id.finish()),
            Arc::new(self.revision.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(kind.finish()),
            Arc::new(attempt.finish()),
            Arc::new(attempts.finish()),
            Arc::new(caller_service.finish()),
            Arc::new(caller_operation.finish()),
            Arc::new(callee_service.finish()),
            Arc::new(callee_operation.finish()),
            Arc::new(self.instrumented.finish()),
            Arc::new(self.start_time.finish()),
            Arc::new(self.duration_ns.finish()),
            Arc::new(self.callee_duration_ns.finish()),
            Arc::new(self.gap_ns.finish()),
            Arc::new(self.has_error.finish()),
        ];
        RecordBatch::try_new(hop_schema(), columns).expect("append fills every column of the schema")
    }
}
