//! What the register of hazards says of the made-up shop: a bank that is cut off, tried again, and lived without.

use std::sync::Arc;

use analyzer::hazards::HazardReport;
use analyzer::{Analyzer, AnalyzerLimits};
use collector_table::SpanKind;

use super::{Drawn, MS, NOW_NS, span, table, trace_id};

/// Returns the register after 60 checkouts, of which each fifth lost its patience with the bank.
pub(crate) fn report() -> Arc<HazardReport> {
    report_of("gateway", "POST /checkout")
}

/// As [`report`], with other names for what calls.
pub(crate) fn report_of(service: &str, operation: &str) -> Arc<HazardReport> {
    let mut analyzer = Analyzer::new(AnalyzerLimits::default());
    for number in 0..60_u32 {
        let started_ns = NOW_NS - i64::from(70 - number) * 1_000 * MS;
        let spans = if number % 5 == 4 { impatient(service, operation) } else { patient(service, operation) };
        analyzer.push(
            &table(trace_id(u128::from(number % 5 != 4) + u128::from(number) * 16), started_ns, &spans),
            started_ns,
        );
    }
    analyzer.finish(NOW_NS);
    analyzer.summary().hazards
}

fn client(span: Drawn<'_>) -> Drawn<'_> {
    Drawn { kind: SpanKind::Client, attributes: vec![("http.request.method", "POST")], ..span }
}

fn bank(span: Drawn<'_>) -> Drawn<'_> {
    let attributes = vec![
        ("server.address", "bank.example"),
        ("http.request.method", "POST"),
        ("http.request.header.idempotency-key", "7f1c"),
    ];
    Drawn { kind: SpanKind::Client, attributes, ..span }
}

fn patient<'a>(service: &'a str, operation: &'a str) -> Vec<Drawn<'a>> {
    vec![
        span(1, 0, service, operation, 0.0, 61.0),
        client(span(2, 1, service, "POST payment", 17.0, 53.0)),
        span(3, 2, "payment", "POST /charge", 18.0, 52.0),
        bank(span(4, 3, "payment", "POST bank", 24.0, 39.0)),
    ]
}

/// The bank is cut off after half a second, three times over, and the shop fails.
fn impatient<'a>(service: &'a str, operation: &'a str) -> Vec<Drawn<'a>> {
    let failed = |span: Drawn<'a>| Drawn { error: Some("no answer"), ..span };
    vec![
        failed(span(1, 0, service, operation, 0.0, 1_900.0)),
        failed(client(span(2, 1, service, "POST payment", 10.0, 1_890.0))),
        failed(span(3, 2, "payment", "POST /charge", 11.0, 1_889.0)),
        failed(bank(span(4, 3, "payment", "POST bank", 20.0, 521.0))),
        failed(bank(span(5, 3, "payment", "POST bank", 621.0, 1_122.0))),
        failed(bank(span(6, 3, "payment", "POST bank", 1_322.0, 1_823.0))),
    ]
}
