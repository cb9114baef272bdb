//! One run of an operation on an instance: its steps one after the other, what it waits for, how it fails, and the spans
//! that it leaves. Part of the world. Runs never nest on the stack: what one makes another do is an event.

use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId, ValueType};

use super::calls::{Answer, Request};
use super::events::Event;
use super::messages::Message;
use super::slab::Key;
use super::telling::{LogRecord, Name, SpanRecord};
use super::truth::{Chain, Works};
use super::{Place, Role, World};
use crate::system::{Begins, Block, OperationId, Step};

/// A run of an operation.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) operation: OperationId,
    pub(super) instance: usize,
    pub(super) place: Place,
    pub(super) span: SpanId,
    pub(super) site: u32,
    pub(super) start_ns: i64,
    frames: Vec<Frame>,
    reply: Option<(Key, u32)>,
    role: TaskRole,
    pub(super) chain: Chain,
    /// Since when its time is not in the chain.
    pub(super) since_ns: i64,
    error: Option<&'static str>,
    pub(super) wait: Wait,
    pub(super) links: Vec<(TraceId, SpanId)>,
    pub(super) attributes: Vec<(Name, String, ValueType)>,
}

/// What a task is, beside its steps.
#[derive(Debug)]
pub(super) enum TaskRole {
    /// Works on a request, with one of the instance's workers.
    Serves,
    /// Works on messages of a lane.
    Takes(usize, usize, Vec<Message>),
    /// Goes on beside the task that began it.
    Aside,
}

/// Answers that a task waits for.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// Tells the present wait from earlier ones.
    pub(super) round: u32,
    pub(super) needed: usize,
    /// Calls that were begun.
    pub(super) begun: usize,
    /// The call that was begun last.
    pub(super) call: Option<Key>,
}

#[derive(Debug)]
struct Frame {
    block: Block,
    at: usize,
    kind: FrameKind,
}

#[derive(Debug)]
enum FrameKind {
    Plain,
    Repeat { left: usize },
    Inner { span: SpanId, site: u32, start_ns: i64 },
    Saga { steps: Arc<[(Block, Block)]>, next: usize, is_undoing: bool },
}

/// Whether a task can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Goes,
    Waits,
    Over,
}

