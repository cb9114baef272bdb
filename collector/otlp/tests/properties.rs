//! What holds for all requests: both encodings give the same rows, rows give the request back, and no bytes panic.
//! The OTLP/JSON of the oracle is written by opentelemetry-proto's own serde, not by this crate.
#![allow(clippy::unwrap_used)]

mod fuzzed;
mod oracle;
mod requests;

use collector_otlp::{Encoding, Limits, PayloadKind, Signal, decode, export};
use collector_table::SpanTable;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use prost::Message;

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z.]{1,8}", "\\PC{0,12}", any::<String>()].boxed()
}

fn id(length: usize) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), length), 1 => vec(any::<u8>(), 0..20), 1 => Just(vec![0; length])].boxed()
}

fn time() -> BoxedStrategy<u64> {
    prop_oneof![8 => 0..4_000_000_000_000_000_000_u64, 1 => any::<u64>()].boxed()
}

fn value() -> BoxedStrategy<AnyValue> {
    let leaf = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        // NaN and infinities have no JSON in the oracle; they are tested by example.
        proptest::num::f64::NORMAL.prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..9).prop_map(Value::BytesValue),
    ];
    let value = leaf.prop_recursive(4, 16, 4, |inner| {
        let any_value = inner.prop_map(|value| AnyValue { value: Some(value) }).boxed();
        let member = (text(), any_value.clone()).prop_map(|(key, value)| KeyValue {
            key,
            value: Some(value),
            ..KeyValue::default()
        });
        prop_oneof![
            vec(any_value, 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(member, 0..4).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
    });
    value.prop_map(|value| AnyValue { value: Some(value) }).boxed()
}

fn attributes() -> BoxedStrategy<Vec<KeyValue>> {
    let keys = prop_oneof![Just("service.name".to_owned()), text()];
    vec((keys, value()).prop_map(|(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() }), 0..5)
        .boxed()
}

fn resource() -> BoxedStrategy<Option<Resource>> {
    option::of(attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() })).boxed()
}

fn scope() -> BoxedStrategy<Option<InstrumentationScope>> {
    let scope = (text(), text());
    option::of(scope.prop_map(|(name, version)| InstrumentationScope { name, version, ..Default::default() })).boxed()
}

fn event() -> impl Strategy<Value = Event> {
    (time(), text(), attributes()).prop_map(|(time_unix_nano, name, attributes)| Event {
        time_unix_nano,
        name,
        attributes,
        ..Event::default()
    })
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), text(), attributes()).prop_map(|(trace_id, span_id, trace_state, attributes)| Link {
        trace_id,
        span_id,
        trace_state,
        attributes,
        ..Link::default()
    })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), prop_oneof![Just(Vec::new()), id(8)], text());
    let parts = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    let status = option::of((text(), 0..3).prop_map(|(message, code)| Status { message, code }));
    (ids, text(), 0..6, (time(), time()), parts, status, any::<[u32; 4]>()).prop_map(
        |((trace_id, span_id, parent_span_id, trace_state), name, kind, (start, end), parts, status, counts)| Span {
            trace_id,
            span_id,
            parent_span_id,
            trace_state,
            flags: counts[0],
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes: parts.0,
            dropped_attributes_count: counts[1],
            events: parts.1,
            dropped_events_count: counts[2],
            links: parts.2,
            dropped_links_count: counts[3],
            status,
        },
    )
}

fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (scope(), vec(span(), 0..4));
    let scope_spans = scope_spans.prop_map(|(scope, spans)| ScopeSpans { scope, spans, ..ScopeSpans::default() });
    let resource_spans = (resource(), vec(scope_spans, 0..3)).prop_map(|(resource, scope_spans)| ResourceSpans {
        resource,
        scope_spans,
        ..ResourceSpans::default()
    });
    vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (time(), time(), 0..25, text(), option::of(value()), attributes(), (id(16), id(8)), text()).prop_map(
        |(time, observed, severity_number, severity_text, body, attributes, (trace_id, span_id), event_name)| {
            LogRecord {
                time_unix_nano: time,
                observed_time_unix_nano: observed,
                severity_number,
                severity_text,
                body,
                attributes,
                trace_id,
                span_id,
                event_name,
                ..LogRecord::default()
            }
        },
    );
    let scope_logs = (scope(), vec(record, 0..4));
    let scope_logs = scope_logs.prop_map(|(scope, log_records)| ScopeLogs { scope, log_records, ..Default::default() });
    (resource(), vec(scope_logs, 0..3)).prop_map(|(resource, scope_logs)| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    })
}

