//! Transactions that still wait for spans, and those closed a moment ago that a late span may reopen.
//! Every way to stop waiting has a name ([`CloseReason`]); every bound is a field of [`StitcherLimits`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use collector_table::{SpanId, SpanTable, TraceId};

use super::read::{self, Interner};
use super::tree;
use crate::transaction::{CloseReason, Span, Transaction};

const SECOND_NS: i64 = 1_000_000_000;

/// Bounds and waits of stitching. Times are nanoseconds of arrival, not of event time.
#[derive(Debug, Clone)]
pub struct StitcherLimits {
    /// Quiet time after which a transaction with a root and all parents is closed. Exporters send every five
    /// seconds by default, each process at its own moment.
    pub settle_ns: i64,
    /// Quiet time after which a transaction that lacks something is closed.
    pub idle_ns: i64,
    /// Longest time that a transaction stays open.
    pub age_max_ns: i64,
    /// Time for which a closed transaction can be reopened.
    pub reopen_ns: i64,
    /// Spans of one transaction; at the bound it is closed, and what follows is a part of its own.
    pub spans_per_transaction_max: usize,
    /// Open transactions; at the bound those that waited longest are closed.
    pub open_transactions_max: usize,
    /// Spans of all open transactions; at the bound those that waited longest are closed.
    pub open_spans_max: usize,
    /// Spans kept of closed transactions; at the bound the oldest can no longer be reopened.
    pub closed_spans_max: usize,
}

impl Default for StitcherLimits {
    fn default() -> Self {
        Self {
            settle_ns: 6 * SECOND_NS,
            idle_ns: 20 * SECOND_NS,
            age_max_ns: 600 * SECOND_NS,
            reopen_ns: 60 * SECOND_NS,
            spans_per_transaction_max: 20_000,
            open_transactions_max: 100_000,
            open_spans_max: 500_000,
            closed_spans_max: 300_000,
        }
    }
}

/// What stitching counted since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StitcherStats {
    /// Spans taken in.
    pub spans: u64,
    /// Transactions closed, later revisions included.
    pub closed: u64,
    /// Transactions reopened by late spans.
    pub reopened: u64,
    /// Spans that came after their transaction could be reopened; they form a transaction of revision 0.
    pub too_late: u64,
    /// Transactions closed at a bound: spans of one, age, and spans of all.
    pub at_span_limit: u64,
    /// See `at_span_limit`.
    pub at_age_limit: u64,
    /// See `at_span_limit`.
    pub evicted: u64,
}

/// A transaction that still waits for spans, for lists.
#[derive(Debug, Clone)]
pub struct OpenTransaction {
    /// Trace id.
    pub id: TraceId,
    /// Service and operation of the first span by start.
    pub service: String,
    /// See `service`.
    pub operation: String,
    /// Unix nanoseconds of the first start.
    pub started_ns: i64,
    /// Nanoseconds to the last end so far.
    pub duration_ns: i64,
    /// Spans so far.
    pub spans: usize,
}

struct Open {
    spans: Vec<Span>,
    revision: u32,
    opened_ns: i64,
    arrived_ns: i64,
}

struct Closed {
    spans: Vec<Span>,
    revision: u32,
    opened_ns: i64,
    closed_ns: i64,
}

/// Collects spans and gives transactions.
pub struct Stitcher {
    limits: StitcherLimits,
    interner: Interner,
    open: HashMap<TraceId, Open>,
    open_spans: usize,
    /// When to look at an open transaction next.
    wake: BinaryHeap<Reverse<(i64, TraceId)>>,
    closed: HashMap<TraceId, Closed>,
    closed_spans: usize,
    closed_order: VecDeque<(i64, TraceId)>,
    /// Ids of transactions that can no longer be reopened, so that a straggling span does not pass for a whole one.
    forgotten: HashSet<TraceId>,
    forgotten_order: VecDeque<TraceId>,
    stats: StitcherStats,
}

/// Revisions of one transaction; spans that come later form a late part.
const REVISIONS_MAX: u32 = 8;
/// Ids remembered of transactions that can no longer be reopened.
const FORGOTTEN_MAX: usize = 200_000;

