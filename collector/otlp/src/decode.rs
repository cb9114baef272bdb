//! From a request body to rows. Called for live requests and for replays alike.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::wire::Damaged;
use crate::{DecodeError, DecodedBatch, Encoding, Limits, PayloadKind, Signal, json, metrics, scan, schema, walk};

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
    let decoded = match signal {
        Signal::Traces => walk::spans(body, limits),
        Signal::Logs => walk::logs(body, limits),
        Signal::Metrics => metrics::metrics(&message(Signal::Metrics, body, limits)?, limits),
    };
    decoded.map_err(|Damaged| explain(signal, body, limits))
}

/// Returns the message of prost's, whose depth and memory were checked before.
fn message<M: Message + Default>(signal: Signal, body: &[u8], limits: &Limits) -> Result<M, DecodeError> {
    scan::check(schema::request(signal), body, limits)?;
    M::decode(body).map_err(DecodeError::Message)
}

/// Returns what is wrong with a body that the walk refused: the slow way knows place and field.
fn explain(signal: Signal, body: &[u8], limits: &Limits) -> DecodeError {
    let outcome = match signal {
        Signal::Traces => message::<ExportTraceServiceRequest>(signal, body, limits).map(drop),
        Signal::Logs => message::<ExportLogsServiceRequest>(signal, body, limits).map(drop),
        Signal::Metrics => message::<ExportMetricsServiceRequest>(signal, body, limits).map(drop),
    };
    let unexplained = DecodeError::Wire { what: "not an OTLP request", offset: 0 };
    outcome.err().unwrap_or(unexplained)
}

#[cfg(test)]
mod tests;
