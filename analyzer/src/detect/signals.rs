//! The signals that are watched: for each service, operation and hop, how its part of each transaction compares with
//! what its steps usually take. Bounded; signals beyond the bound are counted and not watched.

use std::collections::VecDeque;
use std::sync::Arc;

use super::baseline::Calls;
use super::chatty::Chatty;
use super::fanout::FanOuts;
use super::instances::Side;
use super::season::Season;
use super::series::{Block, Series, Verdict};
use super::slots::Slots;
use super::steps::{Observation, Step, StepId, Steps, What};
use super::trend::Trend;
use crate::span::Site;
use crate::transaction::Transaction;

/// What a signal is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// All own time of a service and both ends of its calls and messages.
    Service(Arc<str>),
    /// The same for one of its operations, by the step of the whole operation.
    Operation(StepId),
    /// The gap or wait between two services, or a service and a peer.
    Hop(Arc<str>, Arc<str>),
    /// A whole operation with all below it; says who is affected, never triggers.
    Whole(StepId),
}

/// One signal.
#[derive(Debug, Default)]
pub(super) struct Signal {
    pub(super) series: Series,
    /// Ticks in a row in which it stood out.
    pub(super) hot_ticks: u32,
    /// Scores of the last minutes, which do not count as past yet.
    pub(super) pending_z: VecDeque<f64>,
    /// Largest standard score seen outside incidents, slowly forgotten: bursty signals need more to stand out.
    pub(super) past_z: f64,
    /// How far it was off at other times.
    pub(super) season: Season,
    /// The time itself, over all the time that it is known; of operations only.
    pub(super) trend: Trend,
}

/// A transaction's deviation in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Deviation {
    /// Milliseconds that the transaction would have taken with every step as usual.
    pub(super) expected_ms: f64,
    /// Extra milliseconds on the critical path by service, gaps counted for both ends.
    pub(super) extra_by_service: Vec<(Arc<str>, f64)>,
}

/// Milliseconds added to both sides of a ratio, so that microseconds cannot stand out.
pub(super) const RATIO_FLOOR_MS: f64 = 1.0;
/// All signals of one detector.
pub(super) struct Signals {
    pub(super) steps: Steps,
    pub(super) list: Slots<Scope, Signal>,
    pub(super) fan_outs: FanOuts,
    pub(super) chatty: Chatty,
    /// Steps of the transaction at hand, and its part in each signal; their room is kept between transactions.
    observations: Vec<Observation>,
    parts: Vec<Option<Part>>,
    parts_at: Vec<usize>,
}

/// A transaction's part in one signal.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    observed_ms: f64,
    expected_ms: f64,
    extra_ms: f64,
}

impl Signals {
    pub(super) fn new(steps_max: usize, signals_max: usize) -> Self {
        Self {
            steps: Steps::new(steps_max),
            list: Slots::new(signals_max),
            fan_outs: FanOuts::default(),
            chatty: Chatty::default(),
            observations: Vec::new(),
            parts: Vec::new(),
            parts_at: Vec::new(),
        }
    }

    /// Adds a transaction to block `block`; calls `note` for every site that was not seen lately.
    pub(super) fn add(&mut self, transaction: &Transaction, block: i64, note: impl FnMut(&Site)) -> Deviation {
        let mut observations = std::mem::take(&mut self.observations);
        self.steps.observe(transaction, block, &mut observations, note);
        self.fan_outs.add(transaction, self.steps.callees(), block);
        self.chatty.add(transaction, &self.steps.entries, block);
        let deviation = self.add_observations(transaction, &observations, block, |_| true);
        self.observations = observations;
        deviation
    }

