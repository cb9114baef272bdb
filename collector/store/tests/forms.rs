//! The SQL form is the same whatever form rows have: in memory, in segments with and without promoted attributes, and
//! all of these at once. Through the public interface; the rows are made here and every answer is written out.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use collector_store::{Config, QueryLimits, Reader, Store};
use collector_table::{
    HopFields, HopTableBuilder, SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TableName, TraceId,
    TransactionFields, TransactionTableBuilder, ValueType, hop_schema,
};
use tempfile::TempDir;

const SPANS: u8 = 1;
const SECOND_NS: i64 = 1_000_000_000;

/// A span by its number: what it is called, and its attributes.
fn attributes(n: u8) -> &'static [(&'static str, &'static str, ValueType)] {
    match n {
        0 => &[("order.id", "A-1", ValueType::String), ("n", "5", ValueType::Int), ("ok", "true", ValueType::Bool)],
        1 => &[("order.id", "A-2", ValueType::String), ("n", "five", ValueType::String)],
        2 => &[],
        3 => &[("order.id", "A-1", ValueType::String), ("ratio", "1", ValueType::Double)],
        4 => &[("order.id", "", ValueType::String), ("list", "[1,\"a\"]", ValueType::Json)],
        5 => &[("order.id", "A-3", ValueType::String), ("order.id", "A-4", ValueType::String)],
        6 => &[("quote\"d", "say \"hi\"\n", ValueType::String), ("raw", "AAE=", ValueType::Bytes)],
        _ => &[("n", "7", ValueType::Int), ("late", "x", ValueType::String)],
    }
}

fn spans(numbers: std::ops::Range<u8>) -> RecordBatch {
    let mut spans = SpanTableBuilder::default();
    for n in numbers {
        for (key, value, value_type) in attributes(n) {
            spans.push_attribute(key, value, *value_type);
        }
        let pod = format!("pod-{}", n % 2);
        spans.push_resource_attribute("k8s.pod.name", &pod, ValueType::String);
        spans.push_resource_attribute("cpus", "4", ValueType::Int);
        let start_ns = i64::from(n) * SECOND_NS;
        spans.append(&SpanFields {
            trace_id: TraceId([n / 2 + 1; 16]),
            span_id: SpanId([n + 1; 8]),
            parent_span_id: (n % 2 == 1).then_some(SpanId([n; 8])),
            trace_state: None,
            flags: 1,
            service_name: if n % 2 == 0 { "shop" } else { "stock" },
            service_instance: Some(&pod),
            service_version: None,
            name: "checkout",
            kind: if n % 2 == 0 { SpanKind::Client } else { SpanKind::Server },
            start_ns,
            end_ns: start_ns + i64::from(n) * 1_000,
            status_code: if n == 3 { StatusCode::Error } else { StatusCode::Unset },
            status_message: (n == 3).then_some("broken"),
            scope_name: None,
            scope_version: None,
            dropped: [u32::from(n == 4), 0, 0],
        });
    }
    spans.finish().batch().clone()
}

fn decode(_: u8, payload: &[u8]) -> Option<(TableName, RecordBatch)> {
    Some((TableName::Spans, spans(payload[0]..payload[1])))
}

fn config(dir: &Path) -> Config {
    Config { disk_free_bytes_min: 0, ..Config::new(dir) }
}

async fn append(store: &Store, numbers: std::ops::Range<u8>) {
    let payload = Bytes::copy_from_slice(&[numbers.start, numbers.end]);
    store.append(SPANS, payload, TableName::Spans, spans(numbers)).await.unwrap();
}

async fn open(dir: &Path, promoted_max: usize) -> Store {
    Store::open(Config { promoted_max, ..config(dir) }, decode).await.unwrap().0
}

/// One segment, merged of eight, of which the first have fewer columns for attributes or none.
async fn merged(dir: &Path) -> Store {
    let mut store = open(dir, 0).await;
    for n in 0..8 {
        store.close().await;
        store = open(dir, [0, 0, 1, 1, 128, 128, 128, 128][usize::from(n)]).await;
        append(&store, n..n + 1).await;
        store.seal().await;
    }
    store.maintain(0).await;
    assert_eq!(store.stats().tables[0].segments, 1, "{:?}", store.stats());
    store
}

