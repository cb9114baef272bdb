//! What is missing, drawn: rows for expected stages that are not there, and what became of the saga. Called by the
//! timeline and its text; says nothing that the analysis has not judged.

use std::fmt::Write;

use analyzer::Transaction;
use analyzer::expect::{
    CompensationOutcome, CompensationState, Lacking, LackingState, SagaOutcome, SagaStage, SagaStageState, SagaState,
};

use super::bars::{Drawing, Stretch};
use crate::{format, text};

/// Deepest indentation, as of rows.
const INDENT_MAX: u32 = 16;

/// An expected stage that is not there.
pub(super) struct Ghost {
    pub(super) indent: String,
    pub(super) service: String,
    pub(super) operation: String,
    /// `missing`, `overdue` or `waiting`.
    pub(super) state: &'static str,
    /// Class of the state.
    pub(super) class: &'static str,
    pub(super) words: String,
    /// From its cause to where it usually begins, if that lies on the axis.
    pub(super) until_usual: Option<Stretch>,
}

/// What became of a saga.
pub(super) struct SagaView {
    pub(super) lead: String,
    pub(super) class: &'static str,
    pub(super) stages: Vec<SagaLine>,
}

/// A stage of a saga and what undoes it.
pub(super) struct SagaLine {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    /// What undoes it and what became of that; empty when nothing is known to.
    pub(super) compensation: String,
    pub(super) compensation_class: &'static str,
}

/// Returns the ghosts of a transaction with the span after which each is drawn: the last one below its cause.
pub(super) fn ghosts(transaction: &Transaction, drawing: &Drawing<'_>) -> Vec<(usize, Ghost)> {
    let lacking = transaction.completeness.iter().flat_map(|one| &one.lacking);
    let mut ghosts: Vec<(usize, Ghost)> =
        lacking.map(|one| (last_below(transaction, one.below), ghost(transaction, one, drawing))).collect();
    // What should have been undone would have been after all that was.
    let last = transaction.spans.len().saturating_sub(1);
    let stages = transaction.saga.iter().flat_map(|saga| &saga.stages);
    ghosts.extend(stages.filter_map(|stage| Some((last, undoing_ghost(stage.compensation.as_ref()?)?))));
    ghosts
}

/// Returns the ghost of a compensation that did not come.
fn undoing_ghost(by: &CompensationOutcome) -> Option<Ghost> {
    if by.state != CompensationState::Missing {
        return None;
    }
    let odds = format!(
        "seen in {} of {} that failed alike, not in this one",
        format::share(by.share),
        format::count(by.of.into())
    );
    let declared = "declared to undo what was done, not in this one".to_owned();
    Some(Ghost {
        indent: "d1".to_owned(),
        service: by.service.to_string(),
        operation: by.operation.to_string(),
        state: LackingState::Missing.as_str(),
        class: class(LackingState::Missing),
        words: if by.of > 0 { odds } else { declared },
        until_usual: None,
    })
}

/// Returns the last span of those below one: spans stand depth first.
fn last_below(transaction: &Transaction, index: usize) -> usize {
    let depth = transaction.depth(index);
    let below = (index + 1..transaction.spans.len()).take_while(|&at| transaction.depth(at) > depth);
    below.last().unwrap_or(index)
}

fn ghost(transaction: &Transaction, one: &Lacking, drawing: &Drawing<'_>) -> Ghost {
    let cause = &transaction.spans[one.below];
    let ends_ns = transaction.started_ns.saturating_add(transaction.duration_ns);
    let usual_ns = one.usual_delay_ns.map(|delay_ns| cause.start_ns.saturating_add(delay_ns));
    let until_usual = usual_ns.filter(|at| *at <= ends_ns).map(|at| drawing.stretch(cause.start_ns, at));
    Ghost {
        indent: format!("d{}", (transaction.depth(one.below) + 1).min(INDENT_MAX)),
        service: one.service.to_string(),
        operation: one.operation.to_string(),
        state: one.state.as_str(),
        class: class(one.state),
        words: words(one),
        until_usual,
    }
}

fn class(state: LackingState) -> &'static str {
    match state {
        LackingState::Missing => "bad",
        LackingState::Overdue => "warn",
        LackingState::Waiting => "note",
    }
}

/// Returns with what right it is expected, in words.
fn words(one: &Lacking) -> String {
    let share = format::share(one.share);
    let mut words = format!("seen in {share} of {} like it, not in this one", format::count(u64::from(one.of)));
    if let Some(usual_ns) = one.usual_delay_ns {
        write!(words, "; usually after {}", format::nanos(usual_ns)).expect("writing to a string cannot fail");
    }
    match one.state {
        LackingState::Waiting => words.push_str(", and may still come"),
        LackingState::Overdue => words.push_str(", and it is over due"),
        LackingState::Missing if one.is_sent => words.push_str("; it was sent or called, and nobody answered"),
        LackingState::Missing => {}
    }
    words
}

