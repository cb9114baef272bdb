//! Sagas: the stages of a transaction type that are undone when a later one fails, and what undoes them. Learned from
//! failed transactions, or declared by the operator. Called by the model; the verdict on one transaction is what
//! detection and pages read.

use std::sync::Arc;

use serde::Serialize;

use super::model::{Odds, STAGES_MAX, StageSet, TypeModel, UNPLACED, bit, members};
use super::walk::Seen;
use crate::span::Site;

pub use super::declared::{Declared, DeclaredStage, Pattern};

/// Occurrences from which on an operation may be a compensation.
const COMPENSATIONS_MIN: u32 = 5;
/// Share of its occurrences that came after a failure, from which on it is one.
const AFTER_FAILURE_MIN: f64 = 0.95;
/// Share of failed transactions with the stage done in which it was undone, from which on that is expected.
const COMPENSATED_MIN: f64 = 0.9;
/// Failed transactions from which on that is known.
const FAILURES_MIN: u32 = 20;
/// Share of whole transactions with a stage, from which on it is one of the saga's.
const STAGE_SHARE_MIN: f64 = 0.5;
/// What reads only undoes nothing and need not be undone: safe methods (RFC 9110, section 9.2.1) and statements.
const READS: [&str; 5] = ["GET", "HEAD", "OPTIONS", "SELECT", "FIND"];
/// Calls to those that send no telemetry, from which on they are taken to undo in reverse order what was done before: one
/// alone may be a notice.
const REVERSED_MIN: usize = 2;

/// What undoes a stage.
#[derive(Debug, Clone)]
pub(super) struct Compensation {
    /// [`UNPLACED`] when it was declared and never seen.
    pub(super) by: u8,
    pub(super) of: u8,
    /// Service and operation as declared.
    pub(super) declared: Option<(Arc<str>, Arc<str>)>,
}

/// The stages of a saga, in their usual order.
#[derive(Debug, Clone)]
pub(super) struct Saga {
    /// As declared; none if it was learned.
    pub(super) name: Option<Arc<str>>,
    pub(super) stages: Vec<u8>,
    pub(super) compensations: Vec<Compensation>,
}

/// What became of a stage of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SagaStageState {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It was not begun.
    NotReached,
}

/// What became of a compensation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompensationState {
    /// Nothing was to be undone.
    NotNeeded,
    /// The stage was undone.
    Done,
    /// It is expected and may still come.
    Waiting,
    /// It came although the stage had not been done.
    Orphan,
    /// It was tried and failed.
    Failed,
    /// The stage was done, a later one failed, and nothing undid it.
    Missing,
}

/// What became of a saga, by its worst part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    /// Every stage was done.
    Completed,
    /// Not every stage was done, and none failed.
    Unfinished,
    /// A stage failed, and nothing was to be undone.
    Failed,
    /// A stage failed, and what was done before was undone.
    Compensated,
    /// A compensation is expected and may still come.
    CompensationWaiting,
    /// Something was undone that had not been done.
    OrphanCompensation,
    /// A compensation failed.
    CompensationFailed,
    /// A compensation did not come.
    CompensationMissing,
}

impl SagaState {
    /// Returns the word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Unfinished => "unfinished",
            Self::Failed => "failed",
            Self::Compensated => "compensated",
            Self::CompensationWaiting => "compensation_waiting",
            Self::OrphanCompensation => "orphan_compensation",
            Self::CompensationFailed => "compensation_failed",
            Self::CompensationMissing => "compensation_missing",
        }
    }
}

/// A compensation in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompensationOutcome {
    /// Who undoes.
    pub service: Arc<str>,
    /// By what.
    pub operation: Arc<str>,
    /// What became of it.
    pub state: CompensationState,
    /// Share of transactions that failed alike with the stage done in which it was undone, 0 to 1.
    pub share: f64,
    /// How many failed alike.
    pub of: u32,
    /// Whether the stage was done and something else failed: it may be expected by that or not.
    pub(crate) is_due: bool,
    /// Service and operation that have it undone, if who undoes sends no telemetry and cannot forget it by itself.
    pub(crate) conductor: Option<(Arc<str>, Arc<str>)>,
}

