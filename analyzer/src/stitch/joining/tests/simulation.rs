//! Simulated systems whose work crosses traces in every way that is joined: seed → traffic → shuffle, delay, duplicate,
//! lose, skew → the same transactions. Asked of pairs of spans: which belong together, and which were said to.
//! The names of keys and queues are drawn, so that nothing can be fitted to them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use collector_table::{
    LinkFields, LogTable, SpanFields, SpanId, SpanKind, SpanTable, SpanTableBuilder, StatusCode, TraceId, ValueType,
};

use super::logs_of;
use crate::fixture::dice::Dice;
use crate::stitch::{Stitcher, StitcherLimits};
use crate::transaction::Transaction;

pub(super) const MS_NS: i64 = 1_000_000;
pub(super) const SECOND_NS: i64 = 1_000_000_000;
pub(super) const BEGIN_NS: i64 = 1_700_000_000 * SECOND_NS;

impl Dice {
    pub(super) fn ms(&mut self, from: i64, to: i64) -> i64 {
        (from + i64::try_from(self.below(u64::try_from(to - from).unwrap())).unwrap()) * MS_NS
    }

    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xffff,
            b >> 48,
            b & 0xffff_ffff_ffff
        )
    }
}

#[derive(Clone)]
pub(super) struct Made {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    parent: Option<SpanId>,
    service: String,
    operation: String,
    kind: SpanKind,
    start_ns: i64,
    end_ns: i64,
    attributes: Vec<(String, String)>,
    links: Vec<(TraceId, SpanId)>,
    /// Attributes of log records written in it, one a record.
    logs: Vec<(String, String)>,
    /// Pieces of work that it serves.
    works: Vec<usize>,
}

/// A simulated system: makes spans and knows which belong together.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) spans: Vec<Made>,
    works: usize,
    pub(super) names: [String; 4],
}

pub(super) type At = usize;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let names = [(); 4].map(|()| format!("{}{}.{}", word(&mut dice), dice.below(9), word(&mut dice)));
        Self { dice, spans: Vec::new(), works: 0, names }
    }

    pub(super) fn trace(&mut self) -> TraceId {
        TraceId((u128::from(self.dice.next()) << 64 | u128::from(self.dice.next())).to_be_bytes())
    }

    pub(super) fn root(
        &mut self,
        work: &[usize],
        service: &str,
        operation: &str,
        kind: SpanKind,
        (start_ns, length_ns): (i64, i64),
    ) -> At {
        let trace = self.trace();
        self.add(work, (trace, None), service, operation, kind, (start_ns, length_ns))
    }

    pub(super) fn child(
        &mut self,
        parent: At,
        service: &str,
        operation: &str,
        kind: SpanKind,
        (after_ns, length_ns): (i64, i64),
    ) -> At {
        let above = &self.spans[parent];
        let (place, start_ns, works) = ((above.trace, Some(above.id)), above.start_ns + after_ns, above.works.clone());
        self.add(&works, place, service, operation, kind, (start_ns, length_ns))
    }

    pub(super) fn add(
        &mut self,
        works: &[usize],
        (trace, parent): (TraceId, Option<SpanId>),
        service: &str,
        operation: &str,
        kind: SpanKind,
        (start_ns, length_ns): (i64, i64),
    ) -> At {
        let id = SpanId(self.dice.next().to_be_bytes());
        let (service, operation) = (service.to_owned(), operation.to_owned());
        let (attributes, links) = (vec![("thread.id".to_owned(), "1234".to_owned())], Vec::new());
        let end_ns = start_ns + length_ns;
        let (works, logs) = (works.to_vec(), Vec::new());
        self.spans.push(Made {
            trace,
            id,
            parent,
            service,
            operation,
            kind,
            start_ns,
            end_ns,
            attributes,
            links,
            logs,
            works,
        });
        self.spans.len() - 1
    }

    pub(super) fn say(&mut self, at: At, key: &str, value: &str) {
        self.spans[at].attributes.push((key.to_owned(), value.to_owned()));
    }

    /// Writes a log record within a span.
    pub(super) fn write(&mut self, at: At, key: &str, value: &str) {
        self.spans[at].logs.push((key.to_owned(), value.to_owned()));
    }

    pub(super) fn link(&mut self, at: At, to: At) {
        let target = (self.spans[to].trace, self.spans[to].id);
        self.spans[at].links.push(target);
    }

    pub(super) fn end_ns(&self, at: At) -> i64 {
        self.spans[at].end_ns
    }

    pub(super) fn work(&mut self) -> usize {
        self.works += 1;
        self.works
    }

    /// A request with some calls within.
    pub(super) fn request(&mut self, work: usize, service: &str, operation: &str, start_ns: i64) -> At {
        let root = self.root(&[work], service, operation, SpanKind::Server, (start_ns, 60 * MS_NS));
        let call = self.child(root, service, "GET", SpanKind::Client, (5 * MS_NS, 20 * MS_NS));
        self.child(call, &format!("{service}-back"), "GET /x", SpanKind::Server, (7 * MS_NS, 10 * MS_NS));
        root
    }

    pub(super) fn consumed(&mut self, sent: At, service: &str, operation: &str, kind: SpanKind) -> At {
        let wait_ns = self.dice.ms(2, 900);
        let works = self.spans[sent].works.clone();
        let at = (self.end_ns(sent) + wait_ns, 40 * MS_NS);
        let root = self.root(&works, service, operation, kind, at);
        self.child(root, service, "store", SpanKind::Client, (10 * MS_NS, 20 * MS_NS));
        root
    }
}

