//! The signals that are watched: for each service, operation and hop, how its part of each transaction compares with
//! what its steps usually take. Bounded; signals beyond the bound are counted and not watched.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::series::{Block, Series, Verdict};
use super::sketch::{RollingSketch, Sketch};
use super::steps::{Observation, StepId, Steps, What};

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
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) scope: Scope,
    pub(super) series: Series,
    /// Ticks in a row in which it stood out.
    pub(super) hot_ticks: u32,
    /// Scores of the last minutes, which do not count as past yet.
    pub(super) pending_z: VecDeque<f64>,
    /// Largest standard score seen outside incidents, slowly forgotten: bursty signals need more to stand out.
    pub(super) past_z: f64,
}

/// A transaction's deviation in numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Deviation {
    /// Milliseconds that the transaction would have taken with every step as usual.
    pub(super) expected_ms: f64,
    /// Extra milliseconds on the critical path by service, gaps counted for both ends.
    pub(super) extra_by_service: Vec<(Arc<str>, f64)>,
}

/// Samples of a step before its usual time is known.
const SAMPLES_MIN: u64 = 20;
/// Milliseconds added to both sides of a ratio, so that microseconds cannot stand out.
const RATIO_FLOOR_MS: f64 = 1.0;
/// Blocks until a call counts as usual: two minutes, longer than it takes to notice an onset.
const RIPE_BLOCKS: i64 = 12;
/// Blocks in a period of a step's baseline: five minutes.
const PERIOD_BLOCKS: i64 = 30;
/// Periods of a step's baseline: 40 minutes.
const PERIODS_MAX: usize = 8;
/// Blocks of a step's recent calls that are kept to compare with its baseline: 15 minutes.
const RECENT_BLOCKS: i64 = 90;

/// Calls of one step in one block: count, milliseconds, milliseconds on the critical path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    pub(super) n: f64,
    pub(super) ms: f64,
    pub(super) path_ms: f64,
}

/// What is usual for a step, and how it went lately.
#[derive(Debug, Default)]
struct StepBaseline {
    usual: RollingSketch,
    /// Calls of the last blocks, which are not usual yet: an onset that is noticed later must not have become usual.
    unripe: VecDeque<(i64, Sketch)>,
    /// Median and mean of `usual`, renewed now and then.
    expected: Option<(f64, f64)>,
    recent: VecDeque<(i64, Calls)>,
    is_held: bool,
}

impl StepBaseline {
    /// Adds a call, unless an incident is open; what has ripened becomes usual.
    fn learn(&mut self, ms: f64, block: i64) {
        if self.is_held {
            return;
        }
        let at = self.unripe.partition_point(|(number, _)| *number < block);
        if self.unripe.get(at).is_none_or(|(number, _)| *number != block) {
            self.unripe.insert(at, (block, Sketch::default()));
        }
        self.unripe[at].1.add(ms);
        while self.unripe.front().is_some_and(|(number, _)| *number < block - RIPE_BLOCKS) {
            let Some((number, calls)) = self.unripe.pop_front() else { break };
            self.usual.merge(&calls, number.div_euclid(PERIOD_BLOCKS), PERIODS_MAX);
        }
    }

    /// Stops learning, and unlearns what came since the onset.
    fn hold(&mut self, onset: i64) {
        self.is_held = true;
        self.unripe.retain(|(number, _)| *number < onset);
    }
}

/// All signals of one detector.
pub(super) struct Signals {
    pub(super) steps: Steps,
    baselines: Vec<StepBaseline>,
    pub(super) list: Vec<Signal>,
    by_scope: HashMap<Scope, usize>,
    signals_max: usize,
    /// Values left out because there were too many signals.
    pub(super) left_out: u64,
}

#[derive(Default)]
struct Part {
    observed_ms: f64,
    expected_ms: f64,
    extra_ms: f64,
}

impl Signals {
    pub(super) fn new(steps_max: usize, signals_max: usize) -> Self {
        Self {
            steps: Steps::new(steps_max),
            baselines: Vec::new(),
            list: Vec::new(),
            by_scope: HashMap::new(),
            signals_max,
            left_out: 0,
        }
    }

