//! What can be seen in the telemetry of small systems, each drawn for one mechanism.

use std::collections::{BTreeMap, BTreeSet};

use collector_table::SpanKind;

use super::World;
use crate::change::{Change, Effect, Scope};
use crate::system::{
    Broker, Builder, Context, Protocol, Step, System, call, fail, query, repeat, saga, scatter, send, sleep, work,
};
use crate::systems;

#[derive(Debug, Clone)]
struct Seen {
    trace: String,
    id: String,
    parent: Option<String>,
    service: String,
    instance: String,
    name: String,
    kind: SpanKind,
    start_ns: i64,
    end_ns: i64,
    is_error: bool,
    links: Vec<String>,
    attributes: BTreeMap<String, String>,
}

impl Seen {
    fn ms(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e6
    }
}

/// Returns all spans of the work that begins in so many seconds, in order of their starts.
fn told(system: &System, mut changes: Vec<Change>, seconds: usize) -> Vec<Seen> {
    changes.push(Change::between(seconds as f64, 1e6, Effect::Traffic { source: None, factor: 0.0 }));
    let mut world = World::new(system, 5, changes);
    let mut seen = Vec::new();
    for _ in 0..seconds + 20 {
        let chunk = world.next_chunk();
        for row in chunk.spans.rows() {
            seen.push(Seen {
                trace: row.trace_id.to_string(),
                id: row.span_id.to_string(),
                parent: row.parent_span_id.map(|id| id.to_string()),
                service: row.service_name.to_owned(),
                instance: row.service_instance.unwrap_or_default().to_owned(),
                name: row.name.to_owned(),
                kind: row.kind,
                start_ns: row.start_ns,
                end_ns: row.end_ns,
                is_error: row.status_code == collector_table::StatusCode::Error,
                links: row.links().iter().map(|link| link.span_id.to_string()).collect(),
                attributes: row.attributes.iter().map(|(key, value, _)| (key.to_owned(), value.to_owned())).collect(),
            });
        }
    }
    seen.sort_by_key(|span| (span.start_ns, span.id.clone()));
    seen
}

fn of<'a>(spans: &'a [Seen], name: &str, kind: SpanKind) -> Vec<&'a Seen> {
    spans.iter().filter(|span| span.name == name && span.kind == kind).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A front that calls a back, which works for so many milliseconds.
fn pair(ms: f64, per_second: f64, protect: impl Fn(crate::system::Call) -> crate::system::Call) -> System {
    let mut pair = Builder::new("pair");
    let back = pair.service("back").instances(1).workers(4).pauses(None).id();
    let answer = pair.rpc(back, "back.Back/Answer", vec![work(ms)]);
    let front = pair.service("front").instances(1).workers(64).pauses(None).id();
    let ask = pair.http(front, "GET /ask", vec![work(1.0), protect(call(answer)).into()]);
    pair.traffic(ask, per_second);
    pair.build()
}

#[test]
fn the_same_seed_tells_the_same_and_another_seed_another() {
    let ids = |seed: u64| {
        let mut world = World::new(&systems::drawn(3), seed, Vec::new());
        let chunks: Vec<_> = (0..20).map(|_| world.next_chunk()).collect();
        let spans = chunks
            .iter()
            .flat_map(|chunk| chunk.spans.rows().map(|row| (row.span_id, row.start_ns)).collect::<Vec<_>>());
        spans.collect::<Vec<_>>()
    };
    let first = ids(1);
    assert!(first.len() > 100, "{}", first.len());
    assert_eq!(first, ids(1));
    assert_ne!(first, ids(2));
}

#[test]
fn a_call_is_seen_from_both_sides() {
    let spans = told(&pair(5.0, 4.0, |call| call), Vec::new(), 20);
    let servers = of(&spans, "back.Back/Answer", SpanKind::Server);
    assert!(servers.len() > 40, "{}", servers.len());
    for server in servers {
        let client = spans.iter().find(|span| Some(&span.id) == server.parent.as_ref()).unwrap();
        assert_eq!((client.kind, client.service.as_str()), (SpanKind::Client, "front"));
        assert!(client.start_ns < server.start_ns && server.end_ns < client.end_ns);
    }
}

#[test]
fn what_outlasts_the_timeout_is_tried_again_and_worked_on_in_vain() {
    let slow = pair(200.0, 1.0, |call| call.timeout(50.0).tries(3, 10.0));
    let spans = told(&slow, Vec::new(), 30);
    let clients = of(&spans, "back.Back/Answer", SpanKind::Client);
    let roots = of(&spans, "GET /ask", SpanKind::Server);
    assert!(roots.len() > 10 && roots.iter().all(|root| root.is_error));
    assert!(clients.iter().all(|client| client.is_error && client.ms() < 50.1), "cut off at the timeout");
    assert!(clients.len() >= 3 * roots.len() - 6, "three attempts each: {} of {}", clients.len(), roots.len());
    let servers = of(&spans, "back.Back/Answer", SpanKind::Server);
    let outlived = servers.iter().filter(|server| server.ms() > 100.0).count();
    assert!(outlived > clients.len() / 2, "the server does not know that nobody waits");
}

