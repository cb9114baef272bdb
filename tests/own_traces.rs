//! The daemon's own traces, sent to itself: they arrive, and receiving them is not told of in turn.

#![allow(clippy::unwrap_used)]

mod daemon;

use daemon::{Daemon, free_ports, post};
use serde_json::json;

const RECEIVED: &str = "SELECT count(*) FROM spans WHERE service_name = 'throughline' AND name = 'receive'";
const QUERIED: &str = "SELECT count(*) FROM spans WHERE service_name = 'throughline' AND name = 'query'";

#[test]
fn pointed_at_itself_it_tells_of_others_and_never_of_its_own_telling() {
    let ports = free_ports();
    let own = format!("http://{}", ports[1]);
    let settings = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", own), ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned())];
    let daemon = Daemon::start_at(ports, settings);
    let span = json!({ "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708", "name": "work",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2" });
    let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    assert_eq!(post(daemon.http, "/v1/traces", &request).0, 200);
    daemon.wait_for_count(RECEIVED, 1);
    for stage in ["decode", "commit"] {
        daemon.wait_for_count(&RECEIVED.replace("receive", stage), 1);
    }
    // Each query is told of, in exports of their own; had those been told of too, there were more by now.
    let before = daemon.count(QUERIED);
    daemon.wait_for_count(QUERIED, before + 5);
    assert_eq!(daemon.count(RECEIVED), 1, "only what others sent is told of");
    assert_eq!(daemon.count(&RECEIVED.replace("receive", "commit")), 1);
}
