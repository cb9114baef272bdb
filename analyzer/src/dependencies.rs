//! Who calls whom, per minute, as rows of the table `dependencies`. Fed by the daemon with closed transactions; it keeps
//! the rows. Bounded: a full set of counts becomes rows at once, which readers merge with those that follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::{DependencyFields, DependencyTableBuilder, Sketch};

use crate::hash::Map;
use crate::hops::{Ends, called};
use crate::span::Site;
use crate::transaction::{HopKind, Transaction};

/// Counts kept at most; one is a pair of sites in a minute.
const PAIRS_MAX: usize = 20_000;
const MINUTE_NS: i64 = 60_000_000_000;

/// Hops counted by minute and pair of sites.
#[derive(Debug, Default)]
pub struct Dependencies {
    pairs: Map<Pair, Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    minute: i64,
    caller: u64,
    /// 0 when the peer sends no telemetry.
    callee: u64,
    kind: HopKind,
}

#[derive(Debug)]
struct Count {
    caller: Arc<Site>,
    callee: Option<Arc<Site>>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    count: i64,
    errors: i64,
    duration_sum_ns: i64,
    durations: Sketch,
    gap_sum_ns: i64,
    gap_count: i64,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.duration_sum_ns = self.duration_sum_ns.saturating_add(other.duration_sum_ns);
        self.durations.merge(&other.durations);
        self.gap_sum_ns = self.gap_sum_ns.saturating_add(other.gap_sum_ns);
        self.gap_count += other.gap_count;
    }
}

impl Dependencies {
    /// Counts the hops of a transaction; returns rows when the bound is reached. Later revisions, and parts that came too
    /// late, would count the same work twice and are left out. All transactions must be of one stitcher.
    pub fn add(&mut self, transaction: &Transaction) -> Option<RecordBatch> {
        if transaction.revision == 1 {
            for hop in &transaction.hops {
                // What is counted is what the called one sees: every attempt.
                for attempt in hop.tries() {
                    self.add_hop(hop.kind, &Ends::of(transaction, attempt), attempt.gap_ns);
                }
            }
        }
        if self.pairs.len() >= PAIRS_MAX { self.take() } else { None }
    }

    fn add_hop(&mut self, kind: HopKind, ends: &Ends<'_>, gap_ns: Option<i64>) {
        let (caller, callee) = (&ends.caller.site, ends.callee.map(|callee| &callee.site));
        let pair = Pair {
            minute: ends.caller.start_ns.div_euclid(MINUTE_NS),
            caller: caller.number,
            callee: callee.map_or(0, |callee| callee.number),
            kind,
        };
        let new = || Count { caller: caller.clone(), callee: callee.cloned(), tally: Tally::default() };
        let tally = &mut self.pairs.entry(pair).or_insert_with(new).tally;
        let duration_ns = ends.caller.duration_ns();
        tally.count += 1;
        tally.errors += i64::from(ends.has_error());
        tally.duration_sum_ns = tally.duration_sum_ns.saturating_add(duration_ns);
        tally.durations.insert(duration_ns);
        tally.gap_sum_ns = tally.gap_sum_ns.saturating_add(gap_ns.unwrap_or(0));
        tally.gap_count += i64::from(gap_ns.is_some());
    }

    /// Returns what was counted since the last time, as rows by minute and names; nothing if there is none.
    pub fn take(&mut self) -> Option<RecordBatch> {
        let mut by_names: BTreeMap<_, Tally> = BTreeMap::new();
        for (pair, count) in &self.pairs {
            let (caller, callee) = (&*count.caller, count.callee.as_deref());
            let (service, operation) = called(caller, callee);
            let names = (&*caller.service, &*caller.operation, service, operation);
            by_names.entry((pair.minute, names, pair.kind.as_str(), callee.is_some())).or_default().merge(&count.tally);
        }
        let mut rows = DependencyTableBuilder::default();
        for ((minute, names, kind, is_instrumented), tally) in &by_names {
            rows.append(&DependencyFields {
                minute_ns: minute.saturating_mul(MINUTE_NS),
                caller_service: names.0,
                caller_operation: names.1,
                callee_service: names.2,
                callee_operation: names.3,
                kind,
                is_instrumented: *is_instrumented,
                count: tally.count,
                errors: tally.errors,
                duration_sum_ns: tally.duration_sum_ns,
                durations: &tally.durations,
                gap_sum_ns: tally.gap_sum_ns,
                gap_count: tally.gap_count,
            });
        }
        drop(by_names);
        self.pairs.clear();
        (!rows.is_empty()).then(|| rows.finish())
    }
}

#[cfg(test)]
mod tests;
