//! What a transaction is made of, as numbers: each span's own time, the gap of each call, the wait of each message.
//! A step is what like spans share; baselines are kept per step, so that a change of traffic mix changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use collector_table::SpanKind;

use crate::stitch::is_entry;
use crate::transaction::{Cause, HopKind, Span, Transaction};

/// Identifies a step within one detector.
pub(super) type StepId = usize;

/// What a step's milliseconds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// A span's own time, or what it waited for a peer or between the two ends of a call or message.
    Own(Cause),
    /// A whole span with all below it; says who is affected, never who is to blame.
    Whole,
}

/// What like spans share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Step {
    /// Service that owns the time; the caller's for a gap, the producer's for a wait.
    pub(super) service: Arc<str>,
    /// Operation; the callee's for a gap or a wait.
    pub(super) operation: Arc<str>,
    /// What is measured.
    pub(super) what: What,
    /// Called service of a gap or wait, or the peer that sends no telemetry.
    pub(super) other: Option<Arc<str>>,
}

impl Step {
    /// Returns why the step's time passes; none for a whole span.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.what {
            What::Own(cause) => Some(cause),
            What::Whole => None,
        }
    }

    /// Returns whether one of its two ends is among some services.
    pub(super) fn touches(&self, is_touched: impl Fn(&str) -> bool) -> bool {
        is_touched(&self.service) || self.other.as_ref().is_some_and(|other| is_touched(other))
    }

    /// Returns the second service that can be to blame: the far end of a gap or wait.
    pub(super) fn far_end(&self) -> Option<&Arc<str>> {
        let is_between = matches!(self.what, What::Own(Cause::NetworkGap | Cause::QueueWait));
        self.other.as_ref().filter(|other| is_between && **other != self.service)
    }
}

/// One step of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    /// Which step.
    pub(super) step: StepId,
    /// Step of the operation that it is part of: the nearest entry span above it in its service.
    pub(super) within: Option<StepId>,
    /// Milliseconds that it took, all told.
    pub(super) ms: f64,
    /// Milliseconds of it on the transaction's critical path.
    pub(super) path_ms: f64,
}

/// Knows all steps by number, up to a bound.
#[derive(Debug)]
pub(super) struct Steps {
    ids: HashMap<Step, StepId>,
    steps: Vec<Step>,
    max: usize,
    /// Observations left out because there were too many steps.
    pub(super) left_out: u64,
}

impl Steps {
    pub(super) fn new(max: usize) -> Self {
        Self { ids: HashMap::new(), steps: Vec::new(), max, left_out: 0 }
    }

    pub(super) fn get(&self, id: StepId) -> &Step {
        &self.steps[id]
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    fn id(&mut self, step: Step) -> Option<StepId> {
        if let Some(&id) = self.ids.get(&step) {
            return Some(id);
        }
        if self.steps.len() >= self.max {
            self.left_out += 1;
            return None;
        }
        let id = self.steps.len();
        self.steps.push(step.clone());
        self.ids.insert(step, id);
        Some(id)
    }

    /// Returns the steps of a transaction: each span's own time, each wait of a message, each whole entry span.
    pub(super) fn observe(&mut self, transaction: &Transaction) -> Vec<Observation> {
        let spans = &transaction.spans;
        let times = PathTimes::of(transaction);
        let mut observations = Vec::with_capacity(spans.len() * 2);
        let mut within: Vec<Option<StepId>> = Vec::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            let parent = transaction.parents[index];
            let begins = is_entry(span) || parent.is_none_or(|parent| spans[parent].service != span.service);
            within.push(if begins { self.id(whole(span)) } else { parent.and_then(|parent| within[parent]) });
            if begins && let Some(step) = within[index] {
                let ms = ms(span.duration_ns());
                observations.push(Observation { step, within: None, ms, path_ms: 0.0 });
            }
            if let Some(step) = self.id(own_step(transaction, index, times.callees[index])) {
                // Time beside work that nobody waits for is on the path, but was never the span's own.
                let own_ns = transaction.self_ns[index];
                let (ms, path_ms) = (ms(own_ns), ms(times.own_ns[index].min(own_ns)));
                observations.push(Observation { step, within: within[index], ms, path_ms });
            }
        }
        for hop in transaction.hops.iter().filter(|hop| hop.kind == HopKind::Message) {
            let Some(consumer) = hop.callee else { continue };
            if let Some(step) = self.id(between(transaction, hop.caller, consumer, Cause::QueueWait)) {
                let path_ms = ms(times.wait_ns.get(&consumer).copied().unwrap_or(0));
                let within = within[consumer];
                observations.push(Observation { step, within, ms: ms(hop.gap_ns.unwrap_or(0)), path_ms });
            }
        }
        observations
    }
}

/// Time on the critical path by span, and which span each caller calls.
struct PathTimes {
    own_ns: Vec<i64>,
    wait_ns: HashMap<usize, i64>,
    callees: Vec<Option<usize>>,
}

impl PathTimes {
    fn of(transaction: &Transaction) -> Self {
        let spans = transaction.spans.len();
        let mut times = Self { own_ns: vec![0; spans], wait_ns: HashMap::new(), callees: vec![None; spans] };
        for segment in &transaction.critical_path {
            let length = segment.end_ns - segment.start_ns;
            match segment.cause {
                Cause::QueueWait => *times.wait_ns.entry(segment.span).or_default() += length,
                Cause::Unexplained => {}
                Cause::SelfTime | Cause::NetworkGap | Cause::UninstrumentedPeer => times.own_ns[segment.span] += length,
            }
        }
        for hop in transaction.hops.iter().filter(|hop| hop.kind != HopKind::Message) {
            times.callees[hop.caller] = hop.callee.or(times.callees[hop.caller]);
        }
        times
    }
}

fn own_step(transaction: &Transaction, index: usize, callee: Option<usize>) -> Step {
    let span = &transaction.spans[index];
    let is_client = span.kind == SpanKind::Client;
    if let Some(callee) = callee.filter(|_| is_client) {
        return between(transaction, index, callee, Cause::NetworkGap);
    }
    let peer = span.peer.clone().filter(|_| is_client);
    let cause = if peer.is_some() { Cause::UninstrumentedPeer } else { Cause::SelfTime };
    Step { service: span.service.clone(), operation: span.operation.clone(), what: What::Own(cause), other: peer }
}

fn whole(span: &Span) -> Step {
    Step { service: span.service.clone(), operation: span.operation.clone(), what: What::Whole, other: None }
}

fn between(transaction: &Transaction, caller: usize, callee: usize, cause: Cause) -> Step {
    let (from, to) = (&transaction.spans[caller], &transaction.spans[callee]);
    Step {
        service: from.service.clone(),
        operation: to.operation.clone(),
        what: What::Own(cause),
        other: Some(to.service.clone()),
    }
}

/// Returns nanoseconds as milliseconds, never negative.
fn ms(ns: i64) -> f64 {
    ns.max(0) as f64 / 1e6
}
