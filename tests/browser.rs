//! What a person sees: headless Chromium opens the pages of a daemon that has watched a shop turn slow.
//! Must never check looks or timings: words on the page, an empty console, and nothing wider than a phone.

#![allow(clippy::unwrap_used)]

mod chrome;
mod daemon;

use chrome::Chrome;
use daemon::traffic::{MINUTE_NS, SECOND_NS, now_ns, slow_shop};
use daemon::{Daemon, skip};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;

/// Says what makes a page scroll sideways: elements that reach beyond it, outside of boxes that scroll by themselves.
const TOO_WIDE: &str = "
    if (document.documentElement.scrollWidth <= window.innerWidth) return [];
    const scrolls = (it) => it && it !== document.body
        && (getComputedStyle(it).overflowX !== 'visible' || scrolls(it.parentElement));
    const beyond = [...document.body.querySelectorAll('*')].filter(
        (it) => it.getBoundingClientRect().left + it.scrollWidth > window.innerWidth + 0.5 && !scrolls(it));
    return ['the page', ...beyond.slice(0, 5).map((it) => it.outerHTML.slice(0, 300))];
";
/// Pages that need no more than their address.
const PLAIN_PAGES: [&str; 4] = ["/tx", "/incidents", "/ingest", "/hazards"];
/// What the map says of the shop: services, a queue, a database, who sends no telemetry, and what is slow.
const MAP_WORDS: [&str; 6] =
    ["payment", "orders.placed", "queue, rabbitmq", "payment-db:5432", "no telemetry", "× usual"];

#[test]
fn pages_tell_what_turned_slow() {
    let chrome = match Chrome::start() {
        Ok(chrome) => chrome,
        Err(reason) => return skip("the browser test", &reason),
    };
    let daemon = Daemon::start();
    expect_page(&chrome, &daemon, "/", &["OTEL_EXPORTER_OTLP_ENDPOINT"]);

    send_a_shop_that_turns_slow(&daemon);
    daemon.wait_for_count("SELECT count(*) FROM incidents", 1);
    expect_page(&chrome, &daemon, "/", &["POST /checkout", "payment"]);
    let number = daemon.count("SELECT number FROM incidents ORDER BY number LIMIT 1");
    expect_page(&chrome, &daemon, &format!("/incidents/{number}"), &["payment", "POST /charges", "POST /checkout"]);
    // What is judged at once is stored when it is known that nothing more belongs to it.
    let whole = "FROM transactions WHERE complete AND operation = 'POST /checkout'";
    daemon.wait_for_count(&format!("SELECT count(*) {whole}"), 1);
    let rows = daemon.sql(&format!("SELECT transaction_id {whole} LIMIT 1"));
    let trace = daemon::first_column(&rows[0]).as_str().unwrap().to_owned();
    expect_page(&chrome, &daemon, &format!("/trace/{trace}"), &["fulfilment", "POST /charges", "api.bank.example"]);
    for page in PLAIN_PAGES {
        expect_page(&chrome, &daemon, page, &[]);
    }
    // Calls are counted with their transactions, of which the last wait for what may still belong to them.
    let lately = "callee_service = 'payment' AND minute > now() - INTERVAL '3 minutes'";
    daemon.wait_for_count(&format!("SELECT coalesce(sum(count), 0) FROM dependencies WHERE {lately}"), 60);
    expect_page(&chrome, &daemon, "/map?t=5m", &MAP_WORDS);
    expect_page(&chrome, &daemon, "/map?focus=payment&hops=1", &["Who calls payment", "Not drawn"]);
}

#[test]
fn hostile_names_stay_text() {
    let chrome = match Chrome::start() {
        Ok(chrome) => chrome,
        Err(reason) => return skip("the browser test", &reason),
    };
    let daemon = Daemon::start();
    let name = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>";
    let body = serde_json::json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": name } }] },
        "scopeSpans": [{ "spans": [{
            "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708", "name": name, "kind": 2,
            "startTimeUnixNano": now_ns().to_string(), "endTimeUnixNano": (now_ns() + SECOND_NS).to_string(),
            "attributes": [{ "key": name, "value": { "stringValue": name } }],
        }] }],
    }] });
    let (status, answer) = daemon::post(daemon.http, "/v1/traces", &body);
    assert_eq!(status, 200, "{answer}");
    daemon.wait_for_count("SELECT count(*) FROM spans", 1);
    expect_page(&chrome, &daemon, "/trace/0102030405060708090a0b0c0d0e0f10", &["<img src=x"]);
    daemon.wait_for_count("SELECT count(*) FROM dependencies", 1);
    expect_page(&chrome, &daemon, "/map", &["<img src=x"]);
    assert_ne!(chrome.run("return document.title"), "owned");
}

/// Opens a page at desk and phone width; expects these words, an empty console and no sideways scrolling.
fn expect_page(chrome: &Chrome, daemon: &Daemon, path: &str, words: &[&str]) {
    chrome.resize(1280, 900);
    let text = chrome.open(&format!("http://{}{path}", daemon.web));
    for word in words {
        assert!(text.contains(word), "{path} does not say {word}:\n{text}");
    }
    assert_eq!(chrome.run("return document.querySelectorAll('h1').length"), 1, "{path} answers one question:\n{text}");
    chrome.resize(390, 844);
    let too_wide = chrome.run(TOO_WIDE);
    assert_eq!(too_wide, serde_json::json!([]), "{path} is wider than a phone");
    let complaints = chrome.complaints();
    assert!(complaints.is_empty(), "{path}: {complaints:?}");
}

/// Sends 15 minutes of a shop, ending now, whose payment service is slow for the last four.
fn send_a_shop_that_turns_slow(daemon: &Daemon) {
    let now_ns = now_ns();
    let shop = slow_shop(now_ns - 4 * MINUTE_NS);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", daemon.grpc)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = endpoint.connect().await.unwrap();
        let mut traces = TraceServiceClient::new(channel.clone());
        let mut logs = LogsServiceClient::new(channel);
        let mut at_ns = now_ns - 15 * MINUTE_NS;
        while at_ns < now_ns {
            let until_ns = now_ns.min(at_ns + 5 * SECOND_NS);
            let telemetry = shop.telemetry_between(at_ns, until_ns);
            traces.export(ExportTraceServiceRequest { resource_spans: telemetry.spans }).await.unwrap();
            logs.export(ExportLogsServiceRequest { resource_logs: telemetry.logs }).await.unwrap();
            at_ns = until_ns;
        }
    });
}
