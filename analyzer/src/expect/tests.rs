use std::fmt::Write;

use insta::assert_snapshot;

use super::{Completeness, NeverCame, SagaOutcome};
use crate::fixture::{lines, table};
use crate::{Analyzer, AnalyzerLimits, Outcome, Transaction};

const MS_NS: i64 = 1_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// An analyzer that drawings are played to, each some time after the one before. `#` in a drawing is its number.
struct Stage {
    analyzer: Analyzer,
    now_ns: i64,
    number: u64,
    given: Vec<Transaction>,
    never_came: Vec<NeverCame>,
}

impl Stage {
    fn new(limits: AnalyzerLimits) -> Self {
        Self { analyzer: Analyzer::new(limits), now_ns: 0, number: 0, given: Vec::new(), never_came: Vec::new() }
    }

    /// Plays a drawing, every trace of it when its last span ends.
    fn play(&mut self, text: &str) {
        const TRACES_MAX: u64 = 8;
        self.number += 1;
        let text = text.replace('#', &format!("{:016}", self.number));
        let mut drawn = lines(&text);
        let base_ms = self.now_ns / MS_NS + 1;
        let mut traces: Vec<Vec<_>> = Vec::new();
        for one in drawn.drain(..) {
            match traces.last_mut() {
                Some(trace) if one.is_of(&trace[0]) => trace.push(one),
                _ => traces.push(vec![one]),
            }
        }
        for (trace, number) in traces.iter_mut().zip(self.number * TRACES_MAX..) {
            trace.iter_mut().for_each(|one| one.at(base_ms, number));
            let table = table(trace);
            let columns = table.columns();
            let ends = columns.starts_ns.iter().zip(columns.durations_ns).map(|(start, duration)| start + duration);
            let ended_ns = ends.max().unwrap();
            while self.now_ns + SECOND_NS < ended_ns {
                self.wait(1);
            }
            self.now_ns = self.now_ns.max(ended_ns);
            let outcome = self.analyzer.push(&table, self.now_ns);
            self.keep(outcome);
        }
    }

    fn play_times(&mut self, text: &str, times: usize) {
        (0..times).for_each(|_| self.play(text));
    }

    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ns += SECOND_NS;
            let outcome = self.analyzer.advance(self.now_ns);
            self.keep(outcome);
        }
    }

    fn keep(&mut self, outcome: Outcome) {
        self.given.extend(outcome.transactions);
        self.never_came.extend(outcome.missing);
    }

    /// Plays a drawing and returns what is said of it when it is given out, and later.
    fn judged(&mut self, text: &str) -> String {
        self.wait(700);
        self.given.clear();
        self.never_came.clear();
        self.play(text);
        self.wait(100);
        let mut out: String = self.given.iter().map(told).collect();
        for one in &self.never_came {
            writeln!(out, "never came: {} {}", one.service, one.operation).unwrap();
        }
        out
    }
}

/// Learns from drawings, each played so many times and mixed, and says what a further one lacks.
fn verdict(history: &[(&str, usize)], text: &str) -> String {
    let mut stage = learned(history);
    stage.judged(text)
}

fn learned(history: &[(&str, usize)]) -> Stage {
    let mut stage = Stage::new(AnalyzerLimits::default());
    let most = history.iter().map(|(_, times)| *times).max().unwrap();
    let mut played = vec![0; history.len()];
    for round in 1..=most {
        for ((text, times), played) in history.iter().zip(&mut played) {
            if *played < round * times / most {
                *played += 1;
                stage.play(text);
            }
        }
    }
    stage
}

fn told(transaction: &Transaction) -> String {
    let mut out = String::new();
    match &transaction.completeness {
        None => out.push_str("nothing is known\n"),
        Some(completeness) => lacking(&mut out, completeness),
    }
    if let Some(saga) = &transaction.saga {
        saga_told(&mut out, saga);
    }
    out
}

fn lacking(out: &mut String, completeness: &Completeness) {
    writeln!(out, "{} of {}", completeness.expected - completeness.lacking.len(), completeness.expected).unwrap();
    for one in &completeness.lacking {
        let (share, state) = (one.share * 100.0, one.state.as_str());
        writeln!(out, "{state}: {} {}, in {share:.1}% of {}", one.service, one.operation, one.of).unwrap();
    }
}

fn saga_told(out: &mut String, saga: &SagaOutcome) {
    writeln!(out, "saga {}: {}", saga.name.as_deref().unwrap_or("learned"), saga.state.as_str()).unwrap();
    for stage in &saga.stages {
        write!(out, "  {} {}: {:?}", stage.service, stage.operation, stage.state).unwrap();
        if let Some(by) = &stage.compensation {
            write!(out, ", undone by {} {}: {:?}", by.service, by.operation, by.state).unwrap();
        }
        out.push('\n');
    }
}

const EVENTS: &str = "
    shop POST /order 0..40
      shop producer ordered 30..35 messaging.message.id=a#

    stock consumer ordered 90..120 messaging.message.id=a#
      stock client INSERT 95..99 db.system=postgresql
";
const EVENT_LOST: &str = "
    shop POST /order 0..40
      shop producer ordered 30..35 messaging.message.id=a#
";

