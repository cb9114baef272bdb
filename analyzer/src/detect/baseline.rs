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

/// Standard deviation, as a share of the distance between the usual tenth and ninetieth percentile and as a share of the
/// shift, up to which calls are moved by a constant.
const MOVED_SPREAD: f64 = 1.0;
const MOVED_SHARE: f64 = 0.35;
/// A wait that ends by itself is at least a second long; so many of the calls last until then, and no less than a few of the
/// others are far shorter or nearly all last as long.
const WAIT_MS_MIN: f64 = 1_000.0;
const WAIT_FULL_SHARE: f64 = 0.1;
const WAIT_NEARLY_ALL: f64 = 0.8;
/// Share of the longest time from which on a call lasted until the end, and up to which one is far shorter.
const WAIT_FULL: f64 = 0.93;
const WAIT_SHORT: f64 = 0.6;
/// Factor by which a wait may be longer than the longest that is usual.
const WAIT_SLACK: f64 = 1.1;

/// Returns the longest time that a step waits, if its times look like those of long polls and blocking takes: they end when
/// something comes, whenever that is, or all at the same time.
fn longest_wait_ms(usual: &Sketch) -> Option<f64> {
    let longest_ms = usual.quantile(0.995).filter(|longest_ms| *longest_ms >= WAIT_MS_MIN)?;
    let n = usual.count() as f64;
    let (mut full, mut short) = (0.0, 0.0);
    for (upper_ms, count) in usual.bins(1) {
        full += if upper_ms >= WAIT_FULL * longest_ms { count as f64 } else { 0.0 };
        short += if upper_ms <= WAIT_SHORT * longest_ms { count as f64 } else { 0.0 };
    }
    let (full, short) = (full / n, short / n);
    let varies = full >= WAIT_FULL_SHARE && short >= WAIT_FULL_SHARE;
    (varies || full >= WAIT_NEARLY_ALL).then_some(longest_ms)
}

/// Calls of one step in one block: count, milliseconds and their squares, milliseconds on the critical path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    pub(super) n: f64,
    pub(super) ms: f64,
    squares: f64,
    pub(super) path_ms: f64,
}

impl Calls {
    fn add(&mut self, other: Self) {
        self.n += other.n;
        self.ms += other.ms;
        self.squares += other.squares;
        self.path_ms += other.path_ms;
    }

    /// Returns the standard deviation of their milliseconds.
    fn deviation_ms(&self) -> f64 {
        let mean = self.ms / self.n.max(1.0);
        (self.squares / self.n.max(1.0) - mean * mean).max(0.0).sqrt()
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
    /// Of a step that waits on purpose, the longest that it waits.
    waits_ms: Option<f64>,
    recent: VecDeque<(i64, Calls)>,
    pub(super) is_held: bool,
}

impl Baseline {
    /// Notes a call of `block`, and learns from it unless an incident is open.
    pub(super) fn add(&mut self, ms: f64, path_ms: f64, block: i64) {
        if !self.is_held {
            self.learn(ms, block);
        }
        item_of(&mut self.recent, block).add(Calls { n: 1.0, ms, squares: ms * ms, path_ms });
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
            self.waits_ms = longest_wait_ms(&usual);
        }
    }

    /// Returns the milliseconds that are usual for a call that took `ms`: of one that waits on purpose whatever it took,
    /// because it ends when something comes, up to the time after which it gives up.
    pub(super) fn usual_ms(&self, ms: f64) -> Option<f64> {
        let (median_ms, _) = self.expected?;
        let is_wait = self.waits_ms.is_some_and(|longest_ms| ms <= longest_ms * WAIT_SLACK);
        Some(if is_wait { ms } else { median_ms })
    }

    /// Returns the calls in blocks `from..=to`, of the last 15 minutes.
    pub(super) fn calls(&self, from: i64, to: i64) -> Calls {
        let mut all = Calls::default();
        for (_, calls) in self.recent.iter().filter(|(number, _)| (from..=to).contains(number)) {
            all.add(*calls);
        }
        all
    }

    /// Returns whether the calls in blocks `from..=to` take longer by a constant: all of them by as much, and they differ
    /// no more than usual.
    pub(super) fn is_moved(&self, from: i64, to: i64) -> bool {
        let (calls, usual) = (self.calls(from, to), self.usual.merged());
        let Some((low_ms, high_ms)) = usual.quantile(0.1).zip(usual.quantile(0.9)) else { return false };
        let moved_ms = calls.ms / calls.n.max(1.0) - usual.mean().unwrap_or(0.0);
        let now_ms = calls.deviation_ms();
        now_ms <= MOVED_SPREAD * (high_ms - low_ms).max(1.0) && now_ms <= MOVED_SHARE * moved_ms
    }

    /// Learns anew from `block` on what is usual.
    pub(super) fn relearn(&mut self, block: i64) {
        self.usual = RollingSketch::default();
        self.unripe.retain(|(number, _)| *number >= block);
        self.expected = None;
    }
}
