//! Traffic of a web shop: 13 services with three instances each, five kinds of requests of 1 to 27 spans, about ten
//! attributes a span and 22 a resource, some of few values (routes, regions) and some of many (users, sessions,
//! addresses, sizes). Always the same for the same calls.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const SERVICES: [&str; 13] = [
    "storefront",
    "orders",
    "basket",
    "catalog",
    "prices",
    "payments",
    "delivery",
    "offers",
    "mail",
    "advice",
    "banner",
    "ledger",
    "risk",
];
const INSTANCES: usize = 3;
/// Event time between the starts of two requests to the shop, nanoseconds.
const GAP_NS: u64 = 1_000_000;
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// One in so many requests fails.
const FAILS_ONE_IN: u64 = 200;

/// What a service does in one kind of request, and whom it calls. Numbers are places in [`SERVICES`].
struct Visit {
    service: usize,
    method: &'static str,
    has_database: bool,
    calls: &'static [Visit],
}

const fn visit(service: usize, method: &'static str, has_database: bool, calls: &'static [Visit]) -> Visit {
    Visit { service, method, has_database, calls }
}

/// Routes of the shop, with how many of a hundred requests ask for them.
const ROUTES: [(&str, u64, Visit); 5] = [
    ("GET /status", 5, visit(0, "status", false, &[])),
    ("GET /", 20, visit(0, "home", false, &[visit(3, "List", true, &[]), visit(10, "Pick", false, &[])])),
    (
        "GET /items/{item}",
        40,
        visit(
            0,
            "item",
            false,
            &[
                visit(3, "Find", true, &[]),
                visit(4, "Convert", false, &[]),
                visit(9, "Advise", false, &[visit(3, "List", true, &[])]),
            ],
        ),
    ),
    (
        "GET /basket",
        27,
        visit(
            0,
            "basket",
            false,
            &[visit(2, "Load", true, &[]), visit(3, "Find", true, &[]), visit(3, "Find", true, &[])],
        ),
    ),
    (
        "POST /orders",
        8,
        visit(
            0,
            "order",
            false,
            &[visit(
                1,
                "Place",
                true,
                &[
                    visit(2, "Load", true, &[]),
                    visit(3, "Find", true, &[]),
                    visit(4, "Convert", false, &[]),
                    visit(12, "Assess", true, &[]),
                    visit(5, "Charge", true, &[visit(11, "Book", true, &[])]),
                    visit(6, "Plan", false, &[visit(7, "Quote", false, &[])]),
                    visit(8, "Send", false, &[]),
                ],
            )],
        ),
    ),
];

/// Makes requests.
#[derive(Default)]
pub(crate) struct Shop {
    chance: Chance,
    elapsed_ns: u64,
    /// Spans of traces that were begun in an earlier request, with their place in the resources.
    rest: Vec<(usize, Span)>,
}

impl Shop {
    /// Returns the event time that all requests so far cover, nanoseconds.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// Returns an export request of so many spans, grouped by resource as a gateway does; times begin at 0.
    pub(crate) fn request(&mut self, spans: usize) -> ExportTraceServiceRequest {
        while self.rest.len() < spans {
            self.trace();
        }
        let mut by_resource: Vec<Vec<Span>> = vec![Vec::new(); SERVICES.len() * INSTANCES];
        for (resource, span) in self.rest.drain(..spans) {
            by_resource[resource].push(span);
        }
        let filled = by_resource.into_iter().enumerate().filter(|(_, spans)| !spans.is_empty());
        let resource_spans = filled.map(|(place, spans)| ResourceSpans {
            resource: Some(resource(place)),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }

    fn trace(&mut self) {
        self.elapsed_ns += self.chance.below(2 * GAP_NS);
        let mut share = self.chance.below(100);
        let chosen = ROUTES.iter().find(|(_, percent, _)| {
            let is_chosen = share < *percent;
            share = share.saturating_sub(*percent);
            is_chosen
        });
        let (route, _, first) = chosen.unwrap_or(&ROUTES[0]);
        let mut trace = Trace {
            id: [self.chance.id(), self.chance.id()].concat(),
            instance: usize::try_from(self.chance.below(INSTANCES as u64)).unwrap_or(0),
            fails: self.chance.below(FAILS_ONE_IN) == 0,
            chance: &mut self.chance,
            spans: &mut self.rest,
        };
        trace.visit(route, first, Vec::new(), self.elapsed_ns);
    }
}

/// A trace that is being made.
struct Trace<'a> {
    id: Vec<u8>,
    instance: usize,
    fails: bool,
    chance: &'a mut Chance,
    spans: &'a mut Vec<(usize, Span)>,
}

impl Trace<'_> {
    /// Adds what a service does from `start_ns` on; returns when it ends.
    fn visit(&mut self, name: &str, visit: &'static Visit, parent: Vec<u8>, start_ns: u64) -> u64 {
        let is_first = parent.is_empty();
        let id = self.chance.id();
        let mut now_ns = start_ns + self.takes();
        for call in visit.calls {
            let method = format!("{}/{}", SERVICES[call.service], call.method);
            let call_id = self.chance.id();
            let sent_ns = now_ns + self.takes() / 4;
            let served_ns = self.visit(&method, call, call_id.clone(), sent_ns);
            let end_ns = served_ns + self.takes() / 4;
            let attributes = self.rpc(call, &method);
            self.add(visit.service, span(&method, CLIENT, [call_id, id.clone()], [now_ns, end_ns], attributes));
            now_ns = end_ns;
        }
        if visit.has_database {
            let end_ns = now_ns + self.takes();
            let (name, attributes) = self.database(visit);
            let ids = [self.chance.id(), id.clone()];
            self.add(visit.service, span(&name, CLIENT, ids, [now_ns, end_ns], attributes));
            now_ns = end_ns;
        }
        let render = [self.chance.id(), id.clone()];
        let end_ns = now_ns + self.takes();
        let attributes = self.thread();
        self.add(visit.service, span("prepare answer", INTERNAL, render, [now_ns, end_ns], attributes));
        let attributes = if is_first { self.http(name) } else { self.rpc(visit, name) };
        self.add(visit.service, span(name, SERVER, [id, parent], [start_ns, end_ns], attributes));
        end_ns
    }

