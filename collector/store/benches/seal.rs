//! What keeping spans costs: log, memory, seal with Parquet, merging. Prints CPU seconds per million spans and bytes a
//! span on disk. Run: `cargo bench -p collector-store --bench seal [-- SPANS_PER_REQUEST]`. Data is made here: 13
//! services with 3 instances each, ten attributes a span, about eleven spans a trace.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Instant;

use bytes::Bytes;
use collector_store::{Config, Store};
use collector_table::{
    ResourceFields, SpanEntry, SpanId, SpanKind, SpanTableBuilder, StatusCode, TableName, TraceId, ValueType,
};

const SPANS: usize = 1_000_000;
const SPANS_PER_TRACE: usize = 11;
/// Bytes of a span as it is logged.
const PAYLOAD_BYTES: usize = 450;

fn main() {
    let per_request = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Config::new(dir.path()), |_, _| None).await.unwrap();
        let mut chance = Chance(1);
        let (mut making, before) = (0.0, cpu_seconds());
        let started = Instant::now();
        for request in 0..SPANS / per_request {
            let from = cpu_seconds();
            let (payload, rows) = (payload(per_request, &mut chance), rows(request, per_request, &mut chance));
            making += cpu_seconds() - from;
            store.append(1, payload, TableName::Spans, rows).await.unwrap();
        }
        store.seal().await;
        let sealed = cpu_seconds() - before - making;
        store.maintain(0).await;
        let settled = cpu_seconds() - before - making;
        let stats = store.stats();
        let spans = &stats.tables[0];
        println!("{per_request} spans a request, {:.1} s", started.elapsed().as_secs_f64());
        println!("log, memory, seals: {sealed:.2} CPU-s/M; with merging: {settled:.2} CPU-s/M (ticks of 10 ms)");
        println!(
            "seals {}, {:.2} s in all; syncs {}, {:.2} s in all",
            stats.seals,
            stats.seal_total.as_secs_f64(),
            stats.syncs,
            stats.sync_total.as_secs_f64()
        );
        println!(
            "{} segments, {:.1} bytes a span",
            spans.segments,
            spans.segment_bytes as f64 / spans.segment_rows as f64
        );
        store.close().await;
    });
}

/// A small generator, so that every run has the same data.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ self.0 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 8
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn payload(spans: usize, chance: &mut Chance) -> Bytes {
    let words = (0..spans * PAYLOAD_BYTES / 8).map(|_| chance.next().to_le_bytes());
    Bytes::from_owner(words.flatten().collect::<Vec<u8>>())
}

fn rows(request: usize, spans: usize, chance: &mut Chance) -> arrow::array::RecordBatch {
    let mut table = SpanTableBuilder::default();
    let mut trace = [0; 16];
    for span in 0..spans {
        if span % SPANS_PER_TRACE == 0 {
            trace[..8].copy_from_slice(&chance.next().to_le_bytes());
            trace[8..].copy_from_slice(&chance.next().to_le_bytes());
        }
        let service = chance.below(13);
        let start_ns = (request * spans + span) as i64 * 3_000 + chance.below(1_000_000) as i64;
        let resource = resource(&mut table, service, chance.below(3));
        let scope = table.scope(Some("bench"), Some("1.0"));
        for (key, values) in ATTRIBUTES {
            let value = chance.below(*values);
            table.attributes().push(key, &format!("{key}-{value}"), ValueType::String);
        }
        table.append_entry(&SpanEntry {
            trace_id: TraceId(trace),
            span_id: SpanId(chance.next().to_be_bytes()),
            parent_span_id: Some(SpanId(chance.next().to_be_bytes())),
            trace_state: None,
            flags: 1,
            resource,
            scope,
            name: NAMES[usize::try_from(service).unwrap() % NAMES.len()],
            kind: SpanKind::ALL[1 + usize::try_from(chance.below(5)).unwrap()],
            start_ns,
            end_ns: start_ns + chance.below(10_000_000) as i64,
            status_code: StatusCode::Unset,
            status_message: None,
            events: None,
            links: None,
            dropped: [0; 3],
        });
    }
    table.finish().batch().clone()
}

const NAMES: [&str; 5] = ["GET /cart", "POST /checkout", "oteldemo.CartService/AddItem", "SELECT orders", "publish"];
const ATTRIBUTES: &[(&str, u64)] = &[
    ("http.request.method", 4),
    ("http.route", 40),
    ("http.response.status_code", 6),
    ("server.address", 13),
    ("server.port", 13),
    ("network.protocol.version", 2),
    ("url.path", 5_000),
    ("client.address", 10_000),
    ("user_agent.original", 20),
    ("session.id", 100_000),
];

fn resource(table: &mut SpanTableBuilder, service: u64, instance: u64) -> u32 {
    let (name, instance) = (format!("service-{service}"), format!("service-{service}-{instance}"));
    let attributes =
        format!(r#"{{"service.name":"{name}","service.instance.id":"{instance}","padding":"{:0600}"}}"#, 0);
    table.resource(&ResourceFields {
        service_name: &name,
        service_instance: Some(&instance),
        service_version: Some("1.0"),
        attributes: &attributes,
    })
}

/// Processor time of this process, from `/proc`: in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / 100.0
}
