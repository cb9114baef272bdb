//! Attributes as a segment has them: a column for each promoted key, and JSON text of whatever is left. A value of
//! another type than its column's stays in the text, and so does a key that the row had before.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, StringBuilder};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{UInt8Type, UInt32Type};
use collector_table::ValueType;
use collector_table::json::ObjectWriter;

use super::Row;
use crate::output::SparseTexts;
use crate::promote::{ATTRIBUTES, Column, Promoted};

const NO_COLUMN: u32 = u32::MAX;
/// Rows whose entries are looked up before any of them is used: rows of a trace stand far apart in memory, and looks that
/// do not wait for each other cost little more than one.
const ROWS_AT_ONCE: usize = 64;
const WORD_BITS: usize = 64;

/// The attributes of all batches.
pub(super) struct AttributeSource<'a> {
    batches: Vec<BatchAttributes<'a>>,
    columns: &'a [Column],
    /// Which columns lack a value that is in the text instead.
    in_rest: Vec<bool>,
}

struct BatchAttributes<'a> {
    offsets: &'a [i32],
    names: &'a StringArray,
    keys: &'a [u32],
    values: &'a StringArray,
    types: &'a [u8],
    /// Column of each name.
    columns: Vec<u32>,
}

impl<'a> AttributeSource<'a> {
    pub(super) fn new(batches: &'a [RecordBatch], promoted: &'a Promoted) -> Self {
        let batches = batches.iter().map(|batch| BatchAttributes::new(batch, promoted)).collect();
        Self { batches, columns: promoted.columns(), in_rest: vec![false; promoted.columns().len()] }
    }

    /// Returns the keys with a column of which some value is in the text all the same, so far.
    pub(super) fn keys_in_rest(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().zip(&self.in_rest);
        columns.filter(|(_, is_in_rest)| **is_in_rest).map(|(column, _)| column.key.as_str())
    }

    /// Returns the text and the promoted columns of these rows, the latter only for rows that have one.
    pub(super) fn columns(&mut self, rows: &[Row]) -> (ArrayRef, Vec<SparseTexts>) {
        let mut columns: Vec<TextColumn> = self.columns.iter().map(|_| TextColumn::default()).collect();
        let mut rest = StringBuilder::with_capacity(rows.len(), 0);
        let mut object = ObjectWriter::default();
        let mut found = Found::default();
        for (chunk, first) in rows.chunks(ROWS_AT_ONCE).zip((0..).step_by(ROWS_AT_ONCE)) {
            found.fill(&self.batches, chunk);
            let mut entries = found.entries.iter();
            for (at, (row, range)) in (first..).zip(chunk.iter().zip(&found.ranges)) {
                let batch = &self.batches[row.batch as usize];
                let mut is_left = false;
                for entry in entries.by_ref().take(range.len()) {
                    let place = batch.columns[entry.key as usize] as usize;
                    if let Some(column) = columns.get_mut(place)
                        && self.columns[place].value_type == entry.value_type
                        && column.has_room_at(at)
                    {
                        column.set(at, &batch.values.value_data()[entry.from as usize..entry.to as usize], rows.len());
                    } else {
                        let value = batch.values.value(entry.index);
                        object.push(
                            batch.names.value(entry.key as usize),
                            value,
                            ValueType::from_byte(entry.value_type),
                        );
                        is_left = true;
                        if let Some(is_in_rest) = self.in_rest.get_mut(place) {
                            *is_in_rest = true;
                        }
                    }
                }
                rest.append_option(is_left.then(|| object.finish()));
                object.clear();
            }
        }
        let promoted = columns.into_iter().map(|column| column.finish(rows.len()));
        (Arc::new(rest.finish()), promoted.collect())
    }
}

/// One attribute of a row.
struct Entry {
    index: usize,
    key: u32,
    value_type: u8,
    /// Where its value begins and ends among those of its batch.
    from: i32,
    to: i32,
}

/// The entries of some rows, one row's after the other's.
#[derive(Default)]
struct Found {
    ranges: Vec<Range<usize>>,
    entries: Vec<Entry>,
}

impl Found {
    fn fill(&mut self, batches: &[BatchAttributes<'_>], rows: &[Row]) {
        let index = |offset: i32| usize::try_from(offset).unwrap_or(0);
        self.ranges.clear();
        self.ranges.extend(rows.iter().map(|row| {
            let offsets = &batches[row.batch as usize].offsets[row.row as usize..];
            index(offsets[0])..index(offsets[1])
        }));
        self.entries.clear();
        for (row, range) in rows.iter().zip(&self.ranges) {
            let batch = &batches[row.batch as usize];
            let bounds = &batch.values.value_offsets()[range.start..=range.end];
            let (keys, types) = (&batch.keys[range.clone()], &batch.types[range.clone()]);
            let entries = range.clone().zip(keys.iter().zip(types)).zip(bounds.windows(2));
            self.entries.extend(entries.map(|((index, (key, value_type)), bounds)| Entry {
                index,
                key: *key,
                value_type: *value_type,
                from: bounds[0],
                to: bounds[1],
            }));
        }
    }
}

impl<'a> BatchAttributes<'a> {
    fn new(batch: &'a RecordBatch, promoted: &Promoted) -> Self {
        let list = batch.column_by_name(ATTRIBUTES).expect("the handle checked the schema").as_list::<i32>();
        let entries = list.values().as_struct();
        let keys = entries.column(0).as_dictionary::<UInt32Type>();
        let names = keys.values().as_string::<i32>();
        let column = |name: Option<&str>| promoted.place(name?).and_then(|place| u32::try_from(place).ok());
        Self {
            offsets: list.value_offsets(),
            names,
            keys: keys.keys().values(),
            values: entries.column(1).as_string(),
            types: entries.column(2).as_primitive::<UInt8Type>().values(),
            columns: names.iter().map(|name| column(name).unwrap_or(NO_COLUMN)).collect(),
        }
    }
}

/// Texts of one column, of which many rows have none.
#[derive(Default)]
struct TextColumn {
    bytes: Vec<u8>,
    /// Where each text ends.
    ends: Vec<i32>,
    /// A bit for each row that has a text, the lowest first; empty until one has.
    valid: Vec<u64>,
    /// The row after the last that has a text.
    next: usize,
}

impl TextColumn {
    fn has_room_at(&self, row: usize) -> bool {
        self.next <= row
    }

    /// Sets the text of a row, after the last that was set, of `rows` in all.
    fn set(&mut self, row: usize, text: &[u8], rows: usize) {
        if self.valid.is_empty() {
            self.valid.resize(rows.div_ceil(WORD_BITS), 0);
        }
        self.bytes.extend_from_slice(text);
        self.ends.push(i32::try_from(self.bytes.len()).expect("some thousand rows are smaller than an offset can say"));
        self.valid[row / WORD_BITS] |= 1 << (row % WORD_BITS);
        self.next = row + 1;
    }

    fn finish(self, rows: usize) -> SparseTexts {
        if self.valid.is_empty() {
            return SparseTexts::none(rows);
        }
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        let texts = BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(self.bytes), None);
        SparseTexts::new(texts, NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(self.valid), 0, rows)))
    }
}

#[cfg(test)]
mod tests;
