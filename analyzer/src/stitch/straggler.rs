//! Time that a transaction spends on the last of several like siblings while the others are done. Called by the walk of
//! the critical path for every child that it goes into; what is found renames causes, never owners.

use crate::span::Span;
use crate::transaction::{Cause, Segment};

/// Like siblings from which on the last one is a straggler.
const SIBLINGS_MIN: usize = 3;
/// Siblings that are looked at.
const LOOKED_AT_MAX: usize = 64;

/// Stretches of time in which only a straggler was waited for.
#[derive(Debug, Default)]
pub(super) struct Stragglers {
    /// From when all others were done until the straggler was.
    stretches: Vec<(i64, i64)>,
    split: Vec<Segment>,
}

impl Stragglers {
    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }

    /// Notes a child, if it is the last of like siblings that ran beside each other; `rest` are the siblings that ended
    /// before it, the latest first, and `end_ns` says when each ended.
    pub(super) fn note(&mut self, spans: &[Span], child: usize, rest: &[usize], end_ns: impl Fn(usize) -> i64) {
        let (own, until_ns) = (&spans[child], end_ns(child));
        let mut others_end_ns = None;
        let mut like = 1;
        for &other in rest.iter().take(LOOKED_AT_MAX) {
            if end_ns(other) <= own.start_ns {
                break;
            }
            if spans[other].kind() == own.kind() && spans[other].operation() == own.operation() {
                others_end_ns = others_end_ns.or(Some(end_ns(other)));
                like += 1;
            }
            if like >= SIBLINGS_MIN {
                self.stretches.extend(others_end_ns.filter(|from_ns| *from_ns < until_ns).map(|from| (from, until_ns)));
                return;
            }
        }
    }

    /// Says of the time in the stretches that somebody worked that a straggler was waited for; segments stand latest
    /// first.
    pub(super) fn rename(&mut self, segments: &mut Vec<Segment>) {
        if self.stretches.is_empty() {
            return;
        }
        self.split.clear();
        for segment in segments.iter() {
            let within = self.stretches.iter().find(|(from, to)| *from < segment.end_ns && *to > segment.start_ns);
            let Some(&(from, to)) = within.filter(|_| segment.cause == Cause::SelfTime) else {
                self.split.push(*segment);
                continue;
            };
            let (start_ns, end_ns) = (segment.start_ns.max(from), segment.end_ns.min(to));
            let parts = [
                Segment { start_ns: end_ns, ..*segment },
                Segment { start_ns, end_ns, cause: Cause::Straggler, ..*segment },
                Segment { end_ns: start_ns, ..*segment },
            ];
            self.split.extend(parts.into_iter().filter(|part| part.end_ns > part.start_ns));
        }
        segments.clone_from(&self.split);
    }
}
