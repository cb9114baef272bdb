//! One pass over a trace that closed: which operations were executed, which calls made, and what of it went wrong. Called
//! by the detector for every trace once. Where an execution fails, exactly one place is said to fail: the deepest that
//! nothing below explains.

use collector_table::SpanKind;

use super::occasion::{Example, Occasion, Of, Wrong};
use super::{Rates, SHORT_CUTS_MAX, name, peer_name};
use crate::hazards::has_worked_on;
use crate::span::{Site, Span};
use crate::transaction::{Hop, HopKind, NO_PARENT, Transaction};
use std::sync::Arc;

/// Who calls, by what, and whom as far as the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Side {
    execution: u64,
    call: u64,
    target: u64,
}

/// Places of calls from one side, by whom they reached.
#[derive(Debug, Default)]
pub(super) struct Callees {
    /// By the called one's shape.
    known: Vec<(u64, usize)>,
    /// Calls that reached nobody, while it is not known whom they are for.
    unreached: Option<usize>,
}

/// Called ones that are told apart of one side.
const CALLEES_MAX: usize = 16;
/// Part of the usual time of a call below which one that failed was rejected before it left.
const REJECTED_SHARE: f64 = 0.25;
/// Blocks in which it is looked how long calls usually take.
const USUAL_BLOCKS: i64 = 60;
/// Stands for no span.
const NO_SPAN: u32 = u32::MAX;

/// What is worked out of the transaction at hand; its room is kept between transactions.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Span with which the service began the work that a span is part of.
    executions: Vec<u32>,
    /// Place of the execution that begins with a span.
    places: Vec<Option<usize>>,
    /// Whether what an execution failed by is known: something that it called.
    is_explained: Vec<bool>,
}

/// A transaction as it is counted.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    transaction: &'a Transaction,
    block: i64,
}

impl Seen<'_> {
    fn example(&self, site: &Arc<Site>) -> Example {
        Example {
            id: self.transaction.id,
            root: Some(self.transaction.root_span().site.clone()),
            duration_ms: self.transaction.duration_ns as f64 / 1e6,
            site: Some(site.clone()),
        }
    }
}

impl Rates {
    /// Counts a trace that closed for the first time, in `block`.
    pub(in crate::detect) fn add(&mut self, transaction: &Transaction, block: i64) {
        if self.operations.len() + self.sides.len() >= SHORT_CUTS_MAX {
            self.drop_short_cuts();
        }
        self.occasions.begin();
        let mut pass = std::mem::take(&mut self.pass);
        let seen = Seen { transaction, block };
        let has_errors = self.mark_executions(&mut pass, seen);
        for hop in transaction.hops.iter().filter(|hop| hop.kind != HopKind::Message) {
            self.mark_call(&mut pass, seen, hop);
        }
        if has_errors {
            self.mark_failures(&pass, seen);
        }
        self.mark_begin(&pass, seen);
        self.pass = pass;
    }

    /// Counts executions; returns whether any span failed.
    fn mark_executions(&mut self, pass: &mut Pass, seen: Seen<'_>) -> bool {
        let Seen { transaction, block, .. } = seen;
        let spans = &transaction.spans;
        pass.executions.clear();
        pass.places.clear();
        pass.places.resize(spans.len(), None);
        pass.is_explained.clear();
        pass.is_explained.resize(spans.len(), false);
        let mut has_errors = false;
        for (index, span) in spans.iter().enumerate() {
            has_errors |= span.has_error();
            let (own, parent) = (u32::try_from(index).unwrap_or(NO_SPAN), transaction.nodes[index].parent);
            let begins = transaction.begins_execution(index);
            pass.executions.push(if begins { own } else { pass.executions[parent as usize] });
            if !begins {
                continue;
            }
            let Some(place) = self.operation(&span.site, block) else { continue };
            pass.places[index] = Some(place);
            self.occasions.occurs(place, block, own, &span.site);
            // Of several, the first counts, as for the calls that are made within it.
            let is_first = self.occasions.slots.get(place).is_some_and(|place| place.first == own);
            if is_first && !span.has_error() && transaction.is_complete {
                self.occasions.is_good(place, block, span.duration_ns() as f64 / 1e6);
            }
        }
        has_errors
    }

