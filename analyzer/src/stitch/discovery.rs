//! Which attribute keys name pieces of business work, by how their values behave: in what traces they occur, and what
//! these do. Told by `joining` of every closed trace; asked by `graph` whether a key joins. Bounded by the book of keys.

mod habits;

use std::cmp::Reverse;
use std::sync::Arc;

use super::facts::ValueForm;
use super::keys::{KeyBook, KeyId, Use};
use crate::join::Proposal;
use habits::Habits;

/// Values that must join traces before a key is used; of numbers more, because they are equal by chance more often.
const JOINING_MIN: u64 = 3;
const JOINING_NUMBERS_MIN: u64 = 8;
/// One value in so many must join traces, at least.
const JOINING_ONE_IN: u64 = 5;
/// The same of short values: some of those that are drawn at random are equal, but not most.
const JOINING_SHORT_ONE_IN: u64 = 2;
/// The same where traces that share a value follow each other soon: what is equal by chance is so at any distance.
const JOINING_SOON_ONE_IN: u64 = 50;
/// They do, when between nine of ten there are so many times fewer others than all.
const SOON_TIMES: u64 = 10;
/// Traces that share a value with another, from which on that is said.
const SOON_MIN: usize = 16;
/// For so many joining values one may be shared by traces that all do the same.
const REPEATING_ONE_IN: u64 = 4;
/// One joining value in so many may recur or be crowded, at most.
const WRONG_ONE_IN: u64 = 50;
/// The same of numbers, which pass for ids of work by chance: amounts, for example.
const WRONG_NUMBER_ONE_IN: u64 = 200;
/// Joining values from which on one wrong value is forgiven.
const FORGIVING_FROM: u64 = 20;
/// Values of a named key that repeat, recur or are crowded, from which on it joins nothing while they are the most.
const GLUE_MIN: u64 = 2;
/// Crowded values after which a key that has few others is no longer watched.
const CROWDED_MAX: u64 = 3;
/// Of so many values one may be crowded in a key that is watched on.
const CROWDED_ONE_IN: u64 = 20;
/// Traces under one value after which the key is judged although it has few values.
const CROWD_TRACES: u64 = 200;
/// Values that left memory without joining anything, after which a key is no longer watched if nearly all did.
const ALONE_MIN: u64 = 1_000;
/// Of so many values that left memory one must have joined traces in a key that is watched on.
const ALONE_ONE_IN: u64 = 50;
/// Times that a key goes out of use for that before it is dropped: it would be given and taken for ever.
const DOUBTS_MAX: u64 = 3;
/// Services that are told apart for each key.
const SERVICES_MAX: usize = 16;
/// Latest pauses between traces of one value that are remembered for each key.
const PAUSES_MAX: usize = 128;
/// A discovered key joins across pauses up to so many times the pause that nine of ten keep to.
const PAUSE_FACTOR: i64 = 4;
/// And across such pauses in any case.
const PAUSE_MIN_NS: i64 = 10_000_000_000;

/// How the values of one key behaved.
#[derive(Debug)]
struct Behaviour {
    name: Arc<str>,
    standing: Standing,
    values: u64,
    joining: u64,
    repeating: u64,
    shared_traces: u64,
    crowded: u64,
    crowd_traces: u64,
    recurring: u64,
    gone: u64,
    gone_alone: u64,
    numbers: u64,
    strong: u64,
    confirmed: u64,
    contradicted: u64,
    habits: Habits,
    doubts: u64,
    services: Vec<u64>,
    /// Latest pauses between traces of one value, and how many traces with other values were noted meanwhile.
    pauses: Vec<(i64, u64)>,
    pause_next: usize,
    /// How many that were, at most, for nine of ten.
    usual_others: u64,
    /// Times that it was noted that a trace carries a value.
    notes: u64,
    /// Learned from the pauses; see [`PAUSE_FACTOR`].
    pause_max_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Named,
    Watched,
    Used,
    /// Watched no longer.
    Dropped,
    /// Named, but it joins strangers.
    Barred,
}

/// What is learned of keys. Bounded by [`KEYS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Discovery {
    keys: Vec<Behaviour>,
    /// Keys whose values began or ceased to join, until the traces that carry them are looked at.
    changed: Vec<KeyId>,
    /// Keys that are no longer watched, and what they are still of use for, until the book is told.
    dropped: Vec<(KeyId, Use)>,
}

