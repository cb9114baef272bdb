//! Which attributes get a column of their own in segments: those that many rows have, learned from what is sealed. Once
//! promoted a key stays so, so that later files have all columns of earlier ones and a glob over them fits.
//!
//! Made from the segments when a folder is opened; each seal learns from its rows before it writes them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type, UInt32Type};
use collector_table::TableName;

use crate::layout;
use crate::segment::Segment;

/// Column with the attributes that have none of their own, and what the names of the others begin with.
pub(crate) const ATTRIBUTES: &str = "attributes";
/// Of so many rows one must have a key to promote it.
const ROWS_PER_KEY: usize = 1_000;
/// Field metadata with the OTLP type of a promoted attribute, as the letter that `attributes` uses.
const TYPE: &str = "otlp.type";

/// Metadata of a segment: keys with a column of which some values are in `attributes` all the same, a line each. Where it
/// is missing, any may be; where it is not, whoever looks for a value need not read `attributes` as well.
pub(crate) const KEYS_IN_REST: &str = "throughline.keys_in_rest";

/// An attribute with a column of its own. Values of another type stay in `attributes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) key: String,
    /// The letter, as ASCII.
    pub(crate) value_type: u8,
}

/// The promoted attributes of a table, in the order of their promotion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promoted {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    /// Keys that were frequent enough when last learned from, and found no room.
    left_out: usize,
}

/// What a segment says of [`KEYS_IN_REST`].
#[derive(Debug, Default)]
pub(crate) struct KeysInRest {
    keys: BTreeSet<String>,
    is_unknown: bool,
}

impl KeysInRest {
    /// Adds keys of which values are in the rest.
    pub(crate) fn add<'a>(&mut self, keys: impl Iterator<Item = &'a str>) {
        self.keys.extend(keys.map(str::to_owned));
    }

    /// Adds those of a segment whose rows go into one with more columns: what has no column there is in the rest.
    pub(crate) fn add_those_of(&mut self, segment: &Schema, into: &Schema) {
        match segment.metadata().get(KEYS_IN_REST) {
            Some(text) => self.add(text.lines()),
            None => self.is_unknown = true,
        }
        let added = into.fields().iter().filter(|field| segment.column_with_name(field.name()).is_none());
        self.add(added.filter_map(|field| key_of(field)));
    }

    /// Returns the metadata; nothing when it is not known, or a key cannot stand on a line.
    pub(crate) fn text(&self) -> Option<String> {
        let fits = |key: &String| !key.is_empty() && !key.contains(['\n', '\r']);
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        (!self.is_unknown && self.keys.iter().all(fits)).then(|| keys.join("\n"))
    }
}

/// How often a key occurred, and with which type first.
struct Seen {
    count: usize,
    value_type: u8,
}

impl Promoted {
    /// Returns what the segments of a table say.
    pub(crate) fn of(segments: &[Segment]) -> Self {
        Self::of_schemas(segments.iter().map(|segment| &segment.schema))
    }

    /// Returns the promoted attributes of all these.
    pub(crate) fn of_schemas<'a>(schemas: impl Iterator<Item = &'a SchemaRef>) -> Self {
        let mut promoted = Self::default();
        for schema in schemas {
            for field in schema.fields() {
                let letter = field.metadata().get(TYPE).and_then(|letter| letter.bytes().next());
                if let Some((key, value_type)) = key_of(field).zip(letter) {
                    promoted.add(Column { key: key.to_owned(), value_type });
                }
            }
        }
        promoted
    }

    /// Returns these and the keys that are frequent in what is sealed next, the most frequent first while there is room.
    pub(crate) fn learn(&self, table: TableName, batches: &[RecordBatch], columns_max: usize) -> Self {
        let mut learned = self.clone();
        if !layout::has_attributes(table) {
            return learned;
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut frequent: Vec<(String, Seen)> = count(batches).into_iter().collect();
        frequent.retain(|(key, seen)| seen.count * ROWS_PER_KEY >= rows && !self.places.contains_key(key));
        frequent.sort_by(|(one, seen), (other, also)| also.count.cmp(&seen.count).then_with(|| one.cmp(other)));
        let room = columns_max.saturating_sub(self.columns.len());
        learned.left_out = frequent.len().saturating_sub(room);
        for (key, seen) in frequent.into_iter().take(room) {
            learned.add(Column { key, value_type: seen.value_type });
        }
        learned
    }

    /// Returns the columns.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns where the column of this key stands.
    pub(crate) fn place(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Returns how many keys would have deserved a column when they were last counted.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }

    fn add(&mut self, column: Column) {
        if !self.places.contains_key(&column.key) {
            self.places.insert(column.key.clone(), self.columns.len());
            self.columns.push(column);
        }
    }
}

/// Returns the column of a promoted attribute.
pub(crate) fn field(column: &Column) -> Arc<Field> {
    let letter = char::from(column.value_type).to_string();
    let field = Field::new(format!("{ATTRIBUTES}.{}", column.key), DataType::Utf8, true);
    Arc::new(field.with_metadata([(TYPE.to_owned(), letter)].into()))
}

/// Returns the key, if this is the column of a promoted attribute.
pub(crate) fn key_of(field: &Field) -> Option<&str> {
    field.name().strip_prefix(ATTRIBUTES)?.strip_prefix('.')
}

/// Counts how many rows have each key; a key that a row repeats counts again, which does no harm.
fn count(batches: &[RecordBatch]) -> HashMap<String, Seen> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    for batch in batches {
        let Some(attributes) = batch.column_by_name(ATTRIBUTES).and_then(|column| column.as_list_opt::<i32>()) else {
            continue;
        };
        let (from, to) = (attributes.value_offsets()[0], attributes.value_offsets()[attributes.len()]);
        let entries = attributes.values().as_struct();
        let keys = entries.column(0).as_dictionary::<UInt32Type>();
        let types = entries.column(2).as_primitive::<UInt8Type>().values();
        let mut counts = vec![(0_usize, 0_u8); keys.values().len()];
        for entry in from as usize..to as usize {
            let (count, value_type) = &mut counts[keys.keys().value(entry) as usize];
            *count += 1;
            *value_type = types[entry];
        }
        let names = keys.values().as_string::<i32>();
        for (name, (count, value_type)) in names.iter().zip(counts).filter(|(_, (count, _))| *count > 0) {
            let Some(name) = name else { continue };
            match seen.get_mut(name) {
                Some(seen) => seen.count += count,
                None => {
                    seen.insert(name.to_owned(), Seen { count, value_type });
                }
            }
        }
    }
    seen
}
