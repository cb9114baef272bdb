//! Messages: from a producer through partitions to groups that take them one by one or in batches, in the same trace or
//! in another; lost, doubled and out of order by changes. Part of the world.

use std::collections::VecDeque;

use collector_table::{SpanId, TraceId, ValueType};

use super::calls::Request;
use super::events::Event;
use super::slab::Key;
use super::tasks::{Task, TaskRole};
use super::telling::{Name, SpanRecord};
use super::truth::{Chain, Works};
use super::{Place, Role, World};
use crate::dice::mix;
use crate::system::{Broker, Context, Convention, Group, QueueId, System};

/// Time from a producer to where consumers see a message. It is the same for all, so that order is kept.
const DELIVERY_NS: i64 = 5_000_000;
/// After which time a message is taken again whose consumer failed, and how often.
const AGAIN_NS: i64 = 1_000_000_000;
const TRIES_MAX: u32 = 3;

/// A message on its way or in a queue.
#[derive(Debug, Clone)]
pub(super) struct Message {
    id: u64,
    partition: usize,
    offset: i64,
    /// Where it was sent, if that is passed on.
    context: Option<(TraceId, SpanId, bool)>,
    works: Works,
    chain: Chain,
    sent_ns: i64,
    tries: u32,
}

/// What a group has to take from one partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: VecDeque<Message>,
    /// Whether somebody is at work, or will look.
    is_busy: bool,
}

impl Lane {
    pub(super) fn of(system: &System, group: &Group) -> Vec<Self> {
        (0..system.queues[group.queue].partitions).map(|_| Self::default()).collect()
    }
}

impl World {
    /// Hands a message to a queue, for a task that goes on when the queue has it.
    pub(super) fn send(&mut self, key: Key, queue: QueueId) {
        let system = self.system.clone();
        let now_ns = self.now_ns;
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.account(now_ns);
        let (instance, place, (parent, own_site)) = (task.instance, task.place.clone(), task.current());
        let service = self.instances[instance].service;
        let is_seen = system.queues[queue].broker != Broker::Unseen;
        // What is handed over unseen is the sender's own work.
        let site = if is_seen { self.sites.number(&system, Role::Sends(service, queue)) } else { own_site };
        let length_ns = (self.dice.log_normal(1.0, 0.4) * 1e6) as i64;
        let (span, id) = (self.span_id(), self.dice.bits());
        let described = &system.queues[queue];
        let partition = (mix(place.works.first()) % described.partitions as u64) as usize;
        let offset = self.offsets[queue][partition];
        self.offsets[queue][partition] += 1;
        let mut chain = Chain::default();
        if let Some(task) = self.tasks.get_mut(key) {
            task.chain.add(site, length_ns);
            task.since_ns = now_ns + length_ns;
            chain = task.chain.clone();
        }
        let is_passed = is_seen && !self.drops_context(instance, place.works.first());
        let context = is_passed.then_some((place.trace, span, place.is_sampled));
        let works = place.works.clone();
        let message = Message { id, partition, offset, context, works, chain, sent_ns: now_ns + length_ns, tries: 0 };
        let attributes = identity(&message, described.broker, system.services[service].convention);
        let record = SpanRecord {
            trace: place.trace,
            span,
            parent: Some(parent),
            start_ns: now_ns,
            end_ns: now_ns + length_ns,
            instance,
            site,
            error: None,
            works: place.works,
            attributes,
            links: Vec::new(),
        };
        self.tell(place.is_sampled && is_seen, record);
        self.events.at(now_ns + length_ns, Event::Resume(key));
        self.spread(queue, &message);
    }

    /// Brings a message to every group of its queue.
    fn spread(&mut self, queue: QueueId, message: &Message) {
        let system = self.system.clone();
        let groups = system.groups.iter().enumerate().filter(|(_, group)| group.queue == queue);
        for (index, group) in groups {
            if self.dice.is(self.changes.lost(queue, self.now_ns)) {
                continue;
            }
            let (from_ms, to_ms) = system.queues[queue].delay_ms;
            let mut delay_ns = DELIVERY_NS + (self.dice.range(from_ms, to_ms) * 1e6) as i64;
            if self.dice.is(self.changes.disordered(index, self.now_ns)) {
                delay_ns += (self.dice.range(300.0, 1_500.0) * 1e6) as i64;
            }
            self.foresee(index, message, delay_ns);
            if self.dice.is(group.doubled + self.changes.doubled(index, self.now_ns)) {
                let later_ns = (self.dice.range(50.0, 900.0) * 1e6) as i64;
                self.foresee(index, message, delay_ns + later_ns);
            }
        }
    }

    fn foresee(&mut self, group: usize, message: &Message, delay_ns: i64) {
        self.works.hold(&message.works);
        let lane = message.partition;
        let message = self.messages.insert((group, lane, message.clone()));
        self.events.at(self.now_ns + delay_ns, Event::Deliver(message));
    }

    pub(super) fn deliver(&mut self, key: Key) {
        let Some((group, lane, message)) = self.messages.remove(key) else { return };
        let linger_ns = (self.system.groups[group].linger_ms * 1e6) as i64;
        let to = &mut self.lanes[group][lane];
        to.waiting.push_back(message);
        if !to.is_busy {
            to.is_busy = true;
            self.events.at(self.now_ns + linger_ns, Event::Take(group, lane));
        }
    }

