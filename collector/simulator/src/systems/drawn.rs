//! Systems drawn from a seed: names, layers, who calls whom with what protection, queues, keys, and traffic. So that
//! nothing can be fitted to a system that is known.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::system::{
    Block, Broker, Builder, Call, Context, OperationId, Protocol, QueueId, ServiceId, Step, System, Telemetry, Value,
    aside, call, either, fail, inner, query, repeat, saga, scatter, send, sleep, work,
};

/// Spans that one run of an operation may cause: more would be many layers of loops.
const SPANS_MAX: f64 = 40.0;

/// Returns the system of a seed.
pub fn drawn(seed: u64) -> System {
    let mut drawing = Drawing {
        dice: Dice::new(seed ^ 0x0d12_a3b4),
        system: Builder::new(&format!("drawn {seed}")),
        statements: Vec::new(),
        writes: Vec::new(),
        peers: Vec::new(),
        layers: Vec::new(),
        queues: Vec::new(),
        spans: BTreeMap::new(),
        key: String::new(),
        value: Value::Uuid(1),
    };
    drawing.value = *drawing.dice.pick(&[Value::Uuid(1), Value::Uuid(1), Value::Word(1), Value::Number(1)]);
    drawing.key = format!("{}.{}", drawing.word(), drawing.word());
    drawing.peers();
    drawing.queues();
    let layers = drawing.dice.between(2, 4);
    (0..layers).for_each(|_| drawing.layer());
    drawing.entries();
    let skew_ms = *drawing.dice.pick(&[0.0, 1.0, 5.0]);
    let doubled = drawing.dice.range(0.0, 0.02);
    let export_every_ms = *drawing.dice.pick(&[1_000.0, 5_000.0]);
    drawing.system.telemetry(Telemetry { skew_ms, doubled, export_every_ms, ..Telemetry::default() });
    drawing.system.build()
}

struct Drawing {
    dice: Dice,
    system: Builder,
    statements: Vec<OperationId>,
    /// Those of them that change something.
    writes: Vec<OperationId>,
    peers: Vec<OperationId>,
    /// Operations by layer, the innermost first.
    layers: Vec<Vec<OperationId>>,
    queues: Vec<QueueId>,
    /// Spans that a run of an operation causes, about.
    spans: BTreeMap<OperationId, f64>,
    /// Key that names the pieces of work.
    key: String,
    /// What its values are.
    value: Value,
}

impl Drawing {
    /// Returns a word that nobody knows.
    fn word(&mut self) -> String {
        let syllables = ["ba", "ke", "lo", "mi", "nu", "ra", "se", "to", "vi", "zu", "pha", "qui", "gra", "dle"];
        let count = self.dice.between(2, 3);
        (0..count).map(|_| *self.dice.pick(&syllables)).collect()
    }

    fn peers(&mut self) {
        for _ in 0..self.dice.between(1, 3) {
            let name = format!("{}-db", self.word());
            let kind = *self.dice.pick(&["postgresql", "mysql", "mongodb", "cassandra"]);
            let workers = self.dice.between(20, 40);
            let database = self.system.database(&name, kind, workers);
            for verb in ["SELECT", "UPDATE", "INSERT"] {
                let (table, ms) = (self.word(), self.dice.range(1.0, 9.0));
                let statement = self.system.statement(database, &format!("{verb} {table}"), ms);
                self.statements.push(statement);
                if verb != "SELECT" {
                    self.writes.push(statement);
                }
            }
        }
        let cache = format!("{}-cache", self.word());
        let cache = self.system.database(&cache, "redis", 60);
        self.statements.push(self.system.statement(cache, "GET entry", 0.5));
        for _ in 0..self.dice.between(0, 2) {
            let name = format!("api.{}.example", self.word());
            let peer = self.system.peer(&name, 60);
            let (path, ms) = (self.word(), self.dice.range(20.0, 90.0));
            self.peers.push(self.system.http(peer, &format!("POST /{path}"), vec![work(ms)]));
        }
    }

    fn queues(&mut self) {
        for _ in 0..self.dice.between(1, 3) {
            let name = format!("{}.{}", self.word(), self.word());
            let broker = *self.dice.pick(&[Broker::Kafka, Broker::Rabbit, Broker::Sqs]);
            let partitions = self.dice.between(2, 6);
            let queue = self.system.queue(&name, broker, partitions);
            self.queues.push(queue);
            for _ in 0..self.dice.between(1, 2) {
                self.group(queue);
            }
        }
    }

