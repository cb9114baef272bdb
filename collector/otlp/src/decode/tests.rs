use collector_table::{LogTable, SpanTable};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::decode;
use crate::{DecodeError, DecodedBatch, Encoding, Limits, PayloadKind, RejectReason, Signal};

const TRACE_ID: &str = "5b8efff798038103d269b633813fc60c";
const SPAN_ID: &str = "eee19b7ec3c1b174";

fn json(signal: Signal, text: &str) -> Result<DecodedBatch, DecodeError> {
    decode(PayloadKind { signal, encoding: Encoding::Json }, text.as_bytes(), &Limits::default())
}

/// Decodes one span whose members are given; ids and times are added.
fn span(members: &str) -> Result<DecodedBatch, DecodeError> {
    json(
        Signal::Traces,
        &format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
            {{"traceId":"{TRACE_ID}","spanId":"{SPAN_ID}","startTimeUnixNano":"1","endTimeUnixNano":2,{members}}}]}}]}}]}}"#
        ),
    )
}

/// Draws every row as one line a person can read.
fn drawn(batch: &DecodedBatch) -> String {
    let table = SpanTable::from_batch(batch.rows.clone()).unwrap();
    let mut lines = Vec::new();
    for row in table.rows() {
        let mut line = format!(
            "{} {} {} {}..{} {}",
            row.service_name,
            row.name,
            row.kind.as_str(),
            row.start_ns,
            row.end_ns,
            row.status_code.as_str()
        );
        for (key, value, value_type) in row.attributes.iter() {
            line += &format!(" {key}={value}:{}", value_type.letter());
        }
        lines.push(line);
    }
    for rejected in &batch.rejected {
        lines.push(format!("rejected {} {}", rejected.count, rejected.reason.as_str()));
    }
    lines.join("\n")
}

#[test]
fn what_the_node_sdk_sends_is_read() {
    let text = r#"{"resourceSpans":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"shop"}},{"key":"process.pid","value":{"intValue":4711}},
        {"key":"process.command_args","value":{"arrayValue":{"values":[{"stringValue":"node"}]}}}],
        "droppedAttributesCount":0},
        "scopeSpans":[{"scope":{"name":"@opentelemetry/instrumentation-http","version":"0.57.0"},"spans":[{
        "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173",
        "name":"GET /cart","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000250000000",
        "attributes":[{"key":"http.response.status_code","value":{"intValue":200}},
        {"key":"ratio","value":{"doubleValue":1}},{"key":"ok","value":{"boolValue":true}}],
        "droppedAttributesCount":0,"events":[],"droppedEventsCount":0,"status":{"code":0},"links":[],
        "droppedLinksCount":0,"flags":257}]}]}]}"#;
    insta::assert_snapshot!(drawn(&json(Signal::Traces, text).unwrap()), @"shop GET /cart server 1700000000000000000..1700000000250000000 unset http.response.status_code=200:i ratio=1:d ok=true:b");
}

