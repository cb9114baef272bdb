//! `wasted_work`: servers work on what their callers gave up on. Called by `kinds` for rates of calls whose called one
//! outlived them.

use super::{Charge, Court, Words, percent};
use crate::detect::rates::{Occasion, Of, RateScope, RateVerdict, Wrong};

/// Share of the called one's work that must be in vain.
const WASTED_MIN: f64 = 0.05;

/// Charges the one that works on.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let to = scope.occasion.to.clone()?;
    let from = court.block - verdict.blocks + 1;
    let rate = court.rates.place(&scope.occasion)?.rate(Wrong::WorkedOn)?;
    let wasted_ms = f64::from(rate.between(from, court.block).weight);
    let executions = Occasion { of: Of::Execution, by: to.clone(), to: None };
    let useful_ms =
        court.rates.place(&executions).map_or(0.0, |place| f64::from(place.between(from, court.block).good_ms));
    let share = wasted_ms / (wasted_ms + useful_ms).max(f64::MIN_POSITIVE);
    if share < WASTED_MIN {
        return None;
    }
    let mut charge = Charge::of(scope, verdict, to, "self");
    charge.notes.push(format!(
        "{:.1} s of work after nobody waited for it, {} of what was worked",
        wasted_ms / 1e3,
        percent(share)
    ));
    Some(charge)
}

pub(super) fn words(charge: &Charge) -> Words {
    let (by, to) = charge.ends();
    Words {
        title: format!(
            "{to} works for nobody: on {} of calls its caller has given up, usually {}",
            percent(charge.verdict.share()),
            percent(charge.verdict.usual())
        ),
        what: format!("{to} works on after {by} gave up"),
        occasions: format!("transactions with calls from {by} to {to}"),
        suggestions: vec![
            format!("Have {} stop when its caller is gone: pass deadlines on and look at them.", charge.service),
            format!("Look at why {to} takes longer than {by} waits."),
        ],
    }
}
