//! Rows of one table that are not in a segment yet. Owned by the writer; queries see them through a snapshot, which is
//! published after every commit. So a snapshot shares all but the last few batches, and no row is ever copied for it.

use std::sync::Arc;

use arrow::array::RecordBatch;

/// Batches that are shared as one. A snapshot copies about half as many references, and one for each full part.
const PART_BATCHES: usize = 64;

/// Rows in order of arrival. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    full: Vec<Arc<Vec<Arc<RecordBatch>>>>,
    last: Vec<Arc<RecordBatch>>,
}

impl Rows {
    /// Returns the batches in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RecordBatch> {
        self.full.iter().flat_map(|part| part.iter()).chain(&self.last).map(Arc::as_ref)
    }

    /// Returns the batches in order.
    pub(crate) fn to_vec(&self) -> Vec<RecordBatch> {
        self.iter().cloned().collect()
    }

    /// Returns the batches in order, for one who keeps them.
    pub(crate) fn shared(&self) -> Vec<Arc<RecordBatch>> {
        self.full.iter().flat_map(|part| part.iter()).chain(&self.last).map(Arc::clone).collect()
    }

    /// Returns whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.is_empty()
    }

    /// Returns these rows, then the others.
    pub(crate) fn followed_by(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        let mut full = self.full.clone();
        if !self.last.is_empty() {
            full.push(Arc::new(self.last.clone()));
        }
        full.extend(other.full.iter().cloned());
        Self { full, last: other.last.clone() }
    }

    fn push(&mut self, rows: RecordBatch) {
        self.last.push(Arc::new(rows));
        if self.last.len() >= PART_BATCHES {
            self.full.push(Arc::new(std::mem::take(&mut self.last)));
        }
    }
}

/// The rows of one table, and how many they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryTable {
    rows: Rows,
    bytes: usize,
    rows_count: usize,
}

impl MemoryTable {
    /// Appends rows, which take this many bytes of memory.
    pub(crate) fn push(&mut self, rows: RecordBatch, bytes: usize) {
        if rows.num_rows() > 0 {
            self.rows_count += rows.num_rows();
            self.bytes += bytes;
            self.rows.push(rows);
        }
    }

    /// Returns the rows.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Returns the memory of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of rows.
    pub(crate) fn rows_count(&self) -> usize {
        self.rows_count
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn snapshot_keeps_its_rows_while_others_are_appended() {
        let mut table = MemoryTable::default();
        let mut seen = Vec::new();
        for n in 0..500 {
            let column = Arc::new(Int64Array::from(vec![n])) as _;
            table.push(RecordBatch::try_from_iter([("n", column)]).unwrap(), 8);
            seen.push(table.rows().clone());
        }
        for (index, rows) in seen.iter().enumerate() {
            let values: Vec<i64> = rows
                .iter()
                .map(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0))
                .collect();
            assert_eq!(values.len(), index + 1);
            assert!(values.is_sorted());
        }
        assert_eq!((table.rows_count(), table.bytes()), (500, 4_000));
        assert_eq!(seen[70].followed_by(&seen[3]).iter().count(), 75);
    }
}
