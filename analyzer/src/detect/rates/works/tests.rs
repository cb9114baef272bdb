//! Work that is done again, execution by execution: what counts, and what happens at the bounds.

use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId};

use super::*;
use crate::detect::rates::name;
use crate::fixture;
use crate::span::Site;

const SECOND_NS: i64 = 1_000_000_000;
/// When learning is over.
const LEARNED_S: i64 = LEARN_NS / SECOND_NS;

/// Returns a site of an operation.
fn site(text: &str) -> Arc<Site> {
    crate::stitch::assemble([&fixture::table(&fixture::lines(text))])[0].spans[0].site.clone()
}

fn worked(site: &Arc<Site>, trace: u64, value: u64, start_s: i64) -> Worked {
    Worked {
        key: 7,
        key_name: "order.id".into(),
        value,
        is_telling: true,
        trace: TraceId(u128::from(trace).to_be_bytes()),
        span_id: SpanId(trace.to_be_bytes()),
        start_ns: start_s * SECOND_NS,
        site: site.clone(),
        has_failed: false,
        above: None,
    }
}

/// Rates that learned of an operation that its executions for one value are one.
fn learned(site: &Arc<Site>) -> Rates {
    let mut rates = Rates::new(1_000, 1.0);
    for number in 0..=LEARNED_S {
        let one = worked(site, number.cast_unsigned() + 1, number.cast_unsigned() + 1, number);
        rates.work(&[one], number / 10, number * SECOND_NS);
    }
    rates
}

/// Counts executions since it is learned, and those that were repetitions.
fn counted(rates: &Rates, site: &Site, of: Of) -> (u32, u32) {
    let occasion = Occasion { of, by: name(site), to: Some((site.service.clone(), "order.id".into())) };
    let Some(place) = rates.place(&occasion) else { return (0, 0) };
    let wrong = place.rate(Wrong::Twice).map_or(0, |rate| rate.between(0, i64::MAX).count);
    (place.between(0, i64::MAX).of, wrong)
}

#[test]
fn second_execution_for_a_value_is_counted_once_whichever_trace_closes_first() {
    let site = site("ship consumer take 0..9");
    assert_eq!(site.kind, SpanKind::Consumer);
    let mut rates = learned(&site);
    let at = |second: i64| (second / 10, second * SECOND_NS);
    let (block, now_ns) = at(400);
    rates.work(&[worked(&site, 9_001, 9_001, 400), worked(&site, 9_002, 9_001, 390)], block, now_ns);
    assert_eq!(counted(&rates, &site, Of::Taking), (2, 1));
    // The same span is the same work.
    rates.work(&[worked(&site, 9_001, 9_001, 400)], block, now_ns);
    assert_eq!(counted(&rates, &site, Of::Taking), (2, 1));
    // The first failed.
    let first = Worked { has_failed: true, ..worked(&site, 9_003, 9_003, 400) };
    rates.work(&[worked(&site, 9_004, 9_003, 410), first], block, now_ns);
    assert_eq!(counted(&rates, &site, Of::Taking), (4, 1));
    // Much later.
    let (block, now_ns) = at(400 + AGAIN_NS / SECOND_NS + 1);
    rates.work(&[worked(&site, 9_005, 9_001, 401 + AGAIN_NS / SECOND_NS)], block, now_ns);
    assert_eq!(counted(&rates, &site, Of::Taking), (5, 1));
}

#[test]
fn what_a_repetition_calls_is_told_by_it() {
    let (take, reserve) = (site("ship consumer take 0..9"), site("stock POST /reserve 0..9"));
    let mut rates = learned(&take);
    for number in 0..=LEARNED_S {
        let one = worked(&reserve, 20_000 + number.cast_unsigned(), number.cast_unsigned(), number);
        rates.work(&[one], number / 10, number * SECOND_NS);
    }
    let (block, now_ns) = (40, 400 * SECOND_NS);
    for trace in [9_001, 9_002] {
        let above = worked(&take, trace, 9_001, 400);
        let below =
            Worked { above: Some(above.span_id), span_id: SpanId([9; 8]), ..worked(&reserve, trace, 9_001, 400) };
        rates.work(&[above, below], block, now_ns);
    }
    assert_eq!(counted(&rates, &take, Of::Taking), (2, 1));
    assert_eq!(counted(&rates, &reserve, Of::Request), (2, 0));
    // A message that was found to be taken in again tells what is below it, too.
    rates.works.note_repeated((worked(&take, 9_004, 0, 0).trace, SpanId([1; 8])), now_ns);
    for trace in [9_003, 9_004] {
        let below = Worked { above: Some(SpanId([1; 8])), ..worked(&reserve, trace, 9_003, 400) };
        rates.work(&[below], block, now_ns);
    }
    assert_eq!(counted(&rates, &reserve, Of::Request), (4, 0));
}

#[test]
fn value_that_is_worked_for_again_and_again_counts_a_few_times() {
    let site = site("ship consumer take 0..9");
    let mut rates = learned(&site);
    for trace in 9_000..9_100 {
        rates.work(&[worked(&site, trace, 9_000, 400)], 40, 400 * SECOND_NS);
    }
    let times = u32::from(TIMES_MAX);
    assert_eq!(counted(&rates, &site, Of::Taking), (times, times - 1));
}

#[test]
fn plain_numbers_of_keys_that_join_nothing_are_watched_only_if_none_ever_repeats() {
    let site = site("ship consumer take 0..9");
    let amounts = |repeats: bool| {
        let mut rates = Rates::new(1_000, 1.0);
        for number in 0..1_000i64 {
            let value = if repeats && number % 200 == 1 { number - 1 } else { number }.cast_unsigned();
            let one = Worked { is_telling: false, ..worked(&site, number.cast_unsigned() + 1, value, number) };
            rates.work(&[one], number / 10, number * SECOND_NS);
        }
        counted(&rates, &site, Of::Taking).0
    };
    assert!(amounts(false) > 600, "{}", amounts(false));
    assert_eq!(amounts(true), 0);
}

#[test]
fn at_the_bounds_older_values_are_forgotten_and_further_operations_left_out() {
    let site = site("ship consumer take 0..9");
    let mut rates = learned(&site);
    let many = 2 * DONE_MAX as u64 + 10;
    let values: Vec<Worked> = (0..many).map(|value| worked(&site, 10_000 + value, 10_000 + value, 400)).collect();
    rates.work(&values, 40, 400 * SECOND_NS);
    assert!(rates.works.done.let_go > 0);
    let before = counted(&rates, &site, Of::Taking).1;
    rates.work(&[worked(&site, 1, 10_000, 401), worked(&site, 2, 10_000 + many - 1, 401)], 40, 401 * SECOND_NS);
    assert_eq!(counted(&rates, &site, Of::Taking).1 - before, 1, "the oldest is forgotten, the latest is not");

    let keys = (0..=u16::MAX).take(HABITS_MAX + 5);
    let further: Vec<Worked> = keys.map(|key| Worked { key, ..worked(&site, 3, u64::from(key), 402) }).collect();
    rates.work(&further, 40, 402 * SECOND_NS);
    assert_eq!((rates.works.habits.len(), rates.works.left_out), (HABITS_MAX, 5));
}
