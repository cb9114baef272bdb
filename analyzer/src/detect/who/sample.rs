//! The transactions that are compared, a bit each: who is hurt, and who has which value. Built when an incident is told.
//! Bounded by what is remembered of transactions and traits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::exact::Share;
use crate::detect::recent::Brief;
use crate::detect::traits::{Said, TraitId, Traits};
use crate::hash::Map;

/// Transactions, a bit each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Members(Vec<u64>);

impl Members {
    pub(super) fn add(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    /// Keeps those that are in both.
    pub(super) fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    pub(super) fn count(&self) -> f64 {
        f64::from(self.0.iter().map(|word| word.count_ones()).sum::<u32>())
    }

    /// Counts those that are in both.
    pub(super) fn count_shared(&self, other: &Self) -> f64 {
        f64::from(self.0.iter().zip(&other.0).map(|(word, other)| (word & other).count_ones()).sum::<u32>())
    }
}

/// A value and who has it.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) found: TraitId,
    /// Service whose resource says it; none if it does not matter who does.
    pub(super) service: Option<Arc<str>>,
    pub(super) members: Members,
}

impl Value {
    pub(super) fn in_words(&self, traits: &Traits) -> String {
        let (key, value) = traits.name(self.found).unwrap_or_default();
        match &self.service {
            Some(service) => format!("{key} of {service} = {value}"),
            None => format!("{key} = {value}"),
        }
    }
}

/// All transactions and all values that some of them have and some do not.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) hurt: Members,
    pub(super) count: usize,
    pub(super) values: Vec<Value>,
}

impl Sample {
    /// Returns the sample of some transactions.
    pub(super) fn of<'a>(
        traits: &Traits,
        briefs: impl Iterator<Item = &'a Brief>,
        blamed: &'a BTreeSet<Arc<str>>,
        is_hurt: impl Fn(&Brief) -> bool,
    ) -> Self {
        let mut sample = Self::default();
        let mut places: Map<(TraitId, Option<&Arc<str>>), usize> = Map::default();
        for (number, brief) in briefs.enumerate() {
            sample.count = number + 1;
            if is_hurt(brief) {
                sample.hurt.add(number);
            }
            let mut has = |found: TraitId, service: Option<&'a Arc<str>>| {
                let values = &mut sample.values;
                let place = *places.entry((found, service)).or_insert_with(|| {
                    values.push(Value { found, service: service.cloned(), members: Members::default() });
                    values.len() - 1
                });
                values[place].members.add(number);
            };
            for said in &brief.said {
                match *said {
                    Said::Value(found) => has(found, None),
                    Said::Resource(resource) => {
                        let Some(resource) = traits.resource(resource) else { continue };
                        let service = blamed.get(&*resource.service);
                        for found in &resource.traits {
                            has(*found, None);
                            service.into_iter().for_each(|service| has(*found, Some(service)));
                        }
                    }
                }
            }
        }
        sample.drop_alike(traits);
        sample
    }

    /// Lets go of values that tell nothing, whoever is hurt: those that all have, those of ids, and those of a service that
    /// are the same without it.
    fn drop_alike(&mut self, traits: &Traits) {
        let all = self.count as f64;
        self.values.retain(|value| value.members.count() < all && traits.name(value.found).is_some());
        let of_any: Map<TraitId, Members> = self
            .values
            .iter()
            .filter(|value| value.service.is_none())
            .map(|value| (value.found, value.members.clone()))
            .collect();
        self.values.retain(|value| value.service.is_none() || of_any.get(&value.found) != Some(&value.members));
    }

    /// Returns which of the hurt, and of the others, are members.
    pub(super) fn shares(&self, members: &Members) -> (Share, Share) {
        let (hurt, with) = (self.hurt.count(), members.count_shared(&self.hurt));
        let others = Share { with: members.count() - with, of: self.count as f64 - hurt };
        (Share { with, of: hurt }, others)
    }
}
