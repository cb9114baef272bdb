//! From a request body to rows: check, decode with prost, tabulate. Called for live requests and for replays alike.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::{DecodeError, DecodedBatch, Encoding, Limits, PayloadKind, Signal, json, scan, schema, tabulate};

/// Returns the rows of a request and what was rejected; an empty body is an empty request.
///
/// # Errors
/// If the request must be refused as a whole; no error ever quotes the input.
pub fn decode(kind: PayloadKind, body: &[u8], limits: &Limits) -> Result<DecodedBatch, DecodeError> {
    match kind.encoding {
        Encoding::Protobuf => decode_protobuf(kind.signal, body, limits),
        Encoding::Json if body.is_empty() => decode_protobuf(kind.signal, body, limits),
        Encoding::Json => {
            let body = json::to_protobuf(schema::request(kind.signal), body, limits)?;
            decode_protobuf(kind.signal, &body, limits)
        }
    }
}

fn decode_protobuf(signal: Signal, body: &[u8], limits: &Limits) -> Result<DecodedBatch, DecodeError> {
    scan::check(schema::request(signal), body, limits)?;
    Ok(match signal {
        Signal::Traces => tabulate::spans(&message::<ExportTraceServiceRequest>(body)?, limits),
        Signal::Logs => tabulate::logs(&message::<ExportLogsServiceRequest>(body)?, limits),
        Signal::Metrics => tabulate::metrics(&message::<ExportMetricsServiceRequest>(body)?, limits),
    })
}

fn message<M: Message + Default>(body: &[u8]) -> Result<M, DecodeError> {
    M::decode(body).map_err(DecodeError::Message)
}

#[cfg(test)]
mod tests;
