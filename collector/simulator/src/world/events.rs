//! What is going to happen, in order of virtual time; what happens at one moment happens in the order in which it was
//! foreseen. Owned by the world, which plays one event after the other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::slab::Key;

/// Something that happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A change begins.
    Change(usize),
    /// Work begins at a source.
    Arrival(usize),
    /// It is looked again whether work begins at a source.
    Look(usize),
    /// A task goes on.
    Resume(Key),
    /// A request reaches an instance.
    Reach(Key),
    /// An answer reaches the caller.
    Answer(Key),
    /// A caller gives up an attempt.
    GiveUp(Key, u32),
    /// A caller tries again.
    Retry(Key),
    /// A breaker kept a call from being made.
    Kept(Key),
    /// A task learns that its caller has gone.
    Cancel(Key),
    /// A message reaches the queue of a group.
    Deliver(Key),
    /// A group looks at a partition.
    Take(usize, usize),
}

/// The future.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(i64, u64, Event)>>,
    foreseen: u64,
}

impl Events {
    pub(super) fn at(&mut self, at_ns: i64, event: Event) {
        self.foreseen += 1;
        self.heap.push(Reverse((at_ns, self.foreseen, event)));
    }

    /// Returns the next event before a moment.
    pub(super) fn next_before(&mut self, end_ns: i64) -> Option<(i64, Event)> {
        let Reverse((at_ns, ..)) = self.heap.peek()?;
        if *at_ns >= end_ns {
            return None;
        }
        self.heap.pop().map(|Reverse((at_ns, _, event))| (at_ns, event))
    }
}
