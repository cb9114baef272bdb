//! When to look at each open transaction next. Used by the stitcher alone; an entry may outlive its transaction.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use collector_table::TraceId;

/// Nanoseconds of arrival, and whom to look at then.
pub(super) type Wake = (i64, TraceId);

/// Open transactions by when to look at them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Those that may be whole: due after the short wait.
    settling: BinaryHeap<Reverse<Wake>>,
    /// Those that lacked something when last looked at: due after the long wait.
    idling: BinaryHeap<Reverse<Wake>>,
}

impl Waiting {
    pub(super) fn settle(&mut self, wake: Wake) {
        self.settling.push(Reverse(wake));
    }

    pub(super) fn idle(&mut self, wake: Wake) {
        self.idling.push(Reverse(wake));
    }

    /// Takes out the earliest that is due by `now_ns`.
    pub(super) fn pop_due(&mut self, now_ns: i64) -> Option<TraceId> {
        let settling = self.settling.peek().map(|wake| wake.0);
        let idling = self.idling.peek().map(|wake| wake.0);
        let is_idling = idling.is_some_and(|idling| settling.is_none_or(|settling| idling < settling));
        let (earliest, queue) = if is_idling { (idling, &mut self.idling) } else { (settling, &mut self.settling) };
        let (_, id) = earliest.filter(|(at, _)| *at <= now_ns)?;
        queue.pop();
        Some(id)
    }

    /// Takes out the one that settles first, due or not.
    pub(super) fn pop_settling(&mut self) -> Option<Wake> {
        self.settling.pop().map(|wake| wake.0)
    }

    /// Takes out the one that has idled for longest, due or not.
    pub(super) fn pop_idling(&mut self) -> Option<Wake> {
        self.idling.pop().map(|wake| wake.0)
    }
}
