//! The tail of a signal: how many transactions take a multiple of the expected time, compared with how many usually do.
//! A fault that hits a few of them multiplies the mean and leaves the median. Kept by `series` beside the sums.

/// Multiples of the expected time from which on a transaction counts as long, as log ratios: 1.5, 2, 3, 5 and 10 times.
pub(super) const LONG_RATIOS: [f64; 5] = [0.405, 0.693, 1.099, 1.609, 2.303];
/// Usual share of long ones beyond which a multiple says nothing about the tail.
const USUAL_SHARE_MAX: f64 = 0.1;
/// Blocks of a window in which there must be long ones: a pause of a few seconds is no tail.
const LONG_BLOCKS_MIN: u32 = 4;

/// Transactions by how long they took: at least as long as each multiple.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Long([f32; LONG_RATIOS.len()]);

/// How the long ones of a window compare, at the multiple that tells most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail {
    /// Signed root of the deviance of a Poisson count, over the dispersion between minutes: a standard score.
    pub(super) z: f64,
    /// Share of long transactions now and usually.
    pub(super) share: f64,
    /// See `share`.
    pub(super) usual_share: f64,
    /// Which multiple.
    at: usize,
}

/// Usual counts of long transactions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsualLong {
    n: f64,
    counts: [f64; LONG_RATIOS.len()],
    /// Variance of the minutes' counts as a multiple of what chance gives.
    dispersion: [f64; LONG_RATIOS.len()],
}

impl Long {
    /// Returns the counts of one transaction by its log ratio.
    pub(super) fn of(ratio: f64) -> Self {
        Self(LONG_RATIOS.map(|least| f32::from(u8::from(ratio >= least))))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Returns how many took long by the least multiple.
    pub(super) fn any(&self) -> f64 {
        f64::from(self.0[0])
    }

    /// Counts a block for each multiple of which it has any.
    pub(super) fn mark(&self, blocks: &mut [u32; LONG_RATIOS.len()]) {
        for (blocks, count) in blocks.iter_mut().zip(self.0) {
            *blocks += u32::from(count > 0.0);
        }
    }

    /// Returns how many are as long as a tail says.
    pub(super) fn count(&self, tail: &Tail) -> f64 {
        f64::from(self.0[tail.at])
    }
}

impl Tail {
    /// Returns the share of long ones beyond the usual.
    pub(super) fn excess(&self) -> f64 {
        self.share - self.usual_share
    }
}

impl UsualLong {
    /// Summarises the minutes of a reference: transactions and long ones of each.
    pub(super) fn of<'a>(windows: &(impl Iterator<Item = (f64, &'a Long)> + Clone)) -> Self {
        let n: f64 = windows.clone().map(|(n, _)| n).sum();
        let mut usual = Self { n, counts: Default::default(), dispersion: [1.0; LONG_RATIOS.len()] };
        for at in 0..LONG_RATIOS.len() {
            let count: f64 = windows.clone().map(|(_, long)| f64::from(long.0[at])).sum();
            usual.counts[at] = count;
            let share = count / n.max(1.0);
            let (mut squares, mut freedom) = (0.0, -1.0);
            for (n, long) in windows.clone() {
                let expected = n * share;
                squares += (f64::from(long.0[at]) - expected).powi(2) / expected.max(f64::MIN_POSITIVE);
                freedom += 1.0;
            }
            if count > 0.0 && freedom > 0.0 {
                usual.dispersion[at] = (squares / freedom).max(1.0);
            }
        }
        usual
    }

    /// Compares the `n` transactions of a window, long ones of which are in so many blocks.
    pub(super) fn compare(&self, now: &Long, n: f64, blocks: &[u32; LONG_RATIOS.len()]) -> Tail {
        let mut strongest = Tail::default();
        for (at, blocks) in blocks.iter().enumerate() {
            // One more than was seen: what never happened yet may happen.
            let usual_share = (self.counts[at] + 1.0) / (self.n + 1.0);
            let (count, expected) = (f64::from(now.0[at]), usual_share * n);
            if usual_share > USUAL_SHARE_MAX || count <= expected || *blocks < LONG_BLOCKS_MIN {
                continue;
            }
            let z = deviance_z(count, expected) / self.dispersion[at].sqrt();
            if z > strongest.z {
                strongest = Tail { z, share: count / n, usual_share, at };
            }
        }
        strongest
    }
}

/// Returns the signed root of the deviance of a Poisson count from its expectation: close to a standard score, also
/// where the count is small.
pub(super) fn deviance_z(count: f64, expected: f64) -> f64 {
    let expected = expected.max(f64::MIN_POSITIVE);
    let logs = if count > 0.0 { count * (count / expected).ln() } else { 0.0 };
    (2.0 * (logs - count + expected)).max(0.0).sqrt().copysign(count - expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: [f32; 5]) -> Long {
        Long(counts)
    }

    #[test]
    fn small_counts_are_scored_as_the_exact_tail_would() {
        // P(X >= 7) for a mean of 0.18 is 1.0e-9, a standard score of 6.0.
        assert!((deviance_z(7.0, 0.18) - 6.0).abs() < 0.3, "{}", deviance_z(7.0, 0.18));
        assert!(deviance_z(1.0, 0.18) < 2.0);
        assert!(deviance_z(0.0, 4.0) < -2.0);
    }

    #[test]
    fn few_that_take_ten_times_as_long_stand_out_and_one_pause_does_not() {
        let minutes = [counts([2.0, 1.0, 0.0, 0.0, 0.0]); 30];
        let usual = UsualLong::of(&minutes.iter().map(|long| (100.0, long)));
        let now = counts([12.0, 11.0, 10.0, 10.0, 10.0]);
        assert!(usual.compare(&now, 100.0, &[6; 5]).z > 6.0);
        assert!(usual.compare(&now, 100.0, &[2; 5]).z == 0.0, "all within twenty seconds");
    }

    #[test]
    fn minutes_that_differ_much_need_more() {
        let bursty: Vec<Long> = (0..30).map(|at| counts([if at % 10 == 0 { 40.0 } else { 0.0 }; 5])).collect();
        let usual = UsualLong::of(&bursty.iter().map(|long| (100.0, long)));
        assert!(usual.compare(&counts([30.0; 5]), 100.0, &[6; 5]).z < 6.0);
    }
}
