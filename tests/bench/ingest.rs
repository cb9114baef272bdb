//! What ingest costs: the release daemon on one core, this program on another, everything settled before the CPU time is
//! read. Beside it, in the same run, a server that only receives, so that figures of different machines can be compared
//! by their ratio. Run by `just bench`; prints a table and asserts nothing.

mod pool;
mod process;
mod push;
mod server;
mod shop;

use std::env;
use std::time::Duration;

use pool::Pool;
use server::Server;

/// Spans of a request in each run.
const SIZES: [usize; 3] = [8192, 1000, 100];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [command, address] = arguments.as_slice()
        && command == server::NULL_COMMAND
    {
        return server::receive_only(address);
    }
    let seconds = number("BENCH_SECONDS", 10);
    let rounds = number("BENCH_ROUNDS", 3);
    let pinned = process::pin_to_last_core();
    println!("{rounds} rounds of {seconds} s a size; {}", if pinned { "server on core 0" } else { "not pinned" });
    println!("server   spans/request  spans/s  CPU-s/M  settled CPU-s/M  p50 ms  p99 ms  peak MiB  B/span  refused");
    for spans in SIZES {
        let pool = Pool::new(spans);
        for kind in [server::Kind::Null, server::Kind::Daemon] {
            let mut runs: Vec<Run> = (0..rounds).map(|_| run(kind, &pool, Duration::from_secs(seconds))).collect();
            runs.sort_by(|one, other| one.settled_per_million.total_cmp(&other.settled_per_million));
            runs[runs.len() / 2].print(kind, spans);
        }
    }
}

/// What one run measured.
struct Run {
    spans_per_s: f64,
    /// CPU-seconds for a million spans until the last answer.
    cpu_per_million: f64,
    /// The same until the server had nothing left to do.
    settled_per_million: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_mib: f64,
    /// Bytes of Parquet for a span, after everything was sealed and compacted.
    bytes_per_span: Option<f64>,
    refused: u64,
}

impl Run {
    fn print(&self, kind: server::Kind, spans: usize) {
        let Self { spans_per_s, cpu_per_million, settled_per_million, p50_ms, p99_ms, peak_mib, .. } = self;
        let bytes = self.bytes_per_span.map_or("-".to_owned(), |bytes| format!("{bytes:.1}"));
        let (name, refused) = (kind.as_str(), self.refused);
        println!(
            "{name:8} {spans:13} {spans_per_s:8.0} {cpu_per_million:8.2} {settled_per_million:16.2} {p50_ms:7.2} \
             {p99_ms:7.2} {peak_mib:9.0} {bytes:>7} {refused:8}"
        );
    }
}

fn run(kind: server::Kind, pool: &Pool, duration: Duration) -> Run {
    let server = Server::start(kind);
    let before = process::cpu_seconds(server.pid());
    let sent = push::run(server.grpc(), pool, duration);
    let after = process::cpu_seconds(server.pid());
    process::wait_until_idle(server.pid());
    let peak_mib = process::peak_mib(server.pid());
    let settled = server.stop_and_cpu_seconds();
    let millions = sent.spans as f64 / 1e6;
    Run {
        spans_per_s: sent.spans as f64 / sent.seconds,
        cpu_per_million: (after - before) / millions,
        settled_per_million: (settled - before) / millions,
        p50_ms: sent.latency_ms(0.5),
        p99_ms: sent.latency_ms(0.99),
        peak_mib,
        bytes_per_span: server.parquet_bytes().map(|bytes| bytes as f64 / sent.spans as f64),
        refused: sent.refused,
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
