//! Order of messages about one value: what is out of order, and what happens at the bounds.

use collector_table::{SpanId, TraceId};

use super::*;

const MS_NS: i64 = 1_000_000;

fn message(number: u64, sent_ms: i64, taken_ms: i64) -> Message {
    Message {
        sent_by: (TraceId(u128::from(number).to_be_bytes()), SpanId(number.to_be_bytes())),
        sent_ns: sent_ms * MS_NS,
        sent_process: 1,
        taken_ns: taken_ms * MS_NS,
        taken_process: 2,
    }
}

#[test]
fn messages_sent_apart_and_taken_the_other_way_round_are_out_of_order() {
    let first = message(1, 0, 1_000);
    assert_eq!(message(2, 400, 1_400).order_with(&first), Order::Kept);
    assert_eq!(message(2, 400, 900).order_with(&first), Order::Broken);
    assert_eq!(first.order_with(&message(2, 400, 900)), Order::Broken, "whichever is known first");
    assert_eq!(message(2, 20, 900).order_with(&first), Order::Unknown, "sent at once");
    // By two clocks less is known.
    let elsewhere = |sent_ms: i64, taken_ms: i64| Message { sent_process: 8, ..message(2, sent_ms, taken_ms) };
    assert_eq!(elsewhere(400, 900).order_with(&first), Order::Unknown);
    assert_eq!(elsewhere(1_400, 900).order_with(&first), Order::Broken);
    let taken_elsewhere = |taken_ms: i64| Message { taken_process: 9, ..message(2, 400, taken_ms) };
    assert_eq!(taken_elsewhere(900).order_with(&first), Order::Kept);
    assert_eq!(taken_elsewhere(-900).order_with(&first), Order::Broken);
}

#[test]
fn message_that_is_taken_in_again_has_no_order() {
    let mut lane = Lane::default();
    assert_eq!(lane.take(message(1, 0, 10)), Order::Unknown, "the first");
    assert_eq!(lane.take(message(2, 400, 410)), Order::Kept);
    assert_eq!(lane.take(message(1, 0, 900)), Order::Unknown);
}

#[test]
fn value_with_many_messages_has_no_order_and_few_are_remembered() {
    let mut lane = Lane::default();
    let orders: Vec<Order> = (0..100)
        .map(|number| lane.take(message(number + 1, number.cast_signed() * 100, 10_000 - number.cast_signed())))
        .collect();
    assert_eq!(lane.latest.len(), LANE_MESSAGES);
    let told = orders.iter().filter(|order| **order == Order::Broken).count();
    assert_eq!(told, LANE_CROWD as usize - 2, "{orders:?}");
}
