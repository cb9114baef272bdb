//! Log records into rows of the `logs` table.

use std::borrow::Cow;

use collector_table::{LogFields, LogTableBuilder, SpanId, TraceId, ValueType};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::resource::Origin;
use super::tally::{Tally, attribute_bytes, present, time_ns};
use super::values::as_text;
use crate::{DecodedBatch, Limits, RejectReason, Signal};

/// Returns one row for every valid log record.
pub(crate) fn logs(request: &ExportLogsServiceRequest, limits: &Limits) -> DecodedBatch {
    let mut tally = Tally::new(limits);
    let mut table = LogTableBuilder::default();
    for resource_logs in &request.resource_logs {
        let origin = Origin::new(resource_logs.resource.as_ref(), &mut tally);
        for scope_logs in &resource_logs.scope_logs {
            for record in &scope_logs.log_records {
                let added = add_record(&origin, scope_logs.scope.as_ref(), record, &mut tally, &mut table);
                if let Err(reason) = added {
                    tally.reject(reason);
                }
            }
        }
    }
    tally.finish(Signal::Logs, table.finish().batch().clone())
}

fn add_record(
    origin: &Origin<'_>,
    scope: Option<&InstrumentationScope>,
    record: &LogRecord,
    tally: &mut Tally<'_>,
    table: &mut LogTableBuilder,
) -> Result<(), RejectReason> {
    let observed_ns = time_ns(record.observed_time_unix_nano)?;
    let time_ns = match time_ns(record.time_unix_nano)? {
        0 => observed_ns,
        time_ns => time_ns,
    };
    let (attributes, cut) = tally.cut(&record.attributes);
    let (body, body_type) = match &record.body {
        Some(body) => as_text(Some(body)),
        None => (Cow::Borrowed(""), ValueType::String),
    };
    let fields = LogFields {
        time_ns,
        observed_ns,
        // An invalid id means "not in a trace" (logs.proto, trace_id); the record itself is good.
        trace_id: TraceId::from_otlp(&record.trace_id),
        span_id: SpanId::from_otlp(&record.span_id),
        flags: record.flags,
        severity_number: record.severity_number,
        severity_text: present(&record.severity_text),
        body: &body,
        body_type,
        event_name: present(&record.event_name),
        service_name: origin.service_name(),
        service_instance: origin.service_instance(),
        service_version: origin.service_version(),
        scope_name: scope.and_then(|scope| present(&scope.name)),
        dropped_attributes_count: record.dropped_attributes_count.saturating_add(cut),
    };
    tally.admit(origin.row_bytes + attribute_bytes(&attributes) + text_bytes(&fields))?;
    for attribute in &attributes {
        table.push_attribute(attribute.key, &attribute.value, attribute.value_type);
    }
    for attribute in &origin.attributes {
        table.push_resource_attribute(attribute.key, &attribute.value, attribute.value_type);
    }
    table.append(&fields);
    Ok(())
}

fn text_bytes(fields: &LogFields<'_>) -> usize {
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    fields.body.len() + optional(fields.severity_text) + optional(fields.event_name) + optional(fields.scope_name)
}
