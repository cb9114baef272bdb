//! One attempt: check the address, sign, send, read a bounded answer. Made by a target's worker.
//! Connects only to addresses that the guard has just checked, follows no redirect, uses no proxy from the environment,
//! and takes no longer than its timeout, whatever the receiver does.

use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response};

use super::guard::EgressGuard;
use super::schedule::Answer;
use super::target::Target;
use crate::state::DueDelivery;
use crate::telemetry::error_chain;

/// An answer is read up to here, bytes; it is only shown, never needed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of an answer this much is kept, characters.
const ANSWER_KEPT_CHARS_MAX: usize = 500;
const USER_AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));

/// How long a receiver may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept the connection.
    pub connect: Duration,
    /// For everything together, the look-up of its name included.
    pub total: Duration,
}

/// What an attempt brought.
pub(super) struct Attempt {
    pub(super) answer: Answer,
    pub(super) error: Option<String>,
    /// Beginning of the answer's body; hostile.
    pub(super) text: Option<String>,
}

/// Knows one answer, whatever the name: the addresses that were checked.
struct Checked(Vec<SocketAddr>);

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(15) }
    }
}

impl Attempt {
    /// Returns the answer's status, if there was an answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self.answer {
            Answer::Status { status, .. } => Some(status),
            Answer::None | Answer::Forbidden => None,
        }
    }

    fn without_answer(error: String) -> Self {
        Self { answer: Answer::None, error: Some(error), text: None }
    }
}

/// Chooses ring for TLS, once; the HTTP client is built without a choice of its own.
pub(crate) fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Someone else in the process may have chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Sends a delivery once.
pub(super) async fn send(
    guard: &EgressGuard,
    timeouts: Timeouts,
    target: &Target,
    delivery: &DueDelivery,
    now_ms: i64,
) -> Attempt {
    let work = async {
        let addresses = match guard.check(&target.url).await {
            Ok(addresses) => addresses,
            Err(cause @ super::GuardError::Unresolved { .. }) => return Attempt::without_answer(error_chain(&cause)),
            Err(refusal) => {
                return Attempt { answer: Answer::Forbidden, error: Some(refusal.to_string()), text: None };
            }
        };
        match post(timeouts, target, delivery, addresses, now_ms).await {
            Ok(response) => read_answer(response, now_ms).await,
            // The address may hold a secret and is known anyway.
            Err(cause) => Attempt::without_answer(error_chain(&cause.without_url())),
        }
    };
    match tokio::time::timeout(timeouts.total, work).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::without_answer(format!("no answer within {} s", timeouts.total.as_secs_f64())),
    }
}

async fn post(
    timeouts: Timeouts,
    target: &Target,
    delivery: &DueDelivery,
    addresses: Vec<SocketAddr>,
    now_ms: i64,
) -> reqwest::Result<Response> {
    let timestamp_s = now_ms.div_euclid(1000);
    let mut request = client(timeouts, target, addresses)?
        .post(target.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &delivery.event_id)
        .header("webhook-timestamp", timestamp_s);
    if let Some(secret) = &target.secret {
        let signature = secret.signature(&delivery.event_id, timestamp_s, &delivery.body);
        request = request.header("webhook-signature", signature);
    }
    request.body(delivery.body.clone()).send().await
}

/// Builds a client that can reach nothing but the checked addresses, and is dropped with its connection.
fn client(timeouts: Timeouts, target: &Target, addresses: Vec<SocketAddr>) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(timeouts.connect)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Checked(addresses));
    if target.url.scheme() == "http" {
        // Without this a machine that has no root certificates could not call plain addresses either.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

async fn read_answer(mut response: Response, now_ms: i64) -> Attempt {
    let status = response.status();
    let retry_after = retry_after(response.headers(), now_ms);
    let mut bytes = Vec::new();
    // A body that breaks off changes nothing: the status was the answer.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    let text: String = String::from_utf8_lossy(&bytes).chars().take(ANSWER_KEPT_CHARS_MAX).collect();
    Attempt {
        answer: Answer::Status { status: status.as_u16(), retry_after },
        error: (!status.is_success()).then(|| format!("the receiver answered {status}")),
        text: (!text.is_empty()).then_some(text),
    }
}

/// Reads `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::from_millis(u64::try_from(date.as_millisecond() - now_ms).unwrap_or(0)))
}

impl Resolve for Checked {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}