    fn group(&mut self, queue: QueueId) {
        let service = self.service();
        let mut body = vec![self.own_work()];
        body.push(query(*self.dice.pick(&self.statements)));
        let context = *self.dice.pick(&[Context::Parent, Context::Link, Context::MessageId, Context::Nothing]);
        let is_batch = context == Context::Link && self.dice.is(0.3);
        let batch = if is_batch { (self.dice.between(5, 30), self.dice.range(200.0, 2_000.0)) } else { (1, 0.0) };
        let operation = self.system.batch_consumer(queue, service, context, batch, body);
        if context == Context::Nothing || self.dice.is(0.5) {
            let key = self.key.clone();
            let value = self.value;
            self.system.says(operation, &key, value);
        }
        if self.dice.is(0.5) {
            let doubled = self.dice.range(0.0, 0.005);
            self.system.at_least_once(doubled);
        }
    }

    /// Returns a step by which work goes on elsewhere, with nothing to show for it but the key, which may be in logs only.
    fn handover(&mut self) -> Step {
        let service = self.service();
        let name = format!("POST /{}", self.word());
        let delay_ms = (self.dice.range(50.0, 400.0), self.dice.range(500.0, 3_000.0));
        let body = vec![self.own_work(), query(*self.dice.pick(&self.statements))];
        let (queue, operation) = self.system.handover(service, &name, delay_ms, body);
        let (key, value) = (self.key.clone(), self.value);
        if self.dice.is(0.3) {
            self.system.logs(operation, &key, value);
        } else {
            self.system.says(operation, &key, value);
        }
        send(queue)
    }

    fn service(&mut self) -> ServiceId {
        let name = format!("{}-{}", self.word(), self.word());
        let (instances, workers) = (self.dice.between(2, 4), self.dice.between(16, 48));
        let (is_old, is_early) = (self.dice.is(0.4), self.dice.is(0.3));
        let pauses = self.dice.is(0.7).then_some((self.dice.range(30.0, 120.0), self.dice.range(10.0, 60.0)));
        let mut service = self.system.service(&name).instances(instances).workers(workers).pauses(pauses);
        if is_old {
            service = service.old_names();
        }
        if is_early {
            service = service.begins_at_arrival();
        }
        service.id()
    }

    fn own_work(&mut self) -> Step {
        Step::Work { ms: self.dice.log_normal(4.0, 0.7).clamp(0.5, 40.0), sigma: self.dice.range(0.2, 0.6) }
    }

    /// Adds a layer of services, which call the layers below.
    fn layer(&mut self) {
        let mut made = Vec::new();
        for _ in 0..self.dice.between(2, 4) {
            let service = self.service();
            for _ in 0..self.dice.between(1, 2) {
                let (body, spans) = self.body();
                let (first, second) = (self.word(), self.word());
                let operation = if self.dice.is(0.5) {
                    let verb = *self.dice.pick(&["GET", "POST", "PUT"]);
                    self.system.http(service, &format!("{verb} /{first}/{{{second}}}"), body)
                } else {
                    self.system.rpc(service, &format!("{first}.{second}/Do"), body)
                };
                self.spans.insert(operation, spans);
                made.push(operation);
            }
        }
        self.layers.push(made);
    }

    /// Returns what an operation does, and how many spans that makes, about.
    fn body(&mut self) -> (Vec<Step>, f64) {
        let (mut body, mut spans) = (vec![self.own_work()], 1.0);
        for _ in 0..self.dice.between(1, 3) {
            let mut step = self.step();
            if spans + self.spans_of(&step) > SPANS_MAX {
                step = query(*self.dice.pick(&self.statements));
            }
            spans += self.spans_of(&step);
            body.push(step);
        }
        if self.dice.is(0.3) {
            body.push(self.own_work());
        }
        (body, spans)
    }

