//! Walks a transaction's spans once and says which stages of its type it went through. Called for every transaction, by
//! `Expectations` to learn and by pages to judge; must stay at some nanoseconds a span.

use super::model::{StageSet, TypeModel, UNPLACED, bit};
use crate::span::Span;
use crate::transaction::Transaction;

/// What a transaction did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) present: StageSet,
    /// Stages that failed: each of their attempts, or something within.
    pub(super) failed: StageSet,
    /// Whether an operation was met that has no stage yet.
    pub(super) has_unknown: bool,
    /// Unix nanoseconds at which what failed first began.
    pub(super) failed_ns: i64,
}

/// Room for walks, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// By span the stage that it belongs to, and the span that began it.
    of: Vec<(u8, u32)>,
    /// By stage its first span and that of its parent; of no meaning for stages that are not present.
    firsts: Vec<(u32, u32)>,
}

impl Walk {
    /// Returns what a transaction did; `place` gives the stage of a span below a stage.
    pub(super) fn walk(&mut self, transaction: &Transaction, mut place: impl FnMut(u8, &Span) -> Option<u8>) -> Seen {
        let mut seen = Seen { present: bit(0), failed_ns: i64::MAX, ..Seen::default() };
        let (mut succeeded, mut tried_in_vain, mut troubled) = (0, 0, 0);
        // A caller fails because what it called did: what ended first is what failed.
        let mut failed_until_ns = i64::MAX;
        let spans = &transaction.spans;
        self.of.clear();
        self.firsts.resize(super::model::STAGES_MAX, (0, 0));
        for (index, span) in spans.iter().enumerate() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let above = transaction.parent(index).map(|parent| self.of[parent]);
            let is_stage = span.is_entry() || span.is_outgoing();
            let of = match above {
                _ if index == transaction.root => (0, number),
                None => (UNPLACED, number),
                Some((UNPLACED, _)) => (UNPLACED, number),
                Some(above) if !is_stage => above,
                Some((parent, from)) => match place(parent, span) {
                    Some(stage) => {
                        if seen.present & bit(stage) == 0 {
                            seen.present |= bit(stage);
                            self.firsts[usize::from(stage)] = (number, from);
                        }
                        (stage, number)
                    }
                    None => {
                        seen.has_unknown = true;
                        (UNPLACED, number)
                    }
                },
            };
            self.of.push(of);
            if span.has_error() {
                let own = if is_stage || index == transaction.root { &mut tried_in_vain } else { &mut troubled };
                *own |= bit(of.0);
                if span.end_ns < failed_until_ns {
                    (failed_until_ns, seen.failed_ns) = (span.end_ns, span.start_ns);
                }
            } else if is_stage {
                succeeded |= bit(of.0);
            }
        }
        seen.failed = tried_in_vain & !succeeded | troubled;
        seen
    }

    /// Returns the first span of a stage that is present, and the span that caused it.
    pub(super) fn first<'a>(&self, transaction: &'a Transaction, stage: u8) -> (&'a Span, &'a Span) {
        let (first, from) = self.firsts[usize::from(stage)];
        (&transaction.spans[first as usize], &transaction.spans[from as usize])
    }

    /// Returns the first span of a stage that is present, or of the root.
    pub(super) fn first_index(&self, transaction: &Transaction, stage: u8) -> usize {
        if stage == 0 { transaction.root } else { self.firsts[usize::from(stage)].0 as usize }
    }
}

/// Returns from when on a stage is waited for: its cause's end for a message, its start for what is called meanwhile.
pub(super) fn cause_ns(cause: &Span, is_message: bool) -> i64 {
    if is_message && cause.is_outgoing() { cause.end_ns } else { cause.start_ns }
}

impl TypeModel {
    /// Learns how long the stages of a transaction took to come.
    pub(super) fn time(&mut self, transaction: &Transaction, seen: &Seen, walk: &Walk) {
        for number in super::model::members(seen.present & !1) {
            let (span, cause) = walk.first(transaction, number);
            let stage = &mut self.stages[usize::from(number)];
            let from_ns = cause_ns(cause, stage.is_message());
            stage.delays.insert(span.start_ns.saturating_sub(from_ns));
            if stage.is_message() {
                stage.known.insert(span.end_ns.saturating_sub(from_ns));
            }
        }
        self.durations.insert(transaction.duration_ns);
    }
}
