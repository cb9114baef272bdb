//! What changes do to what happens: asked by the world at each step that they may touch, and told to it when they
//! happen once. Changes are found by what they touch, so that a step that nothing touches costs nothing.

use super::World;
use super::tasks::Task;
use crate::change::{Change, Effect};
use crate::system::{OperationId, System};

/// All changes of a scenario, and who is touched by which.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) list: Vec<Change>,
    by_operation: Vec<Vec<usize>>,
    by_service: Vec<Vec<usize>>,
    by_group: Vec<Vec<usize>>,
    by_queue: Vec<Vec<usize>>,
    of_traffic: Vec<usize>,
    of_samples: Vec<usize>,
    /// Outliers that have happened and were not taken by a run yet.
    outliers: Vec<usize>,
}

impl Changes {
    pub(super) fn new(system: &System, list: Vec<Change>) -> Self {
        let mut changes = Self {
            by_operation: vec![Vec::new(); system.operations.len()],
            by_service: vec![Vec::new(); system.services.len()],
            by_group: vec![Vec::new(); system.groups.len()],
            by_queue: vec![Vec::new(); system.queues.len()],
            of_traffic: Vec::new(),
            of_samples: Vec::new(),
            outliers: Vec::new(),
            list,
        };
        for (index, change) in changes.list.iter().enumerate() {
            let place = match &change.effect {
                Effect::Slower { operation, .. }
                | Effect::Fails { operation, .. }
                | Effect::RepeatsMore { operation, .. }
                | Effect::ForgetsToUndo { operation, .. } => &mut changes.by_operation[*operation],
                Effect::SlowerService { service, .. }
                | Effect::FewerWorkers { service, .. }
                | Effect::SlowerNetwork { service, .. }
                | Effect::DropsContext { service } => &mut changes.by_service[*service],
                Effect::TakesSlower { group, .. } | Effect::Doubles { group, .. } | Effect::Disorders { group, .. } => {
                    &mut changes.by_group[*group]
                }
                Effect::Loses { queue, .. } => &mut changes.by_queue[*queue],
                Effect::Traffic { .. } | Effect::Daily { .. } => &mut changes.of_traffic,
                Effect::Samples { .. } => &mut changes.of_samples,
                Effect::ClockJump { .. }
                | Effect::Deploy { .. }
                | Effect::Scale { .. }
                | Effect::Outlier { .. }
                | Effect::Sheds { .. } => continue,
            };
            place.push(index);
        }
        changes
    }

    /// Returns by how much the traffic of a source is multiplied.
    pub(super) fn traffic(&self, source: usize, now_ns: i64) -> f64 {
        let mut by = 1.0;
        for change in self.of_traffic.iter().map(|index| &self.list[*index]) {
            let strength = change.strength(now_ns);
            match &change.effect {
                Effect::Traffic { source: of, factor } if of.is_none_or(|of| of == source) => {
                    by *= 1.0 + (factor - 1.0) * strength;
                }
                Effect::Daily { swing, day_s } => {
                    let turn = now_ns as f64 / 1e9 / day_s * std::f64::consts::TAU;
                    by *= 1.0 + swing * strength * turn.sin();
                }
                _ => {}
            }
        }
        by.max(0.0)
    }

    /// Returns which share of traces is kept, if a change says so.
    pub(super) fn sampled(&self, now_ns: i64) -> Option<f64> {
        let changes = self.of_samples.iter().map(|index| &self.list[*index]);
        let mut active = changes.rev().filter(|change| change.strength(now_ns) > 0.0);
        active.find_map(|change| if let Effect::Samples { share } = change.effect { Some(share) } else { None })
    }

    /// Returns the share of messages of a queue that are lost.
    pub(super) fn lost(&self, queue: usize, now_ns: i64) -> f64 {
        self.sum(&self.by_queue[queue], now_ns, |effect| match effect {
            Effect::Loses { share, .. } => Some(*share),
            _ => None,
        })
    }

    /// Returns the share of messages of a group that come twice.
    pub(super) fn doubled(&self, group: usize, now_ns: i64) -> f64 {
        self.sum(&self.by_group[group], now_ns, |effect| match effect {
            Effect::Doubles { share, .. } => Some(*share),
            _ => None,
        })
    }

    /// Returns the share of messages of a group that are taken after later ones.
    pub(super) fn disordered(&self, group: usize, now_ns: i64) -> f64 {
        self.sum(&self.by_group[group], now_ns, |effect| match effect {
            Effect::Disorders { share, .. } => Some(*share),
            _ => None,
        })
    }

    /// Returns for how many milliseconds a group pauses before it takes messages.
    pub(super) fn pause_ms(&self, group: usize, now_ns: i64) -> f64 {
        self.sum(&self.by_group[group], now_ns, |effect| match effect {
            Effect::TakesSlower { pause_ms, .. } => Some(*pause_ms),
            _ => None,
        })
    }

    /// Returns by how many milliseconds a request to a service is delayed.
    pub(super) fn network_ms(&self, service: usize, now_ns: i64) -> f64 {
        self.sum(&self.by_service[service], now_ns, |effect| match effect {
            Effect::SlowerNetwork { extra_ms, .. } => Some(*extra_ms),
            _ => None,
        })
    }

