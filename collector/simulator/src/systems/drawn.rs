//! Systems drawn from a seed: names, layers, who calls whom with what protection, queues, keys, and traffic. So that
//! nothing can be fitted to a system that is known.

use crate::dice::Dice;
use crate::system::{
    Broker, Builder, Call, Context, OperationId, Protocol, QueueId, ServiceId, Step, System, Telemetry, Value, aside,
    call, either, fail, inner, query, repeat, saga, scatter, send, sleep, work,
};

/// Returns the system of a seed.
pub fn drawn(seed: u64) -> System {
    let mut drawing = Drawing {
        dice: Dice::new(seed ^ 0x0d12_a3b4),
        system: Builder::new(&format!("drawn {seed}")),
        statements: Vec::new(),
        peers: Vec::new(),
        layers: Vec::new(),
        queues: Vec::new(),
        key: String::new(),
    };
    drawing.key = format!("{}.{}", drawing.word(), drawing.word());
    drawing.peers();
    drawing.queues();
    let layers = drawing.dice.between(2, 4);
    (0..layers).for_each(|_| drawing.layer());
    drawing.entries();
    let skew_ms = *drawing.dice.pick(&[0.0, 2.0, 20.0]);
    let doubled = drawing.dice.range(0.0, 0.02);
    let export_every_ms = *drawing.dice.pick(&[1_000.0, 5_000.0]);
    drawing.system.telemetry(Telemetry { skew_ms, doubled, export_every_ms, ..Telemetry::default() });
    drawing.system.build()
}

struct Drawing {
    dice: Dice,
    system: Builder,
    statements: Vec<OperationId>,
    peers: Vec<OperationId>,
    /// Operations by layer, the innermost first.
    layers: Vec<Vec<OperationId>>,
    queues: Vec<QueueId>,
    /// Key that names the pieces of work.
    key: String,
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
                self.statements.push(self.system.statement(database, &format!("{verb} {table}"), ms));
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
            self.system.says(operation, &key, Value::Uuid(1));
        }
        if self.dice.is(0.5) {
            let doubled = self.dice.range(0.0, 0.005);
            self.system.at_least_once(doubled);
        }
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
                let body = self.body();
                let (first, second) = (self.word(), self.word());
                let operation = if self.dice.is(0.5) {
                    let verb = *self.dice.pick(&["GET", "POST", "PUT"]);
                    self.system.http(service, &format!("{verb} /{first}/{{{second}}}"), body)
                } else {
                    self.system.rpc(service, &format!("{first}.{second}/Do"), body)
                };
                made.push(operation);
            }
        }
        self.layers.push(made);
    }

    fn body(&mut self) -> Vec<Step> {
        let mut body = vec![self.own_work()];
        for _ in 0..self.dice.between(1, 3) {
            let step = self.step();
            body.push(step);
        }
        if self.dice.is(0.3) {
            body.push(self.own_work());
        }
        body
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
                let mut body = self.body();
                if self.dice.is(0.6) {
                    body.push(send(*self.dice.pick(&self.queues)));
                }
                if self.dice.is(0.3) {
                    body = vec![self.saga()];
                }
                let path = self.word();
                let operation = self.system.http(service, &format!("POST /{path}"), body);
                let key = self.key.clone();
                self.system.says(operation, &key, Value::Uuid(1));
                self.system.says(operation, "tenant", Value::Tenant);
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
            let undo = vec![query(*self.dice.pick(&self.statements))];
            steps.push((vec![act], undo));
        }
        let queue = *self.dice.pick(&self.queues);
        let failing = self.dice.range(0.02, 0.06);
        steps.push((vec![fail(failing), send(queue)], Vec::new()));
        saga(steps)
    }
}
