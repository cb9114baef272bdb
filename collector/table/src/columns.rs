//! Columns of a batch by name and type, for the tables' builders and readers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, NullBufferBuilder, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt32Type};

use crate::attributes::list_type;
use crate::{NotUtf8, SchemaError, TableName};

/// Why a column's type cannot be another one.
pub(crate) const CHECKED: &str = "the schema was checked when the table was opened";

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Arrow type of texts that are kept once a batch.
pub(crate) fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// Returns the schema of a memory form as SQL shows it, where no other difference needs a hand: texts are plain, and
/// attributes are JSON.
pub(crate) fn plain(memory: &Schema) -> SchemaRef {
    let fields = memory.fields().iter().map(|field| match field.data_type() {
        found if *found == text_dictionary() || *found == list_type() => {
            Field::new(field.name(), DataType::Utf8, field.is_nullable())
        }
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(crate) fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    let array = batch.column_by_name(name).expect(CHECKED);
    array.as_any().downcast_ref::<A>().expect(CHECKED)
}

/// Returns the first column that differs from the schema in type, by name; order does not matter.
pub(crate) fn check_schema(table: TableName, schema: &Schema, batch: &RecordBatch) -> Result<(), SchemaError> {
    for field in schema.fields() {
        let fits = batch.column_by_name(field.name()).is_some_and(|found| found.data_type() == field.data_type());
        if !fits {
            return Err(SchemaError { table, column: field.name().clone() });
        }
    }
    Ok(())
}

/// Returns whether a batch has the memory form: only there are attributes lists.
pub(crate) fn is_memory_form(batch: &RecordBatch) -> bool {
    batch.column_by_name("attributes").is_some_and(|attributes| *attributes.data_type() == list_type())
}

/// Returns the batch with exactly the columns of a SQL form, views and dictionaries of texts made plain.
pub(crate) fn as_sql(table: TableName, batch: &RecordBatch) -> Result<RecordBatch, SchemaError> {
    let schema = table.sql_schema();
    let columns = schema.fields().iter().map(|field| {
        let wrong = || SchemaError { table, column: field.name().clone() };
        let found = batch.column_by_name(field.name()).ok_or_else(wrong)?;
        let column = cast(found, field.data_type()).map_err(|_| wrong())?;
        if column.null_count() > 0 && !field.is_nullable() { Err(wrong()) } else { Ok(column) }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns).expect("each column was cast to the schema's type"))
}

/// Returns a column of Unix nanoseconds.
pub(crate) fn timestamps(unix_ns: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(unix_ns).with_timezone("UTC"))
}

/// Builds a column of ids.
pub(crate) struct IdColumn<const N: usize> {
    bytes: Vec<u8>,
    validity: NullBufferBuilder,
}

impl<const N: usize> Default for IdColumn<N> {
    fn default() -> Self {
        Self { bytes: Vec::new(), validity: NullBufferBuilder::new(0) }
    }
}

impl<const N: usize> IdColumn<N> {
    /// Makes room for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.bytes.reserve_exact(rows.saturating_mul(N));
    }

    pub(crate) fn push(&mut self, id: Option<&[u8; N]>) {
        self.bytes.extend_from_slice(id.unwrap_or(&[0; N]));
        self.validity.append(id.is_some());
    }

    pub(crate) fn finish(mut self) -> ArrayRef {
        let width = i32::try_from(N).expect("ids are short");
        Arc::new(FixedSizeBinaryArray::new(width, self.bytes.into(), self.validity.finish()))
    }
}

/// Builds a column of texts that are checked to be UTF-8 all at once, at the end: much cheaper than one by one.
pub(crate) struct UncheckedTexts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for UncheckedTexts {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl UncheckedTexts {
    /// Makes room for so many texts of so many bytes together.
    pub(crate) fn reserve(&mut self, texts: usize, bytes: usize) {
        self.offsets.reserve_exact(texts);
        self.bytes.reserve_exact(bytes);
    }

    #[inline]
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(i32::try_from(self.bytes.len()).expect("a batch is smaller than an Arrow offset can say"));
    }

    pub(crate) fn finish(self) -> Result<StringArray, NotUtf8> {
        let offsets = OffsetBuffer::new(self.offsets.into());
        StringArray::try_new(offsets, self.bytes.into(), None).map_err(|_| NotUtf8)
    }
}

/// Texts that are kept once a batch.
#[derive(Clone, Copy)]
pub(crate) struct Texts<'a> {
    pub(crate) keys: &'a [u32],
    pub(crate) values: &'a StringArray,
}

impl<'a> Texts<'a> {
    pub(crate) fn of(batch: &'a RecordBatch, name: &str) -> Self {
        let column: &DictionaryArray<UInt32Type> = column(batch, name);
        let values = column.values().as_any().downcast_ref().expect(CHECKED);
        Self { keys: column.keys().values(), values }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        text(self.values, self.keys[row] as usize)
    }
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
