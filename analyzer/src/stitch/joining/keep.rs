//! How long closed traces are kept for joins, and how they are let go of: a transaction leaves as a whole, so that what
//! remains of it never passes for a transaction of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use collector_table::TraceId;

use super::super::closure::Part;
use super::{Closing, Joiner, Life, Patience, Step};
use crate::span::Span;
use crate::transaction::Transaction;

/// What a trace that gets spans again had before.
pub(in crate::stitch) struct Reopened {
    pub(in crate::stitch) spans: Arc<[Span]>,
    pub(in crate::stitch) duplicates: usize,
    pub(in crate::stitch) opened_ns: i64,
}

/// A trace that closed and is not given out yet.
#[derive(Debug)]
pub(crate) struct HeldBack<'a> {
    pub(crate) whole: &'a Transaction,
    /// The first of its spans that handed over a message on which nothing in it works.
    pub(crate) sender: Option<usize>,
}

impl Joiner {
    /// Returns origins that wait for other traces and were never given out, at most `max` of them, the oldest first.
    pub(in crate::stitch) fn held_back(&self, max: usize) -> Vec<HeldBack<'_>> {
        let held = self.waiting.iter().filter_map(|id| self.lives.get(id));
        let held = held.filter(|life| life.revision == 0 && life.superseded_by.is_none());
        let mut held: Vec<(&Life, &Transaction)> =
            held.filter_map(|life| Some((life, life.pending.as_deref()?))).collect();
        held.sort_by_key(|(life, whole)| (life.ready_ns, whole.id));
        held.truncate(max);
        let sender = |life: &Life| life.unanswered.first().map(|&at| at as usize);
        held.into_iter().map(|(life, whole)| HeldBack { whole, sender: sender(life) }).collect()
    }

    /// Takes out the spans of a trace that waits for spans again.
    pub(in crate::stitch) fn reopen(&mut self, id: TraceId) -> Option<Reopened> {
        if self.is_sealed(id) {
            return None;
        }
        let ready = self.graph.nodes.get_mut(&id)?.ready.take()?;
        self.kept_spans -= ready.spans.len();
        self.ready_count -= 1;
        self.graph.changed();
        Some(Reopened { spans: ready.spans, duplicates: ready.duplicates, opened_ns: ready.opened_ns })
    }

    /// Takes over a trace that was given out before anything was known to join it.
    pub(in crate::stitch) fn adopt(&mut self, now_ns: i64, closing: &Closing) {
        let id = closing.whole.id;
        let spans = closing.whole.spans.len();
        self.place_facts(id, super::ready(closing));
        self.kept.push_back((now_ns, id));
        self.kept_spans += spans;
        self.ready_count += 1;
        self.graph.changed();
        let signature = self.graph.signature(&[Part::alone(id)]);
        let reason = closing.whole.close_reason;
        let revision = closing.revision;
        let mut life = Life { revision, signature, kept_ns: now_ns, ready_ns: now_ns, reason, ..Life::default() };
        life.told.is_whole = true;
        self.lives.insert(id, life);
        self.stirred.insert(id);
    }

    /// Keeps a trace for a while from now on.
    pub(super) fn keep_on(&mut self, id: TraceId, now_ns: i64) {
        let life = self.lives.entry(id).or_default();
        if life.kept_ns < now_ns {
            life.kept_ns = now_ns;
            self.kept.push_back((now_ns, id));
        }
    }

    /// Lets go of what is too old, or too much.
    pub(super) fn forget(&mut self, step: &mut Step<'_>) {
        let until_ns = step.now_ns.saturating_sub(step.limits.join_ns);
        while let Some((kept_ns, id)) = self.kept.front().copied() {
            let is_too_much = self.kept_spans > step.limits.joinable_spans_max
                || self.ready_count > step.limits.joinable_traces_max
                || self.graph.groups.len() >= step.limits.join_values_max;
            if kept_ns > until_ns && !is_too_much {
                break;
            }
            self.kept.pop_front();
            if self.lives.get(&id).is_none_or(|life| life.kept_ns != kept_ns) {
                continue;
            }
            if self.graph.nodes.get(&id).is_some_and(|node| node.ready.is_some()) {
                self.stats.let_go_early += u64::from(kept_ns > until_ns);
                self.let_go(step, id);
            } else if !(step.is_open)(id) {
                // Only log records named it.
                self.remove(id);
            }
        }
        if step.now_ns.saturating_sub(self.tidied_ns) >= step.limits.join_ns {
            self.tidied_ns = step.now_ns;
            self.crowded.retain(|_, seen_ns| *seen_ns > until_ns);
        }
    }

    /// Gives out what a trace is part of, if that is still to be done, and lets go of it.
    fn let_go(&mut self, step: &mut Step<'_>, id: TraceId) {
        let origins = self.graph.origins(step.limits, id);
        let mut leaving: BTreeSet<TraceId> = BTreeSet::from([id]);
        for &origin in &origins {
            self.give_out_one(step, origin, Patience::None);
            leaving.extend(self.graph.closure(step.limits, origin).iter().map(|part| part.id));
        }
        // Whatever shares a trace with it is given out a last time before that is gone.
        let sharing: BTreeSet<TraceId> = leaving
            .iter()
            .flat_map(|id| self.graph.origins(step.limits, *id))
            .filter(|id| !leaving.contains(id))
            .collect();
        for origin in sharing {
            self.give_out_one(step, origin, Patience::None);
            if let Some(life) = self.lives.get_mut(&origin) {
                life.is_frozen = true;
            }
        }
        for id in leaving {
            self.remove(id);
            self.let_go.push(id);
        }
        self.graph.changed();
    }

    /// Takes out the traces that were let go of.
    pub(in crate::stitch) fn take_let_go(&mut self) -> Vec<TraceId> {
        std::mem::take(&mut self.let_go)
    }

    /// Forgets a trace and all it said.
    pub(in crate::stitch) fn remove(&mut self, id: TraceId) {
        self.lives.remove(&id);
        self.waiting.remove(&id);
        self.sealed.remove(&id);
        let Some(node) = self.graph.nodes.remove(&id) else { return };
        self.kept_spans -= node.ready.as_ref().map_or(0, |ready| ready.spans.len());
        self.ready_count -= usize::from(node.ready.is_some());
        for held in &node.facts {
            let Some(group) = self.graph.groups.get_mut(&held.fact.token) else { continue };
            group.traces.retain(|trace| *trace != id);
            if group.traces.is_empty() {
                let (key, noted) = (group.key, group.noted);
                self.graph.groups.remove(&held.fact.token);
                self.graph.discovery.note_gone(key, noted);
            }
        }
        for link in &node.links {
            if let Some(linkers) = self.graph.linkers.get_mut(&link.trace) {
                linkers.retain(|trace| *trace != id);
                if linkers.is_empty() {
                    self.graph.linkers.remove(&link.trace);
                }
            }
        }
    }
}
