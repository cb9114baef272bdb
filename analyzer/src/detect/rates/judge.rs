//! The test of a rate: whether what goes wrong in the last minutes is more than the half hour before lets one expect.
//! Called for every rate once a block.
//!
//! Events are not independent: they come in clumps, by which both counts are divided. How large clumps are is told by how
//! much the signal's own minutes differ. Surprise alone wakes nobody: there must be enough of it, much more than usual,
//! spread over the window, and still going on.

use super::occasion::{Occasion, Occasions, Of, Place, Rate, Wrong};
use super::odds::{Count, surprise};
use crate::detect::series::MINUTE_BLOCKS;
use crate::incident::IncidentKind;

/// Lengths of the windows that are judged, in blocks: what is rare needs more patience.
const WINDOWS: [i64; 4] = [6, 18, 36, 60];
/// Blocks of the time compared with, and between it and the window.
pub(super) const REFERENCE_BLOCKS: i64 = 180;
pub(super) const GUARD_BLOCKS: i64 = 3;
/// Least size of a clump: what the minutes do not show may still be. Sagas that fail come one by one.
const CLUMP_MIN: f64 = 1.5;
const SAGA_CLUMP_MIN: f64 = 1.0;
/// Occasions of a minute from which on its share says something.
const MINUTE_OF_MIN: f64 = 5.0;
/// Factor by which the share must be above that of the worst tenth of minutes.
const ABOVE_WORST: f64 = 1.3;
/// Last part of a window, in which it must still go on: a third, at least half as much.
const LAST_PART: i64 = 3;
const GOES_ON: f64 = 0.5;
/// Occasions in the last part from which on one can tell.
const LAST_OF_MIN: f64 = 3.0;
/// Tests of one place: the kinds of wrong that it may have, and windows that overlap.
const TESTS_A_PLACE: f64 = 4.0;
/// Minutes of a week.
const WEEK_MINUTES: f64 = 10_080.0;
/// Share of the budget that rates may spend; the rest is for signals of time.
const BUDGET_SHARE: f64 = 0.5;
/// Places are counted as so many at least: a small system is tested as strictly as one of some size.
const PLACES_MIN: f64 = 100.0;
/// Ticks in a row for which a rate must stand out.
const PERSISTENCE_TICKS: u32 = 2;
/// As for signals of time: share of the largest past surprise, delay of the past, and how it fades.
const PAST_FACTOR: f64 = 0.8;
const PAST_DELAY: usize = 60;
const PAST_FADE: f64 = 0.9995;
/// Surprise below which a rate is back, whatever its share.
const CALM_SURPRISE: f64 = 1.5;
/// Part of the largest excess below which a share is back.
const CALM_EXCESS: f64 = 0.2;
/// Occasions by which one can tell whether a rate is back.
const CALM_OF_MIN: f64 = 4.0;

/// How much it takes for something that goes wrong to matter.
#[derive(Debug, Clone, Copy)]
struct Bar {
    /// Transactions in the window in which it went wrong.
    wrong: f64,
    /// Blocks of the window in which it did.
    blocks: usize,
    /// Share above the usual one.
    excess: f64,
    /// Share that may be usual, at most.
    usual_max: f64,
    /// Occasions and minutes in the time compared with.
    before_of: f64,
    before_minutes: usize,
}

/// Factor of the odds that it goes wrong, from usual to now.
const ODDS_FACTOR: f64 = 3.0;

impl Wrong {
    fn bar(self) -> Bar {
        let usual = Bar { wrong: 5.0, blocks: 4, excess: 0.03, usual_max: 0.5, before_of: 30.0, before_minutes: 3 };
        match self {
            Self::Fails | Self::CutOff | Self::Absorbed => usual,
            Self::Retried | Self::RetriedErrors => Bar { excess: 0.1, ..usual },
            Self::WorkedOn => Bar { excess: 0.03, blocks: 3, ..usual },
            Self::Twice | Self::Disordered => Bar { excess: 0.02, blocks: 3, usual_max: 0.3, ..usual },
            Self::Lost => Bar { excess: 0.02, blocks: 3, usual_max: 0.3, ..usual },
            Self::Behind => Bar { excess: 0.3, usual_max: 0.1, ..usual },
            Self::NotUndone => Bar { wrong: 3.0, blocks: 2, excess: 0.2, before_of: 10.0, ..usual },
            Self::Unreached | Self::Begins | Self::Uncaused => {
                Bar { excess: 0.1, usual_max: 0.3, before_minutes: 5, ..usual }
            }
            Self::LeftOut => Bar { excess: 0.2, usual_max: 0.1, before_minutes: 5, ..usual },
        }
    }