/// A stage of a saga in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaStage {
    /// Who does it.
    pub service: Arc<str>,
    /// What is done.
    pub operation: Arc<str>,
    /// What became of it.
    pub state: SagaStageState,
    /// What undoes it, if anything is known to.
    pub compensation: Option<CompensationOutcome>,
}

/// What became of a saga in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaOutcome {
    /// Its declared name; none if it was learned.
    pub name: Option<Arc<str>>,
    /// What became of it.
    pub state: SagaState,
    /// Its stages in their usual order.
    pub stages: Vec<SagaStage>,
}

/// Returns the saga of a type: as declared, or else as learned; nothing if it has none.
pub(super) fn of(model: &TypeModel, declared: &[Declared]) -> Option<Saga> {
    let mut declared = declared.iter().filter(|one| one.is_of(&model.root));
    declared.find_map(|one| one.find(model)).or_else(|| learn(model))
}

fn learn(model: &TypeModel) -> Option<Saga> {
    let is_entry = |number: &u8| !model.stage(*number).is_outgoing();
    let undoing: Vec<u8> = numbers(model).filter(is_entry).filter(|number| undoes(model, *number)).collect();
    let undoing_set = undoing.iter().fold(0, |set, number| set | bit(*number));
    let mut compensations = Vec::new();
    let mut undone: StageSet = 0;
    // In order of time, so that of two that fit, each undoes another.
    for by in in_order(model, undoing) {
        let taken = undone | undoing_set;
        let candidates = numbers(model).filter(|number| taken & bit(*number) == 0).filter(is_entry);
        if let Some(of) = undone_by(model, by, candidates) {
            compensations.push(Compensation { by, of, declared: None });
            undone |= bit(of);
        }
    }
    for (by, of) in undone_unseen(model, undoing_set, undone) {
        compensations.push(Compensation { by, of, declared: None });
        undone |= bit(of);
    }
    if compensations.is_empty() {
        return None;
    }
    // What is done beside what is undone, and what failed, is of the saga too.
    let conductors = members(undone).fold(0, |set, number| set | bit(entry_above(model, number)));
    let failing = model.failures.iter().fold(0, |set, failure| set | failure.failed);
    let is_of = |number: &u8| {
        let stage = model.stage(*number);
        let is_usual = f64::from(stage.count) >= STAGE_SHARE_MIN * f64::from(whole(model));
        let is_beside = conductors & bit(entry_above(model, *number)) != 0;
        bit(*number) & undoing_set == 0
            && (undone & bit(*number) != 0
                || is_usual && !is_reading(&stage.site) && (is_beside || failing & bit(*number) != 0))
    };
    let is_shown = |number: &u8| is_entry(number) || undone & bit(*number) != 0;
    let stages = in_order(model, numbers(model).filter(is_shown).filter(is_of).collect());
    Some(Saga { name: None, stages, compensations })
}

/// Returns the numbers of all stages below the root.
fn numbers(model: &TypeModel) -> impl Iterator<Item = u8> {
    (1..model.stages.len()).filter_map(|number| u8::try_from(number).ok())
}

/// Returns how many transactions did not fail; counts of stages fade with them only when types do.
fn whole(model: &TypeModel) -> u32 {
    u32::try_from(model.transactions).unwrap_or(u32::MAX).saturating_sub(model.failed)
}

fn is_reading(site: &Site) -> bool {
    let verb = site.operation.split(' ').next().unwrap_or_default();
    READS.iter().any(|read| verb.eq_ignore_ascii_case(read))
}

