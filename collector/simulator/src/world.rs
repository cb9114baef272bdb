//! A system in virtual time: one event after the other, until a second of arrival is over and its telemetry is given out.
//! Made and driven by scenarios, tests and whoever wants telemetry. Draws from its seed only; must never see a clock.
//! What is alive at once is bounded by what the system can hold: workers, backlogs, and what waits in queues.

mod calls;
mod changes;
mod events;
mod instances;
mod messages;
mod sites;
mod slab;
mod tasks;
mod telling;
mod truth;

pub use telling::Chunk;
pub use truth::{SpanTruth, WorkTruth};

use std::collections::BTreeMap;
use std::sync::Arc;

use collector_table::{SpanId, TraceId};

use self::calls::{Breaker, CallState, Request};
use self::changes::Changes;
use self::events::{Event, Events};
use self::instances::{Fleet, Instance};
use self::messages::{Lane, Message};
use self::sites::{Role, Sites};
use self::slab::Slab;
use self::tasks::Task;
use self::telling::{Outbox, SECOND_NS, Sender, SpanRecord, log_table, span_table};
use self::truth::{Chain, OpenWorks, Works};
use crate::change::{Change, Effect};
use crate::dice::{Dice, mix};
use crate::system::{Rhythm, System, Value};

/// Where it begins unless told otherwise: a midnight in UTC, unix nanoseconds.
pub const BEGIN_NS: i64 = 1_700_006_400 * SECOND_NS;
/// A source looks again after so long whether work begins, because its traffic may have changed meanwhile.
const LOOK_AGAIN_NS: i64 = SECOND_NS;

/// A system being played.
#[derive(Debug)]
pub struct World {
    system: Arc<System>,
    seed: u64,
    dice: Dice,
    now_ns: i64,
    begin_ns: i64,
    /// Seconds of arrival that were given out.
    second: i64,
    keeps_truth: bool,
    events: Events,
    changes: Changes,
    fleets: Vec<Fleet>,
    instances: Vec<Instance>,
    senders: Vec<Sender>,
    tasks: Slab<Task>,
    calls: Slab<CallState>,
    requests: Slab<Request>,
    answers: Slab<calls::Answer>,
    messages: Slab<(usize, usize, Message)>,
    lanes: Vec<Vec<Lane>>,
    offsets: Vec<Vec<i64>>,
    breakers: BTreeMap<(usize, usize), Breaker>,
    works: OpenWorks,
    sites: Sites,
    outbox: Outbox,
}

/// Where in a trace something happens, and for whom.
#[derive(Debug, Clone)]
struct Place {
    trace: TraceId,
    parent: Option<SpanId>,
    is_sampled: bool,
    works: Works,
}

impl World {
    /// Returns a system at its beginning, with what will happen to it.
    pub fn new(system: &System, seed: u64, changes: Vec<Change>) -> Self {
        let mut world = Self {
            seed,
            dice: Dice::new(seed),
            now_ns: 0,
            begin_ns: BEGIN_NS,
            second: 0,
            keeps_truth: false,
            events: Events::default(),
            changes: Changes::new(system, changes),
            fleets: Vec::new(),
            instances: Vec::new(),
            senders: Vec::new(),
            tasks: Slab::default(),
            calls: Slab::default(),
            requests: Slab::default(),
            answers: Slab::default(),
            messages: Slab::default(),
            lanes: system.groups.iter().map(|group| Lane::of(system, group)).collect(),
            offsets: system.queues.iter().map(|queue| vec![0; queue.partitions]).collect(),
            breakers: BTreeMap::new(),
            works: OpenWorks::default(),
            sites: Sites::default(),
            outbox: Outbox::new(system.telemetry.clone(), seed),
            system: Arc::new(system.clone()),
        };
        world.set_up();
        world
    }

    /// Says what is true of spans and of work too; it costs memory.
    pub fn with_truth(mut self) -> Self {
        self.keeps_truth = true;
        self
    }

    fn set_up(&mut self) {
        let system = self.system.clone();
        for (id, service) in system.services.iter().enumerate() {
            self.fleets.push(Fleet::default());
            for _ in 0..service.instances {
                self.add_instance(id, &service.version);
            }
        }
        for (index, change) in self.changes.list.iter().enumerate() {
            if change.is_once() {
                self.events.at(change.from_ns, Event::Change(index));
            }
        }
        for (index, source) in system.sources.iter().enumerate() {
            match source.rhythm {
                Rhythm::PerSecond(_) => self.events.at(0, Event::Look(index)),
                Rhythm::Every(seconds) => {
                    let first_ns = (seconds * self.dice.unit() * 1e9) as i64;
                    self.events.at(first_ns, Event::Arrival(index));
                }
            }
        }
    }

    /// Plays the next second and returns what arrived in it.
    pub fn next_chunk(&mut self) -> Chunk {
        let end_ns = (self.second + 1) * SECOND_NS;
        while let Some((at_ns, event)) = self.events.next_before(end_ns) {
            self.now_ns = at_ns;
            self.play(event);
        }
        let (spans, logs) = self.outbox.take(self.second);
        self.second += 1;
        let truth_of = |record: &SpanRecord| SpanTruth {
            span: record.span,
            works: record.works.as_slice().to_vec(),
            site: record.site,
        };
        Chunk {
            arrival_ns: self.begin_ns + end_ns,
            spans: span_table(&spans, &self.sites, &self.senders, self.begin_ns),
            logs: log_table(&logs, &self.senders, self.begin_ns),
            span_truths: if self.keeps_truth { spans.iter().map(truth_of).collect() } else { Vec::new() },
            work_truths: self.works.take_over(),
        }
    }

