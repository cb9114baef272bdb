//! `queue_lag` by counts: messages that are not taken in in time, and what is sent after them neither. Called by `kinds` for
//! rates of messages that wait. How long they wait is known only of those that are taken in, so that this is what tells of
//! takers that have stopped; it cannot tell them from takers whose spans do not arrive any more.

use super::{Charge, Court, Words, lost, percent};
use crate::detect::rates::{RateScope, RateVerdict};

/// Charges the one that should take them in.
pub(super) fn charge(court: &Court<'_>, scope: &RateScope, verdict: &RateVerdict) -> Option<Charge> {
    if lost::is_sampled(court, scope, verdict) {
        return None;
    }
    Some(Charge::of(scope, verdict, scope.occasion.to.clone()?, "queue_wait"))
}

pub(super) fn words(charge: &Charge) -> Words {
    let (by, to) = charge.ends();
    let (share, usual) = (percent(charge.verdict.share()), percent(charge.verdict.usual()));
    Words {
        title: format!("{to} is behind: {share} of its messages wait too long, usually {usual}"),
        what: format!("{to} does not take in in time what {by} sends, nor what it sends later"),
        occasions: format!("messages from {by} to {to}"),
        suggestions: vec![
            format!("Look at whether {} runs, and at its rebalances, its number and its backlog.", charge.service),
            format!(
                "If it takes messages in, look at why its spans do not arrive: {} would look the same.",
                charge.service
            ),
        ],
    }
}