/// What is told of a value when one more trace is known to carry it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueNews {
    /// Traces so far, this one included.
    pub(super) traces: usize,
    /// What [`Discovery::note`] returned for the trace before; 0 for none.
    pub(super) noted_at: u64,
    /// Nanoseconds between its start and the nearest other.
    pub(super) pause_ns: i64,
    /// What the value seemed to be before.
    pub(super) was: ValueState,
    /// What it seems to be with this trace.
    pub(super) state: ValueState,
    /// What the first trace under the value does and what another does, if that is something else.
    pub(super) order: Option<(u64, u64)>,
    /// What is done under the value, which traces share now, and was not known to be.
    pub(super) done: [Option<u64>; 2],
}

/// What the traces that carry a value have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueState {
    Unknown,
    /// There is one only.
    Alone,
    /// They all do the same: the value names a thing, or a person, and not a piece of work.
    Repeating,
    /// They do different things, and what began the first begins no other, unless as a retry.
    Joining,
    /// What began the first begins another, and something else is done: work begins again under this value.
    Recurring,
}

impl ValueState {
    /// Returns what a value is by what its traces do, in order of their start, and whether they failed.
    ///
    /// Work begins again if what began it comes again after something else, unless it had failed; or if it comes twice in
    /// a row and so does most of the rest: two pieces of work side by side. If the rest comes once, it was a retry.
    pub(super) fn of(begun: impl Iterator<Item = (u64, bool)>) -> Self {
        let mut counts: Vec<(u64, u32)> = Vec::new();
        let (mut has_failed, mut succeeded) = (false, 0);
        for (shape, has_error) in begun {
            let known = counts.iter().position(|known| known.0 == shape);
            if known == Some(0) && counts.len() > 1 && !has_failed {
                return Self::Recurring;
            }
            if known.unwrap_or(counts.len()) == 0 {
                has_failed = has_error;
                succeeded += u32::from(!has_error);
            }
            match known {
                Some(known) => counts[known].1 += 1,
                None => counts.push((shape, 1)),
            }
        }
        match &counts[..] {
            [] => Self::Unknown,
            [(_, 1)] => Self::Alone,
            [_] => Self::Repeating,
            [_, rest @ ..] => {
                let again = rest.iter().filter(|(_, count)| *count > 1).count();
                if succeeded > 1 && again * 2 >= rest.len() { Self::Recurring } else { Self::Joining }
            }
        }
    }
}

impl Discovery {
    /// Takes over keys that the book has learned of.
    pub(super) fn sync(&mut self, book: &KeyBook) {
        for (id, name) in book.names().iter().enumerate().skip(self.keys.len()) {
            let is_named = KeyId::try_from(id).is_ok_and(|id| book.use_of(id) == Use::Named);
            let standing = if is_named { Standing::Named } else { Standing::Watched };
            self.keys.push(Behaviour::new(name.clone(), standing));
        }
    }

    pub(super) fn name(&self, key: KeyId) -> Option<Arc<str>> {
        self.keys.get(usize::from(key)).map(|key| key.name.clone())
    }

    /// Returns whether values of a key join traces now.
    pub(super) fn joins(&self, key: KeyId) -> bool {
        self.keys.get(usize::from(key)).is_some_and(|key| key.joins())
    }

    /// Returns whether a key was named and joins strangers.
    pub(super) fn is_barred(&self, key: KeyId) -> bool {
        self.keys.get(usize::from(key)).is_some_and(|key| key.standing == Standing::Barred)
    }

    /// Returns how long a pause values of a key may bridge.
    pub(super) fn pause_max_ns(&self, key: KeyId) -> i64 {
        self.keys.get(usize::from(key)).map_or(i64::MAX, |key| match key.standing {
            Standing::Named => i64::MAX,
            _ => key.pause_max_ns,
        })
    }

    /// Notes that one more trace carries a value. Returns how many times that was noted of the key.
    pub(super) fn note(&mut self, key: KeyId, form: ValueForm, service: u64, news: ValueNews) -> u64 {
        let Some(known) = self.keys.get_mut(usize::from(key)) else { return 0 };
        if known.services.len() < SERVICES_MAX && !known.services.contains(&service) {
            known.services.push(service);
        }
        known.notes += 1;
        if news.was == ValueState::Unknown {
            known.values += 1;
            known.numbers += u64::from(form == ValueForm::Number);
            known.strong += u64::from(form == ValueForm::Strong);
        }
        if news.traces > 1 {
            known.shared_traces += if news.traces == 2 { 2 } else { 1 };
            news.done.into_iter().flatten().for_each(|done| known.habits.note_done(done));
            known.note_pause(news.pause_ns, known.notes - 1 - news.noted_at);
        }
        if let Some((before, after)) = news.order {
            known.habits.note_order(before, after);
        }
        if let Some(count) = known.count_of(news.was) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = known.count_of(news.state) {
            *count += 1;
        }
        let notes = known.notes;
        self.judge(key);
        notes
    }

