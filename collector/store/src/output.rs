//! Writes one segment as Parquet: rows that are encoded, and row groups that are copied from other segments. Used by
//! seals, compaction and the keeping of evidence. Memory: the row group that is being encoded, or one column of the one
//! that is being copied.

use std::sync::Arc;

use ::bytes::{Buf, Bytes};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use collector_table::TableName;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::ZstdLevel;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::{ColumnCloseResult, ColumnWriter};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use zstd::bulk::Compressor;

use crate::files::{FileReader, Sink};
use crate::layout;
use crate::promote::{self, KeysInRest};

mod bytes;
mod column;

use self::bytes::{ByteColumn, Manner};
pub(crate) use self::column::{Column, SparseTexts};

/// A segment that is being written.
pub(crate) struct Output {
    file: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    table: TableName,
    schema: SchemaRef,
    /// One for all columns: each holds hundreds of kilobytes.
    compressor: Compressor<'static>,
    keys_in_rest: KeysInRest,
    /// Columns of the row group that is being encoded, and its rows.
    encoding: Option<(Vec<Encoding>, usize)>,
}

/// One column of the row group that is being encoded. Every column of our tables is one leaf.
enum Encoding {
    Bytes(Box<ByteColumn>),
    Other(Box<ArrowColumnWriter>),
}

