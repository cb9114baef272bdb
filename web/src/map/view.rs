//! What of the map is shown: all of it, or what lies around a node. A map that is too large to be read is folded, never
//! refused: the busiest nodes stay, and the others become one.

use std::collections::{BTreeMap, VecDeque};

use super::graph::Map;

/// Nodes that are drawn, beside the one that stands for the others.
pub(super) const NODES_MAX: usize = 60;
/// Edges that are drawn; the table has more.
pub(super) const EDGES_DRAWN_MAX: usize = 240;

/// Nodes and edges that are shown, by their index in the map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    /// In order of their ids.
    pub(super) nodes: Vec<usize>,
    /// Between nodes that are shown, the busiest first.
    pub(super) edges: Vec<usize>,
    /// Nodes that are folded into one, the busiest first.
    pub(super) others: Vec<usize>,
    /// Calls between a node that is shown, by its place among them, and the others: to them, and from them.
    pub(super) to_others: BTreeMap<usize, i64>,
    pub(super) from_others: BTreeMap<usize, i64>,
}

/// The node to look at, and how many steps around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Focus {
    pub(super) node: usize,
    pub(super) hops: usize,
}

impl View {
    /// Returns what is shown of a map, at most `nodes_max` nodes.
    pub(super) fn of(map: &Map, focus: Option<Focus>, nodes_max: usize) -> Self {
        let distances = focus.map(|focus| distances(map, focus));
        let distance = |node: usize| distances.as_ref().map_or(Some(0), |known| known[node]);
        let mut order: Vec<usize> = (0..map.nodes.len()).collect();
        // The nearest first, of those the busiest.
        order.sort_by_key(|&node| (distance(node).unwrap_or(usize::MAX), -map.nodes[node].traffic, node));
        let shown = order.iter().take_while(|&&node| distance(node).is_some()).count().min(nodes_max);
        let others = order.split_off(shown);
        let mut nodes = order;
        nodes.sort_unstable();
        let mut view = Self { nodes, others, ..Self::default() };
        let mut place = vec![None; map.nodes.len()];
        for (at, &node) in view.nodes.iter().enumerate() {
            place[node] = Some(at);
        }
        for (index, edge) in map.edges.iter().enumerate() {
            match (place[edge.from], place[edge.to]) {
                (Some(_), Some(_)) => view.edges.push(index),
                (Some(from), None) => *view.to_others.entry(from).or_default() += edge.now.calls,
                (None, Some(to)) => *view.from_others.entry(to).or_default() += edge.now.calls,
                (None, None) => {}
            }
        }
        view
    }
}

/// Returns how many steps each node is away from the focus, whoever calls whom; none for those beyond its bound.
fn distances(map: &Map, focus: Focus) -> Vec<Option<usize>> {
    let mut beside: Vec<Vec<usize>> = vec![Vec::new(); map.nodes.len()];
    for edge in &map.edges {
        beside[edge.from].push(edge.to);
        beside[edge.to].push(edge.from);
    }
    let mut distances = vec![None; map.nodes.len()];
    distances[focus.node] = Some(0);
    let mut todo = VecDeque::from([(focus.node, 0)]);
    while let Some((node, distance)) = todo.pop_front() {
        if distance == focus.hops {
            continue;
        }
        for &next in &beside[node] {
            if distances[next].is_none() {
                distances[next] = Some(distance + 1);
                todo.push_back((next, distance + 1));
            }
        }
    }
    distances
}