pub(super) fn word(dice: &mut Dice) -> String {
    (0..5).map(|_| char::from(b'a' + u8::try_from(dice.below(26)).unwrap())).collect()
}

/// A saga of four steps over queues; each consumer is a trace of its own, that links to the message.
fn saga_by_links(world: &mut World, start_ns: i64) {
    let work = world.work();
    let mut at = world.request(work, "shop", "POST /buy", start_ns);
    for step in ["pay", "stock", "ship"] {
        let sent =
            world.child(at, &world.spans[at].service.clone(), "send", SpanKind::Producer, (45 * MS_NS, 2 * MS_NS));
        at = world.consumed(sent, step, "receive", SpanKind::Consumer);
        if world.dice.is(3) {
            world.link(sent, at);
        } else {
            world.link(at, sent);
        }
    }
}

/// The same by ids of messages, short ones and long ones, by old names and new ones.
fn saga_by_message_ids(world: &mut World, start_ns: i64) {
    let work = world.work();
    let mut at = world.request(work, "shop", "POST /buy", start_ns);
    for step in ["pay", "stock", "ship"] {
        let id = if step == "pay" { format!("{work}") } else { world.dice.uuid() };
        let queue = format!("{}-{step}", world.names[0]);
        let sent =
            world.child(at, &world.spans[at].service.clone(), "send", SpanKind::Producer, (45 * MS_NS, 2 * MS_NS));
        at = world.consumed(sent, step, "receive", SpanKind::Consumer);
        for (end, is_old) in [(sent, world.dice.is(2)), (at, world.dice.is(2))] {
            world.say(end, "messaging.system", "rabbitmq");
            world.say(end, if is_old { "messaging.destination" } else { "messaging.destination.name" }, &queue);
            world.say(end, if is_old { "messaging.message_id" } else { "messaging.message.id" }, &id);
        }
    }
}