    /// Returns how many workers an instance of a service has left.
    pub(super) fn workers(&self, service: usize, usual: usize, now_ns: i64) -> usize {
        let changes = self.by_service[service].iter().map(|index| &self.list[*index]);
        let limits = changes.filter_map(|change| match change.effect {
            Effect::FewerWorkers { workers, .. } if change.strength(now_ns) > 0.0 => Some(workers),
            _ => None,
        });
        limits.fold(usual, usize::min)
    }

    fn sum(&self, indices: &[usize], now_ns: i64, of: impl Fn(&Effect) -> Option<f64>) -> f64 {
        let changes = indices.iter().map(|index| &self.list[*index]);
        changes.filter_map(|change| of(&change.effect).map(|value| value * change.strength(now_ns))).sum()
    }
}

impl World {
    /// Does what a change does once.
    pub(super) fn happen(&mut self, index: usize) {
        match self.changes.list[index].effect.clone() {
            Effect::ClockJump { service, by_ms } => self.jump_clocks(service, by_ms),
            Effect::Deploy { service, version, share } => self.deploy(service, &version, share),
            Effect::Scale { service, instances } => self.scale(service, instances),
            Effect::Outlier { .. } => self.changes.outliers.push(index),
            Effect::Sheds { service } => self.shed(service),
            _ => {}
        }
    }

    /// Returns how strong a change is for one run.
    fn strength(&self, index: usize, instance: usize, work: u64) -> f64 {
        let change = &self.changes.list[index];
        let strength = change.strength(self.now_ns);
        if strength == 0.0 {
            return 0.0;
        }
        let scope = &change.scope;
        let is_within = scope.instance.is_none_or(|ordinal| self.instances[instance].ordinal == ordinal)
            && scope.version.as_ref().is_none_or(|version| self.senders[instance].version == *version)
            && scope.tenant.is_none_or(|tenant| self.tenant(work) == tenant);
        if is_within { strength } else { 0.0 }
    }

    /// Returns how many milliseconds a run takes longer, by changes.
    pub(super) fn extra_ms(&mut self, operation: OperationId, instance: usize, work: u64) -> f64 {
        let mut extra = 0.0;
        if let Some(at) = self.changes.outliers.iter().position(|index| {
            matches!(self.changes.list[*index].effect, Effect::Outlier { operation: of, .. } if of == operation)
        }) {
            let index = self.changes.outliers.swap_remove(at);
            if let Effect::Outlier { ms, .. } = self.changes.list[index].effect {
                extra += ms;
            }
        }
        for at in 0..self.changes.by_operation[operation].len() {
            let index = self.changes.by_operation[operation][at];
            if let Effect::Slower { extra_ms, share, .. } = self.changes.list[index].effect {
                let strength = self.strength(index, instance, work);
                if strength > 0.0 && (share >= 1.0 || self.dice.is(share)) {
                    extra += self.dice.log_normal(extra_ms * strength, 0.2);
                }
            }
        }
        extra
    }

    /// Returns by how much the work of a run is multiplied.
    pub(super) fn work_factor(&self, task: &Task) -> f64 {
        let service = self.system.operations[task.operation].service;
        let mut factor = 1.0;
        for index in &self.changes.by_service[service] {
            if let Effect::SlowerService { factor: by, .. } = self.changes.list[*index].effect {
                factor *= 1.0 + (by - 1.0) * self.strength(*index, task.instance, task.place.works.first());
            }
        }
        factor
    }

    /// Returns whether a run fails by a change.
    pub(super) fn is_failing(&mut self, operation: OperationId, instance: usize, work: u64) -> bool {
        let mut share_ok = 1.0;
        for index in &self.changes.by_operation[operation] {
            if let Effect::Fails { share, .. } = self.changes.list[*index].effect {
                share_ok *= 1.0 - share * self.strength(*index, instance, work);
            }
        }
        share_ok < 1.0 && !self.dice.is(share_ok)
    }

    /// Returns by how much a run repeats more.
    pub(super) fn repeat_factor(&self, task: &Task) -> f64 {
        let mut factor = 1.0;
        for index in &self.changes.by_operation[task.operation] {
            if let Effect::RepeatsMore { factor: by, .. } = self.changes.list[*index].effect {
                factor *= 1.0 + (by - 1.0) * self.strength(*index, task.instance, task.place.works.first());
            }
        }
        factor
    }

    /// Returns the share of steps that a run's saga leaves as they are.
    pub(super) fn forgotten(&self, task: &Task) -> f64 {
        let mut share = 0.0_f64;
        for index in &self.changes.by_operation[task.operation] {
            if let Effect::ForgetsToUndo { share: by, .. } = self.changes.list[*index].effect {
                share = share.max(by * self.strength(*index, task.instance, task.place.works.first()));
            }
        }
        share
    }

    /// Returns whether an instance does not pass its context on.
    pub(super) fn drops_context(&self, instance: usize, work: u64) -> bool {
        let service = self.instances[instance].service;
        self.changes.by_service[service].iter().any(|index| {
            matches!(self.changes.list[*index].effect, Effect::DropsContext { .. })
                && self.strength(*index, instance, work) > 0.0
        })
    }
}