/// The same eight spans: in memory, in segments with promoted attributes and without, and in all of these, merged or not.
async fn every_form() -> Vec<(&'static str, Store, TempDir)> {
    let mut stores = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    stores.push(("merged", merged(dir.path()).await, dir));
    for form in ["memory", "promoted", "plain", "mixed"] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), if form == "plain" { 0 } else { 128 }).await;
        if form == "mixed" {
            store.close().await;
            store = open(dir.path(), 0).await;
            append(&store, 0..2).await;
            store.seal().await;
            store.close().await;
            store = open(dir.path(), 1).await;
            append(&store, 2..4).await;
            store.seal().await;
            store.close().await;
            store = open(dir.path(), 128).await;
            append(&store, 4..6).await;
            store.seal().await;
            append(&store, 6..7).await;
            append(&store, 7..8).await;
        } else {
            append(&store, 0..5).await;
            append(&store, 5..8).await;
        }
        if form == "promoted" || form == "plain" {
            store.seal().await;
        }
        stores.push((form, store, dir));
    }
    stores
}

/// Returns the result, cells apart by `|`, rows by a space and a slash; nothing is `-`.
async fn text(reader: &Reader, sql: &str) -> String {
    let result = reader.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows(&result.batches)
}

fn rows(batches: &[RecordBatch]) -> String {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &Arc<dyn Array>| match column.is_null(row) {
                true => "-".to_owned(),
                false => array_value_to_string(column, row).unwrap(),
            };
            rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    rows.join(" / ")
}

async fn check(questions: &[(&str, &str)]) {
    for (form, store, _dir) in every_form().await {
        for (sql, answer) in questions {
            assert_eq!(text(store.reader(), sql).await, *answer, "{form}: {sql}");
        }
        store.close().await;
    }
}

#[tokio::test]
async fn attribute_is_the_same_in_every_form() {
    check(&[
        ("SELECT attributes['order.id'] FROM spans ORDER BY start_time", "A-1 / A-2 / - / A-1 /  / A-3 / - / -"),
        ("SELECT attributes['n'] FROM spans ORDER BY start_time", "5 / five / - / - / - / - / - / 7"),
        (
            "SELECT attributes['ratio'], attributes['ok'], attributes['list'] FROM spans WHERE attributes['n'] IS NULL
          AND attributes['order.id'] IS NOT NULL ORDER BY start_time",
            "1.0|-|- / -|-|[1,\"a\"] / -|-|-",
        ),
        (
            "SELECT attributes['quote\"d'], attributes['raw'] FROM spans WHERE attributes['raw'] IS NOT NULL",
            "say \"hi\"\n|{\"$bytes\":\"AAE=\"}",
        ),
        (
            "SELECT resource_attributes['k8s.pod.name'], resource_attributes['cpus'], resource_attributes['none']
          FROM spans ORDER BY start_time LIMIT 2",
            "pod-0|4|- / pod-1|4|-",
        ),
        ("SELECT count(attributes['none']) FROM spans", "0"),
        (
            "SELECT attributes[CAST('late' AS VARCHAR)], attribute(attributes, 'late') FROM spans
          WHERE attributes['late'] = 'x'",
            "x|x",
        ),
        (
            "SELECT attributes['list'] FROM spans WHERE attributes[name] IS NULL AND attributes['list'] > ''",
            "[1,\"a\"]",
        ),
    ])
    .await;
}

