//! Whom an incident hurts: attribute values, and combinations of them, that are more frequent among the hurt transactions
//! than among the others, by Fisher's exact test. Called when an incident is told.
//!
//! A combination is told if each of its values is needed: without it far more of the others would have the rest, and among
//! those that have the rest it is over-represented by the exact test. The chance of a mistake is shared by the sizes of
//! combinations, and within a size by all that there could be, so that it does not matter which were looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::recent::Brief;
use super::traits::{TraitId, Traits};

mod exact;
mod sample;
mod search;

use self::sample::Sample;
use self::search::Group;

/// Chance of a mistake over all values and combinations together.
const CHANCE_MAX: f64 = 1e-4;
/// Values and combinations that are told.
const TOLD_MAX: usize = 4;
/// Share of the hurt that have a value, and of the others, from which on only those are hurt.
const ONLY_SHARE: f64 = 0.9;
const ONLY_OTHERS_MAX: f64 = 0.7;

/// A value or a combination that is over-represented.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Over {
    /// In words.
    pub(super) text: String,
    /// One value, or those that are needed together.
    pub(super) values: Vec<TraitId>,
    /// Whether nearly all that are hurt have it, and many others do not.
    pub(super) is_only: bool,
}

/// Returns what is over-represented among hurt transactions, the surest first. What the resources of blamed services say
/// counts for itself too, because others of the transaction may run elsewhere.
pub(super) fn over_represented<'a>(
    traits: &Traits,
    briefs: impl Iterator<Item = &'a Brief>,
    blamed: &'a BTreeSet<Arc<str>>,
    is_hurt: impl Fn(&Brief) -> bool,
) -> Vec<Over> {
    let sample = Sample::of(traits, briefs, blamed, is_hurt);
    let mut groups = search::over_represented(&sample, CHANCE_MAX);
    groups.truncate(TOLD_MAX);
    groups.iter().map(|group| over(traits, &sample, group)).collect()
}

fn over(traits: &Traits, sample: &Sample, group: &Group) -> Over {
    let values = group.places.iter().map(|place| &sample.values[*place]);
    let mut names: Vec<String> = values.clone().map(|value| value.in_words(traits)).collect();
    // In which order values were met is chance.
    names.sort();
    let (share, others_share) = (group.hurt.value(), group.others.value());
    let text = format!(
        "{}: {:.0}% of those hurt, {:.0}% of the others",
        names.join(" and "),
        share * 100.0,
        others_share * 100.0
    );
    let is_only = share >= ONLY_SHARE && others_share <= ONLY_OTHERS_MAX;
    Over { text, values: values.map(|value| value.found).collect(), is_only }
}

#[cfg(test)]
mod tests;
