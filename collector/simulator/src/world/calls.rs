//! Calls between services: the way there and back, giving up, trying again, breakers, and answers that come too late.
//! Part of the world.

use std::sync::Arc;

use collector_table::{SpanId, ValueType};

use super::events::Event;
use super::slab::Key;
use super::tasks::{Flow, Task};
use super::telling::{Name, SpanRecord};
use super::truth::Chain;
use super::{Place, Role, World};
use crate::system::{Call, Convention, OperationId, Otherwise, Protocol, ServiceId};

/// Median milliseconds of the way between two instances, and the deviation of the logarithm.
const NETWORK_MS: (f64, f64) = (0.3, 0.4);
/// Failures in a row that open a breaker, and for how long it stays open.
const BREAKER_FAILURES: u32 = 5;
const BREAKER_OPEN_NS: i64 = 10_000_000_000;

/// A request on its way, or waiting for a worker.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: OperationId,
    pub(super) place: Place,
    /// The call that waits for the answer, and which of its attempts.
    pub(super) reply: Option<(Key, u32)>,
    pub(super) chain: Chain,
    /// Whose time the way is.
    pub(super) site: u32,
    pub(super) sent_ns: i64,
    pub(super) reached_ns: i64,
    pub(super) instance: usize,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) call: Key,
    pub(super) tried: u32,
    pub(super) is_ok: bool,
    pub(super) chain: Chain,
    pub(super) sent_ns: i64,
}

/// A call with all its attempts.
#[derive(Debug)]
pub(super) struct CallState {
    task: Key,
    round: u32,
    described: Arc<Call>,
    pub(super) tried: u32,
    /// Whether an attempt is going on.
    is_open: bool,
    /// Where the caller is: parent of the client spans.
    place: Place,
    instance: usize,
    /// Site of the client spans.
    site: u32,
    /// Site of the caller, whose time the pauses between attempts are.
    waiting_site: u32,
    span: SpanId,
    started_ns: i64,
    pub(super) callee: Option<Key>,
    chain: Chain,
}

/// What an instance remembers of calls to an operation.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open_until_ns: i64,
}

impl World {
    /// Begins calls of a task and has it wait until so many were answered.
    pub(super) fn wait_for(&mut self, key: Key, calls: &[Arc<Call>], needed: usize) -> Flow {
        if needed == 0 {
            return Flow::Goes;
        }
        let now_ns = self.now_ns;
        let Some(task) = self.tasks.get_mut(key) else { return Flow::Over };
        task.account(now_ns);
        task.wait.round += 1;
        (task.wait.needed, task.wait.begun) = (needed, calls.len());
        let (span, waiting_site) = task.current();
        let (round, instance, chain) = (task.wait.round, task.instance, task.chain.clone());
        let place = Place { parent: Some(span), ..task.place.clone() };
        let service = self.instances[instance].service;
        for call in calls {
            let state = CallState {
                task: key,
                round,
                described: call.clone(),
                tried: 0,
                is_open: false,
                place: place.clone(),
                instance,
                site: self.sites.number(&self.system, Role::Calls(service, call.target)),
                waiting_site,
                span,
                started_ns: now_ns,
                callee: None,
                chain: chain.clone(),
            };
            let call = self.calls.insert(state);
            if let Some(task) = self.tasks.get_mut(key) {
                task.wait.call = Some(call);
            }
            self.attempt(call);
        }
        Flow::Waits
    }

    /// Makes the next attempt of a call, unless a breaker keeps it.
    pub(super) fn attempt(&mut self, key: Key) {
        let Some(state) = self.calls.get(key) else { return };
        let (target, instance, shard) = (state.described.target, state.instance, state.described.shard);
        let is_kept = state.described.has_breaker
            && self.breakers.get(&(instance, target)).is_some_and(|breaker| self.now_ns < breaker.open_until_ns);
        if is_kept {
            self.events.at(self.now_ns, Event::Kept(key));
            return;
        }
        let mut place = state.place.clone();
        let (span, service) = (self.span_id(), self.system.operations[target].service);
        place.parent = Some(span);
        if self.drops_context(instance, place.works.first()) {
            let (trace, is_sampled) = (self.trace_id(), self.draw_sampled());
            place = Place { trace, parent: None, is_sampled, works: place.works };
        }
        self.works.hold(&place.works);
        let to = self.pick_instance(service, shard);
        let Some(state) = self.calls.get_mut(key) else { return };
        state.chain.add(state.waiting_site, self.now_ns - state.started_ns);
        state.tried += 1;
        (state.is_open, state.span, state.started_ns, state.callee) = (true, span, self.now_ns, None);
        let (tried, timeout_ms) = (state.tried, state.described.timeout_ms);
        let request = Request {
            operation: target,
            place,
            reply: Some((key, tried)),
            chain: state.chain.clone(),
            site: state.site,
            sent_ns: self.now_ns,
            reached_ns: self.now_ns,
            instance: to,
        };
        let request = self.requests.insert(request);
        let way_ns = self.network_ns(service);
        self.events.at(self.now_ns + way_ns, Event::Reach(request));
        self.events.at(self.now_ns + (timeout_ms * 1e6) as i64, Event::GiveUp(key, tried));
    }

    /// Returns how long the way to a service is.
    pub(super) fn network_ns(&mut self, service: ServiceId) -> i64 {
        let ms = self.dice.log_normal(NETWORK_MS.0, NETWORK_MS.1) + self.changes.network_ms(service, self.now_ns);
        (ms * 1e6) as i64
    }

    pub(super) fn reach(&mut self, key: Key) {
        if let Some(mut request) = self.requests.remove(key) {
            request.reached_ns = self.now_ns;
            self.take_in(request);
        }
    }

