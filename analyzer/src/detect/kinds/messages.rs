//! `duplicate_processing` and `out_of_order`: messages that are taken in twice, or before earlier ones, and work for one
//! value of a business key that is done twice. Called by `kinds` for rates of messages and requests that are taken in. Queues
//! that deliver at least once do both now and then; only more than usual counts.

use super::{Charge, Court, Words, percent, text};
use crate::detect::rates::{ONCE_AGAIN_MAX, Of, RateScope, RateVerdict, Wrong};
use crate::detect::series::MINUTE_BLOCKS;

/// How many times what traffic explains the share of repetitions of a value must be.
const BEYOND_CHANCE: f64 = 3.0;

/// Charges the one that takes them in.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    let charge = Charge::of(scope, verdict, scope.occasion.by.clone(), "self");
    let is_work = scope.wrong == Wrong::Twice && charge.is_by_key();
    (!is_work || is_no_chance(court, scope, verdict)).then_some(charge)
}

/// Returns whether values that come again are repetitions of work. By chance they come again, too, and the more often the
/// more traffic there is; that none did before says little where there were few.
fn is_no_chance(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> bool {
    let Some(place) = court.rates.place(&scope.occasion) else { return false };
    let (from, to) = place.usual_blocks(court.block - verdict.blocks + 1);
    // What is older than the half hour tells of the share, and not of the traffic.
    let usual_of = f64::from(place.between(from, to).of);
    let usual_blocks = verdict.reference.minutes.max(1) as f64 * MINUTE_BLOCKS as f64;
    let traffic = verdict.now.of / verdict.blocks as f64 / (usual_of.max(1.0) / usual_blocks);
    let usual = &verdict.reference.count;
    let chance = (usual.wrong + 1.0) / (usual.of + 1.0);
    verdict.usual() <= ONCE_AGAIN_MAX && verdict.share() >= BEYOND_CHANCE * chance * traffic.max(1.0)
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, now, usual) = (text(&occasion.by), percent(charge.verdict.share()), percent(charge.verdict.usual()));
    let things = match (&occasion.to, occasion.of) {
        (Some((_, key)), Of::Turn) => format!("messages about one {key}"),
        (Some((_, key)), _) => format!("work for one {key}"),
        (None, Of::Request) => "requests with an idempotency key".to_owned(),
        (None, _) => "messages".to_owned(),
    };
    if charge.scope.wrong == Wrong::Disordered {
        return Words {
            title: format!("{by} takes {things} in out of order: {now}, usually {usual}"),
            what: format!("{by} takes {things} in before earlier ones"),
            occasions: format!("{things} of {by}"),
            suggestions: vec![
                format!("Look at how {} shares partitions and keys among workers.", occasion.by.0),
                "Look for retries that put a message behind later ones.".to_owned(),
            ],
        };
    }
    let verb = if charge.is_by_key() { "does the" } else { "handles" };
    Words {
        title: format!("{by} {verb} {things} twice: {now}, usually {usual}"),
        what: format!("{by} does again what it had done"),
        occasions: format!("{things} of {by}"),
        suggestions: vec![
            format!("Look at when {} acknowledges: what it does may take longer than the queue waits.", occasion.by.0),
            "Look for producers that send again, and whether what is done twice is harmless.".to_owned(),
        ],
    }
}
