use std::sync::Arc;

use arrow::array::{DictionaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::layout::DICTIONARY_BYTES_MAX;
use crate::output::SparseTexts;

/// A file of one column that was written here, as any reader reads it.
struct ReadBack {
    column: Vec<Option<Vec<u8>>>,
    metadata: Arc<ParquetMetaData>,
    file: Bytes,
}

/// Writes the column in two pieces, as a seal does.
fn write(field: &Field, column: &Column) -> Bytes {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let parquet = ArrowSchemaConverter::new().convert(&schema).unwrap();
    assert!(ByteColumn::takes(field, column));
    let manner = Manner {
        column: parquet.column(0),
        has_range: true,
        bloom: Some(layout::Bloom { false_share: 0.01, values_min: 0 }),
    };
    let mut compressor = Compressor::new(1).unwrap();
    let mut values = ByteColumn::new(manner, column).unwrap();
    let half = column.len() / 2;
    values.push(&column.slice(0, half), &mut compressor).unwrap();
    values.push(&column.slice(half, column.len() - half), &mut compressor).unwrap();
    let (bytes, close) = values.close(&mut compressor).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(Vec::new(), parquet.root_schema_ptr(), properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    group.append_column(&bytes, close).unwrap();
    group.close().unwrap();
    Bytes::from(file.into_inner().unwrap())
}

/// Returns the texts without their gaps, if the column is one of plain texts.
fn sparse(column: &ArrayRef) -> Option<Column> {
    let texts = column.as_string_opt::<i32>()?;
    let valid = texts.nulls().cloned().unwrap_or_else(|| NullBuffer::new_valid(texts.len()));
    let texts = BinaryArray::from_iter_values(texts.iter().flatten());
    Some(Column::Texts(SparseTexts::new(texts, valid)))
}

/// Writes the column and reads it.
fn read_back(field: &Field, column: &ArrayRef) -> ReadBack {
    let file = write(field, &Column::Rows(Arc::clone(column)));
    if let Some(sparse) = sparse(column) {
        assert_eq!(write(field, &sparse), file, "without gaps it is the same file");
    }
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap();
    let metadata = Arc::clone(reader.metadata());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    let column = batches.iter().flat_map(|batch| bytes_of(batch.column(0))).collect();
    ReadBack { column, metadata, file }
}

fn bytes_of(column: &ArrayRef) -> Vec<Option<Vec<u8>>> {
    match column.as_string_opt::<i32>() {
        Some(texts) => texts.iter().map(|text| text.map(|text| text.as_bytes().to_vec())).collect(),
        None => column.as_fixed_size_binary().iter().map(|id| id.map(<[u8]>::to_vec)).collect(),
    }
}

fn text_field(is_optional: bool) -> Field {
    Field::new("text", DataType::Utf8, is_optional)
}

fn texts<'a>(rows: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(rows.into_iter().collect::<StringArray>())
}

/// What a Bloom filter, statistics and the page index say must be true of every value.
fn check_what_is_said(read: &ReadBack) {
    let chunk = read.metadata.row_group(0).column(0);
    let bloom = Sbbf::read_from_column_chunk(chunk, &read.file).unwrap().unwrap();
    assert!(read.column.iter().flatten().all(|value| bloom.check(value.as_slice())));
    let statistics = chunk.statistics();
    assert_eq!(statistics.is_some(), read.column.iter().any(Option::is_some));
    if let Some(statistics) = statistics {
        let nulls = read.column.iter().filter(|value| value.is_none()).count();
        assert_eq!(statistics.null_count_opt(), Some(nulls as u64));
        let (least, greatest) = (statistics.min_bytes_opt().unwrap(), statistics.max_bytes_opt().unwrap());
        assert!(read.column.iter().flatten().all(|value| least <= value.as_slice() && value.as_slice() <= greatest));
    }
    let pages = read.metadata.offset_index().unwrap()[0][0].page_locations();
    let rows = pages.windows(2).map(|pages| (pages[1].first_row_index - pages[0].first_row_index) as usize);
    assert!(rows.into_iter().all(|rows| rows <= PAGE_ROWS_MAX));
}

proptest! {
    #[test]
    fn any_reader_reads_what_was_written_by_number(
        entries in vec(any::<String>(), 1..300),
        runs in vec((any::<proptest::sample::Index>(), any::<bool>(), 1..40_usize), 1..60),
        is_optional in any::<bool>(),
    ) {
        let mut rows: Vec<Option<u32>> = Vec::new();
        for (entry, is_null, length) in runs {
            let entry = u32::try_from(entry.index(entries.len())).unwrap();
            rows.extend(std::iter::repeat_n((!(is_null && is_optional)).then_some(entry), length));
        }
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(&entries));
        let column: ArrayRef = Arc::new(DictionaryArray::new(UInt32Array::from(rows.clone()), values));
        let expected: Vec<Option<Vec<u8>>> =
            rows.iter().map(|row| row.map(|entry| entries[entry as usize].clone().into_bytes())).collect();
        let read = read_back(&text_field(is_optional), &column);
        prop_assert_eq!(&read.column, &expected);
        check_what_is_said(&read);
    }

    #[test]
    fn any_reader_reads_what_was_written_as_texts(
        rows in vec((prop_oneof![Just(None), any::<String>().prop_map(Some)], 1..60_usize), 0..80),
    ) {
        let rows = rows.iter().flat_map(|(text, length)| std::iter::repeat_n(text.as_deref(), *length));
        let column = texts(rows);
        let read = read_back(&text_field(true), &column);
        prop_assert_eq!(&read.column, &bytes_of(&column));
        check_what_is_said(&read);
    }
}

