//! OTLP/gRPC (OTLP specification, "OTLP/gRPC"): three unary methods, framed by hand over HTTP/2.
//! tonic's own server is not used: it reads and decompresses a message before anything can count its bytes, and
//! answers one that is too large with a code that OTLP clients retry for ever.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use collector_otlp::{Encoding, PayloadKind, Signal};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tracing::Instrument;

use crate::body::{Framing, GRPC_PREFIX_BYTES, ReadBody};
use crate::compression::Compression;
use crate::http::{AnswerBody, media_type, refuse, sender};
use crate::intake::{self, Arrival, Intake};
use crate::refusal::Refusal;
use crate::{Keep, Protocol, RefusalReason, Sender, rpc_status};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Returns the answer to one request.
pub(crate) async fn answer<K: Keep>(
    intake: &Intake<K>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let sender = sender(Protocol::Grpc, peer, request.headers());
    if !is_grpc(&request) {
        let message = "this port receives OTLP/gRPC; send OTLP/HTTP to the other port, by default 4318";
        let refusal = Refusal::new(RefusalReason::ContentType, message);
        intake.refused(&sender, None, &refusal);
        return refuse(&refusal, Encoding::Json);
    }
    let signal = signal(request.uri().path());
    let span = intake::span(&sender, signal, request.headers());
    match accept(intake, &sender, signal, request).instrument(span).await {
        Ok(message) => success(&message),
        Err(refusal) => {
            intake.refused(&sender, signal, &refusal);
            failure(&refusal)
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let media_type = media_type(request.headers());
    request.method() == Method::POST && matches!(media_type.as_str(), "application/grpc" | "application/grpc+proto")
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        _ => None,
    }
}

async fn accept<K: Keep>(
    intake: &Intake<K>,
    sender: &Sender,
    signal: Option<Signal>,
    request: Request<Incoming>,
) -> Result<Vec<u8>, Refusal> {
    let Some(signal) = signal else {
        return Err(Refusal::new(RefusalReason::Path, "no such method; OTLP's Export is all that is served here"));
    };
    let named = request.headers().get(GRPC_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(declared) = Compression::from_header(named) else {
        return Err(Refusal::new(RefusalReason::ContentEncoding, "use grpc-encoding gzip, zstd or identity"));
    };
    let body = intake.read(request.into_body(), Framing::Grpc).await?;
    let (compression, body) = unframe(declared, body)?;
    let kind = PayloadKind { signal, encoding: Encoding::Protobuf };
    intake.admit(Arrival { kind, compression, sender: sender.clone(), body }).await
}

/// Takes the one message of a unary call out of its frame.
fn unframe(declared: Compression, mut body: ReadBody) -> Result<(Compression, ReadBody), Refusal> {
    let malformed = |message: &str| Refusal::new(RefusalReason::Malformed, message);
    if body.bytes.len() < GRPC_PREFIX_BYTES {
        return Err(malformed("the call carries no message"));
    }
    let prefix = body.bytes.split_to(GRPC_PREFIX_BYTES);
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if u32::try_from(body.bytes.len()).ok() != Some(length) {
        return Err(malformed("the message's length is not that of the body"));
    }
    match (prefix[0], declared) {
        (0, _) => Ok((Compression::Identity, body)),
        (1, Compression::Gzip | Compression::Zstd) => Ok((declared, body)),
        (1, Compression::Identity) => Err(malformed("the message is compressed, but grpc-encoding does not say how")),
        _ => Err(malformed("the message's first byte is neither 0 nor 1")),
    }
}

fn success(message: &[u8]) -> Response<AnswerBody> {
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("an answer is a few hundred bytes"));
    frame.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    announce(response)
}

fn failure(refusal: &Refusal) -> Response<AnswerBody> {
    let response = rpc_status::grpc(refusal).into_http::<Empty<Bytes>>();
    announce(response.map(BodyExt::boxed_unsync))
}

fn announce(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(Compression::ACCEPTED));
    response
}
