//! `StoreSource` on a real store: what pages ask for comes back from SQL in the shape that they expect.

#![allow(clippy::unwrap_used)]

mod shop;

use bytes::Bytes;
use collector_store::{Config, Store};
use collector_table::{SegmentFields, TableName, TransactionFields, TransactionTableBuilder};
use shop::{NOW_NS, log_table, slow_checkout, table, trace_id};
use web::{LogQuery, Source, SourceError, StoreSource, TransactionQuery};

/// Opens a store that holds the slow checkout, its logs and ten transactions of one millisecond more each.
async fn open(folder: &tempfile::TempDir) -> (Store, StoreSource) {
    let config = Config { disk_free_bytes_min: 0, ..Config::new(folder.path()) };
    let (store, _) = Store::open(config, |_, _| None).await.unwrap();
    let spans = table(trace_id(1), NOW_NS, &slow_checkout());
    let logs = log_table(trace_id(1), NOW_NS, &[(5.0, 2, 9, "gateway", "Hello Bank"), (9.0, 3, 17, "pricing", "oops")]);
    for (kind, name, batch) in [(1, TableName::Spans, spans.batch()), (2, TableName::Logs, logs.batch())] {
        store.append(kind, Bytes::from(format!("request {kind}")), name, batch.clone()).await.unwrap();
    }
    let mut transactions = TransactionTableBuilder::default();
    for number in 1..=10 {
        let segment = SegmentFields { service_name: "bank", operation: "wait", cause: "self", self_ns: 7 };
        transactions.append(&TransactionFields {
            transaction_id: trace_id(number),
            revision: 1,
            service_name: "gateway",
            operation: "POST /checkout",
            started_ns: NOW_NS + i64::try_from(number).unwrap(),
            duration_ns: i64::try_from(number).unwrap() * 1_000_000,
            status: if number == 3 { "error" } else { "ok" },
            is_complete: true,
            close_reason: "settled",
            spans_count: 14,
            errors_count: 0,
            path_id: 0xa1,
            clock_skew_ns: 0,
            trace_ids: &[trace_id(number)],
            services: &["gateway", "bank"],
            critical_path: &[segment],
            completeness: None,
            saga: None,
        });
    }
    store.append_derived(vec![(TableName::Transactions, transactions.finish())]).await.unwrap();
    store.reader().compute_hops(std::sync::Arc::new(|spans| analyzer::hops(spans).map_err(Into::into)));
    let source = StoreSource::new(store.reader().clone());
    (store, source)
}

fn everything() -> TransactionQuery {
    TransactionQuery { from_ns: NOW_NS - 1_000, to_ns: NOW_NS + 1_000, limit: 100, ..TransactionQuery::default() }
}

#[tokio::test]
async fn a_trace_comes_back_with_its_logs() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, source) = open(&folder).await;
    let trace = source.trace(trace_id(1)).await.unwrap();
    assert_eq!(trace.spans.iter().map(|table| table.len()).sum::<usize>(), 14);
    assert!(!trace.is_cut);
    let mut bodies: Vec<&str> = trace.logs.iter().flat_map(|table| table.rows()).map(|row| row.body).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["Hello Bank", "oops"]);
    assert!(source.trace(trace_id(2)).await.unwrap().spans.iter().all(|table| table.is_empty()));
    let services = source.services(NOW_NS, NOW_NS + 1).await.unwrap();
    assert!(services.contains(&"gateway".to_owned()), "{services:?}");
}

#[tokio::test]
async fn transactions_are_found_by_every_filter() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, source) = open(&folder).await;
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (everything(), 10),
        (TransactionQuery { text: text("CHECKOUT"), ..everything() }, 10),
        (TransactionQuery { text: text("100%"), ..everything() }, 0),
        (TransactionQuery { service: text("bank"), ..everything() }, 0),
        (TransactionQuery { operation: text("POST /checkout"), ..everything() }, 10),
        (TransactionQuery { status: text("error"), ..everything() }, 1),
        (TransactionQuery { duration_min_ns: Some(8_000_000), ..everything() }, 3),
        (TransactionQuery { duration_max_ns: Some(2_000_000), ..everything() }, 2),
        (TransactionQuery { attributes: vec![("order.id".to_owned(), "o-6b00".to_owned())], ..everything() }, 1),
        (TransactionQuery { attributes: vec![("order.id".to_owned(), "other".to_owned())], ..everything() }, 0),
        (TransactionQuery { attributes: vec![("it's".to_owned(), "''; --".to_owned())], ..everything() }, 0),
        (TransactionQuery { offset: 8, ..everything() }, 2),
        (TransactionQuery { to_ns: NOW_NS + 3, ..everything() }, 2),
    ];
    for (query, count) in cases {
        let rows = source.transactions(query.clone()).await.unwrap();
        assert_eq!(rows.len(), count, "{query:?}");
    }
    let slowest = TransactionQuery { is_slowest_first: true, limit: 1, ..everything() };
    let row = source.transactions(slowest).await.unwrap().remove(0);
    assert_eq!((row.id, row.duration_ns, row.services.len()), (trace_id(10), 10_000_000, 2));
    assert_eq!((row.critical_path[0].service.as_str(), row.critical_path[0].self_ns), ("bank", 7));
}

