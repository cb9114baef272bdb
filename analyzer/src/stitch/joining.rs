//! Transactions of several traces: which closed traces wait for others, when what they form is given out, and when it
//! is given out again. Driven by `open` with the facts of arriving spans and with every trace that closes.
//! A trace that says nothing of others never gets here. Every bound is a field of [`StitcherLimits`].

mod keep;
mod note;
mod told;

pub(crate) use keep::HeldBack;
pub(super) use keep::Reopened;
pub(super) use note::SpanIndex;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use collector_table::TraceId;

use super::closure::Part;
use super::facts::Side;
use super::graph::{Graph, NOWHERE, Ready};
use super::limits::{JoinStats, StitcherLimits};
use super::tree::{Header, Trees};
use crate::hash::{Map, Set};
use crate::join::{Refusal, Refused, Rule};
use crate::transaction::{CloseReason, HopKind, NO_PARENT, Transaction};
use told::TraceTold;

/// Revisions of one transaction; joins that are found later are left out, except at the end of the input.
pub(super) const REVISIONS_MAX: u32 = 8;
/// Spans of one trace whose messages are waited for.
const UNANSWERED_MAX: usize = 64;
/// Refusals that are told with one transaction.
const REFUSED_TOLD: usize = 8;

/// What was given out of a trace, and what is to come.
#[derive(Debug)]
struct Life {
    revision: u32,
    superseded_by: Option<TraceId>,
    /// Of what was given out last.
    signature: u64,
    /// Until then it waits for traces that it seems to have caused, or to be caused by.
    due_ns: i64,
    /// When it is looked at again, as it was last asked for.
    wakes_ns: i64,
    /// Spans that handed over a message on which nothing in the trace works.
    unanswered: Vec<u32>,
    ready_ns: i64,
    kept_ns: i64,
    reason: CloseReason,
    /// As it was closed, until it is given out for the first time.
    pending: Option<Box<Transaction>>,
    /// Whether it was judged as it was closed.
    is_seen: bool,
    /// Part of it was let go of: it is not given out again.
    is_frozen: bool,
    refused: Vec<(Rule, u16, Refusal)>,
    told: TraceTold,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            revision: 0,
            superseded_by: None,
            signature: 0,
            due_ns: i64::MIN,
            wakes_ns: i64::MIN,
            unanswered: Vec::new(),
            ready_ns: i64::MAX,
            kept_ns: i64::MIN,
            reason: CloseReason::Settled,
            pending: None,
            is_seen: false,
            is_frozen: false,
            refused: Vec::new(),
            told: TraceTold::default(),
        }
    }
}

impl Life {
    /// Has a trace be judged as it was closed: something else is given out in its place. No more wait for that than can
    /// be open.
    fn see(&mut self, seen: &mut Vec<Transaction>, limits: &StitcherLimits) {
        if let Some(whole) = self.pending.take()
            && !std::mem::replace(&mut self.is_seen, true)
            && seen.len() < limits.open_transactions_max
        {
            seen.push(*whole);
        }
    }
}

/// How much is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As the limits say.
    Usual,
    /// Not at all: there must be room.
    None,
    /// Not at all, and nothing can follow: the input ended.
    End,
}

/// Holds traces that something may join.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    pub(super) graph: Graph,
    lives: Map<TraceId, Life>,
    /// Origins that wait, so that nobody has to go through all that is kept to list them.
    waiting: Set<TraceId>,
    /// Traces that were closed at a bound: later spans of them are not of what is held. Few, so that asking is cheap.
    sealed: Set<TraceId>,
    /// Traces that closed for the first time since this was last asked.
    first_closed: Vec<TraceId>,
    /// Such traces as they were closed, of which something else was given out by now.
    first_seen: Vec<Transaction>,
    wakes: BinaryHeap<Reverse<(i64, TraceId)>>,
    /// Ready traces by when they were last of use; entries may be outdated.
    kept: VecDeque<(i64, TraceId)>,
    kept_spans: usize,
    ready_count: usize,
    /// Values that more traces carry than one piece of work has, with when they were last seen.
    crowded: Map<u64, i64>,
    /// Traces to look at once the table at hand is read.
    stirred: BTreeSet<TraceId>,
    /// No transaction is given out one by one: the input ended.
    is_ending: bool,
    /// Traces that were let go of, until the stitcher is told.
    let_go: Vec<TraceId>,
    tidied_ns: i64,
    stats: JoinStats,
}

/// What the joiner needs from the stitcher for a step.
pub(super) struct Step<'a> {
    pub(super) limits: &'a StitcherLimits,
    pub(super) trees: &'a mut Trees,
    /// Tells whether a trace still waits for spans.
    pub(super) is_open: &'a dyn Fn(TraceId) -> bool,
    pub(super) now_ns: i64,
    pub(super) done: &'a mut Vec<Transaction>,
}