#[tokio::test]
async fn filters_mean_the_same_in_every_form() {
    let by = |condition: &str| {
        format!("SELECT CAST(start_time AS BIGINT) / {SECOND_NS} FROM spans WHERE {condition} ORDER BY 1")
    };
    let conditions = [
        ("attributes['order.id'] = 'A-1'", "0 / 3"),
        ("attributes['order.id'] <> 'A-1'", "1 / 4 / 5"),
        ("attributes['order.id'] IN ('A-2', 'A-3', 'none')", "1 / 5"),
        ("attributes['order.id'] NOT IN ('A-2', 'A-3')", "0 / 3 / 4"),
        ("attributes['order.id'] LIKE 'A-%'", "0 / 1 / 3 / 5"),
        ("attributes['order.id'] IS NULL", "2 / 6 / 7"),
        ("attributes['order.id'] = ''", "4"),
        ("attributes['n'] = 'five' OR attributes['n'] = '5'", "0 / 1"),
        ("CAST(attributes['n'] AS VARCHAR) < '7' AND attributes['n'] <> 'five'", "0"),
        ("attributes['none'] = 'x'", ""),
        ("attributes LIKE '%A-4%'", "5"),
        ("attributes = '{}'", "2"),
        ("resource_attributes['k8s.pod.name'] = 'pod-1' AND attributes['order.id'] IS NOT NULL", "1 / 3 / 5"),
        ("kind = 'server' AND status_code = 'error'", "3"),
        ("end_time - start_time = INTERVAL '5 microseconds'", "5"),
        ("end_time > to_timestamp_nanos(6000000000)", "6 / 7"),
        ("dropped_attributes_count = 1", "4"),
        ("dropped_links_count = 0 AND duration_ns >= 6000", "6 / 7"),
        ("start_time BETWEEN to_timestamp_nanos(2000000000) AND to_timestamp_nanos(4000000000)", "2 / 3 / 4"),
        ("trace_id = '02020202020202020202020202020202'", "2 / 3"),
        ("trace_id IN ('01010101010101010101010101010101', X'04040404040404040404040404040404')", "0 / 1 / 6 / 7"),
        ("trace_id = '09090909090909090909090909090909'", ""),
        ("status_message = 'broken'", "3"),
    ];
    let questions: Vec<(String, &str)> =
        conditions.iter().map(|(condition, answer)| (by(condition), *answer)).collect();
    let questions: Vec<(&str, &str)> = questions.iter().map(|(sql, answer)| (sql.as_str(), *answer)).collect();
    check(&questions).await;
}

