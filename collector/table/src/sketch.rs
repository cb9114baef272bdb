//! A mergeable summary of durations that answers quantiles within 1 %: DDSketch (Masson, Rim, Lee, VLDB 2019).
//! Filled by the rollups and kept as bytes in `red` and `dependencies`; merged and asked by queries.
//! Small when it holds few values: only buckets that hold something take room.

mod sum;

use std::sync::LazyLock;

pub use sum::SketchSum;

/// Relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Buckets at most, which cover a ratio of 7·10⁸ (1 µs to 12 min); beyond it the lowest are merged.
pub const BUCKETS_MAX: usize = 1024;

/// Ratio of the bounds of a bucket.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
/// Bucket of the largest 64-bit number of nanoseconds; bytes that name a higher one are damaged.
const INDEX_MAX: u64 = 2184;

/// Bytes that are no sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reading a sketch: the bytes are damaged")]
pub struct SketchError;

/// Durations, summarised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Values that are zero or negative.
    zeros: u64,
    /// Bucket and how many values it holds, by bucket. Bucket `i` holds what lies in (γ^(i-1), γ^i].
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// Adds a duration in nanoseconds; a negative one counts as zero.
    pub fn insert(&mut self, ns: i64) {
        match bucket(ns) {
            None => self.zeros = self.zeros.saturating_add(1),
            Some(index) => self.add(index, 1),
        }
    }

    /// Adds all that another sketch holds.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        for &(index, count) in &other.buckets {
            self.add(index, count);
        }
    }

    /// Returns how many values it holds.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(self.zeros, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Returns the value, in nanoseconds, below which a share `q` (0 to 1) of all values lies; nothing when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        value_at(q, self.zeros, self.buckets.iter().copied())
    }

    /// Appends the sketch as bytes: zeros, then each bucket's distance to the one before and its count, as varints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_varint(out, self.zeros);
        let mut before = 0;
        for &(index, count) in &self.buckets {
            write_varint(out, u64::from(index - before));
            write_varint(out, count);
            before = index;
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes were not written so.
    pub fn decode(bytes: &[u8]) -> Result<Self, SketchError> {
        // A bucket is two bytes at least.
        let mut buckets = Vec::with_capacity((bytes.len() / 2).min(BUCKETS_MAX));
        let zeros = read_buckets(bytes, |index, count| buckets.push((index, count)))?;
        Ok(Self { zeros, buckets })
    }

    fn add(&mut self, index: u16, count: u64) {
        match self.buckets.binary_search_by_key(&index, |(found, _)| *found) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(0) if self.buckets.len() == BUCKETS_MAX => {
                self.buckets[0].1 = self.buckets[0].1.saturating_add(count);
            }
            Err(at) => {
                self.buckets.insert(at, (index, count));
                if self.buckets.len() > BUCKETS_MAX {
                    let (_, lowest) = self.buckets.remove(0);
                    self.buckets[0].1 = self.buckets[0].1.saturating_add(lowest);
                }
            }
        }
    }
}

/// Returns the bucket of a value above zero.
fn bucket(ns: i64) -> Option<u16> {
    static BUCKETS_PER_E: LazyLock<f64> = LazyLock::new(|| 1.0 / GAMMA.ln());
    (ns > 0).then(|| ((ns as f64).ln() * *BUCKETS_PER_E).ceil() as u16)
}

/// Returns the value that is within the relative error of all values of a bucket.
fn middle(index: u16) -> f64 {
    2.0 * GAMMA.powi(i32::from(index)) / (GAMMA + 1.0)
}

/// Returns the value below which a share `q` of zeros and buckets lies; nothing when there are none.
fn value_at(q: f64, zeros: u64, buckets: impl Iterator<Item = (u16, u64)> + Clone) -> Option<f64> {
    let count = buckets.clone().fold(zeros, |sum, (_, count)| sum.saturating_add(count));
    let last = count.checked_sub(1)?;
    let rank = (q.clamp(0.0, 1.0) * last as f64) as u64;
    let mut seen = zeros;
    if rank < seen {
        return Some(0.0);
    }
    let mut highest = None;
    for (index, count) in buckets {
        seen = seen.saturating_add(count);
        highest = Some(middle(index));
        if rank < seen {
            break;
        }
    }
    highest
}

/// Hands over each bucket of an encoded sketch with its count, in order; returns the zeros.
fn read_buckets(bytes: &[u8], mut each: impl FnMut(u16, u64)) -> Result<u64, SketchError> {
    let mut rest = bytes;
    let zeros = read_varint(&mut rest).ok_or(SketchError)?;
    let mut index = 0_u64;
    let mut buckets = 0;
    while !rest.is_empty() {
        let step = read_varint(&mut rest).ok_or(SketchError)?;
        let count = read_varint(&mut rest).ok_or(SketchError)?;
        index = index.checked_add(step).filter(|index| *index <= INDEX_MAX).ok_or(SketchError)?;
        let is_ascending = step > 0 || buckets == 0;
        if !is_ascending || count == 0 || buckets == BUCKETS_MAX {
            return Err(SketchError);
        }
        buckets += 1;
        each(index as u16, count);
    }
    Ok(zeros)
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first()? {
        (&byte, tail) if byte < 0x80 => {
            *rest = tail;
            Some(u64::from(byte))
        }
        _ => read_long_varint(rest),
    }
}

fn read_long_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
