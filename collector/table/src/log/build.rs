//! Builds the memory form of the `logs` table, record by record. Filled by `otlp`, and by tests.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringBuilder, UInt32Array};

use super::{LogFields, LogTable};
use crate::attributes::PUSHED_AS_TEXT;
use crate::columns::{IdColumn, UncheckedTexts, timestamps};
use crate::dictionary::KeyedColumns;
use crate::json::ObjectWriter;
use crate::origin::{Resources, Scopes};
use crate::{AttributesBuilder, NotUtf8, ResourceFields, SpanId, TraceId, ValueType};

/// A log record whose resource and scope the builder already knows by number. Its attributes are pushed on the builder
/// before.
pub struct LogEntry<'a> {
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
    /// The body as text; see `body_type`. Whether it is UTF-8 is seen at the end.
    pub body: &'a [u8],
    /// OTLP type of the body.
    pub body_type: ValueType,
    /// Event name.
    pub event_name: Option<&'a str>,
    /// From [`LogTableBuilder::resource`].
    pub resource: u32,
    /// From [`LogTableBuilder::scope`].
    pub scope: u32,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
}

/// Builds a [`LogTable`]. For each record: push attributes, then `append`. A caller that has many records of one resource
/// registers it once and appends entries.
pub struct LogTableBuilder {
    time_ns: Vec<i64>,
    observed_ns: Vec<i64>,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    flags: Vec<u32>,
    severity_number: Vec<i32>,
    severity_text: KeyedColumns<1>,
    body: UncheckedTexts,
    body_type: StringBuilder,
    event_name: StringBuilder,
    resources: Resources,
    scopes: Scopes,
    attributes: AttributesBuilder,
    dropped: Vec<u32>,
    drawn_resource: ObjectWriter,
}

impl Default for LogTableBuilder {
    fn default() -> Self {
        Self {
            time_ns: Vec::new(),
            observed_ns: Vec::new(),
            trace_id: IdColumn::default(),
            span_id: IdColumn::default(),
            flags: Vec::new(),
            severity_number: Vec::new(),
            severity_text: KeyedColumns::new([true]),
            body: UncheckedTexts::default(),
            body_type: StringBuilder::with_capacity(0, 0),
            event_name: StringBuilder::with_capacity(0, 0),
            resources: Resources::default(),
            scopes: Scopes::default(),
            attributes: AttributesBuilder::default(),
            dropped: Vec::new(),
            drawn_resource: ObjectWriter::default(),
        }
    }
}

impl LogTableBuilder {
    /// Returns the attributes of the record that is appended next.
    pub fn attributes(&mut self) -> &mut AttributesBuilder {
        &mut self.attributes
    }

    /// Returns the number of a resource; equal resources have one number.
    pub fn resource(&mut self, resource: &ResourceFields<'_>) -> u32 {
        self.resources.intern(resource)
    }

    /// Returns the number of a scope; equal scopes have one number.
    pub fn scope(&mut self, name: Option<&str>) -> u32 {
        self.scopes.intern(name, None)
    }

    /// Appends a record with the attributes that were pushed since the last one.
    pub fn append_entry(&mut self, record: &LogEntry<'_>) {
        self.time_ns.push(record.time_ns);
        self.observed_ns.push(record.observed_ns);
        self.trace_id.push(record.trace_id.as_ref().map(TraceId::as_bytes));
        self.span_id.push(record.span_id.as_ref().map(SpanId::as_bytes));
        self.flags.push(record.flags);
        self.severity_number.push(record.severity_number);
        let severity_text = self.severity_text.entries.intern([record.severity_text.unwrap_or_default()]);
        self.severity_text.push(severity_text);
        self.body.push(record.body);
        self.body_type.append_value(record.body_type.letter().encode_utf8(&mut [0; 4]));
        self.event_name.append_option(record.event_name);
        self.resources.push(record.resource);
        self.scopes.push(record.scope);
        self.attributes.finish_row();
        self.dropped.push(record.dropped_attributes_count);
    }

    /// Pushes an attribute of the record that is appended next.
    pub fn push_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.attributes.push(key, value, value_type);
    }

    /// Pushes a resource attribute of the record that `append` appends next.
    pub fn push_resource_attribute(&mut self, key: &str, value: &str, value_type: ValueType) {
        self.drawn_resource.push(key, value, value_type);
    }

    /// Appends the record with all that was pushed since the last one.
    pub fn append(&mut self, record: &LogFields<'_>) {
        let mut attributes = std::mem::take(&mut self.drawn_resource);
        let resource = self.resource(&ResourceFields {
            service_name: record.service_name,
            service_instance: record.service_instance,
            service_version: record.service_version,
            attributes: attributes.finish(),
        });
        let scope = self.scope(record.scope_name);
        self.append_entry(&LogEntry {
            time_ns: record.time_ns,
            observed_ns: record.observed_ns,
            trace_id: record.trace_id,
            span_id: record.span_id,
            flags: record.flags,
            severity_number: record.severity_number,
            severity_text: record.severity_text,
            body: record.body.as_bytes(),
            body_type: record.body_type,
            event_name: record.event_name,
            resource,
            scope,
            dropped_attributes_count: record.dropped_attributes_count,
        });
    }

    /// Returns how many records were appended.
    pub fn len(&self) -> usize {
        self.time_ns.len()
    }

    /// Returns whether no record was appended.
    pub fn is_empty(&self) -> bool {
        self.time_ns.is_empty()
    }

    /// Returns the table of records whose attributes and bodies were given as text, and consumes the builder.
    ///
    /// # Panics
    /// If something was given as bytes that are not UTF-8: then [`Self::try_finish`] is needed.
    pub fn finish(self) -> LogTable {
        self.try_finish().expect(PUSHED_AS_TEXT)
    }

    /// Returns the table and consumes the builder.
    ///
    /// # Errors
    /// If a body or a value is not UTF-8.
    pub fn try_finish(mut self) -> Result<LogTable, NotUtf8> {
        let [severity_text] = self.severity_text.finish();
        let [service_name, service_instance, service_version, resource_attributes] = self.resources.finish();
        let [scope_name, _] = self.scopes.finish();
        let columns: Vec<ArrayRef> = vec![
            timestamps(self.time_ns),
            timestamps(self.observed_ns),
            self.trace_id.finish(),
            self.span_id.finish(),
            Arc::new(UInt32Array::from(self.flags)),
            Arc::new(Int32Array::from(self.severity_number)),
            severity_text,
            Arc::new(self.body.finish()?),
            Arc::new(self.body_type.finish()),
            Arc::new(self.event_name.finish()),
            service_name,
            service_instance,
            service_version,
            scope_name,
            Arc::new(self.attributes.finish()?),
            resource_attributes,
            Arc::new(UInt32Array::from(self.dropped)),
        ];
        let batch = RecordBatch::try_new(super::memory_schema(), columns);
        Ok(LogTable::of(batch.expect("every column was filled row by row")))
    }
}
