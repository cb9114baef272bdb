//! Attributes as a segment has them: a column for each promoted key, and JSON text of whatever is left. A value of
//! another type than its column's stays in the text, and so does a key that the row had before.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{ArrayBuilder, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, UInt8Type, UInt32Type};
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
    pub(super) fn columns(&mut self, rows: &[Row]) -> (ArrayRef, Vec<ArrayRef>) {
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
                    column.set(at, value, rows.len());
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
        let promoted = columns.into_iter().map(|column| column.finish(rows.len()));
        (Arc::new(rest.finish()), promoted.collect())
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
    /// None until a row has a text.
    texts: Option<StringBuilder>,
}

impl TextColumn {
    fn has_room_at(&self, row: usize) -> bool {
        self.texts.as_ref().is_none_or(|texts| texts.len() <= row)
    }

    /// Sets the text of a row, after the last that was set, of `rows` in all.
    fn set(&mut self, row: usize, value: &str, rows: usize) {
        let texts = self.texts.get_or_insert_with(|| StringBuilder::with_capacity(rows, 0));
        if texts.len() < row {
            texts.append_nulls(row - texts.len());
        }
        texts.append_value(value);
    }

    fn finish(self, rows: usize) -> ArrayRef {
        let Some(mut texts) = self.texts else { return new_null_array(&DataType::Utf8, rows) };
        texts.append_nulls(rows - texts.len());
        Arc::new(texts.finish())
    }
}