#[test]
fn numbers_and_texts_null_and_absent_unknown_fields_and_all_value_types_are_read() {
    let batch = span(
        r#""name":"n","kind":3,"status":null,"events":null,"futureField":{"deep":[[[{}]]]},"droppedLinksCount":"0",
        "attributes":[null,{"key":"i","value":{"intValue":"-9223372036854775808"}},{"key":"e","value":{"intValue":5e2}},
        {"key":"d","value":{"doubleValue":"NaN"}},{"key":"m","value":{"doubleValue":"-Infinity"}},
        {"key":"x","value":{"doubleValue":1.7976931348623157e308}},{"key":"t","value":{"doubleValue":"0.1"}},
        {"key":"y","value":{"bytesValue":"_-8"}},{"key":"z","value":{"bytesValue":"/+8="}},
        {"key":"l","value":{"arrayValue":{}}},{"key":"k","value":{"kvlistValue":{"values":[{"key":"a","value":null}]}}},
        {"key":"none","value":{}},{"key":"absent"},{"value":{"stringValue":"no key"}},
        {"key":"new","value":{"quantumValue":7}}]"#,
    );
    insta::assert_snapshot!(drawn(&batch.unwrap()), @r#"unknown_service n client 1..2 unset i=-9223372036854775808:i e=500:i d=NaN:d m=-inf:d x=1.7976931348623157e308:d t=0.1:d y=/+8=:y z=/+8=:y l=[]:j k={"a":null}:j none=null:j absent=null:j =no key:s new=null:j"#);
}

#[test]
fn enum_names_are_read_although_the_specification_asks_for_numbers() {
    let batch = span(r#""name":"n","kind":"SPAN_KIND_CONSUMER","status":{"code":"STATUS_CODE_ERROR"}"#).unwrap();
    insta::assert_snapshot!(drawn(&batch), @"unknown_service n consumer 1..2 error");
}

#[test]
fn an_enum_number_of_the_future_is_unspecified() {
    insta::assert_snapshot!(drawn(&span(r#""name":"n","kind":77,"status":{"code":-1}"#).unwrap()), @"unknown_service n unspecified 1..2 unset");
}

#[test]
fn bad_json_is_refused_without_quoting_it() {
    let secret = "s3cret";
    let bodies = [
        format!(r#"{{"resourceSpans": "{secret}"}}"#),
        format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"startTimeUnixNano": "{secret}"}}]}}]}}]}}"#),
        format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"kind": "{secret}"}}]}}]}}]}}"#),
        format!(r#"{{"resourceSpans": [{{"schemaUrl": {{"{secret}": 1}}}}]}}"#),
        format!(r#"{{"resourceSpans": [{{"schemaUrl": true, "x": "{secret}"}}]}}"#),
        format!(r#"{{"{secret}": }}"#),
        format!(r#"["{secret}"]"#),
        format!(r#"{{"{secret}"#),
        "{} trailing s3cret".to_owned(),
        "null".to_owned(),
    ];
    for body in bodies {
        let error = json(Signal::Traces, &body).unwrap_err();
        assert!(matches!(error, DecodeError::Json { .. }), "{body} gave {error:?}");
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

#[test]
fn json_that_is_not_utf_8_is_refused_with_its_place() {
    let body = b"{\"resourceSpans\":[{\"schemaUrl\":\"\xff\xfe\"}]}";
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Json };
    let error = decode(kind, body, &Limits::default()).unwrap_err();
    insta::assert_snapshot!(error, @"reading JSON: not valid JSON at line 1 column 33");
}

#[test]
fn invalid_items_are_rejected_by_reason_and_the_rest_is_kept() {
    let spans = [
        r#""traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174","name":"zero trace id""#,
        r#""traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174","name":"base64 trace id""#,
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"","name":"no span id""#,
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","parentSpanId":"ee","name":"parent""#,
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","endTimeUnixNano":"18446744073709551615""#,
        r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B174","parentSpanId":"0000000000000000","name":"good""#,
    ];
    let spans = spans.map(|span| format!("{{{span}}}")).join(",");
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let batch = json(Signal::Traces, &text).unwrap();
    insta::assert_snapshot!(drawn(&batch), @"
    unknown_service good unspecified 0..0 unset
    rejected 2 invalid_trace_id
    rejected 1 invalid_span_id
    rejected 1 invalid_parent_span_id
    rejected 1 time_out_of_range
    ");
    assert_eq!((batch.accepted, batch.rejected_count()), (1, 5));
}

#[test]
fn a_bad_event_or_link_is_dropped_and_counted_but_its_span_stays() {
    let batch = span(
        r#""events":[{"timeUnixNano":"18446744073709551615","name":"late"},{"timeUnixNano":"5","name":"kept"}],
        "links":[{"traceId":"","spanId":""}],"droppedLinksCount":3"#,
    );
    let table = SpanTable::from_batch(batch.unwrap().rows).unwrap();
    let row = table.rows().next().unwrap();
    let events: Vec<_> = row.events().iter().map(|event| (event.time_ns, event.name)).collect();
    assert_eq!(events, [(5, "kept")]);
    assert_eq!((row.links().len(), row.dropped), (0, [0, 1, 4]));
}

#[test]
fn a_log_record_without_a_time_has_the_time_of_its_observation() {
    let text = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"h1"}}]},
        "scopeLogs":[{"logRecords":[{"observedTimeUnixNano":"42","severityNumber":"SEVERITY_NUMBER_WARN","traceId":"zz",
        "body":{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"1"}}]}}}]}]}]}"#;
    let table = LogTable::from_batch(json(Signal::Logs, text).unwrap().rows).unwrap();
    let row = table.rows().next().unwrap();
    assert_eq!((row.time_ns, row.severity_number, row.trace_id, row.body), (42, 13, None, r#"{"a":1}"#));
}

#[test]
fn every_kind_of_metric_becomes_one_row_a_point() {
    let point = r#""timeUnixNano":"9","count":"3","sum":"6""#;
    let metrics = [
        r#"{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"9","asDouble":"NaN"}]}}"#.to_owned(),
        r#"{"name":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asInt":"7"},{"asInt":8}]}}"#.to_owned(),
        format!(r#"{{"name":"h","histogram":{{"aggregationTemporality":1,"dataPoints":[{{{point},"bucketCounts":["1","2"],"explicitBounds":[0.5]}}]}}}}"#),
        format!(r#"{{"name":"x","exponentialHistogram":{{"dataPoints":[{{{point},"scale":-2,"positive":{{"offset":-1,"bucketCounts":[1,2]}}}}]}}}}"#),
        format!(r#"{{"name":"q","summary":{{"dataPoints":[{{{point},"quantileValues":[{{"quantile":0.5,"value":2}}]}}]}}}}"#),
        r#"{"name":"future"}"#.to_owned(),
    ];
    let text = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{}]}}]}}]}}"#, metrics.join(","));
    let batch = json(Signal::Metrics, &text).unwrap();
    let shown = batch.rows.project(&[4, 6, 7, 9, 10, 11, 14]).unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&[shown]).unwrap();
    insta::assert_snapshot!(shown, @r#"
    +------+-----------------------+-------------+-------+-------+-----+----------------------------------------------------------------------------------------------------------+
    | name | kind                  | temporality | value | count | sum | detail                                                                                                   |
    +------+-----------------------+-------------+-------+-------+-----+----------------------------------------------------------------------------------------------------------+
    | g    | gauge                 |             | NaN   |       |     |                                                                                                          |
    | s    | sum                   | cumulative  | 7.0   |       |     |                                                                                                          |
    | s    | sum                   | cumulative  | 8.0   |       |     |                                                                                                          |
    | h    | histogram             | delta       |       | 3     | 6.0 | {"bounds":[0.5],"counts":[1,2]}                                                                          |
    | x    | exponential_histogram |             |       | 3     | 6.0 | {"scale":-2,"zero_count":0,"zero_threshold":0.0,"positive":{"offset":-1,"counts":[1,2]},"negative":null} |
    | q    | summary               |             |       | 3     | 6.0 | {"quantiles":[[0.5,2.0]]}                                                                                |
    +------+-----------------------+-------------+-------+-------+-----+----------------------------------------------------------------------------------------------------------+
    "#);
    assert_eq!(batch.rejected[0].reason, RejectReason::UnknownMetricKind);
}

