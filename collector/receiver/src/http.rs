//! OTLP/HTTP (OTLP specification, "OTLP/HTTP"): from a request to `Intake` and back to codes, headers and bodies.

use std::convert::Infallible;
use std::net::IpAddr;

use bytes::Bytes;
use collector_otlp::{Encoding, PayloadKind, Signal};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tracing::Instrument;

use crate::body::Framing;
use crate::compression::Compression;
use crate::intake::{self, Arrival, Intake};
use crate::ledger::cut;
use crate::refusal::Refusal;
use crate::{Keep, Protocol, RefusalReason, Sender, rpc_status};

/// Body of every answer of this crate.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What a person sees who opens the port in a browser.
const GREETING: &str = "Throughline receives OTLP over HTTP here: POST /v1/traces, /v1/logs, /v1/metrics.\n";

/// Returns the answer to one request.
pub(crate) async fn answer<K: Keep>(
    intake: &Intake<K>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let version = request.version();
    let mut response = answer_any_version(intake, peer, request).await;
    if version == Version::HTTP_11 {
        // Told in time, a client does not send into a connection that is just being closed. One second is for the way.
        let seconds = intake.silence_max().as_secs().saturating_sub(1);
        let hint = HeaderValue::from_str(&format!("timeout={seconds}")).expect("letters and digits are a header value");
        response.headers_mut().insert(KEEP_ALIVE, hint);
    }
    response
}

async fn answer_any_version<K: Keep>(
    intake: &Intake<K>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    if request.method() == Method::GET && request.uri().path() == "/" {
        return respond(StatusCode::OK, "text/plain; charset=utf-8", GREETING.into());
    }
    let sender = sender(Protocol::Http, peer, request.headers());
    // An answer is in the encoding of the request; JSON can be read by anybody when that is unknown.
    let encoding = encoding(request.headers());
    let answer_encoding = encoding.unwrap_or(Encoding::Json);
    let signal = signal(request.uri().path());
    let span = intake::span(&sender, signal, request.headers());
    match accept(intake, &sender, signal, encoding, request).instrument(span).await {
        Ok(body) => respond(StatusCode::OK, answer_encoding.content_type(), body.into()),
        Err(refusal) => {
            intake.refused(&sender, signal, &refusal);
            refuse(&refusal, answer_encoding)
        }
    }
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/logs" => Some(Signal::Logs),
        "/v1/metrics" => Some(Signal::Metrics),
        _ => None,
    }
}

async fn accept<K: Keep>(
    intake: &Intake<K>,
    sender: &Sender,
    signal: Option<Signal>,
    encoding: Option<Encoding>,
    request: Request<Incoming>,
) -> Result<Vec<u8>, Refusal> {
    let Some(signal) = signal else {
        let message = "no such path; POST to /v1/traces, /v1/logs or /v1/metrics";
        return Err(Refusal::new(RefusalReason::Path, message));
    };
    if request.method() != Method::POST {
        return Err(Refusal::new(RefusalReason::Method, "use POST"));
    }
    let Some(encoding) = encoding else {
        let message = "this port receives OTLP/HTTP: send application/x-protobuf or application/json";
        return Err(Refusal::new(RefusalReason::ContentType, message));
    };
    let named = request.headers().get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(compression) = Compression::from_header(named) else {
        return Err(Refusal::new(RefusalReason::ContentEncoding, "send Content-Encoding gzip, zstd or none"));
    };
    let body = intake.read(request.into_body(), Framing::None).await?;
    let kind = PayloadKind { signal, encoding };
    intake.admit(Arrival { kind, compression, sender: sender.clone(), body }).await
}

/// Returns who sends, as far as the request says.
pub(crate) fn sender(protocol: Protocol, peer: IpAddr, headers: &HeaderMap) -> Sender {
    let user_agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("");
    Sender { protocol, user_agent: cut(user_agent).to_owned(), peer }
}

/// Returns the media type without parameters, in lower case; empty when absent.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    match media_type(headers).as_str() {
        "application/x-protobuf" | "application/protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

pub(crate) fn refuse(refusal: &Refusal, encoding: Encoding) -> Response<AnswerBody> {
    let body = rpc_status::body(refusal, encoding).into();
    let mut response = respond(status(refusal.reason), encoding.content_type(), body);
    if let Some(retry_after) = refusal.retry_after {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    }
    if refusal.reason == RefusalReason::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Returns the HTTP code. What may be sent again is 503, not 429: Python's exporter gives up on 429.
fn status(reason: RefusalReason) -> StatusCode {
    match reason {
        RefusalReason::Busy
        | RefusalReason::InFlight
        | RefusalReason::Memory
        | RefusalReason::NoSpace
        | RefusalReason::Stopping
        | RefusalReason::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        RefusalReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalReason::BadCompression
        | RefusalReason::Malformed
        | RefusalReason::Nested
        | RefusalReason::Disconnected => StatusCode::BAD_REQUEST,
        RefusalReason::ContentType | RefusalReason::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        RefusalReason::Path => StatusCode::NOT_FOUND,
        RefusalReason::Method => StatusCode::METHOD_NOT_ALLOWED,
        RefusalReason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
