//! Simulated work whose traces have nothing in common but a value of the business: in any order, by ids of any form, in
//! spans or in log records, beside values that identify no work.

use collector_table::SpanKind;

use super::simulation::{MS_NS, Trouble, USUAL, World, complaint, often, word};
use crate::stitch::StitcherLimits;

/// In what order the steps of one piece of work are done.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Always the same.
    Fixed,
    /// One begins, all others follow in any order.
    FirstOnly,
    /// Any.
    Any,
}

/// What ids look like.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Uuid,
    /// Six digits, drawn at random.
    Digits,
    /// Six digits, counted up.
    Counted,
    /// Two letters and five digits.
    Short,
}

/// Where ids are said.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Spans,
    Logs,
}

#[derive(Clone, Copy)]
struct Flow {
    order: Order,
    form: Form,
    place: Where,
    /// Steps, of which the last is left out now and then.
    steps: u64,
    /// Longest pause between two steps.
    pause_ms: i64,
    /// Of ten pieces of work so many end after the first step.
    left_off_in_ten: u64,
}

const FLOW: Flow =
    Flow { order: Order::Fixed, form: Form::Uuid, place: Where::Spans, steps: 4, pause_ms: 2_000, left_off_in_ten: 0 };

impl Flow {
    fn id(self, world: &mut World, work: usize) -> String {
        match self.form {
            Form::Uuid => world.dice.uuid(),
            Form::Digits => (world.dice.below(900_000) + 100_000).to_string(),
            Form::Counted => (482_000 + work).to_string(),
            Form::Short => {
                format!("{}{:05}", &word(&mut world.dice)[..2].to_uppercase(), world.dice.below(100_000))
            }
        }
    }

    fn make(self, world: &mut World, start_ns: i64) {
        let work = world.work();
        let id = self.id(world, work);
        let buyer = format!("b{}", world.dice.below(60) + 100);
        let size = world.dice.below(30_000) + 1_000;
        let mut steps: Vec<u64> = (0..self.steps).collect();
        let from = match self.order {
            Order::Fixed => steps.len(),
            Order::FirstOnly => 1,
            Order::Any => 0,
        };
        for at in from..steps.len() {
            let other = at + usize::try_from(world.dice.below((steps.len() - at) as u64)).unwrap();
            steps.swap(at, other);
        }
        if self.steps > 2 && world.dice.is(5) {
            steps.retain(|step| *step + 1 != self.steps);
        }
        if world.dice.below(10) < self.left_off_in_ten {
            steps.truncate(1);
        }
        let mut at_ns = start_ns;
        for step in steps {
            let root = world.request(work, &format!("svc{step}"), &format!("POST /do{step}"), at_ns);
            let name = world.names[0].clone();
            match self.place {
                Where::Spans => world.say(root, &name, &id),
                Where::Logs => world.write(root, &name, &id),
            }
            world.say(root, "acme.buyer", &buyer);
            world.say(root, "body.size", &(size + step).to_string());
            at_ns += world.dice.ms(5, self.pause_ms);
        }
    }
}

type Check = (String, Flow, i64, i64);

