//! The demo's promise, at event time and without a daemon: the shop's telemetry, decoded, stitched and judged, becomes
//! one incident that names the slow service; and none while nothing is slow. Must never depend on how fast it runs.

#![allow(clippy::unwrap_used)]

use analyzer::{Analyzer, AnalyzerLimits, Incident, IncidentEvent};
use collector_otlp::{Encoding, Limits, PayloadKind, Signal};
use collector_table::{LogTable, SpanTable};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use throughline::demo::shop::{Shop, Slowdown};

const SECOND_NS: u64 = 1_000_000_000;
/// A round time, so that a failure is easy to read.
const START_NS: u64 = 1_800_000_000 * SECOND_NS;
const HISTORY_S: u64 = 12 * 60;

#[test]
fn slow_payment_is_named_within_two_minutes_of_its_onset() {
    let onset_ns = START_NS + HISTORY_S * SECOND_NS;
    let slowdown = Slowdown {
        service: "payment",
        operation: "POST /charges",
        factor: 8.0,
        version: "2.9.0",
        log: "no connection left, waited {wait} ms",
        from_ns: onset_ns,
    };
    let opened = opened(&Shop::new(1, 6.0, Some(slowdown)), HISTORY_S + 150);
    assert_eq!(opened.len(), 1, "{opened:#?}");
    let incident = &opened[0];
    assert_eq!(incident.transaction.operation, "POST /checkout", "{incident:#?}");
    let cause = &incident.root_cause[0];
    assert_eq!(
        (cause.service.as_str(), cause.operation.as_deref()),
        ("payment", Some("POST /charges")),
        "{incident:#?}"
    );
    assert_eq!(cause.cause, "self");
    let detected_ns = analyzer::time::parse_rfc3339(&incident.detected_at).unwrap();
    let delay_s = (detected_ns - onset_ns.cast_signed()) / SECOND_NS.cast_signed();
    assert!((0..=120).contains(&delay_s), "detected {delay_s} s after the onset");
    let logs = &incident.evidence.logs;
    assert_eq!(logs.len(), 1, "{logs:#?}");
    assert_eq!((logs[0].template.as_str(), logs[0].change.as_str()), ("no connection left, waited <*> ms", "new"));
    assert_eq!((logs[0].service.as_str(), logs[0].severity.as_str(), logs[0].before), ("payment", "warn", 0));
    assert!(logs[0].examples.iter().all(|line| line.trace_id.is_some() && line.instance.is_some()), "{logs:#?}");
}

#[test]
fn quiet_shop_opens_nothing() {
    let opened = opened(&Shop::new(2, 6.0, None), HISTORY_S + 300);
    assert!(opened.is_empty(), "{opened:#?}");
}

/// Returns the incidents that open while the shop is watched, as they were when they opened.
fn opened(shop: &Shop, seconds: u64) -> Vec<Incident> {
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    let kind = |signal| PayloadKind { signal, encoding: Encoding::Protobuf };
    let mut opened = Vec::new();
    for second in 0..seconds {
        let from_ns = START_NS + second * SECOND_NS;
        let telemetry = shop.telemetry_between(from_ns, from_ns + SECOND_NS);
        let now_ns = (from_ns + SECOND_NS).cast_signed();
        let logs = ExportLogsServiceRequest { resource_logs: telemetry.logs }.encode_to_vec();
        let logs = collector_otlp::decode(kind(Signal::Logs), &logs, &Limits::default()).unwrap();
        analyzer.push_logs(&LogTable::from_batch(logs.rows).unwrap(), now_ns);
        let request = ExportTraceServiceRequest { resource_spans: telemetry.spans };
        let decoded =
            collector_otlp::decode(kind(Signal::Traces), &request.encode_to_vec(), &Limits::default()).unwrap();
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let table = SpanTable::from_batch(decoded.rows).unwrap();
        let outcome = analyzer.push(&table, now_ns);
        // The first ones began before anyone watched.
        assert!(second < 60 || outcome.transactions.iter().all(|transaction| transaction.is_complete));
        let changes = outcome.changes;
        opened.extend(changes.into_iter().filter(|it| it.event == IncidentEvent::Opened).map(|it| it.incident));
    }
    opened
}
