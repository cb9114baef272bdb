//! Traces that may be joined and what they share: who caused whom. Filled by `joining` as spans come and traces close;
//! edges are worked out when they are asked for, because a value may be refused, or a key dropped, at any time.
//! It must never join what it cannot see whole: only traces that are ready have edges.

use std::sync::Arc;

use collector_table::{SpanId, SpanKind, TraceId};

use super::closure::Entrances;
use super::discovery::{Discovery, ValueState};
use super::facts::{Fact, LinkFact, Side};
use super::keys::{KeyId, NO_KEY};
use super::limits::StitcherLimits;
use super::refusals::Refusals;
use crate::hash::Map;
use crate::join::{Refusal, Rule};
use crate::span::Span;

/// Stands for a fact whose span was not looked up yet.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Time by which clocks may differ where links and messages say what came first.
const CLOCKS_DIFFER_NS: i64 = 10_000_000_000;
/// Traces that are asked, at most, whether one caused the other.
const REACH_MAX: usize = 256;

/// A trace that has stopped waiting for spans.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    /// In depth-first order, without duplicates.
    pub(super) spans: Arc<[Span]>,
    /// Parent of each span; [`NOWHERE`] for none.
    pub(super) parents: Box<[u32]>,
    pub(super) root: u32,
    pub(super) missing_parents: usize,
    pub(super) duplicates: usize,
    pub(super) is_complete: bool,
    pub(super) opened_ns: i64,
    /// Start of the root.
    pub(super) start_ns: i64,
    /// Keys of which it carries several values.
    pub(super) many_valued: Vec<KeyId>,
}

/// A fact and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) fact: Fact,
    pub(super) at: u32,
}

/// A trace with something that may join it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// By token once it is ready.
    pub(super) facts: Vec<Held>,
    pub(super) links: Vec<LinkFact>,
    /// None while it waits for spans.
    pub(super) ready: Option<Ready>,
    /// Tokens of which discovery was told, between placing facts and telling it of the others.
    pub(super) noted: Vec<u64>,
    /// Whether discovery was told of it.
    pub(super) is_noted: bool,
}

impl Node {
    /// Returns the facts with a token; they are sorted once the trace is ready.
    pub(super) fn with(&self, token: u64) -> &[Held] {
        let from = self.facts.partition_point(|held| held.fact.token < token);
        let to = self.facts.partition_point(|held| held.fact.token <= token);
        &self.facts[from..to]
    }

    /// Returns key and token of each value that is asked for.
    pub(super) fn values(&self, is_asked_for: impl Fn(&Held) -> bool) -> Vec<(KeyId, u64)> {
        self.tokens().filter(|held| is_asked_for(held)).map(|held| (held.fact.key, held.fact.token)).collect()
    }

    /// Returns the first fact with each token; the facts must be sorted.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Held> {
        let is_first =
            |(index, held): &(usize, &Held)| *index == 0 || self.facts[index - 1].fact.token != held.fact.token;
        self.facts.iter().enumerate().filter(is_first).map(|(_, held)| held)
    }
}

/// Traces that share a token.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rule: Rule,
    pub(super) key: KeyId,
    pub(super) traces: Vec<TraceId>,
    /// Traces that were ever noted as ready.
    pub(super) noted: usize,
    /// What discovery said when the last of them was noted.
    pub(super) noted_at: u64,
    pub(super) state: ValueState,
    /// Why it joins nothing, or not all.
    pub(super) refused: Option<Refusal>,
}

/// A step from a span of one trace to a span of another that it caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: TraceId,
    pub(super) to: TraceId,
    pub(super) to_at: u32,
    pub(super) rule: Rule,
    pub(super) from_at: u32,
    pub(super) key: KeyId,
}

/// All edges of one trace.
#[derive(Debug, Default)]
pub(super) struct Edges {
    pub(super) causes: Vec<Edge>,
    pub(super) effects: Vec<Edge>,
    /// By span whether a cause enters there that also enters above; see [`super::closure`].
    pub(super) entrances: Entrances,
}

