//! OTLP/gRPC over real sockets, with the client of opentelemetry-proto (tonic).
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use collector_otlp::Encoding;
use collector_receiver::{Config, Protocol, Refused};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use support::{JSON, Memory, PROTOBUF, Running, config, logs, metrics, post, start, traces};
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

async fn channel(running: &Running) -> Channel {
    Endpoint::from_shared(format!("http://{}", running.grpc)).unwrap().connect().await.unwrap()
}

async fn client(running: &Running) -> TraceServiceClient<Channel> {
    TraceServiceClient::new(channel(running).await)
}

#[tokio::test]
async fn every_signal_in_every_compression_is_kept_as_it_was_sent() {
    let running = start(config(), Memory::default()).await;
    let channel = channel(&running).await;
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut spans = TraceServiceClient::new(channel.clone());
        let mut records = LogsServiceClient::new(channel.clone());
        let mut points = MetricsServiceClient::new(channel.clone());
        if let Some(compression) = compression {
            spans = spans.send_compressed(compression);
            records = records.send_compressed(compression);
            points = points.send_compressed(compression);
        }
        assert_eq!(spans.export(traces(2, false)).await.unwrap().into_inner().partial_success, None);
        assert_eq!(records.export(logs()).await.unwrap().into_inner().partial_success, None);
        assert_eq!(points.export(metrics()).await.unwrap().into_inner().partial_success, None);
        let received: Vec<_> = running.memory.received.lock().unwrap().drain(..).collect();
        let sent = [traces(2, false).encode_to_vec(), logs().encode_to_vec(), metrics().encode_to_vec()];
        for (received, sent) in received.iter().zip(sent) {
            assert_eq!(received.payload, sent);
            assert_eq!((received.kind.encoding, received.sender.protocol), (Encoding::Protobuf, Protocol::Grpc));
        }
        assert_eq!(received.len(), 3);
    }
    let snapshot = running.ledger.snapshot();
    assert_eq!((snapshot.streams.len(), snapshot.senders[0].spans, snapshot.in_flight_bytes), (9, 6, 0));
    assert!(snapshot.senders[0].user_agent.starts_with("tonic/"));
}

#[tokio::test]
async fn rejected_items_are_a_partial_success() {
    let running = start(config(), Memory::default()).await;
    let response = client(&running).await.export(traces(3, true)).await.unwrap().into_inner();
    let partial = response.partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "rejected: 1 invalid_trace_id"));
}

