//! `broken_context`: a service does not pass on to which transaction its work belongs. Called by `kinds` for rates of calls
//! whose called one does not show, and of calls that are left out.
//!
//! Spans that are missing alone say nothing: they get lost. Both sides must show: calls whose called one is missing, *and*
//! about as many executions of it that begin transactions of their own.

use std::sync::Arc;

use super::{Charge, Court, Words, percent, text};
use crate::detect::rates::{Name, Occasion, Of, Place, RateScope, RateVerdict, Wrong};

/// Part of what is missing on one side that must appear on the other.
const APPEARS_MIN: f64 = 0.5;
/// Blocks before the window in which a version may have come that is to blame.
const VERSION_BLOCKS: i64 = 90;

/// Charges the caller or the called one of calls whose called one does not show.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let (by, to) = (scope.occasion.by.clone(), scope.occasion.to.clone()?);
    let first = court.block - verdict.blocks + 1;
    let executions = Occasion { of: Of::Execution, by: to.clone(), to: None };
    let appeared = beyond_usual(court.rates.place(&executions)?, Wrong::Begins, first, court.block);
    let missing = verdict.excess() * verdict.now.of;
    if appeared < APPEARS_MIN * missing {
        return None;
    }
    let charged = charged(court, &by, &to, first);
    let mut charge = Charge::of(scope, verdict, charged, "self");
    charge.version = court.changes.newest(&charge.service, first - VERSION_BLOCKS);
    charge.notes.push(format!("{appeared:.0} executions of {} began transactions of their own", text(&to)));
    Some(charge)
}

/// Charges a caller whose calls are left out of its executions, and begin transactions of their own instead.
pub(super) fn charge_of_detached(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let by = &scope.occasion.by;
    let first = court.block - verdict.blocks + 1;
    let is_its_own = |occasion: &Occasion| occasion.of == Of::Execution && occasion.by.0 == by.0 && occasion.by != *by;
    let places = court.rates.occasions.slots.iter().filter(|(_, occasion, _)| is_its_own(occasion));
    let appeared: f64 = places.map(|(.., place)| beyond_usual(place, Wrong::Begins, first, court.block)).sum();
    if appeared < APPEARS_MIN * verdict.excess() * verdict.now.of {
        return None;
    }
    let mut charge = Charge::of(scope, verdict, by.clone(), "self");
    charge.kind = crate::incident::IncidentKind::BrokenContext;
    charge.version = court.changes.newest(&by.0, first - VERSION_BLOCKS);
    charge.notes.push(format!("{appeared:.0} calls of {} began transactions of their own", by.0));
    Some(charge)
}

/// Charges the sender or the taker of messages that come and do not say where they come from.
pub(super) fn charge_of_messages(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Charge {
    let by = scope.occasion.by.clone();
    let to = scope.occasion.to.clone().unwrap_or_else(|| by.clone());
    let first = court.block - verdict.blocks + 1;
    let charged = charged(court, &by, &to, first);
    let mut charge = Charge::of(scope, verdict, charged, "self");
    charge.kind = crate::incident::IncidentKind::BrokenContext;
    charge.version = court.changes.newest(&charge.service, first - VERSION_BLOCKS);
    charge
}

/// Returns how often it went wrong in blocks `from..=to`, beyond the share of occasions on which it did before.
pub(super) fn beyond_usual(place: &Place, wrong: Wrong, from: i64, to: i64) -> f64 {
    let Some(rate) = place.rate(wrong) else { return 0.0 };
    let (now, of) = (f64::from(rate.between(from, to).count), f64::from(place.between(from, to).of));
    let before = place.usual_blocks(from);
    let usual_of = f64::from(place.between(before.0, before.1).of);
    let usual = f64::from(rate.between(before.0, before.1).count);
    (now - of * usual / usual_of.max(1.0)).max(0.0)
}

/// Returns which end is to blame: the one that has a new version, or the one that the other ends have in common. Passing on
/// is what callers do, so where nothing decides, it is the caller.
fn charged(court: &Court<'_>, by: &Name, to: &Name, first: i64) -> Name {
    let is_new = |service: &Arc<str>| court.changes.newest(service, first - VERSION_BLOCKS).is_some();
    match (is_new(&by.0), is_new(&to.0)) {
        (true, false) => return by.clone(),
        (false, true) => return to.clone(),
        _ => {}
    }
    let hot = court.hot.iter().filter(|(scope, _)| scope.wrong == Wrong::Unreached).map(|(scope, _)| &scope.occasion);
    let (mut callers, mut called): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for occasion in hot {
        let Some(other) = &occasion.to else { continue };
        if other.0 == to.0 && !callers.contains(&&*occasion.by.0) {
            callers.push(&occasion.by.0);
        }
        if occasion.by.0 == by.0 && !called.contains(&&*other.0) {
            called.push(&other.0);
        }
    }
    if callers.len() > called.len() { to.clone() } else { by.clone() }
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, to) = charge.ends();
    let version = charge.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let (what, occasions) = match occasion.of {
        Of::Message => (format!("{to} takes in messages of {by} without a trace of where they come from"), "messages"),
        _ => (format!("work that {by} asks {to} for is told as a transaction of its own"), "calls"),
    };
    Words {
        title: format!(
            "{}{version} breaks the context: {} of {occasions} to {} lead nowhere, usually {}",
            charge.service,
            percent(charge.verdict.share()),
            occasion.to.as_ref().map_or("others", |to| &to.0),
            percent(charge.verdict.usual())
        ),
        what,
        occasions: format!("{occasions} from {by} to {to}"),
        suggestions: vec![format!(
            "Look at how {}{version} passes on trace headers: its SDK, propagators and asynchronous calls.",
            charge.service
        )],
    }
}
