//! The `logs` table: one row a log record, as in opentelemetry/proto/logs/v1.
//! `otlp` appends, the store keeps, `web` reads rows to show them in their transaction.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int32Array, Int32Builder, MapArray, RecordBatch,
    StringArray, StringBuilder, TimestampNanosecondArray, TimestampNanosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::attributes::map_type;
use crate::columns::{check_schema, column, optional_id, text, utc};
use crate::{Attributes, AttributesBuilder, SchemaError, SpanId, TableName, TraceId, ValueType};

/// What a log row is built from. Attributes are pushed on the builder before `append`.
pub struct LogFields<'a> {
    /// Unix nanoseconds of the event, or of its observation when the event's time is unknown.
    pub time_ns: i64,
    /// Unix nanoseconds at which the collector's side saw it; 0 when unknown.
    pub observed_ns: i64,
    /// Trace in which it was written.
    pub trace_id: Option<TraceId>,
    /// Span in which it was written.
    pub span_id: Option<SpanId>,
    /// W3C trace flags.
    pub flags: u32,
    /// 1 (trace) to 24 (fatal); 0 when unknown.
    pub severity_number: i32,
    /// Severity as the source wrote it.
    pub severity_text: Option<&'a str>,
    /// The body as text; see `body_type`.
    pub body: &'a str,
    /// OTLP type of the body.
    pub body_type: ValueType,
    /// Event name.
    pub event_name: Option<&'a str>,
    /// `service.name` of the resource.
    pub service_name: &'a str,
    /// Instance, pod or host.
    pub service_instance: Option<&'a str>,
    /// `service.version`.
    pub service_version: Option<&'a str>,
    /// Instrumentation scope's name.
    pub scope_name: Option<&'a str>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
}

/// Returns the schema of the `logs` table.
pub fn log_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("time", utc(), false),
            Field::new("observed_time", utc(), false),
            Field::new("trace_id", DataType::FixedSizeBinary(16), true),
            Field::new("span_id", DataType::FixedSizeBinary(8), true),
            Field::new("flags", DataType::UInt32, false),
            Field::new("severity_number", DataType::Int32, false),
            Field::new("severity_text", DataType::Utf8, true),
            Field::new("body", DataType::Utf8, false),
            Field::new("body_type", DataType::Utf8, false),
            Field::new("event_name", DataType::Utf8, true),
            Field::new("service_name", DataType::Utf8, false),
            Field::new("service_instance", DataType::Utf8, true),
            Field::new("service_version", DataType::Utf8, true),
            Field::new("scope_name", DataType::Utf8, true),
            Field::new("attributes", map_type(), false),
            Field::new("attribute_types", DataType::Utf8, true),
            Field::new("resource_attributes", map_type(), false),
            Field::new("resource_attribute_types", DataType::Utf8, true),
            Field::new("dropped_attributes_count", DataType::UInt32, false),
        ]))
    });
    SCHEMA.clone()
}

/// Builds a [`LogTable`]. For each record: push attributes and resource attributes, then `append`.
pub struct LogTableBuilder {
    time: TimestampNanosecondBuilder,
    observed_time: TimestampNanosecondBuilder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    flags: UInt32Builder,
    severity_number: Int32Builder,
    severity_text: StringBuilder,
    body: StringBuilder,
    body_type: StringBuilder,
    event_name: StringBuilder,
    service_name: StringBuilder,
    service_instance: StringBuilder,
    service_version: StringBuilder,
    scope_name: StringBuilder,
    attributes: AttributesBuilder,
    resource_attributes: AttributesBuilder,
    dropped: UInt32Builder,
    rows: usize,
}

impl Default for LogTableBuilder {
    fn default() -> Self {
        Self {
            time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            observed_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            flags: UInt32Builder::new(),
            severity_number: Int32Builder::new(),
            severity_text: StringBuilder::new(),
            body: StringBuilder::new(),
            body_type: StringBuilder::new(),
            event_name: StringBuilder::new(),
            service_name: StringBuilder::new(),
            service_instance: StringBuilder::new(),
            service_version: StringBuilder::new(),
            scope_name: StringBuilder::new(),
            attributes: AttributesBuilder::default(),
            resource_attributes: AttributesBuilder::default(),
            dropped: UInt32Builder::new(),
            rows: 0,
        }
    }
}

