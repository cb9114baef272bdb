//! Transactions closed a moment ago, which a late span may reopen, and the ids of those that none may reopen any more.
//! Bounded by spans, by time and by ids; the oldest go first.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::TraceId;

use crate::hash::{Map, Set};
use crate::span::Span;

/// Ids remembered of transactions that can no longer be reopened.
const FORGOTTEN_MAX: usize = 200_000;

/// A closed transaction that can be reopened.
#[derive(Debug)]
pub(super) struct Closed {
    /// Shared with the transaction that was given out.
    pub(super) spans: Arc<[Span]>,
    pub(super) duplicates: usize,
    pub(super) revision: u32,
    pub(super) opened_ns: i64,
    pub(super) closed_ns: i64,
}

/// All closed transactions that are still known.
#[derive(Debug, Default)]
pub(super) struct Archive {
    closed: Map<TraceId, Closed>,
    spans: usize,
    order: VecDeque<(i64, TraceId)>,
    /// Ids of transactions that can no longer be reopened, so that a straggling span does not pass for a whole one.
    forgotten: Set<TraceId>,
    forgotten_order: VecDeque<TraceId>,
}

impl Archive {
    pub(super) fn keep(&mut self, id: TraceId, closed: Closed) {
        self.spans += closed.spans.len();
        self.order.push_back((closed.closed_ns, id));
        self.closed.insert(id, closed);
    }

    pub(super) fn take(&mut self, id: TraceId) -> Option<Closed> {
        let closed = self.closed.remove(&id)?;
        self.spans -= closed.spans.len();
        Some(closed)
    }

    /// Lets go of transactions that were closed at or before `until_ns`, and of those beyond `spans_max`.
    pub(super) fn forget(&mut self, until_ns: i64, spans_max: usize) {
        while let Some((closed_ns, id)) = self.order.front().copied() {
            if closed_ns > until_ns && self.spans <= spans_max {
                break;
            }
            self.order.pop_front();
            // It may have been reopened and closed again since; that later entry speaks for it.
            if self.closed.get(&id).is_some_and(|closed| closed.closed_ns == closed_ns) {
                self.take(id);
                self.remember(id);
            }
        }
    }

    /// Remembers an id that nothing may reopen.
    pub(super) fn remember(&mut self, id: TraceId) {
        if self.forgotten.insert(id) {
            self.forgotten_order.push_back(id);
        }
        if self.forgotten_order.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
    }

    pub(super) fn is_forgotten(&self, id: TraceId) -> bool {
        self.forgotten.contains(&id)
    }
}
