//! Throughline's Arrow tables: the one shape that everything between the socket and the page has.
//! Decoding appends to the builders here, the store keeps the batches, analysis and pages read rows.
//! Must never know where a row came from (OTLP, a file) or where it goes: no I/O, no clock, no tokio.

mod attributes;
mod columns;
mod ids;
mod log;
mod metric;
mod name;
mod span;
mod transaction;

pub use attributes::{Attributes, AttributesBuilder, ValueType};
pub use ids::{IdError, SpanId, TraceId};
pub use log::{LogFields, LogRow, LogTable, LogTableBuilder, log_schema};
pub use metric::{MetricFields, MetricTableBuilder, metric_schema};
pub use name::TableName;
pub use span::{
    EventFields, EventRow, LinkFields, LinkRow, SpanFields, SpanKind, SpanRow, SpanTable, SpanTableBuilder, StatusCode,
    span_schema,
};
pub use transaction::{
    HopFields, HopTableBuilder, SegmentFields, TransactionFields, TransactionTableBuilder, hop_schema,
    transaction_schema,
};

/// A batch does not have the columns that its table requires.
#[derive(Debug, thiserror::Error)]
#[error("column {column} of table {table} is missing or of another type")]
pub struct SchemaError {
    /// Table that was asked for.
    pub table: TableName,
    /// First column that does not fit.
    pub column: String,
}
