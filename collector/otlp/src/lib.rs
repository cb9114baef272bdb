//! OTLP requests into Throughline's tables, and back: decoding, partial-success answers, recordings, OTLP/JSON export.
//! Called by the receiver (live requests), the daemon (replaying the write-ahead log, `analyze`) and `web` (export).
//! Pure: must never touch a socket, file or clock, and must never panic on input or repeat raw input in an error.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod decode;
mod error;
pub mod export;
mod json;
mod limits;
mod metrics;
mod payload;
pub mod recording;
mod response;
mod scan;
mod schema;
mod tally;
mod values;
mod walk;
mod wire;

pub use batch::{DecodedBatch, RejectReason, Rejected};
pub use decode::decode;
pub use error::DecodeError;
pub use limits::Limits;
pub use payload::{Encoding, PayloadKind, Signal, UnknownKind};
pub use response::encode_response;
