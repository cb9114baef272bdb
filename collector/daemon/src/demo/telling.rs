//! How the simulated shop tells what it did: spans and log records in OpenTelemetry's semantic conventions, grouped
//! by service instance. Called by `shop`. Must never decide what happens or when: it only words what was played.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::recipes::{Call, Service, Step};
use super::shop::Telemetry;

/// Who does something: one instance of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) service: &'static Service,
    pub(super) version: &'static str,
    /// From 1.
    pub(super) instance: u64,
}

/// What a transaction is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) order: u64,
    pub(super) customer: u64,
}

/// A span before it has a name. Times are unix nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    pub(super) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) kind: SpanKind,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
}

/// A span or a log record, and who tells it when.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) end_ns: u64,
    place: Place,
    what: What,
}

#[derive(Debug)]
enum What {
    Span(Span),
    Log(LogRecord),
}

/// Returns the span of a step that was served or consumed, and its log record if it writes one.
pub(super) fn served(
    step: &Step,
    place: Place,
    trace_id: [u8; 16],
    played: &Played,
    subject: &Subject,
) -> impl Iterator<Item = Told> {
    let (verb, target) = step.operation.split_once(' ').unwrap_or((step.operation, ""));
    let mut attributes = if played.kind == SpanKind::Consumer {
        message(target, "process", subject)
    } else {
        vec![
            text("http.request.method", verb),
            text("http.route", target),
            text("url.path", &filled(target, subject)),
            text("url.scheme", "http"),
            text("server.address", place.service.name),
            number("server.port", 8080),
            number("http.response.status_code", if verb == "POST" { 201 } else { 200 }),
        ]
    };
    if played.parent.is_none() {
        attributes.push(text("customer.id", &format!("c-{}", subject.customer)));
    }
    let is_about_order = step.log.is_some() || target.starts_with("/orders");
    if is_about_order && played.kind != SpanKind::Consumer {
        attributes.push(text("order.id", &subject.order_id()));
    }
    let log = step.log.map(|template| done_record(template, trace_id, played, subject));
    let span = span(step.operation.to_owned(), attributes, trace_id, played);
    let told = |what| Told { end_ns: played.end_ns, place, what };
    [Some(told(What::Span(span))), log.map(|log| told(What::Log(log)))].into_iter().flatten()
}

/// Returns the log record of a step that waited.
pub(super) fn warned(template: &str, place: Place, trace_id: [u8; 16], waited: &Played) -> Told {
    let body = template.replace("{wait}", &((waited.end_ns - waited.start_ns) / 1_000_000).to_string());
    let log = log_record(body, SeverityNumber::Warn, trace_id, waited);
    Told { end_ns: waited.end_ns, place, what: What::Log(log) }
}

/// Returns the span of a call, from the caller's side.
pub(super) fn called(call: &Call, caller: Place, trace_id: [u8; 16], played: &Played, subject: &Subject) -> Told {
    let (name, attributes) = match call {
        Call::Http(step) => {
            let (method, route) = step.operation.split_once(' ').unwrap_or((step.operation, ""));
            let url = format!("http://{}:8080{}", step.service, filled(route, subject));
            (step.operation.to_owned(), request(method, route, &url, step.service, 8080))
        }
        Call::Outside { server, method, path, .. } => {
            (format!("{method} {path}"), request(method, path, &format!("https://{server}{path}"), server, 443))
        }
        Call::Query { system, server, verb, target, .. } => {
            (format!("{verb} {target}"), query(system, server, verb, target))
        }
        Call::Publish { topic, .. } => (format!("send {topic}"), message(topic, "send", subject)),
        Call::AtOnce(_) => (String::new(), Vec::new()),
    };
    Told { end_ns: played.end_ns, place: caller, what: What::Span(span(name, attributes, trace_id, played)) }
}