impl Stitcher {
    /// Returns a stitcher that holds nothing.
    pub fn new(limits: StitcherLimits) -> Self {
        Self {
            limits,
            interner: Interner::default(),
            open: HashMap::new(),
            open_spans: 0,
            wake: BinaryHeap::new(),
            closed: HashMap::new(),
            closed_spans: 0,
            closed_order: VecDeque::new(),
            forgotten: HashSet::new(),
            forgotten_order: VecDeque::new(),
            stats: StitcherStats::default(),
        }
    }

    /// Takes in spans that arrived at `now_ns`; returns what had to be closed at a bound.
    pub fn push(&mut self, table: &SpanTable, now_ns: i64) -> Vec<Transaction> {
        let mut done = Vec::new();
        for row in table.rows() {
            let span = read::span(&row, &mut self.interner);
            self.push_span(span, now_ns, &mut done);
        }
        done
    }

    fn push_span(&mut self, span: Span, now_ns: i64, done: &mut Vec<Transaction>) {
        let id = span.trace_id;
        self.stats.spans += 1;
        if !self.open.contains_key(&id) {
            let open = self.reopen(id, now_ns);
            self.open_spans += open.spans.len();
            self.open.insert(id, open);
            self.wake.push(Reverse((now_ns.saturating_add(self.limits.settle_ns), id)));
        }
        let open = self.open.get_mut(&id).expect("it was inserted above");
        open.spans.push(span);
        open.arrived_ns = now_ns;
        self.open_spans += 1;
        if open.spans.len() >= self.limits.spans_per_transaction_max {
            self.stats.at_span_limit += 1;
            done.extend(self.close(id, CloseReason::SpanLimit, now_ns));
        }
        while self.open_spans > self.limits.open_spans_max || self.open.len() > self.limits.open_transactions_max {
            let Some(Reverse((_, oldest))) = self.wake.pop() else { break };
            if self.open.contains_key(&oldest) {
                self.stats.evicted += 1;
                done.extend(self.close(oldest, CloseReason::Evicted, now_ns));
            }
        }
    }

    /// Returns the closed transaction with this id, opened again, or a new one.
    fn reopen(&mut self, id: TraceId, now_ns: i64) -> Open {
        if let Some(closed) = self.closed.remove(&id) {
            self.closed_spans -= closed.spans.len();
            self.stats.reopened += 1;
            let Closed { spans, revision, opened_ns, .. } = closed;
            return Open { spans, revision, opened_ns, arrived_ns: now_ns };
        }
        self.stats.too_late += u64::from(self.forgotten.contains(&id));
        Open { spans: Vec::new(), revision: 0, opened_ns: now_ns, arrived_ns: now_ns }
    }

    /// Closes what has waited long enough at `now_ns`.
    pub fn advance(&mut self, now_ns: i64) -> Vec<Transaction> {
        let mut done = Vec::new();
        while let Some(Reverse((at, id))) = self.wake.peek().copied() {
            if at > now_ns {
                break;
            }
            self.wake.pop();
            match self.due(id, now_ns) {
                Due::Gone => {}
                Due::Later(at) => self.wake.push(Reverse((at, id))),
                Due::Now(reason) => done.extend(self.close(id, reason, now_ns)),
            }
        }
        self.forget(now_ns);
        done
    }

    fn due(&mut self, id: TraceId, now_ns: i64) -> Due {
        let Some(open) = self.open.get(&id) else { return Due::Gone };
        if now_ns - open.opened_ns >= self.limits.age_max_ns {
            self.stats.at_age_limit += 1;
            return Due::Now(CloseReason::AgeLimit);
        }
        let settled_at = open.arrived_ns.saturating_add(self.limits.settle_ns);
        if settled_at > now_ns {
            return Due::Later(settled_at.min(open.opened_ns.saturating_add(self.limits.age_max_ns)));
        }
        if has_all_parents(&open.spans) {
            return Due::Now(CloseReason::Settled);
        }
        let idle_at = open.arrived_ns.saturating_add(self.limits.idle_ns);
        if idle_at > now_ns { Due::Later(idle_at) } else { Due::Now(CloseReason::Idle) }
    }

