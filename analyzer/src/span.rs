//! A span as stitching and detection need it: what differs from span to span, and a shared site for all else.
//! Made by `stitch`; held by the million, so eight bytes more here are ten megabytes more there.

use std::sync::Arc;

use collector_table::{SpanId, SpanKind};

/// Whether doing a thing twice does no more than doing it once, as its method says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Repeating it changes nothing (RFC 9110, 9.2.2).
    Safe,
    /// Repeating it may do the work twice.
    Unsafe,
    /// Nothing says.
    Unknown,
}

/// What all the spans of one operation of one process share: who does what, to whom, and whether it fails.
#[derive(Debug)]
pub struct Site {
    /// `service.name`.
    pub service: Arc<str>,
    /// Low-cardinality name of what it does.
    pub operation: Arc<str>,
    /// Instance, pod or host.
    pub instance: Option<Arc<str>>,
    /// `service.version`.
    pub version: Option<Arc<str>>,
    /// Kind.
    pub kind: SpanKind,
    /// Address or system on the other side of a client or producer span.
    pub peer: Option<Arc<str>>,
    /// System of the database or of the messages that it speaks to, such as `postgresql` or `kafka`.
    pub system: Option<Arc<str>>,
    /// Name of the database, or of the queue or topic, that it speaks to or takes from.
    pub target: Option<Arc<str>>,
    /// Whether it is a request to a database or cache.
    pub is_database: bool,
    /// Whether the status is error. What fails has a site of its own, because a flag in every span is dearer.
    pub has_error: bool,
    /// Whether it says itself that it repeats a request (`http.request.resend_count`). It has a site of its own too.
    pub is_resend: bool,
    /// Whether it may be repeated. Of one operation this is nearly always the same.
    pub repeat: Repeat,
    /// Attribute that tells a repetition of a call or message from another one, such as an idempotency key.
    pub keyed_by: Option<Arc<str>>,
    /// Tells apart the sites of one stitcher; never given twice, so that what was learned under it cannot be mistaken.
    pub(crate) number: u64,
    /// Hash of service and instance: who has one clock.
    pub(crate) process: u64,
    /// Hash of service and operation, with which the hash of a call path begins.
    pub(crate) shape: u64,
    /// Hash of the peer; 0 for none.
    pub(crate) peer_hash: u64,
}

/// A span. What it shares with others is its [`Site`].
#[derive(Debug, Clone)]
pub struct Span {
    /// Id within the trace.
    pub span_id: SpanId,
    /// All zeros when there is none, which OTLP defines as invalid.
    parent_span_id: SpanId,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds, never before the start.
    pub end_ns: i64,
    /// Who does what.
    pub site: Arc<Site>,
}

const _: () = assert!(size_of::<Span>() <= 40, "open spans are held by the million");

const NO_SPAN: SpanId = SpanId([0; 8]);

impl Span {
    /// Returns a span from its ids, its times in unix nanoseconds, and its site.
    pub(crate) fn new(ids: (SpanId, Option<SpanId>), times_ns: (i64, i64), site: Arc<Site>) -> Self {
        let ((span_id, parent), (start_ns, end_ns)) = (ids, times_ns);
        let parent_span_id = parent.unwrap_or(NO_SPAN);
        Self { span_id, parent_span_id, start_ns, end_ns: end_ns.max(start_ns), site }
    }

    /// Returns the parent as stated, whether or not it arrived.
    pub fn parent_span_id(&self) -> Option<SpanId> {
        (self.parent_span_id != NO_SPAN).then_some(self.parent_span_id)
    }

    /// Returns nanoseconds from start to end.
    pub fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Returns `service.name`.
    pub fn service(&self) -> &str {
        &self.site.service
    }

    /// Returns the low-cardinality name of what it does.
    pub fn operation(&self) -> &str {
        &self.site.operation
    }

    /// Returns its kind.
    pub fn kind(&self) -> SpanKind {
        self.site.kind
    }

    /// Returns whether its status is error.
    pub fn has_error(&self) -> bool {
        self.site.has_error
    }

    /// Returns whether a call or a message enters a service here.
    pub fn is_entry(&self) -> bool {
        matches!(self.site.kind, SpanKind::Server | SpanKind::Consumer)
    }

    /// Returns whether a call or a message leaves a service here.
    pub fn is_outgoing(&self) -> bool {
        matches!(self.site.kind, SpanKind::Client | SpanKind::Producer)
    }

    /// Returns whether both are of one service.
    pub fn is_same_service(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.site.service, &other.site.service) || self.site.service == other.site.service
    }
}
