//! A query's spans back into the memory form, so that all readers know one form only. Called when a table is opened.

use arrow::array::{FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array};

use super::{SpanEntry, SpanKind, SpanTable, SpanTableBuilder, StatusCode};
use crate::attributes::PUSHED_AS_TEXT;
use crate::columns::{as_sql, column, id, optional_id, text};
use crate::{ResourceFields, SchemaError, SpanId, TableName, TraceId};

/// Returns the table of a query's result.
pub(super) fn table(batch: &RecordBatch) -> Result<SpanTable, SchemaError> {
    let batch = &as_sql(TableName::Spans, batch)?;
    let texts = |name: &str| -> &StringArray { column(batch, name) };
    let trace_id: &FixedSizeBinaryArray = column(batch, "trace_id");
    let span_id: &FixedSizeBinaryArray = column(batch, "span_id");
    let parent: &FixedSizeBinaryArray = column(batch, "parent_span_id");
    let start: &TimestampNanosecondArray = column(batch, "start_time");
    let duration: &Int64Array = column(batch, "duration_ns");
    let flags: &UInt32Array = column(batch, "flags");
    let [name, kind, status_code, service_name] = ["name", "kind", "status_code", "service_name"].map(texts);
    let [message, trace_state, events, links] = ["status_message", "trace_state", "events", "links"].map(texts);
    let [instance, version, scope_name, scope_version] =
        ["service_instance", "service_version", "scope_name", "scope_version"].map(texts);
    let [attributes, resource_attributes] = ["attributes", "resource_attributes"].map(texts);
    let dropped: [&UInt32Array; 3] =
        ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(|name| column(batch, name));
    let mut builder = SpanTableBuilder::default();
    for row in 0..batch.num_rows() {
        builder.attributes().push_json(attributes.value(row));
        let resource = builder.resource(&ResourceFields {
            service_name: service_name.value(row),
            service_instance: text(instance, row),
            service_version: text(version, row),
            attributes: resource_attributes.value(row),
        });
        let scope = builder.scope(text(scope_name, row), text(scope_version, row));
        let name = builder.name(name.value(row).as_bytes()).expect(PUSHED_AS_TEXT);
        builder.append_entry(&SpanEntry {
            trace_id: TraceId(id(trace_id, row)),
            span_id: SpanId(id(span_id, row)),
            parent_span_id: optional_id(parent, row).map(SpanId),
            start_ns: start.value(row),
            end_ns: start.value(row).saturating_add(duration.value(row)),
            name,
            kind: SpanKind::from_word(kind.value(row)),
            status_code: StatusCode::from_word(status_code.value(row)),
            status_message: text(message, row),
            trace_state: text(trace_state, row),
            flags: flags.value(row),
            resource,
            scope,
            events: text(events, row),
            links: text(links, row),
            dropped: dropped.map(|column| column.value(row)),
        });
    }
    Ok(builder.finish())
}
