//! Stitching: spans, in any order, into transactions. The analyzer's owner feeds a [`Stitcher`] as spans arrive;
//! pages call [`assemble`] for one transaction as it is known now.
//! It must never hold more than its limits say, and never recurse over spans: chains of 100,000 exist.

mod answer;
mod closed;
mod closure;
mod critical;
mod discovery;
mod facts;
mod graph;
mod hop;
mod joining;
mod keys;
mod limits;
mod open;
mod read;
mod refusals;
mod retry;
mod site;
mod skew;
mod straggler;
mod taken;
mod tree;
mod waiting;
mod weave;
mod worked;

pub(crate) use joining::HeldBack;
pub use limits::{JoinStats, StitcherLimits, StitcherStats};
pub(crate) use open::Unclosed;
pub use open::{OpenTransaction, Stitcher};
pub(crate) use taken::Taken;
pub(crate) use worked::Worked;

use collector_table::{LogTable, SpanTable};

use crate::transaction::Transaction;

/// Stitches all the spans of the tables at once, as they are known now, traces joined as far as the tables say so.
/// Returns transactions in order of their start.
pub fn assemble<'a>(tables: impl IntoIterator<Item = &'a SpanTable>) -> Vec<Transaction> {
    assemble_with(StitcherLimits::default(), tables)
}

/// Does what [`assemble`] does by an operator's limits; those on what is held do not apply, the tables being there.
pub fn assemble_with<'a>(limits: StitcherLimits, tables: impl IntoIterator<Item = &'a SpanTable>) -> Vec<Transaction> {
    assemble_with_logs(limits, tables, [])
}

/// Does what [`assemble_with`] does, with log records whose keys join their traces, too.
pub fn assemble_with_logs<'a, 'b>(
    limits: StitcherLimits,
    tables: impl IntoIterator<Item = &'a SpanTable>,
    logs: impl IntoIterator<Item = &'b LogTable>,
) -> Vec<Transaction> {
    let mut stitcher = Stitcher::new(limits.unbounded());
    for table in logs {
        stitcher.push_logs(table, 0);
    }
    for table in tables {
        stitcher.push(table, 0);
    }
    let mut transactions = stitcher.finish(0);
    transactions.sort_by_key(|transaction| (transaction.started_ns, transaction.id));
    transactions
}

#[cfg(test)]
mod tests;