#[tokio::test]
async fn an_empty_request_is_a_success() {
    let running = start(config(), Memory::default()).await;
    client(&running).await.export(ExportTraceServiceRequest::default()).await.unwrap();
    assert_eq!(running.kept(), 0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted_without_a_retry_hint() {
    let running = start(Config { body_bytes_max: 100_000, ..config() }, Memory::default()).await;
    let mut large = traces(1, false);
    large.resource_spans[0].schema_url = "x".repeat(10_000_000);
    let plain = client(&running).await;
    let gzip = client(&running).await.send_compressed(CompressionEncoding::Gzip);
    let zstd = client(&running).await.send_compressed(CompressionEncoding::Zstd);
    for mut client in [plain, gzip, zstd] {
        let status = client.export(large.clone()).await.unwrap_err();
        assert_eq!((status.code(), status.details()), (Code::ResourceExhausted, &b""[..]), "{status:?}");
        client.export(traces(1, false)).await.unwrap();
    }
    assert_eq!(running.refusals(), ["grpc too_large 3"]);
}

#[tokio::test]
async fn what_cannot_be_kept_now_is_unavailable_with_retry_info() {
    let running = start(config(), Memory::default()).await;
    let mut client = client(&running).await;
    *running.memory.refusal.lock().unwrap() = Some(Refused::Busy { retry_after: Duration::from_millis(1500) });
    let status = client.export(traces(1, false)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // google.rpc.Status{code: 14, message, details: [Any{type_url, RetryInfo{Duration{1 s, 500 ms}}}]}
    let delay = [0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    let hint = [&[0x12, 10, 0x0a, 8][..], &delay].concat();
    assert!(status.details().starts_with(&[0x08, 14]));
    assert!(status.details().ends_with(&hint), "{:?}", status.details());
    *running.memory.refusal.lock().unwrap() = None;
    client.export(traces(1, false)).await.unwrap();
}

#[tokio::test]
async fn nested_values_are_an_invalid_argument() {
    let running = start(config(), Memory::default()).await;
    let mut value = AnyValue { value: Some(Value::StringValue("x".to_owned())) };
    for _ in 0..40 {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let attribute = KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() };
    let resource = Some(Resource { attributes: vec![attribute], ..Resource::default() });
    let request = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, ..Default::default() }] };
    let status = client(&running).await.export(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(running.refusals(), ["grpc nested 1"]);
}

/// Path, headers, body, expected code.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [u8], &'static str);

/// Sends a body as it is to a gRPC path, over HTTP/2; returns `grpc-status`, or the HTTP status when that is not 200.
async fn raw(running: &Running, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let stream = tokio::net::TcpStream::connect(running.grpc).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://here{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = http_body_util::Full::new(bytes::Bytes::copy_from_slice(body));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    if response.status() != 200 {
        return response.status().as_u16().to_string();
    }
    response.headers()["grpc-status"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_wrong_gets_the_code_of_grpc_and_the_next_good_request_works() {
    const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
    const SNAPPY: (&str, &str) = ("grpc-encoding", "snappy");
    let running = start(config(), Memory::default()).await;
    let cases: [Case; 10] = [
        (EXPORT, &[GRPC], b"\0\0\0\0\x02\xff\xff", "3"),
        (EXPORT, &[GRPC], b"", "3"),
        (EXPORT, &[GRPC], b"\0\0\0\0\x05ab", "3"),
        (EXPORT, &[GRPC], b"\0\0\0\0\0\0\0\0\0\0", "3"),
        (EXPORT, &[GRPC], b"\x01\0\0\0\x01a", "3"),
        (EXPORT, &[GRPC], b"\x02\0\0\0\0", "3"),
        (EXPORT, &[GRPC, GZIP], b"\x01\0\0\0\x01a", "3"),
        (EXPORT, &[GRPC, SNAPPY], b"\0\0\0\0\0", "12"),
        ("/grpc.health.v1.Health/Check", &[GRPC], b"\0\0\0\0\0", "12"),
        (EXPORT, &[("content-type", "application/grpc-web")], b"", "415"),
    ];
    for (path, headers, body, code) in cases {
        assert_eq!(raw(&running, path, headers, body).await, code, "{path} {headers:?} {body:?}");
        client(&running).await.export(traces(1, false)).await.unwrap();
    }
    let expected =
        ["grpc bad_compression 1", "grpc malformed 6", "grpc content_type 1", "grpc content_encoding 1", "grpc path 1"];
    assert_eq!(running.refusals(), expected);
}

#[tokio::test]
async fn http_on_the_grpc_port_is_told_about_the_other_port() {
    let running = start(config(), Memory::default()).await;
    for content_type in [PROTOBUF, JSON] {
        let answer = post(running.grpc, "/v1/traces", &[content_type], b"{}").await;
        assert_eq!(answer.status, 415);
        assert!(answer.text().contains("4318"), "{}", answer.text());
    }
    assert_eq!(running.refusals(), ["grpc content_type 2"]);
}

#[tokio::test]
async fn a_grpc_connection_that_never_asks_is_closed() {
    let short = Duration::from_millis(50);
    let running = start(Config { first_request_timeout: short, ..config() }, Memory::default()).await;
    let mut stream = tokio::net::TcpStream::connect(running.grpc).await.unwrap();
    let mut nothing = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut nothing).await;
    while running.ledger.snapshot().connections > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_shutdown_lets_open_calls_end_and_idle_connections_go() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let memory = Memory { gate: Some(gate.clone()), ..Memory::default() };
    let running = start(config(), memory.clone()).await;
    let _idle = channel(&running).await;
    let mut client = client(&running).await;
    let call = tokio::spawn(async move { client.export(traces(1, false)).await });
    memory.entered.notified().await;
    let drained = running.stop();
    gate.notify_one();
    call.await.unwrap().unwrap();
    drained.await.unwrap();
}
