//! Slow growth that no half hour shows: a value over the whole time that it is known, in buckets that become wider as
//! the time grows. Kept for each operation's own time and for the calls that it makes; asked when a bucket is full.
//! Bounded by buckets: with all in use, each two become one.

use super::memory::TrendMemory;
use super::series::median;

/// Buckets kept.
const BUCKETS_MAX: usize = 144;
/// Blocks in a bucket at first: five minutes. All buckets together are twelve hours then, and a day after that.
const BLOCKS_FIRST: i64 = 30;
/// Blocks in a bucket at most: two and a half hours, so that all are about two weeks. Beyond it the oldest go.
const BLOCKS_LAST: i64 = 960;
/// Buckets with enough in them from which on a trend is looked for.
const BUCKETS_MIN: usize = 12;
/// What a bucket must hold to count.
const N_MIN: f64 = 10.0;
/// Buckets at each end whose median is the level there.
const END_BUCKETS: usize = 3;
/// Standard score of Mann and Kendall's test, from which on it is a trend.
const TREND_Z: f64 = 5.0;
/// Growth of the log value: 35 %.
const GROWTH_MIN: f64 = 0.3;
/// Time after which growth speaks for itself: a day.
const DAY_BLOCKS: i64 = 8_640;
/// Share of the growth below which it had not begun.
const BEGIN_SHARE: f64 = 0.1;
/// Share of the growth that one step may be: more is a shift and no creep.
const STEP_SHARE_MAX: f64 = 0.6;
/// Share of the buckets' variance that a straight line explains, from which on the growth is steady.
const LINE_SHARE_MIN: f64 = 0.7;
/// Rank correlation of value and traffic, and swing of traffic, from which on load explains the growth.
const LOAD_CORRELATION: f64 = 0.5;
const LOAD_SWING: f64 = 1.3;

/// One bucket: what was added, and the sum of the log values.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    n: f32,
    sum: f32,
}

/// A value over time.
#[derive(Debug, Clone)]
pub(super) struct Trend {
    buckets: Vec<Bucket>,
    /// Number of the first bucket, in buckets.
    first: i64,
    /// Blocks in a bucket.
    blocks: i64,
    /// Bucket up to which was judged.
    judged: i64,
    /// Block up to which it was recalled: what is read back of that was added before.
    recalled: i64,
}

/// A value that grew slowly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Creep {
    /// Standard score of the test for a trend.
    pub(super) z: f64,
    /// Log value at the beginning, and now.
    pub(super) from: f64,
    /// See `from`.
    pub(super) to: f64,
    /// First block that is known.
    first: i64,
    /// Block in which the growth began.
    pub(super) since: i64,
    /// How often the value was seen.
    pub(super) n: f64,
    /// Buckets that were compared.
    pub(super) buckets: usize,
}

impl Creep {
    /// Returns whether it is known for long enough to be believed although nothing near it changed: what grows with the
    /// hours falls again.
    pub(super) fn speaks_for_itself(&self, block: i64) -> bool {
        block - self.first >= DAY_BLOCKS
    }
}

impl Default for Trend {
    fn default() -> Self {
        Self { buckets: Vec::new(), first: 0, blocks: BLOCKS_FIRST, judged: i64::MIN, recalled: i64::MIN }
    }
}

