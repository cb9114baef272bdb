//! Messages about one value of a business key: whether they are taken in in the order in which they were sent. Fed by the
//! detector with messages whose taker is known, for queues that state no offsets. Bounded by spans and values remembered:
//! of two generations the older goes.
//!
//! Only messages of one sending service to one queue, taken in by one service, have an order. What concurrent takers usually
//! do to it is the rate that is compared with.

use std::collections::VecDeque;

use super::occasion::{Example, Occasion, Of, Wrong};
use super::remembered::Remembered;
use super::{Rates, SpanOf};
use crate::hash::{FNV_SEED, Map, fnv};
use crate::span::Span;
use crate::stitch::Worked;
use crate::transaction::Transaction;

/// Executions remembered of one generation with what they work for, about 90 bytes each, and how many values of each.
const ABOUT_MAX: usize = 100_000;
const VALUES_MAX: usize = 3;
/// Values remembered of one generation whose messages are watched, about 150 bytes each, and messages of each.
const LANES_MAX: usize = 50_000;
const LANE_MESSAGES: usize = 4;
/// Arrival time that a generation covers: what belongs to one piece of work and comes later is in order anyway.
const LIFE_NS: i64 = 300_000_000_000;
/// Messages about one value from which on it names who sends, and not one piece of work.
const LANE_CROWD: u32 = 32;
/// Time by which sends of one process must lie apart to have an order: what is sent at once is not sent in one.
const APART_NS: i64 = 50_000_000;
/// The same of times by the clocks of two processes.
const CLOCKS_APART_NS: i64 = 1_000_000_000;
/// Short cuts past names that are kept; beyond it all are found again.
const PLACES_MAX: usize = 20_000;

/// Values of one execution by key; of a key with several values none is the one that a message is about.
type Values = Vec<(u16, Option<u64>)>;

/// A message that was taken in.
#[derive(Debug, Clone, Copy)]
struct Message {
    sent_by: SpanOf,
    sent_ns: i64,
    sent_process: u64,
    taken_ns: i64,
    taken_process: u64,
}

/// The latest messages about one value, from one service to one that takes them in.
#[derive(Debug, Default)]
struct Lane {
    latest: VecDeque<Message>,
    all: u32,
}

/// What messages are about, and how they came.
#[derive(Debug)]
pub(super) struct Turns {
    about: Remembered<SpanOf, Values>,
    lanes: Remembered<(u64, u64), Lane>,
    names: Map<u16, std::sync::Arc<str>>,
    /// By what takes in and by key.
    places: Map<(u64, u16), usize>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            about: Remembered::new(ABOUT_MAX, LIFE_NS),
            lanes: Remembered::new(LANES_MAX, LIFE_NS),
            names: Map::default(),
            places: Map::default(),
        }
    }
}

/// How a message compares with one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// They were sent at once, as far as clocks tell.
    Unknown,
    Kept,
    Broken,
}

impl Message {
    fn order_with(&self, other: &Self) -> Order {
        let sent_apart_ns = if self.sent_process == other.sent_process { APART_NS } else { CLOCKS_APART_NS };
        let taken_apart_ns = if self.taken_process == other.taken_process { 0 } else { CLOCKS_APART_NS };
        let (first, second) = if self.sent_ns <= other.sent_ns { (self, other) } else { (other, self) };
        match () {
            () if second.sent_ns.saturating_sub(first.sent_ns) < sent_apart_ns => Order::Unknown,
            () if first.taken_ns.saturating_sub(second.taken_ns) > taken_apart_ns => Order::Broken,
            () => Order::Kept,
        }
    }
}

impl Lane {
    /// Takes in a message; returns its order among those before, if that can be told. One that is taken in again is known.
    fn take(&mut self, message: Message) -> Order {
        if self.latest.iter().any(|known| known.sent_by == message.sent_by) {
            return Order::Unknown;
        }
        let orders: Vec<Order> = self.latest.iter().map(|known| message.order_with(known)).collect();
        self.all = self.all.saturating_add(1);
        if self.latest.len() >= LANE_MESSAGES {
            self.latest.pop_front();
        }
        self.latest.push_back(message);
        let has = |order: Order| orders.contains(&order);
        match () {
            () if self.all >= LANE_CROWD => Order::Unknown,
            () if has(Order::Broken) => Order::Broken,
            () if has(Order::Kept) => Order::Kept,
            () => Order::Unknown,
        }
    }
}

