//! What executions work for, seen from outside: drawn traces become lines of text.

use insta::assert_snapshot;

use super::*;
use crate::fixture;
use crate::stitch::{Stitcher, StitcherLimits};

/// Says what executions of drawn traces work for, values as letters in order of appearance.
fn worked(text: &str) -> String {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    stitcher.push(&fixture::table(&fixture::lines(text)), 0);
    stitcher.finish(1);
    let mut values: Vec<u64> = Vec::new();
    let mut lines = String::new();
    for one in stitcher.take_worked() {
        let letter = values.iter().position(|known| *known == one.value).unwrap_or_else(|| {
            values.push(one.value);
            values.len() - 1
        });
        let letter = char::from(b'a' + u8::try_from(letter).unwrap());
        let below = if one.above.is_some() { " below another" } else { "" };
        let failed = if one.has_failed { " failed" } else { "" };
        let number = if one.is_telling { "" } else { " by a number" };
        lines += &format!(
            "{} {} for {} {letter}{number}{below}{failed}\n",
            one.site.service, one.site.operation, one.key_name
        );
    }
    lines
}

#[test]
fn executions_work_for_what_their_spans_carry() {
    assert_snapshot!(worked("
        web POST /order 0..90 order.id=o-17 app.amount=4599
          web internal check 2..9 order_id=o-17 customer.id=c-99
          web client POST 10..80
            pay POST /charge 12..70 order.id=o-17
          web producer send 81..84

        mail consumer take 100..120 order.id=o-18 http.route=/x-99
    "), @r"
    web POST /order for order.id a
    web POST /order for app.amount b by a number
    web POST /order for customer.id c
    pay POST /charge for order.id a below another
    mail take for order.id d
    ");
}

#[test]
fn execution_failed_if_it_or_who_waits_for_it_did() {
    assert_snapshot!(worked("
        web POST /order 0..90
          web client POST 10..20 error
            pay POST /charge 12..70 order.id=o-17
          web producer send 81..84 error
            mail consumer take 100..120 order.id=o-17
              mail internal write 101..110 error
    "), @r"
    pay POST /charge for order.id a failed
    mail take for order.id a
    ");
}

#[test]
fn values_beyond_the_bound_are_left_out_and_counted() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let further = 7;
    for number in 0..CARRIED_MAX + further {
        let mut drawn = fixture::lines("web GET / 0..9\n  web internal step 1..2 order.id=o-1");
        drawn.remove(0);
        drawn[0].id = 100 + number as u64;
        stitcher.push(&fixture::table(&drawn), 0);
    }
    stitcher.finish(1);
    assert_eq!((stitcher.stats().values_left_out, stitcher.take_worked().len()), (further as u64, CARRIED_MAX));
}

#[test]
fn trace_that_opens_again_tells_its_work_once() {
    let mut stitcher = Stitcher::new(StitcherLimits::default());
    let table = fixture::table(&fixture::lines("web GET / 0..9 order.id=o-1"));
    stitcher.push(&table, 0);
    assert_eq!(stitcher.advance(20_000_000_000).len() + stitcher.take_first_seen().len(), 1);
    assert_eq!(stitcher.take_worked().len(), 1);
    stitcher.push(&table, 21_000_000_000);
    stitcher.finish(60_000_000_000);
    assert_eq!(stitcher.take_worked().len(), 0);
}
