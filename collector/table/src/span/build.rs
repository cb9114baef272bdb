//! Builds the `spans` table, span by span. Filled by `otlp` only.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int64Builder, ListArray, RecordBatch, StringBuilder, StructArray,
    TimestampNanosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use super::{EventFields, LinkFields, SpanFields, SpanTable, event_fields, link_fields, span_schema};
use crate::{AttributesBuilder, SpanId, ValueType};

/// Builds a [`SpanTable`]. For each span: push attributes, resource attributes, events and links, then `append`.
pub struct SpanTableBuilder {
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    parent_span_id: FixedSizeBinaryBuilder,
    trace_state: StringBuilder,
    flags: UInt32Builder,
    service_name: StringBuilder,
    service_instance: StringBuilder,
    service_version: StringBuilder,
    name: StringBuilder,
    kind: StringBuilder,
    start_time: TimestampNanosecondBuilder,
    end_time: TimestampNanosecondBuilder,
    duration_ns: Int64Builder,
    status_code: StringBuilder,
    status_message: StringBuilder,
    scope_name: StringBuilder,
    scope_version: StringBuilder,
    attributes: AttributesBuilder,
    resource_attributes: AttributesBuilder,
    events: EventsBuilder,
    links: LinksBuilder,
    dropped: [UInt32Builder; 3],
    rows: usize,
}

#[derive(Default)]
struct EventsBuilder {
    time: TimestampNanosecondBuilder,
    name: StringBuilder,
    attributes: AttributesBuilder,
    lengths: Vec<usize>,
    row_len: usize,
}

struct LinksBuilder {
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    trace_state: StringBuilder,
    attributes: AttributesBuilder,
    lengths: Vec<usize>,
    row_len: usize,
}

impl Default for SpanTableBuilder {
    fn default() -> Self {
        Self {
            trace_id: FixedSizeBinaryBuilder::new(16),
            span_id: FixedSizeBinaryBuilder::new(8),
            parent_span_id: FixedSizeBinaryBuilder::new(8),
            trace_state: StringBuilder::new(),
            flags: UInt32Builder::new(),
            service_name: StringBuilder::new(),
            service_instance: StringBuilder::new(),
            service_version: StringBuilder::new(),
            name: StringBuilder::new(),
            kind: StringBuilder::new(),
            start_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            end_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            duration_ns: Int64Builder::new(),
            status_code: StringBuilder::new(),
            status_message: StringBuilder::new(),
            scope_name: StringBuilder::new(),
            scope_version: StringBuilder::new(),
            attributes: AttributesBuilder::default(),
            resource_attributes: AttributesBuilder::default(),
            events: EventsBuilder::default(),
            links: LinksBuilder {
                trace_id: FixedSizeBinaryBuilder::new(16),
                span_id: FixedSizeBinaryBuilder::new(8),
                trace_state: StringBuilder::new(),
                attributes: AttributesBuilder::default(),
                lengths: Vec::new(),
                row_len: 0,
            },
            dropped: std::array::from_fn(|_| UInt32Builder::new()),
            rows: 0,
        }
    }
}

