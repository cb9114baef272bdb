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
/// shift, up to which calls are moved by a constant; and as a share of the shift alone, which says enough where a few
/// calls always take far longer than the others.
const MOVED_SPREAD: f64 = 1.0;
const MOVED_SHARE: f64 = 0.35;
const MOVED_SHARE_ALONE: f64 = 0.01;
/// A wait that ends by itself is at least a second long; so many of the calls last until then, and no less than a few of the
/// others are far shorter or nearly all last as long.
const WAIT_MS_MIN: f64 = 1_000.0;
const WAIT_FULL_SHARE: f64 = 0.1;
const WAIT_NEARLY_ALL: f64 = 0.8;
/// Share of the longest time from which on a call lasted until the end, and up to which one is far shorter.
const WAIT_FULL: f64 = 0.93;
const WAIT_SHORT: f64 = 0.6;
/// Share of calls that last until the end where what is waited for comes at any time, and share of those then that end
/// somewhere in between: a fast call that is cut off now and then does not.
const WAIT_FULL_SHARE_ANY_TIME: f64 = 0.05;
const WAIT_BETWEEN_SHARE: f64 = 0.6;
/// Share of the longest time from which on a call is in between.
const WAIT_BETWEEN: f64 = 0.1;
/// Factor by which a wait may be longer than the longest that is usual.
const WAIT_SLACK: f64 = 1.1;

/// Returns the longest time that a step waits, if its times look like those of long polls and blocking takes: they end when
/// something comes, whenever that is, or all at the same time.
fn longest_wait_ms(usual: &Sketch) -> Option<f64> {
    let longest_ms = usual.quantile(0.995).filter(|longest_ms| *longest_ms >= WAIT_MS_MIN)?;
    let (bins, n) = (usual.bins(1), usual.count() as f64);
    let share = |is_of: &dyn Fn(f64) -> bool| {
        let bins = bins.iter().filter(|(upper_ms, _)| is_of(*upper_ms / longest_ms));
        bins.map(|(_, count)| *count as f64).sum::<f64>() / n
    };
    let (full, short) = (share(&|part| part >= WAIT_FULL), share(&|part| part <= WAIT_SHORT));
    let between = share(&|part| (WAIT_BETWEEN..WAIT_FULL).contains(&part));
    let is_any_time = full >= WAIT_FULL_SHARE_ANY_TIME && between >= WAIT_BETWEEN_SHARE;
    let varies = (full >= WAIT_FULL_SHARE || is_any_time) && short >= WAIT_FULL_SHARE;
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
        let is_as_usual = now_ms <= MOVED_SPREAD * (high_ms - low_ms).max(1.0);
        is_as_usual && now_ms <= MOVED_SHARE * moved_ms || now_ms <= MOVED_SHARE_ALONE * moved_ms
    }

    /// Learns anew from `block` on what is usual.
    pub(super) fn relearn(&mut self, block: i64) {
        self.usual = RollingSketch::default();
        self.unripe.retain(|(number, _)| *number >= block);
        self.expected = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the longest wait of a thousand calls that took what `ms` says of each.
    fn wait_of(ms: impl Fn(u32) -> f64) -> Option<f64> {
        let mut usual = Sketch::default();
        (0..1_000).for_each(|number| usual.add(ms(number)));
        longest_wait_ms(&usual)
    }

    #[test]
    fn what_ends_when_something_comes_or_at_the_same_time_waits_on_purpose() {
        let polls_ms = wait_of(|number| f64::from(number % 40 + 1) * 500.0).unwrap();
        assert!((polls_ms / 20_000.0 - 1.0).abs() < 0.1, "{polls_ms}");
        assert!(wait_of(|number| if number % 3 == 0 { 30_000.0 } else { f64::from(number) * 10.0 }).is_some());
        assert!(wait_of(|number| if number % 10 == 0 { 40.0 } else { 5_000.0 }).is_some());
    }

    #[test]
    fn what_works_does_not_wait_on_purpose() {
        // One in a hundred takes ten times as long, and all differ by half.
        let works = |number: u32| {
            let slow = if number.is_multiple_of(100) { 10.0 } else { 1.0 };
            slow * 400.0 * (1.0 + f64::from(number % 17) / 34.0)
        };
        assert_eq!(wait_of(works), None);
        // Cut off now and then, and fast otherwise.
        assert_eq!(wait_of(|number| if number % 15 == 0 { 3_000.0 } else { 40.0 + f64::from(number % 10) }), None);
        // However regular, shorter than a second.
        assert_eq!(wait_of(|number| f64::from(number % 40 + 1) * 20.0), None);
    }

    /// Returns whether waits that took what `usually` says, and now what `now` says, are moved by a constant.
    fn is_moved(usually: impl Fn(u32) -> f64, now: impl Fn(u32) -> f64) -> bool {
        let mut baseline = Baseline::default();
        (0..5_000).for_each(|number| baseline.add(usually(number), 0.0, i64::from(number) / 10));
        (0..40).for_each(|number| baseline.add(now(number), 0.0, 500));
        baseline.is_moved(500, 500)
    }

    #[test]
    fn waits_that_are_longer_by_a_constant_are_moved_also_where_a_few_take_longer() {
        let usually = |number: u32| 3.0 + f64::from(number % 10) / 10.0;
        let with_tail = |number: u32| usually(number) + if number.is_multiple_of(20) { 9.0 } else { 0.0 };
        assert!(is_moved(usually, |number| 400.0 + usually(number)));
        assert!(is_moved(with_tail, |number| 3_000.0 + with_tail(number)));
    }

    #[test]
    fn waits_that_differ_more_than_before_are_not_moved() {
        let usually = |number: u32| 3.0 + f64::from(number % 10) / 10.0;
        // As in a queue that grows, and where takers look every few seconds.
        assert!(!is_moved(usually, |number| 2_500.0 + 40.0 * f64::from(number)));
        assert!(!is_moved(usually, |number| 100.0 * f64::from(number % 30)));
        assert!(!is_moved(usually, |number| usually(number) + 0.2));
    }

    #[test]
    fn a_wait_is_usual_however_long_up_to_the_longest() {
        let mut baseline = Baseline::default();
        for number in 0..2_000_i64 {
            baseline.add((number % 40 + 1) as f64 * 500.0, 0.0, number / 10);
        }
        baseline.renew();
        assert_eq!(baseline.usual_ms(17_000.0), Some(17_000.0));
        assert!(baseline.usual_ms(40_000.0).unwrap() < 15_000.0);
    }
}
