//! `Export*ServiceResponse`, the body of a success. The receiver sends it in the encoding of the request.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use serde_json::json;

use crate::{Encoding, Rejected, Signal};

/// Returns the response. `partial_success` is set only if something was rejected, as OTLP demands.
pub fn encode_response(signal: Signal, encoding: Encoding, rejected: &[Rejected]) -> Vec<u8> {
    let count: u64 = rejected.iter().map(|rejected| rejected.count).sum();
    let partial = (count > 0).then(|| (i64::try_from(count).unwrap_or(i64::MAX), message(rejected)));
    match encoding {
        Encoding::Protobuf => protobuf(signal, partial),
        Encoding::Json => json_text(signal, partial),
    }
}

fn message(rejected: &[Rejected]) -> String {
    let reasons = rejected.iter().map(|rejected| format!("{} {}", rejected.count, rejected.reason.as_str()));
    format!("rejected: {}", reasons.collect::<Vec<_>>().join(", "))
}

fn protobuf(signal: Signal, partial: Option<(i64, String)>) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let partial_success = partial
                .map(|(rejected_spans, error_message)| ExportTracePartialSuccess { rejected_spans, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Logs => {
            let partial_success = partial.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial_success = partial.map(|(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
    }
}

fn json_text(signal: Signal, partial: Option<(i64, String)>) -> Vec<u8> {
    let name = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
    };
    let response = match partial {
        // 64-bit integers are texts in OTLP/JSON.
        Some((count, message)) => json!({"partialSuccess": {name: count.to_string(), "errorMessage": message}}),
        None => json!({}),
    };
    response.to_string().into_bytes()
}
