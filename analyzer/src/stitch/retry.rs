//! Attempts of one logical call: calls one after the other, to one target, by one operation, under one parent, each but
//! the last failed, or the next said to be a repetition; others may be called at the same time. A loop of calls that
//! succeed is none. Called by `tree`; feeds hops and the critical path. Holds nothing but room.

use collector_table::SpanKind;

use super::tree::Children;
use crate::span::{Site, Span};

/// Calls that are looked back at for an earlier attempt: so many are called at the same time and tried again.
const LOOK_BACK: usize = 16;
/// Stands for a span that is no attempt of several.
const NONE: u32 = u32::MAX;

/// Which span each span tries again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// By span the attempt before it, or [`NONE`]; empty when nothing was tried again.
    before: Vec<u32>,
    /// Spans that another tries again.
    is_repeated: Vec<bool>,
}

impl Retries {
    /// Finds the attempts among the spans.
    pub(super) fn fill(&mut self, spans: &[Span], children: &Children) {
        self.before.clear();
        self.is_repeated.clear();
        // Nearly no transaction tries anything again, and one look at the sites tells.
        if !spans.iter().any(|span| span.kind() == SpanKind::Client && (span.has_error() || span.site.is_resend)) {
            return;
        }
        self.before.resize(spans.len(), NONE);
        self.is_repeated.resize(spans.len(), false);
        for parent in 0..spans.len() {
            let calls = children.get(parent).iter().copied().filter(|&child| spans[child].is_outgoing());
            let mut made: [usize; LOOK_BACK] = [usize::MAX; LOOK_BACK];
            for (number, call) in calls.enumerate() {
                let lately = (1..=number.min(LOOK_BACK)).map(|back| made[(number - back) % LOOK_BACK]);
                if let Some(before) = self.attempt_before(spans, call, lately) {
                    self.before[call] = u32::try_from(before).unwrap_or(NONE);
                    self.is_repeated[before] = true;
                }
                made[number % LOOK_BACK] = call;
            }
        }
    }

    /// Returns the attempt that a call repeats, of those that were made lately, the latest first. Calls in between must be
    /// of others that are called at the same time: what comes one after the other is a sequence of its own.
    fn attempt_before(&self, spans: &[Span], call: usize, lately: impl Iterator<Item = usize>) -> Option<usize> {
        let mut others_from_ns = i64::MIN;
        for earlier in lately {
            if is_same_target(&spans[earlier].site, &spans[call].site) {
                let is_beside = others_from_ns < spans[earlier].end_ns;
                return (is_beside && is_retry(&spans[earlier], &spans[call])).then_some(earlier);
            }
            if self.before(earlier).is_none() {
                others_from_ns = others_from_ns.max(spans[earlier].start_ns);
            }
        }
        None
    }

    /// Returns the attempt that a span repeats.
    pub(super) fn before(&self, span: usize) -> Option<usize> {
        self.before.get(span).filter(|before| **before != NONE).map(|before| *before as usize)
    }

    /// Returns whether another attempt followed.
    pub(super) fn is_repeated(&self, span: usize) -> bool {
        self.is_repeated.get(span).copied().unwrap_or(false)
    }
}

/// Returns whether a call of the same target is an attempt after one that failed, or says itself that it is sent again.
fn is_retry(before: &Span, next: &Span) -> bool {
    let is_call = before.kind() == SpanKind::Client && next.kind() == SpanKind::Client;
    let is_again = before.has_error() || next.site.is_resend;
    is_call && is_again && before.end_ns <= next.start_ns
}

fn is_same_target(left: &Site, right: &Site) -> bool {
    left.shape == right.shape && left.peer == right.peer
}