    /// Has a group take what waits in a partition, as much as it takes at once.
    pub(super) fn take_messages(&mut self, group: usize, lane: usize) {
        let system = self.system.clone();
        let described = &system.groups[group];
        let waiting = &mut self.lanes[group][lane].waiting;
        let count = waiting.len().min(described.batch_max.max(1));
        let messages: Vec<Message> = waiting.drain(..count).collect();
        let Some(last) = messages.last() else {
            self.lanes[group][lane].is_busy = false;
            return;
        };
        let works = match messages.as_slice() {
            [one] => one.works.clone(),
            several => Works::Many(several.iter().flat_map(|one| one.works.as_slice().iter().copied()).collect()),
        };
        let site = self.sites.number(&system, Role::Takes(group));
        let mut chain = last.chain.clone();
        chain.add(site, self.now_ns - last.sent_ns);
        let service = system.operations[described.operation].service;
        let instance = self.pick_instance(service, Some(lane));
        let place = self.place_of(described, &messages, works);
        let request = Request {
            operation: described.operation,
            place,
            reply: None,
            chain,
            site,
            sent_ns: self.now_ns,
            reached_ns: self.now_ns,
            instance,
        };
        self.start_taking(group, lane, request, messages);
    }

    /// Returns where the work on messages stands: in the trace of the message, or in one of its own.
    fn place_of(&mut self, group: &Group, messages: &[Message], works: Works) -> Place {
        if let ([Message { context: Some((trace, parent, is_sampled)), .. }], Context::Parent) =
            (messages, group.context)
        {
            return Place { trace: *trace, parent: Some(*parent), is_sampled: *is_sampled, works };
        }
        Place { trace: self.trace_id(), parent: None, is_sampled: self.draw_sampled(), works }
    }

    fn start_taking(&mut self, group: usize, lane: usize, request: Request, messages: Vec<Message>) {
        let system = self.system.clone();
        let described = &system.groups[group];
        let service = &system.services[system.operations[described.operation].service];
        let (instance, work, site) = (request.instance, request.place.works.first(), request.site);
        let body = self.body_of(described.operation, instance, work);
        let extra_ms = self.extra_ms(described.operation, instance, work);
        let span = self.span_id();
        let mut attributes = Vec::new();
        let mut links = Vec::new();
        if let ([one], false) = (messages.as_slice(), described.context == Context::Nothing) {
            attributes = identity(one, system.queues[described.queue].broker, service.convention);
        }
        let is_linked =
            described.context == Context::Link || messages.len() > 1 && described.context == Context::Parent;
        if is_linked {
            let contexts = messages.iter().filter_map(|message| message.context);
            links.extend(contexts.map(|(trace, span, _)| (trace, span)));
        }
        if described.batch_max > 1 {
            let count = messages.len().to_string();
            attributes.push((Name::Fixed("messaging.batch.message_count"), count, ValueType::Int));
        }
        let role = TaskRole::Takes(group, lane, messages);
        let mut task = Task::new(request, span, site, self.now_ns, body, role);
        (task.attributes, task.links) = (attributes, links);
        let task = self.tasks.insert(task);
        let at_ns = if extra_ms > 0.0 { self.done_ns(instance, extra_ms) } else { self.now_ns };
        self.events.at(at_ns, Event::Resume(task));
    }

    /// Goes on with a partition after messages were worked on; what failed is taken again.
    pub(super) fn taken(&mut self, group: usize, lane: usize, messages: Vec<Message>, is_ok: bool) {
        let mut pause_ns = (self.changes.pause_ms(group, self.now_ns) * 1e6) as i64;
        if !is_ok {
            for mut message in messages.into_iter().rev() {
                message.tries += 1;
                if message.tries < TRIES_MAX {
                    self.works.hold(&message.works);
                    self.lanes[group][lane].waiting.push_front(message);
                    pause_ns = pause_ns.max(AGAIN_NS);
                }
            }
        }
        self.events.at(self.now_ns + pause_ns, Event::Take(group, lane));
    }
}

/// Returns what tells a message from others.
fn identity(message: &Message, broker: Broker, convention: Convention) -> Vec<(Name, String, ValueType)> {
    let is_old = convention == Convention::Old;
    match broker {
        Broker::Unseen => Vec::new(),
        Broker::Kafka => {
            let partition = if is_old { "messaging.kafka.partition" } else { "messaging.destination.partition.id" };
            let offset = if is_old { "messaging.kafka.message.offset" } else { "messaging.kafka.offset" };
            vec![
                (Name::Fixed(partition), message.partition.to_string(), ValueType::String),
                (Name::Fixed(offset), message.offset.to_string(), ValueType::Int),
            ]
        }
        Broker::Rabbit | Broker::Sqs => {
            let key = if is_old { "messaging.message_id" } else { "messaging.message.id" };
            let (high, low) = (mix(message.id), message.id);
            let id = if broker == Broker::Rabbit {
                format!("{high:016x}")
            } else {
                format!(
                    "{:08x}-{:04x}-4aaa-{:04x}-{:012x}",
                    high >> 32,
                    high & 0xffff,
                    low >> 48,
                    low & 0xffff_ffff_ffff
                )
            };
            vec![(Name::Fixed(key), id, ValueType::String)]
        }
    }
}
