//! The rules in words, made from the numbers that detection uses; and what is to be said about a replay.

use analyzer::detect::{BLOCK_S, PERSISTENCE_TICKS, Thresholds};
use analyzer::incident::IncidentKind;
use analyzer::summary::{TypeState, TypeSummary};

use crate::backtest::{BacktestProgress, BacktestResult};
use crate::format;

/// Spans that begin this late do not teach from the time on that was asked for.
const LATE_NS: i64 = 60 * 1_000_000_000;

/// Returns what the budget is, where it comes from, and what is watched.
pub(super) fn lead(in_force: f64, origin: Option<&str>, types: &[TypeSummary]) -> String {
    let learning = types.iter().filter(|one| one.state == TypeState::Learning).count();
    let incidents = if in_force.to_bits() == 1.0_f64.to_bits() { "incident" } else { "incidents" };
    let origin = match origin {
        Some("default") | None => "by default".to_owned(),
        Some(place) => format!("by {place}"),
    };
    format!(
        "One rule watches everything, and learns from your own traffic. How strict it is follows from the budget of \
         false alarms: {in_force} false {incidents} a week, over everything together, as detection.false_alarms_per_week \
         is set {origin}. Watched now: {}, of which {} still being learned.",
        format::counted(types.len(), "transaction type", "transaction types"),
        match learning {
            0 => "none is".to_owned(),
            1 => "1 is".to_owned(),
            count => format!("{} are", format::len(count)),
        },
    )
}

/// Returns what is needed for an incident; all of it.
pub(super) fn needs(needed: &Thresholds) -> Vec<(&'static str, String)> {
    let Thresholds { z, shift, tail_share, extra_ms, extra_share, n, reference_n, reference_windows } = needed;
    let longer = format::share(shift.exp() - 1.0);
    vec![
        (
            "significance",
            format!(
                "The last minute is at least {z:.1} times as far from the half hour before as that half hour's own \
                 minutes are from each other. This follows from the budget; a higher budget needs less. Finer signals, \
                 and those that jump by themselves, need more. For what goes wrong more often, the chance of so many is \
                 below what the budget allows for all rates together.",
            ),
        ),
        (
            "a size that matters",
            format!(
                "A step takes {longer} longer, or {} more of the transactions take long; and the whole transaction takes \
                 at least {} and {} of its usual time longer.",
                format::share(*tail_share),
                format::millis(*extra_ms),
                format::share(*extra_share),
            ),
        ),
        (
            "enough traffic",
            format!(
                "At least {n} transactions in the minute, and {reference_n} in the half hour before, in {reference_windows} \
                 different minutes of it. Where traffic is low, five minutes are compared with three hours.",
            ),
        ),
        (
            "persistence",
            format!("It stands out in {PERSISTENCE_TICKS} blocks of {BLOCK_S} s in a row: a pause is no incident."),
        ),
    ]
}

/// Returns what a kind is about.
pub(super) fn meaning(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::LatencyShift => "something takes longer than it used to",
        IncidentKind::Cascade => "several are slow because one that they wait for is",
        IncidentKind::Straggler => "one of several like calls is always the last",
        IncidentKind::QueueLag => "messages wait longer before they are taken in",
        IncidentKind::FacadeCreep => "what a facade adds grows slowly, over versions or days",
        IncidentKind::ChattyCalls => "one operation makes far more calls than it used to",
        IncidentKind::RetryStorm => "retries add to the load",
        IncidentKind::WastedWork => "servers work for callers that gave up",
        IncidentKind::DuplicateProcessing => "what is to be done once is done twice",
        IncidentKind::LostMessage => "messages are not taken in",
        IncidentKind::OutOfOrder => "messages overtake each other",
        IncidentKind::IncompleteCompensation => "what was done is not undone",
        IncidentKind::BrokenContext => "transactions are told in pieces",
        IncidentKind::DegradedResponse => "answers lack a part, and say that all is well",
        IncidentKind::ErrorBurst => "an operation fails by itself",
    }
}

/// Returns how far a replay is.
pub(super) fn running(progress: BacktestProgress) -> String {
    format!(
        "Being computed: {} of {} minutes are replayed, {} spans so far. This page looks again by itself.",
        format::count(progress.minutes),
        format::count(progress.minutes_total),
        format::count(progress.spans),
    )
}

/// Returns what is to be known before the result is believed.
pub(super) fn remarks(result: &BacktestResult, in_force: f64) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(why) = &result.cut_short {
        remarks.push(format!("Cut short: {why}. What came later is not looked at, on either side."));
    }
    match result.first_span_ns {
        None => remarks.push("No span of that time is stored.".to_owned()),
        Some(first_ns) if first_ns > result.learned_from_ns.saturating_add(LATE_NS) => remarks.push(format!(
            "The first stored span is of {}: what is usual is learned from then on, and nothing opens before it is known.",
            format::moment(first_ns)
        )),
        Some(_) => {}
    }
    if result.question.false_alarms_per_week.to_bits() == in_force.to_bits() {
        remarks.push(
            "This is the budget in force now: what differs comes from the replay, not from the budget.".to_owned(),
        );
    }
    if result.left_out > 0 {
        remarks.push(format!("{} further incidents are left out.", format::count(result.left_out)));
    }
    if result.truncated > 0 {
        let count = format::count(result.truncated);
        remarks.push(format!("{count} times there was more at once than one query returns; the rest is left out."));
    }
    remarks
}
