use std::sync::Arc;

use arrow::array::{DictionaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;

/// Writes the rows as a file of one column with this encoder, and reads it as any reader would.
fn read_back(entries: &[String], rows: &[Option<u32>], is_optional: bool) -> Vec<Option<String>> {
    let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, is_optional)]));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(entries));
    let keys = UInt32Array::from(rows.to_vec());
    let column: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    let mut texts = TextColumn::like(&column).unwrap();
    // In two pieces, as a seal does.
    let half = rows.len() / 2;
    texts.push(&column.slice(0, half)).unwrap();
    texts.push(&column.slice(half, rows.len() - half)).unwrap();
    let parquet = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let (bytes, close) = texts.close(&parquet.column(0), true).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(Vec::new(), parquet.root_schema_ptr(), properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    group.append_column(&bytes, close).unwrap();
    group.close().unwrap();
    let file = Bytes::from(file.into_inner().unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
    texts.map(|text| text.map(str::to_owned)).collect()
}

proptest! {
    #[test]
    fn any_reader_reads_what_was_written(
        entries in vec(any::<String>(), 1..300),
        runs in vec((any::<proptest::sample::Index>(), any::<bool>(), 1..40_usize), 1..60),
        is_optional in any::<bool>(),
    ) {
        let mut rows: Vec<Option<u32>> = Vec::new();
        for (entry, is_null, length) in runs {
            let entry = u32::try_from(entry.index(entries.len())).unwrap();
            rows.extend(std::iter::repeat_n((!(is_null && is_optional)).then_some(entry), length));
        }
        let expected: Vec<Option<String>> = rows.iter().map(|row| row.map(|entry| entries[entry as usize].clone())).collect();
        prop_assert_eq!(read_back(&entries, &rows, is_optional), expected);
    }
}

#[test]
fn more_rows_than_a_page_are_several_pages() {
    let entries: Vec<String> = (0..1_000).map(|n| format!("entry {n}")).collect();
    let rows: Vec<Option<u32>> = (0..3 * 16_384 + 5).map(|n| Some(n * 7 % 1_000)).collect();
    let expected: Vec<Option<String>> =
        rows.iter().map(|row| row.map(|entry| entries[entry as usize].clone())).collect();
    assert_eq!(read_back(&entries, &rows, true), expected);
}
