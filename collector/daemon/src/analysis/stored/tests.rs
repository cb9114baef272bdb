use analyzer::stitch::assemble;
use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TransactionTableBuilder};

use super::super::rows;
use super::*;

const STARTED_NS: i64 = 1_000;
const ENDED_NS: i64 = STARTED_NS + 10;

/// Returns a transaction as derived anew from its first so many spans.
fn derived(spans_count: u8) -> Vec<Transaction> {
    let mut spans = SpanTableBuilder::default();
    for number in 1..=spans_count {
        spans.append(&SpanFields {
            trace_id: TraceId([7; 16]),
            span_id: SpanId([number; 8]),
            parent_span_id: (number > 1).then_some(SpanId([1; 8])),
            trace_state: None,
            flags: 0,
            service_name: "shop",
            service_instance: None,
            service_version: None,
            name: "work",
            kind: SpanKind::Internal,
            start_ns: STARTED_NS,
            end_ns: ENDED_NS,
            status_code: StatusCode::Unset,
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    assemble([&spans.finish()])
}

fn table(transactions: &[Transaction]) -> RecordBatch {
    let mut table = TransactionTableBuilder::default();
    for transaction in transactions {
        rows::append(&mut table, transaction);
    }
    table.finish()
}

fn revisions(transactions: &[Transaction]) -> Vec<u32> {
    transactions.iter().map(|transaction| transaction.revision).collect()
}

#[test]
fn what_is_stored_is_no_news_and_more_spans_of_it_are_a_later_revision() {
    let mut stored = StoredBefore::default();
    assert_eq!(revisions(&stored.only_news(derived(2))), [1], "nothing is stored yet");
    stored.add(&table(&derived(2)));
    assert_eq!(stored.only_news(derived(2)).len(), 0, "the same");
    assert_eq!(stored.only_news(derived(1)).len(), 0, "a part of it");
    assert_eq!(revisions(&stored.only_news(derived(3))), [2], "a span that came late");
    assert_eq!(stored.only_news(derived(3)).len(), 0, "the same again");
    assert_eq!(stored.left_out(), 0);
}

#[test]
fn a_transaction_is_remembered_as_long_as_its_spans_may_be_read() {
    let mut stored = StoredBefore::default();
    stored.add(&table(&derived(2)));
    stored.forget_before(ENDED_NS);
    assert_eq!(stored.only_news(derived(2)).len(), 0);
    stored.forget_before(ENDED_NS + 1);
    assert_eq!(stored.only_news(derived(2)).len(), 1);
}

#[test]
fn rows_without_the_columns_are_left_out_and_counted() {
    let mut stored = StoredBefore::default();
    stored.add(&table(&derived(2)).project(&[0]).unwrap());
    assert_eq!(stored.left_out(), 1);
}
