//! `retry_storm`, `wasted_work`, `degraded_response` and `broken_context`: what calls tell.

use super::{HISTORY_S, Run, is_in, told};

/// A purchase that asks for a price, `tries` times, of which all but the last are cut off.
fn purchase(number: i64, tries: i64, has_failed: bool) -> String {
    let word = |has_failed: bool| if has_failed { "error" } else { "" };
    let vary = number % 9;
    let end = 100 + tries * 120;
    let mut text = format!("web POST /buy 0..{end} {}\n  web internal plan 1..{}", word(has_failed), 20 + vary);
    for attempt in 0..tries {
        let (from, is_last) = (30 + attempt * 120, attempt + 1 == tries);
        let is_cut = !is_last || has_failed;
        let (to, work) = if is_cut { (from + 100, 95) } else { (from + 30, 26 + vary % 3) };
        text.push_str(&format!("\n  web client GET {from}..{to} {}", word(is_cut)));
        text.push_str(&format!("\n    price GET /price {}..{} {}", from + 2, from + 2 + work, word(is_cut)));
    }
    text
}

#[test]
fn calls_that_are_tried_again_and_again_are_a_storm_at_the_called_one() {
    let usual = |_: i64, number: i64| purchase(number, 1, false);
    let storm = |_: i64, number: i64| purchase(number, if is_in(number, 70) { 3 } else { 1 }, is_in(number, 40));
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, storm).seconds(420, 2, usual);
    assert_eq!(told(&run), ["retry_storm: price GET /price, retry"], "{}", run.story());
    let notes = &run.told.iter().rev().find_map(|(.., one)| one.evidence.rate.clone()).unwrap().notes;
    assert!(notes[0].contains("attempts a call, usually 1.0"), "{notes:?}");
    assert!(run.story().contains("Resolved"), "{}", run.story());
}

#[test]
fn storms_over_layers_are_one_incident_and_the_deepest_is_charged() {
    let draw = |retried: bool| {
        let mut text = "web GET / 0..1200".to_owned();
        let tries = if retried { 2 } else { 1 };
        for outer in 0..tries {
            let from = 10 + outer * 560;
            let word = if outer + 1 < tries { "error" } else { "" };
            text.push_str(&format!("\n  web client GET {from}..{} {word}", from + 500));
            text.push_str(&format!("\n    mid GET /mid {}..{} {word}", from + 2, from + 498));
            for inner in 0..tries {
                let at = from + 10 + inner * 200;
                let word = if inner + 1 < tries || outer + 1 < tries { "error" } else { "" };
                text.push_str(&format!("\n      mid client GET {at}..{} {word}", at + 150));
                text.push_str(&format!("\n        low GET /low {}..{} {word}", at + 2, at + 148));
            }
        }
        text
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, _| draw(false)).seconds(180, 2, |_, number| draw(is_in(number, 80)));
    assert_eq!(told(&run), ["retry_storm: low GET /low, retry"], "{}", run.story());
}

/// A purchase whose shop asks a store, and whom the web asks again when the shop gave up on it.
fn bought(number: i64, store_ms: i64) -> String {
    let is_cut = store_ms > 100;
    let (tries, asked_ms) = if is_cut { (3, 100) } else { (1, store_ms + 3) };
    let vary = number % 7;
    let mut text = format!("web POST /buy 0..{}", 20 + tries * 150);
    for attempt in 0..tries {
        let at = 5 + attempt * 150;
        let word = if is_cut { "error" } else { "" };
        text.push_str(&format!("\n  web client POST {at}..{} {word}", at + asked_ms + 12 + vary));
        text.push_str(&format!("\n    shop POST /order {}..{} {word}", at + 1, at + asked_ms + 10 + vary));
        text.push_str(&format!("\n      shop client take {}..{} {word}", at + 3, at + 3 + asked_ms));
        text.push_str(&format!("\n        store take {}..{}", at + 4, at + 4 + store_ms));
    }
    text
}

