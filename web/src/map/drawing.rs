//! The map as shapes and texts: what the template writes as SVG. Every text is also in a title, whole. Called by the
//! map's page with a view that is bounded; decides what a label says, and leaves out labels for which there is no room.

use std::fmt::Write;

use super::graph::{Edge, Map, Node, NodeKind};
use super::layers::{self, NODE, Placed};
use super::links::Links;
use super::view::{EDGES_DRAWN_MAX, View};
use super::words;
use crate::{format, text};

/// Characters of a name that fit into a node.
const NAME_CHARS: usize = 17;
/// Characters of the line below it.
const DETAIL_CHARS: usize = 23;
/// Size of a label: of a character, and of a line.
const LABEL: (f64, f64) = (6.3, 13.0);
/// Half the width of an arrow's head, and its length.
const HEAD: (f64, f64) = (4.0, 9.0);

/// Pixels up to which a map is made smaller where the page is not as wide; wider ones are scrolled, to stay legible.
const FITTED_WIDTH_MAX: f64 = 1_560.0;

/// The drawing.
pub(super) struct Drawing {
    pub(super) width: String,
    pub(super) height: String,
    /// Whether it is made smaller where the page is not as wide.
    pub(super) is_fitted: bool,
    pub(super) nodes: Vec<NodeShape>,
    pub(super) edges: Vec<EdgeShape>,
    /// Edges that are only in the table.
    pub(super) edges_left_out: usize,
}

/// A node as it is drawn: a path for its outline, and two lines of text.
pub(super) struct NodeShape {
    pub(super) class: &'static str,
    pub(super) url: String,
    pub(super) outline: String,
    /// A further line of its shape.
    pub(super) mark: String,
    pub(super) x: String,
    pub(super) name_y: String,
    pub(super) detail_y: String,
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) title: String,
    pub(super) is_focus: bool,
    /// Page and text of the incident that names it first.
    pub(super) incident: Option<(String, String)>,
}

/// An edge as it is drawn: a line, its head, and up to two lines of text.
pub(super) struct EdgeShape {
    pub(super) class: String,
    pub(super) url: String,
    pub(super) line: String,
    pub(super) head: String,
    pub(super) title: String,
    pub(super) label: Option<Label>,
}

pub(super) struct Label {
    pub(super) x: String,
    pub(super) first_y: String,
    pub(super) second_y: String,
    pub(super) first: String,
    pub(super) second: String,
}

/// What is drawn beside the map itself.
pub(super) struct Marks<'a> {
    /// Node that the view is about.
    pub(super) focus: Option<usize>,
    /// Edge whose breakdown is shown.
    pub(super) edge: Option<usize>,
    /// Open incidents, by the service or peer that they name first.
    pub(super) incidents: &'a [(String, u64)],
    /// Minutes for which calls were counted, now.
    pub(super) minutes: f64,
}

impl Drawing {
    /// Draws what is shown of a map.
    pub(super) fn of(map: &Map, view: &View, marks: &Marks<'_>, links: &Links) -> Self {
        let mut place = vec![usize::MAX; map.nodes.len()];
        view.nodes.iter().enumerate().for_each(|(at, &node)| place[node] = at);
        let drawn: Vec<usize> = view.edges.iter().copied().take(EDGES_DRAWN_MAX).collect();
        let others = view.nodes.len();
        let mut ends: Vec<(usize, usize)> =
            drawn.iter().map(|&edge| (place[map.edges[edge].from], place[map.edges[edge].to])).collect();
        ends.extend(view.to_others.keys().map(|&from| (from, others)));
        ends.extend(view.from_others.keys().map(|&to| (others, to)));
        let placed = layers::place(others + usize::from(!view.others.is_empty()), &ends);

        let mut nodes: Vec<NodeShape> = view
            .nodes
            .iter()
            .zip(&placed.nodes)
            .map(|(&node, &at)| node_shape(&map.nodes[node], at, marks.focus == Some(node), marks, links))
            .collect();
        if let Some(&at) = placed.nodes.get(others) {
            nodes.push(others_shape(view.others.len(), at));
        }
        let mut labels = Labels::new(&placed);
        let folded = view.to_others.values().chain(view.from_others.values());
        let mut routes: Vec<(usize, &[(f64, f64)])> =
            placed.routes.iter().map(Vec::as_slice).enumerate().filter(|(_, route)| route.len() > 1).collect();
        // What is slow gets its label first, and is drawn last: over what it crosses.
        let is_slow = |index: usize| drawn.get(index).is_some_and(|&edge| map.edges[edge].is_slow());
        routes.sort_by_key(|(index, _)| !is_slow(*index));
        let slow = routes.iter().take_while(|(index, _)| is_slow(*index)).count();
        let mut edges = Vec::new();
        for (index, route) in routes {
            edges.push(match drawn.get(index) {
                Some(&edge) => edge_shape((map, edge), route, marks, links, &mut labels),
                None => folded_shape(route, folded.clone().nth(index - drawn.len()), marks, &mut labels),
            });
        }
        edges.rotate_left(slow);
        Self {
            width: pixels(placed.width),
            height: pixels(placed.height),
            is_fitted: placed.width <= FITTED_WIDTH_MAX,
            nodes,
            edges,
            edges_left_out: view.edges.len() - drawn.len(),
        }
    }
}

