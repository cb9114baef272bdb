//! Executions and the values of business keys that they work for: those that their spans carry. Collected by `open` when a
//! trace closes for the first time, asked for by the analyzer's owner, who has repetitions and disorder counted.
//! It must never judge a key: how often one value is worked for is for detection to learn.

use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId};

use super::discovery::Discovery;
use super::facts::{Carried, ValueForm};
use super::joining::SpanIndex;
use super::keys::KeyId;
use crate::span::Site;
use crate::transaction::Transaction;

/// Values that are remembered of the spans of an open trace, 24 bytes each; further ones are left out, counted.
const CARRIED_MAX: usize = 256;
/// Executions that wait until they are asked for; further ones are left out, counted.
const WORKED_MAX: usize = 100_000;

/// An execution and one value that it works for.
#[derive(Debug, Clone)]
pub(crate) struct Worked {
    pub(crate) key: KeyId,
    pub(crate) key_name: Arc<str>,
    /// Tells the value apart from all others of all keys.
    pub(crate) value: u64,
    /// Whether equal values are hardly so by chance: it is no plain number, or the key is known to join traces.
    pub(crate) is_telling: bool,
    pub(crate) trace: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) start_ns: i64,
    pub(crate) site: Arc<Site>,
    /// Whether it failed, or who waits for it did: it is to be done again.
    pub(crate) has_failed: bool,
    /// The nearest execution above it in its trace that works for any value.
    pub(crate) above: Option<SpanId>,
}

/// What executions were found to work for, until it is asked for.
#[derive(Debug, Default)]
pub(super) struct Works {
    waiting: Vec<Worked>,
    /// Values of spans, and executions, beyond the bounds.
    pub(super) left_out: u64,
}

impl Works {
    /// Adds values that one more span carries to those of its open trace.
    pub(super) fn carry(&mut self, to: &mut Vec<Carried>, carried: &[Carried]) {
        let room = CARRIED_MAX.saturating_sub(to.len()).min(carried.len());
        to.extend_from_slice(&carried[..room]);
        self.left_out += (carried.len() - room) as u64;
    }

    /// Notes each execution of a trace with each value that its spans carry; what is above comes before what is below.
    pub(super) fn note(&mut self, whole: &Transaction, carried: &[Carried], discovery: &Discovery) {
        if carried.is_empty() {
            return;
        }
        let index = SpanIndex::of(&whole.spans, carried.len());
        let at = |one: &Carried| Some(whole.execution_of(index.find(one.span_id)? as usize));
        let mut found: Vec<(usize, &Carried)> = carried.iter().filter_map(|one| Some((at(one)?, one))).collect();
        // Tokens are drawn anew in every process; what is told must not depend on them.
        found.sort_by_key(|(at, one)| (*at, one.key, one.token));
        found.dedup_by_key(|(at, one)| (*at, one.token));
        for &(at, one) in &found {
            let Some(key_name) = discovery.name(one.key) else { continue };
            if self.waiting.len() >= WORKED_MAX {
                self.left_out += 1;
                continue;
            }
            let span = &whole.spans[at];
            let above = callers(whole, at).find(|above| found.binary_search_by_key(above, |(known, _)| *known).is_ok());
            self.waiting.push(Worked {
                key: one.key,
                key_name,
                value: one.token,
                is_telling: one.form != ValueForm::Number || discovery.joins(one.key),
                trace: whole.trace_of(at),
                span_id: span.span_id,
                start_ns: span.start_ns,
                site: span.site.clone(),
                has_failed: has_failed(whole, at),
                above: above.map(|above| whole.spans[above].span_id),
            });
        }
    }

    /// Takes out what was noted since this was last asked.
    pub(super) fn take(&mut self) -> Vec<Worked> {
        std::mem::take(&mut self.waiting)
    }
}

/// Returns the spans above one, the nearest first.
fn callers(whole: &Transaction, of: usize) -> impl Iterator<Item = usize> + '_ {
    std::iter::successors(whole.parent(of), |at| whole.parent(*at))
}

/// Returns whether an execution failed, or what waited for it did. Nobody waits for who takes in a message.
fn has_failed(whole: &Transaction, at: usize) -> bool {
    for at in std::iter::once(at).chain(callers(whole, at)) {
        let span = &whole.spans[at];
        if span.has_error() {
            return true;
        }
        if span.kind() == SpanKind::Consumer {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests;