#[test]
fn attributes_beyond_the_limits_are_cut_and_counted() {
    let limits = Limits { attributes_max: 2, attribute_bytes_max: 5, ..Limits::default() };
    let text = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{TRACE_ID}","spanId":"{SPAN_ID}","attributes":[
        {{"key":"a","value":{{"stringValue":"grün und blau"}}}},{{"key":"b","value":{{"intValue":1}}}},
        {{"key":"c","value":{{"intValue":1}}}},{{"key":"d","value":{{"intValue":1}}}}]}}]}}]}}]}}"#
    );
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Json };
    let batch = decode(kind, text.as_bytes(), &limits).unwrap();
    insta::assert_snapshot!(drawn(&batch), @"unknown_service  unspecified 0..0 unset a=grün:s b=1:i");
    assert_eq!(batch.cut_attributes, 3);
    let table = SpanTable::from_batch(batch.rows).unwrap();
    assert_eq!(table.rows().next().unwrap().dropped, [2, 0, 0]);
}

/// A value of so many lists around one text, in both encodings.
fn nested(lists: usize) -> [(Encoding, Vec<u8>); 2] {
    let open = r#"{"arrayValue":{"values":["#.repeat(lists);
    let close = "]}}".repeat(lists);
    let text = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{open}{{"stringValue":"x"}}{close}}}]}}}}]}}"#
    );
    let value = (0..lists).fold(wrapped(1, b"x"), |value, _| wrapped(5, &wrapped(1, &value)));
    let protobuf = wrapped(1, &wrapped(1, &wrapped(1, &wrapped(2, &value))));
    [(Encoding::Json, text.into_bytes()), (Encoding::Protobuf, protobuf)]
}

#[test]
fn nesting_is_refused_beyond_the_limit_in_both_encodings_and_at_any_depth() {
    // Request, resource spans, resource, attribute and value are five messages; each list is two more.
    for (lists, is_good) in [(29, true), (30, false), (60, false), (100_000, false)] {
        for (encoding, body) in nested(lists) {
            let batch = decode(PayloadKind { signal: Signal::Traces, encoding }, &body, &Limits::default());
            let is_nested = matches!(batch, Err(DecodeError::Nested { max: 64 }));
            assert_eq!((batch.is_ok(), is_nested), (is_good, !is_good), "{lists} lists in {encoding:?}");
        }
    }
}

/// Returns a message field with a content.
fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![tag << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut message);
    message.extend(content);
    message
}

