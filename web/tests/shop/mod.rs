//! A made-up shop in memory: what tests and the preview show. Times are fixed, so that pages are the same every time.

#![allow(dead_code, reason = "each user of this file needs a part of it")]

use std::sync::Arc;

use analyzer::Summary;
use analyzer::incident::{Incident, IncidentStatus};
use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use collector_store::QueryResult;
use collector_table::{
    EventFields, LinkFields, LogFields, LogTable, LogTableBuilder, SpanFields, SpanId, SpanKind, SpanTable,
    SpanTableBuilder, StatusCode, TraceId, ValueType,
};
use futures::future::BoxFuture;
use web::{
    AddWebhookError, Answer, BacktestAnswer, BacktestProgress, BacktestQuestion, BacktestResult, DeliveryQuery,
    DeliveryView, Dismissal, EdgeBy, EdgeEnds, EdgePart, EdgeRow, Endpoints, IngestView, LogQuery, NewWebhook,
    ProcessRow, Setting, Source, SourceError, State, StoredTrace, TestOutcome, TestWebhook, TestWebhookError,
    TransactionQuery, TransactionRow, TransactionSegment, TransactionTraces, WebhookView, Webhooks,
};

pub(crate) mod findings;
pub(crate) mod hazards;
pub(crate) mod map;

/// The moment at which everything is looked at: 2026-11-21T12:09:40Z.
pub(crate) const NOW_NS: i64 = 1_795_262_980_000_000_000;
const MS: i64 = 1_000_000;

/// A span to be drawn.
#[derive(Clone)]
pub(crate) struct Drawn<'a> {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    /// Milliseconds after the trace's start.
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
    pub(crate) error: Option<&'a str>,
    pub(crate) attributes: Vec<(&'a str, &'a str)>,
    pub(crate) events: Vec<(f64, &'a str, &'a str)>,
}

/// Returns a span without anything special.
pub(crate) fn span<'a>(id: u64, parent: u64, service: &'a str, name: &'a str, from_ms: f64, to_ms: f64) -> Drawn<'a> {
    Drawn {
        id,
        parent: (parent > 0).then_some(parent),
        service,
        name,
        kind: SpanKind::Server,
        from_ms,
        to_ms,
        error: None,
        attributes: Vec::new(),
        events: Vec::new(),
    }
}

/// Returns the trace id with this number.
pub(crate) fn trace_id(number: u128) -> TraceId {
    TraceId((0x4bf9_2f35_77b3_4da6_0000_0000_0000_0000 | number).to_be_bytes())
}

