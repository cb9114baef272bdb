//! Throughline's Arrow tables: the one shape that everything between the socket and the page has.
//! Decoding appends to the builders here, the store keeps the batches, analysis and pages read rows.
//! A table has a memory form, with what repeats kept once a batch, and a form that SQL shows; `TableName` gives both
//! schemas. Must never know where a row came from (OTLP, a file) or where it goes: no I/O, no clock, no tokio.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
mod columns;
mod dependency;
mod dictionary;
mod hop;
mod ids;
pub mod json;
mod log;
mod metric;
mod name;
mod origin;
mod red;
pub mod sketch;
mod span;
mod transaction;

pub use attributes::{AttributeColumns, Attributes, AttributesBuilder, ValueType};
pub use dependency::{DependencyFields, DependencyTableBuilder, DependencyTally};
pub use hop::{HopFields, HopTableBuilder, hop_schema};
pub use ids::{IdError, SpanId, TraceId};
pub use log::{LogEntry, LogFields, LogRow, LogTable, LogTableBuilder};
pub use metric::{MetricFields, MetricTableBuilder};
pub use name::TableName;
pub use origin::ResourceFields;
pub use red::{RedFields, RedTableBuilder};
pub use sketch::{Sketch, SketchError, SketchSum};
pub use span::{
    EventFields, EventRow, EventsWriter, LinkFields, LinkRow, LinksWriter, SpanColumns, SpanEntry, SpanFields,
    SpanKind, SpanRow, SpanTable, SpanTableBuilder, StatusCode,
};
pub use transaction::{CompletenessFields, LackingFields, SegmentFields, TransactionFields, TransactionTableBuilder};

/// A batch does not have the columns that its table requires.
#[derive(Debug, thiserror::Error)]
#[error("column {column} of table {table} is missing or of another type")]
pub struct SchemaError {
    /// Table that was asked for.
    pub table: TableName,
    /// First column that does not fit.
    pub column: String,
}

/// A text that was given as bytes is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a text is not UTF-8")]
pub struct NotUtf8;
