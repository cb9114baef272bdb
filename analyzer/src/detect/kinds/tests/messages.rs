//! `lost_message`, `duplicate_processing`, `out_of_order`: what messages tell.

use super::{HISTORY_S, Run, is_in, told};
use crate::incident::IncidentEvent;

/// How a message fares.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Taken,
    Lost,
    Twice,
    FailedThenTaken,
    /// Taken in without a word of where it comes from.
    Detached,
    /// Taken in, and the span that sent it is not told.
    SenderUnseen,
    /// Its taker's spans are lost.
    TakerUnseen,
}

/// An order that is sent and taken in as a trace of its own, by link and message id.
fn order(number: i64, fate: Fate, wait_ms: i64) -> String {
    let id = format!("messaging.message.id=m-0000000000000000-{number}");
    let (from, to) = (20 + wait_ms + number % 9, 50 + wait_ms + number % 9);
    let sender = match fate {
        Fate::SenderUnseen => "web GET /other 0..20".to_owned(),
        _ => format!("web POST /order 0..20\n  web producer send 5..9 @sent {id}"),
    };
    let taken = |at: i64, words: &str| {
        format!(
            "\n\nmail consumer take {}..{} {words}\n  mail internal mail {}..{}",
            at + from,
            at + to,
            at + from + 1,
            at + to
        )
    };
    let linked = format!("{id} link=@sent");
    sender
        + &match fate {
            Fate::Taken => taken(0, &linked),
            Fate::SenderUnseen => taken(0, &id),
            Fate::Lost | Fate::TakerUnseen => String::new(),
            Fate::Twice => taken(0, &linked) + &taken(90, &linked),
            Fate::FailedThenTaken => taken(0, &format!("{linked} error")) + &taken(90, &linked),
            Fate::Detached => taken(0, ""),
        }
}

fn run(usual: impl Fn(i64) -> String, then: impl Fn(i64) -> String) -> Run {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| usual(number)).seconds(300, 2, |_, number| then(number));
    run
}

fn fated(percent: i64, fate: Fate) -> impl Fn(i64) -> String {
    move |number| order(number, if is_in(number, percent) { fate } else { Fate::Taken }, 30)
}

#[test]
fn messages_that_do_not_come_are_lost_at_their_taker() {
    let run = run(fated(0, Fate::Taken), fated(20, Fate::Lost));
    assert_eq!(told(&run), ["lost_message: mail take, queue_wait"], "{}", run.story());
    let after_s = run.told[0].0 - HISTORY_S;
    assert!(after_s <= 120, "found after {after_s} s");
}

#[test]
fn messages_of_which_most_do_not_come_are_lost_and_do_not_wait() {
    let run = run(fated(0, Fate::Taken), fated(70, Fate::Lost));
    assert_eq!(told(&run), ["lost_message: mail take, queue_wait"], "{}", run.story());
}

#[test]
fn taker_that_stops_is_a_queue_that_lags_as_long_as_nothing_sent_later_comes() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| order(number, Fate::Taken, 30));
    run.seconds(240, 2, |_, number| order(number, Fate::Lost, 30));
    assert_eq!(told(&run), ["queue_lag: mail take, queue_wait"], "{}", run.story());
    let after_s = run.told[0].0 - HISTORY_S;
    assert!(after_s <= 120, "found after {after_s} s");
    let incident = run.told[0].2.clone();
    let rate = incident.evidence.rate.as_ref().unwrap();
    assert!(rate.now_share > 0.7 && rate.usual == 0, "{rate:?}");
    // It takes messages in again, and what it left is seen to be lost.
    run.seconds(900, 2, |_, number| order(number, Fate::Taken, 30));
    let (_, event, last) = run.told.last().unwrap();
    assert_eq!(*event, IncidentEvent::Resolved, "{}", run.story());
    assert_eq!(last.number, incident.number, "{}", run.story());
}

#[test]
fn messages_that_all_wait_longer_are_not_lost() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, |_, number| order(number, Fate::Taken, 30));
    // A queue that grows by half a second each second.
    run.seconds(240, 2, |second, number| order(number, Fate::Taken, 30 + (second - HISTORY_S) * 500));
    assert!(!told(&run).iter().any(|one| one.starts_with("lost")), "{}", run.story());
}

