//! What the analyzer, the receiver and the outbox of the made-up shop would say.

use std::collections::BTreeMap;

use analyzer::incident::{
    Affected, Change, Distribution, Evidence, Exemplar, Impact, Incident, IncidentKind, IncidentStatus, LogEvidence,
    LogExample, RootCause, Severity, Spread, TransactionRef,
};
use analyzer::stitch::OpenTransaction;
use analyzer::summary::{Summary, TypeState, TypeSummary};
use collector_table::SpanId;
use web::{DeliveryView, IngestView, Refusal, SenderView, SignalView, StoreView};

use super::{NOW_NS, trace_id};

const SECOND: i64 = 1_000_000_000;

/// Minutes with a little noise; those after `jump` are `factor` times as long.
fn minutes(p50: f64, p95: f64, jump: usize, factor: f64) -> Vec<Option<(f64, f64)>> {
    (0..60_u32)
        .map(|minute| {
            let noise = 1.0 + f64::from(minute * 7919 % 13) / 60.0;
            let is_after = usize::try_from(minute).unwrap_or(0) >= jump;
            let factor = if is_after { factor } else { 1.0 };
            (minute != 17).then_some((p50 * noise * factor.sqrt(), p95 * noise * factor))
        })
        .collect()
}

fn line(service: &str, operation: &str, per_minute: f64, p50: f64, p99: f64, state: TypeState) -> TypeSummary {
    let is_slow = state == TypeState::Slow;
    let is_known = state != TypeState::Learning;
    TypeSummary {
        service: service.to_owned(),
        operation: operation.to_owned(),
        per_minute,
        error_share: if per_minute > 100.0 { 0.004 } else { 0.0 },
        p50_ms: if is_slow { p50 * 7.7 } else { p50 * 1.04 },
        p99_ms: if is_slow { p99 * 3.9 } else { p99 * 0.97 },
        usual_p50_ms: is_known.then_some(p50),
        usual_p99_ms: is_known.then_some(p99),
        minutes: minutes(p50, p99 * 0.8, if is_slow { 53 } else { 99 }, 4.4),
        state,
        incident: is_slow.then_some(142),
        reference_count: if is_known { 8_412 } else { 41 },
    }
}

/// Returns four transaction types, an open incident and a resolved one.
pub(crate) fn summary() -> Summary {
    Summary {
        progress: analyzer::progress::Progress::default(),
        expectations: analyzer::Expectations::default(),
        joins: analyzer::JoinSummary::default(),
        hazards: super::hazards::report(),
        as_of_ns: NOW_NS - 3 * SECOND,
        types: vec![
            line("gateway", "POST /checkout", 148.0, 62.0, 310.0, TypeState::Slow),
            line("gateway", "GET /products", 37.2, 48.0, 96.0, TypeState::Usual),
            line("labeler", "GET", 61.0, 3.1, 8.8, TypeState::Usual),
            line("gateway", "POST /refund", 0.2, 120.0, 180.0, TypeState::Learning),
        ],
        incidents: vec![slow_bank(), resolved()],
        arriving: vec![OpenTransaction {
            id: trace_id(9),
            service: "gateway".to_owned(),
            operation: "POST /checkout".to_owned(),
            started_ns: NOW_NS - SECOND,
            duration_ns: SECOND / 4,
            spans: 7,
        }],
        open_transactions: 12,
        spans: 1_204_118,
        transactions: 86_004,
        at_bounds: vec![("transactions_evicted", 0), ("spans_over_limit", 3)],
    }
}

fn distribution(count: u64, quantiles: [f64; 3], bins: &[(f64, u64)]) -> Distribution {
    let [p50_ms, p95_ms, p99_ms] = quantiles;
    Distribution { count, p50_ms, p95_ms, p99_ms, bins: bins.to_vec() }
}

fn cause(service: &str, operation: Option<&str>, cause: &str, usual: f64, now: f64, evidence: &str) -> RootCause {
    RootCause {
        service: service.to_owned(),
        operation: operation.map(str::to_owned),
        instance: None,
        cause: cause.to_owned(),
        score: 0.9,
        usual_ms: Some(usual),
        now_ms: Some(now),
        share: Some((now - usual) / 818.0),
        onset: Some("2026-11-21T12:03:00Z".to_owned()),
        evidence: evidence.to_owned(),
    }
}

