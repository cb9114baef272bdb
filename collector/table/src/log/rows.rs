//! Reads the `logs` table row by row. A table's columns are checked once, when it is made from a batch.

use arrow::array::{FixedSizeBinaryArray, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array};

use super::{LogEntry, LogTableBuilder, memory_schema};
use crate::attributes::AttributeColumns;
use crate::columns::{Texts, as_sql, check_schema, column, is_memory_form, optional_id, text};
use crate::{Attributes, ResourceFields, SchemaError, SpanId, TableName, TraceId, ValueType};

/// A batch of log records in the memory form, whose columns were checked.
#[derive(Clone, Debug)]
pub struct LogTable(RecordBatch);

/// One log record. Borrowed from its table.
#[derive(Clone, Copy)]
pub struct LogRow<'a> {
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// Trace in which it was written.
    pub trace_id: Option<TraceId>,
    /// Span in which it was written.
    pub span_id: Option<SpanId>,
    /// 1 (trace) to 24 (fatal); 0 when unknown.
    pub severity_number: i32,
    /// Severity as the source wrote it.
    pub severity_text: Option<&'a str>,
    /// Body as text.
    pub body: &'a str,
    /// Event name.
    pub event_name: Option<&'a str>,
    /// `service.name`.
    pub service_name: &'a str,
    /// Instance, pod or host.
    pub service_instance: Option<&'a str>,
    /// Record's attributes.
    pub attributes: Attributes<'a>,
}

impl LogTable {
    /// Wraps a batch that was built with the table's own schema.
    pub(super) fn of(batch: RecordBatch) -> Self {
        Self(batch)
    }

    /// Returns the table of a batch in the memory form or of a query's result in the SQL form, or which column does
    /// not fit. The latter costs a conversion.
    ///
    /// # Errors
    /// If a column of the schema is missing or has another type.
    pub fn from_batch(batch: RecordBatch) -> Result<Self, SchemaError> {
        if !is_memory_form(&batch) {
            return table_of_sql(&batch);
        }
        check_schema(TableName::Logs, &memory_schema(), &batch)?;
        Ok(Self(batch))
    }

    /// Returns the Arrow batch, in the memory form.
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// Returns how many records the table holds.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Returns whether the table holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns every record in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = LogRow<'_>> {
        let batch = &self.0;
        let time: &TimestampNanosecondArray = column(batch, "time");
        let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
        let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
        let severity_number: &Int32Array = column(batch, "severity_number");
        let severity_text = Texts::of(batch, "severity_text");
        let body: &StringArray = column(batch, "body");
        let event_name: &StringArray = column(batch, "event_name");
        let service_name = Texts::of(batch, "service_name");
        let service_instance = Texts::of(batch, "service_instance");
        let attributes = AttributeColumns::of(column(batch, "attributes"));
        (0..batch.num_rows()).map(move |row| LogRow {
            time_ns: time.value(row),
            trace_id: optional_id(trace_id, row).map(TraceId),
            span_id: optional_id(span_id, row).map(SpanId),
            severity_number: severity_number.value(row),
            severity_text: severity_text.get(row),
            body: body.value(row),
            event_name: text(event_name, row),
            service_name: service_name.get(row).unwrap_or_default(),
            service_instance: service_instance.get(row),
            attributes: attributes.row(row),
        })
    }
}

/// Returns a query's records in the memory form, so that all readers know one form only.
fn table_of_sql(batch: &RecordBatch) -> Result<LogTable, SchemaError> {
    let batch = &as_sql(TableName::Logs, batch)?;
    let texts = |name: &str| -> &StringArray { column(batch, name) };
    let times = |name: &str| -> &TimestampNanosecondArray { column(batch, name) };
    let counts = |name: &str| -> &UInt32Array { column(batch, name) };
    let [time, observed] = ["time", "observed_time"].map(times);
    let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
    let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
    let [flags, dropped] = ["flags", "dropped_attributes_count"].map(counts);
    let severity_number: &Int32Array = column(batch, "severity_number");
    let [severity_text, body, body_type, event_name] = ["severity_text", "body", "body_type", "event_name"].map(texts);
    let [service_name, instance, version, scope_name] =
        ["service_name", "service_instance", "service_version", "scope_name"].map(texts);
    let [attributes, resource_attributes] = ["attributes", "resource_attributes"].map(texts);
    let mut builder = LogTableBuilder::default();
    for row in 0..batch.num_rows() {
        builder.attributes().push_json(attributes.value(row));
        let resource = builder.resource(&ResourceFields {
            service_name: service_name.value(row),
            service_instance: text(instance, row),
            service_version: text(version, row),
            attributes: resource_attributes.value(row),
        });
        let scope = builder.scope(text(scope_name, row));
        builder.append_entry(&LogEntry {
            time_ns: time.value(row),
            observed_ns: observed.value(row),
            trace_id: optional_id(trace_id, row).map(TraceId),
            span_id: optional_id(span_id, row).map(SpanId),
            flags: flags.value(row),
            severity_number: severity_number.value(row),
            severity_text: text(severity_text, row),
            body: body.value(row).as_bytes(),
            body_type: body_type.value(row).bytes().next().map_or(ValueType::String, ValueType::from_byte),
            event_name: text(event_name, row),
            resource,
            scope,
            dropped_attributes_count: dropped.value(row),
        });
    }
    Ok(builder.finish())
}
