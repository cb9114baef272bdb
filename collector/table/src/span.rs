//! The `spans` table: one row a span, as in opentelemetry/proto/trace/v1, with the resource's identity in columns.
//! `otlp` appends, the store keeps, `analyzer` and `web` read rows.

mod build;
mod rows;

pub use build::SpanTableBuilder;
pub use rows::{EventRow, LinkRow, SpanRow, SpanTable};

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::attributes::map_type;
use crate::columns::utc;
use crate::{SpanId, TraceId};

/// Role of a span in a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Not stated; treated as internal.
    Unspecified,
    /// Work within a service.
    Internal,
    /// Serves a synchronous request.
    Server,
    /// Makes a synchronous request.
    Client,
    /// Hands a message over.
    Producer,
    /// Works on a message.
    Consumer,
}

impl SpanKind {
    /// Returns the word that the `kind` column holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "internal" => Self::Internal,
            "server" => Self::Server,
            "client" => Self::Client,
            "producer" => Self::Producer,
            "consumer" => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

/// Outcome of a span as its instrumentation stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusCode {
    /// Nothing stated.
    Unset,
    /// Explicitly successful.
    Ok,
    /// Failed.
    Error,
}

impl StatusCode {
    /// Returns the word that the `status_code` column holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "ok" => Self::Ok,
            "error" => Self::Error,
            _ => Self::Unset,
        }
    }
}

/// What a span row is built from. Attributes, events and links are pushed on the builder before `append`.
pub struct SpanFields<'a> {
    /// Trace that the span belongs to.
    pub trace_id: TraceId,
    /// Id within the trace.
    pub span_id: SpanId,
    /// Caller's span, if any.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`.
    pub trace_state: Option<&'a str>,
    /// W3C trace flags and OTLP's remote bits.
    pub flags: u32,
    /// `service.name` of the resource.
    pub service_name: &'a str,
    /// `service.instance.id`, or else the pod or host.
    pub service_instance: Option<&'a str>,
    /// `service.version`.
    pub service_version: Option<&'a str>,
    /// Span name.
    pub name: &'a str,
    /// Span kind.
    pub kind: SpanKind,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds; before `start_ns` when the sender's clock jumped.
    pub end_ns: i64,
    /// Status code.
    pub status_code: StatusCode,
    /// Status message.
    pub status_message: Option<&'a str>,
    /// Instrumentation scope's name.
    pub scope_name: Option<&'a str>,
    /// Instrumentation scope's version.
    pub scope_version: Option<&'a str>,
    /// Attributes, events and links that the sender dropped.
    pub dropped: [u32; 3],
}

/// Time and name of an event; its attributes are pushed on the builder before.
pub struct EventFields<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Event name.
    pub name: &'a str,
}

/// Target of a link; its attributes are pushed on the builder before.
pub struct LinkFields<'a> {
    /// Linked trace.
    pub trace_id: TraceId,
    /// Linked span.
    pub span_id: SpanId,
    /// W3C `tracestate` of the linked span.
    pub trace_state: Option<&'a str>,
}
fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new("time", utc(), false),
        Field::new("name", DataType::Utf8, false),
        Field::new("attributes", map_type(), false),
        Field::new("attribute_types", DataType::Utf8, true),
    ])
}

fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("trace_state", DataType::Utf8, true),
        Field::new("attributes", map_type(), false),
        Field::new("attribute_types", DataType::Utf8, true),
    ])
}

fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(fields), false)))
}

/// Returns the schema of the `spans` table.
pub fn span_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("trace_id", DataType::FixedSizeBinary(16), false),
            Field::new("span_id", DataType::FixedSizeBinary(8), false),
            Field::new("parent_span_id", DataType::FixedSizeBinary(8), true),
            Field::new("trace_state", DataType::Utf8, true),
            Field::new("flags", DataType::UInt32, false),
            Field::new("service_name", DataType::Utf8, false),
            Field::new("service_instance", DataType::Utf8, true),
            Field::new("service_version", DataType::Utf8, true),
            Field::new("name", DataType::Utf8, false),
            Field::new("kind", DataType::Utf8, false),
            Field::new("start_time", utc(), false),
            Field::new("end_time", utc(), false),
            Field::new("duration_ns", DataType::Int64, false),
            Field::new("status_code", DataType::Utf8, false),
            Field::new("status_message", DataType::Utf8, true),
            Field::new("scope_name", DataType::Utf8, true),
            Field::new("scope_version", DataType::Utf8, true),
            Field::new("attributes", map_type(), false),
            Field::new("attribute_types", DataType::Utf8, true),
            Field::new("resource_attributes", map_type(), false),
            Field::new("resource_attribute_types", DataType::Utf8, true),
            Field::new("events", list_of(event_fields()), false),
            Field::new("links", list_of(link_fields()), false),
            Field::new("dropped_attributes_count", DataType::UInt32, false),
            Field::new("dropped_events_count", DataType::UInt32, false),
            Field::new("dropped_links_count", DataType::UInt32, false),
        ]))
    });
    SCHEMA.clone()
}
