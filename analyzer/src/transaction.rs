//! A stitched transaction: spans as a tree, self times, and the critical path.
//! Made by `stitch`; read by `detect`, by the daemon (which stores it as rows) and by pages.

use std::sync::Arc;

use collector_table::TraceId;
use serde::Serialize;

use crate::expect::{Completeness, CompletenessJson, SagaJson, SagaOutcome};
use crate::flow::flow_kind;
use crate::join::{Join, Refused, Rule, TRACE_ID_CONFIDENCE};
use crate::span::Span;
use crate::told::Told;

/// Why a stretch of the critical path passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The owner worked, or waited for something that no span shows.
    SelfTime,
    /// Between the caller's and the callee's view of one call: network, queues of connections, serialisation.
    NetworkGap,
    /// Between a producer and its consumer.
    QueueWait,
    /// Between two attempts of one call.
    RetryGap,
    /// The owner worked while all its like siblings were done.
    Straggler,
    /// The owner waited for a peer that sends no telemetry.
    UninstrumentedPeer,
    /// No span covers it.
    Unexplained,
}

impl Cause {
    /// Returns the word used in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfTime => "self",
            Self::NetworkGap => "network_gap",
            Self::QueueWait => "queue_wait",
            Self::RetryGap => "retry_gap",
            Self::Straggler => "straggler",
            Self::UninstrumentedPeer => "uninstrumented_peer",
            Self::Unexplained => "unexplained",
        }
    }
}

/// A stretch of the critical path, owned by one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index of the owning span.
    pub span: usize,
    /// Why the time passed.
    pub cause: Cause,
    /// Unix nanoseconds.
    pub start_ns: i64,
    /// Unix nanoseconds.
    pub end_ns: i64,
}

/// Why a transaction stopped waiting for spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Its root and every parent arrived, and nothing came for a short while.
    Settled,
    /// Nothing came for long, although something is missing.
    Idle,
    /// It has as many spans as the limit allows.
    SpanLimit,
    /// It was open for as long as the limit allows.
    AgeLimit,
    /// Its root and every parent arrived, and room was needed before the short while was over.
    Early,
    /// Room was needed, and no whole transaction was left; of those that lack something, this one had waited longest.
    Evicted,
    /// The input ended.
    EndOfInput,
    /// It turned out to be part of another transaction, whose id is told with it.
    Superseded,
}

impl CloseReason {
    /// Returns the word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Idle => "idle",
            Self::SpanLimit => "span_limit",
            Self::AgeLimit => "age_limit",
            Self::Early => "early",
            Self::Evicted => "evicted",
            Self::EndOfInput => "end_of_input",
            Self::Superseded => "superseded",
        }
    }

    /// Returns whether it was closed at a bound of its own: later spans of the trace are not of it.
    pub(crate) fn is_cut(self) -> bool {
        matches!(self, Self::SpanLimit | Self::AgeLimit)
    }
}

/// A step from a caller to a callee.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Index of the calling span: the client or producer span, or the parent where there is none.
    pub caller: usize,
    /// Index of the called span; none when the peer sends no telemetry.
    pub callee: Option<usize>,
    /// `call`, `message` or `database`.
    pub kind: HopKind,
    /// Caller's view minus callee's view of a call, or the wait between producer and consumer, nanoseconds.
    pub gap_ns: Option<i64>,
    /// Attempts before this one, in order of time: all were in vain. None in the usual case.
    pub earlier: Vec<Attempt>,
}

/// One attempt of a call that was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the calling span.
    pub caller: usize,
    /// Index of the called span; none when it sent no telemetry.
    pub callee: Option<usize>,
    /// As [`Hop::gap_ns`].
    pub gap_ns: Option<i64>,
}

impl Hop {
    /// Returns how often the call was tried.
    pub fn attempts(&self) -> usize {
        self.earlier.len() + 1
    }

    /// Returns every attempt in order of time, the last one included.
    pub fn tries(&self) -> impl Iterator<Item = Attempt> + '_ {
        let last = Attempt { caller: self.caller, callee: self.callee, gap_ns: self.gap_ns };
        self.earlier.iter().copied().chain(std::iter::once(last))
    }

    /// Returns the pauses between the attempts, in nanoseconds.
    pub fn retry_gaps_ns<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = i64> + 'a {
        let pairs = self.tries().zip(self.tries().skip(1));
        pairs.map(|(before, next)| spans[next.caller].start_ns - spans[before.caller].end_ns)
    }

    /// Returns when the first attempt began, in unix nanoseconds.
    pub fn first_start_ns(&self, spans: &[Span]) -> i64 {
        spans[self.earlier.first().map_or(self.caller, |first| first.caller)].start_ns
    }
}

/// What passes between caller and callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HopKind {
    /// A synchronous request.
    Call,
    /// A message.
    Message,
    /// A request to a database or cache.
    Database,
}

impl HopKind {
    /// Returns the word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Message => "message",
            Self::Database => "database",
        }
    }
}

