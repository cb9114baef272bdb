//! Encodes columns of texts and of ids. Arrow's writer looks every value up by hash and compares each with the least and
//! the greatest so far, also those that a seal knows by number already, and follows every null: for our tables, which
//! have many such columns, that was most of a seal. Pages are as in the Parquet format: a dictionary, then runs and
//! packed bits of entry numbers; plain values where a dictionary does not pay. Used by `output` only.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, UInt32Type};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::{Column, unlike_first};
use crate::layout::{self, PAGE_ROWS_MAX};

use entries::{Entries, Known};
use page::{ClosedPage, OpenPage, Values};
use range::Bounds;

mod entries;
mod page;
mod range;

/// Bytes of a trace's id. Rows of a trace stand together.
const TRACE_ID_BYTES: i32 = 16;
/// Bytes of the values of a page, from which on it is closed before it has all its rows.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a column is and has, beside its values.
pub(super) struct Manner {
    pub(super) column: ColumnDescPtr,
    /// Whether pages are skipped by their least and greatest value.
    pub(super) has_range: bool,
    pub(super) bloom: Option<layout::Bloom>,
}

/// A column of texts or ids of one row group.
pub(super) struct ByteColumn {
    manner: Manner,
    entries: Entries,
    /// Numbers of a dictionary's entries, if rows come with one.
    known: Option<Known>,
    bloom: Option<Sbbf>,
    page: OpenPage,
    closed: Vec<ClosedPage>,
}