#[test]
fn a_server_that_is_told_breaks_off() {
    let mut system = pair(500.0, 1.0, |call| call.timeout(50.0));
    system.services[0].cancels = true;
    let spans = told(&system, Vec::new(), 20);
    let servers = of(&spans, "back.Back/Answer", SpanKind::Server);
    assert!(servers.len() > 5 && servers.iter().all(|server| server.is_error && server.ms() < 60.0));
}

#[test]
fn few_workers_make_callers_wait_before_the_server_sees_them() {
    let waits = |changes: Vec<Change>| {
        let spans = told(&pair(40.0, 15.0, |call| call), changes, 60);
        let gaps = of(&spans, "back.Back/Answer", SpanKind::Server).into_iter().filter_map(|server| {
            let client = spans.iter().find(|span| Some(&span.id) == server.parent.as_ref())?;
            Some((server.start_ns - client.start_ns) as f64 / 1e6)
        });
        median(gaps.collect())
    };
    let usual_ms = waits(Vec::new());
    let few_ms = waits(vec![Change::between(0.0, 1e6, Effect::FewerWorkers { service: 0, workers: 1 })]);
    assert!(usual_ms < 1.0 && few_ms > 5.0, "{usual_ms} and {few_ms}");
}

#[test]
fn a_full_backlog_refuses() {
    let mut system = pair(400.0, 40.0, |call| call);
    system.services[0].backlog_max = 3;
    let spans = told(&system, Vec::new(), 20);
    let refused =
        of(&spans, "back.Back/Answer", SpanKind::Client).into_iter().filter(|one| one.is_error && one.ms() < 10.0);
    assert!(refused.count() > 100);
}

#[test]
fn a_breaker_keeps_calls_from_being_made_and_the_caller_answers_without() {
    let failing = Change::between(10.0, 1e6, Effect::Fails { operation: 0, share: 1.0 });
    let system = pair(5.0, 10.0, |call| call.breaker().or(vec![work(1.0)]));
    let spans = told(&system, vec![failing], 60);
    let late = |span: &&&Seen| span.start_ns > spans[0].start_ns + 15_000_000_000;
    let (roots, clients) = (of(&spans, "GET /ask", SpanKind::Server), of(&spans, "back.Back/Answer", SpanKind::Client));
    assert!(roots.iter().all(|root| !root.is_error));
    let (roots, clients) = (roots.iter().filter(late).count(), clients.iter().filter(late).count());
    assert!(clients * 10 < roots, "{clients} calls of {roots}");
}

#[test]
fn a_pause_stops_everything_on_an_instance() {
    let mut system = pair(5.0, 20.0, |call| call);
    system.services[0].pauses = Some((5.0, 400.0));
    let spans = told(&system, Vec::new(), 60);
    let long =
        of(&spans, "back.Back/Answer", SpanKind::Server).into_iter().filter(|server| server.ms() > 150.0).count();
    assert!(long > 10, "{long}");
}

#[test]
fn two_of_three_answers_are_enough() {
    let mut system = Builder::new("fan");
    let mut calls = Vec::new();
    for (name, ms) in [("one", 5.0), ("two", 10.0), ("three", 300.0)] {
        let peer = system.service(name).pauses(None).id();
        calls.push(call(system.rpc(peer, &format!("{name}.Peer/Ask"), vec![work(ms)])));
    }
    let front = system.service("front").pauses(None).id();
    let ask = system.http(front, "GET /ask", vec![scatter(calls, 2)]);
    system.traffic(ask, 5.0);
    let spans = told(&system.build(), Vec::new(), 20);
    let roots: Vec<f64> = of(&spans, "GET /ask", SpanKind::Server).into_iter().map(Seen::ms).collect();
    assert!(roots.len() > 50 && median(roots) < 40.0);
    assert!(!of(&spans, "three.Peer/Ask", SpanKind::Server).is_empty(), "the third works on");
}

/// A producer, and a consumer in a context.
fn queue(broker: Broker, context: Context, batch_max: usize) -> System {
    let mut system = Builder::new("queue");
    let queue = system.queue("jobs", broker, 2);
    let sender = system.service("sender").pauses(None).id();
    let give = system.http(sender, "POST /jobs", vec![work(1.0), send(queue)]);
    let taker = system.service("taker").pauses(None).id();
    system.batch_consumer(
        queue,
        taker,
        context,
        (batch_max, if batch_max > 1 { 1_000.0 } else { 0.0 }),
        vec![work(3.0)],
    );
    system.traffic(give, 10.0);
    system.build()
}

