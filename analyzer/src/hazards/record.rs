//! What is known of one hop: counts, the latest failures and pauses, and when its caller kept from calling. Written by
//! the register with every logical call; read by `findings` and `report`.

use std::sync::Arc;

use collector_table::TraceId;

use super::breaker::{Breaker, Called, is_rejected};
use super::retry::Pauses;
use super::tally::{Tally, Windowed};
use super::timeout::{Answer, Failure, Failures};
use super::walk::Walk;
use crate::hops::Ends;
use crate::span::{Repeat, Site, Span};
use crate::transaction::{Attempt, Hop, HopKind, Transaction};

/// A called one that outlives the call by less has not been given up on.
const WORKED_ON_MIN_NS: i64 = 1_000_000;
/// By clocks that may differ a little, it must outlive the call by so much.
const WORKED_ON_CLOCKS_MIN_NS: i64 = 10_000_000;

/// An operation of a service, within which hops are made.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) site: Arc<Site>,
    /// Executions since the start; tells which calls were left out.
    pub(super) executions: u64,
    pub(super) counted: Windowed<u32>,
    pub(super) last_ns: i64,
}

/// Traces that show what is told.
#[derive(Debug, Default)]
pub(super) struct Examples {
    pub(super) worked_on: Option<TraceId>,
    pub(super) retried: Option<TraceId>,
    pub(super) answered_anyway: Option<TraceId>,
    pub(super) failed: Option<TraceId>,
}

/// One hop, within one operation of the caller.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: usize,
    /// The call's own site: the client or producer span's.
    pub(super) caller: Arc<Site>,
    /// None while the peer sent no telemetry.
    pub(super) callee: Option<Arc<Site>>,
    pub(super) kind: HopKind,
    pub(super) tally: Windowed<Tally>,
    pub(super) failures: Failures,
    pub(super) pauses: Option<Box<Pauses>>,
    pub(super) breaker: Breaker,
    pub(super) keyed_by: Option<Arc<str>>,
    pub(super) examples: Examples,
    pub(super) last_ns: i64,
    execution: u64,
}

/// One logical call, where it stands in its transaction.
#[derive(Clone, Copy)]
pub(super) struct Logical<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) hop: &'a Hop,
    /// The caller's count of executions, this one included.
    pub(super) execution: u64,
    pub(super) at_ns: i64,
}

impl Record {
    pub(super) fn new(place: usize, kind: HopKind, sites: (Arc<Site>, Option<Arc<Site>>), at_ns: i64) -> Self {
        let (caller, callee) = sites;
        Self {
            place,
            caller,
            callee,
            kind,
            tally: Windowed::default(),
            failures: Failures::default(),
            pauses: None,
            breaker: Breaker::default(),
            keyed_by: None,
            examples: Examples::default(),
            last_ns: at_ns,
            execution: 0,
        }
    }

    /// Returns whether somebody waits for the hop.
    pub(super) fn is_synchronous(&self) -> bool {
        self.kind != HopKind::Message
    }

    /// Adds a logical call with all its attempts; returns whether it failed in the end.
    pub(super) fn note(&mut self, call: Logical<'_>, walk: &Walk, place: &Place) -> bool {
        let Logical { transaction, hop, at_ns, .. } = call;
        self.last_ns = self.last_ns.max(at_ns);
        let mut has_failed = false;
        for attempt in hop.tries() {
            has_failed = self.note_attempt(call, attempt, place);
        }
        let attempts = u32::try_from(hop.attempts()).unwrap_or(u32::MAX);
        let site = &transaction.spans[hop.caller].site;
        if attempts > 1 {
            self.note_pauses(call);
        }
        if self.keyed_by.is_none() && site.keyed_by.is_some() {
            self.keyed_by.clone_from(&site.keyed_by);
        }
        let is_new_execution = self.execution != call.execution;
        self.execution = call.execution;
        let tally = self.tally.at(at_ns);
        tally.calls += 1;
        tally.attempts += u64::from(attempts);
        tally.attempts_max = tally.attempts_max.max(attempts);
        tally.executions += u32::from(is_new_execution);
        tally.reached += u32::from(hop.tries().any(|attempt| attempt.callee.is_some()));
        let is_retried = attempts > 1;
        tally.retried += u32::from(is_retried);
        tally.retried_in_time += u32::from(is_retried && !has_failed);
        let (is_keyed, is_unsafe) = (site.keyed_by.is_some(), site.repeat == Repeat::Unsafe);
        tally.keyed += u32::from(is_keyed);
        tally.unsafe_calls += u32::from(is_unsafe);
        tally.unsafe_retried += u32::from(is_unsafe && is_retried);
        tally.unsafe_retried_keyed += u32::from(is_unsafe && is_retried && is_keyed);
        let is_synchronous = self.kind != HopKind::Message;
        tally.depth.note(walk.depth(hop.caller) + u32::from(is_synchronous));
        tally.below.note(hop.callee.filter(|_| is_synchronous).map_or(0, |callee| walk.below(callee)));
        if has_failed {
            self.note_end(call, attempts, walk);
        }
        has_failed
    }

