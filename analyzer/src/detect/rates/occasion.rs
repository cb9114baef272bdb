//! Occasions on which something may go wrong, and how often it did, in blocks of ten seconds. Filled by the passes over
//! transactions and messages, read by the test of rates. Bounded by occasions, and by blocks of each; what is unused is
//! let go. Counts each occasion and each wrong once a transaction: what is in one transaction is not independent.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::TraceId;

use super::name;
use super::odds::Count;
use crate::detect::slots::{Slots, item_of};
use crate::span::Site;

/// Service and operation.
pub(in crate::detect) type Name = (Arc<str>, Arc<str>);

/// What an occasion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::detect) enum Of {
    /// An execution of an operation.
    Execution,
    /// A call that an operation makes, all attempts of it.
    Call,
    /// A message that is sent, to whom it is for.
    Message,
    /// A message that is taken in.
    Taking,
    /// A request that carries an idempotency key, or a value of a business key.
    Request,
    /// A message about a value of a business key that follows another one.
    Turn,
    /// A stage that is to be undone, because another failed.
    Undoing,
}

/// Like occasions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::detect) struct Occasion {
    /// What they are.
    pub(in crate::detect) of: Of,
    /// Who executes, calls, sends, takes in, or did what is to be undone.
    pub(in crate::detect) by: Name,
    /// Whom a call or message is for, which stage failed, or by values of which business key of its own service the work
    /// is told apart.
    pub(in crate::detect) to: Option<Name>,
}

impl Occasion {
    /// Returns work of an operation that is told apart by values of a business key.
    pub(super) fn by_key(of: Of, site: &Site, key_name: &Arc<str>) -> Self {
        let by = name(site);
        let to = Some((by.0.clone(), key_name.clone()));
        Self { of, by, to }
    }

    /// Returns whether the second name is that of a business key, and not of whom it is for.
    pub(in crate::detect) fn is_by_key(&self) -> bool {
        self.to.is_some() && matches!(self.of, Of::Taking | Of::Request | Of::Turn)
    }

    /// Returns the services that are concerned.
    pub(in crate::detect) fn services(&self) -> Vec<Arc<str>> {
        let mut services = vec![self.by.0.clone()];
        services.extend(self.to.iter().map(|to| to.0.clone()).filter(|to| *to != self.by.0));
        services
    }
}

/// What goes wrong on an occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::detect) enum Wrong {
    /// It fails by itself: nothing below it that failed explains it.
    Fails,
    /// The caller gives up on a call, and fails by that.
    CutOff,
    /// The call fails, and the caller goes on without it.
    Absorbed,
    /// The call is tried again.
    Retried,
    /// The call is tried again after it was answered with an error.
    RetriedErrors,
    /// The called one works on after the caller gave up.
    WorkedOn,
    /// The called one, which shows its work usually, does not.
    Unreached,
    /// The execution begins a transaction.
    Begins,
    /// A message was taken in, and nobody is found who sent it.
    Uncaused,
    /// A message was taken in before.
    Twice,
    /// A message is taken in before an earlier one.
    Disordered,
    /// The message is not taken in.
    Lost,
    /// The message is not taken in in time, and what is sent after it neither.
    Behind,
    /// A stage is not undone.
    NotUndone,
    /// A call that is usually made, and succeeds, is not made or fails, and the caller succeeds nevertheless. Is worked
    /// out from counts of occasions, not counted.
    LeftOut,
}

/// What is counted of occasions in one block.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::detect) struct Tally {
    /// Transactions with the occasion.
    pub(in crate::detect) of: u32,
    /// Those in which it succeeded; of a call, in which the first execution of its caller succeeded, and the call too.
    pub(in crate::detect) good: u32,
    /// Occasions, however many in one transaction.
    pub(in crate::detect) all: u32,
    /// Milliseconds that the good ones took.
    pub(in crate::detect) good_ms: f32,
}

/// What went wrong in one block.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::detect) struct Wrongs {
    /// Transactions in which it did.
    pub(in crate::detect) count: u32,
    /// How much of it: further attempts, milliseconds of work that nobody waits for, failed calls that did reach somebody.
    pub(in crate::detect) weight: f32,
}

