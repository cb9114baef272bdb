//! What both protocols do with a request: read its body within the bounds, decompress and decode it, have it kept,
//! count it. `http` and `grpc` call it and only translate. Success is returned after `Keep` has returned it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use collector_otlp::{DecodedBatch, Encoding, PayloadKind, Signal, decode, encode_response};
use http::HeaderMap;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span, info_span};

use crate::body::{self, Framing, ReadBody, Spare};
use crate::compression::{Compression, decompress};
use crate::in_flight::{InFlight, Reservation};
use crate::ledger::Kept;
use crate::refusal::Refusal;
use crate::{Config, Keep, Ledger, OWN_TRACES_HEADER, Received, RefusalReason, Sender, TRACES};

/// Bodies from this size on are decoded off the threads that serve sockets.
const BLOCKING_BYTES_MIN: usize = 1 << 20;
/// The same for compressed bodies, which may grow a hundredfold.
const BLOCKING_COMPRESSED_BYTES_MIN: usize = 64 << 10;

/// Shared by all connections.
#[derive(Clone)]
pub(crate) struct Intake<K> {
    keep: K,
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    ledger: Ledger,
    in_flight: InFlight,
    spare: Spare,
    /// Large bodies that are decoded at the same time: one a core, because each may take `decoded_bytes_max`.
    decoders: Arc<Semaphore>,
}

/// A request whose body is complete.
pub(crate) struct Arrival {
    pub(crate) kind: PayloadKind,
    pub(crate) compression: Compression,
    pub(crate) sender: Sender,
    pub(crate) body: ReadBody,
}

/// A body after decompression and decoding.
struct Opened {
    payload: Bytes,
    batch: DecodedBatch,
    /// Held until the request is answered: the log's queue and the rows take the memory on.
    _reservation: Reservation,
}

impl<K: Keep> Intake<K> {
    pub(crate) fn new(config: Config, ledger: Ledger, in_flight: InFlight, keep: K) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoders = Arc::new(Semaphore::new(cores));
        Self { keep, shared: Arc::new(Shared { config, ledger, in_flight, spare: Spare::default(), decoders }) }
    }

    /// Reads a body, unless nothing can be kept now.
    pub(crate) async fn read(&self, body: Incoming, framing: Framing) -> Result<ReadBody, Refusal> {
        if let Err(refused) = self.keep.ready() {
            body::discard(body).await;
            return Err(refused.into());
        }
        let Shared { config, in_flight, spare, .. } = &*self.shared;
        body::read(config, in_flight, spare, body, framing).await
    }

    /// Returns the body of the answer once the request is kept.
    pub(crate) async fn admit(&self, arrival: Arrival) -> Result<Vec<u8>, Refusal> {
        let Arrival { kind, compression, sender, body } = arrival;
        let wire_bytes = body.bytes.len();
        let opened = self.open(kind, compression, body).await?;
        let rejected = opened.batch.rejected.clone();
        let items_by_service = opened.batch.items_by_service();
        let cut_attributes = opened.batch.cut_attributes;
        let bytes = opened.payload.len();
        if opened.batch.accepted > 0 {
            let Opened { payload, batch, .. } = opened;
            let commit = if Span::current().is_none() { Span::none() } else { info_span!(target: TRACES, "commit") };
            self.keep.keep(Received { batch, kind, payload, sender: sender.clone() }).instrument(commit).await?;
        }
        let kept = Kept {
            kind,
            compression,
            sender: &sender,
            items_by_service: &items_by_service,
            rejected: &rejected,
            cut_attributes,
            bytes,
            wire_bytes,
        };
        self.shared.ledger.kept(&kept, self.now());
        Ok(encode_response(kind.signal, kind.encoding, &rejected))
    }

    /// Returns for how long an HTTP/1 connection may stay silent.
    pub(crate) fn silence_max(&self) -> Duration {
        self.shared.config.header_timeout
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, sender: &Sender, signal: Option<Signal>, refusal: &Refusal) {
        tracing::debug!(reason = refusal.reason.as_str(), message = refusal.message, "refused a request");
        self.shared.ledger.refused(sender, signal, refusal, self.now());
    }

    async fn open(&self, kind: PayloadKind, compression: Compression, body: ReadBody) -> Result<Opened, Refusal> {
        let Config { body_bytes_max, otlp, .. } = self.shared.config;
        let is_small = match compression {
            Compression::Identity => body.bytes.len() < BLOCKING_BYTES_MIN,
            Compression::Gzip | Compression::Zstd => body.bytes.len() < BLOCKING_COMPRESSED_BYTES_MIN,
        };
        // The span of a request that is not told of is none, and then so are those within it.
        let decoding = if Span::current().is_none() { Span::none() } else { info_span!(target: TRACES, "decode") };
        let work = move || {
            let _decoding = decoding.entered();
            let ReadBody { bytes, mut reservation } = body;
            let payload = match compression {
                Compression::Identity => bytes,
                // Nothing stays nothing: an empty body is an empty request, whatever its headers say.
                Compression::Gzip | Compression::Zstd if bytes.is_empty() => bytes,
                Compression::Gzip | Compression::Zstd => {
                    let payload = decompress(compression, &bytes, body_bytes_max, &mut reservation)?;
                    drop(bytes);
                    reservation.set(payload.capacity());
                    payload.into()
                }
            };
            // A request that is alone always gets in, or its sender would come back for ever.
            let decoding_bytes = decoding_bytes(kind, payload.len()).min(reservation.room());
            if !reservation.grow(decoding_bytes) {
                return Err(Refusal::in_flight());
            }
            let batch = decode(kind, &payload, &otlp)?;
            reservation.set(reservation.bytes() - decoding_bytes + batch.rows.get_array_memory_size());
            Ok(Opened { payload, batch, _reservation: reservation })
        };
        if is_small {
            return work();
        }
        let permit = self.shared.decoders.clone().acquire_owned().await.expect("the semaphore is never closed");
        // The permit moves along, because the work goes on when the sender hangs up.
        let opened = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        opened.await.unwrap_or_else(|error| {
            tracing::error!(%error, "decoding a request panicked");
            Err(Refusal::new(RefusalReason::Internal, "the request could not be decoded because of a fault here"))
        })
    }

    fn now(&self) -> SystemTime {
        (self.shared.config.clock)()
    }
}

/// Returns the memory that decoding is thought to take. Rows take about as much as what they are read from; metrics and
/// JSON go through messages, which take twice as much again.
fn decoding_bytes(kind: PayloadKind, payload_bytes: usize) -> usize {
    let is_direct = kind.encoding == Encoding::Protobuf && kind.signal != Signal::Metrics;
    payload_bytes.saturating_mul(if is_direct { 1 } else { 3 })
}

/// Returns the span that tells of a request, or none when the request carries what such spans told.
pub(crate) fn span(sender: &Sender, signal: Option<Signal>, headers: &HeaderMap) -> Span {
    if headers.contains_key(OWN_TRACES_HEADER) {
        return Span::none();
    }
    info_span!(
        target: TRACES,
        "receive",
        otel.kind = "server",
        protocol = sender.protocol.as_str(),
        signal = signal.map_or("unknown", Signal::as_str),
        user_agent = sender.user_agent,
    )
}
