//! What is missing, drawn: pages of transactions that lack what like ones do, of sagas, and of what is not over.

#![allow(clippy::unwrap_used)]

use analyzer::{Analyzer, AnalyzerLimits, Summary};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use collector_table::{SpanKind, SpanTable};
use shop::{Drawn, Fake, NOW_NS, span, table, trace_id};

mod shop;

const SECOND_NS: i64 = 1_000_000_000;

/// Returns an order and, in a trace of its own, whoever takes in its message.
fn order(number: u128, started_ns: i64) -> [SpanTable; 2] {
    let id = format!("message-{number:016}");
    let says = |kind, span: Drawn<'static>, id: &'static str| Drawn {
        kind,
        attributes: vec![("messaging.message.id", id)],
        ..span
    };
    let id: &'static str = Box::leak(id.into_boxed_str());
    let sent = [
        span(1, 0, "shop", "POST /order", 0.0, 40.0),
        says(SpanKind::Producer, span(2, 1, "shop", "ordered", 30.0, 35.0), id),
    ];
    let taken = [says(SpanKind::Consumer, span(3, 0, "stock", "reserve", 90.0, 120.0), id)];
    [table(trace_id(number * 2), started_ns, &sent), table(trace_id(number * 2 + 1), started_ns, &taken)]
}

/// Returns an order that fails, and what undoes the reservation unless that is lost.
fn failed(number: u128, started_ns: i64, is_undone: bool) -> SpanTable {
    let failing = |span: Drawn<'static>| Drawn { error: Some("declined"), ..span };
    let client = |span: Drawn<'static>| Drawn { kind: SpanKind::Client, ..span };
    let mut spans = vec![
        failing(span(1, 0, "flow", "POST /order", 0.0, 90.0)),
        client(span(2, 1, "flow", "reserve", 10.0, 20.0)),
        span(3, 2, "stock", "POST /reserve", 11.0, 19.0),
        failing(client(span(4, 1, "flow", "charge", 30.0, 40.0))),
        failing(span(5, 4, "pay", "POST /charge", 31.0, 39.0)),
    ];
    if is_undone {
        spans.push(client(span(6, 1, "flow", "release", 50.0, 60.0)));
        spans.push(span(7, 6, "stock", "POST /release", 51.0, 59.0));
    }
    table(trace_id(number * 2), started_ns, &spans)
}

/// Returns what is known after many orders, of which the last lost its message.
fn learned() -> Summary {
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let mut now_ns = NOW_NS - 1_400 * SECOND_NS;
    for number in 1..=80 {
        now_ns += 5 * SECOND_NS;
        for part in order(number, now_ns) {
            analyzer.push(&part, now_ns + SECOND_NS / 2);
        }
        analyzer.push(&failed(number + 200, now_ns, true), now_ns + SECOND_NS / 2);
    }
    let [sent, _] = order(100, now_ns);
    analyzer.push(&sent, now_ns + SECOND_NS);
    for second in 2..200 {
        analyzer.advance(now_ns + second * SECOND_NS);
    }
    analyzer.summary()
}

async fn get(fake: Fake, path: &str) -> String {
    let state = shop::state(fake, learned(), web::IngestView::default(), shop::FakeWebhooks::default());
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(web::router(state), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn stored(table: SpanTable) -> Fake {
    Fake { spans: vec![table], ..Fake::default() }
}

#[tokio::test]
async fn a_stage_that_never_came_is_drawn_where_it_is_expected() {
    let [sent, _] = order(100, NOW_NS - 100 * SECOND_NS);
    let path = format!("/trace/{}", trace_id(200));
    let page = get(stored(sent.clone()), &path).await;
    let table = page.split("role=\"table\"").nth(1).unwrap();
    let producer = table.find("ordered").unwrap();
    let ghost = table.find("expected here").unwrap();
    assert!(ghost > producer, "{table}");
    let words = "seen in 100% of 80 like it, not in this one";
    assert!(table[ghost..].contains("reserve") && table[ghost..].contains(words), "{table}");
    assert!(page.contains("1 of 2 expected stages came; missing: stock reserve."), "{page}");
    let text = get(stored(sent.clone()), &format!("{path}.txt")).await;
    assert!(text.contains("? missing: stock reserve, seen in 100% of 80 like it"), "{text}");
    let json = get(stored(sent), &format!("/api/v1/transactions/{}", trace_id(200))).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["complete"], true, "it has its root and all parents");
    let missing = &json["completeness"]["missing"][0];
    assert_eq!((&missing["operation"], &missing["of"]), (&"reserve".into(), &80.into()));
}

#[tokio::test]
async fn a_message_that_may_still_come_is_waited_for() {
    let [sent, _] = order(100, NOW_NS - SECOND_NS);
    let page = get(stored(sent), &format!("/trace/{}", trace_id(200))).await;
    assert!(page.contains("waiting") && page.contains("and may still come"), "{page}");
}

#[tokio::test]
async fn a_saga_says_what_was_not_undone() {
    let path = format!("/trace/{}", trace_id(2));
    let page = get(stored(failed(1, NOW_NS - 100 * SECOND_NS, false)), &path).await;
    assert!(page.contains("Saga: a stage failed, and what had been done was not undone"), "{page}");
    assert!(page.contains("stock POST /release: missing, seen in 100% of 80 that failed alike"), "{page}");
    let ghost = page.split("expected here").nth(1).unwrap();
    assert!(ghost.contains("POST /release") && ghost.contains("seen in 100% of 80 that failed alike"), "{ghost}");
    let page = get(stored(failed(1, NOW_NS - 100 * SECOND_NS, true)), &path).await;
    assert!(page.contains("Saga: a stage failed, and what had been done was undone"), "{page}");
    let text = get(stored(failed(1, NOW_NS - 100 * SECOND_NS, false)), &format!("{path}.txt")).await;
    assert!(text.contains("  stock POST /reserve: done; stock POST /release: missing"), "{text}");
}

#[tokio::test]
async fn the_page_of_a_type_lists_what_is_expected_of_it() {
    let page = get(Fake::default(), "/tx/shop/POST%20%2Forder").await;
    let expected = page.split("What is expected of it").nth(1).unwrap();
    assert!(expected.contains("reserve") && expected.contains("99% of 81"), "{expected}");
    let page = get(Fake::default(), "/tx/flow/POST%20%2Forder").await;
    let saga = page.split("Saga, learned from 80 that failed").nth(1).unwrap();
    assert!(saga.contains("POST /reserve") && saga.contains("stock POST /release"), "{saga}");
}

#[tokio::test]
async fn what_lacks_something_over_due_is_stuck_and_listed_first() {
    let page = get(Fake::default(), "/").await;
    assert!(page.contains("1 transaction is stuck"), "{page}");
    let page = get(Fake::default(), "/search?state=open").await;
    assert!(page.contains("<h1>1 transaction is stuck") && page.contains("stock reserve"), "{page}");
    let json = get(Fake::default(), "/api/v1/transactions?state=open").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let first = &json["transactions"][0];
    assert_eq!((&json["stuck"], &first["state"]), (&1.into(), &"stuck".into()));
    assert_eq!(first["waits_for"]["of"]["operation"], "reserve");
    assert_eq!(first["transaction_id"], trace_id(200).to_string());
}