#[tokio::test]
async fn statements_of_every_shape_mean_the_same_in_every_form() {
    check(&[
        ("SELECT attributes['order.id'], count(*) FROM spans GROUP BY attributes['order.id'] ORDER BY 2 DESC, 1",
         "-|3 / A-1|2 / |1 / A-2|1 / A-3|1"),
        ("SELECT attributes['order.id'] AS o FROM spans ORDER BY o DESC NULLS LAST, start_time LIMIT 3", "A-3 / A-2 / A-1"),
        ("SELECT name FROM spans ORDER BY attributes['n'] LIMIT 1", "checkout"),
        ("WITH orders AS (SELECT attributes['order.id'] AS o, duration_ns FROM spans)
          SELECT o, sum(duration_ns) FROM orders WHERE o >= 'A' GROUP BY o ORDER BY o", "A-1|3000 / A-2|1000 / A-3|5000"),
        ("SELECT x.a['n'] FROM (SELECT attributes AS a, kind FROM spans WHERE kind = 'client') x WHERE x.a['n'] > ''", "5"),
        ("SELECT b.attributes['n'], a.service_name, b.service_name FROM spans a JOIN spans b
          ON a.span_id = b.parent_span_id AND a.trace_id = b.trace_id WHERE a.attributes['order.id'] = 'A-1'",
         "five|shop|stock"),
        ("SELECT count(*) FROM spans a JOIN spans b ON a.attributes['order.id'] = b.attributes['order.id']", "7"),
        ("SELECT count(*) FROM spans WHERE attributes['order.id'] IN (SELECT attributes['order.id'] FROM spans
          WHERE attributes['ok'] = 'true')", "2"),
        ("SELECT attributes['order.id'] FROM spans WHERE start_time < to_timestamp_nanos(1000000000)
          UNION ALL SELECT attributes['late'] FROM spans WHERE attributes['late'] IS NOT NULL ORDER BY 1", "A-1 / x"),
        ("SELECT DISTINCT resource_attributes['k8s.pod.name'] AS pod FROM spans ORDER BY pod", "pod-0 / pod-1"),
        ("SELECT count(*), count(DISTINCT trace_id), max(start_time) > min(end_time) FROM spans", "8|4|true"),
        ("SELECT row_number() OVER (ORDER BY start_time), attributes['n'] FROM spans ORDER BY start_time DESC LIMIT 1", "8|7"),
        ("SELECT CASE WHEN attributes['ok'] = 'true' THEN 'yes' ELSE attributes['order.id'] END FROM spans
          ORDER BY start_time LIMIT 2", "yes / A-2"),
        ("SELECT array_agg(attributes['order.id'] ORDER BY start_time) FROM spans WHERE attributes['n'] > ''", "[A-1, A-2, ]"),
        ("SELECT upper(attributes['order.id']) || kind FROM spans WHERE attributes['ok'] = 'true'", "A-1client"),
    ])
    .await;
}

#[tokio::test]
async fn all_columns_are_the_same_in_every_form() {
    let mut first: Option<(String, String)> = None;
    for (form, store, _dir) in every_form().await {
        let columns = "trace_id, span_id, parent_span_id, trace_state, flags, service_name, service_instance,
                       service_version, name, kind, start_time, end_time, duration_ns, status_code, status_message,
                       scope_name, scope_version, resource_attributes, events, links, dropped_attributes_count";
        let result = store.query("SELECT * FROM spans ORDER BY start_time").await.unwrap();
        assert_eq!(*result.schema, *TableName::Spans.sql_schema(), "{form}");
        let table = collector_table::SpanTable::from_batch(
            arrow::compute::concat_batches(&result.schema, &result.batches).unwrap(),
        )
        .unwrap();
        let sorted: Vec<String> = table
            .rows()
            .map(|span| {
                let mut all: Vec<String> = span
                    .attributes
                    .iter()
                    .map(|(key, value, kind)| format!("{key}={value}:{}", kind.letter()))
                    .collect();
                all.sort();
                all.join(",")
            })
            .collect();
        let found = (
            text(store.reader(), &format!("SELECT {columns} FROM spans ORDER BY start_time")).await,
            sorted.join(" / "),
        );
        let first = first.get_or_insert_with(|| found.clone());
        assert_eq!(*first, found, "{form}");
    }
    let (_, attributes) = first.unwrap();
    let expected = "n=5:i,ok=true:b,order.id=A-1:s / n=five:s,order.id=A-2:s /  / order.id=A-1:s,ratio=1:d / \
                    list=[1,\"a\"]:j,order.id=:s / order.id=A-3:s,order.id=A-4:s / \
                    quote\"d=say \"hi\"\n:s,raw=AAE=:y / late=x:s,n=7:i";
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn trace_is_found_without_a_statement() {
    for (form, store, _dir) in every_form().await {
        let found = store.reader().trace(TraceId([2; 16])).await.unwrap();
        assert_eq!(*found.spans.schema, *TableName::Spans.sql_schema(), "{form}");
        assert_eq!(found.spans.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "{form}");
        assert!(found.logs.batches.iter().all(|batch| batch.num_rows() == 0), "{form}");
        let none = store.reader().trace(TraceId([99; 16])).await.unwrap();
        assert!(none.spans.batches.iter().all(|batch| batch.num_rows() == 0), "{form}");
    }
}

#[tokio::test]
async fn promoted_attribute_is_a_column_of_the_scan() {
    for (form, store, _dir) in every_form().await {
        if form != "promoted" {
            continue;
        }
        let sql = "EXPLAIN ANALYZE SELECT name FROM spans WHERE attributes['order.id'] = 'A-2'";
        let plan = text(store.reader(), sql).await;
        // No filter is left above the scan, and it dropped rows while it decoded.
        assert!(!plan.contains("FilterExec"), "{plan}");
        assert!(plan.contains("pushdown_rows_pruned=7") && plan.contains("pushdown_rows_matched=1"), "{plan}");
        let newest = "EXPLAIN SELECT * FROM spans WHERE attributes['order.id'] > '' ORDER BY start_time DESC LIMIT 3";
        let plan = text(store.reader(), newest).await;
        assert!(!plan.contains("FilterExec") && plan.contains("DynamicFilter"), "{plan}");
        assert!(plan.contains("sort_order_for_reorder=[start_time"), "{plan}");
    }
}

#[tokio::test]
async fn red_counts_every_span_once_in_every_form() {
    check(&[
        ("SELECT service_name, operation, kind, status_code, sum(count), sum(errors), sum(duration_sum_ns), max(duration_max_ns)
          FROM red GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4",
         "shop|checkout|client|unset|4|0|12000|6000 / stock|checkout|server|error|1|1|3000|3000 / \
          stock|checkout|server|unset|3|0|13000|7000"),
        ("SELECT count(*) FROM red WHERE minute > to_timestamp_nanos(0)", "0"),
        ("SELECT abs(sketch_quantile(duration_sketch, 1.0) - 7000) < 70, sketch_quantile(duration_sketch, 0.0) FROM red", "true|0.0"),
        ("SELECT sketch_quantile(duration_sketch, 0.5) FROM red WHERE service_name = 'none'", "-"),
        ("SELECT service_name, sketch_quantile(duration_sketch, 0.5) BETWEEN 2900 AND 4100 FROM red GROUP BY 1 ORDER BY 1",
         "shop|false / stock|true"),
    ])
    .await;
}

#[tokio::test]
async fn several_quantiles_of_one_column_are_those_that_each_alone_is() {
    let (p50, p99) = ("sketch_quantile(duration_sketch, 0.5)", "sketch_quantile(duration_sketch, 0.99)");
    let alone = format!(
        "SELECT a.service_name, a.v, b.v FROM (SELECT service_name, {p50} AS v FROM red GROUP BY 1) a
         JOIN (SELECT service_name, {p99} AS v FROM red GROUP BY 1) b ON a.service_name = b.service_name ORDER BY 1"
    );
    let together =
        format!("SELECT red.service_name, {p50}, {p99} AS p99 FROM red GROUP BY red.service_name ORDER BY 1");
    let around = format!(
        "SELECT s, p50, p99 FROM (SELECT r.service_name AS s, count(*), {p99} AS p99, {p50} AS p50, {p50} + 1, sum(count)
           FROM red r GROUP BY r.service_name HAVING {p99} > 0) ORDER BY 1"
    );
    for (form, store, _dir) in every_form().await {
        let reader = store.reader();
        let answer = text(reader, &alone).await;
        assert!(answer.starts_with("shop|") && answer.contains("stock|"), "{form}: {answer}");
        assert_eq!(text(reader, &together).await, answer, "{form}");
        assert_eq!(text(reader, &around).await, answer, "{form}");
        let plan = text(reader, &format!("EXPLAIN {together}")).await;
        assert!(plan.contains("aggr=[[sketch_sum("), "{plan}");
        store.close().await;
    }
    let filtered = format!("SELECT {p50} FILTER (WHERE service_name = 'none'), {p50} IS NULL, {p99} > 0 FROM red");
    let none = format!("SELECT {p50}, {p99}, {p50} + 1 FROM red WHERE service_name = 'none'");
    let sets = format!("SELECT service_name, {p50} > 0, {p99} > 0 FROM red GROUP BY ROLLUP (service_name) ORDER BY 1");
    check(&[(&filtered, "-|false|true"), (&none, "-|-|-"), (&sets, "shop|true|true / stock|true|true / -|true|true")])
        .await;
}

/// One hop for each span that names its caller.
fn hops(batches: &[RecordBatch]) -> RecordBatch {
    let mut hops = HopTableBuilder::default();
    for batch in batches {
        let table = collector_table::SpanTable::from_batch(batch.clone()).unwrap();
        for span in table.rows().filter(|span| span.parent_span_id.is_some()) {
            hops.append(&HopFields {
                transaction_id: span.trace_id,
                revision: 1,
                trace_id: span.trace_id,
                span_id: span.span_id,
                kind: "call",
                attempt: 1,
                attempts: 1,
                caller_service: "shop",
                caller_operation: "checkout",
                callee_service: span.service_name,
                callee_operation: span.name,
                is_instrumented: true,
                start_ns: span.start_ns,
                duration_ns: 1,
                callee_duration_ns: None,
                gap_ns: None,
                has_error: false,
            });
        }
    }
    hops.finish()
}

#[tokio::test]
async fn hops_are_computed_from_the_spans_that_a_query_asks_for() {
    for (form, store, _dir) in every_form().await {
        assert!(store.query("SELECT * FROM hops").await.is_err(), "{form}");
        store.reader().compute_hops(Arc::new(|spans| Ok(hops(spans))));
        let result = store.query("SELECT * FROM hops").await.unwrap();
        assert_eq!(*result.schema, *hop_schema(), "{form}");
        for (sql, answer) in [
            ("SELECT CAST(start_time AS BIGINT) / 1000000000 FROM hops ORDER BY 1", "1 / 3 / 5 / 7"),
            (
                "SELECT count(*), callee_service FROM hops WHERE trace_id = '02020202020202020202020202020202' GROUP BY 2",
                "1|stock",
            ),
            ("SELECT count(*) FROM hops WHERE transaction_id = '03030303030303030303030303030303'", "1"),
            ("SELECT count(*) FROM hops WHERE start_time > to_timestamp_nanos(3000000000)", "2"),
            ("SELECT count(*) FROM hops WHERE start_time > to_timestamp_nanos(8000000000)", "0"),
        ] {
            assert_eq!(text(store.reader(), sql).await, answer, "{form}: {sql}");
        }
    }
}

#[tokio::test]
async fn hops_of_more_spans_than_there_is_memory_for_are_computed_in_shorter_windows() {
    const TIMES: u8 = 200;
    const SECONDS: u8 = 240;
    let dir = tempfile::tempdir().unwrap();
    let query = QueryLimits { memory_bytes: 8 * 1024 * 1024, ..QueryLimits::default() };
    let (store, _) = Store::open(Config { query, ..config(dir.path()) }, decode).await.unwrap();
    let rows = spans(0..SECONDS);
    for time in 0..TIMES {
        // A payload that is no other one's retry.
        let payload = Bytes::copy_from_slice(&[0, SECONDS, time]);
        store.append(SPANS, payload, TableName::Spans, rows.clone()).await.unwrap();
    }
    let most_read = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&most_read);
    store.reader().compute_hops(Arc::new(move |spans| {
        most.fetch_max(spans.iter().map(RecordBatch::num_rows).sum(), Ordering::Relaxed);
        Ok(hops(spans))
    }));
    let counted = format!("{}|1000000000|239000000000", u32::from(SECONDS) / 2 * u32::from(TIMES));
    let count = "SELECT count(*), CAST(min(start_time) AS BIGINT), CAST(max(start_time) AS BIGINT) FROM hops";
    assert_eq!(text(store.reader(), count).await, counted);
    assert_eq!(text(store.reader(), "SELECT count(*) FROM (SELECT * FROM hops LIMIT 5)").await, "5");
    let (most_read, all) = (most_read.load(Ordering::Relaxed), usize::from(SECONDS) * usize::from(TIMES));
    assert!(most_read < all, "{most_read} spans were read at once, of {all}");
}

#[tokio::test]
async fn hops_of_a_moment_are_computed_with_the_spans_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0).await;
    append(&store, 0..240).await;
    let most_read = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&most_read);
    store.reader().compute_hops(Arc::new(move |spans| {
        most.fetch_max(spans.iter().map(RecordBatch::num_rows).sum(), Ordering::Relaxed);
        Ok(hops(spans))
    }));
    let moment = "SELECT count(*) FROM hops WHERE start_time = to_timestamp_nanos(101000000000)";
    assert_eq!(text(store.reader(), moment).await, "1");
    // All that start up to 120 seconds before and after.
    assert_eq!(most_read.load(Ordering::Relaxed), 222);
}

