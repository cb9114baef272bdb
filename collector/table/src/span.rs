//! The `spans` table: one row a span, as in opentelemetry/proto/trace/v1, with the resource's identity in columns.
//! `otlp` appends, the store keeps, `analyzer` and `web` read rows.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Builder, ListArray, MapArray, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampNanosecondArray, TimestampNanosecondBuilder, UInt32Array,
    UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::attributes::map_type;
use crate::{Attributes, AttributesBuilder, SchemaError, SpanId, TableName, TraceId, ValueType};

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

    fn from_word(word: &str) -> Self {
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

    fn from_word(word: &str) -> Self {
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

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
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
        SpanTable(batch)
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

pub(crate) fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    let array = batch.column_by_name(name).expect("the schema was checked when the table was opened");
    array.as_any().downcast_ref::<A>().expect("the schema was checked when the table was opened")
}

/// Returns the first column that differs from the schema in type, by name; order does not matter.
pub(crate) fn check_schema(table: TableName, batch: &RecordBatch) -> Result<(), SchemaError> {
    let schema = table.schema();
    for field in schema.fields() {
        let fits = batch.column_by_name(field.name()).is_some_and(|found| found.data_type() == field.data_type());
        if !fits {
            return Err(SchemaError { table, column: field.name().clone() });
        }
    }
    Ok(())
}

pub(crate) fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

fn id<const N: usize>(array: &FixedSizeBinaryArray, row: usize) -> [u8; N] {
    array.value(row).try_into().expect("the column is of this width")
}

pub(crate) fn optional_id<const N: usize>(array: &FixedSizeBinaryArray, row: usize) -> Option<[u8; N]> {
    array.is_valid(row).then(|| id(array, row))
}

impl SpanTable {
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

fn member<'a, A: 'static>(items: &'a StructArray, name: &str) -> &'a A {
    let array = items.column_by_name(name).expect("the schema was checked when the table was opened");
    array.as_any().downcast_ref::<A>().expect("the schema was checked when the table was opened")
}
