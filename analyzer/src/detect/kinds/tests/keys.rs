//! `duplicate_processing` and `out_of_order` where nothing names messages: what values of business keys tell.

use super::{HISTORY_S, Run, is_in, told};

/// Five minutes until it is known that executions for one value are usually one, and what is compared with after that.
const LEARNED_S: i64 = HISTORY_S + 300;

fn run(rates: (u64, u64), usual: impl Fn(i64) -> String, then: impl Fn(i64) -> String) -> Run {
    let mut run = Run::new();
    run.seconds(LEARNED_S, rates.0, |_, number| usual(number)).seconds(300, rates.1, |_, number| then(number));
    run
}

/// An order by web, shipped in a trace of its own that says nothing of where it comes from, so many times; the ship's call
/// below carries the order, too.
fn shipped(number: i64, times: i64, words: &str) -> String {
    let mut text =
        format!("web POST /order 0..20 order.id=o-{number} tenant.id=t-{}\n  web producer send 5..9", number % 3);
    for time in 0..times {
        let from = 40 + number % 9 + 700 * time;
        text.push_str(&format!(
            "\n\nship consumer take {from}..{} order.id=o-{number} tenant.id=t-{} {}\n  ship client POST {}..{}\n    \
             stock POST /reserve {}..{} orderId=o-{number}",
            from + 30,
            number % 3,
            if time == 0 { words } else { "" },
            from + 2,
            from + 20,
            from + 4,
            from + 18,
        ));
    }
    text
}

fn twice(percent: i64) -> impl Fn(i64) -> String {
    move |number| shipped(number, if is_in(number, percent) { 2 } else { 1 }, "")
}

#[test]
fn work_for_an_order_that_is_done_twice_in_another_trace_is_charged_to_who_takes_it() {
    let run = run((2, 2), twice(0), twice(25));
    assert_eq!(told(&run), ["duplicate_processing: ship take, self"], "{}", run.story());
    let after_s = run.told[0].0 - LEARNED_S;
    assert!(after_s <= 120, "found after {after_s} s");
    let incident = &run.told[0].2;
    assert!(incident.title.contains("the work for one order.id twice"), "{}", run.story());
    assert!(incident.affected.iter().all(|one| !one.operation.contains("order.id")), "{:?}", incident.affected);
}

#[test]
fn repetitions_that_are_usual_or_follow_a_failure_open_nothing() {
    let usual = run((2, 2), twice(3), twice(4));
    assert_eq!(told(&usual), [""; 0], "as often as usual: {}", usual.story());
    let often = run((2, 2), twice(40), twice(70));
    assert_eq!(told(&often), [""; 0], "several are usual: {}", often.story());
    let failed = |percent: i64| {
        move |number: i64| {
            let fails = is_in(number, percent);
            shipped(number, if fails { 2 } else { 1 }, if fails { "error" } else { "" })
        }
    };
    let retried = run((2, 2), failed(5), failed(8));
    assert_eq!(told(&retried), [""; 0], "what failed is done again: {}", retried.story());
}

#[test]
fn more_traffic_more_takers_and_fewer_traces_kept_repeat_no_work() {
    let by = |takers: i64| move |number: i64| shipped(number, 1, &format!("on=ship-{}", number % takers));
    let doubled = run((2, 4), by(1), by(1));
    assert_eq!(told(&doubled), [""; 0], "{}", doubled.story());
    let scaled = run((2, 2), by(1), by(4));
    assert_eq!(told(&scaled), [""; 0], "{}", scaled.story());
    let sampled = run((4, 1), twice(2), twice(2));
    assert_eq!(told(&sampled), [""; 0], "{}", sampled.story());
}

/// A visit of one of so many customers, drawn by chance.
fn visit(number: i64, customers: i64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
    let customer = (mixed ^ (mixed >> 29)).rem_euclid(customers);
    format!("web GET /account 0..{} customer.id=c-{customer}x", 20 + number % 9)
}

#[test]
fn customers_who_come_again_by_chance_come_more_often_with_traffic() {
    let visits = |customers: i64| move |number: i64| visit(number, customers);
    let busy = run((1, 6), visits(12_000), visits(12_000));
    assert_eq!(told(&busy), [""; 0], "{}", busy.story());
    // A burst of what is rare: hardly anybody came again before.
    let mut burst = Run::new();
    for turn in 0..2 * LEARNED_S / 6 {
        burst.seconds(1, 1, |_, _| visit(turn, 3_000)).seconds(5, 0, |_, number| visit(number, 3_000));
    }
    burst.seconds(300, 4, |_, number| visit(number + 1_000_000, 3_000));
    assert_eq!(told(&burst), [""; 0], "{}", burst.story());
    let tenants = run((2, 8), visits(40), visits(40));
    assert_eq!(told(&tenants), [""; 0], "{}", tenants.story());
}

