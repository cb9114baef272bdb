//! What came in, and what was refused and why: the counters behind `/metrics` and the page that answers "why do I see
//! nothing?". `intake` and `server` write; the daemon and `web` take snapshots. Bounded, whatever senders do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use collector_otlp::{Encoding, PayloadKind, RejectReason, Rejected, Signal};

use crate::in_flight::InFlight;
use crate::refusal::Refusal;
use crate::{Compression, Protocol, RefusalReason, Sender};
use recent::Recent;

mod recent;

/// Senders (service and user agent) told apart; beyond it the one that was silent for longest is forgotten.
const SENDERS_MAX: usize = 1000;
/// Complaints (sender and cause) told apart; beyond it the oldest is forgotten.
const COMPLAINTS_MAX: usize = 1000;
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
    /// Requests by service and user agent, most recent first.
    pub senders: Vec<SenderRow>,
    /// Senders that were forgotten because there were too many.
    pub senders_evicted: u64,
    /// Items rejected from requests that were otherwise kept.
    pub rejected: Vec<(Signal, RejectReason, u64)>,
    /// Requests refused as a whole.
    pub refusals: Vec<RefusalRow>,
    /// What was wrong with what whom sent, most recent first.
    pub complaints: Vec<ComplaintRow>,
    /// Complaints that were forgotten because there were too many.
    pub complaints_evicted: u64,
    /// Attributes dropped or shortened to keep the limits, by signal.
    pub cut_attributes: Vec<(Signal, u64)>,
    /// Open connections.
    pub connections: u64,
    /// Connections closed at once because too many were open.
    pub connections_refused: u64,
    /// Connections closed because nothing, or no first request, came over them for too long.
    pub connections_idle: u64,
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
    /// `service.name`, cut at 128 bytes.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalRow {
    /// Protocol.
    pub protocol: Protocol,
    /// Signal, if the path named one.
    pub signal: Option<Signal>,
    /// Reason.
    pub reason: RefusalReason,
    /// How many requests.
    pub count: u64,
}

/// What was wrong with what one sender sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplaintRow {
    /// Who sent it: protocol, user agent, address.
    pub sender: Sender,
    /// Signal, if the path named one.
    pub signal: Option<Signal>,
    /// A service of the last such request, if it could be decoded.
    pub service: Option<String>,
    /// What was wrong.
    pub cause: Cause,
    /// How many requests were refused, items rejected, or attributes cut.
    pub count: u64,
    /// Text that the sender got last. Never contains input.
    pub message: String,
    /// When it last happened.
    pub last_seen: SystemTime,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Whole requests were refused.
    Refused(RefusalReason),
    /// Items of otherwise good requests were rejected.
    Rejected(RejectReason),
    /// Attributes were dropped or shortened.
    Cut,
}

impl Cause {
    /// Returns the word used on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.as_str(),
            Self::Rejected(reason) => reason.as_str(),
            Self::Cut => "cut_attributes",
        }
    }
}

type StreamKey = (Signal, Protocol, Encoding, Compression);

#[derive(Debug)]
struct Counters {
    streams: BTreeMap<StreamKey, Counts>,
    senders: Recent<SenderRow>,
    rejected: BTreeMap<(Signal, RejectReason), u64>,
    refusals: BTreeMap<(Protocol, Option<Signal>, RefusalReason), u64>,
    complaints: Recent<ComplaintRow>,
    cut_attributes: BTreeMap<Signal, u64>,
    connections: u64,
    connections_refused: u64,
    connections_idle: u64,
    /// The key that is being looked up; kept, so that a lookup allocates nothing.
    key: String,
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

/// Something that was wrong, as it is counted.
struct Complaint<'a> {
    sender: &'a Sender,
    signal: Option<Signal>,
    service: Option<&'a str>,
    cause: Cause,
    count: u64,
    message: &'a str,
}