impl Task {
    pub(super) fn new(request: Request, span: SpanId, site: u32, start_ns: i64, body: Block, role: TaskRole) -> Self {
        Self {
            operation: request.operation,
            instance: request.instance,
            place: request.place,
            span,
            site,
            start_ns,
            frames: vec![Frame { block: body, at: 0, kind: FrameKind::Plain }],
            reply: request.reply,
            role,
            chain: request.chain,
            since_ns: start_ns,
            error: None,
            wait: Wait::default(),
            links: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Returns whether it goes on beside the task that began it.
    pub(super) fn is_aside(&self) -> bool {
        matches!(self.role, TaskRole::Aside)
    }

    /// Returns the innermost span that is open, and its site.
    pub(super) fn current(&self) -> (SpanId, u32) {
        let inner = self.frames.iter().rev().find_map(|frame| match frame.kind {
            FrameKind::Inner { span, site, .. } => Some((span, site)),
            _ => None,
        });
        inner.unwrap_or((self.span, self.site))
    }

    /// Puts the time since it was last done into the chain.
    pub(super) fn account(&mut self, now_ns: i64) {
        let (_, site) = self.current();
        self.chain.add(site, now_ns - self.since_ns);
        self.since_ns = now_ns;
    }

    pub(super) fn push(&mut self, block: Block) {
        self.frames.push(Frame { block, at: 0, kind: FrameKind::Plain });
    }
}

impl World {
    /// Starts to work on a request, whose instance has a worker for it.
    pub(super) fn start(&mut self, mut request: Request) {
        let system = self.system.clone();
        let operation = &system.operations[request.operation];
        let service = &system.services[operation.service];
        let site = if service.is_telling { self.serving_site(request.operation) } else { request.site };
        let start_ns = if service.begins == Begins::AtArrival { request.reached_ns } else { self.now_ns };
        request.chain.add(request.site, start_ns - request.sent_ns);
        let span = self.span_id();
        let (reply, instance, work) = (request.reply, request.instance, request.place.works.first());
        let body = self.body_of(request.operation, instance, work);
        let extra_ms = self.extra_ms(request.operation, instance, work);
        let task = self.tasks.insert(Task::new(request, span, site, start_ns, body, TaskRole::Serves));
        if let Some((call, tried)) = reply
            && let Some(call) = self.calls.get_mut(call)
            && call.tried == tried
        {
            call.callee = Some(task);
        }
        let at_ns = if extra_ms > 0.0 { self.done_ns(instance, extra_ms) } else { self.now_ns };
        self.events.at(at_ns, Event::Resume(task));
    }

    /// Returns what a run does: what its operation does, or it fails.
    pub(super) fn body_of(&mut self, operation: OperationId, instance: usize, work: u64) -> Block {
        if self.is_failing(operation, instance, work) {
            return [Step::Work { ms: 1.0, sigma: 0.2 }, Step::Fail(1.0)].into();
        }
        self.system.operations[operation].body.clone()
    }

    pub(super) fn resume(&mut self, key: Key) {
        let now_ns = self.now_ns;
        if let Some(task) = self.tasks.get_mut(key) {
            task.account(now_ns);
            self.run(key);
        }
    }

    /// Goes from step to step until the task waits or is over.
    pub(super) fn run(&mut self, key: Key) {
        loop {
            let flow = match self.next_step(key) {
                Ok(Some((block, at))) => self.do_step(key, &block[at]),
                Ok(None) => {
                    self.finish(key);
                    Flow::Over
                }
                Err(flow) => flow,
            };
            if flow != Flow::Goes {
                return;
            }
        }
    }

    /// Returns the next step, or nothing at the end, or how it goes on where a frame ended by failing.
    fn next_step(&mut self, key: Key) -> Result<Option<(Block, usize)>, Flow> {
        loop {
            let Some(task) = self.tasks.get_mut(key) else { return Err(Flow::Over) };
            let Some(frame) = task.frames.last_mut() else { return Ok(None) };
            if frame.at < frame.block.len() {
                frame.at += 1;
                return Ok(Some((frame.block.clone(), frame.at - 1)));
            }
            match &mut frame.kind {
                FrameKind::Repeat { left } if *left > 0 => {
                    *left -= 1;
                    frame.at = 0;
                }
                FrameKind::Plain | FrameKind::Repeat { .. } => {
                    task.frames.pop();
                }
                FrameKind::Inner { .. } => self.pop_inner(key, None),
                FrameKind::Saga { .. } => self.go_on_with_saga(key)?,
            }
        }
    }

    /// Begins the next step of a saga, or undoes the step before, or ends it.
    fn go_on_with_saga(&mut self, key: Key) -> Result<(), Flow> {
        let forgotten = self.tasks.get(key).map_or(0.0, |task| self.forgotten(task));
        let is_forgotten = self.dice.is(forgotten);
        let Some(task) = self.tasks.get_mut(key) else { return Err(Flow::Over) };
        let Some(Frame { kind: FrameKind::Saga { steps, next, is_undoing }, .. }) = task.frames.last_mut() else {
            return Ok(());
        };
        if *is_undoing {
            if *next == 0 {
                task.frames.pop();
                return Err(self.fail(key, "rolled back"));
            }
            *next -= 1;
            let undo = steps[*next].1.clone();
            if !is_forgotten {
                task.push(undo);
            }
        } else if *next < steps.len() {
            *next += 1;
            let act = steps[*next - 1].0.clone();
            task.push(act);
        } else {
            task.frames.pop();
        }
        Ok(())
    }

    /// Does one step.
    fn do_step(&mut self, key: Key, step: &Step) -> Flow {
        let Some(task) = self.tasks.get(key) else { return Flow::Over };
        let instance = task.instance;
        match step {
            Step::Work { ms, sigma } => {
                let factor = self.work_factor(task);
                let ms = self.dice.log_normal(*ms, *sigma) * factor;
                let at_ns = self.done_ns(instance, ms);
                self.events.at(at_ns, Event::Resume(key));
                Flow::Waits
            }
            Step::Sleep { from_ms, to_ms } => {
                let ms = self.dice.range(*from_ms, *to_ms);
                self.events.at(self.now_ns + (ms * 1e6) as i64, Event::Resume(key));
                Flow::Waits
            }
            Step::Call(call) => self.wait_for(key, std::slice::from_ref(call), 1),
            Step::Scatter { calls, needed } => self.wait_for(key, calls, *needed),
            Step::Send(queue) => {
                self.send(key, *queue);
                Flow::Waits
            }
            Step::Repeat { from, to, body } => {
                let factor = self.repeat_factor(task);
                let times = (self.dice.between(*from, *to) as f64 * factor).round() as usize;
                if times > 0 {
                    self.push_frame(key, body.clone(), FrameKind::Repeat { left: times - 1 });
                }
                Flow::Goes
            }
            Step::Either { share, one, other } => {
                let body = if self.dice.is(*share) { one } else { other };
                self.push_frame(key, body.clone(), FrameKind::Plain);
                Flow::Goes
            }
            Step::Inner { name, body } => {
                let service = self.instances[instance].service;
                let site = self.sites.number(&self.system, Role::Inner(service, name.clone()));
                let kind = FrameKind::Inner { span: self.span_id(), site, start_ns: self.now_ns };
                self.push_frame(key, body.clone(), kind);
                Flow::Goes
            }
            Step::Aside(body) => {
                self.begin_aside(key, body.clone());
                Flow::Goes
            }
            Step::Saga(steps) => {
                let kind = FrameKind::Saga { steps: steps.clone(), next: 0, is_undoing: false };
                self.push_frame(key, Vec::new().into(), kind);
                Flow::Goes
            }
            Step::Fail(share) => {
                if self.dice.is(*share) {
                    return self.fail(key, "failed");
                }
                Flow::Goes
            }
            Step::Log(text) => {
                self.log(key, text.clone(), false, Vec::new());
                Flow::Goes
            }
        }
    }

    fn push_frame(&mut self, key: Key, block: Block, kind: FrameKind) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.frames.push(Frame { block, at: 0, kind });
        }
    }