const fn kind(signal: Signal, encoding: Encoding) -> PayloadKind {
    PayloadKind { signal, encoding }
}

const PROTOBUF_TRACES: PayloadKind = kind(Signal::Traces, Encoding::Protobuf);
const JSON_TRACES: PayloadKind = kind(Signal::Traces, Encoding::Json);

/// Whether OTLP calls a span valid; written anew here, to be compared with.
fn is_valid(span: &Span) -> bool {
    let is_id = |bytes: &[u8], length| bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    is_id(&span.trace_id, 16)
        && is_id(&span.span_id, 8)
        && [0, 8].contains(&span.parent_span_id.len())
        && [span.start_time_unix_nano, span.end_time_unix_nano].iter().all(|time| i64::try_from(*time).is_ok())
}

/// Limits that cut, and those of the daemon.
fn limits() -> impl Strategy<Value = Limits> {
    let tight = (0..4_usize, 0..12_usize).prop_map(|(attributes_max, attribute_bytes_max)| Limits {
        attributes_max,
        attribute_bytes_max,
        ..Limits::default()
    });
    prop_oneof![Just(Limits::default()), tight]
}

proptest! {
    #[test]
    fn the_walk_gives_the_rows_of_the_oracle(traces in traces(), logs in logs(), limits in limits()) {
        fuzzed::agree_on_traces(&traces.encode_to_vec(), &limits);
        fuzzed::agree_on_logs(&logs.encode_to_vec(), &limits);
    }

    #[test]
    fn the_order_of_fields_their_repetition_and_unknown_ones_mean_what_they_mean_to_prost(
        traces in traces(), logs in logs(), seed in 1..u64::MAX, limits in limits()
    ) {
        let body = fuzzed::rewritten(&traces.encode_to_vec(), &fuzzed::TRACES, seed);
        fuzzed::agree_on_traces(&body, &limits);
        let body = fuzzed::rewritten(&logs.encode_to_vec(), &fuzzed::LOGS, seed);
        fuzzed::agree_on_logs(&body, &limits);
    }

    #[test]
    fn damaged_requests_are_refused_when_the_oracle_refuses_them(
        traces in traces(), logs in logs(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), how in 0..3_u8
    ) {
        for body in [traces.encode_to_vec(), logs.encode_to_vec()] {
            fuzzed::protobuf(&fuzzed::damaged(&body, at.index(body.len() + 1), byte, how));
        }
    }

    #[test]
    fn spans_are_the_same_in_both_encodings(request in traces()) {
        let limits = Limits::default();
        let json = serde_json::to_vec(&request).unwrap();
        let from_json = decode(JSON_TRACES, &json, &limits).unwrap();
        let from_protobuf = decode(PROTOBUF_TRACES, &request.encode_to_vec(), &limits).unwrap();
        prop_assert_eq!(from_json, from_protobuf);
    }

    #[test]
    fn log_records_are_the_same_in_both_encodings(request in logs()) {
        let limits = Limits::default();
        let json = serde_json::to_vec(&request).unwrap();
        let from_json = decode(kind(Signal::Logs, Encoding::Json), &json, &limits).unwrap();
        let from_protobuf = decode(kind(Signal::Logs, Encoding::Protobuf), &request.encode_to_vec(), &limits).unwrap();
        prop_assert_eq!(from_json, from_protobuf);
    }

    #[test]
    fn accepted_spans_read_back_as_they_were_sent(request in traces()) {
        let batch = decode(PROTOBUF_TRACES, &request.encode_to_vec(), &Limits::default()).unwrap();
        let sent = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let sent: Vec<&Span> = sent.flat_map(|scope| &scope.spans).collect();
        let valid: Vec<&Span> = sent.iter().copied().filter(|span| is_valid(span)).collect();
        prop_assert_eq!(batch.rejected_count() as usize, sent.len() - valid.len());
        let table = SpanTable::from_batch(batch.rows).unwrap();
        prop_assert_eq!(table.len(), valid.len());
        for (row, span) in table.rows().zip(valid) {
            prop_assert_eq!(row.trace_id.as_bytes().as_slice(), &span.trace_id);
            prop_assert_eq!(row.span_id.as_bytes().as_slice(), &span.span_id);
            prop_assert_eq!(row.name, &span.name);
            prop_assert_eq!(row.kind as i32, span.kind);
            prop_assert_eq!(row.start_ns as u64, span.start_time_unix_nano);
            prop_assert_eq!(row.end_ns as u64, span.end_time_unix_nano);
            prop_assert_eq!(row.flags, span.flags);
            prop_assert_eq!(row.attributes.len(), span.attributes.len());
            let keys: Vec<&str> = row.attributes.iter().map(|(key, _, _)| key).collect();
            prop_assert_eq!(keys, span.attributes.iter().map(|attribute| &attribute.key).collect::<Vec<_>>());
            let status = span.status.clone().unwrap_or_default();
            prop_assert_eq!(row.status_code as i32, status.code);
            prop_assert_eq!(row.status_message.unwrap_or(""), status.message);
        }
    }

    #[test]
    fn exported_spans_decode_to_the_same_rows(request in traces()) {
        let limits = Limits::default();
        let batch = decode(PROTOBUF_TRACES, &request.encode_to_vec(), &limits).unwrap();
        let table = SpanTable::from_batch(batch.rows.clone()).unwrap();
        // One span at a time: export groups by resource, which may reorder.
        for (index, row) in table.rows().enumerate() {
            let text = export::traces_json([row]).to_string();
            let again = decode(JSON_TRACES, text.as_bytes(), &limits).unwrap();
            prop_assert_eq!(again.rows, batch.rows.slice(index, 1));
        }
    }

    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..200), text in r#"[\[\]{}:,"0-9a-z.\\-]{0,60}"#) {
        fuzzed::protobuf(&body);
        fuzzed::json(&body);
        fuzzed::json(text.as_bytes());
    }

    #[test]
    fn no_truncation_or_flipped_bit_panics(request in traces(), at in any::<proptest::sample::Index>(), bit in 0..8) {
        let json = serde_json::to_vec(&request).unwrap();
        for (kind, body) in [(PROTOBUF_TRACES, request.encode_to_vec()), (JSON_TRACES, json)] {
            if body.is_empty() {
                continue;
            }
            let at = at.index(body.len());
            let _ = decode(kind, &body[..at], &Limits::default());
            let mut flipped = body.clone();
            flipped[at] ^= 1_u8 << bit;
            let _ = decode(kind, &flipped, &Limits::default());
        }
    }
}

/// What a fuzzer does, a little of it, on every run: whole requests of a shop, damaged here and there.
#[test]
fn a_shop_s_requests_agree_with_the_oracle_whole_and_damaged() {
    let bodies = [requests::traces(60).encode_to_vec(), requests::logs(20).encode_to_vec()];
    for body in &bodies {
        fuzzed::protobuf(body);
    }
    let small = [requests::traces(3).encode_to_vec(), requests::logs(3).encode_to_vec()];
    let json = serde_json::to_vec(&requests::traces(3)).unwrap();
    fuzzed::json(&json);
    for at in (0..400).map(|step: usize| step.wrapping_mul(2_654_435_761)) {
        for (byte, how) in [(0xff, 0), (0x80, 1), (0, 2)] {
            let small = &small[at % 2];
            fuzzed::protobuf(&fuzzed::damaged(small, at % small.len(), byte, how));
            fuzzed::json(&fuzzed::damaged(&json, at % json.len(), byte, how));
        }
    }
}
