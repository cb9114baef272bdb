//! Rollups: spans counted per minute and operation (`red`), and rows of one key made one. The seal rolls up what it
//! writes, compaction merges, and a query of `red` rolls up what is still in memory. Must stay cheap a span: what a
//! name or a resource means is looked up once a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use collector_table::{SketchSum, TableName};

use crate::layout;

mod red;

pub(crate) use red::RedRollup;

/// Returns the `red` rows of spans in the memory form, one a key.
///
/// # Errors
/// If a batch is no table of spans.
pub(crate) fn red(spans: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let mut rollup = RedRollup::default();
    for batch in spans {
        rollup.add(batch)?;
    }
    Ok(rollup.rows())
}

/// Returns rows of `red` or `dependencies` with those of one key merged, by key. Rows from before a column was added count
/// nothing in it.
///
/// # Errors
/// If the rows are not of the table, or a sketch cannot be read.
pub(crate) fn merge(table: TableName, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let schema = table.memory_schema();
    let mut whole = Vec::with_capacity(batches.len());
    for batch in batches {
        whole.push(RecordBatch::try_new(Arc::clone(&schema), layout::with_all_columns(batch, &schema)?)?);
    }
    let rows = concat_batches(&schema, &whole)?;
    let groups = Groups::of(&rows)?;
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| match field.name().as_str() {
        "duration_sketch" | "gap_sketch" => groups.merge_sketches(column),
        "duration_min_ns" => Ok(groups.fold(column, i64::MAX, i64::min)),
        "duration_max_ns" => Ok(groups.fold(column, i64::MIN, i64::max)),
        _ if *field.data_type() == DataType::Int64 => Ok(groups.fold(column, 0, i64::saturating_add)),
        _ => take(column, &groups.firsts, None),
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)
}

/// Rows that have the same key.
struct Groups {
    /// One row of each group, by key.
    firsts: UInt32Array,
    /// Group of each row.
    of_rows: Vec<usize>,
}

impl Groups {
    fn of(rows: &RecordBatch) -> Result<Self, ArrowError> {
        // All that is neither counted nor a sketch is the key.
        let keys =
            rows.columns().iter().filter(|column| !matches!(column.data_type(), DataType::Int64 | DataType::Binary));
        let keys: Vec<ArrayRef> = keys.map(ArrayRef::clone).collect();
        let fields = keys.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&keys)?;
        let mut by_key: Vec<usize> = (0..rows.num_rows()).collect();
        by_key.sort_unstable_by_key(|row| keys.row(*row));
        let mut firsts: Vec<usize> = Vec::new();
        let mut of_rows = vec![0; rows.num_rows()];
        for row in by_key {
            if firsts.last().is_none_or(|first| keys.row(*first) != keys.row(row)) {
                firsts.push(row);
            }
            of_rows[row] = firsts.len() - 1;
        }
        let firsts = firsts.into_iter().map(|row| u32::try_from(row).ok()).collect();
        Ok(Self { firsts, of_rows })
    }

    fn fold(&self, column: &ArrayRef, from: i64, step: fn(i64, i64) -> i64) -> ArrayRef {
        let mut folded = vec![from; self.firsts.len()];
        for (value, group) in column.as_primitive::<Int64Type>().iter().zip(&self.of_rows) {
            folded[*group] = value.map_or(folded[*group], |value| step(folded[*group], value));
        }
        Arc::new(Int64Array::from(folded))
    }

    fn merge_sketches(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let mut sums: Vec<Option<SketchSum>> = vec![None; self.firsts.len()];
        for (bytes, group) in column.as_binary::<i32>().iter().zip(&self.of_rows) {
            let Some(bytes) = bytes else { continue };
            let added = sums[*group].get_or_insert_default().add(bytes);
            added.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        }
        let mut column = BinaryBuilder::new();
        let mut encoded = Vec::new();
        for sum in sums {
            encoded.clear();
            sum.iter().for_each(|sum| sum.sketch().encode(&mut encoded));
            column.append_option(sum.is_some().then_some(&encoded));
        }
        Ok(Arc::new(column.finish()))
    }
}

#[cfg(test)]
mod tests;
