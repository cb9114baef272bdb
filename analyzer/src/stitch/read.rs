//! A table as stitching needs it: each span with its site, which follows from the resource, the operation's name and
//! the peer. What depends on a dictionary's entry alone is worked out once a table.

use std::borrow::Cow;
use std::sync::Arc;

use collector_table::{AttributeColumns, LogRow, SpanColumns, SpanKind, SpanTable, StatusCode, TraceId, ValueType};

use super::facts::{self, Found, LinkFact, Meaning, RowFacts, Speaker};
use super::keys::KeyBook;
use super::site::{Manner, Name, Process, Sites, Toward};
use crate::span::{Repeat, Site, Span};

/// Attributes that tell what a span does and to whom; of several keys the first that is present counts.
const ROLES: [&[&str]; 15] = [
    &["http.route", "url.template"],
    &["db.operation.name", "db.operation", "rpc.method", "messaging.operation.name"],
    &["db.collection.name", "rpc.service"],
    &["peer.service"],
    &["server.address", "net.peer.name", "network.peer.address", "net.sock.peer.addr"],
    &["server.port", "net.peer.port"],
    &["url.full", "http.url"],
    &["db.system.name", "db.system"],
    &["messaging.system", "rpc.system"],
    &["http.request.resend_count", "http.resend_count"],
    &[
        "messaging.destination.template",
        "messaging.destination.name",
        "messaging.destination",
        "messaging.source.name",
        "messaging.source",
        "messaging.destination.subscription.name",
        "messaging.rabbitmq.destination.routing_key",
        "messaging.rabbitmq.routing_key",
    ],
    &["messaging.destination.temporary", "messaging.destination.anonymous", "messaging.temp_destination"],
    &["db.namespace", "db.name", "db.redis.database_index"],
    &["http.request.method", "http.method"],
    // Before these stands every key that is named an idempotency key.
    &["messaging.message.id", "messaging.message_id"],
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
const RESENT: usize = 9;
const QUEUE: usize = 10;
const TEMPORARY: usize = 11;
const NAMESPACE: usize = 12;
const METHOD: usize = 13;
/// The attribute's key counts here, not its value.
const KEYED: usize = 14;

/// Stands for queues that live as long as one conversation: each has a name of its own.
const TEMPORARY_QUEUE: &str = "(temporary)";

/// Links that are read of one span.
const LINKS_MAX: usize = 4_000;

/// The value of each role in one row.
type Facts<'a> = [Option<&'a str>; ROLES.len()];

/// Reads tables; knows every site, and every key that may join traces.
#[derive(Debug)]
pub(super) struct Reader {
    sites: Sites,
    pub(super) book: KeyBook,
    /// What the dictionaries of the table at hand say, by key; their room is kept between tables.
    processes: Vec<Process>,
    operations: Vec<Operation>,
    roles: Vec<Option<Place>>,
    meanings: Vec<Meaning>,
    /// Whether any key of the table at hand may join traces.
    has_meanings: bool,
    /// What the row at hand says of other traces.
    pub(super) found: Found,
    peer: String,
}

/// What a span's name says.
#[derive(Debug)]
struct Operation {
    name: Name,
    /// Whether attributes may say more.
    is_open: bool,
}

/// Which role a key plays, and its place in the role's list.
#[derive(Debug, Clone, Copy)]
struct Place {
    role: usize,
    rank: usize,
}

impl Reader {
    pub(super) fn new(book: KeyBook) -> Self {
        Self {
            sites: Sites::default(),
            book,
            processes: Vec::new(),
            operations: Vec::new(),
            roles: Vec::new(),
            meanings: Vec::new(),
            has_meanings: false,
            found: Found::default(),
            peer: String::new(),
        }
    }

    /// Makes the keys of a table known, so that what is learned of them has a place.
    pub(super) fn read_keys(&mut self, table: &AttributeColumns<'_>) {
        let Self { meanings, book, .. } = self;
        meanings.clear();
        meanings.extend(table.names.iter().map(|key| facts::meaning(book, key.unwrap_or_default())));
        self.has_meanings = self.meanings.iter().any(|meaning| *meaning != Meaning::Nothing);
    }

