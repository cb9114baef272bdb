//! Work that is done again: executions for a value of a business key for which the same operation was executed before, in
//! whatever trace. Fed by the detector with traces that closed. Where executions for one value are usually one is learned of
//! each operation and key, and only those are watched: a tenant's or a customer's work comes again, and says nothing.
//! Bounded by values remembered, of two generations the older goes, and by operations and keys.

use collector_table::{SpanKind, TraceId};

use super::occasion::{Example, Occasion, Of, Wrong};
use super::remembered::Remembered;
use super::{Rates, SpanOf};
use crate::hash::Map;
use crate::stitch::Worked;

/// Values remembered of one generation, about 70 bytes each.
const DONE_MAX: usize = 200_000;
/// Event time after which the same value is no repetition: longer than queues usually wait for an acknowledgement, and short
/// enough that what is equal by chance stays rare. It is the same however old a generation is, or the share would swing.
const AGAIN_NS: i64 = 300_000_000_000;
/// Arrival time for which is learned whether executions are usually one: all that counts must be remembered by then.
const LEARN_NS: i64 = AGAIN_NS;
/// Executions by which that can be told.
const LEARN_OF_MIN: u32 = 20;
/// Share of them that may be repetitions: beyond it a value names who asks, or what about, and not one piece of work.
pub(in crate::detect) const ONCE_AGAIN_MAX: f64 = 0.05;
/// The same of plain numbers of keys that join nothing, of which none may be: amounts repeat, ids do not.
const NUMBERS_OF_MIN: u32 = 300;
/// Executions for one value from which on further ones do not count: queues give up after a few deliveries, so that it is one
/// who asks often.
const TIMES_MAX: u8 = 4;
/// Requests for one value in one trace from which on they are a loop. Two are one that was asked for twice.
const LOOP_FROM: usize = 3;
/// Operations and keys that are told apart; further ones are left out, counted.
const HABITS_MAX: usize = 20_000;
/// Arrival time after which an operation that is not executed is forgotten.
const UNUSED_NS: i64 = 7_200_000_000_000;
/// Executions remembered of one generation to have been repetitions.
const REPEATED_MAX: usize = 20_000;

/// How a value was worked for by one operation.
#[derive(Debug, Clone, Copy)]
struct Done {
    span: SpanOf,
    start_ns: i64,
    has_failed: bool,
    times: u8,
}

/// How often one operation works again for values of one key.
#[derive(Debug)]
struct Habit {
    since_ns: i64,
    used_ns: i64,
    of: u32,
    again: u32,
    is_telling: bool,
    /// Where repetitions are counted, from when on they are known to be rare.
    place: Option<usize>,
}

/// What was worked for lately.
#[derive(Debug)]
pub(super) struct Works {
    /// By value and by what was done.
    done: Remembered<(u64, u64), Done>,
    /// By what was done and by key.
    habits: Map<(u64, u16), Habit>,
    /// Executions that were repetitions: what they call is told by them.
    repeated: Remembered<SpanOf, ()>,
    last_trace: TraceId,
    pub(super) left_out: u64,
}

impl Default for Works {
    fn default() -> Self {
        Self {
            done: Remembered::new(DONE_MAX, AGAIN_NS),
            habits: Map::default(),
            repeated: Remembered::new(REPEATED_MAX, AGAIN_NS),
            last_trace: TraceId::default(),
            left_out: 0,
        }
    }
}

impl Works {
    /// Returns whether an execution is the one that was noted last for its value: a trace that waits for others is closed
    /// again when spans of it come late, or twice.
    fn is_noted(&self, one: &Worked) -> bool {
        let known = self.done.get(&(one.value, one.site.shape));
        known.is_some_and(|known| known.span == (one.trace, one.span_id))
    }

    /// Notes an execution; returns what was done for the value before, or after: traces close in any order.
    fn note(&mut self, one: &Worked) -> Option<Done> {
        let key = (one.value, one.site.shape);
        let other = self.done.remove(&key);
        let span = (one.trace, one.span_id);
        let now = Done { span, start_ns: one.start_ns, has_failed: one.has_failed, times: 1 };
        let near = other.filter(|other| one.start_ns.saturating_sub(other.start_ns).abs() <= AGAIN_NS);
        let later = other.filter(|other| other.start_ns > now.start_ns).unwrap_or(now);
        let times = near.map_or(1, |other| other.times.saturating_add(1));
        self.done.insert(key, Done { times, ..later });
        near
    }

    /// Notes that an execution repeats another, so that what it calls does not count as well.
    pub(super) fn note_repeated(&mut self, span: SpanOf, now_ns: i64) {
        self.repeated.turn(now_ns);
        self.repeated.insert(span, ());
    }

    /// Returns how many values and repetitions were forgotten at the bounds.
    pub(super) fn let_go(&self) -> u64 {
        self.done.let_go + self.repeated.let_go
    }

