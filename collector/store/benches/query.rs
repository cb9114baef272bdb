//! Times the queries that pages and people ask, over generated spans of a shop: 13 services, three instances each, about
//! ten attributes a span, traces of about eleven spans, a little less than a thousand spans a second.
//!
//! `SPANS=12000000 DIR=/tmp/bench cargo bench -p collector-store --bench query` stores what the folder does not have yet
//! and asks; without these, it is small and cleans up after itself. A cold query has a reader of its own that has opened
//! nothing yet, and an empty page cache where the machine lets us empty it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use collector_store::{Config, QueryLimits, Reader, Store};
use collector_table::{
    DependencyFields, DependencyTableBuilder, DependencyTally, SpanFields, SpanId, SpanKind, SpanTableBuilder,
    StatusCode, TableName, TraceId, TransactionFields, TransactionTableBuilder, ValueType,
};

const SPANS_DEFAULT: u64 = 200_000;
const REQUEST_SPANS: u64 = 8_192;
const SPANS_PER_TRACE: u64 = 11;
/// 12 million spans are then about 3.4 hours.
const NS_PER_SPAN: i64 = 1_020_000;
const STARTED_NS: i64 = 1_767_225_600_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;
const RUNS: usize = 20;
const TRACES: u64 = 100;

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
const OPERATIONS: [&str; 4] = ["GET /api/{id}", "Find", "Place", "SELECT items"];

/// The same numbers in every run.
fn noise(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn trace_id(trace: u64) -> TraceId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&noise(trace).to_be_bytes());
    id[8..].copy_from_slice(&noise(trace ^ u64::MAX).to_be_bytes());
    TraceId(id)
}

/// Number of a span's place in time; the spans of a trace lie within a second of each other, between others'.
fn start_ns(span: u64) -> i64 {
    STARTED_NS + i64::try_from(span).unwrap() * NS_PER_SPAN
}

fn duration_ns(span: u64) -> i64 {
    // Most take a millisecond or so, one in a hundred a hundred times as long.
    let n = noise(span ^ 7);
    let slow = if n.is_multiple_of(100) { 100 } else { 1 };
    i64::try_from((n >> 20) % 2_000_000 + 200_000).unwrap() * slow
}

fn push_span(spans: &mut SpanTableBuilder, span: u64) {
    let (trace, place) = (span / SPANS_PER_TRACE, span % SPANS_PER_TRACE);
    let n = noise(span);
    let service = if place == 0 { 0 } else { (n % 13) as usize };
    let instance = format!("{}-{}", SERVICES[service], noise(trace) % 3);
    for (key, value) in [
        ("service.name", SERVICES[service]),
        ("host.name", &instance),
        ("k8s.pod.name", &instance),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", "1.2.3"),
        ("deployment.environment.name", "production"),
    ] {
        spans.push_resource_attribute(key, value, ValueType::String);
    }
    let status = if n.is_multiple_of(200) { "500" } else { "200" };
    let user = format!("user-{}", noise(trace ^ 99) % 42_000);
    let strings = [
        ("http.request.method", "GET"),
        ("url.path", "/api/items"),
        ("network.protocol.version", "1.1"),
        ("server.address", SERVICES[(n % 13) as usize]),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:135.0)"),
    ];
    for (key, value) in strings {
        spans.push_attribute(key, value, ValueType::String);
    }
    spans.push_attribute("http.response.status_code", status, ValueType::Int);
    spans.push_attribute("server.port", "8080", ValueType::Int);
    spans.push_attribute("thread.id", &(n % 64).to_string(), ValueType::Int);
    if place < 3 {
        spans.push_attribute("app.user.id", &user, ValueType::String);
        spans.push_attribute("app.order.id", &format!("o-{trace}"), ValueType::String);
    }
    spans.append(&SpanFields {
        trace_id: trace_id(trace),
        span_id: SpanId(noise(span ^ 3).to_be_bytes()),
        parent_span_id: (place > 0).then(|| SpanId(noise((span - place) ^ 3).to_be_bytes())),
        trace_state: None,
        flags: 1,
        service_name: SERVICES[service],
        service_instance: Some(&instance),
        service_version: Some("1.0.0"),
        name: OPERATIONS[(n >> 8) as usize % 4],
        kind: if place % 2 == 0 { SpanKind::Server } else { SpanKind::Client },
        start_ns: start_ns(span),
        end_ns: start_ns(span) + duration_ns(span),
        status_code: if status == "500" { StatusCode::Error } else { StatusCode::Unset },
        status_message: None,
        scope_name: Some("bench"),
        scope_version: Some("1"),
        dropped: [0; 3],
    });
}

