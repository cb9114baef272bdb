//! The map as JSON, for programs. Times are milliseconds, as everywhere in the API.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::graph::{Edge, Map, Node, NodeKind};
use super::load::{Loaded, Stretch, load};
use super::view::View;
use super::{Params, words};
use crate::State;
use crate::error::PageError;
use crate::format;
use crate::source::EdgeNumbers;

/// Answers `GET /api/v1/map`.
pub(crate) async fn map_json(state: &State, params: &Params) -> Result<Response, PageError> {
    let loaded = load(state, params).await?;
    let Loaded { map, now, usual, focus, .. } = &loaded;
    // Nothing is folded for programs: without a focus they get all, with one what lies around it.
    let view = View::of(map, *focus, map.nodes.len());
    let nodes: Vec<Value> = view.nodes.iter().map(|&node| node_json(&map.nodes[node])).collect();
    let edges: Vec<Value> = view.edges.iter().map(|&edge| edge_json(map, &map.edges[edge], *now, *usual)).collect();
    let body = json!({
        "now": stretch(now),
        "usual": usual.as_ref().map(stretch),
        "nodes": nodes,
        "edges": edges,
        "truncated": map.is_cut,
    });
    Ok(Json(body).into_response())
}

fn stretch(stretch: &Stretch) -> Value {
    json!({ "from": format::machine(stretch.from_ns), "to": format::machine(stretch.to_ns) })
}

fn node_json(node: &Node) -> Value {
    json!({
        "id": node.id,
        "kind": node.kind.as_str(),
        "name": node.name,
        "detail": node.detail,
        "instrumented": node.kind == NodeKind::Service,
        "instances": node.instances,
        "versions": node.versions,
    })
}

fn edge_json(map: &Map, edge: &Edge, now: Stretch, usual: Option<Stretch>) -> Value {
    let mut value = numbers(&edge.now, now.minutes(), &edge.ends.kind);
    value["id"] = edge.id.clone().into();
    value["from"] = map.nodes[edge.from].id.clone().into();
    value["to"] = map.nodes[edge.to].id.clone().into();
    value["kind"] = edge.ends.kind.clone().into();
    value["slow"] = edge.is_slow().into();
    value["last_seen"] = match (&edge.usual, edge.now.calls) {
        (Some(usual), 0) => format::machine(usual.last_ns).into(),
        _ => format::machine(edge.now.last_ns).into(),
    };
    let minutes = usual.map_or(0.0, Stretch::minutes);
    value["usual"] = edge.usual.as_ref().map_or(Value::Null, |usual| numbers(usual, minutes, &edge.ends.kind));
    value
}

fn numbers(numbers: &EdgeNumbers, minutes: f64, kind: &str) -> Value {
    let ms = |ns: Option<f64>| ns.map(|ns| ns / 1e6);
    let time = |ns: Option<f64>| ms(ns).filter(|_| numbers.calls > 0);
    let gap = words::gap_mean_ns(numbers).map(|mean| json!({ "mean": mean / 1e6, "p95": ms(numbers.gap_p95_ns) }));
    let (gap, wait) = if kind == "message" { (None, gap) } else { (gap, None) };
    json!({
        "calls": numbers.calls,
        "per_minute": words::rate(numbers.calls, minutes),
        "errors": numbers.errors,
        "error_share": words::error_share(numbers),
        "retries": numbers.retries,
        "p50_ms": time(numbers.p50_ns),
        "p95_ms": time(numbers.p95_ns),
        "p99_ms": time(numbers.p99_ns),
        "gap_ms": gap,
        "wait_ms": wait,
    })
}
