//! `retry_storm`: calls are tried again so often that it adds to the load of the one that is called. Called by `kinds` for
//! rates of calls that are tried again. A few attempts more, which a fault of any kind brings, are no storm: the load must
//! grow by a share that matters.

use super::{Charge, Court, Words, percent};
use crate::detect::rates::{Of, RateScope, RateVerdict, Wrong};

/// Attempts a call, beyond the first, from which on the load matters.
const FURTHER_MIN: f64 = 0.12;
/// The same where attempts are answered with errors and not given up on: so many more are what errors make of them.
const FURTHER_OF_ERRORS_MIN: f64 = 0.5;
/// Factor by which attempts a call must have grown.
const GROWTH_MIN: f64 = 1.1;
/// Layers of callers over which attempts are multiplied, at most.
const LAYERS_MAX: usize = 8;

/// Charges the one that is called and was the last to be called so often.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let to = scope.occasion.to.clone()?;
    let first = court.block - verdict.blocks + 1;
    let (now, good_now) = attempts(court, scope, first, court.block)?;
    let (usual_from, usual_to) = court.rates.place(&scope.occasion)?.usual_blocks(first);
    let (usual, good_usual) = attempts(court, scope, usual_from, usual_to)?;
    let further_min = if is_of_errors(court, scope, first) { FURTHER_OF_ERRORS_MIN } else { FURTHER_MIN };
    if now - 1.0 < further_min || now < GROWTH_MIN * usual {
        return None;
    }
    let mut charge = Charge::of(scope, verdict, to, "retry");
    charge.notes.push(format!("{now:.1} attempts a call, usually {usual:.1}"));
    let layers = layers(court, scope);
    if layers.len() > 1 {
        let product: f64 = layers.iter().product();
        charge.notes.push(format!("over {} layers of callers {product:.1} attempts for each call", layers.len()));
    }
    charge.notes.push(format!("{} of calls succeed, usually {}", percent(good_now), percent(good_usual)));
    Some(charge)
}

/// Returns whether most calls that were tried again had been answered with an error.
fn is_of_errors(court: &Court<'_>, scope: &RateScope, first: i64) -> bool {
    let Some(place) = court.rates.place(&scope.occasion) else { return false };
    let count = |wrong: Wrong| place.rate(wrong).map_or(0, |rate| rate.between(first, court.block).count);
    2 * count(Wrong::RetriedErrors) > count(Wrong::Retried)
}

/// Returns attempts a call in some blocks, and the share of transactions in which the call succeeded and was worth it.
fn attempts(court: &Court<'_>, scope: &RateScope, from: i64, to: i64) -> Option<(f64, f64)> {
    let place = court.rates.place(&scope.occasion)?;
    let tally = place.between(from, to);
    let further = place.rate(Wrong::Retried).map_or(0.0, |rate| f64::from(rate.between(from, to).weight));
    let all = f64::from(tally.all).max(1.0);
    Some((1.0 + further / all, f64::from(tally.good) / f64::from(tally.of.max(1))))
}

/// Returns attempts a call of this hop and of those above it that are tried again more than usual.
fn layers(court: &Court<'_>, scope: &RateScope) -> Vec<f64> {
    let mut layers = Vec::new();
    let mut at = scope;
    for _ in 0..LAYERS_MAX {
        let Some((_, verdict)) = court.hot.iter().find(|(hot, _)| hot == at) else { break };
        let Some((now, _)) = attempts(court, at, court.block - verdict.blocks + 1, court.block) else { break };
        layers.push(now);
        let is_above = |hot: &&(RateScope, RateVerdict)| {
            hot.0.wrong == Wrong::Retried && hot.0.occasion.to.as_ref() == Some(&at.occasion.by) && hot.0 != *at
        };
        match court.hot.iter().find(is_above) {
            Some((above, _)) => at = above,
            None => break,
        }
    }
    layers
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, to) = charge.ends();
    debug_assert!(occasion.of == Of::Call, "only calls are tried again");
    Words {
        title: format!(
            "{} is called again and again: {} of calls are retried, usually {}",
            charge.service,
            percent(charge.verdict.share()),
            percent(charge.verdict.usual())
        ),
        what: format!("{by} tries its call to {to} again"),
        occasions: format!("transactions with calls from {by} to {to}"),
        suggestions: vec![
            format!("Stop or slow down the retries towards {}: they add to its load.", charge.service),
            format!(
                "Look at what made {} slow or fail at the onset; it may be over while the retries go on.",
                charge.service
            ),
        ],
    }
}
