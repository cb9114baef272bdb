//! The one thing the receiver asks of the daemon: keep a decoded request, or say why not. The answer to the sender
//! waits for it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use collector_otlp::{DecodedBatch, PayloadKind};

/// Keeps requests; implemented by the daemon over the store.
pub trait Keep: Clone + Send + Sync + 'static {
    /// Asked before a body is read: says no when nothing can be kept now, so that nothing is read and decoded in vain.
    ///
    /// # Errors
    /// Why nothing can be kept now.
    fn ready(&self) -> Result<(), Refused>;

    /// Returns once the request is durable, or with the reason why it cannot be kept now. The future is dropped when
    /// the sender hangs up; the request may then be kept or not, for nobody was answered.
    ///
    /// # Errors
    /// If the request was not kept; the sender is then asked to send it again.
    fn keep(&self, received: Received) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// One decoded request, with at least one accepted item.
#[derive(Debug)]
pub struct Received {
    /// Rows, and what was rejected.
    pub batch: DecodedBatch,
    /// What `payload` is.
    pub kind: PayloadKind,
    /// The body as received, decompressed. Decoding it again gives the same rows.
    pub payload: Bytes,
    /// Who sent it.
    pub sender: Sender,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Protocol.
    pub protocol: Protocol,
    /// `User-Agent`, cut at 128 bytes; empty when absent.
    pub user_agent: String,
    /// Address of the connection's other end.
    pub peer: IpAddr,
}

/// OTLP's two transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

impl Protocol {
    /// Returns the word used in counters and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// Why a request cannot be kept now. Every reason passes: the sender may send the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue before the write-ahead log is full.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The daemon holds all the memory that it may hold.
    Memory {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full.
    NoSpace {
        /// When to try again.
        retry_after: Duration,
    },
    /// The daemon is stopping.
    Stopping,
}