/// Returns the spans as a table; times count from `started_ns`.
#[expect(clippy::cast_possible_truncation, reason = "made-up times are small")]
pub(crate) fn table(trace_id: TraceId, started_ns: i64, spans: &[Drawn<'_>]) -> SpanTable {
    let mut builder = SpanTableBuilder::default();
    let at = |ms: f64| started_ns + (ms * 1e6) as i64;
    for span in spans {
        for (key, value) in &span.attributes {
            builder.push_attribute(key, value, ValueType::String);
        }
        for (key, value) in
            [("service.name", span.service), ("host.name", "shop-7"), ("telemetry.sdk.language", "rust")]
        {
            builder.push_resource_attribute(key, value, ValueType::String);
        }
        for (ms, name, message) in &span.events {
            builder.push_event_attribute("exception.message", message, ValueType::String);
            builder.push_event(&EventFields { time_ns: at(*ms), name, dropped_attributes_count: 0 });
        }
        if span.kind == SpanKind::Consumer {
            builder.push_link(&LinkFields { trace_id, span_id: SpanId(1_u64.to_be_bytes()), trace_state: None });
        }
        builder.append(&SpanFields {
            trace_id,
            span_id: SpanId(span.id.to_be_bytes()),
            parent_span_id: span.parent.map(|id| SpanId(id.to_be_bytes())),
            trace_state: None,
            flags: 1,
            service_name: span.service,
            service_instance: Some("shop-7"),
            service_version: Some("1.1.0"),
            name: span.name,
            kind: span.kind,
            start_ns: at(span.from_ms),
            end_ns: at(span.to_ms),
            status_code: if span.error.is_some() { StatusCode::Error } else { StatusCode::Unset },
            status_message: span.error,
            scope_name: Some("shop"),
            scope_version: None,
            dropped: [0; 3],
        });
    }
    builder.finish()
}

/// Returns log records: milliseconds, span, severity number, service, body.
#[expect(clippy::cast_possible_truncation, reason = "made-up times are small")]
pub(crate) fn log_table(trace_id: TraceId, started_ns: i64, records: &[(f64, u64, i32, &str, &str)]) -> LogTable {
    let mut builder = LogTableBuilder::default();
    for (ms, span, severity, service, body) in records {
        builder.push_attribute("thread", "worker-3", ValueType::String);
        builder.append(&LogFields {
            time_ns: started_ns + (ms * 1e6) as i64,
            observed_ns: 0,
            trace_id: Some(trace_id),
            span_id: Some(SpanId(span.to_be_bytes())),
            flags: 1,
            severity_number: *severity,
            severity_text: None,
            body,
            body_type: ValueType::String,
            event_name: None,
            service_name: service,
            service_instance: None,
            service_version: None,
            scope_name: None,
            dropped_attributes_count: 0,
        });
    }
    builder.finish()
}

/// A slow checkout: payment waits for a bank that sends no telemetry; fulfilment follows by a queue.
pub(crate) fn slow_checkout() -> Vec<Drawn<'static>> {
    let of_kind = |kind, span: Drawn<'static>| Drawn { kind, ..span };
    vec![
        Drawn {
            attributes: vec![("http.route", "/checkout"), ("order.id", "o-6b00"), ("tenant", "acme")],
            ..span(1, 0, "gateway", "POST /checkout", 0.0, 1_142.0)
        },
        of_kind(SpanKind::Client, span(2, 1, "gateway", "GET pricing", 3.0, 15.0)),
        span(3, 2, "pricing", "GET /price/:sku", 4.5, 13.5),
        of_kind(SpanKind::Client, span(4, 1, "gateway", "POST inventory", 16.0, 26.0)),
        span(5, 4, "inventory", "POST /reserve", 18.0, 24.0),
        of_kind(SpanKind::Client, span(6, 1, "gateway", "POST payment", 28.0, 1_123.0)),
        span(7, 6, "payment", "POST /charge", 30.0, 1_121.0),
        Drawn {
            kind: SpanKind::Client,
            attributes: vec![("db.system.name", "postgresql"), ("db.query.text", "SELECT * FROM charges WHERE id = ?")],
            ..span(8, 7, "payment", "SELECT charges", 33.0, 35.0)
        },
        Drawn {
            kind: SpanKind::Client,
            attributes: vec![
                ("server.address", "bank.example"),
                ("server.port", "9103"),
                ("http.request.method", "POST"),
            ],
            events: vec![(640.0, "still waiting", "no answer after 600 ms")],
            ..span(9, 7, "payment", "POST bank:9103", 38.0, 1_109.0)
        },
        of_kind(SpanKind::Client, span(10, 7, "payment", "INSERT charges", 1_111.0, 1_119.0)),
        of_kind(SpanKind::Producer, span(11, 1, "gateway", "send fulfil_order", 1_128.0, 1_134.0)),
        Drawn {
            error: Some("label printer refused once"),
            ..of_kind(SpanKind::Consumer, span(12, 11, "fulfilment", "process fulfil_order", 1_320.0, 1_410.0))
        },
        of_kind(SpanKind::Client, span(13, 12, "fulfilment", "POST shipping", 1_330.0, 1_401.0)),
        span(14, 13, "shipping", "POST /label", 1_333.0, 1_399.0),
    ]
}

/// A usual checkout: the bank answers at once.
pub(crate) fn usual_checkout() -> Vec<Drawn<'static>> {
    let client = |span: Drawn<'static>| Drawn { kind: SpanKind::Client, ..span };
    vec![
        span(1, 0, "gateway", "POST /checkout", 0.0, 61.0),
        client(span(2, 1, "gateway", "GET pricing", 3.0, 14.0)),
        span(3, 2, "pricing", "GET /price/:sku", 4.0, 13.0),
        client(span(6, 1, "gateway", "POST payment", 17.0, 53.0)),
        span(7, 6, "payment", "POST /charge", 18.0, 52.0),
        Drawn {
            attributes: vec![("server.address", "bank.example"), ("server.port", "9103")],
            ..client(span(9, 7, "payment", "POST bank:9103", 24.0, 39.0))
        },
    ]
}

/// Everything that is stored, in memory.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) spans: Vec<SpanTable>,
    /// Whether traces have more spans than these.
    pub(crate) is_cut: bool,
    pub(crate) logs: Vec<LogTable>,
    pub(crate) transactions: Vec<TransactionRow>,
    /// Transactions of several traces.
    pub(crate) kept: Vec<TransactionTraces>,
    /// Edges of the map now, and before.
    pub(crate) edges: Vec<EdgeRow>,
    pub(crate) usual_edges: Vec<EdgeRow>,
    /// Every question for transactions, in order.
    pub(crate) asked: std::sync::Mutex<Vec<TransactionQuery>>,
}

