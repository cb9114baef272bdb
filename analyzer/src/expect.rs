//! What is expected of a transaction: the stages that like ones go through, which of them it lacks, and what became of
//! its saga. The analyzer learns from every transaction that it gives out; pages judge by the snapshot in its summary.
//! Must never expect what was not seen often enough, nor of transactions whose spans are known to be lost.

mod declared;
mod delays;
mod json;
mod judge;
mod list;
mod model;
mod pending;
mod saga;
mod unfinished;
mod walk;

use std::sync::Arc;

use collector_table::{SpanKind, TraceId};

pub(crate) use json::{CompletenessJson, SagaJson};

pub use judge::{Completeness, Lacking, LackingState};
pub use list::{ExpectedStage, SagaShape, SagaShapeStage, TypeExpectation};
pub(crate) use pending::Overdue;
pub use saga::{
    CompensationOutcome, CompensationState, Declared, DeclaredStage, Pattern, SagaOutcome, SagaStage, SagaStageState,
    SagaState,
};

pub(crate) use unfinished::Unfinished;

use crate::hash::Map;
use crate::span::{Site, Span};
use crate::transaction::Transaction;
use judge::Moment;
use model::{StageSet, TypeModel, bit, members};
use pending::{Due, Pending, Pendings};
use unfinished::Unfinisheds;
use walk::{Seen, Walk, cause_ns};

/// Share of like transactions that had a stage, from which on it is expected.
const SHARE_MIN: f64 = 0.98;
/// Like occurrences from which on a message or call that was sent is expected to be taken in.
const PASSAGE_SUPPORT_MIN: u32 = 50;
/// Like occurrences from which on a service is expected to do what it usually does next: ways that it takes rarely must
/// have been seen by then.
const CHOICE_SUPPORT_MIN: u32 = 1_000;
/// With fewer it is expected if it is sure to 95 % that it is not done in less than one of a hundred: like occurrences
/// that this takes when none went without it, and how many more for each one that did (by Poisson's law).
const CHOICE_SURE_MIN: u32 = 300;
const CHOICE_SURE_EACH: u32 = 175;
/// Types of which stages are learned; transactions of further ones are left out, and counted.
const TYPES_MAX: usize = 500;
/// Stages of all types together, about 700 bytes each; beyond it none is added, and that is counted.
const STAGES_TOTAL_MAX: usize = 8_000;
/// Time for which a message whose delay is not known yet may still be taken in; as long as traces are joined.
const DEFERRED_NS: i64 = 300_000_000_000;
/// Transactions from which on a message that nobody ever took in is not waited for.
const UNHEARD_MIN: u64 = 200;

/// What is known of all transaction types: an immutable snapshot, cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    types: Map<u64, Arc<TypeModel>>,
}

impl Expectations {
    /// Judges a transaction, as pages stitch it: sets its completeness and its saga.
    pub fn judge(&self, transaction: &mut Transaction, now_ns: i64, is_open: bool) {
        let Some(model) = self.types.get(&transaction.root_span().site.shape) else { return };
        let mut walk = Walk::default();
        let seen = walk.walk(transaction, |parent, span| model.place(parent, &span.site));
        judge_by(model, transaction, &seen, &walk, Moment { now_ns, is_open, is_counted: !is_open });
    }
}

/// Sets what a model says of a transaction; of one that lacks spans, nothing is known.
fn judge_by(model: &TypeModel, transaction: &mut Transaction, seen: &Seen, walk: &Walk, at: Moment) {
    if !transaction.is_complete && !at.is_open {
        return;
    }
    let completeness = judge::completeness(model, transaction, seen, walk, at);
    if let Some(saga) = &model.saga {
        let may_come = if at.is_open { !0 } else { may_come(model, transaction, seen, walk, at.now_ns) };
        transaction.saga = Some(Box::new(saga::outcome(model, saga, seen, may_come)));
    }
    transaction.completeness = Some(completeness);
}

/// Returns the stages to which a message may still lead.
fn may_come(model: &TypeModel, transaction: &Transaction, seen: &Seen, walk: &Walk, now_ns: i64) -> StageSet {
    let comes = |number: &u8| until_ns(model, transaction, walk, *number) > now_ns;
    members(judge::may_come(model, seen)).filter(comes).fold(0, |set, number| set | bit(number))
}

