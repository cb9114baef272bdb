//! The map's tables: its edges, an edge in parts, and nodes that are not drawn.

use super::graph::{Edge, Map, NodeKind};
use super::links::Links;
use super::view::View;
use super::words;
use crate::source::{EdgeNumbers, EdgePart};

/// Edges in the table.
const LINES_MAX: usize = 300;
/// Nodes in the list of those that are not drawn.
const OTHERS_MAX: usize = 500;

/// An edge in one table row.
pub(super) struct EdgeLine {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) numbers: NumberCells,
    pub(super) usual_p50: String,
    pub(super) usual_p95: String,
    /// How much slower than usual; empty when it is not.
    pub(super) slow: String,
    pub(super) is_gone: bool,
    pub(super) is_chosen: bool,
}

/// A node in a table.
pub(super) struct End {
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) url: String,
}

/// Numbers as cells.
pub(super) struct NumberCells {
    pub(super) per_minute: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) p99: String,
    pub(super) errors: String,
    pub(super) has_errors: bool,
    pub(super) retries: String,
    /// Mean gap or wait, and its 95th percentile.
    pub(super) gap: String,
}

/// A part of an edge in one table row.
pub(super) struct PartLine {
    pub(super) names: Vec<String>,
    pub(super) numbers: NumberCells,
}

impl NumberCells {
    pub(super) fn of(numbers: &EdgeNumbers, minutes: f64) -> Self {
        let time = |ns: Option<f64>| ns.filter(|_| numbers.calls > 0).map_or_else(|| "–".to_owned(), words::nanos);
        let gap = words::gap_mean_ns(numbers).map(|mean| {
            let p95 = numbers.gap_p95_ns.map(|p95| format!(", p95 {}", words::nanos(p95)));
            format!("{}{}", words::nanos(mean), p95.unwrap_or_default())
        });
        Self {
            per_minute: crate::format::rate(words::rate(numbers.calls, minutes)),
            p50: time(numbers.p50_ns),
            p95: time(numbers.p95_ns),
            p99: time(numbers.p99_ns),
            errors: words::errors(numbers),
            has_errors: numbers.errors > 0,
            retries: words::count(numbers.retries),
            gap: gap.unwrap_or_else(|| "–".to_owned()),
        }
    }
}

/// Returns the edges that are shown, those off their usual first, and how many there is no room for.
pub(super) fn edges(
    map: &Map,
    view: &View,
    chosen: Option<usize>,
    minutes: f64,
    links: &Links,
) -> (Vec<EdgeLine>, usize) {
    let mut order = view.edges.clone();
    // Within each half the busiest stay first.
    order.sort_by_key(|&edge| !map.edges[edge].is_slow());
    let lines = order.iter().take(LINES_MAX).map(|&index| {
        let edge = &map.edges[index];
        let usual = edge.usual.as_ref();
        let time = |ns: Option<f64>| ns.map_or_else(|| "–".to_owned(), words::nanos);
        EdgeLine {
            from: end(map, edge.from, links),
            to: end(map, edge.to, links),
            kind: edge.ends.kind.clone(),
            url: links.edge(&edge.id),
            numbers: NumberCells::of(&edge.now, minutes),
            usual_p50: time(usual.and_then(|usual| usual.p50_ns)),
            usual_p95: time(usual.and_then(|usual| usual.p95_ns)),
            slow: words::slow(edge),
            is_gone: edge.now.calls == 0,
            is_chosen: chosen == Some(index),
        }
    });
    (lines.collect(), order.len().saturating_sub(LINES_MAX))
}

/// Returns nodes that are not drawn, and how many there is no room for.
pub(super) fn others(map: &Map, view: &View, links: &Links) -> (Vec<End>, usize) {
    let listed = view.others.iter().take(OTHERS_MAX).map(|&node| end(map, node, links)).collect();
    (listed, view.others.len().saturating_sub(OTHERS_MAX))
}

/// Returns parts of an edge as rows.
pub(super) fn parts(parts: Vec<EdgePart>, minutes: f64) -> Vec<PartLine> {
    let shown = |name: String| if name.is_empty() { "–".to_owned() } else { name };
    let line = |part: EdgePart| PartLine {
        numbers: NumberCells::of(&part.numbers, minutes),
        names: part.names.into_iter().map(shown).collect(),
    };
    parts.into_iter().map(line).collect()
}

/// Returns the slowest edge beside its usual, as a sentence.
pub(super) fn slowest(map: &Map, view: &View) -> Option<String> {
    let slow = view.edges.iter().map(|&edge| &map.edges[edge]).filter(|edge| edge.is_slow());
    // By how much time it is more, not by how many times: that is what callers feel.
    let added = |edge: &Edge| {
        edge.now.p95_ns.unwrap_or(0.0) - edge.usual.as_ref().and_then(|usual| usual.p95_ns).unwrap_or(0.0)
    };
    let edge = slow.max_by(|left, right| added(left).total_cmp(&added(right)))?;
    let usual = edge.usual.as_ref()?.p95_ns?;
    Some(format!(
        "Furthest off its usual: {} → {}, p95 {}, usually {}.",
        map.nodes[edge.from].name,
        map.nodes[edge.to].name,
        words::nanos(edge.now.p95_ns?),
        words::nanos(usual)
    ))
}

fn end(map: &Map, node: usize, links: &Links) -> End {
    let node = &map.nodes[node];
    // What nothing is said of is a service.
    let detail = if node.kind == NodeKind::Service { String::new() } else { words::detail(node) };
    End { name: node.name.clone(), detail, url: links.focus(&node.id) }
}
