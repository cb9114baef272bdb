//! How long something usually takes, in few bytes: counts in four buckets an octave, so a quantile is within 10 %.
//! Held for every stage by `model`. What is old fades: a full count halves all.

/// Buckets; four an octave from 4 µs to five hours.
const BUCKETS: usize = 128;
/// Shorter durations share the first bucket.
const FIRST_OCTAVE: u32 = 12;

/// Durations, counted.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    counts: [u16; BUCKETS],
    total: u32,
}

impl Default for Delays {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Delays {
    /// Adds a duration in nanoseconds; a negative one counts as zero.
    pub(super) fn insert(&mut self, ns: i64) {
        let count = &mut self.counts[bucket(ns)];
        *count += 1;
        self.total += 1;
        if *count == u16::MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
    }

    /// Returns how many durations it remembers.
    pub(super) fn count(&self) -> u32 {
        self.total
    }

    /// Returns the upper end of the bucket, in nanoseconds, up to which a share `q` of 0 to 1 lies; none when empty.
    pub(super) fn quantile_ns(&self, q: f64) -> Option<i64> {
        // A share of a 32-bit count is one.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to u32::MAX")]
        let rank = (q.clamp(0.0, 1.0) * f64::from(self.total.saturating_sub(1))) as u32;
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen > rank
        });
        found.map(upper_ns)
    }
}

/// Returns the bucket of a duration: its octave, and which quarter of it.
fn bucket(ns: i64) -> usize {
    let ns = ns.max(1).unsigned_abs();
    let octave = ns.ilog2();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let quarter = (ns >> (octave - 2)) & 3;
    let index = u64::from(octave - FIRST_OCTAVE) * 4 + quarter;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_ns(bucket: usize) -> i64 {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    let base = 1_i64 << (octave + FIRST_OCTAVE as usize - 2);
    base.saturating_mul(i64::try_from(quarter + 5).unwrap_or(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_of_an_octave_and_never_too_low() {
        let mut delays = Delays::default();
        (1..=1000).for_each(|ms| delays.insert(ms * 1_000_000));
        for (q, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = delays.quantile_ns(q).unwrap() as f64 / 1e6;
            assert!(found >= expected && found <= expected * 1.26, "{q}: {found}");
        }
        assert_eq!(Delays::default().quantile_ns(0.5), None);
    }

    #[test]
    fn any_duration_has_a_place_and_a_full_count_halves_all() {
        let mut delays = Delays::default();
        for ns in [i64::MIN, -1, 0, 1, i64::MAX] {
            delays.insert(ns);
        }
        assert_eq!(delays.count(), 5);
        (0..200_000).for_each(|_| delays.insert(5_000_000));
        assert!(delays.count() < 100_000);
        assert!(delays.quantile_ns(0.5).unwrap() > 5_000_000);
    }
}