/// Returns until when a message that leads to a stage may still be taken in.
fn until_ns(model: &TypeModel, transaction: &Transaction, walk: &Walk, number: u8) -> i64 {
    let stage = model.stage(number);
    let cause = &transaction.spans[walk.first_index(transaction, stage.parent)];
    let from_ns = cause_ns(cause, true);
    judge::due_ns(stage, from_ns).unwrap_or(from_ns.saturating_add(DEFERRED_NS))
}

/// An expected stage that a transaction waited for when it was given out, and for which it is too late now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverCame {
    /// The transaction's id.
    pub transaction: TraceId,
    /// Who should have done it.
    pub service: Arc<str>,
    /// What should have been done.
    pub operation: Arc<str>,
}

/// Learns what is usual from transactions as they are given out.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    known: Expectations,
    declared: Vec<Declared>,
    walk: Walk,
    pendings: Pendings,
    unfinished: Unfinisheds,
    stages: usize,
    types_left_out: u64,
    stages_left_out: u64,
}

impl Learner {
    pub(crate) fn new(declared: Vec<Declared>) -> Self {
        Self { declared, ..Self::default() }
    }

    /// Judges a transaction that is given out at `now_ns` by what was learned before it, then learns from it.
    pub(crate) fn take(&mut self, transaction: &mut Transaction, now_ns: i64) {
        // What is given out for the first time is not remembered yet.
        let mut was = None;
        if transaction.revision != 1 {
            was = self.pendings.remove(transaction.id);
            self.unfinished.remove(transaction.id);
        }
        if transaction.superseded_by.is_some() {
            return;
        }
        self.unfinished.take(transaction, now_ns);
        let shape = transaction.root_span().site.shape;
        // A type is named by its root; what lacks it makes none.
        let is_known = self.known.types.contains_key(&shape)
            || transaction.is_complete && self.add_type(transaction, shape, now_ns);
        if !is_known {
            return;
        }
        // A later revision of one that was learned from already says nothing new of how often things come.
        let is_first = transaction.revision == 1 || was.is_some();
        let Some(model) = self.known.types.get_mut(&shape) else { return };
        if let Some(was) = was.filter(|was| was.is_counted && was.shape == shape) {
            Arc::make_mut(model).uncount(was.present, was.failed);
        }
        let mut seen = self.walk.walk(transaction, |parent, span| model.place(parent, &span.site));
        if !transaction.is_complete {
            Arc::make_mut(model).broken += u64::from(transaction.revision == 1);
            return;
        }
        let model = Arc::make_mut(model);
        if seen.has_unknown {
            let before = model.stages.len();
            if self.stages < STAGES_TOTAL_MAX {
                seen = self.walk.walk(transaction, |parent, span| model.place_or_add(parent, &span.site));
            } else {
                self.stages_left_out += 1;
            }
            self.stages += model.stages.len() - before;
            let entries = model.stages[before..].iter().filter(|stage| !stage.is_outgoing());
            entries.for_each(|stage| self.unfinished.note(stage.site.shape, &model.root));
            model.renew_saga(&self.declared, model.stages.len() > before);
        }
        judge_by(model, transaction, &seen, &self.walk, Moment { now_ns, is_open: false, is_counted: false });
        if !is_first {
            return;
        }
        let lacking = || transaction.completeness.iter().flat_map(|one| &one.lacking);
        let (missing, waiting): (Vec<_>, Vec<_>) = lacking().partition(|one| one.state == LackingState::Missing);
        missing.iter().for_each(|one| model.stages[usize::from(one.stage)].missing += 1);
        match waits_until_ns(model, transaction, &seen, &self.walk, now_ns) {
            Some(until) => {
                let waiting = waiting.iter().map(|one| one.stage).collect();
                let pending = Pending::new(transaction, seen.present, seen.failed, until, waiting);
                if let Some(early) = self.pendings.add(transaction.id, pending).filter(|early| !early.is_counted) {
                    self.conclude(&early);
                }
            }
            None => {
                model.time(transaction, &seen, &self.walk);
                let after = after_failure(transaction, &seen, &self.walk);
                model.count(seen.present, seen.failed, after);
                model.renew_saga(&self.declared, false);
            }
        }
    }

    fn add_type(&mut self, transaction: &Transaction, shape: u64, now_ns: i64) -> bool {
        if self.known.types.len() >= TYPES_MAX || self.stages >= STAGES_TOTAL_MAX {
            self.types_left_out += 1;
            return false;
        }
        self.stages += 1;
        self.unfinished.note(shape, &transaction.root_span().site);
        self.known.types.insert(shape, Arc::new(TypeModel::new(&transaction.root_span().site, now_ns)));
        true
    }

