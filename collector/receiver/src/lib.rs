//! Receives OTLP over gRPC and HTTP: bounded reading, decompression, decoding, and the specification's answers.
//! The daemon binds it and gives it a [`Keep`]; what is kept, and where, is not known here.
//! Must never answer success before `Keep` has, and never repeat a sender's raw input in an answer or in the ledger.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activity;
mod body;
mod compression;
mod config;
mod grpc;
mod http;
mod in_flight;
mod intake;
mod keep;
mod ledger;
mod refusal;
mod rpc_status;
mod server;

/// Target of the spans that tell of requests: `receive`, and in it `decode` and `commit`.
pub const TRACES: &str = "throughline_receiver_traces";
/// Requests with this header are not told of: they carry the daemon's own traces.
pub const OWN_TRACES_HEADER: &str = "throughline-own-traces";

pub use compression::Compression;
#[cfg(fuzzing)]
pub use compression::fuzzed_decompression;
pub use config::Config;
pub use keep::{Keep, Protocol, Received, Refused, Sender};
pub use ledger::{Cause, ComplaintRow, Counts, Ledger, LedgerSnapshot, RefusalRow, SenderRow, StreamRow};
pub use refusal::RefusalReason;
pub use server::{BindError, Bound, bind};