#[test]
fn consumers_go_on_as_their_context_says() {
    let spans = |context| told(&queue(Broker::Rabbit, context, 1), Vec::new(), 20);
    let by_id: BTreeMap<String, Seen> =
        spans(Context::Parent).into_iter().map(|span| (span.id.clone(), span)).collect();
    let taken: Vec<&Seen> = by_id.values().filter(|span| span.kind == SpanKind::Consumer).collect();
    assert!(taken.len() > 100);
    for one in taken {
        let parent = &by_id[one.parent.as_ref().unwrap()];
        assert_eq!((parent.kind, &parent.trace), (SpanKind::Producer, &one.trace));
    }
    let linked = spans(Context::Link);
    let consumers = linked.iter().filter(|span| span.kind == SpanKind::Consumer);
    consumers.for_each(|one| assert!(one.parent.is_none() && one.links.len() == 1));
    let named = spans(Context::MessageId);
    let ids = |kind: SpanKind| -> BTreeSet<&String> {
        named
            .iter()
            .filter(|span| span.kind == kind)
            .filter_map(|span| span.attributes.get("messaging.message.id"))
            .collect()
    };
    assert!(ids(SpanKind::Consumer).is_subset(&ids(SpanKind::Producer)) && ids(SpanKind::Consumer).len() > 100);
    let silent = spans(Context::Nothing);
    let consumers: Vec<&Seen> = silent.iter().filter(|span| span.kind == SpanKind::Consumer).collect();
    assert!(consumers.iter().all(|one| one.links.is_empty() && !one.attributes.contains_key("messaging.message.id")));
}

#[test]
fn a_batch_takes_what_has_come_in() {
    let spans = told(&queue(Broker::Kafka, Context::Link, 50), Vec::new(), 30);
    let batches: Vec<usize> =
        spans.iter().filter(|span| span.kind == SpanKind::Consumer).map(|span| span.links.len()).collect();
    let messages = spans.iter().filter(|span| span.kind == SpanKind::Producer).count();
    assert!(batches.iter().any(|count| *count > 2));
    assert!(batches.iter().sum::<usize>() + 20 > messages, "all are taken");
}

#[test]
fn messages_are_lost_doubled_and_out_of_order_only_if_a_change_says_so() {
    let offsets = |changes: Vec<Change>| -> Vec<(String, i64)> {
        let spans = told(&queue(Broker::Kafka, Context::Link, 1), changes, 60);
        let consumers = spans.into_iter().filter(|span| span.kind == SpanKind::Consumer);
        let place = |span: Seen| {
            let partition = span.attributes["messaging.destination.partition.id"].clone();
            (partition, span.attributes["messaging.kafka.offset"].parse().unwrap())
        };
        consumers.map(place).collect()
    };
    let inversions = |offsets: &[(String, i64)]| {
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        offsets
            .iter()
            .filter(|(partition, offset)| last.insert(partition, *offset).is_some_and(|last| last > *offset))
            .count()
    };
    let unique = |offsets: &[(String, i64)]| offsets.iter().collect::<BTreeSet<_>>().len();
    let usual = offsets(Vec::new());
    assert!(usual.len() > 400);
    assert_eq!((inversions(&usual), unique(&usual)), (0, usual.len()));
    let all = |effect: Effect| vec![Change::between(0.0, 1e6, effect)];
    let lost = offsets(all(Effect::Loses { queue: 0, share: 0.5 }));
    assert!(lost.len() < usual.len() * 6 / 10);
    let doubled = offsets(all(Effect::Doubles { group: 0, share: 0.3 }));
    assert!(doubled.len() > unique(&doubled) * 12 / 10);
    let disordered = offsets(all(Effect::Disorders { group: 0, share: 0.2 }));
    assert!(inversions(&disordered) > 50);
}

