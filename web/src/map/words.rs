//! What the map says of a node and of an edge, in words: the same on the drawing, in its titles and in the table.

use super::graph::{Edge, Node, NodeKind};
use crate::format;
use crate::source::EdgeNumbers;

/// An edge in words.
pub(super) struct EdgeWords {
    /// Rate and 95th percentile now.
    pub(super) now: String,
    /// The usual 95th percentile; empty when it is not known.
    pub(super) usual: String,
    /// All that is known, in one sentence.
    pub(super) whole: String,
}

/// Returns what is said of an edge that was counted for so many minutes.
pub(super) fn edge(edge: &Edge, minutes: f64) -> EdgeWords {
    let rate = per_minute(edge.now.calls, minutes);
    let p95 = edge.now.p95_ns.filter(|_| edge.now.calls > 0).map(nanos);
    let usual = edge.usual.as_ref().and_then(|usual| usual.p95_ns).map(nanos);
    let mut now = rate.clone();
    if let Some(p95) = &p95 {
        now = format!("{rate} · {p95}");
    }
    let mut facts = vec![rate];
    facts.extend(p95.map(|p95| format!("p95 {p95}")));
    facts.extend(usual.as_ref().map(|usual| format!("usually {usual}")));
    if edge.now.errors > 0 {
        facts.push(format!("{} failed", errors(&edge.now)));
    }
    if edge.now.retries > 0 {
        facts.push(format!("{} tried again", count(edge.now.retries)));
    }
    facts.extend(gap_fact(edge));
    if edge.is_slow() {
        facts.push(slow(edge));
    }
    let usual = usual.map(|usual| format!("usual {usual}")).unwrap_or_default();
    EdgeWords { now, usual, whole: facts.join(", ") }
}

/// Returns by how much an edge is slower than usual; empty when it is not.
pub(super) fn slow(edge: &Edge) -> String {
    let times = edge.times_usual().filter(|_| edge.is_slow());
    times
        .map(|times| if times < 9.95 { format!("▲ {times:.1}× usual") } else { format!("▲ {times:.0}× usual") })
        .unwrap_or_default()
}

fn gap_fact(edge: &Edge) -> Option<String> {
    let mean = gap_mean_ns(&edge.now)?;
    let word = if edge.ends.kind == "message" { "waited" } else { "between caller and callee" };
    Some(format!("{} {word} on average", nanos(mean)))
}

/// Returns the mean gap or wait.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn gap_mean_ns(numbers: &EdgeNumbers) -> Option<f64> {
    (numbers.gap_count > 0).then(|| numbers.gap_sum_ns as f64 / numbers.gap_count as f64)
}

/// Returns the share that failed, as text.
pub(super) fn errors(numbers: &EdgeNumbers) -> String {
    format::share(error_share(numbers))
}

/// Returns the share that failed.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn error_share(numbers: &EdgeNumbers) -> f64 {
    if numbers.calls > 0 { numbers.errors as f64 / numbers.calls as f64 } else { 0.0 }
}

/// Returns a rate with its unit.
pub(super) fn per_minute(calls: i64, minutes: f64) -> String {
    format!("{}/min", format::rate(rate(calls, minutes)))
}

/// Returns how many a minute.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn rate(calls: i64, minutes: f64) -> f64 {
    if minutes > 0.0 { calls as f64 / minutes } else { 0.0 }
}

/// Returns a count.
pub(super) fn count(value: i64) -> String {
    format::count(u64::try_from(value).unwrap_or(0))
}

/// Returns a duration.
pub(super) fn nanos(ns: f64) -> String {
    format::millis(ns / 1e6)
}

/// Returns what stands below a node's name.
pub(super) fn detail(node: &Node) -> String {
    let of = |word: &str| if node.detail.is_empty() { word.to_owned() } else { format!("{word}, {}", node.detail) };
    match node.kind {
        NodeKind::Client => "send no telemetry".to_owned(),
        NodeKind::Peer => of("no telemetry"),
        NodeKind::Queue => of("queue"),
        NodeKind::Database => of("database"),
        NodeKind::Service => service(node),
    }
}

fn service(node: &Node) -> String {
    let mut facts = Vec::new();
    if node.instances > 1 {
        facts.push(format::counted(node.instances, "instance", "instances"));
    }
    match node.versions.as_slice() {
        [] => {}
        [version] => facts.push(format!("v{}", version.trim_start_matches('v'))),
        versions => facts.push(format::counted(versions.len(), "version", "versions")),
    }
    if facts.is_empty() { "service".to_owned() } else { facts.join(", ") }
}