    fn begin_aside(&mut self, key: Key, body: Block) {
        let Some(task) = self.tasks.get(key) else { return };
        let (span, site) = task.current();
        let request = Request {
            operation: task.operation,
            place: task.place.clone(),
            reply: None,
            chain: task.chain.clone(),
            site,
            sent_ns: self.now_ns,
            reached_ns: self.now_ns,
            instance: task.instance,
        };
        self.works.hold(&request.place.works);
        let aside = self.tasks.insert(Task::new(request, span, site, self.now_ns, body, TaskRole::Aside));
        self.events.at(self.now_ns, Event::Resume(aside));
    }

    /// Has a task fail: what it was within ends, up to a saga that has something to undo.
    pub(super) fn fail(&mut self, key: Key, error: &'static str) -> Flow {
        loop {
            let Some(task) = self.tasks.get_mut(key) else { return Flow::Over };
            match task.frames.last_mut().map(|frame| &mut frame.kind) {
                Some(FrameKind::Saga { next, is_undoing, .. }) => {
                    // The step that failed has nothing to undo; what cannot be undone is left.
                    if !*is_undoing {
                        (*is_undoing, *next) = (true, next.saturating_sub(1));
                    }
                    return Flow::Goes;
                }
                Some(FrameKind::Inner { .. }) => self.pop_inner(key, Some(error)),
                Some(_) => {
                    task.frames.pop();
                }
                None => {
                    task.error = Some(error);
                    self.finish(key);
                    return Flow::Over;
                }
            }
        }
    }

    /// Ends the span within the service that the task is in.
    fn pop_inner(&mut self, key: Key, error: Option<&'static str>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.account(self.now_ns);
        let Some(Frame { kind: FrameKind::Inner { span, site, start_ns }, .. }) = task.frames.pop() else { return };
        let (parent, _) = task.current();
        let record = SpanRecord {
            trace: task.place.trace,
            span,
            parent: Some(parent),
            start_ns,
            end_ns: self.now_ns,
            instance: task.instance,
            site,
            error,
            works: task.place.works.clone(),
            attributes: Vec::new(),
            links: Vec::new(),
        };
        let is_sampled = task.place.is_sampled;
        self.tell(is_sampled, record);
    }

