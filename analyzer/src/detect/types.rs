//! Transaction types minute by minute: counts, errors and duration sketches, for pages and for before/after evidence.
//! Bounded by types and by minutes; types beyond the bound are counted under the last one's name, "(others)".

use std::collections::VecDeque;
use std::sync::Arc;

use super::sketch::Sketch;
use super::slots::{Slots, item_of};
use crate::incident::Distribution;
use crate::transaction::Transaction;

/// Minutes kept of each type.
const MINUTES_MAX: i64 = 90;
/// Minutes that the pages draw.
const MINUTES_SHOWN: i64 = 60;
/// Minutes that count as now.
pub(super) const MINUTES_NOW: i64 = 5;
/// Bins folded into one in a distribution that is shown: 16 % wide.
const BINS_FOLDED: usize = 3;

/// Identifies a type within one detector.
pub(super) type TypeId = usize;

#[derive(Debug, Default)]
struct Minute {
    durations: Sketch,
    errors: u64,
    /// Median and 95th percentile, once asked for and until more is added.
    shown: Option<(f64, f64)>,
}

/// Service and operation of the root.
pub(super) type TypeName = (Arc<str>, Arc<str>);

/// One transaction type.
#[derive(Debug, Default)]
pub(super) struct TransactionType {
    minutes: VecDeque<(i64, Minute)>,
    /// What is usual before a minute, once asked for and until more is added there.
    usual: Option<(i64, Usual)>,
}

/// What is usual for a type, for lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usual {
    pub(super) count: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// All transaction types.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) slots: Slots<TypeName, TransactionType>,
    others: TypeName,
}

/// How a type did over some minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) durations: Sketch,
    pub(super) errors: u64,
}

impl Types {
    pub(super) fn new(max: usize) -> Self {
        let others: Arc<str> = "(others)".into();
        // One place is for all beyond the bound.
        Self { slots: Slots::new(max.max(2) - 1), others: (others.clone(), others) }
    }

    /// Adds a transaction that ended at `ended_ns`, in `block`, to its minute.
    pub(super) fn add(&mut self, transaction: &Transaction, ended_ns: i64, block: i64) -> TypeId {
        let site = &transaction.root_span().site;
        let name = (site.service.clone(), site.operation.clone());
        let id = self.slots.id(name, block).unwrap_or_else(|| self.slots.id_beyond_bound(self.others.clone(), block));
        let Some((_, kind)) = self.slots.used(id, block) else { return id };
        let minute = ended_ns.div_euclid(60_000_000_000);
        kind.usual = kind.usual.filter(|(before, _)| minute >= *before);
        let tally = item_of(&mut kind.minutes, minute);
        tally.durations.add(transaction.duration_ns as f64 / 1e6);
        tally.errors += u64::from(transaction.has_error());
        tally.shown = None;
        while kind.minutes.front().is_some_and(|(number, _)| *number <= minute - MINUTES_MAX) {
            kind.minutes.pop_front();
        }
        id
    }
}

impl TransactionType {
    /// Sums minutes `from..to`.
    pub(super) fn tally(&self, from: i64, to: i64) -> Tally {
        let mut tally = Tally::default();
        for (_, minute) in self.minutes.iter().filter(|(number, _)| (from..to).contains(number)) {
            tally.durations.merge(&minute.durations);
            tally.errors += minute.errors;
        }
        tally
    }

    /// Sums the last full minutes and what there is of `minute`.
    pub(super) fn now(&self, minute: i64) -> Tally {
        self.tally(minute - MINUTES_NOW, minute + 1)
    }

    /// Returns what was usual before the minutes that count as now.
    pub(super) fn before(&mut self, minute: i64) -> Usual {
        let end = minute - MINUTES_NOW;
        if let Some((_, usual)) = self.usual.filter(|(before, _)| *before == end) {
            return usual;
        }
        let durations = self.tally(minute - MINUTES_MAX, end).durations;
        let usual =
            Usual { count: durations.count(), p50_ms: durations.quantile(0.5), p99_ms: durations.quantile(0.99) };
        self.usual = Some((end, usual));
        usual
    }

    /// Returns median and 95th percentile of each shown minute, oldest first.
    pub(super) fn shown(&mut self, minute: i64) -> Vec<Option<(f64, f64)>> {
        let first = minute - MINUTES_SHOWN + 1;
        let mut shown = vec![None; usize::try_from(MINUTES_SHOWN).unwrap_or(0)];
        for (number, minute) in &mut self.minutes {
            if minute.shown.is_none() {
                minute.shown = minute.durations.quantile(0.5).zip(minute.durations.quantile(0.95));
            }
            if let Some(place) = usize::try_from(*number - first).ok().and_then(|at| shown.get_mut(at)) {
                *place = minute.shown;
            }
        }
        shown
    }
}

impl Tally {
    /// Returns the distribution as evidence shows it.
    pub(super) fn distribution(&self) -> Distribution {
        let quantile = |q| self.durations.quantile(q).unwrap_or(0.0);
        Distribution {
            count: self.durations.count(),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            bins: self.durations.bins(BINS_FOLDED),
        }
    }
}
