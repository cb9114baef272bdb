//! `google.rpc.Status` and `RetryInfo`, the error bodies of OTLP (google/rpc/status.proto, error_details.proto).
//! `http` sends the status as its body, `grpc` with retry details in `grpc-status-details-bin`.

use std::time::Duration;

use collector_otlp::Encoding;
use prost::Message;
use tonic::Code;

use crate::RefusalReason;
use crate::refusal::Refusal;

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Returns the gRPC code of a refusal. Codes that OTLP calls retryable are used exactly for what may be sent again;
/// RESOURCE_EXHAUSTED is retryable only with `RetryInfo`, which a body that is too large never gets.
pub(crate) fn code(reason: RefusalReason) -> Code {
    match reason {
        RefusalReason::Busy
        | RefusalReason::InFlight
        | RefusalReason::Memory
        | RefusalReason::NoSpace
        | RefusalReason::Stopping
        | RefusalReason::Timeout => Code::Unavailable,
        RefusalReason::TooLarge => Code::ResourceExhausted,
        RefusalReason::BadCompression | RefusalReason::Malformed | RefusalReason::Nested => Code::InvalidArgument,
        RefusalReason::ContentType | RefusalReason::ContentEncoding | RefusalReason::Path | RefusalReason::Method => {
            Code::Unimplemented
        }
        RefusalReason::Disconnected => Code::Cancelled,
        RefusalReason::Internal => Code::Internal,
    }
}

/// Returns the status as the body of an HTTP answer.
pub(crate) fn body(refusal: &Refusal, encoding: Encoding) -> Vec<u8> {
    let code = code(refusal.reason) as i32;
    match encoding {
        Encoding::Protobuf => Status { code, message: refusal.message.clone(), details: Vec::new() }.encode_to_vec(),
        Encoding::Json => serde_json::json!({"code": code, "message": refusal.message}).to_string().into_bytes(),
    }
}

/// Returns the status for the trailers of a gRPC answer, with the retry hint if there is one.
pub(crate) fn grpc(refusal: &Refusal) -> tonic::Status {
    let code = code(refusal.reason);
    let Some(retry_after) = refusal.retry_after else { return tonic::Status::new(code, &refusal.message) };
    let hint = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(delay(retry_after)) }.encode_to_vec(),
    };
    let status = Status { code: code as i32, message: refusal.message.clone(), details: vec![hint] };
    tonic::Status::with_details(code, &refusal.message, status.encode_to_vec().into())
}

fn delay(duration: Duration) -> RetryDelay {
    RetryDelay {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
