//! `lost_message`: messages that are sent and not taken in. Called by `kinds` for rates of messages that did not come in
//! time although later ones did. Messages whose taker's spans are lost, or are sampled apart, look the same on the sender's
//! side: as many that are taken in and were sent by nobody speak against a loss.

use super::{Charge, Court, Words, context, is_sampled, percent};
use crate::detect::rates::{Occasion, Of, RateScope, RateVerdict, Wrong};

/// Part of what did not come that must have come without a sender, to say that it came.
const UNCAUSED_MIN: f64 = 0.5;

/// Charges the one that should have taken them in; or who broke the context, if they came and do not say from where.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let to = scope.occasion.to.clone()?;
    if is_sampled(court, scope, verdict) {
        return None;
    }
    // What did not come is known later than what came without a sender.
    let first = court.block - 2 * verdict.blocks;
    let missing = verdict.excess() * verdict.now.of;
    let executions = Occasion { of: Of::Execution, by: to.clone(), to: None };
    let beyond_usual = |wrong: Wrong| {
        let place = court.rates.place(&executions);
        place.map_or(0.0, |place| context::beyond_usual(place, wrong, first, court.block))
    };
    if beyond_usual(Wrong::Begins) >= UNCAUSED_MIN * missing {
        return Some(context::charge_of_messages(court, scope, verdict));
    }
    if beyond_usual(Wrong::Uncaused) >= UNCAUSED_MIN * missing {
        return None;
    }
    Some(Charge::of(scope, verdict, to, "queue_wait"))
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, to) = charge.ends();
    Words {
        title: format!(
            "messages to {to} get lost: {}, usually {}",
            percent(charge.verdict.share()),
            percent(charge.verdict.usual())
        ),
        what: format!("what {by} sends does not come to {to}, although what it sends later does"),
        occasions: format!("messages from {by} to {to}"),
        suggestions: vec![
            format!(
                "Look at the queue between {} and {}: drops, expiry, dead letters, filters.",
                occasion.by.0, charge.service
            ),
            format!("Look at whether {} takes messages in and gives them up without a span.", charge.service),
        ],
    }
}
