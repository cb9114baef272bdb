//! Transactions as rows of the tables `transactions` and `hops`. Called by the analysis for what it keeps.

use analyzer::Transaction;
use arrow::array::RecordBatch;
use collector_table::{HopFields, HopTableBuilder, SegmentFields, TransactionFields, TransactionTableBuilder};

/// Returns the rows of transactions and of their hops.
pub(super) fn tables(transactions: &[Transaction]) -> (RecordBatch, RecordBatch) {
    let mut rows = TransactionTableBuilder::default();
    let mut hops = HopTableBuilder::default();
    for transaction in transactions {
        append_transaction(&mut rows, transaction);
        append_hops(&mut hops, transaction);
    }
    (rows.finish(), hops.finish())
}

fn append_transaction(rows: &mut TransactionTableBuilder, transaction: &Transaction) {
    let root = transaction.root_span();
    let mut services: Vec<&str> = Vec::new();
    for span in &transaction.spans {
        if !services.contains(&&*span.service) {
            services.push(&span.service);
        }
    }
    let segment = |segment: &analyzer::transaction::Segment| {
        let owner = &transaction.spans[segment.span];
        SegmentFields {
            service_name: &owner.service,
            operation: &owner.operation,
            cause: segment.cause.as_str(),
            self_ns: segment.end_ns - segment.start_ns,
        }
    };
    let errors = transaction.spans.iter().filter(|span| span.has_error).count();
    rows.append(&TransactionFields {
        transaction_id: transaction.id,
        revision: transaction.revision,
        service_name: &root.service,
        operation: &root.operation,
        started_ns: transaction.started_ns,
        duration_ns: transaction.duration_ns,
        status: if transaction.has_error() { "error" } else { "ok" },
        is_complete: transaction.is_complete,
        close_reason: transaction.close_reason.as_str(),
        spans_count: u32::try_from(transaction.spans.len()).unwrap_or(u32::MAX),
        errors_count: u32::try_from(errors).unwrap_or(u32::MAX),
        path_id: &format!("{:016x}", transaction.path_id),
        clock_skew_ns: transaction.clock_skew_ns,
        trace_ids: &[transaction.id],
        services: &services,
        critical_path: &transaction.critical_path.iter().map(segment).collect::<Vec<_>>(),
    });
}

fn append_hops(rows: &mut HopTableBuilder, transaction: &Transaction) {
    for hop in &transaction.hops {
        let caller = &transaction.spans[hop.caller];
        let callee = hop.callee.map(|callee| &transaction.spans[callee]);
        let peer = caller.peer.as_deref().unwrap_or("(unknown)");
        rows.append(&HopFields {
            transaction_id: transaction.id,
            revision: transaction.revision,
            trace_id: caller.trace_id,
            span_id: caller.span_id,
            kind: hop.kind.as_str(),
            caller_service: &caller.service,
            caller_operation: &caller.operation,
            callee_service: callee.map_or(peer, |callee| &callee.service),
            callee_operation: callee.map_or(&caller.operation, |callee| &callee.operation),
            is_instrumented: callee.is_some(),
            start_ns: caller.start_ns,
            duration_ns: caller.duration_ns(),
            callee_duration_ns: callee.map(analyzer::transaction::Span::duration_ns),
            gap_ns: hop.gap_ns,
            has_error: caller.has_error || callee.is_some_and(|callee| callee.has_error),
        });
    }
}