    /// Adds what messages waited between traces of a transaction, as far as it was not told before; nothing if there is
    /// none. Only signals of hops hear of it: the services' own know each trace by itself.
    pub(super) fn add_joined(&mut self, transaction: &Transaction, block: i64) -> Option<Deviation> {
        let mut observations = std::mem::take(&mut self.observations);
        self.steps.observe_joined(transaction, block, &mut observations);
        let is_hop = |scope: &Scope| matches!(scope, Scope::Hop(..));
        let deviation = self.add_observations(transaction, &observations, block, is_hop);
        let is_any = !observations.is_empty();
        self.observations = observations;
        is_any.then_some(deviation)
    }

    fn add_observations(
        &mut self,
        transaction: &Transaction,
        observations: &[Observation],
        block: i64,
        hears: impl Fn(&Scope) -> bool,
    ) -> Deviation {
        let mut extra_total_ms = 0.0;
        for observation in observations {
            let Some((_, state)) = self.steps.slots.used(observation.step, block) else { continue };
            state.baseline.add(observation.ms, observation.path_ms, block);
            let Some(usual_ms) = state.baseline.usual_ms(observation.ms) else { continue };
            let extra_ms =
                if observation.path_ms > 0.0 { observation.path_ms - usual_ms.min(observation.path_ms) } else { 0.0 };
            extra_total_ms += extra_ms;
            let instances = &mut self.steps.instances;
            let near_side = if observation.far.is_some() { Side::Outbound } else { Side::Own };
            for (instance, side) in [(observation.near, near_side), (observation.far, Side::Inbound)] {
                if let Some(instance) = instance {
                    instances.add(instance, side, observation.ms, usual_ms, block);
                }
            }
            for signal in self.signals_of(observation, block).into_iter().flatten() {
                let part = self.part(signal);
                part.observed_ms += observation.ms;
                part.expected_ms += usual_ms;
                part.extra_ms += extra_ms;
            }
        }
        // The root's own parent may be where nobody tells of it; any other that is missing was lost.
        let known_missing = usize::from(transaction.root_span().parent_span_id().is_some());
        let lacks_spans = transaction.missing_parents > known_missing;
        let total_ms = transaction.duration_ns as f64 / 1e6;
        self.add_parts(total_ms, extra_total_ms, lacks_spans, block, hears)
    }

    /// Returns the signals that an observation is part of.
    fn signals_of(&mut self, observation: &Observation, block: i64) -> [Option<usize>; 4] {
        let within = observation.within;
        let operation = within.and_then(|within| self.steps.slots.get(within)?.operation);
        let cached = self.steps.slots.get(observation.step).and_then(|state| state.signals);
        if let Some([service, hop, far]) = cached
            && operation.is_some() == within.is_some()
        {
            return [service, operation, hop, far];
        }
        let Some(step) = self.steps.slots.key(observation.step).cloned() else { return [None; 4] };
        let scopes = scopes(&step, observation);
        let wanted = scopes.iter().flatten().count();
        let signals = scopes.map(|scope| self.list.id(scope?, block));
        let [service, operation, hop, far] = signals;
        // Signals beyond the bound are asked for again: there may be room by then.
        if signals.iter().flatten().count() == wanted {
            if let Some((_, state)) = self.steps.slots.used(observation.step, block) {
                state.signals = Some([service, hop, far]);
            }
            if let Some((_, state)) = within.and_then(|within| self.steps.slots.used(within, block)) {
                state.operation = operation;
            }
        }
        signals
    }

    fn part(&mut self, signal: usize) -> &mut Part {
        if self.parts.len() <= signal {
            self.parts.resize(signal + 1, None);
        }
        if self.parts[signal].is_none() {
            self.parts_at.push(signal);
        }
        self.parts[signal].get_or_insert_default()
    }

