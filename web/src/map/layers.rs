//! A layered layout: who calls stands left of who is called, edges pass between nodes, and what is alike stands close.
//! Numbers in, numbers out; the same graph is always laid out the same. Asked for by `drawing`, with a bounded graph.

use std::collections::{BTreeSet, VecDeque};

mod order;

/// Width and height of a node.
pub(super) const NODE: (f64, f64) = (148.0, 46.0);
/// Between two layers: room for the labels of edges.
pub(super) const LAYER_GAP: f64 = 120.0;
const NODE_GAP: f64 = 18.0;
/// Height that an edge needs where it passes a layer.
const LANE_HEIGHT: f64 = 10.0;
const MARGIN: f64 = 8.0;
/// Places at which edges pass layers; beyond this, edges go straight.
const LANES_MAX: usize = 2_000;
/// By how much a back edge stands below its ends' middle, so that a call and its answer are two lines.
const BACK_SHIFT: f64 = 10.0;

/// A graph that has its place.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Placed {
    /// Left and upper edge of each node.
    pub(super) nodes: Vec<(f64, f64)>,
    /// Points of each edge, from caller to callee; pairs of points are one gap between layers, or one layer that is
    /// passed. Empty for an edge from a node to itself.
    pub(super) routes: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// What stands in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Node,
    /// An edge that passes.
    Lane,
}

/// Items in layers, and what is tied to what in the neighbouring layers.
#[derive(Debug, Default)]
struct Layers {
    kinds: Vec<Item>,
    /// Items of each layer from above to below.
    layers: Vec<Vec<usize>>,
    /// By item, its neighbours in the layer before and in the layer after.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

impl Layers {
    fn tie(&mut self, left: usize, right: usize) {
        self.after[left].push(right);
        self.before[right].push(left);
    }

    fn height(&self, item: usize) -> f64 {
        match self.kinds[item] {
            Item::Node => NODE.1,
            Item::Lane => LANE_HEIGHT,
        }
    }
}

/// Returns a place for each of `nodes` nodes, and a route for each edge between them.
pub(super) fn place(nodes: usize, edges: &[(usize, usize)]) -> Placed {
    let is_back = back_edges(nodes, edges);
    let forward: Vec<(usize, usize)> =
        edges.iter().zip(&is_back).map(|(&(from, to), back)| if *back { (to, from) } else { (from, to) }).collect();
    let layer_of = layers_of(nodes, &forward);
    let mut layers = Layers {
        kinds: vec![Item::Node; nodes],
        layers: vec![Vec::new(); layer_of.iter().max().map_or(0, |last| last + 1)],
        before: vec![Vec::new(); nodes],
        after: vec![Vec::new(); nodes],
    };
    (0..nodes).for_each(|node| layers.layers[layer_of[node]].push(node));
    let lanes = add_lanes(&mut layers, &layer_of, &forward);
    order::order(&mut layers);
    let ys = order::heights(&layers);
    let xs = |layer: usize| MARGIN + position(layer) * (NODE.0 + LAYER_GAP);
    let height = (0..ys.len()).map(|item| ys[item] + layers.height(item) / 2.0).fold(0.0, f64::max);
    let ends = |node: usize| (xs(layer_of[node]), ys[node] + MARGIN);
    let mut routes = Vec::with_capacity(edges.len());
    for ((&(from, to), lanes), &back) in forward.iter().zip(&lanes).zip(&is_back) {
        if from == to {
            routes.push(Vec::new());
            continue;
        }
        let shift = if back { BACK_SHIFT } else { 0.0 };
        let (left, right) = (ends(from), ends(to));
        let mut points = vec![(left.0 + NODE.0, left.1 + shift)];
        for (step, &lane) in lanes.iter().enumerate() {
            let x = xs(layer_of[from] + 1 + step);
            points.extend([(x, ys[lane] + MARGIN), (x + NODE.0, ys[lane] + MARGIN)]);
        }
        points.push((right.0, right.1 + shift));
        if back {
            points.reverse();
        }
        routes.push(points);
    }
    Placed {
        nodes: (0..nodes).map(|node| (xs(layer_of[node]), ys[node] + MARGIN - NODE.1 / 2.0)).collect(),
        routes,
        width: xs(layers.layers.len().max(1) - 1) + NODE.0 + MARGIN,
        height: height + 2.0 * MARGIN,
    }
}

fn position(layer: usize) -> f64 {
    f64::from(u32::try_from(layer).unwrap_or(u32::MAX))
}

/// Returns which edges would close a cycle, as a walk from the nodes that nobody calls finds them.
fn back_edges(nodes: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut out: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes];
    let mut is_called = vec![false; nodes];
    for (index, &(from, to)) in edges.iter().enumerate() {
        out[from].push((to, index));
        is_called[to] |= from != to;
    }
    let mut is_back = vec![false; edges.len()];
    let mut state = vec![State::New; nodes];
    let callers_first = (0..nodes).filter(|&node| !is_called[node]).chain((0..nodes).filter(|&node| is_called[node]));
    for start in callers_first {
        if state[start] != State::New {
            continue;
        }
        state[start] = State::Open;
        let mut open = vec![(start, 0)];
        while let Some((node, next)) = open.last_mut() {
            let Some(&(to, edge)) = out[*node].get(*next) else {
                state[*node] = State::Done;
                open.pop();
                continue;
            };
            *next += 1;
            match state[to] {
                State::Open => is_back[edge] = true,
                State::New => {
                    state[to] = State::Open;
                    open.push((to, 0));
                }
                State::Done => {}
            }
        }
    }
    is_back
}

