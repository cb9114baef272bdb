//! What mining the templates of log records costs: CPU time a record, for lines of a few templates, for lines of which none
//! comes again, and for the longest that are looked at. Run with `cargo bench -p analyzer --bench logs`.
//! Never part of the tests: it asserts nothing about time.

use analyzer::detect::{Detector, DetectorLimits};
use collector_table::{LogFields, LogTable, LogTableBuilder, TraceId, ValueType};
use rustix::time::{ClockId, clock_gettime};

const RECORDS: u64 = 1_000_000;
const RECORDS_PER_TABLE: u64 = 1_000;
const SECOND_NS: i64 = 1_000_000_000;
const BEGIN_NS: i64 = 1_700_000_000 * SECOND_NS;
const RECORDS_PER_SECOND: u64 = 10_000;
const SERVICES: [&str; 8] = ["frontend", "checkout", "cart", "catalog", "payment", "shipping", "email", "ad"];

fn main() {
    measure("40 templates of 8 services", usual);
    measure("JSON bodies", |number| {
        format!(r#"{{"level":"info","text":"{}","user":"u-{number}","took_ms":{}}}"#, usual(number), number % 977)
    });
    measure("no line comes again", |number| format!("{} {} {}", word(number), word(number * 31), word(number * 977)));
    measure("512 bytes and more, 40 words", |number| format!("{} {}", usual(number), "and a word 17 ".repeat(100)));
}

/// Lines of a few templates with values in them.
fn usual(number: u64) -> String {
    let (id, ms) = (mix(number), number % 977);
    match number % 5 {
        0 => format!("order {id:x} accepted in {ms} ms for customer c-{}", id % 5_000),
        1 => format!("GET /orders/{}/items 200 {ms}ms", id % 90_000),
        2 => format!("connection to 10.0.{}.{}:5432 took {ms}.{} ms", id % 256, ms % 256, id % 10),
        3 => format!("cache holds {} entries, evicted {ms}", id % 10_000),
        _ => format!("message {id:016x} taken from orders.placed, partition {}", id % 12),
    }
}

/// Letters only: numbers and ids are put out by their shape.
fn word(number: u64) -> String {
    mix(number).to_be_bytes().iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

fn measure(what: &str, body: impl Fn(u64) -> String) {
    let mut detector = Detector::new(DetectorLimits::default());
    let mut took_ns = 0;
    for first in (0..RECORDS).step_by(usize::try_from(RECORDS_PER_TABLE).expect("small")) {
        let table = table(first, &body);
        let began_ns = cpu_ns();
        detector.read_logs(&table, i64::MAX);
        took_ns += cpu_ns() - began_ns;
    }
    let at_bounds: Vec<String> = detector
        .at_bounds()
        .into_iter()
        .filter(|(name, count)| name.starts_with("log_") && *count > 0)
        .map(|(name, count)| format!(", {name} {count}"))
        .collect();
    println!("{what}: {} ns a record{}", took_ns / RECORDS.cast_signed(), at_bounds.concat());
}

fn table(first: u64, body: impl Fn(u64) -> String) -> LogTable {
    let mut builder = LogTableBuilder::default();
    for number in first..first + RECORDS_PER_TABLE {
        builder.push_attribute("thread.id", "12", ValueType::Int);
        builder.append(&LogFields {
            time_ns: BEGIN_NS + (number / RECORDS_PER_SECOND).cast_signed() * SECOND_NS,
            observed_ns: 0,
            trace_id: Some(TraceId(u128::from(mix(number)).to_be_bytes())),
            span_id: None,
            flags: 1,
            severity_number: 9,
            severity_text: Some("INFO"),
            body: &body(number),
            body_type: ValueType::String,
            event_name: None,
            service_name: SERVICES[usize::try_from(number / 20 % 8).expect("small")],
            service_instance: Some("a-1"),
            service_version: None,
            scope_name: None,
            dropped_attributes_count: 0,
        });
    }
    builder.finish()
}

fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * SECOND_NS + now.tv_nsec
}

/// Mixes the bits of a number: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
