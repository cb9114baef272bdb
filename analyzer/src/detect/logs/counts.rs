//! How often something was, by block of event time: of one template, or of all lines of a service.
//! Bounded: blocks that are older than a window are let go.

use std::collections::VecDeque;

/// Blocks that are kept: an hour.
pub(super) const BLOCKS_KEPT: i64 = 360;
/// Blocks of a minute.
const MINUTE_BLOCKS: i64 = 6;

/// Counts of those blocks in which there was something, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    blocks: VecDeque<(i64, u32)>,
    /// Sum of all of them.
    kept: u64,
}

impl Counts {
    /// Counts one more in a block.
    pub(super) fn add(&mut self, block: i64) {
        self.add_many(block, 1);
    }

    /// Adds what others counted.
    pub(super) fn add_all(&mut self, others: &Self) {
        others.blocks.iter().for_each(|(block, count)| self.add_many(*block, *count));
    }

    fn add_many(&mut self, block: i64, count: u32) {
        let newest = self.last().unwrap_or(block).max(block);
        if block <= newest - BLOCKS_KEPT {
            return;
        }
        let mut at = self.blocks.len();
        while at > 0 && self.blocks[at - 1].0 > block {
            at -= 1;
        }
        if at > 0 && self.blocks[at - 1].0 == block {
            let known = &mut self.blocks[at - 1].1;
            *known = known.saturating_add(count);
        } else {
            self.blocks.insert(at, (block, count));
        }
        self.kept += u64::from(count);
        while self.blocks.front().is_some_and(|(oldest, _)| *oldest <= newest - BLOCKS_KEPT) {
            self.kept -= self.blocks.pop_front().map_or(0, |(_, count)| u64::from(count)).min(self.kept);
        }
    }

    /// Returns the last block in which there was something.
    pub(super) fn last(&self) -> Option<i64> {
        self.blocks.back().map(|(block, _)| *block)
    }

    /// Returns how many there were in all blocks that are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Returns how many there were in blocks `from..to`.
    pub(super) fn between(&self, from: i64, to: i64) -> u64 {
        self.of(from, to).map(|(_, count)| u64::from(count)).sum()
    }

    /// Returns how many come together: variance over mean of the minutes in `from..to`, at least one.
    pub(super) fn clump(&self, from: i64, to: i64) -> f64 {
        let minutes = (to - from) / MINUTE_BLOCKS;
        if minutes < 2 {
            return 1.0;
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        let (mut minute, mut in_minute) = (-1, 0.0);
        let of_minutes = self.of(from, from + minutes * MINUTE_BLOCKS);
        // One more than the last closes the last minute.
        for (block, count) in of_minutes.chain(std::iter::once((i64::MAX, 0))) {
            let this = block.saturating_sub(from) / MINUTE_BLOCKS;
            if this != minute {
                (sum, squares) = (sum + in_minute, squares + in_minute * in_minute);
                (minute, in_minute) = (this, 0.0);
            }
            in_minute += f64::from(count);
        }
        let n = minutes as f64;
        let mean: f64 = sum / n;
        let variance = (squares - n * mean * mean) / (n - 1.0);
        if mean > 0.0 { (variance / mean).max(1.0) } else { 1.0 }
    }

    fn of(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, u32)> {
        let in_order = self.blocks.iter().copied();
        in_order.skip_while(move |(block, _)| *block < from).take_while(move |(block, _)| *block < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_counted_where_it_belongs_and_what_is_too_old_is_not() {
        let mut counts = Counts::default();
        for block in [100, 102, 101, 100, 102] {
            counts.add(block);
        }
        assert_eq!((counts.between(100, 101), counts.between(101, 103), counts.last()), (2, 3, Some(102)));
        counts.add(102 - BLOCKS_KEPT);
        assert_eq!(counts.kept(), 5);
        counts.add(101 + BLOCKS_KEPT);
        assert_eq!((counts.kept(), counts.between(0, 102)), (3, 0));
    }

    #[test]
    fn what_comes_together_is_known_by_its_minutes() {
        let (mut even, mut bursts) = (Counts::default(), Counts::default());
        for block in 0..180 {
            even.add(block);
            (0..if block % 60 == 0 { 60 } else { 0 }).for_each(|_| bursts.add(block));
        }
        assert_eq!(even.between(0, 180), bursts.between(0, 180));
        assert!((even.clump(0, 180) - 1.0).abs() < 1e-9, "{}", even.clump(0, 180));
        assert!(bursts.clump(0, 180) > 40.0, "{}", bursts.clump(0, 180));
    }

    #[test]
    fn memory_is_bounded_by_the_window() {
        let mut counts = Counts::default();
        (0..10_000).for_each(|block| counts.add(block));
        assert_eq!(counts.kept(), BLOCKS_KEPT.unsigned_abs());
    }
}