    /// Notes that more traces carry a value than one piece of work has; `traces` of them beyond those noted before.
    pub(super) fn note_crowd(&mut self, key: KeyId, is_new: bool) {
        let Some(known) = self.keys.get_mut(usize::from(key)) else { return };
        known.crowded += u64::from(is_new);
        known.crowd_traces += 1;
        self.judge(key);
    }

    /// Notes that a value left memory.
    pub(super) fn note_gone(&mut self, key: KeyId, traces: usize) {
        let Some(known) = self.keys.get_mut(usize::from(key)) else { return };
        known.gone += 1;
        known.gone_alone += u64::from(traces < 2);
        self.judge(key);
    }

    /// Notes what other rules say of two traces that a value joins.
    pub(super) fn note_other_rules(&mut self, key: KeyId, is_confirmed: bool, is_contradicted: bool) {
        let Some(known) = self.keys.get_mut(usize::from(key)) else { return };
        known.confirmed += u64::from(is_confirmed);
        known.contradicted += u64::from(is_contradicted);
    }

    /// Takes out the keys whose values began or ceased to join.
    pub(super) fn take_changed(&mut self) -> Vec<KeyId> {
        std::mem::take(&mut self.changed)
    }

    /// Takes out the keys that are no longer watched, with what they are still of use for.
    pub(super) fn take_dropped(&mut self) -> Vec<(KeyId, Use)> {
        std::mem::take(&mut self.dropped)
    }

    /// A key that was used and turned out wrong is not tried again: it would be given and taken for ever.
    fn judge(&mut self, key: KeyId) {
        let Some(known) = self.keys.get_mut(usize::from(key)) else { return };
        let next = match known.standing {
            Standing::Dropped => return,
            Standing::Named | Standing::Barred if known.is_glue() => Standing::Barred,
            Standing::Named | Standing::Barred => Standing::Named,
            _ if known.is_crowded() || known.is_alone() => Standing::Dropped,
            Standing::Used if known.wrong() > known.forgiven() => Standing::Dropped,
            Standing::Used if !known.is_habitual() && known.doubts >= DOUBTS_MAX => Standing::Dropped,
            Standing::Used if !known.is_habitual() => Standing::Watched,
            Standing::Watched if known.is_supported() => Standing::Used,
            standing => standing,
        };
        if next == known.standing {
            return;
        }
        if next == Standing::Used || matches!(known.standing, Standing::Used | Standing::Named | Standing::Barred) {
            self.changed.push(key);
        }
        known.doubts += u64::from(next == Standing::Watched);
        if next == Standing::Dropped {
            // What many traces share names no piece of work. What hardly any two share, or what is done again, may.
            self.dropped.push((key, if known.is_crowded() { Use::Dropped } else { Use::Told }));
        }
        known.standing = next;
    }

    /// Returns what is known of every key that some value of joined traces, the best first.
    pub(super) fn proposals(&self) -> Vec<Proposal> {
        let mut known: Vec<&Behaviour> = self.keys.iter().filter(|key| key.shared() + key.crowded > 0).collect();
        known.sort_by_key(|key| (Reverse((key.joins(), key.joining)), key.name.clone()));
        known.into_iter().map(Behaviour::proposal).collect()
    }
}

impl Behaviour {
    fn new(name: Arc<str>, standing: Standing) -> Self {
        Self {
            name,
            standing,
            values: 0,
            joining: 0,
            repeating: 0,
            shared_traces: 0,
            crowded: 0,
            crowd_traces: 0,
            recurring: 0,
            gone: 0,
            gone_alone: 0,
            numbers: 0,
            strong: 0,
            confirmed: 0,
            contradicted: 0,
            habits: Habits::default(),
            doubts: 0,
            services: Vec::new(),
            pauses: Vec::new(),
            pause_next: 0,
            usual_others: 0,
            notes: 0,
            pause_max_ns: PAUSE_MIN_NS,
        }
    }

    fn count_of(&mut self, state: ValueState) -> Option<&mut u64> {
        match state {
            ValueState::Repeating => Some(&mut self.repeating),
            ValueState::Joining => Some(&mut self.joining),
            ValueState::Recurring => Some(&mut self.recurring),
            ValueState::Unknown | ValueState::Alone => None,
        }
    }

    fn shared(&self) -> u64 {
        self.joining + self.repeating + self.recurring
    }

    fn joins(&self) -> bool {
        matches!(self.standing, Standing::Named | Standing::Used)
    }