/// Checks flows, each given with how many pieces of work there are and how many milliseconds apart.
fn check(checks: &[Check], trouble: &Trouble) {
    let complaints: Vec<String> = checks
        .iter()
        .filter_map(|(what, flow, count, every_ms)| {
            complaint(&format!("{what} x{count}"), &StitcherLimits::default(), trouble, |world| {
                often(world, *count, *every_ms, |world, at| flow.make(world, at));
            })
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

const AMOUNTS: [(i64, i64); 3] = [(15, 3_000), (150, 300), (400, 30)];

/// Returns a flow in several amounts.
fn amounts(what: &str, flow: Flow) -> Vec<Check> {
    AMOUNTS.iter().map(|(count, every_ms)| (what.to_owned(), flow, *count, *every_ms)).collect()
}

#[test]
fn steps_in_any_order_come_together() {
    let mut checks = amounts("one begins", Flow { order: Order::FirstOnly, ..FLOW });
    checks.extend(amounts("any begins", Flow { order: Order::Any, ..FLOW }));
    checks.push(("nine steps".to_owned(), Flow { order: Order::Any, steps: 9, ..FLOW }, 100, 200));
    checks.push(("two steps".to_owned(), Flow { order: Order::Any, steps: 2, ..FLOW }, 100, 200));
    check(&checks, &USUAL);
}

#[test]
fn steps_at_nearly_the_same_time_come_together_although_clocks_differ() {
    check(&amounts("at once", Flow { order: Order::FirstOnly, pause_ms: 12, ..FLOW }), &USUAL);
}

#[test]
fn short_ids_join() {
    let mut checks = Vec::new();
    for (what, form) in [("drawn", Form::Digits), ("counted", Form::Counted), ("short", Form::Short)] {
        checks.extend(amounts(what, Flow { form, ..FLOW }));
        checks.extend(amounts(&format!("{what} in any order"), Flow { form, order: Order::Any, ..FLOW }));
    }
    check(&checks, &USUAL);
}

#[test]
fn ids_of_work_that_is_mostly_left_off_join_the_rest() {
    let mut checks = Vec::new();
    for (what, form) in [("uuid", Form::Uuid), ("counted", Form::Counted), ("short", Form::Short)] {
        for (left_off_in_ten, count) in [(7, 150), (9, 500)] {
            checks.push((what.to_owned(), Flow { form, left_off_in_ten, ..FLOW }, count, 300));
        }
    }
    check(&checks, &USUAL);
}

#[test]
fn ids_in_log_records_join() {
    let mut checks = amounts("uuid", Flow { place: Where::Logs, ..FLOW });
    checks.extend(amounts("counted", Flow { place: Where::Logs, form: Form::Counted, ..FLOW }));
    check(&checks, &USUAL);
    // Log records that come long after their trace was given out.
    check(&amounts("late", Flow { place: Where::Logs, ..FLOW }), &Trouble { delay_ms: 25_000, ..USUAL });
}

#[test]
fn steps_that_are_minutes_apart_come_together() {
    let slow = Flow { pause_ms: 100_000, ..FLOW };
    check(&[("slow".to_owned(), slow, 60, 4_000)], &USUAL);
    check(&[("slow, live".to_owned(), slow, 60, 4_000)], &Trouble { ends: false, ..USUAL });
}

/// Events that batches read, without any context: of one batch all are one trace, and the id of each event is all that
/// says whose it is.
fn batches(world: &mut World, start_ns: i64) {
    let mut sent = Vec::new();
    for number in 0..world.dice.below(6) + 1 {
        let work = world.work();
        let id = world.dice.uuid();
        let at = world.request(work, "gate", "POST /event", start_ns + i64::try_from(number).unwrap() * 7 * MS_NS);
        let name = world.names[0].clone();
        world.say(at, &name, &id);
        sent.push((at, id, work));
    }
    let works: Vec<usize> = sent.iter().map(|(.., work)| *work).collect();
    let from_ns = sent.iter().map(|(at, ..)| world.end_ns(*at)).max().unwrap() + world.dice.ms(10, 300);
    let length_ns = i64::try_from(sent.len()).unwrap() * 20 * MS_NS + 10 * MS_NS;
    let batch = world.root(&works, "sink", "poll", SpanKind::Internal, (from_ns, length_ns));
    for (number, (_, id, work)) in (0i64..).zip(&sent) {
        let place = (world.spans[batch].trace, Some(world.spans[batch].id));
        let times_ns = (from_ns + 5 * MS_NS + number * 20 * MS_NS, 15 * MS_NS);
        let own = world.add(&[*work], place, "sink", "process", SpanKind::Consumer, times_ns);
        let name = world.names[0].clone();
        world.say(own, &name, id);
        world.child(own, "sink", "store", SpanKind::Client, (2 * MS_NS, 9 * MS_NS));
        let heard_ns = world.end_ns(own) + world.dice.ms(10, 900);
        let heard = world.request(*work, "audit", "POST /note", heard_ns);
        world.say(heard, &name, id);
    }
}

#[test]
fn batches_are_shared_by_the_events_whose_ids_they_name() {
    let limits = StitcherLimits::default();
    let found = complaint("batches", &limits, &USUAL, |world| often(world, 60, 300, batches));
    assert_eq!(found, None);
}
