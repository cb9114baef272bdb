//! Hops of a tree: who called whom, or sent whom a message. Called by `tree` for every transaction.

use collector_table::SpanKind;

use super::retry::Retries;
use super::tree::{Children, Tree};
use crate::hash::Map;
use crate::join::Rule;
use crate::span::Span;
use crate::transaction::{Attempt, Hop, HopKind};

/// Returns the steps between services, and to databases and peers that send no telemetry.
/// Attempts of one logical call are one hop.
pub(super) fn hops(
    spans: &[Span],
    parents: &[Option<usize>],
    children: &Children,
    tree: &Tree<'_>,
    retries: &Retries,
) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    let mut earlier: Map<usize, Vec<Attempt>> = Map::default();
    for (index, span) in spans.iter().enumerate() {
        if span.is_outgoing() {
            let is_remote = |&child: &usize| match tree.entered_by(child) {
                Some(rule) => rule.is_of_messages() || is_call(span, &spans[child]),
                None => spans[child].is_entry(),
            };
            let is_own = |&child: &usize| tree.entered_by(child).is_none();
            let remote = children.get(index).iter().copied().filter(is_remote);
            let before = hops.len();
            hops.extend(remote.map(|callee| hop(spans, index, callee, tree.entered_by(callee))));
            if hops.len() == before && !children.get(index).iter().any(is_own) {
                hops.push(Hop {
                    caller: index,
                    callee: None,
                    kind: peer_kind(span),
                    gap_ns: None,
                    earlier: Vec::new(),
                });
            }
            group_attempts(&mut hops, before, &mut earlier, index, retries);
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
    pair_by_queue(&mut hops, spans, tree);
    hops
}

/// Pairs messages with those who take them, where a key alone says that they belong together: who takes names the queue to
/// which one message was sent. Where several were, nothing tells which it was.
fn pair_by_queue(hops: &mut Vec<Hop>, spans: &[Span], tree: &Tree<'_>) {
    if tree.entered_by.is_empty() {
        return;
    }
    let is_by_key = |rule: Rule| !rule.is_of_messages();
    for (taker, span) in spans.iter().enumerate() {
        let queue = span.site.target.as_ref().filter(|_| span.kind() == SpanKind::Consumer);
        let Some(queue) = queue.filter(|_| tree.entered_by(taker).is_some_and(is_by_key)) else { continue };
        let is_sent = |hop: &&Hop| {
            let sender = &spans[hop.caller];
            sender.kind() == SpanKind::Producer && sender.site.target.as_ref() == Some(queue)
        };
        let mut senders = hops.iter().filter(is_sent).map(|hop| hop.caller);
        let Some(sender) = senders.next().filter(|first| senders.all(|other| other == *first)) else { continue };
        let paired = hop(spans, sender, taker, tree.entered_by(taker));
        match hops.iter_mut().find(|hop| hop.caller == sender && hop.callee.is_none()) {
            Some(alone) => *alone = paired,
            None => hops.push(paired),
        }
    }
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
    Hop { caller, callee: Some(callee), kind, gap_ns: Some(gap_ns), earlier: Vec::new() }
}

/// Returns whether a trace that only a key joins to a client's call is what that call called: it ran meanwhile.
fn is_call(caller: &Span, callee: &Span) -> bool {
    let is_within = caller.start_ns <= callee.start_ns && callee.end_ns <= caller.end_ns;
    caller.kind() == SpanKind::Client && callee.kind() == SpanKind::Server && is_within
}

/// Takes the hops of a span that was tried again out, and hands them to the hop of the attempt that follows it.
fn group_attempts(
    hops: &mut Vec<Hop>,
    from: usize,
    earlier: &mut Map<usize, Vec<Attempt>>,
    caller: usize,
    retries: &Retries,
) {
    let known = retries.before(caller).and_then(|before| earlier.remove(&before));
    if retries.is_repeated(caller) {
        let mut attempts = known.unwrap_or_default();
        let first = hops.drain(from..).next();
        let (callee, gap_ns) = first.map_or((None, None), |hop| (hop.callee, hop.gap_ns));
        attempts.push(Attempt { caller, callee, gap_ns });
        earlier.insert(caller, attempts);
    } else if let (Some(known), Some(last)) = (known, hops.get_mut(from)) {
        last.earlier = known;
    }
}
