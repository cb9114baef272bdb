//! Transactions that are not over: which are late, which are stuck, and what each waits for. Made by the analyzer for the
//! summary, as time passes with or without spans; read by pages. Bounded lists; what is judged is what is open longest.

use std::cmp::Reverse;
use std::sync::Arc;

use collector_table::TraceId;
use serde::Serialize;

use crate::expect::{Learner, Overdue, Unfinished};
use crate::span::Span;
use crate::stitch::{HeldBack, Stitcher, Unclosed};

/// Transactions listed.
const LISTED_MAX: usize = 100;
/// Open transactions that are looked at, those that are open longest; further ones are not said to be late.
const LOOKED_AT_MAX: usize = 500;
/// Spans of one transaction that are looked at for a parent that has not come.
const SPANS_LOOKED_AT_MAX: usize = 2_000;
/// Until a span that ended is here, and its transaction is closed.
const ARRIVAL_NS: i64 = 12_000_000_000;
/// A transaction is stuck when it takes so many times what 99 % of its type take, and some time.
const STUCK_TIMES: i64 = 3;
/// Shorter pauses are no reason to look, whatever is usual.
const STUCK_NS: i64 = 30_000_000_000;

/// How far a transaction that is not over is from its usual end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressState {
    /// Something that it must do is overdue, or it takes far longer than like ones.
    Stuck,
    /// It takes longer than 99 % of like ones.
    Late,
    /// Others took as long.
    InProgress,
}

impl ProgressState {
    /// Returns the word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Late => "late",
            Self::InProgress => "in_progress",
        }
    }
}

/// What a transaction that is not over waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// The end of an operation whose span has not come: spans are sent when they end.
    End {
        /// Who works on it; none if nobody knows.
        of: Option<(Arc<str>, Arc<str>)>,
    },
    /// An expected stage.
    Stage {
        /// Who should do it.
        service: Arc<str>,
        /// What should be done.
        operation: Arc<str>,
    },
    /// That somebody takes in a message.
    Message {
        /// Who sent it.
        service: Arc<str>,
        /// As what.
        operation: Arc<str>,
    },
    /// Nothing in particular: all that it states is there, and more may come for a few seconds.
    Spans,
}

/// A transaction that is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct InProgress {
    /// Id of the trace in which it began, as far as that is known.
    pub id: TraceId,
    /// Service and operation of its root, or of its first span.
    pub service: Arc<str>,
    /// See `service`.
    pub operation: Arc<str>,
    /// Whether its root has not come, and its type is told from what came.
    pub is_guess: bool,
    /// Unix nanoseconds of its first start.
    pub started_ns: i64,
    /// Nanoseconds since then.
    pub age_ns: i64,
    /// Spans so far; 0 where they are not held any more.
    pub spans: usize,
    /// How far it is from its usual end.
    pub state: ProgressState,
    /// What it waits for.
    pub waits_for: WaitsFor,
    /// Nanoseconds that half of its type take, and 99 %.
    pub usual_ns: Option<(i64, i64)>,
}

/// All that is not over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Stuck ones first, then late ones; within a state the oldest first.
    pub list: Vec<InProgress>,
    /// How many are stuck.
    pub stuck: usize,
    /// How many are late.
    pub late: usize,
    /// How many are neither, of those that were looked at.
    pub in_progress: usize,
}

/// Returns what is not over at `now_ns`.
pub(crate) fn progress(stitcher: &Stitcher, learner: &Learner, now_ns: i64) -> Progress {
    let mut list: Vec<InProgress> = Vec::new();
    list.extend(stitcher.unclosed(LOOKED_AT_MAX).iter().filter_map(|open| unclosed(open, learner, now_ns)));
    list.extend(stitcher.held(LOOKED_AT_MAX).iter().map(|held| waiting(held, learner, now_ns)));
    list.extend(learner.overdue(now_ns).into_iter().map(|one| overdue(one, learner, now_ns)));
    list.extend(learner.unfinished().map(|one| unfinished(one, learner, now_ns)));
    list.sort_by_key(|one| (one.id, one.state, Reverse(one.age_ns)));
    list.dedup_by_key(|one| one.id);
    let count = |state: ProgressState| list.iter().filter(|one| one.state == state).count();
    let (stuck, late) = (count(ProgressState::Stuck), count(ProgressState::Late));
    let in_progress = list.len() - stuck - late;
    list.sort_by_key(|one| (one.state, Reverse(one.age_ns), one.id));
    list.truncate(LISTED_MAX);
    Progress { list, stuck, late, in_progress }
}