#[test]
fn a_million_empty_spans_are_rejected_one_by_one() {
    let body = wrapped(1, &wrapped(2, &[0x12, 0x00].repeat(1_000_000)));
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
    let batch = decode(kind, &body, &Limits::default()).unwrap();
    assert_eq!((batch.accepted, batch.rejected_count()), (0, 1_000_000));
}

#[test]
fn twenty_thousand_tiny_resources_are_kept_each_once() {
    let resource_spans = |number: usize| {
        let value = wrapped(2, &wrapped(1, (number % 20_000).to_string().as_bytes()));
        let attribute = [wrapped(1, b"service.name"), value].concat();
        let span = [wrapped(1, &[1; 16]), wrapped(2, &[2; 8])].concat();
        wrapped(1, &[wrapped(1, &wrapped(1, &attribute)), wrapped(2, &wrapped(2, &span))].concat())
    };
    let body: Vec<u8> = (0..40_000).flat_map(resource_spans).collect();
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
    let batch = decode(kind, &body, &Limits::default()).unwrap();
    assert_eq!(batch.accepted, 40_000);
    assert_eq!(SpanTable::from_batch(batch.rows.clone()).unwrap().columns().resources_len(), 20_000);
    assert_eq!(batch.items_by_service()[0], ("0".to_owned(), 2));
}

#[test]
fn messages_that_would_take_too_much_memory_are_refused() {
    let list = wrapped(5, &[0x0a, 0x00].repeat(100_000));
    let attribute = wrapped(1, &wrapped(2, &list));
    let body = wrapped(1, &wrapped(1, &attribute));
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
    let limits = Limits { decoded_bytes_max: 1 << 20, ..Limits::default() };
    assert_eq!(decode(kind, &body, &limits), Err(DecodeError::TooLarge { max: 1 << 20 }));
    assert!(decode(kind, &body, &Limits::default()).is_ok());
}

#[test]
fn rows_that_would_take_too_much_memory_are_rejected() {
    let texts = |times: usize| format!(r#"{{"key":"k","value":{{"stringValue":"{}"}}}}"#, "x".repeat(times));
    let span = format!(r#"{{"traceId":"{TRACE_ID}","spanId":"{SPAN_ID}","attributes":[{}]}}"#, texts(1000));
    let text = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        texts(5000),
        vec![span; 100].join(",")
    );
    let limits = Limits { rows_bytes_max: 20_000, ..Limits::default() };
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Json };
    let batch = decode(kind, text.as_bytes(), &limits).unwrap();
    // The resource takes its room once, not once a row.
    assert!(batch.accepted > 8 && batch.accepted < 15, "{}", batch.accepted);
    assert_eq!(batch.rejected[0].reason, RejectReason::BatchFull);
    assert_eq!(batch.accepted as u64 + batch.rejected_count(), 100);
}

#[test]
fn an_empty_body_is_an_empty_request() {
    for signal in Signal::ALL {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let batch = decode(PayloadKind { signal, encoding }, b"", &Limits::default()).unwrap();
            assert_eq!((batch.accepted, batch.rejected.len()), (0, 0));
        }
    }
}

#[test]
fn damaged_protobuf_is_refused_with_its_place() {
    let kind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
    let texts: Vec<String> =
        [&b"\x0a\x05ab"[..], b"\x0b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x09\x01"]
            .iter()
            .map(|body| decode(kind, body, &Limits::default()).unwrap_err().to_string())
            .collect();
    insta::assert_snapshot!(texts.join("\n"), @r#"
    reading protobuf: length beyond the end at byte 2
    reading protobuf: unknown wire type at byte 1
    reading protobuf: number longer than ten bytes at byte 10
    reading protobuf: unexpected end at byte 1
    "#);
    let not_utf_8 = ExportTraceServiceRequest::decode(&b"\x0a\x03\x1a\x01\xff"[..]).unwrap_err();
    let refused = decode(kind, b"\x0a\x03\x1a\x01\xff", &Limits::default());
    assert_eq!(refused, Err(DecodeError::Message(not_utf_8)));
}

#[test]
fn items_are_counted_by_service() {
    let resource = |service: &str, spans: usize| {
        let span = format!(r#"{{"traceId":"{TRACE_ID}","spanId":"{SPAN_ID}"}}"#);
        format!(
            r#"{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}"#,
            vec![span; spans].join(",")
        )
    };
    let resources = [resource("b", 1), resource("a", 2), resource("b", 3), resource("", 1)].join(",");
    let batch = json(Signal::Traces, &format!(r#"{{"resourceSpans":[{resources}]}}"#)).unwrap();
    let expected = [("a", 2), ("b", 4), ("unknown_service", 1)].map(|(name, items)| (name.to_owned(), items));
    assert_eq!(batch.items_by_service(), expected);
}
