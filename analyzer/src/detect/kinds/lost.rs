//! `lost_message`: messages that are sent and not taken in. Called by `kinds` for rates of messages that did not come in
//! time although later ones did. Messages whose taker's spans are lost, or are sampled apart, look the same on the sender's
//! side: as many that are taken in and were sent by nobody speak against a loss.

use super::{Charge, Court, Words, context, percent};
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

/// Share of the usual traffic up to which fewer traces may be kept, how the share of messages that still come may compare
/// with that, and by how many standard deviations it may differ by chance where there are few.
const SAMPLED_TRAFFIC_MAX: f64 = 0.6;
const SAMPLED_FACTORS: std::ops::RangeInclusive<f64> = 0.4..=1.6;
const SAMPLED_Z: f64 = 3.0;
/// Blocks that are looked at for that, beside the window, which may reach back to before.
const SAMPLED_BLOCKS: [i64; 3] = [3, 6, 60];

/// Returns whether it looks as if fewer traces are kept than before: as much less is sent as comes of what is sent. Where
/// sender and taker are of different traces, as many takers are not kept as senders.
pub(super) fn is_sampled(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> bool {
    let Some(place) = court.rates.place(&scope.occasion) else { return false };
    let usual_of = verdict.reference.of_a_block();
    let is_sampled_in = |blocks: i64| {
        let (from, to) = (court.block - blocks + 1, court.block);
        let of = f64::from(place.between(from, to).of);
        // Whether what does not come looks lost or late is by chance then.
        let missing = |wrong: Wrong| place.rate(wrong).map_or(0.0, |rate| f64::from(rate.between(from, to).count));
        let comes = 1.0 - (missing(Wrong::Lost) + missing(Wrong::Behind)) / of.max(1.0);
        let traffic = of / (usual_of * blocks as f64).max(f64::MIN_POSITIVE);
        let expected = (1.0 - verdict.usual()) * traffic;
        let is_by_chance =
            || (comes - expected).abs() <= SAMPLED_Z * (expected * (1.0 - expected) / of.max(1.0)).sqrt();
        let is_alike = SAMPLED_FACTORS.contains(&(comes / expected.max(f64::MIN_POSITIVE)));
        traffic <= SAMPLED_TRAFFIC_MAX && (is_alike || is_by_chance())
    };
    SAMPLED_BLOCKS.into_iter().chain([verdict.blocks]).any(is_sampled_in)
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