/// Returns in one sentence what is missing; nothing when nothing is.
pub(super) fn note(transaction: &Transaction) -> Option<String> {
    let completeness = transaction.completeness.as_ref()?;
    let first = completeness.lacking.first()?;
    let lacking = completeness.lacking.len();
    let there = completeness.expected.saturating_sub(lacking);
    Some(format!(
        "{} of {} expected stages came; {}: {} {}{}.",
        format::len(there),
        format::len(completeness.expected),
        first.state.as_str(),
        first.service,
        first.operation,
        if lacking > 1 { format!(" and {} more", format::len(lacking - 1)) } else { String::new() }
    ))
}

/// Returns what became of the saga.
pub(super) fn saga(transaction: &Transaction) -> Option<SagaView> {
    let saga = transaction.saga.as_deref()?;
    let class = match saga.state {
        SagaState::Completed | SagaState::Compensated => "good",
        SagaState::Unfinished | SagaState::Failed | SagaState::CompensationWaiting => "warn",
        _ => "bad",
    };
    Some(SagaView { lead: saga_lead(saga), class, stages: saga.stages.iter().map(saga_line).collect() })
}

fn saga_lead(saga: &SagaOutcome) -> String {
    let name = saga.name.as_deref().map_or_else(|| "Saga".to_owned(), |name| format!("Saga {name}"));
    let words = match saga.state {
        SagaState::Completed => "every stage was done",
        SagaState::Unfinished => "not every stage was done, and none failed",
        SagaState::Failed => "a stage failed, and nothing had to be undone",
        SagaState::Compensated => "a stage failed, and what had been done was undone",
        SagaState::CompensationWaiting => "a stage failed; what undoes the others may still come",
        SagaState::OrphanCompensation => "something was undone that had not been done",
        SagaState::CompensationFailed => "a stage failed, and so did what should undo another",
        SagaState::CompensationMissing => "a stage failed, and what had been done was not undone",
    };
    format!("{name}: {words}")
}

fn saga_line(stage: &SagaStage) -> SagaLine {
    let (state, class) = match stage.state {
        SagaStageState::Done => ("done", "good"),
        SagaStageState::Failed => ("failed", "bad"),
        SagaStageState::NotReached => ("not reached", "quiet"),
    };
    let (compensation, compensation_class) = match &stage.compensation {
        None => (String::new(), "quiet"),
        Some(by) => {
            let (words, class) = match by.state {
                CompensationState::NotNeeded => ("not needed", "quiet"),
                CompensationState::Done => ("undone", "good"),
                CompensationState::Waiting => ("may still come", "warn"),
                CompensationState::Orphan => ("undone without having been done", "bad"),
                CompensationState::Failed => ("failed", "bad"),
                CompensationState::Missing => ("missing", "bad"),
            };
            let odds = match (by.state, by.of) {
                (CompensationState::Missing, 1..) => {
                    format!(
                        ", seen in {} of {} that failed alike",
                        format::share(by.share),
                        format::count(by.of.into())
                    )
                }
                _ => String::new(),
            };
            (format!("{} {}: {words}{odds}", by.service, by.operation), class)
        }
    };
    SagaLine {
        service: stage.service.to_string(),
        operation: stage.operation.to_string(),
        state,
        class,
        compensation,
        compensation_class,
    }
}

/// Writes what became of the saga, for a text.
pub(super) fn saga_text(out: &mut String, transaction: &Transaction) {
    let Some(saga) = saga(transaction) else { return };
    writeln!(out, "{}", text::one_line(&saga.lead)).expect("writing to a string cannot fail");
    for line in &saga.stages {
        let by = if line.compensation.is_empty() { String::new() } else { format!("; {}", line.compensation) };
        let words = format!("  {} {}: {}{by}", line.service, line.operation, line.state);
        writeln!(out, "{}", text::one_line(&words)).expect("writing to a string cannot fail");
    }
    out.push('\n');
}

/// Writes the ghosts that stand after a span, for a text.
pub(super) fn ghosts_text(out: &mut String, transaction: &Transaction, index: usize, indent_max: usize) {
    for one in transaction.completeness.iter().flat_map(|one| &one.lacking) {
        if last_below(transaction, one.below) != index {
            continue;
        }
        let depth = usize::try_from(transaction.depth(one.below) + 1).unwrap_or(usize::MAX).min(indent_max);
        let line = format!("{}: {} {}, {}", one.state.as_str(), one.service, one.operation, words(one));
        writeln!(out, "{}? {}", "  ".repeat(depth), text::one_line(&line)).expect("writing to a string cannot fail");
    }
}
