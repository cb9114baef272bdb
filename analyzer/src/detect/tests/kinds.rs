//! Kinds that time and shape tell of, seen from outside: what each finds, whom it names, and what it leaves alone.

use super::{BEGIN_S, HISTORY_S, Parts, Run, SECOND_NS, checkout, usual};
use crate::incident::{Incident, IncidentEvent, IncidentKind};

/// Milliseconds that differ a little, and evenly, from transaction to transaction.
fn vary(ms: i64, number: i64, salt: i64) -> i64 {
    ms + ms * ((number * 7_919 + salt * 104_729) % 31) / 100
}

/// Whether the n-th is one of so many in a hundred, spread evenly.
fn is_in(number: i64, percent: i64) -> bool {
    (number * 37).rem_euclid(100) < percent
}

fn only(run: &Run) -> &Incident {
    let opened = run.opened();
    assert_eq!(opened.len(), 1, "{}", run.story());
    opened[0]
}

/// Runs the history, then something else for some minutes.
fn after_history(
    rate: u64,
    before: impl Fn(i64, i64) -> String,
    minutes: i64,
    after: impl Fn(i64, i64) -> String,
) -> Run {
    let mut run = Run::new();
    run.seconds(HISTORY_S, rate, before).seconds(minutes * 60, rate, after);
    run
}

#[test]
fn tail_that_leaves_the_median_is_found_and_one_pause_is_not() {
    let tail = |_: i64, number: i64| {
        checkout(Parts { pay: if is_in(number, 12) { 500 } else { 20 }, ..Parts::default() }, number)
    };
    let mut run = after_history(4, usual, 4, tail);
    let incident = only(&run);
    assert_eq!(incident.root_cause[0].service, "pay");
    assert_eq!(incident.kind, IncidentKind::LatencyShift);
    run.seconds(6 * 60, 4, usual);
    assert_eq!(run.told.last().unwrap().1, IncidentEvent::Resolved, "{}", run.story());

    let pause = |second: i64, number: i64| {
        let pay = if (HISTORY_S + 20..HISTORY_S + 25).contains(&second) { 500 } else { 20 };
        checkout(Parts { pay, ..Parts::default() }, number)
    };
    assert_eq!(after_history(4, usual, 4, pause).story(), "");
}

/// A call of a service with three instances, of which each takes its turn.
fn replicas(number: i64, ms: [i64; 3], versions: [i64; 3], tenant: &str) -> String {
    let one = usize::try_from(number % 3).unwrap();
    let end = 10 + vary(ms[one], number, 1);
    format!(
        "web GET / 0..{} app.tenant={tenant}\n  web client GET 5..{}\n    pay GET /pay 7..{end} on=pay-{one} version={}",
        end + 6,
        end + 2,
        versions[one]
    )
}

fn alike(_: i64, number: i64) -> String {
    replicas(number, [40; 3], [1; 3], "a")
}

#[test]
fn one_slow_instance_is_named_and_all_slow_ones_are_not() {
    let run = after_history(3, alike, 4, |_, number| replicas(number, [40, 40, 300], [1; 3], "a"));
    let incident = only(&run);
    let first = &incident.root_cause[0];
    assert_eq!((first.service.as_str(), first.instance.as_deref()), ("pay", Some("pay-2")), "{first:?}");
    assert!(incident.summary.contains("only instance pay-2"), "{}", incident.summary);

    let run = after_history(3, alike, 4, |_, number| replicas(number, [300; 3], [1; 3], "a"));
    assert_eq!(only(&run).root_cause[0].instance, None);
}

#[test]
fn version_whose_instances_are_slow_is_named() {
    let run = after_history(3, alike, 4, |_, number| replicas(number, [40, 300, 300], [1, 2, 2], "a"));
    let incident = only(&run);
    assert_eq!(incident.root_cause[0].instance, None);
    assert!(incident.root_cause[0].evidence.contains("only version 2"), "{}", incident.root_cause[0].evidence);
    assert_eq!(incident.changes[0].text, "pay 1 → 2 first seen");
}

#[test]
fn tenant_that_alone_is_hurt_is_told() {
    let tenant = |number: i64| ["a", "b", "c", "d"][usize::try_from(number % 4).unwrap()];
    let before = |_: i64, number: i64| replicas(number, [40; 3], [1; 3], tenant(number));
    let after = |_: i64, number: i64| {
        let ms = if tenant(number) == "b" { 400 } else { 40 };
        replicas(number, [ms; 3], [1; 3], tenant(number))
    };
    let run = after_history(4, before, 5, after);
    // The first words come with few transactions; what is known later is told with the next news.
    let (_, _, last) = run.told.last().unwrap();
    let who = run.told.iter().flat_map(|(_, _, incident)| &incident.impact.who).next();
    assert!(who.is_some_and(|who| who.starts_with("app.tenant = b: 100% of those hurt")), "{:?}", last.impact.who);
}

/// A search that asks four shards at once.
fn search(number: i64, ms: [i64; 4]) -> String {
    let ends: Vec<i64> = (0i64..).zip(ms).map(|(shard, ms)| 12 + vary(ms, number * 4 + shard, shard)).collect();
    let end = ends.iter().max().unwrap() + 5;
    let mut text = format!("web GET /search 0..{end}");
    for (shard, shard_end) in ends.iter().enumerate() {
        text.push_str(&format!(
            "\n  web client query 10..{}\n    shards query 11..{shard_end} on=shard-{shard}",
            shard_end + 1
        ));
    }
    text
}

