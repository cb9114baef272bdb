//! `degraded_response`: answers lack what is usually part of them. A call that nearly every execution makes is left out, as
//! by an open circuit breaker, or a fallback answers in its place, and the caller succeeds. Called by `kinds` for rates of
//! calls that are left out.
//!
//! That a span is not there is no proof that something is wrong: spans get lost, another mix of requests or a new version
//! may not need the call, and then answers are quicker, too. So the call must have failed before it was left out.

use super::{Charge, Court, Words, context, percent};
use crate::detect::rates::{Occasion, Of, Place, RateScope, RateVerdict, Wrong};

/// Share of what is left out that must not have been tried: what is tried and fails is a burst of errors.
const UNTRIED_MIN: f64 = 0.5;
/// Blocks before the window in which failures may be why a call is left out.
const BEFORE_BLOCKS: i64 = 30;
/// Failures that may be why.
const FAILURES_MIN: u32 = 3;

/// Charges the one whose part is left out; or, if what the caller does went to transactions of its own, the caller.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    if let Some(charge) = context::charge_of_detached(court, scope, verdict) {
        return Some(charge);
    }
    let place = court.rates.place(&scope.occasion)?;
    let from = court.block - verdict.blocks + 1;
    let tried = place.rate(Wrong::Absorbed).map_or(0.0, |rate| f64::from(rate.between(from, court.block).weight));
    let untried = verdict.now.wrong - tried;
    if untried < UNTRIED_MIN * verdict.now.wrong {
        return None;
    }
    let failures = failures(court, scope, from - BEFORE_BLOCKS);
    if failures < FAILURES_MIN {
        return None;
    }
    let to = scope.occasion.to.clone()?;
    let cause = if place.is_reached { "self" } else { "uninstrumented_peer" };
    let mut charge = Charge::of(scope, verdict, to, cause);
    charge.notes.push(format!("the call failed {failures} times around the onset"));
    Some(charge)
}

/// Returns how often the call failed since a block, beyond what is usual.
fn failures(court: &Court<'_>, scope: &RateScope, from: i64) -> u32 {
    let beyond_usual = |place: &Place, wrong: Wrong| {
        let Some(rate) = place.rate(wrong) else { return 0 };
        let (usual_from, usual_to) = place.usual_blocks(from);
        let in_blocks = (court.block - from + 1) as f64 / (usual_to - usual_from + 1) as f64;
        let usual = f64::from(rate.between(usual_from, usual_to).count) * in_blocks;
        let now = rate.between(from, court.block).count;
        if f64::from(now) >= 2.0 * usual { now } else { 0 }
    };
    let wrongs = [Wrong::Absorbed, Wrong::CutOff, Wrong::Fails];
    let own = court.rates.place(&scope.occasion);
    let own: u32 = own.map_or(0, |place| wrongs.iter().map(|wrong| beyond_usual(place, *wrong)).sum());
    let called = scope.occasion.to.clone().map(|by| Occasion { of: Of::Execution, by, to: None });
    let called = called.and_then(|called| court.rates.place(&called));
    own + called.map_or(0, |place| beyond_usual(place, Wrong::Fails))
}

pub(super) fn words(charge: &Charge) -> Words {
    let (by, to) = charge.ends();
    Words {
        title: format!(
            "{by} answers without {}: {}, usually {}",
            charge.service,
            percent(charge.verdict.share()),
            percent(charge.verdict.usual())
        ),
        what: format!("{by} succeeds without what {to} does for it"),
        occasions: format!("successful executions of {by}"),
        suggestions: vec![
            format!("Look at {to} and at the circuit breaker towards it: {by} answers as if all were well."),
            format!("Find out what the answers of {by} lack meanwhile."),
        ],
    }
}
