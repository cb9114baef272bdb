//! Spans into rows of `red`, one batch after the other. Each batch's names and resources are given the rollup's own
//! numbers once; a span then costs a few comparisons and an insertion into a sketch.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use collector_table::{RedFields, RedTableBuilder, Sketch, SpanKind, SpanTable, StatusCode};

const MINUTE_NS: i64 = 60_000_000_000;
/// Groups that are found without hashing. Spans of one batch fall into some hundreds.
const RECENT_LEN: usize = 1024;

/// Collects rows of `red`. Holds at most one row for each span that was added.
pub(crate) struct RedRollup {
    /// Service and instance.
    origins: Numbers<(String, Option<String>)>,
    operations: Numbers<String>,
    places: HashMap<Key, usize>,
    groups: Vec<Group>,
    /// Places by a few bits of their key.
    recent: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    minute: i64,
    origin: u32,
    operation: u32,
    kind: SpanKind,
    status_code: StatusCode,
}

struct Group {
    key: Key,
    count: i64,
    errors: i64,
    sum_ns: i64,
    min_ns: i64,
    max_ns: i64,
    durations: Sketch,
}

impl Default for RedRollup {
    fn default() -> Self {
        Self {
            origins: Numbers::default(),
            operations: Numbers::default(),
            places: HashMap::new(),
            groups: Vec::new(),
            recent: vec![usize::MAX; RECENT_LEN],
        }
    }
}

impl RedRollup {
    /// Adds spans in the memory form.
    ///
    /// # Errors
    /// If the batch is no table of spans.
    pub(crate) fn add(&mut self, spans: &RecordBatch) -> Result<(), ArrowError> {
        let table = SpanTable::from_batch(spans.clone()).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        let spans = table.columns();
        let origins: Vec<u32> = (0..spans.resources_len())
            .map(|resource| {
                let instance = spans.service_instance(resource).map(str::to_owned);
                self.origins.number((spans.service_name(resource).to_owned(), instance))
            })
            .collect();
        let operations: Vec<u32> =
            spans.names.iter().map(|name| self.operations.number(name.unwrap_or_default().to_owned())).collect();
        for row in 0..spans.len() {
            let key = Key {
                minute: spans.starts_ns[row].div_euclid(MINUTE_NS),
                origin: origins[spans.resource_keys[row] as usize],
                operation: operations[spans.name_keys[row] as usize],
                kind: spans.kind(row),
                status_code: spans.status_code(row),
            };
            self.group(key).add(spans.durations_ns[row]);
        }
        Ok(())
    }

    /// Returns the rows of all that was added.
    pub(crate) fn rows(&self) -> RecordBatch {
        let mut rows = RedTableBuilder::default();
        for group in &self.groups {
            let (service_name, service_instance) = &self.origins.values[group.key.origin as usize];
            rows.append(&RedFields {
                minute_ns: group.key.minute.saturating_mul(MINUTE_NS),
                service_name,
                operation: &self.operations.values[group.key.operation as usize],
                kind: group.key.kind,
                status_code: group.key.status_code,
                service_instance: service_instance.as_deref(),
                count: group.count,
                errors: group.errors,
                duration_sum_ns: group.sum_ns,
                duration_min_ns: group.min_ns,
                duration_max_ns: group.max_ns,
                durations: &group.durations,
            });
        }
        rows.finish()
    }

    fn group(&mut self, key: Key) -> &mut Group {
        let slot = key.slot();
        let mut place = self.recent[slot];
        if self.groups.get(place).is_none_or(|group| group.key != key) {
            place = *self.places.entry(key).or_insert(self.groups.len());
            if place == self.groups.len() {
                self.groups.push(Group::new(key));
            }
            self.recent[slot] = place;
        }
        &mut self.groups[place]
    }
}

impl Key {
    fn slot(&self) -> usize {
        let kinds = (self.kind as u64) << 2 | self.status_code as u64;
        let mixed = (u64::from(self.origin) << 32 | u64::from(self.operation))
            ^ kinds << 27
            ^ self.minute.cast_unsigned() << 50;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % RECENT_LEN
    }
}

impl Group {
    fn new(key: Key) -> Self {
        Self { key, count: 0, errors: 0, sum_ns: 0, min_ns: i64::MAX, max_ns: i64::MIN, durations: Sketch::default() }
    }

    fn add(&mut self, duration_ns: i64) {
        self.count += 1;
        self.errors += i64::from(self.key.status_code == StatusCode::Error);
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
        self.min_ns = self.min_ns.min(duration_ns);
        self.max_ns = self.max_ns.max(duration_ns);
        self.durations.insert(duration_ns);
    }
}

/// Values, each with a number of its own.
struct Numbers<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn number(&mut self, value: T) -> u32 {
        let Self { numbers, values } = self;
        *numbers.entry(value).or_insert_with_key(|value| {
            values.push(value.clone());
            u32::try_from(values.len() - 1).expect("a batch numbers its entries in 32 bits")
        })
    }
}
