//! From records to the report: every number with what it is of. Called when the report is renewed, not for every call.

use std::sync::Arc;

use super::Register;
use super::breaker::Period;
use super::chain::TypeChain;
use super::findings::{self, CALLS_MIN};
use super::record::{Place, Record, usual_share};
use super::report::{
    Availability, BreakerPeriod, BreakerSeen, Chain, ChainHop, Depth, Example, FallbackSeen, HazardReport, HopHazards,
    IdempotencySeen, Reliance, RetriesSeen, TimeoutSeen, TimeoutState,
};
use super::retry::{Backoff, BackoffSeen, MS_NS};
use super::tally::{Tally, WINDOW_NS};
use super::timeout::CutOff;
use crate::hash::{FNV_SEED, fnv};
use crate::hops::called;
use crate::time::rfc3339;
use crate::transaction::HopKind;

/// Failed calls from which one can tell what becomes of the caller.
const FAILED_MIN: u32 = 5;
/// Retried calls from which pauses can be told.
const RETRIED_MIN: u32 = 3;
/// Share of failed calls whose caller succeeds, from which it does without, and up to which it fails with it.
const OPTIONAL_SHARE: f64 = 0.9;
const CRITICAL_SHARE: f64 = 0.1;
/// Share of a type's transactions that a hop must be called in to be told as part of its chain, as calls for each.
const USUAL_CALLS_MIN: f64 = 0.01;
const MINUTE_NS: i64 = 60_000_000_000;
/// Standard deviations for 95 of 100.
const WILSON_Z: f64 = 1.96;

impl Register {
    /// Returns all that is known.
    pub fn report(&self) -> Arc<HazardReport> {
        let now_ns = self.now_ns;
        let since_ns = (now_ns.div_euclid(WINDOW_NS) - 1).saturating_mul(WINDOW_NS).max(self.first_ns);
        let minutes = ((now_ns - since_ns) as f64 / MINUTE_NS as f64).max(1.0);
        let tallies: Vec<Tally> = self.records.iter().map(|record| record.tally.both(now_ns)).collect();
        let mut hops: Vec<HopHazards> = self
            .records
            .iter()
            .zip(&tallies)
            .map(|(record, tally)| told(record, tally, &self.places[record.place], (now_ns, minutes)))
            .collect();
        let place = |record: &Record| findings::Place {
            within: self.places[record.place].site.shape,
            callee: record.callee.as_ref().map(|callee| callee.shape).filter(|_| record.is_synchronous()),
        };
        findings::find(&mut hops, &self.records.iter().map(place).collect::<Vec<_>>());
        let mut chains: Vec<Chain> =
            self.chains.types.iter().filter_map(|chain| told_chain(chain, &hops, &tallies, now_ns)).collect();
        chains.sort_by(|a, b| {
            let by = |one: &Chain| (std::cmp::Reverse(one.transactions), one.service.clone(), one.operation.clone());
            by(a).cmp(&by(b))
        });
        hops.sort_by(|a, b| {
            let endangered = b.endangered_per_minute.total_cmp(&a.endangered_per_minute);
            endangered.then(b.per_minute.total_cmp(&a.per_minute)).then_with(|| a.id.cmp(&b.id))
        });
        Arc::new(HazardReport { as_of_ns: now_ns, since_ns, hops, chains, left_out: self.left_out() })
    }
}

