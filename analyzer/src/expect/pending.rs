//! Transactions that were given out while a message of theirs may still be taken in: they are learned from when that is
//! decided, or when a later revision has it. Kept by `Expectations`; bounded, and the oldest are concluded early.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use collector_table::TraceId;

use super::Expectations;
use super::model::{StageSet, members};
use crate::hash::Map;
use crate::transaction::Transaction;

/// Transactions that may still get a message, about 100 bytes each.
const PENDING_MAX: usize = 20_000;
/// Entries of when what is due; most are of transactions that were taken out since. Then those are left out at once.
const DUE_MAX: usize = 4 * PENDING_MAX;
/// Transactions remembered that lack something for good.
const OVERDUE_MAX: usize = 200;
/// Time for which they are shown.
const OVERDUE_NS: i64 = 900_000_000_000;

/// A transaction that may still get a message.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) shape: u64,
    pub(super) present: StageSet,
    pub(super) failed: StageSet,
    started_ns: i64,
    spans: usize,
    /// Until then what it lacks may still come.
    pub(super) due_ns: i64,
    /// Until then it may turn out that it came late.
    pub(super) until_ns: i64,
    /// Expected stages that it lacks.
    pub(super) lacking: Vec<u8>,
    /// Whether it was learned from.
    pub(super) is_counted: bool,
}

/// A transaction that was given out and lacks what is expected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Overdue {
    /// Its id.
    pub(crate) id: TraceId,
    /// Service and operation of its root.
    pub(crate) service: Arc<str>,
    /// See `service`.
    pub(crate) operation: Arc<str>,
    /// Unix nanoseconds.
    pub(crate) started_ns: i64,
    /// Spans when it was given out.
    pub(crate) spans: usize,
    /// Service and operation of what it lacks.
    pub(crate) lacks: (Arc<str>, Arc<str>),
    /// Unix nanoseconds until which that may come.
    pub(crate) until_ns: i64,
    pub(crate) shape: u64,
}

/// What became due.
#[derive(Debug)]
pub(super) enum Due {
    /// It is too late for what the transaction lacks.
    TooLate(TraceId, Pending),
    /// Nothing can come any more.
    Over(TraceId, Pending),
}

/// All that may still get a message, and those that lack one for good.
#[derive(Debug, Default)]
pub(super) struct Pendings {
    pending: Map<TraceId, Pending>,
    due: BinaryHeap<Reverse<(i64, TraceId)>>,
    overdue: VecDeque<(TraceId, Pending)>,
    early: u64,
}

impl Pending {
    pub(super) fn new(
        transaction: &Transaction,
        present: StageSet,
        failed: StageSet,
        (due_ns, until_ns): (i64, i64),
        lacking: Vec<u8>,
    ) -> Self {
        let shape = transaction.root_span().site.shape;
        let (started_ns, spans) = (transaction.started_ns, transaction.spans.len());
        let until_ns = until_ns.max(due_ns);
        Self { shape, present, failed, started_ns, spans, due_ns, until_ns, lacking, is_counted: false }
    }
}

impl Pending {
    /// Returns when something is to be done with it.
    fn dues(&self, id: TraceId) -> impl Iterator<Item = Reverse<(i64, TraceId)>> {
        let is_first = self.due_ns < self.until_ns && !self.is_counted;
        let first = is_first.then_some(Reverse((self.due_ns, id)));
        first.into_iter().chain([Reverse((self.until_ns, id))])
    }
}

impl Pendings {
    /// Adds one; at the bound, gives the one that is due first back to be concluded now.
    pub(super) fn add(&mut self, id: TraceId, pending: Pending) -> Option<Pending> {
        self.due.extend(pending.dues(id));
        if self.due.len() > DUE_MAX {
            self.due = self.pending.iter().flat_map(|(id, pending)| pending.dues(*id)).collect();
            self.due.extend(pending.dues(id));
        }
        self.pending.insert(id, pending);
        if self.pending.len() <= PENDING_MAX {
            return None;
        }
        self.early += 1;
        while let Some(Reverse((_, id))) = self.due.pop() {
            if let Some(early) = self.pending.remove(&id) {
                return Some(early);
            }
        }
        None
    }

