//! A mergeable histogram of durations with bins of equal relative width, for quantiles of what is usual.
//! As DDSketch (Masson et al., VLDB 2019) with a relative accuracy of 2.5 %, in counted bins that can be read.

/// Bins a factor of e; the half-width of a bin is 2.5 %.
const BINS_PER_E: f64 = 20.0;
/// Durations below a microsecond fall into the first bin.
const LEAST_MS: f64 = 0.001;
/// Bins from a microsecond to about 31 days; longer falls into the last.
const BINS: usize = 440;

/// Histogram of durations in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    /// Index of the first bin held, then counts.
    first: usize,
    counts: Vec<u32>,
    total: u64,
}

fn bin_of(ms: f64) -> usize {
    if ms.is_nan() || ms <= LEAST_MS {
        return 0;
    }
    // The value is positive and below 440 after the clamp.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bin = ((ms / LEAST_MS).ln() * BINS_PER_E).min(BINS as f64 - 1.0) as usize;
    bin
}

/// Returns the geometric middle of a bin.
fn middle_ms(bin: usize) -> f64 {
    LEAST_MS * ((bin as f64 + 0.5) / BINS_PER_E).exp()
}

impl Sketch {
    /// Adds one duration in milliseconds.
    pub fn add(&mut self, ms: f64) {
        self.add_to(bin_of(ms), 1);
    }

    fn add_to(&mut self, bin: usize, count: u32) {
        self.make_room(bin, bin);
        let counted = &mut self.counts[bin - self.first];
        *counted = counted.saturating_add(count);
        self.total += u64::from(count);
    }

    /// Makes room for bins `from..=to`.
    fn make_room(&mut self, from: usize, to: usize) {
        if self.counts.is_empty() {
            self.first = from;
        }
        if from < self.first {
            let missing = self.first - from;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = from;
        }
        if to - self.first >= self.counts.len() {
            self.counts.resize(to - self.first + 1, 0);
        }
    }

    /// Adds all that another sketch holds.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        self.make_room(other.first, other.first + other.counts.len() - 1);
        for (counted, count) in self.counts[other.first - self.first..].iter_mut().zip(&other.counts) {
            *counted = counted.saturating_add(*count);
        }
        self.total += other.total;
    }

    /// Returns how many durations were added.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Returns the duration in milliseconds below which a share `q` of 0 to 1 lies; none when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = (q.clamp(0.0, 1.0) * self.total as f64).max(1.0);
        let mut seen = 0.0;
        for (at, &count) in self.counts.iter().enumerate() {
            seen += f64::from(count);
            if count > 0 && seen >= wanted {
                return Some(middle_ms(self.first + at));
            }
        }
        None
    }

    /// Returns the mean in milliseconds, to the accuracy of a bin; none when empty.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 =
            self.counts.iter().enumerate().map(|(at, &count)| f64::from(count) * middle_ms(self.first + at)).sum();
        (self.total > 0).then(|| sum / self.total as f64)
    }

    /// Returns upper bound in milliseconds and count of each non-empty bin, `per` bins folded into one.
    pub fn bins(&self, per: usize) -> Vec<(f64, u64)> {
        let mut folded: Vec<(f64, u64)> = Vec::new();
        let mut last = usize::MAX;
        for (at, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let bin = (self.first + at) / per.max(1);
            if bin == last {
                if let Some(previous) = folded.last_mut() {
                    previous.1 += u64::from(count);
                }
                continue;
            }
            last = bin;
            let upper = LEAST_MS * (((bin + 1) * per.max(1)) as f64 / BINS_PER_E).exp();
            folded.push((upper, u64::from(count)));
        }
        folded
    }
}

/// A sketch over the last few periods: old periods fall away as a whole.
#[derive(Debug, Clone)]
pub(super) struct RollingSketch {
    periods: std::collections::VecDeque<Sketch>,
    current: i64,
}

impl RollingSketch {
    /// Returns an empty sketch.
    pub(super) fn new() -> Self {
        Self { periods: std::collections::VecDeque::new(), current: i64::MIN }
    }

    /// Adds durations that belong to period number `period`; keeps the last `periods_max` periods.
    pub(super) fn merge(&mut self, durations: &Sketch, period: i64, periods_max: usize) {
        if self.periods.is_empty() {
            self.current = period;
            self.periods.push_back(Sketch::default());
        }
        let steps = (period - self.current).clamp(0, i64::try_from(periods_max).unwrap_or(i64::MAX));
        for _ in 0..steps {
            self.periods.push_back(Sketch::default());
            self.current += 1;
        }
        self.current = self.current.max(period);
        while self.periods.len() > periods_max {
            self.periods.pop_front();
        }
        if let Some(newest) = self.periods.back_mut() {
            newest.merge(durations);
        }
    }

    /// Returns all the periods as one sketch.
    pub(super) fn merged(&self) -> Sketch {
        let mut all = Sketch::default();
        for period in &self.periods {
            all.merge(period);
        }
        all
    }
}

impl Default for RollingSketch {
    fn default() -> Self {
        Self::new()
    }
}
