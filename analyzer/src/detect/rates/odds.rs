//! How unlikely a count is, given what was counted before: the tail of the beta-binomial distribution. Called by the
//! test of rates, which never takes a rate for known: how little was seen before is part of the answer. The tail of the
//! plain binomial is for counts of which the share is known, as for two times of known length.

/// Terms of the tail that are added, at most; those beyond are far below a float's precision.
const TERMS_MAX: usize = 20_000;
/// A term below this share of the sum ends it.
const TERM_SHARE_MIN: f64 = 1e-12;
/// From here on the series for the logarithm of the gamma function is right to ten digits.
const SERIES_FROM: f64 = 8.0;

/// What was counted: occasions, and in how many of them it went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::detect) struct Count {
    /// Occasions.
    pub(in crate::detect) of: f64,
    /// Those in which it went wrong.
    pub(in crate::detect) wrong: f64,
}

impl Count {
    /// Returns the share that went wrong, drawn towards a half of one occasion, so that it is never quite zero.
    pub(super) fn usual_share(self) -> f64 {
        (self.wrong + 0.5) / (self.of + 1.0)
    }

    /// Returns the plain share.
    pub(super) fn share(self) -> f64 {
        if self.of > 0.0 { self.wrong / self.of } else { 0.0 }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.of += other.of;
        self.wrong += other.wrong;
    }

    /// Returns both numbers divided: as many independent ones as there are in truth.
    fn thinned(self, by: f64) -> Self {
        Self { of: self.of / by, wrong: self.wrong / by }
    }
}

/// Returns minus the decimal logarithm of the chance that so many or more of the occasions now go wrong, when they go
/// wrong as often as before. What was seen before says how often that is only as well as its number allows (Jeffreys'
/// prior); `clump` is how many events come together, by which both counts are divided.
pub(super) fn surprise(before: Count, now: Count, clump: f64) -> f64 {
    let (before, now) = (before.thinned(clump), now.thinned(clump));
    let wrong_before = before.wrong.min(before.of);
    -log10_tail(now.wrong.min(now.of), now.of, wrong_before + 0.5, before.of - wrong_before + 0.5)
}

/// Returns the decimal logarithm of the chance of `k` or more of `n`, each with a chance drawn from a beta distribution.
fn log10_tail(k: f64, n: f64, a: f64, b: f64) -> f64 {
    if k <= 0.0 {
        return 0.0;
    }
    let first = ln_choose(n, k) + ln_beta(k + a, n - k + b) - ln_beta(a, b);
    let ratio = |at: f64| (n - at) / (at + 1.0) * (at + a) / (n - at - 1.0 + b);
    log10_of_terms(first, k, |at| (at + 1.0 <= n).then(|| ratio(at)))
}

/// Returns the decimal logarithm of the chance of `k` or more of `n`, each with the chance `p`.
pub(in crate::detect) fn log10_binomial_tail(k: f64, n: f64, p: f64) -> f64 {
    if k <= 0.0 || p >= 1.0 {
        return 0.0;
    }
    let p = p.max(f64::MIN_POSITIVE);
    let first = ln_choose(n, k) + k * p.ln() + (n - k) * (-p).ln_1p();
    let ratio = |at: f64| (n - at) / (at + 1.0) * p / (1.0 - p);
    log10_of_terms(first, k, |at| Some(ratio(at)).filter(|ratio| *ratio > 0.0))
}

/// Returns the decimal logarithm of the terms of a tail from `k` on: of the first its natural logarithm is given, and of the
/// one after `at` how many times that it is, or nothing if there is none. At most 0, as it is of a chance.
fn log10_of_terms(ln_first: f64, k: f64, ratio: impl Fn(f64) -> Option<f64>) -> f64 {
    let (mut term, mut sum, mut at) = (1.0, 1.0, k);
    for _ in 0..TERMS_MAX {
        let Some(factor) = ratio(at) else { break };
        term *= factor;
        sum += term;
        at += 1.0;
        if factor < 1.0 && term < sum * TERM_SHARE_MIN {
            break;
        }
    }
    ((ln_first + sum.ln()) / std::f64::consts::LN_10).min(0.0)
}

fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Returns the logarithm of the gamma function of a positive number, by Stirling's series.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x.max(f64::MIN_POSITIVE), 0.0);
    while x < SERIES_FROM {
        below += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1_260.0 - square / 1_680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(of: f64, wrong: f64) -> Count {
        Count { of, wrong }
    }

    #[test]
    fn logarithm_of_gamma_is_that_of_factorials() {
        let mut factorial = 1.0f64;
        for n in 1..30 {
            factorial *= f64::from(n);
            assert!((ln_gamma(f64::from(n) + 1.0) - factorial.ln()).abs() < 1e-9, "{n}");
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-9);
    }

    #[test]
    fn tail_is_the_sum_of_what_the_distribution_gives() {
        // With a uniform chance, each number of ten is as likely: eleven of them.
        for k in 1..=10u8 {
            let expected = (f64::from(11 - k) / 11.0).log10();
            assert!((log10_tail(f64::from(k), 10.0, 1.0, 1.0) - expected).abs() < 1e-9, "{k}");
        }
        // Nearly a binomial when much was seen: 8 or more of 10 at a half.
        let binomial = (56.0f64 / 1_024.0).log10();
        assert!((log10_tail(8.0, 10.0, 5e7, 5e7) - binomial).abs() < 1e-5);
    }

    #[test]
    fn tail_of_the_binomial_is_the_sum_of_its_terms() {
        // 8 or more of 10 at a half; 3 of 3 at a tenth; surely none or more.
        for (k, n, p, chance) in [(8.0, 10.0, 0.5, 56.0 / 1_024.0), (3.0, 3.0, 0.1, 1e-3), (0.0, 5.0, 0.2, 1.0)] {
            assert!((log10_binomial_tail(k, n, p) - f64::log10(chance)).abs() < 1e-9, "{k} of {n}");
        }
        for (k, n, p) in [(1.0, 1e9, 1e-9), (1e9, 1e9, 0.0), (5.0, 5.0, 1.0), (2.5, 3.1, 0.3), (7.0, 3.0, 0.5)] {
            let chance = log10_binomial_tail(k, n, p);
            assert!(chance <= 0.0 && !chance.is_nan(), "{k} of {n}: {chance}");
        }
    }

    #[test]
    fn what_was_seen_little_surprises_less() {
        let now = count(20.0, 6.0);
        let known = surprise(count(10_000.0, 0.0), now, 1.0);
        let new = surprise(count(50.0, 0.0), now, 1.0);
        assert!(known > 15.0 && new < 5.0, "{known} and {new}");
        assert!(surprise(count(10_000.0, 3_000.0), now, 1.0) < 0.5);
    }

    #[test]
    fn events_that_come_together_surprise_less() {
        let (before, now) = (count(2_000.0, 20.0), count(100.0, 12.0));
        assert!(surprise(before, now, 4.0) < surprise(before, now, 1.0) / 2.0);
    }

    #[test]
    fn strange_counts_give_a_number() {
        for (before, now) in [
            (count(0.0, 0.0), count(0.0, 0.0)),
            (count(0.0, 0.0), count(5.0, 5.0)),
            (count(1e9, 0.0), count(1e9, 1e9)),
            (count(10.0, 20.0), count(3.0, 9.0)),
        ] {
            let surprise = surprise(before, now, 1.5);
            assert!(surprise.is_finite() && surprise >= 0.0, "{before:?} {now:?}: {surprise}");
        }
    }
}
