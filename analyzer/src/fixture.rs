//! Drawn traces for tests: indented text becomes a span table.
//!
//! A line is `service [kind] operation start..end [word…]`, times in milliseconds, two spaces of indent a level.
//! The kind is `server` for a root or below another service, else `internal`. Words: `error`, `lost` (the span is
//! not sent, its children are), `peer=bank:443`, `on=instance`, `version=2`, an attribute whose key has a dot in it,
//! `http.route=/cart`, a number or true or false if it is one, or one of the resource, `in:cloud.region=eu`. `@sent` names a span, `link=@sent` links to it, or to a trace that never
//! comes if no span has the name. A blank line begins another trace.

pub(crate) mod dice;

use collector_table::{
    LinkFields, SpanFields, SpanId, SpanKind, SpanTable, SpanTableBuilder, StatusCode, TraceId, ValueType,
};

const MS_NS: i64 = 1_000_000;

/// A line of a drawing.
pub(crate) struct Drawn<'a> {
    trace: TraceId,
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    service: &'a str,
    operation: String,
    kind: SpanKind,
    start_ms: i64,
    end_ms: i64,
    words: Vec<&'a str>,
    links: Vec<(TraceId, u64)>,
}

impl Drawn<'_> {
    /// Moves the span by milliseconds and into a trace of its own number.
    pub(crate) fn at(&mut self, ms: i64, trace: u64) {
        self.start_ms += ms;
        self.end_ms += ms;
        self.trace = TraceId(u128::from(trace).to_be_bytes());
    }

    /// Has links to a trace lead to another.
    pub(crate) fn relink(&mut self, to: impl Fn(TraceId) -> TraceId) {
        self.links.iter_mut().for_each(|(trace, _)| *trace = to(*trace));
    }

    /// Returns the trace that the line is of.
    pub(crate) fn trace(&self) -> TraceId {
        self.trace
    }

    /// Returns whether both are of one trace.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.trace == other.trace
    }

    /// Gives the span other times, in milliseconds.
    pub(crate) fn over(&mut self, start_ms: i64, end_ms: i64) {
        (self.start_ms, self.end_ms) = (start_ms, end_ms);
    }
}

/// Returns the lines that are sent.
pub(crate) fn lines(text: &str) -> Vec<Drawn<'_>> {
    let mut drawn: Vec<Drawn<'_>> = Vec::new();
    let mut above: Vec<(u64, &str)> = Vec::new();
    let mut trace = 1;
    for (number, line) in (1u64..).zip(text.lines()) {
        if line.trim().is_empty() {
            trace += u8::from(!drawn.is_empty());
            above.clear();
            continue;
        }
        let margin = text.lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
        above.truncate((indent(line) - margin) / 2);
        let one = line_of(line, trace_id(trace), number, above.last().copied());
        above.push((number, one.service));
        drawn.push(one);
    }
    let named = |name: &str| drawn.iter().find(|one| one.words.contains(&name)).map(|one| (one.trace, one.id));
    let linked = |one: &Drawn<'_>| {
        let names = one.words.iter().filter_map(|word| word.strip_prefix("link="));
        names.map(|name| named(name).unwrap_or((trace_id(u8::MAX), u64::MAX))).collect()
    };
    let links: Vec<Vec<(TraceId, u64)>> = drawn.iter().map(linked).collect();
    for (one, links) in drawn.iter_mut().zip(links) {
        one.links = links;
    }
    drawn.retain(|one| !one.words.contains(&"lost"));
    drawn
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn line_of<'a>(line: &'a str, trace: TraceId, id: u64, above: Option<(u64, &str)>) -> Drawn<'a> {
    let mut parts: Vec<&str> = line.split_whitespace().collect();
    let service = parts.remove(0);
    let kind = match parts[0] {
        "server" => Some(SpanKind::Server),
        "client" => Some(SpanKind::Client),
        "producer" => Some(SpanKind::Producer),
        "consumer" => Some(SpanKind::Consumer),
        "internal" => Some(SpanKind::Internal),
        _ => None,
    };
    if kind.is_some() {
        parts.remove(0);
    }
    let usual = if above.is_none_or(|(_, other)| other != service) { SpanKind::Server } else { SpanKind::Internal };
    let at = parts.iter().position(|part| part.contains("..")).unwrap();
    let (start, end) = parts[at].split_once("..").unwrap();
    Drawn {
        trace,
        id,
        parent: above.map(|(parent, _)| parent),
        service,
        operation: parts[..at].join(" "),
        kind: kind.unwrap_or(usual),
        start_ms: start.parse().unwrap(),
        end_ms: end.parse().unwrap(),
        words: parts[at + 1..].to_vec(),
        links: Vec::new(),
    }
}

/// Returns the lines as a table, in the order given.
pub(crate) fn table(drawn: &[Drawn<'_>]) -> SpanTable {
    let mut builder = SpanTableBuilder::default();
    for one in drawn {
        let value = |key: &str| one.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        if let Some(peer) = value("peer") {
            builder.push_attribute("server.address", peer, ValueType::String);
        }
        let is_attribute = |word: &&&str| word.split('=').next().is_some_and(|key| key.contains('.'));
        for (key, value) in one.words.iter().filter(is_attribute).filter_map(|word| word.split_once('=')) {
            match key.strip_prefix("in:") {
                Some(key) => builder.push_resource_attribute(key, value, type_of(value)),
                None => builder.push_attribute(key, value, type_of(value)),
            }
        }
        for (trace_id, span) in &one.links {
            builder.push_link(&LinkFields { trace_id: *trace_id, span_id: span_id(*span), trace_state: None });
        }
        builder.append(&SpanFields {
            trace_id: one.trace,
            span_id: span_id(one.id),
            parent_span_id: one.parent.map(span_id),
            trace_state: None,
            flags: 0,
            service_name: one.service,
            service_instance: value("on"),
            service_version: value("version"),
            name: &one.operation,
            kind: one.kind,
            start_ns: one.start_ms * MS_NS,
            end_ns: one.end_ms * MS_NS,
            status_code: if one.words.contains(&"error") { StatusCode::Error } else { StatusCode::Unset },
            status_message: None,
            scope_name: None,
            scope_version: None,
            dropped: [0; 3],
        });
    }
    builder.finish()
}

fn type_of(value: &str) -> ValueType {
    match value {
        "true" | "false" => ValueType::Bool,
        _ if value.parse::<i64>().is_ok() => ValueType::Int,
        _ => ValueType::String,
    }
}

/// Returns the trace id of the n-th drawn trace.
fn trace_id(number: u8) -> TraceId {
    TraceId([number; 16])
}

/// Returns the span id of a line.
fn span_id(line: u64) -> SpanId {
    SpanId(line.to_be_bytes())
}