/// A transaction in which something went wrong.
#[derive(Debug, Clone)]
pub(in crate::detect) struct Example {
    pub(in crate::detect) id: TraceId,
    /// Root of the transaction, which names its type, if it is known.
    pub(in crate::detect) root: Option<Arc<Site>>,
    pub(in crate::detect) duration_ms: f64,
    /// The span at which it shows.
    pub(in crate::detect) site: Option<Arc<Site>>,
}

impl Example {
    /// Returns a transaction of which only the span is known at which it shows.
    pub(super) fn at(id: TraceId, site: &Arc<Site>) -> Self {
        Self { id, root: None, duration_ms: 0.0, site: Some(site.clone()) }
    }
}

/// Examples kept of each rate.
pub(in crate::detect) const EXAMPLES_MAX: usize = 32;
/// Blocks kept: the longest window, what lies before it, and the half hour that is compared with.
pub(super) const KEPT_BLOCKS: i64 = 60 + 3 + 180;

/// How often one thing goes wrong on like occasions.
#[derive(Debug, Clone)]
pub(in crate::detect) struct Rate {
    pub(in crate::detect) wrong: Wrong,
    pub(super) blocks: VecDeque<(i64, Wrongs)>,
    pub(in crate::detect) examples: VecDeque<Example>,
    /// Transaction that was counted last.
    seen: u64,
    /// Compared with since an incident began.
    pub(super) held: Option<super::judge::Reference>,
    /// Ticks in a row in which it stood out.
    pub(super) hot_ticks: u32,
    /// Surprise of the last ticks, and the largest before, as [`crate::detect::signals::Signal`] keeps scores.
    pub(super) pending: VecDeque<f64>,
    pub(super) past: f64,
    /// What went wrong in blocks that were let go of, as [`Place::older`] counts occasions.
    pub(super) older: f64,
}

impl Rate {
    fn new(wrong: Wrong) -> Self {
        Self {
            wrong,
            blocks: VecDeque::new(),
            examples: VecDeque::new(),
            seen: 0,
            held: None,
            hot_ticks: 0,
            pending: VecDeque::new(),
            past: 0.0,
            older: 0.0,
        }
    }

    /// Returns what went wrong in blocks `from..=to`.
    pub(in crate::detect) fn between(&self, from: i64, to: i64) -> Wrongs {
        let mut all = Wrongs::default();
        for (_, wrongs) in self.blocks.iter().rev().skip_while(|(at, _)| *at > to).take_while(|(at, _)| *at >= from) {
            all.count += wrongs.count;
            all.weight += wrongs.weight;
        }
        all
    }
}

/// Like occasions, and what goes wrong on them.
#[derive(Debug, Default)]
pub(in crate::detect) struct Place {
    pub(super) blocks: VecDeque<(i64, Tally)>,
    pub(super) rates: Vec<Rate>,
    /// Blocks from which nothing is learned: an incident was open. Bounded by the blocks kept.
    pub(super) excluded: VecDeque<(i64, i64)>,
    /// Block from which on what is counted is compared with the time before: an incident is open.
    pub(super) held_from: Option<i64>,
    /// Occasions in blocks that were let go of: where they are rare, half an hour says too little of what is usual.
    pub(super) older: f64,
    /// Occasions of the caller, of a call.
    pub(super) within: Option<usize>,
    /// Whether the called one ever showed its work.
    pub(in crate::detect) is_reached: bool,
    /// Transaction that was counted last, and the span of its first occasion.
    seen: u64,
    pub(super) first: u32,
    seen_good: u64,
    /// Where it happened lately, one in a few, to compare with where it goes wrong.
    pub(in crate::detect) sites: VecDeque<Arc<Site>>,
}

/// At so many, older occasions and what went wrong on them are halved: what is old fades.
const OLDER_MAX: f64 = 2_000.0;
/// Sites kept of where it happened lately.
const SITES_MAX: usize = 32;
/// One in so many is kept.
const SITES_ONE_IN: u64 = 4;

