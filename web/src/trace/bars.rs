//! Where a span's bar and its parts lie, as percentages of the transaction's duration.

use std::collections::HashMap;

use analyzer::Transaction;
use analyzer::transaction::Cause;

use crate::chart;
use crate::format;

/// Parts drawn in one row; more could not be told apart.
const PARTS_MAX: usize = 48;
/// Narrowest bar, percent: every span is seen.
const WIDTH_MIN: f64 = 0.18;

/// A horizontal stretch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub(super) x: String,
    pub(super) width: String,
    /// Right end, for lines.
    pub(super) end: String,
}

/// What one row draws.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// The span from start to end.
    pub(super) whole: Option<Stretch>,
    /// Time that no child explains.
    pub(super) own: Vec<Stretch>,
    /// Stretches on the critical path.
    pub(super) critical: Vec<Stretch>,
    /// Stretches on the critical path in which it waited: network, queue, nothing known.
    pub(super) waits: Vec<Stretch>,
}

/// Draws rows of one transaction.
pub(super) struct Drawing<'a> {
    transaction: &'a Transaction,
    scale: chart::Scale,
    children: HashMap<usize, Vec<(i64, i64)>>,
    segments: HashMap<usize, Vec<(Cause, i64, i64)>>,
}

impl<'a> Drawing<'a> {
    /// Gathers what the given spans need.
    pub(super) fn of(transaction: &'a Transaction, spans: &[usize]) -> Self {
        let mut children: HashMap<usize, Vec<(i64, i64)>> = spans.iter().map(|index| (*index, Vec::new())).collect();
        for (index, span) in transaction.spans.iter().enumerate() {
            if let Some(intervals) = transaction.parent(index).and_then(|parent| children.get_mut(&parent)) {
                intervals.push((span.start_ns, span.end_ns));
            }
        }
        let mut segments: HashMap<usize, Vec<(Cause, i64, i64)>> = HashMap::new();
        for segment in transaction.critical_path.iter().filter(|segment| children.contains_key(&segment.span)) {
            segments.entry(segment.span).or_default().push((segment.cause, segment.start_ns, segment.end_ns));
        }
        let scale = chart::Scale::linear(0.0, format::to_millis(transaction.duration_ns));
        Self { transaction, scale, children, segments }
    }

    /// Returns what the row of a span draws.
    pub(super) fn bars(&self, index: usize) -> Bars {
        let span = &self.transaction.spans[index];
        let segments = self.segments.get(&index).map(Vec::as_slice).unwrap_or_default();
        let of_cause = |is_wait: bool| -> Vec<Stretch> {
            let fitting = segments.iter().filter(|(cause, ..)| is_waiting(*cause) == is_wait);
            fitting.take(PARTS_MAX).map(|(_, from, to)| self.stretch(*from, *to)).collect()
        };
        let children = self.children.get(&index).cloned().unwrap_or_default();
        let own = uncovered(span.start_ns, span.end_ns, children);
        Bars {
            whole: Some(self.stretch(span.start_ns, span.end_ns)),
            own: own.into_iter().take(PARTS_MAX).map(|(from, to)| self.stretch(from, to)).collect(),
            critical: of_cause(false),
            waits: of_cause(true),
        }
    }

    /// Returns whether a span owns a part of the critical path.
    pub(super) fn is_critical(&self, index: usize) -> bool {
        self.segments.contains_key(&index)
    }

    /// Returns where a moment lies.
    pub(super) fn place(&self, ns: i64) -> String {
        chart::percentage(self.percent(ns))
    }

    fn percent(&self, ns: i64) -> f64 {
        self.scale.percent(format::to_millis(ns.saturating_sub(self.transaction.started_ns)))
    }

    /// Returns a stretch of time.
    pub(super) fn stretch(&self, from_ns: i64, to_ns: i64) -> Stretch {
        let width = (self.percent(to_ns) - self.percent(from_ns)).max(WIDTH_MIN);
        let x = self.percent(from_ns).min(100.0 - width);
        Stretch { x: chart::percentage(x), width: chart::percentage(width), end: chart::percentage(x + width) }
    }
}

/// Returns whether the owner did not work but waited for something between services.
pub(super) fn is_waiting(cause: Cause) -> bool {
    matches!(cause, Cause::NetworkGap | Cause::QueueWait | Cause::Unexplained)
}

/// Returns the parts of `from..to` that no interval covers.
fn uncovered(from: i64, to: i64, mut intervals: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    intervals.sort_unstable();
    let mut parts = Vec::new();
    let mut at = from;
    for (start, end) in intervals {
        if start > at {
            parts.push((at, start.min(to)));
        }
        at = at.max(end);
        if at >= to {
            return parts;
        }
    }
    parts.push((at, to));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_is_what_children_leave() {
        assert_eq!(uncovered(0, 100, vec![(60, 80), (10, 30), (20, 40)]), [(0, 10), (40, 60), (80, 100)]);
        assert_eq!(uncovered(0, 100, vec![(-20, 50), (50, 200)]), []);
        assert_eq!(uncovered(0, 100, vec![(150, 200)]), [(0, 100), (0, 100)].split_at(1).0);
        assert_eq!(uncovered(5, 5, vec![]), [(5, 5)]);
    }
}
