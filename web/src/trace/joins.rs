//! What joins the traces of a transaction, and what does not, in words: headers of lanes, refusals, clocks.

use std::collections::HashMap;

use analyzer::transaction::Skew;
use analyzer::{FlowKind, Join, Refusal, Refused, Rule, Transaction, flow_kind};
use collector_table::TraceId;

use super::bars::{Drawing, Stretch};
use crate::colour::Colours;
use crate::format;

/// Digits of a trace's id in a lane's header.
const ID_CHARS: usize = 8;
/// Joins told at one span; a batch may have hundreds.
const JOINS_MAX: usize = 4;
/// Pairs of clocks that are told.
const SKEWS_MAX: usize = 4;

/// Header above the rows of a trace.
pub(super) struct Lane {
    /// `trace 2 of 4`.
    pub(super) number: String,
    pub(super) url: String,
    pub(super) id: String,
    pub(super) class: String,
    /// Root operation of the trace.
    pub(super) service: String,
    pub(super) operation: String,
    /// Whether rows of the trace were above already.
    pub(super) is_return: bool,
    pub(super) joins: Vec<JoinLine>,
    pub(super) joins_left_out: Option<String>,
}

/// One join, at its effect.
pub(super) struct JoinLine {
    /// Rule, key and confidence.
    pub(super) rule: String,
    /// What passed between cause and effect.
    pub(super) wait: Option<String>,
    /// Service and operation of the cause.
    pub(super) cause: String,
    pub(super) gap: Option<Stretch>,
}

/// Makes the headers while rows are drawn in order.
pub(super) struct Lanes<'a> {
    transaction: &'a Transaction,
    drawing: &'a Drawing<'a>,
    joins: HashMap<usize, Vec<&'a Join>>,
    /// First span of each trace.
    firsts: Vec<usize>,
    was_shown: Vec<bool>,
    at: Option<usize>,
}

impl<'a> Lanes<'a> {
    pub(super) fn of(transaction: &'a Transaction, drawing: &'a Drawing<'a>) -> Self {
        let mut joins: HashMap<usize, Vec<&Join>> = HashMap::new();
        for join in &transaction.joins {
            joins.entry(join.to).or_default().push(join);
        }
        let count = transaction.traces.len();
        let mut firsts = vec![usize::MAX; count];
        for index in (0..transaction.spans.len()).rev() {
            if let Some(first) = firsts.get_mut(transaction.trace_number(index)) {
                *first = index;
            }
        }
        Self { transaction, drawing, joins, firsts, was_shown: vec![false; count], at: None }
    }

    /// Returns what stands above the row of a span; nothing within a trace, or where there is one trace only.
    pub(super) fn above(&mut self, index: usize, colours: &mut Colours) -> Option<Lane> {
        let transaction = self.transaction;
        if transaction.traces.len() < 2 {
            return None;
        }
        let number = transaction.trace_number(index);
        let joins = self.joins.get(&index).map(Vec::as_slice).unwrap_or_default();
        let was_at = self.at.replace(number);
        if was_at == Some(number) && joins.is_empty() {
            return None;
        }
        let first = &transaction.spans[*self.firsts.get(number).filter(|first| **first != usize::MAX)?];
        let left_out = joins.len().saturating_sub(JOINS_MAX);
        let trace = transaction.trace_of(index);
        let is_return = std::mem::replace(&mut self.was_shown[number], true) && joins.is_empty();
        Some(Lane {
            number: format!("trace {} of {}", number + 1, transaction.traces.len()),
            url: format!("/api/v1/traces/{trace}"),
            id: short(trace),
            class: colours.class(first.service()),
            service: first.service().to_owned(),
            operation: first.operation().to_owned(),
            is_return,
            joins: joins.iter().take(JOINS_MAX).map(|join| self.line(join)).collect(),
            joins_left_out: (left_out > 0).then(|| format!("and {} more", format::counted(left_out, "join", "joins"))),
        })
    }