#[test]
fn storm_that_follows_from_something_below_does_not_name_the_incident() {
    let usual = |_: i64, number: i64| bought(number, 40 + number % 20);
    let slow = |_: i64, number: i64| bought(number, if is_in(number, 50) { 800 } else { 40 + number % 20 });
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, slow);
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{}", run.story());
    assert_eq!((opened[0].root_cause[0].service.as_str(), opened[0].kind.as_str()), ("store", "wasted_work"));
}

/// A purchase that asks for a price, which is read in so many reads: with many, each attempt but the last is cut off.
fn read(number: i64, reads: i64) -> String {
    let is_cut = reads > 5;
    let tries = if is_cut { 3 } else { 1 };
    let mut text = format!("web POST /buy 0..{}", 100 + tries * 140 + number % 7);
    for attempt in 0..tries {
        let from = 30 + attempt * 140;
        let (to, word) = (from + 12 + reads * 10, if attempt + 1 < tries { "error" } else { "" });
        text.push_str(&format!("\n  web client GET {from}..{to} {word}"));
        text.push_str(&format!("\n    price GET /price {}..{} {word}", from + 2, to - 2));
        for read in 0..reads {
            let at = from + 4 + read * 10;
            text.push_str(&format!("\n      price client SELECT {at}..{} db.system=mysql peer=price-db", at + 9));
        }
    }
    text
}

#[test]
fn storm_at_one_who_makes_more_calls_is_told_as_that() {
    let usual = |_: i64, number: i64| read(number, 2);
    let many = |_: i64, number: i64| read(number, if is_in(number, 80) { 11 } else { 2 });
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, many);
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{}", run.story());
    assert_eq!((opened[0].root_cause[0].service.as_str(), opened[0].kind.as_str()), ("price", "chatty_calls"));
    let kinds: Vec<&str> = run.told.iter().map(|(.., one)| one.kind.as_str()).collect();
    assert!(!kinds.contains(&"retry_storm"), "{kinds:?}");
}

#[test]
fn usual_retries_open_nothing() {
    let draw = |_: i64, number: i64| purchase(number, if is_in(number, 6) { 2 } else { 1 }, false);
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw).seconds(240, 6, draw);
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

/// A search that gives up after 100 ms; the index takes as long as it takes.
fn search(number: i64, index_ms: i64) -> String {
    let is_cut = index_ms > 100;
    let (end, word) = if is_cut { (100, "error") } else { (index_ms + 3, "") };
    format!(
        "web GET /search 0..{} {word}\n  web client GET 2..{} {word}\n    index GET /find 4..{}",
        end + 10 + number % 5,
        end + 2,
        4 + index_ms
    )
}

#[test]
fn server_that_works_on_for_nobody_is_charged() {
    let usual = |_: i64, number: i64| search(number, 40 + number % 20);
    let slow = |_: i64, number: i64| search(number, if is_in(number, 40) { 900 } else { 40 + number % 20 });
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, slow);
    let told = told(&run);
    assert_eq!(told, ["wasted_work: index GET /find, self"], "{}", run.story());
}

/// A page with a call that may be left out, or rejected by the caller's breaker.
fn page(number: i64, call: &str) -> String {
    let (vary, call_ms) = (number % 7, 40 + number % 11);
    match call {
        "made" => format!(
            "web GET /page 0..{0}\n  web client GET 5..{1}\n    offers GET /offers 6..{2}",
            60 + call_ms + vary,
            10 + call_ms,
            8 + call_ms
        ),
        "failed" => format!(
            "web GET /page 0..{0}\n  web client GET 5..{1} error\n    offers GET /offers 6..{2} error",
            60 + call_ms + vary,
            10 + call_ms,
            8 + call_ms
        ),
        "rejected" => format!("web GET /page 0..{0}\n  web client GET 5..5 error", 20 + vary),
        _ => format!("web GET /page 0..{0}\n  web internal render 1..{1}", 20 + vary, 9 + vary),
    }
}

