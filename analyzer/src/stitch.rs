//! Stitching: spans, in any order, into transactions. The analyzer's owner feeds a [`Stitcher`] as spans arrive;
//! pages call [`assemble`] for one transaction as it is known now.
//! It must never hold more than its limits say, and never recurse over spans: chains of 100,000 exist.

mod critical;
mod open;
mod read;
mod tree;

pub(crate) use tree::is_entry;

pub use open::{OpenTransaction, Stitcher, StitcherLimits, StitcherStats};
pub use read::Interner;

use std::collections::HashMap;

use collector_table::{SpanTable, TraceId};

use crate::transaction::{CloseReason, Span, Transaction};

/// Stitches all the spans of the tables at once, as they are known now.
/// Returns transactions in order of their start.
pub fn assemble<'a>(tables: impl IntoIterator<Item = &'a SpanTable>) -> Vec<Transaction> {
    let mut interner = Interner::default();
    let mut traces: HashMap<TraceId, Vec<Span>> = HashMap::new();
    for table in tables {
        for row in table.rows() {
            traces.entry(row.trace_id).or_default().push(read::span(&row, &mut interner));
        }
    }
    let mut transactions: Vec<Transaction> =
        traces.into_values().filter_map(|spans| tree::transaction(spans, 1, CloseReason::EndOfInput)).collect();
    transactions.sort_by_key(|transaction| (transaction.started_ns, transaction.id));
    transactions
}

#[cfg(test)]
mod tests;