/// All traces that may be joined.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Map<TraceId, Node>,
    pub(super) groups: Map<u64, Group>,
    /// Who links to a trace, which may be unknown.
    pub(super) linkers: Map<TraceId, Vec<TraceId>>,
    pub(super) discovery: Discovery,
    pub(super) refusals: Refusals,
    /// Edges worked out since something changed; of traces that nothing can join there is no note.
    known: Map<TraceId, Arc<Edges>>,
    known_strong: Map<TraceId, Arc<Edges>>,
    /// The same of all traces that share a token: each of them asks.
    known_shared: Map<u64, Arc<[Edge]>>,
    none: Arc<Edges>,
    /// Whether a trace lacks another, and whether one that shares something with it is open, since something changed.
    pub(super) known_waits: Map<TraceId, (bool, bool)>,
}

impl Graph {
    /// Forgets edges that were worked out: something changed.
    pub(super) fn changed(&mut self) {
        self.known.clear();
        self.known_strong.clear();
        self.known_shared.clear();
        self.known_waits.clear();
    }

    /// Returns the edges of a trace that is ready; none of any other.
    pub(super) fn edges(&mut self, limits: &StitcherLimits, id: TraceId) -> Arc<Edges> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let tokens = self.joining_tokens(id);
        if tokens.is_empty() && self.is_unlinked(id) {
            return self.none.clone();
        }
        let edges = Arc::new(self.find_edges(limits, id, tokens));
        self.known.insert(id, edges.clone());
        edges
    }

    /// Returns the edges that follow from links and messages.
    fn strong_edges(&mut self, limits: &StitcherLimits, id: TraceId) -> Arc<Edges> {
        if let Some(known) = self.known_strong.get(&id) {
            return known.clone();
        }
        let mut tokens = self.joining_tokens(id);
        tokens.retain(|(key, _)| *key == NO_KEY);
        let edges = Arc::new(self.find_edges(limits, id, tokens));
        self.known_strong.insert(id, edges.clone());
        edges
    }

    /// Returns whether no link leads from a trace or to it.
    fn is_unlinked(&self, id: TraceId) -> bool {
        !self.linkers.contains_key(&id) && self.nodes.get(&id).is_none_or(|node| node.links.is_empty())
    }

    /// Returns key and token of what may join a trace that is ready to others.
    fn joining_tokens(&self, id: TraceId) -> Vec<(KeyId, u64)> {
        let Some(node) = self.nodes.get(&id).filter(|node| node.ready.is_some()) else { return Vec::new() };
        let is_shared = |token: u64| self.groups.get(&token).is_some_and(|group| group.traces.len() > 1);
        let facts = node.tokens().map(|held| (held.fact.key, held.fact.token));
        facts.filter(|(key, token)| self.may_join(*key) && is_shared(*token)).collect()
    }

    /// Returns whether a fact joins: one of a message, or of a key in use. Asked before its group is looked for, which lies
    /// far off in memory: of most keys values are only watched.
    pub(super) fn may_join(&self, key: KeyId) -> bool {
        key == NO_KEY || self.discovery.joins(key)
    }

    fn find_edges(&mut self, limits: &StitcherLimits, id: TraceId, tokens: Vec<(KeyId, u64)>) -> Edges {
        let mut all = Vec::new();
        self.link_edges(limits, id, &mut all);
        for (key, token) in tokens {
            let shared = self.shared_edges(limits, key, token);
            all.extend(shared.iter().filter(|edge| edge.from == id || edge.to == id));
        }
        // Of several edges between two traces at one span the strongest speaks.
        all.sort_unstable();
        all.dedup_by_key(|edge| (edge.from, edge.to, edge.to_at));
        let (causes, effects): (Vec<Edge>, Vec<Edge>) = all.into_iter().partition(|edge| edge.to == id);
        let ready = self.nodes.get(&id).and_then(|node| node.ready.as_ref());
        let is_shared = causes.iter().any(|cause| cause.from != causes[0].from);
        let entrances = ready.filter(|_| is_shared).map(|ready| Entrances::of(ready, &causes)).unwrap_or_default();
        Edges { causes, effects, entrances }
    }

    /// Returns the edges between all traces that share a token.
    fn shared_edges(&mut self, limits: &StitcherLimits, key: KeyId, token: u64) -> Arc<[Edge]> {
        if let Some(known) = self.known_shared.get(&token) {
            return known.clone();
        }
        let mut edges = Vec::new();
        if key == NO_KEY {
            self.message_edges(limits, token, &mut edges);
        } else {
            self.key_edges(limits, token, &mut edges);
        }
        let edges: Arc<[Edge]> = edges.into();
        self.known_shared.insert(token, edges.clone());
        edges
    }

    fn link_edges(&mut self, limits: &StitcherLimits, id: TraceId, edges: &mut Vec<Edge>) {
        let Self { nodes, linkers, refusals, .. } = self;
        let Some(node) = nodes.get(&id) else { return };
        let mut link = |linker: TraceId, link: &LinkFact| {
            if linkers.get(&link.trace).is_some_and(|linkers| linkers.len() > limits.links_to_trace_max) {
                refusals.note_once(link.trace, Rule::Link, NO_KEY, Refusal::FanIn, link.trace);
                return;
            }
            let ready = |id: &TraceId| nodes.get(id)?.ready.as_ref();
            if let (Some(from), Some(to), true) = (ready(&linker), ready(&link.trace), linker != link.trace) {
                edges.extend(link_edge((linker, from), (link.trace, to), link));
            }
        };
        for own in &node.links {
            link(id, own);
        }
        for &linker in linkers.get(&id).into_iter().flatten() {
            let Some(other) = nodes.get(&linker) else { continue };
            other.links.iter().filter(|link| link.trace == id).for_each(|own| link(linker, own));
        }
    }

    /// Joins those who worked on a message to who sent it: each to the latest sender before it. Several who worked on
    /// one message without a sender in sight belong together too: the first stands for the sender.
    fn message_edges(&mut self, limits: &StitcherLimits, token: u64, edges: &mut Vec<Edge>) {
        let Self { nodes, groups, refusals, .. } = self;
        let Some(group) = groups.get_mut(&token) else { return };
        if group.refused == Some(Refusal::FanIn) {
            return;
        }
        let mut facts: Vec<(TraceId, Held)> = Vec::new();
        for id in &group.traces {
            let Some(node) = nodes.get(id).filter(|node| node.ready.is_some()) else { continue };
            facts.extend(node.with(token).iter().map(|held| (*id, *held)));
        }
        facts.sort_unstable_by_key(|(id, held)| (held.fact.start_ns, *id, held.at));
        let has = |side: Side| facts.iter().any(|(_, held)| held.fact.side == side);
        let first = facts.first().map(|(id, _)| *id);
        let (has_producer, has_either) = (has(Side::Producer), has(Side::Either));
        let is_cause = |(id, held): &&(TraceId, Held)| match held.fact.side {
            Side::Producer => true,
            Side::Either => !has_producer,
            Side::Consumer => !has_producer && !has_either && Some(*id) == first,
        };
        for (id, effect) in facts.iter().filter(|(_, held)| held.fact.side != Side::Producer) {
            let start_ns = effect.fact.start_ns;
            let is_before = |(_, held): &&(TraceId, Held)| held.fact.start_ns <= start_ns;
            let before = facts.iter().filter(is_cause).rfind(is_before);
            let late = || facts.iter().filter(|_| has_producer).find(is_cause);
            let Some((from, cause)) = before.or_else(late).filter(|(from, _)| from != id) else { continue };
            if start_ns.saturating_sub(cause.fact.start_ns).abs() > limits.join_distance_ns {
                refusals.note_group(group, Refusal::Time, *id);
                continue;
            }
            let (rule, key) = (group.rule, group.key);
            edges.push(Edge { from: *from, to: *id, to_at: effect.at, rule, from_at: cause.at, key });
        }
    }

    /// Joins traces that carry one value: each to the span that carried it last before it began.
    fn key_edges(&mut self, limits: &StitcherLimits, token: u64, edges: &mut Vec<Edge>) {
        let Some(group) = self.groups.get(&token) else { return };
        let (rule, key) = (group.rule, group.key);
        // A value under which one thing is done again and again is told from one that runs through a piece of work.
        let is_found = rule == Rule::DiscoveredKey;
        if group.refused == Some(Refusal::FanIn) || is_found && group.state != ValueState::Joining {
            return;
        }
        let mut traces: Vec<(i64, TraceId)> =
            group.traces.iter().filter_map(|id| Some((self.nodes.get(id)?.ready.as_ref()?.start_ns, *id))).collect();
        traces.sort_unstable();
        let is_in_order = !self.put_causes_first(limits, &mut traces);
        let pause_max_ns = self.discovery.pause_max_ns(key).min(limits.join_distance_ns);
        let mut first = 0;
        for later in 1..traces.len() {
            let (start_ns, id) = traces[later];
            if start_ns.saturating_sub(traces[later - 1].0) > pause_max_ns {
                // What comes after so long a pause begins anew.
                first = later;
                if let Some(group) = self.groups.get_mut(&token) {
                    self.refusals.note_group(group, Refusal::Time, id);
                }
                continue;
            }
            let is_no_effect = |(at_ns, other): &&(i64, TraceId)| {
                is_in_order && start_ns - at_ns <= CLOCKS_DIFFER_NS || !self.reaches_strongly(limits, id, *other)
            };
            let earlier: Vec<TraceId> = traces[first..later].iter().filter(is_no_effect).map(|(_, id)| *id).collect();
            if let Some((from, from_at)) = self.last_carrier(&earlier, token, start_ns) {
                for to_at in self.entries(id, token, key) {
                    edges.push(Edge { from, to: id, to_at, rule, from_at, key });
                }
            }
        }
    }

    /// Puts traces that links and messages say to have caused others before them, where clocks put them a little after;
    /// returns whether any was moved. `traces` are sorted by start.
    fn put_causes_first(&mut self, limits: &StitcherLimits, traces: &mut [(i64, TraceId)]) -> bool {
        let mut has_moved = false;
        for later in 1..traces.len() {
            let (start_ns, id) = traces[later];
            let near = traces[..later].partition_point(|(at_ns, _)| start_ns.saturating_sub(*at_ns) > CLOCKS_DIFFER_NS);
            if let Some(effect) = (near..later).find(|index| self.reaches_strongly(limits, id, traces[*index].1)) {
                traces[effect..=later].rotate_right(1);
                has_moved = true;
            }
        }
        has_moved
    }

    /// Returns the span that carried a token last before a moment; else the root of the first of the traces.
    fn last_carrier(&self, traces: &[TraceId], token: u64, before_ns: i64) -> Option<(TraceId, u32)> {
        let carriers = traces.iter().flat_map(|id| {
            let facts = self.nodes.get(id).map(|node| node.with(token)).unwrap_or_default();
            facts.iter().map(|held| (held.fact.start_ns, *id, held.at))
        });
        let last = carriers.filter(|(start_ns, ..)| *start_ns <= before_ns).max();
        let root = || {
            let id = traces.first()?;
            Some((*id, self.nodes.get(id)?.ready.as_ref()?.root))
        };
        last.map(|(_, id, at)| (id, at)).or_else(root)
    }

    /// Returns where a value enters a trace: at its root, or, if the trace carries several values of the key, at the
    /// topmost spans that carry this one.
    fn entries(&self, id: TraceId, token: u64, key: KeyId) -> Vec<u32> {
        let Some(node) = self.nodes.get(&id) else { return Vec::new() };
        let Some(ready) = &node.ready else { return Vec::new() };
        if !ready.many_valued.contains(&key) {
            return vec![ready.root];
        }
        let carriers: Vec<u32> = node.with(token).iter().map(|held| held.at).collect();
        let is_topmost = |&at: &u32| {
            let mut above = ready.parents[at as usize];
            while above != NOWHERE && !carriers.contains(&above) {
                above = ready.parents[above as usize];
            }
            above == NOWHERE
        };
        let mut topmost: Vec<u32> = carriers.iter().copied().filter(is_topmost).collect();
        topmost.dedup();
        topmost
    }

    /// Returns whether links and messages say that one trace caused the other.
    fn reaches_strongly(&mut self, limits: &StitcherLimits, from: TraceId, to: TraceId) -> bool {
        let is_plain = self.nodes.get(&from).is_none_or(|node| {
            node.links.is_empty()
                && !self.linkers.contains_key(&from)
                && node.facts.iter().all(|held| held.fact.key != NO_KEY)
        });
        if is_plain {
            return false;
        }
        is_reached(from, to, |id| self.strong_edges(limits, id))
    }

    /// Returns whether one trace is caused by the other, by any rule.
    fn reaches(&mut self, limits: &StitcherLimits, from: TraceId, to: TraceId) -> bool {
        is_reached(from, to, |id| self.edges(limits, id))
    }

    fn start_ns(&self, id: TraceId) -> i64 {
        self.nodes.get(&id).and_then(|node| node.ready.as_ref()).map_or(i64::MIN, |ready| ready.start_ns)
    }

    /// Returns the traces that caused a trace, without those that only answered it: an answer goes back to a trace that
    /// began earlier and caused it.
    fn true_causes(&mut self, limits: &StitcherLimits, id: TraceId) -> Vec<TraceId> {
        let edges = self.edges(limits, id);
        let started = (self.start_ns(id), id);
        let mut causes: Vec<TraceId> = edges.causes.iter().map(|edge| edge.from).collect();
        causes.sort_unstable();
        causes.dedup();
        causes.retain(|&from| (self.start_ns(from), from) < started || !self.reaches(limits, id, from));
        causes
    }

    /// Returns the traces in which the transactions that a trace is part of began; itself if nothing caused it.
    pub(super) fn origins(&mut self, limits: &StitcherLimits, id: TraceId) -> Vec<TraceId> {
        if self.edges(limits, id).causes.is_empty() {
            return vec![id];
        }
        let mut seen: Map<TraceId, ()> = Map::default();
        let mut stack = vec![id];
        let mut origins = Vec::new();
        seen.insert(id, ());
        while let Some(next) = stack.pop() {
            if origins.len() >= limits.transactions_per_trace_max {
                self.refusals.note_once(id, Rule::Link, NO_KEY, Refusal::FanIn, id);
                break;
            }
            let causes = self.true_causes(limits, next);
            if causes.is_empty() {
                origins.push(next);
            }
            stack.extend(causes.into_iter().filter(|cause| seen.insert(*cause, ()).is_none()));
        }
        origins.sort_unstable();
        origins
    }

    /// Returns every trace that shares something with a trace, ready or not, joined or not.
    pub(super) fn partners(&self, id: TraceId) -> Vec<TraceId> {
        let mut partners: Vec<TraceId> = self.sharing(id).collect();
        partners.sort_unstable();
        partners.dedup();
        partners
    }

    /// Returns the same, the latest of each value first, some of them more than once.
    pub(super) fn sharing(&self, id: TraceId) -> impl Iterator<Item = TraceId> {
        let node = self.nodes.get(&id);
        let facts = node.into_iter().flat_map(|node| &node.facts);
        let groups =
            facts.filter(|held| self.may_join(held.fact.key)).filter_map(|held| self.groups.get(&held.fact.token));
        let open_to_joins = groups.filter(|group| group.refused != Some(Refusal::FanIn));
        let by_value = open_to_joins.flat_map(|group| group.traces.iter().rev().copied());
        let linked = node.into_iter().flat_map(|node| &node.links).map(|link| link.trace);
        let linkers = node.and_then(|_| self.linkers.get(&id)).into_iter().flatten().copied();
        by_value.chain(linked).chain(linkers).filter(move |partner| *partner != id)
    }
}