/// A payment, all in one trace, that a client may ask for twice.
fn paid(number: i64, times: i64) -> String {
    let one = |at: i64| {
        format!(
            "web POST /pay {at}..{} payment.id=pay-{number}\n  web client POST {}..{}\n    bank POST /charge {}..{}",
            at + 60,
            at + 5,
            at + 55,
            at + 8,
            at + 50
        )
    };
    (0..times).map(|time| one(time * 800)).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn request_that_is_repeated_with_success_is_served_twice() {
    let times = |percent: i64| move |number: i64| paid(number, if is_in(number, percent) { 2 } else { 1 });
    // Long enough for the key to be known to join nothing.
    let mut run = Run::new();
    run.seconds(2 * LEARNED_S, 2, |_, number| times(0)(number)).seconds(300, 2, |_, number| times(20)(number));
    assert_eq!(told(&run), ["duplicate_processing: web POST /pay, self"], "{}", run.story());
}

/// Three events of one order, a second apart, taken in in this order.
fn events(number: i64, order: [i64; 3]) -> String {
    let mut text = format!("shop POST /order 0..2200 order.id=o-{number}x");
    for event in 0..3 {
        text.push_str(&format!("\n  shop producer send {}..{} @e{event}", 5 + event * 1_000, 9 + event * 1_000));
    }
    for (event, place) in order.into_iter().enumerate() {
        let from = 3_000 + place * 100 + number % 7;
        text.push_str(&format!("\n\nmail consumer take {from}..{} link=@e{event} order.id=o-{number}x", from + 20));
    }
    text
}

#[test]
fn events_of_an_order_that_overtake_each_other_are_out_of_order_without_offsets() {
    let swapped =
        |percent: i64| move |number: i64| events(number, if is_in(number, percent) { [1, 0, 2] } else { [0, 1, 2] });
    let more = run((1, 1), swapped(1), swapped(30));
    assert_eq!(told(&more), ["out_of_order: mail take, self"], "{}", more.story());
    let usual = run((1, 1), swapped(20), swapped(24));
    assert_eq!(told(&usual), [""; 0], "takers at the same time do so usually: {}", usual.story());
    let doubled = run((1, 2), swapped(4), swapped(4));
    assert_eq!(told(&doubled), [""; 0], "{}", doubled.story());
}

/// An order of which the stock is asked so many times, one after the other; each but the last is given up on, or answered.
fn asked(number: i64, times: i64, gives_up: bool) -> String {
    let mut text = format!("web POST /order 0..{} order.id=o-{number}", 30 + 40 * times);
    for time in 0..times {
        let from = 5 + 40 * time;
        let words = if gives_up && time + 1 < times { " error" } else { "" };
        text.push_str(&format!(
            "\n  web client POST {from}..{}{words}\n    stock POST /reserve {}..{} order.id=o-{number}",
            from + 30 + number % 5,
            from + 2,
            from + 28
        ));
    }
    text
}

#[test]
fn calls_that_are_tried_again_or_made_more_often_are_told_as_that() {
    let times = |percent: i64, gives_up: bool| {
        move |number: i64| asked(number, if is_in(number, percent) { 4 } else { 1 }, gives_up)
    };
    let retried = run((2, 2), times(0, true), times(30, true));
    assert_eq!(told(&retried), ["retry_storm: stock POST /reserve, retry"], "{}", retried.story());
    let chatty = run((2, 2), times(0, false), times(100, false));
    assert_eq!(told(&chatty), ["chatty_calls: web POST /order, calls"], "{}", chatty.story());
    let double = |percent: i64| move |number: i64| asked(number, if is_in(number, percent) { 2 } else { 1 }, false);
    let doubled = run((2, 2), double(0), double(20));
    assert_eq!(told(&doubled), ["duplicate_processing: stock POST /reserve, self"], "{}", doubled.story());
    let usual = run((2, 2), times(50, false), times(100, false));
    assert!(!told(&usual).iter().any(|one| one.starts_with("duplicate")), "{}", usual.story());
}

/// An order that is shipped by a consumer whose message says by whom it was sent, and whose work calls the stock in a trace of
/// its own.
fn chained(number: i64, times: i64) -> String {
    let mut text = format!("web POST /order 0..20 order.id=o-{number}\n  web producer send 5..9 @sent");
    for time in 0..times {
        let from = 40 + number % 9 + 900 * time;
        text.push_str(&format!(
            "\n\nship consumer take {from}..{} link=@sent order.id=o-{number}\n  ship producer pass {}..{} @p{time}\
             \n\nmail consumer tell {}..{} link=@p{time} order.id=o-{number}",
            from + 30,
            from + 20,
            from + 24,
            from + 60,
            from + 80,
        ));
    }
    text
}

#[test]
fn what_is_done_twice_because_of_that_is_not_blamed() {
    let twice = |percent: i64| move |number: i64| chained(number, if is_in(number, percent) { 2 } else { 1 });
    let run = run((2, 2), twice(0), twice(25));
    assert_eq!(told(&run), ["duplicate_processing: ship take, self"], "{}", run.story());
}
