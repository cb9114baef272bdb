//! Requests as a shop's exporters send them: 13 services of three instances, 22 attributes a resource, about ten a span.
//! Deterministic. Used by the benchmark and by the tests that damage requests.
#![allow(dead_code)]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const SERVICES: [&str; 13] = [
    "frontend",
    "checkout",
    "cart",
    "product-catalog",
    "currency",
    "payment",
    "shipping",
    "quote",
    "email",
    "recommendation",
    "ad",
    "accounting",
    "fraud-detection",
];
const INSTANCES: usize = 3;
const SCOPES: [&str; 3] = ["io.opentelemetry.http", "io.opentelemetry.grpc", "shop.app"];
const OPERATIONS: [(&str, i32); 5] = [
    ("GET /api/products/{productId}", 2),
    ("POST", 3),
    ("oteldemo.Cart/GetCart", 3),
    ("SELECT orders", 3),
    ("render", 1),
];

/// Numbers that look random and are the same on every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn id(&mut self, length: usize) -> Vec<u8> {
        let bytes = [self.next().to_le_bytes(), self.next().to_le_bytes()].concat();
        bytes[..length].to_vec()
    }
}

/// Returns a request of so many spans; spans of one process stand together, as exporters batch them.
pub(crate) fn traces(spans: usize) -> ExportTraceServiceRequest {
    let mut numbers = Numbers(0x5eed);
    let mut placed: Vec<[Vec<Span>; SCOPES.len()]> =
        (0..SERVICES.len() * INSTANCES).map(|_| std::array::from_fn(|_| Vec::new())).collect();
    for _ in 0..spans {
        let (process, scope) = (numbers.below(placed.len()), numbers.below(SCOPES.len()));
        placed[process][scope].push(span(&mut numbers));
    }
    let resource_spans = placed.into_iter().enumerate().map(|(process, scopes)| {
        let scope_spans = scopes.into_iter().zip(SCOPES).filter(|(spans, _)| !spans.is_empty());
        ResourceSpans {
            resource: Some(resource(process)),
            scope_spans: scope_spans
                .map(|(spans, name)| ScopeSpans { scope: scope(name), spans, ..ScopeSpans::default() })
                .collect(),
            ..ResourceSpans::default()
        }
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.filter(|resource_spans| !resource_spans.scope_spans.is_empty()).collect(),
    }
}

/// Returns a request of so many log records, of one process.
pub(crate) fn logs(records: usize) -> ExportLogsServiceRequest {
    let mut numbers = Numbers(0x1095);
    let log_records = (0..records).map(|_| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000 + numbers.next() % 1_000_000_000,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(any(Value::StringValue(format!("order {} placed by user-{}", numbers.next(), numbers.below(500))))),
        attributes: vec![text("logger.name", "shop.Orders"), int("thread.id", numbers.below(64) as i64)],
        trace_id: numbers.id(16),
        span_id: numbers.id(8),
        ..LogRecord::default()
    });
    let scope_logs = ScopeLogs { scope: scope(SCOPES[2]), log_records: log_records.collect(), ..ScopeLogs::default() };
    let resource_logs =
        ResourceLogs { resource: Some(resource(4)), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn scope(name: &str) -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: name.to_owned(),
        version: "2.13.1".to_owned(),
        ..InstrumentationScope::default()
    })
}

fn resource(process: usize) -> Resource {
    let service = SERVICES[process / INSTANCES];
    let instance = process % INSTANCES;
    let command =
        ["/usr/bin/node", "--max-old-space-size=512", "server.js"].map(|part| any(Value::StringValue(part.to_owned())));
    let attributes = vec![
        text("service.name", service),
        text("service.namespace", "shop"),
        text("service.version", "1.4.0"),
        text("service.instance.id", format!("6b29fc40-ca47-1067-b31d-00dd01066{instance:03}")),
        text("deployment.environment.name", "production"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.language", "nodejs"),
        text("telemetry.sdk.version", "2.0.1"),
        text("host.name", format!("ip-10-0-{instance}-17.ec2.internal")),
        text("host.arch", "amd64"),
        text("os.type", "linux"),
        text("os.description", "Debian GNU/Linux 12 (bookworm)"),
        int("process.pid", 4711),
        text("process.executable.name", "node"),
        attribute("process.command_args", Value::ArrayValue(ArrayValue { values: command.to_vec() })),
        text("process.runtime.name", "nodejs"),
        text("process.runtime.version", "22.9.0"),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", format!("{service}-7d9c5b6f4-x{instance}zq8")),
        text("k8s.node.name", format!("node-{instance}")),
        text("cloud.region", "us-east-1"),
        text("cloud.availability_zone", "us-east-1b"),
    ];
    Resource { attributes, ..Resource::default() }
}

fn span(numbers: &mut Numbers) -> Span {
    let start = 1_700_000_000_000_000_000 + numbers.next() % 60_000_000_000;
    let (name, kind) = OPERATIONS[numbers.below(OPERATIONS.len())];
    let mut attributes = vec![
        text("http.request.method", "GET"),
        text("http.route", "/api/products/{productId}"),
        text("url.path", format!("/api/products/{:08X}", numbers.next() as u32)),
        text("url.scheme", "https"),
        int("http.response.status_code", 200),
        text("server.address", "shop.example.com"),
        int("server.port", 443),
        text("client.address", format!("10.{}.{}.7", numbers.below(256), numbers.below(256))),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:135.0) Gecko/20100101 Firefox/135.0"),
        text("app.user.id", format!("user-{}", numbers.below(50_000))),
        attribute("app.cart.total", Value::DoubleValue(numbers.below(100_000) as f64 / 100.0)),
        attribute("app.cached", Value::BoolValue(numbers.below(2) == 0)),
    ];
    attributes.rotate_left(kind as usize * 2);
    attributes.truncate(8 + numbers.below(5));
    let has_failed = numbers.below(50) == 0;
    let exception = Event {
        time_unix_nano: start + 500,
        name: "exception".to_owned(),
        attributes: vec![
            text("exception.type", "BackendError"),
            text("exception.message", "upstream \"request\" failed"),
        ],
        ..Event::default()
    };
    let link = Link { trace_id: numbers.id(16), span_id: numbers.id(8), ..Link::default() };
    let status = Status { message: "backend call failed".to_owned(), code: 2 };
    Span {
        trace_id: numbers.id(16),
        span_id: numbers.id(8),
        parent_span_id: if numbers.below(11) == 0 { Vec::new() } else { numbers.id(8) },
        flags: 0x101,
        name: name.to_owned(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000 + numbers.next() % 50_000_000,
        attributes,
        events: if has_failed { vec![exception] } else { Vec::new() },
        links: if numbers.below(40) == 0 { vec![link] } else { Vec::new() },
        status: has_failed.then_some(status),
        ..Span::default()
    }
}
