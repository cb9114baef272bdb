//! Transactions as rows of the table `transactions`. Called by the analysis for what it keeps.

use analyzer::Transaction;
use analyzer::expect::Lacking;
use analyzer::transaction::Segment;
use collector_table::{CompletenessFields, LackingFields, SegmentFields, TransactionFields, TransactionTableBuilder};

/// Services that a row names; further ones are left out.
const SERVICES_MAX: usize = 64;

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
    let known = transaction.completeness.as_ref();
    let lacking: Vec<LackingFields<'_>> =
        known.map(|known| known.lacking.iter().map(lacking).collect()).unwrap_or_default();
    let expected_count = known.map(|known| u32::try_from(known.expected).unwrap_or(u32::MAX));
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
        path_id: transaction.path_id,
        clock_skew_ns: transaction.clock_skew_ns,
        trace_ids: &transaction.traces,
        services: &services(transaction),
        critical_path: &transaction.critical_path.iter().map(segment).collect::<Vec<_>>(),
        completeness: expected_count.map(|expected_count| CompletenessFields { expected_count, lacking: &lacking }),
        saga: transaction.saga.as_ref().map(|saga| saga.state.as_str()),
    });
}

fn lacking(stage: &Lacking) -> LackingFields<'_> {
    LackingFields { service_name: &stage.service, operation: &stage.operation, state: stage.state.as_str() }
}

/// Returns the services of a transaction in order of their first start, at most [`SERVICES_MAX`].
fn services(transaction: &Transaction) -> Vec<&str> {
    let mut firsts: Vec<(i64, &str)> = Vec::new();
    for span in transaction.spans.iter() {
        let service = span.service();
        // Names are shared, so that equal ones mostly lie at the same place.
        let is_this = |known: &str| std::ptr::eq(known, service) || known == service;
        if let Some((first_ns, _)) = firsts.iter_mut().rev().find(|(_, known)| is_this(known)) {
            *first_ns = span.start_ns.min(*first_ns);
        } else if firsts.len() < SERVICES_MAX {
            firsts.push((span.start_ns, service));
        }
    }
    // Services that start together keep their order: a parent stands before its children.
    firsts.sort_by_key(|(first_ns, _)| *first_ns);
    firsts.into_iter().map(|(_, service)| service).collect()
}
