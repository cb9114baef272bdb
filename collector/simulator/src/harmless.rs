//! Changes that are no fault: of traffic, of its mix, of who is there, of how telemetry is made. Nothing may be told of
//! them. Made for any system by a seed; played by the world like faults.

use crate::change::{Change, Effect, Scope};
use crate::dice::Dice;
use crate::survey::Survey;
use crate::system::{Builder, OperationId, Rhythm, ServiceId, Source, Step, System};

/// A harmless change of a system.
#[derive(Debug, Clone)]
pub struct Harmless {
    /// What it is, in words.
    pub name: &'static str,
    /// The system; some have something more than before, which shows up later.
    pub system: System,
    /// What happens.
    pub changes: Vec<Change>,
}

/// What makes one of a kind: for a system, in a period of seconds, by chance.
type Make = fn(&System, (f64, f64), &mut Dice) -> Harmless;

const KINDS: [(&str, Make); 15] = [
    ("nothing happens", nothing),
    ("traffic doubles", traffic_doubles),
    ("traffic grows by half in steps", traffic_in_steps),
    ("the mix of traffic changes", mix_changes),
    ("a new operation appears", operation_appears),
    ("a new service appears", service_appears),
    ("instances come and go", instances_come_and_go),
    ("fewer traces are kept", sampling_changes),
    ("clocks jump", clocks_jump),
    ("days and nights", days_and_nights),
    ("a nightly batch", nightly_batch),
    ("one transaction takes very long", outlier),
    ("a version that does the same", deploy),
    ("every instance is restarted", restart),
    ("a burst of what is rare, then a quiet night", rare_burst),
];

/// Returns the words of all kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind)
}

/// Returns a harmless change of a kind, which happens between two seconds.
pub fn harmless(system: &System, kind: &str, period_s: (f64, f64), seed: u64) -> Option<Harmless> {
    let (_, make) = KINDS.iter().find(|(known, _)| *known == kind)?;
    Some(make(system, period_s, &mut Dice::new(seed ^ 0x4a51)))
}

fn with(name: &'static str, system: &System, changes: Vec<Change>) -> Harmless {
    Harmless { name, system: system.clone(), changes }
}

/// Returns the services that tell of themselves.
fn telling(system: &System) -> Vec<ServiceId> {
    (0..system.services.len()).filter(|service| system.services[*service].is_telling).collect()
}

fn nothing(system: &System, _: (f64, f64), _: &mut Dice) -> Harmless {
    with("nothing happens", system, Vec::new())
}

fn traffic_doubles(system: &System, (from_s, to_s): (f64, f64), _: &mut Dice) -> Harmless {
    let change = Change::between(from_s, to_s, Effect::Traffic { source: None, factor: 2.0 });
    with("traffic doubles", system, vec![change])
}

fn traffic_in_steps(system: &System, (from_s, to_s): (f64, f64), _: &mut Dice) -> Harmless {
    let step = |at_s: f64| Change::between(at_s, to_s, Effect::Traffic { source: None, factor: 1.145 });
    let length_s = to_s - from_s;
    with(
        "traffic grows by half in steps",
        system,
        vec![step(from_s), step(from_s + 0.3 * length_s), step(from_s + 0.6 * length_s)],
    )
}

fn mix_changes(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let factors = [0.2, 0.5, 3.0, 1.0];
    let change = |source: usize, dice: &mut Dice| {
        Change::between(from_s, to_s, Effect::Traffic { source: Some(source), factor: *dice.pick(&factors) })
    };
    let changes = (0..system.sources.len()).map(|source| change(source, dice)).collect();
    with("the mix of traffic changes", system, changes)
}

fn operation_appears(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let mut system = system.clone();
    // Something that is known is reached by a new name, and by a longer way.
    let known = system.sources[dice.below(system.sources.len())].operation;
    let mut operation = system.operations[known].clone();
    operation.name = format!("{}/v2", operation.name).into();
    let body: Vec<Step> =
        std::iter::once(Step::Work { ms: 25.0, sigma: 0.3 }).chain(operation.body.iter().cloned()).collect();
    operation.body = body.into();
    system.operations.push(operation);
    let operation = system.operations.len() - 1;
    let changes = appear(&mut system, operation, 1.5, (from_s, to_s));
    Harmless { name: "a new operation appears", system, changes }
}

/// Adds traffic to an operation that begins later.
fn appear(system: &mut System, operation: OperationId, per_second: f64, (from_s, to_s): (f64, f64)) -> Vec<Change> {
    system.sources.push(Source { operation, rhythm: Rhythm::PerSecond(per_second) });
    let source = Some(system.sources.len() - 1);
    let off = |from_s: f64, to_s: f64| Change::between(from_s, to_s, Effect::Traffic { source, factor: 0.0 });
    vec![off(0.0, from_s), off(to_s, f64::from(u32::MAX))]
}