impl Trend {
    /// Adds a log value to the bucket of a block.
    pub(super) fn add(&mut self, value: f64, block: i64) {
        if block <= self.recalled {
            return;
        }
        if self.buckets.is_empty() {
            self.first = block.div_euclid(self.blocks);
        }
        let mut at = block.div_euclid(self.blocks) - self.first;
        while at >= BUCKETS_MAX as i64 && self.blocks < BLOCKS_LAST {
            self.widen();
            at = block.div_euclid(self.blocks) - self.first;
        }
        if at >= BUCKETS_MAX as i64 {
            let gone = (at - BUCKETS_MAX as i64 + 1).min(BUCKETS_MAX as i64 + 1);
            self.buckets.drain(..usize::try_from(gone).unwrap_or(0).min(self.buckets.len()));
            self.first = block.div_euclid(self.blocks) - BUCKETS_MAX as i64 + 1;
            at = BUCKETS_MAX as i64 - 1;
        }
        // What is older than all that is kept says nothing about now.
        let Ok(at) = usize::try_from(at) else { return };
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, Bucket::default());
        }
        let bucket = &mut self.buckets[at];
        bucket.n += 1.0;
        // Sums of a few minutes; single precision is finer than what is compared.
        #[allow(clippy::cast_possible_truncation)]
        let value = value as f32;
        bucket.sum += value;
    }

    /// Makes each two buckets one.
    fn widen(&mut self) {
        let mut wide: Vec<Bucket> = Vec::with_capacity(BUCKETS_MAX);
        let first = self.first.div_euclid(2);
        for (number, bucket) in (self.first..).zip(&self.buckets) {
            let at = usize::try_from(number.div_euclid(2) - first).unwrap_or(0);
            wide.resize(wide.len().max(at + 1), Bucket::default());
            wide[at].n += bucket.n;
            wide[at].sum += bucket.sum;
        }
        self.buckets = wide;
        self.first = first;
        self.blocks *= 2;
        self.judged = i64::MIN;
    }

    /// Returns what is known, if that is anything.
    pub(super) fn kept(&self) -> Option<TrendMemory> {
        let Self { first, blocks, .. } = *self;
        let buckets = self.buckets.iter().map(|bucket| (bucket.n, bucket.sum)).collect();
        (!self.buckets.is_empty()).then_some(TrendMemory { first, blocks, buckets })
    }

    /// Returns what was kept up to a block; nothing if it cannot have been.
    pub(super) fn recalled(kept: &TrendMemory, block: i64) -> Option<Self> {
        let widths = std::iter::successors(Some(BLOCKS_FIRST), |blocks| Some(blocks * 2));
        let is_width = widths.take_while(|blocks| *blocks <= BLOCKS_LAST).any(|blocks| blocks == kept.blocks);
        let is_sound = |(n, sum): &(f32, f32)| n.is_finite() && *n >= 0.0 && sum.is_finite();
        let last = kept.first.checked_add(i64::try_from(kept.buckets.len()).ok()?)?;
        let is_over = last <= block.div_euclid(kept.blocks.max(1)) + 1;
        if !is_width || !is_over || kept.buckets.len() > BUCKETS_MAX || !kept.buckets.iter().all(is_sound) {
            return None;
        }
        let buckets = kept.buckets.iter().map(|&(n, sum)| Bucket { n, sum }).collect();
        Some(Self { buckets, first: kept.first, blocks: kept.blocks, judged: i64::MIN, recalled: block })
    }

    /// Forgets all: what was is usual from now on.
    pub(super) fn forget(&mut self) {
        *self = Self { recalled: self.recalled, ..Self::default() };
    }

    /// Returns the growth up to `block` if a bucket ended since it was last asked for and the value crept up.
    pub(super) fn judge(&mut self, block: i64) -> Option<Creep> {
        let now = block.div_euclid(self.blocks);
        if now == self.judged {
            return None;
        }
        self.judged = now;
        self.creep(block)
    }

    /// Returns the growth up to `block`, if the value crept up.
    fn creep(&self, block: i64) -> Option<Creep> {
        let now = block.div_euclid(self.blocks);
        let whole = (self.first..now).zip(&self.buckets).filter(|(_, bucket)| f64::from(bucket.n) >= N_MIN);
        let whole: Vec<(i64, f64, f64)> =
            whole.map(|(number, bucket)| (number, f64::from(bucket.n), f64::from(bucket.sum / bucket.n))).collect();
        if whole.len() < BUCKETS_MIN {
            return None;
        }
        let levels: Vec<f64> = whole.iter().map(|(_, _, level)| *level).collect();
        let (from, to) = ends(&levels);
        let z = mann_kendall_z(&levels);
        let is_steady =
            largest_step(&levels) <= STEP_SHARE_MAX * (to - from) && share_of_line(&levels) >= LINE_SHARE_MIN;
        if to - from < GROWTH_MIN || z < TREND_Z || !is_steady {
            return None;
        }
        let traffic: Vec<f64> = whole.iter().map(|(_, n, _)| *n).collect();
        if swing(&traffic) >= LOAD_SWING && rank_correlation(&traffic, &levels) >= LOAD_CORRELATION {
            return None;
        }
        let n = traffic.iter().sum();
        // It began after the last bucket that was hardly above the first ones.
        let low = from + BEGIN_SHARE * (to - from);
        let began =
            whole.iter().rev().find(|(_, _, level)| *level <= low).map_or(whole[0].0, |(number, ..)| number + 1);
        let first = self.first * self.blocks;
        Some(Creep { z, from, to, first, since: began * self.blocks, n, buckets: whole.len() })
    }

    /// Returns the log value of the last whole bucket before `block` that has enough in it.
    pub(super) fn level(&self, block: i64) -> Option<f64> {
        let now = block.div_euclid(self.blocks);
        let whole = (self.first..now).zip(&self.buckets).filter(|(_, bucket)| f64::from(bucket.n) >= N_MIN);
        whole.last().map(|(_, bucket)| f64::from(bucket.sum / bucket.n))
    }
}

