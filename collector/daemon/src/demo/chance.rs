//! Chance for the simulated shop: seeded, so that the same seed tells the same story. Used by `shop` only.
//! Must never take randomness from the system.

/// Largest factor that `Chance::spread` returns.
const SPREAD_MAX: f64 = 8.0;

/// A stream of pseudo-random numbers (SplitMix64: tiny, and streams of neighbouring seeds are unrelated).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// Returns the stream for a seed and what it is for; different purposes give unrelated streams.
    pub(super) fn new(seed: u64, purpose: &[u64]) -> Self {
        let mut chance = Self(seed);
        for part in purpose {
            chance = Self(chance.bits() ^ part);
        }
        chance
    }

    /// Returns 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in (0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        // 53 bits fit a double's mantissa; the half keeps zero out, whose logarithm is taken below.
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Returns an index below `count`, which is at least 1.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.bits() % count.max(1)
    }

    /// Returns a log-normal factor with median 1, cut off so that the longest transaction is known.
    pub(super) fn spread(&mut self, sigma: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (sigma * normal).exp().min(SPREAD_MAX)
    }
}
