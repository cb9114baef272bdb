//! The receiver's configuration: addresses and bounds. Filled by the daemon; read by every module here.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use collector_otlp::Limits;

/// Addresses and bounds of the receiver.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen for OTLP/gRPC; nothing to not listen.
    pub grpc: Option<SocketAddr>,
    /// Where to listen for OTLP/HTTP; nothing to not listen.
    pub http: Option<SocketAddr>,
    /// Bytes of one request's body, before and after decompression (OTLP 1.11 recommends 64 MiB).
    pub body_bytes_max: usize,
    /// Bytes of all requests that are not yet answered: bodies as sent, decompressed, and their rows. More are refused,
    /// retryably. At least twice `body_bytes_max` and a little, or the largest request never has room.
    pub in_flight_bytes_max: usize,
    /// Open connections of both protocols together. More are closed at once and counted.
    pub connections_max: usize,
    /// From connecting, or from the last answer on an HTTP/1 connection, to the end of the next request's headers.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body.
    pub body_idle_timeout: Duration,
    /// From the headers of a request to the end of its body.
    pub body_timeout: Duration,
    /// Without a request on an HTTP/2 connection. On an HTTP/1 connection `header_timeout` is the bound.
    pub idle_timeout: Duration,
    /// From connecting to the first request on a gRPC connection (clients connect early and send later).
    pub first_request_timeout: Duration,
    /// From the start of the shutdown until requests that are still open are cut off.
    pub drain_timeout: Duration,
    /// Bounds of decoding.
    pub otlp: Limits,
    /// The daemon's clock, for the ledger's "last seen".
    pub clock: fn() -> SystemTime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc: Some(SocketAddr::from(([127, 0, 0, 1], 4317))),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 4318))),
            body_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            connections_max: 1024,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            first_request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            otlp: Limits::default(),
            clock: SystemTime::now,
        }
    }
}
