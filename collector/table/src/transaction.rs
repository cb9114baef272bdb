//! The `transactions` and `hops` tables: what stitching makes of spans. `analyzer`'s owner appends, SQL reads.
//! A transaction that late spans change is appended again with a higher revision; readers take the highest.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Builder, ListArray, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampNanosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::columns::utc;
use crate::{SpanId, TraceId};

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
    /// Hash of the call path, in hex.
    pub path_id: &'a str,
    /// Largest clock skew noted between two of its services, in nanoseconds.
    pub clock_skew_ns: i64,
    /// Traces it spans.
    pub trace_ids: &'a [TraceId],
    /// Services it touches, in order of first start.
    pub services: &'a [&'a str],
    /// Segments that sum to the duration.
    pub critical_path: &'a [SegmentFields<'a>],
}

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

fn segment_fields() -> Fields {
    Fields::from(vec![
        Field::new("service", DataType::Utf8, false),
        Field::new("operation", DataType::Utf8, false),
        Field::new("cause", DataType::Utf8, false),
        Field::new("self_ns", DataType::Int64, false),
    ])
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// Returns the schema of the `transactions` table.
pub fn transaction_schema() -> SchemaRef {
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
            Field::new("trace_ids", list_of(DataType::FixedSizeBinary(16)), false),
            Field::new("services", list_of(DataType::Utf8), false),
            Field::new("critical_path", list_of(DataType::Struct(segment_fields())), false),
        ]))
    });
    SCHEMA.clone()
}

/// Returns the schema of the `hops` table.
pub fn hop_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("transaction_id", DataType::FixedSizeBinary(16), false),
            Field::new("revision", DataType::UInt32, false),
            Field::new("trace_id", DataType::FixedSizeBinary(16), false),
            Field::new("span_id", DataType::FixedSizeBinary(8), false),
            Field::new("kind", DataType::Utf8, false),
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

/// Builds a batch of the `transactions` table.
pub struct TransactionTableBuilder {
    transaction_id: FixedSizeBinaryBuilder,
    revision: UInt32Builder,
    transaction_type: StringBuilder,
    service_name: StringBuilder,
    operation: StringBuilder,
    started_at: TimestampNanosecondBuilder,
    duration_ns: Int64Builder,
    status: StringBuilder,
    complete: BooleanBuilder,
    close_reason: StringBuilder,
    spans_count: UInt32Builder,
    errors_count: UInt32Builder,
    path_id: StringBuilder,
    clock_skew_ns: Int64Builder,
    trace_ids: (Vec<u8>, Vec<usize>),
    services: (Vec<String>, Vec<usize>),
    segments: Segments,
    rows: usize,
}

#[derive(Default)]
struct Segments {
    service: StringBuilder,
    operation: StringBuilder,
    cause: StringBuilder,
    self_ns: Int64Builder,
    lengths: Vec<usize>,
}

impl Default for TransactionTableBuilder {
    fn default() -> Self {
        Self {
            transaction_id: FixedSizeBinaryBuilder::new(16),
            revision: UInt32Builder::new(),
            transaction_type: StringBuilder::new(),
            service_name: StringBuilder::new(),
            operation: StringBuilder::new(),
            started_at: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            duration_ns: Int64Builder::new(),
            status: StringBuilder::new(),
            complete: BooleanBuilder::new(),
            close_reason: StringBuilder::new(),
            spans_count: UInt32Builder::new(),
            errors_count: UInt32Builder::new(),
            path_id: StringBuilder::new(),
            clock_skew_ns: Int64Builder::new(),
            trace_ids: (Vec::new(), Vec::new()),
            services: (Vec::new(), Vec::new()),
            segments: Segments::default(),
            rows: 0,
        }
    }
}

impl TransactionTableBuilder {
    /// Appends one revision of a transaction.
    pub fn append(&mut self, transaction: &TransactionFields<'_>) {
        self.transaction_id.append_value(transaction.transaction_id.0).expect("the builder was made for 16 bytes");
        self.revision.append_value(transaction.revision);
        self.transaction_type.append_value(format!("{} {}", transaction.service_name, transaction.operation));
        self.service_name.append_value(transaction.service_name);
        self.operation.append_value(transaction.operation);
        self.started_at.append_value(transaction.started_ns);
        self.duration_ns.append_value(transaction.duration_ns);
        self.status.append_value(transaction.status);
        self.complete.append_value(transaction.is_complete);
        self.close_reason.append_value(transaction.close_reason);
        self.spans_count.append_value(transaction.spans_count);
        self.errors_count.append_value(transaction.errors_count);
        self.path_id.append_value(transaction.path_id);
        self.clock_skew_ns.append_value(transaction.clock_skew_ns);
        for trace_id in transaction.trace_ids {
            self.trace_ids.0.extend_from_slice(&trace_id.0);
        }
        self.trace_ids.1.push(transaction.trace_ids.len());
        self.services.0.extend(transaction.services.iter().map(ToString::to_string));
        self.services.1.push(transaction.services.len());
        for segment in transaction.critical_path {
            self.segments.service.append_value(segment.service_name);
            self.segments.operation.append_value(segment.operation);
            self.segments.cause.append_value(segment.cause);
            self.segments.self_ns.append_value(segment.self_ns);
        }
        self.segments.lengths.push(transaction.critical_path.len());
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
        let trace_ids = FixedSizeBinaryArray::new(16, self.trace_ids.0.into(), None);
        let services = StringArray::from(self.services.0);
        let segments = StructArray::new(
            segment_fields(),
            vec![
                Arc::new(self.segments.service.finish()) as ArrayRef,
                Arc::new(self.segments.operation.finish()),
                Arc::new(self.segments.cause.finish()),
                Arc::new(self.segments.self_ns.finish()),
            ],
            None,
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.transaction_id.finish()),
            Arc::new(self.revision.finish()),
            Arc::new(self.transaction_type.finish()),
            Arc::new(self.service_name.finish()),
            Arc::new(self.operation.finish()),
            Arc::new(self.started_at.finish()),
            Arc::new(self.duration_ns.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.complete.finish()),
            Arc::new(self.close_reason.finish()),
            Arc::new(self.spans_count.finish()),
            Arc::new(self.errors_count.finish()),
            Arc::new(self.path_id.finish()),
            Arc::new(self.clock_skew_ns.finish()),
            list(DataType::FixedSizeBinary(16), Arc::new(trace_ids), self.trace_ids.1),
            list(DataType::Utf8, Arc::new(services), self.services.1),
            list(DataType::Struct(segment_fields()), Arc::new(segments), self.segments.lengths),
        ];
        RecordBatch::try_new(transaction_schema(), columns).expect("append fills every column of the schema")
    }
}

fn list(item: DataType, values: ArrayRef, lengths: Vec<usize>) -> ArrayRef {
    let field = Arc::new(Field::new("item", item, false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None))
}

/// Builds a batch of the `hops` table.
pub struct HopTableBuilder {
    transaction_id: FixedSizeBinaryBuilder,
    revision: UInt32Builder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    texts: [StringBuilder; 5],
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
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.transaction_id.finish()),
            Arc::new(self.revision.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(kind.finish()),
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
