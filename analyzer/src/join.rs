//! Why spans of several traces are one transaction: rules with their confidence, joins, and joins that were refused.
//! Made by `stitch`; read by pages and by the daemon with the transaction.

use std::sync::Arc;

use collector_table::TraceId;
use serde::Serialize;

/// By what spans of two traces are joined. The order is that of strength: of two joins the earlier rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// One span links to the other.
    Link,
    /// Both name one message by its id.
    MessageId,
    /// Both name one message by its partition and offset.
    Offset,
    /// Both name one conversation of messages.
    Conversation,
    /// Both carry one value of a key that the operator named.
    NamedKey,
    /// Both carry one value of a key that was found by how its values behave.
    DiscoveredKey,
}

/// Confidence that spans of one trace belong together.
pub(crate) const TRACE_ID_CONFIDENCE: f64 = 1.0;

impl Rule {
    /// Returns the word used in JSON and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::MessageId => "message_id",
            Self::Offset => "offset",
            Self::Conversation => "conversation_id",
            Self::NamedKey => "named_key",
            Self::DiscoveredKey => "discovered_key",
        }
    }

    /// Returns whether a message, or a link as messages leave it, passed between the two spans.
    pub fn is_of_messages(self) -> bool {
        matches!(self, Self::Link | Self::MessageId | Self::Offset | Self::Conversation)
    }

    /// Returns how sure a join by this rule is: 1 is certain. Stated, not measured; the simulation in the tests asks for
    /// more than what is stated here.
    pub fn confidence(self) -> f64 {
        match self {
            Self::Link => 0.99,
            Self::MessageId | Self::Offset => 0.98,
            Self::Conversation | Self::NamedKey => 0.9,
            Self::DiscoveredKey => 0.8,
        }
    }
}

/// A step from the span that caused another trace, or a part of it, to that trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// Index of the span that is the cause.
    pub from: usize,
    /// Index of the span that is its effect.
    pub to: usize,
    /// By what they were joined.
    pub rule: Rule,
    /// Attribute key of a business key.
    pub key: Option<Arc<str>>,
    /// How sure it is: 1 is certain.
    pub confidence: f64,
}

/// Why spans that share something were not joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// More traces share the value than one piece of work has.
    FanIn,
    /// Too much time lies between them.
    Time,
    /// The transaction would have too many traces or spans.
    Growth,
    /// What began the transaction occurs again under the same value, so the value outlives transactions.
    Recurs,
    /// What a batch caused carries another value of a business key than the transaction.
    Contradicted,
}

impl Refusal {
    /// Returns the word used in JSON and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FanIn => "fan_in",
            Self::Time => "time",
            Self::Growth => "growth",
            Self::Recurs => "recurs",
            Self::Contradicted => "contradicted",
        }
    }
}

/// Joins that were refused for one reason, counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// By what they would have been joined.
    pub rule: Rule,
    /// Attribute key of a business key.
    pub key: Option<Arc<str>>,
    /// Why they were not.
    pub why: Refusal,
    /// Values, or pairs of spans, for which it was refused.
    pub count: u64,
    /// A trace for which it was refused last.
    pub trace_id: TraceId,
}

/// An attribute key that behaves like the id of a piece of business work, or seemed to, with the numbers for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Attribute key.
    pub key: String,
    /// Whether it is used for joins.
    pub is_used: bool,
    /// Whether the operator named it.
    pub is_named: bool,
    /// Distinct values seen.
    pub values: u64,
    /// Values seen in two traces or more that do different things.
    pub joining_values: u64,
    /// Mean number of traces of the values that several traces carry.
    pub traces_per_shared_value: f64,
    /// Services whose spans carry it, at most as many as are told apart.
    pub services: usize,
    /// Values that more traces share than one piece of work has.
    pub crowded_values: u64,
    /// Values whose traces all do the same.
    pub repeating_values: u64,
    /// Values under which the operation that began the work occurs again.
    pub recurring_values: u64,
    /// Pairs of traces that it joins and another rule joins as well.
    pub confirmed: u64,
    /// Pairs of traces that it joins and a named key tells apart.
    pub contradicted: u64,
}