    /// Returns the place of an operation's executions.
    pub(super) fn operation(&mut self, site: &Site, block: i64) -> Option<usize> {
        if let Some(&place) = self.operations.get(&site.number) {
            return Some(place);
        }
        let place = self.occasions.slots.id(Occasion { of: Of::Execution, by: name(site), to: None }, block)?;
        self.operations.insert(site.number, place);
        Some(place)
    }

    /// Counts a call and what went wrong with it.
    fn mark_call(&mut self, pass: &mut Pass, seen: Seen<'_>, hop: &Hop) {
        let Seen { transaction, block, .. } = seen;
        let spans = &transaction.spans;
        let execution = pass.executions[hop.caller] as usize;
        let (caller, root) = (&spans[hop.caller], &spans[execution]);
        let Some(within) = pass.places[execution] else { return };
        let Some(place) = self.call(within, root, caller, transaction, hop, block) else { return };
        let own = u32::try_from(hop.caller).unwrap_or(NO_SPAN);
        self.occasions.occurs(place, block, own, &caller.site);
        let callee = hop.callee.map(|callee| &spans[callee]);
        // Without a span of its own for the call, the caller's span says nothing of how the call went.
        let has_failed = if caller.is_outgoing() { caller.has_error() } else { callee.is_some_and(Span::has_error) };
        let is_first = self.occasions.slots.get(within).is_some_and(|place| place.first as usize == execution);
        if !has_failed && !root.has_error() && is_first && transaction.is_complete {
            self.occasions.is_good(place, block, caller.duration_ns() as f64 / 1e6);
        }
        if !hop.earlier.is_empty() {
            let further = hop.earlier.len() as f64;
            self.occasions.goes_wrong(place, (Wrong::Retried, further), block, || seen.example(&caller.site));
            if self.is_answered(seen, hop, place) {
                let example = || seen.example(&caller.site);
                self.occasions.goes_wrong(place, (Wrong::RetriedErrors, further), block, example);
            }
        }
        self.mark_work_for_nobody(seen, hop, place);
        if has_failed {
            self.mark_failed_call(pass, seen, hop, place);
        } else if callee.is_none() && caller.is_outgoing() && self.is_usually_reached(place) {
            self.occasions.goes_wrong(place, (Wrong::Unreached, 0.0), block, || seen.example(&caller.site));
        }
    }

    /// Returns whether the attempts in vain were answered by errors, and not given up on.
    fn is_answered(&self, seen: Seen<'_>, hop: &Hop, place: usize) -> bool {
        let spans = &seen.transaction.spans;
        hop.earlier.iter().all(|attempt| match attempt.callee.map(|callee| &spans[callee]) {
            Some(callee) => callee.has_error() && !has_worked_on(seen.transaction, &spans[attempt.caller], callee),
            None => {
                !self.is_usually_reached(place) && !self.is_as_long_as_usual(place, seen.block, &spans[attempt.caller])
            }
        })
    }

    /// Counts work that went on after its caller had given up.
    fn mark_work_for_nobody(&mut self, seen: Seen<'_>, hop: &Hop, place: usize) {
        let spans = &seen.transaction.spans;
        for attempt in hop.tries() {
            let (caller, Some(callee)) = (&spans[attempt.caller], attempt.callee.map(|callee| &spans[callee])) else {
                continue;
            };
            if caller.has_error() && has_worked_on(seen.transaction, caller, callee) {
                let by_duration = callee.duration_ns().saturating_sub(caller.duration_ns());
                let wasted_ns = by_duration.max(callee.end_ns.saturating_sub(caller.end_ns));
                let wasted_ms = wasted_ns.max(0) as f64 / 1e6;
                let example = || seen.example(&callee.site);
                self.occasions.goes_wrong(place, (Wrong::WorkedOn, wasted_ms), seen.block, example);
            }
        }
    }

    /// Says of a failed call whether it explains that its caller failed, and whether the called one says so itself.
    fn mark_failed_call(&mut self, pass: &mut Pass, seen: Seen<'_>, hop: &Hop, place: usize) {
        let Seen { transaction, block, .. } = seen;
        let spans = &transaction.spans;
        let execution = pass.executions[hop.caller] as usize;
        let (caller, callee) = (&spans[hop.caller], hop.callee.map(|callee| &spans[callee]));
        let example = || seen.example(&callee.unwrap_or(caller).site);
        if !spans[execution].has_error() {
            let has_reached = callee.is_some() || self.is_as_long_as_usual(place, block, caller);
            self.occasions.goes_wrong(place, (Wrong::Absorbed, f64::from(u8::from(has_reached))), block, example);
            return;
        }
        pass.is_explained[execution] = true;
        if callee.is_some_and(Span::has_error) {
            return;
        }
        // A peer that never shows its work says by nothing else that it failed.
        let is_silent = callee.is_none() && !self.is_usually_reached(place);
        let wrong = if is_silent { Wrong::Fails } else { Wrong::CutOff };
        self.occasions.goes_wrong(place, (wrong, 0.0), block, example);
    }

