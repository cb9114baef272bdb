//! Rows of one table that are not in a segment yet. Owned by the writer; queries see its batches through a snapshot.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;

/// Batches of like size that are joined into one. Small enough to keep queries quick, large enough that a row is
/// copied only a few times.
const FAN_IN: usize = 8;
/// Batches with more rows are left alone.
const JOINED_ROWS_MAX: usize = 8_192;
/// Batches whose sum is larger are left alone, so that a text column stays far below its 2 GiB.
const JOINED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rows in order of arrival.
#[derive(Default)]
pub(crate) struct MemoryTable {
    batches: Vec<RecordBatch>,
    bytes: usize,
    rows: usize,
}

impl MemoryTable {
    /// Appends rows. Every [`FAN_IN`] batches of like size become one, so there are only a few for each power of it.
    ///
    /// # Errors
    /// If the rows do not have the schema of those before; then the table is unchanged.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<(), ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if let Some(first) = self.batches.first()
            && first.schema_ref() != rows.schema_ref()
        {
            return Err(ArrowError::SchemaError("rows of another table".to_owned()));
        }
        self.rows += rows.num_rows();
        self.bytes += rows.get_array_memory_size();
        self.batches.push(rows);
        while let Some(from) = self.joinable() {
            let joined = concat_batches(self.batches[from].schema_ref(), &self.batches[from..])?;
            let apart: usize = self.batches.drain(from..).map(|batch| batch.get_array_memory_size()).sum();
            self.bytes = self.bytes.saturating_sub(apart) + joined.get_array_memory_size();
            self.batches.push(joined);
        }
        Ok(())
    }

    /// Returns the batches.
    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Returns the memory of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns where the last [`FAN_IN`] batches begin, if they are of like size and small.
    fn joinable(&self) -> Option<usize> {
        let from = self.batches.len().checked_sub(FAN_IN)?;
        let tail = &self.batches[from..];
        let class = |batch: &RecordBatch| batch.num_rows().max(1).ilog(FAN_IN);
        let last = tail.last()?;
        let is_small = tail.iter().all(|batch| batch.num_rows() <= JOINED_ROWS_MAX && class(batch) <= class(last));
        let bytes: usize = tail.iter().map(RecordBatch::get_array_memory_size).sum();
        (is_small && bytes <= JOINED_BYTES_MAX).then_some(from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn many_small_batches_become_few_in_the_same_order() {
        let mut table = MemoryTable::default();
        for n in 0..10_000 {
            let column = Arc::new(Int64Array::from(vec![n])) as _;
            table.push(RecordBatch::try_from_iter([("n", column)]).unwrap()).unwrap();
        }
        assert!(table.batches().len() < 40, "{}", table.batches().len());
        let bytes: usize = table.batches().iter().map(RecordBatch::get_array_memory_size).sum();
        assert_eq!((table.rows(), table.bytes()), (10_000, bytes));
        let columns =
            table.batches().iter().map(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap());
        let values: Vec<i64> = columns.flat_map(|column| column.values().to_vec()).collect();
        assert!(values.is_sorted());
        assert_eq!(values.len(), 10_000);
    }
}