/// Returns how far a transaction is that lacks something; with too little known of its type, nothing is late.
fn state(age_ns: i64, usual_ns: Option<(i64, i64)>) -> ProgressState {
    let Some((_, p99_ns)) = usual_ns else { return ProgressState::InProgress };
    if age_ns > p99_ns.saturating_mul(STUCK_TIMES).saturating_add(STUCK_NS) {
        ProgressState::Stuck
    } else if age_ns > p99_ns.saturating_add(ARRIVAL_NS) {
        ProgressState::Late
    } else {
        ProgressState::InProgress
    }
}

fn unclosed(open: &Unclosed<'_>, learner: &Learner, now_ns: i64) -> Option<InProgress> {
    let first = open.spans.iter().min_by_key(|span| (span.parent_span_id().is_some(), span.start_ns))?;
    let started_ns = open.spans.iter().map(|span| span.start_ns).min()?;
    let has_root = first.parent_span_id().is_none();
    let guessed = if has_root { None } else { learner.type_of(open.spans) };
    let root = guessed.as_ref().unwrap_or(&first.site);
    let age_ns = now_ns.saturating_sub(started_ns).max(0);
    let usual_ns = if has_root || guessed.is_some() { learner.usual_ns(root.shape) } else { None };
    let waits_for = match orphan(open.spans) {
        _ if !has_root => {
            WaitsFor::End { of: guessed.as_ref().map(|root| (root.service.clone(), root.operation.clone())) }
        }
        Some(_) => WaitsFor::End { of: None },
        None => WaitsFor::Spans,
    };
    let is_whole = waits_for == WaitsFor::Spans;
    Some(InProgress {
        id: open.id,
        service: root.service.clone(),
        operation: root.operation.clone(),
        is_guess: !has_root,
        started_ns,
        age_ns,
        spans: open.spans.len(),
        state: if is_whole { ProgressState::InProgress } else { state(age_ns, usual_ns) },
        waits_for,
        usual_ns,
    })
}

/// Returns a span whose parent has not come; of a large transaction the first, because it would take too long to look.
fn orphan(spans: &[Span]) -> Option<&Span> {
    if spans.len() > SPANS_LOOKED_AT_MAX {
        return spans.first();
    }
    let mut ids: Vec<_> = spans.iter().map(|span| span.span_id).collect();
    ids.sort_unstable();
    spans.iter().find(|span| span.parent_span_id().is_some_and(|parent| ids.binary_search(&parent).is_err()))
}

fn waiting(held: &HeldBack<'_>, learner: &Learner, now_ns: i64) -> InProgress {
    let root = held.whole.root_span();
    let age_ns = now_ns.saturating_sub(held.whole.started_ns).max(0);
    let usual_ns = learner.usual_ns(root.site.shape);
    let sender = held.sender.map(|index| &held.whole.spans[index].site);
    let message = |site: &Arc<crate::span::Site>| WaitsFor::Message {
        service: site.service.clone(),
        operation: site.operation.clone(),
    };
    InProgress {
        id: held.whole.id,
        service: root.site.service.clone(),
        operation: root.site.operation.clone(),
        is_guess: false,
        started_ns: held.whole.started_ns,
        age_ns,
        spans: held.whole.spans.len(),
        // It is given out in a moment, and then it is known whether what it waits for is late.
        state: ProgressState::InProgress,
        waits_for: sender.map_or(WaitsFor::Spans, message),
        usual_ns,
    }
}

fn overdue(one: Overdue, learner: &Learner, now_ns: i64) -> InProgress {
    let age_ns = now_ns.saturating_sub(one.started_ns).max(0);
    let usual_ns = learner.usual_ns(one.shape);
    let is_due = one.until_ns <= now_ns;
    let (service, operation) = one.lacks;
    InProgress {
        id: one.id,
        service: one.service,
        operation: one.operation,
        is_guess: false,
        started_ns: one.started_ns,
        age_ns,
        spans: one.spans,
        state: match state(age_ns, usual_ns) {
            _ if is_due => ProgressState::Stuck,
            // What it waits for may take as long.
            ProgressState::Stuck => ProgressState::Late,
            state => state,
        },
        waits_for: WaitsFor::Stage { service, operation },
        usual_ns,
    }
}

fn unfinished(one: &Unfinished, learner: &Learner, now_ns: i64) -> InProgress {
    let age_ns = now_ns.saturating_sub(one.started_ns).max(0);
    let usual_ns = learner.usual_ns(one.root.shape);
    InProgress {
        id: one.id,
        service: one.root.service.clone(),
        operation: one.root.operation.clone(),
        is_guess: true,
        started_ns: one.started_ns,
        age_ns,
        spans: one.spans,
        state: state(age_ns, usual_ns),
        waits_for: WaitsFor::End { of: Some((one.root.service.clone(), one.root.operation.clone())) },
        usual_ns,
    }
}