    /// Closes all that is open: the input ended.
    pub fn finish(&mut self, now_ns: i64) -> Vec<Transaction> {
        let mut ids: Vec<TraceId> = self.open.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.close(id, CloseReason::EndOfInput, now_ns)).collect()
    }

    fn close(&mut self, id: TraceId, reason: CloseReason, now_ns: i64) -> Option<Transaction> {
        let open = self.open.remove(&id)?;
        self.open_spans -= open.spans.len();
        self.stats.closed += 1;
        // A part that came too late keeps revision 0, below that of the whole.
        let is_late_part = open.revision == 0 && self.forgotten.contains(&id);
        let revision = if is_late_part { 0 } else { open.revision + 1 };
        // A trace that trickles on would be written again, whole, for ever.
        if matches!(reason, CloseReason::SpanLimit | CloseReason::AgeLimit) || revision >= REVISIONS_MAX {
            self.remember(id);
        } else {
            self.closed_spans += open.spans.len();
            self.closed.insert(
                id,
                Closed { spans: open.spans.clone(), revision, opened_ns: open.opened_ns, closed_ns: now_ns },
            );
            self.closed_order.push_back((now_ns, id));
        }
        tree::transaction(open.spans, revision, reason)
    }

    /// Lets go of closed transactions that are too old or too many.
    fn forget(&mut self, now_ns: i64) {
        while let Some((closed_ns, id)) = self.closed_order.front().copied() {
            let is_over = self.closed_spans > self.limits.closed_spans_max;
            if closed_ns.saturating_add(self.limits.reopen_ns) > now_ns && !is_over {
                break;
            }
            self.closed_order.pop_front();
            // It may have been reopened and closed again since; that later entry speaks for it.
            if self.closed.get(&id).is_some_and(|closed| closed.closed_ns == closed_ns)
                && let Some(closed) = self.closed.remove(&id)
            {
                self.closed_spans -= closed.spans.len();
                self.remember(id);
            }
        }
    }

    fn remember(&mut self, id: TraceId) {
        if self.forgotten.insert(id) {
            self.forgotten_order.push_back(id);
        }
        if self.forgotten_order.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
    }

    /// Returns what was counted.
    pub fn stats(&self) -> StitcherStats {
        self.stats
    }

    /// Returns how many transactions wait for spans.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Returns the open transactions that a span reached last, at most `max` of them.
    pub fn open_transactions(&self, max: usize) -> Vec<OpenTransaction> {
        let mut newest: Vec<(&TraceId, &Open)> = self.open.iter().collect();
        let order = |(id, open): &(&TraceId, &Open)| (Reverse(open.arrived_ns), **id);
        if newest.len() > max && max > 0 {
            newest.select_nth_unstable_by_key(max - 1, order);
            newest.truncate(max);
        }
        newest.sort_by_key(order);
        newest.into_iter().filter_map(|(id, open)| open_transaction(*id, &open.spans)).collect()
    }
}

enum Due {
    Gone,
    Later(i64),
    Now(CloseReason),
}

fn has_all_parents(spans: &[Span]) -> bool {
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let has_root = spans.iter().any(|span| span.parent_span_id.is_none());
    has_root && spans.iter().all(|span| span.parent_span_id.is_none_or(|parent| ids.contains(&parent)))
}

fn open_transaction(id: TraceId, spans: &[Span]) -> Option<OpenTransaction> {
    let first = spans.iter().min_by_key(|span| (span.parent_span_id.is_some(), span.start_ns))?;
    let started_ns = spans.iter().map(|span| span.start_ns).min()?;
    let ended_ns = spans.iter().map(|span| span.end_ns).max()?;
    Some(OpenTransaction {
        id,
        service: first.service.to_string(),
        operation: first.operation.to_string(),
        started_ns,
        duration_ns: ended_ns - started_ns,
        spans: spans.len(),
    })
}
