use analyzer::stitch::assemble;
use collector_table::{SpanFields, SpanId, SpanKind, SpanTableBuilder, StatusCode, TransactionTableBuilder};

use super::super::rows;
use super::*;

const STARTED_NS: i64 = 1_000;
const ENDED_NS: i64 = STARTED_NS + 10;
const OWN: TraceId = TraceId([7; 16]);
const OTHER: TraceId = TraceId([8; 16]);

/// Returns a transaction as derived anew from its first so many spans.
fn derived(spans_count: u8) -> Vec<Transaction> {
    derived_of(OWN, spans_count)
}

fn derived_of(trace: TraceId, spans_count: u8) -> Vec<Transaction> {
    let mut spans = SpanTableBuilder::default();
    for number in 1..=spans_count {
        spans.append(&SpanFields {
            trace_id: trace,
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

/// Returns a transaction of which the other trace is part.
fn joined() -> Vec<Transaction> {
    let mut transactions = derived(3);
    transactions[0].traces.push(OTHER);
    transactions
}

/// Returns what takes the other trace's own transaction back.
fn taken_back(revision: u32) -> Vec<Transaction> {
    vec![joined()[0].superseding(OTHER, revision)]
}

/// Returns id, revision, and whether it is superseded, of each.
fn states(transactions: &[Transaction]) -> Vec<(u8, u32, bool)> {
    transactions.iter().map(|it| (it.id.0[0], it.revision, it.superseded_by.is_some())).collect()
}

#[test]
fn what_is_stored_as_part_of_another_is_no_news_alone() {
    let mut stored = StoredBefore::default();
    stored.add(&table(&derived_of(OTHER, 1)));
    stored.add(&table(&joined()));
    stored.add(&table(&taken_back(2)));
    assert_eq!(states(&stored.only_news(derived_of(OTHER, 1))), [], "not joined yet");
    assert_eq!(states(&stored.only_news(derived(2))), [], "not joined yet");
    assert_eq!(states(&stored.only_news(joined())), [], "joined again");
    assert_eq!(states(&stored.only_news(taken_back(2))), [], "taken back again");
}

#[test]
fn a_join_of_what_is_stored_apart_takes_back_what_became_part_once() {
    let mut stored = StoredBefore::default();
    stored.add(&table(&derived_of(OTHER, 1)));
    stored.add(&table(&derived(2)));
    assert_eq!(states(&stored.only_news(joined())), [(7, 2, false), (8, 2, true)]);
    assert_eq!(states(&stored.only_news(taken_back(2))), [], "it was taken back with the join");
}

#[test]
fn a_stored_join_that_turns_out_wrong_is_given_out_apart() {
    let mut stored = StoredBefore::default();
    stored.add(&table(&derived_of(OTHER, 1)));
    stored.add(&table(&joined()));
    stored.add(&table(&taken_back(2)));
    stored.only_news(joined());
    let mut apart = derived(2);
    apart[0].revision = 2;
    assert_eq!(states(&stored.only_news(apart)), [(7, 2, false)]);
    assert_eq!(states(&stored.only_news(derived_of(OTHER, 1))), [(8, 3, false)]);
}
