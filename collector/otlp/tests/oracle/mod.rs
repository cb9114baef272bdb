//! The oracle: what rows a request gives, by way of opentelemetry-proto's messages and one row after the other. Slow and
//! plain; written from OTLP's definitions and from what `Limits` promises, not from the walk. Used by `properties.rs` and
//! by the benchmark.
#![allow(dead_code)]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use collector_otlp::{DecodedBatch, Limits, RejectReason, Rejected, Signal};
use collector_table::{
    EventFields, LinkFields, LogFields, LogTableBuilder, SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode,
    TraceId, ValueType,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

struct Oracle<'l> {
    limits: &'l Limits,
    rejected: BTreeMap<RejectReason, u64>,
    cut_attributes: u64,
}

/// Key, value as text, type.
type Entry = (String, String, ValueType);

/// What a resource puts into every one of its rows.
struct Origin {
    entries: Vec<Entry>,
    service_name: String,
    service_instance: Option<String>,
    service_version: Option<String>,
}

/// Returns the rows of a trace request.
pub(crate) fn spans(request: &ExportTraceServiceRequest, limits: &Limits) -> DecodedBatch {
    let mut oracle = Oracle { limits, rejected: BTreeMap::new(), cut_attributes: 0 };
    let mut table = SpanTableBuilder::default();
    for resource_spans in &request.resource_spans {
        let origin = oracle.origin(resource_spans.resource.as_ref());
        for scope_spans in &resource_spans.scope_spans {
            let (name, version) =
                scope_spans.scope.as_ref().map_or(("", ""), |scope| (scope.name.as_str(), scope.version.as_str()));
            for span in &scope_spans.spans {
                if let Err(reason) = oracle.span(&origin, (present(name), present(version)), span, &mut table) {
                    *oracle.rejected.entry(reason).or_default() += 1;
                }
            }
        }
    }
    oracle.finish(Signal::Traces, table.finish().batch().clone())
}

/// Returns the rows of a logs request.
pub(crate) fn logs(request: &ExportLogsServiceRequest, limits: &Limits) -> DecodedBatch {
    let mut oracle = Oracle { limits, rejected: BTreeMap::new(), cut_attributes: 0 };
    let mut table = LogTableBuilder::default();
    for resource_logs in &request.resource_logs {
        let origin = oracle.origin(resource_logs.resource.as_ref());
        for scope_logs in &resource_logs.scope_logs {
            let scope = scope_logs.scope.as_ref().map_or("", |scope| &scope.name);
            for record in &scope_logs.log_records {
                if let Err(reason) = oracle.record(&origin, present(scope), record, &mut table) {
                    *oracle.rejected.entry(reason).or_default() += 1;
                }
            }
        }
    }
    oracle.finish(Signal::Logs, table.finish().batch().clone())
}

