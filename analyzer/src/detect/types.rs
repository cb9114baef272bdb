//! Transaction types minute by minute: counts, errors and duration sketches, for pages and for before/after evidence.
//! Bounded by types and by minutes; types beyond the bound are counted under the last one's name, "(others)".

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::sketch::Sketch;
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
}

/// One transaction type.
#[derive(Debug)]
pub(super) struct TransactionType {
    pub(super) service: String,
    pub(super) operation: String,
    minutes: VecDeque<(i64, Minute)>,
}

/// All transaction types.
#[derive(Debug)]
pub(super) struct Types {
    ids: HashMap<(String, String), TypeId>,
    list: Vec<TransactionType>,
    max: usize,
    /// Transactions counted under "(others)".
    pub(super) folded: u64,
}

/// How a type did over some minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) durations: Sketch,
    pub(super) errors: u64,
}

impl Types {
    pub(super) fn new(max: usize) -> Self {
        Self { ids: HashMap::new(), list: Vec::new(), max: max.max(1), folded: 0 }
    }

    /// Adds a transaction to the minute of `ended_ns`.
    pub(super) fn add(&mut self, transaction: &Transaction, ended_ns: i64) -> TypeId {
        let root = transaction.root_span();
        let id = self.id(&root.service, &root.operation);
        let minute = ended_ns.div_euclid(60_000_000_000);
        let minutes = &mut self.list[id].minutes;
        let at = minutes.partition_point(|(number, _)| *number < minute);
        if minutes.get(at).is_none_or(|(number, _)| *number != minute) {
            minutes.insert(at, (minute, Minute::default()));
        }
        let tally = &mut minutes[at].1;
        tally.durations.add(transaction.duration_ns as f64 / 1e6);
        tally.errors += u64::from(transaction.has_error());
        while minutes.front().is_some_and(|(number, _)| *number <= minute - MINUTES_MAX) {
            minutes.pop_front();
        }
        id
    }

    fn id(&mut self, service: &str, operation: &str) -> TypeId {
        if let Some(&id) = self.ids.get(&(service.to_owned(), operation.to_owned())) {
            return id;
        }
        if self.list.len() + 1 >= self.max {
            self.folded += 1;
            let others = ("(others)".to_owned(), "(others)".to_owned());
            return self.ids.get(&others).copied().unwrap_or_else(|| self.insert(others));
        }
        self.insert((service.to_owned(), operation.to_owned()))
    }

    fn insert(&mut self, name: (String, String)) -> TypeId {
        let (service, operation) = name.clone();
        self.list.push(TransactionType { service, operation, minutes: VecDeque::new() });
        self.ids.insert(name, self.list.len() - 1);
        self.list.len() - 1
    }

    pub(super) fn get(&self, id: TypeId) -> &TransactionType {
        &self.list[id]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TypeId, &TransactionType)> {
        self.list.iter().enumerate()
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

    /// Sums what came before the minutes that count as now.
    pub(super) fn before(&self, minute: i64) -> Tally {
        self.tally(minute - MINUTES_MAX, minute - MINUTES_NOW)
    }

    /// Returns median and 95th percentile of each shown minute, oldest first.
    pub(super) fn shown(&self, minute: i64) -> Vec<Option<(f64, f64)>> {
        let by_minute: BTreeMap<i64, &Minute> = self.minutes.iter().map(|(number, minute)| (*number, minute)).collect();
        let quantiles = |minute: &&Minute| minute.durations.quantile(0.5).zip(minute.durations.quantile(0.95));
        (minute - MINUTES_SHOWN + 1..=minute).map(|number| by_minute.get(&number).and_then(quantiles)).collect()
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
