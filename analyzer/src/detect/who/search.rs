//! Looks for values and combinations that are over-represented among the hurt. Every pair of the surest values is looked
//! at, and the surest pairs with a third: with bits that is quicker than a decision tree, misses no pair that a tree's first
//! split hides, and the correction for all of them is known. Called by [`super`].

use std::collections::BTreeSet;

use super::TOLD_MAX;
use super::exact::{LogFactorials, Share};
use super::sample::{Members, Sample};

/// Values of a combination.
const TOGETHER_MAX: usize = 3;
/// Values that are combined, the surest by themselves; those beyond it are only told by themselves.
pub(super) const COMBINED_MAX: usize = 64;
/// Transactions on either side before they are compared.
const SIDE_MIN: f64 = 8.0;
/// Factor by which a value must be more frequent among the hurt.
const FACTOR_MIN: f64 = 1.5;
/// Share of the hurt with a combination's other values that must have all of them.
const KEPT_SHARE: f64 = 0.75;
/// Share of the others with a combination's other values that may have all of them.
const OTHERS_LEFT_MAX: f64 = 0.5;

/// One value or some together, and who has them all.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Places in the sample's values.
    pub(super) places: Vec<usize>,
    members: Members,
    pub(super) hurt: Share,
    pub(super) others: Share,
    /// Decimal logarithm of the chance.
    log_chance: f64,
}

struct Search<'a> {
    sample: &'a Sample,
    factorials: LogFactorials,
    chance_max: f64,
}

/// Returns the groups that are over-represented by more than a chance over all of them together, the surest first; none that
/// is part of a larger one.
pub(super) fn over_represented(sample: &Sample, chance_max: f64) -> Vec<Group> {
    let (hurt, all) = (sample.hurt.count(), sample.count as f64);
    if hurt < SIDE_MIN || all - hurt < SIDE_MIN {
        return Vec::new();
    }
    let search = Search { sample, factorials: LogFactorials::up_to(all), chance_max };
    let mut singles: Vec<Group> = (0..sample.values.len()).map(|place| search.group(vec![place])).collect();
    singles.retain(|group| group.hurt.value() > group.others.value());
    sort(&mut singles);
    let combined: Vec<usize> = singles.iter().take(COMBINED_MAX).map(|group| group.places[0]).collect();
    let mut groups: Vec<Group> = singles.into_iter().filter(|group| search.is_over(group)).collect();
    let mut smaller: Vec<Vec<usize>> = combined.iter().map(|place| vec![*place]).collect();
    for _ in 1..TOGETHER_MAX {
        let mut larger = search.larger(&smaller, &combined);
        sort(&mut larger);
        smaller = larger.iter().take(TOLD_MAX).map(|group| group.places.clone()).collect();
        groups.extend(larger);
    }
    sort(&mut groups);
    search.told_apart(&groups)
}

fn sort(groups: &mut [Group]) {
    // Those that are equally sure keep the order in which their values were met.
    groups.sort_by(|a, b| a.log_chance.total_cmp(&b.log_chance).then_with(|| a.places.cmp(&b.places)));
}

impl Search<'_> {
    /// Returns the group of some places.
    fn group(&self, places: Vec<usize>) -> Group {
        let of = |place: usize| &self.sample.values[place].members;
        let mut members = places.first().map(|place| of(*place).clone()).unwrap_or_default();
        places.iter().skip(1).for_each(|place| members.keep(of(*place)));
        let (hurt, others) = self.sample.shares(&members);
        let log_chance = self.factorials.log_chance(hurt, others);
        Group { places, members, hurt, others, log_chance }
    }

    /// Returns the logarithm of the chance that a group of this size may have: each size has its part, and each group of all
    /// that there could be has its part of that.
    fn needed(&self, size: usize) -> f64 {
        let values = self.sample.values.len() as f64;
        let possible: f64 = (0..size).map(|place| (values - place as f64) / (place + 1) as f64).product();
        (self.chance_max / TOGETHER_MAX as f64 / possible.max(1.0)).log10()
    }

    fn is_over(&self, group: &Group) -> bool {
        let (share, others_share) = (group.hurt.value(), group.others.value());
        share >= FACTOR_MIN * others_share && group.log_chance <= self.needed(group.places.len())
    }

    /// Returns the groups with one place more of which all places are needed.
    fn larger(&self, smaller: &[Vec<usize>], combined: &[usize]) -> Vec<Group> {
        let mut larger: Vec<Group> = Vec::new();
        let mut seen: BTreeSet<Vec<usize>> = BTreeSet::new();
        for places in smaller {
            for place in combined.iter().filter(|place| !places.contains(place)) {
                let mut places = places.clone();
                places.push(*place);
                places.sort_unstable();
                if !seen.insert(places.clone()) {
                    continue;
                }
                let group = self.group(places);
                if self.is_over(&group) && self.needs_all(&group) {
                    larger.push(group);
                }
            }
        }
        larger
    }

    /// Returns whether each value of a group makes a difference to the others of it.
    fn needs_all(&self, group: &Group) -> bool {
        (0..group.places.len()).all(|without| {
            let mut places = group.places.clone();
            places.remove(without);
            self.adds(group, &self.group(places))
        })
    }

    /// Returns whether a group says more than a part of it: of those that have the part it keeps the hurt, far fewer of the
    /// others, and by more than chance.
    fn adds(&self, group: &Group, part: &Group) -> bool {
        let hurt = Share { with: group.hurt.with, of: part.hurt.with };
        let others = Share { with: group.others.with, of: part.others.with };
        hurt.value() >= KEPT_SHARE
            && others.value() <= OTHERS_LEFT_MAX
            && self.factorials.log_chance(hurt, others) <= self.needed(group.places.len())
    }

    /// Leaves out what is part of a larger group, and what says of the same transactions what was said already.
    fn told_apart(&self, groups: &[Group]) -> Vec<Group> {
        let is_part = |group: &Group| {
            let is_in = |larger: &Group| group.places.iter().all(|place| larger.places.contains(place));
            groups.iter().any(|larger| larger.places.len() > group.places.len() && is_in(larger))
        };
        let found = |group: &Group| self.sample.values[group.places[0]].found;
        let mut told: Vec<Group> = Vec::new();
        for group in groups.iter().filter(|group| !is_part(group)) {
            let is_said = |known: &Group| match group.places.len() {
                1 => known.places.len() == 1 && found(known) == found(group),
                _ => known.members == group.members,
            };
            if !told.iter().any(is_said) {
                told.push(group.clone());
            }
        }
        told
    }
}
