//! Hops as rows of the view `hops`: computed from whole traces when a query asks for them. Called by the daemon for the
//! store, which must not know the analysis.

use arrow::array::RecordBatch;
use collector_table::{HopFields, HopTableBuilder, SchemaError, SpanTable};

use crate::span::{Site, Span};
use crate::stitch::assemble;
use crate::transaction::{Attempt, HopKind, Transaction};

/// Stands for a peer that its caller does not name.
const UNKNOWN_PEER: &str = "(unknown)";

/// Returns the hops of the traces whose spans are given, in the SQL form or the memory form; traces must be whole.
///
/// # Errors
/// If a batch is not one of spans.
pub fn hops(batches: &[RecordBatch]) -> Result<RecordBatch, SchemaError> {
    let tables: Vec<SpanTable> =
        batches.iter().map(|batch| SpanTable::from_batch(batch.clone())).collect::<Result<_, _>>()?;
    let mut rows = HopTableBuilder::default();
    for transaction in assemble(&tables) {
        append(&mut rows, &transaction);
    }
    Ok(rows.finish())
}

fn append(rows: &mut HopTableBuilder, transaction: &Transaction) {
    for hop in &transaction.hops {
        for attempt in hop.tries() {
            append_attempt(rows, transaction, hop.kind, attempt);
        }
    }
}

fn append_attempt(rows: &mut HopTableBuilder, transaction: &Transaction, kind: HopKind, attempt: Attempt) {
    let ends = Ends::of(transaction, attempt);
    let (callee_service, callee_operation) = called(&ends.caller.site, ends.callee.map(|callee| &*callee.site));
    rows.append(&HopFields {
        transaction_id: transaction.id,
        revision: transaction.revision,
        trace_id: transaction.trace_of(attempt.caller),
        span_id: ends.caller.span_id,
        kind: kind.as_str(),
        caller_service: ends.caller.service(),
        caller_operation: ends.caller.operation(),
        callee_service,
        callee_operation,
        is_instrumented: ends.callee.is_some(),
        start_ns: ends.caller.start_ns,
        duration_ns: ends.caller.duration_ns(),
        callee_duration_ns: ends.callee.map(Span::duration_ns),
        gap_ns: attempt.gap_ns,
        has_error: ends.has_error(),
    });
}

/// The spans at both ends of a hop.
pub(crate) struct Ends<'a> {
    pub(crate) caller: &'a Span,
    /// None when the peer sends no telemetry.
    pub(crate) callee: Option<&'a Span>,
}

impl<'a> Ends<'a> {
    pub(crate) fn of(transaction: &'a Transaction, attempt: Attempt) -> Self {
        let callee = attempt.callee.map(|callee| &transaction.spans[callee]);
        Self { caller: &transaction.spans[attempt.caller], callee }
    }

    /// Returns whether either end reports an error.
    pub(crate) fn has_error(&self) -> bool {
        self.caller.has_error() || self.callee.is_some_and(|callee| callee.has_error())
    }
}

/// Returns service and operation of a callee; of a peer that sends no telemetry its address or system, and the caller's
/// operation.
pub(crate) fn called<'a>(caller: &'a Site, callee: Option<&'a Site>) -> (&'a str, &'a str) {
    match callee {
        Some(callee) => (&callee.service, &callee.operation),
        None => (caller.peer.as_deref().unwrap_or(UNKNOWN_PEER), &caller.operation),
    }
}
