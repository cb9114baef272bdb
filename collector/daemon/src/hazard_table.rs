//! The tables `hazards` and `hazard_chains` for SQL: the register of integration points as it is now, replaced as a whole
//! when it is renewed.

use analyzer::hazards::{Chain, HazardReport, HopHazards, TimeoutState};
use analyzer::time::parse_rfc3339;
use arrow::array::{ArrayRef, RecordBatch};

use crate::columns::{count, number, text, time, truth, word};

/// Name in SQL of the table of hops.
pub(crate) const HAZARDS: &str = "hazards";
/// Name in SQL of the table of transaction types.
pub(crate) const CHAINS: &str = "hazard_chains";

/// A column by name, and whether it may be null.
type Column = (&'static str, ArrayRef, bool);

/// Returns one row a hop, those that endanger most first; `json` is the whole entry.
pub(crate) fn rows(report: &HazardReport) -> RecordBatch {
    let hops = &report.hops;
    let columns = who(hops).into_iter().chain(protection(hops)).chain(outcome(hops));
    RecordBatch::try_from_iter_with_nullable(columns).expect("every column has one value a hop")
}

/// Returns one row a transaction type; `json` is the whole chain.
pub(crate) fn chain_rows(report: &HazardReport) -> RecordBatch {
    let chains = &report.chains;
    let columns: Vec<Column> = vec![
        ("service", text(chains, |chain| Some(chain.service.clone())), false),
        ("operation", text(chains, |chain| Some(chain.operation.clone())), false),
        ("transactions", count(chains, |chain| Some(chain.transactions.into())), false),
        ("product", number(chains, |chain| Some(chain.product)), false),
        ("observed", number(chains, |chain| Some(chain.observed)), false),
        ("observed_low", number(chains, |chain| Some(chain.observed_low)), false),
        ("observed_high", number(chains, |chain| Some(chain.observed_high)), false),
        ("by_itself", number(chains, |chain| Some(chain.by_itself)), false),
        ("depth", count(chains, |chain| Some(chain.depth.into())), false),
        ("hops", count(chains, |chain| u64::try_from(chain.hops.len()).ok()), false),
        ("json", text(chains, |chain: &Chain| serde_json::to_string(chain).ok()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("every column has one value a chain")
}

fn who(hops: &[HopHazards]) -> Vec<Column> {
    vec![
        ("id", text(hops, |hop| Some(hop.id.clone())), false),
        ("caller_service", text(hops, |hop| Some(hop.caller_service.clone())), false),
        ("caller_operation", text(hops, |hop| Some(hop.caller_operation.clone())), false),
        ("call", text(hops, |hop| Some(hop.call.clone())), false),
        ("callee_service", text(hops, |hop| Some(hop.callee_service.clone())), false),
        ("callee_operation", text(hops, |hop| Some(hop.callee_operation.clone())), false),
        ("kind", text(hops, |hop| Some(hop.kind.to_owned())), false),
        ("instrumented", truth(hops, |hop| hop.instrumented), false),
        ("calls", count(hops, |hop| Some(hop.calls.into())), false),
        ("per_minute", number(hops, |hop| Some(hop.per_minute)), false),
        ("last_seen", time(hops, |hop| Some(hop.last_seen_ns)), false),
    ]
}

fn protection(hops: &[HopHazards]) -> Vec<Column> {
    let period = |hop: &HopHazards| hop.breaker.periods.last().and_then(|period| parse_rfc3339(&period.from));
    vec![
        ("timeout", text(hops, |hop| word(&hop.timeout.state)), false),
        ("timeout_ms", number(hops, |hop| hop.timeout.value_ms), true),
        ("timeout_sure", truth(hops, |hop| hop.timeout.state == TimeoutState::CutOff && hop.timeout.is_sure), false),
        ("cut_off", count(hops, |hop| Some(hop.timeout.cut_off.into())), false),
        ("longest_ms", number(hops, |hop| hop.timeout.longest_ms), true),
        ("usual_ms", number(hops, |hop| hop.timeout.usual_ms), true),
        ("worked_on", count(hops, |hop| Some(hop.timeout.worked_on.into())), false),
        ("retried", count(hops, |hop| Some(hop.retries.retried.into())), false),
        ("retried_succeeded", count(hops, |hop| Some(hop.retries.succeeded.into())), false),
        ("attempts_max", count(hops, |hop| Some(hop.retries.attempts_max.into())), false),
        ("attempts_mean", number(hops, |hop| Some(hop.retries.attempts_mean)), false),
        ("backoff", text(hops, |hop| word(&hop.retries.backoff)), false),
        ("backoff_jittered", truth(hops, |hop| hop.retries.is_jittered), false),
        ("backoff_growth", number(hops, |hop| hop.retries.growth), true),
        ("first_pause_ms", number(hops, |hop| hop.retries.pauses_ms.first().copied()), true),
        ("breaker_periods", count(hops, |hop| u64::try_from(hop.breaker.periods.len()).ok()), false),
        ("breaker_last_from", time(hops, period), true),
        ("reliance", text(hops, |hop| word(&hop.fallback.reliance)), false),
        ("failed_within", count(hops, |hop| Some(hop.fallback.failed.into())), false),
        ("answered_anyway", count(hops, |hop| Some(hop.fallback.answered_anyway.into())), false),
        ("idempotency_attribute", text(hops, |hop| hop.idempotency.attribute.clone()), true),
        ("idempotency_share", number(hops, |hop| Some(hop.idempotency.share)), false),
    ]
}

fn outcome(hops: &[HopHazards]) -> Vec<Column> {
    let findings = |hop: &HopHazards| hop.findings.iter().filter_map(|found| word(&found.kind)).collect::<Vec<_>>();
    vec![
        ("depth", count(hops, |hop| Some(hop.depth.usual.into())), false),
        ("depth_below", count(hops, |hop| Some(hop.depth.below.into())), false),
        ("failed", count(hops, |hop| Some(hop.availability.failed.into())), false),
        ("availability", number(hops, |hop| hop.availability.share), true),
        ("availability_low", number(hops, |hop| Some(hop.availability.low)), false),
        ("availability_high", number(hops, |hop| Some(hop.availability.high)), false),
        ("availability_by_itself", number(hops, |hop| hop.availability.by_itself), true),
        ("too_few_calls", truth(hops, |hop| hop.is_too_few), false),
        ("findings", text(hops, |hop| Some(findings(hop).join(","))), false),
        ("endangered_per_minute", number(hops, |hop| Some(hop.endangered_per_minute)), false),
        ("json", text(hops, |hop| serde_json::to_string(hop).ok()), true),
    ]
}
