//! What happens at the bounds of messages that are waited for, of senders and takers, and of what was lost.

use collector_table::SpanId;

use super::*;
use crate::fixture;
use crate::stitch::assemble;

const SECOND_NS: i64 = 1_000_000_000;

/// Returns an order whose message is taken in by this taker.
fn order(sender: &str, taker: &str) -> Transaction {
    let text = format!("web POST /order 0..20\n  web producer {sender} 5..9\n    mail consumer {taker} 20..30");
    assemble([&fixture::table(&fixture::lines(&text))]).remove(0)
}

fn sent_by(number: u64) -> SpanOf {
    (TraceId(u128::from(number).to_be_bytes()), SpanId(number.to_be_bytes()))
}

fn counted(rates: &Rates) -> (u32, u32) {
    let by = (Arc::from("web"), Arc::from("send"));
    let occasion = Occasion { of: Of::Message, by, to: Some(("mail".into(), "take".into())) };
    let place = rates.place(&occasion).unwrap();
    let lost = place.rate(Wrong::Lost).map_or(0, |rate| rate.between(i64::MIN, i64::MAX).count);
    (place.between(i64::MIN, i64::MAX).of, lost)
}

#[test]
fn beyond_the_bound_the_message_that_is_due_first_is_let_go_undecided() {
    let (order, mut rates) = (order("send", "take"), Rates::new(100, 1.0));
    rates.send(&order, 0, SECOND_NS);
    let further = 7;
    for number in 0..(WAITING_MAX + further) as u64 {
        rates.wait_for(sent_by(number), &order.spans[1], &order, SECOND_NS + number.cast_signed());
    }
    // The first of all is the one of the order itself, which was taken in.
    assert_eq!((rates.sends.waiting.len(), rates.sends.left_out), (WAITING_MAX, further as u64 + 1));
    let before = counted(&rates);
    rates.settle_sends(100, LONGEST_NS * 2);
    assert_eq!(rates.sends.waiting.len(), 0);
    assert_eq!(counted(&rates).0 - before.0, WAITING_MAX as u32, "those that were let go count for nothing");
    assert!(rates.sends.due.is_empty());
}

#[test]
fn what_was_lost_is_remembered_up_to_a_bound_and_taken_back_as_long_as_it_is() {
    let (order, mut rates) = (order("send", "take"), Rates::new(100, 1.0));
    rates.send(&order, 0, SECOND_NS);
    let number_max = LOST_MAX as u64 + 3;
    for number in 0..number_max {
        rates.wait_for(sent_by(number), &order.spans[1], &order, SECOND_NS + number.cast_signed());
    }
    rates.settle_sends(100, LONGEST_NS * 2);
    let (_, lost) = counted(&rates);
    assert_eq!(u64::from(lost), number_max);
    assert_eq!((rates.sends.lost.len(), rates.sends.lost_order.len()), (LOST_MAX, LOST_MAX));
    let callee = &order.spans[2];
    for number in [0, number_max - 1] {
        rates.came(sent_by(number), &order.spans[1], callee, (100, LONGEST_NS * 2), false);
    }
    assert_eq!(counted(&rates).1, lost - 1, "of the first it is forgotten that it was lost");
}

#[test]
fn further_takers_and_senders_are_left_out_and_counted() {
    let mut rates = Rates::new(50_000, 1.0);
    for number in 0..TAKERS_MAX + 3 {
        rates.send(&order("send", &format!("take-by-{}", char::from(b'a' + number as u8))), 0, SECOND_NS);
    }
    let takers = |rates: &Rates| rates.sends.senders.values().map(|sender| sender.takers.len()).sum::<usize>();
    assert_eq!((takers(&rates), rates.sends.left_out), (TAKERS_MAX, 3));
    let taker = order("send", "take").spans[2].clone();
    let sender = order("send", "take").spans[1].clone();
    for number in 1..SENDERS_MAX as u64 + 3 {
        rates.add_taker(number, &sender.site, &taker.site, 0);
    }
    assert_eq!((rates.sends.senders.len(), rates.sends.left_out), (SENDERS_MAX, 3 + 2 + 1));
}
