//! What a transaction is made of, as numbers: each span's own time, the gap of each call, the wait of each message.
//! A step is what like spans share; baselines are kept per step, so that a change of traffic mix changes nothing.

use std::sync::Arc;

use collector_table::SpanKind;

use super::baseline::Baseline;
use super::instances::{InstanceId, Instances};
use super::slots::Slots;
use crate::hash::{Map, Set};
use crate::span::{Site, Span};
use crate::transaction::{Cause, Hop, HopKind, Transaction};

/// Identifies a step within one detector.
pub(super) type StepId = usize;

/// What a step's milliseconds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// A span's own time, or what it waited for a peer or between the two ends of a call or message.
    Own(Cause),
    /// A whole span with all below it; says who is affected, never who is to blame.
    Whole,
}

/// What like spans share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Step {
    /// Service that owns the time; the caller's for a gap, the producer's for a wait.
    pub(super) service: Arc<str>,
    /// Operation; the callee's for a gap or a wait.
    pub(super) operation: Arc<str>,
    /// What is measured.
    pub(super) what: What,
    /// Called service of a gap or wait, or the peer that sends no telemetry.
    pub(super) other: Option<Arc<str>>,
}

impl Step {
    /// Returns the step of an operation with all below it.
    pub(super) fn of_whole(service: Arc<str>, operation: Arc<str>) -> Self {
        Self { service, operation, what: What::Whole, other: None }
    }

    /// Returns why the step's time passes; none for a whole span.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.what {
            What::Own(cause) => Some(cause),
            What::Whole => None,
        }
    }

    /// Returns whether one of its two ends is among some services.
    pub(super) fn touches(&self, is_touched: impl Fn(&str) -> bool) -> bool {
        is_touched(&self.service) || self.other.as_ref().is_some_and(|other| is_touched(other))
    }

    /// Returns the second service that can be to blame: the far end of a gap or wait.
    pub(super) fn far_end(&self) -> Option<&Arc<str>> {
        let is_between = matches!(self.what, What::Own(Cause::NetworkGap | Cause::QueueWait));
        self.other.as_ref().filter(|other| is_between && **other != self.service)
    }
}

/// One step of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    /// Which step.
    pub(super) step: StepId,
    /// Step of the operation that it is part of: the nearest entry span above it in its service.
    pub(super) within: Option<StepId>,
    /// Milliseconds that it took, all told.
    pub(super) ms: f64,
    /// Milliseconds of it on the transaction's critical path.
    pub(super) path_ms: f64,
    /// Instance whose time it is; the caller's, for a gap.
    pub(super) near: Option<InstanceId>,
    /// Instance at the other end of a gap or wait.
    pub(super) far: Option<InstanceId>,
}

/// What is kept of one step.
#[derive(Debug, Default)]
pub(super) struct StepState {
    pub(super) baseline: Baseline,
    /// Signals of the step's service, of its hop, and of the far end's service, or of the whole step; once all are known.
    pub(super) signals: Option<[Option<usize>; 3]>,
    /// Signal of the operation that it is the whole of.
    pub(super) operation: Option<usize>,
}

/// Steps of one site: a short cut past names.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct SiteSteps {
    whole: Option<StepId>,
    own: Option<StepId>,
    instance: Option<InstanceId>,
}

/// Short cuts that are kept; beyond it all are dropped and found again.
const SHORT_CUTS_MAX: usize = 200_000;

/// Knows all steps by number, up to a bound.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) slots: Slots<Step, StepState>,
    by_site: Map<u64, SiteSteps>,
    by_sites: Map<(u64, u64, Cause), StepId>,
    pub(super) instances: Instances,
    times: PathTimes,
    /// Senders of the transaction at hand, with who took in what they sent, by shape.
    taken: Set<(usize, u64)>,
    within: Vec<Option<StepId>>,
    /// Of the transaction at hand, the span with which the execution begins that each span is part of.
    pub(super) entries: Vec<u32>,
}

impl Steps {
    pub(super) fn new(max: usize) -> Self {
        let (by_site, by_sites) = (Map::default(), Map::default());
        let (times, instances) = (PathTimes::default(), Instances::default());
        let slots = Slots::new(max);
        let (taken, within, entries) = (Set::default(), Vec::new(), Vec::new());
        Self { slots, by_site, by_sites, instances, times, taken, within, entries }
    }

