//! Timelines through the router: what is drawn, how large ones are paged, and that nothing hostile gets through.

#![allow(clippy::unwrap_used)]

mod shop;

use analyzer::incident::LogExample;
use analyzer::{JoinSummary, Proposal, Refusal, Refused, Rule, Summary};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use collector_table::SpanKind;
use shop::{Drawn, Fake, NOW_NS, log_table, slow_checkout, span, table, trace_id};
use web::TransactionTraces;

async fn get(fake: Fake, query: &str) -> (StatusCode, String) {
    let state = shop::state(fake, shop::findings::summary(), web::IngestView::default(), shop::FakeWebhooks::default());
    let path = format!("/trace/{}{query}", trace_id(1));
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(web::router(state), request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn stored(spans: &[Drawn<'_>]) -> Fake {
    Fake { spans: vec![table(trace_id(1), NOW_NS, spans)], ..Fake::default() }
}

fn rows(page: &str) -> usize {
    page.matches("<div class=\"row").count() - page.matches("row head").count() - page.matches("row remark").count()
}

#[tokio::test]
async fn a_trace_as_text_is_a_waterfall() {
    let (_, text) = get(stored(&slow_checkout()), ".txt").await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_timeline_says_where_the_time_went_and_shows_logs_and_events_in_place() {
    let logs = [(701.0, 9, 13, "payment", "bank slow, attempt 1 still open")];
    let fake = Fake { logs: vec![log_table(trace_id(1), NOW_NS, &logs)], ..stored(&slow_checkout()) };
    let (status, page) = get(fake, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains(
            "1.07 s of 1.41 s went to bank.example:9103, called by payment (a peer that sends no telemetry)."
        )
    );
    let bank = page.find("id=\"0000000000000009\"").unwrap();
    let (event, log) = (page.find("still waiting").unwrap(), page.find("attempt 1 still open").unwrap());
    let next = page.find("id=\"000000000000000a\"").unwrap();
    assert!(bank < event && event < log && log < next);
    assert!(page.contains("✕ label printer refused once"));
    assert!(page.contains("waiting in a queue"));
}

#[tokio::test]
async fn a_chosen_span_shows_everything_that_was_sent() {
    let (_, page) = get(stored(&slow_checkout()), "?span=0000000000000009").await;
    let details = page.split("id=\"details\"").nth(1).unwrap();
    for part in
        ["server.address", "bank.example", "/search?q=server.port%3D9103", "no answer after 600 ms", "host.name"]
    {
        assert!(details.contains(part), "{part}");
    }
    let (_, page) = get(stored(&slow_checkout()), "?span=000000000000000c").await;
    assert!(page.contains("?span=0000000000000001"), "a consumer's link leads to its span");
}

#[tokio::test]
async fn rows_can_be_found_by_attribute_and_narrowed_to_path_or_errors() {
    let cases = [("?find=O-6B00", 1), ("?find=charge", 3), ("?only=error", 1), ("?find=nothing%20of%20it", 0)];
    for (query, count) in cases {
        let (_, page) = get(stored(&slow_checkout()), &format!("{query}&logs=off")).await;
        assert_eq!(rows(&page), count, "{query}");
        assert!(page.contains(&format!("{count} of 14 spans")), "{query}");
    }
}

#[tokio::test]
async fn hostile_text_stays_text_wherever_it_comes_from() {
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}\0";
    let spans = [Drawn {
        error: Some(hostile),
        attributes: vec![(hostile, hostile), ("order.id", hostile)],
        events: vec![(1.0, "exception", hostile), (2.0, hostile, "")],
        ..span(1, 0, hostile, hostile, 0.0, 10.0)
    }];
    let logs = [(3.0, 1, 9, hostile, hostile)];
    let mut summary = shop::findings::summary();
    for incident in &mut summary.incidents {
        for text in [&mut incident.title, &mut incident.summary, &mut incident.transaction.operation] {
            hostile.clone_into(text);
        }
        hostile.clone_into(&mut incident.root_cause[0].service);
        hostile.clone_into(&mut incident.root_cause[0].evidence);
        hostile.clone_into(&mut incident.impact.who[0]);
        hostile.clone_into(&mut incident.exemplars[0].trace_id);
        for log in &mut incident.evidence.logs {
            let some = || Some(hostile.to_owned());
            let (at, text) = (hostile.to_owned(), hostile.to_owned());
            log.examples = vec![LogExample { at, text, trace_id: some(), span_id: some(), instance: some() }];
            (log.event, log.exception) = (some(), some());
            for text in [&mut log.service, &mut log.severity, &mut log.template, &mut log.change, &mut log.first_seen] {
                hostile.clone_into(text);
            }
        }
        hostile.clone_into(&mut incident.started_at);
    }
    hostile.clone_into(&mut summary.types[0].operation);
    summary.hazards = shop::hazards::report_of(hostile, hostile);
    let hop = format!("/hazards?hop={}", summary.hazards.hops[0].id);
    let mut ingest = shop::findings::ingest();
    hostile.clone_into(&mut ingest.senders[0].service);
    hostile.clone_into(&mut ingest.senders[0].exporter);
    hostile.clone_into(&mut ingest.refusals[0].exporter);
    hostile.clone_into(&mut ingest.refusals[0].message);
    ingest.refusals[0].service = Some(hostile.to_owned());
    let mut deliveries = shop::findings::deliveries();
    deliveries[1].error = Some(hostile.to_owned());
    let mut transactions = shop::transactions(2);
    hostile.clone_into(&mut transactions[0].operation);
    hostile.clone_into(&mut transactions[0].critical_path[0].service);
    let fake = Fake {
        spans: vec![table(trace_id(1), NOW_NS, &spans)],
        logs: vec![log_table(trace_id(1), NOW_NS, &logs)],
        transactions,
        ..Fake::default()
    };
    let router = web::router(shop::state(fake, summary, ingest, shop::FakeWebhooks { deliveries }));
    let in_url = "%22%27%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E%E2%80%AE";
    let trace = trace_id(1);
    for path in [
        "/".to_owned(),
        "/incidents".to_owned(),
        "/incidents/142".to_owned(),
        hop,
        format!("/hazards?service={in_url}"),
        "/tx".to_owned(),
        format!("/tx/gateway/{in_url}"),
        "/search".to_owned(),
        format!("/search?q={in_url}&service={in_url}&operation={in_url}"),
        format!("/trace/{trace}?span=0000000000000001&find={in_url}"),
        format!("/trace/{trace}?span=0000000000000001"),
        format!("/logs?q={in_url}&trace={trace}"),
        format!("/sql?q={in_url}"),
        "/ingest".to_owned(),
        "/deliveries".to_owned(),
        format!("/nothing/{in_url}"),
    ] {
        let request = Request::get(&path).header("host", "localhost").body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let page = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{path}");
        assert!(!page.contains("\"'>") && !page.contains('\u{202e}') && !page.contains('\0'), "{path}");
        let has_any = page.contains("&lt;script&gt;") || page.contains("%3Cscript%3E");
        assert!(has_any, "{path} shows none of it: the test would not notice");
    }
}

#[tokio::test]
async fn a_hundred_thousand_spans_are_paged_and_the_whole_can_be_searched() {
    let mut spans = vec![span(1, 0, "gateway", "GET /", 0.0, 100_000.0)];
    spans.extend((2..=100_000).map(|id| {
        let at = f64::from(u32::try_from(id).unwrap());
        span(id, 1, if id % 2 == 0 { "worker" } else { "store" }, "step", at, at + 0.5)
    }));
    spans[77_777].attributes = vec![("order.id", "o-needle")];
    let (status, page) = get(stored(&spans), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(rows(&page), 1_000);
    assert!(page.contains("rows 1 to 1,000 of 100,000"));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    let (_, last) = get(stored(&spans), "?p=99").await;
    assert!(last.contains("rows 99,001 to 100,000 of 100,000") && last.contains("above-0000000000000001"));
    let (_, found) = get(stored(&spans), "?find=o-needle").await;
    assert_eq!(rows(&found), 1);
    let (_, of_span) = get(stored(&spans), "?span=0000000000012fd2").await;
    assert!(of_span.contains("rows 77,001 to 78,000"), "a link to a span opens its page");
}

#[tokio::test]
async fn a_chain_of_fifty_thousand_spans_is_drawn_without_recursion() {
    let spans: Vec<Drawn<'_>> = (1..=50_000).map(|id| span(id, id - 1, "deep", "call", 0.0, 1_000.0)).collect();
    let (status, page) = get(stored(&spans), "?p=49").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("level 49,999") && page.contains("more levels above"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let (status, _) = get(stored(&spans), ".txt").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn broken_traces_are_drawn_with_what_there_is() {
    let orphans = [span(2, 99, "b", "lost parent", 0.0, 5.0), span(3, 2, "c", "its child", 1.0, 4.0)];
    let cycle =
        [span(1, 3, "a", "one", 0.0, 9.0), span(2, 1, "b", "two", 1.0, 8.0), span(3, 2, "c", "three", 2.0, 7.0)];
    let own_parent = [span(1, 1, "a", "self", 0.0, 9.0)];
    let backwards = [span(1, 0, "a", "clock jumped", 10.0, 2.0), span(2, 1, "a", "child", 3.0, 30.0)];
    let instant = [span(1, 0, "a", "no time", 0.0, 0.0)];
    let copies = [span(1, 0, "a", "twice", 0.0, 9.0), span(1, 0, "a", "twice", 0.0, 9.0)];
    let cases: [(&[Drawn<'_>], usize, &str); 6] = [
        (&orphans, 2, "parent never arrived"),
        (&cycle, 3, "three"),
        (&own_parent, 1, "self"),
        (&backwards, 2, "clock jumped"),
        (&instant, 1, "took no time"),
        (&copies, 1, "1 copy of a span was left out"),
    ];
    for (spans, count, words) in cases {
        let (status, page) = get(stored(spans), "?span=0000000000000001").await;
        assert_eq!(status, StatusCode::OK, "{words}");
        assert_eq!(rows(&page), count, "{words}");
        assert!(page.contains(words), "{words}");
    }
}

/// A shop whose order goes on in two further traces, by an id of the message and by a key.
fn stored_apart() -> Fake {
    let order = ("order.id", "o-1");
    let message =
        [("messaging.system", "kafka"), ("messaging.destination.name", "orders"), ("messaging.message.id", "m-1")];
    let of_kind = |kind, span: Drawn<'static>| Drawn { kind, attributes: message.to_vec(), ..span };
    let shop = [
        Drawn { attributes: vec![order], ..span(1, 0, "shop", "POST /order", 0.0, 40.0) },
        of_kind(SpanKind::Producer, span(2, 1, "shop", "orders send", 30.0, 35.0)),
    ];
    let mail = [of_kind(SpanKind::Consumer, span(3, 0, "mail", "orders process", 100.0, 160.0))];
    let invoice = [Drawn { attributes: vec![order], ..span(4, 0, "billing", "POST /invoices", 300.0, 400.0) }];
    let traces = [&shop[..], &mail, &invoice];
    Fake {
        spans: (1..).zip(traces).map(|(number, spans)| table(trace_id(number), NOW_NS, spans)).collect(),
        kept: vec![TransactionTraces { id: trace_id(1), traces: (1..=3).map(trace_id).collect() }],
        ..Fake::default()
    }
}

async fn get_joined(fake: Fake, join_keys: &[&str], joins: JoinSummary, path: &str) -> String {
    let summary = Summary { joins, ..Summary::default() };
    let mut state = shop::state(fake, summary, web::IngestView::default(), shop::FakeWebhooks::default());
    state.stitching.join_keys = join_keys.iter().map(|key| (*key).to_owned()).collect();
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(web::router(state), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_timeline_shows_all_traces_and_what_joins_them_in_place() {
    for id in 1..=3 {
        let path = format!("/trace/{}", trace_id(id));
        let page = get_joined(stored_apart(), &["order.id"], JoinSummary::default(), &path).await;
        let places = ["trace 1 of 3", "message id, confidence 98%", "65 ms in the queue", "orders process"];
        let places = places.into_iter().chain(["named key order.id, confidence 90%", "POST /invoices"]);
        let mut from = page.find("role=\"table\"").unwrap();
        for words in places {
            from +=
                page[from..].find(words).unwrap_or_else(|| panic!("{words} is missing, or not in its place: {page}"));
        }
        assert!(!page.contains("style=") && !page.contains("Not joined"), "{page}");
    }
}

#[tokio::test]
async fn log_records_of_a_trace_are_those_of_its_whole_transaction_unless_asked_otherwise() {
    let with_logs = || {
        let said = |number: u8| {
            let text = format!("said in trace {number}");
            log_table(trace_id(number.into()), NOW_NS, &[(1.0, 1, 9, "shop", &text)])
        };
        Fake { logs: (1..=4).map(said).collect(), ..stored_apart() }
    };
    let said = |page: &str| -> Vec<u8> {
        (1..=4).filter(|number| page.contains(&format!("said in trace {number}"))).collect()
    };
    let get = |trace: u128, further: &str| {
        let path = format!("/logs?trace={}{further}", trace_id(trace));
        async move { get_joined(with_logs(), &[], JoinSummary::default(), &path).await }
    };
    let whole = get(3, "").await;
    assert_eq!(said(&whole), [1, 2, 3]);
    assert!(whole.contains("Records of all 3 traces of one transaction.") && whole.contains("only=trace"), "{whole}");
    let alone = get(3, "&only=trace").await;
    assert_eq!(said(&alone), [3]);
    assert!(alone.contains("Of its whole transaction"), "{alone}");
    // A trace of which no transaction is kept has its own records, and nothing to choose.
    let unknown = get(4, "").await;
    assert_eq!(said(&unknown), [4]);
    assert!(!unknown.contains("only=trace"), "{unknown}");
    let path = format!("/api/v1/logs?trace={}", trace_id(2));
    assert_eq!(said(&get_joined(with_logs(), &[], JoinSummary::default(), &path).await), [1, 2, 3]);
    // A batch is part of several transactions: none of them is meant.
    let mut shared = with_logs();
    shared.kept.push(TransactionTraces { id: trace_id(4), traces: vec![trace_id(4), trace_id(2)] });
    let path = format!("/logs?trace={}", trace_id(2));
    assert_eq!(said(&get_joined(shared, &[], JoinSummary::default(), &path).await), [2]);
}

#[tokio::test]
async fn the_json_twin_says_what_stitching_makes_of_the_spans() {
    let path = format!("/trace/{}.json", trace_id(2));
    let json = get_joined(stored_apart(), &["order.id"], JoinSummary::default(), &path).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let transaction = &json["transaction"];
    assert_eq!(transaction["trace_ids"].as_array().unwrap().len(), 3, "{transaction}");
    let path_ns: i64 =
        transaction["critical_path"].as_array().unwrap().iter().map(|one| one["self_ns"].as_i64().unwrap()).sum();
    assert_eq!(transaction["duration_ns"].as_i64(), Some(path_ns), "{transaction}");
    let cut = Fake { is_cut: true, ..stored_apart() };
    let json = get_joined(cut, &["order.id"], JoinSummary::default(), &path).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.get("transaction").is_none() && json["truncated"] == true, "its critical path would be another");
}

#[tokio::test]
async fn traces_that_nothing_joins_any_more_are_listed_below() {
    let path = format!("/trace/{}", trace_id(3));
    let page = get_joined(stored_apart(), &[], JoinSummary::default(), &path).await;
    assert!(page.contains("<h1><span class=\"quiet\">billing</span> POST /invoices</h1>"), "{page}");
    let others = page.split("What else belongs here").nth(1).unwrap();
    assert!(others.contains(&format!("/trace/{}", trace_id(1))), "{others}");
}

fn discovered(key: &str) -> Proposal {
    Proposal {
        key: key.to_owned(),
        is_used: true,
        is_named: false,
        values: 40,
        joining_values: 30,
        traces_per_shared_value: 2.5,
        services: 3,
        crowded_values: 0,
        repeating_values: 0,
        recurring_values: 0,
        confirmed: 12,
        contradicted: 0,
    }
}

#[tokio::test]
async fn a_discovered_key_in_use_is_told_as_such_and_one_that_crowds_joins_only_what_nothing_else_does() {
    let refused = Refused {
        rule: Rule::DiscoveredKey,
        key: Some("tenant.id".into()),
        why: Refusal::FanIn,
        count: 3,
        trace_id: trace_id(77),
    };
    let joins = JoinSummary {
        proposals: vec![discovered("order.id"), discovered("tenant.id")],
        refused: vec![refused],
        ..JoinSummary::default()
    };
    let mut fake = stored_apart();
    let keys = vec![("order.id", "o-1"), ("tenant.id", "t")];
    let tenant = [Drawn { attributes: keys, ..span(4, 0, "billing", "POST /invoices", 300.0, 400.0) }];
    fake.spans[2] = table(trace_id(3), NOW_NS, &tenant);
    let page = get_joined(fake, &[], joins.clone(), &format!("/trace/{}", trace_id(1))).await;
    assert!(page.contains("discovered key order.id, confidence 80%"), "{page}");
    let refused = page.split("Not joined, and why").nth(1).unwrap();
    assert!(refused.contains("discovered key tenant.id, 3 times: more traces share the value"), "{refused}");
    let settings = get_joined(stored_apart(), &[], joins, "/settings").await;
    assert!(settings.contains("discovered, joins") && settings.contains("tenant.id, 3 times"), "{settings}");
}

#[tokio::test]
async fn clocks_that_differ_are_told_and_their_correction_can_be_switched_off() {
    let mut spans = vec![span(1, 0, "web", "GET /", 0.0, 100.0)];
    for call in 0..6_u32 {
        let (at, id) = (f64::from(call) * 15.0, u64::from(call) * 2 + 2);
        let client = span(id, 1, "web", "GET cart", at + 2.0, at + 12.0);
        spans.push(Drawn { kind: SpanKind::Client, ..client });
        // By the cart's own clock, which is 4 ms ahead.
        spans.push(span(id + 1, id, "cart", "GET /cart", at + 8.0, at + 14.0));
    }
    let (_, page) = get(stored(&spans), "").await;
    assert!(page.contains("cart is 4.0 ms ahead of web") && page.contains("corrected for it"), "{page}");
    assert!(page.contains("skew=off"), "{page}");
    let (_, page) = get(stored(&spans), "?skew=off").await;
    assert!(page.contains("correct clocks") && !page.contains("are corrected for it"), "{page}");
}

#[tokio::test]
async fn two_transactions_are_compared_step_by_step() {
    let router = web::router(shop::shop());
    let path = format!("/compare?a={}&b={}", trace_id(1), trace_id(2));
    for (path, status) in [
        (path.as_str(), StatusCode::OK),
        ("/compare", StatusCode::BAD_REQUEST),
        (&format!("/compare?a={}&b={}", trace_id(1), trace_id(99)), StatusCode::NOT_FOUND),
    ] {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        if status == StatusCode::OK {
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let page = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(page.contains("1.35 s longer than the other"));
            let first = page.split("<tr><th scope=\"row\">").nth(2).unwrap();
            assert!(first.starts_with("bank.example:9103, called by payment") && first.contains("+1.06 s"), "{first}");
        }
    }
}