/// Two processes whose clocks differ, as calls between them tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Index of a calling span.
    pub from: usize,
    /// Index of the span that it called.
    pub to: usize,
    /// Nanoseconds by which the called one's clock is ahead.
    pub offset_ns: i64,
}

/// Where a span stands in the tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Index of the parent; [`NO_PARENT`] for roots and for spans whose parent is missing.
    pub(crate) parent: u32,
    pub(crate) depth: u32,
    pub(crate) self_ns: i64,
}

/// Stands for no parent in a [`Node`].
pub(crate) const NO_PARENT: u32 = u32::MAX;

/// One end-to-end piece of business work.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Id of the trace in which it began.
    pub id: TraceId,
    /// 1, and one more each time late spans change it.
    pub revision: u32,
    /// Spans in depth-first order, siblings by start; a parent stands before its children.
    pub spans: Arc<[Span]>,
    /// Place of each span in the tree.
    pub(crate) nodes: Vec<Node>,
    /// Index of the root.
    pub root: usize,
    /// Unix nanoseconds at which the first span started.
    pub started_ns: i64,
    /// Nanoseconds from there to the last end.
    pub duration_ns: i64,
    /// Segments in order of time; their lengths sum exactly to `duration_ns`.
    pub critical_path: Vec<Segment>,
    /// Steps between services, and to databases and uninstrumented peers.
    pub hops: Vec<Hop>,
    /// Whether there is one root and no missing parent.
    pub is_complete: bool,
    /// Spans whose stated parent did not arrive.
    pub missing_parents: usize,
    /// Copies of spans that were left out.
    pub duplicates: usize,
    /// Largest amount by which a child starts before or ends after the call that caused it, nanoseconds: clocks differ.
    pub clock_skew_ns: i64,
    /// Processes whose clocks are known to differ, each once.
    pub skews: Vec<Skew>,
    /// Whether times of the critical path, own times and gaps are as if all had the root's clock; `spans` are as sent.
    pub is_skew_corrected: bool,
    /// Why it stopped waiting.
    pub close_reason: CloseReason,
    /// Hash of the call path: like transactions share it.
    pub path_id: u64,
    /// Traces that it consists of, the one in which it began first.
    pub traces: Vec<TraceId>,
    /// Number of each span's trace among `traces`; empty when there is one trace.
    pub(crate) trace_numbers: Vec<u32>,
    /// What joins its traces, by the span that is the effect.
    pub joins: Vec<Join>,
    /// Joins of its traces that were refused.
    pub refused: Vec<Refused>,
    /// Set when this is no transaction any more but part of another: the other's id. A reader of final results leaves
    /// out a transaction whose highest revision says so.
    pub superseded_by: Option<TraceId>,
    /// What like transactions do and this one does not; none while too little is known, or if spans of it are lost.
    pub completeness: Option<Completeness>,
    /// What became of its saga, if its type has one.
    pub saga: Option<Box<SagaOutcome>>,
    /// Whether its traces were judged before, each when it closed.
    pub(crate) was_seen: bool,
    /// What of it was told before, also as part of another.
    pub(crate) told: Told,
}

/// A transaction as JSON in `DESIGN`'s contract.
#[derive(Debug, Serialize)]
pub struct TransactionJson {
    transaction_id: String,
    #[serde(rename = "type")]
    transaction_type: String,
    started_at: String,
    duration_ns: i64,
    status: &'static str,
    complete: bool,
    trace_ids: Vec<String>,
    span_ids: Vec<String>,
    stitched_by: Vec<StitchedBy>,
    critical_path: Vec<SegmentJson>,
    revision: u32,
    flow: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joins: Vec<JoinJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completeness: Option<CompletenessJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<SagaJson>,
}

/// A join, between spans by trace and span id.
#[derive(Debug, Serialize)]
struct JoinJson {
    from: [String; 2],
    to: [String; 2],
    rule: &'static str,
    key: Option<String>,
    confidence: f64,
}

#[derive(Debug, Serialize)]
struct RefusedJson {
    rule: &'static str,
    key: Option<String>,
    why: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct StitchedBy {
    rule: &'static str,
    key: Option<String>,
    confidence: f64,
}

#[derive(Debug, Serialize)]
struct SegmentJson {
    service: String,
    operation: String,
    cause: &'static str,
    self_ns: i64,
}

impl Transaction {
    /// Returns the root span.
    pub fn root_span(&self) -> &Span {
        &self.spans[self.root]
    }

    /// Returns the index of a span's parent; none for roots and for spans whose parent is missing.
    pub fn parent(&self, index: usize) -> Option<usize> {
        let parent = self.nodes[index].parent;
        (parent != NO_PARENT).then_some(parent as usize)
    }

    /// Returns whether a service begins work with a span.
    pub(crate) fn begins_execution(&self, index: usize) -> bool {
        let span = &self.spans[index];
        self.parent(index).is_none_or(|parent| span.is_entry() || !span.is_same_service(&self.spans[parent]))
    }

