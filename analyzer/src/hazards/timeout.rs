//! The timeout in force at a hop, inferred from failed calls: a timer ends them all after the same time, and nothing
//! lasts longer. What fails at its own pace does not pile up so sharply, or the called one itself says that it failed.
//! Kept by the records of the register; reads durations, never names.

use collector_table::TraceId;

use super::retry::MS_NS;

/// Failed attempts that are remembered of a hop; the oldest go.
pub(super) const FAILURES_MAX: usize = 64;
/// The latest so many are looked at first, then twice as many: what changed is to show soon.
const LATEST_MIN: usize = 8;
/// Calls that must have been cut off after the same time.
const CUT_OFF_MIN: usize = 5;
/// With so many that the called one worked on for, fewer need be.
const WORKED_ON_MIN: usize = 3;
/// Cut-offs shorter than this cannot be told from answers.
const VALUE_MIN_NS: i64 = 10 * MS_NS;
/// Without any call that succeeded, what is shorter than this may as well be how long failing takes.
const ALONE_MIN_NS: i64 = 100 * MS_NS;
/// Times in which the longest success is kept, and how many of them.
const STRETCH_NS: i64 = 10 * 60 * 1_000_000_000;
const STRETCHES: usize = 6;

/// How a failed attempt looked on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// No span of the called one is there.
    None,
    /// The called one failed itself, before the caller stopped waiting.
    Failed,
    /// The called one reported no error, and ended in time.
    Fine,
    /// The called one worked on after the caller had stopped waiting.
    WorkedOn,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) trace: TraceId,
    pub(super) ended_ns: i64,
    pub(super) duration_ns: i64,
    pub(super) answer: Answer,
}

/// A timeout that was seen at work.
#[derive(Debug, Clone)]
pub(super) struct CutOff {
    pub(super) value_ns: i64,
    /// How long what was cut off lasted.
    range_ns: std::ops::RangeInclusive<i64>,
    pub(super) count: usize,
    /// Whether the other side shows that it did not fail, or never answered; otherwise durations alone tell.
    pub(super) is_sure: bool,
    pub(super) last: Failure,
}

/// Attempts that failed, and the longest that did not.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// In order of time until it is full, then in a ring.
    ring: Vec<Failure>,
    next: usize,
    /// Longest success by stretch of time, with the number of the stretch.
    longest_ns: [(i64, i64); STRETCHES],
}

impl Failures {
    pub(super) fn note_failure(&mut self, failure: Failure) {
        if self.ring.len() < FAILURES_MAX {
            self.ring.push(failure);
        } else {
            self.ring[self.next] = failure;
            self.next = (self.next + 1) % FAILURES_MAX;
        }
    }

    pub(super) fn note_success(&mut self, ended_ns: i64, duration_ns: i64) {
        let number = ended_ns.div_euclid(STRETCH_NS);
        let place = usize::try_from(number.rem_euclid(STRETCHES as i64)).unwrap_or(0);
        let longest = &mut self.longest_ns[place];
        if longest.0 < number {
            *longest = (number, duration_ns);
        } else if longest.0 == number {
            longest.1 = longest.1.max(duration_ns);
        }
    }

    fn longest_success_ns(&self, since_ns: i64) -> i64 {
        let since = since_ns.div_euclid(STRETCH_NS);
        let known = self.longest_ns.iter().filter(|(number, _)| *number >= since);
        known.map(|(_, longest_ns)| *longest_ns).max().unwrap_or(0)
    }

    /// Returns the timeout in force, if calls show one; `usual_ns` is the median of those that succeeded, and `reached`
    /// the share of calls that the called one shows.
    pub(super) fn cut_off(&self, usual_ns: Option<i64>, reached: f64) -> Option<CutOff> {
        let (late, early) = self.ring.split_at(self.next.min(self.ring.len()));
        let in_order: Vec<Failure> = early.iter().chain(late).copied().collect();
        let mut latest = LATEST_MIN;
        loop {
            let some = &in_order[in_order.len().saturating_sub(latest)..];
            if let Some(found) = self.cut_off_among(some, usual_ns, reached) {
                let is_cut = |failure: &&Failure| found.range_ns.contains(&failure.duration_ns);
                return Some(CutOff { count: in_order.iter().filter(is_cut).count(), ..found });
            }
            if latest >= in_order.len() {
                return None;
            }
            latest *= 2;
        }
    }

