//! What a simulated system is made of: services with operations, what an operation does step by step, queues and who
//! takes from them, and where traffic comes from. Written by `systems` through the builder, played by `world`.
//! Must never hold anything that changes while it is played.

mod build;

pub use build::{
    Builder, ServiceBuilder, aside, call, either, fail, inner, log, maybe, query, repeat, saga, scatter, send, sleep,
    work,
};

use std::sync::Arc;

/// Index of a service in [`System::services`].
pub type ServiceId = usize;
/// Index of an operation in [`System::operations`].
pub type OperationId = usize;
/// Index of a queue in [`System::queues`].
pub type QueueId = usize;
/// What an operation does, in order.
pub type Block = Arc<[Step]>;

/// A system as it is before anything happens to it.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// What people call it.
    pub name: String,
    /// Services, databases and other peers.
    pub services: Vec<Service>,
    /// What services do.
    pub operations: Vec<Operation>,
    /// Queues and topics.
    pub queues: Vec<Queue>,
    /// Who takes from queues.
    pub groups: Vec<Group>,
    /// Where work begins.
    pub sources: Vec<Source>,
    /// Tenants that share the work, the first more than the last.
    pub tenants: u64,
    /// How telemetry gets out.
    pub telemetry: Telemetry,
}

/// How telemetry is made and sent.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Time between two exports of one instance.
    pub export_every_ms: f64,
    /// Share of traces that are kept.
    pub sampled: f64,
    /// Share of exports that are sent a second time.
    pub doubled: f64,
    /// Share of spans that are lost on their way.
    pub lost: f64,
    /// How far clocks of instances are apart at most.
    pub skew_ms: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { export_every_ms: 5_000.0, sampled: 1.0, doubled: 0.01, lost: 0.0, skew_ms: 0.0 }
    }
}

/// Which names of attributes a service's instrumentation uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// Before the conventions were declared stable, such as `http.method`.
    Old,
    /// Stable names, such as `http.request.method`.
    New,
}

/// From when on a server's span runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// From the arrival of the request: waiting for a worker is part of it.
    AtArrival,
    /// From when a worker takes it.
    AtPickup,
}

/// A service: instances that share what it does.
#[derive(Debug, Clone)]
pub struct Service {
    /// `service.name`, or the address of a peer.
    pub name: Arc<str>,
    /// `service.version` at the beginning.
    pub version: String,
    /// Instances at the beginning.
    pub instances: usize,
    /// Workers of one instance: requests that it works on at once.
    pub workers: usize,
    /// Requests that wait before the workers of one instance; further ones are refused.
    pub backlog_max: usize,
    /// Whether it sends telemetry; databases and third parties do not.
    pub is_telling: bool,
    /// Which system it is, if it is a database or cache.
    pub database: Option<Arc<str>>,
    /// Names of its attributes.
    pub convention: Convention,
    /// When its server spans begin.
    pub begins: Begins,
    /// Seconds between pauses of a whole instance and their median length; none if it has no pauses.
    pub pauses: Option<(f64, f64)>,
    /// Whether it breaks work off when its caller has gone.
    pub cancels: bool,
}

/// How a request reaches an operation, and how it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A request over HTTP; the operation's name is method and route.
    Http,
    /// A remote procedure call; the operation's name is service and method.
    Rpc,
    /// A statement of a database or a command of a cache; the operation's name is verb and target.
    Query,
    /// Work on messages; reached through a [`Group`] only.
    Message,
    /// Work that a timer begins.
    Timer,
}

/// What a service does when it is asked to.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Who does it.
    pub service: ServiceId,
    /// Span name.
    pub name: Arc<str>,
    /// How it is reached.
    pub protocol: Protocol,
    /// What it does.
    pub body: Block,
    /// Business attributes on its span.
    pub says: Vec<Say>,
}

/// A business attribute.
#[derive(Debug, Clone)]
pub struct Say {
    /// Attribute key.
    pub key: Arc<str>,
    /// What its value is.
    pub value: Value,
    /// Whether it is on a log record instead of the span.
    pub is_logged: bool,
}