    /// Adds a logical call that failed.
    fn note_end(&mut self, call: Logical<'_>, attempts: u32, walk: &Walk) {
        let Logical { transaction, hop, at_ns, .. } = call;
        let execution = walk.execution(hop.caller);
        let trace = transaction.trace_of(hop.caller);
        // A call outside of any work has no other outcome than its own.
        let is_within = self.is_synchronous() && execution != hop.caller;
        let is_answered = is_within && !transaction.spans[execution].has_error();
        let tally = self.tally.at(at_ns);
        tally.failed += 1;
        tally.failed_by_itself += 1;
        tally.attempts_of_failed += u64::from(attempts);
        tally.failed_within += u32::from(is_within);
        tally.answered_anyway += u32::from(is_answered);
        self.examples.failed = Some(trace);
        if is_answered {
            self.examples.answered_anyway = Some(trace);
        }
    }

    /// Takes back that a failed call failed by itself: one below it did.
    pub(super) fn was_made_to_fail(&mut self, at_ns: i64) {
        let tally = self.tally.at(at_ns);
        tally.failed_by_itself = tally.failed_by_itself.saturating_sub(1);
    }

    /// Adds an attempt; returns whether it failed.
    fn note_attempt(&mut self, call: Logical<'_>, attempt: Attempt, place: &Place) -> bool {
        let ends = Ends::of(call.transaction, attempt);
        // Without a span of the call itself, the called one's is all that is known of it.
        let Some(timed) = Some(ends.caller).filter(|caller| caller.is_outgoing()).or(ends.callee) else { return false };
        let is_shown = ends.caller.is_outgoing();
        let has_failed = if is_shown { ends.has_error() } else { timed.has_error() };
        let duration_ns = timed.duration_ns();
        let ended_ns = timed.end_ns.min(call.at_ns);
        let mut is_rejection = false;
        if !has_failed {
            self.tally.at(call.at_ns).succeeded.note(duration_ns);
            self.failures.note_success(ended_ns, duration_ns);
        } else {
            let answer = if is_shown { answer(call.transaction, &ends) } else { Answer::Failed };
            let trace = call.transaction.trace_of(attempt.caller);
            if answer == Answer::None {
                is_rejection = is_rejected(duration_ns, self.tally.at(call.at_ns).succeeded.median_ns());
            }
            let tally = self.tally.at(call.at_ns);
            tally.failing.note(duration_ns);
            if answer == Answer::WorkedOn {
                tally.worked_on += 1;
                self.examples.worked_on = Some(trace);
            }
            if self.kind != HopKind::Message {
                self.failures.note_failure(Failure { trace, ended_ns, duration_ns, answer });
            }
        }
        let called = Called {
            execution: call.execution,
            start_ns: timed.start_ns.min(call.at_ns),
            has_failed,
            is_rejected: is_rejection,
        };
        if self.is_synchronous() {
            let (tally, at_ns) = (&self.tally, call.at_ns);
            let kept_from = self.breaker.note(called, || usual_share(tally, place, at_ns));
            if kept_from > 0 {
                self.tally.at(at_ns).kept_from += u32::try_from(kept_from).unwrap_or(u32::MAX);
            }
        }
        has_failed
    }

    fn note_pauses(&mut self, call: Logical<'_>) {
        let Logical { transaction, hop, .. } = call;
        let pauses = self.pauses.get_or_insert_default();
        for (place, pause_ns) in hop.retry_gaps_ns(&transaction.spans).enumerate() {
            pauses.note(place, pause_ns);
        }
        self.examples.retried = Some(transaction.trace_of(hop.caller));
    }
}

/// Returns the share of executions in which the caller calls, without those that a breaker kept from it.
pub(super) fn usual_share(tally: &Windowed<Tally>, place: &Place, now_ns: i64) -> f64 {
    let calls = tally.both(now_ns);
    let executions = place.counted.both(now_ns).saturating_sub(calls.kept_from).max(1);
    (f64::from(calls.executions) / f64::from(executions)).min(1.0)
}

/// Returns how a call that failed looked on the other side.
fn answer(transaction: &Transaction, ends: &Ends<'_>) -> Answer {
    let (caller, Some(callee)) = (ends.caller, ends.callee) else { return Answer::None };
    if has_worked_on(transaction, caller, callee) {
        return Answer::WorkedOn;
    }
    if callee.has_error() { Answer::Failed } else { Answer::Fine }
}

/// A called one that lasts longer than the whole call outlived it, whatever the clocks say; one that ends later may.
pub(crate) fn has_worked_on(transaction: &Transaction, caller: &Span, callee: &Span) -> bool {
    let call_ns = caller.duration_ns();
    if callee.duration_ns() > call_ns.saturating_add(WORKED_ON_MIN_NS) {
        return caller.has_error();
    }
    let late_ns = callee.end_ns.saturating_sub(caller.end_ns);
    let is_within = transaction.skews.is_empty() && callee.start_ns >= caller.start_ns;
    caller.has_error() && is_within && late_ns >= WORKED_ON_CLOCKS_MIN_NS.max(call_ns / 10)
}
