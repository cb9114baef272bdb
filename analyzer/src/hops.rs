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
        let attempts = u32::try_from(hop.attempts()).unwrap_or(u32::MAX);
        for (number, attempt) in (1..).zip(hop.tries()) {
            append_attempt(rows, transaction, hop.kind, attempt, (number, attempts));
        }
    }
}

fn append_attempt(
    rows: &mut HopTableBuilder,
    transaction: &Transaction,
    kind: HopKind,
    attempt: Attempt,
    (number, attempts): (u32, u32),
) {
    let ends = Ends::of(transaction, attempt);
    let (callee_service, callee_operation) = called(&ends.caller.site, ends.callee.map(|callee| &*callee.site));
    rows.append(&HopFields {
        transaction_id: transaction.id,
        revision: transaction.revision,
        trace_id: transaction.trace_of(attempt.caller),
        span_id: ends.caller.span_id,
        kind: kind.as_str(),
        attempt: number,
        attempts,
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

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::UInt32Type;

    use super::*;
    use crate::fixture::{lines, table};

    #[test]
    fn each_try_of_a_call_is_a_row_that_says_which_one_it_is() {
        let drawn = lines(
            "
            shop GET / 0..300
              shop client POST 10..60 peer=bank:443 error
              shop client POST 110..160 peer=bank:443 error
              shop client POST 260..290 peer=bank:443
              shop client GET 291..295 peer=rates:80
        ",
        );
        let rows = hops(&[table(&drawn).batch().clone()]).unwrap();
        let numbers = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<UInt32Type>().values().to_vec();
        let mut told: Vec<(u32, u32)> = numbers("attempts").into_iter().zip(numbers("attempt")).collect();
        told.sort_unstable();
        assert_eq!(told, [(1, 1), (3, 1), (3, 2), (3, 3)]);
    }
}
