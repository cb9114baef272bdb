//! Faults of time: something takes longer, all of it or a part, at once or over hours.

use super::{Placed, Placing};
use crate::change::{Change, Effect, Scope};
use crate::system::{OperationId, ServiceId};

/// Version that brings a fault.
const BAD_VERSION: &str = "1.1.0";

/// Own work, or the way to a service, takes longer: for all, for a tail, one instance, one version, or one tenant.
pub(super) fn latency_shift(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| site.width == 1 && !site.is_repeated);
    let operation = placing.pick(&sites)?.call.target;
    let service = placing.service_of(operation);
    let share = placing.strength.of([0.25, 0.7, 2.0]);
    let extra_ms = placing.extra_ms(operation, share, placing.strength.of([10.0, 25.0, 60.0]))?;
    let has_peers = placing.is_telling(operation) && placing.system.services[service].instances > 1;
    let says_tenant = placing.survey.entries[operation].iter().all(|(entry, _)| {
        placing.system.operations[*entry].says.iter().any(|say| say.value == crate::system::Value::Tenant)
    });
    let slower = |extra_ms: f64, share: f64| Effect::Slower { operation, extra_ms, share };
    let mut scope = Scope::default();
    let mut changes = Vec::new();
    match placing.dice.below(8) {
        0 => changes.push(placing.change(slower(extra_ms * 6.0, 0.15))),
        1 if has_peers => {
            // One of several has a part of the traffic: it must be worse to be felt as much.
            scope.instance = Some(placing.dice.below(placing.system.services[service].instances));
            changes.push(placing.change(slower(extra_ms * 2.0, 1.0)));
        }
        2 if has_peers => {
            scope.version = Some(BAD_VERSION.to_owned());
            let version = BAD_VERSION.to_owned();
            changes.push(Change::at(placing.from_s, Effect::Deploy { service, version, share: 0.5 }));
            changes.push(placing.change(slower(extra_ms * 1.5, 1.0)));
        }
        3 if says_tenant => {
            scope.tenant = Some(0);
            changes.push(placing.change(slower(extra_ms * 2.0, 1.0)));
        }
        4 if placing.is_telling(operation) => {
            let effect = Effect::SlowerNetwork { service, extra_ms: extra_ms / 1.5 };
            changes.push(placing.change(effect));
            let mut placed = placing.at(operation, scope, changes);
            // A gap lies between two: either end may be named.
            let callers = sites.iter().filter(|site| placing.service_of(site.call.target) == service);
            let callers: Vec<OperationId> = callers.map(|site| site.caller).collect();
            placed.services.extend(callers.iter().map(|caller| placing.service_name(placing.service_of(*caller))));
            placed.operations.extend(callers.iter().flat_map(|caller| placing.operation_names(*caller)));
            let own = placing.system.operations.iter().filter(|one| one.service == service);
            placed.operations.extend(own.map(|one| one.name.to_string()));
            return Some(placed);
        }
        _ => changes.push(placing.change(slower(extra_ms, 1.0))),
    }
    for change in changes.iter_mut().filter(|change| matches!(change.effect, Effect::Slower { .. })) {
        change.scope = scope.clone();
    }
    Some(placing.at(operation, scope, changes))
}

