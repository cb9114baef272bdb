//! One piece of work told in four traces, as a user sees it: one transaction in SQL, on the page of any of its traces,
//! from `analyze`, and still one after the daemon was killed.

#![allow(clippy::unwrap_used)]

mod daemon;

use std::process::Command;

use daemon::traffic::{SECOND_NS, now_ns};
use daemon::{Daemon, exchange_bytes, first_column};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::Value;

const MS_NS: u64 = 1_000_000;
/// The key by which the last trace belongs to the others, and its value.
const KEY: (&str, &str) = ("order.id", "o-4711");
const MESSAGE: [(&str, &str); 3] =
    [("messaging.system", "kafka"), ("messaging.destination.name", "orders"), ("messaging.message.id", "m-77")];

#[test]
fn work_of_four_traces_is_one_transaction_everywhere() {
    let began_ns = now_ns() - 2 * SECOND_NS;
    let requests = four_traces(began_ns);
    let join_keys = format!("[\"{}\"]", KEY.0);
    let mut daemon = Daemon::start_with(vec![
        ("THROUGHLINE_STITCHING__JOIN_KEYS", join_keys),
        ("THROUGHLINE_STORAGE__SEAL_AFTER", "2s".to_owned()),
    ]);
    for request in &requests {
        let answer =
            exchange_bytes(daemon.http, "POST", "/v1/traces", "application/x-protobuf", &request.encode_to_vec());
        assert_eq!(answer.unwrap().status, 200);
    }
    let joined = "SELECT count(*) FROM transactions WHERE array_length(trace_ids) = 4";
    daemon.wait_for_count(joined, 1);
    expect_one_transaction(&daemon);
    expect_map(&daemon);
    for number in 1..=4 {
        expect_whole_page(&daemon, &trace_hex(number));
    }
    let (status, settings) = daemon.get("/settings");
    assert!(status == 200 && settings.contains("order.id") && settings.contains("named, joins"), "{settings}");

    daemon.kill();
    daemon.start_again();
    daemon.wait_for_count(joined, 1);
    expect_one_transaction(&daemon);
    expect_map(&daemon);
    expect_whole_page(&daemon, &trace_hex(4));
}

#[test]
fn analyze_writes_it_once_with_all_its_spans() {
    let folder = tempfile::tempdir().unwrap();
    let mut frames = Vec::new();
    for request in four_traces(1_800_000_000 * SECOND_NS) {
        frames.extend(u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        request.encode(&mut frames).unwrap();
    }
    let (traces, transactions) = (folder.path().join("traces.otlp"), folder.path().join("transactions.jsonl"));
    std::fs::write(&traces, frames).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(["analyze", "--incidents", "-", "--join-key", KEY.0, "--traces"])
        .arg(&traces)
        .arg("--transactions")
        .arg(&transactions)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = std::fs::read_to_string(&transactions).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    expect_whole_json(&serde_json::from_str(&lines).unwrap());
}

/// A producer; a consumer that links to it; one that names the same message; one that carries the same order.
fn four_traces(began_ns: u64) -> Vec<ExportTraceServiceRequest> {
    let at = |ms: u64| began_ns + ms * MS_NS;
    let of_message = |extra: &[(&str, &str)]| attributes(&[&MESSAGE[..], extra].concat());
    let checkout = vec![
        span(1, 1, 0, "POST /checkout", SpanKind::Server, at(0)..at(60)),
        Span { attributes: of_message(&[KEY]), ..span(1, 2, 1, "orders send", SpanKind::Producer, at(40)..at(45)) },
    ];
    let link = Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..Link::default() };
    let mail = vec![
        Span { links: vec![link], ..span(2, 3, 0, "orders receive", SpanKind::Consumer, at(120)..at(180)) },
        span(2, 4, 3, "render mail", SpanKind::Internal, at(130)..at(170)),
    ];
    let shipping = vec![Span {
        attributes: of_message(&[]),
        ..span(3, 5, 0, "orders process", SpanKind::Consumer, at(150)..at(400))
    }];
    let invoice = vec![Span {
        attributes: attributes(&[KEY]),
        ..span(4, 6, 0, "POST /invoices", SpanKind::Server, at(700)..at(800))
    }];
    let services = [("shop", checkout), ("mail", mail), ("shipping", shipping), ("billing", invoice)];
    services.map(|(service, spans)| request(service, spans)).into()
}