    /// Returns whether it says nothing alone, and is only asked for when another rate stands out.
    fn is_asked_for(self) -> bool {
        matches!(self, Self::Absorbed | Self::Begins | Self::Uncaused | Self::RetriedErrors)
    }

    /// Returns the kind of incident that it makes.
    pub(in crate::detect) fn kind(self) -> IncidentKind {
        match self {
            Self::Fails | Self::CutOff => IncidentKind::ErrorBurst,
            Self::Absorbed | Self::LeftOut => IncidentKind::DegradedResponse,
            Self::Retried | Self::RetriedErrors => IncidentKind::RetryStorm,
            Self::WorkedOn => IncidentKind::WastedWork,
            Self::Unreached | Self::Begins | Self::Uncaused => IncidentKind::BrokenContext,
            Self::Twice => IncidentKind::DuplicateProcessing,
            Self::Disordered => IncidentKind::OutOfOrder,
            Self::Lost => IncidentKind::LostMessage,
            Self::Behind => IncidentKind::QueueLag,
            Self::NotUndone => IncidentKind::IncompleteCompensation,
        }
    }
}

/// What is usual of a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::detect) struct Reference {
    pub(in crate::detect) count: Count,
    /// Events that come together.
    clump: f64,
    /// Minutes that had occasions.
    pub(in crate::detect) minutes: usize,
    /// Share in the worst tenth of minutes, if there are enough to say.
    worst: f64,
}

impl Reference {
    /// Returns the occasions of a block in a minute that had any.
    pub(in crate::detect) fn of_a_block(&self) -> f64 {
        self.count.of / self.minutes.max(1) as f64 / MINUTE_BLOCKS as f64
    }
}

/// How the last minutes compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::detect) struct RateVerdict {
    pub(in crate::detect) now: Count,
    /// Length of the window.
    pub(in crate::detect) blocks: i64,
    pub(in crate::detect) reference: Reference,
    /// Minus the decimal logarithm of the chance of it.
    pub(in crate::detect) surprise: f64,
    /// What that had to pass.
    pub(in crate::detect) needed: f64,
}

impl RateVerdict {
    /// Returns the share that goes wrong now.
    pub(in crate::detect) fn share(&self) -> f64 {
        self.now.share()
    }

    /// Returns the share that usually goes wrong.
    pub(in crate::detect) fn usual(&self) -> f64 {
        self.reference.count.share()
    }

    /// Returns the share above the usual one.
    pub(in crate::detect) fn excess(&self) -> f64 {
        self.share() - self.usual()
    }
}

/// Returns the surprise that a rate must reach, for a budget and a number of places.
pub(in crate::detect) fn needed(false_alarms_per_week: f64, places: usize) -> f64 {
    let tests = (places as f64).max(PLACES_MIN) * TESTS_A_PLACE * WEEK_MINUTES;
    (tests / (false_alarms_per_week.max(1e-3) * BUDGET_SHARE)).log10()
}

impl Occasions {
    /// Judges every rate in the windows that end with `block`; returns those that stand out for long enough.
    pub(in crate::detect) fn watch(
        &mut self,
        block: i64,
        needed: f64,
        is_judging: bool,
    ) -> Vec<(Occasion, Wrong, RateVerdict)> {
        let mut hot = Vec::new();
        for (id, wrong) in self.candidates(block) {
            let Some(place) = self.slots.get(id) else { continue };
            let verdict = self.strongest(place, wrong, block, needed);
            let occasion = verdict.and_then(|_| self.slots.key(id).cloned());
            let Some(place) = self.slots.get_mut(id) else { continue };
            let is_held = place.held_from.is_some();
            let rate = place.rate_mut(wrong);
            let surprise = verdict.filter(|_| is_judging && !is_held).map_or(0.0, |verdict| verdict.surprise);
            rate.remember(surprise);
            let needed = needed.max(PAST_FACTOR * rate.past);
            let verdict = verdict.filter(|verdict| verdict.surprise >= needed);
            rate.hot_ticks = if verdict.is_some() { rate.hot_ticks + 1 } else { 0 };
            let is_hot = rate.hot_ticks >= PERSISTENCE_TICKS;
            hot.extend(occasion.zip(verdict).filter(|_| is_hot).map(|(occasion, verdict)| (occasion, wrong, verdict)));
        }
        hot.sort_by(|a, b| b.2.surprise.total_cmp(&a.2.surprise).then_with(|| (&a.0, a.1).cmp(&(&b.0, b.1))));
        hot
    }