fn request(from: u64) -> RecordBatch {
    let mut spans = SpanTableBuilder::default();
    (from..from + REQUEST_SPANS).for_each(|span| push_span(&mut spans, span));
    spans.finish().batch().clone()
}

/// What an analysis would derive of a request: a transaction for each trace, and each pair of services once.
fn derived(from: u64) -> Vec<(TableName, RecordBatch)> {
    let mut transactions = TransactionTableBuilder::default();
    for trace in from / SPANS_PER_TRACE..(from + REQUEST_SPANS) / SPANS_PER_TRACE {
        transactions.append(&TransactionFields {
            transaction_id: trace_id(trace),
            revision: 1,
            service_name: SERVICES[0],
            operation: OPERATIONS[0],
            started_ns: start_ns(trace * SPANS_PER_TRACE),
            duration_ns: duration_ns(trace),
            status: "ok",
            is_complete: true,
            close_reason: "complete",
            spans_count: 11,
            errors_count: 0,
            path_id: 0x0011_2233_4455_6677,
            clock_skew_ns: 0,
            trace_ids: &[trace_id(trace)],
            services: &SERVICES[..3],
            critical_path: &[],
            completeness: None,
            saga: None,
        });
    }
    let mut tally = DependencyTally { count: 50, errors: 1, gap_count: 50, ..DependencyTally::default() };
    (from..from + 50).for_each(|span| tally.durations.insert(duration_ns(span)));
    (from..from + 50).for_each(|span| tally.gaps.insert(duration_ns(span) / 8));
    let mut dependencies = DependencyTableBuilder::default();
    let minute_ns = start_ns(from) / 60_000_000_000 * 60_000_000_000;
    for (caller, callee) in (0..13).flat_map(|caller| (0..4).map(move |step| (caller, (caller + step + 1) % 13))) {
        let fields = DependencyFields {
            minute_ns,
            caller_service: SERVICES[caller],
            caller_operation: OPERATIONS[callee % 4],
            callee_service: SERVICES[callee],
            callee_operation: OPERATIONS[caller % 4],
            kind: "call",
            caller_kind: "service",
            callee_kind: "service",
            is_instrumented: true,
            ..DependencyFields::default()
        };
        dependencies.append(&fields, &tally);
    }
    vec![(TableName::Transactions, transactions.finish()), (TableName::Dependencies, dependencies.finish())]
}

fn decode(_: u8, payload: &[u8]) -> Option<(TableName, RecordBatch)> {
    Some((TableName::Spans, request(u64::from_be_bytes(payload.try_into().ok()?))))
}

