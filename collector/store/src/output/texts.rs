//! Encodes a text column whose values are numbers of known entries already. The Arrow writer would look every value up
//! in a dictionary of its own again, by hash and comparison, which for the columns of resources was a third of a seal.
//! Pages are as in the Parquet format: a dictionary, then runs and packed bits of entry numbers. Used by `output` only.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::UInt32Type;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::layout::{DICTIONARY_BYTES_MAX, PAGE_ROWS_MAX};

/// Stands for a null.
const NULL: u32 = u32::MAX;
/// Larger values get no statistics: indexes shall stay small.
const RANGE_BYTES_MAX: usize = 64;
/// Equal values from which on a run is shorter than packed bits.
const RUN_MIN: usize = 8;

/// A text column of one row group.
pub(super) struct TextColumn {
    values: ArrayRef,
    keys: Vec<u32>,
}

impl TextColumn {
    /// Returns a column for texts like these, if they are a dictionary of sensible size.
    pub(super) fn like(column: &ArrayRef) -> Option<Self> {
        let values = column.as_dictionary_opt::<UInt32Type>()?.values();
        let bytes = values.as_string_opt::<i32>()?.value_data().len();
        (bytes <= DICTIONARY_BYTES_MAX && values.null_count() == 0)
            .then(|| Self { values: values.clone(), keys: Vec::new() })
    }

    /// Appends rows, which refer to the same entries as the first ones.
    pub(super) fn push(&mut self, column: &ArrayRef) -> Result<()> {
        let rows =
            column.as_dictionary_opt::<UInt32Type>().filter(|rows| std::sync::Arc::ptr_eq(rows.values(), &self.values));
        let rows = rows.ok_or_else(|| ParquetError::General("texts of another dictionary".to_owned()))?.keys();
        match rows.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => {
                let keys = rows.values().iter().zip(nulls.iter());
                self.keys.extend(keys.map(|(key, is_valid)| if is_valid { *key } else { NULL }));
            }
            None => self.keys.extend_from_slice(rows.values()),
        }
        Ok(())
    }

    /// Returns the bytes of the column and what the footer says of it.
    pub(super) fn close(self, column: &ColumnDescPtr, has_range: bool) -> Result<(Bytes, ColumnCloseResult)> {
        let values = self.values.as_string::<i32>();
        let (used, numbers) = number_entries(&self.keys, values.len());
        let range = has_range.then(|| Ranks::of(values, &used)).flatten();
        let mut chunk = Chunk::new();
        let mut dictionary = Vec::new();
        for entry in &used {
            let text = values.value(*entry as usize).as_bytes();
            dictionary.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            dictionary.extend_from_slice(text);
        }
        let count = u32::try_from(used.len()).unwrap_or(u32::MAX);
        let page = |buf| Page::DictionaryPage { buf, num_values: count, encoding: Encoding::PLAIN, is_sorted: false };
        chunk.write(&dictionary, page)?;
        let width = bits_of(count.saturating_sub(1)).max(1);
        let (mut offsets, mut index) = (OffsetIndexBuilder::new(), ColumnIndexBuilder::new(Type::BYTE_ARRAY));
        let (mut nulls, mut first_page) = (0, None);
        for keys in self.keys.chunks(PAGE_ROWS_MAX) {
            let entries: Vec<u32> = keys.iter().filter(|key| **key != NULL).map(|key| numbers[*key as usize]).collect();
            let page = data_page(keys, &entries, width, column.max_def_level() > 0);
            let written = chunk.write(&page, |buf| Page::DataPage {
                buf,
                num_values: u32::try_from(keys.len()).unwrap_or(u32::MAX),
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            })?;
            let offset = i64::try_from(written.offset).unwrap_or(i64::MAX);
            first_page.get_or_insert(offset);
            offsets.append_row_count(i64::try_from(keys.len()).unwrap_or(i64::MAX));
            offsets.append_offset_and_size(offset, i32::try_from(written.compressed_size).unwrap_or(i32::MAX));
            let nulls_of_page = i64::try_from(keys.len() - entries.len()).unwrap_or(i64::MAX);
            nulls += nulls_of_page;
            let (least, greatest) =
                range.as_ref().and_then(|range| range.least_and_greatest(&entries)).unwrap_or_default();
            index.append(entries.is_empty(), least.into(), greatest.into(), nulls_of_page);
        }
        let rows = self.keys.len() as u64;
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_total_compressed_size(i64::try_from(chunk.sink.bytes_written()).unwrap_or(i64::MAX))
            .set_total_uncompressed_size(i64::try_from(chunk.uncompressed_bytes).unwrap_or(i64::MAX))
            .set_num_values(i64::try_from(rows).unwrap_or(i64::MAX))
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(first_page.unwrap_or(0));
        if let Some((least, greatest)) = range.as_ref().and_then(Ranks::all) {
            let value = |text: &str| Some(ByteArray::from(text.as_bytes().to_vec()));
            let nulls = u64::try_from(nulls).ok();
            metadata = metadata.set_statistics(Statistics::new(value(least), value(greatest), None, nulls, false));
        }
        let column_index = range.is_some().then(|| index.build()).transpose()?;
        let bytes = chunk.finish()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }
}

