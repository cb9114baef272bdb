//! How far a signal was off its half hour at the same time yesterday and a week ago, so that what comes back every night
//! is no incident. Kept by every signal that has been seen for long; an hour is four bytes twice, a week is kept.

use super::memory::HourMemory;
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

    /// Returns the hours in which the signal was off.
    pub(super) fn kept(&self) -> Vec<HourMemory> {
        let known = if self.hours.is_empty() { 0 } else { HOURS as i64 };
        let numbered = (self.newest - known + 1..=self.newest).map(|number| (number, &self.hours[place(number)]));
        let off = numbered.filter(|(_, hour)| hour.shift > 0.0 || hour.tail_share > 0.0);
        off.map(|(number, hour)| HourMemory(number, hour.shift, hour.tail_share)).collect()
    }

    /// Takes over hours that were kept; those that are no numbers, or older than all that is kept, are left out.
    pub(super) fn recall(&mut self, kept: &[HourMemory], newest: i64) {
        self.note(newest, None);
        for &HourMemory(number, shift, tail_share) in kept {
            let is_sound = shift.is_finite() && tail_share.is_finite();
            if is_sound && number <= self.newest && number > self.newest - HOURS as i64 {
                self.hours[place(number)] = Hour { shift, tail_share };
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn off(shift: f64, tail_share: f64) -> Verdict {
        let mut verdict = Verdict { shift, ..Verdict::default() };
        verdict.tail.share = tail_share;
        verdict
    }

    /// Notes that a signal is as it should be, but in some hours.
    fn noted(hours: std::ops::Range<i64>, at: impl Fn(i64) -> Option<Verdict>) -> Season {
        let mut season = Season::default();
        for hour in hours {
            season.note(hour, Some(&at(hour).unwrap_or(off(0.0, 0.0))));
        }
        season
    }

    #[test]
    fn what_comes_back_at_the_same_hour_of_another_day_is_explained() {
        let nightly = |hour: i64| (hour % 24 == 3).then(|| off(0.9, 0.2));
        let season = noted(0..2 * 24, nightly);
        for hour in [50, 51, 52] {
            assert!(season.usual(hour).explains(&off(0.9, 0.2)), "an hour more or less: {hour}");
        }
        assert!(!season.usual(53).explains(&off(0.9, 0.2)), "at another hour");
        assert!(season.usual(51).explains(&off(0.9 + 0.9 * MARGIN_SHIFT, 0.18 * MARGIN_TAIL_FACTOR)));
        assert!(!season.usual(51).explains(&off(0.9 + 2.0 * MARGIN_SHIFT, 0.2)), "further off");
        assert!(!season.usual(51).explains(&off(0.9, 0.5)), "more long ones");
    }

    #[test]
    fn what_comes_once_a_week_is_explained_a_week_later_and_not_after_two() {
        let once = |hour: i64| (hour == 10).then(|| off(0.9, 0.2));
        assert!(noted(0..WEEK_HOURS + 9, once).usual(WEEK_HOURS + 10).explains(&off(0.9, 0.2)));
        assert!(!noted(0..2 * WEEK_HOURS + 9, once).usual(2 * WEEK_HOURS + 10).explains(&off(0.9, 0.2)));
    }

    #[test]
    fn of_an_hour_the_most_counts_and_hours_that_are_over_may_come_late() {
        let mut season = noted(0..24, |_| None);
        season.note(22, Some(&off(0.7, 0.1)));
        season.note(22, Some(&off(0.2, 0.3)));
        assert!(season.usual(22 + DAY_HOURS).explains(&off(0.7, 0.3)));
        season.note(23 - HOURS as i64, Some(&off(5.0, 1.0)));
        assert!(!season.usual(23 + DAY_HOURS).explains(&off(5.0, 1.0)), "older than all that is kept");
    }

    #[test]
    fn nothing_is_explained_at_first_and_after_a_week_of_silence() {
        assert!(!Season::default().usual(5).explains(&off(0.1, 0.0)));
        let mut season = noted(0..48, |_| Some(off(0.9, 0.2)));
        assert_eq!(season.hours.len(), HOURS);
        season.note(10_000, None);
        assert_eq!(season.hours.len(), HOURS, "bounded, whatever lies between");
        for hour in [10_000, 10_024, 10_168] {
            assert!(!season.usual(hour).explains(&off(0.9, 0.2)), "{hour}");
        }
    }

    #[test]
    fn block_is_in_its_hour() {
        assert_eq!([-1, 0, 359, 360].map(Season::hour_of), [-1, 0, 0, 1]);
    }
}
