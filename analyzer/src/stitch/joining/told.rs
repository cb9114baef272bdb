//! What was told of each trace that may be joined, so that a transaction says which of its spans and hops are new.
//! Called when a transaction is given out. Lives as long as the trace is held for joins.

use collector_table::SpanId;

use super::super::closure::Part;
use super::Joiner;
use crate::hash::Set;
use crate::transaction::Transaction;

/// What was told of a trace.
#[derive(Debug, Default)]
pub(super) struct TraceTold {
    /// All its spans, but for late ones.
    pub(super) is_whole: bool,
    /// Spans that came after it was told.
    late: Set<SpanId>,
    /// Of a trace that serves several transactions, the spans that some of them took.
    spans: Set<SpanId>,
    /// Hops from other traces into it, by both their spans.
    hops: Set<(SpanId, SpanId)>,
}

impl TraceTold {
    /// Notes that a trace was told before, and which of its spans came since.
    pub(super) fn note_late(&mut self, whole: &Transaction) {
        self.is_whole = true;
        let late = whole.spans.iter().zip(&whole.told.spans).filter(|(_, is_told)| !**is_told);
        self.late.extend(late.map(|(span, _)| span.span_id));
    }
}

impl Joiner {
    /// Has a transaction say what of it was told before, and notes that the rest is told now.
    pub(super) fn tell(&mut self, parts: &[Part], given: &mut Transaction) {
        let is_new = |part: &Part| {
            let told = self.lives.get(&part.id).map(|life| &life.told);
            told.is_none_or(|told| !told.is_whole && told.spans.is_empty()) && part.belongs.is_empty()
        };
        // Nearly always: nothing of it was told, and nothing will be told of it again.
        if parts.len() > 1 || !parts.iter().all(is_new) {
            self.compare(parts, given);
        }
        for part in parts.iter().filter(|part| part.belongs.is_empty()) {
            if let Some(life) = self.lives.get_mut(&part.id) {
                life.told.is_whole = true;
                life.told.late = Set::default();
                life.told.spans = Set::default();
            }
        }
    }

    fn compare(&mut self, parts: &[Part], given: &mut Transaction) {
        let mut spans = vec![false; given.spans.len()];
        for (index, is_told) in spans.iter_mut().enumerate() {
            let Some(part) = parts.get(given.trace_number(index)) else { continue };
            let Some(life) = self.lives.get_mut(&part.id) else { continue };
            let id = given.spans[index].span_id;
            // Of a trace that is the transaction's alone it is enough to know that all of it was told.
            let is_known = !part.belongs.is_empty() && !life.told.spans.insert(id);
            let is_whole = life.told.is_whole && !life.told.late.contains(&id);
            *is_told = is_whole || is_known || life.told.spans.contains(&id) && part.belongs.is_empty();
        }
        let mut hops = vec![false; given.hops.len()];
        for (hop, is_told) in given.hops.iter().zip(&mut hops) {
            let Some(callee) = hop.callee else { continue };
            let (from, to) = (given.trace_number(hop.caller), given.trace_number(callee));
            if from == to {
                *is_told = spans[hop.caller];
                continue;
            }
            let Some(life) = parts.get(to).and_then(|part| self.lives.get_mut(&part.id)) else { continue };
            *is_told = !life.told.hops.insert((given.spans[hop.caller].span_id, given.spans[callee].span_id));
        }
        (given.told.spans, given.told.hops) = (spans, hops);
    }
}
