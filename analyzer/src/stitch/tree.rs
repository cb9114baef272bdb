//! Spans of one trace as a tree: duplicates left out, cycles broken, orphans kept as further roots.
//! Everything is arrays in depth-first order; nothing recurses. The arrays are kept from one transaction to the next.

use std::cmp::Reverse;
use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId};

use super::answer::Answers;
use super::critical::{PathFinder, critical_path};
use super::hop::hops;
use super::retry::Retries;
use super::skew::Skews;
use crate::hash::fnv;
use crate::join::{Join, Rule};
use crate::span::Span;
use crate::told::Told;
use crate::transaction::{CloseReason, NO_PARENT, Node, Transaction};

/// Children of every span: those of `index` stand in `list[starts[index]..starts[index + 1]]`, by start.
#[derive(Debug, Default)]
pub(super) struct Children {
    starts: Vec<usize>,
    list: Vec<usize>,
    next: Vec<usize>,
}

impl Children {
    fn fill(&mut self, parents: &[Option<usize>]) {
        self.starts.clear();
        self.starts.resize(parents.len() + 1, 0);
        for parent in parents.iter().flatten() {
            self.starts[parent + 1] += 1;
        }
        for index in 1..self.starts.len() {
            self.starts[index] += self.starts[index - 1];
        }
        self.next.clone_from(&self.starts);
        self.list.clear();
        self.list.resize(self.starts[parents.len()], 0);
        for (child, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                self.list[self.next[*parent]] = child;
                self.next[*parent] += 1;
            }
        }
    }

    /// Has the children of each span stand by start again, after times changed.
    fn sort_by_start(&mut self, spans: &[Span]) {
        for index in 1..self.starts.len() {
            self.list[self.starts[index - 1]..self.starts[index]].sort_by_key(|&child| spans[child].start_ns);
        }
    }

    /// Returns the children of a span.
    pub(super) fn get(&self, index: usize) -> &[usize] {
        &self.list[self.starts[index]..self.starts[index + 1]]
    }
}

/// What is known of a trace beside its spans.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) id: TraceId,
    pub(super) revision: u32,
    pub(super) close_reason: CloseReason,
    /// Copies of spans that an earlier revision left out.
    pub(super) duplicates: usize,
}

/// Spans of several traces, by start, with what is known of their tree; indexes are into `spans`.
#[derive(Debug)]
pub(super) struct JoinedSpans {
    pub(super) spans: Vec<Span>,
    pub(super) parents: Vec<Option<usize>>,
    /// Number of each span's trace among `traces`.
    pub(super) numbers: Vec<u32>,
    pub(super) traces: Vec<TraceId>,
    pub(super) joins: Vec<Join>,
    /// By what each span was joined to its parent, if that is in another trace.
    pub(super) entered_by: Vec<Option<Rule>>,
    pub(super) root: usize,
    pub(super) started_ns: i64,
    /// Last end of the spans that are the transaction's own.
    pub(super) ended_ns: i64,
    pub(super) missing_parents: usize,
    pub(super) duplicates: usize,
    pub(super) is_complete: bool,
    /// Whether all spans are the transaction's own.
    pub(super) is_own: bool,
}

/// What is known of a tree beside its spans and their parents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) root: usize,
    pub(super) started_ns: i64,
    pub(super) ended_ns: i64,
    missing_parents: usize,
    duplicates: usize,
    is_complete: bool,
    /// See [`JoinedSpans::entered_by`]; empty when there is one trace.
    pub(super) entered_by: &'a [Option<Rule>],
    /// Answers by message; none when there is one trace.
    pub(super) answers: Option<&'a Answers>,
    /// Whether all spans are the transaction's own.
    is_own: bool,
    /// By span whether it is of the trace in which the transaction began; empty when all are.
    origin_spans: &'a [bool],
}

impl Tree<'_> {
    /// Returns by what a span was joined to its parent, if that is in another trace.
    pub(super) fn entered_by(&self, span: usize) -> Option<Rule> {
        self.entered_by.get(span).copied().flatten()
    }
}

