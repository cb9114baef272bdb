//! Acknowledged means kept: the real daemon is killed, or asked to stop, while exporters send as fast as they can.
//! Afterwards every acknowledged span is there exactly once. Must never depend on where a kill hits: each is another.

#![allow(clippy::unwrap_used)]

mod daemon;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daemon::traffic::{self, MINUTE_NS, SECOND_NS, now_ns};
use daemon::{Daemon, exchange_bytes, wait_until};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use throughline::demo::shop::Shop;
use tonic::Code;

/// Kills of one run.
const ROUNDS: usize = 20;
/// Spans that are acknowledged in all rounds together, at least.
const SPANS_MIN: u64 = 1_000_000;
/// Half of them send over gRPC, half over HTTP.
const SENDERS: u64 = 6;
const SPANS_PER_REQUEST: u64 = 200;
/// Says when the kills come; another one is tried by setting TEST_SEED.
const SEED: u64 = 2;
/// Sending lasts between this and three times this before it is cut off.
const ROUND_MS: u64 = 500;
/// Then it lasts until this many spans were acknowledged in the round, which keeps a slow machine from doing less.
const ROUND_SPANS: u64 = SPANS_MIN / ROUNDS as u64;
/// What a sender waits before it tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

#[test]
fn killed_while_exporters_send_it_keeps_every_acknowledged_span_exactly_once() {
    let seed = std::env::var("TEST_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    eprintln!("TEST_SEED={seed}");
    let mut random = seed;
    // Seals come so often that kills hit them too.
    let mut daemon = Daemon::start_with(vec![("THROUGHLINE_STORAGE__SEAL_AFTER", "1s".to_owned())]);
    let mut senders: Vec<Sender> = (0..SENDERS).map(Sender::new).collect();
    for _ in 0..ROUNDS {
        let lasts = Duration::from_millis(ROUND_MS + next_random(&mut random) % (2 * ROUND_MS));
        send_until(&mut senders, &mut daemon, lasts, Daemon::kill);
        daemon.start_again();
    }
    let spans = expect_every_span_once(&mut senders, &daemon);
    assert!(spans >= SPANS_MIN, "only {spans} spans were acknowledged");
    let segments = std::fs::read_dir(daemon.data_folder().join("spans")).unwrap().count();
    assert!(segments > 0, "nothing was ever sealed, so no kill can have hit a seal");
}

#[test]
fn asked_to_stop_it_answers_what_is_under_way_and_keeps_it() {
    let mut daemon = Daemon::start();
    let mut senders: Vec<Sender> = (0..SENDERS).map(Sender::new).collect();
    send_until(&mut senders, &mut daemon, Duration::from_millis(ROUND_MS), |daemon| {
        let ended = daemon.terminate();
        assert_eq!(ended.code(), Some(0), "{ended}: {}", daemon.log());
    });
    daemon.start_again();
    expect_every_span_once(&mut senders, &daemon);
}

#[test]
fn an_open_incident_is_the_same_one_after_a_kill() {
    let began_ns = now_ns();
    let killed_ns = began_ns - 30 * SECOND_NS;
    let shop = traffic::slow_shop(began_ns - 4 * MINUTE_NS);
    let mut daemon = Daemon::start();
    traffic::send(&daemon, &shop, began_ns - 15 * MINUTE_NS, killed_ns);
    daemon.wait_for_count("SELECT count(*) FROM incidents", 1);
    // What is only shown yet may be found anew; what is saved is the same.
    wait_until("the incident is saved", || {
        let saved = "throughline_incident_changes_saved_total ";
        let metrics = daemon.get("/metrics").1;
        metrics.lines().any(|line| line.strip_prefix(saved).is_some_and(|count| count != "0"))
    });
    let identity = "SELECT id, number, status FROM incidents";
    let before = daemon.sql(identity);

    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.sql(identity), before, "right after the start");
    traffic::send(&daemon, &shop, killed_ns, now_ns());
    let later = format!("SELECT count(*) FROM transactions WHERE started_at > to_timestamp_nanos({began_ns})");
    daemon.wait_for_count(&later, 1);
    assert_eq!(daemon.sql(identity), before, "after more of the same");
}