impl Output {
    /// Begins a segment with these columns.
    pub(crate) fn new(sink: Sink, table: TableName, schema: SchemaRef) -> Result<Self> {
        let mut properties = layout::properties(table, &schema);
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let columns = ArrowSchemaConverter::new().convert(&schema)?;
        let file = SerializedFileWriter::new(sink, columns.root_schema_ptr(), Arc::new(properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        let compressor = Compressor::new(ZstdLevel::default().compression_level())?;
        Ok(Self { file, factory, table, schema, compressor, keys_in_rest: KeysInRest::default(), encoding: None })
    }

    /// Returns the columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Encodes rows, given as arrays in the order of the schema.
    pub(crate) fn encode(&mut self, rows: &[ArrayRef]) -> Result<()> {
        self.encode_columns(&rows.iter().cloned().map(Column::Rows).collect::<Vec<_>>())
    }

    /// Encodes rows, given by their columns in the order of the schema.
    pub(crate) fn encode_columns(&mut self, rows: &[Column]) -> Result<()> {
        let rows_count = rows.first().map_or(0, Column::len);
        let rows_max = layout::row_group_rows_max(self.table);
        let mut from = 0;
        while from < rows_count {
            let (mut columns, before) = match self.encoding.take() {
                Some(encoding) => encoding,
                None => (self.begin_encoding(rows)?, 0),
            };
            let count = (rows_count - from).min(rows_max - before);
            for ((field, rows), column) in self.schema.fields().iter().zip(rows).zip(&mut columns) {
                let rows = rows.slice(from, count);
                match (column, &rows) {
                    (Encoding::Bytes(values), rows) => values.push(rows, &mut self.compressor)?,
                    (Encoding::Other(writer), Column::Rows(rows)) => {
                        for leaf in compute_leaves(field, rows)? {
                            writer.write(&leaf)?;
                        }
                    }
                    (Encoding::Other(_), Column::Texts(_)) => return Err(unlike_first()),
                }
            }
            from += count;
            self.encoding = Some((columns, before + count));
            if before + count == rows_max {
                self.end_encoding()?;
            }
        }
        Ok(())
    }

    fn begin_encoding(&self, rows: &[Column]) -> Result<Vec<Encoding>> {
        let writers = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        let leaves = self.file.schema_descr().columns();
        let mut columns = Vec::with_capacity(rows.len());
        for (((field, rows), writer), leaf) in self.schema.fields().iter().zip(rows).zip(writers).zip(leaves) {
            columns.push(if ByteColumn::takes(field, rows) {
                let has_range = layout::has_useful_range(self.table, field);
                let bloom = layout::bloom(self.table, field);
                let manner = Manner { column: leaf.clone(), has_range, bloom };
                Encoding::Bytes(Box::new(ByteColumn::new(manner, rows)?))
            } else {
                Encoding::Other(Box::new(writer))
            });
        }
        Ok(columns)
    }

    fn end_encoding(&mut self) -> Result<()> {
        let Some((columns, _)) = self.encoding.take() else { return Ok(()) };
        let mut group = self.file.next_row_group()?;
        for column in columns {
            match column {
                Encoding::Bytes(values) => {
                    let (bytes, close) = values.close(&mut self.compressor)?;
                    group.append_column(&bytes, close)?;
                }
                Encoding::Other(writer) => writer.close()?.append_to_row_group(&mut group)?,
            }
        }
        group.close()?;
        Ok(())
    }

    /// Returns what will be said of the rest of the attributes. Whoever gives rows with attributes says it too.
    pub(crate) fn keys_in_rest(&mut self) -> &mut KeysInRest {
        &mut self.keys_in_rest
    }

    /// Adds a row group as it stands in another segment, with its indexes and Bloom filters.
    pub(crate) fn copy_group(&mut self, reader: &FileReader, metadata: &ParquetMetaData, group: usize) -> Result<()> {
        self.end_encoding()?;
        let from = metadata.row_group(group);
        let rows = usize::try_from(from.num_rows()).map_err(|_| ParquetError::General("negative rows".to_owned()))?;
        let paths: Vec<_> = self.file.schema_descr().columns().iter().map(|column| column.path().clone()).collect();
        let mut into = self.file.next_row_group()?;
        for path in paths {
            match from.columns().iter().position(|chunk| *chunk.column_path() == path) {
                Some(column) => copy_column(reader, metadata, (group, column), &mut into)?,
                None => write_nulls(rows, &mut into)?,
            }
        }
        into.close()?;
        Ok(())
    }

    /// Writes the footer.
    pub(crate) fn finish(mut self) -> Result<Sink> {
        self.end_encoding()?;
        if let Some(text) = self.keys_in_rest.text() {
            self.file.append_key_value_metadata(KeyValue::new(promote::KEYS_IN_REST.to_owned(), text));
        }
        self.file.into_inner()
    }
}

fn unlike_first() -> ParquetError {
    ParquetError::General("rows unlike the first ones".to_owned())
}

fn copy_column(
    reader: &FileReader,
    metadata: &ParquetMetaData,
    (group, column): (usize, usize),
    into: &mut SerializedRowGroupWriter<'_, Sink>,
) -> Result<()> {
    let rows = metadata.row_group(group).num_rows().unsigned_abs();
    let chunk = metadata.row_group(group).column(column);
    let (start, length) = chunk.byte_range();
    let bytes = reader.get_bytes(start, usize::try_from(length).unwrap_or(usize::MAX))?;
    let close = ColumnCloseResult {
        bytes_written: length,
        rows_written: rows,
        metadata: chunk.clone(),
        bloom_filter: Sbbf::read_from_column_chunk(chunk, reader)?,
        column_index: metadata.column_index().map(|index| index[group][column].clone()),
        offset_index: metadata.offset_index().map(|index| index[group][column].clone()),
    };
    into.append_column(&Chunk { start, bytes }, close)
}

/// Fills an optional column that is not in the row group that is copied.
fn write_nulls(rows: usize, into: &mut SerializedRowGroupWriter<'_, Sink>) -> Result<()> {
    let Some(mut column) = into.next_column()? else { return Ok(()) };
    match column.untyped() {
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            writer.write_batch(&[], Some(&vec![0; rows]), None)?;
        }
        ColumnWriter::Int64ColumnWriter(writer) => {
            writer.write_batch(&[], Some(&vec![0; rows]), None)?;
        }
        _ => return Err(ParquetError::General("a column that cannot be added later is missing".to_owned())),
    }
    column.close()
}

/// One column chunk, read where it stood in its file.
struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunk {
    type T = ::bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let from = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(from.min(self.bytes.len())..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let from = usize::try_from(start - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.slice(from..from + length))
    }
}
