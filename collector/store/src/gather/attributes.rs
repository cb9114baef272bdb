//! Attributes as a segment has them: a column for each promoted key, and JSON text of whatever is left. A value of
//! another type than its column's stays in the text, and so does a key that the row had before.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{ArrayRef, AsArray, BooleanBufferBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, UInt8Type, UInt32Type};
use arrow::error::ArrowError;
use collector_table::ValueType;
use collector_table::json::ObjectWriter;

use super::Row;
use crate::promote::{ATTRIBUTES, Column, Promoted};

const NO_COLUMN: u32 = u32::MAX;

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

    /// Returns the text and the promoted columns of these rows.
    pub(super) fn columns(&mut self, rows: &[Row]) -> Result<(ArrayRef, Vec<ArrayRef>), ArrowError> {
        let mut columns: Vec<TextColumn> = self.columns.iter().map(|_| TextColumn::default()).collect();
        let mut rest = StringBuilder::new();
        let mut object = ObjectWriter::default();
        for (at, row) in rows.iter().enumerate() {
            let batch = &self.batches[row.batch as usize];
            let bound = |row: usize| usize::try_from(batch.offsets[row]).unwrap_or(0);
            let mut is_left = false;
            for entry in bound(row.row as usize)..bound(row.row as usize + 1) {
                let (key, value) = (batch.keys[entry] as usize, batch.values.value(entry));
                let place = batch.columns[key] as usize;
                if let Some(column) = columns.get_mut(place)
                    && self.columns[place].value_type == batch.types[entry]
                    && column.has_room_at(at)
                {
                    column.set(at, value);
                } else {
                    object.push(batch.names.value(key), value, ValueType::from_byte(batch.types[entry]));
                    is_left = true;
                    if let Some(is_in_rest) = self.in_rest.get_mut(place) {
                        *is_in_rest = true;
                    }
                }
            }
            rest.append_option(is_left.then(|| object.finish()));
            object.clear();
        }
        let promoted: Result<Vec<ArrayRef>, ArrowError> =
            columns.into_iter().map(|column| column.finish(rows.len())).collect();
        Ok((Arc::new(rest.finish()), promoted?))
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
    /// End of the text of each row that was passed.
    ends: Vec<i32>,
    /// Rows that have a text.
    filled: Vec<u32>,
}

impl TextColumn {
    fn has_room_at(&self, row: usize) -> bool {
        self.ends.len() <= row
    }

    fn set(&mut self, row: usize, value: &str) {
        self.ends.resize(row, self.end());
        self.bytes.extend_from_slice(value.as_bytes());
        self.ends.push(self.end());
        self.filled.push(u32::try_from(row).unwrap_or(u32::MAX));
    }

    /// All rows in memory together are far below what this can say.
    fn end(&self) -> i32 {
        i32::try_from(self.bytes.len()).unwrap_or(i32::MAX)
    }

    fn finish(mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        if self.filled.is_empty() {
            return Ok(new_null_array(&DataType::Utf8, rows));
        }
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        offsets.resize(rows + 1, self.end());
        let mut is_valid = BooleanBufferBuilder::new(rows);
        is_valid.append_n(rows, false);
        for row in self.filled {
            is_valid.set_bit(row as usize, true);
        }
        let nulls = NullBuffer::new(is_valid.finish());
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, self.bytes.into(), Some(nulls))?))
    }
}