    /// Lets go of places that are gone.
    pub(super) fn forget_places(&mut self, is_gone: impl Fn(usize) -> bool) {
        self.habits.retain(|_, habit| habit.place.is_none_or(|place| !is_gone(place)));
    }

    /// Returns how often values of a key come again, as known so far; nothing if there is no room.
    fn habit(&mut self, one: &Worked, now_ns: i64) -> Option<&mut Habit> {
        let key = (one.site.shape, one.key);
        if self.habits.len() >= HABITS_MAX && !self.habits.contains_key(&key) {
            self.left_out += 1;
            return None;
        }
        let new = || Habit { since_ns: now_ns, used_ns: now_ns, of: 0, again: 0, is_telling: false, place: None };
        let habit = self.habits.entry(key).or_insert_with(new);
        (habit.used_ns, habit.is_telling) = (now_ns, one.is_telling);
        Some(habit)
    }
}

impl Habit {
    /// Learns from one more execution; returns whether by now repetitions are known to be rare. Where they are not, it is
    /// looked at anew.
    fn learns_that_once(&mut self, is_again: bool, now_ns: i64) -> bool {
        self.of = self.of.saturating_add(1);
        self.again += u32::from(is_again);
        let of_min = if self.is_telling { LEARN_OF_MIN } else { NUMBERS_OF_MIN };
        if now_ns.saturating_sub(self.since_ns) < LEARN_NS || self.of < of_min {
            return false;
        }
        let again_max = if self.is_telling { ONCE_AGAIN_MAX } else { 0.0 };
        let is_once = f64::from(self.again) <= again_max * f64::from(self.of);
        (self.since_ns, self.of, self.again) = (now_ns, 0, 0);
        is_once
    }
}

impl Rates {
    /// Counts executions for values of business keys, of traces that closed by `now_ns`.
    pub(in crate::detect) fn work(&mut self, worked: &[Worked], block: i64, now_ns: i64) {
        for of_trace in worked.chunk_by(|a, b| a.trace == b.trace) {
            for (at, one) in of_trace.iter().enumerate() {
                self.turns.note_worked(one, now_ns);
                let is_entry = matches!(one.site.kind, SpanKind::Server | SpanKind::Consumer);
                if is_entry && !is_in_loop(of_trace, at) {
                    self.work_one(one, block, now_ns);
                }
            }
        }
    }

    fn work_one(&mut self, one: &Worked, block: i64, now_ns: i64) {
        if self.works.done.turn(now_ns) {
            self.works.habits.retain(|_, habit| now_ns.saturating_sub(habit.used_ns) < UNUSED_NS);
        }
        if self.works.is_noted(one) {
            return;
        }
        let other = self.works.note(one);
        let first_failed = |other: Done| if other.start_ns <= one.start_ns { other.has_failed } else { one.has_failed };
        // What failed is to be done again.
        let again = other.filter(|other| !first_failed(*other));
        let Some(place) = self.work_place(one, again.is_some(), block, now_ns) else { return };
        if other.is_some_and(|other| other.times >= TIMES_MAX) {
            return;
        }
        // What is done in one trace is one piece of evidence.
        if self.works.last_trace != one.trace {
            self.occasions.begin();
            self.works.last_trace = one.trace;
        }
        self.occasions.occurs(place, block, 0, &one.site);
        let Some(other) = again else { return };
        let own = (one.trace, one.span_id);
        let is_told = |span: &SpanOf| self.works.repeated.get(span).is_some();
        let is_told = is_told(&own) || one.above.is_some_and(|above| is_told(&(one.trace, above)));
        self.works.note_repeated(if other.start_ns > one.start_ns { other.span } else { own }, now_ns);
        if !is_told {
            self.occasions.goes_wrong(place, (Wrong::Twice, 1.0), block, || Example::at(one.trace, &one.site));
        }
    }

    /// Returns where executions of an operation for values of a key are counted, once it is known that they are usually one.
    fn work_place(&mut self, one: &Worked, is_again: bool, block: i64, now_ns: i64) -> Option<usize> {
        let habit = self.works.habit(one, now_ns)?;
        if habit.place.is_some() || !habit.learns_that_once(is_again, now_ns) {
            return habit.place;
        }
        let of = if one.site.kind == SpanKind::Server { Of::Request } else { Of::Taking };
        habit.place = self.occasions.slots.id(Occasion::by_key(of, &one.site, &one.key_name), block);
        // It counts from the next one on.
        None
    }
}

/// Returns whether an execution is one of many requests for one value in one trace, and not the first: those are a loop of
/// calls, and tell of who calls.
fn is_in_loop(of_trace: &[Worked], at: usize) -> bool {
    let one = &of_trace[at];
    let is_like = |other: &&Worked| other.value == one.value && other.site.shape == one.site.shape;
    let is_later = of_trace[..at].iter().any(|other| is_like(&other));
    is_later && one.site.kind == SpanKind::Server && of_trace.iter().filter(is_like).count() >= LOOP_FROM
}

#[cfg(test)]
mod tests;
