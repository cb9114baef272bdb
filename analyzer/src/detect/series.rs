//! A signal over time in blocks of ten seconds, and the test of its last minute against the half hour before.
//!
//! The unit of evidence is the transaction, and the yardstick is how much the signal's own minutes differed from
//! each other: values inside one transaction, one pause or one batch are not independent, so a test that takes them
//! for independent wakes people for nothing.
//!
//! Two statistics: the mean, for what makes all transactions longer, and the share of long ones (`tail`), for what
//! multiplies the time of a few. Where traffic is low, five minutes are judged against three hours, too.

use std::collections::VecDeque;

use super::slots::item_of;
use super::tail::{LONG_RATIOS, Long, Tail, UsualLong};

/// Seconds in a block.
pub const BLOCK_S: i64 = 10;
/// Blocks in a minute.
pub(super) const MINUTE_BLOCKS: i64 = 60 / BLOCK_S;
/// Blocks that are judged together.
pub(super) const WINDOW_BLOCKS: i64 = 6;
/// Windows of the reference: half an hour.
const REFERENCE_WINDOWS: usize = 30;
/// Blocks that are judged together where traffic is low: five minutes.
const PATIENT_BLOCKS: i64 = 30;
/// Windows of that reference: three hours.
const PATIENT_WINDOWS: usize = 36;
/// Transactions a minute from which on one minute says enough.
const PATIENT_RATE_MAX: f64 = 40.0;
/// Transactions that must have taken long before a closer look is taken, and their share.
const PATIENT_LONG_MIN: f64 = 3.0;
const PATIENT_LONG_SHARE: f64 = 0.1;
/// Blocks kept; where traffic is low they reach back for longer than half an hour.
const BLOCKS_MAX: usize = 200;
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
    /// Transactions that took long.
    pub(super) long: Long,
}

impl Block {
    /// Returns the block of one transaction by its log ratio. Of one that lacks spans it is not said that it took long:
    /// what is missing leaves its time to who called it.
    pub(super) fn one(ratio: f64, extra_ms: f64, expected_total_ms: f64, lacks_spans: bool) -> Self {
        let long = if lacks_spans { Long::default() } else { Long::of(ratio) };
        Self { n: 1.0, sum: ratio, sum_squares: ratio * ratio, extra_ms, expected_total_ms, long }
    }

    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.extra_ms += other.extra_ms;
        self.expected_total_ms += other.expected_total_ms;
        self.long.add(&other.long);
    }

    /// Returns how many transactions make the distance from a center, each by its weight (Kish's effective size).
    fn makers(&self, center: f64) -> f64 {
        let squares = self.sum_squares - 2.0 * center * self.sum + self.n * center * center;
        (self.sum - self.n * center).powi(2) / squares.max(f64::MIN_POSITIVE)
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.n
    }
}

/// What is usual for a signal.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reference {
    /// Median of the minutes' mean log ratios.
    pub(super) center: f64,
    /// Spread between minutes, as a standard deviation.
    between: f64,
    /// Spread between transactions, as a standard deviation.
    within: f64,
    /// Mean transactions of a minute that has any.
    pub(super) mean_n: f64,
    /// Transactions.
    pub(super) n: f64,
    /// Minutes that had traffic.
    pub(super) windows: usize,
    /// Mean extra milliseconds of a transaction.
    pub(super) extra_ms: f64,
    /// Usual shares of long transactions.
    long: UsualLong,
}

/// How the last minute compares.
#[derive(Debug, Clone, Copy, Default)]
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
    /// How many transactions the shift is made by: one that took very long makes it alone.
    pub(super) makers: f64,
    /// Milliseconds that their whole transactions are expected to take.
    pub(super) total_ms: f64,
    /// Whether more of them take long than usual.
    pub(super) tail: Tail,
    /// What it was compared with.
    pub(super) reference: Reference,
}

/// Traffic beyond which more work explains that work takes longer, in multiples of the usual, and in standard
/// deviations of a count.
const LOAD_FACTOR: f64 = 1.4;
const LOAD_Z: f64 = 4.0;
/// Power of the traffic's growth by which time may grow before load does not explain it any more.
const LOAD_POWER: f64 = 1.5;

impl Verdict {
    /// Returns the score of the statistic that stands out more.
    pub(super) fn strongest_z(&self) -> f64 {
        self.z.max(self.tail.z)
    }

    /// Returns how traffic compares with the usual.
    pub(super) fn load(&self) -> f64 {
        self.n / self.reference.mean_n.max(1.0)
    }

    /// Returns whether more traffic explains the shift: it grew too, and no less.
    pub(super) fn is_load(&self) -> bool {
        let usual = self.reference.mean_n.max(1.0);
        let is_more = self.load() >= LOAD_FACTOR && self.n - usual >= LOAD_Z * usual.sqrt();
        is_more && self.shift <= LOAD_POWER * self.load().ln()
    }
}

/// How long the windows are that are compared, and how many make the reference.
#[derive(Debug, Clone, Copy)]
struct Span {
    window_blocks: i64,
    windows: usize,
}

const USUAL_SPAN: Span = Span { window_blocks: WINDOW_BLOCKS, windows: REFERENCE_WINDOWS };
const PATIENT_SPAN: Span = Span { window_blocks: PATIENT_BLOCKS, windows: PATIENT_WINDOWS };

/// Blocks of one signal, empty ones left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    blocks: VecDeque<(i64, Block)>,
    /// Blocks from which nothing is learned: an incident was open. Bounded by the reference's length.
    excluded: VecDeque<(i64, i64)>,
    /// Reference of the time before the incident that is open.
    held: Option<Reference>,
    /// The same in long windows.
    held_patient: Option<Reference>,
}

