//! Reads the `spans` table row by row. A table's columns are checked once, when it is made from a batch.

use std::sync::OnceLock;

use arrow::array::{
    FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt8Array,
    UInt32Array,
};

use super::events::{Events, Links};
use super::{EventRow, LinkRow, SpanColumns, SpanKind, StatusCode, memory_schema, sql};
use crate::attributes::{AttributeColumns, of_objects};
use crate::columns::{Texts, check_schema, column, id, is_memory_form, optional_id, text};
use crate::{Attributes, SchemaError, SpanId, TableName, TraceId};

/// A batch of spans in the memory form, whose columns were checked.
#[derive(Clone, Debug)]
pub struct SpanTable {
    batch: RecordBatch,
    /// JSON columns, read when they are first asked for.
    resources: OnceLock<ListArray>,
    events: OnceLock<Events>,
    links: OnceLock<Links>,
}

/// One span. Borrowed from its table.
#[derive(Clone, Copy)]
pub struct SpanRow<'a> {
    /// Trace that the span belongs to.
    pub trace_id: TraceId,
    /// Id within the trace.
    pub span_id: SpanId,
    /// Caller's span.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`.
    pub trace_state: Option<&'a str>,
    /// W3C trace flags and OTLP's remote bits.
    pub flags: u32,
    /// `service.name`.
    pub service_name: &'a str,
    /// Instance, pod or host.
    pub service_instance: Option<&'a str>,
    /// `service.version`.
    pub service_version: Option<&'a str>,
    /// Span name.
    pub name: &'a str,
    /// Span kind.
    pub kind: SpanKind,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds; may be before `start_ns`.
    pub end_ns: i64,
    /// Status code.
    pub status_code: StatusCode,
    /// Status message.
    pub status_message: Option<&'a str>,
    /// Instrumentation scope's name.
    pub scope_name: Option<&'a str>,
    /// Instrumentation scope's version.
    pub scope_version: Option<&'a str>,
    /// Span attributes.
    pub attributes: Attributes<'a>,
    /// Resource attributes.
    pub resource_attributes: Attributes<'a>,
    /// Attributes, events and links that the sender dropped.
    pub dropped: [u32; 3],
    table: &'a SpanTable,
    row: usize,
}

impl SpanTable {
    /// Wraps a batch that was built with the table's own schema.
    pub(super) fn of(batch: RecordBatch) -> Self {
        Self { batch, resources: OnceLock::new(), events: OnceLock::new(), links: OnceLock::new() }
    }

    /// Returns the table of a batch in the memory form or of a query's result in the SQL form, or which column does
    /// not fit. The latter costs a conversion.
    ///
    /// # Errors
    /// If a column of the schema is missing or has another type.
    pub fn from_batch(batch: RecordBatch) -> Result<Self, SchemaError> {
        if !is_memory_form(&batch) {
            return sql::table(&batch);
        }
        check_schema(TableName::Spans, &memory_schema(), &batch)?;
        Ok(Self::of(batch))
    }

    /// Returns the Arrow batch, in the memory form.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Returns the table's columns.
    pub fn columns(&self) -> SpanColumns<'_> {
        SpanColumns::of(&self.batch)
    }

    /// Returns how many spans the table holds.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Returns whether the table holds no span.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns every span in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = SpanRow<'_>> {
        let batch = &self.batch;
        let texts = |name: &str| Texts::of(batch, name);
        let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
        let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
        let parent: &FixedSizeBinaryArray = column(batch, "parent_span_id");
        let trace_state: &StringArray = column(batch, "trace_state");
        let flags: &UInt32Array = column(batch, "flags");
        let start: &TimestampNanosecondArray = column(batch, "start_time");
        let duration: &Int64Array = column(batch, "duration_ns");
        let kind: &UInt8Array = column(batch, "kind");
        let status_code: &UInt8Array = column(batch, "status_code");
        let status_message: &StringArray = column(batch, "status_message");
        let [name, service_name, service_instance] = ["name", "service_name", "service_instance"].map(texts);
        let [service_version, resource, scope_name, scope_version] =
            ["service_version", "resource_attributes", "scope_name", "scope_version"].map(texts);
        let attributes = AttributeColumns::of(column(batch, "attributes"));
        let resources =
            AttributeColumns::of(self.resources.get_or_init(|| of_objects(resource.values.iter().flatten())));
        let dropped: [&UInt32Array; 3] =
            ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(|name| column(batch, name));
        (0..batch.num_rows()).map(move |row| SpanRow {
            trace_id: TraceId(id(trace_id, row)),
            span_id: SpanId(id(span_id, row)),
            parent_span_id: optional_id(parent, row).map(SpanId),
            trace_state: text(trace_state, row),
            flags: flags.value(row),
            service_name: service_name.get(row).unwrap_or_default(),
            service_instance: service_instance.get(row),
            service_version: service_version.get(row),
            name: name.get(row).unwrap_or_default(),
            kind: SpanKind::from_number(i32::from(kind.value(row))),
            start_ns: start.value(row),
            end_ns: start.value(row).saturating_add(duration.value(row)),
            status_code: StatusCode::from_number(i32::from(status_code.value(row))),
            status_message: text(status_message, row),
            scope_name: scope_name.get(row),
            scope_version: scope_version.get(row),
            attributes: attributes.row(row),
            resource_attributes: resources.row(resource.keys[row] as usize),
            dropped: dropped.map(|column| column.value(row)),
            table: self,
            row,
        })
    }
}

impl<'a> SpanRow<'a> {
    /// Returns nanoseconds from start to end; zero when the end lies before the start.
    pub fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns).max(0)
    }

    /// Returns the span's events in the order sent.
    pub fn events(&self) -> Vec<EventRow<'a>> {
        self.table.events.get_or_init(|| Events::read(column(&self.table.batch, "events"))).of_row(self.row)
    }

    /// Returns the span's links in the order sent.
    pub fn links(&self) -> Vec<LinkRow<'a>> {
        self.table.links.get_or_init(|| Links::read(column(&self.table.batch, "links"))).of_row(self.row)
    }
}
