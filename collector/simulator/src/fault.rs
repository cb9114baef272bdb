//! Faults of every kind that an incident may have: where they act, how strongly, from when to when, and what is true of
//! them. Placed on any system by a seed; played by the world as changes of a mechanism. Must never name a system's parts.

mod messages;
mod time;
mod work;

use std::collections::BTreeSet;

use crate::change::{Change, Scope};
use crate::dice::Dice;
use crate::survey::{CallSite, Survey};
use crate::system::{OperationId, ServiceId, System};

/// How much a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Hard to see.
    Mild,
    /// To be found nearly always.
    Moderate,
    /// Not to be missed.
    Severe,
}

impl Strength {
    /// Every strength, the weakest first.
    pub const ALL: [Self; 3] = [Self::Mild, Self::Moderate, Self::Severe];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mild => "mild",
            Self::Moderate => "moderate",
            Self::Severe => "severe",
        }
    }

    fn of<T: Copy>(self, values: [T; 3]) -> T {
        values[self as usize]
    }
}

/// A word for each kind, as incidents use it, with what places a fault of it.
const KINDS: [(&str, Place); 15] = [
    ("latency_shift", time::latency_shift),
    ("cascade", time::cascade),
    ("straggler", time::straggler),
    ("queue_lag", messages::queue_lag),
    ("facade_creep", time::facade_creep),
    ("chatty_calls", work::chatty_calls),
    ("retry_storm", work::retry_storm),
    ("wasted_work", work::wasted_work),
    ("duplicate_processing", messages::duplicate_processing),
    ("lost_message", messages::lost_message),
    ("out_of_order", messages::out_of_order),
    ("incomplete_compensation", work::incomplete_compensation),
    ("broken_context", work::broken_context),
    ("degraded_response", work::degraded_response),
    ("error_burst", work::error_burst),
];

type Place = fn(&mut Placing<'_>) -> Option<Placed>;

/// Returns the words of all kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind)
}

/// A fault, and what is true of it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its kind.
    pub kind: &'static str,
    /// Kinds that an incident about it may have; the fault's own first.
    pub kinds: Vec<&'static str>,
    /// How much it does.
    pub strength: Strength,
    /// Whether it grows instead of being there at once.
    pub is_ramped: bool,
    /// What part of the traffic it touches.
    pub scope: Scope,
    /// Names by which its place may be called.
    pub services: Vec<String>,
    /// Operations by which its place may be called.
    pub operations: Vec<String>,
    /// Seconds since the beginning at which it begins.
    pub from_s: f64,
    /// Seconds since the beginning at which it ends.
    pub to_s: f64,
    /// Services and operations at which the work begins that it hurts.
    pub hurt: Vec<(String, String)>,
    /// Services and queues that it may reach.
    pub near: BTreeSet<String>,
    /// What it does to the system.
    pub changes: Vec<Change>,
}

/// Where and how a fault acts, before it is told when.
struct Placed {
    /// Kinds other than its own that are right too.
    also: Vec<&'static str>,
    services: Vec<String>,
    operations: Vec<String>,
    /// Service around which it is felt.
    around: ServiceId,
    /// Operation through which work is hurt.
    through: OperationId,
    scope: Scope,
    changes: Vec<Change>,
}

/// What a kind's placing works with.
struct Placing<'a> {
    system: &'a System,
    survey: &'a Survey,
    dice: Dice,
    strength: Strength,
    from_s: f64,
    to_s: f64,
    ramp_s: f64,
}

/// When a fault acts.
#[derive(Debug, Clone, Copy)]
pub struct Period {
    /// Seconds since the beginning.
    pub from_s: f64,
    /// Seconds since the beginning.
    pub to_s: f64,
    /// Seconds in which it grows to its strength; 0 if it is there at once.
    pub ramp_s: f64,
}

/// Returns a fault of a kind that can act on a system; none if the system has no place for it.
pub fn place(system: &System, kind: &str, strength: Strength, period: Period, seed: u64) -> Option<Fault> {
    let (kind, place) = KINDS.iter().find(|(known, _)| *known == kind)?;
    let survey = Survey::of(system);
    let Period { from_s, to_s, ramp_s } = period;
    // Kinds of one seed have places of their own.
    let of_kind = kind.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let dice = Dice::new(seed ^ of_kind);
    let mut placing = Placing { system, survey: &survey, dice, strength, from_s, to_s, ramp_s };
    let placed = place(&mut placing)?;
    let mut near = survey.near(system, placed.around);
    near.extend(placed.services.iter().cloned());
    Some(Fault {
        kind,
        kinds: std::iter::once(*kind).chain(placed.also).collect(),
        strength,
        is_ramped: ramp_s > 0.0,
        scope: placed.scope,
        services: placed.services,
        operations: placed.operations,
        from_s,
        to_s,
        hurt: hurt(system, &survey, placed.through),
        near,
        changes: placed.changes,
    })
}

