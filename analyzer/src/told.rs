//! What of a transaction was told before: as a transaction of its own, as part of another, or in an earlier revision.
//! Filled by the stitcher and, after a restart, by the daemon; read by what counts, so that nothing is counted twice.

use collector_table::{SpanId, TraceId};

use crate::hash::Set;
use crate::span::Span;
use crate::transaction::{Hop, Transaction};

/// What of a transaction was told before. Nothing, in the usual case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    is_all: bool,
    /// By span; empty when none was.
    pub(crate) spans: Vec<bool>,
    /// By hop, whether its two ends were told as ends of one hop; empty when none were.
    pub(crate) hops: Vec<bool>,
}

impl Told {
    /// Returns that of these spans and their hops those that were there before were told, and not those that came late.
    pub(crate) fn before(before: &[Span], spans: &[Span], hops: &[Hop]) -> Self {
        let known: Set<SpanId> = before.iter().map(|span| span.span_id).collect();
        let spans: Vec<bool> = spans.iter().map(|span| known.contains(&span.span_id)).collect();
        let hops = hops.iter().map(|hop| spans[hop.caller]).collect();
        Self { is_all: false, spans, hops }
    }

    /// Returns whether a span was told before.
    pub(crate) fn span(&self, index: usize) -> bool {
        self.is_all || self.spans.get(index).copied().unwrap_or(false)
    }

    /// Returns whether a hop was told before.
    pub(crate) fn hop(&self, index: usize) -> bool {
        self.is_all || self.hops.get(index).copied().unwrap_or(false)
    }
}

impl Transaction {
    /// States that all of it was told before.
    pub fn set_told(&mut self) {
        self.told.is_all = true;
    }

    /// States that one of its traces was told before.
    pub fn set_part_told(&mut self, part: TraceId) {
        let Some(number) = self.traces.iter().position(|trace| *trace == part) else { return };
        let mut spans = std::mem::take(&mut self.told.spans);
        spans.resize(self.spans.len(), false);
        for (index, is_told) in spans.iter_mut().enumerate() {
            *is_told |= self.trace_number(index) == number;
        }
        self.told.spans = spans;
    }

    /// Returns whether what it says may be new: no part that came too late, nothing taken back, no later revision of which
    /// it is not known what was told of it.
    pub(crate) fn may_tell_more(&self) -> bool {
        let is_known = self.revision > 1 && (self.was_seen || !self.told.spans.is_empty());
        (self.revision == 1 || is_known) && self.superseded_by.is_none() && !self.told.is_all
    }
}
