//! One page: which rows have a value, and the values, by number or plain. Encoded and compressed when it is closed, so
//! that a column holds one page of rows and otherwise only what goes to the disk.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::{BooleanBuffer, NullBuffer};
use parquet::basic::Encoding;
use parquet::errors::Result;
use zstd::bulk::Compressor;

use super::entries::Entries;
use super::range::Bounds;

/// Equal values from which on a run is shorter than packed bits.
const RUN_MIN: usize = 8;
/// Bytes that a run of equal levels takes, about.
const LEVEL_RUN_BYTES: usize = 3;

/// Values of the rows that have one.
pub(super) enum Values {
    /// Of entries.
    Numbers(Vec<u32>),
    Plain {
        body: Vec<u8>,
        bounds: Bounds,
        count: usize,
    },
}

/// A page that still gets rows.
pub(super) struct OpenPage {
    rows: usize,
    pub(super) values: Values,
    /// Which rows have a value, once there was one that has none.
    are_valid: Option<BooleanBufferBuilder>,
}

/// A page as it will be written.
pub(super) struct ClosedPage {
    pub(super) body: Vec<u8>,
    pub(super) uncompressed_bytes: usize,
    pub(super) encoding: Encoding,
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) bounds: Option<Bounds>,
}

impl Default for OpenPage {
    fn default() -> Self {
        Self::of(Values::Numbers(Vec::new()))
    }
}

impl OpenPage {
    fn of(values: Values) -> Self {
        Self { rows: 0, values, are_valid: None }
    }

    pub(super) fn plain() -> Self {
        Self::of(Values::Plain { body: Vec::new(), bounds: Bounds::default(), count: 0 })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Makes room for so many further values, where they are numbers.
    pub(super) fn reserve(&mut self, values: usize) {
        if let Values::Numbers(numbers) = &mut self.values {
            numbers.reserve(values);
        }
    }

    /// Counts rows whose values were added; of `nulls` the first ones are theirs.
    pub(super) fn note_rows(&mut self, rows: usize, nulls: Option<&NullBuffer>) {
        if nulls.is_some() || self.are_valid.is_some() {
            let before = self.rows;
            let are_valid = self.are_valid.get_or_insert_with(|| {
                let mut are_valid = BooleanBufferBuilder::new(before + rows);
                are_valid.append_n(before, true);
                are_valid
            });
            match nulls {
                Some(nulls) => are_valid.append_buffer(&nulls.inner().slice(0, rows)),
                None => are_valid.append_n(rows, true),
            }
        }
        self.rows += rows;
    }

    /// Returns the bounds of the values; takes those of plain ones, which were noted as they came.
    pub(super) fn take_bounds(&mut self, entries: &mut Entries) -> Bounds {
        match &mut self.values {
            Values::Numbers(numbers) => {
                let mut bounds = Bounds::default();
                let distinct = entries.distinct(numbers);
                distinct.into_iter().for_each(|number| bounds.include(entries.get(number)));
                bounds
            }
            Values::Plain { bounds, .. } => std::mem::take(bounds),
        }
    }

    pub(super) fn close(
        self,
        entries: &Entries,
        is_optional: bool,
        bounds: Option<Bounds>,
        compressor: &mut Compressor<'_>,
    ) -> Result<ClosedPage> {
        let count = match &self.values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Plain { count, .. } => *count,
        };
        let mut body = Vec::new();
        if is_optional {
            write_levels(&mut body, self.rows, self.rows - count, self.are_valid.map(|mut valid| valid.finish()));
        }
        let encoding = match &self.values {
            // A page without values must not ask for a dictionary, which there may not be.
            _ if count == 0 => Encoding::PLAIN,
            Values::Numbers(numbers) => {
                let width = bits_of(entries.len().saturating_sub(1)).max(1);
                body.reserve(numbers.len() * width as usize / 8 + 64);
                body.push(u8::try_from(width).unwrap_or(u8::MAX));
                write_numbers(&mut body, numbers, width);
                Encoding::RLE_DICTIONARY
            }
            Values::Plain { body: values, .. } => {
                body.extend_from_slice(values);
                Encoding::PLAIN
            }
        };
        Ok(ClosedPage {
            uncompressed_bytes: body.len(),
            body: compressor.compress(&body)?,
            encoding,
            rows: self.rows,
            nulls: self.rows - count,
            bounds,
        })
    }
}

/// Appends which rows have a value: Parquet's definition levels of an optional column, with their length before them.
fn write_levels(out: &mut Vec<u8>, rows: usize, nulls: usize, are_valid: Option<BooleanBuffer>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    match are_valid.filter(|_| nulls > 0 && nulls < rows) {
        None => push_level_run(out, rows, nulls < rows || rows == 0),
        Some(are_valid) => {
            let runs = are_valid.set_slices().count() * 2 + 1;
            if runs * LEVEL_RUN_BYTES < rows / 8 {
                let mut at = 0;
                for (from, to) in are_valid.set_slices() {
                    push_level_run(out, from - at, false);
                    push_level_run(out, to - from, true);
                    at = to;
                }
                push_level_run(out, rows - at, false);
            } else {
                // Arrow's bits lie as Parquet packs them.
                push_varint(out, rows.div_ceil(8) << 1 | 1);
                out.extend_from_slice(&are_valid.sliced().as_slice()[..rows.div_ceil(8)]);
            }
        }
    }
    let bytes = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
}

fn push_level_run(out: &mut Vec<u8>, rows: usize, is_valid: bool) {
    if rows > 0 {
        push_varint(out, rows << 1);
        out.push(u8::from(is_valid));
    }
}

fn bits_of(number: u32) -> u32 {
    u32::BITS - number.leading_zeros()
}

/// Appends numbers in Parquet's hybrid of runs and packed bits.
fn write_numbers(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
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

/// Packs numbers in groups of eight, which fill whole bytes.
fn pack(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    for group in numbers.chunks(8) {
        let (mut bits, mut filled) = (0_u64, 0);
        for at in 0..8 {
            bits |= u64::from(group.get(at).copied().unwrap_or(0)) << filled;
            filled += width;
            if filled >= 32 {
                out.extend_from_slice(&bits.to_le_bytes()[..4]);
                bits >>= 32;
                filled -= 32;
            }
        }
        out.extend_from_slice(&bits.to_le_bytes()[..filled as usize / 8]);
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}
