//! How far a signal was off its half hour at the same time yesterday and a week ago, so that what comes back every night
//! is no incident. Kept by every signal that has been seen for long; an hour is four bytes twice, a week is kept.

use super::series::{BLOCK_S, Verdict};

/// Hours kept, and a little more: a week and the hours around.
const HOURS: usize = 170;
const DAY_HOURS: i64 = 24;
const WEEK_HOURS: i64 = 168;
/// Seconds in an hour.
const HOUR_S: i64 = 3_600;
/// What an hour may be more than the same hour before, as a log ratio: 20 %.
const MARGIN_SHIFT: f64 = 0.18;
/// The same of the share of long transactions, as a factor.
const MARGIN_TAIL_FACTOR: f64 = 1.5;

/// How far a signal was off, at most, in one hour.
#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    shift: f32,
    tail_share: f32,
}

/// How far a signal was off, by hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Season {
    /// Place of an hour is its number modulo the length; empty in the first hours.
    hours: Vec<Hour>,
    newest: i64,
}

/// How far a signal is off usually at a time of day; zero where there is no history.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsualHour(Hour);

impl Season {
    /// Returns the number of the hour in which a block lies.
    pub(super) fn hour_of(block: i64) -> i64 {
        block.div_euclid(HOUR_S / BLOCK_S)
    }

    /// Notes how far the signal is off now.
    pub(super) fn note(&mut self, hour: i64, verdict: Option<&Verdict>) {
        if self.hours.is_empty() {
            (self.hours, self.newest) = (vec![Hour::default(); HOURS], hour);
        }
        // What lies between was silent; after a week of silence nothing is known.
        for missed in (self.newest + 1..=hour).rev().take(HOURS) {
            self.hours[place(missed)] = Hour::default();
        }
        self.newest = self.newest.max(hour);
        let Some(verdict) = verdict.filter(|_| hour > self.newest - HOURS as i64) else { return };
        // Single precision is far finer than what is compared.
        #[allow(clippy::cast_possible_truncation)]
        let (shift, tail_share) = (verdict.shift as f32, verdict.tail.share as f32);
        let kept = &mut self.hours[place(hour)];
        (kept.shift, kept.tail_share) = (kept.shift.max(shift), kept.tail_share.max(tail_share));
    }

    /// Returns how far the signal was off at this time of other days, an hour more or less.
    pub(super) fn usual(&self, hour: i64) -> UsualHour {
        let mut usual = Hour::default();
        for before in [DAY_HOURS, WEEK_HOURS] {
            for around in -1..=1 {
                let number = hour - before + around;
                if number > self.newest - HOURS as i64 && number <= self.newest && !self.hours.is_empty() {
                    let then = &self.hours[place(number)];
                    usual.shift = usual.shift.max(then.shift);
                    usual.tail_share = usual.tail_share.max(then.tail_share);
                }
            }
        }
        UsualHour(usual)
    }
}

impl UsualHour {
    /// Returns whether the signal was as far off at this time of other days.
    pub(super) fn explains(&self, verdict: &Verdict) -> bool {
        let (shift, tail_share) = (f64::from(self.0.shift), f64::from(self.0.tail_share));
        verdict.shift <= shift + MARGIN_SHIFT && verdict.tail.share <= MARGIN_TAIL_FACTOR * tail_share && shift > 0.0
    }
}

fn place(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(HOURS as i64)).unwrap_or(0)
}