/// A trace that stops waiting for spans.
pub(super) struct Closing {
    pub(super) whole: Transaction,
    pub(super) opened_ns: i64,
    /// Of what was given out of it before; 0 for nothing.
    pub(super) revision: u32,
}

impl Joiner {
    /// Returns whether something may join a trace to others.
    pub(super) fn wants(&self, id: TraceId) -> bool {
        self.graph.nodes.contains_key(&id) || self.graph.linkers.contains_key(&id)
    }

    /// Returns whether a closed trace handed over a message that nothing in it works on.
    pub(super) fn expects(whole: &Transaction) -> bool {
        unanswered(whole).next().is_some()
    }

    /// Takes over a trace that closed, and gives out what is whole by that.
    pub(super) fn ready(&mut self, step: &mut Step<'_>, closing: Closing) {
        let id = closing.whole.id;
        let life = self.lives.entry(id).or_default();
        life.ready_ns = life.ready_ns.min(step.now_ns);
        life.revision = life.revision.max(closing.revision);
        if closing.revision > 0 {
            life.told.note_late(&closing.whole);
        }
        (life.kept_ns, life.reason) = (step.now_ns, closing.whole.close_reason);
        life.due_ns = step.now_ns.saturating_add(step.limits.join_wait_ns);
        if life.reason.is_cut() {
            self.sealed.insert(id);
        } else {
            self.sealed.remove(&id);
        }
        life.unanswered = unanswered(&closing.whole).take(UNANSWERED_MAX).collect();
        self.kept.push_back((step.now_ns, id));
        self.kept_spans += closing.whole.spans.len();
        self.ready_count += 1;
        let ready = ready(&closing);
        self.place_facts(id, ready);
        // No more can close between two looks than were open.
        if closing.whole.revision == 1 && self.first_closed.len() < step.limits.open_transactions_max {
            self.first_closed.push(id);
        }
        if let Some(life) = self.lives.get_mut(&id) {
            life.pending = Some(Box::new(closing.whole));
        }
        self.graph.changed();
        if self.is_ending {
            return;
        }
        self.note_values(id);
        self.stirred.insert(id);
        self.stirred.extend(self.graph.partners(id));
    }

    /// Returns whether a trace lacks another, and whether one that shares something with it is open. A batch is asked for
    /// every transaction that it serves.
    fn waits(&mut self, step: &Step<'_>, id: TraceId) -> (bool, bool) {
        if let Some(known) = self.graph.known_waits.get(&id) {
            return *known;
        }
        let waits = (self.lacks(step, id), self.graph.sharing(id).any(step.is_open));
        self.graph.known_waits.insert(id, waits);
        waits
    }

    /// Returns whether a trace seems to lack one that it caused, or that caused it.
    fn lacks(&mut self, step: &Step<'_>, id: TraceId) -> bool {
        let edges = self.graph.edges(step.limits, id);
        let Some((node, life)) = self.graph.nodes.get(&id).zip(self.lives.get(&id)) else { return false };
        let is_answered = |at: u32| edges.effects.iter().any(|edge| edge.from_at == at);
        let is_unknown = |trace: TraceId| !self.graph.nodes.contains_key(&trace) && !(step.is_open)(trace);
        let is_entry = node.ready.as_ref().is_some_and(|ready| ready.spans[ready.root as usize].is_entry());
        let takes_messages = || node.facts.iter().any(|held| held.fact.side == Side::Consumer);
        let is_uncaused = is_entry && edges.causes.is_empty() && takes_messages();
        is_uncaused
            || !life.unanswered.iter().all(|&at| is_answered(at))
            || node.links.iter().any(|link| is_unknown(link.trace))
    }

    /// Returns traces, each as a transaction, that closed for the first time since this was last asked, but for those that
    /// were given out like that.
    pub(super) fn take_first_seen(&mut self) -> Vec<Transaction> {
        let mut seen = std::mem::take(&mut self.first_seen);
        for id in std::mem::take(&mut self.first_closed) {
            let Some(life) = self.lives.get_mut(&id).filter(|life| !life.is_seen) else { continue };
            if let Some(waiting) = &life.pending {
                life.is_seen = true;
                seen.push((**waiting).clone());
            }
        }
        seen
    }

    /// Gives out what became whole, or changed, since the last time.
    pub(super) fn settle(&mut self, step: &mut Step<'_>) {
        while let Some(Reverse((at_ns, id))) = self.wakes.peek().copied()
            && at_ns <= step.now_ns
        {
            self.wakes.pop();
            self.stirred.insert(id);
        }
        self.graph.known_waits.clear();
        if !self.stirred.is_empty() {
            let stirred = std::mem::take(&mut self.stirred);
            self.give_out(step, stirred, Patience::Usual);
        }
        self.forget(step);
    }