/// Events to a log that batches read: of one batch all messages are one trace, with a span each or without.
fn pipeline_in_batches(world: &mut World, start_ns: i64, offset: &mut i64) {
    let mut sent = Vec::new();
    for number in 0..world.dice.below(6) + 2 {
        let work = world.work();
        let at = world.request(work, "gate", "POST /event", start_ns + i64::try_from(number).unwrap() * 7 * MS_NS);
        let one = world.child(at, "gate", "publish", SpanKind::Producer, (50 * MS_NS, 3 * MS_NS));
        *offset += 1;
        for (key, value) in
            [("messaging.system", "kafka"), ("messaging.destination", "events"), ("messaging.kafka.partition", "0")]
        {
            world.say(one, key, value);
        }
        world.say(one, "messaging.kafka.message.offset", &offset.to_string());
        sent.push((one, *offset));
    }
    let works: Vec<usize> = sent.iter().flat_map(|(one, _)| world.spans[*one].works.clone()).collect();
    let from_ns = sent.iter().map(|(one, _)| world.end_ns(*one)).max().unwrap() + world.dice.ms(10, 300);
    let length_ns = i64::try_from(sent.len()).unwrap() * 20 * MS_NS + 10 * MS_NS;
    let is_one_span = world.dice.is(2);
    let kind = if is_one_span { SpanKind::Consumer } else { SpanKind::Internal };
    let batch = world.root(&works, "sink", "poll", kind, (from_ns, length_ns));
    for (number, (one, at)) in (0i64..).zip(&sent) {
        if is_one_span {
            world.link(batch, *one);
            continue;
        }
        let place = (world.spans[batch].trace, Some(world.spans[batch].id));
        let works = world.spans[*one].works.clone();
        let times_ns = (from_ns + 5 * MS_NS + number * 20 * MS_NS, 15 * MS_NS);
        let own = world.add(&works, place, "sink", "process", SpanKind::Consumer, times_ns);
        for (key, value) in [
            ("messaging.system", "kafka"),
            ("messaging.destination.name", "events"),
            ("messaging.destination.partition.id", "0"),
        ] {
            world.say(own, key, value);
        }
        world.say(own, "messaging.kafka.offset", &at.to_string());
        let told = world.child(own, "sink", "tell", SpanKind::Producer, (5 * MS_NS, 2 * MS_NS));
        let heard = world.consumed(told, "audit", "note", SpanKind::Consumer);
        world.link(heard, told);
    }
}

/// A search asks many and gathers their answers, in a trace of its own.
fn search(world: &mut World, start_ns: i64) {
    let work = world.work();
    let root = world.request(work, "travel", "GET /search", start_ns);
    let conversation = world.dice.uuid();
    let ask = world.child(root, "travel", "ask", SpanKind::Producer, (40 * MS_NS, 2 * MS_NS));
    let mut answers = vec![ask];
    for number in 0..world.dice.below(6) + 3 {
        let heard = world.consumed(ask, &format!("offers{number}"), "offer", SpanKind::Consumer);
        let answer =
            world.child(heard, &format!("offers{number}"), "answer", SpanKind::Producer, (30 * MS_NS, 2 * MS_NS));
        world.link(heard, ask);
        answers.extend([heard, answer]);
    }
    let last_ns = answers.iter().map(|at| world.end_ns(*at)).max().unwrap();
    let gather = world.root(&[work], "travel", "gather", SpanKind::Consumer, (last_ns + 3 * MS_NS, 30 * MS_NS));
    answers.push(gather);
    for at in answers {
        world.say(at, "messaging.system", "amqp");
        world.say(at, "messaging.destination.name", &world.names[1].clone());
        world.say(at, "messaging.message.conversation_id", &conversation);
    }
}

/// Work without any propagation: only an id of the business runs through it, besides much that does not identify it.
fn without_propagation(world: &mut World, start_ns: i64, key: usize) {
    let work = world.work();
    let id =
        if key == 2 { world.dice.uuid() } else { format!("{}-{}", word(&mut world.dice), world.dice.below(100_000)) };
    let buyer = format!("b{}", world.dice.below(60) + 100);
    let price = (world.dice.below(400) * 50 + 999).to_string();
    let mut start_ns = start_ns;
    for (service, operation) in
        [("front", "POST /book"), ("bank", "POST /hook"), ("desk", "POST /confirm"), ("post", "POST /print")]
    {
        let root = world.request(work, service, operation, start_ns);
        let carrier = if service == "desk" {
            world.child(root, service, "load", SpanKind::Internal, (MS_NS, 30 * MS_NS))
        } else {
            root
        };
        let name = world.names[key].clone();
        world.say(carrier, &name, &id);
        world.say(root, "buyer.ref", &buyer);
        world.say(root, "total.cents", &price);
        world.say(root, "plan.name", "gold-2");
        let request = world.dice.uuid();
        world.say(root, "call.ref", &request);
        start_ns += world.dice.ms(80, 4_000);
    }
}