/// Returns whether an operation comes only after something failed.
fn undoes(model: &TypeModel, number: u8) -> bool {
    let stage = model.stage(number);
    let is_after = f64::from(stage.after_failure) >= AFTER_FAILURE_MIN * f64::from(stage.count);
    stage.count >= COMPENSATIONS_MIN && is_after && !is_reading(&stage.site)
}

/// Returns the stage that an operation undoes: one of the same service that had been done whenever it came, or else one
/// of another service with which it comes and goes; of several the one whose being done makes most of a difference, or
/// else the one done last.
fn undone_by(model: &TypeModel, by: u8, candidates: impl Iterator<Item = u8>) -> Option<u8> {
    let likely: Vec<u8> = in_order(model, candidates.filter(|of| is_likely_undone(model, by, *of)).collect());
    let service = &model.stage(by).site.service;
    let is_own = |of: &u8| *service == model.stage(*of).site.service;
    let most = |among: &mut dyn Iterator<Item = u8>| {
        among.max_by(|a, b| difference(model, by, *a).total_cmp(&difference(model, by, *b)))
    };
    let own = most(&mut likely.iter().copied().filter(is_own));
    own.or_else(|| most(&mut likely.iter().copied().filter(|of| comes_and_goes(model, by, *of))))
}

/// Returns whether a stage is a call of one that sends no telemetry.
fn is_unseen(model: &TypeModel, number: u8) -> bool {
    model.stage(number).is_outgoing() && model.stage(number).children == 0
}

/// Returns whether a stage had been done nearly whenever an operation came, and is more than a look.
fn is_likely_undone(model: &TypeModel, by: u8, of: u8) -> bool {
    let stage = model.stage(of);
    let comes = |present: StageSet, _| present & bit(by) != 0;
    let was_done = odds_of(model, comes, |present, failed| is_done(model, of, present, failed)).share();
    stage.count >= COMPENSATIONS_MIN && !is_reading(&stage.site) && was_done >= AFTER_FAILURE_MIN
}

/// Returns the calls that undo something at a peer that sends no telemetry, such as a database, each with the stage that it
/// undoes: one that called the same peer, or else, if there are several, in reverse order what the same caller did.
fn undone_unseen(model: &TypeModel, undoing: StageSet, mut taken: StageSet) -> Vec<(u8, u8)> {
    let is_within = |number: u8| undoing & bit(entry_above(model, number)) != 0;
    let is_call = |number: &u8| is_unseen(model, *number) && undoes(model, *number) && !is_within(*number);
    let calls = in_order(model, numbers(model).filter(is_call).collect());
    let mut pairs = Vec::new();
    for &by in &calls {
        let site = &model.stage(by).site;
        let acts = |of: u8| !model.stage(of).is_outgoing() || is_unseen(model, of);
        let is_free = |of: &u8| acts(*of) && (taken | undoing) & bit(*of) == 0 && !calls.contains(of);
        let likely = numbers(model).filter(is_free).filter(|of| is_likely_undone(model, by, *of));
        let likely = in_order(model, likely.collect());
        let calls_same =
            |of: &&u8| is_unseen(model, **of) && site.peer.is_some() && model.stage(**of).site.peer == site.peer;
        let is_beside = |of: &&u8| calls.len() >= REVERSED_MIN && entry_above(model, **of) == entry_above(model, by);
        let (same_peer, before) = (likely.iter().rfind(calls_same), likely.iter().rfind(is_beside));
        if let Some(&of) = same_peer.or(before) {
            taken |= bit(of);
            pairs.push((by, of));
        }
    }
    pairs
}

/// Returns how much more often an operation comes after failures with a stage done than after those without.
fn difference(model: &TypeModel, by: u8, of: u8) -> f64 {
    let comes = |present: StageSet, _| present & bit(by) != 0;
    let share =
        |wanted: bool| odds_of(model, |present, failed| is_done(model, of, present, failed) == wanted, comes).share();
    share(true) - share(false)
}

