//! Attribute values of which there are few, such as a tenant, a region or a flag, by transaction: who sends, for whom, and
//! where it runs. Read from tables as they arrive, because spans are held without their attributes; taken when a trace is
//! judged. Bounded by keys, values of each, values and resources of a trace, and traces; a key with too many values is an id
//! and never looked at again.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use collector_table::{SpanColumns, SpanKind, SpanTable, TraceId, json};

use super::block_of;
use crate::hash::Map;

/// Keys that are looked at.
const KEYS_MAX: usize = 128;
/// Values of a key; with more it is no longer looked at.
const VALUES_MAX: usize = 48;
/// Values and resources of one trace; further ones are not noted.
const OF_TRACE_MAX: usize = 32;
/// Room that is made for them at first.
const OF_TRACE_USUAL: usize = 8;
/// Values of one resource; further ones are not noted.
const OF_RESOURCE_MAX: usize = 24;
/// Resources that say different things, and texts of resources, that are remembered; beyond it all are forgotten.
const RESOURCES_MAX: usize = 4_096;
/// Traces whose values are kept until they are judged.
const TRACES_MAX: usize = 100_000;
/// Longest value, in bytes; a longer one is no name of a few.
const VALUE_BYTES_MAX: usize = 64;
/// Names of keys remembered that are not looked at; beyond it they are looked up again.
const REFUSED_MAX: usize = 4_096;
/// Blocks for which a key must have been said before another value of it is a new one: ten minutes.
const KNOWN_BLOCKS: i64 = 60;
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

/// Identifies what resources of a service say; never given twice, so that it means nothing when that is forgotten.
pub(super) type ResourceId = u32;

/// What resources of a service say, of keys that not all resources say the same of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Resource {
    pub(super) service: Box<str>,
    pub(super) traits: Box<[TraitId]>,
}

/// What a trace says: a value of one of its spans, or a resource by whose span it entered a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Value(TraitId),
    Resource(ResourceId),
}

/// What is known of a key.
#[derive(Debug)]
struct Key {
    name: Arc<str>,
    /// By value; none when there are too many.
    values: Option<Map<Box<str>, TraitId>>,
    /// Block in which it was said first.
    first: i64,
}

/// A key with a value.
#[derive(Debug)]
struct Trait {
    place: usize,
    value: Box<str>,
    /// Block in which it was said first.
    first: i64,
}

/// All keys and values, and those of each trace.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    keys: Vec<Key>,
    /// Place of a key by name; none for one that is not looked at.
    by_name: Map<Box<str>, Option<usize>>,
    /// Key and value by number.
    known: Vec<Trait>,
    /// In the order of their numbers, from the first that is remembered on.
    resources: Vec<Resource>,
    first_resource: ResourceId,
    numbers: Map<Resource, ResourceId>,
    /// Resources by their attributes; none for one that says nothing. Right until another value becomes known.
    texts: Map<Box<str>, Option<ResourceId>>,
    traces: Map<TraceId, Vec<Said>>,
    order: VecDeque<TraceId>,
    /// Of the table at hand: places of keys, resources, and what the span at hand says; their room is kept.
    places: Vec<Option<usize>>,
    present: Vec<Option<ResourceId>>,
    found: Vec<Said>,
}

