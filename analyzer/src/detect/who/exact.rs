//! Fisher's exact test on counts of transactions. Called by [`super`], which corrects for how many tests there are.

/// How many of some transactions have something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) with: f64,
    pub(super) of: f64,
}

impl Share {
    pub(super) fn value(self) -> f64 {
        if self.of > 0.0 { self.with / self.of } else { 0.0 }
    }
}

/// Decimal logarithms of factorials.
pub(super) struct LogFactorials(Vec<f64>);

impl LogFactorials {
    pub(super) fn up_to(n: f64) -> Self {
        let mut logs = vec![0.0, 0.0];
        for number in 2..=index(n) {
            logs.push(logs[number - 1] + (number as f64).log10());
        }
        Self(logs)
    }

    fn of(&self, n: f64) -> f64 {
        self.0.get(index(n)).copied().unwrap_or(0.0)
    }

    /// Returns the decimal logarithm of the number of ways to choose `k` of `n`.
    pub(super) fn choose(&self, n: f64, k: f64) -> f64 {
        self.of(n) - self.of(k) - self.of(n - k)
    }

    /// Returns the decimal logarithm of the chance that so many of the hurt or more have what so many of the others have,
    /// if it makes no difference.
    pub(super) fn log_chance(&self, hurt: Share, others: Share) -> f64 {
        let (all_with, all) = (hurt.with + others.with, hurt.of + others.of);
        let log_of =
            |k: f64| self.choose(all_with, k) + self.choose(all - all_with, hurt.of - k) - self.choose(all, hurt.of);
        let first = log_of(hurt.with);
        let (mut sum, mut k) = (0.0, hurt.with);
        while k <= hurt.of.min(all_with) {
            let term = 10f64.powf(log_of(k) - first);
            sum += term;
            // What follows only becomes smaller.
            if term < 1e-6 * sum {
                break;
            }
            k += 1.0;
        }
        (first + sum.max(f64::MIN_POSITIVE).log10()).min(0.0)
    }
}

/// Returns a count, which is kept as a float, as an index.
fn index(n: f64) -> usize {
    // Counts are of transactions in memory, far below 2^32.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = n.max(0.0) as usize;
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_exact_test() {
        // Fisher's tea: 3 of 4 right is 17/70, 4 of 4 is 1/70.
        let factorials = LogFactorials::up_to(8.0);
        let right = |with: f64| factorials.log_chance(Share { with, of: 4.0 }, Share { with: 4.0 - with, of: 4.0 });
        assert!((right(3.0) - (17.0f64 / 70.0).log10()).abs() < 1e-9);
        assert!((right(4.0) - (1.0f64 / 70.0).log10()).abs() < 1e-9);
        assert!(right(0.0).abs() < 1e-9);
    }
}