/// Returns whether an operation comes after nearly all failures that leave a stage done, and after hardly any other. A
/// notice comes after all, and a fallback after those of one call, which the transaction survives.
fn comes_and_goes(model: &TypeModel, by: u8, of: u8) -> bool {
    let comes = |present: StageSet, _| present & bit(by) != 0;
    let others = |failed: StageSet| failed & !own(model, by) & !own(model, of) & !1;
    let left_done = odds_of(model, |present, failed| is_done(model, of, present, failed) && others(failed) != 0, comes);
    let without = odds_of(model, |present, failed| !is_done(model, of, present, failed), comes);
    let is_given_up = odds_of(model, comes, |_, failed| failed & 1 != 0).share() >= AFTER_FAILURE_MIN;
    let mut causes: Vec<StageSet> =
        model.failures.iter().filter(|one| comes(one.present, one.failed)).map(|one| others(one.failed)).collect();
    causes.sort_unstable();
    causes.dedup();
    left_done.of >= COMPENSATIONS_MIN
        && left_done.share() >= COMPENSATED_MIN
        && without.of >= COMPENSATIONS_MIN
        && without.share() <= 1.0 - AFTER_FAILURE_MIN
        && (is_given_up || causes.len() > 1)
}

/// Returns how many of the failed transactions that are alike are also like something else.
fn odds_of(
    model: &TypeModel,
    is_like: impl Fn(StageSet, StageSet) -> bool,
    is_also: impl Fn(StageSet, StageSet) -> bool,
) -> Odds {
    let with = count_of(model, |present, failed| is_like(present, failed) && is_also(present, failed));
    Odds { with, of: count_of(model, is_like) }
}

fn count_of(model: &TypeModel, is_like: impl Fn(StageSet, StageSet) -> bool) -> u32 {
    model.failures.iter().filter(|one| is_like(one.present, one.failed)).map(|one| one.count).sum()
}

/// Returns whether a stage was done: neither it nor the call for it failed.
fn is_done(model: &TypeModel, number: u8, present: StageSet, failed: StageSet) -> bool {
    present & bit(number) != 0 && failed & own(model, number) == 0
}

/// Returns a stage, and the call or message that leads to it.
fn own(model: &TypeModel, number: u8) -> StageSet {
    if number == UNPLACED {
        return 0;
    }
    let parent = model.stage(number).parent;
    bit(number) | if model.stage(parent).is_outgoing() { bit(parent) } else { 0 }
}

/// Returns the stage at which the service was entered that calls, or sends to, a stage.
fn entry_above(model: &TypeModel, number: u8) -> u8 {
    let mut at = model.stage(number).parent;
    for _ in 0..STAGES_MAX {
        if at == 0 || !model.stage(at).is_outgoing() {
            break;
        }
        at = model.stage(at).parent;
    }
    at
}

/// Puts stages into the order in which they usually begin.
pub(super) fn in_order(model: &TypeModel, mut numbers: Vec<u8>) -> Vec<u8> {
    let mut offsets_ns: Vec<i64> = Vec::with_capacity(model.stages.len());
    for stage in &model.stages {
        // A parent has a lower number than its children.
        let above_ns = offsets_ns.get(usize::from(stage.parent)).copied().unwrap_or(0);
        offsets_ns.push(above_ns.saturating_add(stage.delays.quantile_ns(0.5).unwrap_or(0)));
    }
    numbers.sort_by_key(|number| (offsets_ns[usize::from(*number)], *number));
    numbers
}