/// Returns whether a way of effects leads from one trace to the other; a way beyond [`REACH_MAX`] traces is not seen.
fn is_reached(from: TraceId, to: TraceId, mut edges_of: impl FnMut(TraceId) -> Arc<Edges>) -> bool {
    let mut seen = vec![from];
    let mut next = 0;
    while next < seen.len() && seen.len() <= REACH_MAX {
        let edges = edges_of(seen[next]);
        next += 1;
        for edge in &edges.effects {
            if edge.to == to {
                return true;
            }
            if !seen.contains(&edge.to) {
                seen.push(edge.to);
            }
        }
    }
    false
}

/// Returns the edge that a link is: from the linked span, unless what links is known to have come before.
fn link_edge(linker: (TraceId, &Ready), linked: (TraceId, &Ready), link: &LinkFact) -> Option<Edge> {
    let own_at = find(&linker.1.spans, link.span_id)?;
    let linked_at = find(&linked.1.spans, link.span).unwrap_or(linked.1.root);
    let (own, other) = (&linker.1.spans[own_at as usize], &linked.1.spans[linked_at as usize]);
    // What links is the effect, unless kinds, or roots, say otherwise; clocks are asked last, because they differ.
    let is_forward = match (own.kind(), other.kind()) {
        (SpanKind::Consumer, _) => false,
        (_, SpanKind::Consumer) => true,
        _ => match (own_at == linker.1.root, linked_at == linked.1.root) {
            (true, false) => false,
            (false, true) => true,
            _ => own.start_ns < other.start_ns,
        },
    };
    let ((from, from_at), (to, to_at)) = if is_forward {
        ((linker.0, own_at), (linked.0, linked_at))
    } else {
        ((linked.0, linked_at), (linker.0, own_at))
    };
    Some(Edge { from, to, to_at, rule: Rule::Link, from_at, key: NO_KEY })
}

/// Returns the place of a span among a few.
pub(super) fn find(spans: &[Span], id: SpanId) -> Option<u32> {
    let at = spans.iter().position(|span| span.span_id == id)?;
    u32::try_from(at).ok()
}
