//! `incomplete_compensation`: a saga failed, and what was done before is not undone. Called by `kinds` for rates of stages
//! that are not undone.

use super::{Charge, Court, Words, percent, text};
use crate::detect::rates::{RateScope, RateVerdict};

/// Charges the one that undoes.
pub(super) fn charge(_court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Charge {
    Charge::of(scope, verdict, scope.occasion.by.clone(), "self")
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, failed) = (text(&occasion.by), occasion.to.as_ref().map_or_else(|| "a stage".to_owned(), text));
    Words {
        title: format!(
            "{by} does not undo: {} of failed sagas, usually {}",
            percent(charge.verdict.share()),
            percent(charge.verdict.usual())
        ),
        what: format!("{failed} fails, and {by} does not undo what was done before"),
        occasions: format!("sagas in which {failed} failed"),
        suggestions: vec![
            format!("Undo what is left by hand: the examples name the transactions that {by} should have undone."),
            format!("Look at what keeps {by} from running when {failed} fails."),
        ],
    }
}
