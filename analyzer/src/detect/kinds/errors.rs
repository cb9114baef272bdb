//! `error_burst`: an operation fails more often than it did, by itself: nothing that it called explains it. Called by
//! `kinds` for rates of failures. A status of the client's fault (4xx) is no error unless the span says so, and an error of
//! a called one is the called one's.

use super::{Charge, Court, Words, percent, text};
use crate::detect::rates::{Of, RateScope, RateVerdict, Wrong};

/// Charges the operation that fails, or the one that is called and fails its caller.
pub(super) fn charge(_court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Charge {
    let occasion = &scope.occasion;
    let charged = occasion.to.as_ref().unwrap_or(&occasion.by).clone();
    let cause = match (occasion.of, scope.wrong) {
        (Of::Execution, _) => "self",
        (_, Wrong::CutOff) => "network_gap",
        _ => "uninstrumented_peer",
    };
    Charge::of(scope, verdict, charged, cause)
}

pub(super) fn words(charge: &Charge) -> Words {
    let (occasion, share) = (&charge.scope.occasion, percent(charge.verdict.share()));
    let usual = percent(charge.verdict.usual());
    let charged = charge
        .operation
        .clone()
        .map_or_else(|| charge.service.to_string(), |operation| text(&(charge.service.clone(), operation)));
    let (what, occasions) = match &occasion.to {
        None => (format!("{charged} fails by itself"), format!("executions of {charged}")),
        Some(to) if charge.scope.wrong == Wrong::CutOff => (
            format!("{} gives up on {}, and fails by that", text(&occasion.by), text(to)),
            format!("calls from {} to {}", text(&occasion.by), text(to)),
        ),
        Some(to) => (
            format!("{} fails, and {} by that", text(to), text(&occasion.by)),
            format!("calls from {} to {}", text(&occasion.by), text(to)),
        ),
    };
    let look = match &occasion.to {
        None => format!("Look at the errors that {charged} reports: nothing that it calls failed before it."),
        Some(to) => format!("Look at {}: its caller {} fails because of it.", text(to), text(&occasion.by)),
    };
    Words { title: format!("{charged} fails: {share}, usually {usual}"), what, occasions, suggestions: vec![look] }
}
