//! Texts of one batch, each kept once: rows refer to them by number. Used by the builders for names, attribute keys,
//! resources and scopes. Must never be quadratic, whatever the texts are: the small cache in front may miss, the index
//! behind it is hashed with a random key.

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{ArrayRef, DictionaryArray, PrimitiveArray, StringBuilder};
use arrow::datatypes::UInt32Type;
use hashbrown::HashTable;

use crate::NotUtf8;

/// Entries that the cache remembers. Requests have some dozens of names and keys.
const RECENT_LEN: usize = 256;
const NO_ENTRY: u32 = u32::MAX;

/// Entries of `N` texts each; equal entries are one. An empty text of a nullable column is a null.
pub(crate) struct Dictionary<const N: usize> {
    columns: [StringBuilder; N],
    is_nullable: [bool; N],
    len: u32,
    index: HashTable<u32>,
    hasher: RandomState,
    recent: Box<[u32; RECENT_LEN]>,
}

impl<const N: usize> Dictionary<N> {
    pub(crate) fn new(is_nullable: [bool; N]) -> Self {
        Self {
            columns: std::array::from_fn(|_| StringBuilder::with_capacity(0, 0)),
            is_nullable,
            len: 0,
            index: HashTable::new(),
            hasher: RandomState::new(),
            recent: Box::new([NO_ENTRY; RECENT_LEN]),
        }
    }

    /// Returns the number of the entry, which is added if it is new.
    pub(crate) fn intern(&mut self, texts: [&str; N]) -> u32 {
        self.intern_bytes(texts.map(str::as_bytes)).expect("a text is UTF-8")
    }

    /// Returns the number of the entry, which is added if it is new. Texts are checked only then.
    #[inline]
    pub(crate) fn intern_bytes(&mut self, texts: [&[u8]; N]) -> Result<u32, NotUtf8> {
        let slot = slot(texts[0]);
        let recent = self.recent[slot];
        if recent != NO_ENTRY && is_entry(&self.columns, recent, texts) {
            return Ok(recent);
        }
        let entry = self.find_or_add(texts)?;
        self.recent[slot] = entry;
        Ok(entry)
    }

    fn find_or_add(&mut self, texts: [&[u8]; N]) -> Result<u32, NotUtf8> {
        let Self { columns, index, hasher, .. } = self;
        let hash = hasher.hash_one(texts);
        if let Some(&found) = index.find(hash, |&entry| is_entry(columns, entry, texts)) {
            return Ok(found);
        }
        let mut checked = [""; N];
        for (checked, text) in checked.iter_mut().zip(texts) {
            *checked = std::str::from_utf8(text).map_err(|_| NotUtf8)?;
        }
        index.insert_unique(hash, self.len, |&entry| hasher.hash_one(entry_bytes(columns, entry)));
        for ((column, text), is_nullable) in columns.iter_mut().zip(checked).zip(self.is_nullable) {
            column.append_option((!is_nullable || !text.is_empty()).then_some(text));
        }
        self.len += 1;
        Ok(self.len - 1)
    }

    /// Returns the entries, one array a column.
    pub(crate) fn finish(mut self) -> [ArrayRef; N] {
        std::array::from_fn(|column| Arc::new(self.columns[column].finish()) as ArrayRef)
    }
}

/// Columns of rows that refer to a dictionary's entries. All `N` share one buffer of keys.
pub(crate) struct KeyedColumns<const N: usize> {
    pub(crate) entries: Dictionary<N>,
    keys: Vec<u32>,
}

impl<const N: usize> KeyedColumns<N> {
    pub(crate) fn new(is_nullable: [bool; N]) -> Self {
        Self { entries: Dictionary::new(is_nullable), keys: Vec::new() }
    }

    /// Makes room for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.keys.reserve_exact(rows);
    }

    pub(crate) fn push(&mut self, key: u32) {
        self.keys.push(key);
    }

    pub(crate) fn finish(self) -> [ArrayRef; N] {
        let keys = PrimitiveArray::new(self.keys.into(), None);
        self.entries.finish().map(|entries| refer(&keys, &entries))
    }
}

/// Returns rows that refer to entries.
pub(crate) fn refer(keys: &PrimitiveArray<UInt32Type>, entries: &ArrayRef) -> ArrayRef {
    Arc::new(DictionaryArray::new(keys.clone(), entries.clone()))
}

fn entry_bytes<const N: usize>(columns: &[StringBuilder; N], entry: u32) -> [&[u8]; N] {
    std::array::from_fn(|column| text_bytes(&columns[column], entry))
}

#[inline]
fn is_entry<const N: usize>(columns: &[StringBuilder; N], entry: u32, texts: [&[u8]; N]) -> bool {
    columns.iter().zip(texts).all(|(column, text)| text_bytes(column, entry) == text)
}

#[inline]
fn text_bytes(column: &StringBuilder, entry: u32) -> &[u8] {
    let offsets = column.offsets_slice();
    let entry = entry as usize;
    &column.values_slice()[offsets[entry] as usize..offsets[entry + 1] as usize]
}

/// Returns a place in the cache by length, first and last bytes: cheap, and good enough for names and keys.
#[inline]
fn slot(bytes: &[u8]) -> usize {
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => bytes.iter().fold((0, 0), |(first, last), byte| (first << 8 | u64::from(*byte), last)),
    };
    let mixed = (first ^ last.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize
}