/// Returns the levels at both ends.
fn ends(levels: &[f64]) -> (f64, f64) {
    let mut first: Vec<f64> = levels.iter().take(END_BUCKETS).copied().collect();
    let mut last: Vec<f64> = levels.iter().rev().take(END_BUCKETS).copied().collect();
    (median(&mut first), median(&mut last))
}

/// Returns the largest growth from the median of three buckets to that of the next three.
fn largest_step(levels: &[f64]) -> f64 {
    let smooth: Vec<f64> = levels.windows(3).map(|three| median(&mut three.to_vec())).collect();
    smooth.iter().zip(smooth.iter().skip(2)).map(|(before, after)| after - before).fold(0.0, f64::max)
}

/// Returns the standard score of how many pairs are in ascending order (Mann 1945, Kendall 1975), without ties.
fn mann_kendall_z(values: &[f64]) -> f64 {
    let mut ascending = 0.0;
    for (at, before) in values.iter().enumerate() {
        ascending += values[at + 1..].iter().map(|after| (after - before).signum()).sum::<f64>();
    }
    let n = values.len() as f64;
    let sigma = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    ascending / sigma.max(1.0)
}

/// Returns the share of the variance that a straight line explains.
fn share_of_line(levels: &[f64]) -> f64 {
    let n = levels.len() as f64;
    let (mean_x, mean_y) = ((n - 1.0) / 2.0, levels.iter().sum::<f64>() / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (at, level) in levels.iter().enumerate() {
        let (x, y) = (at as f64 - mean_x, level - mean_y);
        (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
    }
    xy * xy / (xx * yy).max(f64::MIN_POSITIVE)
}

/// Returns how much the middle half of the values spreads, as a factor.
fn swing(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 8];
    at(7) / at(1).max(f64::MIN_POSITIVE)
}

/// Returns Spearman's rank correlation.
fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let n = a.len() as f64;
    let mean = (n - 1.0) / 2.0;
    let product: f64 = a.iter().zip(&b).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let square = |ranks: &[f64]| ranks.iter().map(|rank| (rank - mean).powi(2)).sum::<f64>();
    product / (square(&a) * square(&b)).sqrt().max(f64::MIN_POSITIVE)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank as f64;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds twenty values a block, each a little different.
    fn filled(blocks: i64, level: impl Fn(i64) -> f64, per_block: impl Fn(i64) -> i64) -> Trend {
        let mut trend = Trend::default();
        for block in 0..blocks {
            for number in 0..per_block(block) {
                let noise = ((block * 31 + number * 7_919) % 17) as f64 / 100.0;
                trend.add(level(block) + noise, block);
            }
        }
        trend
    }

    #[test]
    fn slow_growth_is_a_creep_and_a_step_is_none() {
        let hours = 4 * 360;
        let creeping = filled(hours, |block| 3.0 + 0.6 * block as f64 / hours as f64, |_| 5);
        let creep = creeping.creep(hours).unwrap();
        assert!((creep.to - creep.from - 0.55).abs() < 0.1, "{creep:?}");
        let stepped = filled(hours, |block| if block > hours / 2 { 3.6 } else { 3.0 }, |_| 5);
        assert_eq!(stepped.creep(hours), None);
        let flat = filled(hours, |block| 3.0 + (block % 90) as f64 / 300.0, |_| 5);
        assert_eq!(flat.creep(hours), None);
    }

    #[test]
    fn growth_that_goes_with_traffic_is_load() {
        let hours = 4 * 360;
        let share = |block: i64| block as f64 / hours as f64;
        let loaded = filled(hours, |block| 3.0 + 0.6 * share(block), |block| 2 + block * 6 / hours);
        assert_eq!(loaded.creep(hours), None);
    }

    #[test]
    fn days_become_wider_buckets_and_weeks_let_the_oldest_go() {
        let days = 20 * 8_640;
        let creeping = filled(days, |block| 3.0 + 0.8 * block as f64 / days as f64, |block| i64::from(block % 10 == 0));
        assert!(creeping.buckets.len() <= BUCKETS_MAX);
        assert_eq!(creeping.blocks, BLOCKS_LAST);
        let creep = creeping.creep(days).unwrap();
        assert!(creep.since > 4 * 8_640 && creep.buckets > 100, "{creep:?}");
        assert!(creeping.level(days).is_some());
    }

    #[test]
    fn scores_are_those_of_the_textbook() {
        let rising: Vec<f64> = (0..12).map(f64::from).collect();
        // S = 66, variance = 12 * 11 * 29 / 18.
        assert!((mann_kendall_z(&rising) - 66.0 / 212.667f64.sqrt()).abs() < 1e-3);
        assert!((rank_correlation(&rising, &rising) - 1.0).abs() < 1e-9);
    }
}