#[test]
fn a_saga_that_fails_is_undone_backwards_unless_a_change_forgets_it() {
    let mut system = Builder::new("saga");
    let service = system.service("steps").pauses(None).id();
    let mut step = |name: &str| -> Vec<Step> {
        vec![call(system.rpc(service, &format!("steps.Steps/{name}"), vec![work(1.0)])).into()]
    };
    let (first, second) = ((step("A"), step("UndoA")), (step("B"), step("UndoB")));
    let conductor = system.service("conductor").pauses(None).id();
    let run = system.http(conductor, "POST /run", vec![saga(vec![first, second, (vec![fail(1.0)], Vec::new())])]);
    system.traffic(run, 3.0);
    let system = system.build();
    let order = |changes: Vec<Change>| -> Vec<Vec<String>> {
        let spans = told(&system, changes, 20);
        let roots: Vec<&Seen> = of(&spans, "POST /run", SpanKind::Server);
        assert!(roots.len() > 20 && roots.iter().all(|root| root.is_error));
        let steps = |root: &&Seen| {
            let own = spans.iter().filter(|span| span.trace == root.trace && span.kind == SpanKind::Client);
            own.map(|span| span.name.trim_start_matches("steps.Steps/").to_owned()).collect()
        };
        roots.iter().map(steps).collect()
    };
    assert!(order(Vec::new()).iter().all(|steps| steps == &["A", "B", "UndoB", "UndoA"]));
    let forgets = Change::between(0.0, 1e6, Effect::ForgetsToUndo { operation: run, share: 1.0 });
    assert!(order(vec![forgets]).iter().all(|steps| steps == &["A", "B"]));
}

#[test]
fn a_version_that_drops_its_context_leaves_its_callees_alone() {
    let version = "9.9.9".to_owned();
    let scope = Scope { version: Some(version.clone()), ..Scope::default() };
    let changes = vec![
        Change::at(10.0, Effect::Deploy { service: 1, version, share: 1.0 }),
        Change::between(10.0, 1e6, Effect::DropsContext { service: 1 }).within(scope),
    ];
    let spans = told(&pair(5.0, 10.0, |call| call), changes, 30);
    let servers = of(&spans, "back.Back/Answer", SpanKind::Server);
    let (early, late): (Vec<&&Seen>, Vec<&&Seen>) =
        servers.iter().partition(|span| span.start_ns < spans[0].start_ns + 9_000_000_000);
    assert!(early.iter().all(|span| span.parent.is_some()) && !early.is_empty());
    assert!(late.iter().filter(|span| span.parent.is_none()).count() > 100);
}

#[test]
fn one_instance_can_be_slow_alone() {
    let mut system = pair(5.0, 20.0, |call| call);
    system.services[0].instances = 3;
    let scope = Scope { instance: Some(1), ..Scope::default() };
    let slow = Change::between(0.0, 1e6, Effect::Slower { operation: 0, extra_ms: 100.0, share: 1.0 }).within(scope);
    let spans = told(&system, vec![slow], 30);
    let slow: BTreeSet<&str> = of(&spans, "back.Back/Answer", SpanKind::Server)
        .into_iter()
        .filter(|span| span.ms() > 50.0)
        .map(|span| span.instance.as_str())
        .collect();
    assert_eq!(slow.len(), 1);
}

#[test]
fn work_is_over_when_nothing_of_it_is_left_and_its_owner_is_who_took_longest() {
    let mut system = Builder::new("owner");
    let database = system.database("store", "postgresql", 50);
    let select = system.statement(database, "SELECT rows", 60.0);
    let back = system.service("back").pauses(None).id();
    let answer = system.rpc(back, "back.Back/Answer", vec![work(3.0), repeat(1, 2, vec![query(select)])]);
    let front = system.service("front").pauses(None).id();
    let ask = system.http(front, "GET /ask", vec![work(2.0), call(answer).into()]);
    let wait = system.operation(front, Protocol::Http, "GET /wait", vec![sleep(100.0, 200.0)]);
    system.traffic(ask, 5.0);
    system.traffic(wait, 1.0);
    let mut world = World::new(&system.build(), 2, Vec::new()).with_truth();
    let (mut owners, mut spans, mut works) = (BTreeMap::new(), 0, BTreeSet::new());
    for _ in 0..60 {
        let chunk = world.next_chunk();
        spans += chunk.span_truths.len();
        assert_eq!(chunk.span_truths.len(), chunk.spans.len());
        works.extend(chunk.span_truths.iter().flat_map(|span| span.works.clone()));
        for over in chunk.work_truths {
            let (site, ns, total_ns) = over.owner.unwrap();
            assert!(ns <= total_ns);
            *owners.entry(world.site_name(site)).or_insert(0) += 1;
        }
    }
    assert!(owners["back SELECT rows"] > 200, "{owners:?}");
    assert!(owners["front GET /wait"] > 30, "{owners:?}");
    assert!(spans > 1_000 && works.len() > 250);
}

#[test]
fn nothing_is_left_alive_when_traffic_ends() {
    for system in systems::written().into_iter().chain((0..4).map(systems::drawn)) {
        let ends = Change::between(30.0, 1e6, Effect::Traffic { source: None, factor: 0.0 });
        let mut world = World::new(&system, 9, vec![ends]);
        (0..150).for_each(|_| {
            world.next_chunk();
        });
        assert!(world.works.open() == 0, "{}: {} pieces of work are not over", system.name, world.works.open());
    }
}
