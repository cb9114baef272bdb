//! What only the simulation knows: which piece of work each span is of, and whose time each piece of work took. Kept by
//! the world while a piece of work goes on; given out, when nothing of it is left, with the next chunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use collector_table::{SpanId, TraceId};

/// The pieces of work that something serves; a batch serves several.
#[derive(Debug, Clone)]
pub(super) enum Works {
    One(u64),
    Many(Arc<[u64]>),
}

impl Works {
    pub(super) fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(work) => std::slice::from_ref(work),
            Self::Many(works) => works,
        }
    }

    /// Returns the first: whose attributes are told.
    pub(super) fn first(&self) -> u64 {
        self.as_slice().first().copied().unwrap_or(0)
    }
}

/// Where the time went that led to this moment: by site, in nanoseconds. What happens next is caused by one chain of
/// work and waiting; each thing that happens inherits the chain of what made it happen.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(Vec<(u32, i64)>);

impl Chain {
    pub(super) fn add(&mut self, site: u32, ns: i64) {
        if ns <= 0 {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == site) {
            Some((_, sum)) => *sum += ns,
            None => self.0.push((site, ns)),
        }
    }

    /// Returns the site with the longest time, its time, and the time of all.
    fn owner(&self) -> Option<(u32, i64, i64)> {
        let total = self.0.iter().map(|(_, ns)| ns).sum();
        self.0.iter().max_by_key(|(_, ns)| *ns).map(|(site, ns)| (*site, *ns, total))
    }
}

/// What is true of a span that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanTruth {
    /// The span.
    pub span: SpanId,
    /// Pieces of work that it serves.
    pub works: Vec<u64>,
    /// What it is an instance of: spans with the same number are of one operation of one service.
    pub site: u32,
}

/// What is true of a piece of work that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkTruth {
    /// Its number.
    pub work: u64,
    /// Trace in which it began.
    pub trace: TraceId,
    /// Site that owns most of the critical path, with its nanoseconds and those of the whole path; none where a batch
    /// made its time the time of others.
    pub owner: Option<(u32, i64, i64)>,
}

#[derive(Debug)]
struct Open {
    trace: TraceId,
    pending: u32,
    ended_ns: i64,
    chain: Chain,
    is_shared: bool,
}

/// Pieces of work that go on, and those that are over and not yet given out.
#[derive(Debug, Default)]
pub(super) struct OpenWorks {
    open: BTreeMap<u64, Open>,
    over: Vec<WorkTruth>,
    begun: u64,
}

impl OpenWorks {
    pub(super) fn begin(&mut self, trace: TraceId) -> Works {
        self.begun += 1;
        let open = Open { trace, pending: 0, ended_ns: i64::MIN, chain: Chain::default(), is_shared: false };
        self.open.insert(self.begun, open);
        Works::One(self.begun)
    }

    /// Notes that something more goes on for the sake of these.
    pub(super) fn hold(&mut self, works: &Works) {
        let slice = works.as_slice();
        for work in slice {
            if let Some(open) = self.open.get_mut(work) {
                open.pending += 1;
                open.is_shared |= slice.len() > 1;
            }
        }
    }

    /// Notes that something of these ended now, after this chain.
    pub(super) fn end(&mut self, works: &Works, now_ns: i64, chain: &Chain) {
        for work in works.as_slice() {
            if let Some(open) = self.open.get_mut(work)
                && now_ns > open.ended_ns
            {
                (open.ended_ns, open.chain) = (now_ns, chain.clone());
            }
        }
    }

    /// Notes that what was held goes on no longer; with the last, a piece of work is over.
    pub(super) fn release(&mut self, works: &Works) {
        for work in works.as_slice() {
            let Some(open) = self.open.get_mut(work) else { continue };
            open.pending = open.pending.saturating_sub(1);
            if open.pending == 0
                && let Some(open) = self.open.remove(work)
            {
                let owner = open.chain.owner().filter(|_| !open.is_shared);
                self.over.push(WorkTruth { work: *work, trace: open.trace, owner });
            }
        }
    }

    /// Returns how many pieces of work go on.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    pub(super) fn take_over(&mut self) -> Vec<WorkTruth> {
        std::mem::take(&mut self.over)
    }
}