#[test]
fn takers_that_are_sampled_apart_lose_nothing() {
    let then = |number: i64| match number % 3 {
        0 => order(number, Fate::Taken, 30),
        1 => order(number, Fate::TakerUnseen, 30),
        _ => order(number, Fate::SenderUnseen, 30),
    };
    let run = run(fated(0, Fate::Taken), then);
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

#[test]
fn messages_of_which_as_many_fewer_are_sent_as_come_are_kept_less_and_not_lost() {
    // Batches take several messages in; of some of them the senders are kept, so that nothing looks as sent by nobody.
    let then =
        |number: i64| if number % 5 < 2 { order(number, Fate::Taken, 30) } else { order(number, Fate::Lost, 30) };
    let mut run = Run::new();
    run.seconds(HISTORY_S, 5, |_, number| order(number, Fate::Taken, 30)).seconds(300, 2, |_, number| then(number));
    assert_eq!(told(&run), [""; 0], "{}", run.story());
}

#[test]
fn messages_that_come_without_a_cause_are_a_broken_context() {
    let run = run(fated(0, Fate::Taken), fated(60, Fate::Detached));
    assert_eq!(told(&run), ["broken_context: web send, self"], "{}", run.story());
}

#[test]
fn messages_that_are_done_twice_are_charged_to_their_taker() {
    let run = run(fated(1, Fate::Twice), fated(25, Fate::Twice));
    assert_eq!(told(&run), ["duplicate_processing: mail take, self"], "{}", run.story());
}

#[test]
fn duplicates_that_are_usual_or_follow_a_failure_open_nothing() {
    let usual = run(fated(10, Fate::Twice), fated(12, Fate::Twice));
    assert_eq!(told(&usual), [""; 0], "as often as usual: {}", usual.story());
    let retried = run(fated(5, Fate::FailedThenTaken), fated(8, Fate::FailedThenTaken));
    assert_eq!(told(&retried), [""; 0], "what failed is done again: {}", retried.story());
}

/// A message of one of two partitions, taken in at its turn or so many places late.
fn placed_message(number: i64, late: i64) -> String {
    let (partition, offset) = (number % 2, number / 2);
    let from = 20 + late * 1_100;
    format!(
        "web POST /event 0..20\n  web producer send 5..9
    log consumer take {from}..{} messaging.destination.name=events messaging.destination.partition.id={partition} \
         messaging.kafka.message.offset={offset}",
        from + 8
    )
}

#[test]
fn messages_that_come_before_earlier_ones_are_out_of_order() {
    let late = |percent: i64| move |number: i64| placed_message(number, if is_in(number, percent) { 3 } else { 0 });
    let told_at = |usual: i64, then: i64| {
        let run = run(late(usual), late(then));
        (told(&run), run.story())
    };
    let (kinds, story) = told_at(0, 25);
    assert_eq!(kinds, ["out_of_order: log take, self"], "{story}");
    let (kinds, story) = told_at(10, 10);
    assert_eq!(kinds, [""; 0], "as often as usual: {story}");
}

/// An event in the trace of its sender, named by nothing else; taken in once or twice.
fn plain_event(number: i64, times: i64) -> String {
    let from = 20 + number % 7;
    let mut text = "web POST /event 0..20\n  web producer send 5..9".to_owned();
    for time in 0..times {
        let from = from + 60 * time;
        text.push_str(&format!("\n    log consumer take {from}..{}", from + 8));
    }
    text
}

#[test]
fn duplicates_are_seen_without_names_of_messages() {
    let times = |percent: i64| move |number: i64| plain_event(number, if is_in(number, percent) { 2 } else { 1 });
    let more = run(times(2), times(30));
    assert_eq!(told(&more), ["duplicate_processing: log take, self"], "{}", more.story());
    let usual = run(times(10), times(10));
    assert_eq!(told(&usual), [""; 0], "{}", usual.story());
}