    /// Returns unix nanoseconds at which the simulation began.
    pub fn begin_ns(&self) -> i64 {
        self.begin_ns
    }

    /// Returns the name and version of a service's instance by its ordinal, if it is there.
    pub fn instance_name(&self, service: usize, ordinal: usize) -> Option<&str> {
        self.fleets[service].active.get(ordinal).map(|instance| self.senders[*instance].name.as_str())
    }

    /// Returns service and name of a site, for people.
    pub fn site_name(&self, site: u32) -> String {
        self.sites.text(&self.system, site)
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Change(index) => self.happen(index),
            Event::Arrival(source) => {
                self.arrive(source);
                self.look(source);
            }
            Event::Look(source) => self.look(source),
            Event::Resume(task) => self.resume(task),
            Event::Reach(request) => self.reach(request),
            Event::Answer(answer) => self.take_answer(answer),
            Event::GiveUp(call, tried) => self.give_up(call, tried),
            Event::Retry(call) => self.attempt(call),
            Event::Kept(call) => self.settle(call, false),
            Event::Cancel(task) => self.cancel(task),
            Event::Deliver(message) => self.deliver(message),
            Event::Take(group, lane) => self.take_messages(group, lane),
        }
    }

    /// Foresees when work begins next at a source.
    fn look(&mut self, source: usize) {
        let factor = self.changes.traffic(source, self.now_ns);
        match self.system.sources[source].rhythm {
            Rhythm::PerSecond(per_second) => {
                let gap_ns = self.dice.exponential(1e9 / (per_second * factor).max(1e-9));
                if gap_ns < LOOK_AGAIN_NS as f64 {
                    self.events.at(self.now_ns + (gap_ns as i64).max(1), Event::Arrival(source));
                } else {
                    self.events.at(self.now_ns + LOOK_AGAIN_NS, Event::Look(source));
                }
            }
            Rhythm::Every(seconds) => {
                let gap_ns = seconds * 1e9 / factor.max(1e-3);
                self.events.at(self.now_ns + gap_ns as i64, Event::Arrival(source));
            }
        }
    }

    fn arrive(&mut self, source: usize) {
        if self.changes.traffic(source, self.now_ns) <= 0.0 {
            return;
        }
        let operation = self.system.sources[source].operation;
        let service = self.system.operations[operation].service;
        let trace = self.trace_id();
        let works = self.works.begin(trace);
        self.works.hold(&works);
        let is_sampled = self.draw_sampled();
        let place = Place { trace, parent: None, is_sampled, works };
        let site = self.sites.number(&self.system, Role::Serves(operation));
        let request = Request {
            operation,
            place,
            reply: None,
            chain: Chain::default(),
            site,
            sent_ns: self.now_ns,
            reached_ns: self.now_ns,
            instance: self.pick_instance(service, None),
        };
        self.take_in(request);
    }

    fn draw_sampled(&mut self) -> bool {
        let share = self.changes.sampled(self.now_ns).unwrap_or(self.system.telemetry.sampled);
        share >= 1.0 || self.dice.is(share)
    }

    fn trace_id(&mut self) -> TraceId {
        TraceId((u128::from(self.dice.bits()) << 64 | u128::from(self.dice.bits())).to_be_bytes())
    }

    fn span_id(&mut self) -> SpanId {
        SpanId(self.dice.bits().to_be_bytes())
    }

    /// Returns the tenant that a piece of work is of; the first have most of the work.
    fn tenant(&self, work: u64) -> u64 {
        let unit = (mix(work ^ mix(self.seed ^ 0x7e4a)) >> 11) as f64 / (1_u64 << 53) as f64;
        (unit * unit * self.system.tenants.max(1) as f64) as u64
    }

    /// Returns the value of a business attribute for a piece of work, as text.
    fn value(&mut self, work: u64, value: Value) -> String {
        let own = |number: u8| mix(mix(self.seed ^ u64::from(number)) ^ work);
        match value {
            Value::Uuid(number) => {
                let (high, low) = (own(number), own(number ^ 0x80));
                format!(
                    "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
                    high >> 32,
                    high >> 16 & 0xffff,
                    high & 0xfff,
                    low >> 48,
                    low & 0xffff_ffff_ffff
                )
            }
            Value::Number(number) => (1_000_000 + own(number) % 9_000_000).to_string(),
            Value::Word(number) => format!("R{:07X}", own(number) % 0xfff_ffff),
            Value::Tenant => format!("tenant-{}", self.tenant(work)),
            Value::Customer(count) => format!("c{:06}", own(0xcc) % count.max(1) * 7 + 10_000),
            Value::Random(count) => (self.dice.bits() % count.max(1)).to_string(),
        }
    }

    /// Tells a span, if its trace is kept.
    fn tell(&mut self, is_sampled: bool, mut record: SpanRecord) {
        if !is_sampled {
            return;
        }
        let skew_ns = self.instances[record.instance].skew_ns;
        (record.start_ns, record.end_ns) = (record.start_ns + skew_ns, record.end_ns + skew_ns);
        self.outbox.span(&self.senders[record.instance], self.now_ns, record);
    }
}

impl Change {
    /// Returns whether it happens at a moment, instead of going on for a time.
    fn is_once(&self) -> bool {
        matches!(
            self.effect,
            Effect::ClockJump { .. }
                | Effect::Deploy { .. }
                | Effect::Scale { .. }
                | Effect::Outlier { .. }
                | Effect::Sheds { .. }
        )
    }
}

#[cfg(test)]
mod tests;