/// Returns what became of a type's saga in a transaction; `may_come` are stages to which a message may still lead.
pub(super) fn outcome(model: &TypeModel, saga: &Saga, seen: &Seen, may_come: StageSet) -> SagaOutcome {
    let stages: Vec<SagaStage> = saga
        .stages
        .iter()
        .map(|&number| {
            let state = match () {
                () if is_done(model, number, seen.present, seen.failed) => SagaStageState::Done,
                () if seen.failed & own(model, number) != 0 => SagaStageState::Failed,
                () => SagaStageState::NotReached,
            };
            let compensation = saga.compensations.iter().find(|one| one.of == number);
            let compensation = compensation.map(|one| compensation_outcome(model, saga, one, seen, may_come));
            let (service, operation) = super::judge::name(model, number);
            SagaStage { service, operation, state, compensation }
        })
        .collect();
    SagaOutcome { name: saga.name.clone(), state: state_of(&stages), stages }
}

fn compensation_outcome(
    model: &TypeModel,
    saga: &Saga,
    one: &Compensation,
    seen: &Seen,
    may_come: StageSet,
) -> CompensationOutcome {
    let is_stage_done = is_done(model, one.of, seen.present, seen.failed);
    let odds = odds(model, saga, one, seen);
    let has_failed = failed_beside(model, saga, seen.failed) & !own(model, one.of) != 0;
    let is_expected = match saga.name {
        // What the operator declared needs no learning; that one of the saga's own stages failed is enough.
        Some(_) => saga.stages.iter().any(|number| seen.failed & own(model, *number) != 0),
        None => odds.is_at_least(COMPENSATED_MIN, FAILURES_MIN),
    };
    let state = match () {
        () if seen.failed & own(model, one.by) != 0 => CompensationState::Failed,
        () if seen.present & bit(one.by) != 0 && is_stage_done => CompensationState::Done,
        () if seen.present & bit(one.by) != 0 => CompensationState::Orphan,
        () if !is_stage_done || !has_failed || !is_expected => CompensationState::NotNeeded,
        // It may be what has no number yet.
        () if one.by == UNPLACED && seen.has_unknown => CompensationState::NotNeeded,
        () if may_come & bit(one.by) != 0 => CompensationState::Waiting,
        () => CompensationState::Missing,
    };
    let name = one.declared.clone();
    let (service, operation) = name.unwrap_or_else(|| super::judge::name(model, one.by));
    let is_due = is_stage_done && has_failed;
    let is_unseen = one.by != UNPLACED && is_unseen(model, one.by);
    let conductor = is_unseen.then(|| &model.stage(entry_above(model, one.by)).site);
    let conductor = conductor.map(|site| (site.service.clone(), site.operation.clone()));
    CompensationOutcome { service, operation, state, share: odds.share(), of: odds.of, is_due, conductor }
}

/// Returns what failed besides compensations.
fn failed_beside(model: &TypeModel, saga: &Saga, failed: StageSet) -> StageSet {
    saga.compensations.iter().fold(failed, |failed, one| failed & !own(model, one.by))
}

/// Returns how often a stage was undone in transactions in which the same failed.
fn odds(model: &TypeModel, saga: &Saga, one: &Compensation, seen: &Seen) -> Odds {
    let wanted = failed_beside(model, saga, seen.failed);
    let is_like =
        |present, failed| is_done(model, one.of, present, failed) && failed_beside(model, saga, failed) == wanted;
    odds_of(model, is_like, |present, _| present & bit(one.by) != 0)
}

fn state_of(stages: &[SagaStage]) -> SagaState {
    let worst = stages.iter().filter_map(|stage| stage.compensation.as_ref().map(|one| one.state)).max();
    let any = |state: SagaStageState| stages.iter().any(|stage| stage.state == state);
    match worst {
        Some(CompensationState::Missing) => SagaState::CompensationMissing,
        Some(CompensationState::Failed) => SagaState::CompensationFailed,
        Some(CompensationState::Orphan) => SagaState::OrphanCompensation,
        Some(CompensationState::Waiting) => SagaState::CompensationWaiting,
        Some(CompensationState::Done) => SagaState::Compensated,
        _ if any(SagaStageState::Failed) => SagaState::Failed,
        _ if any(SagaStageState::NotReached) => SagaState::Unfinished,
        _ => SagaState::Completed,
    }
}