/// Builds trees; holds nothing but room.
#[derive(Debug, Default)]
pub(super) struct Trees {
    by_id: Vec<(SpanId, usize)>,
    parents: Vec<Option<usize>>,
    walk_of: Vec<usize>,
    children: Children,
    /// Old index of each span in depth-first order with its depth, and the way back.
    order: Vec<(usize, u32)>,
    place: Vec<usize>,
    stack: Vec<(usize, u32)>,
    hashes: Vec<u64>,
    below: Vec<u64>,
    retries: Retries,
    skews: Skews,
    corrects_skew: bool,
    path: PathFinder,
}

impl Trees {
    /// Returns room for trees, whose times are corrected where clocks are known to differ, or not.
    pub(super) fn new(corrects_skew: bool) -> Self {
        Self { corrects_skew, ..Self::default() }
    }

    /// Returns whether a root and every stated parent is among the spans.
    pub(super) fn is_whole(&mut self, spans: &[Span]) -> bool {
        self.index_by_id(spans);
        let is_here = |id: SpanId| self.by_id.binary_search_by_key(&id, |(known, _)| *known).is_ok();
        let has_root = spans.iter().any(|span| span.parent_span_id().is_none());
        has_root && spans.iter().all(|span| span.parent_span_id().is_none_or(is_here))
    }

    /// Returns the transaction that the spans of one trace form, or nothing when there are none.
    pub(super) fn transaction(&mut self, mut spans: Vec<Span>, header: Header) -> Option<Transaction> {
        let duplicates = self.sort_without_duplicates(&mut spans);
        let missing_parents = self.find_parents(&spans);
        self.order_depth_first(&mut spans);
        let parents = &self.parents;
        let root = (0..spans.len())
            .filter(|&index| parents[index].is_none())
            .min_by_key(|&index| (spans[index].parent_span_id().is_some(), spans[index].start_ns, index))?;
        let started_ns = spans.iter().map(|span| span.start_ns).min()?;
        let ended_ns = spans.iter().map(|span| span.end_ns).max()?;
        let roots = parents.iter().filter(|parent| parent.is_none()).count();
        let is_complete = roots == 1 && missing_parents == 0 && spans[root].parent_span_id().is_none();
        let tree = Tree {
            root,
            started_ns,
            ended_ns,
            missing_parents,
            duplicates: header.duplicates + duplicates,
            is_complete,
            entered_by: &[],
            answers: None,
            is_own: true,
            origin_spans: &[],
        };
        let mut transaction = self.finish(spans, header, &tree);
        transaction.traces.push(header.id);
        Some(transaction)
    }

    /// Returns the transaction that spans of several traces form, whose parents are known.
    pub(super) fn joined(&mut self, joined: JoinedSpans, header: Header) -> Option<Transaction> {
        let JoinedSpans { mut spans, parents, numbers, traces, mut joins, entered_by, .. } = joined;
        self.parents.clear();
        self.parents.extend(parents);
        self.order_depth_first(&mut spans);
        let mut place = vec![0; spans.len()];
        for (new, &(old, _)) in self.order.iter().enumerate() {
            place[old] = new;
        }
        for join in &mut joins {
            (join.from, join.to) = (place[join.from], place[join.to]);
        }
        joins.sort_by_key(|join| (join.to, join.rule, join.from));
        let entered_by: Vec<Option<Rule>> = self.order.iter().map(|&(old, _)| entered_by[old]).collect();
        let answered = joins.iter().filter(|join| entered_by[join.to].is_none() && join.rule.is_of_messages());
        let answers = Answers::of(answered.map(|join| (join.from, join.to)), &spans, &self.parents);
        let origin_spans: Vec<bool> = self.order.iter().map(|&(old, _)| numbers[old] == 0).collect();
        let trace_numbers = self.order.iter().map(|&(old, _)| numbers[old]).collect();
        let tree = Tree {
            root: place[joined.root],
            started_ns: joined.started_ns,
            ended_ns: joined.ended_ns.max(joined.started_ns),
            missing_parents: joined.missing_parents,
            duplicates: joined.duplicates,
            is_complete: joined.is_complete,
            entered_by: &entered_by,
            answers: Some(&answers),
            is_own: joined.is_own,
            origin_spans: &origin_spans,
        };
        let transaction = self.finish(spans, header, &tree);
        Some(Transaction { traces, trace_numbers, joins, ..transaction })
    }

