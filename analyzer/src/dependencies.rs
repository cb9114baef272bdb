//! Who calls whom, per minute, as rows of the table `dependencies`. Fed by the daemon with closed transactions; it keeps
//! the rows. Bounded: a full set of counts becomes rows at once, which readers merge with those that follow.
//!
//! A message that passes a queue with a name is counted on each side by itself, because each side is known by itself:
//! what a producer sent, and what a consumer took. How long it waited is added when both are known to be of one message.

use std::sync::Arc;

use arrow::array::RecordBatch;
use collector_table::{DependencyTally, SpanKind};

use crate::hash::Map;
use crate::hops::Ends;
use crate::span::{Site, Span};
use crate::transaction::{Hop, HopKind, Transaction};

mod rows;

/// Counts kept at most; one is a pair of sites in a minute.
const PAIRS_MAX: usize = 20_000;
const MINUTE_NS: i64 = 60_000_000_000;

/// Hops counted by minute and pair of sites.
#[derive(Debug, Default)]
pub struct Dependencies {
    pairs: Map<Pair, Count>,
    /// Spans of the transaction at hand that something calls, or sends a message, across traces or through a queue;
    /// empty when there is none. Its room is kept.
    reached: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    minute: i64,
    /// 0 when it is not known, or does not matter.
    caller: u64,
    /// 0 when the peer sends no telemetry.
    callee: u64,
    step: Step,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// From a caller to a callee, without a queue between.
    Direct(HopKind),
    /// From a producer to a queue.
    Send,
    /// From a queue to a consumer.
    Receive,
    /// From somebody who sends no telemetry.
    Enter,
}

#[derive(Debug)]
struct Count {
    caller: Option<Arc<Site>>,
    callee: Option<Arc<Site>>,
    tally: DependencyTally,
}

/// What one step adds to a count.
#[derive(Debug, Clone, Copy, Default)]
struct Added {
    is_counted: bool,
    is_retry: bool,
    has_error: bool,
    duration_ns: i64,
    gap_ns: Option<i64>,
}

impl Dependencies {
    /// Counts what a transaction tells for the first time; returns rows when the bound is reached. What was told before,
    /// and parts that came too late, would count the same work twice. All transactions must be of one stitcher.
    pub fn add(&mut self, transaction: &Transaction) -> Option<RecordBatch> {
        if transaction.may_tell_more() {
            self.reached.clear();
            let mut sender = None;
            for (index, hop) in transaction.hops.iter().enumerate() {
                match queue_of(transaction, hop) {
                    Some(queue) => self.add_message(transaction, (index, hop), queue, &mut sender),
                    None => self.add_direct(transaction, (index, hop)),
                }
            }
            self.add_entries(transaction);
        }
        if self.pairs.len() >= PAIRS_MAX { self.take() } else { None }
    }

    /// Counts what is called, every attempt, as the called one sees it.
    fn add_direct(&mut self, transaction: &Transaction, (index, hop): (usize, &Hop)) {
        if let Some(callee) = hop.callee.filter(|_| is_across(transaction, hop)) {
            self.reach(transaction, callee);
        }
        let is_told = match hop.kind {
            HopKind::Message => transaction.told.hop(index),
            HopKind::Call | HopKind::Database => transaction.told.span(hop.caller),
        };
        if is_told {
            return;
        }
        for (number, attempt) in hop.tries().enumerate() {
            let ends = Ends::of(transaction, attempt);
            let added = Added {
                is_counted: true,
                is_retry: number > 0,
                has_error: ends.has_error(),
                duration_ns: ends.caller.duration_ns(),
                gap_ns: attempt.gap_ns,
            };
            let callee = ends.callee.map(|callee| &callee.site);
            self.add_step(Step::Direct(hop.kind), ends.caller.start_ns, Some(&ends.caller.site), callee, added);
        }
    }

    /// Counts both sides of a message, each once.
    fn add_message(
        &mut self,
        transaction: &Transaction,
        (index, hop): (usize, &Hop),
        queue: Queue,
        sender: &mut Option<usize>,
    ) {
        let producer = &transaction.spans[hop.caller];
        let consumer = hop.callee.map(|callee| &transaction.spans[callee]);
        // Hops of one producer follow each other: it sent once, however many took it.
        if *sender != Some(hop.caller) && !transaction.told.span(hop.caller) {
            let named_by = consumer.filter(|_| queue == Queue::OfConsumer).map(|consumer| &consumer.site);
            self.add_step(Step::Send, producer.start_ns, Some(&producer.site), named_by, whole(producer));
        }
        *sender = Some(hop.caller);
        let (Some(callee), Some(consumer)) = (hop.callee, consumer) else { return };
        let is_first = self.reach(transaction, callee);
        let gap_ns = hop.gap_ns.filter(|_| !transaction.told.hop(index));
        let taken = if is_first && !transaction.told.span(callee) { whole(consumer) } else { Added::default() };
        if taken.is_counted || gap_ns.is_some() {
            let named_by = (queue == Queue::OfProducer).then_some(&producer.site);
            let added = Added { gap_ns, ..taken };
            self.add_step(Step::Receive, consumer.start_ns, named_by, Some(&consumer.site), added);
        }
    }

