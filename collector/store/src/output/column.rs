//! Rows of one column as `output` takes them: an array, or only the texts that there are, which for most attributes are
//! few.

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::buffer::NullBuffer;

/// Some rows of one column.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// One value each; texts may be a dictionary, within one file always the same.
    Rows(ArrayRef),
    Texts(SparseTexts),
}

/// Texts of the rows that have one.
#[derive(Debug, Clone)]
pub(crate) struct SparseTexts {
    /// One after the other, without gaps. UTF-8, but not as a type: what was checked before is not checked again.
    texts: BinaryArray,
    /// Which rows have one.
    valid: NullBuffer,
}

impl Column {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Texts(texts) => texts.valid.len(),
        }
    }

    pub(crate) fn slice(&self, from: usize, count: usize) -> Self {
        match self {
            Self::Rows(rows) => Self::Rows(rows.slice(from, count)),
            Self::Texts(SparseTexts { texts, valid }) => {
                let (before, valid) = (valid.slice(0, from), valid.slice(from, count));
                let texts = texts.slice(from - before.null_count(), count - valid.null_count());
                Self::Texts(SparseTexts { texts, valid })
            }
        }
    }
}

impl SparseTexts {
    /// Returns these texts, as many as there are valid rows.
    pub(crate) fn new(texts: BinaryArray, valid: NullBuffer) -> Self {
        debug_assert_eq!(texts.len(), valid.len() - valid.null_count());
        Self { texts, valid }
    }

    /// Returns rows without any text.
    pub(crate) fn none(rows: usize) -> Self {
        Self::new(BinaryArray::new_null(0), NullBuffer::new_null(rows))
    }

    /// Returns the texts, one after the other.
    pub(crate) fn texts(&self) -> &BinaryArray {
        &self.texts
    }

    /// Returns which rows have one.
    pub(crate) fn valid(&self) -> &NullBuffer {
        &self.valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_has_the_texts_of_its_rows() {
        let valid = NullBuffer::from(vec![false, true, true, false, true, false]);
        let all = Column::Texts(SparseTexts::new(BinaryArray::from_vec(vec![b"a", b"b", b"c"]), valid));
        for (from, count, texts) in [(0, 6, "abc"), (2, 2, "b"), (2, 3, "bc"), (3, 1, ""), (5, 1, ""), (6, 0, "")] {
            let Column::Texts(some) = all.slice(from, count) else { unreachable!("sliced alike") };
            let found: Vec<u8> = some.texts().iter().flatten().flatten().copied().collect();
            assert_eq!((some.valid().len(), found.as_slice()), (count, texts.as_bytes()), "{from} {count}");
        }
    }
}