/// A dependency of several has too few workers for how long it takes: its callers wait, and theirs.
pub(super) fn cascade(placing: &mut Placing<'_>) -> Option<Placed> {
    let shared = shared_services(placing);
    let service = placing.pick(&shared)?;
    let operations: Vec<OperationId> =
        (0..placing.system.operations.len()).filter(|id| placing.service_of(*id) == service).collect();
    let busy: f64 =
        operations.iter().map(|id| placing.survey.rates[*id] * placing.survey.durations_ms[*id] / 1_000.0).sum();
    let through = *operations.iter().max_by(|a, b| placing.survey.rates[**a].total_cmp(&placing.survey.rates[**b]))?;
    let (whole_ms, _) = placing.survey.felt(through)?;
    let rate: f64 = operations.iter().map(|id| placing.survey.rates[*id]).sum();
    let instances = placing.system.services[service].instances;
    // Its runs become so long that few workers are as busy as this; with one worker they would hardly be felt.
    let load = placing.strength.of([0.6, 0.85, 1.05]);
    let workers = 2;
    let factor = (load * (workers * instances) as f64 / busy.max(1e-6))
        .min(whole_ms.max(100.0) * 4.0 * rate / busy.max(1e-6) / 1e3);
    let changes = vec![
        placing.change(Effect::SlowerService { service, factor: factor.max(2.0) }),
        placing.change(Effect::FewerWorkers { service, workers }),
    ];
    let mut placed = placing.at(through, Scope::default(), changes);
    placed.operations = operations.iter().flat_map(|id| placing.operation_names(*id)).collect();
    placed.also = vec!["latency_shift"];
    Some(placed)
}

/// Returns services that at least two others call.
fn shared_services(placing: &Placing<'_>) -> Vec<ServiceId> {
    let callers = |service: ServiceId| {
        let sites = placing.survey.calls.iter().filter(|site| {
            placing.service_of(site.call.target) == service && site.per_run > 0.0 && placing.is_used(site.call.target)
        });
        let mut callers: Vec<ServiceId> = sites.map(|site| placing.service_of(site.caller)).collect();
        callers.sort_unstable();
        callers.dedup();
        callers.len()
    };
    (0..placing.system.services.len()).filter(|service| callers(*service) >= 2).collect()
}

/// One of several that are asked at once is last nearly always.
pub(super) fn straggler(placing: &mut Placing<'_>) -> Option<Placed> {
    let sites = placing.sites(|site| site.width >= 3 && placing.is_telling(site.call.target));
    let site = placing.pick(&sites)?;
    let operation = site.call.target;
    let share = placing.strength.of([0.3, 0.8, 2.0]);
    let extra_ms = placing.extra_ms(operation, share, placing.strength.of([10.0, 25.0, 60.0]))?;
    // Where one operation is asked of several instances, the runs of it in one piece of work are not in a row.
    let extra_ms = extra_ms * placing.survey.felt(operation)?.1.clamp(0.2, 20.0);
    let scope = Scope { instance: site.call.shard, ..Scope::default() };
    let effect = Effect::Slower { operation, extra_ms, share: 1.0 };
    let changes = vec![placing.change(effect).within(scope.clone())];
    let mut placed = placing.at(operation, scope, changes);
    if placed.scope.instance.is_none() {
        placed.also = vec!["latency_shift"];
    }
    Some(placed)
}

/// A facade's own part grows, version by version, over hours.
pub(super) fn facade_creep(placing: &mut Placing<'_>) -> Option<Placed> {
    let sources = placing.system.sources.iter().map(|source| source.operation);
    let facades: Vec<OperationId> = sources
        .filter(|operation| {
            placing.is_used(*operation) && placing.survey.calls.iter().any(|site| site.caller == *operation)
        })
        .collect();
    let operation = placing.pick(&facades)?;
    let service = placing.service_of(operation);
    let extra_ms = placing.extra_ms(operation, placing.strength.of([0.3, 0.7, 1.5]), 15.0)?;
    let period_s = placing.to_s - placing.from_s;
    let steps = 6;
    let mut changes = Vec::new();
    for step in 0..steps {
        let at_s = placing.from_s + period_s * 0.8 * f64::from(step) / f64::from(steps);
        let version = format!("2.{step}.0");
        changes.push(Change::at(at_s, Effect::Deploy { service, version, share: 1.0 }));
        let effect = Effect::Slower { operation, extra_ms: extra_ms / f64::from(steps), share: 1.0 };
        changes.push(Change::between(at_s, placing.to_s, effect));
    }
    let mut placed = placing.at(operation, Scope::default(), changes);
    placed.also = Vec::new();
    Some(placed)
}