fn told(record: &Record, tally: &Tally, place: &Place, (now_ns, minutes): (i64, f64)) -> HopHazards {
    let (callee_service, callee_operation) = called(&record.caller, record.callee.as_deref());
    let names = [
        &*record.caller.service,
        &*place.site.operation,
        &*record.caller.operation,
        callee_service,
        callee_operation,
        record.kind.as_str(),
    ];
    let id = names.iter().fold(FNV_SEED, |hash, name| fnv(fnv(hash, name.as_bytes()), &[0]));
    let retries = retries(record, tally);
    let periods = record.breaker.periods(place.executions, usual_share(&record.tally, place, now_ns), now_ns);
    let (timeout, cut_off) = timeout(record, tally);
    HopHazards {
        id: format!("{id:016x}"),
        caller_service: names[0].to_owned(),
        caller_operation: names[1].to_owned(),
        call: names[2].to_owned(),
        callee_service: callee_service.to_owned(),
        callee_operation: callee_operation.to_owned(),
        kind: record.kind.as_str(),
        instrumented: record.callee.is_some(),
        calls: tally.calls,
        per_minute: f64::from(tally.calls) / minutes,
        is_too_few: tally.calls < CALLS_MIN,
        last_seen_ns: record.last_ns,
        timeout,
        retries,
        breaker: BreakerSeen { periods: periods.iter().map(told_period).collect() },
        fallback: fallback(tally),
        idempotency: IdempotencySeen {
            attribute: record.keyed_by.as_deref().map(str::to_owned),
            share: share(tally.keyed, tally.calls).unwrap_or(0.0),
            unsafe_retried: tally.unsafe_retried,
            unsafe_retried_with_key: tally.unsafe_retried_keyed,
        },
        depth: Depth {
            usual: tally.depth.usual(),
            max: tally.depth.max(),
            below: tally.below.usual(),
            below_max: tally.below.max(),
        },
        availability: availability(tally),
        findings: Vec::new(),
        endangered_per_minute: 0.0,
        examples: examples(record, cut_off.as_ref()),
    }
}

fn timeout(record: &Record, tally: &Tally) -> (TimeoutSeen, Option<CutOff>) {
    let usual_ns = tally.succeeded.median_ns();
    let reached = share(tally.reached, tally.calls).unwrap_or(0.0);
    let is_waited_for = record.kind != HopKind::Message;
    let cut_off = record.failures.cut_off(usual_ns, reached).filter(|_| is_waited_for);
    let attempts = u64::from(tally.succeeded.count()) + u64::from(tally.failing.count());
    let state = match &cut_off {
        _ if !is_waited_for => TimeoutState::NotApplicable,
        Some(_) => TimeoutState::CutOff,
        None if attempts < u64::from(CALLS_MIN) => TimeoutState::TooFewCalls,
        None => TimeoutState::NoneSeen,
    };
    let longest_ns = tally.succeeded.longest_ns().max(tally.failing.longest_ns());
    let told = TimeoutSeen {
        state,
        value_ms: cut_off.as_ref().map(|cut_off| ms(cut_off.value_ns)),
        cut_off: cut_off.as_ref().map_or(0, |cut_off| u32::try_from(cut_off.count).unwrap_or(u32::MAX)),
        is_sure: cut_off.as_ref().is_some_and(|cut_off| cut_off.is_sure),
        longest_ms: (attempts > 0).then(|| ms(longest_ns)),
        usual_ms: usual_ns.map(ms),
        attempts,
        worked_on: tally.worked_on,
    };
    (told, cut_off)
}

fn retries(record: &Record, tally: &Tally) -> RetriesSeen {
    let unknown = BackoffSeen { backoff: Backoff::Unknown, is_jittered: false, growth: None, medians_ms: Vec::new() };
    let pauses = tally.attempts_max.saturating_sub(1) as usize;
    let is_known = tally.retried >= RETRIED_MIN;
    let known = record.pauses.as_ref().filter(|_| is_known).map(|known| known.seen(pauses));
    let seen = known.unwrap_or(unknown);
    RetriesSeen {
        retried: tally.retried,
        succeeded: tally.retried_in_time,
        attempts_max: tally.attempts_max,
        attempts_mean: tally.attempts as f64 / f64::from(tally.calls.max(1)),
        backoff: seen.backoff,
        is_jittered: seen.is_jittered,
        growth: seen.growth,
        pauses_ms: seen.medians_ms,
    }
}

fn fallback(tally: &Tally) -> FallbackSeen {
    let reliance = match share(tally.answered_anyway, tally.failed_within) {
        None => Reliance::Unknown,
        Some(_) if tally.failed_within < FAILED_MIN => Reliance::Unknown,
        Some(share) if share >= OPTIONAL_SHARE => Reliance::Optional,
        Some(share) if share <= CRITICAL_SHARE => Reliance::Critical,
        Some(_) => Reliance::Partly,
    };
    FallbackSeen { reliance, failed: tally.failed_within, answered_anyway: tally.answered_anyway }
}

