//! Joins that were refused, counted by rule, key and reason, for pages. Filled by `graph` and `joining`.
//! Bounded: rules and reasons are few, keys are bounded by the book of keys.

use collector_table::TraceId;

use super::discovery::Discovery;
use super::graph::Group;
use super::keys::KeyId;
use crate::hash::{Map, Set};
use crate::join::{Refusal, Refused, Rule};

/// Traces for which a refusal was counted, so that it is not counted again; beyond it some are.
const NOTED_MAX: usize = 10_000;

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: Map<(Rule, KeyId, Refusal), (u64, TraceId)>,
    noted: Set<(TraceId, Rule, Refusal)>,
}

impl Refusals {
    /// Counts a refusal of all that a value joins, once a value and reason.
    pub(super) fn note_group(&mut self, group: &mut Group, why: Refusal, trace: TraceId) {
        if group.refused != Some(why) {
            group.refused = Some(why);
            self.note(group.rule, group.key, why, trace);
        }
    }

    /// Counts a refusal that is about one trace, once.
    pub(super) fn note_once(&mut self, about: TraceId, rule: Rule, key: KeyId, why: Refusal, trace: TraceId) {
        if self.noted.len() >= NOTED_MAX {
            self.noted.clear();
        }
        if self.noted.insert((about, rule, why)) {
            self.note(rule, key, why, trace);
        }
    }

    fn note(&mut self, rule: Rule, key: KeyId, why: Refusal, trace: TraceId) {
        let (count, last) = self.counts.entry((rule, key, why)).or_insert((0, trace));
        *count += 1;
        *last = trace;
    }

    /// Returns how many joins were refused.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().map(|(count, _)| count).sum()
    }

    /// Returns all, by rule, key and reason.
    pub(super) fn list(&self, discovery: &Discovery) -> Vec<Refused> {
        let refused = self.counts.iter().map(|(&(rule, key, why), &(count, trace_id))| Refused {
            rule,
            key: discovery.name(key),
            why,
            count,
            trace_id,
        });
        let mut all: Vec<Refused> = refused.collect();
        all.sort_by(|a, b| (a.rule, &a.key, a.why).cmp(&(b.rule, &b.key, b.why)));
        all
    }
}
