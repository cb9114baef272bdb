//! `incomplete_compensation`.

use super::{HISTORY_S, Run, is_in, told};

/// An order that reserves and ships; where shipping fails, what was reserved is released, or not.
fn order(number: i64, has_failed: bool, is_released: bool) -> String {
    let (vary, word) = (number % 5, if has_failed { "error" } else { "" });
    let mut text = format!(
        "flow POST /order 0..{0} {word}
  flow client reserve 10..{1}
    stock POST /reserve 12..{2}
  flow client ship 70..{3} {word}
    ship POST /ship 72..{4} {word}",
        200 + vary,
        30 + vary,
        28 + vary,
        90 + vary,
        88 + vary
    );
    if has_failed && is_released {
        text.push_str("\n  flow client release 130..150\n    stock POST /release 132..148");
    }
    text
}

fn run(usual_failures: i64, failures: i64, released: i64) -> Run {
    let draw = |failures: i64, released: i64| {
        move |_: i64, number: i64| order(number, is_in(number, failures), is_in(number / 3, released))
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw(usual_failures, 100)).seconds(420, 2, draw(failures, released));
    run
}

#[test]
fn failed_sagas_that_are_not_undone_are_charged_to_who_undoes() {
    let run = run(8, 8, 30);
    assert_eq!(told(&run), ["incomplete_compensation: stock POST /release, self"], "{}", run.story());
    assert_eq!(run.opened()[0].transaction.operation, "POST /order");
}

/// The same with money that is held besides, by a service that knows nothing of the stock.
fn with_money(number: i64, has_failed: bool, is_undone: bool) -> String {
    let mut text = order(number, has_failed, is_undone);
    text.push_str("\n  flow client hold 35..45\n    wallet POST /hold 37..43");
    if has_failed && is_undone {
        text.push_str("\n  flow client free 155..170\n    wallet POST /free 157..168");
    }
    text
}

#[test]
fn all_that_is_not_undone_of_a_saga_is_one_incident() {
    let draw = |undone: i64| move |_: i64, number: i64| with_money(number, is_in(number, 8), is_in(number / 3, undone));
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw(100)).seconds(420, 2, draw(30));
    let told = told(&run);
    assert_eq!(told.len(), 1, "{}", run.story());
    assert!(told[0].starts_with("incomplete_compensation: "), "{told:?}");
}

#[test]
fn where_no_stage_says_that_it_failed_the_whole_did() {
    let only_whole = |text: String| {
        let lines = text.lines().map(|line| if line.contains("ship") { line.trim_end_matches(" error") } else { line });
        lines.collect::<Vec<_>>().join("\n")
    };
    let draw = |undone: i64| {
        move |_: i64, number: i64| only_whole(with_money(number, is_in(number, 8), is_in(number / 3, undone)))
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw(100)).seconds(420, 2, draw(30));
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{}", run.story());
    assert!(opened[0].summary.contains("flow POST /order fails"), "{}", opened[0].summary);
}

#[test]
fn sagas_that_are_undone_as_usual_open_nothing() {
    let run = run(8, 8, 100);
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

/// The same with an order that is undone by a statement of who places it.
fn undone_by_statement(number: i64, has_failed: bool, is_undone: bool) -> String {
    let mut text = order(number, has_failed, false);
    text.push_str("\n  flow client INSERT 5..8 db.system=mysql peer=orders-db");
    if has_failed && is_undone {
        text.push_str("\n  flow client UPDATE 130..150 db.system=mysql peer=orders-db");
    }
    text
}

#[test]
fn who_has_a_database_undo_is_charged_and_not_the_database() {
    let draw = |undone: i64| {
        move |_: i64, number: i64| undone_by_statement(number, is_in(number, 8), is_in(number / 3, undone))
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw(100)).seconds(420, 2, draw(30));
    assert_eq!(told(&run), ["incomplete_compensation: flow POST /order, self"], "{}", run.story());
}

#[test]
fn sagas_that_need_not_be_undone_any_more_are_no_problem_once_that_is_said() {
    let mut run = run(8, 8, 30);
    let number = run.opened()[0].number;
    assert!(run.analyzer.dismiss(number).is_some());
    run.seconds(1_200, 2, |_, number| order(number, is_in(number, 8), is_in(number / 3, 30)));
    assert_eq!(run.opened().len(), 1, "{}", run.story());
}
