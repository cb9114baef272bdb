//! Hops of a tree: who called whom, or sent whom a message. Called by `tree` for every transaction.

use collector_table::SpanKind;

use super::tree::{Children, Tree};
use crate::join::Rule;
use crate::span::Span;
use crate::transaction::{Hop, HopKind};

/// Returns the steps between services, and to databases and peers that send no telemetry.
pub(super) fn hops(spans: &[Span], parents: &[Option<usize>], children: &Children, tree: &Tree<'_>) -> Vec<Hop> {
    let mut hops = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        if span.is_outgoing() {
            let is_remote = |&child: &usize| match tree.entered_by(child) {
                Some(rule) => rule.is_of_messages(),
                None => spans[child].is_entry(),
            };
            let remote = children.get(index).iter().copied().filter(is_remote);
            let before = hops.len();
            hops.extend(remote.map(|callee| hop(spans, index, callee, tree.entered_by(callee))));
            if hops.len() == before && children.get(index).is_empty() {
                hops.push(Hop { caller: index, callee: None, kind: peer_kind(span), gap_ns: None });
            }
        } else if let Some(parent) = parents[index] {
            let caller = &spans[parent];
            let entered_by = tree.entered_by(index);
            // A key says that one trace belongs to the other, not that anything passed between these spans.
            let passes = entered_by.map_or(span.is_entry() && !caller.is_same_service(span), Rule::is_of_messages);
            if !caller.is_outgoing() && passes {
                let hop = hop(spans, parent, index, entered_by);
                hops.push(Hop { gap_ns: hop.gap_ns.filter(|_| entered_by.is_some()), ..hop });
            }
        }
    }
    hops
}

fn peer_kind(span: &Span) -> HopKind {
    match span.kind() {
        _ if span.site.is_database => HopKind::Database,
        SpanKind::Producer => HopKind::Message,
        _ => HopKind::Call,
    }
}

fn hop(spans: &[Span], caller: usize, callee: usize, entered_by: Option<Rule>) -> Hop {
    let (from, to) = (&spans[caller], &spans[callee]);
    let is_message = to.kind() == SpanKind::Consumer || from.kind() == SpanKind::Producer || entered_by.is_some();
    let (kind, gap_ns) = if is_message {
        (HopKind::Message, to.start_ns - from.end_ns)
    } else {
        (HopKind::Call, from.duration_ns() - to.duration_ns())
    };
    Hop { caller, callee: Some(callee), kind, gap_ns: Some(gap_ns) }
}
