//! What is not over, in drawings, as time passes with and without spans. Called by the tests of `expect`.

use std::fmt::Write;

use insta::assert_snapshot;

use super::{CALLS, EVENT_LOST, EVENTS, Stage, learned};
use crate::AnalyzerLimits;
use crate::progress::WaitsFor;

/// What has come of an order: its root, which ends last, has not.
const BEGUN: &str = "
    shop POST /order 0..100 lost
      shop client reserve 10..30
        stock POST /reserve 12..28
";

fn told(stage: &mut Stage) -> String {
    let progress = stage.analyzer.summary().progress;
    let mut out = format!("{} stuck, {} late, {} in progress\n", progress.stuck, progress.late, progress.in_progress);
    for one in &progress.list {
        let waits_for = match &one.waits_for {
            WaitsFor::End { of: Some((service, operation)) } => format!("the end of {service} {operation}"),
            WaitsFor::End { of: None } => "an end".to_owned(),
            WaitsFor::Stage { service, operation } => format!("{service} {operation}"),
            WaitsFor::Message { service, operation } => format!("a message of {service} {operation}"),
            WaitsFor::Spans => "spans".to_owned(),
        };
        let age_s = one.age_ns / super::SECOND_NS;
        let (service, operation, state) = (&one.service, &one.operation, one.state.as_str());
        writeln!(out, "{service} {operation} {state} for {age_s} s, waits for {waits_for}").unwrap();
    }
    out
}

#[test]
fn a_transaction_whose_end_does_not_come_is_late_and_then_stuck_without_any_span() {
    let mut stage = learned(&[(CALLS, 100)]);
    stage.wait(30);
    stage.play(BEGUN);
    stage.wait(5);
    assert_snapshot!(told(&mut stage), @r"
    0 stuck, 0 late, 1 in progress
    shop POST /order in_progress for 5 s, waits for the end of shop POST /order
    ");
    stage.wait(10);
    assert_snapshot!(told(&mut stage), @r"
    0 stuck, 1 late, 0 in progress
    shop POST /order late for 15 s, waits for the end of shop POST /order
    ");
    // It was closed as incomplete meanwhile.
    stage.wait(20);
    assert_snapshot!(told(&mut stage), @r"
    1 stuck, 0 late, 0 in progress
    shop POST /order stuck for 35 s, waits for the end of shop POST /order
    ");
    stage.wait(900);
    assert_snapshot!(told(&mut stage), @"0 stuck, 0 late, 0 in progress");
}

#[test]
fn a_message_that_is_not_taken_in_makes_a_transaction_stuck_when_it_is_over_due() {
    let mut stage = learned(&[(EVENTS, 200)]);
    stage.wait(700);
    stage.play(EVENT_LOST);
    stage.wait(8);
    assert_snapshot!(told(&mut stage), @r"
    0 stuck, 0 late, 1 in progress
    shop POST /order in_progress for 8 s, waits for a message of shop ordered
    ");
    stage.wait(12);
    assert_snapshot!(told(&mut stage), @r"
    0 stuck, 1 late, 0 in progress
    shop POST /order late for 20 s, waits for stock ordered
    ");
    stage.wait(60);
    assert_snapshot!(told(&mut stage), @r"
    1 stuck, 0 late, 0 in progress
    shop POST /order stuck for 80 s, waits for stock ordered
    ");
}

#[test]
fn what_is_whole_and_what_is_not_known_is_never_late() {
    let mut stage = learned(&[(CALLS, 100)]);
    stage.wait(30);
    stage.play(CALLS);
    stage.wait(4);
    assert_snapshot!(told(&mut stage), @r"
    0 stuck, 0 late, 1 in progress
    shop POST /order in_progress for 4 s, waits for spans
    ");
    stage.wait(30);
    assert_snapshot!(told(&mut stage), @"0 stuck, 0 late, 0 in progress");
    let mut unknown = Stage::new(AnalyzerLimits::default());
    unknown.play(BEGUN);
    unknown.wait(15);
    assert_snapshot!(told(&mut unknown), @r"
    0 stuck, 0 late, 1 in progress
    shop reserve in_progress for 15 s, waits for an end
    ");
    unknown.wait(60);
    assert_snapshot!(told(&mut unknown), @"0 stuck, 0 late, 0 in progress");
}

#[test]
fn many_that_are_stuck_are_counted_and_the_list_is_bounded() {
    let mut stage = learned(&[(CALLS, 100)]);
    stage.play_times(BEGUN, 300);
    stage.wait(60);
    let progress = stage.analyzer.summary().progress;
    // Of those that were given out, as many are remembered as the bound says.
    assert_eq!((progress.list.len(), progress.stuck), (100, 200));
}
