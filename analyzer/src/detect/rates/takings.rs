//! Messages, and requests with an idempotency key, as they are taken in: which were taken in before, and which before an
//! earlier one of their partition. Fed by the detector with what arriving spans say. Bounded by messages and partitions
//! remembered: of two generations the older goes.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::{SpanId, TraceId};

use super::occasion::{Example, Occasion, Of, Wrong};
use super::remembered::Remembered;
use super::{Rates, name};
use crate::hash::Map;
use crate::stitch::Taken;

/// Messages remembered of one generation, about 40 bytes each.
const MESSAGES_MAX: usize = 200_000;
/// Arrival time that a generation covers, at most.
const GENERATION_NS: i64 = 600_000_000_000;
/// Partitions of which the order is watched; beyond it none is added until the unused ones are let go.
const PARTITIONS_MAX: usize = 10_000;
/// Messages of a partition that wait until none that was taken in before can arrive any more.
const WAITING_MAX: usize = 1_000;
/// Arrival time for which they wait: exporters send every five seconds.
const WAIT_NS: i64 = 12_000_000_000;
/// Arrival time between two looks at all partitions.
const SETTLE_NS: i64 = 1_000_000_000;
/// Arrival time after which a partition that is unused is forgotten.
const UNUSED_NS: i64 = 1_800_000_000_000;

/// How a message was taken in last.
#[derive(Debug, Clone, Copy)]
struct Before {
    span_id: SpanId,
    trace: TraceId,
    start_ns: i64,
    has_failed: bool,
}

impl Before {
    fn is_same(&self, other: &Self) -> bool {
        (self.span_id, self.trace) == (other.span_id, other.trace)
    }
}

/// A message of a partition that waits for its turn.
#[derive(Debug, Clone)]
struct Waiting {
    start_ns: i64,
    offset: i64,
    arrived_ns: i64,
    place: usize,
    trace: TraceId,
    site: Arc<crate::span::Site>,
}

/// What is known of a partition and who takes it in.
#[derive(Debug, Default)]
struct Partition {
    /// In order of start.
    waiting: VecDeque<Waiting>,
    /// Largest place so far, and the latest start.
    highest: Option<i64>,
    started_ns: i64,
    used_ns: i64,
}

/// What was taken in lately.
#[derive(Debug)]
pub(super) struct Takings {
    messages: Remembered<(u64, u64), Before>,
    partitions: Map<(u64, u64), Partition>,
    settled_ns: i64,
    tidied_ns: i64,
    /// Messages that were found to come before earlier ones, until they are counted.
    disordered: Vec<Waiting>,
    /// What was counted last as one piece of evidence.
    last_trace: TraceId,
    pub(super) partitions_left_out: u64,
}

impl Default for Takings {
    fn default() -> Self {
        Self {
            messages: Remembered::new(MESSAGES_MAX, GENERATION_NS),
            partitions: Map::default(),
            settled_ns: 0,
            tidied_ns: 0,
            disordered: Vec::new(),
            last_trace: TraceId::default(),
            partitions_left_out: 0,
        }
    }
}

impl Takings {
    /// Returns how many messages were forgotten at the bound.
    pub(super) fn let_go(&self) -> u64 {
        self.messages.let_go
    }

    /// Lets go of messages that wait for their turn: places are given anew.
    pub(super) fn forget_places(&mut self) {
        self.partitions.clear();
        self.disordered.clear();
    }

    /// Returns how else a message was taken in, and remembers of both the one that began later: spans arrive in any order.
    fn before(&mut self, key: (u64, u64), now: Before, now_ns: i64) -> Option<Before> {
        self.messages.turn(now_ns);
        let other = self.messages.remove(&key);
        self.messages.insert(key, other.filter(|other| other.start_ns > now.start_ns).unwrap_or(now));
        other
    }
}

impl Partition {
    /// Takes the first that waits out, and returns it if it comes before an earlier one.
    fn next(&mut self) -> Option<Waiting> {
        let one = self.waiting.pop_front()?;
        // What arrives this late cannot be put into its place.
        if one.start_ns < self.started_ns {
            return None;
        }
        self.started_ns = one.start_ns;
        let is_behind = self.highest.is_some_and(|highest| one.offset < highest);
        self.highest = self.highest.max(Some(one.offset));
        is_behind.then_some(one)
    }
}

impl Rates {
    /// Counts what spans that arrived at `now_ns` took in.
    pub(in crate::detect) fn take_in(&mut self, taken: &[Taken], block: i64, now_ns: i64) {
        for one in taken {
            self.take_in_one(one, block, now_ns);
        }
        self.settle_order(block, now_ns);
    }