#[test]
fn started_again_it_stores_no_transaction_and_no_hop_twice() {
    let now_ns = now_ns();
    // Seals come so often that the log soon holds only the last of what came.
    let mut daemon = Daemon::start_with(vec![("THROUGHLINE_STORAGE__SEAL_AFTER", "1s".to_owned())]);
    let shop = Shop::new(1, 6.0, None);
    traffic::send(&daemon, &shop, now_ns - 12 * MINUTE_NS, now_ns - 4 * MINUTE_NS);
    for part in 0..3 {
        assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
        daemon.start_again();
        let from_ns = now_ns - (4 - part) * MINUTE_NS;
        traffic::send(&daemon, &shop, from_ns, from_ns + MINUTE_NS);
    }
    let transactions = "SELECT count(*) FROM transactions";
    let distinct = "SELECT count(DISTINCT transaction_id) FROM transactions";
    assert_eq!(daemon.count(transactions), daemon.count(distinct), "transactions are there twice\n{}", daemon.log());
    let hops = "SELECT count(*) FROM hops";
    let distinct = "SELECT count(*) FROM (SELECT DISTINCT transaction_id, span_id, callee_operation, gap_ns FROM hops)";
    assert!(daemon.count(hops) > daemon.count(transactions));
    assert_eq!(daemon.count(hops), daemon.count(distinct), "hops are there twice\n{}", daemon.log());
    let settled_ns = now_ns - 5 * MINUTE_NS;
    let traces = format!("SELECT count(DISTINCT trace_id) FROM spans WHERE start_time < {}", at(settled_ns));
    let stored = format!("SELECT count(*) FROM transactions WHERE started_at < {}", at(settled_ns));
    assert_eq!(daemon.count(&stored), daemon.count(&traces), "transactions are missing\n{}", daemon.log());
}

fn at(unix_ns: u64) -> String {
    format!("to_timestamp_nanos({unix_ns})")
}

/// Lets all senders send as fast as they can, and ends the daemon meanwhile.
fn send_until(senders: &mut [Sender], daemon: &mut Daemon, lasts: Duration, end: impl FnOnce(&mut Daemon)) {
    let addresses = (daemon.grpc, daemon.http);
    let is_over = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _stop = RaiseOnDrop(&is_over);
        for sender in senders {
            let (is_over, acknowledged) = (&is_over, &acknowledged);
            scope.spawn(move || sender.send_until(addresses, is_over, acknowledged));
        }
        wait_until("requests are acknowledged", || {
            acknowledged.load(Ordering::Relaxed) * SPANS_PER_REQUEST >= ROUND_SPANS
        });
        std::thread::sleep(lasts);
        end(daemon);
    });
}

/// Also a test that fails must let its senders go.
struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns how many spans there are, after it has made sure that they are those that were acknowledged, each once.
fn expect_every_span_once(senders: &mut [Sender], daemon: &Daemon) -> u64 {
    let mut spans = 0;
    for sender in senders {
        sender.send_pending((daemon.grpc, daemon.http));
        let service = sender.service();
        let sent = sender.next * SPANS_PER_REQUEST;
        let ids = sender.span_ids(0).start..sender.span_ids(0).start + sent;
        // All ids are of the sender and there are as many as it sent, so none is missing and none is another.
        let counts = daemon.sql(&format!(
            "SELECT count(*) AS spans, count(DISTINCT span_id) AS ids, encode(min(span_id), 'hex') AS first,
             encode(max(span_id), 'hex') AS last FROM spans WHERE service_name = '{service}'"
        ));
        assert_eq!(counts[0]["ids"].as_u64(), Some(sent), "{service} lost spans or has others\n{}", daemon.log());
        assert_eq!(counts[0]["spans"].as_u64(), Some(sent), "{service} has spans twice\n{}", daemon.log());
        assert_eq!(counts[0]["first"].as_str(), Some(&*format!("{:016x}", ids.start)), "{service} has other spans");
        assert_eq!(counts[0]["last"].as_str(), Some(&*format!("{:016x}", ids.end - 1)), "{service} has other spans");
        spans += sent;
    }
    let twice = "SELECT count(*) FROM
        (SELECT transaction_id FROM transactions GROUP BY transaction_id HAVING count(*) > 1)";
    assert_eq!(daemon.count(twice), 0, "a transaction was derived twice");
    spans
}