/// Rows as they are pushed.
enum Rows<'a> {
    Keys(&'a [u32], &'a StringArray),
    Texts(&'a StringArray),
    /// Only of the rows that have one.
    Sparse(&'a BinaryArray),
    Ids(&'a FixedSizeBinaryArray),
}

impl ByteColumn {
    /// Returns whether columns of rows like these are encoded here.
    pub(super) fn takes(field: &Field, rows: &Column) -> bool {
        let Column::Rows(rows) = rows else { return *field.data_type() == DataType::Utf8 };
        match rows.data_type() {
            DataType::Utf8 => *field.data_type() == DataType::Utf8,
            // An id that may be missing is of something else, as a parent's, and repeats. A span's own never does.
            DataType::FixedSizeBinary(bytes) => *bytes == TRACE_ID_BYTES || field.is_nullable(),
            DataType::Dictionary(..) => Known::of(rows).is_some(),
            _ => false,
        }
    }

    /// Returns an empty column for rows like these, which it takes.
    pub(super) fn new(manner: Manner, rows: &Column) -> Result<Self> {
        let (is_text, known) = match rows {
            Column::Rows(rows) => (!matches!(rows.data_type(), DataType::FixedSizeBinary(_)), Known::of(rows)),
            Column::Texts(_) => (true, None),
        };
        let bloom = |bloom: layout::Bloom| Sbbf::new_with_ndv_fpp(layout::BLOOM_VALUES_MAX, bloom.false_share);
        Ok(Self {
            entries: Entries::new(is_text),
            known,
            bloom: manner.bloom.map(bloom).transpose()?,
            page: OpenPage::default(),
            closed: Vec::new(),
            manner,
        })
    }

    /// Appends rows. Those with a dictionary all refer to the same one.
    pub(super) fn push(&mut self, column: &Column, compressor: &mut Compressor<'_>) -> Result<()> {
        let rows = self.rows(column)?;
        let nulls = match column {
            Column::Rows(rows) => rows.logical_nulls(),
            Column::Texts(texts) => Some(texts.valid().clone()),
        };
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let is_sparse = matches!(rows, Rows::Sparse(_));
        // Of sparse rows the number of the next text.
        let (mut from, mut next) = (0, 0);
        while from < column.len() {
            let to = column.len().min(from + PAGE_ROWS_MAX - self.page.rows());
            let nulls = nulls.as_ref().map(|nulls| nulls.slice(from, to - from));
            self.page.reserve(to - from - nulls.as_ref().map_or(0, NullBuffer::null_count));
            let mut at = from;
            match &nulls {
                None => {
                    while at < to && !self.is_page_heavy() {
                        self.add(&rows, at);
                        at += 1;
                    }
                }
                Some(nulls) => {
                    at = to;
                    for index in nulls.valid_indices() {
                        if self.is_page_heavy() {
                            at = from + index;
                            break;
                        }
                        self.add(&rows, if is_sparse { next } else { from + index });
                        next += 1;
                    }
                }
            }
            self.page.note_rows(at - from, nulls.as_ref());
            from = at;
            if self.page.rows() == PAGE_ROWS_MAX || self.is_page_heavy() {
                self.close_page(compressor)?;
            }
        }
        Ok(())
    }

    fn rows<'a>(&self, column: &'a Column) -> Result<Rows<'a>> {
        let keys = |column: &'a ArrayRef, known: &Known| {
            let rows = column.as_dictionary_opt::<UInt32Type>().filter(|rows| known.is_of(rows.values()))?;
            Some(Rows::Keys(rows.keys().values(), rows.values().as_string_opt()?))
        };
        let rows = match (column, &self.known) {
            (Column::Rows(column), Some(known)) => keys(column, known),
            (Column::Rows(column), None) if self.entries.is_text() => column.as_string_opt().map(Rows::Texts),
            (Column::Rows(column), None) => column.as_fixed_size_binary_opt().map(Rows::Ids),
            (Column::Texts(texts), None) => Some(Rows::Sparse(texts.texts())).filter(|_| self.entries.is_text()),
            (Column::Texts(_), Some(_)) => None,
        };
        rows.ok_or_else(unlike_first)
    }

    fn is_page_heavy(&self) -> bool {
        match &self.page.values {
            Values::Numbers(_) => self.entries.is_full(),
            Values::Plain { body, .. } => body.len() >= PAGE_BYTES_MAX,
        }
    }

    /// Appends one value to the page.
    #[inline]
    fn add(&mut self, rows: &Rows<'_>, at: usize) {
        let Self { manner, entries, known, bloom, page, .. } = self;
        if let (Rows::Keys(keys, texts), Some(known), Values::Numbers(numbers)) = (rows, known, &mut page.values) {
            // Nearly all are met again, and their texts need not be looked at.
            let key = keys[at];
            let number = known.number(key).unwrap_or_else(|| {
                let value = texts.value(key as usize).as_bytes();
                if let Some(bloom) = bloom {
                    bloom.insert(value);
                }
                known.push(key, value, entries)
            });
            numbers.push(number);
            return;
        }
        let value = match rows {
            Rows::Keys(keys, texts) => texts.value(keys[at] as usize).as_bytes(),
            Rows::Texts(texts) => texts.value(at).as_bytes(),
            Rows::Sparse(texts) => texts.value(at),
            Rows::Ids(ids) => ids.value(at),
        };
        let is_new = match &mut page.values {
            Values::Plain { body, bounds, count } => {
                entries.write_plain(value, body);
                *count += 1;
                if manner.has_range {
                    bounds.include(value);
                }
                true
            }
            Values::Numbers(numbers) => {
                let (number, is_new) = entries.number(value);
                numbers.push(number);
                is_new
            }
        };
        if is_new && let Some(bloom) = bloom {
            bloom.insert(value);
        }
    }

    fn close_page(&mut self, compressor: &mut Compressor<'_>) -> Result<()> {
        if self.page.rows() == 0 {
            return Ok(());
        }
        let is_plain_next = matches!(self.page.values, Values::Plain { .. }) || self.entries.is_given_up();
        let next = if is_plain_next { OpenPage::plain() } else { OpenPage::default() };
        let mut page = std::mem::replace(&mut self.page, next);
        let is_optional = self.manner.column.max_def_level() > 0;
        let bounds = self.manner.has_range.then(|| page.take_bounds(&mut self.entries));
        self.closed.push(page.close(&self.entries, is_optional, bounds, compressor)?);
        Ok(())
    }

    /// Returns the filter, no larger than it must be, if there are enough values to be worth one.
    fn finish_bloom(&mut self) -> Option<Sbbf> {
        let manner = self.manner.bloom?;
        let mut bloom = self.bloom.take()?;
        let is_worth_it = self.entries.is_given_up() || self.entries.len() as usize >= manner.values_min;
        bloom.fold_to_target_fpp(manner.false_share);
        is_worth_it.then_some(bloom)
    }

    /// Returns the bytes of the column and what the footer says of it.
    pub(super) fn close(mut self, compressor: &mut Compressor<'_>) -> Result<(Bytes, ColumnCloseResult)> {
        self.close_page(compressor)?;
        let mut chunk = Chunk::new();
        let has_dictionary = !self.entries.is_empty();
        if has_dictionary {
            let (body, count) = (self.entries.dictionary_page(), self.entries.len());
            let page =
                |buf| Page::DictionaryPage { buf, num_values: count, encoding: Encoding::PLAIN, is_sorted: false };
            chunk.write(compressor.compress(&body)?, body.len(), page)?;
        }
        let kind = if self.entries.is_text() { Type::BYTE_ARRAY } else { Type::FIXED_LEN_BYTE_ARRAY };
        let (mut offsets, mut index) = (OffsetIndexBuilder::new(), ColumnIndexBuilder::new(kind));
        let (mut rows, mut nulls, mut first_page, mut all) = (0_usize, 0_usize, None, Bounds::default());
        for page in std::mem::take(&mut self.closed) {
            let written = chunk.write(page.body, page.uncompressed_bytes, |buf| Page::DataPage {
                buf,
                num_values: u32::try_from(page.rows).unwrap_or(u32::MAX),
                encoding: page.encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            })?;
            let offset = i64::try_from(written.offset).unwrap_or(i64::MAX);
            first_page.get_or_insert(offset);
            offsets.append_row_count(i64::try_from(page.rows).unwrap_or(i64::MAX));
            offsets.append_offset_and_size(offset, i32::try_from(written.compressed_size).unwrap_or(i32::MAX));
            let bounds = page.bounds.unwrap_or_default();
            let (least, greatest) = bounds.cut();
            let nulls_count = i64::try_from(page.nulls).unwrap_or(i64::MAX);
            index.append(page.nulls == page.rows, least.value, greatest.value, nulls_count);
            all.join(bounds);
            rows += page.rows;
            nulls += page.nulls;
        }
        let mut metadata = ColumnChunkMetaData::builder(self.manner.column.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_total_compressed_size(i64::try_from(chunk.sink.bytes_written()).unwrap_or(i64::MAX))
            .set_total_uncompressed_size(i64::try_from(chunk.uncompressed_bytes).unwrap_or(i64::MAX))
            .set_num_values(i64::try_from(rows).unwrap_or(i64::MAX))
            .set_dictionary_page_offset(has_dictionary.then_some(0))
            .set_data_page_offset(first_page.unwrap_or(0));
        if self.manner.has_range && nulls < rows {
            metadata = metadata.set_statistics(statistics(self.entries.is_text(), &all, nulls));
        }
        let column_index = self.manner.has_range.then(|| index.build()).transpose()?;
        let metadata = metadata.build()?;
        let bytes = chunk.finish()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: self.finish_bloom(),
            column_index,
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }
}