/// Returns the layer of each node: one after all that call it. What nobody calls stands just before what it calls, and
/// what has no edges fills the layers evenly.
fn layers_of(nodes: usize, forward: &[(usize, usize)]) -> Vec<usize> {
    let edges: BTreeSet<(usize, usize)> = forward.iter().copied().filter(|(from, to)| from != to).collect();
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut waiting_for = vec![0_usize; nodes];
    for &(from, to) in &edges {
        out[from].push(to);
        waiting_for[to] += 1;
    }
    let is_root: Vec<bool> = waiting_for.iter().map(|count| *count == 0).collect();
    let mut layer_of = vec![0; nodes];
    let mut ready: VecDeque<usize> = (0..nodes).filter(|&node| is_root[node]).collect();
    while let Some(node) = ready.pop_front() {
        for &to in &out[node] {
            layer_of[to] = layer_of[to].max(layer_of[node] + 1);
            waiting_for[to] -= 1;
            if waiting_for[to] == 0 {
                ready.push_back(to);
            }
        }
    }
    for node in (0..nodes).filter(|&node| is_root[node]) {
        if let Some(first) = out[node].iter().map(|&to| layer_of[to]).min() {
            layer_of[node] = first - 1;
        }
    }
    let layers = layer_of.iter().max().map_or(1, |last| last + 1);
    let alone: Vec<usize> = (0..nodes).filter(|&node| is_root[node] && out[node].is_empty()).collect();
    for (number, node) in alone.into_iter().enumerate() {
        layer_of[node] = number % layers;
    }
    layer_of
}

/// Adds a place in each layer that an edge passes; returns those of each edge, from left to right.
fn add_lanes(layers: &mut Layers, layer_of: &[usize], forward: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let passed = |&(from, to): &(usize, usize)| layer_of[to].saturating_sub(layer_of[from] + 1);
    let is_few = forward.iter().map(passed).sum::<usize>() <= LANES_MAX;
    let mut lanes = Vec::with_capacity(forward.len());
    for edge in forward {
        let &(from, to) = edge;
        let mut own = Vec::new();
        let mut last = from;
        for step in 0..if is_few { passed(edge) } else { 0 } {
            let lane = layers.kinds.len();
            layers.kinds.push(Item::Lane);
            layers.before.push(Vec::new());
            layers.after.push(Vec::new());
            layers.layers[layer_of[from] + 1 + step].push(lane);
            layers.tie(last, lane);
            own.push(lane);
            last = lane;
        }
        if from != to && (is_few || passed(edge) == 0) {
            layers.tie(last, to);
        }
        lanes.push(own);
    }
    lanes
}

#[cfg(test)]
mod tests;