/// Stores a transaction of two traces, of which only the second has an attribute.
async fn store_joined(store: &Store) {
    let mail = shop::Drawn { attributes: vec![("mail.id", "m-1")], ..shop::span(1, 0, "mail", "send", 0.0, 5.0) };
    let spans = table(trace_id(21), NOW_NS + 1_000_000, &[mail]);
    store.append(1, Bytes::from("mail"), TableName::Spans, spans.batch().clone()).await.unwrap();
    let mut transactions = TransactionTableBuilder::default();
    transactions.append(&TransactionFields {
        transaction_id: trace_id(20),
        revision: 1,
        service_name: "shop",
        operation: "POST /order",
        started_ns: NOW_NS,
        duration_ns: 6_000_000,
        status: "ok",
        is_complete: true,
        close_reason: "settled",
        spans_count: 2,
        errors_count: 0,
        path_id: 0,
        clock_skew_ns: 0,
        trace_ids: &[trace_id(20), trace_id(21)],
        services: &["shop", "mail"],
        critical_path: &[],
        completeness: None,
        saga: None,
    });
    store.append_derived(vec![(TableName::Transactions, transactions.finish())]).await.unwrap();
}

#[tokio::test]
async fn a_transaction_is_found_by_any_of_its_traces() {
    let folder = tempfile::tempdir().unwrap();
    let (store, source) = open(&folder).await;
    store_joined(&store).await;
    let whole = web::TransactionTraces { id: trace_id(20), traces: vec![trace_id(20), trace_id(21)] };
    for id in [20, 21] {
        assert_eq!(source.transactions_of(trace_id(id), NOW_NS).await.unwrap(), std::slice::from_ref(&whole), "{id}");
    }
    let alone = web::TransactionTraces { id: trace_id(1), traces: vec![trace_id(1)] };
    assert_eq!(source.transactions_of(trace_id(1), NOW_NS).await.unwrap(), [alone]);
    assert_eq!(source.transactions_of(trace_id(99), NOW_NS).await.unwrap(), []);
    let by_part = TransactionQuery { attributes: vec![("mail.id".to_owned(), "m-1".to_owned())], ..everything() };
    let found = source.transactions(by_part).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [trace_id(20)]);
}

#[tokio::test]
async fn logs_are_found_by_every_filter() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, source) = open(&folder).await;
    let all = || LogQuery { from_ns: NOW_NS, to_ns: NOW_NS + 1_000_000_000, limit: 10, ..LogQuery::default() };
    let cases = [
        (all(), 2),
        (LogQuery { text: Some("bank".to_owned()), ..all() }, 1),
        (LogQuery { service: Some("pricing".to_owned()), ..all() }, 1),
        (LogQuery { trace_ids: vec![trace_id(1)], ..all() }, 2),
        (LogQuery { trace_ids: vec![trace_id(2)], ..all() }, 0),
        (LogQuery { trace_ids: vec![trace_id(2), trace_id(1)], ..all() }, 2),
        (LogQuery { severity_min: Some(13), ..all() }, 1),
        (LogQuery { from_ns: 0, to_ns: i64::MAX, ..all() }, 2),
    ];
    for (query, count) in cases {
        let tables = source.logs(query.clone()).await.unwrap();
        assert_eq!(tables.iter().map(|table| table.len()).sum::<usize>(), count, "{query:?}");
    }
}

#[tokio::test]
async fn a_wrong_query_is_the_askers_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, source) = open(&folder).await;
    let result = source.sql("SELECT count(*) AS n FROM spans".to_owned()).await.unwrap();
    assert_eq!(result.batches[0].num_rows(), 1);
    for wrong in ["SELECT nothing FROM spans", "DROP TABLE spans", ""] {
        assert!(matches!(source.sql(wrong.to_owned()).await, Err(SourceError::Question(_))), "{wrong}");
    }
}

async fn get(state: web::State, path: &str) -> (axum::http::StatusCode, String) {
    let request = axum::http::Request::get(path).header("host", "localhost").body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(web::router(state), request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn every_example_on_the_sql_page_has_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (store, source) = open(&folder).await;
    let incidents = source.sql("SELECT 142 AS number".to_owned()).await.unwrap();
    store.publish("incidents", incidents.batches[0].clone());
    let state = || web::State { source: std::sync::Arc::new(source.clone()), ..shop::empty() };
    let (_, page) = get(state(), "/sql").await;
    let links: Vec<&str> = page.split("href=\"/sql?q=").skip(1).map(|part| part.split('"').next().unwrap()).collect();
    assert!(links.len() >= 5);
    for link in links {
        let (_, answer) = get(state(), &format!("/sql?q={link}")).await;
        assert!(answer.contains("<table class=\"result\">"), "{link}: {answer}");
    }
}

#[tokio::test]
async fn whole_rows_of_every_table_can_be_shown_and_taken_along() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, source) = open(&folder).await;
    let state = || web::State { source: std::sync::Arc::new(source.clone()), ..shop::empty() };
    let tables = [
        ("spans", "o-6b00"),
        ("logs", "Hello Bank"),
        ("transactions", "POST /checkout"),
        ("hops", "gateway"),
        ("red", "gateway"),
        ("dependencies", ""),
    ];
    for (table, part) in tables {
        for format in ["", "&format=csv", "&format=json"] {
            let (status, text) = get(state(), &format!("/sql?q=SELECT%20*%20FROM%20{table}{format}")).await;
            assert!(status.is_success() && text.contains(part), "{table}{format}: {text}");
        }
    }
}
