//! Nanoseconds of CPU that a span costs from request bytes to rows, by the walk and by prost's messages, in one run:
//! `cargo bench -p collector-otlp --bench decode [-- RECORDING…]`, for own requests or for recordings of the Collector.
//! Prints; asserts nothing about time.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::hint::black_box;

use collector_otlp::recording::{BODY_BYTES_MAX, Recording};
use collector_otlp::{Encoding, Limits, PayloadKind, Signal, decode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

#[path = "../tests/oracle/mod.rs"]
mod oracle;
#[path = "../tests/requests/mod.rs"]
mod requests;

const KIND: PayloadKind = PayloadKind { signal: Signal::Traces, encoding: Encoding::Protobuf };
const ROUNDS: usize = 9;
const SPANS_PER_ROUND: usize = 200_000;

fn main() {
    let recordings: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    println!("requests                   bytes/span   walk ns/span   prost ns/span   prost decode only");
    for path in &recordings {
        let recording = Recording::new(fs::File::open(path).unwrap(), BODY_BYTES_MAX);
        measure(path, &recording.map(|body| body.unwrap().bytes).collect::<Vec<_>>());
    }
    for spans in [100, 1000, 8192].into_iter().filter(|_| recordings.is_empty()) {
        measure(&format!("{spans} spans"), &[requests::traces(spans).encode_to_vec()]);
    }
}

fn measure(name: &str, bodies: &[Vec<u8>]) {
    let limits = Limits::default();
    let walk = |body: &[u8]| {
        black_box(decode(KIND, body, &limits).unwrap());
    };
    let prost = |body: &[u8]| {
        black_box(oracle::spans(&ExportTraceServiceRequest::decode(body).unwrap(), &limits));
    };
    let messages = |body: &[u8]| {
        black_box(ExportTraceServiceRequest::decode(body).unwrap());
    };
    let spans: usize = bodies.iter().map(|body| decode(KIND, body, &limits).unwrap().accepted).sum();
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let repeats = (SPANS_PER_ROUND / spans).max(1);
    let per_span = |run: &dyn Fn(&[u8])| {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let before = cpu_ns();
                for _ in 0..repeats {
                    bodies.iter().for_each(|body| run(body));
                }
                (cpu_ns() - before) as f64 / (repeats * spans) as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    };
    let [walk, prost, messages] = [per_span(&walk), per_span(&prost), per_span(&messages)];
    println!("{name:24} {:12} {walk:14.0} {prost:15.0} {messages:19.0}", bytes / spans);
}

/// Returns nanoseconds that this thread has run, as Linux counts them: other work on the machine does not matter.
fn cpu_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}
