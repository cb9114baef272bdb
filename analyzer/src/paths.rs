//! Critical paths of like transactions added up, so that pages show where a type's time goes without reading them all.
//! Fed by the analyzer with every transaction once. Bounded by types and by steps of each; what is beyond is added up as
//! others, so that the sums stay right.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::Serialize;

use crate::hash::Map;
use crate::span::Site;
use crate::transaction::{Cause, Transaction};

/// Types whose paths are added up; transactions of further ones are left out, and counted.
const TYPES_MAX: usize = 1_000;
/// Steps that are told apart for each type.
const STEPS_MAX: usize = 100;

/// Where the time of a transaction type goes.
#[derive(Debug, Clone, Serialize)]
pub struct TypePath {
    /// Service of the root.
    pub service: String,
    /// Operation of the root.
    pub operation: String,
    /// Transactions that were added up.
    pub transactions: u64,
    /// Nanoseconds of all of them.
    pub duration_ns: i64,
    /// Owners and causes, those with the most time first; they sum to `duration_ns`.
    pub steps: Vec<PathStep>,
}

/// Time of one owner by one cause.
#[derive(Debug, Clone, Serialize)]
pub struct PathStep {
    /// Service of the owner; empty for the rest.
    pub service: String,
    /// Operation of the owner; empty for the rest.
    pub operation: String,
    /// Why the time passed, or `other` for the rest.
    pub cause: &'static str,
    /// Nanoseconds over all transactions.
    pub self_ns: i64,
}

#[derive(Debug)]
struct Totals {
    root: Arc<Site>,
    transactions: u64,
    duration_ns: i64,
    steps: Map<(u64, Cause), (Arc<Site>, i64)>,
    others_ns: i64,
}

/// Critical paths added up by type.
#[derive(Debug, Default)]
pub(crate) struct PathTotals {
    types: Map<u64, Totals>,
    left_out: u64,
}

impl PathTotals {
    /// Adds a transaction. Later revisions, and parts that came too late, would count the same work twice.
    pub(crate) fn add(&mut self, transaction: &Transaction) {
        if transaction.revision != 1 {
            return;
        }
        let root = &transaction.root_span().site;
        if self.types.len() >= TYPES_MAX && !self.types.contains_key(&root.shape) {
            self.left_out += 1;
            return;
        }
        let totals = self.types.entry(root.shape).or_insert_with(|| Totals {
            root: root.clone(),
            transactions: 0,
            duration_ns: 0,
            steps: Map::default(),
            others_ns: 0,
        });
        totals.transactions += 1;
        totals.duration_ns = totals.duration_ns.saturating_add(transaction.duration_ns);
        for segment in &transaction.critical_path {
            let owner = &transaction.spans[segment.span].site;
            let (key, length_ns) = ((owner.shape, segment.cause), segment.end_ns - segment.start_ns);
            if totals.steps.len() >= STEPS_MAX && !totals.steps.contains_key(&key) {
                totals.others_ns = totals.others_ns.saturating_add(length_ns);
                continue;
            }
            let step = totals.steps.entry(key).or_insert_with(|| (owner.clone(), 0));
            step.1 = step.1.saturating_add(length_ns);
        }
    }

    /// Returns all types, those with the most time first.
    pub(crate) fn list(&self) -> Vec<TypePath> {
        let mut types: Vec<TypePath> = self.types.values().map(Totals::path).collect();
        types.sort_by(|a, b| {
            let by = |one: &TypePath| (Reverse(one.duration_ns), one.service.clone(), one.operation.clone());
            by(a).cmp(&by(b))
        });
        types
    }

    /// Returns how many transactions were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Totals {
    fn path(&self) -> TypePath {
        let named = self.steps.iter().map(|((_, cause), (owner, self_ns))| PathStep {
            service: owner.service.to_string(),
            operation: owner.operation.to_string(),
            cause: cause.as_str(),
            self_ns: *self_ns,
        });
        let mut steps: Vec<PathStep> = named.collect();
        steps.sort_by(|a, b| {
            let by =
                |step: &PathStep| (Reverse(step.self_ns), step.service.clone(), step.operation.clone(), step.cause);
            by(a).cmp(&by(b))
        });
        if self.others_ns > 0 {
            let (service, operation) = (String::new(), String::new());
            steps.push(PathStep { service, operation, cause: "other", self_ns: self.others_ns });
        }
        TypePath {
            service: self.root.service.to_string(),
            operation: self.root.operation.to_string(),
            transactions: self.transactions,
            duration_ns: self.duration_ns,
            steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{lines, table};
    use crate::stitch::assemble;

    #[test]
    fn paths_of_a_type_add_up_and_steps_beyond_the_bound_are_others() {
        let mut totals = PathTotals::default();
        let one = "
            web GET / 0..100
              web client GET 10..90 peer=bank:443

            web GET / 0..60
              web client GET 10..50 peer=bank:443
        ";
        assemble(&[table(&lines(one))]).iter().for_each(|one| totals.add(one));
        let list = totals.list();
        let told: Vec<_> = list[0].steps.iter().map(|step| (step.cause, step.self_ns / 1_000_000)).collect();
        assert_eq!((list.len(), list[0].transactions, told), (1, 2, vec![("uninstrumented_peer", 120), ("self", 40)]));
        let mut wide = String::from("web GET /wide 0..2000\n");
        for number in 0..150 {
            wide.push_str(&format!("  web step-{}x {}..{}\n", number, number * 10, number * 10 + 10));
        }
        assemble(&[table(&lines(&wide))]).iter().for_each(|one| totals.add(one));
        let list = totals.list();
        assert_eq!(list[0].steps.iter().map(|step| step.self_ns).sum::<i64>(), list[0].duration_ns);
        assert_eq!((list[0].steps.len(), list[0].steps[STEPS_MAX].cause), (STEPS_MAX + 1, "other"));
    }

    #[test]
    fn transactions_of_too_many_types_are_left_out_and_counted() {
        let mut totals = PathTotals::default();
        let text: String = (0..TYPES_MAX + 5).map(|number| format!("web op-{number}x 0..1\n")).collect();
        let mut drawn = lines(&text);
        for (one, number) in drawn.iter_mut().zip(1..) {
            one.at(0, number);
        }
        assemble(&[table(&drawn)]).iter().for_each(|one| totals.add(one));
        assert_eq!((totals.list().len(), totals.left_out()), (TYPES_MAX, 5));
    }
}
