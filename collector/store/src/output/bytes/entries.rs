//! The distinct values of a column in one row group, numbered in the order in which they first occur.
//! Must never cost more than they save: a column whose values hardly repeat is given up, and so is one whose values
//! together are too large.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::UInt32Type;
use hashbrown::HashTable;

use crate::layout::DICTIONARY_BYTES_MAX;

const NO_NUMBER: u32 = u32::MAX;
/// Values that are numbered before it is asked whether they repeat.
const TRIED_MIN: usize = 4_096;
/// With more distinct ones than this many of four values, numbers are larger than what they save.
const DISTINCT_OF_FOUR_MAX: usize = 3;

/// The values, each once.
pub(super) struct Entries {
    is_text: bool,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    index: HashTable<u32>,
    /// Values are the sender's choice: hashed with a random key, so that nobody can make them collide.
    hasher: ahash::RandomState,
    /// Rows of a trace stand together, and so do those of a sender.
    last: u32,
    tried: usize,
    /// The last page in which an entry was met.
    met_in: Vec<u32>,
    pages: u32,
}

impl Entries {
    pub(super) fn new(is_text: bool) -> Self {
        Self {
            is_text,
            bytes: Vec::new(),
            ends: Vec::new(),
            index: HashTable::new(),
            hasher: ahash::RandomState::new(),
            last: NO_NUMBER,
            tried: 0,
            met_in: Vec::new(),
            pages: 0,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.is_text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(NO_NUMBER)
    }

    /// Returns whether there must be no further entry.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() > DICTIONARY_BYTES_MAX
    }

    /// Returns whether further values had better be written plain.
    pub(super) fn is_given_up(&self) -> bool {
        let is_distinct = self.tried >= TRIED_MIN && self.ends.len() * 4 > self.tried * DISTINCT_OF_FOUR_MAX;
        self.is_full() || is_distinct
    }

    /// Returns the number of a value, and whether it is new.
    #[inline]
    pub(super) fn number(&mut self, value: &[u8]) -> (u32, bool) {
        self.tried += 1;
        if self.last != NO_NUMBER && self.get(self.last) == value {
            return (self.last, false);
        }
        let hash = self.hasher.hash_one(value);
        let found = self.index.find(hash, |number| entry(&self.bytes, &self.ends, *number) == value).copied();
        self.last = found.unwrap_or_else(|| {
            let number = self.push(value);
            let Self { index, bytes, ends, hasher, .. } = self;
            index.insert_unique(hash, number, |number| hasher.hash_one(entry(bytes, ends, *number)));
            number
        });
        (self.last, found.is_none())
    }

    fn push(&mut self, value: &[u8]) -> u32 {
        self.bytes.extend_from_slice(value);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.len() - 1
    }

    pub(super) fn get(&self, number: u32) -> &[u8] {
        entry(&self.bytes, &self.ends, number)
    }

    /// Returns which of these numbers are distinct.
    pub(super) fn distinct(&mut self, numbers: &[u32]) -> Vec<u32> {
        self.pages += 1;
        self.met_in.resize(self.ends.len(), 0);
        let mut distinct = Vec::new();
        for number in numbers {
            let met_in = &mut self.met_in[*number as usize];
            if *met_in != self.pages {
                *met_in = self.pages;
                distinct.push(*number);
            }
        }
        distinct
    }

    /// Appends a value as Parquet's plain encoding has it.
    #[inline]
    pub(super) fn write_plain(&self, value: &[u8], body: &mut Vec<u8>) {
        if self.is_text {
            body.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        body.extend_from_slice(value);
    }

    pub(super) fn dictionary_page(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes.len() + 4 * self.ends.len());
        (0..self.len()).for_each(|number| self.write_plain(self.get(number), &mut body));
        body
    }
}

#[inline]
fn entry<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let from = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[from as usize..ends[number] as usize]
}

/// A dictionary that all rows of the column refer to, and the numbers of its entries.
pub(super) struct Known {
    dictionary: ArrayRef,
    numbers: Vec<u32>,
}

impl Known {
    /// Returns the dictionary of rows that have one.
    pub(super) fn of(rows: &ArrayRef) -> Option<Self> {
        let dictionary = rows.as_dictionary_opt::<UInt32Type>()?.values();
        dictionary.as_string_opt::<i32>().filter(|texts| texts.null_count() == 0)?;
        Some(Self { dictionary: Arc::clone(dictionary), numbers: vec![NO_NUMBER; dictionary.len()] })
    }

    pub(super) fn is_of(&self, dictionary: &ArrayRef) -> bool {
        Arc::ptr_eq(&self.dictionary, dictionary)
    }

    /// Returns the number of a key that was met.
    #[inline]
    pub(super) fn number(&self, key: u32) -> Option<u32> {
        Some(self.numbers[key as usize]).filter(|number| *number != NO_NUMBER)
    }

    /// Returns the number of a key that is met for the first time.
    pub(super) fn push(&mut self, key: u32, value: &[u8], entries: &mut Entries) -> u32 {
        let number = entries.push(value);
        self.numbers[key as usize] = number;
        number
    }
}
