//! What every request passes: the host check, the headers that keep browsers strict, and gzip.
//! Wrapped around the whole router, so that no page can forget it.

use std::io::Write;
use std::net::IpAddr;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::error::Problem;
use crate::page::Shared;

/// Everything a page may load comes from the daemon itself; nothing runs or styles inline; no page frames another.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Below this many bytes gzip saves less than it costs.
const GZIP_BYTES_MIN: u64 = 1_400;
/// Above this many bytes an answer is sent as it is: compressing it would hold a core for too long.
const GZIP_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Refuses requests for other hosts and cross-site writes; adds the headers that all answers have.
pub(crate) async fn headers(state: Shared, request: Request, next: Next) -> Response {
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let mut response = if !is_probe && !is_allowed(&state.allowed_hosts, &request) {
        let text = "this name is not one of the daemon's; add it to web.allowed_hosts to use it";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, text).into_response()
    } else if request.method() != Method::GET && is_foreign(&request) {
        Problem::new(StatusCode::FORBIDDEN, "another site's page may not write here").into_response()
    } else if is_costly(request.uri().path()) && is_foreign(&request) && !is_opened(request.headers()) {
        Problem::new(StatusCode::FORBIDDEN, "another site's page may link to this, but not load it").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A link in an alert must not tell other sites which incident was looked at.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

/// Returns whether the daemon was reached by a name that no foreign page can have. An address cannot be pointed
/// elsewhere, so every address is fine.
fn is_allowed(names: &[String], request: &Request) -> bool {
    let Some(host) = host(request) else { return false };
    let name = without_port(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok()
        || names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// Returns the name, and the port if it is stated, by which the daemon was reached.
fn host(request: &Request) -> Option<&str> {
    let stated = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 names the host in the URI.
    request.uri().authority().map(|authority| authority.as_str()).or(stated)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Returns whether the browser says that another site's page sent this. Without TLS, browsers state only the origin
/// to hosts that are not loopback.
fn is_foreign(request: &Request) -> bool {
    if let Some(site) = request.headers().get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return false };
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    !own.is_some_and(|(_, name)| host(request).is_some_and(|host| host.eq_ignore_ascii_case(name)))
}

/// Returns whether an address lets the asker say how much work it is.
fn is_costly(path: &str) -> bool {
    matches!(path, "/sql" | "/rules") || path.starts_with("/api/")
}

/// Returns whether the browser says that a person follows a link: the answer becomes the page, not a part of one.
fn is_opened(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|stated| stated == value);
    says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// Compresses answers that are text and large enough, when the client takes gzip.
pub(crate) async fn gzip(request: Request, next: Next) -> Response {
    let is_welcome = request.headers().get_all(header::ACCEPT_ENCODING).iter().any(takes_gzip);
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let is_fit = size.is_some_and(|size| (GZIP_BYTES_MIN..=GZIP_BYTES_MAX).contains(&size));
    if !is_fit || !is_text(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !is_welcome {
        return Response::from_parts(parts, body);
    }
    let Ok(bytes) = to_bytes(body, usize::try_from(GZIP_BYTES_MAX).unwrap_or(usize::MAX)).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(packed) = tokio::task::spawn_blocking(move || packed(&bytes)).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 6), Compression::new(5));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

fn takes_gzip(accepted: &HeaderValue) -> bool {
    let Ok(accepted) = accepted.to_str() else { return false };
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(|part| part == "q=0")
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_packed = headers.contains_key(header::CONTENT_ENCODING);
    !is_packed && (content_type.starts_with("text/") || content_type.contains("json") || content_type.contains("svg"))
}
