//! Adds up many encoded sketches. Queries and the rollups of the store use it: decoding each sketch and merging it into
//! another took ten times as long. Takes room for every bucket between the lowest and the highest that occur.

use super::{BUCKETS_MAX, Sketch, SketchError, read_buckets, value_at};

/// Buckets that room is made for at once, below or above the known ones.
const ROOM: usize = 16;

/// Counts of buckets, side by side.
#[derive(Debug, Clone, Default)]
pub struct SketchSum {
    zeros: u64,
    /// Bucket of the first count.
    first: usize,
    counts: Vec<u64>,
}

impl SketchSum {
    /// Adds all that a sketch holds, given as [`Sketch::encode`] wrote it.
    ///
    /// # Errors
    /// If the bytes were not written so; a part of them may have been added.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        let zeros = read_buckets(bytes, |index, count| {
            let index = usize::from(index);
            if index.wrapping_sub(self.first) >= self.counts.len() {
                self.make_room(index);
            }
            let sum = &mut self.counts[index - self.first];
            *sum = sum.saturating_add(count);
        })?;
        self.zeros = self.zeros.saturating_add(zeros);
        Ok(())
    }

    /// Returns the value, in nanoseconds, below which a share `q` (0 to 1) of all values lies; nothing when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        value_at(q, self.zeros, self.buckets())
    }

    /// Returns the sum as a sketch, in which the lowest buckets beyond the bound are one.
    pub fn sketch(&self) -> Sketch {
        let mut buckets: Vec<(u16, u64)> = self.buckets().collect();
        let excess = buckets.len().saturating_sub(BUCKETS_MAX);
        let lowest = buckets.drain(..excess).fold(0_u64, |sum, (_, count)| sum.saturating_add(count));
        if let Some((_, count)) = buckets.first_mut() {
            *count = count.saturating_add(lowest);
        }
        Sketch { zeros: self.zeros, buckets }
    }

    /// Returns the bytes that it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * size_of::<u64>()
    }

    fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + Clone + '_ {
        let indices = (self.first..).map(|index| u16::try_from(index).unwrap_or(u16::MAX));
        indices.zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    #[cold]
    fn make_room(&mut self, index: usize) {
        if self.counts.is_empty() {
            self.first = index.saturating_sub(ROOM);
        }
        if index < self.first {
            let first = index.saturating_sub(ROOM);
            self.counts.splice(..0, std::iter::repeat_n(0, self.first - first));
            self.first = first;
        } else {
            self.counts.resize(index - self.first + ROOM, 0);
        }
    }
}
