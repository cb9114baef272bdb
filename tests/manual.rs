//! What the manual says can be typed: every query in `docs/` runs on the real daemon. Must never check their results:
//! that is for the tests of the store.

#![allow(clippy::unwrap_used)]

mod daemon;

use std::path::Path;

use daemon::Daemon;
use serde_json::{Value, json};

#[test]
fn queries_in_the_manual_run() {
    let daemon = Daemon::start();
    send_a_call(&daemon);
    daemon.wait_for_count("SELECT count(*) FROM hops", 1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut ran = 0;
    for page in ["getting-started.md", "sql.md"] {
        for query in queries(&std::fs::read_to_string(folder.join(page)).unwrap()) {
            daemon.sql(&query);
            ran += 1;
        }
    }
    assert!(ran >= 4, "{ran} queries found");
}

/// A query over nothing succeeds too easily.
fn send_a_call(daemon: &Daemon) {
    let now_ns = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let span = |id: &str, parent: &str, kind: u8| {
        json!({
            "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": id, "parentSpanId": parent, "name": "POST /orders",
            "kind": kind, "startTimeUnixNano": now_ns.to_string(), "endTimeUnixNano": (now_ns + 1_000_000).to_string(),
        })
    };
    let service = |name: &str, span: &Value| {
        let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": name } }] });
        json!({ "resource": resource, "scopeSpans": [{ "spans": [span] }] })
    };
    let caller = service("web", &span("0102030405060708", "", 3));
    let callee = service("orders", &span("0102030405060709", "0102030405060708", 2));
    let (status, answer) = daemon::post(daemon.http, "/v1/traces", &json!({ "resourceSpans": [caller, callee] }));
    assert_eq!(status, 200, "{answer}");
}

/// Returns indented blocks that are a query, and quoted queries on a command line.
fn queries(page: &str) -> Vec<String> {
    let mut queries = Vec::new();
    for block in page.split("\n\n").filter(|block| block.starts_with("    ")) {
        let text = block.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let command = text.strip_prefix("throughline sql ").and_then(|rest| rest.strip_suffix('"'));
        if let Some((_, statement)) = command.and_then(|rest| rest.split_once('"')) {
            queries.push(statement.to_owned());
        } else if text.starts_with("SELECT ") {
            queries.push(text);
        }
    }
    queries
}
