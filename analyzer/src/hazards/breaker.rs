//! Times in which a caller stopped calling after failures, as a circuit breaker makes it: it goes on working and leaves
//! the call out, or its calls fail at once and reach nobody. Kept by the records of the register.

use std::collections::VecDeque;

/// Periods that are remembered of a hop; the oldest go.
const PERIODS_MAX: usize = 8;
/// Executions without the call before one can speak of a breaker.
const MISSED_MIN: u64 = 8;
/// Shortest such time: less is transactions that closed in another order than they ran.
const PERIOD_MIN_NS: i64 = 500_000_000;
/// Likelihood, at most, of leaving the call out so often by chance.
const CHANCE_MAX: f64 = 1e-4;
/// Calls that are looked at before it began, and how many of them must have failed.
const BEFORE: u32 = 5;
const FAILED_BEFORE_MIN: u32 = 3;
/// Longest that a call takes which reaches nobody, and how much quicker than usual it is.
const REJECTED_MAX_NS: i64 = 2_000_000;
const REJECTED_FACTOR: i64 = 5;

/// How the caller kept from calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerKind {
    /// It worked without calling.
    CallsStop,
    /// Its calls failed at once; refused connections look the same.
    FastRejections,
}

/// A time in which it kept from calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) kind: BreakerKind,
    /// Start of the last call before, unix nanoseconds.
    pub(super) from_ns: i64,
    /// Start of the first call after; of one that goes on, the last that was seen of it.
    pub(super) to_ns: i64,
    pub(super) is_over: bool,
    /// Executions without the call, or calls that were rejected.
    pub(super) missed: u64,
}

/// What is remembered of the calls of one hop, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Outcomes of the latest calls that were not rejected, the last one lowest: a set bit is a failure.
    outcomes: u32,
    /// The caller's count of executions at the last call.
    called_at: u64,
    called_ns: i64,
    rejected: u64,
    rejected_from_ns: i64,
    periods: VecDeque<Period>,
}

/// A call as the breaker is told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called {
    /// The caller's count of executions, this one included.
    pub(super) execution: u64,
    pub(super) start_ns: i64,
    pub(super) has_failed: bool,
    pub(super) is_rejected: bool,
}

impl Breaker {
    /// Notes a call; returns executions that a breaker seems to have kept from calling since the last one. Asks for the
    /// share of executions in which the caller usually calls only if that matters.
    pub(super) fn note(&mut self, call: Called, usual_share: impl FnOnce() -> f64) -> u64 {
        let missed = call.execution.saturating_sub(self.called_at + 1);
        let is_first = self.called_at == 0;
        let mut kept_from = 0;
        let lasted_ns = call.start_ns.saturating_sub(self.called_ns);
        let is_long = missed >= MISSED_MIN && lasted_ns >= PERIOD_MIN_NS;
        let may_be = !is_first && is_long && self.is_after_failures();
        if may_be && is_unlikely(missed, usual_share()) {
            kept_from = missed;
            self.add_period(Period {
                kind: BreakerKind::CallsStop,
                from_ns: self.called_ns,
                to_ns: call.start_ns,
                is_over: true,
                missed,
            });
        }
        if call.is_rejected {
            if self.rejected == 0 {
                self.rejected_from_ns = self.called_ns;
            }
            self.rejected += 1;
        } else {
            self.end_rejections(call.start_ns);
            self.outcomes = self.outcomes << 1 | u32::from(call.has_failed);
        }
        self.called_at = call.execution;
        self.called_ns = self.called_ns.max(call.start_ns);
        kept_from
    }

    /// Returns the periods so far, the one that goes on included; `executions` is the caller's count at `now_ns`.
    pub(super) fn periods(&self, executions: u64, usual_share: f64, now_ns: i64) -> Vec<Period> {
        let mut periods: Vec<Period> = self.periods.iter().copied().collect();
        let missed = executions.saturating_sub(self.called_at);
        let going_on = |kind, from_ns, missed| Period { kind, from_ns, to_ns: now_ns, is_over: false, missed };
        if self.called_at > 0 && self.is_after_failures() && is_unlikely(missed, usual_share) {
            periods.push(going_on(BreakerKind::CallsStop, self.called_ns, missed));
        } else if self.is_rejecting() {
            periods.push(going_on(BreakerKind::FastRejections, self.rejected_from_ns, self.rejected));
        }
        periods
    }

    fn is_after_failures(&self) -> bool {
        (self.outcomes & ((1 << BEFORE) - 1)).count_ones() >= FAILED_BEFORE_MIN
    }

    fn is_rejecting(&self) -> bool {
        self.rejected >= MISSED_MIN && self.is_after_failures()
    }

    fn end_rejections(&mut self, at_ns: i64) {
        if self.is_rejecting() {
            self.add_period(Period {
                kind: BreakerKind::FastRejections,
                from_ns: self.rejected_from_ns,
                to_ns: at_ns,
                is_over: true,
                missed: self.rejected,
            });
        }
        self.rejected = 0;
    }

    /// Adds a period; one that begins where the last ended goes on from it: between them was a try that failed.
    fn add_period(&mut self, period: Period) {
        if let Some(last) = self.periods.back_mut()
            && last.kind == period.kind
            && period.from_ns <= last.to_ns
        {
            last.to_ns = period.to_ns;
            last.missed += period.missed;
            return;
        }
        if self.periods.len() >= PERIODS_MAX {
            self.periods.pop_front();
        }
        self.periods.push_back(period);
    }

    /// Forgets periods that ended before.
    pub(super) fn forget(&mut self, before_ns: i64) {
        self.periods.retain(|period| period.to_ns >= before_ns);
    }
}

/// Returns whether a failed call never left: it reached nobody, and took next to no time.
pub(super) fn is_rejected(duration_ns: i64, usual_ns: Option<i64>) -> bool {
    let is_quicker = usual_ns.is_some_and(|usual_ns| duration_ns.saturating_mul(REJECTED_FACTOR) < usual_ns);
    duration_ns < REJECTED_MAX_NS && is_quicker
}

fn is_unlikely(missed: u64, usual_share: f64) -> bool {
    missed >= MISSED_MIN && (1.0 - usual_share).powf(missed as f64) < CHANCE_MAX
}
