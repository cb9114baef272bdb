//! `duplicate_processing` and `out_of_order`: messages that are taken in twice, or before earlier ones. Called by `kinds`
//! for rates of messages that are taken in. Queues that deliver at least once do both now and then; only more than usual
//! counts.

use super::{Charge, Court, Words, percent, text};
use crate::detect::rates::{Of, RateScope, RateVerdict, Wrong};

/// Charges the one that takes them in.
pub(super) fn charge(_court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Charge {
    Charge::of(scope, verdict, scope.occasion.by.clone(), "self")
}

pub(super) fn words(charge: &Charge) -> Words {
    let occasion = &charge.scope.occasion;
    let (by, now, usual) = (text(&occasion.by), percent(charge.verdict.share()), percent(charge.verdict.usual()));
    let things = if occasion.of == Of::Request { "requests with an idempotency key" } else { "messages" };
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
    Words {
        title: format!("{by} handles {things} twice: {now}, usually {usual}"),
        what: format!("{by} does again what it had done"),
        occasions: format!("{things} of {by}"),
        suggestions: vec![
            format!("Look at when {} acknowledges: what it does may take longer than the queue waits.", occasion.by.0),
            "Look for producers that send again, and whether what is done twice is harmless.".to_owned(),
        ],
    }
}