fn span(trace: u8, id: u8, parent: u8, name: &str, kind: SpanKind, times: std::ops::Range<u64>) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent > 0 { vec![parent; 8] } else { Vec::new() },
        name: name.to_owned(),
        kind: kind as i32,
        start_time_unix_nano: times.start,
        end_time_unix_nano: times.end,
        ..Span::default()
    }
}

fn request(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: attributes(&[("service.name", service)]), ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(StringValue((*value).to_owned())) }),
        ..KeyValue::default()
    };
    pairs.iter().map(attribute).collect()
}

fn trace_hex(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

/// Each side of a message is on the map once, with its queue between, however many traces tell of it.
fn expect_map(daemon: &Daemon) {
    let (status, map) = daemon.get("/api/v1/map?t=1h");
    assert_eq!(status, 200, "{map}");
    let map: Value = serde_json::from_str(&map).unwrap();
    let edge = |from: &str, to: &str| {
        let mut edges = map["edges"].as_array().unwrap().iter();
        let found = edges.find(|edge| edge["from"] == *from && edge["to"] == *to);
        found.unwrap_or_else(|| panic!("no edge from {from} to {to}: {map:#}"))
    };
    assert_eq!(edge("client", "service:shop")["calls"], 1);
    assert_eq!(edge("service:shop", "queue:orders")["calls"], 1);
    for consumer in ["service:mail", "service:shipping"] {
        let taken = edge("queue:orders", consumer);
        assert_eq!((&taken["calls"], &taken["kind"]), (&Value::from(1), &Value::from("message")));
        assert!(taken["wait_ms"]["mean"].as_f64().is_some_and(|wait| wait > 50.0), "{taken:#}");
    }
    let (status, page) = daemon.get("/map?t=1h&focus=queue:orders&hops=1");
    assert!(status == 200 && page.contains("Who calls orders") && page.contains("shipping"), "{page}");
}

fn expect_one_transaction(daemon: &Daemon) {
    let rows = daemon.sql("SELECT transaction_id, spans_count FROM transactions");
    assert_eq!(rows.len(), 1, "{rows:?}\n{}", daemon.log());
    assert_eq!(first_column(&rows[0]).as_str(), Some(&*trace_hex(1)));
    assert_eq!(daemon.count("SELECT spans_count FROM transactions"), 6);
    let (_, listed) = daemon.get("/api/v1/transactions");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["transactions"].as_array().unwrap().len(), 1, "{listed:#}");
}

/// Every trace of it leads to the whole.
fn expect_whole_page(daemon: &Daemon, id: &str) {
    let (status, page) = daemon.get(&format!("/trace/{id}"));
    assert_eq!(status, 200, "{page}");
    let told = ["trace 4 of 4", "span link", "message id", "named key order.id", "in the queue", "render mail"];
    for words in told.into_iter().chain(["POST /invoices", "orders process", "4 traces"]) {
        assert!(page.contains(words), "{words} is not on the page of {id}: {page}");
    }
    let (_, text) = daemon.get(&format!("/trace/{id}.txt"));
    assert!(text.contains("joined by named key order.id") && text.contains("POST /invoices"), "{text}");
    let (status, json) = daemon.get(&format!("/api/v1/transactions/{id}"));
    assert_eq!(status, 200, "{json}");
    expect_whole_json(&serde_json::from_str(&json).unwrap());
    let (_, alone) = daemon.get(&format!("/api/v1/traces/{}", trace_hex(3)));
    assert!(alone.contains("orders process") && !alone.contains("POST /invoices"), "{alone}");
}

fn expect_whole_json(transaction: &Value) {
    assert_eq!(transaction["transaction_id"].as_str(), Some(&*trace_hex(1)), "{transaction:#}");
    let traces: Vec<&str> =
        transaction["trace_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let mut sorted = traces.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4].map(trace_hex), "{transaction:#}");
    assert_eq!(transaction["span_ids"].as_array().unwrap().len(), 6, "{transaction:#}");
    let by = transaction["stitched_by"].as_array().unwrap();
    let rules: Vec<&str> = by.iter().map(|by| by["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["trace_id", "link", "message_id", "named_key"], "{transaction:#}");
    assert_eq!(by[3]["key"].as_str(), Some(KEY.0));
    assert!(by.iter().all(|by| by["confidence"].as_f64().is_some_and(|sure| sure > 0.5)));
    let path = transaction["critical_path"].as_array().unwrap();
    let sum: i64 = path.iter().map(|segment| segment["self_ns"].as_i64().unwrap()).sum();
    assert_eq!(Some(sum), transaction["duration_ns"].as_i64(), "{transaction:#}");
}
