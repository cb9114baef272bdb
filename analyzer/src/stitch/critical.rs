//! The critical path: the chain of segments, back from the last end, that sums exactly to a transaction's duration.
//!
//! At every moment exactly one span owns the time. Going back from a span's end, the child that ended last before that
//! moment is what it waited for (as in CRISP, USENIX ATC '22), with five differences: back-to-back children with equal
//! stamps count; where no child ended but one was running, that one owns the time and not its parent; a child that its
//! parent did not wait for (a consumer, or one that outlives its parent in the same process) is no part of the parent's
//! time; an answer by message is what its parent waited for, and so is all that led to it; and work that goes on after
//! the parent's end, down to consumers of consumers, is followed to the last end.

use collector_table::SpanKind;

use super::retry::Retries;
use super::straggler::Stragglers;
use super::tree::{Children, Tree};
use crate::join::Rule;
use crate::span::Span;
use crate::transaction::{Cause, Segment};

/// Room for finding paths, kept from one transaction to the next.
#[derive(Debug, Default)]
pub(super) struct PathFinder {
    subtree_end: Vec<i64>,
    roots: Vec<usize>,
    stack: Vec<Frame>,
    /// Children that the frames of the stack still have to look at; each frame owns a stretch at the end.
    pending: Vec<usize>,
    segments: Vec<Segment>,
    stragglers: Stragglers,
}

/// Returns the segments in order of time, from the first start to the last end.
pub(super) fn critical_path(
    finder: &mut PathFinder,
    spans: &[Span],
    parents: &[Option<usize>],
    children: &Children,
    tree: &Tree<'_>,
    retries: &Retries,
) -> Vec<Segment> {
    let (root, first) = (tree.root, tree.started_ns);
    let PathFinder { subtree_end, roots, stack, pending, segments, stragglers } = finder;
    stragglers.clear();
    find_subtree_ends(subtree_end, spans, parents);
    roots.clear();
    roots.extend((0..spans.len()).filter(|&index| parents[index].is_none()));
    roots.sort_by_key(|&index| std::cmp::Reverse(subtree_end[index]));
    // The stated root owns the moment wherever it covers it; orphans only fill what it leaves.
    let mut orphans = roots.iter().copied().filter(|&index| index != root).peekable();
    segments.clear();
    let mut cursor = tree.ended_ns;
    let walk = Walk { spans, children, subtree_end, tree, retries };
    while cursor > first {
        // What starts at or after the cursor has had its say: the cursor only moves back.
        while orphans.next_if(|&index| spans[index].start_ns >= cursor).is_some() {}
        let orphan = orphans.peek().copied();
        let covers = |&index: &usize| spans[index].start_ns < cursor && walk.subtree_end[index] >= cursor;
        if let Some(index) = Some(root).filter(covers).or(orphan.filter(covers)) {
            walk.descend(index, cursor, &mut Trail { stack, pending, segments, stragglers });
            cursor = spans[index].start_ns.max(first);
            continue;
        }
        let ends = [Some(root), orphan].into_iter().flatten().map(|index| walk.subtree_end[index]);
        let resume = ends.filter(|&end| end < cursor).max().unwrap_or(first).max(first);
        segments.push(Segment { span: root, cause: Cause::Unexplained, start_ns: resume, end_ns: cursor });
        cursor = resume;
    }
    stragglers.rename(segments);
    segments.iter().rev().copied().collect()
}

fn find_subtree_ends(subtree_end: &mut Vec<i64>, spans: &[Span], parents: &[Option<usize>]) {
    subtree_end.clear();
    subtree_end.extend(spans.iter().map(|span| span.end_ns));
    for index in (0..spans.len()).rev() {
        if let Some(parent) = parents[index] {
            subtree_end[parent] = subtree_end[parent].max(subtree_end[index]);
        }
    }
}

/// What a walk writes.
struct Trail<'a> {
    stack: &'a mut Vec<Frame>,
    pending: &'a mut Vec<usize>,
    segments: &'a mut Vec<Segment>,
    stragglers: &'a mut Stragglers,
}

struct Walk<'a> {
    spans: &'a [Span],
    children: &'a Children,
    /// Last end in each span's subtree.
    subtree_end: &'a [i64],
    tree: &'a Tree<'a>,
    retries: &'a Retries,
}

