//! Counts of one hop or type over the last half hour to hour: two windows, of which the older goes as a whole. So what
//! changed shows, and every number told is a number of calls that happened. Used by all records of the register.

/// Event time that a window covers; what is told covers the last window and the one that goes on.
pub(super) const WINDOW_NS: i64 = 30 * 60 * 1_000_000_000;

/// What can be added up.
pub(super) trait Sum: Default {
    /// Adds what another window counted.
    fn add(&mut self, other: &Self);
}

/// Counts of this window and of the one before.
#[derive(Debug, Default)]
pub(super) struct Windowed<T> {
    number: i64,
    current: T,
    before: T,
}

impl<T: Sum> Windowed<T> {
    /// Returns the counts of the window that `at_ns` is in. What comes late counts for the window that goes on.
    pub(super) fn at(&mut self, at_ns: i64) -> &mut T {
        let number = at_ns.div_euclid(WINDOW_NS);
        if number > self.number {
            let passed = std::mem::take(&mut self.current);
            self.before = if number == self.number + 1 { passed } else { T::default() };
            self.number = number;
        }
        &mut self.current
    }

    /// Returns the counts of both windows, as they are at `now_ns`.
    pub(super) fn both(&self, now_ns: i64) -> T {
        let passed = now_ns.div_euclid(WINDOW_NS) - self.number;
        let mut sum = T::default();
        if passed <= 1 {
            sum.add(&self.current);
        }
        if passed <= 0 {
            sum.add(&self.before);
        }
        sum
    }
}

impl Sum for u32 {
    fn add(&mut self, other: &Self) {
        *self = self.saturating_add(*other);
    }
}

/// Depths that are told apart; deeper ones count as the last.
const DEPTHS: usize = 16;

/// How often something was how deep.
#[derive(Debug, Default)]
pub(super) struct Depths {
    counts: [u32; DEPTHS],
    max: u32,
}

impl Depths {
    pub(super) fn note(&mut self, depth: u32) {
        self.counts[(depth as usize).min(DEPTHS - 1)] += 1;
        self.max = self.max.max(depth);
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Returns the most frequent depth.
    pub(super) fn usual(&self) -> u32 {
        let most = (0u32..).zip(self.counts).max_by_key(|(depth, count)| (*count, std::cmp::Reverse(*depth)));
        most.map_or(0, |(depth, _)| depth)
    }
}

impl Sum for Depths {
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.max = self.max.max(other.max);
    }
}

/// Buckets of durations, two an octave, from about a microsecond to an hour.
const BUCKETS: usize = 64;
/// Octaves below the first bucket: 2^10 ns.
const FIRST_OCTAVE: u32 = 10;

/// Durations, counted so finely that a median is right within a fifth.
#[derive(Debug)]
pub(super) struct Durations {
    counts: [u32; BUCKETS],
    count: u32,
    longest_ns: i64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], count: 0, longest_ns: 0 }
    }
}

impl Durations {
    pub(super) fn note(&mut self, duration_ns: i64) {
        self.counts[bucket(duration_ns)] += 1;
        self.count += 1;
        self.longest_ns = self.longest_ns.max(duration_ns);
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn longest_ns(&self) -> i64 {
        self.longest_ns
    }

    /// Returns the middle of the bucket of the median.
    pub(super) fn median_ns(&self) -> Option<i64> {
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen * 2 >= self.count
        });
        found.filter(|_| self.count > 0).map(middle_ns)
    }
}

impl Sum for Durations {
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.count += other.count;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

fn bucket(duration_ns: i64) -> usize {
    let ns = duration_ns.max(1).unsigned_abs();
    let octave = ns.ilog2();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let half = usize::from(ns >> (octave - 1) & 1 == 1);
    ((octave - FIRST_OCTAVE) as usize * 2 + half).min(BUCKETS - 1)
}

fn middle_ns(bucket: usize) -> i64 {
    let octave_ns = 1i64 << (bucket / 2 + FIRST_OCTAVE as usize);
    octave_ns + octave_ns / 4 + if bucket % 2 == 1 { octave_ns / 2 } else { 0 }
}

/// What is counted of the calls of one hop.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Logical calls: attempts of one are one.
    pub(super) calls: u32,
    pub(super) failed: u32,
    /// Of those, the ones below which no other synchronous call failed.
    pub(super) failed_by_itself: u32,
    pub(super) attempts: u64,
    pub(super) attempts_max: u32,
    pub(super) retried: u32,
    /// Of those, the ones that succeeded in the end.
    pub(super) retried_in_time: u32,
    /// Attempts of those that failed in the end, added up.
    pub(super) attempts_of_failed: u64,
    /// Calls that carried an attribute which tells a repetition.
    pub(super) keyed: u32,
    pub(super) unsafe_calls: u32,
    pub(super) unsafe_retried: u32,
    pub(super) unsafe_retried_keyed: u32,
    /// Calls on which the called one worked on after the caller had given up.
    pub(super) worked_on: u32,
    /// Calls that reached a span of the called one.
    pub(super) reached: u32,
    /// Failed calls made in an execution whose own outcome is known.
    pub(super) failed_within: u32,
    /// Of those, the ones whose execution succeeded.
    pub(super) answered_anyway: u32,
    /// Executions of the caller in which it called.
    pub(super) executions: u32,
    /// Executions in which a breaker kept it from calling.
    pub(super) kept_from: u32,
    pub(super) depth: Depths,
    pub(super) below: Depths,
    /// Of attempts that succeeded.
    pub(super) succeeded: Durations,
    /// Of attempts that failed.
    pub(super) failing: Durations,
}

impl Sum for Tally {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.failed_by_itself += other.failed_by_itself;
        self.attempts += other.attempts;
        self.attempts_max = self.attempts_max.max(other.attempts_max);
        self.retried += other.retried;
        self.retried_in_time += other.retried_in_time;
        self.attempts_of_failed += other.attempts_of_failed;
        self.keyed += other.keyed;
        self.unsafe_calls += other.unsafe_calls;
        self.unsafe_retried += other.unsafe_retried;
        self.unsafe_retried_keyed += other.unsafe_retried_keyed;
        self.worked_on += other.worked_on;
        self.reached += other.reached;
        self.failed_within += other.failed_within;
        self.answered_anyway += other.answered_anyway;
        self.executions += other.executions;
        self.kept_from += other.kept_from;
        self.depth.add(&other.depth);
        self.below.add(&other.below);
        self.succeeded.add(&other.succeeded);
        self.failing.add(&other.failing);
    }
}