    /// Gathers the steps of a transaction: each span's own time, each wait of a message, each whole entry span.
    /// Calls `note` for every site that was not seen lately.
    pub(super) fn observe(
        &mut self,
        transaction: &Transaction,
        block: i64,
        observations: &mut Vec<Observation>,
        mut note: impl FnMut(&Site),
    ) {
        let spans = &transaction.spans;
        let mut times = std::mem::take(&mut self.times);
        times.fill(transaction);
        observations.clear();
        self.within.clear();
        self.entries.clear();
        if self.by_site.len() + self.by_sites.len() >= SHORT_CUTS_MAX {
            self.drop_short_cuts();
        }
        for (index, span) in spans.iter().enumerate() {
            let site = &*span.site;
            let before = *self.by_site.entry(site.number).or_insert_with(|| {
                note(site);
                SiteSteps::default()
            });
            let mut known = before;
            let parent = transaction.parent(index);
            let begins = span.is_entry() || parent.is_none_or(|parent| !spans[parent].is_same_service(span));
            if begins {
                known.whole = known.whole.or_else(|| self.slots.id(whole(site), block));
                let duration_ms = ms(span.duration_ns());
                observations.extend(known.whole.map(|step| Observation {
                    step,
                    within: None,
                    ms: duration_ms,
                    path_ms: 0.0,
                    near: None,
                    far: None,
                }));
            }
            let entry = if begins { None } else { parent.and_then(|parent| self.entries.get(parent).copied()) };
            self.entries.push(entry.unwrap_or_else(|| u32::try_from(index).unwrap_or(u32::MAX)));
            known.instance = known.instance.or_else(|| self.instances.id(site, block));
            let within = if begins { known.whole } else { parent.and_then(|parent| self.within[parent]) };
            self.within.push(within);
            let callee = times.callees[index].filter(|_| span.kind() == SpanKind::Client);
            let step = match callee {
                Some(callee) => self.between(span, &spans[callee], Cause::NetworkGap, block),
                None => {
                    known.own = known.own.or_else(|| self.slots.id(own(site), block));
                    known.own
                }
            };
            if known != before {
                self.by_site.insert(site.number, known);
            }
            // Time beside work that nobody waits for is on the path, but was never the span's own.
            let own_ns = transaction.self_ns(index) - times.pause_ns[index];
            // What lies between both ends of a call is told by how long each took, whatever their clocks say.
            let between_ns = callee.map(|callee| span.duration_ns() - spans[callee].duration_ns());
            let own_ns = between_ns.map_or(own_ns, |between_ns| own_ns.min(between_ns));
            let (ms, path_ms) = (ms(own_ns), ms(times.own_ns[index].min(own_ns)));
            let near = known.instance;
            let far = callee.and_then(|callee| self.by_site.get(&spans[callee].site.number)?.instance);
            observations.extend(step.map(|step| Observation { step, within, ms, path_ms, near, far }));
        }
        self.observe_waits(transaction, transaction.hops.iter(), &times, block, observations);
        self.times = times;
    }

    /// Gathers the waits of messages that lead from one trace to another, as far as they were not told before.
    pub(super) fn observe_joined(
        &mut self,
        transaction: &Transaction,
        block: i64,
        observations: &mut Vec<Observation>,
    ) {
        observations.clear();
        let is_new = |index: usize, hop: &Hop| {
            let numbers =
                hop.callee.map(|callee| (transaction.trace_number(hop.caller), transaction.trace_number(callee)));
            numbers.is_some_and(|(from, to)| from != to) && !transaction.told.hop(index)
        };
        let hops =
            || transaction.hops.iter().enumerate().filter(|(index, hop)| is_new(*index, hop)).map(|(_, hop)| hop);
        if hops().next().is_none() {
            return;
        }
        let mut times = std::mem::take(&mut self.times);
        times.fill(transaction);
        self.within.clear();
        self.observe_waits(transaction, hops(), &times, block, observations);
        self.times = times;
    }