    /// Works out what follows from the tree; the spans and their parents must be in depth-first order.
    fn finish(&mut self, spans: Vec<Span>, header: Header, tree: &Tree<'_>) -> Transaction {
        self.retries.fill(&spans, &self.children);
        let mut hops_found = hops(&spans, &self.parents, &self.children, tree, &self.retries);
        let skews = self.skews.learn(&spans, &hops_found);
        let mut tree = *tree;
        let mut corrected = None;
        if self.corrects_skew && tree.is_own {
            corrected = self.skews.corrected(&spans, &self.parents, &skews);
        }
        if let Some(spans) = &corrected {
            self.children.sort_by_start(spans);
            hops_found = hops(spans, &self.parents, &self.children, &tree, &self.retries);
            (tree.started_ns, tree.ended_ns) = times_ns(spans, tree.origin_spans);
        }
        let timed: &[Span] = corrected.as_deref().unwrap_or(&spans);
        let (parents, children) = (&self.parents, &self.children);
        Transaction {
            id: header.id,
            revision: header.revision,
            nodes: (0..spans.len()).map(|index| self.node(timed, index)).collect(),
            critical_path: critical_path(&mut self.path, timed, parents, children, &tree, &self.retries),
            hops: hops_found,
            is_skew_corrected: corrected.is_some(),
            skews,
            is_complete: tree.is_complete,
            clock_skew_ns: clock_skew_ns(&spans, parents),
            path_id: self.path_id(&spans, tree.root),
            duration_ns: tree.ended_ns - tree.started_ns,
            started_ns: tree.started_ns,
            spans: Arc::from(spans),
            root: tree.root,
            missing_parents: tree.missing_parents,
            duplicates: tree.duplicates,
            close_reason: header.close_reason,
            traces: Vec::new(),
            trace_numbers: Vec::new(),
            joins: Vec::new(),
            refused: Vec::new(),
            superseded_by: None,
            completeness: None,
            saga: None,
            was_seen: false,
            told: Told::default(),
        }
    }

    fn index_by_id(&mut self, spans: &[Span]) {
        self.by_id.clear();
        self.by_id.extend(spans.iter().enumerate().map(|(index, span)| (span.span_id, index)));
        self.by_id.sort_unstable();
    }

