//! An event pipeline: devices report, and consumers in traces of their own pass on, one by one and in batches, with links,
//! with offsets, and with nothing but a business key.

use crate::system::{Broker, Builder, Context, Protocol, System, Value, call, query, repeat, send, work};

/// Returns the pipeline, with eight events a second.
pub fn pipeline() -> System {
    let mut flow = Builder::new("event pipeline");
    let raw = flow.queue("readings.raw", Broker::Kafka, 6);
    let clean = flow.queue("readings.clean", Broker::Kafka, 6);
    let alarms = flow.queue("alarms", Broker::Sqs, 2);
    let gate = flow.service("device-gate").instances(3).workers(48).id();
    let report = flow.http(gate, "POST /readings", vec![work(2.0), send(raw)]);
    flow.says(report, "reading.id", Value::Uuid(4));
    let registry_db = flow.database("registry-db", "postgresql", 24);
    let find = flow.statement(registry_db, "SELECT devices", 2.0);
    let registry = flow.service("registry").instances(2).workers(24).id();
    let lookup = flow.rpc(registry, "dev.Registry/Find", vec![work(1.0), query(find)]);
    let parser = flow.service("parser").instances(3).workers(8).id();
    let parse = vec![work(5.0), call(lookup).timeout(1_000.0).tries(2, 25.0).into(), send(clean)];
    let parsed = flow.consumer(raw, parser, Context::Link, parse);
    flow.says(parsed, "reading.id", Value::Uuid(4));
    let archive = flow.database("archive", "cassandra", 24);
    let write = flow.statement(archive, "INSERT readings", 3.0);
    let writer = flow.service("archiver").instances(2).workers(8).old_names().id();
    flow.batch_consumer(clean, writer, Context::Link, (20, 1_500.0), vec![work(4.0), repeat(1, 3, vec![query(write)])]);
    let rules = flow.service("rules").instances(2).workers(8).id();
    let judge = vec![work(7.0), call(lookup).timeout(1_000.0).into(), send(alarms)];
    flow.consumer(clean, rules, Context::MessageId, judge);
    flow.at_least_once(0.005);
    let pager = flow.service("pager").instances(2).workers(8).id();
    let paged = flow.consumer(alarms, pager, Context::Nothing, vec![work(11.0)]);
    flow.says(paged, "readingId", Value::Uuid(4));
    let reader = flow.http(gate, "GET /devices/{id}", vec![work(1.0), call(lookup).timeout(1_000.0).into()]);
    flow.traffic(report, 8.0);
    flow.traffic(reader, 2.0);
    let nightly = flow.operation(
        writer,
        Protocol::Timer,
        "compact archive",
        vec![repeat(10, 20, vec![query(write), work(20.0)])],
    );
    flow.timer(nightly, 300.0);
    flow.build()
}
