//! Writes systems down in few words: a builder for the parts, and a function for each step.
//! Used by `systems`, and by tests that draw a system of their own.

use std::sync::Arc;

use super::{
    Begins, Block, Broker, Call, Context, Convention, Group, Operation, OperationId, Otherwise, Protocol, Queue,
    QueueId, Rhythm, Say, Service, ServiceId, Source, Step, System, Telemetry, Value,
};

/// How much goes on at once of what is handed over unseen.
const UNSEEN_LANES: usize = 32;

/// Collects the parts of a system.
#[derive(Debug, Default)]
pub struct Builder {
    system: System,
}

/// The service that was added last, to say more of it.
#[derive(Debug)]
pub struct ServiceBuilder<'a>(&'a mut Builder);

impl Builder {
    /// Begins a system of which nothing is known but its name.
    pub fn new(name: &str) -> Self {
        Self { system: System { name: name.to_owned(), tenants: 8, ..System::default() } }
    }

    /// Adds a service; it has three instances with sixteen workers each until more is said.
    pub fn service(&mut self, name: &str) -> ServiceBuilder<'_> {
        self.system.services.push(Service {
            name: name.into(),
            version: "1.0.0".to_owned(),
            instances: 3,
            workers: 16,
            backlog_max: 200,
            is_telling: true,
            database: None,
            convention: Convention::New,
            begins: Begins::AtPickup,
            pauses: Some((60.0, 30.0)),
            cancels: false,
        });
        ServiceBuilder(self)
    }

    /// Adds a database or cache of a system, which answers so many statements at once and sends no telemetry.
    pub fn database(&mut self, name: &str, system: &str, workers: usize) -> ServiceId {
        let id = self.peer(name, workers);
        self.system.services[id].database = Some(system.into());
        id
    }

    /// Adds a third party, which sends no telemetry.
    pub fn peer(&mut self, name: &str, workers: usize) -> ServiceId {
        let id = self.service(name).instances(1).workers(workers).pauses(None).id();
        self.system.services[id].is_telling = false;
        id
    }

    /// Adds an operation.
    pub fn operation(&mut self, service: ServiceId, protocol: Protocol, name: &str, body: Vec<Step>) -> OperationId {
        let (name, body) = (name.into(), body.into());
        self.system.operations.push(Operation { service, name, protocol, body, says: Vec::new() });
        self.system.operations.len() - 1
    }

    /// Adds an operation that is reached over HTTP, named by method and route.
    pub fn http(&mut self, service: ServiceId, name: &str, body: Vec<Step>) -> OperationId {
        self.operation(service, Protocol::Http, name, body)
    }

    /// Adds a remote procedure, named as in `package.Service/Method`.
    pub fn rpc(&mut self, service: ServiceId, name: &str, body: Vec<Step>) -> OperationId {
        self.operation(service, Protocol::Rpc, name, body)
    }

    /// Adds a statement of a database, named by verb and target, of a median length.
    pub fn statement(&mut self, database: ServiceId, name: &str, ms: f64) -> OperationId {
        self.operation(database, Protocol::Query, name, vec![work(ms)])
    }

    /// Puts a business attribute on the span of an operation.
    pub fn says(&mut self, operation: OperationId, key: &str, value: Value) {
        self.system.operations[operation].says.push(Say { key: key.into(), value, is_logged: false });
    }

    /// Puts a business attribute on a log record of an operation.
    pub fn logs(&mut self, operation: OperationId, key: &str, value: Value) {
        self.system.operations[operation].says.push(Say { key: key.into(), value, is_logged: true });
    }

    /// Adds a queue.
    pub fn queue(&mut self, name: &str, broker: Broker, partitions: usize) -> QueueId {
        self.system.queues.push(Queue { name: name.into(), broker, partitions, delay_ms: (0.0, 0.0) });
        self.system.queues.len() - 1
    }

    /// Adds a way by which work goes on in a service some time later and nothing shows how. Returns where it is handed over
    /// and what is done then.
    pub fn handover(
        &mut self,
        service: ServiceId,
        name: &str,
        delay_ms: (f64, f64),
        body: Vec<Step>,
    ) -> (QueueId, OperationId) {
        let queue = self.queue(name, Broker::Unseen, UNSEEN_LANES);
        self.system.queues[queue].delay_ms = delay_ms;
        let operation = self.consumer(queue, service, Context::Nothing, body);
        self.system.operations[operation].name = name.into();
        (queue, operation)
    }

    /// Has a service take from a queue, message by message.
    pub fn consumer(&mut self, queue: QueueId, service: ServiceId, context: Context, body: Vec<Step>) -> OperationId {
        self.batch_consumer(queue, service, context, (1, 0.0), body)
    }

    /// Has a service take so many messages at once from a queue, after waiting for them for so many milliseconds.
    pub fn batch_consumer(
        &mut self,
        queue: QueueId,
        service: ServiceId,
        context: Context,
        (batch_max, linger_ms): (usize, f64),
        body: Vec<Step>,
    ) -> OperationId {
        let name = format!("process {}", self.system.queues[queue].name);
        let operation = self.operation(service, Protocol::Message, &name, body);
        self.system.groups.push(Group { queue, operation, context, batch_max, linger_ms, doubled: 0.0 });
        operation
    }

    /// Has messages of the group that was added last come twice now and then.
    pub fn at_least_once(&mut self, doubled: f64) {
        if let Some(group) = self.system.groups.last_mut() {
            group.doubled = doubled;
        }
    }

    /// Has work begin with an operation, so many times a second, by chance.
    pub fn traffic(&mut self, operation: OperationId, per_second: f64) {
        self.system.sources.push(Source { operation, rhythm: Rhythm::PerSecond(per_second) });
    }

    /// Has work begin with an operation every so many seconds.
    pub fn timer(&mut self, operation: OperationId, seconds: f64) {
        self.system.sources.push(Source { operation, rhythm: Rhythm::Every(seconds) });
    }

    /// Says how telemetry gets out.
    pub fn telemetry(&mut self, telemetry: Telemetry) {
        self.system.telemetry = telemetry;
    }

    /// Returns the system.
    pub fn build(self) -> System {
        self.system
    }
}