    /// Says of executions that failed, and of nothing that they called, that they failed by themselves.
    fn mark_failures(&mut self, pass: &Pass, seen: Seen<'_>) {
        for (index, span) in seen.transaction.spans.iter().enumerate() {
            let Some(place) = pass.places[index].filter(|_| span.has_error() && !pass.is_explained[index]) else {
                continue;
            };
            self.occasions.goes_wrong(place, (Wrong::Fails, 0.0), seen.block, || seen.example(&span.site));
        }
    }

    /// Counts that an execution began a transaction, and so had no caller that it knows. Of those that take messages it is
    /// known only later.
    fn mark_begin(&mut self, pass: &Pass, seen: Seen<'_>) {
        let transaction = seen.transaction;
        let root = transaction.root_span();
        let begins = transaction.nodes[transaction.root].parent == NO_PARENT && root.parent_span_id().is_none();
        let Some(place) = pass.places[transaction.root].filter(|_| begins && root.kind() != SpanKind::Consumer) else {
            return;
        };
        self.occasions.goes_wrong(place, (Wrong::Begins, 0.0), seen.block, || seen.example(&root.site));
    }

    /// Returns whether calls of a place reached a span of the called one.
    fn is_usually_reached(&self, place: usize) -> bool {
        self.occasions.slots.get(place).is_some_and(|place| place.is_reached)
    }

    /// Returns whether a call of a place that nobody shows took so long that it may have reached somebody: what a breaker
    /// rejects takes next to no time.
    fn is_as_long_as_usual(&self, place: usize, block: i64, caller: &Span) -> bool {
        let Some(place) = self.occasions.slots.get(place) else { return true };
        let usual = place.between(block - USUAL_BLOCKS, block - 1);
        let usual_ms = f64::from(usual.good_ms) / f64::from(usual.good.max(1));
        caller.duration_ns() as f64 / 1e6 >= REJECTED_SHARE * usual_ms
    }

    /// Returns the place of a call.
    fn call(
        &mut self,
        within: usize,
        root: &Span,
        caller: &Span,
        transaction: &Transaction,
        hop: &Hop,
        block: i64,
    ) -> Option<usize> {
        let callee = hop.tries().find_map(|attempt| attempt.callee).map(|callee| &*transaction.spans[callee].site);
        let (call, target) = if caller.is_outgoing() { (caller.site.shape, caller.site.peer_hash) } else { (0, 0) };
        let side = Side { execution: root.site.shape, call, target };
        if let Some(place) = self.sides.get_mut(&side).and_then(|callees| callees.find(callee)) {
            return Some(place);
        }
        let is_full = self.sides.get(&side).is_some_and(|callees| callees.known.len() >= CALLEES_MAX);
        if is_full {
            self.occasions.slots.left_out += 1;
            return None;
        }
        let to = callee.map_or_else(|| peer_name(&caller.site), name);
        let place = self.occasions.slots.id(Occasion { of: Of::Call, by: name(&root.site), to: Some(to) }, block)?;
        if let Some(known) = self.occasions.slots.get_mut(place) {
            known.within = Some(within);
            known.is_reached |= callee.is_some();
        }
        self.sides.entry(side).or_default().note(callee, place);
        Some(place)
    }
}

impl Callees {
    /// Returns the place of calls to a called one. A call that reached nobody is one of those from the same side, if all
    /// that reached somebody reached the same.
    fn find(&self, callee: Option<&Site>) -> Option<usize> {
        match (callee, &self.known[..]) {
            (Some(callee), known) => known.iter().find(|(shape, _)| *shape == callee.shape).map(|(_, place)| *place),
            (None, [(_, place)]) => Some(*place),
            (None, _) => self.unreached,
        }
    }

    fn note(&mut self, callee: Option<&Site>, place: usize) {
        match callee {
            Some(callee) => self.known.push((callee.shape, place)),
            None => self.unreached = Some(place),
        }
    }
}
