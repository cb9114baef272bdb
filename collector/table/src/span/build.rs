//! Builds the memory form of the `spans` table, span by span. Filled by `otlp`, and by tests that draw spans.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringBuilder, UInt8Array, UInt32Array};

use super::{EventFields, EventsWriter, LinkFields, LinksWriter, SpanFields, SpanKind, SpanTable, StatusCode};
use crate::attributes::PUSHED_AS_TEXT;
use crate::columns::{IdColumn, timestamps};
use crate::dictionary::KeyedColumns;
use crate::json::ObjectWriter;
use crate::origin::{Resources, Scopes};
use crate::{AttributesBuilder, NotUtf8, ResourceFields, SpanId, TraceId, ValueType};

/// A span whose resource and scope the builder already knows by number. Its attributes are pushed on the builder before.
pub struct SpanEntry<'a> {
    /// Trace that the span belongs to.
    pub trace_id: TraceId,
    /// Id within the trace.
    pub span_id: SpanId,
    /// Caller's span, if any.
    pub parent_span_id: Option<SpanId>,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds.
    pub end_ns: i64,
    /// From [`SpanTableBuilder::name`].
    pub name: u32,
    /// Span kind.
    pub kind: SpanKind,
    /// Status code.
    pub status_code: StatusCode,
    /// Status message.
    pub status_message: Option<&'a str>,
    /// W3C `tracestate`.
    pub trace_state: Option<&'a str>,
    /// W3C trace flags and OTLP's remote bits.
    pub flags: u32,
    /// From [`SpanTableBuilder::resource`].
    pub resource: u32,
    /// From [`SpanTableBuilder::scope`].
    pub scope: u32,
    /// What an [`EventsWriter`] wrote.
    pub events: Option<&'a str>,
    /// What a [`LinksWriter`] wrote.
    pub links: Option<&'a str>,
    /// Attributes, events and links that the sender dropped.
    pub dropped: [u32; 3],
}

/// Builds a [`SpanTable`]. For each span: push attributes, events and links, then `append`. A caller that has many spans
/// of one resource registers it once and appends entries.
pub struct SpanTableBuilder {
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    parent_span_id: IdColumn<8>,
    start_ns: Vec<i64>,
    duration_ns: Vec<i64>,
    name: KeyedColumns<1>,
    kind: Vec<u8>,
    status_code: Vec<u8>,
    status_message: StringBuilder,
    trace_state: StringBuilder,
    flags: Vec<u32>,
    resources: Resources,
    scopes: Scopes,
    attributes: AttributesBuilder,
    events: StringBuilder,
    links: StringBuilder,
    dropped: [Vec<u32>; 3],
    drawn: Drawn,
}

/// Parts of the span that `append` appends next.
#[derive(Default)]
struct Drawn {
    resource: ObjectWriter,
    step: ObjectWriter,
    events: EventsWriter,
    links: LinksWriter,
}

impl Default for SpanTableBuilder {
    fn default() -> Self {
        // Columns without room: what Arrow reserves by default is more than all the rows of a small request.
        Self {
            trace_id: IdColumn::default(),
            span_id: IdColumn::default(),
            parent_span_id: IdColumn::default(),
            start_ns: Vec::new(),
            duration_ns: Vec::new(),
            name: KeyedColumns::new([false]),
            kind: Vec::new(),
            status_code: Vec::new(),
            status_message: StringBuilder::with_capacity(0, 0),
            trace_state: StringBuilder::with_capacity(0, 0),
            flags: Vec::new(),
            resources: Resources::default(),
            scopes: Scopes::default(),
            attributes: AttributesBuilder::default(),
            events: StringBuilder::with_capacity(0, 0),
            links: StringBuilder::with_capacity(0, 0),
            dropped: [Vec::new(), Vec::new(), Vec::new()],
            drawn: Drawn::default(),
        }
    }
}

impl SpanTableBuilder {
    /// Returns a builder with room for so many spans, and for attributes whose values are of so many bytes together.
    /// Without room, rows are copied again and again while columns grow, into memory of which half is never used.
    pub fn with_room(spans: usize, attributes: usize, bytes: usize) -> Self {
        let texts = || StringBuilder::with_capacity(spans, 0);
        let mut table = Self {
            start_ns: Vec::with_capacity(spans),
            duration_ns: Vec::with_capacity(spans),
            kind: Vec::with_capacity(spans),
            status_code: Vec::with_capacity(spans),
            status_message: texts(),
            trace_state: texts(),
            flags: Vec::with_capacity(spans),
            events: texts(),
            links: texts(),
            dropped: [(); 3].map(|()| Vec::with_capacity(spans)),
            ..Self::default()
        };
        table.trace_id.reserve(spans);
        table.span_id.reserve(spans);
        table.parent_span_id.reserve(spans);
        table.name.reserve(spans);
        table.resources.reserve(spans);
        table.scopes.reserve(spans);
        table.attributes.reserve(spans, attributes, bytes);
        table
    }

    /// Returns the attributes of the span that is appended next.
    #[inline]
    pub fn attributes(&mut self) -> &mut AttributesBuilder {
        &mut self.attributes
    }

    /// Returns the number of a span name; equal names have one number.
    ///
    /// # Errors
    /// If the name is not UTF-8.
    #[inline]
    pub fn name(&mut self, name: &[u8]) -> Result<u32, NotUtf8> {
        self.name.entries.intern_bytes([name])
    }

