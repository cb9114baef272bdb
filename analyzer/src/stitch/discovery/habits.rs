//! What is done under the values of one attribute key, and in what order: work runs in like ways, and values that are
//! equal by chance bring together whatever comes. Kept by `discovery` for each key it watches; every map has a bound.

use crate::hash::Map;

/// Pairs of things done that are counted for each key; what is beyond counts as seen once.
const ORDERS_MAX: usize = 512;
/// Of so many orders seen again one may be turned round, at most: clocks differ.
const TURNED_ONE_IN: u64 = 8;
/// Orders that a pair must have been seen in on the average.
const ORDERS_PER_PAIR_MIN: u64 = 3;
/// Orders from which on that is asked.
const ORDERS_JUDGED_FROM: u64 = 30;
/// Things done that are counted for each key; what is beyond is not.
const DONE_MAX: usize = 64;
/// Of a hundred values so many have a thing that is one of the core.
const CORE_PERCENT: u64 = 80;
/// The same for a key that is used: of work that is going on much is still to come.
const CORE_PERCENT_USED: u64 = 50;
/// Things that make a core.
const CORE_MIN: usize = 2;
/// Values from which on a core is looked for: two or three may be alike by chance.
const CORE_JUDGED_FROM: u64 = 6;

/// What is done under the values of one key, and in what order.
#[derive(Debug, Default)]
pub(super) struct Habits {
    /// Of two things that are done, by which number is smaller: how often it came first, and how often the other.
    pairs: Map<(u64, u64), (u64, u64)>,
    all: u64,
    /// Of those, how many are of pairs seen more than once.
    again: u64,
    /// Of those again, how many were the other way round than most of their pair.
    turned: u64,
    /// Under how many values that traces share each thing is done.
    done: Map<u64, u64>,
}

impl Habits {
    /// Notes that one thing was done before another under some value.
    pub(super) fn note_order(&mut self, before: u64, after: u64) {
        self.all += 1;
        let key = (before.min(after), before.max(after));
        if self.pairs.len() >= ORDERS_MAX && !self.pairs.contains_key(&key) {
            return;
        }
        let counts = self.pairs.entry(key).or_default();
        let turned = counts.0.min(counts.1);
        if before < after {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
        self.turned += counts.0.min(counts.1) - turned;
        self.again += match counts.0 + counts.1 {
            1 => 0,
            2 => 2,
            _ => 1,
        };
    }

    /// Returns whether most were seen before, few the other way round, and each pair often enough on the whole.
    pub(super) fn are_orders_alike(&self) -> bool {
        let is_varied = self.all >= ORDERS_JUDGED_FROM && self.pairs.len() as u64 * ORDERS_PER_PAIR_MIN > self.all;
        self.again * 2 >= self.all && self.turned * TURNED_ONE_IN <= self.again && !is_varied
    }

    /// Notes that a thing is done under a value that traces share, for the first time under this value.
    pub(super) fn note_done(&mut self, thing: u64) {
        if self.done.len() < DONE_MAX || self.done.contains_key(&thing) {
            *self.done.entry(thing).or_default() += 1;
        }
    }

    /// Returns whether, in whatever order, the same things are done under nearly all values that traces share. Values
    /// that are equal by chance bring together whatever comes.
    pub(super) fn has_core(&self, shared: u64, is_used: bool) -> bool {
        let percent = if is_used { CORE_PERCENT_USED } else { CORE_PERCENT };
        let is_core = |count: &&u64| **count * 100 >= shared * percent;
        shared >= CORE_JUDGED_FROM && self.done.values().filter(is_core).count() >= CORE_MIN
    }
}
