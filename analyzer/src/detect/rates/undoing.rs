//! Sagas that failed: whether what was done before is undone. Fed by the detector with transactions as they are given out,
//! whose sagas `expect` has judged. Bounded by transactions that are waited for and remembered.

use std::collections::VecDeque;

use collector_table::TraceId;

use super::Rates;
use super::occasion::{Example, Occasion, Of, Wrong};
use crate::expect::{CompensationState, SagaOutcome, SagaStageState};
use crate::hash::{Map, Set};
use crate::span::Site;
use crate::transaction::Transaction;

/// Transactions whose compensation may still come; beyond it the oldest are decided early.
const WAITING_MAX: usize = 10_000;
/// Arrival time for which is waited.
const WAIT_NS: i64 = 60_000_000_000;
/// Transactions of one generation that are remembered to have been counted.
const COUNTED_MAX: usize = 20_000;

/// A stage that is to be undone, and who does that.
#[derive(Debug, Clone)]
struct ToUndo {
    occasion: Occasion,
    is_undone: bool,
    may_come: bool,
}

/// Failed sagas that wait, and those that were counted.
#[derive(Debug, Default)]
pub(super) struct Undoings {
    waiting: Map<TraceId, (Vec<ToUndo>, Example)>,
    due: VecDeque<(i64, TraceId)>,
    counted: Set<TraceId>,
    older: Set<TraceId>,
}

impl Undoings {
    fn is_counted(&self, id: TraceId) -> bool {
        self.counted.contains(&id) || self.older.contains(&id)
    }

    fn note_counted(&mut self, id: TraceId) {
        if self.counted.len() >= COUNTED_MAX {
            self.older = std::mem::take(&mut self.counted);
        }
        self.counted.insert(id);
    }
}

impl Rates {
    /// Takes in the saga of a transaction that is given out at `now_ns`, if it failed.
    pub(in crate::detect) fn undo(&mut self, transaction: &Transaction, block: i64, now_ns: i64) {
        if transaction.superseded_by.is_some() {
            self.undoings.waiting.remove(&transaction.id);
            return;
        }
        let Some(saga) = transaction.saga.as_deref().filter(|_| !self.undoings.is_counted(transaction.id)) else {
            return;
        };
        let to_undo = to_undo(saga, &transaction.root_span().site);
        // A stage that failed and was tried again with success leaves nothing to be undone.
        let has_failed = transaction.has_error() || to_undo.iter().any(|one| one.is_undone);
        if to_undo.is_empty() || !has_failed {
            return;
        }
        let (duration_ms, site) = (transaction.duration_ns as f64 / 1e6, Some(transaction.root_span().site.clone()));
        let example = Example { id: transaction.id, root: site.clone(), duration_ms, site };
        if to_undo.iter().any(|one| one.may_come && !one.is_undone) {
            if self.undoings.waiting.insert(transaction.id, (to_undo, example)).is_none() {
                self.undoings.due.push_back((now_ns.saturating_add(WAIT_NS), transaction.id));
            }
        } else {
            self.undoings.waiting.remove(&transaction.id);
            self.decide(&to_undo, &example, block);
        }
    }

    /// Decides about sagas for which is waited for long enough.
    pub(in crate::detect) fn settle_undoings(&mut self, block: i64, now_ns: i64) {
        while let Some(&(at_ns, id)) = self.undoings.due.front()
            && (at_ns <= now_ns || self.undoings.due.len() > WAITING_MAX)
        {
            self.undoings.due.pop_front();
            if let Some((to_undo, example)) = self.undoings.waiting.remove(&id) {
                self.decide(&to_undo, &example, block);
            }
        }
    }

    fn decide(&mut self, to_undo: &[ToUndo], example: &Example, block: i64) {
        self.undoings.note_counted(example.id);
        self.occasions.begin();
        for one in to_undo {
            let Some(place) = self.occasions.slots.id(one.occasion.clone(), block) else { continue };
            let Some(site) = &example.site else { continue };
            self.occasions.occurs(place, block, 0, site);
            if !one.is_undone {
                self.occasions.goes_wrong(place, (Wrong::NotUndone, 0.0), block, || example.clone());
            }
        }
    }
}

/// Returns the stages that were done before something failed, which is the whole where no stage says that it was it, and are
/// known to be undone by something. What the verdict on the one transaction expects fades when it stops coming; that is for
/// the rate to judge.
fn to_undo(saga: &SagaOutcome, root: &Site) -> Vec<ToUndo> {
    let failed = saga.stages.iter().find(|stage| stage.state == SagaStageState::Failed);
    let stage = failed.map(|stage| (stage.service.clone(), stage.operation.clone()));
    let failed = stage.unwrap_or_else(|| (root.service.clone(), root.operation.clone()));
    let due = saga.stages.iter().filter_map(|stage| stage.compensation.as_ref()).filter(|undoing| undoing.is_due);
    due.map(|undoing| {
        let own = || (undoing.service.clone(), undoing.operation.clone());
        let by = undoing.conductor.clone().unwrap_or_else(own);
        ToUndo {
            occasion: Occasion { of: Of::Undoing, by, to: Some(failed.clone()) },
            is_undone: undoing.state == CompensationState::Done,
            may_come: undoing.state == CompensationState::Waiting,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests;