/// What happens to spans on their way.
pub(super) struct Trouble {
    pub(super) lost_one_in: u64,
    pub(super) doubled_one_in: u64,
    pub(super) skew_ms: i64,
    pub(super) delay_ms: i64,
    /// Whether the input ends, or only falls silent.
    pub(super) ends: bool,
}

/// A log record: the span that it is of, a key and its value.
type Record = (Option<TraceId>, SpanId, (String, String));

/// Gives the spans in requests by arrival, each with the log records that come before the next.
fn requests(world: &mut World, trouble: &Trouble) -> Vec<(i64, SpanTable, LogTable)> {
    let mut skews: BTreeMap<String, i64> = BTreeMap::new();
    let mut arriving: Vec<(i64, Made)> = Vec::new();
    let mut written: Vec<(i64, Record)> = Vec::new();
    let spans = world.spans.clone();
    for mut span in spans {
        if world.dice.is(trouble.lost_one_in) {
            continue;
        }
        let dice = &mut world.dice;
        let skew_ns =
            *skews.entry(span.service.clone()).or_insert_with(|| dice.ms(-trouble.skew_ms, trouble.skew_ms + 1));
        let arrival_ns = span.end_ns + dice.ms(0, trouble.delay_ms);
        (span.start_ns, span.end_ns) = (span.start_ns + skew_ns, span.end_ns + skew_ns);
        for said in &span.logs {
            // Log records have a way of their own.
            let at_ns = span.start_ns + dice.ms(0, trouble.delay_ms);
            written.push((at_ns, (Some(span.trace), span.id, said.clone())));
        }
        if dice.is(trouble.doubled_one_in) {
            arriving.push((arrival_ns + dice.ms(0, trouble.delay_ms), span.clone()));
        }
        arriving.push((arrival_ns, span));
    }
    arriving.sort_by_key(|(at_ns, span)| (*at_ns, span.id));
    written.sort();
    let mut written = written.into_iter().peekable();
    let request = |chunk: &[(i64, Made)]| {
        let at_ns = chunk[chunk.len() - 1].0;
        let mut logs: Vec<Record> = Vec::new();
        while let Some((_, record)) = written.next_if(|one| one.0 <= at_ns) {
            logs.push(record);
        }
        (at_ns, table(chunk.iter().map(|(_, span)| span)), logs_of(&logs))
    };
    arriving.chunks(40).map(request).collect()
}