    fn cut_off_among(&self, failures: &[Failure], usual_ns: Option<i64>, reached: f64) -> Option<CutOff> {
        let mut sorted: Vec<Failure> = failures.to_vec();
        sorted.sort_by_key(|failure| failure.duration_ns);
        // Timers that are late, on a busy machine, are believed when the other side confirms them.
        [Band::SHARP, Band::WIDE].iter().find_map(|band| {
            let pile = band.highest_pile(&sorted)?;
            let value_ns = pile[0].duration_ns;
            let first_ns = pile.iter().map(|failure| failure.ended_ns).min()?;
            // Something lasted longer: nothing cuts calls off here.
            if self.longest_success_ns(first_ns) > band.top_ns(value_ns) {
                return None;
            }
            let is_sure = is_confirmed(pile, reached)?;
            let is_long = match usual_ns {
                Some(usual_ns) => value_ns >= usual_ns + usual_ns / 2,
                None => value_ns >= ALONE_MIN_NS,
            };
            let is_plain = is_sure || (band.needs_no_proof && is_long);
            let last = *pile.iter().max_by_key(|failure| failure.ended_ns)?;
            let range_ns = value_ns..=band.top_ns(value_ns);
            let count = pile.len();
            (is_plain && value_ns >= VALUE_MIN_NS).then_some(CutOff { value_ns, range_ns, count, is_sure, last })
        })
    }
}

/// How far above a timeout what it ends may end.
struct Band {
    /// Hundredths of the timeout.
    width_percent: i64,
    width_ns: i64,
    needs_no_proof: bool,
}

impl Band {
    const SHARP: Self = Self { width_percent: 3, width_ns: 2 * MS_NS, needs_no_proof: true };
    const WIDE: Self = Self { width_percent: 12, width_ns: 5 * MS_NS, needs_no_proof: false };

    fn top_ns(&self, value_ns: i64) -> i64 {
        value_ns.saturating_add(value_ns / 100 * self.width_percent).saturating_add(self.width_ns)
    }

    /// Returns the largest pile of durations within the band that has next to nothing right below it, as what is spread
    /// around a middle has, and next to nothing above it.
    fn highest_pile<'a>(&self, sorted: &'a [Failure]) -> Option<&'a [Failure]> {
        let mut best: Option<&[Failure]> = None;
        for from in 0..sorted.len() {
            let value_ns = sorted[from].duration_ns;
            let to = sorted.partition_point(|failure| failure.duration_ns <= self.top_ns(value_ns));
            let below_ns = value_ns - value_ns / 100 * (15 + self.width_percent);
            let below = from - sorted.partition_point(|failure| failure.duration_ns < below_ns);
            let pile = &sorted[from..to];
            let is_alone = below * 10 <= pile.len() && (sorted.len() - to) * 10 <= pile.len();
            let is_enough = pile.len() >= CUT_OFF_MIN || worked_on(pile) >= WORKED_ON_MIN;
            if is_alone && is_enough && best.is_none_or(|best| pile.len() > best.len()) {
                best = Some(pile);
            }
        }
        best
    }
}

fn worked_on(pile: &[Failure]) -> usize {
    pile.iter().filter(|failure| failure.answer == Answer::WorkedOn).count()
}

/// Returns whether the other side confirms that a timer of the caller ended these; nothing when the called one ended
/// most of them itself.
fn is_confirmed(pile: &[Failure], reached: f64) -> Option<bool> {
    let of = |answer: Answer| pile.iter().filter(|failure| failure.answer == answer).count();
    if of(Answer::Failed) * 2 > pile.len() {
        return None;
    }
    // A called one that is usually seen was not: it did not come to an end, or was never reached.
    let is_missing = reached >= 0.5 && of(Answer::None) * 2 > pile.len();
    Some(worked_on(pile) >= WORKED_ON_MIN || of(Answer::Fine) * 2 > pile.len() || is_missing)
}
