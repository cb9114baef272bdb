//! Faults of what is done: too much of it, in vain, not undone, unseen, instead of something else, or not at all.

use super::{Placed, Placing};
use crate::change::{Change, Effect, Scope};
use crate::system::{OperationId, Otherwise};

/// Version that brings a fault.
const BAD_VERSION: &str = "1.1.0";

/// An operation makes the calls that it repeats far more often.
pub(super) fn chatty_calls(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| site.is_repeated);
    let site = placing.pick(&sites)?;
    let (operation, target) = (site.caller, site.call.target);
    let (whole_ms, _) = placing.survey.felt(operation)?;
    // What is repeated may be so quick that many times of it are not felt.
    let each_ms = placing.survey.durations_ms[target] * site.per_run;
    let felt = placing.strength.of([0.2, 0.6, 1.5]) * whole_ms / each_ms.max(0.1);
    let factor = (1.0 + felt).clamp(placing.strength.of([2.0, 4.0, 8.0]), 60.0);
    let service = placing.service_of(operation);
    let mut scope = Scope::default();
    let mut changes = Vec::new();
    if placing.is_telling(operation) && placing.dice.is(0.5) {
        scope.version = Some(BAD_VERSION.to_owned());
        let version = BAD_VERSION.to_owned();
        changes.push(Change::at(placing.from_s, Effect::Deploy { service, version, share: 1.0 }));
    }
    changes.push(placing.change(Effect::RepeatsMore { operation, factor }).within(scope.clone()));
    let mut placed = placing.at(operation, scope, changes);
    placed.operations.extend(placing.operation_names(target));
    Some(placed)
}

/// A dependency takes longer than its callers wait, and they try again and again.
pub(super) fn retry_storm(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| site.call.tries_max >= 2 && !site.call.has_breaker && site.width == 1);
    let site = placing.pick(&sites)?;
    let operation = site.call.target;
    let extra_ms = site.call.timeout_ms * 1.3;
    let effect = Effect::Slower { operation, extra_ms, share: placing.strength.of([0.15, 0.4, 0.9]) };
    let mut placed = placing.at(operation, Scope::default(), vec![placing.change(effect)]);
    placed.services.push(placing.service_name(placing.service_of(site.caller)));
    placed.operations.extend(placing.operation_names(site.caller));
    Some(placed)
}

/// A service works on after its callers gave up.
pub(super) fn wasted_work(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| {
        let service = &placing.system.services[placing.service_of(site.call.target)];
        let is_plain = site.call.tries_max == 1 && !site.call.has_breaker;
        service.is_telling && !service.cancels && is_plain && site.call.timeout_ms <= 10_000.0
    });
    let site = placing.pick(&sites)?;
    let operation = site.call.target;
    let extra_ms = site.call.timeout_ms * 1.5;
    let effect = Effect::Slower { operation, extra_ms, share: placing.strength.of([0.08, 0.25, 0.6]) };
    let mut placed = placing.at(operation, Scope::default(), vec![placing.change(effect)]);
    placed.services.push(placing.service_name(placing.service_of(site.caller)));
    placed.operations.extend(placing.operation_names(site.caller));
    Some(placed)
}

/// Sagas fail as before, and what they did is not undone.
pub(super) fn incomplete_compensation(placing: &mut Placing<'_>) -> Option<Placed> {
    let sagas: Vec<OperationId> =
        placing.survey.sagas.iter().copied().filter(|operation| placing.is_used(*operation)).collect();
    let operation = placing.pick(&sagas)?;
    let share = placing.strength.of([0.3, 0.6, 1.0]);
    let changes = vec![placing.change(Effect::ForgetsToUndo { operation, share })];
    let mut placed = placing.at(operation, Scope::default(), changes);
    let steps = placing.survey.calls.iter().filter(|site| site.caller == operation);
    let targets: Vec<OperationId> = steps.map(|site| site.call.target).collect();
    placed.operations.extend(targets.iter().flat_map(|target| placing.operation_names(*target)));
    placed.services.extend(targets.iter().map(|target| placing.service_name(placing.service_of(*target))));
    Some(placed)
}

/// A version of a service no longer passes its context on.
pub(super) fn broken_context(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| {
        let is_told = placing.is_telling(site.caller) && placing.is_telling(site.call.target);
        is_told && placing.system.services[placing.service_of(site.caller)].instances > 1
    });
    let site = placing.pick(&sites)?;
    let service = placing.service_of(site.caller);
    let version = BAD_VERSION.to_owned();
    let scope = Scope { version: Some(version.clone()), ..Scope::default() };
    let instances = placing.system.services[service].instances as f64;
    let share = placing.strength.of([1.0 / instances, 0.6, 1.0]);
    // Without a ramp: an instance either passes its context on or does not.
    let drops = Change::between(placing.from_s, placing.to_s, Effect::DropsContext { service });
    let changes =
        vec![Change::at(placing.from_s, Effect::Deploy { service, version, share }), drops.within(scope.clone())];
    let mut placed = placing.at(site.caller, scope, changes);
    let own = placing.survey.calls.iter().filter(|other| placing.service_of(other.caller) == service);
    for other in own {
        placed.operations.extend([other.caller, other.call.target].map(|one| placing.operation_names(one)).concat());
    }
    placed
        .operations
        .extend(placing.system.operations.iter().filter(|one| one.service == service).map(|one| one.name.to_string()));
    Some(placed)
}

/// A dependency fails, and its callers answer without it.
pub(super) fn degraded_response(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| matches!(site.call.otherwise, Otherwise::Instead(_)) && site.per_run >= 0.5);
    let site = placing.pick(&sites)?;
    let operation = site.call.target;
    let share = placing.strength.of([0.75, 0.9, 1.0]);
    let changes = vec![placing.change(Effect::Fails { operation, share })];
    let mut placed = placing.at(operation, Scope::default(), changes);
    placed.services.push(placing.service_name(placing.service_of(site.caller)));
    placed.operations.extend(placing.operation_names(site.caller));
    // Where nothing keeps the calls from being made, their failures are seen as such.
    placed.also = vec!["error_burst"];
    Some(placed)
}

/// An operation fails, and so do those who need it.
pub(super) fn error_burst(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| {
        matches!(site.call.otherwise, Otherwise::Fail) && site.call.tries_max == 1 && !site.call.has_breaker
    });
    let targets: Vec<OperationId> = sites.iter().map(|site| site.call.target).collect();
    let others = |operation: OperationId| {
        placing
            .survey
            .calls
            .iter()
            .filter(move |site| site.call.target == operation)
            .all(|site| site.call.tries_max == 1)
    };
    let plain: Vec<OperationId> = targets.into_iter().filter(|operation| others(*operation)).collect();
    let operation = placing.pick(&plain)?;
    let share: f64 = placing.strength.of([0.06, 0.2, 0.7]);
    let mut scope = Scope::default();
    let service = placing.service_of(operation);
    let instances = placing.system.services[service].instances;
    let mut share_here = share;
    if placing.is_telling(operation) && instances > 1 && placing.dice.is(0.3) {
        scope.instance = Some(placing.dice.below(instances));
        share_here = f64::min(share * 2.0, 1.0);
    }
    let changes = vec![placing.change(Effect::Fails { operation, share: share_here }).within(scope.clone())];
    Some(placing.at(operation, scope, changes))
}