    /// Sorts by start and keeps, of the copies of a span, the one that lasts longest; leaves the spans indexed by id.
    fn sort_without_duplicates(&mut self, spans: &mut Vec<Span>) -> usize {
        let before = spans.len();
        self.index_by_id(spans);
        if self.by_id.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            spans.sort_by_key(|span| (span.span_id, Reverse(span.duration_ns())));
            spans.dedup_by_key(|span| span.span_id);
        }
        spans.sort_unstable_by_key(|span| (span.start_ns, Reverse(span.end_ns), span.span_id));
        self.index_by_id(spans);
        before - spans.len()
    }

    /// Finds each span's parent by index; returns how many stated parents are not there. Cycles are broken at the span
    /// of the cycle that started first, which becomes a root.
    fn find_parents(&mut self, spans: &[Span]) -> usize {
        let mut missing = 0;
        self.parents.clear();
        for (index, span) in spans.iter().enumerate() {
            let parent = span.parent_span_id().and_then(|id| {
                let at = self.by_id.binary_search_by_key(&id, |(known, _)| *known);
                missing += usize::from(at.is_err());
                at.ok().map(|at| self.by_id[at].1)
            });
            self.parents.push(parent.filter(|&parent| parent != index));
        }
        const UNSEEN: usize = usize::MAX;
        self.walk_of.clear();
        self.walk_of.resize(spans.len(), UNSEEN);
        for start in 0..spans.len() {
            let mut at = start;
            while self.walk_of[at] == UNSEEN {
                self.walk_of[at] = start;
                match self.parents[at] {
                    Some(parent) => at = parent,
                    None => break,
                }
            }
            if self.walk_of[at] == start && self.parents[at].is_some() {
                cut_cycle(&mut self.parents, at);
            }
        }
        missing
    }

    /// Reorders spans so that every parent stands before its children and siblings stand by start.
    fn order_depth_first(&mut self, spans: &mut [Span]) {
        self.children.fill(&self.parents);
        self.order.clear();
        self.place.clear();
        self.place.resize(spans.len(), 0);
        for root in (0..spans.len()).filter(|&index| self.parents[index].is_none()) {
            self.stack.push((root, 0));
            while let Some((index, depth)) = self.stack.pop() {
                self.place[index] = self.order.len();
                self.order.push((index, depth));
                self.stack.extend(self.children.get(index).iter().rev().map(|&child| (child, depth + 1)));
            }
        }
        // The room of the walk, which is over, holds the parents in their new order.
        self.walk_of.clear();
        let moved = |parent: Option<usize>| parent.map_or(usize::MAX, |parent| self.place[parent]);
        self.walk_of.extend(self.order.iter().map(|&(old, _)| moved(self.parents[old])));
        for (parent, &new) in self.parents.iter_mut().zip(&self.walk_of) {
            *parent = (new != usize::MAX).then_some(new);
        }
        for index in 0..spans.len() {
            while self.place[index] != index {
                let to = self.place[index];
                spans.swap(index, to);
                self.place.swap(index, to);
            }
        }
        self.children.fill(&self.parents);
    }

    fn node(&self, spans: &[Span], index: usize) -> Node {
        let parent = self.parents[index].and_then(|parent| u32::try_from(parent).ok());
        Node {
            parent: parent.unwrap_or(NO_PARENT),
            depth: self.order[index].1,
            self_ns: self_time_ns(spans, &self.children, index),
        }
    }

    /// Hashes the shape of the tree: which operations call which, repeated siblings folded, order left out.
    fn path_id(&mut self, spans: &[Span], root: usize) -> u64 {
        self.hashes.clear();
        self.hashes.resize(spans.len(), 0);
        for index in (0..spans.len()).rev() {
            self.below.clear();
            self.below.extend(self.children.get(index).iter().map(|&child| self.hashes[child]));
            self.below.sort_unstable();
            self.below.dedup();
            let shape = spans[index].site.shape;
            self.hashes[index] = self.below.iter().fold(shape, |hash, child| fnv(hash, &child.to_le_bytes()));
        }
        self.hashes[root]
    }
}

/// Returns the first start of the trace in which the transaction began, and the last end of all.
fn times_ns(spans: &[Span], origin_spans: &[bool]) -> (i64, i64) {
    let is_origin = |index: usize| origin_spans.get(index).copied().unwrap_or(true);
    let starts = spans.iter().enumerate().filter(|(index, _)| is_origin(*index)).map(|(_, span)| span.start_ns);
    let started_ns = starts.min().unwrap_or(0);
    (started_ns, spans.iter().map(|span| span.end_ns).max().unwrap_or(started_ns).max(started_ns))
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

/// Returns the largest amount by which a callee's span leaves its caller's span although the call is synchronous.
fn clock_skew_ns(spans: &[Span], parents: &[Option<usize>]) -> i64 {
    let outside = |index: usize, parent: usize| {
        let (child, caller) = (&spans[index], &spans[parent]);
        let is_call = caller.kind() == SpanKind::Client && child.kind() == SpanKind::Server;
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
