//! `error_burst`.

use super::{HISTORY_S, Run, is_in, told};
use crate::incident::IncidentEvent;

/// An order through three services; which of them say that they failed.
fn order(number: i64, web: bool, shop: bool, stock: bool) -> String {
    let word = |has_failed: bool| if has_failed { "error" } else { "" };
    let stock_ms = 20 + number % 7;
    format!(
        "web POST /order 0..80 {}
  web client POST 2..78 {}
    shop POST /order 4..76 {}
      shop client GET 10..{} {}
        stock GET /stock 11..{} {}",
        word(web),
        word(web),
        word(shop),
        14 + stock_ms,
        word(stock),
        12 + stock_ms,
        word(stock),
    )
}

fn fine(_: i64, number: i64) -> String {
    order(number, false, false, false)
}

#[test]
fn deepest_that_fails_by_itself_is_charged_and_resolved_when_it_is_back() {
    let failing = |_: i64, number: i64| {
        let is_failing = is_in(number, 30);
        order(number, is_failing, is_failing, is_failing)
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, fine).seconds(240, 2, failing).seconds(360, 2, fine);
    assert_eq!(told(&run), ["error_burst: stock GET /stock, self"], "{}", run.story());
    let last = &run.told.last().unwrap();
    assert_eq!(last.1, IncidentEvent::Resolved, "{}", run.story());
    assert!(last.2.title.starts_with("stock GET /stock fails: "), "{}", last.2.title);
    let first = run.opened()[0];
    let rate = first.evidence.rate.as_ref().unwrap();
    assert!(rate.now > 0 && rate.now_of > rate.now && rate.usual == 0, "{rate:?}");
    assert!(first.evidence.statistic >= first.evidence.threshold);
    assert!(first.exemplars.iter().any(|one| one.role == "affected"));
    let started_s = crate::time::parse_rfc3339(&first.started_at).unwrap() / 1_000_000_000;
    let off_s = started_s - (super::super::super::tests::BEGIN_S + HISTORY_S);
    assert!((-20..=40).contains(&off_s), "the onset is {off_s} s off");
}

#[test]
fn failure_that_the_caller_absorbs_is_charged_where_it_is() {
    let failing = |_: i64, number: i64| {
        let is_failing = is_in(number, 30);
        order(number, is_failing, is_failing, false)
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, fine).seconds(180, 2, failing);
    assert_eq!(told(&run), ["error_burst: shop POST /order, self"], "{}", run.story());
}

#[test]
fn failing_peer_without_telemetry_is_charged_by_its_address() {
    let draw = |has_failed: bool| {
        let word = if has_failed { "error" } else { "" };
        format!("web POST /pay 0..60 {word}\n  web client POST 5..50 peer=bank:443 {word}")
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, _| draw(false)).seconds(180, 2, |_, number| draw(is_in(number, 30)));
    assert_eq!(told(&run), ["error_burst: bank:443 POST, uninstrumented_peer"], "{}", run.story());
}

#[test]
fn usual_failures_open_nothing_when_traffic_or_its_mix_changes() {
    let draw = |kinds: i64| {
        move |_: i64, number: i64| {
            let is_failing = is_in(number, 8);
            match number % kinds {
                0 => order(number, is_failing, is_failing, is_failing),
                _ => format!("web GET /page 0..{}", 10 + number % 5),
            }
        }
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 3, draw(3)).seconds(240, 9, draw(3)).seconds(240, 3, draw(1));
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

#[test]
fn new_operation_that_fails_by_nature_opens_nothing() {
    let with_new = |_: i64, number: i64| match number % 2 {
        0 => fine(0, number),
        _ => format!("web GET /probe 0..9 {}", if is_in(number, 60) { "error" } else { "" }),
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, fine).seconds(360, 4, with_new);
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}