/// A span that the walk is inside of. `cursor` moves back from where the time is explained to `floor_ns`.
#[derive(Debug)]
struct Frame {
    span: usize,
    cursor: i64,
    /// Where the walk entered it. What ran on beyond that was cut there, as the span itself was.
    entered_ns: i64,
    floor_ns: i64,
    /// Where its stretch of the pending children begins. There stand the children whose work goes on after the span's
    /// end, last end first; then those that the span waited for.
    pending_from: usize,
    after_next: usize,
    after_end: usize,
    within_next: usize,
    within_end: usize,
    /// Of the children that were still running when a later one began, the one that started first.
    running: Option<usize>,
    /// Child that was visited last after the span's end: a gap before its start was its wait.
    last_after: Option<usize>,
    /// Child that was visited last within the span: a gap before its start may be a pause between attempts.
    last_within: Option<usize>,
}

impl Walk<'_> {
    /// Pushes the segments of `[start of span, to]`, latest first.
    fn descend(&self, span: usize, to: i64, trail: &mut Trail<'_>) {
        let floor_ns = self.spans[span].start_ns.max(self.tree.started_ns);
        trail.stack.push(self.frame(span, to, floor_ns, trail.pending));
        while let Some(mut top) = trail.stack.pop() {
            match self.step(&mut top, trail) {
                Some(next) => trail.stack.extend([top, next]),
                None => trail.pending.truncate(top.pending_from),
            }
        }
    }

    fn frame(&self, span: usize, to: i64, floor_ns: i64, pending: &mut Vec<usize>) -> Frame {
        let end_ns = self.spans[span].end_ns;
        let children = self.children.get(span);
        let pending_from = pending.len();
        if to > end_ns {
            pending.extend(children.iter().copied().filter(|&child| self.subtree_end[child] > end_ns));
            pending[pending_from..].sort_by_key(|&child| std::cmp::Reverse(self.subtree_end[child]));
        }
        let after_end = pending.len();
        pending.extend(children.iter().copied().filter(|&child| self.is_waited_for(span, child)));
        pending[after_end..].sort_by_key(|&child| std::cmp::Reverse(self.waited_end_ns(child)));
        Frame {
            span,
            cursor: to,
            entered_ns: to,
            floor_ns,
            pending_from,
            after_next: pending_from,
            after_end,
            within_next: after_end,
            within_end: pending.len(),
            running: None,
            last_after: None,
            last_within: None,
        }
    }

    /// A parent waits for a child unless the child works on a message, or outlives it in the same process.
    /// A child in another process that ends a little later is cut at the parent's end: the clocks differ.
    fn is_waited_for(&self, parent: usize, child: usize) -> bool {
        if self.tree.answers.is_some_and(|answers| answers.is_answer(child)) {
            return true;
        }
        let (above, below) = (&self.spans[parent], &self.spans[child]);
        let is_message = self.is_message(child) || above.kind() == SpanKind::Producer;
        let outlives = below.end_ns > above.end_ns;
        !is_message && (!outlives || !above.is_same_service(below))
    }

    /// Returns until when a parent waits for a child: until its end, or until what it led to was answered.
    fn waited_end_ns(&self, child: usize) -> i64 {
        let end_ns = self.spans[child].end_ns;
        self.tree.answers.and_then(|answers| answers.answered_ns(child)).map_or(end_ns, |at_ns| end_ns.max(at_ns))
    }

    /// Returns whether a span works on a message, or on what a message of another trace brought.
    fn is_message(&self, span: usize) -> bool {
        self.spans[span].kind() == SpanKind::Consumer || self.tree.entered_by(span).is_some_and(Rule::is_of_messages)
    }

    /// Moves one step back. Returns the child to go into, or nothing when the frame is done.
    fn step(&self, frame: &mut Frame, trail: &mut Trail<'_>) -> Option<Frame> {
        let end_ns = self.spans[frame.span].end_ns;
        if frame.cursor > end_ns.max(frame.floor_ns)
            && let Some(next) = self.step_after(frame, end_ns, trail)
        {
            return Some(next);
        }
        while frame.within_next < frame.within_end {
            let child = trail.pending[frame.within_next];
            let (from, to) = (self.spans[child].start_ns, self.waited_end_ns(child).min(end_ns.min(frame.entered_ns)));
            if to > frame.cursor || from >= to || to <= frame.floor_ns {
                frame.within_next += 1;
                let is_earlier = frame.running.is_none_or(|running| from < self.spans[running].start_ns);
                if from < frame.cursor && to > frame.cursor && is_earlier {
                    frame.running = Some(child);
                }
                continue;
            }
            if let Some(next) = self.running_part(frame, to, trail.pending) {
                return Some(next);
            }
            frame.within_next += 1;
            let rest = &trail.pending[frame.within_next..frame.within_end];
            trail.stragglers.note(self.spans, child, rest, |child| self.waited_end_ns(child));
            let (owner, cause) = self.gap_between(frame, child);
            push(trail.segments, owner, cause, to, frame.cursor);
            frame.last_within = Some(child);
            frame.cursor = from.max(frame.floor_ns);
            return Some(self.frame(child, to, frame.cursor, trail.pending));
        }
        if let Some(next) = self.running_part(frame, frame.floor_ns, trail.pending) {
            return Some(next);
        }
        push(trail.segments, frame.span, self.own_cause(frame.span), frame.floor_ns, frame.cursor);
        None
    }

    /// Says who owns the time between a child and the one that was visited before it, which came later, and why.
    fn gap_between(&self, frame: &Frame, child: usize) -> (usize, Cause) {
        let Some(later) = frame.last_within else { return (frame.span, self.own_cause(frame.span)) };
        if self.tree.answers.is_some_and(|answers| answers.is_answer(later) && answers.answered_ns(child).is_some()) {
            (later, Cause::QueueWait)
        } else if self.retries.before(later).is_some() {
            (frame.span, Cause::RetryGap)
        } else {
            (frame.span, self.own_cause(frame.span))
        }
    }

    /// Gives the time down to `to_ns` to the child that was running all along, as far as it was.
    fn running_part(&self, frame: &mut Frame, to_ns: i64, pending: &mut Vec<usize>) -> Option<Frame> {
        let child = frame.running?;
        let from = self.spans[child].start_ns.max(to_ns).max(frame.floor_ns);
        if from >= frame.cursor {
            return None;
        }
        let to = std::mem::replace(&mut frame.cursor, from);
        Some(self.frame(child, to, from, pending))
    }

    /// One step through the time after the span's own end.
    fn step_after(&self, frame: &mut Frame, end_ns: i64, trail: &mut Trail<'_>) -> Option<Frame> {
        let resume_ns = end_ns.max(frame.floor_ns);
        while frame.after_next < frame.after_end {
            let child = trail.pending[frame.after_next];
            frame.after_next += 1;
            let (from, to) =
                (self.spans[child].start_ns.max(frame.floor_ns), self.subtree_end[child].min(frame.cursor));
            if from >= to || frame.last_after.is_some_and(|later| !self.may_delay(child, later)) {
                continue;
            }
            let rest = &trail.pending[frame.after_next..frame.after_end];
            trail.stragglers.note(self.spans, child, rest, |child| self.subtree_end[child]);
            self.push_wait(trail.segments, frame, to);
            frame.last_after = Some(child);
            frame.cursor = from;
            return Some(self.frame(child, to, from, trail.pending));
        }
        self.push_wait(trail.segments, frame, resume_ns);
        frame.cursor = frame.cursor.min(resume_ns);
        None
    }

    /// Returns whether work that goes on after its parent may be what later such work waited for. A message waits from when
    /// it was sent, whatever others that take it do meanwhile, unless it is taken again after a failure.
    fn may_delay(&self, child: usize, later: usize) -> bool {
        let (before, after) = (&self.spans[child], &self.spans[later]);
        !self.is_message(later) || before.has_error() && before.is_same_service(after)
    }

    /// Explains the time from `from` to the cursor, in which nothing ran, by the wait of what ran next.
    fn push_wait(&self, segments: &mut Vec<Segment>, frame: &Frame, from: i64) {
        let (owner, cause) = match frame.last_after {
            Some(child) if self.is_message(child) => (child, Cause::QueueWait),
            Some(child) => (child, Cause::Unexplained),
            None => (frame.span, Cause::Unexplained),
        };
        push(segments, owner, cause, from, frame.cursor);
    }

    /// Says why a span's own time passes.
    fn own_cause(&self, span: usize) -> Cause {
        if self.spans[span].kind() != SpanKind::Client {
            return Cause::SelfTime;
        }
        let children = self.children.get(span);
        if children.iter().any(|&child| self.spans[child].is_entry()) {
            Cause::NetworkGap
        } else if children.is_empty() {
            Cause::UninstrumentedPeer
        } else {
            Cause::SelfTime
        }
    }
}

fn push(segments: &mut Vec<Segment>, span: usize, cause: Cause, start_ns: i64, end_ns: i64) {
    if end_ns > start_ns {
        segments.push(Segment { span, cause, start_ns, end_ns });
    }
}