    fn line(&self, join: &Join) -> JoinLine {
        let (from, to) = (&self.transaction.spans[join.from], &self.transaction.spans[join.to]);
        let from_ns = from.end_ns.min(to.start_ns).max(from.start_ns);
        let is_after = to.start_ns > from_ns;
        JoinLine {
            rule: format!("{}, {}", rule_words(join), confidence(join)),
            wait: is_after.then(|| wait_words(join, to.start_ns - from_ns)),
            cause: format!("{} {}", from.service(), from.operation()),
            gap: is_after.then(|| self.drawing.stretch(from_ns, to.start_ns)),
        }
    }
}

fn wait_words(join: &Join, wait_ns: i64) -> String {
    let waited = if join.rule.is_of_messages() { "in the queue" } else { "later" };
    format!("{} {waited}", format::nanos(wait_ns))
}

/// Returns the first digits of a trace's id.
pub(super) fn short(trace: TraceId) -> String {
    trace.to_string().chars().take(ID_CHARS).collect()
}

/// Returns by what two traces were joined.
pub(super) fn rule_words(join: &Join) -> String {
    rule_and_key(join.rule, join.key.as_deref())
}

fn rule_and_key(rule: Rule, key: Option<&str>) -> String {
    let key = key.unwrap_or("?");
    match rule {
        Rule::Link => "span link".to_owned(),
        Rule::MessageId => "message id".to_owned(),
        Rule::Offset => "partition and offset of a message".to_owned(),
        Rule::Conversation => "conversation id".to_owned(),
        Rule::NamedKey => format!("named key {key}"),
        Rule::DiscoveredKey => format!("discovered key {key}"),
    }
}

/// Returns how sure a join is, in words.
pub(super) fn confidence(join: &Join) -> String {
    format!("confidence {}", format::share(join.confidence))
}

/// Returns why traces that share something were not joined.
pub(crate) fn refusal_words(why: Refusal) -> &'static str {
    match why {
        Refusal::FanIn => "more traces share the value than one piece of work has",
        Refusal::Time => "too much time lies between them",
        Refusal::Growth => "the transaction would have too many traces or spans",
        Refusal::Recurs => "what began the transaction occurs again under the same value, so the value outlives it",
        Refusal::Contradicted => "what was caused carries another value of a business key than the transaction",
    }
}

/// Returns one line for each kind of join that was refused.
pub(crate) fn refused_words(refused: &Refused) -> String {
    let times = if refused.count > 1 { format!(", {} times", format::count(refused.count)) } else { String::new() };
    format!("{}{times}: {}.", rule_and_key(refused.rule, refused.key.as_deref()), refusal_words(refused.why))
}

/// Returns what kind of flow a transaction is, in words.
pub(super) fn flow_words(transaction: &Transaction) -> &'static str {
    match flow_kind(transaction) {
        FlowKind::RequestResponse => "request and response",
        FlowKind::Orchestrated => "orchestrated: one service calls the others",
        FlowKind::Choreographed => "choreographed: events drive it",
        FlowKind::ScatterGather => "scatter and gather",
        FlowKind::Mixed => "mixed flow",
    }
}

/// Returns which clocks differ, and what was done about it; nothing where none is known to.
pub(super) fn skew_words(transaction: &Transaction) -> Option<String> {
    let told = |skew: &Skew| {
        let (from, to) = (transaction.spans[skew.from].service(), transaction.spans[skew.to].service());
        let direction = if skew.offset_ns >= 0 { "ahead of" } else { "behind" };
        format!("{to} is {} {direction} {from}", format::nanos(skew.offset_ns.saturating_abs()))
    };
    if transaction.skews.is_empty() {
        return None;
    }
    let pairs: Vec<String> = transaction.skews.iter().take(SKEWS_MAX).map(told).collect();
    let left_out = transaction.skews.len().saturating_sub(SKEWS_MAX);
    let more =
        if left_out > 0 { format!(", and {}", format::counted(left_out, "pair", "pairs")) } else { String::new() };
    let done = if transaction.is_skew_corrected {
        "The critical path, own times and gaps are corrected for it; bars lie where their spans say."
    } else {
        "Nothing is corrected for it."
    };
    Some(format!("Clocks differ, as calls between them tell: {}{more}. {done}", pairs.join(", ")))
}
