//! Spans of one trace as a tree: duplicates left out, cycles broken, orphans kept as further roots.
//! Everything is arrays in depth-first order; nothing recurses.

use std::collections::HashMap;

use collector_table::{SpanId, SpanKind};

use super::critical::critical_path;
use crate::transaction::{CloseReason, Hop, HopKind, Span, Transaction};

/// Children of every span: those of `index` stand in `list[starts[index]..starts[index + 1]]`, by start.
pub(super) struct Children {
    starts: Vec<usize>,
    list: Vec<usize>,
}

impl Children {
    fn of(parents: &[Option<usize>]) -> Self {
        let mut starts = vec![0; parents.len() + 1];
        for parent in parents.iter().flatten() {
            starts[parent + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut list = vec![0; starts[parents.len()]];
        for (child, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                list[next[*parent]] = child;
                next[*parent] += 1;
            }
        }
        Self { starts, list }
    }

    /// Returns the children of a span.
    pub(super) fn get(&self, index: usize) -> &[usize] {
        &self.list[self.starts[index]..self.starts[index + 1]]
    }
}

/// Returns the transaction that the spans of one trace form, or nothing when there are none.
pub(super) fn transaction(mut spans: Vec<Span>, revision: u32, close_reason: CloseReason) -> Option<Transaction> {
    let duplicates = remove_duplicates(&mut spans);
    let (parents, missing_parents) = parents_of(&spans);
    let (spans, parents, depths) = depth_first(spans, &parents);
    let root = (0..spans.len())
        .filter(|&index| parents[index].is_none())
        .min_by_key(|&index| (spans[index].parent_span_id.is_some(), spans[index].start_ns, index))?;
    let children = Children::of(&parents);
    let started_ns = spans.iter().map(|span| span.start_ns).min()?;
    let ended_ns = spans.iter().map(|span| span.end_ns).max()?;
    let roots = parents.iter().filter(|parent| parent.is_none()).count();
    Some(Transaction {
        id: spans[root].trace_id,
        revision,
        self_ns: (0..spans.len()).map(|index| self_time_ns(&spans, &children, index)).collect(),
        critical_path: critical_path(&spans, &parents, &children, root),
        hops: hops(&spans, &parents, &children),
        is_complete: roots == 1 && missing_parents == 0 && spans[root].parent_span_id.is_none(),
        clock_skew_ns: clock_skew_ns(&spans, &parents),
        path_id: path_id(&spans, &children, root),
        duration_ns: ended_ns - started_ns,
        started_ns,
        spans,
        parents,
        depths,
        root,
        missing_parents,
        duplicates,
        close_reason,
    })
}

/// Sorts by start and keeps, of the copies of a span, the one that lasts longest.
fn remove_duplicates(spans: &mut Vec<Span>) -> usize {
    let before = spans.len();
    spans.sort_by_key(|span| (span.span_id, std::cmp::Reverse(span.duration_ns())));
    spans.dedup_by_key(|span| span.span_id);
    spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns), span.span_id));
    before - spans.len()
}

/// Returns each span's parent by index, and how many stated parents are not there. Cycles are broken at the span
/// of the cycle that started first, which becomes a root.
fn parents_of(spans: &[Span]) -> (Vec<Option<usize>>, usize) {
    let by_id: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(index, span)| (span.span_id, index)).collect();
    let mut missing = 0;
    let mut parents: Vec<Option<usize>> = Vec::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        let parent = span.parent_span_id.map(|id| by_id.get(&id).copied());
        missing += usize::from(parent == Some(None));
        parents.push(parent.flatten().filter(|&parent| parent != index));
    }
    const UNSEEN: usize = usize::MAX;
    let mut walk_of = vec![UNSEEN; spans.len()];
    for start in 0..spans.len() {
        let mut at = start;
        while walk_of[at] == UNSEEN {
            walk_of[at] = start;
            match parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if walk_of[at] == start && parents[at].is_some() {
            cut_cycle(&mut parents, at);
        }
    }
    (parents, missing)
}

/// Cuts the cycle that `member` is on, if it is on one, above its first span.
fn cut_cycle(parents: &mut [Option<usize>], member: usize) {
    let mut first = member;
    let mut at = member;
    loop {
        match parents[at] {
            Some(parent) => at = parent,
            None => return,
        }
        first = first.min(at);
        if at == member {
            parents[first] = None;
            return;
        }
    }
}