    fn observe_waits<'a>(
        &mut self,
        transaction: &'a Transaction,
        hops: impl Iterator<Item = &'a Hop>,
        times: &PathTimes,
        block: i64,
        observations: &mut Vec<Observation>,
    ) {
        self.taken.clear();
        for hop in hops.filter(|hop| hop.kind == HopKind::Message) {
            let Some(consumer) = hop.callee else { continue };
            let (from, to) = (&transaction.spans[hop.caller], &transaction.spans[consumer]);
            // A message that comes again has not waited for that long.
            if !self.taken.insert((hop.caller, to.site.shape)) {
                continue;
            }
            let Some(step) = self.between(from, to, Cause::QueueWait, block) else { continue };
            let (ms, path_ms) = (ms(hop.gap_ns.unwrap_or(0)), ms(times.wait_ns[consumer]));
            let far = self.by_site.get(&to.site.number).and_then(|known| known.instance);
            let within = self.within.get(consumer).copied().flatten();
            observations.push(Observation { step, within, ms, path_ms, near: None, far });
        }
    }

    fn between(&mut self, from: &Span, to: &Span, cause: Cause, block: i64) -> Option<StepId> {
        let key = (from.site.number, to.site.number, cause);
        if let Some(&step) = self.by_sites.get(&key) {
            return Some(step);
        }
        let step = self.slots.id(between(&from.site, &to.site, cause), block)?;
        self.by_sites.insert(key, step);
        Some(step)
    }

    /// Frees steps that were used last before a block and are in no incident; returns whether there were any.
    pub(super) fn free_unused(&mut self, before: i64) -> bool {
        let has_freed = self.slots.free_unused(before, |state| state.baseline.is_held);
        if has_freed {
            self.drop_short_cuts();
        }
        has_freed
    }

    /// Frees instances that are unused for long.
    pub(super) fn free_unused_instances(&mut self, block: i64) {
        if self.instances.free_unused(block) {
            self.drop_short_cuts();
        }
    }

    /// Returns, of the transaction observed last, which span each calling span calls.
    pub(super) fn callees(&self) -> &[Option<usize>] {
        &self.times.callees
    }

    fn drop_short_cuts(&mut self) {
        self.by_site.clear();
        self.by_sites.clear();
    }
}

/// Time on the critical path by span, and which span each caller calls. Its room is kept between transactions.
#[derive(Debug, Default)]
struct PathTimes {
    own_ns: Vec<i64>,
    wait_ns: Vec<i64>,
    /// Pauses between attempts: nobody's work. Who fails is told by rates.
    pause_ns: Vec<i64>,
    callees: Vec<Option<usize>>,
}

impl PathTimes {
    fn fill(&mut self, transaction: &Transaction) {
        let spans = transaction.spans.len();
        self.own_ns.clear();
        self.own_ns.resize(spans, 0);
        self.wait_ns.clear();
        self.wait_ns.resize(spans, 0);
        self.pause_ns.clear();
        self.pause_ns.resize(spans, 0);
        self.callees.clear();
        self.callees.resize(spans, None);
        for segment in &transaction.critical_path {
            let length = segment.end_ns - segment.start_ns;
            match segment.cause {
                Cause::QueueWait => self.wait_ns[segment.span] += length,
                Cause::RetryGap => self.pause_ns[segment.span] += length,
                Cause::Unexplained => {}
                Cause::SelfTime | Cause::NetworkGap | Cause::Straggler | Cause::UninstrumentedPeer => {
                    self.own_ns[segment.span] += length
                }
            }
        }
        for hop in transaction.hops.iter().filter(|hop| hop.kind != HopKind::Message) {
            for attempt in hop.tries() {
                self.callees[attempt.caller] = attempt.callee.or(self.callees[attempt.caller]);
            }
        }
    }
}

/// Returns the step of a site's own time where no callee tells of it.
fn own(site: &Site) -> Step {
    let peer = site.peer.clone().filter(|_| site.kind == SpanKind::Client);
    let cause = if peer.is_some() { Cause::UninstrumentedPeer } else { Cause::SelfTime };
    Step { service: site.service.clone(), operation: site.operation.clone(), what: What::Own(cause), other: peer }
}

fn whole(site: &Site) -> Step {
    Step::of_whole(site.service.clone(), site.operation.clone())
}

fn between(from: &Site, to: &Site, cause: Cause) -> Step {
    Step {
        service: from.service.clone(),
        operation: to.operation.clone(),
        what: What::Own(cause),
        other: Some(to.service.clone()),
    }
}

/// Returns nanoseconds as milliseconds, never negative.
fn ms(ns: i64) -> f64 {
    ns.max(0) as f64 / 1e6
}