impl SpanTableBuilder {
    /// Pushes an attribute of the span that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Pushes a resource attribute of the span that is appended next.
    pub fn push_resource_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.resource_attributes.push(key, value, value_type);
    }

    /// Pushes an attribute of the event that is pushed next.
    pub fn push_event_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.events.attributes.push(key, value, value_type);
    }

    /// Pushes an event of the span that is appended next.
    pub fn push_event(&mut self, event: &EventFields<'_>) {
        self.events.time.append_value(event.time_ns);
        self.events.name.append_value(event.name);
        self.events.attributes.finish_row();
        self.events.row_len += 1;
    }

    /// Pushes an attribute of the link that is pushed next.
    pub fn push_link_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.links.attributes.push(key, value, value_type);
    }

    /// Pushes a link of the span that is appended next.
    pub fn push_link(&mut self, link: &LinkFields<'_>) {
        append_id(&mut self.links.trace_id, Some(link.trace_id.as_bytes()));
        append_id(&mut self.links.span_id, Some(link.span_id.as_bytes()));
        self.links.trace_state.append_option(link.trace_state);
        self.links.attributes.finish_row();
        self.links.row_len += 1;
    }

    /// Appends the span with all that was pushed since the last one.
    pub fn append(&mut self, span: &SpanFields<'_>) {
        append_id(&mut self.trace_id, Some(span.trace_id.as_bytes()));
        append_id(&mut self.span_id, Some(span.span_id.as_bytes()));
        append_id(&mut self.parent_span_id, span.parent_span_id.as_ref().map(SpanId::as_bytes));
        self.trace_state.append_option(span.trace_state);
        self.flags.append_value(span.flags);
        self.service_name.append_value(span.service_name);
        self.service_instance.append_option(span.service_instance);
        self.service_version.append_option(span.service_version);
        self.name.append_value(span.name);
        self.kind.append_value(span.kind.as_str());
        self.start_time.append_value(span.start_ns);
        self.end_time.append_value(span.end_ns);
        self.duration_ns.append_value(span.end_ns.saturating_sub(span.start_ns));
        self.status_code.append_value(span.status_code.as_str());
        self.status_message.append_option(span.status_message);
        self.scope_name.append_option(span.scope_name);
        self.scope_version.append_option(span.scope_version);
        self.attributes.finish_row();
        self.resource_attributes.finish_row();
        self.events.lengths.push(std::mem::take(&mut self.events.row_len));
        self.links.lengths.push(std::mem::take(&mut self.links.row_len));
        for (column, count) in self.dropped.iter_mut().zip(span.dropped) {
            column.append_value(count);
        }
        self.rows += 1;
    }

    /// Returns how many spans were appended.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether no span was appended.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the table and consumes the builder.
    pub fn finish(mut self) -> SpanTable {
        let (attributes, attribute_types) = self.attributes.finish();
        let (resource_attributes, resource_attribute_types) = self.resource_attributes.finish();
        let [mut dropped_attributes, mut dropped_events, mut dropped_links] = self.dropped;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.parent_span_id.finish()),
            Arc::new(self.trace_state.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.service_name.finish()),
            Arc::new(self.service_instance.finish()),
            Arc::new(self.service_version.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.start_time.finish()),
            Arc::new(self.end_time.finish()),
            Arc::new(self.duration_ns.finish()),
            Arc::new(self.status_code.finish()),
            Arc::new(self.status_message.finish()),
            Arc::new(self.scope_name.finish()),
            Arc::new(self.scope_version.finish()),
            attributes,
            attribute_types,
            resource_attributes,
            resource_attribute_types,
            self.events.finish(),
            self.links.finish(),
            Arc::new(dropped_attributes.finish()),
            Arc::new(dropped_events.finish()),
            Arc::new(dropped_links.finish()),
        ];
        let batch = RecordBatch::try_new(span_schema(), columns).expect("append fills every column of the schema");
        SpanTable::of(batch)
    }
}

fn append_id<const N: usize>(column: &mut FixedSizeBinaryBuilder, id: Option<&[u8; N]>) {
    match id {
        Some(bytes) => column.append_value(bytes).expect("the builder was made for this width"),
        None => column.append_null(),
    }
}

fn list_column(fields: Fields, columns: Vec<ArrayRef>, lengths: Vec<usize>) -> ArrayRef {
    let items = StructArray::new(fields.clone(), columns, None);
    let field = Arc::new(Field::new("item", DataType::Struct(fields), false));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), Arc::new(items), None))
}

impl EventsBuilder {
    fn finish(self) -> ArrayRef {
        let Self { mut time, mut name, mut attributes, lengths, .. } = self;
        let (map, types) = attributes.finish();
        let time = time.finish().with_timezone("UTC");
        list_column(event_fields(), vec![Arc::new(time), Arc::new(name.finish()), map, types], lengths)
    }
}

impl LinksBuilder {
    fn finish(self) -> ArrayRef {
        let Self { mut trace_id, mut span_id, mut trace_state, mut attributes, lengths, .. } = self;
        let (map, types) = attributes.finish();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(trace_id.finish()), Arc::new(span_id.finish()), Arc::new(trace_state.finish()), map, types];
        list_column(link_fields(), columns, lengths)
    }
}
