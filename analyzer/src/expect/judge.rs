//! Says which expected stages a transaction lacks, and with what right that is said. Called by `Expectations` for what is
//! given out, and by pages for what is shown. A stage is expected below one that came and did not fail, where nearly all
//! that went the same way had it; what a service decides again and again, however rarely, is its way and nothing missing.

use std::sync::Arc;

use serde::Serialize;

use super::model::{Odds, STAGES_MAX, Stage, StageSet, TypeModel, bit, members};
use super::walk::{Seen, Walk, cause_ns};
use super::{CHOICE_SUPPORT_MIN, CHOICE_SURE_EACH, CHOICE_SURE_MIN, PASSAGE_SUPPORT_MIN, SHARE_MIN};
use crate::transaction::Transaction;

/// Lacking stages that are told of one transaction.
const LACKING_MAX: usize = 16;
/// Of transactions of a type, one in so many may lack spans: with more, nobody knows what did not happen.
const BROKEN_ONE_IN: u64 = 50;
/// Delays from which on their tail is known.
const TAIL_COUNT: u32 = 1_000;
/// Delays from which on something is known of them.
const DELAYS_MIN: u32 = 20;
/// Until a span that ended is here: exporters send every five seconds.
const ARRIVAL_NS: i64 = 6_000_000_000;
/// While the tail is not known, what comes now and then may take as long as this.
const PATIENCE_NS: i64 = 60_000_000_000;
/// Time after a type's first transaction from which on something is said of its messages.
const SETTLED_NS: i64 = 300_000_000_000;
/// Added to what is usual, so that what takes microseconds is not late for a pause.
const SLACK_NS: i64 = 1_000_000_000;

/// What became of a stage that is expected and is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LackingState {
    /// It may still come: others took as long.
    Waiting,
    /// It should have come by now, and the transaction is not over.
    Overdue,
    /// The transaction is over without it, or so late that it is not expected any more.
    Missing,
}

impl LackingState {
    /// Returns the word used in JSON and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Overdue => "overdue",
            Self::Missing => "missing",
        }
    }
}

/// An expected stage that is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Lacking {
    /// Who should have done it; for a peer without telemetry its address or system.
    pub service: Arc<str>,
    /// What should have been done.
    pub operation: Arc<str>,
    /// Whether it may still come.
    pub state: LackingState,
    /// Share of those like it that had it, 0 to 1.
    pub share: f64,
    /// How many were like it: they went the same way so far.
    pub of: u32,
    /// Nanoseconds after its cause; at the time of judging.
    pub delay_ns: i64,
    /// Nanoseconds after its cause at which half of those like it had begun.
    pub usual_delay_ns: Option<i64>,
    /// Index of the span below which it is expected.
    pub below: usize,
    /// Whether a call or message for it was seen to leave.
    pub is_sent: bool,
    pub(crate) stage: u8,
}

/// Whether a transaction did all that like ones do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Completeness {
    /// Expected stages, those that are there included.
    pub expected: usize,
    /// Those that are not there, in the order in which they usually come.
    pub lacking: Vec<Lacking>,
}

/// When a transaction is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now_ns: i64,
    /// Whether it still waits for spans.
    pub(super) is_open: bool,
    /// Whether it was learned from, so that it is one of those that lack what it lacks.
    pub(super) is_counted: bool,
}

/// Returns the stages that a transaction lacks, with the odds for each.
pub(super) fn lacking(model: &TypeModel, seen: &Seen, at: Moment) -> Vec<(u8, Odds)> {
    let mut found = Vec::new();
    if model.broken * BROKEN_ONE_IN > model.transactions + model.broken || seen.has_unknown && model.transactions == 0 {
        return found;
    }
    // What does not come is known later than what comes: until then, all seems to come.
    let is_settled = at.now_ns.saturating_sub(model.since_ns) >= SETTLED_NS;
    for number in members(seen.present) {
        let actor = model.stage(number);
        let set = seen.present & actor.children;
        if set == actor.children || model.is_cut_short(number, seen.failed) || actor.variants.is_usual(set) {
            continue;
        }
        let (passages, choices): (Vec<u8>, Vec<u8>) =
            members(actor.children & !set).partition(|&child| actor.is_outgoing() || model.stage(child).is_message());
        let with_odds = |child: u8| {
            let odds = actor.variants.odds(child, set);
            (child, Odds { of: odds.of.saturating_sub(u32::from(at.is_counted)).max(odds.with), ..odds })
        };
        let may_pass = |child: &u8| is_settled || !model.stage(*child).is_message();
        let passed = passages.into_iter().filter(may_pass).map(with_odds);
        found.extend(passed.filter(|(_, odds)| odds.is_at_least(SHARE_MIN, PASSAGE_SUPPORT_MIN)));
        if !actor.variants.is_known(set) {
            let chosen = choices.into_iter().map(with_odds);
            // What would have followed lacks because the first of them does.
            let first = chosen
                .filter(|(_, odds)| is_chosen(*odds))
                .min_by_key(|(child, _)| (model.stage(*child).delays.quantile_ns(0.5), *child));
            found.extend(first);
        }
    }
    found.truncate(LACKING_MAX);
    found
}

