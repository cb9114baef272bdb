//! All that one origin caused: traces, and of traces that serve several transactions the spans that serve this one.
//! Asked for by `joining` before a transaction is given out. Bounded by traces and spans; what would go beyond is refused.

use collector_table::TraceId;

use super::graph::{Edge, Graph, Held, NOWHERE, Ready};
use super::keys::{KeyId, NO_KEY, differ};
use super::limits::StitcherLimits;
use crate::hash::{FNV_SEED, Map, Set, fnv};
use crate::join::Refusal;

/// How a span of a trace belongs to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// Not at all: it serves another transaction only.
    No,
    /// It serves several transactions and none in particular, as a loop that fetches messages does. Its time is not the
    /// transaction's.
    Shared,
    /// Something of the transaction caused it.
    Own,
}

/// A trace in a transaction.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: TraceId,
    /// How the transaction reaches it; none for the origin.
    pub(super) entries: Vec<Edge>,
    /// How each span belongs; empty when all are the transaction's own.
    pub(super) belongs: Vec<Belongs>,
}

impl Part {
    /// Returns the whole of a trace that nothing caused.
    pub(super) fn alone(id: TraceId) -> Self {
        Self { id, entries: Vec::new(), belongs: Vec::new() }
    }

    pub(super) fn belonging(&self, at: u32) -> Belongs {
        self.belongs.get(at as usize).copied().unwrap_or(Belongs::Own)
    }
}

impl Graph {
    /// Returns the traces that an origin caused, itself first; a cause stands before what it caused first.
    pub(super) fn closure(&mut self, limits: &StitcherLimits, origin: TraceId) -> Vec<Part> {
        let mut parts = vec![Part::alone(origin)];
        if self.edges(limits, origin).effects.is_empty() {
            return parts;
        }
        let mut spans = self.spans_len(origin);
        let mut places: Map<TraceId, usize> = Map::default();
        places.insert(origin, 0);
        let mut todo = std::collections::VecDeque::from([0]);
        let mut contradicted: Vec<Edge> = Vec::new();
        while let Some(place) = todo.pop_front() {
            let id = parts[place].id;
            if place > 0 {
                parts[place].belongs = self.belongs(limits, origin, &parts[place]);
            }
            let edges = self.edges(limits, id);
            // Looked at again when another way to it is found: what all belongs to this transaction is no batch.
            let is_batch = place > 0 && !edges.causes.iter().all(|cause| parts[place].entries.contains(cause));
            for edge in &edges.effects {
                // What a shared span caused serves somebody, and nobody can say whom; it is also what stands for a span
                // that was lost.
                if parts[place].belonging(edge.from_at) != Belongs::Own {
                    continue;
                }
                if edge.to == origin {
                    // An answer: it is told, but what it leads to is the origin's anyway.
                    parts[0].entries.push(*edge);
                    continue;
                }
                // Of what a batch caused, that which names other work is the other work's.
                if is_batch && self.names_other_work(origin, edge.to, &edges.causes) {
                    contradicted.push(*edge);
                    continue;
                }
                if !self.serves(limits, edge) {
                    self.refusals.note_once(edge.to, edge.rule, edge.key, Refusal::FanIn, edge.to);
                    continue;
                }
                let to = match places.get(&edge.to) {
                    Some(&to) => to,
                    None => {
                        let more = self.spans_len(edge.to);
                        if parts.len() >= limits.traces_per_transaction_max
                            || spans + more > limits.spans_per_transaction_max
                        {
                            self.refusals.note_once(origin, edge.rule, edge.key, Refusal::Growth, edge.to);
                            continue;
                        }
                        spans += more;
                        places.insert(edge.to, parts.len());
                        parts.push(Part::alone(edge.to));
                        parts.len() - 1
                    }
                };
                if !parts[to].entries.contains(edge) {
                    parts[to].entries.push(*edge);
                    if !todo.contains(&to) {
                        todo.push_back(to);
                    }
                }
            }
        }
        for edge in contradicted.iter().filter(|edge| !places.contains_key(&edge.to)) {
            self.refusals.note_once(origin, edge.rule, edge.key, Refusal::Contradicted, edge.to);
        }
        parts
    }

    /// Returns whether the cause of an edge is among the first that its effect may serve.
    fn serves(&mut self, limits: &StitcherLimits, edge: &Edge) -> bool {
        let causes = &self.edges(limits, edge.to).causes;
        let is_few = causes.len() <= limits.transactions_per_trace_max;
        is_few || {
            let mut from: Vec<TraceId> = causes.iter().map(|cause| cause.from).collect();
            from.dedup();
            from.iter().take(limits.transactions_per_trace_max).any(|id| *id == edge.from)
        }
    }

    /// Returns whether a trace that a batch caused carries values of business keys that are those of other work: the
    /// origin carries others, or one of the batch's other causes carries the same.
    fn names_other_work(&self, origin: TraceId, other: TraceId, causes: &[Edge]) -> bool {
        let named = self.values_used(other);
        let is_claimed = |(_, token): &(_, u64)| {
            let traces = self.groups.get(token).map(|group| &group.traces[..]).unwrap_or_default();
            let is_cause = |id: &TraceId| causes.binary_search_by_key(id, |cause| cause.from).is_ok();
            !traces.contains(&origin) && traces.iter().any(is_cause)
        };
        differ(&self.values_used(origin), &named) || named.iter().any(is_claimed)
    }

