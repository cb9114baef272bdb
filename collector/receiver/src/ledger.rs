//! What came in, and what was refused and why: the counters behind `/metrics` and the page that answers "why do I see
//! nothing?". `intake` and `server` write; the daemon and `web` take snapshots. Bounded, whatever senders do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use collector_otlp::{Encoding, PayloadKind, RejectReason, Rejected, Signal};

use crate::in_flight::InFlight;
use crate::refusal::Refusal;
use crate::{Compression, Protocol, RefusalReason, Sender};

/// Senders (service and user agent) told apart; later ones are counted together as [`Ledger::OTHERS`].
const SENDERS_MAX: usize = 1000;
/// Bytes kept of a service name or user agent.
const NAME_BYTES_MAX: usize = 128;

/// A shared handle on the counters.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    counters: Arc<Mutex<Counters>>,
    in_flight: InFlight,
}

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
    /// Requests in which the service had items.
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

/// A kept request, as it is counted.
pub(crate) struct Kept<'a> {
    pub(crate) kind: PayloadKind,
    pub(crate) compression: Compression,
    pub(crate) sender: &'a Sender,
    pub(crate) items_by_service: &'a [(String, u64)],
    pub(crate) rejected: &'a [Rejected],
    pub(crate) cut_attributes: u64,
    pub(crate) bytes: usize,
    pub(crate) wire_bytes: usize,
}

impl Ledger {
    /// Stands for every sender after the first thousand.
    pub const OTHERS: &'static str = "(others)";

    pub(crate) fn new(in_flight: InFlight) -> Self {
        Self { counters: Arc::default(), in_flight }
    }

    /// Returns what was counted so far.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let counters = self.lock();
        let streams = counters.streams.iter().map(|(&(signal, protocol, encoding, compression), &counts)| StreamRow {
            signal,
            protocol,
            encoding,
            compression,
            counts,
        });
        LedgerSnapshot {
            streams: streams.collect(),
            senders: counters.senders.values().cloned().collect(),
            rejected: counters.rejected.iter().map(|(&(signal, reason), &count)| (signal, reason, count)).collect(),
            refusals: counters.refusals.values().cloned().collect(),
            cut_attributes: counters.cut_attributes,
            connections: counters.connections,
            connections_refused: counters.connections_refused,
            in_flight_bytes: self.in_flight.taken() as u64,
        }
    }

    pub(crate) fn kept(&self, kept: &Kept<'_>, now: SystemTime) {
        let mut counters = self.lock();
        let key = (kept.kind.signal, kept.sender.protocol, kept.kind.encoding, kept.compression);
        let counts = counters.streams.entry(key).or_default();
        counts.requests += 1;
        counts.items += kept.items_by_service.iter().map(|(_, items)| items).sum::<u64>();
        counts.bytes += kept.bytes as u64;
        counts.wire_bytes += kept.wire_bytes as u64;
        for (service, items) in kept.items_by_service {
            let row = counters.sender(service, &kept.sender.user_agent, now);
            row.requests += 1;
            row.last_seen = now;
            match kept.kind.signal {
                Signal::Traces => row.spans += items,
                Signal::Logs => row.logs += items,
                Signal::Metrics => row.metrics += items,
            }
        }
        for rejected in kept.rejected {
            *counters.rejected.entry((kept.kind.signal, rejected.reason)).or_default() += rejected.count;
        }
        counters.cut_attributes += kept.cut_attributes;
    }

    pub(crate) fn refused(&self, sender: &Sender, refusal: &Refusal, now: SystemTime) {
        let mut counters = self.lock();
        let row = counters.refusals.entry((sender.protocol, refusal.reason)).or_insert_with(|| RefusalRow {
            protocol: sender.protocol,
            reason: refusal.reason,
            count: 0,
            message: String::new(),
            user_agent: String::new(),
            last_seen: now,
        });
        row.count += 1;
        row.message.clone_from(&refusal.message);
        row.user_agent.clone_from(&sender.user_agent);
        row.last_seen = now;
    }

    pub(crate) fn connection_opened(&self) {
        self.lock().connections += 1;
    }

    pub(crate) fn connection_closed(&self) {
        self.lock().connections -= 1;
    }

    pub(crate) fn connection_refused(&self) {
        self.lock().connections_refused += 1;
    }

    /// Counters stay usable if a thread died while it held them: each update leaves them whole.
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    /// Returns the row of a sender, or the common row when too many are told apart already.
    fn sender(&mut self, service: &str, user_agent: &str, now: SystemTime) -> &mut SenderRow {
        let mut key = (cut(service).to_owned(), user_agent.to_owned());
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&key) {
            key = (Ledger::OTHERS.to_owned(), String::new());
        }
        self.senders.entry(key).or_insert_with_key(|(service, user_agent)| SenderRow {
            service: service.clone(),
            user_agent: user_agent.clone(),
            requests: 0,
            spans: 0,
            logs: 0,
            metrics: 0,
            last_seen: now,
        })
    }
}

/// Returns at most [`NAME_BYTES_MAX`] bytes of a name.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
