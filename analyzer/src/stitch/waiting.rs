//! When to look at each open transaction next. Used by the stitcher alone; an entry may outlive its transaction.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use collector_table::TraceId;

/// Nanoseconds of arrival, and whom to look at then.
pub(super) type Wake = (i64, TraceId);

/// Open transactions by when to look at them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Those that may be whole: due after the short wait.
    settling: Queue,
    /// Those that lacked something when last looked at: due after the long wait.
    idling: Queue,
}

/// Entries, the earliest first; those of one moment as they came. Time goes on and waits are alike, so nearly all come in
/// order and need no heap.
#[derive(Debug, Default)]
struct Queue {
    in_order: VecDeque<Wake>,
    others: BinaryHeap<Reverse<Wake>>,
}

impl Queue {
    fn push(&mut self, wake: Wake) {
        if self.in_order.back().is_none_or(|last| last.0 <= wake.0) {
            self.in_order.push_back(wake);
        } else {
            self.others.push(Reverse(wake));
        }
    }

    fn first(&self) -> Option<i64> {
        let others = self.others.peek().map(|wake| wake.0.0);
        self.in_order.front().map(|wake| wake.0).into_iter().chain(others).min()
    }

    fn pop(&mut self) -> Option<Wake> {
        let is_other = match (self.in_order.front(), self.others.peek()) {
            (Some(next), Some(Reverse(other))) => other.0 < next.0,
            (next, _) => next.is_none(),
        };
        if is_other { self.others.pop().map(|wake| wake.0) } else { self.in_order.pop_front() }
    }
}

impl Waiting {
    pub(super) fn settle(&mut self, wake: Wake) {
        self.settling.push(wake);
    }

    pub(super) fn idle(&mut self, wake: Wake) {
        self.idling.push(wake);
    }

    /// Takes out the earliest that is due by `now_ns`.
    pub(super) fn pop_due(&mut self, now_ns: i64) -> Option<TraceId> {
        let (settling, idling) = (self.settling.first(), self.idling.first());
        let is_idling = idling.is_some_and(|idling| settling.is_none_or(|settling| idling < settling));
        let (earliest, queue) = if is_idling { (idling, &mut self.idling) } else { (settling, &mut self.settling) };
        earliest.filter(|at| *at <= now_ns)?;
        queue.pop().map(|(_, id)| id)
    }

    /// Takes out the one that settles first, due or not.
    pub(super) fn pop_settling(&mut self) -> Option<Wake> {
        self.settling.pop()
    }

    /// Takes out the one that has idled for longest, due or not.
    pub(super) fn pop_idling(&mut self) -> Option<Wake> {
        self.idling.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_comes_first_whatever_order_they_came_in() {
        let mut waiting = Waiting::default();
        for (at, id) in [(5, 1), (9, 2), (7, 3), (9, 4), (6, 5)] {
            waiting.settle((at, TraceId([id; 16])));
        }
        waiting.idle((8, TraceId([6; 16])));
        let due: Vec<u8> = std::iter::from_fn(|| waiting.pop_due(8)).map(|id| id.0[0]).collect();
        assert_eq!(due, [1, 5, 3, 6]);
        assert_eq!(waiting.pop_settling(), Some((9, TraceId([2; 16]))));
        assert_eq!(waiting.pop_settling(), Some((9, TraceId([4; 16]))));
        assert_eq!((waiting.pop_settling(), waiting.pop_idling()), (None, None));
    }
}