/// Returns the open incident.
pub(crate) fn slow_bank() -> Incident {
    let affected = |service: &str, operation: &str, since: &str| Affected {
        service: service.to_owned(),
        operation: operation.to_owned(),
        since: since.to_owned(),
    };
    let exemplar = |number, role: &str, duration_ms| Exemplar {
        trace_id: trace_id(number).to_string(),
        role: role.to_owned(),
        duration_ms,
    };
    Incident {
        id: "01939b1c-7d00-7000-8000-00000000008e".to_owned(),
        number: 142,
        kind: IncidentKind::LatencyShift,
        status: IncidentStatus::Open,
        severity: Severity::Critical,
        title: "POST /checkout is slow because payment waits for bank:9103".to_owned(),
        summary: "Since 12:03:00 (± 20 s) 48% of gateway POST /checkout take 0.8 s longer. 98% of the extra time is \
                  payment waiting for bank:9103, which sends no telemetry. No errors. Not spreading."
            .to_owned(),
        started_at: "2026-11-21T12:03:00Z".to_owned(),
        started_at_uncertainty_s: 20.0,
        detected_at: "2026-11-21T12:07:10Z".to_owned(),
        resolved_at: None,
        reopened: false,
        dismissed: false,
        transaction: TransactionRef { service: "gateway".to_owned(), operation: "POST /checkout".to_owned() },
        root_cause: vec![
            cause(
                "bank:9103",
                None,
                "uninstrumented_peer",
                15.0,
                815.0,
                "earliest; on the critical path of every affected transaction; callers' own time is flat",
            ),
            cause("payment", Some("POST /charge"), "self", 9.0, 14.0, "vanishes once rank 1 is taken away"),
            cause("gateway", Some("POST /checkout"), "self", 12.0, 14.0, "within noise"),
        ],
        affected: vec![
            affected("payment", "POST /charge", "2026-11-21T12:03:00Z"),
            affected("gateway", "POST /checkout", "2026-11-21T12:03:02Z"),
        ],
        changes: vec![Change {
            kind: "version".to_owned(),
            at: "2026-11-21T12:02:11Z".to_owned(),
            text: "payment 1.0.0 → 1.1.0".to_owned(),
        }],
        impact: Impact {
            transactions: 312,
            share: 0.48,
            per_minute: 71.0,
            extra_seconds: 251.0,
            who: vec!["payment.version 1.1.0: 100% of the affected, 0% before".to_owned()],
        },
        spread: Spread { trend: "steady".to_owned() },
        suggestions: vec![
            "Compare or roll back payment 1.1.0.".to_owned(),
            "Ask the owner of bank:9103: the wait is on their side.".to_owned(),
        ],
        evidence: Evidence {
            test: "shift of the 95th percentile against 28 blocks of history".to_owned(),
            statistic: 41.7,
            threshold: 12.4,
            samples: 651,
            reference_samples: 8_412,
            reference: "the two hours before the onset".to_owned(),
            before: distribution(8_412, [62.0, 248.0, 310.0], &before_bins()),
            after: distribution(651, [480.0, 1_120.0, 1_388.0], &after_bins()),
            unexplained_ms: 11.0,
            rate: None,
            logs: vec![exhausted_pool(), more_retries()],
        },
        exemplars: vec![exemplar(1, "affected", 1_142.0), exemplar(4, "affected", 1_111.0), exemplar(2, "usual", 61.0)],
        labels: BTreeMap::new(),
        url: "http://127.0.0.1:8317/incidents/142".to_owned(),
    }
}

fn exhausted_pool() -> LogEvidence {
    let example = |second, trace, ms| LogExample {
        at: format!("2026-11-21T12:03:{second}.120Z"),
        text: format!("pool exhausted after {ms} ms, waiting for a connection to bank:9103 <b>now</b>"),
        trace_id: Some(trace_id(trace).to_string()),
        span_id: Some(SpanId(5_u64.to_be_bytes()).to_string()),
        instance: Some("payment-2".to_owned()),
    };
    LogEvidence {
        service: "payment".to_owned(),
        severity: "warn".to_owned(),
        template: "pool exhausted after <*> ms, waiting for a connection to bank:<*> <b>now</b>".to_owned(),
        event: None,
        exception: Some("java.sql.SQLTransientConnectionException".to_owned()),
        change: "new".to_owned(),
        before: 0,
        before_s: 1_800,
        before_per_minute: 0.0,
        now: 214,
        now_s: 400,
        now_per_minute: 32.1,
        factor: None,
        surprise: 160.2,
        first_seen: "2026-11-21T12:02:52.480Z".to_owned(),
        examples: vec![example(14, 1, 812), example(41, 4, 790)],
    }
}

fn more_retries() -> LogEvidence {
    LogEvidence {
        service: "gateway".to_owned(),
        severity: "info".to_owned(),
        template: "retrying <*> of <*>".to_owned(),
        exception: None,
        change: "surging".to_owned(),
        before: 62,
        before_per_minute: 2.1,
        now: 97,
        now_per_minute: 14.6,
        factor: Some(6.9),
        surprise: 34.0,
        first_seen: "2026-11-21T11:30:02Z".to_owned(),
        examples: Vec::new(),
        ..exhausted_pool()
    }
}