    fn spans_of(&self, step: &Step) -> f64 {
        let all = |body: &Block| body.iter().map(|step| self.spans_of(step)).sum::<f64>();
        let call = |call: &Call| 1.0 + self.spans.get(&call.target).copied().unwrap_or(0.0);
        match step {
            Step::Call(one) => call(one),
            Step::Scatter { calls, .. } => calls.iter().map(|one| call(one)).sum(),
            Step::Repeat { from, to, body } => (*from as f64 + *to as f64) / 2.0 * all(body),
            Step::Either { share, one, other } => share * all(one) + (1.0 - share) * all(other),
            Step::Inner { body, .. } => 1.0 + all(body),
            Step::Aside(body) => all(body),
            Step::Saga(steps) => steps.iter().map(|(act, _)| all(act)).sum(),
            Step::Send(_) => 3.0,
            Step::Work { .. } | Step::Sleep { .. } | Step::Fail(_) | Step::Log(_) => 0.0,
        }
    }

    fn step(&mut self) -> Step {
        let statement = *self.dice.pick(&self.statements);
        if self.layers.is_empty() {
            return match self.dice.below(4) {
                0 => repeat(1, 3, vec![query(statement)]),
                1 if !self.peers.is_empty() => {
                    let peer = *self.dice.pick(&self.peers);
                    self.protected(peer).into()
                }
                2 => inner("compute", vec![self.own_work(), query(statement)]),
                _ => query(statement),
            };
        }
        match self.dice.below(8) {
            0 => {
                let count = self.dice.between(2, 4);
                let calls: Vec<Call> = (0..count).map(|_| self.below()).collect();
                scatter(calls, count)
            }
            1 => either(0.6, vec![self.below().into()], vec![query(statement)]),
            2 => repeat(1, 2, vec![self.below().into()]),
            3 => aside(vec![self.own_work()]),
            _ => self.below().into(),
        }
    }

    /// Returns a call to a layer below, nearly always the next.
    fn below(&mut self) -> Call {
        let last = self.layers.len() - 1;
        let layer = if self.dice.is(0.2) { self.dice.below(last + 1) } else { last };
        let target = *self.dice.pick(&self.layers[layer]);
        self.protected(target)
    }

    fn protected(&mut self, target: OperationId) -> Call {
        let mut made = call(target).timeout(*self.dice.pick(&[800.0, 1_500.0, 3_000.0, 10_000.0]));
        if self.dice.is(0.5) {
            made = made.tries(*self.dice.pick(&[2, 3, 4]), self.dice.range(10.0, 100.0));
        }
        if self.dice.is(0.3) {
            made = made.breaker().or(vec![work(0.5)]);
        }
        made
    }

    /// Adds services at the edge, and traffic to them.
    fn entries(&mut self) {
        for _ in 0..self.dice.between(1, 2) {
            let service = self.service();
            for _ in 0..self.dice.between(2, 4) {
                let (mut body, _) = self.body();
                if self.dice.is(0.6) {
                    body.push(send(*self.dice.pick(&self.queues)));
                }
                if self.dice.is(0.2) {
                    body.push(self.handover());
                }
                if self.dice.is(0.3) {
                    body = vec![self.saga()];
                }
                let path = self.word();
                let operation = self.system.http(service, &format!("POST /{path}"), body);
                let key = self.key.clone();
                let value = self.value;
                self.system.says(operation, &key, value);
                self.system.says(operation, "tenant", Value::Tenant);
                if self.dice.is(0.4) {
                    self.system.says(operation, "customer.ref", Value::Customer(3_000));
                }
                let per_second = self.dice.log_normal(2.0, 0.6).clamp(0.3, 6.0);
                self.system.traffic(operation, per_second);
            }
            let watch = self.system.operation(service, Protocol::Http, "GET /events", vec![sleep(1_000.0, 20_000.0)]);
            self.system.traffic(watch, 0.2);
        }
        let service = self.service();
        let statement = *self.dice.pick(&self.statements);
        let tidy = vec![repeat(5, 15, vec![query(statement), work(5.0)])];
        let tidy = self.system.operation(service, Protocol::Timer, "tidy up", tidy);
        let every_s = self.dice.range(120.0, 600.0);
        self.system.timer(tidy, every_s);
    }

    fn saga(&mut self) -> Step {
        let mut steps = Vec::new();
        for _ in 0..self.dice.between(2, 4) {
            let act: Step = self.below().into();
            let undo = vec![query(*self.dice.pick(&self.writes))];
            steps.push((vec![act], undo));
        }
        let queue = *self.dice.pick(&self.queues);
        let failing = self.dice.range(0.02, 0.06);
        steps.push((vec![fail(failing), send(queue)], Vec::new()));
        saga(steps)
    }
}