impl Place {
    /// Returns what was counted in blocks `from..=to`.
    pub(in crate::detect) fn between(&self, from: i64, to: i64) -> Tally {
        let mut all = Tally::default();
        for (_, tally) in self.blocks.iter().rev().skip_while(|(at, _)| *at > to).take_while(|(at, _)| *at >= from) {
            all.of += tally.of;
            all.good += tally.good;
            all.all += tally.all;
            all.good_ms += tally.good_ms;
        }
        all
    }

    /// Lets go of blocks before `oldest`; what was in them and not in an incident counts as older.
    fn let_go(&mut self, oldest: i64) {
        let Self { blocks, rates, excluded, older, .. } = self;
        let is_learned = |number: i64| !excluded.iter().any(|(from, to)| (*from..=*to).contains(&number));
        while let Some((number, tally)) = blocks.pop_front_if(|(number, _)| *number < oldest) {
            *older += if is_learned(number) { f64::from(tally.of) } else { 0.0 };
        }
        for rate in rates.iter_mut() {
            while let Some((number, wrongs)) = rate.blocks.pop_front_if(|(number, _)| *number < oldest) {
                rate.older += if is_learned(number) { f64::from(wrongs.count) } else { 0.0 };
            }
        }
        if *older > OLDER_MAX {
            *older /= 2.0;
            rates.iter_mut().for_each(|rate| rate.older /= 2.0);
        }
        excluded.retain(|(_, end)| *end >= oldest);
    }

    /// Forgets what was before a block, and that an incident was open.
    pub(super) fn relearn(&mut self, from: i64) {
        self.blocks.retain(|(number, _)| *number >= from);
        (self.older, self.held_from) = (0.0, None);
        self.excluded.clear();
        for rate in &mut self.rates {
            rate.blocks.retain(|(number, _)| *number >= from);
            rate.pending.clear();
            (rate.older, rate.past, rate.held, rate.hot_ticks) = (0.0, 0.0, None, 0);
        }
    }

    /// Returns the blocks that tell what is usual, for a window that begins with `first`: before an incident that is open.
    pub(in crate::detect) fn usual_blocks(&self, first: i64) -> (i64, i64) {
        let end = self.held_from.unwrap_or(first).min(first - super::judge::GUARD_BLOCKS);
        (end - super::judge::REFERENCE_BLOCKS, end - 1)
    }

    /// Returns the rate of what goes wrong, if it ever did.
    pub(in crate::detect) fn rate(&self, wrong: Wrong) -> Option<&Rate> {
        self.rates.iter().find(|rate| rate.wrong == wrong)
    }

    /// Returns the rate of what goes wrong; one that is new is compared with a time without it.
    pub(super) fn rate_mut(&mut self, wrong: Wrong) -> &mut Rate {
        let at = self.rates.iter().position(|rate| rate.wrong == wrong).unwrap_or_else(|| {
            self.rates.push(Rate::new(wrong));
            self.rates.len() - 1
        });
        &mut self.rates[at]
    }
}

/// All occasions of one detector.
#[derive(Debug)]
pub(in crate::detect) struct Occasions {
    pub(in crate::detect) slots: Slots<Occasion, Place>,
    /// Number of the transaction at hand.
    seq: u64,
}

impl Occasions {
    pub(super) fn new(max: usize) -> Self {
        Self { slots: Slots::new(max), seq: 0 }
    }

    /// Begins a transaction, or whatever else is counted at most once.
    pub(super) fn begin(&mut self) {
        self.seq += 1;
    }

    /// Counts an occasion at span `at`.
    pub(super) fn occurs(&mut self, id: usize, block: i64, at: u32, site: &Arc<Site>) {
        let seq = self.seq;
        let Some((_, place)) = self.slots.used(id, block) else { return };
        let tally = item_of(&mut place.blocks, block);
        tally.all += 1;
        if place.seen == seq {
            return;
        }
        tally.of += 1;
        (place.seen, place.first) = (seq, at);
        if place.blocks.front().is_some_and(|(number, _)| *number < block - KEPT_BLOCKS) {
            place.let_go(block - KEPT_BLOCKS);
        }
        if seq.is_multiple_of(SITES_ONE_IN) && !place.rates.is_empty() {
            if place.sites.len() >= SITES_MAX {
                place.sites.pop_front();
            }
            place.sites.push_back(site.clone());
        }
    }

