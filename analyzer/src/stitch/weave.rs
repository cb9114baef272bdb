//! Traces of one transaction as one tree: the span that caused a trace becomes the parent of its root. Called by
//! `joining` with what [`Graph::closure`] returned, and by nothing else; holds nothing.

use std::cmp::Reverse;

use super::closure::{Belongs, Part};
use super::graph::{Edge, Graph, NOWHERE, Ready};
use super::tree::{Header, JoinedSpans, Trees};
use crate::hash::Map;
use crate::join::Join;
use crate::transaction::Transaction;

/// A span by its part and its place there.
type Place = (usize, u32);

impl Graph {
    /// Returns the transaction that the parts form.
    pub(super) fn weave(&self, trees: &mut Trees, parts: &[Part], header: Header) -> Option<Transaction> {
        let ready: Vec<&Ready> =
            parts.iter().map(|part| self.nodes.get(&part.id)?.ready.as_ref()).collect::<Option<_>>()?;
        let mut places: Vec<Place> = Vec::new();
        for (number, (part, ready)) in parts.iter().zip(&ready).enumerate() {
            let spans = 0..u32::try_from(ready.spans.len()).unwrap_or(NOWHERE);
            places.extend(spans.filter(|&at| part.belonging(at) != Belongs::No).map(|at| (number, at)));
        }
        let span = |&(number, at): &Place| &ready[number].spans[at as usize];
        places.sort_by_key(|place| (span(place).start_ns, Reverse(span(place).end_ns), *place));
        let index: Map<Place, usize> = places.iter().enumerate().map(|(index, place)| (*place, index)).collect();
        let numbers: Map<_, usize> = parts.iter().enumerate().map(|(number, part)| (part.id, number)).collect();
        let cause_of = |edge: &Edge| index.get(&(*numbers.get(&edge.from)?, edge.from_at)).copied();

        let mut joined = JoinedSpans {
            spans: places.iter().map(|place| span(place).clone()).collect(),
            parents: Vec::with_capacity(places.len()),
            numbers: places.iter().map(|(number, _)| u32::try_from(*number).unwrap_or(0)).collect(),
            traces: parts.iter().map(|part| part.id).collect(),
            joins: Vec::new(),
            entered_by: vec![None; places.len()],
            root: *index.get(&(0, ready[0].root))?,
            started_ns: ready[0].spans.iter().map(|span| span.start_ns).min()?,
            ended_ns: i64::MIN,
            missing_parents: ready.iter().map(|ready| ready.missing_parents).sum(),
            duplicates: ready.iter().map(|ready| ready.duplicates).sum(),
            is_own: parts.iter().all(|part| part.belongs.is_empty()),
            is_complete: ready.iter().all(|ready| ready.is_complete),
        };
        for (own, &(number, at)) in places.iter().enumerate() {
            let (part, ready) = (&parts[number], ready[number]);
            if part.belonging(at) == Belongs::Own {
                joined.ended_ns = joined.ended_ns.max(joined.spans[own].end_ns);
            }
            let above = Some(ready.parents[at as usize]).filter(|&parent| parent != NOWHERE);
            let is_below_own = above.is_some_and(|above| part.belonging(above) == Belongs::Own);
            let within = above.and_then(|above| index.get(&(number, above)).copied());
            let entry = entry_of(part, ready, at, &numbers, number).filter(|_| !is_below_own);
            let parent = entry.and_then(|edge| Some((cause_of(edge)?, edge.rule)));
            joined.entered_by[own] = parent.map(|(_, rule)| rule);
            joined.parents.push(parent.map(|(cause, _)| cause).or(within));
        }
        for (number, part) in parts.iter().enumerate() {
            for edge in &part.entries {
                let (Some(from), Some(&to)) = (cause_of(edge), index.get(&(number, edge.to_at))) else { continue };
                let (rule, key) = (edge.rule, self.discovery.name(edge.key));
                joined.joins.push(Join { from, to, rule, key, confidence: rule.confidence() });
            }
        }
        trees.joined(joined, header)
    }
}

/// Returns the edge by which a span was caused, if it is where a cause enters: the strongest, and of equals the latest
/// cause. A root that is the transaction's own is entered by what enters its trace, also if that is further down.
fn entry_of<'a>(
    part: &'a Part,
    ready: &Ready,
    at: u32,
    numbers: &Map<collector_table::TraceId, usize>,
    number: usize,
) -> Option<&'a Edge> {
    // A part is caused only by parts before it, or the tree would have no root.
    let is_earlier = |edge: &&Edge| numbers.get(&edge.from).is_some_and(|from| *from < number);
    let strongest =
        |edges: &mut dyn Iterator<Item = &'a Edge>| edges.min_by_key(|edge| (edge.rule, Reverse(edge.from_at)));
    let own = strongest(&mut part.entries.iter().filter(is_earlier).filter(|edge| edge.to_at == at));
    let any = || strongest(&mut part.entries.iter().filter(is_earlier));
    let is_own_root = at == ready.root && part.belonging(at) == Belongs::Own;
    own.or_else(|| if is_own_root { any() } else { None })
}
