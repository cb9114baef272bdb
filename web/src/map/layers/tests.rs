//! The layout by its properties: nothing over anything, callers left of callees, the same every time, and in time.

use proptest::prelude::*;

use super::*;

/// Numbers without a pattern, always the same (a linear congruence; Knuth's constants).
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % below
    }
}

fn expect_sound(nodes: usize, edges: &[(usize, usize)]) -> Placed {
    let placed = place(nodes, edges);
    assert_eq!((placed.nodes.len(), placed.routes.len()), (nodes, edges.len()));
    let inside = |(x, y): (f64, f64)| x >= 0.0 && y >= 0.0 && x <= placed.width && y <= placed.height;
    for &(x, y) in &placed.nodes {
        assert!(inside((x, y)) && inside((x + NODE.0, y + NODE.1)), "{x} {y} of {} {}", placed.width, placed.height);
    }
    for (index, left) in placed.nodes.iter().enumerate() {
        for right in &placed.nodes[..index] {
            let is_apart = (left.0 - right.0).abs() >= NODE.0 || (left.1 - right.1).abs() >= NODE.1;
            assert!(is_apart, "{left:?} lies over {right:?}");
        }
    }
    for (&(from, to), route) in edges.iter().zip(&placed.routes) {
        assert_eq!(route.is_empty(), from == to);
        assert!(route.iter().all(|&point| inside(point)), "{route:?}");
    }
    placed
}

#[test]
fn callers_stand_left_of_whom_they_call() {
    let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (4, 3)];
    let placed = expect_sound(5, &edges);
    for (from, to) in edges {
        assert!(placed.nodes[from].0 < placed.nodes[to].0, "{from} {to}");
    }
    assert_eq!(placed.routes[4].len(), 4, "an edge over a layer has a place in it");
    assert_eq!(placed.nodes[4].0, placed.nodes[1].0, "what nobody calls stands just before what it calls");
}

#[test]
fn cycles_are_drawn_backwards_and_calls_to_oneself_not_at_all() {
    let placed = expect_sound(3, &[(0, 1), (1, 2), (2, 0), (1, 1), (1, 0)]);
    assert!(placed.nodes[0].0 < placed.nodes[1].0 && placed.nodes[1].0 < placed.nodes[2].0);
    let back = &placed.routes[2];
    assert!(back.first().unwrap().0 > back.last().unwrap().0);
    assert_ne!(placed.routes[0].first(), placed.routes[4].last(), "a call and its answer are two lines");
    assert!(placed.routes[3].is_empty());
}

#[test]
fn nothing_and_nodes_alone_have_a_layout() {
    assert!(place(0, &[]).nodes.is_empty());
    expect_sound(1, &[]);
    expect_sound(60, &[]);
    expect_sound(2, &[(0, 1), (0, 1)]);
}

#[test]
fn a_thousand_nodes_have_a_layout_in_time() {
    let mut number = numbers(7);
    let edges: Vec<(usize, usize)> = (0..4_000).map(|_| (number(1_000), number(1_000))).collect();
    expect_sound(1_000, &edges);
    let chain: Vec<(usize, usize)> = (0..999).map(|node| (node, node + 1)).collect();
    let far: Vec<(usize, usize)> = chain.iter().copied().chain([(0, 999), (999, 0)]).collect();
    expect_sound(1_000, &far);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_graph_has_a_sound_layout_that_is_always_the_same(
        nodes in 1_usize..40,
        ends in prop::collection::vec((0_usize..40, 0_usize..40), 0..120),
    ) {
        let edges: Vec<(usize, usize)> = ends.into_iter().map(|(from, to)| (from % nodes, to % nodes)).collect();
        prop_assert_eq!(expect_sound(nodes, &edges), place(nodes, &edges));
    }
}