    /// Returns the rates that may stand out; the others are told that they do not.
    fn candidates(&mut self, block: i64) -> Vec<(usize, Wrong)> {
        let longest = WINDOWS[WINDOWS.len() - 1];
        let left_out: Vec<usize> = self
            .slots
            .iter()
            .filter(|(_, occasion, place)| occasion.of == Of::Call && self.may_be_left_out(place, block))
            .map(|(id, ..)| id)
            .collect();
        for id in left_out {
            let held_from = self.slots.get(id).and_then(|place| place.held_from);
            let is_new = self.slots.get(id).is_some_and(|place| place.rate(Wrong::LeftOut).is_none());
            if let Some(place) = self.slots.get_mut(id) {
                place.rate_mut(Wrong::LeftOut);
            }
            if let Some(from) = held_from.filter(|_| is_new) {
                self.hold_rate(id, Wrong::LeftOut, from);
            }
        }
        let mut found = Vec::new();
        for (id, place) in self.slots.places_mut() {
            for rate in &mut place.rates {
                if rate.wrong.is_asked_for() {
                    continue;
                }
                let is_some = rate.wrong == Wrong::LeftOut
                    || f64::from(rate.between(block - longest + 1, block).count) >= rate.wrong.bar().wrong;
                if is_some {
                    found.push((id, rate.wrong));
                } else {
                    rate.hot_ticks = 0;
                    rate.remember(0.0);
                }
            }
        }
        found
    }

    /// Returns whether so many executions go without a call that it is worth counting.
    fn may_be_left_out(&self, place: &Place, block: i64) -> bool {
        let Some(caller) = place.within.and_then(|within| self.slots.get(within)) else { return false };
        let bar = Wrong::LeftOut.bar();
        WINDOWS.iter().take(2).any(|window| {
            let from = block - window + 1;
            let of = f64::from(caller.between(from, block).good);
            of >= bar.wrong && of - f64::from(place.between(from, block).good) >= bar.excess * of
        })
    }

    /// Returns the verdict of the window that surprises most, of those in which it matters.
    fn strongest(&self, place: &Place, wrong: Wrong, block: i64, needed: f64) -> Option<RateVerdict> {
        let from = block - super::occasion::KEPT_BLOCKS;
        let counts = self.counts(place, wrong, from, block);
        let held = place.rate(wrong).and_then(|rate| rate.held);
        // What is left of an incident that is over is no news.
        let is_after = |blocks: i64| !place.excluded.iter().any(|(_, to)| *to > block - blocks);
        let verdicts = WINDOWS.iter().filter(|blocks| is_after(**blocks)).filter_map(|&blocks| {
            let verdict = weigh((place, wrong), &counts, (block, blocks), held, needed)?;
            matters(wrong.bar(), &counts, block, &verdict).then_some(verdict)
        });
        verdicts.max_by(|a, b| a.surprise.total_cmp(&b.surprise))
    }

    /// Returns what is usual before a block; nothing if there were no occasions.
    pub(super) fn reference_before(&self, place: &Place, wrong: Wrong, end: i64) -> Option<Reference> {
        reference((place, wrong), &self.counts(place, wrong, end - REFERENCE_BLOCKS, end - 1), end)
    }

    /// Returns how a rate does that is compared with the time before an incident; `peak` is its largest excess. Nothing
    /// if there is too little to tell.
    pub(in crate::detect) fn is_calm(&self, occasion: &Occasion, wrong: Wrong, block: i64, peak: f64) -> Option<bool> {
        let place = self.slots.get(self.slots.find(occasion)?)?;
        let held = place.rate(wrong)?.held?;
        let counts = self.counts(place, wrong, block - WINDOWS[1], block);
        let verdicts = WINDOWS
            .iter()
            .take(2)
            .filter_map(|&blocks| weigh((place, wrong), &counts, (block, blocks), Some(held), 0.0));
        let mut told = verdicts.filter(|verdict| verdict.now.of >= CALM_OF_MIN);
        let verdict = told.next()?;
        let calm_excess = (CALM_EXCESS * peak).max(wrong.bar().excess / 2.0);
        Some(verdict.surprise < CALM_SURPRISE || verdict.excess() < calm_excess)
    }

    /// Estimates the block in which a rate left what is usual, as for signals of time: by a cumulative sum read backwards.
    pub(in crate::detect) fn onset(&self, occasion: &Occasion, wrong: Wrong, block: i64, verdict: &RateVerdict) -> i64 {
        let Some(place) = self.slots.find(occasion).and_then(|id| self.slots.get(id)) else { return block };
        let look_back = verdict.blocks + verdict.blocks / 2 + MINUTE_BLOCKS * 2;
        let half = verdict.usual() + verdict.excess() / 2.0;
        let (mut sum, mut least, mut onset) = (0.0, 0.0, block - look_back);
        for (at, count) in self.counts(place, wrong, block - look_back, block) {
            sum += count.wrong - count.of * half;
            if sum <= least {
                (least, onset) = (sum, at + 1);
            }
        }
        onset.min(block)
    }
}