fn statistics(is_text: bool, bounds: &Bounds, nulls: usize) -> Statistics {
    let (least, greatest) = bounds.cut();
    let (least_exact, greatest_exact) = (least.is_exact, greatest.is_exact);
    let (least, greatest) = (ByteArray::from(least.value), ByteArray::from(greatest.value));
    let nulls = u64::try_from(nulls).ok();
    if is_text {
        let values = ValueStatistics::new(Some(least), Some(greatest), None, nulls, false);
        Statistics::ByteArray(values.with_min_is_exact(least_exact).with_max_is_exact(greatest_exact))
    } else {
        let id = FixedLenByteArray::from;
        Statistics::FixedLenByteArray(ValueStatistics::new(Some(id(least)), Some(id(greatest)), None, nulls, false))
    }
}

/// The pages of one column, in memory.
struct Chunk {
    sink: TrackedWrite<Vec<u8>>,
    uncompressed_bytes: usize,
}

impl Chunk {
    fn new() -> Self {
        Self { sink: TrackedWrite::new(Vec::new()), uncompressed_bytes: 0 }
    }

    fn write(
        &mut self,
        compressed: Vec<u8>,
        uncompressed_bytes: usize,
        page: impl FnOnce(Bytes) -> Page,
    ) -> Result<PageWriteSpec> {
        let page = CompressedPage::new(page(compressed.into()), uncompressed_bytes);
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed_bytes += written.uncompressed_size;
        Ok(written)
    }

    fn finish(self) -> Result<Bytes> {
        Ok(self.sink.into_inner()?.into())
    }
}

#[cfg(test)]
mod tests;