    /// Returns the span with which the execution began that a span is part of.
    pub(crate) fn execution_of(&self, index: usize) -> usize {
        let mut at = index;
        while !self.begins_execution(at)
            && let Some(parent) = self.parent(at)
        {
            at = parent;
        }
        at
    }

    /// Returns how deep a span stands below its root.
    pub fn depth(&self, index: usize) -> u32 {
        self.nodes[index].depth
    }

    /// Returns the nanoseconds of a span that no child explains.
    pub fn self_ns(&self, index: usize) -> i64 {
        self.nodes[index].self_ns
    }

    /// Returns the number of a span's trace among `traces`.
    pub fn trace_number(&self, index: usize) -> usize {
        self.trace_numbers.get(index).map_or(0, |&number| number as usize)
    }

    /// Returns the trace of a span.
    pub fn trace_of(&self, index: usize) -> TraceId {
        self.traces.get(self.trace_number(index)).copied().unwrap_or(self.id)
    }

    /// Returns whether only a key tells that a span's trace belongs here.
    pub(crate) fn is_joined_by_key(&self, index: usize) -> bool {
        let mut rules = self.joins.iter().filter(|join| join.to == index).map(|join| join.rule).peekable();
        rules.peek().is_some() && !rules.any(Rule::is_of_messages)
    }

    /// Returns what takes back a transaction that was given out as `part` and is a trace of this one now. It has this
    /// one's spans: only its id, revision and what it is superseded by are of use.
    pub fn superseding(&self, part: TraceId, revision: u32) -> Self {
        let first = (0..self.spans.len()).find(|&index| self.trace_of(index) == part).unwrap_or(self.root);
        Self {
            id: part,
            revision,
            root: first,
            started_ns: self.spans[first].start_ns,
            traces: vec![part],
            close_reason: CloseReason::Superseded,
            superseded_by: Some(self.id),
            ..self.clone()
        }
    }

    /// Returns whether its root reports an error.
    pub fn has_error(&self) -> bool {
        self.root_span().has_error()
    }

    /// Returns the JSON form of the contract.
    pub fn to_json(&self) -> TransactionJson {
        let root = self.root_span();
        TransactionJson {
            transaction_id: self.id.to_string(),
            transaction_type: format!("{} {}", root.service(), root.operation()),
            started_at: crate::time::rfc3339(self.started_ns),
            duration_ns: self.duration_ns,
            status: if self.has_error() { "error" } else { "ok" },
            complete: self.is_complete,
            trace_ids: self.traces.iter().map(TraceId::to_string).collect(),
            span_ids: self.spans.iter().map(|span| span.span_id.to_string()).collect(),
            stitched_by: self.stitched_by(),
            critical_path: self.critical_path.iter().map(|segment| self.segment_json(segment)).collect(),
            revision: self.revision,
            flow: flow_kind(self).as_str(),
            joins: self.joins.iter().map(|join| self.join_json(join)).collect(),
            refused: self.refused.iter().map(refused_json).collect(),
            superseded_by: self.superseded_by.map(|id| id.to_string()),
            completeness: self.completeness.as_ref().map(CompletenessJson::of),
            saga: self.saga.as_deref().map(SagaJson::of),
        }
    }

    fn join_json(&self, join: &Join) -> JoinJson {
        let place = |index: usize| [self.trace_of(index).to_string(), self.spans[index].span_id.to_string()];
        JoinJson {
            from: place(join.from),
            to: place(join.to),
            rule: join.rule.as_str(),
            key: join.key.as_deref().map(str::to_owned),
            confidence: join.confidence,
        }
    }

    /// Returns each rule by which it was stitched once, with its key, the surest first.
    fn stitched_by(&self) -> Vec<StitchedBy> {
        let mut by: Vec<(Rule, Option<&str>)> =
            self.joins.iter().map(|join| (join.rule, join.key.as_deref())).collect();
        by.sort_unstable();
        by.dedup();
        let within = StitchedBy { rule: "trace_id", key: None, confidence: TRACE_ID_CONFIDENCE };
        let across = by.into_iter().map(|(rule, key)| StitchedBy {
            rule: rule.as_str(),
            key: key.map(str::to_owned),
            confidence: rule.confidence(),
        });
        std::iter::once(within).chain(across).collect()
    }

    fn segment_json(&self, segment: &Segment) -> SegmentJson {
        let owner = &self.spans[segment.span];
        SegmentJson {
            service: owner.service().to_owned(),
            operation: owner.operation().to_owned(),
            cause: segment.cause.as_str(),
            self_ns: segment.end_ns - segment.start_ns,
        }
    }
}

fn refused_json(refused: &Refused) -> RefusedJson {
    RefusedJson {
        rule: refused.rule.as_str(),
        key: refused.key.as_deref().map(str::to_owned),
        why: refused.why.as_str(),
        count: refused.count,
    }
}
