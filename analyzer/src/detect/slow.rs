//! What kind of slow failure signals of time tell of, and which suspect is its origin. Called when an incident is told,
//! with the suspects that are believed, most extra time first.
//!
//! Who waits for a slow dependency is slow, too, and where workers run out, the wait before a caller's door can be longer
//! than what the dependency adds. So the origin is the deepest of those that work longer themselves, among those that the
//! first suspect waits for; the others are its spread.

use std::sync::Arc;

use super::blame::{self, Suspect};
use super::graph::Graph;
use super::instances::Side;
use super::signals::Signals;
use super::steps::StepId;
use crate::incident::IncidentKind;
use crate::transaction::Cause;

/// Share of the extra time from which on one that others wait for can be the origin, and by how much its own work must have
/// grown: workers run out where they are kept for a multiple of the time.
const PART_MIN: f64 = 0.1;
const ORIGIN_FACTOR: f64 = 3.0;
/// Share of a suspect's extra time that its own work, and the wait before its door, must each be.
const FULL_SHARE: f64 = 0.2;
/// Services that call an origin.
const CALLERS_MIN: usize = 2;

/// Returns the step of the first suspect if that is a clock: a message's wait is measured by two of them, and all waits are
/// longer by as much when one of them jumps. Where a queue grows, waits differ more.
pub(super) fn clock_step(signals: &Signals, suspects: &[Suspect], from: i64, to: i64) -> Option<StepId> {
    let first = suspects.first().filter(|first| first.cause == Cause::QueueWait)?;
    signals.is_moved(first.step, from, to).then_some(first.step)
}

/// Puts the origin first and says what kind it is.
pub(super) fn rank(graph: &Graph, suspects: &mut Vec<Suspect>) -> IncidentKind {
    let Some(first) = suspects.first() else { return IncidentKind::LatencyShift };
    if first.cause == Cause::QueueWait {
        return IncidentKind::QueueLag;
    }
    let total_ms: f64 = suspects.iter().map(|suspect| suspect.extra_ms).sum();
    if let Some(origin) = origin(graph, suspects, total_ms) {
        let origin = suspects.remove(origin);
        suspects.insert(0, origin);
        return IncidentKind::Cascade;
    }
    // One whose work takes longer *and* before whose door requests wait has run out of workers.
    let first = &suspects[0];
    let is_full = first.own_ms.min(first.door_ms) >= FULL_SHARE * first.extra_ms;
    if is_full && graph.callers(&first.service) >= CALLERS_MIN {
        return IncidentKind::Cascade;
    }
    IncidentKind::LatencyShift
}

/// Returns the place of the suspect that works longer itself and that the first one, which only waits, waits for.
fn origin(graph: &Graph, suspects: &[Suspect], total_ms: f64) -> Option<usize> {
    let first = &suspects[0];
    if !is_blocked(first) {
        return None;
    }
    let below = graph.below(&first.service);
    let is_origin = |one: &Suspect| {
        let has_grown = one.now_ms >= ORIGIN_FACTOR * one.usual_ms && one.extra_ms >= PART_MIN * total_ms;
        works(one) && has_grown && below.contains(&one.service)
    };
    suspects.iter().skip(1).position(is_origin).map(|at| at + 1)
}

/// Returns whether what a kind says may follow from somebody below who is slow.
pub(super) fn may_follow(kind: IncidentKind) -> bool {
    matches!(kind, IncidentKind::RetryStorm | IncidentKind::WastedWork | IncidentKind::IncompleteCompensation)
}

/// Returns the suspect that works longer itself and that a service, which does not as much, waits for: of several the one
/// with most extra time.
pub(super) fn origin_below(
    (signals, graph): (&Signals, &Graph),
    service: &Arc<str>,
    onset: i64,
    block: i64,
) -> Option<Suspect> {
    let suspects = blame::suspects(signals, onset, block);
    let below = graph.below(service);
    let own_ms = suspects.iter().find(|one| one.service == *service).map_or(0.0, |one| one.own_ms);
    let is_origin = |one: &Suspect| {
        let has_grown = one.now_ms >= ORIGIN_FACTOR * one.usual_ms && one.extra_ms > own_ms;
        one.service != *service && works(one) && has_grown && below.contains(&one.service)
    };
    suspects.into_iter().find(|one| is_origin(one) && blame::is_off(signals, one, block))
}

/// Returns whether a suspect's extra time passes before its own work.
fn is_blocked(suspect: &Suspect) -> bool {
    suspect.cause == Cause::NetworkGap && *suspect.service != *suspect.caller
}

/// Returns whether a suspect's extra time is its own.
fn works(suspect: &Suspect) -> bool {
    matches!(suspect.cause, Cause::SelfTime | Cause::Straggler | Cause::UninstrumentedPeer | Cause::Unexplained)
}

/// Returns whose instances a suspect's extra time may be of, and in which part of their work.
pub(super) fn side(suspect: &Suspect) -> Option<(&str, Side)> {
    let is_far = *suspect.service != *suspect.caller;
    match suspect.cause {
        // A peer that sends no telemetry has no instances that anybody knows of.
        Cause::UninstrumentedPeer => None,
        Cause::NetworkGap if !is_far => Some((&suspect.service, Side::Outbound)),
        Cause::NetworkGap | Cause::QueueWait => Some((&suspect.service, Side::Inbound)),
        Cause::SelfTime | Cause::RetryGap | Cause::Straggler | Cause::Unexplained => {
            Some((&suspect.service, Side::Own))
        }
    }
}
