//! The closed loop: a fixed number of connections with a fixed number of requests in flight each; every answer is
//! followed by the next request. A refused request is sent again after a pause, and counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::pool::Pool;

const CONNECTIONS: usize = 2;
const IN_FLIGHT: usize = 4;
/// Requests are sent, but not counted, for so long.
const WARM_UP: Duration = Duration::from_secs(1);
const PAUSE_WHEN_REFUSED: Duration = Duration::from_millis(100);
const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const WINDOW_BYTES: u32 = 4 << 20;

/// What was sent and acknowledged.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) spans: u64,
    pub(crate) seconds: f64,
    pub(crate) refused: u64,
    latencies: Vec<Duration>,
}

impl Sent {
    /// Returns a quantile of the time to the answer, milliseconds.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1) as f64;
        self.latencies.get((last * quantile).round() as usize).map_or(0.0, Duration::as_secs_f64) * 1e3
    }
}

/// Pushes for so long, warm-up not included; spans of the warm-up count, their time and latencies do not.
pub(crate) fn run(server: SocketAddr, pool: &Pool, duration: Duration) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let pusher = Pusher {
        pool,
        start_ns: u64::try_from(now.as_nanos()).expect("it is before 2554"),
        next: AtomicUsize::new(0),
        counted_from: Instant::now() + WARM_UP,
        until: Instant::now() + WARM_UP + duration,
        sent: Mutex::default(),
    };
    runtime.block_on(async {
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            let sender = connect(server).await;
            senders.extend((0..IN_FLIGHT).map(|_| sender.clone()));
        }
        futures::future::join_all(senders.into_iter().map(|sender| pusher.push(sender, server))).await;
    });
    let mut sent = pusher.sent.into_inner().unwrap_or_else(PoisonError::into_inner);
    sent.seconds = duration.as_secs_f64() + WARM_UP.as_secs_f64();
    sent.latencies.sort_unstable();
    sent
}

struct Pusher<'a> {
    pool: &'a Pool,
    start_ns: u64,
    next: AtomicUsize,
    counted_from: Instant,
    until: Instant,
    sent: Mutex<Sent>,
}

impl Pusher<'_> {
    async fn push(&self, mut sender: SendRequest<Full<Bytes>>, server: SocketAddr) {
        while Instant::now() < self.until {
            let frame = Bytes::from(self.pool.frame(self.next.fetch_add(1, Relaxed), self.start_ns));
            let started = Instant::now();
            while !export(&mut sender, server, frame.clone()).await {
                self.sent.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
                tokio::time::sleep(PAUSE_WHEN_REFUSED).await;
            }
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.spans += self.pool.spans() as u64;
            if started > self.counted_from {
                sent.latencies.push(started.elapsed());
            }
        }
    }
}

async fn connect(server: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server).await.expect("the server listens");
    stream.set_nodelay(true).expect("it is a TCP stream");
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Sends a frame; returns whether it was acknowledged, as `grpc-status` says.
async fn export(sender: &mut SendRequest<Full<Bytes>>, server: SocketAddr, frame: Bytes) -> bool {
    let request = Request::post(format!("http://{server}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(frame))
        .expect("the parts are well formed");
    let answer = sender.send_request(request).await.expect("the server answers");
    let status = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.expect("the answer ends");
    let status = status.or_else(|| body.trailers()?.get("grpc-status").cloned());
    status.is_some_and(|status| status == "0")
}