    /// Counts calls and messages whose sender is not known.
    fn add_entries(&mut self, transaction: &Transaction) {
        for (index, span) in transaction.spans.iter().enumerate() {
            let is_reached = || self.reached.get(index).copied().unwrap_or(false);
            if !span.is_entry() || transaction.told.span(index) || is_called(transaction, index) || is_reached() {
                continue;
            }
            let step = if span.kind() == SpanKind::Consumer { Step::Receive } else { Step::Enter };
            self.add_step(step, span.start_ns, None, Some(&span.site), whole(span));
        }
    }

    /// Notes that something in another span leads to a span; returns whether that is new.
    fn reach(&mut self, transaction: &Transaction, span: usize) -> bool {
        self.reached.resize(transaction.spans.len(), false);
        !std::mem::replace(&mut self.reached[span], true)
    }

    fn add_step(
        &mut self,
        step: Step,
        start_ns: i64,
        caller: Option<&Arc<Site>>,
        callee: Option<&Arc<Site>>,
        added: Added,
    ) {
        let number = |site: Option<&Arc<Site>>| site.map_or(0, |site| site.number);
        let minute = start_ns.div_euclid(MINUTE_NS);
        let pair = Pair { minute, caller: number(caller), callee: number(callee), step };
        let new = || Count { caller: caller.cloned(), callee: callee.cloned(), tally: DependencyTally::default() };
        let tally = &mut self.pairs.entry(pair).or_insert_with(new).tally;
        if added.is_counted {
            tally.count += 1;
            tally.errors += i64::from(added.has_error);
            tally.retries += i64::from(added.is_retry);
            tally.duration_sum_ns = tally.duration_sum_ns.saturating_add(added.duration_ns);
            tally.durations.insert(added.duration_ns);
        }
        if let Some(gap_ns) = added.gap_ns {
            tally.gap_sum_ns = tally.gap_sum_ns.saturating_add(gap_ns);
            tally.gap_count += 1;
            tally.gaps.insert(gap_ns);
        }
    }

    /// Returns what was counted since the last time, as rows by minute and names; nothing if there is none.
    pub fn take(&mut self) -> Option<RecordBatch> {
        let rows = rows::of(self.pairs.iter().map(|(pair, count)| (pair.minute, pair.step, count)));
        self.pairs.clear();
        rows
    }
}

/// Which side of a message names the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    OfProducer,
    OfConsumer,
}

/// Returns who names the queue that a message passes; none when it passes none that has a name.
fn queue_of(transaction: &Transaction, hop: &Hop) -> Option<Queue> {
    if hop.kind != HopKind::Message {
        return None;
    }
    let producer = &transaction.spans[hop.caller].site;
    let consumer = hop.callee.map(|callee| &transaction.spans[callee].site);
    let has_target = |site: &&Arc<Site>| site.target.is_some();
    match consumer.filter(has_target) {
        _ if producer.target.is_some() => Some(Queue::OfProducer),
        Some(_) => Some(Queue::OfConsumer),
        // The broker's address or system says at least something.
        None if producer.system.is_some() || consumer.is_none() => Some(Queue::OfProducer),
        None => consumer.filter(|site| site.system.is_some()).map(|_| Queue::OfConsumer),
    }
}

fn is_across(transaction: &Transaction, hop: &Hop) -> bool {
    hop.callee.is_some_and(|callee| transaction.trace_number(hop.caller) != transaction.trace_number(callee))
}

/// Returns whether what is above a span, in its trace, calls it. A loop that takes messages does not call what works on
/// them; what works on a message that was received above is part of that.
fn is_called(transaction: &Transaction, index: usize) -> bool {
    let Some(parent) = transaction.parent(index) else { return false };
    let (above, span) = (&transaction.spans[parent], &transaction.spans[index]);
    let is_taken = span.kind() == SpanKind::Consumer
        && above.is_same_service(span)
        && !above.is_outgoing()
        && above.kind() != SpanKind::Consumer;
    !is_taken && transaction.trace_number(parent) == transaction.trace_number(index)
}

fn whole(span: &Span) -> Added {
    Added { is_counted: true, has_error: span.has_error(), duration_ns: span.duration_ns(), ..Added::default() }
}

#[cfg(test)]
mod tests;
