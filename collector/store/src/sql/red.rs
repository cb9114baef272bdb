//! Rows of `red` for spans that are not sealed yet, so that the table is as fresh as the spans themselves. Kept between
//! queries: only spans that came since are rolled up. Called by the scan of `red`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use crate::memory::Rows;
use crate::rollup::RedRollup;

/// The rollup of the spans that were in memory when it was last asked for.
#[derive(Default)]
pub(super) struct RedOfMemory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    rollup: RedRollup,
    /// The batches that are in it, in order. A batch that was sealed meanwhile must not be kept for this.
    batches: Vec<Weak<RecordBatch>>,
    rows: Option<Arc<RecordBatch>>,
}

impl std::fmt::Debug for RedOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedOfMemory")
    }
}

impl RedOfMemory {
    /// Returns the rows for these spans.
    ///
    /// # Errors
    /// If a batch is no table of spans.
    pub(super) fn rows(&self, spans: &Rows) -> Result<Arc<RecordBatch>, ArrowError> {
        let spans = spans.shared();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_extended = kept.batches.len() <= spans.len()
            && kept.batches.iter().zip(&spans).all(|(known, batch)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(batch)));
        if !is_extended {
            *kept = Kept::default();
        }
        let known = kept.batches.len();
        if let Some(rows) = kept.rows.as_ref().filter(|_| known == spans.len()) {
            return Ok(Arc::clone(rows));
        }
        for batch in &spans[known..] {
            // Before the rollup: if the batch is refused, it is rolled up anew with all others next time.
            kept.batches.push(Weak::new());
            kept.rollup.add(batch)?;
            if let Some(last) = kept.batches.last_mut() {
                *last = Arc::downgrade(batch);
            }
        }
        let rows = Arc::new(kept.rollup.rows());
        kept.rows = Some(Arc::clone(&rows));
        Ok(rows)
    }
}
