//! Order and height of what stands in layers: each item is drawn to the middle of what it is tied to, in turns, and
//! never over another. Called by `layers`; the number of turns is fixed, so that time is bounded.

use super::{Layers, NODE_GAP};

/// Turns in which the order of layers is improved.
const ORDER_TURNS: usize = 12;
/// Turns in which heights are improved.
const HEIGHT_TURNS: usize = 16;

/// Orders each layer by the middle of its neighbours, in turns from the left and from the right.
pub(super) fn order(layers: &mut Layers) {
    let mut rank = vec![0.0; layers.kinds.len()];
    let number = |layers: &Layers, layer: usize, rank: &mut [f64]| {
        for (at, &item) in layers.layers[layer].iter().enumerate() {
            rank[item] = f64::from(u32::try_from(at).unwrap_or(u32::MAX));
        }
    };
    (0..layers.layers.len()).for_each(|layer| number(layers, layer, &mut rank));
    for turn in 0..ORDER_TURNS {
        for layer in walk(layers, turn) {
            let ties = if turn % 2 == 0 { &layers.before } else { &layers.after };
            let mut wanted: Vec<(f64, usize)> = layers.layers[layer]
                .iter()
                .map(|&item| (mean(&ties[item], &rank).unwrap_or(rank[item]), item))
                .collect();
            // Equal ones keep their order.
            wanted.sort_by(|left, right| left.0.total_cmp(&right.0));
            layers.layers[layer] = wanted.into_iter().map(|(_, item)| item).collect();
            number(layers, layer, &mut rank);
        }
    }
}

/// Returns the middle of each item, the first at its half height.
pub(super) fn heights(layers: &Layers) -> Vec<f64> {
    let mut ys = vec![0.0; layers.kinds.len()];
    for layer in &layers.layers {
        let mut y = 0.0;
        for &item in layer {
            ys[item] = y + layers.height(item) / 2.0;
            y += layers.height(item) + NODE_GAP;
        }
    }
    for turn in 0..HEIGHT_TURNS {
        for layer in walk(layers, turn) {
            let ties = if turn % 2 == 0 { &layers.before } else { &layers.after };
            let items = &layers.layers[layer];
            let wanted: Vec<f64> = items.iter().map(|&item| mean(&ties[item], &ys).unwrap_or(ys[item])).collect();
            for (item, y) in items.iter().zip(apart(layers, items, &wanted)) {
                ys[*item] = y;
            }
        }
    }
    let top = (0..ys.len()).map(|item| ys[item] - layers.height(item) / 2.0).fold(f64::INFINITY, f64::min);
    ys.iter_mut().for_each(|y| *y -= top);
    ys
}

fn walk(layers: &Layers, turn: usize) -> Vec<usize> {
    let all = 0..layers.layers.len();
    if turn.is_multiple_of(2) { all.collect() } else { all.rev().collect() }
}

/// Returns heights as near to the wanted ones as the order and the room of each allow: the middle between pushing all
/// down and pushing all up, both of which keep the distances.
fn apart(layers: &Layers, items: &[usize], wanted: &[f64]) -> Vec<f64> {
    let distance =
        |upper: usize, lower: usize| (layers.height(items[upper]) + layers.height(items[lower])) / 2.0 + NODE_GAP;
    let mut down = wanted.to_vec();
    for at in 1..down.len() {
        down[at] = down[at].max(down[at - 1] + distance(at - 1, at));
    }
    let mut up = wanted.to_vec();
    for at in (1..up.len()).rev() {
        up[at - 1] = up[at - 1].min(up[at] - distance(at - 1, at));
    }
    down.iter().zip(&up).map(|(down, up)| f64::midpoint(*down, *up)).collect()
}

fn mean(ties: &[usize], of: &[f64]) -> Option<f64> {
    let count = f64::from(u32::try_from(ties.len()).unwrap_or(u32::MAX));
    (!ties.is_empty()).then(|| ties.iter().map(|&item| of[item]).sum::<f64>() / count)
}
