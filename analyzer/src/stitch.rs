//! Stitching: spans, in any order, into transactions. The analyzer's owner feeds a [`Stitcher`] as spans arrive;
//! pages call [`assemble`] for one transaction as it is known now.
//! It must never hold more than its limits say, and never recurse over spans: chains of 100,000 exist.

mod closed;
mod critical;
mod limits;
mod open;
mod read;
mod site;
mod tree;
mod waiting;

pub use limits::{StitcherLimits, StitcherStats};
pub use open::{OpenTransaction, Stitcher};

use collector_table::{SpanTable, TraceId};

use crate::hash::Map;
use crate::span::Span;
use crate::transaction::{CloseReason, Transaction};

/// Stitches all the spans of the tables at once, as they are known now.
/// Returns transactions in order of their start.
pub fn assemble<'a>(tables: impl IntoIterator<Item = &'a SpanTable>) -> Vec<Transaction> {
    let mut reader = read::Reader::default();
    let mut traces: Map<TraceId, Vec<Span>> = Map::default();
    for table in tables {
        reader.read(table, |id, span| traces.entry(id).or_default().push(span));
    }
    let mut trees = tree::Trees::default();
    let header = |id| tree::Header { id, revision: 1, close_reason: CloseReason::EndOfInput, duplicates: 0 };
    let mut transactions: Vec<Transaction> =
        traces.into_iter().filter_map(|(id, spans)| trees.transaction(spans, header(id))).collect();
    transactions.sort_by_key(|transaction| (transaction.started_ns, transaction.id));
    transactions
}

#[cfg(test)]
mod tests;
