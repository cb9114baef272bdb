//! A table as stitching needs it: each span with its site, which follows from the resource, the operation's name and
//! the peer. What depends on a dictionary's entry alone is worked out once a table.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use collector_table::{AttributeColumns, LogRow, SpanColumns, SpanKind, SpanTable, StatusCode, TraceId, ValueType};

use super::facts::{self, Found, LinkFact, Meaning, RowFacts, Speaker, Taking};
use super::keys::{KeyBook, KeyId, Use};
use super::site::{Manner, Name, Process, Sites, Toward};
use crate::hash::Map;
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

/// Names of keys of which it is remembered what they are; more are looked up each time.
const NAMES_MAX: usize = 4_096;

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
    keys: Vec<Key>,
    /// What keys are by name, until the book changes. Tables are many, and most have the same keys.
    known_keys: Map<Box<str>, Key>,
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

/// What a key says of its span, and of other traces.
#[derive(Debug, Clone, Copy)]
struct Key {
    place: Option<Place>,
    meaning: Meaning,
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
            keys: Vec::new(),
            known_keys: Map::default(),
            found: Found::default(),
            peer: String::new(),
        }
    }

    /// Makes the keys of a table known, so that what is learned of them has a place.
    pub(super) fn read_keys(&mut self, table: &AttributeColumns<'_>) {
        let Self { keys, known_keys, book, .. } = self;
        keys.clear();
        keys.extend(table.names.iter().map(|name| key(known_keys, book, name.unwrap_or_default())));
    }

    /// Puts a key to another use.
    pub(super) fn put_key_to(&mut self, key: KeyId, to: Use) {
        self.book.put_to(key, to);
        self.known_keys.clear();
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
    }

    /// Finds the business keys that a log record carries.
    pub(super) fn read_log(&mut self, row: &LogRow<'_>) {
        self.found.clear();
        let span_id = row.span_id.unwrap_or_default();
        let speaker = Speaker { span_id, start_ns: row.time_ns, kind: SpanKind::Internal };
        let mut said = RowFacts::default();
        for (name, value, value_type) in row.attributes.iter() {
            let meaning = key(&mut self.known_keys, &mut self.book, name).meaning;
            if matches!(meaning, Meaning::Key(_)) {
                said.attribute(&self.book, meaning, (value, value_type), &speaker, &mut self.found);
            }
        }
    }

    /// Returns what a row says of itself, and finds what it says of other traces.
    fn facts<'a>(&mut self, columns: &SpanColumns<'a>, row: usize) -> Facts<'a> {
        let Self { keys, book, found, .. } = self;
        let attributes = &columns.attributes;
        let bound = |row: usize| usize::try_from(attributes.offsets[row]).unwrap_or(0);
        let span_id = columns.span_id(row);
        found.clear();
        if let Some(links) = columns.links(row) {
            let known = links.map(|(trace, span)| LinkFact { span_id, trace, span });
            found.links.extend(known.take(LINKS_MAX));
        }
        let speaker = Speaker { span_id, start_ns: columns.starts_ns[row], kind: columns.kind(row) };
        let mut said = RowFacts::default();
        let mut facts = Facts::default();
        let mut ranks = [usize::MAX; ROLES.len()];
        let mut idempotency_key = None;
        for entry in bound(row)..bound(row + 1) {
            let key = attributes.keys[entry] as usize;
            let Key { place, meaning } = keys[key];
            if place.is_none() && meaning == Meaning::Nothing {
                continue;
            }
            let value = attributes.values.value(entry);
            // Of a key that is there twice, the first counts; one without a value says nothing.
            if let Some(Place { role, rank }) = place
                && rank < ranks[role]
                && !value.is_empty()
            {
                ranks[role] = rank;
                facts[role] = Some(if role == KEYED { attributes.names.value(key) } else { value });
                if role == KEYED && rank == 0 {
                    idempotency_key = Some(value);
                }
            }
            if meaning != Meaning::Nothing {
                let value_type = ValueType::from_byte(attributes.types[entry]);
                said.attribute(book, meaning, (value, value_type), &speaker, found);
            }
        }
        said.finish(book, &speaker, found);
        found.taking = match (speaker.kind, idempotency_key) {
            (SpanKind::Server, Some(key)) => {
                let token = book.hasher.hash_one((facts::KEY_TOKEN, KEYED, key));
                Some(Taking { token, partition: 0, offset: 0, has_cause: true, is_request: true })
            }
            (SpanKind::Consumer, _) => said.taking(book, &speaker, found, columns.parent_span_id(row).is_some()),
            _ => None,
        };
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

/// Returns what a key is; one that is new to the book is noted there.
fn key(known_keys: &mut Map<Box<str>, Key>, book: &mut KeyBook, name: &str) -> Key {
    if let Some(key) = known_keys.get(name) {
        return *key;
    }
    let key = Key { place: place(name), meaning: facts::meaning(book, name) };
    if known_keys.len() < NAMES_MAX {
        known_keys.insert(name.into(), key);
    }
    key
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
