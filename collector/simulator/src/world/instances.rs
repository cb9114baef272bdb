//! Instances of services: workers, what waits before them, pauses that stop all of one at once, clocks that differ, and
//! how instances come and go. Part of the world.

use std::collections::VecDeque;

use super::calls::Request;
use super::telling::Sender;
use super::{Role, World};
use crate::dice::{Dice, mix};
use crate::system::ServiceId;

/// One instance of a service.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) service: ServiceId,
    /// Ordinal within its service at the time when it came.
    pub(super) ordinal: usize,
    pub(super) busy: usize,
    pub(super) backlog: VecDeque<Request>,
    pub(super) skew_ns: i64,
    pauses: Pauses,
}

/// The instances of a service.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// Those that take requests, by ordinal.
    pub(super) active: Vec<usize>,
    /// How many there ever were.
    made: usize,
}

/// When an instance stops and goes on: drawn ahead, as far as anyone looked.
#[derive(Debug)]
struct Pauses {
    /// Seconds between two and their median milliseconds; none if there are no pauses.
    usual: Option<(f64, f64)>,
    dice: Dice,
    /// Start and end of those that are not over.
    ahead: VecDeque<(i64, i64)>,
    next_ns: i64,
}

impl Pauses {
    /// Returns when work of so many nanoseconds that begins now is done.
    fn done_ns(&mut self, now_ns: i64, length_ns: i64) -> i64 {
        let Some((every_s, ms)) = self.usual else { return now_ns + length_ns };
        while self.ahead.front().is_some_and(|(_, end_ns)| *end_ns <= now_ns) {
            self.ahead.pop_front();
        }
        let (mut at_ns, mut left_ns, mut seen) = (now_ns, length_ns, 0);
        loop {
            while self.next_ns <= at_ns + left_ns {
                let start_ns = self.next_ns;
                let end_ns = start_ns + (self.dice.log_normal(ms, 0.6) * 1e6) as i64;
                self.ahead.push_back((start_ns, end_ns));
                self.next_ns = end_ns + (self.dice.exponential(every_s) * 1e9) as i64;
            }
            let Some((start_ns, end_ns)) = self.ahead.get(seen).copied() else { return at_ns + left_ns };
            if start_ns >= at_ns + left_ns {
                return at_ns + left_ns;
            }
            left_ns -= (start_ns - at_ns).max(0);
            at_ns = at_ns.max(end_ns);
            seen += 1;
        }
    }
}

impl World {
    /// Adds an instance of a version to a service.
    pub(super) fn add_instance(&mut self, service: ServiceId, version: &str) {
        let system = self.system.clone();
        let described = &system.services[service];
        let fleet = &mut self.fleets[service];
        let number = fleet.made;
        fleet.made += 1;
        let ordinal = fleet.active.len();
        fleet.active.push(self.instances.len());
        let mut dice = Dice::new(mix(self.seed ^ mix(service as u64)) ^ number as u64);
        let name = format!("{}-{:05x}{}", described.name, dice.bits() & 0xf_ffff, number);
        let zone = ["a", "b", "c"][ordinal % 3];
        let resource = format!(
            "{{\"service.name\":\"{}\",\"service.instance.id\":\"{name}\",\"service.version\":\"{version}\",\
             \"cloud.availability_zone\":\"zone-{zone}\"}}",
            described.name
        );
        let every_ns = (system.telemetry.export_every_ms * 1e6) as i64;
        let skew_ns = (dice.range(-1.0, 1.0) * system.telemetry.skew_ms * 1e6) as i64;
        let phase_ns = (dice.unit() * every_ns as f64) as i64;
        let next_ns =
            self.now_ns + (dice.exponential(described.pauses.map_or(1.0, |(every_s, _)| every_s)) * 1e9) as i64;
        let pauses = Pauses { usual: described.pauses, dice, ahead: VecDeque::new(), next_ns };
        self.instances.push(Instance { service, ordinal, busy: 0, backlog: VecDeque::new(), skew_ns, pauses });
        let version = version.to_owned();
        self.senders.push(Sender { service: described.name.clone(), name, version, resource, phase_ns });
    }

    /// Has a service have so many instances; what an instance that goes was doing, it brings to its end.
    pub(super) fn scale(&mut self, service: ServiceId, instances: usize) {
        self.fleets[service].active.truncate(instances.max(1));
        let version = self.fleets[service].active.last().map(|last| self.senders[*last].version.clone());
        let version = version.unwrap_or_else(|| self.system.services[service].version.clone());
        while self.fleets[service].active.len() < instances {
            self.add_instance(service, &version);
        }
    }

    /// Replaces a share of a service's instances, at least one, by new ones of a version.
    pub(super) fn deploy(&mut self, service: ServiceId, version: &str, share: f64) {
        let before = std::mem::take(&mut self.fleets[service].active);
        let replaced = ((before.len() as f64 * share).round() as usize).clamp(1, before.len().max(1));
        for old in before.iter().take(replaced) {
            self.add_instance(service, version);
            debug_assert_eq!(self.instances[*old].service, service);
        }
        let kept = before.into_iter().skip(replaced);
        for instance in kept {
            self.instances[instance].ordinal = self.fleets[service].active.len();
            self.fleets[service].active.push(instance);
        }
    }

    /// Refuses what waits before a service's workers.
    pub(super) fn shed(&mut self, service: ServiceId) {
        for instance in self.fleets[service].active.clone() {
            for request in std::mem::take(&mut self.instances[instance].backlog) {
                self.refuse(request);
            }
        }
    }

    /// Has the clocks of a service's instances jump.
    pub(super) fn jump_clocks(&mut self, service: ServiceId, by_ms: f64) {
        for instance in self.fleets[service].active.clone() {
            self.instances[instance].skew_ns += (by_ms * 1e6) as i64;
        }
    }

    /// Returns an instance that takes requests: the one that is asked for, or any.
    pub(super) fn pick_instance(&mut self, service: ServiceId, shard: Option<usize>) -> usize {
        let active = &self.fleets[service].active;
        match shard {
            Some(shard) => active[shard % active.len()],
            None => active[self.dice.below(active.len())],
        }
    }

    /// Takes a request in: a worker takes it, or it waits, or it is refused.
    pub(super) fn take_in(&mut self, request: Request) {
        let workers = self.workers_of(request.instance);
        let instance = &mut self.instances[request.instance];
        if instance.busy < workers {
            instance.busy += 1;
            self.start(request);
        } else if instance.backlog.len() < self.system.services[instance.service].backlog_max {
            instance.backlog.push_back(request);
        } else {
            self.refuse(request);
        }
    }

    /// Frees a worker; who is free takes what waits longest.
    pub(super) fn free_worker(&mut self, index: usize) {
        let workers = self.workers_of(index);
        self.instances[index].busy -= 1;
        while self.instances[index].busy < workers
            && let Some(request) = self.instances[index].backlog.pop_front()
        {
            self.instances[index].busy += 1;
            self.start(request);
        }
    }

    fn workers_of(&self, instance: usize) -> usize {
        let service = self.instances[instance].service;
        self.changes.workers(service, self.system.services[service].workers, self.now_ns)
    }

    /// Returns when work of so many milliseconds that begins now is done on an instance.
    pub(super) fn done_ns(&mut self, instance: usize, ms: f64) -> i64 {
        self.instances[instance].pauses.done_ns(self.now_ns, (ms * 1e6).max(1_000.0) as i64)
    }

    /// Returns the site of what an operation's own spans are.
    pub(super) fn serving_site(&mut self, operation: usize) -> u32 {
        self.sites.number(&self.system, Role::Serves(operation))
    }
}