#[test]
fn more_rows_than_a_page_are_several_pages() {
    let rows: Vec<String> = (0..3 * PAGE_ROWS_MAX + 5).map(|n| format!("entry {}", n * 7 % 1_000)).collect();
    for nulls_every in [usize::MAX, 3, 20_000] {
        let column = texts(rows.iter().enumerate().map(|(at, row)| (at % nulls_every != 1).then_some(row.as_str())));
        let read = read_back(&text_field(true), &column);
        assert_eq!(read.column, bytes_of(&column));
        check_what_is_said(&read);
        assert_eq!(read.metadata.offset_index().unwrap()[0][0].page_locations().len(), 4);
    }
}

#[test]
fn a_column_without_values_needs_no_dictionary() {
    let column = texts(vec![None; 40_000]);
    let read = read_back(&text_field(true), &column);
    assert_eq!(read.column, vec![None; 40_000]);
    assert!(read.file.len() < 2_000);
}

#[test]
fn values_that_never_repeat_are_written_plain_after_the_first_page() {
    let rows: Vec<String> = (0..50_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let column = texts(rows.iter().map(|row| Some(row.as_str())));
    let read = read_back(&text_field(false), &column);
    assert_eq!(read.column, bytes_of(&column));
    check_what_is_said(&read);
}

#[test]
fn a_dictionary_that_grows_too_large_is_given_up_within_a_page() {
    let large = "x".repeat(DICTIONARY_BYTES_MAX / 4);
    let rows: Vec<String> = (0..24).map(|n| format!("{large}{}", n / 2)).collect();
    let column = texts(rows.iter().map(|row| Some(row.as_str())));
    let read = read_back(&text_field(true), &column);
    assert_eq!(read.column, bytes_of(&column));
    check_what_is_said(&read);
    let pages = read.metadata.offset_index().unwrap()[0][0].page_locations().len();
    assert!((4..=8).contains(&pages), "{pages} pages of about {PAGE_BYTES_MAX} bytes");
}

#[test]
fn ids_of_neighbouring_rows_are_kept_once() {
    let ids: Vec<[u8; 16]> =
        (0..20_000_u128).map(|n| (n / 10).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).collect();
    let column: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap());
    let read = read_back(&Field::new("id", DataType::FixedSizeBinary(16), false), &column);
    assert_eq!(read.column, bytes_of(&column));
    check_what_is_said(&read);
    assert!(read.file.len() < 20_000 / 10 * 16 + 10_000);
}

#[test]
fn few_values_have_no_filter() {
    let has_filter = |values: usize| {
        let rows: Vec<String> = (0..1_000).map(|n| (n % values).to_string()).collect();
        let column = texts(rows.iter().map(|row| Some(row.as_str())));
        let schema = Schema::new(vec![text_field(true)]);
        let parquet = ArrowSchemaConverter::new().convert(&schema).unwrap();
        let bloom = Some(layout::Bloom { false_share: 0.1, values_min: 256 });
        let manner = Manner { column: parquet.column(0), has_range: true, bloom };
        let mut compressor = Compressor::new(1).unwrap();
        let column = Column::Rows(column);
        let mut values = ByteColumn::new(manner, &column).unwrap();
        values.push(&column, &mut compressor).unwrap();
        values.close(&mut compressor).unwrap().1.bloom_filter.is_some()
    };
    assert_eq!([1, 255, 256, 1_000].map(has_filter), [false, false, true, true]);
}

#[test]
fn rows_of_another_dictionary_are_refused() {
    let column = |entries: &[&str]| {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(entries));
        Column::Rows(Arc::new(DictionaryArray::new(UInt32Array::from(vec![0]), values)))
    };
    let (one, other) = (column(&["a"]), column(&["b"]));
    let schema = Schema::new(vec![text_field(false)]);
    let parquet = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let manner = Manner { column: parquet.column(0), has_range: false, bloom: None };
    let mut compressor = Compressor::new(1).unwrap();
    let mut values = ByteColumn::new(manner, &one).unwrap();
    values.push(&one, &mut compressor).unwrap();
    assert!(values.push(&other, &mut compressor).is_err());
}