/// Returns where work begins that an operation is part of: at sources, and where a consumer begins a trace of its own.
fn hurt(system: &System, survey: &Survey, through: OperationId) -> Vec<(String, String)> {
    let entries = survey.entries[through].iter().map(|(entry, _)| *entry);
    let causes = survey.causes(system, through);
    let takers = system.groups.iter().map(|group| group.operation).filter(|taker| causes.contains(taker));
    let names = |operation: OperationId| {
        let service = &system.services[system.operations[operation].service];
        survey.names(system, operation).into_iter().map(move |name| (service.name.to_string(), name))
    };
    entries.chain(takers).flat_map(names).collect()
}

/// Runs a second from which on a fault has something to act on.
const RATE_MIN: f64 = 0.05;

impl Placing<'_> {
    fn change(&self, effect: crate::Effect) -> Change {
        Change::between(self.from_s, self.to_s, effect).ramped(self.ramp_s)
    }

    fn service_of(&self, operation: OperationId) -> ServiceId {
        self.system.operations[operation].service
    }

    fn service_name(&self, service: ServiceId) -> String {
        self.system.services[service].name.to_string()
    }

    /// Returns the names by which an operation is seen.
    fn operation_names(&self, operation: OperationId) -> Vec<String> {
        self.survey.names(self.system, operation)
    }

    fn is_telling(&self, operation: OperationId) -> bool {
        self.system.services[self.service_of(operation)].is_telling
    }

    /// Returns whether an operation is run often enough, and is no wait on purpose.
    fn is_used(&self, operation: OperationId) -> bool {
        let body = &self.system.operations[operation].body;
        let waits = body.iter().any(|step| matches!(step, crate::system::Step::Sleep { .. }));
        self.survey.rates[operation] >= RATE_MIN && !waits
    }

    /// Returns the places of calls that are made often enough and fit.
    fn sites(&self, fits: impl Fn(&CallSite) -> bool) -> Vec<CallSite> {
        let sites = self.survey.calls.iter();
        let used = sites.filter(|site| {
            site.per_run > 0.0 && self.is_used(site.caller) && self.is_used(site.call.target) && fits(site)
        });
        used.cloned().collect()
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        (!list.is_empty()).then(|| self.dice.pick(list).clone())
    }

    /// Returns the milliseconds by which a run of an operation must be longer, for the work that waits for it to be longer
    /// by a share, and by so many milliseconds at least.
    fn extra_ms(&self, operation: OperationId, share: f64, ms_min: f64) -> Option<f64> {
        let (whole_ms, runs) = self.survey.felt(operation)?;
        Some((whole_ms * share).max(ms_min) / runs.clamp(0.2, 20.0))
    }

    /// Returns what is true of a fault at one operation.
    fn at(&self, operation: OperationId, scope: Scope, changes: Vec<Change>) -> Placed {
        let service = self.service_of(operation);
        Placed {
            also: Vec::new(),
            services: vec![self.service_name(service)],
            operations: self.survey.names(self.system, operation),
            around: service,
            through: operation,
            scope,
            changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Period, Strength, kinds, place};
    use crate::systems;

    const PERIOD: Period = Period { from_s: 600.0, to_s: 900.0, ramp_s: 60.0 };

    #[test]
    fn every_kind_has_a_place_in_several_systems_and_is_near_itself() {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let systems: Vec<_> = systems::written().into_iter().chain((0..12).map(systems::drawn)).collect();
        for (system, kind) in systems.iter().flat_map(|system| kinds().map(move |kind| (system, kind))) {
            let Some(fault) = place(system, kind, Strength::Moderate, PERIOD, 7) else { continue };
            *places.entry(kind).or_default() += 1;
            assert_eq!(fault.kinds.first(), Some(&fault.kind));
            assert!(fault.services.iter().all(|service| fault.near.contains(service)), "{}: {fault:?}", system.name);
            assert!(!fault.hurt.is_empty() && !fault.changes.is_empty(), "{}: {fault:?}", system.name);
            assert!(fault.changes.iter().all(|change| change.from_ns >= 600_000_000_000), "{fault:?}");
        }
        assert!(kinds().all(|kind| places.get(kind).is_some_and(|count| *count >= 2)), "{places:?}");
    }

    #[test]
    fn a_stronger_fault_is_at_the_same_place() {
        let at = |strength| place(&systems::shop(), "latency_shift", strength, PERIOD, 3).unwrap().operations;
        assert_eq!(at(Strength::Mild), at(Strength::Severe));
    }
}
