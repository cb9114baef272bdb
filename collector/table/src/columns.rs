//! Columns of a batch by name and type, for the tables' readers.

use arrow::array::{Array, FixedSizeBinaryArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, TimeUnit};

use crate::{SchemaError, TableName};

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

pub(crate) fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    let array = batch.column_by_name(name).expect("the schema was checked when the table was opened");
    array.as_any().downcast_ref::<A>().expect("the schema was checked when the table was opened")
}

/// Returns the first column that differs from the schema in type, by name; order does not matter.
pub(crate) fn check_schema(table: TableName, batch: &RecordBatch) -> Result<(), SchemaError> {
    let schema = table.schema();
    for field in schema.fields() {
        let fits = batch.column_by_name(field.name()).is_some_and(|found| found.data_type() == field.data_type());
        if !fits {
            return Err(SchemaError { table, column: field.name().clone() });
        }
    }
    Ok(())
}

pub(crate) fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

pub(crate) fn id<const N: usize>(array: &FixedSizeBinaryArray, row: usize) -> [u8; N] {
    array.value(row).try_into().expect("the column is of this width")
}

pub(crate) fn optional_id<const N: usize>(array: &FixedSizeBinaryArray, row: usize) -> Option<[u8; N]> {
    array.is_valid(row).then(|| id(array, row))
}
pub(crate) fn member<'a, A: 'static>(items: &'a StructArray, name: &str) -> &'a A {
    let array = items.column_by_name(name).expect("the schema was checked when the table was opened");
    array.as_any().downcast_ref::<A>().expect("the schema was checked when the table was opened")
}