    /// Gives every span of a table with its trace and what it says of others; the table's keys must have been read.
    pub(super) fn read(&mut self, table: &SpanTable, mut take: impl FnMut(TraceId, Span, &Found)) {
        let columns = table.columns();
        self.read_dictionaries(&columns);
        for row in 0..columns.len() {
            let facts = self.facts(&columns, row);
            let site = self.site(&columns, row, &facts);
            let ids = (columns.span_id(row), columns.parent_span_id(row));
            let start_ns = columns.starts_ns[row];
            let times_ns = (start_ns, start_ns.saturating_add(columns.durations_ns[row]));
            self.find(&columns, row);
            take(columns.trace_id(row), Span::new(ids, times_ns, site), &self.found);
        }
    }

    /// Works out what depends on a resource, a name or a key alone.
    fn read_dictionaries(&mut self, columns: &SpanColumns<'_>) {
        self.processes.clear();
        for resource in 0..columns.resources_len() {
            let (instance, version) = (columns.service_instance(resource), columns.service_version(resource));
            let process = self.sites.process(columns.service_name(resource), instance, version);
            self.processes.push(process);
        }
        self.operations.clear();
        for name in columns.names {
            let name = name.unwrap_or_default();
            let is_open = name.is_empty() || bare_method(name).is_some();
            let name = self.sites.name(&operation_name(name, &Facts::default()));
            self.operations.push(Operation { name, is_open });
        }
        self.roles.clear();
        self.roles.extend(columns.attributes.names.iter().map(|key| place(key.unwrap_or_default())));
    }

    /// Finds what a row says of other traces.
    fn find(&mut self, columns: &SpanColumns<'_>, row: usize) {
        self.found.clear();
        let speaker =
            || Speaker { span_id: columns.span_id(row), start_ns: columns.starts_ns[row], kind: columns.kind(row) };
        if let Some(links) = columns.links(row) {
            let span_id = columns.span_id(row);
            let known = links.map(|(trace, span)| LinkFact { span_id, trace, span });
            self.found.links.extend(known.take(LINKS_MAX));
        }
        if self.has_meanings {
            self.found_attributes(&columns.attributes, row, &speaker());
        }
    }

    fn found_attributes(&mut self, attributes: &AttributeColumns<'_>, row: usize, speaker: &Speaker) {
        let bound = |row: usize| usize::try_from(attributes.offsets[row]).unwrap_or(0);
        let mut said = RowFacts::default();
        for entry in bound(row)..bound(row + 1) {
            let meaning = self.meanings[attributes.keys[entry] as usize];
            if meaning != Meaning::Nothing {
                let value = (attributes.values.value(entry), ValueType::from_byte(attributes.types[entry]));
                said.attribute(&self.book, meaning, value, speaker, &mut self.found);
            }
        }
        said.finish(&self.book, speaker, &mut self.found);
    }

    /// Finds the business keys that a log record carries.
    pub(super) fn read_log(&mut self, row: &LogRow<'_>) {
        self.found.clear();
        let span_id = row.span_id.unwrap_or_default();
        let speaker = Speaker { span_id, start_ns: row.time_ns, kind: SpanKind::Internal };
        let mut said = RowFacts::default();
        for (key, value, value_type) in row.attributes.iter() {
            let meaning = facts::meaning(&mut self.book, key);
            if matches!(meaning, Meaning::Key(_)) {
                said.attribute(&self.book, meaning, (value, value_type), &speaker, &mut self.found);
            }
        }
    }

    fn facts<'a>(&self, columns: &SpanColumns<'a>, row: usize) -> Facts<'a> {
        let attributes = &columns.attributes;
        let bound = |row: usize| usize::try_from(attributes.offsets[row]).unwrap_or(0);
        let mut facts = Facts::default();
        let mut ranks = [usize::MAX; ROLES.len()];
        for entry in bound(row)..bound(row + 1) {
            let Some(Place { role, rank }) = self.roles[attributes.keys[entry] as usize] else { continue };
            // Of a key that is there twice, the first counts; one without a value says nothing.
            let value = attributes.values.value(entry);
            if rank < ranks[role] && !value.is_empty() {
                ranks[role] = rank;
                let key = attributes.keys[entry] as usize;
                facts[role] = Some(if role == KEYED { attributes.names.value(key) } else { value });
            }
        }
        facts
    }

    fn site(&mut self, columns: &SpanColumns<'_>, row: usize, facts: &Facts<'_>) -> Arc<Site> {
        let Self { sites, processes, operations, peer, .. } = self;
        let process = &processes[columns.resource_keys[row] as usize];
        let key = columns.name_keys[row] as usize;
        let operation = &operations[key];
        let completed = operation.is_open.then(|| sites.name(&operation_name(columns.names.value(key), facts)));
        let operation = completed.as_ref().unwrap_or(&operation.name);
        let kind = columns.kind(row);
        let toward = toward(sites, kind, facts, peer);
        let has_error = columns.status_code(row) == StatusCode::Error;
        let is_resend = facts[RESENT].is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0));
        let is_outgoing = matches!(kind, SpanKind::Client | SpanKind::Producer);
        let repeat = if is_outgoing { repeat(facts[METHOD]) } else { Repeat::Unknown };
        let manner = Manner { kind, is_database: facts[DATABASE].is_some(), has_error, is_resend, repeat };
        sites.site(process, operation, &toward, manner)
    }

    /// Lets go of what no span refers to.
    pub(super) fn free_unused(&mut self) {
        self.processes.clear();
        self.operations.clear();
        self.sites.free_unused();
    }

    /// Returns how many spans were folded into "(others)".
    pub(super) fn folded(&self) -> u64 {
        self.sites.folded()
    }
}