    /// Takes a transaction out, because a later revision of it is here.
    pub(super) fn remove(&mut self, id: TraceId) -> Option<Pending> {
        if self.pending.is_empty() && self.overdue.is_empty() {
            return None;
        }
        self.overdue.retain(|(overdue, _)| *overdue != id);
        self.pending.remove(&id)
    }

    /// Returns what is due next at `now_ns`.
    pub(super) fn pop_due(&mut self, now_ns: i64) -> Option<Due> {
        while let Some(Reverse((at_ns, id))) = self.due.peek().copied().filter(|Reverse((at_ns, _))| *at_ns <= now_ns) {
            self.due.pop();
            // It may have been taken out, and put in again since.
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            if pending.until_ns == at_ns {
                return self.pending.remove(&id).map(|pending| Due::Over(id, pending));
            }
            if pending.due_ns == at_ns && !pending.is_counted {
                pending.is_counted = true;
                return Some(Due::TooLate(id, pending.clone()));
            }
        }
        None
    }

    /// Remembers what lacks something for good.
    pub(super) fn note_overdue(&mut self, id: TraceId, pending: &Pending) {
        if pending.lacking.is_empty() {
            return;
        }
        if self.overdue.len() >= OVERDUE_MAX {
            self.overdue.pop_front();
        }
        self.overdue.push_back((id, pending.clone()));
    }

    /// Forgets what lacks something for so long that nobody asks any more.
    pub(super) fn forget(&mut self, now_ns: i64) {
        let is_old = |(_, pending): &(TraceId, Pending)| now_ns.saturating_sub(pending.due_ns) > OVERDUE_NS;
        while self.overdue.front().is_some_and(is_old) {
            self.overdue.pop_front();
        }
    }

    /// Returns those that lack something, the longest first.
    pub(super) fn list(&self, known: &Expectations, now_ns: i64) -> Vec<Overdue> {
        let waiting = self.pending.iter().filter(|(_, pending)| !pending.lacking.is_empty());
        let waiting = waiting.map(|(id, pending)| (*id, pending));
        let all = self.overdue.iter().map(|(id, pending)| (*id, pending)).chain(waiting);
        let mut list: Vec<Overdue> = all.filter_map(|(id, pending)| overdue(known, id, pending)).collect();
        list.sort_by_key(|one| (one.until_ns > now_ns, one.started_ns, one.id));
        list.truncate(OVERDUE_MAX);
        list
    }

    pub(super) fn early(&self) -> u64 {
        self.early
    }
}

fn overdue(known: &Expectations, id: TraceId, pending: &Pending) -> Option<Overdue> {
    let model = known.types.get(&pending.shape)?;
    let first = pending.lacking.first()?;
    debug_assert!(members(pending.present).all(|number| number != *first), "it came");
    Some(Overdue {
        id,
        service: model.root.service.clone(),
        operation: model.root.operation.clone(),
        started_ns: pending.started_ns,
        spans: pending.spans,
        lacks: super::judge::name(model, *first),
        until_ns: pending.due_ns,
        shape: pending.shape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(due_ns: i64) -> Pending {
        let (until_ns, lacking) = (due_ns + 1_000_000, Vec::new());
        let (shape, started_ns, spans, present, failed) = (1, 0, 1, 1, 0);
        Pending { shape, present, failed, started_ns, spans, due_ns, until_ns, lacking, is_counted: false }
    }

    fn id(number: usize) -> TraceId {
        TraceId((number as u128 + 1).to_be_bytes())
    }

    #[test]
    fn beyond_the_bound_the_one_that_is_over_first_is_concluded_early_and_counted() {
        let mut pendings = Pendings::default();
        for number in 0..PENDING_MAX {
            assert!(pendings.add(id(number), pending(i64::try_from(number).unwrap())).is_none());
        }
        let early = pendings.add(id(PENDING_MAX), pending(1 << 40)).unwrap();
        assert_eq!((early.due_ns, early.is_counted, pendings.early()), (0, false, 1));
        assert_eq!(pendings.pending.len(), PENDING_MAX);
    }

    #[test]
    fn what_is_taken_out_again_leaves_no_more_behind_than_the_bound() {
        let mut pendings = Pendings::default();
        for number in 0..3 * DUE_MAX {
            pendings.add(id(number), pending(1 << 40));
            assert!(pendings.remove(id(number)).is_some());
            assert!(pendings.due.len() <= DUE_MAX + 2);
        }
        assert!(pendings.pop_due(i64::MAX).is_none());
    }
}
