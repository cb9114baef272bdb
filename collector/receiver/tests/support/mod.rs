//! A receiver on loopback whose `Keep` remembers what it was given, and a raw HTTP/1 client.
#![allow(dead_code)]

pub(crate) mod frames;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use collector_receiver::{Config, Keep, Ledger, Protocol, Received, RefusalReason, Refused, bind};
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// When everything happened, by the receiver's clock.
pub(crate) const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// Remembers what it was given; answers as told.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) received: Arc<Mutex<Vec<Received>>>,
    pub(crate) refusal: Arc<Mutex<Option<Refused>>>,
    /// What is said before a body is read.
    pub(crate) unready: Arc<Mutex<Option<Refused>>>,
    /// Present when `keep` must wait for it; `entered` tells that it does.
    pub(crate) gate: Option<Arc<Notify>>,
    pub(crate) entered: Arc<Notify>,
}

impl Keep for Memory {
    fn ready(&self) -> Result<(), Refused> {
        self.unready.lock().unwrap().map_or(Ok(()), Err)
    }

    async fn keep(&self, received: Received) -> Result<(), Refused> {
        if let Some(gate) = &self.gate {
            self.entered.notify_one();
            gate.notified().await;
        }
        if let Some(refused) = *self.refusal.lock().unwrap() {
            return Err(refused);
        }
        self.received.lock().unwrap().push(received);
        Ok(())
    }
}

pub(crate) struct Running {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) ledger: Ledger,
    pub(crate) memory: Memory,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn config() -> Config {
    let any_port = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Config { grpc: any_port, http: any_port, clock: || NOW, ..Config::default() }
}

pub(crate) async fn start(config: Config, memory: Memory) -> Running {
    let bound = bind(config).await.unwrap();
    let (grpc, http, ledger) = (bound.grpc_addr().unwrap(), bound.http_addr().unwrap(), bound.ledger());
    let (stop, stopped) = oneshot::channel();
    let keep = memory.clone();
    let task = tokio::spawn(async move {
        bound.run(keep, async { drop(stopped.await) }).await;
    });
    Running { grpc, http, ledger, memory, stop, task }
}

impl Running {
    /// Begins the shutdown; the returned handle ends when everything is drained.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        drop(self.stop);
        self.task
    }

    pub(crate) fn kept(&self) -> usize {
        self.memory.received.lock().unwrap().len()
    }

    /// Returns how often each reason refused, as `protocol reason count` in order.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let mut counts = BTreeMap::new();
        for row in self.ledger.snapshot().refusals {
            *counts.entry((row.protocol, row.reason)).or_insert(0) += row.count;
        }
        let line = |((protocol, reason), count): ((Protocol, RefusalReason), u64)| {
            format!("{} {} {count}", protocol.as_str(), reason.as_str())
        };
        counts.into_iter().map(line).collect()
    }
}

/// An answer, as the client saw it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }
}

/// Sends raw bytes and returns what comes back until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_answer(&mut stream).await
}

pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has headers");
    let headers = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = headers[9..12].parse().unwrap();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// Posts a body with the given header lines.
pub(crate) async fn post(address: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: here\r\nuser-agent: test\r\nconnection: close\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n", body.len());
    exchange(address, &[request.as_bytes(), body].concat()).await
}

pub(crate) const PROTOBUF: &str = "content-type: application/x-protobuf";
pub(crate) const JSON: &str = "content-type: application/json; charset=utf-8";

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn shop() -> Option<Resource> {
    let value = Some(AnyValue { value: Some(Value::StringValue("shop".to_owned())) });
    let name = KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() };
    Some(Resource { attributes: vec![name], ..Resource::default() })
}

/// A request with so many spans; the first of them is invalid when asked for.
pub(crate) fn traces(spans: usize, has_invalid: bool) -> ExportTraceServiceRequest {
    let span = |index: usize| Span {
        trace_id: if index == 0 && has_invalid { Vec::new() } else { vec![7; 16] },
        span_id: (index as u64 + 1).to_be_bytes().to_vec(),
        name: "GET /cart".to_owned(),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    let resource_spans = vec![ResourceSpans { resource: shop(), scope_spans: vec![scope], ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

pub(crate) fn logs() -> ExportLogsServiceRequest {
    let scope = ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() };
    let resource_logs = vec![ResourceLogs { resource: shop(), scope_logs: vec![scope], ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

pub(crate) fn metrics() -> ExportMetricsServiceRequest {
    let gauge = Gauge { data_points: vec![NumberDataPoint::default()] };
    let metric = Metric { name: "queue".to_owned(), data: Some(Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource_metrics =
        vec![ResourceMetrics { resource: shop(), scope_metrics: vec![scope], ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}
