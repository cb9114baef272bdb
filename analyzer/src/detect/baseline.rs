//! What is usual for one step, and how it went lately. Kept by `steps` for every step; bounded in time.

use std::collections::VecDeque;

use super::sketch::{RollingSketch, Sketch};
use super::slots::item_of;

/// Samples of a step before its usual time is known.
const SAMPLES_MIN: u64 = 20;
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

impl Calls {
    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.ms += other.ms;
        self.path_ms += other.path_ms;
    }
}

/// What is usual for a step, and how it went lately.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    usual: RollingSketch,
    /// Calls of the last blocks, which are not usual yet: an onset that is noticed later must not have become usual.
    unripe: VecDeque<(i64, Sketch)>,
    /// Median and mean milliseconds of `usual`, renewed now and then; none until enough is known.
    pub(super) expected: Option<(f64, f64)>,
    recent: VecDeque<(i64, Calls)>,
    pub(super) is_held: bool,
}

impl Baseline {
    /// Notes a call of `block`, and learns from it unless an incident is open.
    pub(super) fn add(&mut self, ms: f64, path_ms: f64, block: i64) {
        if !self.is_held {
            self.learn(ms, block);
        }
        item_of(&mut self.recent, block).add(Calls { n: 1.0, ms, path_ms });
        while self.recent.front().is_some_and(|(number, _)| *number < block - RECENT_BLOCKS) {
            self.recent.pop_front();
        }
    }

    /// Learns a call; what has ripened becomes usual.
    fn learn(&mut self, ms: f64, block: i64) {
        item_of(&mut self.unripe, block).add(ms);
        while self.unripe.front().is_some_and(|(number, _)| *number < block - RIPE_BLOCKS) {
            let Some((number, calls)) = self.unripe.pop_front() else { break };
            self.usual.merge(&calls, number.div_euclid(PERIOD_BLOCKS), PERIODS_MAX);
        }
    }

    /// Stops learning, and unlearns what came since the onset.
    pub(super) fn hold(&mut self, onset: i64) {
        self.is_held = true;
        self.unripe.retain(|(number, _)| *number < onset);
    }

    /// Renews what is expected; reads whole histograms.
    pub(super) fn renew(&mut self) {
        if self.is_held {
            return;
        }
        let usual = self.usual.merged();
        if usual.count() >= SAMPLES_MIN {
            self.expected = usual.quantile(0.5).zip(usual.mean());
        }
    }

    /// Returns the calls in blocks `from..=to`, of the last 15 minutes.
    pub(super) fn calls(&self, from: i64, to: i64) -> Calls {
        let mut all = Calls::default();
        for (_, calls) in self.recent.iter().filter(|(number, _)| (from..=to).contains(number)) {
            all.add(*calls);
        }
        all
    }
}