fn ready<T: Send + 'static>(value: T) -> Answer<'static, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Source for Fake {
    fn trace(&self, trace_id: TraceId) -> Answer<'_, StoredTrace> {
        let spans_fit = |table: &&SpanTable| table.rows().next().is_some_and(|row| row.trace_id == trace_id);
        let logs_fit = |table: &&LogTable| table.rows().next().is_some_and(|row| row.trace_id == Some(trace_id));
        ready(StoredTrace {
            spans: self.spans.iter().filter(spans_fit).cloned().collect(),
            logs: self.logs.iter().filter(logs_fit).cloned().collect(),
            is_cut: self.is_cut,
        })
    }

    fn transactions_of(&self, trace_id: TraceId, _started_ns: i64) -> Answer<'_, Vec<TransactionTraces>> {
        ready(self.kept.iter().filter(|kept| kept.traces.contains(&trace_id)).cloned().collect())
    }

    fn transactions(&self, query: TransactionQuery) -> Answer<'_, Vec<TransactionRow>> {
        let fits = |row: &&TransactionRow| {
            query.service.as_ref().is_none_or(|service| *service == row.service)
                && query.operation.as_ref().is_none_or(|operation| *operation == row.operation)
        };
        let mut rows: Vec<_> = self.transactions.iter().filter(fits).cloned().collect();
        if query.is_slowest_first {
            rows.sort_by_key(|row| -row.duration_ns);
        }
        let rows = rows.into_iter().skip(query.offset).take(query.limit).collect();
        self.asked.lock().expect("no test panics with the lock").push(query);
        ready(rows)
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Vec<LogTable>> {
        let is_of = |trace_id: Option<TraceId>| trace_id.is_some_and(|id| query.trace_ids.contains(&id));
        let fits = |table: &&LogTable| {
            query.trace_ids.is_empty() || table.rows().next().is_some_and(|row| is_of(row.trace_id))
        };
        ready(self.logs.iter().filter(fits).take(query.limit).cloned().collect())
    }

    fn services(&self, _from_ns: i64, _to_ns: i64) -> Answer<'_, Vec<String>> {
        ready(["gateway", "payment", "pricing"].map(str::to_owned).into())
    }

    fn edges(&self, _from_ns: i64, to_ns: i64) -> Answer<'_, Vec<EdgeRow>> {
        ready(if to_ns < NOW_NS { self.usual_edges.clone() } else { self.edges.clone() })
    }

    fn edge_parts(&self, ends: EdgeEnds, by: EdgeBy, _from_ns: i64, _to_ns: i64) -> Answer<'_, Vec<EdgePart>> {
        let of_edge = self.edges.iter().filter(|row| row.ends == ends);
        let names = |number: usize| match by {
            EdgeBy::Instance => vec![format!("{}-{number}", ends.callee), "1.1.0".to_owned(), String::new()],
            EdgeBy::Operation => vec!["POST /charge".to_owned(), format!("POST {number}")],
        };
        let parts = of_edge.flat_map(|row| (1..=2).map(|n| EdgePart { names: names(n), numbers: row.numbers.clone() }));
        ready(parts.collect())
    }

    fn processes(&self, _from_ns: i64, _to_ns: i64) -> Answer<'_, Vec<ProcessRow>> {
        let row = |instance: &str, version: &str| ProcessRow {
            service: "payment".to_owned(),
            instance: instance.to_owned(),
            version: version.to_owned(),
        };
        ready(vec![row("payment-1", "1.1.0"), row("payment-2", "1.0.0"), row("payment-3", "1.1.0")])
    }

    fn sql(&self, query: String) -> Answer<'_, QueryResult> {
        if query.contains("wrong") {
            let text = "the query is not valid: no column <wrong>".to_owned();
            return Box::pin(std::future::ready(Err(SourceError::Question(text))));
        }
        let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("spans", DataType::Int64, false)];
        let schema = Arc::new(Schema::new(fields));
        let names = Arc::new(StringArray::from(vec![Some("POST /checkout"), Some("=SUM(A1)"), None]));
        let batch = RecordBatch::try_new(schema.clone(), vec![names, Arc::new(Int64Array::from(vec![1_204, 37, 2]))]);
        ready(QueryResult::new(schema, vec![batch.expect("columns fit")]))
    }
}

/// An outbox with one target, `on-call`.
#[derive(Default)]
pub(crate) struct FakeWebhooks {
    pub(crate) deliveries: Vec<DeliveryView>,
}