#[test]
fn a_message_that_is_never_taken_in_is_missing() {
    assert_snapshot!(verdict(&[(EVENTS, 200)], EVENT_LOST), @r"
    1 of 2
    waiting: stock ordered, in 100.0% of 200
    never came: stock ordered
    ");
}

#[test]
fn a_message_that_is_taken_in_late_was_waited_for_and_is_there_in_a_later_revision() {
    let late = "
        shop POST /order 0..40
          shop producer ordered 30..35 messaging.message.id=a#

        stock consumer ordered 40090..40120 messaging.message.id=a#
          stock client INSERT 40095..40099 db.system=postgresql
    ";
    assert_snapshot!(verdict(&[(EVENTS, 200)], late), @r"
    1 of 2
    waiting: stock ordered, in 100.0% of 200
    3 of 3
    ");
}

#[test]
fn what_did_all_that_is_usual_lacks_nothing() {
    assert_snapshot!(verdict(&[(EVENTS, 200)], EVENTS), @"3 of 3");
}

#[test]
fn little_that_was_seen_says_nothing() {
    assert_snapshot!(verdict(&[(EVENTS, 40)], EVENT_LOST), @"0 of 0");
}

#[test]
fn a_message_that_is_often_not_taken_in_is_not_expected() {
    assert_snapshot!(verdict(&[(EVENTS, 200), (EVENT_LOST, 8)], EVENT_LOST), @"1 of 1");
}

const CALLS: &str = "
    shop POST /order 0..100
      shop client reserve 10..30
        stock POST /reserve 12..28
      shop client charge 40..60
        pay POST /charge 42..58
";

#[test]
fn a_call_that_nobody_answers_is_missing() {
    let unanswered = "
        shop POST /order 0..100
          shop client reserve 10..30
            stock POST /reserve 12..28
          shop client charge 40..60
    ";
    assert_snapshot!(verdict(&[(CALLS, 200)], unanswered), @r"
    3 of 4
    missing: pay POST /charge, in 100.0% of 200
    ");
}

#[test]
fn a_step_that_is_left_out_is_missing_once_rare_ways_would_be_known() {
    let left_out = "
        shop POST /order 0..100
          shop client reserve 10..30
            stock POST /reserve 12..28
    ";
    assert_snapshot!(verdict(&[(CALLS, 290)], left_out), @"2 of 2");
    assert_snapshot!(verdict(&[(CALLS, 310)], left_out), @r"
    2 of 3
    missing: pay POST /charge, in 100.0% of 310
    ");
    // One that went without it makes it less sure, and more of the others make up for that.
    assert_snapshot!(verdict(&[(CALLS, 200), (left_out, 1), (CALLS, 200)], left_out), @"2 of 2");
    assert_snapshot!(verdict(&[(CALLS, 200), (left_out, 1), (CALLS, 300)], left_out), @r"
    2 of 3
    missing: pay POST /charge, in 99.8% of 501
    ");
    assert_snapshot!(verdict(&[(CALLS, 1204)], left_out), @r"
    2 of 3
    missing: pay POST /charge, in 100.0% of 1204
    ");
}

#[test]
fn what_would_follow_a_failure_is_not_missing() {
    let failed = "
        shop POST /order 0..100 error
          shop client reserve 10..30 error
            stock POST /reserve 12..28 error
    ";
    assert_snapshot!(verdict(&[(CALLS, 1204)], failed), @"0 of 0");
}

#[test]
fn a_hit_and_a_miss_of_a_cache_lack_nothing() {
    let miss = "
        shop GET /item 0..100
          shop client GET 10..12 db.system=redis
          shop client SELECT 20..60 db.system=postgresql
    ";
    let hit = "
        shop GET /item 0..20
          shop client GET 10..12 db.system=redis
    ";
    assert_snapshot!(verdict(&[(miss, 2000), (hit, 25)], hit), @"1 of 1");
}

#[test]
fn of_two_branches_neither_lacks_what_the_other_does() {
    let by_card = CALLS;
    let by_bill = "
        shop POST /order 0..100
          shop client reserve 10..30
            stock POST /reserve 12..28
          shop client bill 40..60
            books POST /bill 42..58
    ";
    assert_snapshot!(verdict(&[(by_card, 1500), (by_bill, 5)], by_bill), @"2 of 2");
}

#[test]
fn where_parents_often_lack_nothing_is_missing() {
    let broken = "
        shop POST /order 0..40
          shop work 10..30 lost
            shop client charge 11..20
          shop producer ordered 30..35 messaging.message.id=a#
    ";
    assert_snapshot!(verdict(&[(EVENTS, 200), (broken, 10)], EVENT_LOST), @"1 of 1");
}

#[test]
fn a_step_that_is_new_is_not_expected_of_others() {
    let with_new = "
        shop POST /order 0..100
          shop client reserve 10..30
            stock POST /reserve 12..28
          shop client charge 40..60
            pay POST /charge 42..58
          shop client score 70..80
            risk POST /score 72..78
    ";
    let mut stage = learned(&[(CALLS, 1204)]);
    stage.play_times(with_new, 60);
    assert_snapshot!(stage.judged(CALLS), @"4 of 4");
}

mod progress;
mod sagas;
mod simulation;

#[test]
fn what_fits_no_bound_is_counted_and_the_rest_goes_on() {
    let mut stage = Stage::new(AnalyzerLimits::default());
    let mut wide = String::from("shop GET /wide 0..2000\n");
    for number in 0..80 {
        writeln!(wide, "  shop client step{number}x {}..{}", number * 10, number * 10 + 9).unwrap();
    }
    stage.play(&wide);
    for number in 0..super::TYPES_MAX + 5 {
        stage.play(&format!("shop GET /type{number}x 0..10\n"));
    }
    stage.wait(30);
    let bounds = stage.analyzer.summary().at_bounds;
    let count = |name: &str| bounds.iter().find(|(bound, _)| *bound == name).unwrap().1;
    assert_eq!((count("stages_beyond_type"), count("stages_of_further_types")), (17, 6));
    assert_eq!(stage.judged("shop GET /type1x 0..10\n"), "0 of 0\n");
}