/// Numbers the entries that rows refer to, in the order in which they first occur.
fn number_entries(keys: &[u32], entries: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut used, mut numbers) = (Vec::new(), vec![NULL; entries]);
    for key in keys.iter().filter(|key| **key != NULL) {
        let number = &mut numbers[*key as usize];
        if *number == NULL {
            *number = u32::try_from(used.len()).unwrap_or(NULL);
            used.push(*key);
        }
    }
    (used, numbers)
}

/// The used entries in the order of their texts.
struct Ranks<'a> {
    sorted: Vec<&'a str>,
    /// Rank of each number.
    ranks: Vec<u32>,
}

impl<'a> Ranks<'a> {
    /// Returns nothing if a text is too long to stand in an index.
    fn of(values: &'a StringArray, used: &[u32]) -> Option<Self> {
        let texts: Vec<&str> = used.iter().map(|entry| values.value(*entry as usize)).collect();
        if texts.iter().any(|text| text.len() > RANGE_BYTES_MAX) {
            return None;
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_unstable_by_key(|number| texts[*number]);
        let mut ranks = vec![0; texts.len()];
        for (rank, number) in order.iter().enumerate() {
            ranks[*number] = u32::try_from(rank).unwrap_or(u32::MAX);
        }
        Some(Self { sorted: order.into_iter().map(|number| texts[number]).collect(), ranks })
    }

    fn least_and_greatest(&self, numbers: &[u32]) -> Option<(&'a str, &'a str)> {
        let ranks = numbers.iter().map(|number| self.ranks[*number as usize]);
        let (least, greatest) =
            ranks.fold((u32::MAX, 0), |(least, greatest), rank| (least.min(rank), greatest.max(rank)));
        (!numbers.is_empty()).then(|| (self.sorted[least as usize], self.sorted[greatest as usize]))
    }

    fn all(&self) -> Option<(&'a str, &'a str)> {
        Some((*self.sorted.first()?, *self.sorted.last()?))
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

    fn write(&mut self, body: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<PageWriteSpec> {
        let compressed = zstd::bulk::compress(body, ZstdLevel::default().compression_level())?;
        let page = CompressedPage::new(page(compressed.into()), body.len());
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed_bytes += written.uncompressed_size;
        Ok(written)
    }

    fn finish(self) -> Result<Bytes> {
        Ok(self.sink.into_inner()?.into())
    }
}

fn data_page(keys: &[u32], entries: &[u32], width: u32, is_optional: bool) -> Vec<u8> {
    let mut page = Vec::with_capacity(entries.len() * width as usize / 8 + 64);
    if is_optional {
        let is_valid: Vec<u32> = keys.iter().map(|key| u32::from(*key != NULL)).collect();
        page.extend_from_slice(&[0; 4]);
        encode_runs(&mut page, &is_valid, 1);
        let bytes = u32::try_from(page.len() - 4).unwrap_or(u32::MAX);
        page[..4].copy_from_slice(&bytes.to_le_bytes());
    }
    page.push(u8::try_from(width).unwrap_or(u8::MAX));
    encode_runs(&mut page, entries, width);
    page
}

fn bits_of(number: u32) -> u32 {
    u32::BITS - number.leading_zeros()
}

/// Appends numbers in Parquet's hybrid of runs and packed bits.
fn encode_runs(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    let run_at = |at: usize| numbers[at..].iter().take_while(|number| **number == numbers[at]).count();
    let mut at = 0;
    while at < numbers.len() {
        let run = run_at(at);
        if run >= RUN_MIN {
            push_varint(out, run << 1);
            out.extend_from_slice(&numbers[at].to_le_bytes()[..width.div_ceil(8) as usize]);
            at += run;
            continue;
        }
        let from = at;
        // In groups of eight, because only the last one may be filled up.
        at = (at + 8).min(numbers.len());
        while at < numbers.len() && !starts_run(&numbers[at..]) {
            at = (at + 8).min(numbers.len());
        }
        push_varint(out, (at - from).div_ceil(8) << 1 | 1);
        pack(out, &numbers[from..at], width);
    }
}

fn starts_run(numbers: &[u32]) -> bool {
    numbers.get(..RUN_MIN).is_some_and(|first| first.iter().all(|number| *number == first[0]))
}

fn pack(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    for group in numbers.chunks(8) {
        let (mut bits, mut filled) = (0_u64, 0);
        for at in 0..8 {
            bits |= u64::from(group.get(at).copied().unwrap_or(0)) << filled;
            filled += width;
            while filled >= 8 {
                out.push(bits.to_le_bytes()[0]);
                bits >>= 8;
                filled -= 8;
            }
        }
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests;