fn availability(tally: &Tally) -> Availability {
    let (low, high) = wilson(tally.calls - tally.failed.min(tally.calls), tally.calls);
    Availability {
        failed: tally.failed,
        share: share(tally.calls - tally.failed.min(tally.calls), tally.calls),
        low,
        high,
        by_itself: share(tally.calls - tally.failed_by_itself.min(tally.calls), tally.calls),
    }
}

fn told_period(period: &Period) -> BreakerPeriod {
    BreakerPeriod {
        kind: period.kind,
        from: rfc3339(period.from_ns),
        to: period.is_over.then(|| rfc3339(period.to_ns)),
        seconds: ms(period.to_ns.saturating_sub(period.from_ns).max(0)) / 1_000.0,
        missed: period.missed,
    }
}

fn examples(record: &Record, cut_off: Option<&CutOff>) -> Vec<Example> {
    let known = &record.examples;
    let traces = [
        ("cut_off", cut_off.map(|cut_off| cut_off.last.trace)),
        ("worked_on", known.worked_on),
        ("retried", known.retried),
        ("answered_anyway", known.answered_anyway),
        ("failed", known.failed),
    ];
    let example = |(role, trace): (&'static str, Option<collector_table::TraceId>)| {
        Some(Example { role, trace_id: trace?.to_string() })
    };
    traces.into_iter().filter_map(example).collect()
}

fn told_chain(chain: &TypeChain, hops: &[HopHazards], tallies: &[Tally], now_ns: i64) -> Option<Chain> {
    let outcomes = chain.outcomes.both(now_ns);
    let observed = share(outcomes.transactions - outcomes.failed, outcomes.transactions)?;
    let by_itself = share(outcomes.transactions - outcomes.failed_by_itself, outcomes.transactions)?;
    let mut product = by_itself;
    let mut depth = 0;
    let mut told: Vec<ChainHop> = Vec::new();
    for calls in &chain.hops {
        let calls_per_transaction = f64::from(calls.count.both(now_ns)) / f64::from(outcomes.transactions);
        if calls_per_transaction < USUAL_CALLS_MIN {
            continue;
        }
        let hop = &hops[calls.record];
        let by_itself = hop.availability.by_itself.unwrap_or(1.0);
        let factor = by_itself.powf(calls_per_transaction);
        product *= factor;
        if calls_per_transaction >= 0.5 && tallies[calls.record].calls > 0 {
            depth = depth.max(hop.depth.usual);
        }
        told.push(ChainHop {
            id: hop.id.clone(),
            caller_service: hop.caller_service.clone(),
            callee_service: hop.callee_service.clone(),
            callee_operation: hop.callee_operation.clone(),
            calls_per_transaction,
            by_itself,
            factor,
        });
    }
    told.sort_by(|a, b| a.factor.total_cmp(&b.factor).then_with(|| a.id.cmp(&b.id)));
    let (observed_low, observed_high) = wilson(outcomes.transactions - outcomes.failed, outcomes.transactions);
    Some(Chain {
        service: chain.root.service.to_string(),
        operation: chain.root.operation.to_string(),
        transactions: outcomes.transactions,
        product,
        observed,
        observed_low,
        observed_high,
        by_itself,
        depth,
        hops: told,
    })
}

fn share(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / f64::from(whole))
}

/// Returns the bounds of a share by Wilson's score interval (JASA 22, 1927), which holds for few calls, too.
fn wilson(part: u32, whole: u32) -> (f64, f64) {
    if whole == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (f64::from(whole), f64::from(part) / f64::from(whole));
    let z2 = WILSON_Z * WILSON_Z;
    let middle = share + z2 / (2.0 * n);
    let reach = WILSON_Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    (((middle - reach) / (1.0 + z2 / n)).max(0.0), ((middle + reach) / (1.0 + z2 / n)).min(1.0))
}

fn ms(ns: i64) -> f64 {
    ns as f64 / MS_NS as f64
}
