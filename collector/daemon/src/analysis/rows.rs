//! Transactions as rows of the table `transactions`. Called by the analysis for what it keeps.

use std::collections::HashSet;

use analyzer::Transaction;
use analyzer::transaction::Segment;
use collector_table::{SegmentFields, TransactionFields, TransactionTableBuilder};

/// Appends the row of a transaction.
pub(super) fn append(rows: &mut TransactionTableBuilder, transaction: &Transaction) {
    let root = transaction.root_span();
    let segment = |segment: &Segment| {
        let owner = &transaction.spans[segment.span];
        SegmentFields {
            service_name: owner.service(),
            operation: owner.operation(),
            cause: segment.cause.as_str(),
            self_ns: segment.end_ns - segment.start_ns,
        }
    };
    let errors = transaction.spans.iter().filter(|span| span.has_error()).count();
    rows.append(&TransactionFields {
        transaction_id: transaction.id,
        revision: transaction.revision,
        service_name: root.service(),
        operation: root.operation(),
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
        services: &services(transaction),
        critical_path: &transaction.critical_path.iter().map(segment).collect::<Vec<_>>(),
    });
}

/// Returns the services of a transaction in order of their first start.
fn services(transaction: &Transaction) -> Vec<&str> {
    let mut by_start: Vec<(i64, &str)> = transaction.spans.iter().map(|span| (span.start_ns, span.service())).collect();
    // Spans that start together keep their order: a parent stands before its children.
    by_start.sort_by_key(|(start_ns, _)| *start_ns);
    let mut seen: HashSet<&str> = HashSet::new();
    by_start.into_iter().map(|(_, service)| service).filter(|service| seen.insert(service)).collect()
}