#[test]
fn answers_without_a_part_that_a_breaker_keeps_out_are_told() {
    for way in ["left out", "rejected"] {
        let mut run = Run::new();
        run.seconds(HISTORY_S, 2, |_, number| page(number, "made"));
        run.seconds(20, 2, |_, number| page(number, "failed"));
        run.seconds(240, 2, |_, number| page(number, if is_in(number, 10) { "failed" } else { way }));
        let told = told(&run);
        assert_eq!(told, ["degraded_response: offers GET /offers, self"], "{way}: {}", run.story());
    }
}

#[test]
fn calls_that_are_left_out_without_any_failure_were_not_needed() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| page(number, "made"));
    run.seconds(240, 2, |_, number| page(number, if is_in(number, 20) { "made" } else { "left out" }));
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

#[test]
fn missing_spans_are_not_missing_work() {
    // Both spans of the call are lost for most, and the page takes as long as it did.
    let lost = |_: i64, number: i64| {
        let text = page(number, "made");
        if is_in(number, 70) { text.lines().next().unwrap().to_owned() } else { text }
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| page(number, "made")).seconds(300, 2, lost);
    assert_eq!(told(&run), [""; 0], "the client's spans: {}", run.story());

    let lost = |_: i64, number: i64| {
        let text = page(number, "made");
        let called = if is_in(number, 50) { "lost" } else { "" };
        format!("{text} {called}\n      offers client GET 8..12 peer=db:1")
    };
    let whole = |_: i64, number: i64| format!("{}\n      offers client GET 8..12 peer=db:1", page(number, "made"));
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, whole).seconds(300, 2, lost);
    assert_eq!(told(&run), [""; 0], "the server's spans: {}", run.story());
}

#[test]
fn call_that_a_mix_of_requests_makes_now_and_then_is_not_left_out() {
    let draw = |percent: i64| {
        move |_: i64, number: i64| page(number, if is_in(number, percent) { "made" } else { "left out" })
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 3, draw(70)).seconds(300, 3, draw(20));
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

/// A page whose call is told within it, or as a transaction of its own.
fn passed(number: i64, is_passed: bool, version: i64) -> String {
    let call_ms = 40 + number % 11;
    let caller = format!(
        "web GET /page 0..{} version={version}\n  web client GET 5..{} version={version}",
        60 + call_ms,
        10 + call_ms
    );
    let called = format!("offers GET /offers 6..{}", 8 + call_ms);
    if is_passed { format!("{caller}\n    {called}") } else { format!("{caller}\n\n{called}") }
}

#[test]
fn version_that_passes_on_no_context_is_charged() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| passed(number, true, 1));
    run.seconds(240, 2, |_, number| passed(number, false, 2));
    assert_eq!(told(&run), ["broken_context: web GET /page, self"], "{}", run.story());
    assert!(run.opened()[0].title.starts_with("web 2 breaks the context"), "{}", run.story());
}

#[test]
fn caller_whose_calls_begin_transactions_of_their_own_is_charged() {
    let draw = |is_whole: bool| {
        move |_: i64, number: i64| {
            let ms = 40 + number % 11;
            let call = format!("web client GET 5..{}\n  offers GET /offers 6..{}", 10 + ms, 8 + ms);
            let page = format!("web GET /page 0..{}", 60 + ms);
            if is_whole { format!("{page}\n  {}", call.replace('\n', "\n  ")) } else { format!("{page}\n\n{call}") }
        }
    };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, draw(true)).seconds(240, 2, draw(false));
    assert_eq!(told(&run), ["broken_context: web GET /page, self"], "{}", run.story());
}

#[test]
fn direct_callers_of_a_service_break_nothing() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| passed(number, true, 1));
    let direct = |_: i64, number: i64| match number % 3 {
        0 => passed(number, true, 1),
        _ => format!("offers GET /offers 6..{}", 48 + number % 11),
    };
    run.seconds(300, 6, direct);
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}