    /// Gives out everything that was not given out as it is now: the input ended.
    pub(super) fn finish(&mut self, step: &mut Step<'_>) {
        self.is_ending = false;
        self.stirred.clear();
        // In order of time, as they would have come.
        let ready = self.graph.nodes.iter().filter_map(|(id, node)| Some((node.ready.as_ref()?.start_ns, *id)));
        let mut in_order: Vec<(i64, TraceId)> = ready.collect();
        in_order.sort_unstable();
        in_order.into_iter().for_each(|(_, id)| self.note_values(id));
        self.graph.changed();
        let all: BTreeSet<TraceId> = self.graph.nodes.keys().copied().collect();
        self.give_out(step, all, Patience::End);
    }

    /// Has all that is closed from here on wait for the end.
    pub(super) fn begin_end(&mut self) {
        self.is_ending = true;
    }

    fn give_out(&mut self, step: &mut Step<'_>, ids: BTreeSet<TraceId>, patience: Patience) {
        let mut origins: BTreeSet<TraceId> = BTreeSet::new();
        for id in ids {
            if self.graph.nodes.get(&id).is_some_and(|node| node.ready.is_some()) {
                origins.extend(self.graph.origins(step.limits, id));
            }
        }
        for origin in origins {
            self.give_out_one(step, origin, patience);
        }
    }

    fn give_out_one(&mut self, step: &mut Step<'_>, origin: TraceId, patience: Patience) {
        let parts = self.graph.closure(step.limits, origin);
        if patience == Patience::Usual && self.must_wait(step, origin, &parts) {
            self.waiting.insert(origin);
            return;
        }
        self.waiting.remove(&origin);
        let signature = self.graph.signature(&parts);
        let Some(life) = self.lives.get_mut(&origin) else { return };
        let is_known = life.revision > 0 && life.signature == signature && life.superseded_by.is_none();
        if is_known && life.pending.is_none() || life.is_frozen {
            return;
        }
        if life.revision >= REVISIONS_MAX && patience != Patience::End {
            self.stats.at_revision_limit += 1;
            return;
        }
        let header = Header { id: origin, revision: life.revision + 1, close_reason: life.reason, duplicates: 0 };
        let given = if parts.len() == 1
            && let Some(whole) = life.pending.take()
        {
            let was_seen = std::mem::replace(&mut life.is_seen, true) || header.revision > 1;
            Some(Transaction { revision: header.revision, was_seen, ..*whole })
        } else {
            life.see(&mut self.first_seen, step.limits);
            let woven = self.graph.weave(step.trees, &parts, header);
            woven.map(|woven| Transaction { was_seen: true, ..woven })
        };
        let Some(mut given) = given else { return };
        if let Some(life) = self.lives.get_mut(&origin) {
            life.revision += 1;
            life.signature = signature;
            life.superseded_by = None;
        }
        given.refused = self.refused_of(&parts);
        self.tell(&parts, &mut given);
        self.stats.joined += u64::from(parts.len() > 1);
        step.done.push(given);
        for part in parts.iter().skip(1) {
            self.supersede(step, part.id, origin);
        }
        if parts.len() > 1 {
            parts.iter().for_each(|part| self.keep_on(part.id, step.now_ns));
        }
    }

    /// Returns whether a trace of a transaction, or one that may become part of it, is still to come.
    fn must_wait(&mut self, step: &Step<'_>, origin: TraceId, parts: &[Part]) -> bool {
        let ready_ns = |life: &Life| life.ready_ns;
        let Some(waiting_since_ns) = self.lives.get(&origin).map(ready_ns) else { return false };
        let patience_until_ns = waiting_since_ns.saturating_add(step.limits.join_wait_max_ns);
        if step.now_ns >= patience_until_ns {
            return false;
        }
        for part in parts {
            let due_ns = self.lives.get(&part.id).map_or(i64::MIN, |life| life.due_ns);
            let (lacks, is_awaited) = self.waits(step, part.id);
            if due_ns > step.now_ns && lacks {
                self.wake(part.id, due_ns);
                return true;
            }
            if is_awaited {
                self.wake(origin, patience_until_ns);
                return true;
            }
        }
        false
    }

    /// Has a trace be looked at again, unless it is by then anyway.
    fn wake(&mut self, id: TraceId, at_ns: i64) {
        let Some(life) = self.lives.get_mut(&id).filter(|life| life.wakes_ns != at_ns) else { return };
        life.wakes_ns = at_ns;
        self.wakes.push(Reverse((at_ns, id)));
    }

