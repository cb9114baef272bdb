//! Where the spans of a transaction stand: in which execution of which operation, and how many synchronous hops from
//! the root and above the leaves. One pass down and one up, over room that is kept; nothing recurses.

use collector_table::SpanKind;

use crate::transaction::{NO_PARENT, Transaction};

/// Place of each span.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Index of the span with which a service began the work that the span is part of.
    executions: Vec<u32>,
    /// Synchronous hops from the root, or from where a message was received.
    depths: Vec<u32>,
    /// Longest chain of synchronous hops below.
    below: Vec<u32>,
}

impl Walk {
    pub(super) fn fill(&mut self, transaction: &Transaction) {
        let spans = &transaction.spans;
        self.executions.clear();
        self.depths.clear();
        self.below.clear();
        self.below.resize(spans.len(), 0);
        for (index, span) in spans.iter().enumerate() {
            let parent = transaction.nodes[index].parent;
            let own = u32::try_from(index).unwrap_or(NO_PARENT);
            if parent == NO_PARENT {
                self.executions.push(own);
                self.depths.push(0);
                continue;
            }
            let above = parent as usize;
            let is_entrance = transaction.begins_execution(index);
            self.executions.push(if is_entrance { own } else { self.executions[above] });
            let depth = self.depths[above];
            self.depths.push(match span.kind() {
                _ if !is_entrance => depth,
                SpanKind::Consumer => 0,
                _ => depth + 1,
            });
        }
        for index in (0..spans.len()).rev() {
            let parent = transaction.nodes[index].parent;
            if parent == NO_PARENT || spans[index].kind() == SpanKind::Consumer {
                continue;
            }
            // A call of which only the caller's side is there is a hop, too.
            let is_leaf_call = spans[index].kind() == SpanKind::Client && self.below[index] == 0;
            let steps = u32::from(is_leaf_call || self.is_execution(index));
            let chain = self.below[index] + steps;
            let above = &mut self.below[parent as usize];
            *above = (*above).max(chain);
        }
    }

    /// Returns whether a service begins work with a span.
    pub(super) fn is_execution(&self, index: usize) -> bool {
        self.executions[index] as usize == index
    }

    /// Returns the span with which the work began that a span is part of.
    pub(super) fn execution(&self, index: usize) -> usize {
        self.executions[index] as usize
    }

    pub(super) fn depth(&self, index: usize) -> u32 {
        self.depths[index]
    }

    pub(super) fn below(&self, index: usize) -> u32 {
        self.below[index]
    }
}