/// Where the value of an attribute comes from. What is one piece of work's own is the same wherever it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The work's own id, as UUID; works have several of them, told apart by number.
    Uuid(u8),
    /// The work's own id, as a number of seven digits.
    Number(u8),
    /// The work's own id, as a word and a number.
    Word(u8),
    /// One of the tenants.
    Tenant,
    /// One of so many customers.
    Customer(u64),
    /// Drawn each time.
    Random(u64),
}

/// One step of what an operation does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Works for a time that is log-normal.
    Work {
        /// Median.
        ms: f64,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// Waits on purpose: a long poll, a blocking pop, a timer.
    Sleep {
        /// Least.
        from_ms: f64,
        /// Most.
        to_ms: f64,
    },
    /// Calls another operation and waits.
    Call(Arc<Call>),
    /// Calls several at once and waits until so many have answered.
    Scatter {
        /// The calls.
        calls: Arc<[Arc<Call>]>,
        /// Answers that are enough.
        needed: usize,
    },
    /// Hands a message to a queue.
    Send(QueueId),
    /// Does the same several times, a number that is drawn.
    Repeat {
        /// Least.
        from: usize,
        /// Most.
        to: usize,
        /// What is repeated.
        body: Block,
    },
    /// Does one thing or another.
    Either {
        /// Share of the first.
        share: f64,
        /// The first.
        one: Block,
        /// The other.
        other: Block,
    },
    /// A span within the service around some steps.
    Inner {
        /// Span name.
        name: Arc<str>,
        /// What is within.
        body: Block,
    },
    /// Begins something and does not wait for it.
    Aside(Block),
    /// Steps that are undone, last first, when a later one fails.
    Saga(Arc<[(Block, Block)]>),
    /// Fails in this share of cases.
    Fail(f64),
    /// Writes a log record.
    Log(Arc<str>),
}

/// A call, with what protects it.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub target: OperationId,
    /// Instance of the target that has what is asked for; none if any will do.
    pub shard: Option<usize>,
    /// Time after which the caller gives up.
    pub timeout_ms: f64,
    /// Attempts in all.
    pub tries_max: u32,
    /// Pause before the second attempt; it doubles from attempt to attempt and is drawn from half to one and a half.
    pub backoff_ms: f64,
    /// Whether a breaker stops calls that keep failing.
    pub has_breaker: bool,
    /// What is done when all attempts failed.
    pub otherwise: Otherwise,
}

/// What is done when a call failed for good.
#[derive(Debug, Clone)]
pub enum Otherwise {
    /// Fails too.
    Fail,
    /// Goes on, doing this instead.
    Instead(Block),
}

/// A queue or topic.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its name.
    pub name: Arc<str>,
    /// Which system it is.
    pub broker: Broker,
    /// Partitions; messages of one piece of work go to one partition.
    pub partitions: usize,
    /// Least and most time until a message can be taken, beside what all take.
    pub delay_ms: (f64, f64),
}

/// Systems for messages that differ in what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// A log with partitions and offsets.
    Kafka,
    /// A queue whose messages have ids.
    Rabbit,
    /// A queue in a cloud, whose messages have long ids.
    Sqs,
    /// No queue that anybody sees: a row in a table that somebody polls, a person who goes on with a form.
    Unseen,
}

/// How a consumer continues what a producer began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// In the same trace.
    Parent,
    /// In a new trace, with a link.
    Link,
    /// In a new trace that names the message.
    MessageId,
    /// In a new trace that says nothing but its business attributes.
    Nothing,
}

/// Who takes from a queue.
#[derive(Debug, Clone)]
pub struct Group {
    /// Where from.
    pub queue: QueueId,
    /// What is done with a message.
    pub operation: OperationId,
    /// How it continues what the producer began.
    pub context: Context,
    /// Messages that are taken at once.
    pub batch_max: usize,
    /// Time that it waits for more messages of a batch.
    pub linger_ms: f64,
    /// Share of messages that come twice as a matter of course.
    pub doubled: f64,
}

/// Where work begins.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is asked for.
    pub operation: OperationId,
    /// How often.
    pub rhythm: Rhythm,
}

/// How often work begins.
#[derive(Debug, Clone, Copy)]
pub enum Rhythm {
    /// By chance, so many a second.
    PerSecond(f64),
    /// By a timer, every so many seconds.
    Every(f64),
}