/// Groups by service instance and version, in a fixed order.
pub(super) fn by_resource(told: impl IntoIterator<Item = Told>) -> Telemetry {
    let mut groups: BTreeMap<_, (Place, Vec<Span>, Vec<LogRecord>)> = BTreeMap::new();
    for it in told {
        let key = (it.place.service.name, it.place.instance, it.place.version);
        let (_, spans, logs) = groups.entry(key).or_insert_with(|| (it.place, Vec::new(), Vec::new()));
        match it.what {
            What::Span(span) => spans.push(span),
            What::Log(log) => logs.push(log),
        }
    }
    let mut telemetry = Telemetry::default();
    for (place, spans, log_records) in groups.into_values() {
        let resource = Some(place.resource());
        let scope = Some(InstrumentationScope { name: "shop".to_owned(), ..InstrumentationScope::default() });
        if !log_records.is_empty() {
            let scope_logs = vec![ScopeLogs { scope: scope.clone(), log_records, ..ScopeLogs::default() }];
            telemetry.logs.push(ResourceLogs { resource: resource.clone(), scope_logs, ..ResourceLogs::default() });
        }
        if !spans.is_empty() {
            let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
            telemetry.spans.push(ResourceSpans { resource, scope_spans, ..ResourceSpans::default() });
        }
    }
    telemetry
}

impl Place {
    fn resource(self) -> Resource {
        let attributes = vec![
            text("service.name", self.service.name),
            text("service.namespace", "shop"),
            text("service.version", self.version),
            text("service.instance.id", &format!("{}-{}", self.service.name, self.instance)),
            text("host.name", &format!("node-{}", 1 + self.instance % 3)),
            text("deployment.environment.name", "demo"),
            text("telemetry.sdk.language", self.service.language),
        ];
        Resource { attributes, ..Resource::default() }
    }
}

impl Subject {
    fn order_id(&self) -> String {
        format!("o-{}", self.order)
    }
}

fn span(name: String, attributes: Vec<KeyValue>, trace_id: [u8; 16], played: &Played) -> Span {
    Span {
        trace_id: trace_id.to_vec(),
        span_id: played.span_id.to_vec(),
        parent_span_id: played.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name,
        kind: played.kind.into(),
        start_time_unix_nano: played.start_ns,
        end_time_unix_nano: played.end_ns,
        attributes,
        ..Span::default()
    }
}

fn done_record(template: &str, trace_id: [u8; 16], played: &Played, subject: &Subject) -> LogRecord {
    let body = template.replace("{order}", &subject.order_id());
    let attributes = vec![text("order.id", &subject.order_id())];
    LogRecord { attributes, ..log_record(body, SeverityNumber::Info, trace_id, played) }
}

fn log_record(body: String, severity: SeverityNumber, trace_id: [u8; 16], played: &Played) -> LogRecord {
    LogRecord {
        time_unix_nano: played.end_ns,
        observed_time_unix_nano: played.end_ns,
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        trace_id: trace_id.to_vec(),
        span_id: played.span_id.to_vec(),
        ..LogRecord::default()
    }
}

fn request(method: &str, template: &str, url: &str, server: &str, port: i64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", method),
        text("url.template", template),
        text("url.full", url),
        text("server.address", server),
        number("server.port", port),
        number("http.response.status_code", if method == "POST" { 201 } else { 200 }),
    ]
}

fn query(system: &str, server: &str, verb: &str, target: &str) -> Vec<KeyValue> {
    vec![
        text("db.system.name", system),
        text("db.operation.name", verb),
        text("db.collection.name", target),
        text("db.query.summary", &format!("{verb} {target}")),
        text("server.address", server),
        number("server.port", if system == "redis" { 6379 } else { 5432 }),
    ]
}

fn message(topic: &str, operation: &str, subject: &Subject) -> Vec<KeyValue> {
    vec![
        text("messaging.system", "rabbitmq"),
        text("messaging.destination.name", topic),
        text("messaging.operation.type", operation),
        text("messaging.message.id", &format!("m-{}", subject.order)),
        text("order.id", &subject.order_id()),
    ]
}

/// Returns the path that a route's template stands for.
fn filled(route: &str, subject: &Subject) -> String {
    let id = if route.starts_with("/orders") { subject.order_id() } else { format!("c-{}", subject.customer) };
    route.replace("{id}", &id)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
