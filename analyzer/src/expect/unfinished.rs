//! Transactions that were given out without their root: what would be the end of them has not come. Kept by
//! `Expectations` for lists of what is stuck; bounded by number and time.

use std::collections::VecDeque;
use std::sync::Arc;

use collector_table::TraceId;

use crate::hash::Map;
use crate::span::{Site, Span};
use crate::transaction::Transaction;

/// Transactions remembered.
const UNFINISHED_MAX: usize = 200;
/// Time for which they are.
const UNFINISHED_NS: i64 = 900_000_000_000;

/// A transaction that was given out without its root.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    pub(crate) id: TraceId,
    /// That of the only type of which its stages are known to be.
    pub(crate) root: Arc<Site>,
    pub(crate) started_ns: i64,
    pub(crate) spans: usize,
    given_ns: i64,
}

/// Which type an operation is part of, and transactions that lack their root.
#[derive(Debug, Default)]
pub(super) struct Unfinisheds {
    /// By operation the root of the only type in which it was seen; none when there are several.
    types: Map<u64, Option<Arc<Site>>>,
    list: VecDeque<Unfinished>,
}

impl Unfinisheds {
    /// Notes that an operation is part of a type.
    pub(super) fn note(&mut self, operation: u64, root: &Arc<Site>) {
        let known = self.types.entry(operation).or_insert_with(|| Some(root.clone()));
        if known.as_ref().is_some_and(|known| known.shape != root.shape) {
            *known = None;
        }
    }

    /// Returns the root of the type that spans are of, if all that is known of them says the same.
    pub(super) fn type_of(&self, spans: &[Span]) -> Option<Arc<Site>> {
        const SPANS_MAX: usize = 100;
        let mut found: Option<&Arc<Site>> = None;
        for span in spans.iter().take(SPANS_MAX) {
            let Some(Some(root)) = self.types.get(&span.site.shape) else { continue };
            if found.is_some_and(|found| found.shape != root.shape) {
                return None;
            }
            found = Some(root);
        }
        found.cloned()
    }

    /// Remembers a transaction if it lacks its root, and its type is known.
    pub(super) fn take(&mut self, transaction: &Transaction, now_ns: i64) {
        if transaction.root_span().parent_span_id().is_none() || transaction.revision == 0 {
            return;
        }
        let Some(root) = self.type_of(&transaction.spans) else { return };
        if self.list.len() >= UNFINISHED_MAX {
            self.list.pop_front();
        }
        let (id, started_ns, spans) = (transaction.id, transaction.started_ns, transaction.spans.len());
        self.list.push_back(Unfinished { id, root, started_ns, spans, given_ns: now_ns });
    }

    /// Forgets a transaction, because more of it is here.
    pub(super) fn remove(&mut self, id: TraceId) {
        self.list.retain(|one| one.id != id);
    }

    pub(super) fn forget(&mut self, now_ns: i64) {
        let is_old = |one: &Unfinished| now_ns.saturating_sub(one.given_ns) > UNFINISHED_NS;
        while self.list.front().is_some_and(is_old) {
            self.list.pop_front();
        }
    }

    pub(super) fn list(&self) -> impl Iterator<Item = &Unfinished> {
        self.list.iter()
    }
}
