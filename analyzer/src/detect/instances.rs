//! How each instance and version of a service does its steps, compared with its peers at the same time: that needs no
//! history, and load and mix of traffic cancel out. Fed by `signals` with every step; asked when an incident is told.
//! Bounded by instances and by minutes; instances beyond the bound are counted and not compared.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::series::WINDOW_BLOCKS;
use super::slots::{Slots, item_of};
use super::tail::deviance_z;
use crate::span::Site;

/// Instances that are told apart.
const INSTANCES_MAX: usize = 10_000;
/// Minutes kept of each.
const MINUTES_MAX: i64 = 20;
/// Calls of an instance, and of its peers together, before they are compared.
const CALLS_MIN: f64 = 8.0;
/// A call counts as long from here on: this multiple of the usual time, and so many milliseconds more.
const LONG_FACTOR: f64 = 1.5;
const LONG_MS: f64 = 1.0;
/// Standard score of an instance's long calls against those of its peers, from which on it differs.
const DIFFERS_Z: f64 = 5.0;
/// Multiple of the peers' extra time per call, and share of all extra time, from which on it is the instance's fault.
const DIFFERS_FACTOR: f64 = 3.0;
const EXTRA_SHARE_MIN: f64 = 0.6;

/// Identifies an instance within one detector.
pub(super) type InstanceId = usize;

/// Who works: a service, and which of its instances and versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Who {
    service: Arc<str>,
    instance: Option<Arc<str>>,
    version: Option<Arc<str>>,
}

/// Which part of the work of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Its own time.
    Own,
    /// What lies between its callers' view and its own.
    Inbound,
    /// What lies between its own view and that of whom it calls.
    Outbound,
}

/// Calls of one minute.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f32,
    observed_ms: f32,
    expected_ms: f32,
    long: f32,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.observed_ms += other.observed_ms;
        self.expected_ms += other.expected_ms;
        self.long += other.long;
    }
}

/// What is kept of one instance.
#[derive(Debug, Default)]
struct Instance {
    minutes: VecDeque<(i64, [Sums; 3])>,
}

/// All instances.
#[derive(Debug)]
pub(super) struct Instances {
    slots: Slots<Who, Instance>,
}

/// The instance or version that is slow while its peers are not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outlier {
    /// The one instance, if it is one.
    pub(super) instance: Option<Arc<str>>,
    /// The one version, if its instances are slow and those of other versions are not.
    pub(super) version: Option<Arc<str>>,
    /// Calls that were compared: its own and those of its peers.
    pub(super) calls: (f64, f64),
    /// Milliseconds that a call takes longer than usual: its own and its peers'.
    pub(super) extra_ms: (f64, f64),
}

impl Default for Instances {
    fn default() -> Self {
        Self { slots: Slots::new(INSTANCES_MAX) }
    }
}

impl Instances {
    /// Returns the number of the instance that a site belongs to; none if it does not say, or beyond the bound.
    pub(super) fn id(&mut self, site: &Site, block: i64) -> Option<InstanceId> {
        if site.instance.is_none() && site.version.is_none() {
            return None;
        }
        let (instance, version) = (site.instance.clone(), site.version.clone());
        self.slots.id(Who { service: site.service.clone(), instance, version }, block)
    }

    /// Adds a step that took `ms` and usually takes `usual_ms`.
    pub(super) fn add(&mut self, id: InstanceId, side: Side, ms: f64, usual_ms: f64, block: i64) {
        let Some((_, instance)) = self.slots.used(id, block) else { return };
        let minute = block.div_euclid(WINDOW_BLOCKS);
        let long = f32::from(u8::from(ms > LONG_FACTOR * usual_ms + LONG_MS));
        // Sums of a minute; single precision is finer than what they are compared with.
        #[allow(clippy::cast_possible_truncation)]
        let sums = Sums { n: 1.0, observed_ms: ms as f32, expected_ms: usual_ms as f32, long };
        item_of(&mut instance.minutes, minute)[side as usize].add(sums);
        while instance.minutes.front().is_some_and(|(number, _)| *number <= minute - MINUTES_MAX) {
            instance.minutes.pop_front();
        }
    }