    /// Learns from transactions whose messages were not taken in until `now_ns`.
    pub(crate) fn advance(&mut self, now_ns: i64) -> Vec<NeverCame> {
        let mut never_came = Vec::new();
        while let Some(due) = self.pendings.pop_due(now_ns) {
            match due {
                Due::TooLate(id, pending) => {
                    never_came.extend(self.never_came(id, &pending));
                    self.conclude(&pending);
                }
                Due::Over(id, pending) => {
                    if !pending.is_counted {
                        never_came.extend(self.never_came(id, &pending));
                        self.conclude(&pending);
                    }
                    self.pendings.note_overdue(id, &pending);
                }
            }
        }
        self.pendings.forget(now_ns);
        self.unfinished.forget(now_ns);
        never_came
    }

    fn never_came(&self, transaction: TraceId, pending: &Pending) -> Vec<NeverCame> {
        let Some(model) = self.known.types.get(&pending.shape) else { return Vec::new() };
        let named = pending.lacking.iter().map(|stage| judge::name(model, *stage));
        named.map(|(service, operation)| NeverCame { transaction, service, operation }).collect()
    }

    /// What never came did not come.
    fn conclude(&mut self, pending: &Pending) {
        let Some(model) = self.known.types.get_mut(&pending.shape) else { return };
        let model = Arc::make_mut(model);
        pending.lacking.iter().for_each(|stage| model.stages[usize::from(*stage)].missing += 1);
        model.count(pending.present, pending.failed, 0);
    }

    /// Returns a snapshot for pages.
    pub(crate) fn snapshot(&self) -> Expectations {
        self.known.clone()
    }

    /// Returns transactions that were given out and still lack what is expected, those first that have for longest.
    pub(crate) fn overdue(&self, now_ns: i64) -> Vec<Overdue> {
        self.pendings.list(&self.known, now_ns)
    }

    /// Returns transactions that were given out without their root.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Unfinished> {
        self.unfinished.list()
    }

    /// Returns the root of the type that spans without a root are of, if all that is known of them says the same.
    pub(crate) fn type_of(&self, spans: &[Span]) -> Option<Arc<Site>> {
        self.unfinished.type_of(spans)
    }

    /// Returns how long transactions of a type take in nanoseconds, half of them, and 99 %; nothing while too little is
    /// known.
    pub(crate) fn usual_ns(&self, root_shape: u64) -> Option<(i64, i64)> {
        let durations = &self.known.types.get(&root_shape)?.durations;
        let is_known = durations.count() >= PASSAGE_SUPPORT_MIN;
        is_known.then_some((durations.quantile_ns(0.5)?, durations.quantile_ns(0.99)?))
    }

    pub(crate) fn at_bounds(&self) -> [(&'static str, u64); 4] {
        let in_types = self.known.types.values().map(|model| model.left_out).sum();
        [
            ("stages_of_further_types", self.types_left_out),
            ("stages_beyond_all", self.stages_left_out),
            ("stages_beyond_type", in_types),
            ("messages_concluded_early", self.pendings.early()),
        ]
    }
}

/// Returns until when a message of a transaction may be taken in by what is usual, and until when it can be at all, if
/// that is later than now.
fn waits_until_ns(
    model: &TypeModel,
    transaction: &Transaction,
    seen: &Seen,
    walk: &Walk,
    now_ns: i64,
) -> Option<(i64, i64)> {
    let may = judge::may_come(model, seen);
    let due_ns = members(may).map(|number| until_ns(model, transaction, walk, number)).max();
    // While little is known, what is sent may have a consumer that has not been seen yet.
    let is_unheard = |number: &u8| {
        let stage = model.stage(*number);
        stage.site.kind == SpanKind::Producer && stage.children == 0
    };
    let is_new = model.transactions < UNHEARD_MIN && members(seen.present).any(|number| is_unheard(&number));
    if due_ns.is_none() && !is_new {
        return None;
    }
    let joinable_ns = now_ns.saturating_add(DEFERRED_NS);
    Some((due_ns.unwrap_or(joinable_ns), joinable_ns))
}

/// Returns the stages that began after something had failed.
fn after_failure(transaction: &Transaction, seen: &Seen, walk: &Walk) -> StageSet {
    if seen.failed == 0 {
        return 0;
    }
    let is_after = |number: &u8| walk.first(transaction, *number).0.start_ns > seen.failed_ns;
    members(seen.present & !1).filter(is_after).fold(0, |set, number| set | bit(number))
}

#[cfg(test)]
mod tests;