impl LogTableBuilder {
    /// Pushes an attribute of the record that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Pushes a resource attribute of the record that is appended next.
    pub fn push_resource_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.resource_attributes.push(key, value, value_type);
    }

    /// Appends the record with all that was pushed since the last one.
    pub fn append(&mut self, record: &LogFields<'_>) {
        self.time.append_value(record.time_ns);
        self.observed_time.append_value(record.observed_ns);
        append_optional(&mut self.trace_id, record.trace_id.as_ref().map(|id| id.0.as_slice()));
        append_optional(&mut self.span_id, record.span_id.as_ref().map(|id| id.0.as_slice()));
        self.flags.append_value(record.flags);
        self.severity_number.append_value(record.severity_number);
        self.severity_text.append_option(record.severity_text);
        self.body.append_value(record.body);
        self.body_type.append_value(record.body_type.letter().to_string());
        self.event_name.append_option(record.event_name);
        self.service_name.append_value(record.service_name);
        self.service_instance.append_option(record.service_instance);
        self.service_version.append_option(record.service_version);
        self.scope_name.append_option(record.scope_name);
        self.attributes.finish_row();
        self.resource_attributes.finish_row();
        self.dropped.append_value(record.dropped_attributes_count);
        self.rows += 1;
    }

    /// Returns how many records were appended.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the table and consumes the builder.
    pub fn finish(mut self) -> LogTable {
        let (attributes, attribute_types) = self.attributes.finish();
        let (resource_attributes, resource_attribute_types) = self.resource_attributes.finish();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.observed_time.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.severity_number.finish()),
            Arc::new(self.severity_text.finish()),
            Arc::new(self.body.finish()),
            Arc::new(self.body_type.finish()),
            Arc::new(self.event_name.finish()),
            Arc::new(self.service_name.finish()),
            Arc::new(self.service_instance.finish()),
            Arc::new(self.service_version.finish()),
            Arc::new(self.scope_name.finish()),
            attributes,
            attribute_types,
            resource_attributes,
            resource_attribute_types,
            Arc::new(self.dropped.finish()),
        ];
        let batch = RecordBatch::try_new(log_schema(), columns).expect("append fills every column of the schema");
        LogTable(batch)
    }
}

fn append_optional(column: &mut FixedSizeBinaryBuilder, id: Option<&[u8]>) {
    match id {
        Some(bytes) => column.append_value(bytes).expect("the builder was made for this width"),
        None => column.append_null(),
    }
}

/// A batch of log records whose columns were checked.
#[derive(Clone, Debug)]
pub struct LogTable(RecordBatch);

/// One log record. Borrowed from its table.
#[derive(Clone, Copy)]
pub struct LogRow<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Trace in which it was written.
    pub trace_id: Option<TraceId>,
    /// Span in which it was written.
    pub span_id: Option<SpanId>,
    /// 1 (trace) to 24 (fatal); 0 when unknown.
    pub severity_number: i32,
    /// Severity as the source wrote it.
    pub severity_text: Option<&'a str>,
    /// Body as text.
    pub body: &'a str,
    /// `service.name`.
    pub service_name: &'a str,
    /// Record's attributes.
    pub attributes: Attributes<'a>,
}

impl LogTable {
    /// Returns the table, or which column does not fit.
    ///
    /// # Errors
    /// If a column of the schema is missing or has another type.
    pub fn from_batch(batch: RecordBatch) -> Result<Self, SchemaError> {
        check_schema(TableName::Logs, &batch)?;
        Ok(Self(batch))
    }

    /// Returns the Arrow batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// Returns how many records the table holds.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Returns whether the table holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns every record in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = LogRow<'_>> {
        let batch = &self.0;
        let time: &TimestampNanosecondArray = column(batch, "time");
        let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
        let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
        let severity_number: &Int32Array = column(batch, "severity_number");
        let severity_text: &StringArray = column(batch, "severity_text");
        let body: &StringArray = column(batch, "body");
        let service_name: &StringArray = column(batch, "service_name");
        let attributes: &MapArray = column(batch, "attributes");
        let types: &StringArray = column(batch, "attribute_types");
        (0..batch.num_rows()).map(move |row| LogRow {
            time_ns: time.value(row),
            trace_id: optional_id(trace_id, row).map(TraceId),
            span_id: optional_id(span_id, row).map(SpanId),
            severity_number: severity_number.value(row),
            severity_text: text(severity_text, row),
            body: body.value(row),
            service_name: service_name.value(row),
            attributes: Attributes::of_row(attributes, Some(types), row),
        })
    }
}
