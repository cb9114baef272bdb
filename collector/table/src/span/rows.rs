//! Reads the `spans` table row by row. A table's columns are checked once, when it is made from a batch.

use arrow::array::{
    FixedSizeBinaryArray, ListArray, MapArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray,
    UInt32Array,
};

use super::{SpanKind, StatusCode};
use crate::columns::{check_schema, column, id, member, optional_id, text};
use crate::{Attributes, SchemaError, SpanId, TableName, TraceId};

/// A batch of spans whose columns were checked.
#[derive(Clone, Debug)]
pub struct SpanTable(RecordBatch);

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

/// One event of a span.
#[derive(Clone, Copy)]
pub struct EventRow<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Event name.
    pub name: &'a str,
    /// Event attributes.
    pub attributes: Attributes<'a>,
}

/// One link of a span.
#[derive(Clone, Copy)]
pub struct LinkRow<'a> {
    /// Linked trace.
    pub trace_id: TraceId,
    /// Linked span.
    pub span_id: SpanId,
    /// W3C `tracestate`.
    pub trace_state: Option<&'a str>,
    /// Link attributes.
    pub attributes: Attributes<'a>,
}
impl SpanTable {
    /// Wraps a batch that was built with the table's own schema.
    pub(super) fn of(batch: RecordBatch) -> Self {
        Self(batch)
    }

    /// Returns the table, or which column does not fit.
    ///
    /// # Errors
    /// If a column of the schema is missing or has another type.
    pub fn from_batch(batch: RecordBatch) -> Result<Self, SchemaError> {
        check_schema(TableName::Spans, &batch)?;
        Ok(Self(batch))
    }

    /// Returns the Arrow batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// Returns how many spans the table holds.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Returns whether the table holds no span.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns every span in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = SpanRow<'_>> {
        let batch = &self.0;
        let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
        let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
        let parent: &FixedSizeBinaryArray = column(batch, "parent_span_id");
        let trace_state: &StringArray = column(batch, "trace_state");
        let flags: &UInt32Array = column(batch, "flags");
        let service_name: &StringArray = column(batch, "service_name");
        let service_instance: &StringArray = column(batch, "service_instance");
        let service_version: &StringArray = column(batch, "service_version");
        let name: &StringArray = column(batch, "name");
        let kind: &StringArray = column(batch, "kind");
        let start: &TimestampNanosecondArray = column(batch, "start_time");
        let end: &TimestampNanosecondArray = column(batch, "end_time");
        let status_code: &StringArray = column(batch, "status_code");
        let status_message: &StringArray = column(batch, "status_message");
        let scope_name: &StringArray = column(batch, "scope_name");
        let scope_version: &StringArray = column(batch, "scope_version");
        let attributes: &MapArray = column(batch, "attributes");
        let attribute_types: &StringArray = column(batch, "attribute_types");
        let resource: &MapArray = column(batch, "resource_attributes");
        let resource_types: &StringArray = column(batch, "resource_attribute_types");
        let dropped: [&UInt32Array; 3] =
            ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(|name| column(batch, name));
        (0..batch.num_rows()).map(move |row| SpanRow {
            trace_id: TraceId(id(trace_id, row)),
            span_id: SpanId(id(span_id, row)),
            parent_span_id: optional_id(parent, row).map(SpanId),
            trace_state: text(trace_state, row),
            flags: flags.value(row),
            service_name: service_name.value(row),
            service_instance: text(service_instance, row),
            service_version: text(service_version, row),
            name: name.value(row),
            kind: SpanKind::from_word(kind.value(row)),
            start_ns: start.value(row),
            end_ns: end.value(row),
            status_code: StatusCode::from_word(status_code.value(row)),
            status_message: text(status_message, row),
            scope_name: text(scope_name, row),
            scope_version: text(scope_version, row),
            attributes: Attributes::of_row(attributes, Some(attribute_types), row),
            resource_attributes: Attributes::of_row(resource, Some(resource_types), row),
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
        let (items, from, to) = self.items("events");
        let time: &TimestampNanosecondArray = member(items, "time");
        let name: &StringArray = member(items, "name");
        let attributes: &MapArray = member(items, "attributes");
        let types: &StringArray = member(items, "attribute_types");
        (from..to)
            .map(|index| EventRow {
                time_ns: time.value(index),
                name: name.value(index),
                attributes: Attributes::of_row(attributes, Some(types), index),
            })
            .collect()
    }

    /// Returns the span's links in the order sent.
    pub fn links(&self) -> Vec<LinkRow<'a>> {
        let (items, from, to) = self.items("links");
        let trace_id: &FixedSizeBinaryArray = member(items, "trace_id");
        let span_id: &FixedSizeBinaryArray = member(items, "span_id");
        let trace_state: &StringArray = member(items, "trace_state");
        let attributes: &MapArray = member(items, "attributes");
        let types: &StringArray = member(items, "attribute_types");
        (from..to)
            .map(|index| LinkRow {
                trace_id: TraceId(id(trace_id, index)),
                span_id: SpanId(id(span_id, index)),
                trace_state: text(trace_state, index),
                attributes: Attributes::of_row(attributes, Some(types), index),
            })
            .collect()
    }

    fn items(&self, name: &str) -> (&'a StructArray, usize, usize) {
        let list: &ListArray = column(&self.table.0, name);
        let offsets = list.value_offsets();
        let items = list.values().as_any().downcast_ref::<StructArray>().expect("the list's items are structs");
        let bound = |index: usize| usize::try_from(offsets[index]).unwrap_or(0);
        (items, bound(self.row), bound(self.row + 1))
    }
}
