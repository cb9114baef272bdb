//! Sagas in drawings: learned and declared, compensated and not. Called by the tests of `expect`.

use insta::assert_snapshot;

use super::super::{Declared, DeclaredStage, Pattern};
use super::{Stage, learned, verdict};
use crate::AnalyzerLimits;

const DONE: &str = "
    flow POST /order 0..200
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
      flow client ship 70..90
        ship POST /ship 72..88
";
const COMPENSATED: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
      flow client ship 70..90 error
        ship POST /ship 72..88 error
      flow client refund 100..120
        pay POST /refund 102..118
      flow client release 130..150
        stock POST /release 132..148
";
const CHARGE_FAILED: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60 error
        pay POST /charge 42..58 error
      flow client release 130..150
        stock POST /release 132..148
";
const USUAL: [(&str, usize); 3] = [(DONE, 400), (COMPENSATED, 40), (CHARGE_FAILED, 40)];

#[test]
fn a_saga_that_went_through_needs_no_compensation() {
    assert_snapshot!(verdict(&USUAL, DONE), @r"
    6 of 6
    saga learned: completed
      stock POST /reserve: Done, undone by stock POST /release: NotNeeded
      pay POST /charge: Done, undone by pay POST /refund: NotNeeded
      ship POST /ship: Done
    ");
}

#[test]
fn a_saga_that_failed_is_compensated_as_far_as_it_went() {
    assert_snapshot!(verdict(&USUAL, COMPENSATED), @r"
    3 of 3
    saga learned: compensated
      stock POST /reserve: Done, undone by stock POST /release: Done
      pay POST /charge: Done, undone by pay POST /refund: Done
      ship POST /ship: Failed
    ");
    assert_snapshot!(verdict(&USUAL, CHARGE_FAILED), @r"
    2 of 2
    saga learned: compensated
      stock POST /reserve: Done, undone by stock POST /release: Done
      pay POST /charge: Failed, undone by pay POST /refund: NotNeeded
      ship POST /ship: NotReached
    ");
}

#[test]
fn a_compensation_that_does_not_come_is_missing() {
    let not_released = "
        flow POST /order 0..200 error
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60
            pay POST /charge 42..58
          flow client ship 70..90 error
            ship POST /ship 72..88 error
          flow client refund 100..120
            pay POST /refund 102..118
    ";
    assert_snapshot!(verdict(&USUAL, not_released), @r"
    2 of 2
    saga learned: compensation_missing
      stock POST /reserve: Done, undone by stock POST /release: Missing
      pay POST /charge: Done, undone by pay POST /refund: Done
      ship POST /ship: Failed
    ");
}

#[test]
fn a_compensation_may_fail_itself() {
    let refund_failed = "
        flow POST /order 0..200 error
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60
            pay POST /charge 42..58
          flow client ship 70..90 error
            ship POST /ship 72..88 error
          flow client refund 100..120 error
            pay POST /refund 102..118 error
          flow client release 130..150
            stock POST /release 132..148
    ";
    assert_snapshot!(verdict(&USUAL, refund_failed), @r"
    3 of 3
    saga learned: compensation_failed
      stock POST /reserve: Done, undone by stock POST /release: Done
      pay POST /charge: Done, undone by pay POST /refund: Failed
      ship POST /ship: Failed
    ");
}

#[test]
fn what_is_undone_and_was_never_done_is_an_orphan() {
    let orphan = "
        flow POST /order 0..200 error
          flow client reserve 10..30 error
            stock POST /reserve 12..28 error
          flow client refund 100..120
            pay POST /refund 102..118
    ";
    assert_snapshot!(verdict(&USUAL, orphan), @r"
    0 of 0
    saga learned: orphan_compensation
      stock POST /reserve: Failed, undone by stock POST /release: NotNeeded
      pay POST /charge: NotReached, undone by pay POST /refund: Orphan
      ship POST /ship: NotReached
    ");
}

#[test]
fn what_is_compensated_only_sometimes_is_not_expected() {
    let kept = "
        flow POST /order 0..200 error
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60 error
            pay POST /charge 42..58 error
    ";
    assert_snapshot!(verdict(&[(DONE, 400), (CHARGE_FAILED, 40), (kept, 20)], kept), @r"
    1 of 1
    saga learned: failed
      stock POST /reserve: Done, undone by stock POST /release: NotNeeded
      pay POST /charge: Failed
      ship POST /ship: NotReached
    ");
}

#[test]
fn a_retry_and_a_fallback_are_no_compensation() {
    let fallback = "
        flow POST /order 0..200
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60 error
            pay POST /charge 42..58 error
          flow client bill 100..120
            books POST /bill 102..118
    ";
    let retried = "
        flow POST /order 0..200
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60 error
            pay POST /charge 42..58 error
          flow client charge 70..90
            pay POST /charge 72..88
          flow client ship 100..120
            ship POST /ship 102..118
    ";
    assert_snapshot!(verdict(&[(DONE, 400), (fallback, 40), (retried, 40)], fallback), @"1 of 1");
}

/// Undone by whoever keeps the books, under names that have nothing in common with what they undo.
const UNDONE_ELSEWHERE: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
      flow client ship 70..90 error
        ship POST /ship 72..88 error
      flow client x 100..120
        ledger POST /counter 102..118
      flow client y 130..150
        depot POST /shelve 132..148
";
const CHARGE_FAILED_UNDONE_ELSEWHERE: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60 error
        pay POST /charge 42..58 error
      flow client y 130..150
        depot POST /shelve 132..148
";
const RESERVE_FAILED: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30 error
        stock POST /reserve 12..28 error
";

#[test]
fn what_undoes_a_stage_may_be_of_another_service() {
    let usual = [(DONE, 400), (UNDONE_ELSEWHERE, 40), (CHARGE_FAILED_UNDONE_ELSEWHERE, 40), (RESERVE_FAILED, 20)];
    assert_snapshot!(verdict(&usual, UNDONE_ELSEWHERE), @r"
    3 of 3
    saga learned: compensated
      stock POST /reserve: Done, undone by depot POST /shelve: Done
      pay POST /charge: Done, undone by ledger POST /counter: Done
      ship POST /ship: Failed
    ");
    let not_shelved = CHARGE_FAILED_UNDONE_ELSEWHERE.split("      flow client y").next().unwrap();
    assert_snapshot!(verdict(&usual, not_shelved), @r"
    1 of 1
    saga learned: compensation_missing
      stock POST /reserve: Done, undone by depot POST /shelve: Missing
      pay POST /charge: Failed, undone by ledger POST /counter: NotNeeded
      ship POST /ship: NotReached
    ");
}

#[test]
fn a_notice_and_a_fallback_of_another_service_undo_nothing() {
    let told = |text: &str| format!("{text}      flow client tell 160..180\n        mail POST /sorry 162..178\n");
    let [ship, charge, reserve] = [
        "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
      flow client ship 70..90 error
        ship POST /ship 72..88 error
",
        "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60 error
        pay POST /charge 42..58 error
",
        RESERVE_FAILED,
    ]
    .map(told);
    assert_snapshot!(verdict(&[(DONE, 400), (&ship, 40), (&charge, 40), (&reserve, 20)], &charge), @"2 of 2");
    // The order goes through all the same.
    let fallback = "
        flow POST /order 0..200
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60 error
            pay POST /charge 42..58 error
          flow client bill 100..120
            books POST /bill 102..118
    ";
    assert_snapshot!(verdict(&[(DONE, 400), (fallback, 40), (RESERVE_FAILED, 20)], fallback), @"1 of 1");
}

/// Done by services, undone by the one that called them, in databases that send no telemetry.
const WROTE: &str = "
    flow POST /order 0..200
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
";
const UNDONE_IN_DATABASES: &str = "
    flow POST /order 0..200 error
      flow client reserve 10..30
        stock POST /reserve 12..28
      flow client charge 40..60
        pay POST /charge 42..58
      flow client SELECT 70..75 db.system=mysql peer=money-db
      flow client DELETE 100..120 db.system=mysql peer=money-db
      flow client UPDATE 130..150 db.system=mysql peer=stock-db
";

#[test]
fn calls_of_those_that_send_nothing_undo_in_reverse_order() {
    assert_snapshot!(verdict(&[(WROTE, 400), (UNDONE_IN_DATABASES, 40)], UNDONE_IN_DATABASES), @r"
    2 of 2
    saga learned: compensated
      stock POST /reserve: Done, undone by stock-db UPDATE: Done
      pay POST /charge: Done, undone by money-db DELETE: Done
    ");
}

#[test]
fn a_statement_undoes_what_was_written_at_the_same_database_and_one_alone_elsewhere_is_a_notice() {
    let wrote = "
    flow POST /order 0..200
      flow client reserve 10..30
        stock POST /reserve 12..28
          stock client INSERT 14..20 db.system=mysql peer=stock-db
";
    let failed = |peer: &str| {
        let head = wrote.replace("0..200", "0..200 error");
        format!("{head}      flow client UPDATE 100..120 db.system=mysql peer={peer}\n")
    };
    let (same, other) = (failed("stock-db"), failed("notes-db"));
    assert_snapshot!(verdict(&[(wrote, 400), (&same, 40)], &same), @r"
    2 of 2
    saga learned: compensated
      stock-db INSERT: Done, undone by stock-db UPDATE: Done
    ");
    assert_snapshot!(verdict(&[(wrote, 400), (&other, 40)], &other), @"2 of 2");
}

const EVENTS_COMPENSATED: &str = "
    shop POST /order 0..40
      shop producer ordered 30..35 messaging.message.id=a#

    pay consumer ordered 90..120 messaging.message.id=a#
      pay producer paid 110..115 messaging.message.id=b#

    stock consumer paid 150..190 error messaging.message.id=b#
      stock producer refused 180..185 messaging.message.id=c#

    pay consumer refused 220..240 messaging.message.id=c#
";
const EVENTS_DONE: &str = "
    shop POST /order 0..40
      shop producer ordered 30..35 messaging.message.id=a#

    pay consumer ordered 90..120 messaging.message.id=a#
      pay producer paid 110..115 messaging.message.id=b#

    stock consumer paid 150..190 messaging.message.id=b#
";
const EVENTS_LOST: &str = "
    shop POST /order 0..40
      shop producer ordered 30..35 messaging.message.id=a#

    pay consumer ordered 90..120 messaging.message.id=a#
      pay producer paid 110..115 messaging.message.id=b#

    stock consumer paid 150..190 error messaging.message.id=b#
      stock producer refused 180..185 messaging.message.id=c#
";

#[test]
fn a_saga_of_events_is_compensated_by_an_event() {
    let usual = [(EVENTS_DONE, 200), (EVENTS_COMPENSATED, 60)];
    assert_snapshot!(verdict(&usual, EVENTS_COMPENSATED), @r"
    4 of 4
    saga learned: compensated
      pay ordered: Done, undone by pay refused: Done
      stock paid: Failed
    ");
    assert_snapshot!(verdict(&usual, EVENTS_LOST), @r"
    3 of 4
    waiting: pay refused, in 100.0% of 60
    saga learned: compensation_waiting
      pay ordered: Done, undone by pay refused: Waiting
      stock paid: Failed
    never came: pay refused
    ");
}

fn declared() -> Stage {
    let stage = |operation: &str, compensation: &str| DeclaredStage {
        operation: Pattern::new(operation),
        compensation: (!compensation.is_empty()).then(|| Pattern::new(compensation)),
    };
    let stages = vec![
        stage("stock POST /reserve", "stock POST /release"),
        stage("pay POST /charge", "pay *refund"),
        stage("ship *", ""),
    ];
    let transaction_type = Some(Pattern::new("flow POST /order"));
    Stage::new(AnalyzerLimits {
        sagas: vec![Declared { name: "order".into(), transaction_type, stages }],
        ..AnalyzerLimits::default()
    })
}

#[test]
fn a_declared_saga_needs_no_failure_to_learn_from() {
    let mut stage = declared();
    stage.play_times(DONE, 3);
    let not_released = "
        flow POST /order 0..200 error
          flow client reserve 10..30
            stock POST /reserve 12..28
          flow client charge 40..60 error
            pay POST /charge 42..58 error
    ";
    assert_snapshot!(stage.judged(not_released), @r"
    0 of 0
    saga order: compensation_missing
      stock POST /reserve: Done, undone by stock POST /release: Missing
      pay POST /charge: Failed, undone by pay *refund: NotNeeded
      ship POST /ship: NotReached
    ");
    assert_snapshot!(stage.judged(CHARGE_FAILED), @r"
    0 of 0
    saga order: compensated
      stock POST /reserve: Done, undone by stock POST /release: Done
      pay POST /charge: Failed, undone by pay *refund: NotNeeded
      ship POST /ship: NotReached
    ");
}

#[test]
fn a_type_without_compensations_has_no_saga() {
    let stage = learned(&[(DONE, 300)]);
    let known = stage.analyzer.expectations().of("flow", "POST /order").unwrap();
    assert!(known.saga.is_none());
    assert_eq!(known.stages.len(), 3);
}
