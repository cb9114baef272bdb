//! What kind of slow failure signals of time tell of, and which suspect is its origin. Called when an incident is told,
//! with the suspects that are believed, most extra time first.
//!
//! Who waits for a slow dependency is slow, too, and where workers run out, the wait before a caller's door can be longer
//! than what the dependency adds. So the origin is the deepest of those that work longer themselves, among those that the
//! first suspect waits for; the others are its spread.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::blame::Suspect;
use super::instances::Side;
use super::signals::{Scope, Signals};
use crate::incident::IncidentKind;
use crate::transaction::Cause;

/// Share of the extra time from which on one that others wait for can be the origin, and one that waits is part of it.
const PART_MIN: f64 = 0.05;
/// Services that wait before their own work, or for a dependency, from which on it is a cascade.
const BLOCKED_MIN: usize = 2;
/// Services that are looked at on the way to an origin.
const STEPS_MAX: usize = 64;

/// Puts the origin first and says what kind it is.
pub(super) fn rank(signals: &Signals, suspects: &mut Vec<Suspect>) -> IncidentKind {
    let Some(first) = suspects.first() else { return IncidentKind::LatencyShift };
    if first.cause == Cause::QueueWait {
        return IncidentKind::QueueLag;
    }
    let total_ms: f64 = suspects.iter().map(|suspect| suspect.extra_ms).sum();
    if let Some(origin) = origin(signals, suspects, total_ms) {
        let origin = suspects.remove(origin);
        suspects.insert(0, origin);
        return IncidentKind::Cascade;
    }
    let blocked = suspects[1..].iter().filter(|one| is_blocked(one) && one.extra_ms >= PART_MIN * total_ms);
    let waiting = blocked.filter(|one| waits_for(signals, &one.service).contains(&suspects[0].service));
    let is_door = suspects[0].cause == Cause::NetworkGap || works(&suspects[0]);
    let callers = callers_of(signals, &suspects[0].service);
    if is_door && waiting.count() + 1 >= BLOCKED_MIN && callers >= BLOCKED_MIN {
        return IncidentKind::Cascade;
    }
    IncidentKind::LatencyShift
}

/// Returns the place of the suspect that works longer itself and that the first one, which only waits, waits for.
fn origin(signals: &Signals, suspects: &[Suspect], total_ms: f64) -> Option<usize> {
    let first = &suspects[0];
    if !is_blocked(first) {
        return None;
    }
    let below = waits_for(signals, &first.service);
    let is_origin = |one: &Suspect| works(one) && one.extra_ms >= PART_MIN * total_ms && below.contains(&one.service);
    suspects.iter().skip(1).position(is_origin).map(|at| at + 1)
}

/// Returns whether a suspect's extra time passes before its own work.
fn is_blocked(suspect: &Suspect) -> bool {
    suspect.cause == Cause::NetworkGap && *suspect.service != *suspect.caller
}

/// Returns whether a suspect's extra time is its own.
fn works(suspect: &Suspect) -> bool {
    matches!(suspect.cause, Cause::SelfTime | Cause::Straggler | Cause::UninstrumentedPeer | Cause::Unexplained)
}

/// Returns the services and peers that a service calls, and those that they call.
fn waits_for(signals: &Signals, service: &Arc<str>) -> BTreeSet<Arc<str>> {
    let mut below: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut next = vec![service.clone()];
    while let Some(caller) = next.pop() {
        for (_, scope, _) in signals.list.iter() {
            if let Scope::Hop(from, to) = scope
                && *from == caller
                && below.len() < STEPS_MAX
                && below.insert(to.clone())
            {
                next.push(to.clone());
            }
        }
    }
    below
}

fn callers_of(signals: &Signals, service: &Arc<str>) -> usize {
    signals.list.iter().filter(|(_, scope, _)| matches!(scope, Scope::Hop(_, to) if to == service)).count()
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