impl Traits {
    /// Reads what spans that arrived at `now_ns` say, and the resources of entries into services.
    pub(crate) fn read(&mut self, table: &SpanTable, now_ns: i64) {
        let columns = table.columns();
        let attributes = &columns.attributes;
        self.read_resources(&columns, now_ns);
        self.places.clear();
        for name in attributes.names {
            let place = self.place(name.unwrap_or_default(), now_ns);
            self.places.push(place);
        }
        if self.places.iter().all(Option::is_none) && self.present.iter().all(Option::is_none) {
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        let bound = |row: usize| usize::try_from(attributes.offsets[row]).unwrap_or(0);
        for row in 0..columns.len() {
            found.clear();
            for entry in bound(row)..bound(row + 1) {
                let Some(place) = self.places[attributes.keys[entry] as usize] else { continue };
                // A sender's clock may run ahead, but nothing is said later than it arrives.
                let said_ns = columns.starts_ns[row].min(now_ns);
                found.extend(self.trait_of(place, attributes.values.value(entry), said_ns).map(Said::Value));
            }
            let is_entry = matches!(columns.kind(row), SpanKind::Server | SpanKind::Consumer);
            if let Some(resource) = self.present[columns.resource_keys[row] as usize]
                && (is_entry || columns.parent_span_id(row).is_none())
            {
                found.push(Said::Resource(resource));
            }
            if !found.is_empty() {
                self.note(columns.trace_id(row), &found);
            }
        }
        self.found = found;
    }

    /// Works out what the resources of a table say.
    fn read_resources(&mut self, columns: &SpanColumns<'_>, now_ns: i64) {
        self.present.clear();
        for number in 0..columns.resources_len() {
            let (service, text) = (columns.service_name(number), columns.resource_attributes(number));
            let is_of = |known: &Option<ResourceId>| {
                known.is_none_or(|known| self.resource(known).is_some_and(|known| *known.service == *service))
            };
            let known = self.texts.get(text).filter(|known| is_of(known)).copied();
            let resource = known.unwrap_or_else(|| self.read_resource(service, text, now_ns));
            self.present.push(resource);
        }
    }

    fn read_resource(&mut self, service: &str, text: &str, now_ns: i64) -> Option<ResourceId> {
        let mut traits = Vec::new();
        for (key, value) in json::members(text) {
            let Some(place) = self.place(&key, now_ns) else { continue };
            let Some(found) = self.trait_of(place, &json::value(value).0, now_ns) else { continue };
            let differs = self.keys[place].values.as_ref().is_some_and(|values| values.len() > 1);
            if differs && traits.len() < OF_RESOURCE_MAX {
                traits.push(found);
            }
        }
        let resource = Resource { service: service.into(), traits: traits.into_boxed_slice() };
        let number = (!resource.traits.is_empty()).then(|| self.number_of(resource)).flatten();
        if self.texts.len() >= RESOURCES_MAX {
            self.texts.clear();
        }
        self.texts.insert(text.into(), number);
        number
    }

    fn number_of(&mut self, resource: Resource) -> Option<ResourceId> {
        if let Some(known) = self.numbers.get(&resource) {
            return Some(*known);
        }
        if self.resources.len() >= RESOURCES_MAX {
            self.first_resource = self.first_resource.checked_add(ResourceId::try_from(self.resources.len()).ok()?)?;
            self.resources.clear();
            self.numbers.clear();
            self.texts.clear();
        }
        let number = self.first_resource.checked_add(ResourceId::try_from(self.resources.len()).ok()?)?;
        self.numbers.insert(resource.clone(), number);
        self.resources.push(resource);
        Some(number)
    }

    /// Returns the place of a key, which is given one if it may say who.
    fn place(&mut self, name: &str, now_ns: i64) -> Option<usize> {
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
        self.keys.push(Key { name: name.into(), values: Some(Map::default()), first: block_of(now_ns) });
        self.by_name.insert(name.into(), Some(self.keys.len() - 1));
        Some(self.keys.len() - 1)
    }

    fn trait_of(&mut self, place: usize, value: &str, said_ns: i64) -> Option<TraitId> {
        let values = self.keys[place].values.as_mut()?;
        if let Some(known) = values.get(value) {
            return Some(*known);
        }
        // What resources say may depend on what else is said.
        self.texts.clear();
        if value.len() > VALUE_BYTES_MAX || values.len() >= VALUES_MAX {
            self.keys[place].values = None;
            return None;
        }
        let number = TraitId::try_from(self.known.len()).ok()?;
        values.insert(value.into(), number);
        self.known.push(Trait { place, value: value.into(), first: block_of(said_ns) });
        Some(number)
    }

    fn note(&mut self, trace: TraceId, found: &[Said]) {
        let known = match self.traces.entry(trace) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.order.push_back(trace);
                place.insert(Vec::with_capacity(OF_TRACE_USUAL))
            }
        };
        for found in found {
            if known.len() < OF_TRACE_MAX && !known.contains(found) {
                known.push(*found);
            }
        }
        if self.order.len() > TRACES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.traces.remove(&oldest);
        }
    }

    /// Takes what a trace says; a trace is judged once.
    pub(super) fn take(&mut self, trace: TraceId) -> Vec<Said> {
        let taken = self.traces.remove(&trace).unwrap_or_default();
        // Nearly always the oldest; others go when it is their turn.
        while self.order.front().is_some_and(|oldest| !self.traces.contains_key(oldest)) {
            self.order.pop_front();
        }
        taken
    }

    /// Returns what resources of a number say, unless they are forgotten.
    pub(super) fn resource(&self, number: ResourceId) -> Option<&Resource> {
        self.resources.get(usize::try_from(number.checked_sub(self.first_resource)?).ok()?)
    }

    /// Returns key and value, unless the key turned out to have too many.
    pub(super) fn name(&self, number: TraitId) -> Option<(&str, &str)> {
        let known = self.known.get(number as usize)?;
        let key = self.keys.get(known.place).filter(|key| key.values.is_some())?;
        Some((&key.name, &known.value))
    }

    /// Returns the block in which a value was said first, if its key was known for a while by then: the values with which
    /// we began to look are not new.
    pub(super) fn new_in(&self, number: TraitId) -> Option<i64> {
        let known = self.known.get(number as usize)?;
        let key = self.keys.get(known.place)?;
        (known.first - key.first >= KNOWN_BLOCKS).then_some(known.first)
    }
}

#[cfg(test)]
mod tests;
