//! Every page through the router, as a browser or a program sees it: bytes in, pages out.

#![allow(clippy::unwrap_used)]

mod shop;

use std::io::Read;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use collector_table::SpanId;
use tower::ServiceExt;

/// Every page and its states, of the made-up shop.
const PAGES: [&str; 33] = [
    "/",
    "/?live=0",
    "/incidents",
    "/incidents?status=resolved",
    "/incidents/142",
    "/tx",
    "/tx?q=refund",
    "/tx/gateway/POST%20%2Fcheckout",
    "/tx/gateway/POST /checkout",
    "/search",
    "/search?q=order.id%3D1&status=error&sort=slowest&p=1&t=6h",
    "/trace/4bf92f3577b34da60000000000000001",
    "/trace/4bf92f3577b34da60000000000000001?span=0000000000000009",
    "/trace/4bf92f3577b34da60000000000000001?only=critical&find=bank&logs=off",
    "/compare?a=4bf92f3577b34da60000000000000001&b=4bf92f3577b34da60000000000000002",
    "/map",
    "/map?focus=payment&hops=1&t=1h",
    "/map?focus=payment&edge=EDGE",
    "/map?from=2026-11-21T12:00:00Z&to=2026-11-21T13:00:00Z",
    "/hazards",
    "/hazards?service=payment",
    "/rules",
    "/rules?budget=2&from=2026-11-21T11:00:00Z&until=2026-11-21T12:09:00Z",
    "/rules?budget=4&from=2026-11-21T11:00:00Z&until=2026-11-21T12:09:00Z",
    "/rules?budget=0.5&from=2026-11-21T11:00:00Z&until=2026-11-21T12:09:00Z",
    "/logs",
    "/logs?trace=4bf92f3577b34da60000000000000001",
    "/sql",
    "/sql?q=SELECT%201",
    "/ingest",
    "/webhooks",
    "/deliveries",
    "/settings",
];

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

async fn get(router: &Router, path: &str) -> Answer {
    let path = path.replace(' ', "%20");
    let request = Request::get(path).header(header::HOST, "localhost:8317").body(Body::empty()).unwrap();
    send(router, request).await
}

