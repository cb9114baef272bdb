//! What logs say of an incident: the shop writes to its logs while it works, and says why when something is slow.

use super::{BEGIN_S, HISTORY_S, Parts, Run, SECOND_NS, checkout, placed, usual};
use crate::detect::logs::tests::table_of_traces;
use crate::incident::{IncidentEvent, LogEvidence};

/// A log record: second, number of the transaction, service, severity and text.
type Line = (i64, u64, &'static str, i32, String);

const WARN: i32 = 13;
const INFO: i32 = 9;

/// Runs the shop with `pay` working longer after its history; `write` says what is logged for each transaction, and `late_s`
/// how long after its spans a record arrives.
fn run(late_s: i64, write: impl Fn(i64, u64) -> Vec<(&'static str, i32, String)>) -> Run {
    let mut run = Run::new();
    let mut waiting: Vec<Line> = Vec::new();
    for second in 0..HISTORY_S + 240 {
        let is_slow = second >= HISTORY_S;
        let parts = if is_slow { Parts { pay: 200, ..Parts::default() } } else { Parts::default() };
        for at in 0..2u64 {
            let number = second.unsigned_abs() * 2 + at + 1;
            let written = write(second, number).into_iter();
            waiting.extend(written.map(|(service, severity, text)| (second, number, service, severity, text)));
            let text = checkout(parts, i64::try_from(number).unwrap());
            run.take(Some(&placed(&text, BEGIN_S + second, number)));
        }
        let (there, not_yet) = waiting.into_iter().partition(|line| line.0 + late_s <= second);
        waiting = not_yet;
        push(&mut run, there);
        run.second += 1;
        run.take(None);
    }
    run
}

fn push(run: &mut Run, lines: Vec<Line>) {
    for (second, number, service, severity, text) in lines {
        let trace = u128::from(number * 8).to_be_bytes();
        let table = table_of_traces(BEGIN_S + second, &[(trace, service, severity, &text)]);
        run.analyzer.push_logs(&table, (BEGIN_S + run.second + 1) * SECOND_NS);
    }
}

fn is_slow(second: i64) -> bool {
    second >= HISTORY_S
}

/// What the shop writes: who is slow says why, once for each second charge.
fn said(second: i64, number: u64) -> Vec<(&'static str, i32, String)> {
    let mut lines =
        vec![("pay", INFO, format!("charged order {number}")), ("mail", INFO, format!("sent mail {number}"))];
    if is_slow(second) && number.is_multiple_of(2) {
        lines.push(("pay", WARN, format!("pool exhausted, waited {} ms for a connection", 100 + number % 90)));
        // Nobody waits for it.
        (0..5).for_each(|line| lines.push(("ledger", WARN, format!("disk {line} is full"))));
    }
    lines.push(("ledger", INFO, format!("booked {number}")));
    lines
}

fn words(logs: &[LogEvidence]) -> Vec<String> {
    logs.iter().map(|one| format!("{} {} {} {}", one.change, one.severity, one.service, one.template)).collect()
}

#[test]
fn new_lines_of_the_one_to_blame_are_evidence_with_the_traces_of_those_hurt() {
    let run = run(0, said);
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{}", run.story());
    let logs = &opened[0].evidence.logs;
    assert_eq!(words(logs), ["new warn pay pool exhausted, waited <*> ms for a connection"]);
    assert_eq!((logs[0].before, logs[0].examples.len()), (0, 3));
    assert!(logs[0].now_per_minute > 10.0 && logs[0].before_s >= 600, "{logs:?}");
    let line = &logs[0].examples[0];
    assert!(line.text.starts_with("pool exhausted, waited 1"), "{line:?}");
    let number = u128::from_str_radix(line.trace_id.as_ref().unwrap(), 16).unwrap() / 8;
    assert!(number > 2 * u128::from(HISTORY_S.unsigned_abs()), "{line:?} is of a slow one");
}

#[test]
fn lines_that_arrive_after_an_incident_opened_are_shown_and_wake_nobody() {
    let (quiet, late) = (run(0, |_, _| Vec::new()), run(45, said));
    let events = |run: &Run| -> Vec<(i64, IncidentEvent)> {
        run.told.iter().map(|(second, event, _)| (*second, *event)).collect()
    };
    assert_eq!(events(&late), events(&quiet));
    let mut late = late;
    let shown = &late.analyzer.summary().incidents[0];
    assert_eq!(words(&shown.evidence.logs), ["new warn pay pool exhausted, waited <*> ms for a connection"]);
}

#[test]
fn a_flood_of_lines_changes_nothing_about_which_incidents_open() {
    let quiet = run(0, |_, _| Vec::new());
    let flooded = run(0, |second, number| {
        let flood = |line| format!("{} is broken", "x".repeat(usize::try_from((number * 31 + line) % 60).unwrap()));
        match second % 20 {
            0 => (0..40).map(|line| ("cart", 21, flood(line))).collect(),
            _ => Vec::new(),
        }
    });
    assert_eq!(flooded.story(), quiet.story());
    let none: Vec<LogEvidence> = Vec::new();
    assert_eq!(flooded.opened()[0].evidence.logs, none);
}

#[test]
fn without_a_fault_no_line_opens_an_incident() {
    let mut run = Run::new();
    for second in 0..HISTORY_S + 120 {
        let lines = if is_slow(second) { 50 } else { 1 };
        run.seconds(1, 2, usual);
        push(&mut run, (0..lines).map(|line| (second, line, "pay", 21, format!("out of memory {line}"))).collect());
    }
    assert!(run.opened().is_empty(), "{}", run.story());
}