    /// Returns the number of a resource; equal resources have one number.
    pub fn resource(&mut self, resource: &ResourceFields<'_>) -> u32 {
        self.resources.intern(resource)
    }

    /// Returns the number of a scope; equal scopes have one number.
    pub fn scope(&mut self, name: Option<&str>, version: Option<&str>) -> u32 {
        self.scopes.intern(name, version)
    }

    /// Appends a span with the attributes that were pushed since the last one.
    pub fn append_entry(&mut self, span: &SpanEntry<'_>) {
        self.trace_id.push(Some(&span.trace_id.0));
        self.span_id.push(Some(&span.span_id.0));
        self.parent_span_id.push(span.parent_span_id.as_ref().map(SpanId::as_bytes));
        self.start_ns.push(span.start_ns);
        self.duration_ns.push(span.end_ns.saturating_sub(span.start_ns));
        self.name.push(span.name);
        self.kind.push(span.kind as u8);
        self.status_code.push(span.status_code as u8);
        self.status_message.append_option(span.status_message);
        self.trace_state.append_option(span.trace_state);
        self.flags.push(span.flags);
        self.resources.push(span.resource);
        self.scopes.push(span.scope);
        self.attributes.finish_row();
        self.events.append_option(span.events);
        self.links.append_option(span.links);
        for (column, count) in self.dropped.iter_mut().zip(span.dropped) {
            column.push(count);
        }
    }

    /// Pushes an attribute of the span that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Pushes a resource attribute of the span that `append` appends next.
    pub fn push_resource_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.drawn.resource.push(key, value, value_type);
    }

    /// Pushes an attribute of the event that is pushed next.
    pub fn push_event_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.drawn.step.push(key, value, value_type);
    }

    /// Pushes an event of the span that `append` appends next.
    pub fn push_event(&mut self, event: &EventFields<'_>) {
        self.drawn.events.push(event, self.drawn.step.finish());
        self.drawn.step.clear();
    }

    /// Pushes an attribute of the link that is pushed next.
    pub fn push_link_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.drawn.step.push(key, value, value_type);
    }

    /// Pushes a link of the span that `append` appends next.
    pub fn push_link(&mut self, link: &LinkFields<'_>) {
        self.drawn.links.push(link, self.drawn.step.finish());
        self.drawn.step.clear();
    }

    /// Appends the span with all that was pushed since the last one.
    pub fn append(&mut self, span: &SpanFields<'_>) {
        let mut drawn = std::mem::take(&mut self.drawn);
        let resource = self.resource(&ResourceFields {
            service_name: span.service_name,
            service_instance: span.service_instance,
            service_version: span.service_version,
            attributes: drawn.resource.finish(),
        });
        let scope = self.scope(span.scope_name, span.scope_version);
        let name = self.name.entries.intern([span.name]);
        self.append_entry(&SpanEntry {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            name,
            kind: span.kind,
            status_code: span.status_code,
            status_message: span.status_message,
            trace_state: span.trace_state,
            flags: span.flags,
            resource,
            scope,
            events: drawn.events.finish(),
            links: drawn.links.finish(),
            dropped: span.dropped,
        });
    }

    /// Returns how many spans were appended.
    pub fn len(&self) -> usize {
        self.kind.len()
    }

    /// Returns whether no span was appended.
    pub fn is_empty(&self) -> bool {
        self.kind.is_empty()
    }

    /// Returns the table of spans whose attributes were pushed as text, and consumes the builder.
    ///
    /// # Panics
    /// If a value was pushed as bytes that are not UTF-8: then [`Self::try_finish`] is needed.
    pub fn finish(self) -> SpanTable {
        self.try_finish().expect(PUSHED_AS_TEXT)
    }

    /// Returns the table and consumes the builder.
    ///
    /// # Errors
    /// If a value is not UTF-8.
    pub fn try_finish(mut self) -> Result<SpanTable, NotUtf8> {
        let [name] = self.name.finish();
        let [service_name, service_instance, service_version, resource_attributes] = self.resources.finish();
        let [scope_name, scope_version] = self.scopes.finish();
        let [dropped_attributes, dropped_events, dropped_links] =
            self.dropped.map(|counts| Arc::new(UInt32Array::from(counts)) as ArrayRef);
        let columns: Vec<ArrayRef> = vec![
            self.trace_id.finish(),
            self.span_id.finish(),
            self.parent_span_id.finish(),
            timestamps(self.start_ns),
            Arc::new(Int64Array::from(self.duration_ns)),
            name,
            Arc::new(UInt8Array::from(self.kind)),
            Arc::new(UInt8Array::from(self.status_code)),
            Arc::new(self.status_message.finish()),
            Arc::new(self.trace_state.finish()),
            Arc::new(UInt32Array::from(self.flags)),
            service_name,
            service_instance,
            service_version,
            resource_attributes,
            scope_name,
            scope_version,
            Arc::new(self.attributes.finish()?),
            Arc::new(self.events.finish()),
            Arc::new(self.links.finish()),
            dropped_attributes,
            dropped_events,
            dropped_links,
        ];
        let batch = RecordBatch::try_new(super::memory_schema(), columns);
        Ok(SpanTable::of(batch.expect("every column was filled row by row")))
    }
}
