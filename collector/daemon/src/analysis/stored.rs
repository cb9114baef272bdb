//! Which transactions were stored before the start, so that deriving them again from their spans stores nothing twice.
//! Filled while history is read back; asked for every transaction until those of before the start cannot come any more.

use std::collections::HashMap;

use analyzer::Transaction;
use analyzer::transaction::CloseReason;
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};
use collector_table::TraceId;

/// Transactions that are remembered; of more, those that are derived again are stored twice, and counted. About 25 MiB.
const STORED_MAX: usize = 400_000;

/// The columns that [`StoredBefore::add`] needs, of transactions that started in `$1..$2`; of every revision, because a
/// superseded one says that its spans are stored as part of another.
pub(super) const QUERY: &str = "SELECT transaction_id, revision, spans_count, close_reason, started_at, duration_ns
    FROM transaction_revisions WHERE started_at >= $1 AND started_at < $2";
/// The same, but only those that lasted at least `$3` nanoseconds.
pub(super) const QUERY_LONG: &str =
    "SELECT transaction_id, revision, spans_count, close_reason, started_at, duration_ns
    FROM transaction_revisions WHERE started_at >= $1 AND started_at < $2 AND duration_ns >= $3";

/// What was stored, by transaction.
#[derive(Default)]
pub(super) struct StoredBefore {
    stored: HashMap<TraceId, Stored>,
    left_out: u64,
}

#[derive(Clone, Copy)]
struct Stored {
    revision: u32,
    /// Of the highest revision.
    spans_count: u32,
    ended_ns: i64,
    /// Its highest revision says that it is part of another.
    is_superseded: bool,
    /// Revision, as the analysis counts since the start, with which it knew all that is stored: where a later one says
    /// less, that is meant.
    reached: Option<u32>,
}

impl StoredBefore {
    /// Adds the rows that [`QUERY`] found. Rows of another shape are left out and counted.
    pub(super) fn add(&mut self, rows: &RecordBatch) {
        let columns = (|| {
            let ids = rows.column_by_name("transaction_id")?.as_fixed_size_binary_opt()?;
            let revisions = rows.column_by_name("revision")?.as_primitive_opt::<UInt32Type>()?;
            let spans = rows.column_by_name("spans_count")?.as_primitive_opt::<UInt32Type>()?;
            let reasons = rows.column_by_name("close_reason")?.as_string_opt::<i32>()?;
            let started = rows.column_by_name("started_at")?.as_primitive_opt::<TimestampNanosecondType>()?;
            let durations = rows.column_by_name("duration_ns")?.as_primitive_opt::<Int64Type>()?;
            Some((ids, revisions, spans, reasons, started, durations))
        })();
        let Some((ids, revisions, spans, reasons, started, durations)) = columns else {
            self.left_out += rows.num_rows() as u64;
            return;
        };
        for row in 0..ids.len() {
            let Some(id) = TraceId::from_otlp(ids.value(row)) else { continue };
            if self.stored.len() >= STORED_MAX && !self.stored.contains_key(&id) {
                self.left_out += 1;
                continue;
            }
            let found = Stored {
                revision: revisions.value(row),
                spans_count: spans.value(row),
                ended_ns: started.value(row).saturating_add(durations.value(row)),
                is_superseded: reasons.value(row) == CloseReason::Superseded.as_str(),
                reached: None,
            };
            let stored = self.stored.entry(id).or_insert(found);
            let ended_ns = stored.ended_ns.max(found.ended_ns);
            if found.revision > stored.revision {
                *stored = found;
            }
            stored.ended_ns = ended_ns;
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

    /// Returns those of the transactions that differ from what is stored by more than not knowing all of it yet, as later
    /// revisions of it; and what takes back transactions that are stored and turned out to be part of one of these.
    pub(super) fn only_news(&mut self, transactions: Vec<Transaction>) -> Vec<Transaction> {
        let mut news = Vec::with_capacity(transactions.len());
        for mut transaction in transactions {
            let superseding = self.superseding(&transaction);
            let mut parts = transaction.traces.clone();
            parts.retain(|part| *part != transaction.id && self.stored.contains_key(part));
            parts.into_iter().for_each(|part| transaction.set_part_told(part));
            if self.is_news(&mut transaction) {
                news.push(transaction);
            }
            news.extend(superseding);
        }
        news
    }

    fn is_news(&mut self, transaction: &mut Transaction) -> bool {
        let Some(stored) = self.stored.get_mut(&transaction.id) else { return true };
        let spans_count = u32::try_from(transaction.spans.len()).unwrap_or(u32::MAX);
        let is_superseded = transaction.superseded_by.is_some();
        let is_same = is_superseded == stored.is_superseded && (is_superseded || spans_count == stored.spans_count);
        let is_more = is_superseded || !stored.is_superseded && spans_count > stored.spans_count;
        let is_meant = stored.reached.is_some_and(|reached| transaction.revision > reached);
        if is_same || is_more || is_meant {
            stored.reached = Some(transaction.revision);
        }
        if is_same || !is_more && !is_meant {
            return false;
        }
        transaction.revision = transaction.revision.max(stored.revision + 1);
        // Counting less is better than counting twice.
        transaction.set_told();
        (stored.revision, stored.spans_count) = (transaction.revision, spans_count);
        stored.is_superseded = is_superseded;
        true
    }

    /// Before a crash, a trace may have been stored as a transaction of its own, and what takes it back not yet. After the
    /// restart it may be joined at once, so that nothing else would take it back.
    fn superseding(&mut self, transaction: &Transaction) -> Vec<Transaction> {
        let mut superseding = Vec::new();
        if transaction.superseded_by.is_some() {
            return superseding;
        }
        for part in transaction.traces.iter().filter(|part| **part != transaction.id) {
            let Some(stored) = self.stored.get_mut(part) else { continue };
            stored.reached = stored.reached.or(Some(0));
            if !stored.is_superseded {
                stored.revision += 1;
                stored.is_superseded = true;
                superseding.push(transaction.superseding(*part, stored.revision));
            }
        }
        superseding
    }
}

#[cfg(test)]
mod tests;
