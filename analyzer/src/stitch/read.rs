//! A row as stitching needs it: the operation's name, the peer, and the site that follows from both.

use std::borrow::Cow;

use collector_table::{SpanKind, SpanRow, SpanTable, StatusCode, TraceId};

use super::site::{Name, Process, Sites};
use crate::span::Span;

/// Attributes that tell what a span does and to whom; of several keys the first that is present counts.
const ROLES: [&[&str]; 9] = [
    &["http.route", "url.template"],
    &["db.operation.name", "db.operation", "rpc.method", "messaging.operation.name"],
    &["db.collection.name", "rpc.service", "messaging.destination.name"],
    &["peer.service"],
    &["server.address", "net.peer.name", "network.peer.address", "net.sock.peer.addr"],
    &["server.port", "net.peer.port"],
    &["url.full", "http.url"],
    &["db.system.name", "db.system"],
    &["messaging.system", "rpc.system"],
];
const ROUTE: usize = 0;
const VERB: usize = 1;
const TARGET: usize = 2;
const PEER_SERVICE: usize = 3;
const ADDRESS: usize = 4;
const PORT: usize = 5;
const URL: usize = 6;
const DATABASE: usize = 7;
const SYSTEM: usize = 8;

/// The value of each role in one row.
type Facts<'a> = [Option<&'a str>; ROLES.len()];

/// Reads tables; knows every site.
#[derive(Debug, Default)]
pub(super) struct Reader {
    sites: Sites,
}

impl Reader {
    /// Gives every span of a table with its trace.
    pub(super) fn read(&mut self, table: &SpanTable, mut take: impl FnMut(TraceId, Span)) {
        for row in table.rows() {
            take(row.trace_id, span(&row, &mut self.sites));
        }
    }

    /// Lets go of what no span refers to.
    pub(super) fn free_unused(&mut self) {
        self.sites.free_unused();
    }

    /// Returns how many spans were folded into "(others)".
    pub(super) fn folded(&self) -> u64 {
        self.sites.folded()
    }
}

/// Returns the span of a row.
fn span(row: &SpanRow<'_>, sites: &mut Sites) -> Span {
    let facts: Facts<'_> = ROLES.map(|keys| row.attributes.first_of(keys));
    let process = sites.process(row.service_name, row.service_instance, row.service_version);
    let operation = sites.name(&operation_name(row.name, &facts));
    let site = site(sites, &process, &operation, row.kind, &facts);
    let has_error = row.status_code == StatusCode::Error;
    Span::new((row.span_id, row.parent_span_id), (row.start_ns, row.end_ns), site, has_error)
}

fn site(
    sites: &mut Sites,
    process: &Process,
    operation: &Name,
    kind: SpanKind,
    facts: &Facts<'_>,
) -> std::sync::Arc<crate::span::Site> {
    let is_outgoing = matches!(kind, SpanKind::Client | SpanKind::Producer);
    let peer = peer_name(facts).filter(|_| is_outgoing).map(|peer| sites.name(&peer));
    sites.site(process, operation, kind, peer.as_ref(), facts[DATABASE].is_some())
}

/// Returns a low-cardinality name: the span's own name, completed from attributes when it is only a method
/// (semantic conventions: `{method} {route}`), with numbers and ids in it replaced by `{id}`.
fn operation_name<'a>(name: &'a str, facts: &Facts<'_>) -> Cow<'a, str> {
    if let Some(method) = bare_method(name)
        && let Some(route) = facts[ROUTE]
    {
        return Cow::Owned(format!("{method} {route}"));
    }
    if name.is_empty() {
        let parts: Vec<&str> = [facts[VERB], facts[TARGET]].into_iter().flatten().collect();
        return if parts.is_empty() { Cow::Borrowed("(unnamed)") } else { Cow::Owned(parts.join(" ")) };
    }
    without_ids(name)
}

/// Returns the method if the name is nothing more.
fn bare_method(name: &str) -> Option<&str> {
    let method = name.strip_prefix("HTTP ").unwrap_or(name);
    (!method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(method)
}

/// Replaces path segments and words that are numbers, UUIDs or long hex strings by `{id}`.
fn without_ids(name: &str) -> Cow<'_, str> {
    if !name.bytes().any(|byte| byte.is_ascii_digit()) {
        return Cow::Borrowed(name);
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
    Cow::Owned(out)
}

fn is_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && digits == word.len();
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_number || (digits > 0 && is_hex && word.len() >= 16)
}

/// Returns the address, or else the system, of what a client or producer talks to.
fn peer_name<'a>(facts: &Facts<'a>) -> Option<Cow<'a, str>> {
    if let (None, Some(address), Some(port)) = (facts[PEER_SERVICE], facts[ADDRESS], facts[PORT]) {
        return Some(Cow::Owned(format!("{address}:{port}")));
    }
    let host = || facts[URL].and_then(url_host);
    let peer = facts[PEER_SERVICE].or(facts[ADDRESS]).or_else(host).or(facts[DATABASE]).or(facts[SYSTEM]);
    peer.map(Cow::Borrowed)
}

fn url_host(url: &str) -> Option<&str> {
    let after = url.split_once("://")?.1;
    let authority = after.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}