/// Reorders spans so that every parent stands before its children and siblings stand by start.
fn depth_first(spans: Vec<Span>, parents: &[Option<usize>]) -> (Vec<Span>, Vec<Option<usize>>, Vec<u32>) {
    let children = Children::of(parents);
    let mut order = Vec::with_capacity(spans.len());
    let mut new_index = vec![0; spans.len()];
    let mut depths = Vec::with_capacity(spans.len());
    let mut stack: Vec<(usize, u32)> = Vec::new();
    for root in (0..spans.len()).filter(|&index| parents[index].is_none()) {
        stack.push((root, 0));
        while let Some((index, depth)) = stack.pop() {
            new_index[index] = order.len();
            order.push(index);
            depths.push(depth);
            stack.extend(children.get(index).iter().rev().map(|&child| (child, depth + 1)));
        }
    }
    let mut slots: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    let spans = order.iter().map(|&old| slots[old].take().expect("the order names every span once")).collect();
    let parents = order.iter().map(|&old| parents[old].map(|parent| new_index[parent])).collect();
    (spans, parents, depths)
}

/// Returns the nanoseconds of a span that the union of its children's intervals leaves.
fn self_time_ns(spans: &[Span], children: &Children, index: usize) -> i64 {
    let span = &spans[index];
    let mut covered = 0;
    let mut until = span.start_ns;
    for &child in children.get(index) {
        let from = spans[child].start_ns.max(until);
        let to = spans[child].end_ns.min(span.end_ns);
        if to > from {
            covered += to - from;
            until = to;
        }
    }
    span.duration_ns() - covered
}

fn hops(spans: &[Span], parents: &[Option<usize>], children: &Children) -> Vec<Hop> {
    let mut hops = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let is_outgoing = matches!(span.kind, SpanKind::Client | SpanKind::Producer);
        if is_outgoing {
            let remote = children.get(index).iter().copied().filter(|&child| is_entry(&spans[child]));
            let before = hops.len();
            hops.extend(remote.map(|callee| hop(spans, index, callee)));
            if hops.len() == before && children.get(index).is_empty() {
                hops.push(Hop { caller: index, callee: None, kind: peer_kind(span), gap_ns: None });
            }
        } else if let Some(parent) = parents[index] {
            let caller_sends = matches!(spans[parent].kind, SpanKind::Client | SpanKind::Producer);
            if !caller_sends && is_entry(span) && spans[parent].service != span.service {
                hops.push(Hop { gap_ns: None, ..hop(spans, parent, index) });
            }
        }
    }
    hops
}

pub(crate) fn is_entry(span: &Span) -> bool {
    matches!(span.kind, SpanKind::Server | SpanKind::Consumer)
}

fn peer_kind(span: &Span) -> HopKind {
    match span.kind {
        _ if span.is_database => HopKind::Database,
        SpanKind::Producer => HopKind::Message,
        _ => HopKind::Call,
    }
}

fn hop(spans: &[Span], caller: usize, callee: usize) -> Hop {
    let (from, to) = (&spans[caller], &spans[callee]);
    let is_message = to.kind == SpanKind::Consumer || from.kind == SpanKind::Producer;
    let (kind, gap_ns) = if is_message {
        (HopKind::Message, to.start_ns - from.end_ns)
    } else {
        (HopKind::Call, from.duration_ns() - to.duration_ns())
    };
    Hop { caller, callee: Some(callee), kind, gap_ns: Some(gap_ns) }
}

/// Returns the largest amount by which a callee's span leaves its caller's span although the call is synchronous.
fn clock_skew_ns(spans: &[Span], parents: &[Option<usize>]) -> i64 {
    let outside = |index: usize, parent: usize| {
        let (child, caller) = (&spans[index], &spans[parent]);
        let is_call = caller.kind == SpanKind::Client && child.kind == SpanKind::Server;
        let early = caller.start_ns - child.start_ns;
        // A callee that outlives its caller by itself may only have been given up on; one that is moved as a whole
        // runs on another clock.
        if is_call && early > 0 { early } else { 0 }
    };
    parents
        .iter()
        .enumerate()
        .filter_map(|(index, parent)| parent.map(|parent| outside(index, parent)))
        .max()
        .unwrap_or(0)
}

/// Hashes the shape of the tree: which operations call which, repeated siblings folded, order left out.
/// FNV-1a, 64 bit, so that the id is the same in every build (draft-eastlake-fnv).
fn path_id(spans: &[Span], children: &Children, root: usize) -> u64 {
    let mut hashes = vec![0u64; spans.len()];
    for index in (0..spans.len()).rev() {
        let mut below: Vec<u64> = children.get(index).iter().map(|&child| hashes[child]).collect();
        below.sort_unstable();
        below.dedup();
        let mut hash = fnv(0xcbf2_9ce4_8422_2325, spans[index].service.as_bytes());
        hash = fnv(hash, &[0]);
        hash = fnv(hash, spans[index].operation.as_bytes());
        for child in below {
            hash = fnv(hash, &child.to_le_bytes());
        }
        hashes[index] = hash;
    }
    hashes[root]
}

fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