impl Oracle<'_> {
    fn finish(self, signal: Signal, rows: arrow::array::RecordBatch) -> DecodedBatch {
        let rejected = self.rejected.into_iter().map(|(reason, count)| Rejected { reason, count }).collect();
        DecodedBatch { signal, accepted: rows.num_rows(), rows, rejected, cut_attributes: self.cut_attributes }
    }

    fn origin(&mut self, resource: Option<&Resource>) -> Origin {
        let (entries, _) = self.cut(resource.map_or(&[], |resource| &resource.attributes));
        let find = |key: &str| {
            let mut found = entries.iter().filter(|(found, value, _)| found == key && !value.is_empty());
            found.next().map(|(_, value, _)| value.clone())
        };
        let service_name = find("service.name").unwrap_or_else(|| "unknown_service".to_owned());
        let service_instance =
            find("service.instance.id").or_else(|| find("k8s.pod.name")).or_else(|| find("host.name"));
        let service_version = find("service.version");
        Origin { service_name, service_instance, service_version, entries }
    }

    fn span(
        &mut self,
        origin: &Origin,
        (scope_name, scope_version): (Option<&str>, Option<&str>),
        span: &Span,
        table: &mut SpanTableBuilder,
    ) -> Result<(), RejectReason> {
        let trace_id = TraceId::from_otlp(&span.trace_id).ok_or(RejectReason::InvalidTraceId)?;
        let span_id = SpanId::from_otlp(&span.span_id).ok_or(RejectReason::InvalidSpanId)?;
        let parent_span_id = match span.parent_span_id.len() {
            0 | 8 => SpanId::from_otlp(&span.parent_span_id),
            _ => return Err(RejectReason::InvalidParentSpanId),
        };
        let start_ns = time_ns(span.start_time_unix_nano)?;
        let end_ns = time_ns(span.end_time_unix_nano)?;
        let mut dropped = [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count];
        let (entries, left_out) = self.cut(&span.attributes);
        dropped[0] = dropped[0].saturating_add(left_out);
        entries.iter().for_each(|(key, value, value_type)| table.push_attribute(key, value, *value_type));
        origin.entries.iter().for_each(|(key, value, value_type)| {
            table.push_resource_attribute(key, value, *value_type);
        });
        for event in &span.events {
            let Ok(time_ns) = time_ns(event.time_unix_nano) else {
                dropped[1] = dropped[1].saturating_add(1);
                continue;
            };
            let (entries, left_out) = self.cut(&event.attributes);
            entries.iter().for_each(|(key, value, value_type)| table.push_event_attribute(key, value, *value_type));
            let dropped_attributes_count = event.dropped_attributes_count.saturating_add(left_out);
            table.push_event(&EventFields { time_ns, name: &event.name, dropped_attributes_count });
        }
        for link in &span.links {
            let ids = (TraceId::from_otlp(&link.trace_id), SpanId::from_otlp(&link.span_id));
            let (Some(trace_id), Some(span_id)) = ids else {
                dropped[2] = dropped[2].saturating_add(1);
                continue;
            };
            let (entries, _) = self.cut(&link.attributes);
            entries.iter().for_each(|(key, value, value_type)| table.push_link_attribute(key, value, *value_type));
            table.push_link(&LinkFields { trace_id, span_id, trace_state: present(&link.trace_state) });
        }
        let status = span.status.clone().unwrap_or_default();
        table.append(&SpanFields {
            trace_id,
            span_id,
            parent_span_id,
            trace_state: present(&span.trace_state),
            flags: span.flags,
            service_name: &origin.service_name,
            service_instance: origin.service_instance.as_deref(),
            service_version: origin.service_version.as_deref(),
            name: &span.name,
            kind: SpanKind::from_number(span.kind),
            start_ns,
            end_ns,
            status_code: StatusCode::from_number(status.code),
            status_message: present(&status.message),
            scope_name,
            scope_version,
            dropped,
        });
        Ok(())
    }

    fn record(
        &mut self,
        origin: &Origin,
        scope_name: Option<&str>,
        record: &LogRecord,
        table: &mut LogTableBuilder,
    ) -> Result<(), RejectReason> {
        let observed_ns = time_ns(record.observed_time_unix_nano)?;
        let time_ns = time_ns(record.time_unix_nano)?;
        let (entries, left_out) = self.cut(&record.attributes);
        entries.iter().for_each(|(key, value, value_type)| table.push_attribute(key, value, *value_type));
        origin.entries.iter().for_each(|(key, value, value_type)| {
            table.push_resource_attribute(key, value, *value_type);
        });
        let body = record.body.as_ref().map(as_text);
        let (body, body_type) = body.unwrap_or_else(|| (String::new(), ValueType::String));
        table.append(&LogFields {
            time_ns: if time_ns == 0 { observed_ns } else { time_ns },
            observed_ns,
            trace_id: TraceId::from_otlp(&record.trace_id),
            span_id: SpanId::from_otlp(&record.span_id),
            flags: record.flags,
            severity_number: record.severity_number,
            severity_text: present(&record.severity_text),
            body: &body,
            body_type,
            event_name: present(&record.event_name),
            service_name: &origin.service_name,
            service_instance: origin.service_instance.as_deref(),
            service_version: origin.service_version.as_deref(),
            scope_name,
            dropped_attributes_count: record.dropped_attributes_count.saturating_add(left_out),
        });
        Ok(())
    }

    /// Returns the attributes within the limits, and how many were left out.
    fn cut(&mut self, attributes: &[KeyValue]) -> (Vec<Entry>, u32) {
        let max = self.limits.attribute_bytes_max;
        let mut entries = Vec::new();
        for attribute in attributes.iter().take(self.limits.attributes_max) {
            let null = || ("null".to_owned(), ValueType::Json);
            let (mut value, mut value_type) = attribute.value.as_ref().map_or_else(null, as_text);
            let mut key = attribute.key.clone();
            self.cut_attributes += u64::from(key.len() > max || value.len() > max);
            if value.len() > max {
                value_type = ValueType::String;
            }
            value.truncate(value.floor_char_boundary(max));
            key.truncate(key.floor_char_boundary(max));
            entries.push((key, value, value_type));
        }
        let left_out = attributes.len() - entries.len();
        self.cut_attributes += left_out as u64;
        (entries, left_out as u32)
    }
}

fn time_ns(unix_ns: u64) -> Result<i64, RejectReason> {
    i64::try_from(unix_ns).map_err(|_| RejectReason::TimeOutOfRange)
}

fn present(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn as_text(value: &AnyValue) -> (String, ValueType) {
    match &value.value {
        Some(Value::StringValue(text)) => (text.clone(), ValueType::String),
        Some(Value::BoolValue(flag)) => (flag.to_string(), ValueType::Bool),
        Some(Value::IntValue(number)) => (number.to_string(), ValueType::Int),
        Some(Value::DoubleValue(number)) => (number_text(*number), ValueType::Double),
        Some(Value::BytesValue(bytes)) => (STANDARD.encode(bytes), ValueType::Bytes),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::StringValueStrindex(_)) | None => {
            (json(value).to_string(), ValueType::Json)
        }
    }
}

fn number_text(number: f64) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn json(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(flag)) => (*flag).into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) if number.is_finite() => (*number).into(),
        Some(Value::DoubleValue(number)) => number_text(*number).into(),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(json).collect(),
        Some(Value::KvlistValue(list)) => {
            let member =
                |member: &KeyValue| (member.key.clone(), member.value.as_ref().map_or(serde_json::Value::Null, json));
            serde_json::Value::Object(list.values.iter().map(member).collect())
        }
        Some(Value::StringValueStrindex(_)) | None => serde_json::Value::Null,
    }
}