fn service_appears(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let mut system = system.clone();
    let mut fresh = Builder::new("fresh");
    let service = fresh.service("newcomer").id();
    let fresh = fresh.build();
    system.services.push(fresh.services[service].clone());
    let service = system.services.len() - 1;
    let survey = Survey::of(&system);
    let sites: Vec<usize> = (0..survey.calls.len()).filter(|site| survey.calls[*site].per_run > 0.5).collect();
    let target = survey.calls[*dice.pick(&sites)].call.target;
    let body = vec![crate::system::work(6.0), crate::system::call(target).into()];
    let operation = crate::system::Operation {
        service,
        name: "GET /newcomer".into(),
        protocol: crate::system::Protocol::Http,
        body: body.into(),
        says: Vec::new(),
    };
    system.operations.push(operation);
    let operation = system.operations.len() - 1;
    let changes = appear(&mut system, operation, 1.0, (from_s, to_s));
    Harmless { name: "a new service appears", system, changes }
}

fn instances_come_and_go(system: &System, (from_s, to_s): (f64, f64), _: &mut Dice) -> Harmless {
    let mut changes = Vec::new();
    for (number, service) in telling(system).into_iter().enumerate() {
        let usual = system.services[service].instances;
        let later_s = 20.0 * number as f64;
        changes.push(Change::at(from_s + later_s, Effect::Scale { service, instances: usual * 2 }));
        changes.push(Change::at(to_s + later_s, Effect::Scale { service, instances: usual }));
    }
    with("instances come and go", system, changes)
}

fn sampling_changes(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let share = *dice.pick(&[0.2, 0.4]);
    with("fewer traces are kept", system, vec![Change::between(from_s, to_s, Effect::Samples { share })])
}

fn clocks_jump(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let services = telling(system);
    let mut changes = Vec::new();
    for at_s in [from_s, (from_s + to_s) / 2.0] {
        let by_ms = *dice.pick(&[-400.0, 250.0, 3_000.0]);
        changes.push(Change::at(at_s, Effect::ClockJump { service: *dice.pick(&services), by_ms }));
    }
    with("clocks jump", system, changes)
}

fn days_and_nights(system: &System, (from_s, to_s): (f64, f64), _: &mut Dice) -> Harmless {
    // A day in the length of the period, so that one is seen.
    let daily = Effect::Daily { swing: 0.7, day_s: (to_s - from_s).max(600.0) };
    with("days and nights", system, vec![Change::between(0.0, f64::from(u32::MAX), daily)])
}

fn nightly_batch(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let mut system = system.clone();
    let survey = Survey::of(&system);
    let statements: Vec<OperationId> = survey.calls.iter().map(|site| site.call.target).collect();
    let target = *dice.pick(&statements);
    let services = telling(&system);
    let each = vec![crate::system::work(10.0), crate::system::call(target).into()];
    let operation = crate::system::Operation {
        service: *dice.pick(&services),
        name: "nightly batch".into(),
        protocol: crate::system::Protocol::Timer,
        body: vec![crate::system::repeat(150, 300, each)].into(),
        says: Vec::new(),
    };
    system.operations.push(operation);
    let operation = system.operations.len() - 1;
    let changes = appear(&mut system, operation, 0.02, (from_s, to_s));
    Harmless { name: "a nightly batch", system, changes }
}

fn outlier(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let mut changes = Vec::new();
    for at_s in [from_s, (from_s + to_s) / 2.0] {
        let operation = dice.pick(&system.sources).operation;
        changes.push(Change::at(at_s, Effect::Outlier { operation, ms: 45_000.0 }));
    }
    with("one transaction takes very long", system, changes)
}

fn deploy(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let services = telling(system);
    let mut changes = Vec::new();
    for (number, at_s) in [from_s, (from_s + to_s) / 2.0].into_iter().enumerate() {
        let (service, version) = (*dice.pick(&services), format!("1.{}.0", number + 1));
        changes.push(Change::at(at_s, Effect::Deploy { service, version: version.clone(), share: 0.5 }));
        changes.push(Change::at(at_s + 60.0, Effect::Deploy { service, version, share: 1.0 }));
    }
    with("a version that does the same", system, changes)
}

fn restart(system: &System, (from_s, _): (f64, f64), _: &mut Dice) -> Harmless {
    let deploy = |(number, service): (usize, ServiceId)| {
        let version = system.services[service].version.clone();
        Change::at(from_s + 10.0 * number as f64, Effect::Deploy { service, version, share: 1.0 })
    };
    with("every instance is restarted", system, telling(system).into_iter().enumerate().map(deploy).collect())
}

fn rare_burst(system: &System, (from_s, to_s): (f64, f64), dice: &mut Dice) -> Harmless {
    let mut system = system.clone();
    let known = system.sources[dice.below(system.sources.len())].operation;
    let mut operation = system.operations[known].clone();
    operation.name = format!("{} (export)", operation.name).into();
    let mut body: Vec<Step> = vec![Step::Work { ms: 900.0, sigma: 0.4 }];
    body.extend(operation.body.iter().cloned());
    operation.body = body.into();
    system.operations.push(operation);
    let operation = system.operations.len() - 1;
    system.sources.push(Source { operation, rhythm: Rhythm::PerSecond(0.02) });
    let source = system.sources.len() - 1;
    let middle_s = (from_s + to_s) / 2.0;
    let night = Effect::Traffic { source: None, factor: 0.02 };
    let changes = vec![
        Change::between(from_s, middle_s - 120.0, Effect::Traffic { source: Some(source), factor: 40.0 }),
        Change { scope: Scope::default(), ..Change::between(middle_s, to_s, night) },
    ];
    Harmless { name: "a burst of what is rare, then a quiet night", system, changes }
}
