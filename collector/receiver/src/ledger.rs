//! What came in, and what was refused and why: the counters behind `/metrics` and the page that answers "why do I see
//! nothing?". `intake` and `server` write; the daemon and `web` take snapshots. Bounded, whatever senders do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use collector_otlp::{Encoding, RejectReason, Signal};

use crate::{Compression, Protocol, RefusalReason};

/// Senders (service and user agent) told apart; later ones are counted together as [`Ledger::OTHERS`].
const SENDERS_MAX: usize = 1000;
/// Bytes kept of a service name or user agent.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// A shared handle on the counters.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Counters>>);

/// Everything that was counted since the daemon started.
#[derive(Debug, Clone, Default)]
pub struct LedgerSnapshot {
    /// Requests by signal, protocol, encoding and compression.
    pub streams: Vec<StreamRow>,
    /// Requests by service and user agent, in order of service.
    pub senders: Vec<SenderRow>,
    /// Items rejected from requests that were otherwise kept.
    pub rejected: Vec<(Signal, RejectReason, u64)>,
    /// Requests refused as a whole.
    pub refusals: Vec<RefusalRow>,
    /// Attributes dropped or shortened to keep the limits.
    pub cut_attributes: u64,
    /// Open connections.
    pub connections: u64,
    /// Connections closed at once because too many were open.
    pub connections_refused: u64,
    /// Bytes of requests that are not yet answered.
    pub in_flight_bytes: u64,
}

/// Requests, items and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were kept.
    pub requests: u64,
    /// Items that were kept.
    pub items: u64,
    /// Bytes of their bodies after decompression.
    pub bytes: u64,
    /// Bytes of their bodies as sent.
    pub wire_bytes: u64,
}

/// What came in over one combination of signal, protocol, encoding and compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// Signal.
    pub signal: Signal,
    /// Protocol.
    pub protocol: Protocol,
    /// Encoding.
    pub encoding: Encoding,
    /// Compression.
    pub compression: Compression,
    /// How much.
    pub counts: Counts,
}

/// What came in from one service through one kind of exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRow {
    /// `service.name`, or [`Ledger::OTHERS`].
    pub service: String,
    /// `User-Agent` of the exporter.
    pub user_agent: String,
    /// Requests in which the service had items, and its items by signal.
    pub requests: u64,
    /// Spans kept.
    pub spans: u64,
    /// Log records kept.
    pub logs: u64,
    /// Metric points kept.
    pub metrics: u64,
    /// When the last request came.
    pub last_seen: SystemTime,
}

/// Requests refused for one reason over one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalRow {
    /// Protocol.
    pub protocol: Protocol,
    /// Reason.
    pub reason: RefusalReason,
    /// How many requests.
    pub count: u64,
    /// Text that the last of these senders got.
    pub message: String,
    /// User agent of the last of these senders.
    pub user_agent: String,
    /// When the last of them came.
    pub last_seen: SystemTime,
}

type StreamKey = (Signal, Protocol, Encoding, Compression);

#[derive(Debug, Default)]
struct Counters {
    streams: BTreeMap<StreamKey, Counts>,
    senders: BTreeMap<(String, String), SenderRow>,
    rejected: BTreeMap<(Signal, RejectReason), u64>,
    refusals: BTreeMap<(Protocol, RefusalReason), RefusalRow>,
    cut_attributes: u64,
    connections: u64,
    connections_refused: u64,
}

impl Ledger {
    /// Stands for every sender after the first thousand.
    pub const OTHERS: &'static str = "(others)";

    /// Returns what was counted so far.
    pub fn snapshot(&self) -> LedgerSnapshot {
        LedgerSnapshot::default()
    }
}
