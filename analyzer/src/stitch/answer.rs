//! Answers by message: a trace sends a message, others work on it, and what they send back is received by a sibling of
//! what was sent. Made by `tree` from joins; the critical path asks what a parent waited for. Holds one transaction's.

use crate::hash::{Map, Set};
use crate::span::Span;

/// Which spans received answers, and until when what they answer was worked on.
#[derive(Debug, Default)]
pub(super) struct Answers {
    received: Set<usize>,
    answered_ns: Map<usize, i64>,
}

impl Answers {
    /// Returns the answers among joins, given as cause and effect, of spans that have their parent in their own trace.
    pub(super) fn of(joins: impl Iterator<Item = (usize, usize)>, spans: &[Span], parents: &[Option<usize>]) -> Self {
        let mut answers = Self::default();
        for (cause, received) in joins {
            let Some(waiting) = parents[received] else { continue };
            // What was sent is the sibling under which the answer came about.
            let mut sent = cause;
            while let Some(above) = parents[sent].filter(|&above| above != waiting) {
                sent = above;
            }
            if parents[sent] == Some(waiting) && sent != received {
                answers.received.insert(received);
                let until_ns = spans[cause].end_ns.min(spans[received].start_ns);
                let known_ns = answers.answered_ns.entry(sent).or_insert(until_ns);
                *known_ns = until_ns.max(*known_ns);
            }
        }
        answers
    }

    pub(super) fn is_answer(&self, span: usize) -> bool {
        self.received.contains(&span)
    }

    /// Returns when the last answer to what a span sent had come about.
    pub(super) fn answered_ns(&self, span: usize) -> Option<i64> {
        self.answered_ns.get(&span).copied()
    }
}