/// An exporter: sends one request after the other, and each until it is acknowledged, always with the same bytes.
struct Sender {
    number: u64,
    /// The request after the pending one.
    next: u64,
    pending: Option<ExportTraceServiceRequest>,
}

impl Sender {
    fn new(number: u64) -> Self {
        Self { number, next: 0, pending: None }
    }

    fn service(&self) -> String {
        format!("sender-{}", self.number)
    }

    fn span_ids(&self, request: u64) -> std::ops::Range<u64> {
        let first = ((self.number + 1) << 48) | (request * SPANS_PER_REQUEST);
        first..first + SPANS_PER_REQUEST
    }

    fn send_until(&mut self, addresses: (SocketAddr, SocketAddr), is_over: &AtomicBool, acknowledged: &AtomicU64) {
        let wire = Wire::open(self.number, addresses);
        while !is_over.load(Ordering::Relaxed) {
            let request = self.pending.take().unwrap_or_else(|| self.new_request());
            if wire.is_acknowledged(&request) {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                self.pending = Some(request);
                std::thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// Sends the request that was under way when the daemon ended.
    fn send_pending(&mut self, addresses: (SocketAddr, SocketAddr)) {
        let wire = Wire::open(self.number, addresses);
        if let Some(request) = self.pending.take() {
            wait_until("the retry is acknowledged", || wire.is_acknowledged(&request));
        }
    }

    fn new_request(&mut self) -> ExportTraceServiceRequest {
        let at_ns = now_ns();
        let trace_id = ((u128::from(self.number + 1) << 64) | u128::from(self.next + 1)).to_be_bytes().to_vec();
        let ids: Vec<[u8; 8]> = self.span_ids(self.next).map(u64::to_be_bytes).collect();
        let span = |id: &[u8; 8]| Span {
            trace_id: trace_id.clone(),
            span_id: id.to_vec(),
            parent_span_id: if *id == ids[0] { Vec::new() } else { ids[0].to_vec() },
            name: "work".to_owned(),
            start_time_unix_nano: at_ns,
            end_time_unix_nano: at_ns + 1_000_000,
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: ids.iter().map(span).collect(), ..ScopeSpans::default() }];
        let name = AnyValue { value: Some(StringValue(self.service())) };
        let name = KeyValue { key: "service.name".to_owned(), value: Some(name), ..KeyValue::default() };
        let resource = Some(Resource { attributes: vec![name], ..Resource::default() });
        self.next += 1;
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
        }
    }
}

/// How a sender reaches one start of the daemon.
enum Wire {
    Grpc(tokio::runtime::Runtime, Box<TraceServiceClient<tonic::transport::Channel>>),
    Http(SocketAddr),
}

impl Wire {
    fn open(number: u64, (grpc, http): (SocketAddr, SocketAddr)) -> Self {
        if !number.is_multiple_of(2) {
            return Self::Http(http);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let entered = runtime.enter();
        let client = TraceServiceClient::new(endpoint.connect_lazy());
        drop(entered);
        Self::Grpc(runtime, Box::new(client))
    }

    /// Sends a request once; fails when it is refused for good.
    fn is_acknowledged(&self, request: &ExportTraceServiceRequest) -> bool {
        match self {
            Self::Grpc(runtime, client) => match runtime.block_on(client.as_ref().clone().export(request.clone())) {
                Ok(answer) => is_whole(answer.get_ref()),
                Err(status) => {
                    assert_ne!(status.code(), Code::InvalidArgument, "{status}");
                    false
                }
            },
            Self::Http(address) => {
                let body = request.encode_to_vec();
                let answer = exchange_bytes(*address, "POST", "/v1/traces", "application/x-protobuf", &body);
                let Ok(answer) = answer else { return false };
                match answer.status {
                    // An acknowledgement that breaks off is one all the same: its status was there.
                    200 => is_whole(&ExportTraceServiceResponse::decode(&*answer.body).unwrap_or_default()),
                    0 | 429 | 502..=504 => false,
                    status => panic!("refused with {status}: {}", String::from_utf8_lossy(&answer.body)),
                }
            }
        }
    }
}

fn is_whole(answer: &ExportTraceServiceResponse) -> bool {
    let rejected = answer.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans);
    assert_eq!(rejected, 0, "{answer:?}");
    true
}

/// The next number of splitmix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