    /// Adds the parts of a transaction that took `total_ms` to their signals.
    fn add_parts(
        &mut self,
        total_ms: f64,
        extra_total_ms: f64,
        lacks_spans: bool,
        block: i64,
        hears: impl Fn(&Scope) -> bool,
    ) -> Deviation {
        let expected_ms = (total_ms - extra_total_ms).max(total_ms * EXPECTED_SHARE_MIN);
        let mut extra_by_service = Vec::new();
        for id in self.parts_at.drain(..) {
            let Some(part) = self.parts[id].take() else { continue };
            let Some((scope, signal)) = self.list.used(id, block) else { continue };
            if let Scope::Service(service) = scope
                && part.extra_ms > 0.0
            {
                extra_by_service.push((service.clone(), part.extra_ms));
            }
            if !hears(scope) {
                continue;
            }
            let ratio = ((part.observed_ms + RATIO_FLOOR_MS) / (part.expected_ms + RATIO_FLOOR_MS)).ln();
            signal.series.add(block, &Block::one(ratio, part.extra_ms, expected_ms, lacks_spans));
            if matches!(scope, Scope::Operation(_)) {
                signal.trend.add((part.observed_ms + RATIO_FLOOR_MS).ln(), block);
            }
        }
        extra_by_service.sort_by(|a, b| a.0.cmp(&b.0));
        Deviation { expected_ms, extra_by_service }
    }

    /// Renews what is usual for every step; called once in a while, as it reads whole histograms.
    pub(super) fn renew_expectations(&mut self) {
        for (_, state) in self.steps.slots.iter_mut() {
            state.baseline.renew();
        }
        self.chatty.renew();
    }

    /// Frees steps and signals that are unused for long and in no incident.
    pub(super) fn free_unused(&mut self, block: i64) {
        // A signal of a step is used whenever the step is, and held whenever the step is: it never outlives the step.
        let before = self.steps.slots.unused_before(block).max(self.list.unused_before(block));
        self.steps.free_unused_instances(block);
        self.fan_outs.free_unused(block);
        self.chatty.free_unused(block);
        let has_freed_signals = self.list.free_unused(before, |signal| signal.series.is_held());
        let has_freed_steps = self.steps.free_unused(before);
        if has_freed_signals || has_freed_steps {
            for (_, state) in self.steps.slots.iter_mut() {
                (state.signals, state.operation) = (None, None);
            }
        }
    }

    /// Returns median and mean milliseconds that are usual for a step.
    pub(super) fn usual_ms(&self, step: StepId) -> Option<(f64, f64)> {
        self.steps.slots.get(step)?.baseline.expected
    }

    /// Returns a step's calls in blocks `from..=to`, of the last 15 minutes.
    pub(super) fn calls(&self, step: StepId, from: i64, to: i64) -> Calls {
        self.steps.slots.get(step).map_or_else(Calls::default, |state| state.baseline.calls(from, to))
    }

    /// Returns whether a step's calls in blocks `from..=to` take longer by a constant.
    pub(super) fn is_moved(&self, step: StepId, from: i64, to: i64) -> bool {
        self.steps.slots.get(step).is_some_and(|state| state.baseline.is_moved(from, to))
    }

    /// Learns anew, from `block` on, how long messages wait between two services: a clock of theirs jumped.
    pub(super) fn relearn_wait(&mut self, step: StepId, block: i64) {
        let Some((key, state)) = self.steps.slots.used(step, block) else { return };
        state.baseline.relearn(block);
        let hop = key.other.clone().map(|other| Scope::Hop(key.service.clone(), other));
        if let Some(id) = hop.and_then(|hop| self.list.find(&hop))
            && let Some(signal) = self.list.get_mut(id)
        {
            signal.series.relearn(block);
        }
    }

    /// Learns anew, from `block` on, what is usual of everything that touches one of the services; `is_held` are those that
    /// other incidents still touch.
    pub(super) fn relearn(&mut self, is_touched: impl Fn(&str) -> bool, is_held: impl Fn(&str) -> bool, block: i64) {
        for (scope, signal) in self.list.iter_mut() {
            if services(&self.steps, scope).iter().any(|service| is_touched(service)) {
                signal.series = Series::default();
                signal.pending_z.clear();
                signal.hot_ticks = 0;
            }
        }
        for (step, state) in self.steps.slots.iter_mut() {
            if step.touches(&is_touched) {
                state.baseline.relearn(block);
                state.baseline.is_held = false;
            }
        }
        self.fan_outs.release(&is_held);
        self.chatty.release(&is_held);
    }

