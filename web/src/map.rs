//! `/map`: who calls whom, where is it slow beside usual, and which of them are queues, databases or send no telemetry?
//! Drawn on the server; the table below says the same. Reads counts, never spans.

use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use crate::format;
use crate::page::{Frame, PERIODS, PageResult, Shared, render};
use crate::source::EdgeBy;

mod drawing;
mod graph;
mod json;
mod layers;
mod lines;
mod links;
mod load;
mod view;
mod words;

use drawing::{Drawing, Marks};
use graph::{Map, NodeKind};
pub(crate) use json::map_json;
use lines::{EdgeLine, End, PartLine};
use links::Links;
use load::{Loaded, Stretch};
use view::View;

/// The map.
#[derive(Template)]
#[template(path = "map.html")]
struct MapPage {
    frame: Frame,
    heading: String,
    lead: String,
    facts: Vec<String>,
    params: Params,
    names: Vec<String>,
    hops: Vec<Choice>,
    periods: Vec<Choice>,
    whole_url: String,
    json_url: String,
    drawing: Option<Drawing>,
    edges: Vec<EdgeLine>,
    edges_left_out: usize,
    chosen: Option<Chosen>,
    others: Vec<End>,
    others_left_out: usize,
}

/// The edge whose parts are shown.
struct Chosen {
    heading: String,
    about: String,
    instances: Vec<PartLine>,
    instances_title: &'static str,
    operations: Vec<PartLine>,
}

struct Choice {
    value: String,
    label: String,
    is_current: bool,
}

/// Parameters of the map, of its page and of the API.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Params {
    focus: String,
    hops: String,
    t: String,
    from: String,
    to: String,
    edge: String,
}

/// `GET /map`.
pub(crate) async fn map(state: Shared, Query(params): Query<Params>) -> PageResult {
    let loaded = load::load(&state, &params).await?;
    let Loaded { map, now, focus, .. } = &loaded;
    let edge = map.edges.iter().position(|edge| edge.id == params.edge);
    let mut parts = Vec::new();
    if let Some(edge) = edge.map(|edge| &map.edges[edge]) {
        for by in [EdgeBy::Instance, EdgeBy::Operation] {
            let found = state.source.edge_parts(edge.ends.clone(), by, now.from_ns, loaded.period.to_ns).await?;
            parts.push(lines::parts(found, now.minutes()));
        }
    }
    let incidents = open_incidents(&state.summary.borrow());
    let marks = Marks { focus: focus.map(|focus| focus.node), edge, incidents: &incidents, minutes: now.minutes() };
    let mut page = page(&loaded, params, &marks);
    page.chosen = edge.map(|edge| chosen(map, edge, parts, *now));
    Ok(render(&page))
}

/// Returns open incidents by the service that each names first.
fn open_incidents(summary: &analyzer::Summary) -> Vec<(String, u64)> {
    let open = summary.incidents.iter().filter(|found| found.status == analyzer::incident::IncidentStatus::Open);
    open.filter_map(|found| Some((found.root_cause.first()?.service.clone(), found.number))).collect()
}

fn page(loaded: &Loaded, params: Params, marks: &Marks<'_>) -> MapPage {
    let Loaded { map, period, focus, .. } = loaded;
    let links = Links::of(&params);
    let view = View::of(map, *focus, view::NODES_MAX);
    let (edges, edges_left_out) = lines::edges(map, &view, marks.edge, marks.minutes, &links);
    let (others, others_left_out) = lines::others(map, &view, &links);
    let hops = focus.map_or(2, |focus| focus.hops);
    let choice = |value: String, label: String, is_current| Choice { value, label, is_current };
    MapPage {
        frame: Frame::new("Map", "/map"),
        heading: match focus {
            Some(focus) => format!("Who calls {}, and whom does it call", map.nodes[focus.node].name),
            None => "Who calls whom".to_owned(),
        },
        lead: lines::slowest(map, &view).unwrap_or_default(),
        facts: facts(loaded, &view),
        names: map.nodes.iter().take(NAMES_MAX).map(|node| node.name.clone()).collect(),
        hops: (1..=load::HOPS_MAX)
            .map(|steps| choice(steps.to_string(), format::counted(steps, "step", "steps"), steps == hops))
            .collect(),
        periods: periods(&period.relative),
        whole_url: links.whole(),
        json_url: links.json(),
        drawing: (!view.nodes.is_empty()).then(|| Drawing::of(map, &view, marks, &links)),
        edges,
        edges_left_out,
        chosen: None,
        others,
        others_left_out,
        params,
    }
}

/// Returns the periods that the select offers, and the one that is shown.
fn periods(shown: &str) -> Vec<Choice> {
    let choice = |value: &str, label: &str| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        is_current: value == shown,
    };
    let mut choices: Vec<Choice> = PERIODS.iter().map(|(value, label)| choice(value, label)).collect();
    if choices.iter().all(|choice| !choice.is_current) {
        choices.insert(0, choice(shown, &format!("last {shown}")));
    }
    choices
}

/// Names that the field for the focus offers.
const NAMES_MAX: usize = 500;

fn facts(loaded: &Loaded, view: &View) -> Vec<String> {
    let map = &loaded.map;
    let kinds = [
        (NodeKind::Service, "service", "services"),
        (NodeKind::Queue, "queue", "queues"),
        (NodeKind::Database, "database", "databases"),
        (NodeKind::Peer, "peer without telemetry", "peers without telemetry"),
    ];
    let counted = kinds.map(|(kind, one, many)| (map.count(kind), one, many));
    let mut facts: Vec<String> = counted
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format::counted(count, one, many))
        .collect();
    if !view.others.is_empty() {
        facts.push(format!("{} of {} drawn", format::len(view.nodes.len()), format::len(map.nodes.len())));
    }
    if map.is_cut {
        facts.push("only the busiest connections were read".to_owned());
    }
    facts.push(format!("now: {}", stretch(loaded.now)));
    facts.push(match loaded.usual {
        Some(usual) => format!("usual: {}", stretch(usual)),
        None => "what is usual is not known yet".to_owned(),
    });
    facts
}

fn stretch(stretch: Stretch) -> String {
    let (from, to) = (format::moment(stretch.from_ns), format::moment(stretch.to_ns));
    match (from.split_once(' '), to.split_once(' ')) {
        (Some((day, _)), Some((same, clock))) if day == same => {
            format!("{} to {clock}", from.trim_end_matches(" UTC"))
        }
        _ => format!("{} to {to}", from.trim_end_matches(" UTC")),
    }
}

fn chosen(map: &Map, edge: usize, parts: Vec<Vec<PartLine>>, now: Stretch) -> Chosen {
    let edge = &map.edges[edge];
    let mut parts = parts.into_iter();
    Chosen {
        heading: format!("{} → {}", map.nodes[edge.from].name, map.nodes[edge.to].name),
        about: words::edge(edge, now.minutes()).whole,
        instances: parts.next().unwrap_or_default(),
        instances_title: if map.nodes[edge.to].kind == NodeKind::Service {
            "called instance"
        } else {
            "calling instance"
        },
        operations: parts.next().unwrap_or_default(),
    }
}