    fn id(&mut self, scope: Scope) -> Option<usize> {
        if let Some(&id) = self.by_scope.get(&scope) {
            return Some(id);
        }
        if self.list.len() >= self.signals_max {
            self.left_out += 1;
            return None;
        }
        let id = self.list.len();
        self.by_scope.insert(scope.clone(), id);
        self.list.push(Signal {
            scope,
            series: Series::default(),
            hot_ticks: 0,
            pending_z: VecDeque::new(),
            past_z: 0.0,
        });
        Some(id)
    }

    /// Adds a transaction that took `total_ms` to block `block`.
    pub(super) fn add(&mut self, observations: &[Observation], total_ms: f64, block: i64) -> Deviation {
        self.baselines.resize_with(self.steps.len(), StepBaseline::default);
        let mut parts: HashMap<usize, Part> = HashMap::new();
        let mut by_service: HashMap<Arc<str>, f64> = HashMap::new();
        let mut extra_total_ms = 0.0;
        for observation in observations {
            let Some(usual_ms) = self.learn(observation, block) else { continue };
            let extra_ms =
                if observation.path_ms > 0.0 { observation.path_ms - usual_ms.min(observation.path_ms) } else { 0.0 };
            extra_total_ms += extra_ms;
            for scope in self.scopes(observation, extra_ms, &mut by_service) {
                let Some(id) = self.id(scope) else { continue };
                let part = parts.entry(id).or_default();
                part.observed_ms += observation.ms;
                part.expected_ms += usual_ms;
                part.extra_ms += extra_ms;
            }
        }
        let expected_ms = (total_ms - extra_total_ms).max(total_ms * EXPECTED_SHARE_MIN);
        for (id, part) in parts {
            let ratio = ((part.observed_ms + RATIO_FLOOR_MS) / (part.expected_ms + RATIO_FLOOR_MS)).ln();
            let value = Block {
                n: 1.0,
                sum: ratio,
                sum_squares: ratio * ratio,
                extra_ms: part.extra_ms,
                expected_total_ms: expected_ms,
            };
            self.list[id].series.add(block, &value);
        }
        let mut extra_by_service: Vec<(Arc<str>, f64)> =
            by_service.into_iter().filter(|(_, extra)| *extra > 0.0).collect();
        extra_by_service.sort_by(|a, b| a.0.cmp(&b.0));
        Deviation { expected_ms, extra_by_service }
    }

    /// Adds a call to its step; returns the milliseconds that it usually takes, once known.
    fn learn(&mut self, observation: &Observation, block: i64) -> Option<f64> {
        let baseline = &mut self.baselines[observation.step];
        baseline.learn(observation.ms, block);
        let at = baseline.recent.partition_point(|(number, _)| *number < block);
        if baseline.recent.get(at).is_none_or(|(number, _)| *number != block) {
            baseline.recent.insert(at, (block, Calls::default()));
        }
        let calls = &mut baseline.recent[at].1;
        calls.n += 1.0;
        calls.ms += observation.ms;
        calls.path_ms += observation.path_ms;
        while baseline.recent.front().is_some_and(|(number, _)| *number < block - RECENT_BLOCKS) {
            baseline.recent.pop_front();
        }
        baseline.expected.map(|(median, _)| median)
    }

    fn scopes(&self, observation: &Observation, extra_ms: f64, by_service: &mut HashMap<Arc<str>, f64>) -> Vec<Scope> {
        let step = self.steps.get(observation.step);
        if step.what == What::Whole {
            return vec![Scope::Whole(observation.step)];
        }
        let mut scopes = vec![Scope::Service(step.service.clone())];
        *by_service.entry(step.service.clone()).or_default() += extra_ms;
        scopes.extend(observation.within.map(Scope::Operation));
        scopes.extend(step.other.clone().map(|other| Scope::Hop(step.service.clone(), other)));
        if let Some(far) = step.far_end() {
            *by_service.entry(far.clone()).or_default() += extra_ms;
            scopes.push(Scope::Service(far.clone()));
        }
        scopes
    }