impl Rate {
    /// Keeps the largest surprise of the past; what is seen now counts only later, and not during an incident.
    fn remember(&mut self, surprise: f64) {
        if surprise == 0.0 && self.past == 0.0 && self.pending.is_empty() {
            return;
        }
        self.pending.push_back(surprise);
        if self.pending.len() > PAST_DELAY {
            let old = self.pending.pop_front().unwrap_or(0.0);
            self.past = (self.past * PAST_FADE).max(old);
        }
    }
}

fn sum(counts: &[(i64, Count)], from: i64, to: i64) -> Count {
    let mut all = Count::default();
    counts.iter().filter(|(at, _)| (from..=to).contains(at)).for_each(|(_, count)| all.add(*count));
    all
}

/// Compares a window with what is usual before it.
fn weigh(
    place: (&Place, Wrong),
    counts: &[(i64, Count)],
    (block, blocks): (i64, i64),
    held: Option<Reference>,
    needed: f64,
) -> Option<RateVerdict> {
    let first = block - blocks + 1;
    let now = sum(counts, first, block);
    let reference = held.or_else(|| reference(place, counts, first - GUARD_BLOCKS))?;
    let surprise = surprise(reference.count, now, reference.clump);
    Some(RateVerdict { now, blocks, reference, surprise, needed })
}

/// Returns whether it is enough, more than usual, spread over the window and still going on.
fn matters(bar: Bar, counts: &[(i64, Count)], block: i64, verdict: &RateVerdict) -> bool {
    let first = block - verdict.blocks + 1;
    let reference = &verdict.reference;
    let is_known = reference.count.of >= bar.before_of && reference.minutes >= bar.before_minutes;
    let has_wrong = |(at, count): &&(i64, Count)| (first..=block).contains(at) && count.wrong > 0.0;
    let is_spread = counts.iter().filter(has_wrong).count() >= bar.blocks;
    let usual = reference.count.usual_share();
    let odds = |share: f64| share / (1.0 - share).max(1e-6);
    let last = sum(counts, block - verdict.blocks / LAST_PART + 1, block);
    is_known
        && is_spread
        && verdict.now.wrong >= bar.wrong
        && usual <= bar.usual_max
        && verdict.excess() >= bar.excess
        && odds(verdict.share()) >= ODDS_FACTOR * odds(usual)
        && verdict.share() >= ABOVE_WORST * reference.worst.min(1.0 / ABOVE_WORST)
        && (last.of < LAST_OF_MIN || last.share() >= GOES_ON * verdict.share())
}

/// Occasions in the half hour below which older ones are looked at, too.
const FEW_OF: f64 = 500.0;

/// Summarises the half hour that ends before block `end`.
fn reference((place, wrong): (&Place, Wrong), counts: &[(i64, Count)], end: i64) -> Option<Reference> {
    let minutes_max = usize::try_from(REFERENCE_BLOCKS / MINUTE_BLOCKS).unwrap_or(0);
    let mut minutes = vec![Count::default(); minutes_max];
    let mut all = Count::default();
    for (number, count) in counts {
        let age = end - 1 - number;
        if age < 0 || place.excluded.iter().any(|(from, to)| (*from..=*to).contains(number)) {
            continue;
        }
        if let Some(minute) = usize::try_from(age / MINUTE_BLOCKS).ok().and_then(|at| minutes.get_mut(at)) {
            minute.add(*count);
            all.add(*count);
        }
    }
    minutes.retain(|minute| minute.of > 0.0);
    if minutes.is_empty() {
        return None;
    }
    let mut shares: Vec<f64> =
        minutes.iter().filter(|minute| minute.of >= MINUTE_OF_MIN).map(|minute| minute.share()).collect();
    shares.sort_by(f64::total_cmp);
    let clump_min = if wrong == Wrong::NotUndone { SAGA_CLUMP_MIN } else { CLUMP_MIN };
    let clump = clump(&minutes, all).max(clump_min);
    if all.of < FEW_OF && wrong != Wrong::LeftOut {
        let older = place.rate(wrong).map_or(0.0, |rate| rate.older);
        all.add(Count { of: place.older.max(older), wrong: older });
    }
    let worst = shares.get(shares.len() * 9 / 10).copied().unwrap_or(0.0);
    Some(Reference { count: all, clump, minutes: minutes.len(), worst })
}

/// Returns by how much the minutes differ more than chance alone would make them: Pearson's dispersion.
fn clump(minutes: &[Count], all: Count) -> f64 {
    let share = all.usual_share();
    let expected = |minute: &Count| minute.of * share;
    let chi: f64 = minutes
        .iter()
        .map(|minute| {
            (minute.wrong - expected(minute)).powi(2) / (expected(minute) * (1.0 - share)).max(f64::MIN_POSITIVE)
        })
        .sum();
    chi / (minutes.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests;