#[tokio::test]
async fn hops_of_all_traces_of_a_transaction_have_its_id_when_it_is_asked_for() {
    let (_, store, _dir) = every_form().await.remove(0);
    store.reader().compute_hops(Arc::new(|spans| Ok(hops(spans))));
    let mut transactions = TransactionTableBuilder::default();
    let id = |n: u8| TraceId([n; 16]);
    transactions.append(&TransactionFields {
        transaction_id: id(1),
        revision: 1,
        service_name: "shop",
        operation: "checkout",
        started_ns: 0,
        duration_ns: 1,
        status: "ok",
        is_complete: true,
        close_reason: "settled",
        spans_count: 4,
        errors_count: 0,
        path_id: 0,
        clock_skew_ns: 0,
        trace_ids: &[id(1), id(3)],
        services: &["shop"],
        critical_path: &[],
        completeness: None,
        saga: None,
    });
    store.append_derived(vec![(TableName::Transactions, transactions.finish())]).await.unwrap();
    let traces = "SELECT trace_id FROM hops WHERE transaction_id = '01010101010101010101010101010101' ORDER BY 1";
    let both = format!("{} / {}", "01".repeat(16), "03".repeat(16));
    assert_eq!(text(store.reader(), traces).await, both);
}

#[tokio::test]
async fn all_queries_and_their_results_share_one_memory() {
    let dir = tempfile::tempdir().unwrap();
    let query = QueryLimits { memory_bytes: 8 * 1024 * 1024, ..QueryLimits::default() };
    let (store, _) = Store::open(Config { query, ..config(dir.path()) }, decode).await.unwrap();
    append(&store, 0..8).await;
    let mut held = Vec::new();
    loop {
        let result = store.query("SELECT a.*, b.* FROM spans a CROSS JOIN spans b").await;
        match result {
            Ok(result) if !result.truncated => held.push(result),
            _ => break,
        }
        assert!(held.len() < 1_000, "results that are held take no room");
    }
    assert!(!held.is_empty());
    held.clear();
    let again = store.query("SELECT a.*, b.* FROM spans a CROSS JOIN spans b").await.unwrap();
    assert!(!again.truncated);
}