    /// Breaks a task off: its caller has gone.
    pub(super) fn cancel(&mut self, key: Key) {
        let now_ns = self.now_ns;
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.account(now_ns);
        task.frames.retain(|frame| !matches!(frame.kind, FrameKind::Saga { .. }));
        self.fail(key, "cancelled");
    }

    /// Ends a task: tells its span, answers, and lets its worker or lane go on.
    fn finish(&mut self, key: Key) {
        let Some(mut task) = self.tasks.remove(key) else { return };
        task.account(self.now_ns);
        // What goes on aside has no span of its own: it ends, for who sees it, with its last call.
        if !matches!(task.role, TaskRole::Aside) {
            self.works.end(&task.place.works, self.now_ns, &task.chain);
            self.tell_task(&mut task);
        }
        if let Some((call, tried)) = task.reply {
            let is_ok = task.error.is_none();
            let service = self.instances[task.instance].service;
            let answer = self.answers.insert(Answer { call, tried, is_ok, chain: task.chain, sent_ns: self.now_ns });
            let at_ns = self.now_ns + self.network_ns(service) / 2;
            self.events.at(at_ns, Event::Answer(answer));
        }
        match task.role {
            TaskRole::Serves => self.free_worker(task.instance),
            TaskRole::Takes(group, lane, messages) => self.taken(group, lane, messages, task.error.is_none()),
            TaskRole::Aside => {}
        }
        self.works.release(&task.place.works);
    }

    fn tell_task(&mut self, task: &mut Task) {
        let system = self.system.clone();
        let operation = &system.operations[task.operation];
        if !system.services[operation.service].is_telling {
            return;
        }
        let mut attributes = std::mem::take(&mut task.attributes);
        if let Works::One(work) = task.place.works {
            for say in &operation.says {
                let value = self.value(work, say.value);
                let said = (Name::Said(say.key.clone()), value, ValueType::String);
                if say.is_logged {
                    self.log_at(task, "done".into(), false, vec![said]);
                } else {
                    attributes.push(said);
                }
            }
        }
        if let Some(error) = task.error {
            self.log_at(task, format!("{}: {error}", operation.name).into(), true, Vec::new());
        }
        let record = SpanRecord {
            trace: task.place.trace,
            span: task.span,
            parent: task.place.parent,
            start_ns: task.start_ns,
            end_ns: self.now_ns,
            instance: task.instance,
            site: task.site,
            error: task.error,
            works: task.place.works.clone(),
            attributes,
            links: std::mem::take(&mut task.links),
        };
        debug_assert!(self.sites.get(task.site).kind != SpanKind::Client);
        self.tell(task.place.is_sampled, record);
    }

    fn log(&mut self, key: Key, body: Arc<str>, is_error: bool, attributes: Vec<(Name, String, ValueType)>) {
        let Some(task) = self.tasks.get(key) else { return };
        let (instance, context) = (task.instance, task.place.is_sampled.then(|| (task.place.trace, task.current().0)));
        self.log_of(instance, context, body, is_error, attributes);
    }

    fn log_at(&mut self, task: &Task, body: Arc<str>, is_error: bool, attributes: Vec<(Name, String, ValueType)>) {
        let context = task.place.is_sampled.then_some((task.place.trace, task.span));
        self.log_of(task.instance, context, body, is_error, attributes);
    }

    fn log_of(
        &mut self,
        instance: usize,
        context: Option<(TraceId, SpanId)>,
        body: Arc<str>,
        is_error: bool,
        attributes: Vec<(Name, String, ValueType)>,
    ) {
        let time_ns = self.now_ns + self.instances[instance].skew_ns;
        let record = LogRecord { time_ns, instance, context, is_error, body, attributes };
        self.outbox.log(&self.senders[instance], self.now_ns, record);
    }
}
