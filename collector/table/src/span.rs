//! The `spans` table: one row a span, as in opentelemetry/proto/trace/v1, with the resource's identity in columns.
//! `otlp` appends, the store keeps the memory form and answers in the SQL form, `analyzer` and `web` read either.

mod build;
mod columns;
mod events;
mod rows;
mod sql;

pub use build::{SpanEntry, SpanTableBuilder};
pub use columns::SpanColumns;
pub use events::{EventFields, EventRow, EventsWriter, LinkFields, LinkRow, LinksWriter};
pub use rows::{SpanRow, SpanTable};

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::attributes::list_type;
use crate::columns::{text_dictionary, utc};
use crate::{SpanId, TraceId};

/// Role of a span in a hop. The discriminant is OTLP's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Not stated; treated as internal.
    Unspecified = 0,
    /// Work within a service.
    Internal = 1,
    /// Serves a synchronous request.
    Server = 2,
    /// Makes a synchronous request.
    Client = 3,
    /// Hands a message over.
    Producer = 4,
    /// Works on a message.
    Consumer = 5,
}

impl SpanKind {
    /// Every kind, each at its number.
    pub const ALL: [Self; 6] =
        [Self::Unspecified, Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// Returns the word that SQL shows.
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

    /// Returns the kind of an OTLP number; numbers that OTLP does not have yet are unspecified.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unspecified)
    }

    /// Returns the kind of a word; other words are unspecified.
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Unspecified)
    }
}

/// Outcome of a span as its instrumentation stated it. The discriminant is OTLP's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// Nothing stated.
    Unset = 0,
    /// Explicitly successful.
    Ok = 1,
    /// Failed.
    Error = 2,
}

impl StatusCode {
    /// Every code, each at its number.
    pub const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Error];

    /// Returns the word that SQL shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    /// Returns the code of an OTLP number; numbers that OTLP does not have yet are unset.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unset)
    }

    /// Returns the code of a word; other words are unset.
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == word).unwrap_or(Self::Unset)
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

/// Returns the memory form's schema.
pub(crate) fn memory_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("trace_id", DataType::FixedSizeBinary(16), false),
            Field::new("span_id", DataType::FixedSizeBinary(8), false),
            Field::new("parent_span_id", DataType::FixedSizeBinary(8), true),
            Field::new("start_time", utc(), false),
            Field::new("duration_ns", DataType::Int64, false),
            Field::new("name", text_dictionary(), false),
            Field::new("kind", DataType::UInt8, false),
            Field::new("status_code", DataType::UInt8, false),
            Field::new("status_message", DataType::Utf8, true),
            Field::new("trace_state", DataType::Utf8, true),
            Field::new("flags", DataType::UInt32, false),
            Field::new("service_name", text_dictionary(), false),
            Field::new("service_instance", text_dictionary(), true),
            Field::new("service_version", text_dictionary(), true),
            Field::new("resource_attributes", text_dictionary(), false),
            Field::new("scope_name", text_dictionary(), true),
            Field::new("scope_version", text_dictionary(), true),
            Field::new("attributes", list_type(), false),
            Field::new("events", DataType::Utf8, true),
            Field::new("links", DataType::Utf8, true),
            Field::new("dropped_attributes_count", DataType::UInt32, false),
            Field::new("dropped_events_count", DataType::UInt32, false),
            Field::new("dropped_links_count", DataType::UInt32, false),
        ]))
    });
    SCHEMA.clone()
}

/// Returns the SQL form's schema.
pub(crate) fn sql_schema() -> SchemaRef {
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
            Field::new("attributes", DataType::Utf8, false),
            Field::new("resource_attributes", DataType::Utf8, false),
            Field::new("events", DataType::Utf8, true),
            Field::new("links", DataType::Utf8, true),
            Field::new("dropped_attributes_count", DataType::UInt32, false),
            Field::new("dropped_events_count", DataType::UInt32, false),
            Field::new("dropped_links_count", DataType::UInt32, false),
        ]))
    });
    SCHEMA.clone()
}

#[cfg(test)]
mod tests;