impl Ledger {
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
        let refusals = counters.refusals.iter().map(|(&(protocol, signal, reason), &count)| RefusalRow {
            protocol,
            signal,
            reason,
            count,
        });
        LedgerSnapshot {
            streams: streams.collect(),
            senders: counters.senders.newest_first().into_iter().cloned().collect(),
            senders_evicted: counters.senders.evicted(),
            rejected: counters.rejected.iter().map(|(&(signal, reason), &count)| (signal, reason, count)).collect(),
            refusals: refusals.collect(),
            complaints: counters.complaints.newest_first().into_iter().cloned().collect(),
            complaints_evicted: counters.complaints.evicted(),
            cut_attributes: counters.cut_attributes.iter().map(|(&signal, &count)| (signal, count)).collect(),
            connections: counters.connections,
            connections_refused: counters.connections_refused,
            connections_idle: counters.connections_idle,
            in_flight_bytes: self.in_flight.taken() as u64,
        }
    }

    pub(crate) fn kept(&self, kept: &Kept<'_>, now: SystemTime) {
        let mut counters = self.lock();
        let signal = kept.kind.signal;
        let counts =
            counters.streams.entry((signal, kept.sender.protocol, kept.kind.encoding, kept.compression)).or_default();
        counts.requests += 1;
        counts.items += kept.items_by_service.iter().map(|(_, items)| items).sum::<u64>();
        counts.bytes += kept.bytes as u64;
        counts.wire_bytes += kept.wire_bytes as u64;
        for (service, items) in kept.items_by_service {
            counters.sent(service, &kept.sender.user_agent, signal, *items, now);
        }
        let service = kept.items_by_service.first().map(|(service, _)| cut(service));
        let about = |cause, count, message| Complaint {
            sender: kept.sender,
            signal: Some(signal),
            service,
            cause,
            count,
            message,
        };
        for rejected in kept.rejected {
            *counters.rejected.entry((signal, rejected.reason)).or_default() += rejected.count;
            let message = "rejected from a request that was otherwise kept";
            counters.complain(&about(Cause::Rejected(rejected.reason), rejected.count, message), now);
        }
        if kept.cut_attributes > 0 {
            *counters.cut_attributes.entry(signal).or_default() += kept.cut_attributes;
            let message = "dropped or shortened to keep the limits; the items were kept";
            counters.complain(&about(Cause::Cut, kept.cut_attributes, message), now);
        }
    }

    pub(crate) fn refused(&self, sender: &Sender, signal: Option<Signal>, refusal: &Refusal, now: SystemTime) {
        let mut counters = self.lock();
        *counters.refusals.entry((sender.protocol, signal, refusal.reason)).or_default() += 1;
        let cause = Cause::Refused(refusal.reason);
        let complaint = Complaint { sender, signal, service: None, cause, count: 1, message: &refusal.message };
        counters.complain(&complaint, now);
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

    pub(crate) fn connection_idle(&self) {
        self.lock().connections_idle += 1;
    }

    /// Counters stay usable if a thread died while it held them: each update leaves them whole.
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            senders: Recent::new(SENDERS_MAX),
            rejected: BTreeMap::new(),
            refusals: BTreeMap::new(),
            complaints: Recent::new(COMPLAINTS_MAX),
            cut_attributes: BTreeMap::new(),
            connections: 0,
            connections_refused: 0,
            connections_idle: 0,
            key: String::new(),
        }
    }
}

impl Counters {
    /// Counts items that a service had in one request.
    fn sent(&mut self, service: &str, user_agent: &str, signal: Signal, items: u64, now: SystemTime) {
        let service = cut(service);
        self.key.clear();
        // A user agent has no control characters, so the key says where the service ends.
        let _ = write!(self.key, "{user_agent}\n{service}");
        let row = self.senders.entry(&self.key, || SenderRow {
            service: service.to_owned(),
            user_agent: user_agent.to_owned(),
            requests: 0,
            spans: 0,
            logs: 0,
            metrics: 0,
            last_seen: now,
        });
        row.requests += 1;
        row.last_seen = now;
        match signal {
            Signal::Traces => row.spans += items,
            Signal::Logs => row.logs += items,
            Signal::Metrics => row.metrics += items,
        }
    }

    fn complain(&mut self, complaint: &Complaint<'_>, now: SystemTime) {
        let Complaint { sender, signal, service, cause, count, message } = *complaint;
        let signal_name = signal.map_or("", Signal::as_str);
        self.key.clear();
        let _ = write!(self.key, "{} {} {signal_name} {} ", sender.protocol.as_str(), sender.peer, cause.as_str());
        self.key.push_str(&sender.user_agent);
        let row = self.complaints.entry(&self.key, || ComplaintRow {
            sender: sender.clone(),
            signal,
            service: None,
            cause,
            count: 0,
            message: String::new(),
            last_seen: now,
        });
        row.count += count;
        if service.is_some_and(|service| row.service.as_deref() != Some(service)) {
            row.service = service.map(str::to_owned);
        }
        message.clone_into(&mut row.message);
        row.last_seen = now;
    }
}

/// Returns at most [`NAME_BYTES_MAX`] bytes of a name.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
