//! The `logs` table: one row a log record, as in opentelemetry/proto/logs/v1.
//! `otlp` appends, the store keeps the memory form and answers in the SQL form, `web` reads rows of either.

mod build;
mod rows;

pub use build::{LogEntry, LogTableBuilder};
pub use rows::{LogRow, LogTable};

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::attributes::list_type;
use crate::columns::{plain, text_dictionary, utc};
use crate::{SpanId, TraceId, ValueType};

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

/// Returns the memory form's schema.
pub(crate) fn memory_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("time", utc(), false),
            Field::new("observed_time", utc(), false),
            Field::new("trace_id", DataType::FixedSizeBinary(16), true),
            Field::new("span_id", DataType::FixedSizeBinary(8), true),
            Field::new("flags", DataType::UInt32, false),
            Field::new("severity_number", DataType::Int32, false),
            Field::new("severity_text", text_dictionary(), true),
            Field::new("body", DataType::Utf8, false),
            Field::new("body_type", DataType::Utf8, false),
            Field::new("event_name", DataType::Utf8, true),
            Field::new("service_name", text_dictionary(), false),
            Field::new("service_instance", text_dictionary(), true),
            Field::new("service_version", text_dictionary(), true),
            Field::new("scope_name", text_dictionary(), true),
            Field::new("attributes", list_type(), false),
            Field::new("resource_attributes", text_dictionary(), false),
            Field::new("dropped_attributes_count", DataType::UInt32, false),
        ]))
    });
    SCHEMA.clone()
}

/// Returns the SQL form's schema.
pub(crate) fn sql_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| plain(&memory_schema()));
    SCHEMA.clone()
}

#[cfg(test)]
mod tests;