/// Returns which role a key plays, if any.
fn place(key: &str) -> Option<Place> {
    if is_idempotency_key(key) {
        return Some(Place { role: KEYED, rank: 0 });
    }
    let rank = |keys: &&[&str]| keys.iter().position(|known| *known == key);
    let place = |(role, keys)| Some(Place { role, rank: rank(keys)? + usize::from(role == KEYED) });
    ROLES.iter().enumerate().find_map(place)
}

/// Returns whether a key is named an idempotency key, as headers and attributes are: `http.request.header.idempotency-key`,
/// `app.idempotencyKey`.
fn is_idempotency_key(key: &str) -> bool {
    const WORD: &[u8] = b"idempotency";
    let starts = key.as_bytes().windows(WORD.len()).position(|part| part.eq_ignore_ascii_case(WORD));
    starts.is_some_and(|at| {
        let rest = &key.as_bytes()[at + WORD.len()..];
        rest.is_empty() || rest.windows(3).any(|part| part.eq_ignore_ascii_case(b"key")) || rest.ends_with(b"token")
    })
}

/// Returns whether a request may be repeated, by RFC 9110.
fn repeat(method: Option<&str>) -> Repeat {
    match method {
        Some("GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" | "QUERY") => Repeat::Safe,
        Some("POST" | "PATCH") => Repeat::Unsafe,
        _ => Repeat::Unknown,
    }
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
        let target = facts[TARGET].or(facts[QUEUE]);
        let parts: Vec<&str> = [facts[VERB], target].into_iter().flatten().collect();
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

/// Returns whom a span speaks to; of one that takes a message from where it takes it.
fn toward(sites: &mut Sites, kind: SpanKind, facts: &Facts<'_>, room: &mut String) -> Toward {
    let is_outgoing = matches!(kind, SpanKind::Client | SpanKind::Producer);
    if !is_outgoing && kind != SpanKind::Consumer {
        return Toward::default();
    }
    let queue = || if is_true(facts[TEMPORARY]) { Some(TEMPORARY_QUEUE.into()) } else { facts[QUEUE].map(without_ids) };
    let target = facts[DATABASE].map_or_else(queue, |_| facts[NAMESPACE].map(Cow::Borrowed));
    Toward {
        peer: peer_name(facts, room).filter(|_| is_outgoing).map(|peer| sites.name(peer)),
        system: facts[DATABASE].or(facts[SYSTEM]).map(|system| sites.name(system)),
        target: target.map(|target| sites.target(&target)),
        keyed_by: facts[KEYED].filter(|_| is_outgoing).map(|key| sites.name(key)),
    }
}

fn is_true(value: Option<&str>) -> bool {
    value == Some("true")
}

/// Returns the address, or else the system, of what a client or producer talks to.
fn peer_name<'a>(facts: &Facts<'a>, room: &'a mut String) -> Option<&'a str> {
    if let (None, Some(address), Some(port)) = (facts[PEER_SERVICE], facts[ADDRESS], facts[PORT]) {
        room.clear();
        room.extend([address, ":", port]);
        return Some(room);
    }
    let host = || facts[URL].and_then(url_host);
    facts[PEER_SERVICE].or(facts[ADDRESS]).or_else(host).or(facts[DATABASE]).or(facts[SYSTEM])
}

fn url_host(url: &str) -> Option<&str> {
    let after = url.split_once("://")?.1;
    let authority = after.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}