fn table<'a>(spans: impl Iterator<Item = &'a Made>) -> SpanTable {
    let mut builder = SpanTableBuilder::default();
    for span in spans {
        for (key, value) in &span.attributes {
            let value_type = if value.parse::<i64>().is_ok() { ValueType::Int } else { ValueType::String };
            builder.push_attribute(key, value, value_type);
        }
        for (trace_id, span_id) in &span.links {
            builder.push_link(&LinkFields { trace_id: *trace_id, span_id: *span_id, trace_state: None });
        }
        builder.append(&SpanFields {
            trace_id: span.trace,
            span_id: span.id,
            parent_span_id: span.parent,
            trace_state: None,
            flags: 0,
            service_name: &span.service,
            service_instance: None,
            service_version: None,
            name: &span.operation,
            kind: span.kind,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            status_code: StatusCode::Unset,
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    builder.finish()
}

/// Pairs of spans: said to belong together and do; said to and do not; not said to and do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Score {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Score {
    pub(super) fn precision(self) -> f64 {
        self.right as f64 / (self.right + self.wrong) as f64
    }

    pub(super) fn recall(self) -> f64 {
        self.right as f64 / (self.right + self.missed) as f64
    }

    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
    }
}

fn pairs(sets: impl Iterator<Item = BTreeSet<SpanId>>) -> HashSet<(SpanId, SpanId)> {
    let mut pairs = HashSet::new();
    for set in sets {
        let ids: Vec<SpanId> = set.into_iter().collect();
        for (index, one) in ids.iter().enumerate() {
            pairs.extend(ids[index + 1..].iter().map(|other| (*one, *other)));
        }
    }
    pairs
}

/// Runs the requests through a stitcher and scores what is left at the end.
pub(super) fn run(seed: u64, limits: StitcherLimits, trouble: &Trouble, make: impl Fn(&mut World)) -> Score {
    let mut world = World::new(seed);
    make(&mut world);
    let mut stitcher = Stitcher::new(limits);
    let mut last: BTreeMap<TraceId, Transaction> = BTreeMap::new();
    let mut now_ns = 0;
    let mut seen: BTreeSet<SpanId> = BTreeSet::new();
    let mut note = |done: Vec<Transaction>| {
        for one in done {
            let length_ns: i64 = one.critical_path.iter().map(|segment| segment.end_ns - segment.start_ns).sum();
            assert_eq!(length_ns, one.duration_ns, "seed {seed}");
            if last.get(&one.id).is_none_or(|known| known.revision < one.revision) {
                last.insert(one.id, one);
            }
        }
    };
    for (at_ns, table, logs) in requests(&mut world, trouble) {
        now_ns = at_ns;
        stitcher.push_logs(&logs, now_ns);
        seen.extend(table.rows().map(|row| row.span_id));
        note(stitcher.push(&table, now_ns));
        note(stitcher.advance(now_ns));
    }
    if trouble.ends {
        note(stitcher.finish(now_ns));
    } else {
        (0..800).for_each(|second| note(stitcher.advance(now_ns + second * SECOND_NS)));
        let joins = stitcher.stats().joins;
        assert_eq!((joins.traces, joins.kept_spans, joins.values), (0, 0, 0), "seed {seed}: all is let go of in time");
    }
    let last = last.values().filter(|one| one.superseded_by.is_none());
    let said = pairs(last.map(|one| one.spans.iter().map(|span| span.span_id).collect()));
    let mut truth: BTreeMap<usize, BTreeSet<SpanId>> = BTreeMap::new();
    for span in world.spans.iter().filter(|span| seen.contains(&span.id)) {
        for work in &span.works {
            truth.entry(*work).or_default().insert(span.id);
        }
    }
    let truth = pairs(truth.into_values());
    let right = said.intersection(&truth).count();
    Score { right, wrong: said.len() - right, missed: truth.len() - right }
}

pub(super) const USUAL: Trouble =
    Trouble { lost_one_in: 2_000, doubled_one_in: 30, skew_ms: 30, delay_ms: 3_000, ends: true };

/// Makes so many pieces of work, so many milliseconds apart.
pub(super) fn often(world: &mut World, count: i64, every_ms: i64, mut make: impl FnMut(&mut World, i64)) {
    for number in 0..count {
        let jitter_ns = world.dice.ms(0, every_ms.max(2));
        make(world, BEGIN_NS + number * every_ms * MS_NS + jitter_ns);
    }
}

pub(super) fn assert_scores(what: &str, limits: &StitcherLimits, make: impl Fn(&mut World)) {
    assert_eq!(complaint(what, limits, &USUAL, make), None);
}

/// Returns what is wrong with the scores of three seeds.
pub(super) fn complaint(
    what: &str,
    limits: &StitcherLimits,
    trouble: &Trouble,
    make: impl Fn(&mut World),
) -> Option<String> {
    let mut all = Score::default();
    for seed in 1..=3 {
        let score = run(seed, limits.clone(), trouble, &make);
        println!("{what} seed {seed}: {score:?} precision {:.5} recall {:.5}", score.precision(), score.recall());
        all.add(score);
    }
    let (precision, recall) = (all.precision(), all.recall());
    let is_good = precision >= 0.999 && recall >= 0.99;
    (!is_good).then(|| format!("{what}, seeds 1 to 3: precision {precision:.4}, recall {recall:.4}, {all:?}"))
}

#[test]
fn sagas_over_queues_come_out_whole_by_links() {
    assert_scores("sagas by links", &StitcherLimits::default(), |world| often(world, 200, 50, saga_by_links));
}

#[test]
fn sagas_over_queues_come_out_whole_by_ids_of_messages() {
    assert_scores("sagas by ids", &StitcherLimits::default(), |world| often(world, 200, 50, saga_by_message_ids));
}

#[test]
fn pipelines_that_read_in_batches_come_out_apart() {
    assert_scores("batches", &StitcherLimits::default(), |world| {
        let mut offset = 0;
        often(world, 60, 200, |world, at| pipeline_in_batches(world, at, &mut offset));
    });
}

#[test]
fn searches_that_scatter_and_gather_come_out_whole() {
    assert_scores("searches", &StitcherLimits::default(), |world| often(world, 80, 100, search));
}

#[test]
fn work_without_propagation_comes_out_whole_by_a_key_that_is_found() {
    for (key, every_ms) in [(2, 200), (3, 700)] {
        assert_scores("discovered key", &StitcherLimits::default(), |world| {
            often(world, 150, every_ms, |world, at| without_propagation(world, at, key));
        });
    }
}

#[test]
fn little_work_without_propagation_is_enough_to_find_its_key() {
    assert_scores("discovered key, 12 pieces of work", &StitcherLimits::default(), |world| {
        often(world, 12, 900, |world, at| without_propagation(world, at, 3));
    });
}

#[test]
fn all_at_once_come_out_whole() {
    assert_scores("all at once", &StitcherLimits::default(), |world| {
        let mut offset = 0;
        often(world, 60, 100, saga_by_links);
        often(world, 60, 100, saga_by_message_ids);
        often(world, 20, 400, |world, at| pipeline_in_batches(world, at, &mut offset));
        often(world, 30, 200, search);
        often(world, 60, 300, |world, at| without_propagation(world, at, 3));
    });
}

/// Shipping by two keys in a row, written in each service's own way, with payments that are tried again, a status that is
/// asked for, and a buyer who seldom comes back.
fn two_keys_in_a_row(world: &mut World, start_ns: i64) {
    let work = world.work();
    let (order, paid) = (format!("{}-{}", word(&mut world.dice), world.dice.below(1_000_000)), world.dice.uuid());
    let buyer = world.dice.below(3_000) + 10_000;
    let mut at_ns = start_ns;
    let mut steps = vec![("front", "POST /book"), ("bank", "POST /pay")];
    for _ in 0..world.dice.below(3) {
        steps.push(("bank", "POST /pay"));
    }
    steps.extend([("front", "GET /status"), ("book", "POST /entry"), ("front", "GET /status"), ("mail", "POST /bill")]);
    for (service, operation) in steps {
        let root = world.request(work, service, operation, at_ns);
        world.say(root, "acme.buyer", &format!("u{buyer}"));
        match service {
            "front" => world.say(root, "order.no", &order),
            "bank" => {
                world.say(root, "orderNo", &order);
                world.say(root, "payment.ref", &paid);
            }
            _ => world.say(root, "payment_ref", &paid),
        }
        at_ns += world.dice.ms(90, 2_500);
    }
}

#[test]
fn keys_in_a_row_join_whatever_is_tried_again_and_however_they_are_written() {
    assert_scores("two keys", &StitcherLimits::default(), |world| often(world, 150, 300, two_keys_in_a_row));
}

/// A batch in one span, whose outputs tell by a key to whom they belong.
fn batch_with_outputs(world: &mut World, start_ns: i64) {
    let mut sent = Vec::new();
    for number in 0..world.dice.below(8) + 2 {
        let work = world.work();
        let at = world.request(work, "gate", "POST /event", start_ns + i64::try_from(number).unwrap() * 7 * MS_NS);
        let id = world.dice.uuid();
        world.say(at, &world.names[2].clone(), &id);
        sent.push((world.child(at, "gate", "publish", SpanKind::Producer, (50 * MS_NS, 3 * MS_NS)), id));
    }
    let works: Vec<usize> = sent.iter().flat_map(|(one, _)| world.spans[*one].works.clone()).collect();
    let from_ns = sent.iter().map(|(one, _)| world.end_ns(*one)).max().unwrap() + 20 * MS_NS;
    let batch = world.root(&works, "sink", "receive", SpanKind::Consumer, (from_ns, 90 * MS_NS));
    for (one, id) in &sent {
        world.link(batch, *one);
        let out = world.child(batch, "sink", "tell", SpanKind::Producer, (50 * MS_NS, 2 * MS_NS));
        world.spans[out].works = world.spans[*one].works.clone();
        world.say(out, &world.names[2].clone(), id);
        let heard = world.consumed(out, "audit", "note", SpanKind::Consumer);
        world.say(heard, &world.names[2].clone(), id);
        world.link(heard, out);
    }
}

#[test]
fn outputs_of_a_batch_belong_to_whom_their_key_names() {
    assert_scores("batch with outputs", &StitcherLimits::default(), |world| often(world, 40, 400, batch_with_outputs));
}

#[test]
fn clocks_that_are_half_a_second_off_and_late_requests_change_nothing() {
    let rough = Trouble { lost_one_in: 2_000, doubled_one_in: 10, skew_ms: 500, delay_ms: 25_000, ends: true };
    let mut all = Score::default();
    for seed in 11..=13 {
        let score = run(seed, StitcherLimits::default(), &rough, |world| {
            let mut offset = 0;
            often(world, 60, 300, saga_by_links);
            often(world, 60, 300, saga_by_message_ids);
            often(world, 30, 600, |world, at| pipeline_in_batches(world, at, &mut offset));
            often(world, 30, 600, search);
            often(world, 90, 200, |world, at| without_propagation(world, at, 3));
        });
        println!("rough seed {seed}: {score:?} precision {:.5} recall {:.5}", score.precision(), score.recall());
        all.add(score);
    }
    assert!(all.precision() >= 0.999 && all.recall() >= 0.99, "seeds 11 to 13: {all:?}");
}

/// One loop that never ends its trace reads all messages.
#[test]
fn loop_that_reads_all_messages_in_one_trace_joins_none_of_them_to_each_other() {
    assert_scores("endless loop", &StitcherLimits::default(), |world| {
        let works = Vec::new();
        let all = world.root(&works, "sink", "run", SpanKind::Internal, (BEGIN_NS - SECOND_NS, 60 * SECOND_NS));
        often(world, 150, 200, |world, at| {
            let work = world.work();
            let root = world.request(work, "gate", "POST /event", at);
            let sent = world.child(root, "gate", "publish", SpanKind::Producer, (50 * MS_NS, 3 * MS_NS));
            let place = (world.spans[all].trace, Some(world.spans[all].id));
            let times_ns = (world.end_ns(sent) + 5 * MS_NS, 30 * MS_NS);
            let read = world.add(&[work], place, "sink", "process", SpanKind::Consumer, times_ns);
            world.spans[all].works.push(work);
            world.link(read, sent);
            world.child(read, "sink", "store", SpanKind::Client, (5 * MS_NS, 20 * MS_NS));
        });
    });
}

#[test]
fn without_an_end_of_the_input_the_same_comes_out_in_time() {
    let live = Trouble { ends: false, ..USUAL };
    let mut all = Score::default();
    for seed in 21..=23 {
        let score = run(seed, StitcherLimits::default(), &live, |world| {
            let mut offset = 0;
            often(world, 40, 300, saga_by_links);
            often(world, 40, 300, saga_by_message_ids);
            often(world, 20, 600, |world, at| pipeline_in_batches(world, at, &mut offset));
            often(world, 20, 600, search);
            often(world, 60, 200, |world, at| without_propagation(world, at, 3));
        });
        println!("live seed {seed}: {score:?} precision {:.5} recall {:.5}", score.precision(), score.recall());
        all.add(score);
    }
    assert!(all.precision() >= 0.999 && all.recall() >= 0.99, "seeds 21 to 23: {all:?}");
}

/// Every span is a trace of its own; much is going on at once, and customers come back now and then.
fn spans_alone(world: &mut World, start_ns: i64) {
    let work = world.work();
    let (order, customer) = (world.dice.uuid(), format!("c-{:08x}", world.dice.below(250) * 7_919));
    let mut at_ns = start_ns;
    for step in ["web", "cart", "price", "pay", "fraud", "stock", "label", "mail"] {
        let (first, second) = (world.names[0].clone(), world.names[1].clone());
        let length_ns = world.dice.ms(5, 60);
        let kind = if step == "mail" { SpanKind::Consumer } else { SpanKind::Server };
        let root = world.root(&[work], step, &format!("do {step}"), kind, (at_ns, length_ns));
        world.say(root, &first, &order);
        if world.dice.is(2) {
            world.say(root, &second, &customer);
        }
        at_ns += world.dice.ms(20, 700);
    }
}

#[test]
fn spans_that_are_traces_of_their_own_come_together_while_much_goes_on_at_once() {
    assert_scores("spans alone", &StitcherLimits::default(), |world| often(world, 200, 10, spans_alone));
}

#[test]
fn few_pieces_of_work_are_enough_whoever_does_them() {
    assert_scores("four pieces of work", &StitcherLimits::default(), |world| often(world, 4, 2_000, spans_alone));
}

/// Requests of many kinds that share nothing but values drawn at random.
fn strangers(world: &mut World, start_ns: i64) {
    let work = world.work();
    let service = format!("svc{}", world.dice.below(8));
    let operation = format!("GET /look{}er", ["a", "b", "c"][usize::try_from(world.dice.below(3)).unwrap()]);
    let root = world.request(work, &service, &operation, start_ns);
    let (size, shard) = (world.dice.below(4_000) + 1_000, world.dice.below(4_000));
    world.say(root, "body.size", &size.to_string());
    world.say(root, "part.slot", &format!("s{shard}x"));
    let host = world.dice.below(300) * 7_919;
    world.say(root, "worker.ref", &format!("worker-{host:012}"));
}

#[test]
fn values_drawn_at_random_join_nobody() {
    for count in [100, 400, 1_500] {
        assert_scores("strangers", &StitcherLimits::default(), |world| often(world, count, 20, strangers));
    }
}

/// The same of two kinds only.
fn like_strangers(world: &mut World, start_ns: i64) {
    let work = world.work();
    let service = format!("svc{}", world.dice.below(2));
    let root = world.request(work, &service, "GET /look", start_ns);
    let (size, shard) = (world.dice.below(4_000) + 1_000, world.dice.below(400));
    world.say(root, "body.size", &size.to_string());
    world.say(root, "part.slot", &format!("s{shard}x"));
    let host = world.dice.below(300) * 7_919;
    world.say(root, "worker.ref", &format!("worker-{host:012}"));
}

#[test]
fn values_drawn_at_random_join_nobody_where_all_do_like_things() {
    for count in [20, 100, 400] {
        assert_scores("like strangers", &StitcherLimits::default(), |world| often(world, count, 20, like_strangers));
    }
}

/// A session of many kinds of work of one person: nothing but the person joins them.
fn session(world: &mut World, start_ns: i64) {
    let person = world.dice.uuid();
    let mut at_ns = start_ns;
    for _ in 0..world.dice.below(5) + 2 {
        let work = world.work();
        let (operation, key) =
            [("GET /look", 1), ("POST /book", 2), ("POST /cancel", 3)][usize::try_from(world.dice.below(3)).unwrap()];
        let id = world.dice.uuid();
        for service in ["front", "core"] {
            let root = world.request(work, service, operation, at_ns);
            let (own, of_all) = (world.names[key].clone(), world.names[0].clone());
            world.say(root, &own, &id);
            world.say(root, &of_all, &person);
            at_ns += world.dice.ms(70, 300);
        }
        at_ns += world.dice.ms(2_000, 9_000);
    }
}

#[test]
fn what_one_person_does_in_a_session_stays_apart() {
    assert_scores("sessions", &StitcherLimits::default(), |world| often(world, 60, 1_000, session));
}
