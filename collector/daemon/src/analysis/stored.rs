//! Which transactions were stored before the start, so that deriving them again from their spans stores nothing twice.
//! Filled while history is read back; asked for every transaction until those of before the start cannot come any more.

use std::collections::HashMap;

use analyzer::Transaction;
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};
use collector_table::TraceId;

/// Transactions that are remembered; of more, those that are derived again are stored twice, and counted. About 25 MiB.
const STORED_MAX: usize = 400_000;

/// The columns that [`StoredBefore::add`] needs, of transactions that started in `$1..$2`.
pub(super) const QUERY: &str = "SELECT transaction_id, revision, spans_count, started_at, duration_ns FROM transactions
    WHERE started_at >= $1 AND started_at < $2";
/// The same, but only those that lasted at least `$3` nanoseconds.
pub(super) const QUERY_LONG: &str = "SELECT transaction_id, revision, spans_count, started_at, duration_ns
    FROM transactions WHERE started_at >= $1 AND started_at < $2 AND duration_ns >= $3";

/// What was stored, by transaction.
#[derive(Default)]
pub(super) struct StoredBefore {
    stored: HashMap<TraceId, Stored>,
    left_out: u64,
}

#[derive(Clone, Copy)]
struct Stored {
    revision: u32,
    spans_count: u32,
    ended_ns: i64,
}

impl StoredBefore {
    /// Adds the rows that [`QUERY`] found. Rows of another shape are left out and counted.
    pub(super) fn add(&mut self, rows: &RecordBatch) {
        let columns = (|| {
            let ids = rows.column_by_name("transaction_id")?.as_fixed_size_binary_opt()?;
            let revisions = rows.column_by_name("revision")?.as_primitive_opt::<UInt32Type>()?;
            let spans = rows.column_by_name("spans_count")?.as_primitive_opt::<UInt32Type>()?;
            let started = rows.column_by_name("started_at")?.as_primitive_opt::<TimestampNanosecondType>()?;
            let durations = rows.column_by_name("duration_ns")?.as_primitive_opt::<Int64Type>()?;
            Some((ids, revisions, spans, started, durations))
        })();
        let Some((ids, revisions, spans, started, durations)) = columns else {
            self.left_out += rows.num_rows() as u64;
            return;
        };
        for row in 0..ids.len() {
            let Some(id) = TraceId::from_otlp(ids.value(row)) else { continue };
            if self.stored.len() >= STORED_MAX && !self.stored.contains_key(&id) {
                self.left_out += 1;
                continue;
            }
            let (revision, spans_count) = (revisions.value(row), spans.value(row));
            let ended_ns = started.value(row).saturating_add(durations.value(row));
            let stored = self.stored.entry(id).or_insert(Stored { revision, spans_count, ended_ns });
            stored.revision = stored.revision.max(revision);
            stored.spans_count = stored.spans_count.max(spans_count);
        }
    }

    /// Forgets transactions that ended before; their spans were all read.
    pub(super) fn forget_before(&mut self, ended_ns: i64) {
        self.stored.retain(|_, stored| stored.ended_ns >= ended_ns);
    }

    /// Forgets all, and the memory for it.
    pub(super) fn clear(&mut self) {
        self.stored = HashMap::new();
    }

    /// Returns how many did not fit.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns those of the transactions that know more spans than what is stored, as later revisions of it.
    pub(super) fn only_news(&mut self, mut transactions: Vec<Transaction>) -> Vec<Transaction> {
        transactions.retain_mut(|transaction| {
            let Some(stored) = self.stored.get_mut(&transaction.id) else { return true };
            let spans_count = u32::try_from(transaction.spans.len()).unwrap_or(u32::MAX);
            if spans_count <= stored.spans_count {
                return false;
            }
            transaction.revision = transaction.revision.max(stored.revision + 1);
            (stored.revision, stored.spans_count) = (transaction.revision, spans_count);
            true
        });
        transactions
    }
}

#[cfg(test)]
mod tests;