    fn series(&self, scope: &Scope) -> Option<&Series> {
        Some(&self.list.get(self.list.find(scope)?)?.series)
    }

    /// Returns the verdict on a signal by scope.
    pub(super) fn judge(&self, scope: &Scope, block: i64) -> Option<Verdict> {
        self.series(scope)?.judge(block)
    }

    /// Returns the verdict on a signal that is compared with the time before an incident, if `n` transactions say so.
    pub(super) fn judge_held(&self, scope: &Scope, block: i64, n: f64) -> Option<Verdict> {
        self.series(scope)?.judge_held(block, n)
    }

    /// Estimates the block in which a signal left its reference.
    pub(super) fn onset(&self, scope: &Scope, block: i64, look_back: i64) -> i64 {
        self.series(scope).map_or(block, |series| series.onset(block, look_back))
    }

    /// Returns whether calls or messages pass between two services.
    pub(super) fn are_adjacent(&self, a: &Arc<str>, b: &Arc<str>) -> bool {
        let between = |from: &Arc<str>, to: &Arc<str>| self.list.find(&Scope::Hop(from.clone(), to.clone())).is_some();
        between(a, b) || between(b, a)
    }

    /// Returns the services that a signal is about.
    pub(super) fn services(&self, scope: &Scope) -> Vec<Arc<str>> {
        services(&self.steps, scope)
    }

    /// Stops learning for everything that touches one of the services, at the onset of an incident in `block`.
    pub(super) fn hold(&mut self, is_touched: impl Fn(&str) -> bool, block: i64) {
        for (scope, signal) in self.list.iter_mut() {
            if services(&self.steps, scope).iter().any(|service| is_touched(service)) {
                signal.series.hold(block);
                // The scores of an onset are no part of the signal's usual past.
                signal.pending_z.clear();
            }
        }
        for (step, state) in self.steps.slots.iter_mut() {
            if step.touches(&is_touched) {
                state.baseline.hold(block);
            }
        }
        self.fan_outs.hold(&is_touched);
        self.chatty.hold(&is_touched, block);
    }

    /// Learns again everywhere but where `is_touched` still says no; blocks `from..=to` are left out of references.
    pub(super) fn release(&mut self, is_touched: impl Fn(&str) -> bool, from: i64, to: i64) {
        for (scope, signal) in self.list.iter_mut() {
            if !services(&self.steps, scope).iter().any(|service| is_touched(service)) {
                signal.series.release(from, to);
            }
        }
        for (step, state) in self.steps.slots.iter_mut() {
            state.baseline.is_held &= step.touches(&is_touched);
        }
        self.fan_outs.release(&is_touched);
        self.chatty.release(&is_touched);
    }
}

/// Returns what an observation is part of: its service, operation, hop and far end's service, or the whole operation.
fn scopes(step: &Step, observation: &Observation) -> [Option<Scope>; 4] {
    if step.what == What::Whole {
        return [Some(Scope::Whole(observation.step)), None, None, None];
    }
    [
        Some(Scope::Service(step.service.clone())),
        observation.within.map(Scope::Operation),
        step.other.clone().map(|other| Scope::Hop(step.service.clone(), other)),
        step.far_end().cloned().map(Scope::Service),
    ]
}

fn services(steps: &Steps, scope: &Scope) -> Vec<Arc<str>> {
    match scope {
        Scope::Service(service) => vec![service.clone()],
        Scope::Operation(step) | Scope::Whole(step) => {
            steps.slots.key(*step).map(|step| step.service.clone()).into_iter().collect()
        }
        Scope::Hop(from, to) => vec![from.clone(), to.clone()],
    }
}

/// Least share of a transaction's time that is taken as expected, so that a ratio to it stays meaningful.
const EXPECTED_SHARE_MIN: f64 = 0.05;