    /// Returns the values of keys that join, which a trace carries.
    fn values_used(&self, id: TraceId) -> Vec<(KeyId, u64)> {
        let is_used = |held: &Held| held.fact.key != NO_KEY && self.discovery.joins(held.fact.key);
        self.nodes.get(&id).map(|node| node.values(is_used)).unwrap_or_default()
    }

    fn spans_len(&self, id: TraceId) -> usize {
        self.nodes.get(&id).and_then(|node| node.ready.as_ref()).map_or(0, |ready| ready.spans.len())
    }

    /// Returns how the spans of a trace that something caused belong to the transaction that reaches it.
    fn belongs(&mut self, limits: &StitcherLimits, origin: TraceId, part: &Part) -> Vec<Belongs> {
        let edges = self.edges(limits, part.id);
        let ready = |id: TraceId| self.nodes.get(&id).and_then(|node| node.ready.as_ref());
        let (Some(own), Some(first)) = (ready(part.id), ready(origin)) else { return Vec::new() };
        let is_root_caused = part.entries.iter().any(|edge| edge.to_at == own.root);
        let is_only_ours = edges.causes.iter().all(|cause| part.entries.contains(cause));
        // A loop that began before the transaction did is not caused by it, whatever it fetched.
        // Nor is what is left of a trace whose spans were lost: another message may have been among them.
        let is_whole = own.missing_parents == 0 && own.start_ns >= first.start_ns;
        if is_only_ours && (is_root_caused || is_whole) {
            return Vec::new();
        }
        let entrances = &edges.entrances;
        let named = self.values_used(origin);
        let is_foreign = |held: &&Held| {
            let mut same_key = named.iter().filter(|(key, _)| *key == held.fact.key).peekable();
            same_key.peek().is_some() && same_key.all(|(_, token)| *token != held.fact.token)
        };
        let facts = self.nodes.get(&part.id).map(|node| &node.facts[..]).unwrap_or_default();
        let foreign: Set<u32> = facts.iter().filter(is_foreign).map(|held| held.at).collect();
        let mut belongs = vec![Belongs::No; own.spans.len()];
        let is_ours = |at: u32| part.entries.iter().any(|edge| edge.to_at == at);
        let root = own.root as usize;
        let outermost =
            if is_ours(own.root) || entrances.at(own.root).is_none() { Belongs::Shared } else { Belongs::No };
        for (at, parent) in (0u32..).zip(own.parents.iter().copied()) {
            let above = match parent {
                NOWHERE if at as usize == root => outermost,
                // Whom a span serves whose parent is lost, nobody can say; to say everybody would be wrong for most.
                NOWHERE => Belongs::No,
                parent => belongs[parent as usize],
            };
            belongs[at as usize] = match entrances.at(at) {
                _ if is_ours(at) => Belongs::Own,
                // It names other work.
                _ if at != own.root && foreign.contains(&at) => Belongs::No,
                Some(narrows) if narrows => Belongs::No,
                _ => above,
            };
        }
        belongs
    }

    /// Returns a hash that changes when a transaction does.
    pub(super) fn signature(&self, parts: &[Part]) -> u64 {
        parts.iter().fold(FNV_SEED, |hash, part| {
            let own = part.belongs.iter().filter(|belongs| **belongs == Belongs::Own).count();
            let hash = fnv(fnv(hash, part.id.as_bytes()), &self.spans_len(part.id).to_le_bytes());
            part.entries.iter().fold(fnv(hash, &own.to_le_bytes()), |hash, edge| {
                fnv(
                    fnv(hash, edge.from.as_bytes()),
                    &(u64::from(edge.from_at) << 32 | u64::from(edge.to_at)).to_le_bytes(),
                )
            })
        })
    }
}

/// Where causes enter a trace that several traces caused.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    /// By span, if a cause enters there: whether all that enter there enter above it too, so that it serves fewer
    /// transactions than what is above. Empty when all causes are of one trace.
    narrows: Vec<Option<bool>>,
}

impl Entrances {
    pub(super) fn of(ready: &Ready, causes: &[Edge]) -> Self {
        let mut from: Map<u32, Vec<TraceId>> = Map::default();
        for edge in causes {
            from.entry(edge.to_at).or_default().push(edge.from);
        }
        for traces in from.values_mut() {
            traces.sort_unstable();
        }
        let mut narrows = vec![None; ready.spans.len()];
        for (&at, traces) in &from {
            let mut above = ready.parents[at as usize];
            while above != NOWHERE && !from.contains_key(&above) {
                above = ready.parents[above as usize];
            }
            let is_within = |enclosing: &Vec<TraceId>| traces.iter().all(|id| enclosing.binary_search(id).is_ok());
            narrows[at as usize] = Some(from.get(&above).is_none_or(is_within));
        }
        Self { narrows }
    }

    fn at(&self, span: u32) -> Option<bool> {
        self.narrows.get(span as usize).copied().flatten()
    }
}