    /// Frees instances that are unused for long; returns whether there were any.
    pub(super) fn free_unused(&mut self, block: i64) -> bool {
        let before = self.slots.unused_before(block);
        self.slots.free_unused(before, |_| false)
    }

    /// Returns how often an instance got no place.
    pub(super) fn left_out(&self) -> u64 {
        self.slots.left_out
    }

    /// Returns the instance or version of a service that alone takes longer since `onset`, if there is one.
    pub(super) fn outlier(&self, service: &str, side: Side, onset: i64) -> Option<Outlier> {
        // The onset's own minute has much of the time before in it.
        let first = onset.div_euclid(WINDOW_BLOCKS) + 1;
        let mut by_instance: BTreeMap<&str, (Arc<str>, Sums)> = BTreeMap::new();
        let mut by_version: BTreeMap<&str, (Arc<str>, Sums)> = BTreeMap::new();
        let mut versions: BTreeMap<&str, BTreeMap<&str, f32>> = BTreeMap::new();
        for (_, who, kept) in self.slots.iter().filter(|(_, who, _)| *who.service == *service) {
            let mut sums = Sums::default();
            kept.minutes
                .iter()
                .filter(|(minute, _)| *minute >= first)
                .for_each(|(_, one)| sums.add(one[side as usize]));
            if sums.n < 1.0 {
                continue;
            }
            if let Some(instance) = &who.instance {
                by_instance.entry(instance).or_insert_with(|| (instance.clone(), Sums::default())).1.add(sums);
            }
            if let Some(version) = &who.version {
                by_version.entry(version).or_insert_with(|| (version.clone(), Sums::default())).1.add(sums);
                let instance = who.instance.as_deref().unwrap_or_default();
                *versions.entry(version).or_default().entry(instance).or_default() += sums.n;
            }
        }
        let version = stands_apart(&by_version);
        let Some(one) = stands_apart(&by_instance) else {
            return version.map(|(version, calls, extra_ms)| Outlier {
                instance: None,
                version: Some(version),
                calls,
                extra_ms,
            });
        };
        let (instance, calls, extra_ms) = one;
        let is_its_version = |(version, ..): &Apart| {
            versions.get(&**version).is_some_and(|instances| instances.contains_key(&*instance))
        };
        let version = version.filter(is_its_version).map(|(version, ..)| version);
        Some(Outlier { instance: Some(instance), version, calls, extra_ms })
    }
}

/// Who, with calls and extra milliseconds a call, each its own and its peers'.
type Apart = (Arc<str>, (f64, f64), (f64, f64));

/// Returns the one of several that takes longer than the others, with calls and extra milliseconds of both.
fn stands_apart(all: &BTreeMap<&str, (Arc<str>, Sums)>) -> Option<Apart> {
    let extra_ms = |sums: &Sums| f64::from(sums.observed_ms - sums.expected_ms);
    let (name, most) = all.values().max_by(|a, b| extra_ms(&a.1).total_cmp(&extra_ms(&b.1)))?;
    let mut rest = Sums::default();
    all.values().filter(|(other, _)| other != name).for_each(|(_, sums)| rest.add(*sums));
    let (n, others_n) = (f64::from(most.n), f64::from(rest.n));
    if n < CALLS_MIN || others_n < CALLS_MIN {
        return None;
    }
    let (own_ms, others_ms) = (extra_ms(most) / n, extra_ms(&rest) / others_n);
    let usual_long = (f64::from(rest.long) + 1.0) / (others_n + 1.0);
    let is_long = deviance_z(f64::from(most.long), usual_long * n) >= DIFFERS_Z;
    let is_its_fault = extra_ms(most) >= EXTRA_SHARE_MIN * (extra_ms(most) + extra_ms(&rest).max(0.0));
    let is_apart = own_ms >= DIFFERS_FACTOR * others_ms.max(0.0) && own_ms >= LONG_MS;
    (is_long && is_its_fault && is_apart).then(|| (name.clone(), (n, others_n), (own_ms, others_ms)))
}
