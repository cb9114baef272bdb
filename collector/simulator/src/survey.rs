//! What a system is like, worked out without playing it: who calls whom and how often, how long it takes, and from where
//! it is reached. Used to place faults where they can act, and to say who is near them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::system::{Block, Call, OperationId, Otherwise, Protocol, QueueId, Rhythm, ServiceId, Step, System};

/// Depth to which calls are followed: a system that calls itself would have no end.
const DEPTH_MAX: usize = 40;
/// Milliseconds that a call takes beside what its target takes.
const CALL_MS: f64 = 0.6;

/// A place where an operation calls another.
#[derive(Debug, Clone)]
pub struct CallSite {
    /// Who calls.
    pub caller: OperationId,
    /// The call.
    pub call: Arc<Call>,
    /// Calls in one run of the caller, on average.
    pub per_run: f64,
    /// Calls that are made at once with it, itself included.
    pub width: usize,
    /// Whether the caller repeats it.
    pub is_repeated: bool,
}

/// What is known of a system.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Every call.
    pub calls: Vec<CallSite>,
    /// Who sends to which queue, how often in one run.
    pub sends: Vec<(OperationId, QueueId, f64)>,
    /// Operations that have a saga which undoes something.
    pub sagas: BTreeSet<OperationId>,
    /// Runs a second, by operation.
    pub rates: Vec<f64>,
    /// Milliseconds of a run, by operation, as far as it is waited for.
    pub durations_ms: Vec<f64>,
    /// Operations at which the work begins that reaches an operation, with the runs of it in one piece of work.
    pub entries: Vec<Vec<(OperationId, f64)>>,
}

impl Survey {
    /// Works it out.
    pub fn of(system: &System) -> Self {
        let count = system.operations.len();
        let mut survey = Self {
            calls: Vec::new(),
            sends: Vec::new(),
            sagas: BTreeSet::new(),
            rates: vec![0.0; count],
            durations_ms: vec![0.0; count],
            entries: vec![Vec::new(); count],
        };
        for (id, operation) in system.operations.iter().enumerate() {
            survey.walk(id, &operation.body, 1.0, false);
        }
        for id in 0..count {
            survey.durations_ms[id] = duration_ms(system, &system.operations[id].body, 0);
        }
        for source in &system.sources {
            let per_second = match source.rhythm {
                Rhythm::PerSecond(per_second) => per_second,
                Rhythm::Every(seconds) => 1.0 / seconds,
            };
            survey.reach(system, source.operation, (source.operation, per_second), 1.0, 0);
        }
        survey
    }

    fn walk(&mut self, caller: OperationId, block: &Block, per_run: f64, is_repeated: bool) {
        for step in block.iter() {
            match step {
                Step::Call(call) => self.call(caller, call, (per_run, 1, is_repeated)),
                Step::Scatter { calls, .. } => {
                    calls.iter().for_each(|call| self.call(caller, call, (per_run, calls.len(), is_repeated)));
                }
                Step::Send(queue) => self.sends.push((caller, *queue, per_run)),
                Step::Repeat { from, to, body } => {
                    self.walk(caller, body, per_run * (*from as f64 + *to as f64) / 2.0, true);
                }
                Step::Either { share, one, other } => {
                    self.walk(caller, one, per_run * share, is_repeated);
                    self.walk(caller, other, per_run * (1.0 - share), is_repeated);
                }
                Step::Inner { body, .. } | Step::Aside(body) => self.walk(caller, body, per_run, is_repeated),
                Step::Saga(steps) => {
                    for (act, undo) in steps.iter() {
                        self.walk(caller, act, per_run, is_repeated);
                        // What is undone seldom is not what work is made of.
                        self.walk(caller, undo, 0.0, is_repeated);
                        if !undo.is_empty() {
                            self.sagas.insert(caller);
                        }
                    }
                }
                Step::Work { .. } | Step::Sleep { .. } | Step::Fail(_) | Step::Log(_) => {}
            }
        }
    }

    fn call(&mut self, caller: OperationId, call: &Arc<Call>, (per_run, width, is_repeated): (f64, usize, bool)) {
        self.calls.push(CallSite { caller, call: call.clone(), per_run, width, is_repeated });
        if let Otherwise::Instead(body) = &call.otherwise {
            self.walk(caller, body, 0.0, is_repeated);
        }
    }

    fn reach(
        &mut self,
        system: &System,
        operation: OperationId,
        (entry, per_second): (OperationId, f64),
        runs: f64,
        depth: usize,
    ) {
        if depth > DEPTH_MAX || runs <= 0.0 {
            return;
        }
        self.rates[operation] += per_second * runs;
        match self.entries[operation].iter_mut().find(|(known, _)| *known == entry) {
            Some((_, sum)) => *sum += runs,
            None => self.entries[operation].push((entry, runs)),
        }
        for (to, per_run) in self.next(system, operation) {
            self.reach(system, to, (entry, per_second), runs * per_run, depth + 1);
        }
    }