    /// Takes back a transaction that was given out, and turned out to be part of another.
    fn supersede(&mut self, step: &mut Step<'_>, id: TraceId, by: TraceId) {
        let Some(life) = self.lives.get_mut(&id) else { return };
        life.see(&mut self.first_seen, step.limits);
        if life.revision == 0 || life.superseded_by.is_some() {
            return;
        }
        life.revision += 1;
        life.superseded_by = Some(by);
        let header = Header { id, revision: life.revision, close_reason: CloseReason::Superseded, duplicates: 0 };
        let alone = [Part::alone(id)];
        if let Some(given) = self.graph.weave(step.trees, &alone, header) {
            self.stats.superseded += 1;
            step.done.push(Transaction { superseded_by: Some(by), was_seen: true, ..given });
        }
    }

    /// Returns the refusals that concern traces of a transaction.
    fn refused_of(&self, parts: &[Part]) -> Vec<Refused> {
        let mut all: Vec<(Rule, u16, Refusal, TraceId)> = Vec::new();
        for part in parts {
            let own = self.lives.get(&part.id).into_iter().flat_map(|life| &life.refused);
            all.extend(own.map(|&(rule, key, why)| (rule, key, why, part.id)));
            let Some(node) = self.graph.nodes.get(&part.id) else { continue };
            let joining = node.tokens().filter(|held| self.graph.may_join(held.fact.key));
            let groups = joining.filter_map(|held| self.graph.groups.get(&held.fact.token));
            all.extend(groups.filter_map(|group| Some((group.rule, group.key, group.refused?, part.id))));
        }
        all.sort_unstable();
        let mut told: Vec<Refused> = Vec::new();
        for (rule, key, why, trace_id) in all {
            let key = self.graph.discovery.name(key);
            if let Some(last) = told.last_mut()
                && (last.rule, last.why) == (rule, why)
                && last.key == key
            {
                last.count += 1;
            } else if told.len() < REFUSED_TOLD {
                told.push(Refused { rule, key, why, count: 1, trace_id });
            }
        }
        told
    }

    /// Returns the ids of the transactions that a trace is part of, as known now; none if it is unknown here.
    pub(super) fn transactions_of(&mut self, limits: &StitcherLimits, id: TraceId) -> Vec<TraceId> {
        match self.graph.nodes.get(&id) {
            Some(node) if node.ready.is_some() => self.graph.origins(limits, id),
            _ => Vec::new(),
        }
    }

    /// Returns the ids of the transactions whose traces carry a value of a key that joins; the first value that does
    /// speaks.
    pub(super) fn transactions_with(&mut self, limits: &StitcherLimits, tokens: &[u64]) -> Vec<TraceId> {
        for token in tokens {
            let Some(group) = self.graph.groups.get(token) else { continue };
            if group.refused.is_some() || !self.graph.discovery.joins(group.key) {
                continue;
            }
            let traces = group.traces.clone();
            let origins: BTreeSet<TraceId> =
                traces.into_iter().flat_map(|id| self.transactions_of(limits, id)).collect();
            if !origins.is_empty() {
                return origins.into_iter().collect();
            }
        }
        Vec::new()
    }

    /// Returns whether a trace was closed at a bound, and is held as it was then.
    pub(super) fn is_sealed(&self, id: TraceId) -> bool {
        self.sealed.contains(&id)
    }

    /// Returns the revision of a trace that was given out last; 0 for none.
    pub(super) fn revision(&self, id: TraceId) -> u32 {
        self.lives.get(&id).map_or(0, |life| life.revision)
    }

    /// Returns the traces that a trace links to and that are not held here.
    pub(super) fn linked_from(&self, id: TraceId) -> Vec<TraceId> {
        let links = self.graph.nodes.get(&id).into_iter().flat_map(|node| &node.links);
        links.map(|link| link.trace).filter(|trace| !self.graph.nodes.contains_key(trace)).collect()
    }

    pub(super) fn stats(&self) -> JoinStats {
        let (traces, values) = (self.graph.nodes.len(), self.graph.groups.len());
        JoinStats { refused: self.graph.refusals.total(), kept_spans: self.kept_spans, traces, values, ..self.stats }
    }
}

/// Returns the spans that handed over a message on which nothing in the trace works.
fn unanswered(whole: &Transaction) -> impl Iterator<Item = u32> + '_ {
    let alone = whole.hops.iter().filter(|hop| hop.kind == HopKind::Message && hop.callee.is_none());
    alone.filter_map(|hop| u32::try_from(hop.caller).ok())
}

/// Returns what is kept of a trace that closed.
fn ready(closing: &Closing) -> Ready {
    let whole = &closing.whole;
    let parents = whole.nodes.iter().map(|node| if node.parent == NO_PARENT { NOWHERE } else { node.parent });
    Ready {
        spans: whole.spans.clone(),
        parents: parents.collect(),
        root: u32::try_from(whole.root).unwrap_or(0),
        missing_parents: whole.missing_parents,
        duplicates: whole.duplicates,
        is_complete: whole.is_complete,
        opened_ns: closing.opened_ns,
        start_ns: whole.root_span().start_ns,
        many_valued: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