impl Webhooks for FakeWebhooks {
    fn list(&self) -> BoxFuture<'_, Vec<WebhookView>> {
        let on_call = WebhookView {
            name: "on-call".to_owned(),
            url: "https://hooks.example/services/…".to_owned(),
            preset: "standard".to_owned(),
            is_signed: true,
            origin: "file".to_owned(),
            problem: None,
        };
        Box::pin(std::future::ready(vec![on_call]))
    }

    fn deliveries(&self, query: DeliveryQuery) -> BoxFuture<'_, Vec<DeliveryView>> {
        let fits = |found: &&DeliveryView| query.incident.is_none() || found.incident == query.incident;
        Box::pin(std::future::ready(self.deliveries.iter().filter(fits).cloned().collect()))
    }

    fn add(&self, webhook: NewWebhook) -> BoxFuture<'_, Result<WebhookView, AddWebhookError>> {
        let answer = match (webhook.name.as_str(), webhook.url.as_str()) {
            ("on-call", _) => Err(AddWebhookError::NameExists),
            (_, url) if url.contains("169.254.") => Err(AddWebhookError::Refused("link-local addresses".to_owned())),
            _ => Ok(WebhookView { name: webhook.name, url: webhook.url, ..WebhookView::default() }),
        };
        Box::pin(std::future::ready(answer))
    }

    fn test(&self, name: String, test: TestWebhook) -> BoxFuture<'_, Result<TestOutcome, TestWebhookError>> {
        let answer = match name.as_str() {
            "on-call" => Ok(TestOutcome {
                event_id: test.key.unwrap_or_else(|| "evt_1".to_owned()),
                is_delivered: true,
                status: Some(200),
                duration_ms: Some(31.0),
                error: None,
            }),
            _ => Err(TestWebhookError::Unknown),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// Returns transactions as a list would have them: every third is slow.
pub(crate) fn transactions(count: u32) -> Vec<TransactionRow> {
    let mut rows = Vec::new();
    for number in 0..count {
        let bank_ns = if number % 3 == 0 { 1_071 * MS } else { i64::from(11 + number % 9) * MS };
        let segment = |service: &str, operation: &str, cause: &str, self_ns| TransactionSegment {
            service: service.to_owned(),
            operation: operation.to_owned(),
            cause: cause.to_owned(),
            self_ns,
        };
        let critical_path = vec![
            segment("gateway", "POST /checkout", "self", 9 * MS),
            segment("pricing", "GET /price/:sku", "self", 8 * MS),
            segment("inventory", "POST /reserve", "self", 7 * MS),
            segment("payment", "POST bank:9103", "uninstrumented_peer", bank_ns),
            segment("gateway", "send fulfil_order", "queue_wait", 16 * MS),
        ];
        rows.push(TransactionRow {
            id: trace_id(u128::from(number) + 1),
            service: "gateway".to_owned(),
            operation: "POST /checkout".to_owned(),
            started_ns: NOW_NS - i64::from(number) * 410 * MS - 2_000 * MS,
            duration_ns: critical_path.iter().map(|segment| segment.self_ns).sum(),
            has_error: number % 11 == 5,
            is_complete: number % 13 != 7,
            spans_count: 14,
            errors_count: u32::from(number % 11 == 5),
            services: ["gateway", "pricing", "inventory", "payment"].map(str::to_owned).into(),
            critical_path,
            completeness: Some("whole".to_owned()),
            saga: None,
        });
    }
    rows
}

/// Returns the shop with an open incident, a slow trace and 230 transactions.
pub(crate) fn shop() -> State {
    let slow = trace_id(1);
    let started_ns = NOW_NS - 90_000 * MS;
    let logs = [
        (19.0, 5, 9, "inventory", "order o-6b00 reserved sku-06 x1"),
        (31.0, 7, 9, "payment", "charging 42.90 EUR"),
        (701.0, 9, 13, "payment", "bank slow, attempt 1 still open"),
        (1_395.0, 14, 17, "shipping", "printer refused, retried"),
    ];
    let source = Fake {
        spans: vec![table(slow, started_ns, &slow_checkout()), table(trace_id(2), started_ns, &usual_checkout())],
        is_cut: false,
        logs: vec![log_table(slow, started_ns, &logs)],
        transactions: transactions(230),
        kept: Vec::new(),
        edges: map::edges(map::NOW),
        usual_edges: map::edges(map::USUAL),
        asked: std::sync::Mutex::default(),
    };
    state(source, findings::summary(), findings::ingest(), FakeWebhooks { deliveries: findings::deliveries() })
}

/// Returns a daemon that has received nothing.
pub(crate) fn empty() -> State {
    state(Fake::default(), Summary::default(), IngestView::default(), FakeWebhooks::default())
}

/// Returns a state around the given contents.
pub(crate) fn state(source: Fake, summary: Summary, ingest: IngestView, webhooks: FakeWebhooks) -> State {
    state_with(Arc::new(source), summary, ingest, webhooks)
}

/// Closes an incident as the analysis would.
fn dismissal(incidents: &[Incident], number: u64) -> Dismissal {
    let is_open = |one: &&Incident| one.number == number && one.status == IncidentStatus::Open;
    match incidents.iter().find(is_open) {
        Some(open) => Dismissal::Closed(Box::new(Incident { status: IncidentStatus::Resolved, ..open.clone() })),
        None => Dismissal::NotOpen,
    }
}

/// Answers by the budget: 2 is being computed, 3 is refused because of it, 4 failed; the others are known.
fn backtest(question: BacktestQuestion) -> BacktestAnswer {
    let progress = BacktestProgress { minutes: 12, minutes_total: 105, spans: 48_211 };
    match question.false_alarms_per_week.to_string().as_str() {
        "2" => BacktestAnswer::Running(progress),
        "3" => BacktestAnswer::Busy(BacktestQuestion { false_alarms_per_week: 2.0, ..question }, progress),
        "4" => BacktestAnswer::Failed("the disk <is> gone".to_owned()),
        _ => BacktestAnswer::Done(Arc::new(backtested(question))),
    }
}

/// Would have opened what did, noticed it a little later, and something about stock beside it.
fn backtested(question: BacktestQuestion) -> BacktestResult {
    let slow_bank = findings::slow_bank();
    let mut stock = Incident { title: "reserving <stock> is slow".to_owned(), ..slow_bank.clone() };
    stock.root_cause[0].service = "stock".to_owned();
    let is_at_all = question.false_alarms_per_week > 1e-3;
    let later = Incident { detected_at: "2026-11-21T12:07:40Z".to_owned(), ..slow_bank.clone() };
    BacktestResult {
        question,
        learned_from_ns: question.from_ns - 2_700_000 * MS,
        first_span_ns: is_at_all.then_some(question.from_ns - 600_000 * MS),
        replayed_until_ns: question.until_ns,
        cut_short: (question.false_alarms_per_week > 99.0).then(|| "a replay may take 900 s".to_owned()),
        spans: 1_204_118,
        logs: 0,
        truncated: 0,
        would_open: if is_at_all { vec![later, stock] } else { Vec::new() },
        left_out: 0,
        opened: if is_at_all { vec![slow_bank, findings::resolved()] } else { Vec::new() },
    }
}

/// As [`state`], for tests that look at the source afterwards.
pub(crate) fn state_with(source: Arc<Fake>, summary: Summary, ingest: IngestView, webhooks: FakeWebhooks) -> State {
    let incidents = summary.incidents.clone();
    let (_, receiver) = tokio::sync::watch::channel(Arc::new(summary));
    State {
        source,
        summary: receiver,
        ingest: Arc::new(move || ingest.clone()),
        dismiss: Arc::new(move |number| Box::pin(std::future::ready(dismissal(&incidents, number)))),
        false_alarms_per_week: 1.0,
        backtest: Arc::new(backtest),
        webhooks: Arc::new(webhooks),
        metrics: Arc::new(|| {
            "# HELP throughline_up Always 1.\n# TYPE throughline_up gauge\nthroughline_up 1\n".to_owned()
        }),
        ready: Arc::new(|| Ok(())),
        otlp_json: Arc::new(|tables| {
            let spans: Vec<String> = tables.iter().flat_map(SpanTable::rows).map(|row| row.name.to_owned()).collect();
            serde_json::json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] })
        }),
        stitching: analyzer::stitch::StitcherLimits::default(),
        now_ns: Arc::new(|| NOW_NS),
        settings: vec![
            Setting {
                key: "detection.false_alarms_per_week".to_owned(),
                value: "1".to_owned(),
                origin: "throughline.yaml:31".to_owned(),
            },
            Setting {
                key: "receivers.otlp.protocols.grpc.endpoint".to_owned(),
                value: "127.0.0.1:4317".to_owned(),
                origin: "default".to_owned(),
            },
            Setting {
                key: "webhooks.targets.on-call.secret".to_owned(),
                value: "set".to_owned(),
                origin: "throughline.yaml:12".to_owned(),
            },
        ],
        endpoints: Endpoints {
            grpc: Some("http://127.0.0.1:4317".to_owned()),
            http: Some("http://127.0.0.1:4318".to_owned()),
            public_url: "http://127.0.0.1:8317".to_owned(),
        },
        allowed_hosts: vec!["shop.example".to_owned()],
    }
}