    fn add(&mut self, service: usize, mut span: Span) {
        span.trace_id.clone_from(&self.id);
        if self.fails {
            span.status = Some(Status { message: "the call failed".to_owned(), code: 2 });
        }
        self.spans.push((service * INSTANCES + (self.instance + service) % INSTANCES, span));
    }

    /// Returns a duration whose logarithm is spread evenly, 60 µs to 8 ms.
    fn takes(&mut self) -> u64 {
        (60_000 << self.chance.below(7)) + self.chance.below(60_000)
    }

    fn http(&mut self, name: &str) -> Vec<KeyValue> {
        let (method, route) = name.split_once(' ').unwrap_or(("GET", name));
        let (visitor, session, item) =
            (self.chance.below(50_000), self.chance.below(u64::MAX), self.chance.below(2_000));
        vec![
            text("http.request.method", method),
            text("http.route", route),
            text("url.path", &route.replace("{item}", &item.to_string())),
            text("url.scheme", "https"),
            int("http.response.status_code", if self.fails { 500 } else { 200 }),
            text("network.protocol.version", "1.1"),
            text("server.address", "shop.example.com"),
            int("server.port", 443),
            text("client.address", &format!("203.0.{}.{}", visitor >> 8, visitor & 0xff)),
            int("http.response.body.size", 200 + self.chance.below(60_000)),
            text("user_agent.original", ["okhttp/4.12.0", "curl/8.9.1", "Mozilla/5.0 (X11)"][visitor as usize % 3]),
            text("shop.visitor.id", &format!("visitor-{visitor}")),
            text("session.id", &format!("{session:032x}")),
        ]
    }

    fn rpc(&mut self, visit: &Visit, method: &str) -> Vec<KeyValue> {
        let mut attributes = self.thread();
        attributes.extend([
            text("rpc.system", "grpc"),
            text("rpc.service", SERVICES[visit.service]),
            text("rpc.method", method),
            int("rpc.grpc.status_code", if self.fails { 14 } else { 0 }),
            text("server.address", SERVICES[visit.service]),
            int("server.port", 8080),
            text("network.peer.address", &format!("10.4.{}.{}", visit.service, 10 + self.chance.below(3))),
            text("network.type", "ipv4"),
        ]);
        attributes
    }

    fn database(&mut self, visit: &Visit) -> (String, Vec<KeyValue>) {
        let table = SERVICES[visit.service];
        let mut attributes = self.thread();
        attributes.extend([
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("db.collection.name", table),
            text("db.operation.name", "SELECT"),
            text("db.query.text", &format!("SELECT * FROM {table} WHERE id = ?")),
            text("server.address", "postgres.shop.internal"),
            int("server.port", 5432),
            int("db.response.returned_rows", self.chance.below(40)),
        ]);
        (format!("SELECT {table}"), attributes)
    }

    fn thread(&mut self) -> Vec<KeyValue> {
        let thread = self.chance.below(16);
        vec![int("thread.id", thread), text("thread.name", &format!("worker-{thread}"))]
    }
}

fn span(name: &str, kind: i32, [id, parent]: [Vec<u8>; 2], [start, end]: [u64; 2], attributes: Vec<KeyValue>) -> Span {
    Span {
        span_id: id,
        parent_span_id: parent,
        name: name.to_owned(),
        kind,
        flags: 0x101,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes,
        ..Span::default()
    }
}

fn resource(place: usize) -> Resource {
    let (service, instance) = (SERVICES[place / INSTANCES], place % INSTANCES);
    let mut attributes = vec![
        text("service.name", service),
        text("service.namespace", "shop"),
        text("service.version", "1.4.0"),
        text("service.instance.id", &format!("{service}-{instance}")),
        text("k8s.pod.name", &format!("{service}-7d9c5b-{instance}")),
        text("k8s.node.name", &format!("node-{instance}")),
        int("process.pid", 1 + place as u64),
    ];
    let rest = [
        "k8s.cluster.name",
        "k8s.namespace.name",
        "k8s.deployment.name",
        "cloud.provider",
        "cloud.region",
        "cloud.availability_zone",
        "host.name",
        "host.arch",
        "os.type",
        "os.version",
        "process.runtime.name",
        "process.runtime.version",
        "telemetry.sdk.language",
        "telemetry.sdk.name",
        "telemetry.sdk.version",
    ];
    attributes.extend(rest.iter().map(|key| text(key, &format!("{service}-{key}"))));
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "shop.telemetry".to_owned(), version: "2.13.1".to_owned(), ..Default::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(value.cast_signed()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): enough for test data, and the same everywhere.
#[derive(Default)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn id(&mut self) -> Vec<u8> {
        self.next().to_le_bytes().to_vec()
    }
}