#[test]
fn member_of_a_fan_out_that_is_last_too_often_is_a_straggler() {
    let even = |_: i64, number: i64| search(number, [40; 4]);
    let run = after_history(3, even, 4, |_, number| search(number, [40, 40, 75, 40]));
    let incident = only(&run);
    assert_eq!(incident.kind, IncidentKind::Straggler, "{}", incident.title);
    let first = &incident.root_cause[0];
    assert_eq!((first.service.as_str(), first.instance.as_deref()), ("shards", Some("shard-2")), "{first:?}");
    assert!(!incident.exemplars.is_empty() && incident.impact.transactions > 0);

    let run = after_history(3, even, 4, |_, number| search(number, [110; 4]));
    assert_eq!(only(&run).kind, IncidentKind::LatencyShift, "all are slow alike");
    let hot = |_: i64, number: i64| search(number, [40, 40, 75, 40]);
    assert_eq!(after_history(3, hot, 4, hot).story(), "", "it always was the last");
}

/// An order that asks the database for each of its items.
fn items(number: i64, queries: i64) -> String {
    let mut text = format!("shop GET /orders 0..{}", 20 + queries * 8);
    for query in 0..queries {
        let from = 5 + query * 8;
        let to = from + 4 + (number + query) % 3;
        text.push_str(&format!("\n  shop client select-item {from}..{to} peer=db:5432"));
    }
    text
}

#[test]
fn further_calls_of_an_execution_are_chatty_and_another_mix_of_sizes_is_not() {
    let sizes = |number: i64| [1, 2, 2, 3, 6][usize::try_from(number % 5).unwrap()];
    let before = |_: i64, number: i64| items(number, sizes(number));
    let run = after_history(3, before, 4, |_, number| items(number, 4 * sizes(number)));
    let incident = only(&run);
    assert_eq!(incident.kind, IncidentKind::ChattyCalls, "{}", incident.title);
    let first = &incident.root_cause[0];
    assert_eq!((first.service.as_str(), first.operation.as_deref()), ("shop", Some("GET /orders")));

    let run = after_history(3, before, 4, |_, number| items(number, if number % 5 < 3 { 6 } else { 1 }));
    assert_eq!(run.story(), "", "more of the large ones");
    let mut run = Run::new();
    run.seconds(HISTORY_S, 1, before).seconds(240, 4, before);
    assert_eq!(run.story(), "", "more traffic");
}

#[test]
fn growth_over_hours_is_a_creep_of_the_facade() {
    let hours_s = 3 * 3_600;
    let mut run = Run::new();
    for turn in 0..hours_s / 6 {
        let begin_s = 3_600;
        let grown = (turn * 6 - begin_s).max(0) * 90 / (hours_s - begin_s);
        let parts = Parts { web: 50 + grown, ..Parts::default() };
        let version = 1 + grown / 15;
        let drawn = |_: i64, number: i64| {
            let text = checkout(parts, number);
            let (root, rest) = text.split_once('\n').unwrap();
            format!("{root} version={version}\n{rest}")
        };
        run.seconds(1, 1, drawn).seconds(5, 0, usual);
    }
    let incident = only(&run);
    assert_eq!(incident.kind, IncidentKind::FacadeCreep, "{}", incident.title);
    assert!(incident.changes.len() >= 2, "{:?}", incident.changes);
    let first = &incident.root_cause[0];
    assert_eq!((first.service.as_str(), first.operation.as_deref()), ("web", Some("POST /checkout")));
    let started_s = crate::time::parse_rfc3339(&incident.started_at).unwrap() / SECOND_NS - BEGIN_S;
    assert!((3_000..7_200).contains(&started_s), "it began at {started_s} s");
}

#[test]
fn few_transactions_a_minute_need_more_patience_and_are_watched() {
    let mut run = Run::new();
    let mut minutes = |minutes: i64, pay: i64| {
        for _ in 0..minutes * 6 {
            run.seconds(1, 1, |_, number| checkout(Parts { pay, ..Parts::default() }, number)).seconds(9, 0, usual);
        }
    };
    minutes(120, 20);
    minutes(12, 120);
    let incident = only(&run);
    assert_eq!(incident.root_cause[0].service, "pay");
}

#[test]
fn traffic_that_takes_time_with_it_is_load() {
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual);
    run.seconds(300, 5, |_, number| checkout(Parts { pay: 45, ..Parts::default() }, number));
    assert_eq!(run.story(), "");
}

#[test]
fn what_comes_back_within_half_an_hour_is_the_same_incident() {
    let slow = |_: i64, number: i64| checkout(Parts { pay: 200, ..Parts::default() }, number);
    let mut run = Run::new();
    run.seconds(HISTORY_S, 2, usual).seconds(240, 2, slow).seconds(15 * 60, 2, usual).seconds(240, 2, slow);
    let opened = run.opened();
    let [first, second] = &opened[..] else { panic!("{}", run.story()) };
    assert_eq!((&first.id, first.number, first.reopened), (&second.id, second.number, false));
    assert!(second.reopened && second.summary.contains("It came back"), "{}", second.summary);
    let began_ns = crate::time::parse_rfc3339(&first.started_at);
    assert_eq!((first.began_ns(), second.began_ns()), (began_ns, began_ns), "the first time");
    assert!(second.started_at > first.started_at);
}
