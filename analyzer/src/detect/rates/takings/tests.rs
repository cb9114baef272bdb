//! What happens at the bounds of messages that are remembered, and of partitions whose order is watched.

use super::*;
use crate::fixture;
use crate::stitch::{Stitcher, StitcherLimits};

const SECOND_NS: i64 = 1_000_000_000;

/// Returns a message that is taken in; tests give it another name and place.
fn message() -> Taken {
    let text = "log consumer take 0..9 messaging.message.id=m-0000000000000000-1";
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    stitcher.push(&fixture::table(&fixture::lines(text)), 0);
    stitcher.take_taken().remove(0)
}

/// Returns the message of a name and trace, at a place in a partition.
fn numbered(message: &Taken, number: u64, (partition, offset): (u64, i64), start_ns: i64) -> Taken {
    let mut one = Taken { trace: TraceId(u128::from(number).to_be_bytes()), start_ns, ..message.clone() };
    (one.taking.token, one.taking.partition, one.taking.offset) = (number, partition, offset);
    one
}

fn counted(rates: &Rates, message: &Taken, wrong: Wrong) -> u32 {
    let occasion = Occasion { of: Of::Taking, by: name(&message.site), to: None };
    let rate = rates.place(&occasion).and_then(|place| place.rate(wrong));
    rate.map_or(0, |rate| rate.between(i64::MIN, i64::MAX).count)
}

#[test]
fn messages_beyond_two_generations_are_forgotten() {
    let (message, mut rates) = (message(), Rates::new(100, 1.0));
    let at = |number: u64| numbered(&message, number, (0, 0), 0);
    let last = 2 * MESSAGES_MAX as u64 + 10;
    (1..=last).for_each(|number| rates.take_in(&[at(number)], 0, 0));
    let again = |number: u64| Taken { span_id: SpanId([7; 8]), ..at(number) };
    rates.take_in(&[again(1), again(last), again(last - MESSAGES_MAX as u64)], 0, 0);
    assert_eq!(counted(&rates, &message, Wrong::Twice), 2, "the oldest is forgotten");
    // Old ones are forgotten, too.
    rates.take_in(&[at(last + 1)], 0, GENERATION_NS);
    rates.take_in(&[at(last + 2)], 0, 2 * GENERATION_NS);
    rates.take_in(&[again(last)], 0, 2 * GENERATION_NS);
    assert_eq!(counted(&rates, &message, Wrong::Twice), 2);
}

#[test]
fn further_partitions_are_left_out_and_counted_until_unused_ones_are_let_go() {
    let (message, mut rates) = (message(), Rates::new(100, 1.0));
    let further = 5;
    for number in 1..=PARTITIONS_MAX as u64 + further {
        rates.take_in(&[numbered(&message, number, (number, 0), 0)], 0, 0);
    }
    assert_eq!((rates.takings.partitions.len(), rates.takings.partitions_left_out), (PARTITIONS_MAX, further));
    rates.take_in(&[], 0, 2 * UNUSED_NS);
    assert_eq!(rates.takings.partitions.len(), 0);
    rates.take_in(&[numbered(&message, 999_999, (999_999, 0), 0)], 0, 2 * UNUSED_NS);
    assert_eq!((rates.takings.partitions.len(), rates.takings.partitions_left_out), (1, further));
}

#[test]
fn messages_of_a_partition_that_wait_beyond_the_bound_are_judged_early() {
    let (message, mut rates) = (message(), Rates::new(100, 1.0));
    let disordered = |rates: &mut Rates, from: u64, now_ns: i64| {
        // Every tenth has the place of one before.
        for number in from..from + 2 * WAITING_MAX as u64 {
            let offset = number.cast_signed() - if number % 10 == 9 { 5 } else { 0 };
            rates.take_in(&[numbered(&message, number, (1, offset), number.cast_signed())], 0, now_ns);
        }
        counted(rates, &message, Wrong::Disordered)
    };
    assert_eq!(disordered(&mut rates, 1, 0), 0, "their time has not come");
    let waiting = |rates: &Rates| rates.takings.partitions.values().map(|one| one.waiting.len()).sum::<usize>();
    assert_eq!(waiting(&rates), WAITING_MAX);
    rates.take_in(&[], 0, SETTLE_NS);
    assert_eq!(counted(&rates, &message, Wrong::Disordered), (WAITING_MAX / 10) as u32, "those beyond the bound");
    rates.take_in(&[], 0, SECOND_NS + WAIT_NS);
    assert_eq!(counted(&rates, &message, Wrong::Disordered), (WAITING_MAX / 5) as u32);
    assert_eq!(waiting(&rates), 0);
}