    fn take_in_one(&mut self, taken: &Taken, block: i64, now_ns: i64) {
        let (taking, site) = (&taken.taking, &taken.site);
        if !taking.has_cause {
            self.begins_without_cause(taken, block);
        }
        if taking.token == 0 {
            return;
        }
        let (span_id, trace, start_ns) = (taken.span_id, taken.trace, taken.start_ns);
        let now = Before { span_id, trace, start_ns, has_failed: site.has_error };
        let other = self.takings.before((taking.token, site.shape), now, now_ns);
        // The same span, sent twice, is not the same work done twice.
        if other.is_some_and(|other| other.is_same(&now)) {
            return;
        }
        let of = if taking.is_request { Of::Request } else { Of::Taking };
        let Some(place) = self.taking_place(of, taken, block) else { return };
        // What one trace takes in, as a batch does, is one piece of evidence.
        if self.takings.last_trace != taken.trace {
            self.occasions.begin();
            self.takings.last_trace = taken.trace;
        }
        self.occasions.occurs(place, block, 0, site);
        // What failed is to be done again.
        let in_order = |other: Before| if other.start_ns <= now.start_ns { (other, now) } else { (now, other) };
        if let Some((_, again)) = other.map(in_order).filter(|(first, _)| !first.has_failed) {
            self.works.note_repeated((again.trace, again.span_id), now_ns);
            self.occasions.goes_wrong(place, (Wrong::Twice, 1.0), block, || Example::at(taken.trace, site));
        }
        if taking.partition != 0 && other.is_none() {
            self.wait_for_turn(taken, place, now_ns);
        }
    }

    fn taking_place(&mut self, of: Of, taken: &Taken, block: i64) -> Option<usize> {
        let key = (of, taken.site.number);
        if let Some(&place) = self.taking_places.get(&key) {
            return Some(place);
        }
        let place = self.occasions.slots.id(Occasion { of, by: name(&taken.site), to: None }, block)?;
        self.taking_places.insert(key, place);
        Some(place)
    }

    /// Counts that a message says nothing of where it comes from.
    fn begins_without_cause(&mut self, taken: &Taken, block: i64) {
        let Some(place) = self.operation(&taken.site, block) else { return };
        self.occasions.begin();
        let example = || Example::at(taken.trace, &taken.site);
        self.occasions.goes_wrong(place, (Wrong::Begins, 0.0), block, example);
    }

    fn wait_for_turn(&mut self, taken: &Taken, place: usize, now_ns: i64) {
        let key = (taken.taking.partition, taken.site.shape);
        let is_known = self.takings.partitions.contains_key(&key);
        if !is_known && self.takings.partitions.len() >= PARTITIONS_MAX {
            self.takings.partitions_left_out += 1;
            return;
        }
        let partition = self.takings.partitions.entry(key).or_default();
        partition.used_ns = now_ns;
        let (start_ns, offset, trace) = (taken.start_ns, taken.taking.offset, taken.trace);
        let one = Waiting { start_ns, offset, arrived_ns: now_ns, place, trace, site: taken.site.clone() };
        let at = partition.waiting.partition_point(|waiting| (waiting.start_ns, waiting.offset) <= (start_ns, offset));
        partition.waiting.insert(at, one);
        if partition.waiting.len() > WAITING_MAX {
            self.takings.disordered.extend(partition.next());
        }
    }

    /// Judges the order of messages for which nothing that was taken in before can arrive any more.
    fn settle_order(&mut self, block: i64, now_ns: i64) {
        if now_ns.saturating_sub(self.takings.settled_ns) < SETTLE_NS {
            return;
        }
        self.takings.settled_ns = now_ns;
        let mut disordered = std::mem::take(&mut self.takings.disordered);
        for partition in self.takings.partitions.values_mut() {
            while partition.waiting.front().is_some_and(|first| now_ns - first.arrived_ns >= WAIT_NS) {
                disordered.extend(partition.next());
            }
        }
        // In an order that does not depend on hashes.
        disordered.sort_by_key(|one| (one.start_ns, one.offset, one.trace));
        for one in disordered {
            self.occasions.begin();
            let example = || Example::at(one.trace, &one.site);
            self.occasions.goes_wrong(one.place, (Wrong::Disordered, 1.0), block, example);
        }
        if now_ns.saturating_sub(self.takings.tidied_ns) >= UNUSED_NS / 10 {
            self.takings.tidied_ns = now_ns;
            self.takings.partitions.retain(|_, partition| now_ns - partition.used_ns < UNUSED_NS);
        }
    }
}

#[cfg(test)]
mod tests;
