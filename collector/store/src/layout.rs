//! How segments look: their columns, and how each is encoded. Everything that writes segments asks here.
//!
//! The columns are those of the memory form, with words for the numbers that stand for words, `attributes` as JSON of
//! what has no column, and one column for each promoted attribute.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use collector_table::TableName;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::promote::{self, Promoted};

/// Rows of a row group: what a seal writes is one, and larger ones would make finding one trace slower.
const ROW_GROUP_ROWS_MAX: usize = 512 * 1024;
/// The same of transactions: people ask for the newest few, and the row group that has them is read whole.
const TRANSACTIONS_GROUP_ROWS_MAX: usize = PAGE_ROWS_MAX;
/// Rows of a page: what finding one trace decodes of each column.
pub(crate) const PAGE_ROWS_MAX: usize = 16_384;
/// Distinct values of a row group for which a Bloom filter is still as exact as it should be; mostly there are far fewer.
pub(crate) const BLOOM_VALUES_MAX: u64 = 65_536;
/// Distinct values of an attribute from which on a Bloom filter is worth reading: fewer are in every row group.
const BLOOM_ATTRIBUTES_MIN: usize = 256;
/// Larger dictionaries are given up: then values hardly repeat.
pub(crate) const DICTIONARY_BYTES_MAX: usize = 1024 * 1024;
/// Columns of the memory form that are numbers there, and words in segments.
const WORDS: [&str; 2] = ["kind", "status_code"];
/// Counts that are nearly always 0; null then.
const DROPPED: [&str; 3] = ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"];

/// Returns the columns of a segment.
pub(crate) fn schema(table: TableName, promoted: &Promoted) -> SchemaRef {
    let memory = table.memory_schema();
    let mut fields: Vec<Arc<Field>> = memory.fields().iter().map(|field| segment_field(table, field)).collect();
    fields.extend(promoted.columns().iter().map(promote::field));
    Arc::new(Schema::new(fields))
}

fn segment_field(table: TableName, field: &Arc<Field>) -> Arc<Field> {
    let field_as = |data_type, is_nullable| Arc::new(Field::new(field.name(), data_type, is_nullable));
    match field.data_type() {
        DataType::Dictionary(_, value) => field_as(value.as_ref().clone(), field.is_nullable()),
        _ if is_word(table, field.name()) => field_as(DataType::Utf8, false),
        _ if is_dropped_count(table, field.name()) => field_as(DataType::UInt32, true),
        _ if has_attributes(table) && field.name() == promote::ATTRIBUTES => field_as(DataType::Utf8, true),
        _ => Arc::clone(field),
    }
}

/// Returns whether rows of this table have attributes, of which some get columns.
pub(crate) fn has_attributes(table: TableName) -> bool {
    matches!(table, TableName::Spans | TableName::Logs | TableName::Metrics)
}

/// Returns whether the memory form has a number here for what is a word.
pub(crate) fn is_word(table: TableName, column: &str) -> bool {
    table == TableName::Spans && WORDS.contains(&column)
}

/// Returns whether a segment has null here for 0.
pub(crate) fn is_dropped_count(table: TableName, column: &str) -> bool {
    has_attributes(table) && DROPPED.contains(&column)
}

/// Returns the columns of a segment that takes rows of all of these.
pub(crate) fn union<'a>(table: TableName, schemas: impl Iterator<Item = &'a SchemaRef> + Clone) -> SchemaRef {
    schema(table, &Promoted::of_schemas(schemas))
}

/// Adds columns of nulls for those that the rows do not have, and brings all in order.
///
/// # Errors
/// If a column that is not optional is missing.
pub(crate) fn with_all_columns(rows: &RecordBatch, schema: &SchemaRef) -> Result<Vec<ArrayRef>, ArrowError> {
    let column = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
        Some(column) => Ok(Arc::clone(column)),
        None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
        None => Err(ArrowError::SchemaError(format!("column {} is missing", field.name()))),
    };
    schema.fields().iter().map(column).collect()
}

/// Columns by which rows are looked up one by one.
fn id_columns(table: TableName) -> &'static [&'static str] {
    match table {
        TableName::Spans | TableName::Logs => &["trace_id"],
        TableName::Transactions => &["transaction_id"],
        TableName::Metrics | TableName::Red | TableName::Dependencies => &[],
    }
}

/// What a Bloom filter of a column is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bloom {
    /// Share of the answers that may be wrong.
    pub(crate) false_share: f64,
    /// With fewer distinct values there is none.
    pub(crate) values_min: usize,
}

/// Returns what Bloom filter a column has, if single values are looked up in it.
pub(crate) fn bloom(table: TableName, field: &Field) -> Option<Bloom> {
    if id_columns(table).contains(&field.name().as_str()) {
        return Some(Bloom { false_share: 0.01, values_min: 0 });
    }
    // Of one value many row groups may be read for nothing: cheaper than exact filters for all that is unique.
    promote::key_of(field).map(|_| Bloom { false_share: 0.1, values_min: BLOOM_ATTRIBUTES_MIN })
}

/// Returns how many rows a row group has at most.
pub(crate) fn row_group_rows_max(table: TableName) -> usize {
    if table == TableName::Transactions { TRANSACTIONS_GROUP_ROWS_MAX } else { ROW_GROUP_ROWS_MAX }
}

/// Columns whose pages are skipped by their smallest and largest value.
pub(crate) fn has_useful_range(table: TableName, field: &Field) -> bool {
    let is_searched =
        [table.time_column(), "duration_ns", "trace_id", "transaction_id", "revision", "service_name", "name"];
    is_searched.contains(&field.name().as_str()) || promote::key_of(field).is_some()
}

/// Returns how columns are encoded.
pub(crate) fn properties(table: TableName, schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(row_group_rows_max(table)))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::None);
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        if has_useful_range(table, field) {
            properties = properties.set_column_statistics_enabled(column.clone(), EnabledStatistics::Page);
        }
        properties = encoded(properties, field, column);
    }
    properties.build()
}

fn encoded(properties: WriterPropertiesBuilder, field: &Field, column: ColumnPath) -> WriterPropertiesBuilder {
    match field.data_type() {
        // Times and durations of neighbours are close to each other, and never the same: what is left of them when they
        // are packed hardly becomes smaller.
        DataType::Timestamp(..) | DataType::Int64 => properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_compression(column, Compression::UNCOMPRESSED),
        // Ids of spans are random and all different: neither a dictionary nor compression makes them smaller.
        DataType::FixedSizeBinary(8) => properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_compression(column, Compression::UNCOMPRESSED),
        // What `output` encodes itself it compresses itself. Arrow's writers, of which one is made for every column,
        // would each make room for a compressor.
        DataType::Utf8 | DataType::FixedSizeBinary(_) => {
            properties.set_column_compression(column, Compression::UNCOMPRESSED)
        }
        _ => properties,
    }
}
