//! Kinds that rates tell of, seen from outside: a small system runs for a while, something happens, and what is told.
//! Each kind has what it is for and what it must leave alone.

mod calls;
mod errors;
mod keys;
mod messages;
mod sagas;

use super::super::tests::{HISTORY_S, Run};
use crate::incident::Incident;

/// Returns what was opened: kind, first service and operation, cause.
fn told(run: &Run) -> Vec<String> {
    run.opened().into_iter().map(told_of).collect()
}

fn told_of(incident: &Incident) -> String {
    let first = &incident.root_cause[0];
    let operation = first.operation.as_deref().unwrap_or("-");
    format!("{}: {} {operation}, {}", incident.kind.as_str(), first.service, first.cause)
}

/// Returns whether the n-th of a sequence is one of so many in a hundred, spread evenly.
fn is_in(number: i64, percent: i64) -> bool {
    (number * 37).rem_euclid(100) < percent
}