impl ServiceBuilder<'_> {
    fn with(self, say: impl FnOnce(&mut Service)) -> Self {
        if let Some(service) = self.0.system.services.last_mut() {
            say(service);
        }
        self
    }

    /// Says how many instances it has.
    pub fn instances(self, instances: usize) -> Self {
        self.with(|service| service.instances = instances)
    }

    /// Says how many requests an instance works on at once.
    pub fn workers(self, workers: usize) -> Self {
        self.with(|service| service.workers = workers)
    }

    /// Says how many requests wait before the workers of an instance.
    pub fn backlog(self, backlog_max: usize) -> Self {
        self.with(|service| service.backlog_max = backlog_max)
    }

    /// Has it use names of attributes as they were before the conventions were stable.
    pub fn old_names(self) -> Self {
        self.with(|service| service.convention = Convention::Old)
    }

    /// Has its server spans begin when a request arrives.
    pub fn begins_at_arrival(self) -> Self {
        self.with(|service| service.begins = Begins::AtArrival)
    }

    /// Says how many seconds are between two pauses of an instance, and how many milliseconds they take.
    pub fn pauses(self, pauses: Option<(f64, f64)>) -> Self {
        self.with(|service| service.pauses = pauses)
    }

    /// Has it break off what its caller no longer waits for.
    pub fn cancels(self) -> Self {
        self.with(|service| service.cancels = true)
    }

    /// Returns its number.
    pub fn id(self) -> ServiceId {
        self.0.system.services.len() - 1
    }
}

impl Call {
    /// Says after how many milliseconds the caller gives up.
    pub fn timeout(mut self, ms: f64) -> Self {
        self.timeout_ms = ms;
        self
    }

    /// Says how many attempts are made, and the pause before the second.
    pub fn tries(mut self, tries_max: u32, backoff_ms: f64) -> Self {
        (self.tries_max, self.backoff_ms) = (tries_max, backoff_ms);
        self
    }

    /// Says which instance of the target is meant.
    pub fn shard(mut self, shard: usize) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Has a breaker stop calls that keep failing.
    pub fn breaker(mut self) -> Self {
        self.has_breaker = true;
        self
    }

    /// Says what is done when it failed for good, instead of failing.
    pub fn or(mut self, body: Vec<Step>) -> Self {
        self.otherwise = Otherwise::Instead(body.into());
        self
    }
}

impl From<Call> for Step {
    fn from(call: Call) -> Self {
        Self::Call(Arc::new(call))
    }
}

/// Calls an operation, once, and gives up after ten seconds, until more is said.
pub fn call(target: OperationId) -> Call {
    Call {
        target,
        shard: None,
        timeout_ms: 10_000.0,
        tries_max: 1,
        backoff_ms: 20.0,
        has_breaker: false,
        otherwise: Otherwise::Fail,
    }
}

/// Sends a statement to a database, and waits.
pub fn query(statement: OperationId) -> Step {
    call(statement).timeout(30_000.0).into()
}

/// Works for so many milliseconds, at the median.
pub fn work(ms: f64) -> Step {
    Step::Work { ms, sigma: 0.35 }
}

/// Waits on purpose, from so many milliseconds to so many.
pub fn sleep(from_ms: f64, to_ms: f64) -> Step {
    Step::Sleep { from_ms, to_ms }
}

/// Calls several at once and waits until so many have answered.
pub fn scatter(calls: Vec<Call>, needed: usize) -> Step {
    let calls: Vec<Arc<Call>> = calls.into_iter().map(Arc::new).collect();
    Step::Scatter { needed: needed.min(calls.len()), calls: calls.into() }
}

/// Hands a message to a queue.
pub fn send(queue: QueueId) -> Step {
    Step::Send(queue)
}

/// Does the same several times.
pub fn repeat(from: usize, to: usize, body: Vec<Step>) -> Step {
    Step::Repeat { from, to, body: body.into() }
}

/// Does something in a share of cases.
pub fn maybe(share: f64, body: Vec<Step>) -> Step {
    either(share, body, Vec::new())
}

/// Does one thing in a share of cases, and else the other.
pub fn either(share: f64, one: Vec<Step>, other: Vec<Step>) -> Step {
    Step::Either { share, one: one.into(), other: other.into() }
}

/// A span within the service around some steps.
pub fn inner(name: &str, body: Vec<Step>) -> Step {
    Step::Inner { name: name.into(), body: body.into() }
}

/// Begins something and does not wait for it.
pub fn aside(body: Vec<Step>) -> Step {
    Step::Aside(body.into())
}

/// Steps, each with what undoes it when a later one fails.
pub fn saga(steps: Vec<(Vec<Step>, Vec<Step>)>) -> Step {
    let steps: Vec<(Block, Block)> = steps.into_iter().map(|(act, undo)| (act.into(), undo.into())).collect();
    Step::Saga(steps.into())
}

/// Fails in a share of cases.
pub fn fail(share: f64) -> Step {
    Step::Fail(share)
}

/// Writes a log record.
pub fn log(text: &str) -> Step {
    Step::Log(text.into())
}