impl Turns {
    /// Notes what an execution works for.
    pub(super) fn note_worked(&mut self, one: &Worked, now_ns: i64) {
        self.about.turn(now_ns);
        self.names.entry(one.key).or_insert_with(|| one.key_name.clone());
        let span = (one.trace, one.span_id);
        let mut values = self.about.remove(&span).unwrap_or_default();
        if let Some((_, value)) = values.iter_mut().find(|(key, _)| *key == one.key) {
            *value = value.filter(|value| *value == one.value);
        } else if values.len() < VALUES_MAX {
            values.push((one.key, Some(one.value)));
        }
        self.about.insert(span, values);
    }

    /// Returns the values that a message is about: those of who takes it in, or else of who sends it.
    fn values(&self, taker: &SpanOf, sender: &SpanOf) -> Vec<(u16, u64)> {
        let known = self.about.get(taker).or_else(|| self.about.get(sender));
        known.into_iter().flatten().filter_map(|(key, value)| Some((*key, (*value)?))).collect()
    }

    /// Returns how many executions and values were forgotten at the bounds.
    pub(super) fn let_go(&self) -> u64 {
        self.about.let_go + self.lanes.let_go
    }

    pub(super) fn forget_places(&mut self) {
        self.places.clear();
    }
}

impl Rates {
    /// Takes in a message of which both ends are known: spans `sender` and `taker` of a transaction.
    pub(super) fn take_turn(
        &mut self,
        transaction: &Transaction,
        (sender, taker): (usize, usize),
        (block, now_ns): (i64, i64),
    ) {
        let span_of = |at: usize| (transaction.trace_of(at), transaction.spans[at].span_id);
        let values = self.turns.values(&span_of(taker), &span_of(transaction.execution_of(sender)));
        if values.is_empty() {
            return;
        }
        let (sent, taken) = (&transaction.spans[sender], &transaction.spans[taker]);
        let message = Message {
            sent_by: span_of(sender),
            sent_ns: sent.start_ns,
            sent_process: sent.site.process,
            taken_ns: taken.start_ns,
            taken_process: taken.site.process,
        };
        self.turns.lanes.turn(now_ns);
        self.occasions.begin();
        for (key, value) in values {
            let lane_key = (value, between(sent, taken));
            let mut lane = self.turns.lanes.remove(&lane_key).unwrap_or_default();
            let order = lane.take(message);
            self.turns.lanes.insert(lane_key, lane);
            if order == Order::Unknown {
                continue;
            }
            let Some(place) = self.turn_place(taken, key, block) else { continue };
            self.occasions.occurs(place, block, 0, &taken.site);
            if order == Order::Broken {
                let example = || Example::at(span_of(taker).0, &taken.site);
                self.occasions.goes_wrong(place, (Wrong::Disordered, 1.0), block, example);
            }
        }
    }

    fn turn_place(&mut self, taken: &Span, key: u16, block: i64) -> Option<usize> {
        let short = (taken.site.shape, key);
        if let Some(&place) = self.turns.places.get(&short) {
            return Some(place);
        }
        let occasion = Occasion::by_key(Of::Turn, &taken.site, self.turns.names.get(&key)?);
        let place = self.occasions.slots.id(occasion, block)?;
        if self.turns.places.len() >= PLACES_MAX {
            self.turns.places.clear();
        }
        self.turns.places.insert(short, place);
        Some(place)
    }
}

/// Tells apart from which service to which queue, and to whom, a message goes.
fn between(sent: &Span, taken: &Span) -> u64 {
    let queue = sent.site.target.as_deref().unwrap_or_default();
    let parts = [sent.service(), queue, taken.service()];
    parts.into_iter().fold(FNV_SEED, |hash, part| fnv(fnv(hash, part.as_bytes()), &[0]))
}

#[cfg(test)]
mod tests;