    /// Renews what is usual for every step; called once in a while, as it reads whole histograms.
    pub(super) fn renew_expectations(&mut self) {
        for baseline in self.baselines.iter_mut().filter(|baseline| !baseline.is_held) {
            let usual = baseline.usual.merged();
            if usual.count() >= SAMPLES_MIN {
                baseline.expected = usual.quantile(0.5).zip(usual.mean());
            }
        }
    }

    /// Returns median and mean milliseconds that are usual for a step.
    pub(super) fn usual_ms(&self, step: StepId) -> Option<(f64, f64)> {
        self.baselines.get(step)?.expected
    }

    /// Returns a step's calls in blocks `from..=to`, of the last 15 minutes.
    pub(super) fn calls(&self, step: StepId, from: i64, to: i64) -> Calls {
        let mut all = Calls::default();
        let Some(baseline) = self.baselines.get(step) else { return all };
        for (_, calls) in baseline.recent.iter().filter(|(number, _)| (from..=to).contains(number)) {
            all.n += calls.n;
            all.ms += calls.ms;
            all.path_ms += calls.path_ms;
        }
        all
    }

    /// Returns the verdict on a signal by scope.
    pub(super) fn judge(&self, scope: &Scope, block: i64) -> Option<Verdict> {
        self.list[*self.by_scope.get(scope)?].series.judge(block)
    }

    /// Returns the verdict on a signal that is compared with the time before an incident.
    pub(super) fn judge_held(&self, scope: &Scope, block: i64) -> Option<Verdict> {
        let series = &self.list[*self.by_scope.get(scope)?].series;
        series.judge(block).filter(|_| series.is_held())
    }

    /// Estimates the block in which a signal left its reference.
    pub(super) fn onset(&self, scope: &Scope, block: i64, look_back: i64) -> i64 {
        self.by_scope.get(scope).map_or(block, |&id| self.list[id].series.onset(block, look_back))
    }

    /// Returns whether calls or messages pass between two services.
    pub(super) fn are_adjacent(&self, a: &Arc<str>, b: &Arc<str>) -> bool {
        let between =
            |from: &Arc<str>, to: &Arc<str>| self.by_scope.contains_key(&Scope::Hop(from.clone(), to.clone()));
        between(a, b) || between(b, a)
    }

    /// Returns the services that a signal is about.
    pub(super) fn services(&self, scope: &Scope) -> Vec<Arc<str>> {
        match scope {
            Scope::Service(service) => vec![service.clone()],
            Scope::Operation(step) | Scope::Whole(step) => vec![self.steps.get(*step).service.clone()],
            Scope::Hop(from, to) => vec![from.clone(), to.clone()],
        }
    }

    /// Stops learning for everything that touches one of the services, at the onset of an incident in `block`.
    pub(super) fn hold(&mut self, is_touched: impl Fn(&str) -> bool, block: i64) {
        for index in 0..self.list.len() {
            let scope = self.list[index].scope.clone();
            if self.services(&scope).iter().any(|service| is_touched(service)) {
                self.list[index].series.hold(block);
                // The scores of an onset are no part of the signal's usual past.
                self.list[index].pending_z.clear();
            }
        }
        for (id, baseline) in self.baselines.iter_mut().enumerate() {
            let step = self.steps.get(id);
            if step.touches(&is_touched) {
                baseline.hold(block);
            }
        }
    }

    /// Learns again everywhere but where `is_touched` still says no; blocks `from..=to` are left out of references.
    pub(super) fn release(&mut self, is_touched: impl Fn(&str) -> bool, from: i64, to: i64) {
        for index in 0..self.list.len() {
            let scope = self.list[index].scope.clone();
            if !self.services(&scope).iter().any(|service| is_touched(service)) {
                self.list[index].series.release(from, to);
            }
        }
        for (id, baseline) in self.baselines.iter_mut().enumerate() {
            let step = self.steps.get(id);
            baseline.is_held &= step.touches(&is_touched);
        }
    }
}

/// Least share of a transaction's time that is taken as expected, so that a ratio to it stays meaningful.
const EXPECTED_SHARE_MIN: f64 = 0.05;