    /// Answers a request that nobody will work on.
    pub(super) fn refuse(&mut self, mut request: Request) {
        self.works.release(&request.place.works);
        let Some((call, tried)) = request.reply else { return };
        request.chain.add(request.site, self.now_ns - request.sent_ns);
        let (chain, sent_ns) = (request.chain, self.now_ns);
        let answer = self.answers.insert(Answer { call, tried, is_ok: false, chain, sent_ns });
        let service = self.instances[request.instance].service;
        let way_ns = self.network_ns(service);
        self.events.at(self.now_ns + way_ns, Event::Answer(answer));
    }

    pub(super) fn take_answer(&mut self, key: Key) {
        let Some(mut answer) = self.answers.remove(key) else { return };
        let Some(state) = self.calls.get_mut(answer.call) else { return };
        if state.tried != answer.tried || !state.is_open {
            return;
        }
        answer.chain.add(state.site, self.now_ns - answer.sent_ns);
        state.chain = answer.chain;
        self.close_attempt(answer.call, (!answer.is_ok).then_some("error response"));
    }

    pub(super) fn give_up(&mut self, key: Key, tried: u32) {
        let Some(state) = self.calls.get(key).filter(|state| state.tried == tried && state.is_open) else { return };
        let (callee, target) = (state.callee, state.described.target);
        let chain = self.chain_now(key);
        if let Some(state) = self.calls.get_mut(key) {
            state.chain = chain;
        }
        let service = self.system.operations[target].service;
        if self.system.services[service].cancels
            && let Some(callee) = callee
        {
            let way_ns = self.network_ns(service);
            self.events.at(self.now_ns + way_ns, Event::Cancel(callee));
        }
        self.close_attempt(key, Some("timeout"));
    }

    /// Returns the chain that led to now for who waits for a call: down to who is at work.
    fn chain_now(&self, key: Key) -> Chain {
        let mut call = self.calls.get(key);
        let mut chain = Chain::default();
        while let Some(state) = call {
            let Some(task) = state.callee.and_then(|callee| self.tasks.get(callee)) else {
                chain = state.chain.clone();
                chain.add(state.site, self.now_ns - state.started_ns);
                break;
            };
            let waits_for = task.wait.call.and_then(|call| self.calls.get(call));
            call = waits_for.filter(|next| next.is_open && next.round == task.wait.round && task.wait.needed > 0);
            if call.is_none() {
                chain = task.chain.clone();
                chain.add(task.current().1, self.now_ns - task.since_ns);
            }
        }
        chain
    }

    /// Ends an attempt; what failed is tried again as often as the call allows.
    fn close_attempt(&mut self, key: Key, error: Option<&'static str>) {
        self.tell_attempt(key, error);
        let factor = self.dice.range(0.5, 1.5);
        let Some(state) = self.calls.get_mut(key) else { return };
        (state.is_open, state.started_ns) = (false, self.now_ns);
        if state.described.has_breaker {
            let breaker = self.breakers.entry((state.instance, state.described.target)).or_default();
            breaker.failures = if error.is_some() { breaker.failures + 1 } else { 0 };
            if breaker.failures >= BREAKER_FAILURES {
                breaker.open_until_ns = self.now_ns + BREAKER_OPEN_NS;
            }
        }
        if error.is_some() && state.tried < state.described.tries_max {
            let doubled = 2_f64.powi(i32::try_from(state.tried).unwrap_or(i32::MAX).min(20) - 1);
            let pause_ms = state.described.backoff_ms * doubled * factor;
            self.events.at(self.now_ns + (pause_ms * 1e6) as i64, Event::Retry(key));
        } else {
            self.settle(key, error.is_none());
        }
    }

    fn tell_attempt(&mut self, key: Key, error: Option<&'static str>) {
        let Some(state) = self.calls.get(key) else { return };
        let service = &self.system.services[self.instances[state.instance].service];
        let is_http = self.system.operations[state.described.target].protocol == Protocol::Http;
        let mut attributes = Vec::new();
        if state.tried > 1 && is_http && service.convention == Convention::New {
            let count = (state.tried - 1).to_string();
            attributes.push((Name::Fixed("http.request.resend_count"), count, ValueType::Int));
        }
        let record = SpanRecord {
            trace: state.place.trace,
            span: state.span,
            parent: state.place.parent,
            start_ns: state.started_ns,
            end_ns: self.now_ns,
            instance: state.instance,
            site: state.site,
            error,
            works: state.place.works.clone(),
            attributes,
            links: Vec::new(),
        };
        // Where nobody waits for it, this is an end that can be seen.
        if self.tasks.get(state.task).is_none_or(Task::is_aside) {
            self.works.end(&state.place.works, self.now_ns, &state.chain);
        }
        let is_sampled = state.place.is_sampled && service.is_telling;
        self.tell(is_sampled, record);
    }

    /// Ends a call: its task goes on, or fails, if it still waits for it.
    pub(super) fn settle(&mut self, key: Key, is_ok: bool) {
        let Some(state) = self.calls.remove(key) else { return };
        let Some(task) = self.tasks.get_mut(state.task) else { return };
        if task.wait.round != state.round || task.wait.needed == 0 {
            return;
        }
        let is_failing = !is_ok && matches!(state.described.otherwise, Otherwise::Fail);
        task.wait.needed -= 1;
        if !is_failing && task.wait.needed > 0 {
            return;
        }
        task.wait.needed = 0;
        (task.chain, task.since_ns) = (state.chain, self.now_ns);
        if let (false, Otherwise::Instead(body)) = (is_ok, &state.described.otherwise)
            && task.wait.begun == 1
        {
            task.push(body.clone());
        }
        if !is_failing || self.fail(state.task, "a call failed") == Flow::Goes {
            self.run(state.task);
        }
    }
}