/// Returns whether a service does a thing so often that it is missing where it is not done.
fn is_chosen(odds: Odds) -> bool {
    let without = odds.of.saturating_sub(odds.with);
    let sure_of = CHOICE_SURE_MIN.saturating_add(CHOICE_SURE_EACH.saturating_mul(without));
    odds.of >= sure_of && odds.of < CHOICE_SUPPORT_MIN || odds.is_at_least(SHARE_MIN, CHOICE_SUPPORT_MIN)
}

/// Returns what a transaction lacks, in full.
pub(super) fn completeness(
    model: &TypeModel,
    transaction: &Transaction,
    seen: &Seen,
    walk: &Walk,
    at: Moment,
) -> Completeness {
    let found = lacking(model, seen, at);
    let below_failed = |number: &u8| model.is_cut_short(model.stage(*number).parent, seen.failed);
    let usual = members(model.usual & seen.present).filter(|number| !below_failed(number)).count();
    let lacking: Vec<Lacking> = found
        .into_iter()
        .map(|(number, odds)| {
            let below = walk.first_index(transaction, model.stage(number).parent);
            let (service, operation) = name(model, number);
            let stage = model.stage(number);
            let from_ns = cause_ns(&transaction.spans[below], stage.is_message());
            Lacking {
                service,
                operation,
                state: state(stage, from_ns, at),
                share: odds.share(),
                of: odds.of,
                delay_ns: at.now_ns.saturating_sub(from_ns).max(0),
                usual_delay_ns: stage.delays.quantile_ns(0.5),
                below,
                is_sent: model.stage(stage.parent).is_outgoing(),
                stage: number,
            }
        })
        .collect();
    Completeness { expected: usual + lacking.len(), lacking }
}

fn state(stage: &Stage, from_ns: i64, at: Moment) -> LackingState {
    // What is called, and not sent, is over before its caller is.
    let due_ns = if stage.is_message() || at.is_open { due_ns(stage, from_ns).unwrap_or(i64::MAX) } else { i64::MIN };
    match (at.now_ns < due_ns, at.is_open) {
        (true, _) => LackingState::Waiting,
        (false, true) => LackingState::Overdue,
        (false, false) => LackingState::Missing,
    }
}

/// Returns until when a stage may still come, given when its cause was; nothing if too little is known of it.
pub(super) fn due_ns(stage: &Stage, from_ns: i64) -> Option<i64> {
    let delays = if stage.is_message() { &stage.known } else { &stage.delays };
    let longest_ns = match delays.count() {
        count if count < DELAYS_MIN => return None,
        count if count < TAIL_COUNT => delays.quantile_ns(1.0)?.saturating_mul(8).max(PATIENCE_NS),
        _ => delays.quantile_ns(0.999)?.saturating_mul(2),
    };
    Some(from_ns.saturating_add(longest_ns).saturating_add(SLACK_NS + ARRIVAL_NS))
}

/// Returns who would do a stage and what: for a call, the one that is usually called.
pub(super) fn name(model: &TypeModel, number: u8) -> (Arc<str>, Arc<str>) {
    let mut at = number;
    for _ in 0..STAGES_MAX {
        let stage = model.stage(at);
        let mut called = members(stage.children).filter(|child| stage.variants.odds_overall(*child).share() > 0.5);
        match called.next().filter(|_| stage.is_outgoing()) {
            Some(child) => at = child,
            None => break,
        }
    }
    let site = &model.stage(at).site;
    let service = if model.stage(at).is_outgoing() { site.peer.as_ref() } else { None };
    (service.unwrap_or(&site.service).clone(), site.operation.clone())
}

/// Returns stages that a message may still lead to, with until when: what is sent and not taken in yet is not absent.
pub(super) fn may_come(model: &TypeModel, seen: &Seen) -> StageSet {
    let mut may = 0;
    for number in members(model.messages & !seen.present) {
        let parent = model.stage(number).parent;
        if seen.present & bit(parent) != 0 && !model.is_cut_short(parent, seen.failed) {
            may |= bit(number);
        }
    }
    may
}
