//! A span's row as stitching needs it: the operation's name, the peer, shared strings.

use std::collections::HashSet;
use std::sync::Arc;

use collector_table::{Attributes, SpanKind, SpanRow};

use crate::transaction::Span;

/// Distinct strings kept; beyond it new strings are still right but no longer shared.
const STRINGS_MAX: usize = 200_000;
/// Longest name of an operation, service, instance or peer kept, in bytes: a hostile one may be of any length.
const NAME_BYTES_MAX: usize = 300;

/// Shares equal strings between spans.
#[derive(Debug, Default)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
}

impl Interner {
    /// Returns the shared copy of a string, cut at [`NAME_BYTES_MAX`].
    pub fn share(&mut self, text: &str) -> Arc<str> {
        let text = &text[..text.floor_char_boundary(NAME_BYTES_MAX)];
        if let Some(found) = self.strings.get(text) {
            return found.clone();
        }
        let shared: Arc<str> = text.into();
        if self.strings.len() < STRINGS_MAX {
            self.strings.insert(shared.clone());
        }
        shared
    }
}

/// Returns the span of a row.
pub(super) fn span(row: &SpanRow<'_>, interner: &mut Interner) -> Span {
    let is_outgoing = matches!(row.kind, SpanKind::Client | SpanKind::Producer);
    Span {
        trace_id: row.trace_id,
        span_id: row.span_id,
        parent_span_id: row.parent_span_id,
        service: interner.share(row.service_name),
        operation: interner.share(&operation_name(row.name, &row.attributes)),
        instance: row.service_instance.map(|instance| interner.share(instance)),
        version: row.service_version.map(|version| interner.share(version)),
        kind: row.kind,
        peer: if is_outgoing { peer_name(&row.attributes).map(|peer| interner.share(&peer)) } else { None },
        is_database: row.attributes.first_of(&["db.system.name", "db.system"]).is_some(),
        start_ns: row.start_ns,
        end_ns: row.end_ns.max(row.start_ns),
        has_error: row.status_code == collector_table::StatusCode::Error,
    }
}

/// Returns a low-cardinality name: the span's own name, completed from attributes when it is only a method
/// (semantic conventions: `{method} {route}`), with numbers and ids in it replaced by `{id}`.
fn operation_name(name: &str, attributes: &Attributes<'_>) -> String {
    let method = name.strip_prefix("HTTP ").unwrap_or(name);
    let is_bare_method = !method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase());
    if is_bare_method && let Some(route) = attributes.first_of(&["http.route", "url.template"]) {
        return format!("{method} {route}");
    }
    if name.is_empty() {
        let verb =
            attributes.first_of(&["db.operation.name", "db.operation", "rpc.method", "messaging.operation.name"]);
        let target = attributes.first_of(&["db.collection.name", "rpc.service", "messaging.destination.name"]);
        let parts: Vec<&str> = [verb, target].into_iter().flatten().collect();
        return if parts.is_empty() { "(unnamed)".to_owned() } else { parts.join(" ") };
    }
    without_ids(name)
}

/// Replaces path segments and words that are numbers, UUIDs or long hex strings by `{id}`.
fn without_ids(name: &str) -> String {
    if !name.bytes().any(|byte| byte.is_ascii_digit()) {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for piece in name.split_inclusive(['/', ' ', '?', '&', '=']) {
        let (word, end) = match piece.char_indices().last() {
            Some((at, '/' | ' ' | '?' | '&' | '=')) => piece.split_at(at),
            _ => (piece, ""),
        };
        out.push_str(if is_id(word) { "{id}" } else { word });
        out.push_str(end);
    }
    out
}

fn is_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && digits == word.len();
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_number || (digits > 0 && is_hex && word.len() >= 16)
}

/// Returns the address, or else the system, of what a client or producer talks to.
fn peer_name(attributes: &Attributes<'_>) -> Option<String> {
    if let Some(service) = attributes.get("peer.service") {
        return Some(service.to_owned());
    }
    let address =
        attributes.first_of(&["server.address", "net.peer.name", "network.peer.address", "net.sock.peer.addr"]);
    if let Some(address) = address {
        return Some(match attributes.first_of(&["server.port", "net.peer.port"]) {
            Some(port) => format!("{address}:{port}"),
            None => address.to_owned(),
        });
    }
    let host = attributes.first_of(&["url.full", "http.url"]).and_then(url_host);
    let system = || attributes.first_of(&["db.system.name", "db.system", "messaging.system", "rpc.system"]);
    host.or_else(system).map(str::to_owned)
}

fn url_host(url: &str) -> Option<&str> {
    let after = url.split_once("://")?.1;
    let authority = after.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}
