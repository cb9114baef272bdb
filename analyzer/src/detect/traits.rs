//! Attribute values of which there are few, such as a tenant, a region or a plan, by transaction: who sends, and for whom.
//! Read from tables as they arrive, because spans are held without their attributes; taken when a trace is judged.
//! Bounded by keys, values of each, values of a trace and traces; a key with too many values is an id and never looked at
//! again.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::{SpanKind, SpanTable, TraceId};

use crate::hash::Map;

/// Keys that are looked at.
const KEYS_MAX: usize = 64;
/// Values of a key; with more it is no longer looked at.
const VALUES_MAX: usize = 48;
/// Values of one trace.
const OF_TRACE_MAX: usize = 12;
/// Traces whose values are kept until they are judged.
const TRACES_MAX: usize = 100_000;
/// Longest value, in bytes; a longer one is no name of a few.
const VALUE_BYTES_MAX: usize = 64;
/// Names of keys remembered that are not looked at; beyond it they are looked up again.
const REFUSED_MAX: usize = 4_096;
/// What such a key does not begin with: conventions define it as what is done, where or how, and not for whom.
const NEVER: [&str; 27] = [
    "http.",
    "url.",
    "net.",
    "network.",
    "server.",
    "db.",
    "messaging.",
    "rpc.",
    "code.",
    "thread.",
    "exception.",
    "error.",
    "otel.",
    "telemetry.",
    "process.",
    "peer.",
    "jvm.",
    "graphql.",
    "dns.",
    "tls.",
    "span.",
    "service.",
    "source.",
    "destination.",
    "log.",
    "user_agent.original",
    "faas.",
];

/// Identifies a key with a value.
pub(super) type TraitId = u32;

/// What is known of a key.
#[derive(Debug)]
struct Key {
    name: Arc<str>,
    /// By value; none when there are too many.
    values: Option<Map<Box<str>, TraitId>>,
}

/// All keys and values, and those of each trace.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    keys: Vec<Key>,
    /// Place of a key by name; none for one that is not looked at.
    by_name: Map<Box<str>, Option<usize>>,
    /// Key and value by number.
    names: Vec<(usize, Box<str>)>,
    traces: Map<TraceId, Vec<TraitId>>,
    order: VecDeque<TraceId>,
    /// Places of the keys of the table at hand; its room is kept.
    places: Vec<Option<usize>>,
}

impl Traits {
    /// Reads what the entries into services say.
    pub(crate) fn read(&mut self, table: &SpanTable) {
        let columns = table.columns();
        let attributes = &columns.attributes;
        self.places.clear();
        for name in attributes.names {
            let place = self.place(name.unwrap_or_default());
            self.places.push(place);
        }
        if self.places.iter().all(Option::is_none) {
            return;
        }
        let bound = |row: usize| usize::try_from(attributes.offsets[row]).unwrap_or(0);
        for row in 0..columns.len() {
            let is_entry = matches!(columns.kind(row), SpanKind::Server | SpanKind::Consumer);
            if !is_entry && columns.parent_span_id(row).is_some() {
                continue;
            }
            for entry in bound(row)..bound(row + 1) {
                let Some(place) = self.places[attributes.keys[entry] as usize] else { continue };
                if let Some(found) = self.trait_of(place, attributes.values.value(entry)) {
                    self.note(columns.trace_id(row), found);
                }
            }
        }
    }

    /// Returns the place of a key, which is given one if it may say who.
    fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.by_name.get(name) {
            return place.filter(|place| self.keys[*place].values.is_some());
        }
        let is_looked_at = self.keys.len() < KEYS_MAX && !NEVER.iter().any(|never| name.starts_with(never));
        if !is_looked_at {
            if self.by_name.len() < REFUSED_MAX {
                self.by_name.insert(name.into(), None);
            }
            return None;
        }
        self.keys.push(Key { name: name.into(), values: Some(Map::default()) });
        self.by_name.insert(name.into(), Some(self.keys.len() - 1));
        Some(self.keys.len() - 1)
    }

    fn trait_of(&mut self, place: usize, value: &str) -> Option<TraitId> {
        let values = self.keys[place].values.as_mut()?;
        if let Some(known) = values.get(value) {
            return Some(*known);
        }
        if value.len() > VALUE_BYTES_MAX || values.len() >= VALUES_MAX {
            self.keys[place].values = None;
            return None;
        }
        let number = TraitId::try_from(self.names.len()).ok()?;
        values.insert(value.into(), number);
        self.names.push((place, value.into()));
        Some(number)
    }

    fn note(&mut self, trace: TraceId, found: TraitId) {
        if let Some(known) = self.traces.get_mut(&trace) {
            if known.len() < OF_TRACE_MAX && !known.contains(&found) {
                known.push(found);
            }
            return;
        }
        if self.order.len() >= TRACES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.traces.remove(&oldest);
        }
        self.order.push_back(trace);
        self.traces.insert(trace, vec![found]);
    }

    /// Takes what a trace says; a trace is judged once.
    pub(super) fn take(&mut self, trace: TraceId) -> Box<[TraitId]> {
        let taken = self.traces.remove(&trace).unwrap_or_default().into_boxed_slice();
        // Nearly always the oldest; others go when it is their turn.
        while self.order.front().is_some_and(|oldest| !self.traces.contains_key(oldest)) {
            self.order.pop_front();
        }
        taken
    }

    /// Returns key and value, unless the key turned out to have too many.
    pub(super) fn name(&self, number: TraitId) -> Option<(&str, &str)> {
        let (place, value) = self.names.get(number as usize)?;
        let key = self.keys.get(*place).filter(|key| key.values.is_some())?;
        Some((&key.name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn few_values_are_kept_and_ids_are_not() {
        let mut traits = Traits::default();
        for number in 0..200u64 {
            let text = format!(
                "web GET / 0..10 app.tenant=t{} app.order=o{number} http.route=/x\n  web client GET 1..9 app.inner=a",
                number % 3
            );
            let mut drawn = fixture::lines(&text);
            drawn.iter_mut().for_each(|one| one.at(0, number + 1));
            traits.read(&fixture::table(&drawn));
        }
        let of = |number: u64| TraceId(u128::from(number).to_be_bytes());
        let names: Vec<(String, String)> = traits
            .take(of(200))
            .iter()
            .filter_map(|found| traits.name(*found))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(names, [("app.tenant".to_owned(), "t1".to_owned())]);
        assert!(traits.take(of(200)).is_empty(), "it was taken");
    }

    #[test]
    fn traces_beyond_the_bound_let_the_oldest_go() {
        let mut traits = Traits::default();
        for number in 0..TRACES_MAX as u64 + 10 {
            traits.note(TraceId(u128::from(number).to_be_bytes()), 0);
        }
        assert_eq!(traits.traces.len(), TRACES_MAX);
        assert!(traits.take(TraceId([0; 16])).is_empty());
    }
}