fn node_shape(node: &Node, (x, y): (f64, f64), is_focus: bool, marks: &Marks<'_>, links: &Links) -> NodeShape {
    let (width, height) = NODE;
    let (right, below, middle) = (x + width, y + height, y + height / 2.0);
    let (class, outline, mark) = match node.kind {
        NodeKind::Service => ("service", rounded(x, y, 6.0), String::new()),
        NodeKind::Client => ("client", rounded(x, y, height / 2.0), String::new()),
        NodeKind::Peer => ("peer", rounded(x, y, 0.0), String::new()),
        NodeKind::Queue => {
            // A pipe that lies.
            let outline = format!(
                "M{:.1} {y:.1}H{:.1}A8 {half:.1} 0 0 1 {1:.1} {below:.1}H{0:.1}A8 {half:.1} 0 0 1 {0:.1} {y:.1}Z",
                x + 8.0,
                right - 8.0,
                half = height / 2.0
            );
            let mark = format!("M{:.1} {y:.1}A8 {:.1} 0 0 0 {0:.1} {below:.1}", right - 8.0, height / 2.0);
            ("queue", outline, mark)
        }
        NodeKind::Database => {
            // A barrel that stands.
            let half = width / 2.0;
            let outline = format!(
                "M{x:.1} {:.1}A{half:.1} 6 0 0 1 {right:.1} {0:.1}V{:.1}A{half:.1} 6 0 0 1 {x:.1} {1:.1}Z",
                y + 5.0,
                below - 5.0
            );
            let mark = format!("M{x:.1} {:.1}A{half:.1} 6 0 0 0 {right:.1} {0:.1}", y + 5.0);
            ("database", outline, mark)
        }
    };
    let lowered = if node.kind == NodeKind::Database { 4.0 } else { 0.0 };
    let detail = words::detail(node);
    let found = marks.incidents.iter().find(|(name, _)| *name == node.name);
    NodeShape {
        class,
        url: links.focus(&node.id),
        outline,
        mark,
        x: pixels(x + width / 2.0),
        name_y: pixels(middle - 3.0 + lowered),
        detail_y: pixels(middle + 12.0 + lowered),
        title: format!("{} ({}): {detail}", node.name, node.kind.as_str()),
        name: text::shortened(&node.name, NAME_CHARS),
        detail: text::shortened(&detail, DETAIL_CHARS),
        is_focus,
        incident: found.map(|(_, number)| (format!("/incidents/{number}"), format!("▲ #{number}"))),
    }
}

fn others_shape(count: usize, (x, y): (f64, f64)) -> NodeShape {
    let middle = y + NODE.1 / 2.0;
    NodeShape {
        class: "others",
        url: "#others".to_owned(),
        outline: rounded(x, y, 6.0),
        mark: String::new(),
        x: pixels(x + NODE.0 / 2.0),
        name_y: pixels(middle - 3.0),
        detail_y: pixels(middle + 12.0),
        name: format!("others ({})", format::len(count)),
        detail: "listed below".to_owned(),
        title: format!("{} more, listed below", format::len(count)),
        is_focus: false,
        incident: None,
    }
}

fn rounded(x: f64, y: f64, radius: f64) -> String {
    let (right, below) = (x + NODE.0, y + NODE.1);
    format!(
        "M{:.1} {y:.1}H{:.1}A{radius:.1} {radius:.1} 0 0 1 {right:.1} {:.1}V{:.1}A{radius:.1} {radius:.1} 0 0 1 {1:.1} \
         {below:.1}H{0:.1}A{radius:.1} {radius:.1} 0 0 1 {x:.1} {3:.1}V{2:.1}A{radius:.1} {radius:.1} 0 0 1 {0:.1} {y:.1}Z",
        x + radius,
        right - radius,
        y + radius,
        below - radius
    )
}