async fn post(router: &Router, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::post(path).header(header::HOST, "127.0.0.1:8317");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

fn shop() -> Router {
    web::router(shop::shop())
}

#[tokio::test]
async fn every_page_answers_and_is_kept_strict_by_its_headers() {
    for (router, may_be_unknown) in [(shop(), false), (web::router(shop::empty()), true)] {
        for path in PAGES {
            let page = get(&router, path).await;
            let is_unknown = may_be_unknown && page.status == StatusCode::NOT_FOUND;
            assert!(page.status == StatusCode::OK || is_unknown, "{path}: {}", page.status);
            assert_eq!(
                page.header("content-security-policy"),
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
                "{path}"
            );
            assert_eq!(page.header("x-content-type-options"), "nosniff");
            assert_eq!(page.header("referrer-policy"), "same-origin");
            let text = page.text();
            assert_eq!(text.matches("<h1").count(), 1, "{path}");
            assert!(!text.contains(" style=") && !text.contains("<style") && !text.contains(" onclick"), "{path}");
            assert_eq!(text.matches("<script").count(), text.matches("<script src=\"/static/").count(), "{path}");
        }
    }
}

#[tokio::test]
async fn every_link_of_every_page_leads_to_a_page() {
    let router = shop();
    let mut links = std::collections::BTreeSet::new();
    for path in PAGES {
        let page = get(&router, path).await;
        for part in page.text().split("href=\"").skip(1) {
            let link = part.split(['"', '#']).next().unwrap().replace("&amp;", "&");
            links.insert(link);
        }
    }
    // The fake knows one trace: links to others of its list are right all the same.
    links.retain(|link| !link.is_empty() && (!link.starts_with("/trace/") || link.contains("0000000000000001")));
    assert!(links.len() > 60, "{links:?}");
    for link in links {
        assert_eq!(get(&router, &link).await.status, StatusCode::OK, "{link}");
    }
}

#[tokio::test]
async fn the_overview_says_first_what_is_wrong() {
    let page = get(&shop(), "/").await;
    let text = page.text();
    let order = ["1 incident is open", "POST /checkout is slow because", "Transaction types", "Recently resolved"];
    let places: Vec<usize> = order.iter().map(|words| text.find(words).unwrap_or_else(|| panic!("{words}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(text.contains("248 ms") && text.contains("1.12 s"));
    assert!(text.contains("▲ slow") && text.contains("● as usual") && text.contains("○ learning"));
}

#[tokio::test]
async fn an_empty_daemon_says_how_to_send() {
    let page = get(&web::router(shop::empty()), "/").await;
    assert!(page.text().contains("Nothing received yet"));
    assert!(page.text().contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317"));
    assert!(page.text().contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"));
}

#[tokio::test]
async fn an_incident_answers_the_six_questions() {
    let text = get(&shop(), "/incidents/142").await.text().to_owned();
    for answer in [
        "2026-11-21 12:03:00 UTC",
        "± 20 s",
        "gateway POST /checkout",
        "payment 1.0.0 → 1.1.0",
        "Compare or roll back payment 1.1.0.",
        "bank:9103",
        "+800 ms",
        "98%",
        "not explained",
        "41.70, had to pass 12.40",
        "steady",
        "on-call",
    ] {
        assert!(text.contains(answer), "{answer}");
    }
    assert_eq!(get(&shop(), "/incidents/142.json").await.json()["number"], 142);
    let twin = get(&shop(), "/incidents/142.txt").await;
    assert!(twin.header("content-type").starts_with("text/plain"));
    assert!(twin.text().contains("waiting for bank:9103, which sends no telemetry: 15 ms → 815 ms (+800 ms, 98%)"));
}

#[tokio::test]
async fn an_incident_shows_what_the_logs_say_and_leads_to_the_transactions() {
    let text = get(&shop(), "/incidents/142").await.text().to_owned();
    let span = SpanId(5_u64.to_be_bytes());
    let timeline = format!("/trace/{}?span={span}#{span}", shop::trace_id(1));
    for shown in [
        "What the logs say",
        "pool exhausted after <var>&lt;*&gt;</var> ms, waiting for a connection to bank:<var>&lt;*&gt;</var> &lt;b&gt;now&lt;/b&gt;",
        "pool exhausted after 812 ms, waiting for a connection to bank:9103 &lt;b&gt;now&lt;/b&gt;",
        "0 in 30 min before, 214 in 6 min 40 s since; first seen 12:02:52 UTC",
        "6.9 times more",
        "java.sql.SQLTransientConnectionException",
        &timeline,
        "/logs?q=ms%2C%20waiting%20for%20a%20connection%20to%20bank%3A&amp;service=payment&amp;severity=13",
    ] {
        assert!(text.contains(shown), "{shown}");
    }
    let twin = get(&shop(), "/incidents/142.txt").await.text().to_owned();
    assert!(twin.contains("log           warn payment, new: pool exhausted after <*> ms"), "{twin}");
    assert!(twin.contains("(0 → 32 a minute)") && twin.contains("12:03:14 pool exhausted after 812 ms"), "{twin}");
    let resolved = get(&shop(), "/incidents/97").await.text().to_owned();
    assert!(!resolved.contains("What the logs say"), "nothing is shown of an incident without");
}

#[tokio::test]
async fn what_does_not_exist_is_a_helpful_404() {
    let router = shop();
    let unknown = ["/nothing", "/incidents/9", "/trace/zz", "/trace/ffffffffffffffffffffffffffffffff", "/tx/no/such"];
    for path in unknown {
        let page = get(&router, path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        // Nothing is ever deleted, and no table has more than the pages: no hint may say so.
        assert!(!page.text().contains("retention") && !page.text().contains("longer"), "{path}");
        assert!(page.text().contains("href=\"/ingest\""), "{path}");
    }
    let wrong = ["/search?min_ms=soon", "/search?t=forever", "/logs?trace=1", "/search?status=odd"];
    for path in wrong {
        assert_eq!(get(&router, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_trace_id_in_the_search_box_opens_the_trace() {
    let answer = get(&shop(), "/search?q=%204BF92F3577B34DA60000000000000001%20").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/trace/4bf92f3577b34da60000000000000001");
}

#[tokio::test]
async fn a_search_asks_for_what_its_address_says() {
    let source = std::sync::Arc::new(shop::Fake::default());
    let state = shop::state_with(
        source.clone(),
        analyzer::Summary::default(),
        web::IngestView::default(),
        shop::FakeWebhooks::default(),
    );
    let path = "/search?q=checkout%20order.id%3D123&service=gateway&min_ms=2.5&status=error&sort=slowest&p=2\
                &from=2026-11-21T12:00:00Z&to=2026-11-21T12:10:00Z";
    assert_eq!(get(&web::router(state), path).await.status, StatusCode::OK);
    let asked = source.asked.lock().unwrap();
    let query = asked.first().unwrap();
    assert_eq!(query.attributes, [("order.id".to_owned(), "123".to_owned())]);
    assert_eq!((query.text.as_deref(), query.service.as_deref()), (Some("checkout"), Some("gateway")));
    assert_eq!((query.duration_min_ns, query.offset, query.is_slowest_first), (Some(2_500_000), 200, true));
    assert_eq!(query.to_ns - query.from_ns, 600_000_000_000);
}

#[tokio::test]
async fn long_lists_are_paged_and_can_be_taken_along() {
    let router = shop();
    let first = get(&router, "/search").await;
    assert_eq!(first.text().matches("<tr>").count(), 101);
    assert!(first.text().contains("href=\"/search?p=1\""));
    let last = get(&router, "/search?p=2").await;
    assert!(last.text().contains("Transactions 201 to 230") && !last.text().contains("rel=\"next\""));
    assert_eq!(get(&router, "/search?format=csv").await.text().lines().count(), 231);
    assert_eq!(get(&router, "/search?format=json").await.json()["transactions"].as_array().unwrap().len(), 230);
}

#[tokio::test]
async fn sql_shows_rows_or_what_is_wrong_with_the_query() {
    let router = shop();
    let page = get(&router, "/sql?q=SELECT%20name").await;
    assert!(page.text().contains("3 rows") && page.text().contains("POST /checkout"));
    let csv = get(&router, "/sql?q=SELECT%20name&format=csv").await;
    assert_eq!(csv.text(), "name,spans\nPOST /checkout,1204\n'=SUM(A1),37\n,2\n");
    let wrong = get(&router, "/sql?q=wrong").await;
    assert!(wrong.text().contains("no column &lt;wrong&gt;"));
}

#[tokio::test]
async fn ingest_explains_each_refusal() {
    let text = get(&shop(), "/ingest").await.text().to_owned();
    assert!(text.contains("12 requests") && text.contains("Zipkin and Jaeger formats need a Collector between"));
    assert!(text.contains("in OTLP/JSON ids are hex, not base64"));
    assert!(text.contains("OTel-OTLP-Exporter-Python/1.45.0"));
    assert!(text.contains("curl/8.5") && text.contains("http from 10.1.2.3"), "who sent what was refused");
    assert!(text.contains("3 earlier ones were forgotten"));
}

#[tokio::test]
async fn only_known_hosts_are_answered_but_probes_always_are() {
    let router = shop();
    let with_host = |host: &str, path: &str| Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
    for host in ["localhost", "127.0.0.1:8317", "[2001:db8::1]:8317", "SHOP.example:80", "10.1.2.3"] {
        assert_eq!(send(&router, with_host(host, "/")).await.status, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8317", "127.0.0.1.evil.example", "", "10.1.2", "0x7f000001"] {
        assert_eq!(send(&router, with_host(host, "/")).await.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert_eq!(send(&router, with_host(host, "/healthz")).await.status, StatusCode::OK);
    }
    let nameless = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(send(&router, nameless).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn pages_are_compressed_for_those_who_take_it() {
    let request = |coding: &str| {
        Request::get("/ingest")
            .header(header::HOST, "localhost")
            .header(header::ACCEPT_ENCODING, coding)
            .body(Body::empty())
            .unwrap()
    };
    let router = shop();
    let packed = send(&router, request("br, gzip;q=0.8")).await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "accept-encoding"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.bytes.as_slice()).read_to_string(&mut text).unwrap();
    let plain = send(&router, request("gzip;q=0, br")).await;
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(plain.text(), text);
}

#[tokio::test]
async fn static_files_are_kept_for_good_under_the_hash_of_their_content() {
    let router = shop();
    let page = get(&router, "/").await;
    let style = page.text().split("stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let file = get(&router, &style).await;
    assert_eq!(file.header("content-type"), "text/css; charset=utf-8");
    assert!(file.header("cache-control").contains("immutable"));
    assert_eq!(get(&router, "/static/throughline-old.css").await.header("cache-control"), "no-cache");
    assert_eq!(get(&router, "/static/secret.txt").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn health_and_metrics_are_plain_text() {
    let router = shop();
    assert_eq!(get(&router, "/healthz").await.text(), "ok\n");
    assert_eq!(get(&router, "/readyz").await.text(), "ready\n");
    assert!(get(&router, "/metrics").await.text().contains("throughline_up 1"));
    let mut state = shop::shop();
    state.ready = std::sync::Arc::new(|| Err(vec!["the disk is full".to_owned()]));
    let waiting = get(&web::router(state), "/readyz").await;
    assert_eq!((waiting.status, waiting.text()), (StatusCode::SERVICE_UNAVAILABLE, "the disk is full\n"));
}

#[tokio::test]
async fn the_hazards_of_a_hop_are_told_with_their_numbers_and_examples() {
    let router = shop();
    let list = get(&router, "/hazards").await;
    for words in ["What protects 2 hops", "bank.example", "501 ms", "3 attempts, ", "caller fails", "no fallback"] {
        assert!(list.text().contains(words), "{words}\n{}", list.text());
    }
    assert!(list.text().contains("80.0% if every hop is needed"), "{}", list.text());
    let told = get(&router, "/api/v1/hazards?service=bank.example").await.json();
    let (hops, hop) = (told["hops"].as_array().unwrap(), &told["hops"][0]);
    assert_eq!((hops.len(), hop["callee_service"].as_str()), (1, Some("bank.example")));
    assert_eq!(hop["timeout"]["state"], "cut_off");
    assert_eq!(hop["timeout"]["value_ms"], 501.0);
    assert_eq!((&hop["retries"]["attempts_max"], &hop["retries"]["retried"]), (&3.into(), &12.into()));
    assert_eq!(hop["idempotency"]["attribute"], "http.request.header.idempotency-key");
    assert_eq!(told["chains"][0]["observed"], 0.8);
    let id = hop["id"].as_str().unwrap();
    let one = get(&router, &format!("/hazards?hop={id}")).await;
    assert!(one.text().contains("12 with a key") && one.text().contains("/trace/4bf92f3577b34da6"), "{}", one.text());
    let service = get(&router, "/hazards?service=gateway").await;
    assert!(service.text().contains("What protects 1 hop of gateway"));
    assert_eq!(get(&router, "/hazards?hop=none").await.status, StatusCode::NOT_FOUND);
    let empty = get(&web::router(shop::empty()), "/hazards").await;
    assert!(empty.text().contains("No hop was seen yet"));
}

const WINDOW: &str = "from=2026-11-21T11:00:00Z&until=2026-11-21T12:09:00Z";

#[tokio::test]
async fn the_rules_in_force_are_said_in_words() {
    let page = get(&shop(), "/rules").await;
    for words in [
        "1 false incident a week, over everything together",
        "detection.false_alarms_per_week is set by throughline.yaml:31",
        "Watched now: 4 transaction types, of which 1 is still being learned",
        "at least 6.0 times",
        "at least 5.0 ms and 10% of its usual time",
        "15 kinds are watched",
        "in 2 blocks of 10 s in a row",
    ] {
        assert!(page.text().contains(words), "{words}\n{}", page.text());
    }
    assert!(!page.text().contains("data-live"), "nothing is being computed");
    assert!(get(&shop(), "/incidents").await.text().contains("href=\"/rules\""));
}

#[tokio::test]
async fn a_window_that_ends_now_becomes_an_address_that_stays_the_same() {
    let asked = get(&shop(), "/rules?budget=0.5&t=6h").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    assert_eq!(
        asked.header("location"),
        "/rules?budget=0.5&from=2026-11-21T06%3A09%3A00Z&until=2026-11-21T12%3A09%3A00Z"
    );
    let in_force = get(&shop(), "/rules?t=1h").await;
    assert!(in_force.header("location").starts_with("/rules?budget=1&"));
}

#[tokio::test]
async fn what_would_have_opened_stands_beside_what_did() {
    let page = get(&shop(), &format!("/rules?budget=0.5&{WINDOW}")).await;
    let text = page.text();
    let order = [
        "2 incidents would have been open, 2 were",
        "only with this budget",
        "reserving &lt;stock&gt; is slow",
        "no longer",
        "#97 GET /products",
        "opened both ways",
        "#142 POST /checkout",
        "would have been 30.0 s later",
    ];
    let places: Vec<usize> =
        order.iter().map(|words| text.find(words).unwrap_or_else(|| panic!("{words}\n{text}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(text.contains("The first stored span is of 2026-11-21 10:50:00 UTC"), "{text}");
    assert!(!text.contains("data-live"), "it is known");
    let cut = get(&shop(), &format!("/rules?budget=100&{WINDOW}")).await;
    assert!(cut.text().contains("Cut short: a replay may take 900 s"));
    let none = get(&shop(), &format!("/rules?budget=0.001&{WINDOW}")).await;
    assert!(none.text().contains("No incident was open") && none.text().contains("No span of that time is stored"));
    let in_force = get(&shop(), &format!("/rules?budget=1&{WINDOW}")).await;
    assert!(in_force.text().contains("This is the budget in force now"));
}

#[tokio::test]
async fn a_backtest_that_has_no_result_says_why_and_what_to_do() {
    let router = shop();
    let running = get(&router, &format!("/rules?budget=2&{WINDOW}")).await;
    assert!(running.text().contains("12 of 105 minutes are replayed, 48,211 spans so far"));
    assert!(running.text().contains("http-equiv=\"refresh\"") && running.text().contains("data-live=\"5\""));
    let busy = get(&router, &format!("/rules?budget=3&{WINDOW}")).await;
    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "5"));
    assert!(busy.text().contains("Another one is being computed, of 2 false alarms a week"), "{}", busy.text());
    assert!(busy.text().contains("See how far it is"));
    let failed = get(&router, &format!("/rules?budget=4&{WINDOW}")).await;
    assert!(failed.text().contains("could not be computed: the disk &lt;is&gt; gone"), "{}", failed.text());
    for (query, why) in [
        ("budget=many&t=1h", "“many” is no budget"),
        ("budget=<b>&t=1h", "“&lt;b&gt;” is no budget"),
        ("budget=1&t=soon", "“soon” is not a time"),
        ("budget=1&from=2026-11-21T11:00:00Z", "until is “”"),
    ] {
        let wrong = get(&router, &format!("/rules?{query}").replace('<', "%3C").replace('>', "%3E")).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(wrong.text().contains(why), "{query}: {}", wrong.text());
    }
}

#[tokio::test]
async fn the_api_tells_of_backtests_what_the_page_does() {
    let router = shop();
    let ask = |budget: &str| format!("/api/v1/backtest?budget={budget}&{WINDOW}");
    let done = get(&router, &ask("0.5")).await;
    assert_eq!(done.status, StatusCode::OK);
    let verdicts: Vec<String> = done.json()["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["verdict"], one["opened"]["number"]))
        .collect();
    assert_eq!(verdicts, ["\"only_with_this_budget\" null", "\"no_longer\" 97", "\"both_ways\" 142"]);
    let running = get(&router, &ask("2")).await;
    assert_eq!((running.status, running.header("retry-after")), (StatusCode::ACCEPTED, "5"));
    assert_eq!((running.json()["state"].as_str(), running.json()["minutes"].as_u64()), (Some("running"), Some(12)));
    let busy = get(&router, &ask("3")).await;
    assert_eq!((busy.status, busy.header("content-type")), (StatusCode::TOO_MANY_REQUESTS, "application/problem+json"));
    assert_eq!(busy.header("retry-after"), "5");
    assert_eq!(get(&router, &ask("4")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    for query in ["budget=0", "budget=1&t=1h", "from=2026-11-21T11:00:00Z"] {
        let wrong = get(&router, &format!("/api/v1/backtest?{query}")).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn the_api_answers_as_its_description_says() {
    let router = shop();
    let description = get(&router, "/api/v1/openapi.json").await.json();
    let trace = "4bf92f3577b34da60000000000000001";
    for (path, methods) in description["paths"].as_object().unwrap() {
        if methods.get("get").is_none() {
            continue;
        }
        let path = path.replace("{id}", if path.contains("incident") { "142" } else { trace });
        let answer = get(&router, &format!("/api/v1{}", path.replace("{trace_id}", trace))).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.json().is_object(), "{path}");
    }
    let transaction = get(&router, &format!("/api/v1/transactions/{trace}")).await.json();
    let path = transaction["critical_path"].as_array().unwrap();
    let sum: i64 = path.iter().map(|segment| segment["self_ns"].as_i64().unwrap()).sum();
    assert_eq!(Some(sum), transaction["duration_ns"].as_i64());
    for path in ["incidents/9", "transactions/zz", "traces/ffffffffffffffffffffffffffffffff", "nothing", "logs?p=-1"] {
        let problem = get(&router, &format!("/api/v1/{path}")).await;
        assert_eq!(problem.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(problem.json()["status"], problem.status.as_u16(), "{path}");
    }
}

#[tokio::test]
async fn a_trace_of_which_spans_are_missing_is_never_shown_as_whole() {
    let id = "4bf92f3577b34da60000000000000001";
    let cut = || {
        let spans = vec![shop::table(shop::trace_id(1), shop::NOW_NS, &shop::slow_checkout())];
        let fake = shop::Fake { spans, is_cut: true, ..shop::Fake::default() };
        web::router(shop::state(
            fake,
            analyzer::Summary::default(),
            web::IngestView::default(),
            shop::FakeWebhooks::default(),
        ))
    };
    let transaction = get(&cut(), &format!("/api/v1/transactions/{id}")).await;
    assert_eq!(transaction.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(transaction.header("content-type"), "application/problem+json");
    for path in [format!("/api/v1/traces/{id}"), format!("/trace/{id}.json")] {
        assert_eq!(get(&cut(), &path).await.json()["truncated"], true, "{path}");
        assert!(get(&shop(), &path).await.json().get("truncated").is_none(), "{path}");
    }
    for path in [format!("/trace/{id}"), format!("/trace/{id}.txt")] {
        assert!(get(&cut(), &path).await.text().contains("Only 14 spans were read"), "{path}");
        assert!(!get(&shop(), &path).await.text().contains("spans were read"), "{path}");
    }
    assert_eq!(get(&cut(), &format!("/compare?a={id}&b={id}")).await.status, StatusCode::BAD_REQUEST);
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn sql_answers_json_rows_or_an_arrow_stream() {
    let router = shop();
    let body = r#"{"query":"SELECT name, spans"}"#;
    let rows = post(&router, "/api/v1/sql", &[JSON], body).await.json();
    assert_eq!(rows["rows"][0], serde_json::json!({ "name": "POST /checkout", "spans": 1204 }));
    assert_eq!((rows["columns"][1]["name"].as_str(), rows["truncated"].as_bool()), (Some("spans"), Some(false)));
    let arrow = ("accept", "application/vnd.apache.arrow.stream");
    let stream = post(&router, "/api/v1/sql", &[JSON, arrow], body).await;
    let reader = arrow::ipc::reader::StreamReader::try_new(stream.bytes.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    let wrong = post(&router, "/api/v1/sql", &[JSON], r#"{"query":"wrong"}"#).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("no column"));
}

#[tokio::test]
async fn webhooks_are_added_and_tested_and_refusals_say_why() {
    let router = shop();
    let add = |name: &str, url: &str| serde_json::json!({ "name": name, "url": url }).to_string();
    let cases = [
        (add("ops", "https://ops.example/hook"), StatusCode::CREATED),
        (add("on-call", "https://ops.example/hook"), StatusCode::CONFLICT),
        (add("meta", "http://169.254.169.254/"), StatusCode::UNPROCESSABLE_ENTITY),
        ("{".to_owned(), StatusCode::BAD_REQUEST),
        (r#"{"name":"x"}"#.to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
    ];
    for (body, status) in cases {
        assert_eq!(post(&router, "/api/v1/webhooks", &[JSON], &body).await.status, status, "{body}");
    }
    let tested = post(&router, "/api/v1/webhooks/on-call/test", &[JSON], r#"{"key":"k-1"}"#).await;
    assert_eq!(tested.json()["event_id"], "k-1");
    assert_eq!(post(&router, "/api/v1/webhooks/nobody/test", &[JSON], "{}").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_open_incident_is_closed_as_no_problem_but_not_by_another_site() {
    let router = shop();
    let (open, resolved) = ("/incidents/142", "/incidents/97");
    let (own, other) = (("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"));
    assert!(get(&router, open).await.text().contains(r#"action="/incidents/142/dismiss""#));
    assert!(!get(&router, resolved).await.text().contains("/dismiss"));
    let page = post(&router, &format!("{open}/dismiss"), &[own], "").await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, open));
    assert_eq!(post(&router, "/incidents/7/dismiss", &[own], "").await.status, StatusCode::NOT_FOUND);
    for (path, status) in
        [(open, StatusCode::OK), (resolved, StatusCode::CONFLICT), ("/incidents/7", StatusCode::NOT_FOUND)]
    {
        let path = format!("/api/v1{path}/dismiss");
        assert_eq!(post(&router, &path, &[], "").await.status, status, "{path}");
        assert_eq!(post(&router, &path, &[other], "").await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_webhook_is_tested_without_a_body_but_not_by_another_site() {
    let router = shop();
    let test = async |headers: &[(&str, &str)], body: &str| {
        post(&router, "/api/v1/webhooks/on-call/test", headers, body).await.status
    };
    let own = ("origin", "http://127.0.0.1:8317");
    assert_eq!(test(&[], "").await, StatusCode::OK);
    assert_eq!(test(&[JSON], "").await, StatusCode::OK);
    assert_eq!(test(&[own], "").await, StatusCode::OK);
    assert_eq!(test(&[], "{}").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(test(&[("content-type", "text/plain")], "{}").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(test(&[JSON], r#"{"kee":"k-1"}"#).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(test(&[JSON], &" ".repeat(300_000)).await, StatusCode::PAYLOAD_TOO_LARGE);
    for site in ["cross-site", "same-site"] {
        assert_eq!(test(&[own, ("sec-fetch-site", site)], "").await, StatusCode::FORBIDDEN, "{site}");
    }
    for origin in ["https://evil.example", "http://127.0.0.1:3000", "null"] {
        assert_eq!(test(&[("origin", origin)], "").await, StatusCode::FORBIDDEN, "{origin}");
    }
}

#[tokio::test]
async fn another_sites_page_cannot_write() {
    let router = shop();
    let body = r#"{"name":"spy","url":"https://spy.example/"}"#;
    // A form can post text/plain without asking; JSON needs a preflight, which is never answered.
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let answer = post(&router, "/api/v1/webhooks", &[("content-type", content_type)], body).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    for (site, status) in [("cross-site", StatusCode::FORBIDDEN), ("same-origin", StatusCode::CREATED)] {
        let answer = post(&router, "/api/v1/webhooks", &[JSON, ("sec-fetch-site", site)], body).await;
        assert_eq!(answer.status, status, "{site}");
    }
    let large = format!(r#"{{"name":"{}","url":"https://x.example/"}}"#, "x".repeat(300_000));
    let answer = post(&router, "/api/v1/webhooks", &[JSON], &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn another_sites_page_may_link_to_a_query_but_not_load_it() {
    let router = shop();
    let loaded = async |path: &str, site: &str, mode: &str, dest: &str| {
        let request = Request::get(path).header(header::HOST, "localhost").header("sec-fetch-site", site);
        let request = request.header("sec-fetch-mode", mode).header("sec-fetch-dest", dest);
        send(&router, request.body(Body::empty()).unwrap()).await.status
    };
    for path in ["/sql?q=SELECT%201", "/sql?q=SELECT%201&format=json", "/api/v1/transactions"] {
        assert_eq!(loaded(path, "cross-site", "no-cors", "image").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(loaded(path, "cross-site", "navigate", "iframe").await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(loaded(path, "cross-site", "navigate", "document").await, StatusCode::OK, "{path}");
        assert_eq!(loaded(path, "same-origin", "cors", "empty").await, StatusCode::OK, "{path}");
        assert_eq!(loaded(path, "none", "navigate", "document").await, StatusCode::OK, "{path}");
    }
    assert_eq!(loaded("/", "cross-site", "no-cors", "image").await, StatusCode::OK);
}

#[tokio::test]
async fn every_error_of_the_api_is_a_problem() {
    let router = shop();
    let problem = |answer: &Answer| {
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["status"], answer.status.as_u16());
    };
    for path in ["incidents/%ff", "transactions/%ff", "traces/%ff"] {
        let answer = get(&router, &format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        problem(&answer);
    }
    let answer = post(&router, "/api/v1/webhooks/%ff/test", &[JSON], "{}").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    problem(&answer);
    for (path, allow) in [("incidents", "GET,HEAD"), ("webhooks/on-call/test", "POST"), ("webhooks", "GET,HEAD,POST")] {
        let request = Request::delete(format!("/api/v1/{path}")).header(header::HOST, "localhost");
        let answer = send(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow), "{path}");
        problem(&answer);
    }
}

/// Where names that a sender chose end up on a page.
const HOSTILE: [&str; 4] =
    ["<script>alert(1)</script>", "\"><img/src=x/onerror=alert(1)>", "\u{202e}gnol\u{2066}", "javascript:alert(1)"];

#[tokio::test]
async fn the_map_says_what_is_slow_what_is_no_service_and_where_to_look_closer() {
    let router = shop();
    let page = get(&router, "/map").await;
    let text = page.text();
    for words in [
        "Who calls whom",
        "Furthest off its usual: payment → bank:9103, p95 1.07 s, usually 31 ms.",
        "queue, celery",
        "database, postgresql db:5432",
        "no telemetry",
        "not seen now",
        "▲ 35× usual",
        "3 instances, 2 versions",
        "class=\"edge message\"",
        "class=\"edge call slow\"",
        "▲ #142",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let slow = text.find("<th scope=\"row\" data-label=\"to\"><a href=\"/map?focus=peer%3Abank%3A9103\">").unwrap();
    let busy = text.find("<th scope=\"row\" data-label=\"to\"><a href=\"/map?focus=service%3Apricing\">").unwrap();
    assert!(slow < busy, "what is slow is said first");
    let json = get(&router, "/api/v1/map").await.json();
    let edges = json["edges"].as_array().unwrap();
    let bank = edges.iter().find(|edge| edge["to"] == "peer:bank:9103").unwrap();
    assert_eq!((&bank["slow"], &bank["retries"], &bank["p95_ms"]), (&true.into(), &4.into(), &1071.0.into()));
    assert_eq!((&bank["usual"]["p95_ms"], &bank["gap_ms"]), (&31.0.into(), &serde_json::Value::Null));
    let edge = bank["id"].as_str().unwrap();
    let closer = get(&router, &format!("/map?edge={edge}")).await;
    for words in ["calling instance", "bank:9103-2", "POST /charge"] {
        assert!(closer.text().contains(words), "{words}: {}", closer.text());
    }
    let around = get(&router, "/api/v1/map?focus=fulfil_order&hops=1").await.json();
    let nodes: Vec<&str> =
        around["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["queue:fulfil_order", "service:fulfilment", "service:gateway"]);
}

#[tokio::test]
async fn a_map_of_nothing_says_what_to_do_and_one_of_the_unknown_is_a_404() {
    let empty = get(&web::router(shop::empty()), "/map?t=5m").await;
    assert!(empty.text().contains("Nobody called anybody"), "{}", empty.text());
    for (path, status) in [("?focus=nobody", 404), ("?hops=0", 400), ("?hops=many", 400), ("?t=soon", 400)] {
        assert_eq!(get(&shop(), &format!("/map{path}")).await.status.as_u16(), status, "{path}");
        let problem = get(&shop(), &format!("/api/v1/map{path}")).await;
        assert_eq!(problem.status.as_u16(), status, "{path}");
        assert_eq!(problem.header("content-type"), "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_map_of_a_thousand_hostile_names_is_folded_and_harmless() {
    let mut edges = Vec::new();
    for number in 0..1_000 {
        let name = |of: usize| format!("{}{}{}", HOSTILE[of % 4], "x".repeat(of % 7 * 90), of);
        let mut edge = shop::map::edges(shop::map::NOW).remove(number % 11);
        (edge.ends.caller, edge.ends.callee) = (name(number), name(number * 7 % 1_000));
        edge.ends.namespace = name(number);
        edges.push(edge);
    }
    let fake = shop::Fake { edges, ..shop::Fake::default() };
    let state =
        shop::state(fake, analyzer::Summary::default(), web::IngestView::default(), shop::FakeWebhooks::default());
    let page = get(&web::router(state), "/map").await;
    let text = page.text();
    assert_eq!(page.status, StatusCode::OK);
    assert!(text.contains("others (") && text.contains("Not drawn"), "{text}");
    assert!(text.matches("class=\"outline\"").count() <= 61);
    assert!(!text.contains("<script>") && !text.contains("<img/") && !text.contains('\u{202e}'), "{text}");
    assert!(!text.contains("href=\"javascript"));
    assert!(text.contains("⟦U+202E⟧gnol"));
}
