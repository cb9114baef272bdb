//! Whom an incident hurts: attribute values that are more frequent among the hurt transactions than among the others, by
//! Fisher's exact test, corrected for how many values were looked at. Called when an incident is told.

use std::collections::BTreeMap;

use super::recent::Brief;
use super::traits::{TraitId, Traits};

/// Chance of a mistake over all values together.
const CHANCE_MAX: f64 = 1e-4;
/// Factor by which a value must be more frequent among the hurt.
const FACTOR_MIN: f64 = 1.5;
/// Values that are told.
const TOLD_MAX: usize = 4;
/// Share of the hurt that have a value, and of the others, from which on only those are hurt.
const ONLY_SHARE: f64 = 0.9;
const ONLY_OTHERS_MAX: f64 = 0.7;
/// Transactions on either side before they are compared.
const SIDE_MIN: f64 = 8.0;

/// A value that is over-represented.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Over {
    /// In words.
    pub(super) text: String,
    /// Whether nearly all that are hurt have it, and many others do not.
    pub(super) is_only: bool,
    /// Decimal logarithm of the chance.
    pub(super) log_chance: f64,
}

/// Returns the values that are over-represented among hurt transactions, the surest first.
pub(super) fn over_represented<'a>(
    traits: &Traits,
    briefs: impl Iterator<Item = &'a Brief>,
    is_hurt: impl Fn(&Brief) -> bool,
) -> Vec<Over> {
    let mut counts: BTreeMap<TraitId, (f64, f64)> = BTreeMap::new();
    let (mut hurt, mut others) = (0.0, 0.0);
    for brief in briefs {
        let is_hurt = is_hurt(brief);
        *(if is_hurt { &mut hurt } else { &mut others }) += 1.0;
        for found in &brief.traits {
            let count = counts.entry(*found).or_default();
            *(if is_hurt { &mut count.0 } else { &mut count.1 }) += 1.0;
        }
    }
    if hurt < SIDE_MIN || others < SIDE_MIN {
        return Vec::new();
    }
    let tested = counts.len().max(1) as f64;
    let needed = (CHANCE_MAX / tested).log10();
    let factorials = LogFactorials::up_to(hurt + others);
    let mut found: Vec<Over> = Vec::new();
    for (number, (with, others_with)) in counts {
        let (share, others_share) = (with / hurt, others_with / others);
        let Some((key, value)) = traits.name(number).filter(|_| share >= FACTOR_MIN * others_share) else { continue };
        let log_chance = factorials.upper_tail(with, hurt, with + others_with, hurt + others);
        if log_chance <= needed {
            let text = format!(
                "{key} = {value}: {:.0}% of those hurt, {:.0}% of the others",
                share * 100.0,
                others_share * 100.0
            );
            found.push(Over { text, is_only: share >= ONLY_SHARE && others_share <= ONLY_OTHERS_MAX, log_chance });
        }
    }
    found.sort_by(|a, b| a.log_chance.total_cmp(&b.log_chance));
    found.truncate(TOLD_MAX);
    found
}

/// Decimal logarithms of factorials.
struct LogFactorials(Vec<f64>);

impl LogFactorials {
    fn up_to(n: f64) -> Self {
        let mut logs = vec![0.0, 0.0];
        for number in 2..=index(n) {
            logs.push(logs[number - 1] + (number as f64).log10());
        }
        Self(logs)
    }

    fn of(&self, n: f64) -> f64 {
        self.0.get(index(n)).copied().unwrap_or(0.0)
    }

    fn choose(&self, n: f64, k: f64) -> f64 {
        self.of(n) - self.of(k) - self.of(n - k)
    }

    /// Returns the decimal logarithm of the chance that at least `with` of `hurt` drawn ones have a value that
    /// `all_with` of `all` have.
    fn upper_tail(&self, with: f64, hurt: f64, all_with: f64, all: f64) -> f64 {
        let log_of = |k: f64| self.choose(all_with, k) + self.choose(all - all_with, hurt - k) - self.choose(all, hurt);
        let first = log_of(with);
        let (mut sum, mut k) = (0.0, with);
        while k <= hurt.min(all_with) {
            let term = 10f64.powf(log_of(k) - first);
            sum += term;
            // What follows only becomes smaller.
            if term < 1e-6 * sum {
                break;
            }
            k += 1.0;
        }
        (first + sum.max(f64::MIN_POSITIVE).log10()).min(0.0)
    }
}

/// Returns a count, which is kept as a float, as an index.
fn index(n: f64) -> usize {
    // Counts are of transactions in memory, far below 2^32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = n.max(0.0) as usize;
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_exact_test() {
        // Fisher's tea: 3 of 4 right is 17/70, 4 of 4 is 1/70.
        let factorials = LogFactorials::up_to(8.0);
        assert!((factorials.upper_tail(3.0, 4.0, 4.0, 8.0) - (17.0f64 / 70.0).log10()).abs() < 1e-9);
        assert!((factorials.upper_tail(4.0, 4.0, 4.0, 8.0) - (1.0f64 / 70.0).log10()).abs() < 1e-9);
        assert!(factorials.upper_tail(0.0, 4.0, 4.0, 8.0).abs() < 1e-9);
    }
}