    fn note_pause(&mut self, pause_ns: i64, others: u64) {
        if self.pauses.len() < PAUSES_MAX {
            self.pauses.push((pause_ns, others));
        } else {
            self.pauses[self.pause_next] = (pause_ns, others);
        }
        self.pause_next = (self.pause_next + 1) % PAUSES_MAX;
        // Sorting at each pause would be dear; few pauses change much.
        if self.pauses.len() < JOINING_MIN as usize || self.pause_next.is_multiple_of(8) {
            let usual = (self.pauses.len() - 1) * 9 / 10;
            let mut sorted = self.pauses.clone();
            let usual_ns = sorted.select_nth_unstable_by_key(usual, |pause| pause.0).1.0;
            self.usual_others = sorted.select_nth_unstable_by_key(usual, |pause| pause.1).1.1;
            self.pause_max_ns = usual_ns.saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN_NS);
        }
    }

    fn is_crowded(&self) -> bool {
        let is_judged = self.crowded >= CROWDED_MAX || self.crowd_traces >= CROWD_TRACES;
        is_judged && self.crowded * CROWDED_ONE_IN > self.values
    }

    /// Returns whether a key that was named is that of someone who does many things, and not of one piece of work.
    fn is_glue(&self) -> bool {
        let wrong = self.recurring + self.repeating + self.crowded;
        wrong >= GLUE_MIN && wrong > self.joining
    }

    fn joining_one_in(&self) -> u64 {
        match () {
            () if self.is_soon() => JOINING_SOON_ONE_IN,
            () if self.strong * 2 > self.values => JOINING_ONE_IN,
            () => JOINING_SHORT_ONE_IN,
        }
    }

    /// Returns whether traces that share a value follow each other soon, compared with how many there are.
    fn is_soon(&self) -> bool {
        self.pauses.len() >= SOON_MIN && self.usual_others.saturating_mul(SOON_TIMES) <= self.notes
    }

    fn is_numeric(&self) -> bool {
        self.numbers * 2 > self.values
    }

    fn wrong(&self) -> u64 {
        (self.recurring + self.crowded).max(self.contradicted)
    }

    fn forgiven(&self) -> u64 {
        match self.joining {
            joining if self.is_numeric() => joining / WRONG_NUMBER_ONE_IN,
            joining if joining >= FORGIVING_FROM => (joining / WRONG_ONE_IN).max(1),
            _ => 0,
        }
    }

    /// Returns whether what is done under the values is done in like ways. What is equal by chance is not.
    fn is_habitual(&self) -> bool {
        self.habits.are_orders_alike() || self.habits.has_core(self.shared(), self.standing == Standing::Used)
    }

    fn is_alone(&self) -> bool {
        self.gone >= ALONE_MIN && (self.gone - self.gone_alone) * ALONE_ONE_IN < self.gone
    }

    fn is_supported(&self) -> bool {
        self.joining >= if self.is_numeric() { JOINING_NUMBERS_MIN } else { JOINING_MIN }
            && self.joining * self.joining_one_in() >= self.values
            && self.repeating * REPEATING_ONE_IN <= self.joining
            && self.wrong() <= self.forgiven()
            && self.is_habitual()
    }

    fn proposal(&self) -> Proposal {
        let shared = self.shared();
        let mean = if shared == 0 { 0.0 } else { self.shared_traces as f64 / shared as f64 };
        Proposal {
            key: self.name.to_string(),
            is_used: self.joins(),
            is_named: matches!(self.standing, Standing::Named | Standing::Barred),
            values: self.values,
            joining_values: self.joining,
            traces_per_shared_value: mean,
            services: self.services.len(),
            crowded_values: self.crowded,
            repeating_values: self.repeating,
            recurring_values: self.recurring,
            confirmed: self.confirmed,
            contradicted: self.contradicted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ValueState::{self, Alone, Joining, Recurring, Repeating};

    /// Reads what traces do, a letter each, in capitals if they failed.
    fn state(traces: &str) -> ValueState {
        ValueState::of(traces.chars().map(|did| (u64::from(did.to_ascii_lowercase()), did.is_ascii_uppercase())))
    }

    #[test]
    fn values_are_told_apart_by_what_their_traces_do() {
        assert_eq!([state(""), state("a"), state("aaa")], [ValueState::Unknown, Alone, Repeating]);
        // What begins may be tried again; what follows may come more than once.
        assert_eq!([state("abc"), state("aabc"), state("abbbc"), state("AbAbac")], [Joining; 4]);
        // Work that begins again, later or side by side.
        assert_eq!([state("aba"), state("abcabc"), state("aabb"), state("aabbc")], [Recurring; 4]);
    }
}