fn edge_shape(
    (map, index): (&Map, usize),
    route: &[(f64, f64)],
    marks: &Marks<'_>,
    links: &Links,
    labels: &mut Labels,
) -> EdgeShape {
    let edge: &Edge = &map.edges[index];
    let mut class = edge.ends.kind.clone();
    for (word, holds) in
        [("slow", edge.is_slow()), ("gone", edge.now.calls == 0), ("chosen", marks.edge == Some(index))]
    {
        if holds {
            class.push(' ');
            class.push_str(word);
        }
    }
    let told = words::edge(edge, marks.minutes);
    EdgeShape {
        class,
        url: links.edge(&edge.id),
        line: line(route),
        head: head(route),
        title: format!("{} → {}: {}", map.nodes[edge.from].name, map.nodes[edge.to].name, told.whole),
        label: labels.place(route, told.now, told.usual),
    }
}

fn folded_shape(route: &[(f64, f64)], calls: Option<&i64>, marks: &Marks<'_>, labels: &mut Labels) -> EdgeShape {
    let per_minute = words::per_minute(calls.copied().unwrap_or(0), marks.minutes);
    EdgeShape {
        class: "folded".to_owned(),
        url: "#others".to_owned(),
        line: line(route),
        head: head(route),
        title: format!("{per_minute}, with nodes that are listed below"),
        label: labels.place(route, per_minute, String::new()),
    }
}

/// Returns a line through the points that leaves and reaches each level.
fn line(route: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let Some(((x, y), rest)) = route.split_first() else { return path };
    let mut last = (*x, *y);
    write!(path, "M{x:.1} {y:.1}").expect("writing to a string cannot fail");
    for &(x, y) in rest {
        let middle = f64::midpoint(last.0, x);
        write!(path, "C{middle:.1} {:.1} {middle:.1} {y:.1} {x:.1} {y:.1}", last.1)
            .expect("writing to a string cannot fail");
        last = (x, y);
    }
    path
}

fn head(route: &[(f64, f64)]) -> String {
    let [.., before, (x, y)] = route else { return String::new() };
    let back = if before.0 < *x { -HEAD.1 } else { HEAD.1 };
    format!("{x:.1},{y:.1} {:.1},{:.1} {0:.1},{:.1}", x + back, y - HEAD.0, y + HEAD.0)
}

/// Texts beside edges, none over another or over a node.
struct Labels {
    /// Left, upper, right and lower edge of what is there.
    taken: Vec<[f64; 4]>,
}

impl Labels {
    fn new(placed: &Placed) -> Self {
        Self { taken: placed.nodes.iter().map(|&(x, y)| [x, y, x + NODE.0, y + NODE.1]).collect() }
    }

    /// Returns a label at the first place of several that is free: of two lines, or else of one, or none.
    fn place(&mut self, route: &[(f64, f64)], first: String, second: String) -> Option<Label> {
        let gaps = [
            route.last_chunk::<2>().map(|pair| (pair[0], pair[1])),
            route.first_chunk::<2>().map(|pair| (pair[0], pair[1])),
        ];
        for lines in if second.is_empty() { 1..=1 } else { 1..=2 }.rev() {
            for along in [0.5, 0.65, 0.35, 0.8, 0.2] {
                for (from, to) in gaps.into_iter().flatten() {
                    let at = between(from, to, along);
                    let chars = if lines == 2 {
                        first.chars().count().max(second.chars().count())
                    } else {
                        first.chars().count()
                    };
                    let half = f64::from(u32::try_from(chars).unwrap_or(u32::MAX)) * LABEL.0 / 2.0;
                    let height = LABEL.1 * f64::from(lines);
                    let room = [at.0 - half, at.1 - height / 2.0, at.0 + half, at.1 + height / 2.0];
                    if self.taken.iter().any(|taken| overlap(taken, &room)) {
                        continue;
                    }
                    self.taken.push(room);
                    return Some(Label {
                        x: pixels(at.0),
                        first_y: pixels(room[1] + 10.0),
                        second_y: pixels(room[1] + 10.0 + LABEL.1),
                        second: if lines == 2 { second } else { String::new() },
                        first,
                    });
                }
            }
        }
        None
    }
}

/// Returns a point of the curve that [`line`] draws between two points.
fn between(from: (f64, f64), to: (f64, f64), along: f64) -> (f64, f64) {
    let rest = 1.0 - along;
    let middle = f64::midpoint(from.0, to.0);
    let x = rest.powi(3) * from.0 + 3.0 * rest * along * middle + along.powi(3) * to.0;
    let y = from.1 + (to.1 - from.1) * (3.0 - 2.0 * along) * along * along;
    (x, y)
}

fn overlap(left: &[f64; 4], right: &[f64; 4]) -> bool {
    left[0] < right[2] && right[0] < left[2] && left[1] < right[3] && right[1] < left[3]
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}