async fn fill(dir: &Path, spans: u64) {
    let config = Config { disk_free_bytes_min: 0, ..Config::new(dir) };
    let (store, _) = Store::open(config, decode).await.expect("the folder opens");
    drop(store.take_committed());
    let rows = store.query("SELECT count(*) FROM spans").await.expect("spans are counted");
    let counted = rows.batches[0].column(0).as_any().downcast_ref::<arrow::array::Int64Array>().expect("a count");
    let mut from = u64::try_from(counted.value(0)).unwrap();
    let began = Instant::now();
    while from < spans {
        let payload = Bytes::copy_from_slice(&from.to_be_bytes());
        match store.append(1, payload, TableName::Spans, request(from)).await {
            Ok(_) => {
                store.append_derived(derived(from)).await.expect("derived rows are kept");
                from += REQUEST_SPANS;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    store.close().await;
    println!("stored {from} spans in {:.1} s", began.elapsed().as_secs_f64());
}

/// Times of one query, in milliseconds.
struct Times(Vec<f64>);

impl Times {
    fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable_by(f64::total_cmp);
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }
}

async fn timed<T>(times: &mut Times, query: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let result = query.await;
    times.0.push(began.elapsed().as_secs_f64() * 1e3);
    result
}

fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 =
        stat.rsplit(')').next().unwrap_or("").split(' ').skip(12).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 * 10.0
}

async fn cold_reader(dir: &Path) -> Reader {
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    Reader::open(dir.to_owned(), QueryLimits::default(), decode).await.expect("the folder opens").0
}

fn report(name: &str, cold: &mut Times, warm: &mut Times, cpu: f64, rows: usize) {
    println!(
        "| {name} | {:.1} / {:.1} | {:.1} / {:.1} | {cpu:.1} | {rows} |",
        cold.at(0.5),
        cold.at(0.99),
        warm.at(0.5),
        warm.at(0.99)
    );
}

async fn ask(dir: &Path, name: &str, sql: &str) {
    let (mut cold, mut warm) = (Times(Vec::new()), Times(Vec::new()));
    for _ in 0..3 {
        let reader = cold_reader(dir).await;
        timed(&mut cold, reader.query(sql)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    let reader = cold_reader(dir).await;
    let rows = reader.query(sql).await.map_or(0, |result| result.batches.iter().map(RecordBatch::num_rows).sum());
    let before = cpu_ms();
    for _ in 0..RUNS {
        let _ = timed(&mut warm, reader.query(sql)).await;
    }
    report(name, &mut cold, &mut warm, (cpu_ms() - before) / RUNS as f64, rows);
}

async fn ask_traces(dir: &Path, spans: u64) {
    let (mut cold, mut warm) = (Times(Vec::new()), Times(Vec::new()));
    let traces = spans / SPANS_PER_TRACE;
    for n in 0..20 {
        let reader = cold_reader(dir).await;
        let found = timed(&mut cold, reader.trace(trace_id(noise(n) % traces))).await;
        assert!(found.is_ok_and(|found| !found.spans.batches.is_empty()), "the trace is found");
    }
    let reader = cold_reader(dir).await;
    let before = cpu_ms();
    for n in 0..TRACES {
        let _ = timed(&mut warm, reader.trace(trace_id(noise(n ^ 5) % traces))).await;
    }
    report("trace by id", &mut cold, &mut warm, (cpu_ms() - before) / TRACES as f64, 11);
}

#[tokio::main]
async fn main() {
    let spans = std::env::var("SPANS").ok().and_then(|spans| spans.parse().ok()).unwrap_or(SPANS_DEFAULT);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = std::env::var("DIR").map_or_else(|_| temporary.path().to_owned(), PathBuf::from);
    fill(&dir, spans).await;
    let last = start_ns(spans);
    let hour = format!("to_timestamp_nanos({})", (last - HOUR_NS).max(STARTED_NS));
    println!("| query | cold ms, median / p99 | warm ms, median / p99 | CPU ms | rows |\n|---|---|---|---|---|");
    ask_traces(&dir, spans).await;
    let id = trace_id(spans / SPANS_PER_TRACE / 2);
    for (name, sql) in [
        ("trace by id, SQL", format!("SELECT * FROM spans WHERE trace_id = '{id}'")),
        (
            "user and duration, newest 20",
            format!(
                "SELECT * FROM spans WHERE service_name = 'cart' AND attributes['app.user.id'] LIKE 'user-11%' AND duration_ns > 5000000 AND start_time > {hour} ORDER BY start_time DESC LIMIT 20"
            ),
        ),
        (
            "rare user, newest 20",
            format!(
                "SELECT * FROM spans WHERE attributes['app.user.id'] = 'user-31000' AND start_time > {hour} ORDER BY start_time DESC LIMIT 20"
            ),
        ),
        (
            "service, user and duration, newest 20",
            format!(
                "SELECT * FROM spans WHERE service_name = 'cart' AND attributes['app.user.id'] = 'user-1234' AND duration_ns > 500000 AND start_time > {hour} ORDER BY start_time DESC LIMIT 20"
            ),
        ),
        (
            "frontend, status 500, slow, newest 20",
            format!(
                "SELECT * FROM spans WHERE service_name = 'frontend' AND attributes['http.response.status_code'] = '500' AND duration_ns > 20000000 AND start_time > {hour} ORDER BY start_time DESC LIMIT 20"
            ),
        ),
        (
            "p99 by operation",
            format!(
                "SELECT service_name, operation, sum(count), sketch_quantile(duration_sketch, 0.99) AS p99 FROM red WHERE minute > {hour} GROUP BY 1, 2 ORDER BY p99 DESC LIMIT 20"
            ),
        ),
        (
            "RED by service and minute",
            format!(
                "SELECT service_name, minute, sum(count), sum(errors), sketch_quantile(duration_sketch, 0.5), sketch_quantile(duration_sketch, 0.95), sketch_quantile(duration_sketch, 0.99) FROM red WHERE minute > {hour} GROUP BY 1, 2 ORDER BY 1, 2"
            ),
        ),
        (
            "dependencies",
            format!(
                "SELECT caller_service, callee_service, sum(count), sum(errors), sketch_quantile(duration_sketch, 0.99) FROM dependencies WHERE minute > {hour} GROUP BY 1, 2 ORDER BY 3 DESC"
            ),
        ),
        ("newest 20 transactions", "SELECT * FROM transactions ORDER BY started_at DESC LIMIT 20".to_owned()),
        (
            "p99 by operation from spans",
            format!(
                "SELECT service_name, name, count(*), approx_percentile_cont(duration_ns, 0.99) AS p99 FROM spans WHERE start_time > {hour} GROUP BY 1, 2 ORDER BY p99 DESC LIMIT 20"
            ),
        ),
    ] {
        ask(&dir, name, &sql).await;
    }
}