    /// Returns what an operation causes, by calls and messages, and how often in one run.
    fn next(&self, system: &System, operation: OperationId) -> Vec<(OperationId, f64)> {
        let calls = self.calls.iter().filter(|site| site.caller == operation);
        let mut next: Vec<(OperationId, f64)> = calls.map(|site| (site.call.target, site.per_run)).collect();
        for (_, queue, per_run) in self.sends.iter().filter(|(sender, ..)| *sender == operation) {
            let groups = system.groups.iter().filter(|group| group.queue == *queue);
            next.extend(groups.map(|group| (group.operation, *per_run)));
        }
        next
    }

    /// Returns how long the work takes, on average, that reaches an operation and waits for it, and how many runs of it are
    /// in one piece of that work.
    pub fn felt(&self, operation: OperationId) -> Option<(f64, f64)> {
        let entries = &self.entries[operation];
        let weight: f64 = entries.iter().map(|(entry, _)| self.rates[*entry]).sum();
        if weight <= 0.0 {
            return None;
        }
        let mean = |of: &dyn Fn(&(OperationId, f64)) -> f64| {
            entries.iter().map(|one| self.rates[one.0] * of(one)).sum::<f64>() / weight
        };
        Some((mean(&|(entry, _)| self.durations_ms[*entry]), mean(&|(_, runs)| *runs)))
    }

    /// Returns the operations that cause an operation to run, itself included.
    pub fn causes(&self, system: &System, operation: OperationId) -> BTreeSet<OperationId> {
        let is_cause = |from: OperationId, at: OperationId| self.next(system, from).iter().any(|(to, _)| *to == at);
        reached(operation, |at| (0..system.operations.len()).filter(|from| is_cause(*from, at)).collect())
    }

    /// Returns the names by which an operation is seen, its callers' names for it included if it tells nothing itself.
    pub fn names(&self, system: &System, operation: OperationId) -> Vec<String> {
        let described = &system.operations[operation];
        let mut names = vec![described.name.to_string()];
        if described.protocol == Protocol::Message {
            let groups = system.groups.iter().filter(|group| group.operation == operation);
            names.extend(groups.map(|group| format!("{} process", system.queues[group.queue].name)));
        }
        if described.protocol == Protocol::Http && !system.services[described.service].is_telling {
            let method = described.name.split(' ').next().unwrap_or_default();
            names.extend([method.to_owned(), format!("HTTP {method}")]);
        }
        names
    }

    /// Returns the services, queues included, that cause what a service does or that it causes.
    pub fn near(&self, system: &System, service: ServiceId) -> BTreeSet<String> {
        let own = (0..system.operations.len()).filter(|id| system.operations[*id].service == service);
        let mut found = BTreeSet::new();
        for operation in own {
            found.extend(reached(operation, |at| self.next(system, at).into_iter().map(|(to, _)| to).collect()));
            found.extend(self.causes(system, operation));
        }
        let mut names: BTreeSet<String> =
            found.iter().map(|id| system.services[system.operations[*id].service].name.to_string()).collect();
        for group in &system.groups {
            if found.contains(&group.operation) {
                names.insert(system.queues[group.queue].name.to_string());
            }
        }
        for (sender, queue, _) in &self.sends {
            if found.contains(sender) {
                names.insert(system.queues[*queue].name.to_string());
            }
        }
        names
    }
}

fn reached(from: OperationId, next: impl Fn(OperationId) -> Vec<OperationId>) -> BTreeSet<OperationId> {
    let mut found = BTreeSet::from([from]);
    let mut stack = vec![from];
    while let Some(at) = stack.pop() {
        stack.extend(next(at).into_iter().filter(|to| found.insert(*to)));
    }
    found
}

fn duration_ms(system: &System, block: &Block, depth: usize) -> f64 {
    if depth > DEPTH_MAX {
        return 0.0;
    }
    let of = |body: &Block| duration_ms(system, body, depth + 1);
    let call = |call: &Call| of(&system.operations[call.target].body) + CALL_MS;
    let step = |step: &Step| match step {
        Step::Work { ms, sigma } => ms * (sigma * sigma / 2.0).exp(),
        Step::Sleep { from_ms, to_ms } => (from_ms + to_ms) / 2.0,
        Step::Call(one) => call(one),
        Step::Scatter { calls, .. } => calls.iter().map(|one| call(one)).fold(0.0, f64::max),
        Step::Send(_) => 1.0,
        Step::Repeat { from, to, body } => (*from as f64 + *to as f64) / 2.0 * of(body),
        Step::Either { share, one, other } => share * of(one) + (1.0 - share) * of(other),
        Step::Inner { body, .. } => of(body),
        Step::Saga(steps) => steps.iter().map(|(act, _)| of(act)).sum(),
        Step::Aside(_) | Step::Fail(_) | Step::Log(_) => 0.0,
    };
    block.iter().map(step).sum()
}