fn before_bins() -> Vec<(f64, u64)> {
    let bounds = [22.0, 30.0, 38.0, 46.0, 56.0, 68.0, 84.0, 104.0, 130.0, 165.0, 210.0, 260.0, 330.0];
    bounds.into_iter().zip([40, 260, 900, 1_500, 1_800, 1_500, 1_000, 610, 330, 210, 150, 90, 22]).collect()
}

fn after_bins() -> Vec<(f64, u64)> {
    let bounds = [38.0, 46.0, 56.0, 68.0, 84.0, 104.0, 165.0, 640.0, 760.0, 860.0, 980.0, 1_130.0, 1_300.0, 1_450.0];
    bounds.into_iter().zip([30, 70, 96, 80, 40, 16, 6, 8, 30, 70, 92, 66, 37, 10]).collect()
}

/// Returns the resolved one.
pub(crate) fn resolved() -> Incident {
    Incident {
        id: "01939b1c-7d00-7000-8000-000000000061".to_owned(),
        number: 97,
        status: IncidentStatus::Resolved,
        severity: Severity::Warning,
        title: "GET /products is slow because of pricing GET /price/:sku".to_owned(),
        started_at: "2026-11-21T09:11:00Z".to_owned(),
        resolved_at: Some("2026-11-21T09:52:00Z".to_owned()),
        evidence: Evidence { logs: Vec::new(), ..slow_bank().evidence },
        ..slow_bank()
    }
}

/// Returns what three senders sent and one could not.
pub(crate) fn ingest() -> IngestView {
    let signal = |signal: &str, accepted, per_second, rejected| SignalView {
        signal: signal.to_owned(),
        accepted,
        rejected,
        per_second,
        last_ns: Some(NOW_NS - SECOND),
    };
    let sender = |service: &str, exporter: &str, spans, logs| SenderView {
        service: service.to_owned(),
        exporter: exporter.to_owned(),
        spans,
        logs,
        metrics: 0,
        last_ns: Some(NOW_NS - 2 * SECOND),
    };
    let refusal = |cause: &str, exporter: &str, count, unit: &str, message: &str| Refusal {
        cause: cause.to_owned(),
        exporter: exporter.to_owned(),
        address: "10.1.2.3".to_owned(),
        service: None,
        protocol: "http".to_owned(),
        count,
        unit: unit.to_owned(),
        last_ns: Some(NOW_NS - 200 * SECOND),
        message: message.to_owned(),
    };
    IngestView {
        signals: vec![
            signal("spans", 1_204_118, 4_210.0, 2),
            signal("logs", 88_410, 310.0, 0),
            SignalView { signal: "metrics".to_owned(), ..SignalView::default() },
        ],
        senders: vec![
            sender("gateway", "OTel-OTLP-Exporter-Python/1.45.0", 610_004, 70_310),
            sender("pricing", "OTel-OTLP-Exporter-JavaScript/0.212.0", 498_112, 2_004),
            sender("payment", "OTel-OTLP-Exporter-Python/1.45.0", 96_002, 16_096),
        ],
        refusals: vec![
            refusal("content_type", "curl/8.5", 12, "requests", "send application/x-protobuf or application/json"),
            refusal("invalid_trace_id", "hand-made/1", 2, "spans", "rejected from a request that was otherwise kept"),
        ],
        forgotten: 3,
        store: StoreView {
            bytes: 41_200_000_000,
            bytes_max: Some(200_000_000_000),
            oldest_ns: Some(NOW_NS - 9 * 86_400 * SECOND),
            queue_share: 0.02,
            problem: None,
        },
    }
}

/// Returns a delivery that arrived and one that is being retried.
pub(crate) fn deliveries() -> Vec<DeliveryView> {
    let opened = DeliveryView {
        event_id: "evt_142_opened".to_owned(),
        event_type: "incident.opened".to_owned(),
        incident: Some(142),
        target: "on-call".to_owned(),
        state: "delivered".to_owned(),
        attempts: 1,
        created_ns: NOW_NS - 120 * SECOND,
        last_attempt_ns: Some(NOW_NS - 119 * SECOND),
        next_attempt_ns: None,
        status: Some(202),
        duration_ms: Some(212.0),
        error: None,
    };
    let retried = DeliveryView {
        target: "ops-webhook".to_owned(),
        state: "pending".to_owned(),
        attempts: 3,
        next_attempt_ns: Some(NOW_NS + 60 * SECOND),
        status: Some(503),
        error: Some("upstream says <b>no</b>".to_owned()),
        ..opened.clone()
    };
    vec![opened, retried]
}
