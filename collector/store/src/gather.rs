//! Rows in memory form, brought into the order and the columns of a segment, some thousands at a time. Called by the
//! seal. Each batch's dictionaries are mapped to one for the whole segment once, so that a row costs a look into a
//! table; nothing is copied that is not written.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt8Array, UInt32Array};
use arrow::array::{DictionaryArray, FixedSizeBinaryArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, UInt8Type, UInt32Type};
use arrow::error::ArrowError;
use collector_table::{SpanKind, StatusCode, TableName};

use crate::layout;
use crate::output::Column;
use crate::promote::{ATTRIBUTES, Promoted};

mod attributes;
mod order;

use attributes::AttributeSource;
pub(crate) use order::Row;

const NULL: u32 = u32::MAX;

/// Rows of one table that become a segment.
pub(crate) struct Gather<'a> {
    order: Vec<Row>,
    sources: Vec<Source<'a>>,
    attributes: AttributeSource<'a>,
}

/// One column of all batches.
enum Source<'a> {
    Ids(Vec<&'a FixedSizeBinaryArray>),
    Texts {
        keys: Vec<&'a [u32]>,
        entries: Vec<Vec<u32>>,
        values: ArrayRef,
    },
    Words {
        numbers: Vec<&'a UInt8Array>,
        values: ArrayRef,
    },
    Counts(Vec<&'a UInt32Array>),
    Others(Vec<&'a dyn Array>),
    /// The attributes without a column, and after the last column those with one.
    Attributes,
}

impl<'a> Gather<'a> {
    /// Puts rows of a table with attributes in order. The batches have the schema of their memory form.
    pub(crate) fn new(table: TableName, batches: &'a [RecordBatch], promoted: &'a Promoted) -> Self {
        let schema = table.memory_schema();
        let columns = schema.fields().iter().enumerate();
        let sources = columns.map(|(index, field)| source(table, field, index, batches)).collect();
        Self { order: order::of(table, batches), sources, attributes: AttributeSource::new(batches, promoted) }
    }

    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.order.len()
    }

    /// Returns the keys of promoted attributes of which some value had to stay in the text, of the rows that were returned.
    pub(crate) fn keys_in_rest(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys_in_rest()
    }

    /// Returns these rows, column by column; texts as dictionaries, attributes only where there are any.
    ///
    /// # Errors
    /// If a text column is larger than Arrow allows.
    pub(crate) fn columns(&mut self, rows: Range<usize>) -> Result<Vec<Column>, ArrowError> {
        let rows = &self.order[rows];
        let pairs: Vec<(usize, usize)> = rows.iter().map(|row| (row.batch as usize, row.row as usize)).collect();
        let (rest, promoted) = self.attributes.columns(rows);
        let mut columns = Vec::with_capacity(self.sources.len() + promoted.len());
        for source in &self.sources {
            let column: ArrayRef = match source {
                Source::Ids(arrays) => ids(arrays, rows)?,
                Source::Texts { keys, entries, values } => texts(rows, values, |row| {
                    entries[row.batch as usize][keys[row.batch as usize][row.row as usize] as usize]
                })?,
                Source::Words { numbers, values } => {
                    let last = u32::try_from(values.len()).unwrap_or(1) - 1;
                    texts(rows, values, |row| u32::from(numbers[row.batch as usize].value(row.row as usize)).min(last))?
                }
                Source::Counts(counts) => {
                    let count = |row: &Row| counts[row.batch as usize].value(row.row as usize);
                    Arc::new(
                        rows.iter().map(|row| Some(count(row)).filter(|count| *count > 0)).collect::<UInt32Array>(),
                    )
                }
                Source::Others(arrays) => interleave(arrays, &pairs)?,
                Source::Attributes => Arc::clone(&rest),
            };
            columns.push(Column::Rows(column));
        }
        columns.extend(promoted.into_iter().map(Column::Texts));
        Ok(columns)
    }
}

fn source<'a>(table: TableName, field: &Field, index: usize, batches: &'a [RecordBatch]) -> Source<'a> {
    let columns = batches.iter().map(|batch| batch.column(index));
    match field.data_type() {
        DataType::Dictionary(..) => {
            text_source(&columns.map(|column| column.as_dictionary::<UInt32Type>()).collect::<Vec<_>>())
        }
        DataType::FixedSizeBinary(_) => Source::Ids(columns.map(|column| column.as_fixed_size_binary()).collect()),
        _ if field.name() == ATTRIBUTES => Source::Attributes,
        _ if layout::is_word(table, field.name()) => Source::Words {
            numbers: columns.map(|column| column.as_primitive::<UInt8Type>()).collect(),
            values: Arc::new(words(field.name())),
        },
        _ if layout::is_dropped_count(table, field.name()) => {
            Source::Counts(columns.map(|column| column.as_primitive::<UInt32Type>()).collect())
        }
        _ => Source::Others(columns.map(|column| &**column as &dyn Array).collect()),
    }
}

fn words(column: &str) -> StringArray {
    if column == "kind" {
        SpanKind::ALL.into_iter().map(|kind| Some(kind.as_str())).collect()
    } else {
        StatusCode::ALL.into_iter().map(|code| Some(code.as_str())).collect()
    }
}

/// Maps the entries of all batches to entries of one dictionary.
fn text_source<'a>(columns: &[&'a DictionaryArray<UInt32Type>]) -> Source<'a> {
    let mut known: HashMap<&str, u32, ahash::RandomState> = HashMap::default();
    let mut values: Vec<&str> = Vec::new();
    let mut entries = Vec::with_capacity(columns.len());
    for column in columns {
        let texts = column.values().as_string::<i32>();
        let mapped = texts.iter().map(|text| {
            let Some(text) = text else { return NULL };
            *known.entry(text).or_insert_with(|| {
                values.push(text);
                u32::try_from(values.len() - 1).unwrap_or(NULL)
            })
        });
        entries.push(mapped.collect());
    }
    let values = Arc::new(StringArray::from_iter_values(values));
    Source::Texts { keys: columns.iter().map(|column| &**column.keys().values()).collect(), entries, values }
}

fn texts(rows: &[Row], values: &ArrayRef, entry: impl Fn(&Row) -> u32) -> Result<ArrayRef, ArrowError> {
    let mut keys: Vec<u32> = rows.iter().map(entry).collect();
    let has_nulls = keys.contains(&NULL);
    let nulls = has_nulls.then(|| NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), |at| keys[at] != NULL)));
    if has_nulls {
        for key in keys.iter_mut().filter(|key| **key == NULL) {
            *key = 0;
        }
    }
    if values.is_empty() {
        return Ok(arrow::array::new_null_array(&DataType::Utf8, rows.len()));
    }
    Ok(Arc::new(DictionaryArray::try_new(UInt32Array::new(keys.into(), nulls), Arc::clone(values))?))
}

fn ids(arrays: &[&FixedSizeBinaryArray], rows: &[Row]) -> Result<ArrayRef, ArrowError> {
    let width = arrays.first().map_or(0, |array| array.value_length());
    let mut bytes = Vec::with_capacity(rows.len() * usize::try_from(width).unwrap_or(0));
    for row in rows {
        bytes.extend_from_slice(arrays[row.batch as usize].value(row.row as usize));
    }
    let has_nulls = arrays.iter().any(|array| array.null_count() > 0);
    let is_valid = |at: usize| arrays[rows[at].batch as usize].is_valid(rows[at].row as usize);
    let nulls = has_nulls.then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_valid)));
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, bytes.into(), nulls)?))
}