impl Series {
    /// Adds one transaction's value to a block; blocks older than the reference are let go.
    pub(super) fn add(&mut self, block: i64, value: &Block) {
        item_of(&mut self.blocks, block).add(value);
        let oldest = block - PATIENT_BLOCKS * (PATIENT_WINDOWS as i64 + 1) - GUARD_BLOCKS;
        while self.blocks.len() > BLOCKS_MAX || self.blocks.front().is_some_and(|(number, _)| *number < oldest) {
            self.blocks.pop_front();
        }
        while self.excluded.front().is_some_and(|(_, end)| *end < oldest) {
            self.excluded.pop_front();
        }
    }

    /// Compares with the time before `block` until [`Self::release`]: an incident begins.
    pub(super) fn hold(&mut self, block: i64) {
        if self.held.is_none() {
            self.held = self.reference(block, USUAL_SPAN);
            self.held_patient = self.reference(block, PATIENT_SPAN);
        }
    }

    /// Learns again, leaving out blocks `from..=to`: the incident is over.
    pub(super) fn release(&mut self, from: i64, to: i64) {
        self.held_patient = None;
        if self.held.take().is_some() {
            self.excluded.push_back((from, to));
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Judges what is known since an incident began: a minute, or five where a minute hardly ever has `n` transactions.
    /// Nothing if there are fewer.
    pub(super) fn judge_held(&self, block: i64, n: f64) -> Option<Verdict> {
        let held = self.held?;
        let verdict = if held.mean_n < n / 2.0 { self.judge_patiently(block) } else { self.judge(block) };
        verdict.filter(|verdict| verdict.n >= n)
    }

    /// Learns anew from `block` on what is usual.
    pub(super) fn relearn(&mut self, block: i64) {
        self.blocks.retain(|(number, _)| *number >= block);
    }

    /// Returns the blocks from `from` on that have traffic.
    pub(super) fn since(&self, from: i64) -> impl Iterator<Item = (i64, &Block)> {
        self.blocks.iter().filter(move |(number, _)| *number >= from).map(|(number, block)| (*number, block))
    }

    /// Judges the minute that ends with `block`; nothing without traffic in it or without a reference.
    pub(super) fn judge(&self, block: i64) -> Option<Verdict> {
        self.judge_over(block, USUAL_SPAN, self.held)
    }

    /// Judges the five minutes that end with `block`, where traffic is too low for one minute to say much.
    pub(super) fn judge_patiently(&self, block: i64) -> Option<Verdict> {
        let minutes = (PATIENT_BLOCKS / WINDOW_BLOCKS) as f64;
        let first = block - PATIENT_BLOCKS + 1;
        let mut now = Block::default();
        self.since(first).for_each(|(_, sums)| now.add(sums));
        // What is left of an incident is no news.
        let is_after = self.excluded.iter().any(|(_, to)| *to >= first);
        // Nor is it one that took very long among few.
        let is_usual = now.n < 1.0 || now.long.any() < PATIENT_LONG_MIN.max(PATIENT_LONG_SHARE * now.n);
        if now.n >= PATIENT_RATE_MAX * minutes || is_after || is_usual && self.held_patient.is_none() {
            return None;
        }
        self.judge_over(block, PATIENT_SPAN, self.held_patient)
    }

    fn judge_over(&self, block: i64, span: Span, held: Option<Reference>) -> Option<Verdict> {
        let first = block - span.window_blocks + 1;
        let mut now = Block::default();
        let mut long_blocks = [0; LONG_RATIOS.len()];
        for (_, sums) in self.since(first).filter(|(number, _)| *number <= block) {
            now.add(sums);
            sums.long.mark(&mut long_blocks);
        }
        if now.n < 1.0 {
            return None;
        }
        let reference = held.or_else(|| self.reference(first - GUARD_BLOCKS, span))?;
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
            makers: now.makers(reference.center),
            total_ms: expected_total_ms,
            tail: reference.long.compare(&now.long, now.n, &long_blocks),
            reference,
        })
    }

    /// Summarises the reference that ends before block `end`.
    fn reference(&self, end: i64, span: Span) -> Option<Reference> {
        let mut windows = vec![Block::default(); span.windows];
        let mut all = Block::default();
        for (number, sums) in &self.blocks {
            let age = end - 1 - number;
            let is_excluded = self.excluded.iter().any(|(from, to)| (*from..=*to).contains(number));
            if age < 0 || is_excluded {
                continue;
            }
            if let Some(window) = usize::try_from(age / span.window_blocks).ok().and_then(|at| windows.get_mut(at)) {
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
            long: UsualLong::of(&windows.iter().map(|window| (window.n, &window.long))),
        })
    }

    /// Estimates the block in which the mean left its reference, looking back from `block`: where the cumulative sum
    /// of the deviations from half the shift is least (Page's CUSUM, read backwards). The same for the share of long
    /// ones, where that is what stands out.
    pub(super) fn onset(&self, block: i64, look_back: i64) -> i64 {
        let Some(verdict) = self.judge(block) else { return block };
        let tail = Some(verdict.tail).filter(|tail| tail.z > verdict.z);
        let half = match tail {
            Some(tail) => f64::midpoint(tail.usual_share, tail.share),
            None => verdict.reference.center + verdict.shift / 2.0,
        };
        let (mut sum, mut least, mut onset) = (0.0, 0.0, block - look_back);
        for (number, sums) in self.since(block - look_back).filter(|(number, _)| *number <= block) {
            sum += tail.map_or(sums.sum, |tail| sums.long.count(&tail)) - sums.n * half;
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