    /// Counts that an occasion of the transaction at hand was a good one.
    pub(super) fn is_good(&mut self, id: usize, block: i64, ms: f64) {
        let seq = self.seq;
        let Some((_, place)) = self.slots.used(id, block) else { return };
        if place.seen_good == seq {
            return;
        }
        place.seen_good = seq;
        let tally = item_of(&mut place.blocks, block);
        tally.good += 1;
        tally.good_ms += ms as f32;
    }

    /// Counts that something went wrong; `example` is asked for what shows it.
    pub(super) fn goes_wrong(
        &mut self,
        id: usize,
        (wrong, weight): (Wrong, f64),
        block: i64,
        example: impl FnOnce() -> Example,
    ) {
        let seq = self.seq;
        let Some((_, place)) = self.slots.used(id, block) else { return };
        let (is_new, held_from) = (place.rate(wrong).is_none(), place.held_from);
        let rate = place.rate_mut(wrong);
        let wrongs = item_of(&mut rate.blocks, block);
        wrongs.weight += weight as f32;
        if rate.seen != seq {
            rate.seen = seq;
            wrongs.count += 1;
            if rate.examples.len() >= EXAMPLES_MAX {
                rate.examples.pop_front();
            }
            rate.examples.push_back(example());
        }
        if let Some(from) = held_from.filter(|_| is_new) {
            self.hold_rate(id, wrong, from);
        }
    }

    /// Takes back one of the latest wrongs of a place: it turned out to be none.
    pub(super) fn goes_right(&mut self, id: usize, wrong: Wrong, block: i64) {
        let Some((_, place)) = self.slots.used(id, block) else { return };
        let latest = place.rate_mut(wrong).blocks.iter_mut().rev().find(|(_, wrongs)| wrongs.count > 0);
        if let Some((_, wrongs)) = latest {
            wrongs.count -= 1;
        }
    }

    /// Has a rate be compared with the time before a block.
    pub(super) fn hold_rate(&mut self, id: usize, wrong: Wrong, from: i64) {
        let Some(reference) = self.slots.get(id).map(|place| self.reference_before(place, wrong, from)) else { return };
        let Some(place) = self.slots.get_mut(id) else { return };
        let rate = place.rate_mut(wrong);
        if rate.held.is_none() {
            rate.held = reference;
            // The surprise of an onset is no part of what is usual.
            rate.pending.clear();
        }
    }

    /// Returns counts of blocks `from..=to` in which there were occasions, oldest first.
    pub(in crate::detect) fn counts(&self, place: &Place, wrong: Wrong, from: i64, to: i64) -> Vec<(i64, Count)> {
        let mut counts = Vec::new();
        if wrong == Wrong::LeftOut {
            let Some(caller) = place.within.and_then(|within| self.slots.get(within)) else { return counts };
            for (at, tally) in range(&caller.blocks, from, to) {
                let made = range(&place.blocks, at, at).next().map_or(0, |(_, tally)| tally.good);
                let of = f64::from(tally.good);
                counts.push((at, Count { of, wrong: of - f64::from(made.min(tally.good)) }));
            }
            return counts;
        }
        let rate = place.rate(wrong);
        for (at, tally) in range(&place.blocks, from, to) {
            let wrong = rate.and_then(|rate| range(&rate.blocks, at, at).next()).map_or(0, |(_, wrongs)| wrongs.count);
            // An occasion may have been counted a block before what went wrong on it.
            counts.push((at, Count { of: f64::from(tally.of.max(wrong)), wrong: f64::from(wrong) }));
        }
        counts
    }
}

/// Returns the items of a sorted queue with numbers `from..=to`.
fn range<T: Copy>(queue: &VecDeque<(i64, T)>, from: i64, to: i64) -> impl Iterator<Item = (i64, T)> {
    let first = queue.partition_point(|(number, _)| *number < from);
    queue.range(first..).copied().take_while(move |(number, _)| *number <= to)
}
