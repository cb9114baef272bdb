//! A signal over time in blocks of ten seconds, and the test of its last minute against the half hour before.
//!
//! The unit of evidence is the transaction, and the yardstick is how much the signal's own minutes differed from
//! each other: values inside one transaction, one pause or one batch are not independent, so a test that takes them
//! for independent wakes people for nothing.

use std::collections::VecDeque;

use super::slots::item_of;

/// Seconds in a block.
pub(super) const BLOCK_S: i64 = 10;
/// Blocks that are judged together.
pub(super) const WINDOW_BLOCKS: i64 = 6;
/// Blocks of the reference.
const REFERENCE_BLOCKS: i64 = 180;
/// Blocks between the reference and the window, so that an onset does not seep into what is usual.
const GUARD_BLOCKS: i64 = 3;
/// Least standard deviation of a minute's mean log ratio: below it, clocks and scheduling decide.
const SIGMA_MIN: f64 = 0.02;
/// Consistency factor of the median absolute deviation for a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Sums over the transactions of one block.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    /// Transactions.
    pub(super) n: f64,
    /// Sum of the log ratio of observed to expected time.
    pub(super) sum: f64,
    /// Sum of its squares.
    pub(super) sum_squares: f64,
    /// Milliseconds on critical paths beyond what was expected.
    pub(super) extra_ms: f64,
    /// Milliseconds that the whole transactions were expected to take.
    pub(super) expected_total_ms: f64,
}

impl Block {
    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.extra_ms += other.extra_ms;
        self.expected_total_ms += other.expected_total_ms;
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.n
    }
}

/// What is usual for a signal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// Median of the minutes' mean log ratios.
    pub(super) center: f64,
    /// Spread between minutes, as a standard deviation.
    between: f64,
    /// Spread between transactions, as a standard deviation.
    within: f64,
    /// Mean transactions of a minute that has any.
    mean_n: f64,
    /// Transactions.
    pub(super) n: f64,
    /// Minutes that had traffic.
    pub(super) windows: usize,
    /// Mean extra milliseconds of a transaction.
    pub(super) extra_ms: f64,
}

/// How the last minute compares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    /// Shift in standard deviations of the signal's own minutes.
    pub(super) z: f64,
    /// Shift of the mean log ratio.
    pub(super) shift: f64,
    /// Extra milliseconds of a transaction, beyond those of the reference.
    pub(super) extra_ms: f64,
    /// The same as a share of what the whole transaction usually takes.
    pub(super) extra_share: f64,
    /// Transactions in the window.
    pub(super) n: f64,
    /// What it was compared with.
    pub(super) reference: Reference,
}

/// Blocks of one signal, empty ones left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    blocks: VecDeque<(i64, Block)>,
    /// Blocks from which nothing is learned: an incident was open. Bounded by the reference's length.
    excluded: VecDeque<(i64, i64)>,
    /// Reference of the time before the incident that is open.
    held: Option<Reference>,
}

impl Series {
    /// Adds one transaction's value to a block; blocks older than the reference are let go.
    pub(super) fn add(&mut self, block: i64, value: &Block) {
        item_of(&mut self.blocks, block).add(value);
        let oldest = block - REFERENCE_BLOCKS - GUARD_BLOCKS - WINDOW_BLOCKS;
        while self.blocks.front().is_some_and(|(number, _)| *number < oldest) {
            self.blocks.pop_front();
        }
        while self.excluded.front().is_some_and(|(_, end)| *end < oldest) {
            self.excluded.pop_front();
        }
    }

    /// Compares with the time before `block` until [`Self::release`]: an incident begins.
    pub(super) fn hold(&mut self, block: i64) {
        if self.held.is_none() {
            self.held = self.reference(block);
        }
    }

    /// Learns again, leaving out blocks `from..=to`: the incident is over.
    pub(super) fn release(&mut self, from: i64, to: i64) {
        if self.held.take().is_some() {
            self.excluded.push_back((from, to));
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the blocks from `from` on that have traffic.
    pub(super) fn since(&self, from: i64) -> impl Iterator<Item = (i64, &Block)> {
        self.blocks.iter().filter(move |(number, _)| *number >= from).map(|(number, block)| (*number, block))
    }

    /// Judges the window that ends with `block`; nothing without traffic in it or without a reference.
    pub(super) fn judge(&self, block: i64) -> Option<Verdict> {
        let first = block - WINDOW_BLOCKS + 1;
        let mut now = Block::default();
        for (_, sums) in self.since(first).filter(|(number, _)| *number <= block) {
            now.add(sums);
        }
        if now.n < 1.0 {
            return None;
        }
        let reference = self.held.or_else(|| self.reference(first - GUARD_BLOCKS))?;
        let shift = now.mean() - reference.center;
        // Fewer transactions than usual make a minute's mean less certain; more do not make it more certain than the
        // signal's own minutes are.
        let between = reference.between * (reference.mean_n / now.n).sqrt().max(1.0);
        let sigma = between.max(reference.within / now.n.sqrt()).max(SIGMA_MIN);
        let extra_ms = now.extra_ms / now.n - reference.extra_ms;
        let expected_total_ms = (now.expected_total_ms / now.n).max(f64::MIN_POSITIVE);
        Some(Verdict {
            z: shift / sigma,
            shift,
            extra_ms,
            extra_share: extra_ms / expected_total_ms,
            n: now.n,
            reference,
        })
    }

    /// Summarises the reference that ends before block `end`.
    fn reference(&self, end: i64) -> Option<Reference> {
        let windows_max = usize::try_from(REFERENCE_BLOCKS / WINDOW_BLOCKS).unwrap_or(0);
        let mut windows = vec![Block::default(); windows_max];
        let mut all = Block::default();
        for (number, sums) in &self.blocks {
            let age = end - 1 - number;
            let is_excluded = self.excluded.iter().any(|(from, to)| (*from..=*to).contains(number));
            if age < 0 || is_excluded {
                continue;
            }
            if let Some(window) = usize::try_from(age / WINDOW_BLOCKS).ok().and_then(|at| windows.get_mut(at)) {
                window.add(sums);
                all.add(sums);
            }
        }
        windows.retain(|window| window.n > 0.0);
        if windows.is_empty() {
            return None;
        }
        let mut means: Vec<f64> = windows.iter().map(Block::mean).collect();
        let center = median(&mut means);
        let mut deviations: Vec<f64> = means.iter().map(|mean| (mean - center).abs()).collect();
        Some(Reference {
            center,
            between: MAD_TO_SIGMA * median(&mut deviations),
            within: (all.sum_squares / all.n - all.mean().powi(2)).max(0.0).sqrt(),
            mean_n: all.n / windows.len() as f64,
            n: all.n,
            windows: windows.len(),
            extra_ms: all.extra_ms / all.n,
        })
    }

    /// Estimates the block in which the mean left its reference, looking back from `block`: where the cumulative sum
    /// of the deviations from half the shift is least (Page's CUSUM, read backwards).
    pub(super) fn onset(&self, block: i64, look_back: i64) -> i64 {
        let Some(verdict) = self.judge(block) else { return block };
        let half = verdict.reference.center + verdict.shift / 2.0;
        let (mut sum, mut least, mut onset) = (0.0, 0.0, block - look_back);
        for (number, sums) in self.since(block - look_back).filter(|(number, _)| *number <= block) {
            sum += sums.sum - sums.n * half;
            if sum <= least {
                least = sum;
                onset = number + 1;
            }
        }
        onset.min(block)
    }
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
